"""Phi and Omega from the stars alone: the weak form solved by generalised least squares, in under a minute.

1. An analytic base (Miyamoto-Nagai disc + NFW halo) is fitted to the axisymmetric weak-form equations of a subset.
2. The sums over all stars (`moments.WeakForm.equations`) are solved with diagonal weights for a first Omega and Phi.
3. The covariance of the equations is summed at that solution, and the system solved again (`linear.solve`); once more to converge.

The error of Omega joins the posterior width with the scatter of Omega between solutions from parts of the equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import least_squares

from ..catalogue.volumes import Cylinder, Volume
from ..errors import FitError
from ..units import G
from .analytic import NFW, AnalyticPotential, MiyamotoNagai, Sum
from .basis import Basis, DiscBasis, LinearPotential, basis_for
from .linear import DensityPrior, LinearSolution, Quadratic, solve
from .moments import N_FIELDS, Progress, WeakEquations, WeakForm, test_basis

Array = NDArray[np.float64]

MIN_STARS = 1000
_BASE_STARS = 40_000
_BASE_WIDTHS = (1.0, 0.7, 0.7, 1.5, 0.7)  # prior widths of ln (M, a, b, M_halo, r_s)


def starting_base(phase_space: Array) -> Sum:
    """A disc and a halo that share the circular speed at the stars' median radius; scale lengths from the stars' distribution."""
    x, v = phase_space[:, :3], phase_space[:, 3:]
    radius = np.hypot(x[:, 0], x[:, 1])
    median = float(np.median(radius))
    speed2 = float(np.median(np.sum(v**2, axis=1)))
    height = max(float(np.median(np.abs(x[:, 2]))), 1e-3 * median)
    mass = 0.5 * speed2 * median / G
    r_s = 3.0 * median
    enclosed = np.log(1.0 + 1.0 / 3.0) - 0.25
    return Sum([MiyamotoNagai(2.0 * mass, 0.5 * median, height), NFW(mass / enclosed, r_s)])


def fit_base(weak: WeakForm, *, seed: int = 0) -> AnalyticPotential:
    """Fit the analytic base to the axisymmetric equations of up to 40,000 stars, with a wide log-normal prior.

    Raises
    ------
    FitError
        With fewer than `MIN_STARS` stars.
    """
    n = len(weak)
    if n < MIN_STARS:
        raise FitError(f"{n} stars in the volume; a potential needs at least {MIN_STARS}")
    keep = np.random.default_rng(seed).permutation(n)[:_BASE_STARS]
    stars = weak.stars[keep]
    basis = test_basis(weak.volume, _BASE_STARS)
    if isinstance(basis, DiscBasis):
        basis = DiscBasis(r_max=basis.r_max, z_max=basis.z_max, n_radial=9, n_vertical=5, harmonics=(0,))
    part = WeakForm(stars, weak.volume, weights=None if weak.weights is None else weak.weights[keep], basis=basis, taper=weak.taper)
    beta, d, e = part._functions(stars[:, :3], stars[:, 3:], part.weights)
    rows = part._rows(beta, d, e, stars[:, :3], stars[:, 3:])[0]
    j = basis.size
    used = np.r_[j : 2 * j, 3 * j : 4 * j]
    rows, fields = rows[:, used], (0, 2)
    start = starting_base(stars)
    prior = start.parameters()
    x = stars[:, :3]

    def forces(model: AnalyticPotential) -> Array:
        return part._force_fields(x, model.evaluate(x, 1)[1])

    total = rows.sum(axis=0)
    covariance = np.diag(np.sum(rows**2, axis=0))
    model: AnalyticPotential = start
    for _ in range(3):
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
        correlation = covariance / np.outer(scale, scale)
        correlation[np.diag_indices_from(correlation)] += 1e-3
        lower = cholesky(correlation, lower=True)

        def residual(values: Array) -> Array:
            force = forces(start.with_parameters(values))
            moment = total - np.concatenate([beta.T @ force[i] for i in fields])
            whitened = 0.3 * solve_triangular(lower, moment / scale, lower=True)  # noqa: B023
            return np.concatenate([whitened, (values - prior) / np.asarray(_BASE_WIDTHS)])

        bounds = (prior - 6.0, prior + 6.0)
        model = start.with_parameters(least_squares(residual, model.parameters(), x_scale=0.1, bounds=bounds, max_nfev=60).x)
        force = forces(model)
        per_star = rows - np.concatenate([beta * force[i][:, None] for i in fields], axis=1)
        covariance = per_star.T @ per_star
    return model


def angular_speeds(phase_space: Array) -> tuple[float, float]:
    """Median and half the central 68 % range of the stars' angular speeds L_z / R^2, in km/s/kpc."""
    x, v = phase_space[:, :3], phase_space[:, 3:]
    speeds = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / np.maximum(x[:, 0] ** 2 + x[:, 1] ** 2, 1e-6)
    low, middle, high = np.quantile(speeds, (0.16, 0.5, 0.84))
    return float(middle), float(0.5 * (high - low))


