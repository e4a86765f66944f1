"""Errors of forces from learned scores: neighbours share errors, which no scatter of residuals shows."""

from dataclasses import replace

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.potential.pointwise import covariance_of_scores, fit_pointwise
from deeppot_galactic.potential.posterior import PotentialPosterior
from deeppot_galactic.potential.weak_fit import fit_weak

BALL = Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc)


@pytest.fixture(scope="module")
def galaxy():
    mock = ErgodicBar()
    w = mock.sample(20_000, np.random.default_rng(0))
    return mock, w[BALL.contains(w[:, :3])]


@pytest.fixture(scope="module")
def fits(galaxy):
    mock, w = galaxy
    weak = fit_weak(w, BALL)
    w = w[np.isfinite(mock.score(w)).all(axis=1)]
    return weak, *fit_pointwise(w, mock.score(w), BALL, weak.base, prior=weak.density_prior)


@pytest.mark.parametrize("factor", [1.0, 30.0, 1000.0])
def test_the_factor_is_what_explains_the_disagreement(galaxy, fits, factor):
    (_, w), (weak, potential, scores) = galaxy, fits
    own, stars = scores.covariance[1:, 1:], weak.solution.covariance[1:, 1:]
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        apart = rng.multivariate_normal(np.zeros(len(own)), factor * own + stars, method="eigh")
        moved = replace(scores, coefficients=weak.solution.coefficients + apart)
        joined = covariance_of_scores(w[:, :3], potential.basis, moved, weak.solution)
        found.append(np.trace(joined - stars) / np.trace(own))
        assert found[-1] >= 1.0 - 1e-9
    # A covariance that the stars make much larger than the scores' own says little about the factor.
    if factor == 1000.0:
        assert 0.4 < np.median(found) / factor < 2.5
    assert np.median(found) < 100.0 * factor


def test_errors_of_learned_scores_are_not_hidden_by_many_points(galaxy, fits):
    """Scores that are wrong in the same way for all stars: the claims contain most of the errors that this makes, not a tenth of them."""
    (mock, w), (weak, _, _) = galaxy, fits
    w = w[np.isfinite(mock.score(w)).all(axis=1)]
    phase = 2.0 * w[:, :3] @ np.array([1.0, 0.6, 0.0])
    score = mock.score(w) * (1.0 + 0.3 * np.sin(phase))[:, None] ** np.array([0, 0, 0, 1, 1, 1])
    potential, solution = fit_pointwise(w, score, BALL, weak.base, prior=weak.density_prior)
    x = w[:500, :3]
    deviation = np.abs(potential.evaluate(x, 1)[1] + mock.acceleration(x))
    plain = PotentialPosterior(potential.basis, solution.covariance[1:, 1:])
    joined = PotentialPosterior(potential.basis, covariance_of_scores(w[:, :3], potential.basis, solution, weak.solution))
    assert np.mean(deviation < plain.gradient_error(x)) < 0.45
    assert 0.5 < np.mean(deviation < joined.gradient_error(x)) < 0.95
