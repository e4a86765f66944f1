"""Numbers against known answers: a Gaussian bar that is exactly stationary, analytic potentials, binomial statistics."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from scipy.stats import binom, norm

from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report.inputs import Field


def test_the_rotating_bar_is_stationary_in_its_frame_and_not_in_the_lab(bar: SimpleNamespace) -> None:
    d = dx.diagnose(bar.points, bar.model)
    x = bar.points.points
    assert d.stationarity is not None
    np.testing.assert_allclose(d.stationarity.rotating, 0, atol=1e-8)
    known = bar.omega * (bar.frequencies[1] ** 2 - bar.frequencies[0] ** 2) * x[:, 0] * x[:, 1] / bar.sigma**2
    np.testing.assert_allclose(d.stationarity.lab, known, atol=1e-8)
    summary: dict[str, Any] = d.stationarity.summary()
    assert summary["rotating_median"] < 1e-8
    assert summary["lab_median"] == pytest.approx(np.median(np.abs(known)))


def test_a_frame_that_moves_is_undone_by_x0_and_v0(bar: SimpleNamespace) -> None:
    offset, drift = np.array([3.0, -2.0, 0.1]), np.array([15.0, -40.0, 5.0])
    x, score = bar.points.points[:500], bar.points.score[:500]
    gradient = bar.frequencies**2 * x[:, :3]
    moved = x + np.concatenate([offset, drift])
    rate = dx.time_derivative(moved, score, gradient, np.array([0, 0, bar.omega]), x0=offset, v0=drift)
    np.testing.assert_allclose(rate, 0, atol=1e-8)
    assert np.abs(dx.time_derivative(moved, score, gradient, np.array([0, 0, bar.omega]))).max() > 1
    found = dx.non_stationarity(moved, score, gradient, np.array([0, 0, bar.omega]), x0=offset, v0=drift)
    np.testing.assert_array_equal(found.lab, dx.time_derivative(moved, score, gradient, np.zeros(3)))  # the lab does not drift along


def test_coherent_rms_sees_structure_and_not_noise(bar: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.uniform(-1, 1, (2, 40_000))
    noise = rng.normal(size=40_000)
    edges = np.linspace(-1, 1, 11)
    assert dx.coherent_rms(x, y, noise, edges) < 0.03
    structured = noise + 0.5 * np.sign(x * y)
    assert dx.coherent_rms(x, y, structured, edges) == pytest.approx(0.5, rel=0.05)


def test_fourier_strength_of_a_known_pattern() -> None:
    rng = np.random.default_rng(0)
    strength, angle, n = 0.4, 0.7, 200_000
    phi = rng.uniform(0, 2 * np.pi, 2 * n)
    phi = phi[rng.uniform(size=2 * n) * (1 + strength) < 1 + strength * np.cos(2 * (phi - angle))]
    radius = rng.uniform(0.0, 4.0, len(phi))
    positions = np.column_stack([radius * np.cos(phi), radius * np.sin(phi)])
    profile = dx.harmonic_profile(positions, edges=np.linspace(0, 4, 5))
    np.testing.assert_allclose(profile.amplitude, strength / 2, atol=0.01)
    np.testing.assert_allclose(profile.phase, angle, atol=0.02)
    flat = rng.uniform(0, 2 * np.pi, (2000, 100))
    amplitude = np.abs(np.exp(-2j * flat).mean(axis=1))
    ring = dx.harmonic_profile(np.column_stack([np.cos(flat[0]), np.sin(flat[0])]), edges=np.array([0.5, 1.5]))
    assert ring.floor[0] == pytest.approx(amplitude.mean(), rel=0.05)


def test_bar_extent_finds_length_and_angle_and_ignores_spirals_and_discs() -> None:
    radius = np.linspace(0.25, 11.75, 24)
    amplitude = 0.5 * np.exp(-0.5 * ((radius - 3) / 2) ** 2)
    outer = radius > 8
    phase = np.where(outer, 0.3 + (radius - 8), 0.3)
    count = np.full(24, 5000.0)
    error = np.full(24, 0.01)
    profile = dx.HarmonicProfile(radius, np.where(outer, 0.6, amplitude), error, error, phase, count)
    bar = dx.bar_extent(profile)
    assert bar is not None
    assert bar.angle == pytest.approx(0.3, abs=1e-6)
    assert bar.strength == pytest.approx(0.5, abs=0.01)
    assert bar.length == pytest.approx(3 + 2 * np.sqrt(-2 * np.log(0.7)), abs=0.1)
    assert dx.bar_extent(dx.HarmonicProfile(radius, 0.02 + 0 * radius, error, error, phase, count)) is None


def test_bar_of_the_shared_simulation(shared_data) -> None:
    snapshot = np.load(shared_data / "nbody_bar_t1000.npz")
    profile = dx.harmonic_profile(snapshot["pos"].astype(float), edges=np.linspace(0, 16, 33))
    bar = dx.bar_extent(profile)
    assert bar is not None
    assert bar.length == pytest.approx(float(snapshot["R_bar"]), rel=0.1)
    assert abs(np.angle(np.exp(2j * (bar.angle - float(snapshot["bar_angle"]))))) / 2 < np.radians(3)


def test_rotation_to_the_bar_puts_it_on_the_first_axis() -> None:
    along = np.array([[2 * np.cos(0.4), 2 * np.sin(0.4), 0.3]])
    np.testing.assert_allclose(dx.rotate_to_bar(along, 0.4), [[2.0, 0.0, 0.3]], atol=1e-12)


def test_surface_density_integrates_to_the_number_of_stars(bar: SimpleNamespace) -> None:
    x, edges = bar.points.points, np.linspace(-8, 8, 41)
    seen = dx.surface_density(x[:, 0], x[:, 1], edges, edges, total=1e6)
    assert seen.values.sum() * (edges[1] - edges[0]) ** 2 == pytest.approx(1e6, rel=1e-3)
    radius, density, _ = dx.midplane_profile(x, edges=np.array([0.0, 0.5]), half_height=0.1)
    spread = bar.sigma / np.sqrt(bar.frequencies**2 - np.array([bar.omega**2, bar.omega**2, 0]))
    centre = len(x) / ((2 * np.pi) ** 1.5 * np.prod(spread))
    assert density[0] == pytest.approx(centre, rel=0.1)
    assert radius[0] == 0.25


@pytest.mark.parametrize("error", [0.0, 0.1])
def test_force_and_density_errors_are_what_was_put_in(bar: SimpleNamespace, error: float) -> None:
    d = dx.diagnose(bar.points, bar.make_model(bar.volume, error), bar.truth)
    numbers = d.summary()
    for key in ("force_error", "density_error"):
        assert numbers[key]["median"] == pytest.approx(error, abs=1e-9)
        assert numbers[key]["p95"] == pytest.approx(error, abs=1e-9)
    assert d.forces is not None
    used = d.forces.radius
    assert used.max() < bar.volume.r_out
    low = np.abs(d.forces.positions[:, 2]) < 1.5
    assert numbers["force_error"]["n"] == np.sum((used > 1) & (used < 12) & low)


def test_vector_errors_count_direction() -> None:
    positions = np.array([[1.0, 0, 0], [2.0, 0, 0]])
    truth = np.array([[-1.0, 0, 0], [-1.0, 0, 0]])
    fit = np.array([[0.0, -1.0, 0], [-1.1, 0, 0]])
    c = dx.compare(positions, fit, truth, np.array([True, True]))
    np.testing.assert_allclose(c.error, [np.sqrt(2), 0.1])
    np.testing.assert_allclose(dx.cylindrical(np.array([[0.0, 2.0, 0]]), np.array([[1.0, -3.0, 5.0]])), [[-3.0, -1.0, 5.0]])


def test_rotation_curve_and_resonances_of_a_logarithmic_potential() -> None:
    speed = 200.0
    curve = dx.rotation_curve(lambda x: -(speed**2) * x / np.sum(x[:, :2] ** 2, axis=1, keepdims=True), np.linspace(0.2, 20, 400))
    np.testing.assert_allclose(curve.speed, speed)
    radii = curve.resonances(-25.0)
    assert radii["corotation"] == [pytest.approx(8.0, rel=1e-3)]
    assert radii["inner"] == [pytest.approx(8 * (1 - np.sqrt(0.5)), rel=1e-2)]
    assert radii["outer"] == [pytest.approx(8 * (1 + np.sqrt(0.5)), rel=1e-2)]


def test_significance_agrees_with_the_binomial_and_is_a_standard_normal_deviate() -> None:
    d, m, alpha = 130, 400, 0.25
    exact = norm.isf(binom.sf(d - 1, d + m, alpha / (1 + alpha)))
    assert dx.poisson_significance(np.array([d]), np.array([m]), alpha)[0] == pytest.approx(exact, abs=0.1)
    assert dx.poisson_significance(np.array([70]), np.array([400]), alpha)[0] < -2
    assert np.isnan(dx.poisson_significance(np.array([0.0]), np.array([0.0]), alpha)[0])
    rng = np.random.default_rng(0)
    null = dx.poisson_significance(rng.poisson(50, 20_000), rng.poisson(200, 20_000), alpha)
    assert null.std() == pytest.approx(1, abs=0.03)
    assert abs(null.mean()) < 0.05


def test_significance_map_finds_the_pixel_that_differs() -> None:
    rng = np.random.default_rng(1)
    data, model = rng.uniform(0, 4, (2, 4000)), rng.uniform(0, 4, (2, 16_000))
    data = np.hstack([data, rng.uniform(2, 3, (2, 300))])
    edges = np.arange(5.0)
    seen = dx.significance_map((data[0], data[1]), (model[0], model[1]), edges, edges)
    assert np.unravel_index(np.nanargmax(seen.values), seen.values.shape) == (2, 2)
    assert seen.values[2, 2] > 10


def test_no_truth_no_model_no_points(bar: SimpleNamespace) -> None:
    assert dx.diagnose(bar.points, bar.model).summary()["force_error"] is None
    empty = dx.diagnose(None, bar.model)
    assert empty.stationarity is None
    assert empty.omega == bar.omega
    assert empty.curve is not None
    assert dx.diagnose(bar.points, None).stationarity is None


def test_a_ball_has_no_bar_profile_and_no_rotation_curve(bar: SimpleNamespace) -> None:
    ball = bar.make_ball(np.array([2.0, 1.0, 0.0]), 1.0)
    d = dx.diagnose(bar.draw(3000, ball), bar.make_model(ball), None)
    assert d.profile is None
    assert d.curve is None
    assert d.region.inner_radius == pytest.approx(np.sqrt(5) - 1)
    assert d.error_range() == (0.0, float("inf"), float("inf"))


def titles(flags: list[dx.Flag]) -> set[str]:
    return {flag.title for flag in flags if flag.level == "warning"}


def test_a_good_run_raises_no_warning_and_bad_ones_say_what_is_wrong(bar: SimpleNamespace) -> None:
    good = dx.diagnose(bar.points, bar.model, bar.truth)
    # An oscillator turns with one angular speed everywhere, faster than its bar, and a Gaussian bar gets ever thinner outwards.
    assert titles(dx.find_flags(good, bar.make_summary())) == {"Corotation outside the volume", "The bar ends outside the volume"}
    summary = bar.make_summary()
    summary["quick"] = True
    summary["pattern_speed"] |= {"value": 20.0, "growth_rate": 9.0, "detected": False}
    summary["history"]["potential"]["outcome"] = "diverged"
    restart = {"at": 30, "back_to": 20, "rate_factor": 0.25, "reason": "a loss of inf", "stage": "fine-tuning", "member": 1}
    summary["history"]["distribution"]["restarts"] = [restart]
    summary["n_stars"] = 2000
    bad = dx.diagnose(bar.points, bar.make_model(bar.volume, error=-1.5, omega=2.0), bar.truth)
    assert titles(dx.find_flags(bad, summary)) == {
        "Quick run",
        "Few stars",
        "Axisymmetric within the noise",
        "Two pattern speeds disagree",
        "The bar changes",
        "Not stationary in the rotating frame",
        "Negative matter density",
        "Large force errors",
        "The bar ends outside the volume",
        "Training of the potential diverged",
        "Training of the distribution went back",
    }
    (text,) = (flag.text for flag in dx.find_flags(bad, summary) if flag.title == "The bar changes")
    assert "growing at 9.0/Gyr (e-folding 111 Myr)" in text
    (text,) = (flag.text for flag in dx.find_flags(bad, summary) if "went back" in flag.title)
    assert text.startswith("The fine-tuning of member 1 diverged at step 30 (a loss of inf); it goes on from step 20")


def test_a_bar_that_reaches_beyond_the_stars_is_flagged(bar: SimpleNamespace) -> None:
    radius = np.linspace(0.1, 8, 160)
    d = dx.diagnose(bar.points, bar.model)
    assert d.bar is not None and d.profile is not None
    short, long = (dataclasses.replace(d.bar, length=length) for length in (4.0, float(d.profile.radius[-1])))

    def found(speed: float, **changes: Any) -> set[str]:
        curve = dx.RotationCurve(radius, speed + 0 * radius, speed / radius, np.sqrt(2) * speed / radius)
        return titles(dx.find_flags(dataclasses.replace(d, curve=curve, **{"bar": short, **changes})))

    assert found(150.0) == set()  # corotation at 5 kpc
    assert found(300.0) == {"Corotation outside the volume"}  # at 10 kpc
    hollow = bar.make_model(bar.volume)
    hollow.in_training_volume = lambda pos: np.hypot(*pos.value[:, :2].T) > 6
    assert found(150.0, field=Field(hollow)) == {"Corotation outside the volume"}
    assert found(210.0, field=Field(hollow)) == set()  # 7 kpc
    assert found(150.0, bar=long) == {"The bar ends outside the volume"}
    assert found(300.0, bar=None) == {"Axisymmetric within the noise"}
    notes = [flag.title for flag in dx.find_flags(d) if flag.level == "note"]
    assert "Valid inside the volume only" in notes


def test_an_axis_elsewhere_and_a_run_without_scores_have_no_flags_of_others(bar: SimpleNamespace) -> None:
    beside = dx.Region.of(bar.make_ball(np.array([7.0, 0.0, 0.0]), 3.0))
    assert not beside.holds_the_axis
    assert dataclasses.replace(beside, axis=(7.5, 0.0, 0.0)).holds_the_axis
    d = dx.diagnose(bar.points, bar.model)
    few = bar.make_summary() | {"n_stars": 5000}
    assert "Few stars" in {flag.title for flag in dx.find_flags(d, few)}
    assert "Few stars" not in {flag.title for flag in dx.find_flags(d, few | {"preset": {"method": "weak"}})}
    changes = {"growth_rate": 3.02, "growth_rate_error": 0.1}  # beside a tenth of Omega, 3.01 km/s/kpc or 3.08 / Gyr
    for unit, seen in ((None, True), ("1/Gyr", False)):
        speed = {**bar.make_summary()["pattern_speed"], **changes, "growth_unit": unit}
        found = {flag.title for flag in dx.find_flags(d, bar.make_summary() | {"pattern_speed": speed})}
        assert ("The bar changes" in found) == seen


NEAR = Mask(SelectionFunction.from_distance_limit(np.full(3072, 8.5) * u.kpc))


@pytest.mark.parametrize(("center", "mask", "apart"), [((2.0, 1.0), None, True), ((0.3, 0.0), None, False), ((0.3, 0.0), NEAR, True)])
def test_a_part_of_a_galaxy_is_said_to_know_its_own_pattern(
    bar: SimpleNamespace, center: tuple[float, float], mask: Mask | None, apart: bool
) -> None:
    ball = bar.make_ball(np.array([*center, 0.0]), 1.0)
    ball = ball if mask is None else ball.masked(mask)
    found = dx.find_flags(dx.diagnose(bar.draw(2000, ball), bar.make_model(ball)), bar.make_summary())
    assert ("The pattern of this volume" in {flag.title for flag in found}) == apart
    assert "The pattern of this volume" not in {
        flag.title for flag in dx.find_flags(dx.diagnose(bar.points, bar.model), bar.make_summary())
    }