@dataclass
class WeakFit:
    """Result of `fit_weak`: the potential, the solution with its covariance, and the equations it came from."""

    potential: LinearPotential
    solution: LinearSolution
    systematic: float
    base: AnalyticPotential

    @property
    def omega_error(self) -> float:
        return float(np.hypot(self.solution.omega_error, self.systematic))

    def gradient_covariance(self, x: Array) -> Array:
        """Posterior covariance of grad Phi at points (n, 3): (n, 3, 3)."""
        gradient = self.potential.basis.evaluate(x, 1)[1]
        return np.einsum("nki,kl,nlj->nij", gradient, self.solution.covariance[1:, 1:], gradient, optimize=True)


def fit_weak(
    phase_space: Array,
    volume: Volume,
    *,
    weights: Array | None = None,
    basis: Basis | None = None,
    omega_prior: tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> WeakFit:
    """Solve the weak form for Phi and Omega.

    Parameters
    ----------
    phase_space : (N, 6) array
        Stars in kpc and km/s, relative to the rotation axis.
    volume : Volume
    weights : (N,) array, optional
    basis : Basis, optional
        Of Phi; `basis.basis_for` the volume by default.
    omega_prior : (mean, sigma), optional
        km/s/kpc; sigma = 0 holds Omega fixed.
    seed : int
        Of the subset for the base and of the collocation points.
    progress : callable, optional

    Returns
    -------
    WeakFit

    Raises
    ------
    FitError
        With too few stars, or a singular system.
    """
    weak = WeakForm(phase_space, volume, weights=weights)
    base = fit_base(weak, seed=seed)
    basis = basis_for(volume) if basis is None else basis
    equations = weak.equations(basis, progress=progress)
    base_sums = weak.force_sums(base)
    prior = DensityPrior(basis, base, volume, seed=seed)
    typical = angular_speeds(weak.stars)
    solution = solve(
        Quadratic.from_weak_form(equations, base_sums), prior, omega_prior=omega_prior, typical_omega=typical, nonnegative=False
    )
    for last in (False, True):
        potential = LinearPotential(base, basis, solution.coefficients)
        equations = weak.linearize(equations, solution.omega, potential, drag=last, progress=progress)
        solution = solve(
            Quadratic.from_weak_form(equations, base_sums), prior, omega_prior=omega_prior, typical_omega=typical, nonnegative=last
        )
    systematic = 0.0
    if omega_prior is None and solution.identified:
        systematic = _scatter_of_parts(equations, base_sums, prior, solution, weak)
    return WeakFit(LinearPotential(base, basis, solution.coefficients), solution, systematic, base)


def _scatter_of_parts(equations: WeakEquations, base_sums: Array, prior: DensityPrior, solution: LinearSolution, weak: WeakForm) -> float:
    """Scatter of Omega, beyond noise, between fits to parts of the equations: inner and outer radii, m = 2 and m = 4.

    In a ball, the parts are even and odd numbered test functions, which differ in their polynomial orders.
    """
    j = weak.basis.size
    index = np.arange(j)
    if isinstance(weak.basis, DiscBasis) and isinstance(weak.volume, Cylinder):
        radial = (index % (weak.basis.n_radial * weak.basis.n_vertical)) // weak.basis.n_vertical
        m = weak.basis.order_of
        edge = weak.basis.n_radial // 2
        parts = [(radial < edge) | (m == 0), (radial >= edge) | (m == 0), m != 4, m != 2]
    else:
        parts = [index % 2 == 0, index % 2 == 1]
    values, errors = [], []
    for part in parts:
        rows = np.tile(part, N_FIELDS)
        subset = equations.subset(rows)
        fit = solve(Quadratic.from_weak_form(subset, base_sums[rows]), prior, density_scatter=solution.density_scatter, nonnegative=False)
        if not fit.identified:
            continue
        values.append(fit.omega)
        errors.append(fit.omega_error)
    if len(values) < 2:
        return 0.0
    values_, variances = np.array(values), np.array(errors) ** 2
    weight = 1.0 / variances
    mean = np.sum(weight * values_) / np.sum(weight)
    excess = np.sum(weight * (values_ - mean) ** 2) - (len(values_) - 1)
    spread = excess / (np.sum(weight) - np.sum(weight**2) / np.sum(weight))
    return float(np.sqrt(max(spread, 0.0)))
