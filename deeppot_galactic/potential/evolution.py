r"""What a snapshot leaves out of stationarity, and the weak-form system with it marginalised.

In the frame of the bar the weak form asks for d<psi>/dt = 0. In a galaxy that is not quite steady a row of azimuthal order m > 0,
made of stars about radius k, changes like

    d<psi>/dt = (gamma + eta_k) <psi> - delta_k E:

its pattern grows at the rate gamma (+ eta_k), and turns faster than the bar by delta_k. Inside the bar delta_k is small (wobble,
beats with spirals); outside it, spirals and rings turn at a rate of their own. Every row may also change at random by kappa times its
size. The rates have Gaussian priors in units of |Omega| and are integrated out; the scales delta inside the bar and kappa are chosen
by the evidence (`weak_fit`), so that a steady galaxy keeps its small errors and an evolving one gets the errors that it deserves.

The columns of Omega and delta_k are sums over the stars, hence noisy: with W the inverse covariance of the rows, their noise
tr(W_kl cov(E_k, E_l)) is subtracted from the normal matrix, and their correlation with the rows from the right-hand side (errors in
variables; without it Omega is drawn towards the mean angular speed of the stars). Radii whose signal does not exceed three standard
deviations of that noise get no rate of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

from ..errors import FitError
from .basis import Basis, DiscBasis
from .linear import MIN_SIGNAL, Quadratic
from .moments import N_FIELDS, WeakEquations

Array = NDArray[np.float64]

MIN_EFFECTIVE_STARS = 40.0
MIN_KNOWN = 0.9  # share of a combination of rates that must be signal
_JITTER = 1e-4


@dataclass(frozen=True)
class Evolution:
    """Prior widths of the rates, in units of |Omega|.

    Attributes
    ----------
    growth, local_growth : float
        Of gamma and eta_k.
    inside, outside : float
        Of delta_k inside and outside the bar.
    change : float
        kappa, the random change of every row.
    """

    growth: float = 0.1
    local_growth: float = 0.05
    inside: float = 0.0
    outside: float = 0.3
    change: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Radial group and azimuthal order of every row, (4J,), and the radii of the groups that lie inside the bar, (K,) bool."""

    group: NDArray[np.int64]
    order: NDArray[np.int64]
    in_bar: NDArray[np.bool_]

    @classmethod
    def of(cls, basis: Basis, bar: tuple[float, float] | None) -> Layout:
        """For test functions on a disc with the bar between two radii [kpc]; without a disc or a bar nothing is told apart."""
        if not isinstance(basis, DiscBasis) or bar is None:
            zeros = np.zeros(N_FIELDS * basis.size, dtype=np.int64)
            return cls(zeros, zeros, np.zeros(0, dtype=bool))
        radii = basis.radii
        return cls(np.tile(basis.radial_of, N_FIELDS), np.tile(basis.order_of, N_FIELDS), radii < bar[1])

    def subset(self, rows: NDArray[np.bool_]) -> Layout:
        """Only some of the rows."""
        return Layout(self.group[rows], self.order[rows], self.in_bar)


def weak_quadratic(equations: WeakEquations, base_sums: Array, *, layout: Layout, evolution: Evolution, speed: float) -> Quadratic:
    """The weak form as a quadratic in (Omega, c), whitened, with the rates of `Evolution` integrated out.

    Parameters
    ----------
    equations : WeakEquations
        Rows that rest on fewer than 40 stars are left out.
    base_sums : (4J,) array
        Force part of the analytic base.
    layout : Layout
    evolution : Evolution
    speed : float
        The unit of the rates, km/s/kpc.

    Raises
    ------
    FitError
        If the covariance of the rows is singular.
    """
    kept = equations.effective_stars > MIN_EFFECTIVE_STARS
    equations, base_sums, layout = equations.subset(kept), base_sums[kept], layout.subset(kept)
    covariance = equations.covariance
    if evolution.change > 0.0:
        covariance = covariance + np.diag((evolution.change * speed * equations.size) ** 2)
    scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    correlation = covariance / np.outer(scale, scale)
    correlation[np.diag_indices_from(correlation)] += _JITTER
    try:
        lower = cholesky(correlation, lower=True)
    except np.linalg.LinAlgError:
        raise FitError("the covariance of the weak-form equations is singular: too few stars in the volume") from None

    rates, widths, turning = _columns(equations, layout, evolution, speed)
    columns = np.concatenate([equations.rotation[:, None], rates, equations.response], axis=1) / scale[:, None]
    whitened = solve_triangular(lower, columns, lower=True)
    offset = solve_triangular(lower, (equations.constant + base_sums) / scale, lower=True)
    full = Quadratic.from_rows(whitened, offset)
    full.log_norm = -float(np.sum(np.log(np.diag(lower))) + np.sum(np.log(scale)))
    if equations.rotation_covariance is not None and equations.cross_covariance is not None:
        inverse = cho_solve((lower, True), np.eye(len(scale))) / np.outer(scale, scale)
        absent, noise = _correct(full, inverse, equations, turning)
        widths[absent] = 0.0
    else:
        noise = np.zeros((1, 1))
    return _marginalised(full, widths, noise)


