"""ln Z of densities whose integral is known."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.distribution.normalisation import log_normalisation
from deeppot_galactic.distribution.whitening import AffineWhitening
from deeppot_galactic.errors import FitError

IDENTITY = AffineWhitening({"mean": np.zeros(6), "scale": np.ones(6)})
WIDE = Ball(np.zeros(3) * u.kpc, 100 * u.kpc)


def log_p(y: torch.Tensor) -> torch.Tensor:
    return -0.5 * (y * y).sum(1)


def test_gaussian_and_its_error_bar():
    pulls = []
    for seed in range(8):
        y = np.random.default_rng(seed).standard_normal((4000, 6)) * np.array([1, 1, 1, 1, 1, 1.0])
        shifted, error = log_normalisation(lambda p: log_p(p) + 7.0, IDENTITY, WIDE, y, None, seed)
        assert shifted == pytest.approx(3 * np.log(2 * np.pi) + 7.0, abs=0.02)
        pulls.append((shifted - 3 * np.log(2 * np.pi) - 7.0) / max(error, 1e-4))
    assert np.std(pulls) < 4.0


def test_reference_far_from_the_density():
    """A mixture that the Gaussian reference describes badly."""
    rng = np.random.default_rng(0)
    y = rng.standard_normal((20_000, 6))
    y[:, 0] += np.where(rng.random(20_000) < 0.5, 2.5, -2.5)

    def mixture(p: torch.Tensor) -> torch.Tensor:
        rest = -0.5 * (p[:, 1:] ** 2).sum(1)
        return rest + torch.logaddexp(-0.5 * (p[:, 0] - 2.5) ** 2, -0.5 * (p[:, 0] + 2.5) ** 2)

    found, error = log_normalisation(mixture, IDENTITY, WIDE, y, None, 0)
    expected = 3 * np.log(2 * np.pi) + np.log(2.0)
    assert abs(found - expected) < 4 * error + 0.01
    assert 0.001 < error < 0.05


def test_cut_to_the_volume():
    """Inside a ball of radius 1.5: the chi distribution of three degrees of freedom."""
    from scipy.stats import chi

    y = np.random.default_rng(0).standard_normal((30_000, 6))
    ball = Ball(np.zeros(3) * u.kpc, 1.5 * u.kpc)
    y = y[ball.contains(y[:, :3])]
    found, _ = log_normalisation(log_p, IDENTITY, ball, y, None, 0)
    assert found == pytest.approx(3 * np.log(2 * np.pi) + np.log(chi(3).cdf(1.5)), abs=0.02)


def test_weighted_stars():
    """Stars drawn from a wider Gaussian and weighted back."""
    y = 1.2 * np.random.default_rng(0).standard_normal((40_000, 6))
    ln_w = log_p(torch.from_numpy(y)).numpy() + 0.5 * ((y / 1.2) ** 2).sum(1)
    found, _ = log_normalisation(log_p, IDENTITY, WIDE, y, np.exp(ln_w), 0)
    assert found == pytest.approx(3 * np.log(2 * np.pi), abs=0.03)


def test_failures_are_named():
    y = np.random.default_rng(0).standard_normal((1000, 6))
    with pytest.raises(FitError, match="not finite"):
        log_normalisation(lambda p: log_p(p) * np.nan, IDENTITY, WIDE, y, None, 0)
    with pytest.raises(FitError, match="misses the volume"):
        log_normalisation(log_p, IDENTITY, Ball([50, 0, 0] * u.kpc, 1 * u.kpc), y, None, 0)
