"""galpy: derivatives in its own units, handedness against the sky, rotation, generic properties."""

from __future__ import annotations

import pickle

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import ICRS, CartesianDifferential, CartesianRepresentation, Galactocentric, SkyCoord
from interop_models import MODEL, OMEGA, barred_galaxy, disc_points, disc_stars

from deeppot_galactic.dynamics.orbits import integrate_orbits
from deeppot_galactic.errors import ExportError
from deeppot_galactic.interop import compile_potential, to_galpy
from deeppot_galactic.potential.axisymmetric import AxisymmetricPotential
from deeppot_galactic.units import G

galpy_potential = pytest.importorskip("galpy.potential")
Orbit = pytest.importorskip("galpy.orbit").Orbit

RO, VO = 8.122, 231.0
PLACES = [(1.0, 0.05, 0.3), (0.4, -0.1, 2.5), (0.15, 0.02, -1.2), (1.6, 0.2, 4.0), (3.0, 1.0, 0.5)]
DERIVATIVES = {
    "_Rforce": ("_evaluate", 0, -1),
    "_zforce": ("_evaluate", 1, -1),
    "_phitorque": ("_evaluate", 2, -1),
    "_R2deriv": ("_Rforce", 0, -1),
    "_z2deriv": ("_zforce", 1, -1),
    "_phi2deriv": ("_phitorque", 2, -1),
    "_Rzderiv": ("_Rforce", 1, -1),
    "_Rphideriv": ("_Rforce", 2, -1),
    "_phizderiv": ("_zforce", 2, -1),
}


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy())


@pytest.fixture(scope="module", params=["exact", "compiled", "inertial"])
def host(request, galaxy):
    if request.param == "exact":
        return to_galpy(barred_galaxy(), ro=RO, vo=VO)
    return to_galpy(galaxy, backend="compiled", ro=RO, vo=VO, inertial=request.param == "inertial")


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_match_finite_differences(host, name):
    source, which, sign = DERIVATIVES[name]
    step = 1e-4
    for place in PLACES:
        shift = np.eye(3)[which] * step
        up, down = (getattr(host, source)(*np.add(place, s * shift), t=0.7) for s in (1, -1))
        value = getattr(host, name)(*place, t=0.7)
        assert sign * (up - down) / (2 * step) == pytest.approx(value, rel=2e-5, abs=2e-5)


def test_values_agree_with_the_model_in_its_own_units(host):
    x = disc_points(6)
    y = x * [-1, 1, 1] / RO
    R, z, phi = np.hypot(y[:, 0], y[:, 1]), y[:, 2], np.arctan2(y[:, 1], y[:, 0])
    density = [host.dens(a, b, phi=c, use_physical=False) for a, b, c in zip(R, z, phi, strict=True)]
    model = host.potential.density(x)
    np.testing.assert_allclose(np.array(density) * (VO / RO) ** 2 / G, model, rtol=1e-9)
    np.testing.assert_allclose(host._evaluate(R, z, phi) * VO**2, host.potential.potential(x), rtol=1e-12)


def test_arrays_broadcast_and_the_memory_does_not_mix_points(host):
    R, z, phi = np.array(PLACES).T
    one_by_one = [host._Rforce(*place) for place in PLACES]
    np.testing.assert_allclose(host._Rforce(R, z, phi), one_by_one, rtol=1e-12)
    assert host._Rforce(R[:, None], 0.0, phi).shape == (5, 5)
    first = host._Rforce(*PLACES[0])
    host._R2deriv(*PLACES[1])
    assert host._Rforce(*PLACES[0]) == first
    if host.inertial:
        assert host._Rforce(*PLACES[0], t=1.0) != first


def test_limits(host):
    assert np.isfinite(host(1e12, 0.0, phi=0.0, use_physical=False)) and abs(host(1e12, 0.0, phi=0.0, use_physical=False)) < 1e-6
    assert host(np.inf, 0.0, phi=0.0, use_physical=False) == 0
    assert np.isfinite(host(0.0, 0.0, phi=0.0, use_physical=False))
    assert 400 < host.vesc(1.0) < 800
    assert 180 < host.vcirc(1.0, phi=0.1) < 280


def test_pickle_gives_the_same_potential(host):
    again = pickle.loads(pickle.dumps(host))
    assert again._Rforce(*PLACES[0]) == host._Rforce(*PLACES[0])


