"""The pattern speed of patterns that grow, and in balls; its errors: the ends of the bar, and the bootstrap off the axis."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue import Ball, Cylinder, Tracers
from deeppot_galactic.errors import AxisymmetryWarning
from deeppot_galactic.mocks import ErgodicBar, GaussianBar
from deeppot_galactic.potential import pattern, pattern_speed
from deeppot_galactic.potential.annuli import LOCAL_SCATTER, annuli, annulus_sums, end_speeds
from deeppot_galactic.potential.weak_fit import fit_weak

DISC = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)
ANGLE = 0.4


def turning_bar(speed):
    """100,000 stars of a bar along ``ANGLE``, each on a circle at ``speed(x along the bar)``, km/s/kpc."""
    rng = np.random.default_rng(0)
    along, across, z = rng.normal(size=(3, 100_000)) * np.array([[2.0], [0.8], [0.3]])
    x = np.stack([along * np.cos(ANGLE) - across * np.sin(ANGLE), along * np.sin(ANGLE) + across * np.cos(ANGLE), z], axis=1)
    turn = speed(along)
    return np.hstack([x, np.stack([-turn * x[:, 1], turn * x[:, 0], 0 * z], axis=1)])


def growing_bar(omega, growth, n=30_000):
    """Stars of density rho_0 (1 + e cos 2 phi), e = 1/2, about ``ANGLE``, with random velocities and the rotation with which continuity has
    the pattern turn at ``omega`` and e grow at ``growth``, km/s/kpc: d/dphi ((1 + e cos 2 phi) dphi/dt) = -growth e cos 2 phi."""
    rng, e = np.random.default_rng(1), 0.5
    phi = rng.uniform(-np.pi, np.pi, 4 * n)
    phi = phi[rng.uniform(0.0, 1.0 + e, 4 * n) < 1.0 + e * np.cos(2.0 * phi)][:n]
    turn = omega - growth * e * np.sin(2.0 * phi) / (2.0 + 2.0 * e * np.cos(2.0 * phi))
    radius, z = rng.gamma(2.0, size=n), rng.normal(0.0, 0.3, n)
    x = np.stack([radius * np.cos(phi + ANGLE), radius * np.sin(phi + ANGLE), z], axis=1)
    return np.hstack([x, rng.normal(0.0, 40.0, (n, 3)) + np.stack([-turn * x[:, 1], turn * x[:, 0], 0 * z], axis=1)])


@pytest.mark.parametrize("growth", [5.0, -5.0])
@pytest.mark.parametrize(
    "volume",
    [Cylinder(r_out=8 * u.kpc, half_height=2 * u.kpc), Ball([0, 0, 0] * u.kpc, 8 * u.kpc), Ball([0, 0, 1] * u.kpc, 6 * u.kpc)],
    ids=["disc", "ball", "ball above the centre"],
)
def test_growth_is_told_from_rotation(volume, growth):
    speed = pattern_speed(Tracers(growing_bar(37.0, growth)), volume)
    assert abs(speed.value.value - 37.0) < 3.0 * speed.error.value < 4.5
    found, error = (rate.to_value(u.km / u.s / u.kpc) for rate in (speed.growth_rate, speed.growth_rate_error))
    assert abs(found - growth) < 3.0 * error
    assert abs(found) > 3.0 * error


@pytest.mark.parametrize("volume", [DISC, Ball([0, 0, 0.5] * u.kpc, 3 * u.kpc)], ids=["disc", "ball"])
def test_rates_are_the_change_of_the_test_functions_along_the_orbit(volume):
    stars, edges, step = growing_bar(37.0, 5.0, n=500), annuli(volume), 1e-6

    def functions(time):
        moved = stars + time * np.hstack([stars[:, 3:], 0.0 * stars[:, 3:]])
        return annulus_sums(moved, volume, edges, (1, 2), None)

    assert functions(0.0)[1] == pytest.approx((functions(step)[0] - functions(-step)[0]) / (2.0 * step), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("radius", [3.0, 5.0])
def test_a_ball_about_the_centre_sees_what_a_disc_sees(radius):
    stars = Tracers(GaussianBar(lengths=(2.2, 1.2, 0.4), sigma=80.0, omega=40.0, angle=0.3).sample(60_000, np.random.default_rng(0)))
    disc = pattern_speed(stars, Cylinder(r_out=radius * u.kpc, half_height=1.5 * u.kpc))
    ball = pattern_speed(stars, Ball([0, 0, 0] * u.kpc, radius * u.kpc))
    assert abs(ball.value.value - 40.0) < 2.0 * ball.error.value
    assert abs(ball.growth_rate) < 3.0 * ball.growth_rate_error
    assert ball.statistical < 1.5 * disc.statistical
    assert ball.by_radius["in_pattern"].any()
    assert ball.by_radius["R_hi"][-1].to_value(u.kpc) == pytest.approx(radius)


def test_a_pattern_too_weak_for_annuli_is_seen_in_the_whole_ball():
    stars = GaussianBar(lengths=(2.2, 1.2, 0.4), sigma=80.0, omega=40.0, angle=0.3).sample(1500, np.random.default_rng(0))
    ball = Ball([0, 0, 0] * u.kpc, 5 * u.kpc)
    assert not pattern._in_annuli(stars, ball, None, 20, 0, None).detected
    speed = pattern_speed(Tracers(stars), ball)
    assert speed.detected
    assert abs(speed.value.value - 40.0) < 3.0 * speed.error.value < 12.0
    assert len(speed.by_radius) == 0
    assert np.isnan(speed.growth_rate)


def ends(stars):
    edges = annuli(DISC)[5:9]
    return end_speeds(stars, DISC, edges, np.full(4, 0.25), ANGLE, None, None)


def test_both_ends_of_a_rigid_bar_turn_at_its_speed():
    speeds, covariance = ends(turning_bar(lambda along: np.full_like(along, 37.0)))
    assert speeds == pytest.approx([37.0, 37.0], rel=1e-9)
    assert np.abs(covariance).max() < 1e-12


def test_the_end_that_turns_faster_is_told_from_the_other():
    speeds, covariance = ends(turning_bar(lambda along: np.where(along > 0, 40.0, 34.0)))
    assert 34.0 < speeds[1] < 36.0 < 38.0 < speeds[0] < 40.0
    assert np.sqrt(covariance.diagonal()).max() < 0.5


def test_ends_that_disagree_are_a_systematic_error():
    speed = pattern_speed(Tracers(turning_bar(lambda along: np.where(along > 0, 40.0, 34.0))), DISC)
    same = pattern_speed(Tracers(turning_bar(lambda along: np.full_like(along, 37.0))), DISC)
    assert same.systematic.value < 1e-3
    assert 1.0 < speed.systematic.value < 4.0
    assert abs(speed.value.value - 37.0) < speed.error.value


def test_errors_off_the_axis_come_from_a_bootstrap():
    mock, ball = ErgodicBar(), Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc)
    halves = [Tracers(mock.sample(15_000, np.random.default_rng(seed))) for seed in range(8)]
    found = [pattern_speed(half, ball, n_bootstrap=60) for half in halves]
    scatter = np.std([speed.value.value for speed in found], ddof=1)
    claimed = np.median([speed.statistical.value for speed in found])
    assert 0.5 * scatter < claimed < 2.0 * scatter
    again = pattern_speed(halves[0], ball, n_bootstrap=60)
    assert again.statistical == found[0].statistical
    others = {pattern_speed(halves[0], ball, n_bootstrap=60, seed=seed).statistical.value for seed in range(4)}
    assert len(others) > 1
    assert np.ptp(list(others)) < 0.5 * claimed


def test_a_part_of_a_galaxy_claims_what_patterns_there_differ_by():
    w = ErgodicBar().sample(60_000, np.random.default_rng(1))
    stars = Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s)
    apart, around = (pattern_speed(stars, Ball(centre * u.kpc, 1.7 * u.kpc)) for centre in ([2.0, 0.7, 0.0], [0.5, 0.0, 0.0]))
    assert apart.systematic >= LOCAL_SCATTER * abs(apart.value)
    assert around.systematic < LOCAL_SCATTER * abs(around.value)
    weak = fit_weak(w, Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc))
    assert weak.local == pytest.approx(LOCAL_SCATTER * weak.solution.omega)
    assert weak.omega_error == pytest.approx(np.hypot(weak.frame_error, weak.local))
    assert weak.given((39.0, 100.0), weak.omega_error).omega_error == pytest.approx(weak.omega_error, rel=0.01)


def test_an_error_of_half_the_speed_is_no_detection(monkeypatch):
    monkeypatch.setattr(pattern, "_bootstrap_error", lambda *_: 60.0)
    w = ErgodicBar().sample(60_000, np.random.default_rng(1))
    stars = Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s)
    with pytest.warns(AxisymmetryWarning, match="no steady pattern in the ball"):
        speed = pattern_speed(stars, Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc))
    assert not speed.detected
    assert speed.error.value >= abs(speed.value.value)
