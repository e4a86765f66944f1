"""Errors of the pattern speed: the ends of the bar, and the bootstrap off the axis."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue import Ball, Cylinder, Tracers
from deeppot_galactic.errors import AxisymmetryWarning
from deeppot_galactic.mocks import ErgodicBar
from deeppot_galactic.potential import pattern, pattern_speed
from deeppot_galactic.potential.annuli import LOCAL_SCATTER, annuli, end_speeds
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
