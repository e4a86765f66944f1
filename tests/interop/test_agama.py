"""agama: the coefficient file in the real thing; skipped without it."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from interop_models import MODEL, OMEGA, barred_galaxy, disc_points, disc_stars

from deeppot_galactic import interop
from deeppot_galactic.dynamics.orbits import integrate, integrate_orbits
from deeppot_galactic.errors import ExportError, StoreError
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.units import G

agama = pytest.importorskip("agama")
import astropy.units as u  # noqa: E402


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy())


@pytest.fixture(scope="module")
def host(galaxy):
    return interop.to_agama(galaxy)


def test_forces_and_density(galaxy, host):
    assert host.report.median < 1e-3 and host.report.p95 < 0.02
    x = disc_points(500)
    phi, grad, hess = host.evaluate(x, 2)
    expected = galaxy.evaluate(x, 2)
    np.testing.assert_allclose(phi, expected[0], rtol=1e-3)
    error = np.linalg.norm(grad - expected[1], axis=1) / np.linalg.norm(expected[1], axis=1)
    assert np.median(error) < 1e-3 and error.max() < 0.1
    norm = np.linalg.norm(expected[2], axis=(1, 2), keepdims=True)
    assert np.median(np.abs(hess - expected[2]) / norm) < 1e-3
    density, truth = host.density(x), np.trace(MODEL.evaluate(x, 2)[2], axis1=1, axis2=2) / (4 * np.pi * G)
    assert np.median(np.abs(density / truth - 1)) < 0.01


def test_finite_differences_of_agamas_own_functions(host):
    x, step = disc_points(20), 1e-4
    _, grad, hess = host.evaluate(x, 2)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = host.evaluate(x + shift, 1), host.evaluate(x - shift, 1)
        size = np.linalg.norm(grad, axis=1)
        assert np.all(np.abs((up[0] - down[0]) / (2 * step) - grad[:, axis]) < 1e-4 * size + 0.1)
        assert np.all(np.abs((up[1] - down[1]) / (2 * step) - hess[:, axis]) < 1e-3 * np.linalg.norm(hess, axis=(1, 2))[:, None])


def test_the_exact_backend_calls_back(galaxy):
    exact = interop.to_agama(galaxy, backend="exact")
    assert exact.report.median < 1e-6 and exact.report.maximum < 1e-3
    x = disc_points(20)
    phi, grad, hess = exact.evaluate(x, 2)
    expected = galaxy.evaluate(x, 2)
    np.testing.assert_allclose(phi, expected[0], rtol=1e-13)
    assert np.all(np.linalg.norm(grad - expected[1], axis=1) < 1e-5 * np.linalg.norm(expected[1], axis=1))
    assert np.all(np.linalg.norm(hess - expected[2], axis=(1, 2)) < 0.02 * np.linalg.norm(expected[2], axis=(1, 2)))
    again = pickle.loads(pickle.dumps(exact))
    np.testing.assert_array_equal(again.evaluate(x, 1)[1], grad)
    turning = interop.to_agama(galaxy, backend="exact", inertial=True)
    angle = OMEGA * 0.01
    c, s = np.cos(angle), np.sin(angle)
    turned = x @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    np.testing.assert_allclose(turning.evaluate(turned, 0, t=0.01)[0], phi, rtol=1e-12)
    with pytest.raises(ExportError, match="'fast'"):
        interop.to_agama(galaxy, backend="fast")
    with pytest.raises(ExportError, match="about the z axis only"):
        interop.to_agama(barred_galaxy(omega=(3.0, 0, 39.0)), inertial=True)


def test_the_same_orbit_in_agama_itself(galaxy):
    # the exact backend has our forces, so that agama's integrator must find our orbits, in both frames
    w = disc_stars(galaxy, 3, r_max=9)
    end = (1 * u.Gyr).to_value(u.kpc / (u.km / u.s))
    mine = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s, [0, 1] * u.Gyr, step=0.5 * u.Myr)
    options = {"ic": w, "time": end, "trajsize": 2, "separateTime": False, "accuracy": 1e-10}
    exact = interop.to_agama(galaxy, backend="exact")
    turning = interop.to_agama(galaxy, backend="exact", inertial=True)
    bar_frame = agama.orbit(potential=exact.agama, Omega=exact.omega_z, **options)
    inertial = agama.orbit(potential=turning.agama, **options)
    for orbits, expected in ((bar_frame, mine.pos), (inertial, mine.inertial()[0])):
        last = np.array([orbit[1][-1][:3] for orbit in orbits])
        assert np.abs(last - expected[-1].to_value(u.kpc)).max() < 1e-3


class InAgama:
    """agama's forces for our integrator."""

    def __init__(self, host):
        self.omega, self.x0, self.v0, self.gradient = host.omega, np.zeros(3), np.zeros(3), lambda x: host.evaluate(x, 1)[1]


