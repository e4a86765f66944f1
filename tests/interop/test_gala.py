"""gala: derivatives in its own units, rotating against inertial frame, save, load, replicate, pickle, origin and rotation."""

from __future__ import annotations

import pickle

import astropy.units as u
import numpy as np
import pytest
from interop_models import OMEGA, barred_galaxy, disc_points, disc_stars, network_galaxy
from scipy.spatial.transform import Rotation

from deeppot_galactic.dynamics.orbits import integrate_orbits
from deeppot_galactic.errors import ExportError
from deeppot_galactic.interop import compile_potential, to_gala

gala_potential = pytest.importorskip("gala.potential")
import gala.dynamics as gd  # noqa: E402
import gala.integrate as gi  # noqa: E402
from gala.units import UnitSystem, galactic  # noqa: E402

from deeppot_galactic.interop import gala as ours  # noqa: E402

KMS = u.km / u.s
SOLAR = UnitSystem(u.pc, u.Myr, u.Msun, u.rad)


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy())


@pytest.fixture(scope="module", params=["exact", "compiled", "inertial", "parsec"])
def host(request, galaxy):
    if request.param == "exact":
        return to_gala(barred_galaxy())
    units = SOLAR if request.param == "parsec" else galactic
    return to_gala(galaxy, backend="compiled", inertial=request.param == "inertial", units=units)


def test_values_agree_with_the_model(host):
    x = disc_points(6)
    q = x.T * u.kpc
    phi, grad, hess = host.potential.evaluate(x, 2)
    np.testing.assert_allclose(host.energy(q).to_value(KMS**2), phi, rtol=1e-12)
    np.testing.assert_allclose(host.gradient(q).to_value(KMS**2 / u.kpc).T, grad, rtol=1e-10, atol=1e-8)
    np.testing.assert_allclose(np.moveaxis(host.hessian(q).to_value(KMS**2 / u.kpc**2), -1, 0), hess, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(host.density(q).to_value(u.Msun / u.kpc**3), host.potential.density(x), rtol=1e-6)
    assert host.energy(q[:, 0]).shape == (1,) and host.gradient(q[:, 0]).shape == (3, 1)


def test_derivatives_match_finite_differences_in_the_hosts_units(host):
    x = disc_points(4).T * u.kpc.to(host.units["length"])
    step, t = 1e-4 * u.kpc.to(host.units["length"]), 37.0
    grad, hess = host.gradient(x, t=t).value, host.hessian(x, t=t).value
    for axis in range(3):
        shift = step * np.eye(3)[axis][:, None]
        slope = (host.energy(x + shift, t=t) - host.energy(x - shift, t=t)).value / (2 * step)
        np.testing.assert_allclose(slope, grad[axis], rtol=1e-5, atol=1e-6 * np.abs(grad).max())
        curve = (host.gradient(x + shift, t=t) - host.gradient(x - shift, t=t)).value / (2 * step)
        np.testing.assert_allclose(curve, hess[axis], rtol=1e-5, atol=1e-6 * np.abs(hess).max())


def test_orbits_agree_with_ours_in_both_frames(galaxy):
    w = disc_stars(galaxy, 2, r_max=9)
    times = np.linspace(0, 1000, 11) * u.Myr
    mine = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * KMS, times, step=0.5 * u.Myr)
    start = gd.PhaseSpacePosition(w[:, :3].T * u.kpc, w[:, 3:].T * KMS)
    for inertial in (False, True):
        hamiltonian = ours.hamiltonian(to_gala(galaxy, backend="compiled", inertial=inertial))
        orbit = hamiltonian.integrate_orbit(start, t=times, Integrator_kwargs={"rtol": 1e-8, "atol": 1e-8})
        kept = mine.to_gala(inertial=inertial)
        assert np.abs(orbit.xyz - kept.xyz).max() < 1e-3 * u.kpc
        assert np.abs(orbit.v_xyz - kept.v_xyz).max() < 0.1 * KMS
        if not inertial:
            energy = orbit.energy()
            assert np.abs(energy / energy[0] - 1).max() < 1e-6
            np.testing.assert_allclose(energy[0].to_value(KMS**2), mine.jacobi[0].to_value(KMS**2), rtol=1e-9)


