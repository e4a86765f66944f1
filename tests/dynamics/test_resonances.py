"""Resonances and Lagrange points of the analytic bar, recovered from what stands in for a learned potential."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from interop_models import BAR_ANGLE, MODEL, OMEGA, barred_galaxy, fitted_galaxy
from scipy.optimize import brentq

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.dynamics.lagrange import effective, effective_potential, growth_rate, lagrange_points
from deeppot_galactic.dynamics.orbits import integrate, integrate_orbits
from deeppot_galactic.dynamics.resonances import circular_frequencies, frequency_table, resonance_table, resonances
from deeppot_galactic.dynamics.rotation import rotation_curve
from deeppot_galactic.errors import DeepPotError
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.potential.analytic import MiyamotoNagai, Plummer
from deeppot_galactic.potential.axisymmetric import AxisymmetricPotential
from deeppot_galactic.potential.basis import LinearPotential, basis_for
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.potential.frame import RotatingFrame
from deeppot_galactic.potential.model import PotentialModel

SPEED = u.km / u.s / u.kpc


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy())


def azimuthal_mean(radius: float) -> tuple[float, float]:
    """Omega and kappa from the analytic model, by finite differences of its mean radial force over 720 azimuths."""
    phi = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    unit = np.column_stack([np.cos(phi), np.sin(phi), 0 * phi])

    def force(r: float) -> float:
        return float(np.einsum("ni,ni->n", MODEL.evaluate(r * unit, 1)[1], unit).mean())

    slope = (force(radius + 1e-4) - force(radius - 1e-4)) / 2e-4
    return np.sqrt(force(radius) / radius), np.sqrt(slope + 3 * force(radius) / radius)


def test_radii_agree_with_the_analytic_model_to_a_thousandth(galaxy):
    found = {(r.name, r.order): r for r in resonances(galaxy, omega_error=1.0 * SPEED)}
    assert set(found) == {("CR", 1), ("OLR2", 1), ("ILR4", 1), ("OLR4", 1)}
    for name, sign, m in (("CR", 0, 1), ("OLR2", 1, 2), ("ILR4", -1, 4), ("OLR4", 1, 4)):

        def mismatch(r, sign=sign, m=m):
            omega, kappa = azimuthal_mean(r)
            return omega + sign * kappa / m - OMEGA

        expected = brentq(mismatch, 1.0, 14.0)
        one = found[name, 1]
        assert one.radius == pytest.approx(expected, rel=1e-3)
        slope = (mismatch(expected + 0.01) - mismatch(expected - 0.01)) / 0.02
        assert one.error == pytest.approx(1 / abs(slope), rel=0.05) and one.in_training_volume


def test_a_fitted_bar_has_the_resonances_of_the_true_one():
    # nothing of the true model is in the fit but its forces, each wrong by two per cent
    fitted = fitted_galaxy()
    x = MODEL.evaluate(np.array([[3.0, 1.0, 0.2]]), 1)[1] / fitted.gradient(np.array([[3.0, 1.0, 0.2]]))
    assert np.abs(x - 1).max() > 1e-5
    true = barred_galaxy()
    expected = {(r.name, r.order): r.radius for r in resonances(true)}
    found = {(r.name, r.order): r.radius for r in resonances(fitted)}
    assert set(found) == set(expected)
    for key, radius in expected.items():
        assert found[key] == pytest.approx(radius, rel=0.01), key
    for one, two in zip(lagrange_points(fitted, bar_angle=BAR_ANGLE), lagrange_points(true, bar_angle=BAR_ANGLE), strict=True):
        assert one.name == two.name and one.stable == two.stable
        assert np.linalg.norm(np.subtract(one.position, two.position)) < 0.15
    expected_radius = {p.name: p.radius for p in lagrange_points(true, bar_angle=BAR_ANGLE)}
    for point in lagrange_points(fitted, bar_angle=BAR_ANGLE):
        if point.name != "L3":
            assert point.radius == pytest.approx(expected_radius[point.name], rel=0.01)


def test_a_fitted_model_is_taken_as_it_is():
    volume = Cylinder(r_out=15 * u.kpc, half_height=2.5 * u.kpc)
    basis = basis_for(volume)
    inner = LinearPotential(MODEL, basis, np.zeros(basis.size))
    model = PotentialModel(inner, volume, RotatingFrame(omega=OMEGA * SPEED), omega_error=np.array([np.nan, np.nan, 1.5]))
    plain = model.global_potential
    found, expected = resonances(model), resonances(plain, omega_error=1.5 * SPEED)
    assert found == expected and found[0].error > 0
    # the model's error belongs to its own pattern speed
    assert np.isnan(resonances(model, omega=35.0 * SPEED)[0].error)
    assert lagrange_points(model) == lagrange_points(plain)
    assert np.array_equal(rotation_curve(model, [5.0] * u.kpc), rotation_curve(plain, [5.0] * u.kpc))
    orbits = integrate_orbits(model, [[6.0, 0, 0]] * u.kpc, [[0, 200.0, 0]] * u.km / u.s, [0, 20] * u.Myr)
    assert orbits.omega[2].value == OMEGA
    assert compile_potential(model, nodes=(15, 15, 15)).report is not None


def test_two_inner_lindblad_radii_of_a_slow_bar():
    model = MiyamotoNagai(4.5e10, 3.0, 0.28) + Plummer(3e11, 15.0) + Plummer(8e9, 0.4)
    slow = GlobalPotential(model, Cylinder(r_out=15 * u.kpc, half_height=2 * u.kpc), omega=(0, 0, -18.0), outer=model)
    names = [r.name for r in resonances(slow, m=(2,))]
    assert names.count("ILR2") == 2 and names.count("CR") == 1
    first, second = (r for r in resonances(slow, m=(2,)) if r.name == "ILR2")
    assert first.order == 1 and second.order == 2 and first.radius < second.radius
    omega, kappa, _ = circular_frequencies(slow, [first.radius, second.radius])
    np.testing.assert_allclose(omega - kappa / 2, 18.0, rtol=1e-6)
    # a faster bar has none
    assert not [r for r in resonances(slow, omega=200 * SPEED, m=(2,)) if r.name == "ILR2"]


def test_scatter_of_an_ensemble_enters_the_error(galaxy):
    members = [galaxy.with_inner(galaxy.inner) for _ in range(3)]
    for member, rate in zip(members, (37.0, 39.0, 41.0), strict=True):
        member.omega = np.array([0, 0, rate])
    alone, together = resonances(galaxy, m=())[0], resonances(galaxy, m=(), ensemble=members)[0]
    assert np.isnan(alone.error)
    assert together.error == pytest.approx(np.std([resonances(m_, m=())[0].radius for m_ in members], ddof=1))
    # the error of the pattern speed is not counted twice: at one pattern speed these members have no scatter
    given = resonances(galaxy, m=(), ensemble=members, omega_error=2.0 * SPEED)[0]
    assert given.error == pytest.approx(resonances(galaxy, m=(), omega_error=2.0 * SPEED)[0].error)
    assert given.error == pytest.approx(together.error, rel=0.1)
    table = resonance_table([together])
    assert table["radius"].unit == u.kpc and table["name"][0] == "CR"
    assert len(resonance_table([])) == 0


def test_frequencies_of_a_known_potential():
    b, mass = 5.0, 1e11
    model = Plummer(mass, b)
    sphere = GlobalPotential(model, Cylinder(r_out=12 * u.kpc, half_height=3 * u.kpc), outer=model)
    table = frequency_table(sphere, [2.0, 8.0] * u.kpc)
    from deeppot_galactic.units import G

    r = np.array([2.0, 8.0])
    square = G * mass / (r**2 + b**2) ** 1.5
    np.testing.assert_allclose(table["Omega"].value ** 2, square)
    np.testing.assert_allclose(table["kappa"].value ** 2, square * (4 - 3 * r**2 / (r**2 + b**2)))
    np.testing.assert_allclose(table["nu"].value, table["Omega"].value)
    np.testing.assert_allclose(table["vc"].to_value(u.km / u.s), r * np.sqrt(square))
    with pytest.raises(DeepPotError, match="must not be zero"):
        resonances(sphere)
    with pytest.raises(DeepPotError, match="no corotation"):
        lagrange_points(sphere)


def test_axisymmetrised_derivatives_and_invariance(galaxy):
    mean = AxisymmetricPotential(galaxy)
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(size=(20, 3)) * [6, 6, 1], [[1e-12, 0, 0.1]]])
    phi, grad, hess = mean.evaluate(x, 2)
    step = 1e-4
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = mean.evaluate(x[:-1] + shift, 1), mean.evaluate(x[:-1] - shift, 1)
        np.testing.assert_allclose((up[0] - down[0]) / (2 * step), grad[:-1, axis], rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose((up[1] - down[1]) / (2 * step), hess[:-1, axis], rtol=1e-4, atol=0.05)
    c, s = np.cos(1.1), np.sin(1.1)
    turned = x @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    np.testing.assert_allclose(mean.potential(turned), phi, rtol=1e-3)
    assert np.isfinite(hess).all() and np.all(mean.omega == 0)
    assert np.all(np.trace(hess, axis1=1, axis2=2) > 0)


def test_lagrange_points(galaxy):
    points = {p.name: p for p in lagrange_points(galaxy, bar_angle=BAR_ANGLE)}
    assert set(points) == {"L1", "L2", "L3", "L4", "L5"}
    assert [points[f"L{i}"].kind for i in range(1, 6)] == ["saddle", "saddle", "minimum", "maximum", "maximum"]
    direction = np.array([np.cos(BAR_ANGLE), np.sin(BAR_ANGLE), 0])
    assert np.array(points["L1"].position) @ direction == pytest.approx(points["L1"].radius, rel=1e-6)
    assert np.array(points["L4"].position) @ direction == pytest.approx(0, abs=1e-4)
    # along the bar, where the force balances the centrifugal one, from the analytic model
    expected = brentq(lambda r: MODEL.evaluate(r * direction[None], 1)[1][0] @ direction - OMEGA**2 * r, 4, 9)
    assert points["L1"].radius == pytest.approx(expected, rel=1e-4) == points["L2"].radius
    assert points["L1"].energy < points["L4"].energy == pytest.approx(points["L5"].energy)
    assert not points["L1"].stable and points["L1"].growth_rate > 1
    assert points["L4"].stable and points["L3"].stable
    by_default = {p.name for p in lagrange_points(galaxy)}
    assert by_default == set(points)


def test_stability_agrees_with_orbits(galaxy):
    points = {p.name: p for p in lagrange_points(galaxy)}
    for name, grows in (("L1", True), ("L4", False)):
        x = np.array([points[name].position])
        rate = points[name].growth_rate
        start = x + 1e-5
        at_rest = np.cross(galaxy.omega, start)
        times = np.linspace(0, 0.4, 41)
        xs, _ = integrate(galaxy, start, at_rest, times, 1e-3)
        distance = np.linalg.norm(xs - x, axis=-1)[:, 0]
        if grows:
            measured = np.polyfit(times[15:35], np.log(distance[15:35]), 1)[0]
            assert measured == pytest.approx(rate, rel=0.05)
        else:
            assert distance.max() < 1e-3


def test_effective_potential_has_matching_derivatives(galaxy):
    tilted = barred_galaxy(omega=(4.0, 1.0, 39.0))
    x = np.array([[3.0, 1.0, 0.2], [0.5, -5.0, -0.3]])
    _, grad, hess = effective(tilted, x)
    for axis in range(3):
        shift = 1e-4 * np.eye(3)[axis]
        up, down = effective(tilted, x + shift), effective(tilted, x - shift)
        np.testing.assert_allclose((up[0] - down[0]) / 2e-4, grad[:, axis], rtol=1e-5, atol=1e-2)
        np.testing.assert_allclose((up[1] - down[1]) / 2e-4, hess[:, axis], rtol=1e-4, atol=1e-2)
    assert effective_potential(galaxy, x * u.kpc).unit == u.km**2 / u.s**2
    assert growth_rate(galaxy, np.zeros(3)) < 1.0