def test_orbits_in_both_frames_agree_with_our_integrator(galaxy, host):
    w = disc_stars(galaxy, 6, r_max=9)
    end = (1 * u.Gyr).to_value(u.kpc / (u.km / u.s))
    x, p = integrate(InAgama(host), w[:, :3], w[:, 3:], np.linspace(0, end, 101), 0.0005)
    turning = interop.to_agama(galaxy, inertial=True)
    orbits = agama.orbit(potential=host.agama, ic=w, time=end, trajsize=101, separateTime=False, Omega=host.omega_z, accuracy=1e-12)
    last = np.array([orbit[1][-1] for orbit in orbits])
    # agama's rotating frame: inertial velocities along the rotating axes, as ours
    assert np.abs(last[:, :3] - x[-1]).max() < 1e-3
    assert np.abs(last[:, 3:] - p[-1]).max() < 0.1
    inertial = agama.orbit(potential=turning.agama, ic=w, time=end, trajsize=101, separateTime=False, accuracy=1e-12)
    last = np.array([orbit[1][-1] for orbit in inertial])
    angle = OMEGA * end
    c, s = np.cos(angle), np.sin(angle)
    back = np.column_stack([last[:, 0] * c + last[:, 1] * s, -last[:, 0] * s + last[:, 1] * c, last[:, 2]])
    assert np.abs(back - x[-1]).max() < 1e-3


def test_orbits_against_the_spline_backend(galaxy, host):
    # other forces, hence another orbit: regular ones stay together for a while
    w = disc_stars(galaxy, 20, r_max=9)
    mine = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s, [0, 0.2] * u.Gyr)
    end = (0.2 * u.Gyr).to_value(u.kpc / (u.km / u.s))
    orbits = agama.orbit(potential=host.agama, ic=w, time=end, trajsize=2, separateTime=False, Omega=host.omega_z)
    last = np.array([orbit[1][-1] for orbit in orbits])[:, :3]
    assert np.median(np.linalg.norm(last - mine.pos[-1].to_value(u.kpc), axis=1)) < 0.02


def test_pickle_and_file(galaxy, host, tmp_path):
    x = disc_points(5)
    again = pickle.loads(pickle.dumps(host))
    np.testing.assert_array_equal(again.evaluate(x, 1)[1], host.evaluate(x, 1)[1])
    assert again.report == host.report
    path = interop.export(galaxy, tmp_path / "bar.ini", to="agama")
    loaded = interop.load(path)
    np.testing.assert_allclose(loaded.evaluate(x, 1)[1], host.evaluate(x, 1)[1], rtol=1e-12)
    np.testing.assert_array_equal(loaded.omega, [0, 0, OMEGA])
    np.testing.assert_allclose(agama.Potential(str(path)).potential(x), host.potential(x), rtol=1e-12)
    with pytest.raises(StoreError, match="cannot read"):
        interop.load(tmp_path / "absent.ini", to="agama")
    (tmp_path / "other.ini").write_text("[Potential]\ntype=Plummer\n")
    with pytest.raises(StoreError, match="pattern speed"):
        interop.load(tmp_path / "other.ini")


def test_actions_and_circular_radius(host):
    from deeppot_galactic.potential.axisymmetric import AxisymmetricPotential

    round_one = interop.to_agama(AxisymmetricPotential(compile_potential(barred_galaxy())))
    finder = agama.ActionFinder(round_one.agama)
    actions = finder(np.array([[8.0, 0, 0.1, 10.0, 230.0, 5.0]]))
    assert np.isfinite(actions).all() and actions[0, 2] == pytest.approx(8 * 230, rel=1e-6)
    radius = round_one.Rcirc(L=8 * 230.0)
    assert 6 < np.asarray(radius).item() < 10


def test_thin_shell_serves_galpy_and_gala(host):
    pytest.importorskip("galpy")
    from deeppot_galactic.interop.galpy import LearnedPotential

    in_galpy = LearnedPotential(host, ro=8.0, vo=220.0)
    assert in_galpy._evaluate(1.0, 0.1, 0.3) * 220**2 == pytest.approx(
        host.potential(np.array([[-8 * np.cos(0.3), 8 * np.sin(0.3), 0.8]]))[0]
    )
