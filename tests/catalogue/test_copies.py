"""Copies that take known errors out of sums, against means that are known exactly."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue import Ball, Tracers, galactocentric
from deeppot_galactic.catalogue.copies import error_copies
from deeppot_galactic.catalogue.frames import sky_to_phase_space
from deeppot_galactic.catalogue.uncertainty import Observations
from deeppot_galactic.errors import CatalogueError

N = 40_000


def blurred(sigma: np.ndarray, seed: int = 0) -> tuple[Tracers, np.ndarray]:
    """Stars with errors ``sigma`` (N,) in every coordinate, and the true ones."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(len(sigma), 6)) * 0.3 + 1.0
    covariance = np.eye(6) * sigma[:, None, None] ** 2
    return Tracers(true + sigma[:, None] * rng.standard_normal(true.shape), covariance=covariance), true


@pytest.mark.parametrize("order", [1, 2])
def test_means_of_a_wave_against_the_exact_ones(order: int) -> None:
    """Noise damps cos(k x) by q = exp(-k^2 sigma^2 / 2); the copies leave 1 - (1 - q)^(order + 1) of it, star by star."""
    k, sigma = 2.0, np.random.default_rng(1).uniform(0.1, 0.5, N)
    tracers, true = blurred(sigma)
    copies = error_copies(tracers, order=order, n_pairs=2, seed=3)
    assert copies.coefficients.sum() == pytest.approx(1.0) and copies.rows.shape == (N, 1 + 4 * order, 6)
    q, truth = np.exp(-0.5 * (k * sigma) ** 2), np.cos(k * true[:, 0])
    observed = np.cos(k * copies.rows[:, 0, 0])
    corrected = np.cos(k * copies.rows[:, :, 0]) @ copies.coefficients
    for found, left in ((observed, q), (corrected, 1.0 - (1.0 - q) ** (order + 1))):
        noise = np.std(found - left * truth) / np.sqrt(N)
        assert abs(np.mean(found - left * truth)) < 4.0 * noise
    assert abs(np.mean(corrected - truth)) < 0.3 * abs(np.mean(observed - truth))


def test_skewed_distances_are_taken_back_too() -> None:
    """1 / parallax is biased to large distances by sigma^2 / parallax^2; the sum over copies is not."""
    rng, frame = np.random.default_rng(5), galactocentric()
    parallax = rng.uniform(0.4, 0.8, N)
    errors = np.tile([0.0, 0.0, 0.05, 0.05, 0.05, 1.0], (N, 1))
    true = np.stack([rng.uniform(0, 360, N), np.degrees(np.arcsin(rng.uniform(-1, 1, N))), parallax, *rng.normal(0, 3, (3, N))], axis=1)
    values = true + errors * rng.standard_normal(true.shape)
    observations = Observations(values, errors, None, "icrs", True)
    tracers = Tracers(observations.phase_space(frame), frame=frame, observations=observations)
    true[:, 2] = 1.0 / true[:, 2]
    sun = sky_to_phase_space(np.array([[0.0, 0.0, 1e-9, 0.0, 0.0, 0.0]]), frame)[0, :3]
    copies = error_copies(tracers, seed=2)
    distances = np.linalg.norm(copies.rows[:, :, :3] - sun, axis=2)
    biased, corrected = distances[:, 0] - true[:, 2], distances @ copies.coefficients - true[:, 2]
    noise = np.std(corrected) / np.sqrt(N)
    assert np.mean(biased) == pytest.approx(np.mean(0.05**2 / parallax**3), rel=0.2)
    assert np.mean(biased) > 5.0 * noise and abs(np.mean(corrected)) < 4.0 * noise


def test_unknown_errors_count_as_they_are_and_the_seed_decides() -> None:
    tracers, _ = blurred(np.full(100, 0.2))
    covariance = np.array(tracers.covariance)
    covariance[:50] = np.nan
    tracers = Tracers(tracers.phase_space, covariance=covariance)
    assert tracers.covariance_known == 50
    copies = error_copies(tracers, seed=1)
    assert np.array_equal(copies.rows[:50], np.repeat(tracers.phase_space[:50, None], copies.rows.shape[1], axis=1))
    assert np.array_equal(copies.rows, error_copies(tracers, seed=1).rows)
    assert not np.array_equal(copies.rows, error_copies(tracers, seed=2).rows)


def test_stars_that_noise_may_bring_into_a_volume() -> None:
    tracers, _ = blurred(np.full(5000, 0.3))
    ball = Ball(np.ones(3) * u.kpc, 0.4 * u.kpc)
    copies = error_copies(tracers)
    reach = copies.reaching(ball)
    by_hand = np.array([ball.contains(star[:, :3]).any() for star in copies.rows])
    assert np.array_equal(reach, by_hand) and reach.sum() > 1.2 * ball.contains(tracers.phase_space[:, :3]).sum()
    assert len(copies[reach]) == reach.sum()


def test_refusals() -> None:
    tracers, _ = blurred(np.full(10, 0.1))
    with pytest.raises(CatalogueError, match="order of the error correction must be 1 or 2"):
        error_copies(tracers, order=3)
    with pytest.raises(CatalogueError, match="n_pairs"):
        error_copies(tracers, n_pairs=0)
    with pytest.raises(CatalogueError, match="no errors"):
        error_copies(Tracers(tracers.phase_space))