def test_symplectic_integrators_are_refused_in_the_rotating_frame(galaxy):
    start = gd.PhaseSpacePosition([6, 0, 0] * u.kpc, [0, 200, 0] * KMS)
    turning = ours.hamiltonian(to_gala(galaxy, backend="compiled"))
    for integrator in (gi.LeapfrogIntegrator, gi.Ruth4Integrator):
        with pytest.raises(ExportError, match="wrong in a rotating frame"):
            turning.integrate_orbit(start, dt=1 * u.Myr, n_steps=2, Integrator=integrator)
    still = ours.hamiltonian(to_gala(galaxy, backend="compiled", inertial=True))
    still.integrate_orbit(start, dt=1 * u.Myr, n_steps=2, Integrator=gi.LeapfrogIntegrator)


def test_origin_and_rotation_are_honoured(galaxy):
    plain = to_gala(galaxy, backend="compiled")
    turn = Rotation.from_euler("zyx", [0.4, 0.2, -0.3]).as_matrix()
    origin = [1.0, -2.0, 0.5] * u.kpc
    moved = ours.LearnedPotential(galaxy, units=galactic, origin=origin, R=turn)
    q = disc_points(5).T * u.kpc
    image = turn @ (q - origin[:, None])
    np.testing.assert_allclose(moved.energy(q).value, plain.energy(image).value, rtol=1e-12)
    np.testing.assert_allclose(moved.gradient(q).value, turn.T @ plain.gradient(image).value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moved.density(q).value, plain.density(image).value, rtol=1e-9)
    with pytest.raises(ExportError, match="leave out origin"):
        moved.save("unused.yml")
    with pytest.raises(ExportError, match="3 x 3"):
        ours.LearnedPotential(galaxy, units=galactic, R=np.ones((2, 3, 3)))


def test_another_unit_system_means_the_same_potential(galaxy):
    origin = [1.0, -2.0, 0.5] * u.kpc
    moved = ours.LearnedPotential(galaxy, units=galactic, origin=origin, inertial=True)
    q, t = disc_points(4).T * u.kpc, 30 * u.Myr
    in_place = moved.replicate()
    in_place.replace_units(SOLAR, copy=False)
    for other in (moved.replace_units(SOLAR), moved.replicate(units=SOLAR), in_place):
        assert other.units == SOLAR and moved.units == galactic
        np.testing.assert_allclose(other.energy(q, t=t).to_value(KMS**2), moved.energy(q, t=t).to_value(KMS**2), rtol=1e-10)
        expected = moved.gradient(q, t=t).to_value(KMS**2 / u.kpc)
        np.testing.assert_allclose(other.gradient(q, t=t).to_value(KMS**2 / u.kpc), expected, rtol=1e-9, atol=1e-7)


def test_orbits_in_which_the_bar_would_stand_still_are_refused(galaxy):
    start = gd.PhaseSpacePosition([6, 0, 0] * u.kpc, [0, 200, 0] * KMS)
    with pytest.raises(ExportError, match="stand still"):
        to_gala(galaxy, backend="compiled").integrate_orbit(start, dt=1 * u.Myr, n_steps=2)
    turning = to_gala(galaxy, backend="compiled", inertial=True)
    orbit = turning.integrate_orbit(start, dt=1 * u.Myr, n_steps=2)
    expected = ours.hamiltonian(turning).integrate_orbit(start, dt=1 * u.Myr, n_steps=2)
    np.testing.assert_array_equal(orbit.xyz.value, expected.xyz.value)


def test_an_exact_potential_is_saved_exactly(tmp_path):
    exact = network_galaxy()
    to_gala(exact).save(tmp_path / "bar.yml")
    loaded = gala_potential.load(str(tmp_path / "bar.yml"), module=ours)
    q = disc_points(3).T * u.kpc
    assert loaded.report is None
    np.testing.assert_allclose(loaded.energy(q).value, to_gala(exact).energy(q).value, rtol=1e-13)