def test_the_rotating_potential_equals_galpys_wrapper(galaxy):
    static = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO)
    turning = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO, inertial=True)
    wrapper = galpy_potential.SolidBodyRotationWrapperPotential(pot=static, omega=static.omega, ro=RO, vo=VO)
    assert static.omega == pytest.approx(-OMEGA * RO / VO) and turning.OmegaP() == static.omega
    for R, z, phi in PLACES:
        for t in (0.0, 0.8, -2.0):
            expected = wrapper.phitorque(R, z, phi=phi, t=t, use_physical=False)
            assert turning.phitorque(R, z, phi=phi, t=t, use_physical=False) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_orbits_agree_with_ours_in_the_inertial_and_the_bar_frame(galaxy):
    w = disc_stars(galaxy, 1, r_max=9)
    times = np.linspace(0, 1000, 21) * u.Myr
    ours = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s, times, step=0.5 * u.Myr)
    host = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO, inertial=True)
    kept = ours.to_galpy(ro=RO, vo=VO)
    orbit = Orbit(kept.orbit[0, 0], ro=RO, vo=VO)
    orbit.integrate(kept.t, host, method="dop853", rtol=1e-9, atol=1e-9)
    # galpy's x is mirrored
    x, y, z = -orbit.x(kept.t), orbit.y(kept.t), orbit.z(kept.t)
    pos, _ = ours.inertial()
    assert np.abs(np.stack([x, y, z], axis=-1) - pos[:, 0].to_value(u.kpc)).max() < 1e-3
    np.testing.assert_allclose(np.squeeze(kept.x(kept.t)), orbit.x(kept.t), atol=1e-3)
    assert np.ptp(orbit.Jacobi(kept.t, OmegaP=host.OmegaP(), pot=host, use_physical=False)) < 1e-5
    angle = (times * OMEGA * u.km / u.s / u.kpc).to_value(u.dimensionless_unscaled)
    bar = np.stack([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle), z], axis=-1)
    assert np.abs(bar - ours.pos[:, 0].to_value(u.kpc)).max() < 1e-3


def test_galpys_own_orbit_in_the_bar_frame(galaxy):
    from deeppot_galactic.interop.galpy import bar_frame

    w = disc_stars(galaxy, 1, r_max=9)
    times = np.linspace(0, 150, 4) * u.Myr
    ours = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s, times, step=0.5 * u.Myr)
    static = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO)
    x, v = w[0, :3] * [-1, 1, 1], (w[0, 3:] - np.cross(galaxy.omega, w[0, :3])) * [-1, 1, 1]
    radius = np.hypot(*x[:2])
    speeds = x[:2] @ v[:2] / radius / VO, (x[0] * v[1] - x[1] * v[0]) / radius / VO
    start = [radius / RO, *speeds, x[2] / RO, v[2] / VO, np.arctan2(x[1], x[0])]
    orbit = Orbit(start, ro=RO, vo=VO)
    orbit.integrate(times, bar_frame(static), method="dop853", rtol=1e-9, atol=1e-9)
    got = np.stack([-orbit.x(times), orbit.y(times), orbit.z(times)], axis=-1)
    expected = ours.pos[:, 0].to_value(u.kpc)
    assert np.abs(got - expected).max() < 1e-5
    # without the forces of the frame it is another orbit
    alone = Orbit(start, ro=RO, vo=VO)
    alone.integrate(times, static, method="dop853")
    assert np.abs(alone.z(times) - expected[:, 2]).max() + np.abs(alone.x(times) + expected[:, 0]).max() > 0.1
    with pytest.raises(ExportError, match="turns in the inertial frame"):
        bar_frame(to_galpy(galaxy, backend="compiled", inertial=True))
    with pytest.raises(ExportError, match="about the z axis only"):
        bar_frame(to_galpy(barred_galaxy(omega=(3.0, -2.0, 39.0))))


def test_the_same_sky_coordinate_meets_the_same_bar(galaxy):
    # both hosts, both conventions: the decisive test of handedness
    gala_dynamics = pytest.importorskip("gala.dynamics")
    from deeppot_galactic.interop.gala import hamiltonian, to_gala

    frame = Galactocentric(galcen_distance=RO * u.kpc, z_sun=0 * u.pc, galcen_v_sun=[12.0, VO + 12.0, 7.0] * u.km / u.s)
    velocity = CartesianDifferential([40, 180, 15] * u.km / u.s)
    star = SkyCoord(frame.realize_frame(CartesianRepresentation([-5.0, 1.5, 0.2] * u.kpc, differentials=velocity)))
    on_sky = star.transform_to("icrs")
    turning = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO, inertial=True)
    orbit = Orbit(on_sky, ro=RO, vo=VO, zo=0.0, solarmotion=[-12.0, 12.0, 7.0])
    times = np.linspace(0, 200, 21) * u.Myr
    orbit.integrate(times, turning, method="dop853")
    gala_host = to_gala(galaxy, backend="compiled", inertial=True)
    start = gala_dynamics.PhaseSpacePosition(star.cartesian.without_differentials(), star.velocity)
    gala_orbit = hamiltonian(gala_host).integrate_orbit(start, t=times)
    sky = gala_orbit.to_coord_frame(ICRS(), galactocentric_frame=frame)
    there = SkyCoord(orbit.ra(times) * u.deg, orbit.dec(times) * u.deg)
    separation = there.separation(SkyCoord(sky.ra, sky.dec)).to_value(u.deg)
    assert separation.max() < 1e-5
    np.testing.assert_allclose(orbit.dist(times), sky.distance.to_value(u.kpc), atol=1e-5)
    np.testing.assert_allclose(orbit.vlos(times), sky.radial_velocity.to_value(u.km / u.s), atol=1e-3)
    # the test can fail: a mirrored bar sends the star elsewhere
    mirrored = galpy_potential.SolidBodyRotationWrapperPotential(
        pot=to_galpy(galaxy, backend="compiled", ro=RO, vo=VO), omega=-turning.omega, ro=RO, vo=VO
    )
    wrong = Orbit(on_sky, ro=RO, vo=VO, zo=0.0, solarmotion=[-12.0, 12.0, 7.0])
    wrong.integrate(times, mirrored, method="dop853")
    assert np.abs(wrong.dist(times) - sky.distance.to_value(u.kpc)).max() > 0.05


