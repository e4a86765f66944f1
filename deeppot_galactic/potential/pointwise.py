r"""Phi and Omega from scores on a linear basis: robust least squares on the pointwise residual.

At points (x, v) of f with s = grad ln f and a frame about z,

    r = -v . s_x + Omega [ (e_z x x) . s_x + (e_z x v) . s_v ] + grad Phi_base . s_v + sum_k c_k grad B_k . s_v

is linear in (Omega, c). Iteratively re-weighted least squares with weights (1 + (r / tau_r)^2)^(-1/2) minimises the pseudo-Huber loss of
`stationarity`; prior, evidence and density >= 0 are those of `linear`. The covariance is the sandwich S = H^-1 (sum w^2 r^2 a a^T) H^-1.

That takes the points for independent. Errors of learned scores are not: neighbours share them, and S claims a tenth of the errors of the
forces. What the stars leave open is in the weak form's covariance W; how far the two potentials are apart shows what the scores add.
`covariance_of_scores` is W + k S with the least k >= 1 for which it claims the median difference between the forces: no model of how the
two errors depend on each other, but no less than either says and than what is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..catalogue.volumes import Volume
from .analytic import AnalyticPotential
from .basis import Basis, LinearPotential, basis_for
from .linear import DensityPrior, LinearSolution, Quadratic, solve
from .posterior import PotentialPosterior

Array = NDArray[np.float64]
_CHUNK = 4096
_ITERATIONS, _CHOOSING = 8, 3  # of which the first choose the scales of the prior
_PLACES = 1000  # at which forces are compared
_MEDIAN = 0.4549  # of chi^2 with one degree of freedom
_LOG_FACTOR = 20.0  # largest ln k


class PointwiseSystem:
    """Rows of the pointwise residual, kept in float32.

    Parameters
    ----------
    points, score : (n, 6) arrays
    volume : Volume
        Points are weighted by its boundary weight.
    base : AnalyticPotential
    basis : Basis
    weights : (n,) array, optional
    """

    def __init__(
        self, points: Array, score: Array, volume: Volume, base: AnalyticPotential, basis: Basis, *, weights: Array | None = None
    ) -> None:
        self.basis = basis
        self.rows = np.empty((len(points), basis.size + 1), dtype=np.float32)
        self.offset = np.empty(len(points))
        for start in range(0, len(points), _CHUNK):
            part = slice(start, start + _CHUNK)
            x, v, sx, sv = points[part, :3], points[part, 3:], score[part, :3], score[part, 3:]
            self.rows[part, 0] = _z_cross(x, sx) + _z_cross(v, sv)
            gradient = basis.evaluate(x, 1)[1]
            self.rows[part, 1:] = np.einsum("nkd,nd->nk", gradient, sv, optimize=True)
            self.offset[part] = np.sum(base.evaluate(x, 1)[1] * sv, axis=1) - np.sum(v * sx, axis=1)
        self.weight = volume.boundary_weight(points[:, :3])[0]
        if weights is not None:
            self.weight = self.weight * weights

    @classmethod
    def of(
        cls,
        points: Array,
        score: Array,
        volume: Volume,
        base: AnalyticPotential,
        basis: Basis,
        weights: Array | None,
        n_max: int,
        seed: int,
    ) -> PointwiseSystem:
        """The rows of at most ``n_max`` points, a random subset."""
        if len(points) > n_max:
            keep = np.sort(np.random.default_rng(seed).permutation(len(points))[:n_max])
            points, score, weights = points[keep], score[keep], None if weights is None else weights[keep]
        return cls(points, score, volume, base, basis, weights=weights)

    def _chunks(self) -> Iterator[tuple[Array, Array, Array]]:
        for start in range(0, len(self.rows), 4 * _CHUNK):
            part = slice(start, start + 4 * _CHUNK)
            yield self.rows[part].astype(float), self.offset[part], self.weight[part]

    def residual(self, theta: Array) -> Array:
        """r at the points, km/s/kpc."""
        return np.concatenate([offset + rows @ theta for rows, offset, _ in self._chunks()])

    def quadratic(self, theta: Array | None) -> tuple[Quadratic, Array, float]:
        """Normal equations re-weighted at ``theta``, the sum of squared gradients for the sandwich, and the sum of the weights."""
        r = self.offset if theta is None else self.residual(theta)
        scale = max(1.5 * float(np.median(np.abs(r[self.weight > 0]))), 1e-3)
        robust = 1.0 / np.sqrt(1.0 + (r / scale) ** 2)
        size = self.rows.shape[1]
        hessian, slope, meat, constant, total = np.zeros((size, size)), np.zeros(size), np.zeros((size, size)), 0.0, 0.0
        start = 0
        for rows, offset, weight in self._chunks():
            part = slice(start, start + len(rows))
            w = weight * robust[part] / scale**2
            total += float(np.sum(w))
            hessian += (rows * w[:, None]).T @ rows
            slope += rows.T @ (w * offset)
            constant += float(np.sum(w * offset**2))
            pull = rows * (w * r[part])[:, None]
            meat += pull.T @ pull
            start += len(rows)
        return Quadratic(hessian, slope, constant, len(self.rows)), meat, total


def _z_cross(a: Array, b: Array) -> Array:
    """(e_z x a) . b"""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def fit_pointwise(
    points: Array,
    score: Array,
    volume: Volume,
    base: AnalyticPotential,
    *,
    weights: Array | None = None,
    basis: Basis | None = None,
    prior: DensityPrior | None = None,
    held: float | None = None,
    n_max: int = 65_536,
    seed: int = 0,
) -> tuple[LinearPotential, LinearSolution]:
    """Fit (Omega, c) to scores.

    Parameters
    ----------
    points, score : (n, 6) arrays
        kpc, km/s; 1/kpc, s/km. At most ``n_max`` of them are used, a random subset.
    volume : Volume
    base : AnalyticPotential
    weights : (n,) array, optional
    basis : Basis, optional
    prior : DensityPrior, optional
        Of the same basis, base and volume, where it has been made already.
    held : float, optional
        Omega in km/s/kpc, where it is not to be fitted.
    n_max, seed : int

    Returns
    -------
    LinearPotential, LinearSolution
    """
    system = PointwiseSystem.of(points, score, volume, base, basis_for(volume) if basis is None else basis, weights, n_max, seed)
    prior = DensityPrior(system.basis, base, volume, seed=seed) if prior is None else prior
    solution = iterate(system, prior, held=held)[0]
    return LinearPotential(base, system.basis, solution.coefficients), solution


def iterate(system: PointwiseSystem, prior: DensityPrior, *, held: float | None = None) -> tuple[LinearSolution, Quadratic, float]:
    """Re-weight and solve until it stays; the solution, its last quadratic, and the sum of the weights in it, 1 / (km/s/kpc)^2."""
    quadratic, meat, total = system.quadratic(None)
    solution = solve(quadratic, prior, held=held, nonnegative=False)
    for k in range(1, _ITERATIONS):
        quadratic, meat, total = system.quadratic(np.concatenate([[solution.omega], solution.coefficients]))
        scales = None if k < _CHOOSING else solution.scales
        solution = solve(quadratic, prior, held=held, scales=scales, nonnegative=k == _ITERATIONS - 1)
    inverse = solution.covariance
    solution.covariance = inverse @ meat @ inverse
    return solution, quadratic, total


def covariance_of_scores(x: Array, basis: Basis, scores: LinearSolution, weak: LinearSolution) -> Array:
    """Covariance of the coefficients of a fit to learned scores (module docstring).

    Parameters
    ----------
    x : (n, 3) array
        Positions of stars, kpc.
    basis : Basis
        Of both solutions.
    scores, weak : LinearSolution
        On the scores, and of the weak form, about the same base.

    Returns
    -------
    (K, K) array, (km/s)^4
    """
    x = x[np.linspace(0, len(x) - 1, min(_PLACES, len(x))).astype(int)]
    own, stars = scores.covariance[1:, 1:], weak.covariance[1:, 1:]
    apart = np.einsum("nkd,k->nd", basis.evaluate(x, 1)[1], scores.coefficients - weak.coefficients) ** 2
    of_scores, of_stars = (PotentialPosterior(basis, c).gradient_error(x) ** 2 for c in (own, stars))
    known = of_scores > 0.0  # not so the vertical force in the plane
    apart, of_scores, of_stars = apart[known], of_scores[known], of_stars[known]

    def excess(log_factor: float) -> float:
        return float(np.median(apart / (np.exp(log_factor) * of_scores + of_stars))) - _MEDIAN

    if not len(apart) or excess(0.0) <= 0.0:
        return stars + own
    log_factor: Any = _LOG_FACTOR if excess(_LOG_FACTOR) > 0.0 else brentq(excess, 0.0, _LOG_FACTOR)
    return stars + np.exp(log_factor) * own