def _columns(equations: WeakEquations, layout: Layout, evolution: Evolution, speed: float) -> tuple[Array, Array, Array]:
    """Columns (J, Q) of the rates, their prior widths (Q,), and the masks (1 + K, J) of the rows that Omega and each delta_k turn."""
    everything = np.ones((1, len(equations.constant)))
    if not len(layout.in_bar):
        return np.zeros((len(equations.constant), 0)), np.zeros(0), everything
    waves = layout.order > 0
    masks = np.array([waves & (layout.group == k) for k in range(len(layout.in_bar))], dtype=float)
    grown = -equations.content
    rates = np.concatenate([masks * equations.rotation, masks * grown, (waves * grown)[None]]).T
    delta = np.where(layout.in_bar, evolution.inside, evolution.outside)
    widths = speed * np.concatenate([delta, np.full(len(masks), evolution.local_growth), [evolution.growth]])
    return rates, widths, np.concatenate([everything, masks])


def _correct(full: Quadratic, inverse: Array, equations: WeakEquations, masks: Array) -> tuple[NDArray[np.int64], Array]:
    """Take the noise of the turning columns out of the normal equations, in place.

    Returns the indices of the delta_k that are lost in noise, and the noise (1 + K, 1 + K) that was subtracted.
    """
    rotation, cross = np.asarray(equations.rotation_covariance), np.asarray(equations.cross_covariance)
    noise = masks @ (inverse * rotation) @ masks.T
    drag = masks @ np.sum(inverse * cross, axis=1) - noise[:, 0] * equations.omega
    errors = []
    for mask in masks:
        rows = mask > 0
        shares = inverse[np.ix_(rows, rows)] @ rotation[np.ix_(rows, rows)]
        errors.append(float(np.sqrt(2.0 * np.sum(shares * shares.T))))
    k = len(masks)
    full.hessian[:k, :k] -= noise
    full.slope[:k] -= drag
    full.noise, full.drag, full.noise_error = float(noise[0, 0]), float(drag[0]), errors[0]
    return np.flatnonzero(np.diag(full.hessian)[1:k] < MIN_SIGNAL * np.array(errors[1:])), noise


def _marginalised(full: Quadratic, widths: Array, noise: Array) -> Quadratic:
    """Integrate the rates, unknowns 1 ... Q of ``full``, out over Gaussian priors of the given widths (zero: absent).

    Combinations of the rates that were mostly noise before its subtraction stay at zero: the right-hand side knows only noise of them.
    """
    used = np.flatnonzero(widths > 0.0) + 1
    kept = np.r_[0, np.arange(len(widths) + 1, len(full.slope))]
    width = widths[used - 1]
    inner = full.hessian[np.ix_(used, used)] * np.outer(width, width)
    values, vectors = np.linalg.eigh(inner)
    subtracted = np.zeros_like(full.hessian)
    subtracted[: len(noise), : len(noise)] = noise
    lost = np.einsum("kq,kl,lq->q", vectors, subtracted[np.ix_(used, used)] * np.outer(width, width), vectors)
    known = values > MIN_KNOWN * (values + lost)
    values, vectors = values[known] + 1.0, vectors[:, known]
    inverse = (vectors / values) @ vectors.T
    mixed = full.hessian[np.ix_(kept, used)] * width
    pull = full.slope[used] * width
    return Quadratic(
        _not_negative(full.hessian[np.ix_(kept, kept)] - mixed @ inverse @ mixed.T),
        full.slope[kept] - mixed @ inverse @ pull,
        float(full.constant - pull @ inverse @ pull),
        full.n_rows,
        full.noise,
        full.drag,
        full.noise_error,
        full.log_norm - 0.5 * float(np.sum(np.log(values))),
    )


def _not_negative(hessian: Array) -> Array:
    """The same without the small negative eigenvalues that subtracted noise can leave."""
    values, vectors = np.linalg.eigh(hessian)
    return hessian if values[0] >= 0.0 else (vectors * np.maximum(values, 0.0)) @ vectors.T