def test_axisymmetrised_potential_answers_galpys_axisymmetric_questions(galaxy):
    host = to_galpy(AxisymmetricPotential(galaxy), ro=8.0, vo=220.0)
    assert not host.isNonAxi
    R = 6.0 / 8
    grad = AxisymmetricPotential(galaxy).gradient(np.array([[6.0, 0, 0]]))
    assert host.omegac(R, use_physical=False) * 220 / 8 == pytest.approx(np.sqrt(grad[0, 0] / 6.0))
    radius = host.lindbladR(OMEGA * 8 / 220, m="corotation", use_physical=False) * 8
    assert radius == pytest.approx(5.91, rel=0.01)
    assert host.epifreq(R, use_physical=False) > 0
    with pytest.raises(ExportError, match="cannot compile a AxisymmetricPotential"):
        to_galpy(AxisymmetricPotential(galaxy), backend="compiled")


def test_tilted_axes_turn_too():
    tilted = barred_galaxy(omega=(3.0, -2.0, 39.0))
    host = to_galpy(tilted, ro=RO, vo=VO, inertial=True)
    axis = np.array([3.0, -2.0, 39.0])
    on_axis = 2.0 * axis / np.linalg.norm(axis) * [-1, 1, 1] / RO
    R, z, phi = np.hypot(*on_axis[:2]), on_axis[2], np.arctan2(on_axis[1], on_axis[0])
    assert host._evaluate(R, z, phi, t=3.3) == pytest.approx(host._evaluate(R, z, phi), rel=1e-10)
    with pytest.raises(ExportError, match="about the z axis only"):
        to_galpy(tilted, backend="expansion")


@pytest.mark.filterwarnings("ignore:Using C implementation")
def test_expansion_in_c(galaxy):
    host = to_galpy(galaxy, backend="expansion", ro=RO, vo=VO, inertial=True)
    assert host.report.median < 0.01 and host.report.p95 < 0.05
    expected = to_galpy(galaxy, backend="compiled", ro=RO, vo=VO, inertial=True)
    for R, z, phi in PLACES[:4]:
        force = host.Rforce(R, z, phi=phi, t=0.4, use_physical=False)
        assert force == pytest.approx(expected.Rforce(R, z, phi=phi, t=0.4, use_physical=False), rel=0.03)
        torque = host.phitorque(R, z, phi=phi, t=0.4, use_physical=False)
        assert torque == pytest.approx(expected.phitorque(R, z, phi=phi, t=0.4, use_physical=False), rel=0.05, abs=0.01)
    orbit = Orbit([1.0, 0.05, 1.0, 0.02, 0.03, 0.4], ro=RO, vo=VO)
    times = np.linspace(0, 10, 51)
    # galpy falls back to Python with another warning, which is an error here, unless all of it is in C
    orbit.integrate(times, host, method="dop853_c")
    assert np.ptp(orbit.Jacobi(times, OmegaP=host.OmegaP(), pot=host, use_physical=False)) < 1e-4


def test_poisson_and_model():
    # the density of the host is that of the analytic truth, inside the volume
    host = to_galpy(barred_galaxy(), ro=RO, vo=VO)
    x = disc_points(5, r_max=8)
    y = x * [-1, 1, 1] / RO
    truth = np.trace(MODEL.evaluate(x, 2)[2], axis1=1, axis2=2) / (4 * np.pi * G)
    got = host._dens(np.hypot(y[:, 0], y[:, 1]), y[:, 2], np.arctan2(y[:, 1], y[:, 0])) * (VO / RO) ** 2 / G
    np.testing.assert_allclose(got, truth, rtol=1e-8)