def test_save_load_replicate_pickle(host, tmp_path):
    q = disc_points(3).T * u.kpc
    expected = host.energy(q, t=5.0).value
    for again in (host.replicate(), pickle.loads(pickle.dumps(host))):
        np.testing.assert_array_equal(again.energy(q, t=5.0).value, expected)
        assert again.units == host.units
    turning = host.replicate(inertial=True)
    assert not np.array_equal(turning.gradient(q, t=5 * u.Myr).value, host.replicate(inertial=False).gradient(q, t=5 * u.Myr).value)
    if host.report is not None:
        host.save(tmp_path / "bar.yml")
        loaded = gala_potential.load(str(tmp_path / "bar.yml"), module=ours)
        np.testing.assert_allclose(loaded.energy(q, t=5.0).value, expected, rtol=1e-12)
        assert loaded.parameters["inertial"] == host.parameters["inertial"]


def test_composite_with_gala_components(galaxy):
    halo = gala_potential.HernquistPotential(m=1e9 * u.Msun, c=1 * u.kpc, units=galactic)
    both = gala_potential.CompositePotential(galaxy=to_gala(galaxy, backend="compiled"), extra=halo)
    q = disc_points(4).T * u.kpc
    np.testing.assert_allclose(both.energy(q).value, (to_gala(galaxy, backend="compiled").energy(q) + halo.energy(q)).value)


@pytest.mark.parametrize("inertial", [False, True])
def test_a_sum_has_the_frame_of_its_bar_and_can_be_saved(galaxy, tmp_path, inertial):
    halo = gala_potential.HernquistPotential(m=1e9 * u.Msun, c=1 * u.kpc, units=galactic)
    both = halo + to_gala(galaxy, backend="compiled", inertial=inertial)
    w0 = gd.PhaseSpacePosition(pos=[6, 0, 0.1] * u.kpc, vel=[10, 200, 5] * KMS)
    turning = halo + to_gala(galaxy, backend="compiled", inertial=True)
    end, expected = (
        ours.hamiltonian(sum_).integrate_orbit(w0, dt=1 * u.Myr, n_steps=30).to_frame(gala_potential.StaticFrame(galactic))[-1]
        for sum_ in (both, turning)
    )
    np.testing.assert_allclose(end.xyz.value, expected.xyz.value, atol=1e-7)
    ours.save(both, tmp_path / "sum.yml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sum-1.safetensors", "sum.yml"]
    assert "python/" not in (tmp_path / "sum.yml").read_text(encoding="utf-8")  # no objects, which nobody should load
    again = gala_potential.load(str(tmp_path / "sum.yml"), module=ours)
    q = disc_points(4).T * u.kpc
    np.testing.assert_allclose(again.energy(q, t=3.0).value, both.energy(q, t=3.0).value, rtol=1e-12)


def test_sums_without_a_frame_and_files_without_numbers_are_refused(galaxy, tmp_path):
    bar = to_gala(galaxy, backend="compiled")
    halo = gala_potential.HernquistPotential(m=1e9 * u.Msun, c=1 * u.kpc, units=galactic)
    with pytest.raises(ExportError, match="none of its parts"):
        ours.hamiltonian(halo)
    with pytest.raises(ExportError, match="different frames"):
        ours.hamiltonian(bar + to_gala(galaxy, backend="compiled", inertial=True))
    with pytest.raises(ExportError, match=r"interop\.gala\.save"):
        (halo + bar).save(str(tmp_path / "sum.yml"))
    with pytest.raises(ExportError, match="origin and R"):
        ours.save(halo + bar.replicate(origin=[1, 0, 0] * u.kpc), tmp_path / "sum.yml")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ours.nothing


def test_pattern_speed_with_its_sign(galaxy):
    omega = to_gala(galaxy, backend="compiled").omega
    assert omega[2].to_value(u.rad / u.Gyr) == pytest.approx((OMEGA * KMS / u.kpc).to_value(1 / u.Gyr))


def test_in_other_packages(galaxy):
    host = to_gala(galaxy, backend="compiled")
    galpy = host.as_interop("galpy", ro=8.0, vo=220.0)
    assert galpy._evaluate(1.0, 0.0, 0.0) * 220**2 == pytest.approx(galaxy.potential(np.array([[-8.0, 0, 0]]))[0])
    with pytest.raises(ExportError, match="nemo"):
        host.as_interop("nemo")
