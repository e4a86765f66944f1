r"""The scale of an unnormalised density, by Bennett's acceptance ratio.

Given ln p~ known up to Z = \int_V p~, the stars (draws from p~ / Z inside the volume V) and draws from a normalised reference q on V,
ln Z is the c that solves

    sum_stars w [1 - S(l - c + M)] = sum_reference S(l - c + M),    l = ln p~ - ln q,  M = ln(sum w / n_reference),  S logistic,

which is the one-parameter logistic regression between the two samples: the estimator of least variance among all that weigh the two
(Bennett 1976; Meng & Wong 1996), without the heavy tails of plain importance sampling in either direction. The reference is a
Gaussian in whitened coordinates with the stars' mean and covariance, cut to the volume by rejection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import expit

from ..errors import FitError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..catalogue.volumes import Volume
    from .whitening import Whitening

REFERENCE = 65536
"""Draws from the reference."""


def log_normalisation(
    log_p: Callable[[Tensor], Tensor],
    whitening: Whitening,
    volume: Volume,
    y: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    seed: int,
) -> tuple[float, float]:
    """ln Z of ln p~ over the volume, in whitened coordinates.

    Parameters
    ----------
    log_p : callable
        Whitened points, float64 tensor (n, 6), to ln p~ (n,).
    whitening : Whitening
        Maps the reference draws to positions, for the cut to the volume.
    volume : Volume
        Region of the normalisation.
    y : ndarray, shape (n, 6)
        Whitened stars, all inside the volume.
    weights : ndarray, shape (n,), optional
        Star weights.
    seed : int
        Seed of the reference draws.

    Returns
    -------
    log_z, error : float
        The estimate and its standard error.

    Raises
    ------
    FitError
        When the reference misses the volume, or p~ is not finite there.
    """
    w = np.ones(len(y)) if weights is None else weights / weights.mean()
    mean = np.average(y, axis=0, weights=w)
    covariance = np.cov(y.T, aweights=w)
    lower = np.linalg.cholesky(covariance + 1e-9 * np.eye(6))
    rng = np.random.default_rng([seed, 0x5EED])
    normal = rng.standard_normal((REFERENCE, 6))
    points = mean + normal @ lower.T
    inside = volume.contains(whitening.inverse(torch.from_numpy(points)).numpy()[:, :3])
    share = inside.mean()
    if share < 1e-3:
        raise FitError("the Gaussian reference misses the volume; the stars do not fill it, so f cannot be normalised there")
    points = points[inside]

    def log_ratio(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        offset = np.linalg.solve(lower, (rows - mean).T)
        log_q = -0.5 * (offset**2).sum(0) - np.log(np.diag(lower)).sum() - 3.0 * np.log(2.0 * np.pi) - np.log(share)
        return log_p(torch.from_numpy(np.ascontiguousarray(rows))).numpy() - log_q

    stars, reference = log_ratio(y), log_ratio(points)
    if not (np.isfinite(stars).all() and np.isfinite(reference).all()):
        raise FitError("ln f is not finite at some stars; the training diverged, lower the rate")
    offset = np.log(w.sum() / len(reference))

    def imbalance(c: float) -> float:
        return float((w * expit(c - stars - offset)).sum() - expit(reference - c + offset).sum())

    both = np.concatenate([stars, reference])
    log_z = float(np.asarray(brentq(imbalance, both.min() - 40.0, both.max() + 40.0)))
    s1, s0 = expit(log_z - stars - offset), expit(reference - log_z + offset)
    information = (w * s1 * (1.0 - s1)).sum() + (s0 * (1.0 - s0)).sum()
    variance = 1.0 / information - 1.0 / w.sum() - 1.0 / len(reference)
    return log_z, float(np.sqrt(max(variance, 0.0) + (1.0 - share) / (share * REFERENCE)))
