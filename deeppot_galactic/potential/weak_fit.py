"""Phi and Omega from the stars alone: the weak form solved by generalised least squares, in under a minute.

1. An analytic base (Miyamoto-Nagai disc + NFW halo) is fitted to the axisymmetric weak-form equations of a subset.
2. The sums over all stars (`moments.WeakForm.equations`) are solved with diagonal weights for a first Omega and Phi.
3. The covariance of the equations is summed at that solution, and the system solved again (`linear.solve`); once more to converge.
4. What is not steady (growth, patterns outside the bar, slow change; `evolution`) is integrated out. Its scales are chosen by the evidence
   with those of the prior on the density (`linear`) as step 3 has them; the last solution chooses those of the prior once more, for the
   galaxy that may change.

The error of Omega joins the posterior width with the disagreement between solutions from parts of the equations. Where noise leaves Omega
open, and continuity alone, whose test is another one (`pattern`), sees a pattern, Omega is held at its speed with its error; else at the
median of the angular speeds of the stars. In a part of the galaxy the error of Omega as that of the bar holds `annuli.local_scatter`, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import least_squares

from ..catalogue.copies import Copies
from ..catalogue.volumes import Cylinder, Volume
from ..errors import FitError
from ..units import G
from .analytic import NFW, AnalyticPotential, MiyamotoNagai, Sum
from .annuli import angular_speeds, bar_radii, local_scatter
from .basis import Basis, DiscBasis, LinearPotential, basis_for
from .evolution import Evolution, Layout, weak_quadratic
from .linear import DensityPrior, LinearSolution, PriorScales, given_omega, solve, with_omega
from .moments import N_FIELDS, Progress, WeakEquations, WeakForm, test_basis
from .pattern import continuity
from .posterior import PotentialPosterior

Array = NDArray[np.float64]

MIN_STARS = 1000
_BASE_STARS = 40_000
CHANGES = (0.0, 0.003, 0.006, 0.01, 0.02, 0.04)
WOBBLES = (0.0, 0.01, 0.02, 0.03, 0.05)
_WOBBLE = 0.03
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
    keep = keep[weak.volume.contains(weak.stars[keep, :3])]
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


@dataclass
class WeakFit:
    """Result of `fit_weak`: the potential, the solution with its covariance, by what parts of the equations disagree, the base, the scales
    of evolution, the radii of the bar, the prior on the density, `local_scatter`, and whether Omega is that of continuity alone."""

    potential: LinearPotential
    solution: LinearSolution
    systematic: float
    base: AnalyticPotential
    evolution: Evolution
    bar: tuple[float, float] | None
    density_prior: DensityPrior
    local: float = 0.0
    from_continuity: bool = False

    @property
    def frame_error(self) -> float:
        """Of Omega as the speed of the frame in which these stars are steady, km/s/kpc."""
        return float(np.hypot(self.solution.omega_error, self.systematic))

    @property
    def omega_error(self) -> float:
        """Of Omega as the pattern speed of the bar, km/s/kpc."""
        return float(np.hypot(self.frame_error, self.local))

    @property
    def posterior(self) -> PotentialPosterior:
        """Errors of forces and densities."""
        return PotentialPosterior(self.potential.basis, self.solution.covariance[1:, 1:])

    def given(self, omega_prior: tuple[float, float], error: float) -> WeakFit:
        """The fit with a Gaussian prior (mean, sigma) on Omega, beside the stars' own with the whole ``error``, in km/s/kpc."""
        solution = given_omega(self.solution, error, omega_prior, self.density_prior)
        potential = LinearPotential(self.base, self.potential.basis, solution.coefficients)
        return replace(self, potential=potential, solution=solution, systematic=0.0, local=0.0)


def fit_weak(
    phase_space: Array,
    volume: Volume,
    *,
    weights: Array | None = None,
    basis: Basis | None = None,
    held: float | None = None,
    fallback: tuple[float, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    copies: Copies | None = None,
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
    held : float, optional
        Omega in km/s/kpc, where it is not to be fitted.
    fallback : (mean, sigma), optional
        Omega where the stars leave it open, km/s/kpc; by default the median of their angular speeds, with the whole of it for an error.
    seed : int
        Of the subset for the base and of the collocation points.
    progress : callable, optional
    copies : Copies, optional
        Of the same stars, which take their known errors out of the equations.

    Returns
    -------
    WeakFit

    Raises
    ------
    FitError
        With too few stars, or a singular system.
    """
    weak = WeakForm(phase_space, volume, weights=weights, copies=copies)
    base = fit_base(weak, seed=seed)
    basis = basis_for(volume) if basis is None else basis
    equations = weak.equations(basis, progress=progress)
    base_sums = weak.force_sums(base)
    prior = DensityPrior(basis, base, volume, seed=seed)
    bar = bar_radii(weak.stars, volume, weak.weights) if isinstance(volume, Cylinder) else None
    speeds = angular_speeds(weak.stars)
    system = _System(equations, base_sums, Layout.of(weak.basis, bar), prior, held, (speeds.median, speeds.error))
    solution = system.solve(Evolution())
    for last in (False, True):
        potential = LinearPotential(base, basis, solution.coefficients)
        system.equations = weak.linearize(equations, solution.omega, potential, drag=last, progress=progress)
        solution = system.solve(Evolution(), omega=solution.omega)
    evolution, omega, error = _averaged(system, solution)
    solution = system.solve(evolution, omega=solution.omega, nonnegative=True)
    systematic, seen = 0.0, None
    if held is None and not solution.identified:
        seen = _continuity(weak, seed)
        system.held, error = seen or fallback or system.typical
        potential = LinearPotential(base, basis, solution.coefficients)
        system.equations = weak.linearize(equations, system.held, potential, progress=progress)
        evolution = _averaged(system, system.solve(Evolution(), omega=system.held))[0]
        solution = system.solve(evolution, omega=system.held, nonnegative=True)
        solution = replace(with_omega(solution, error), identified=seen is not None)
    elif solution.identified:
        solution.omega, solution.covariance = omega, _with_variance(solution.covariance, error**2)
        if held is None:
            systematic = _disagreement(system, evolution, solution)
    local = local_scatter(volume, solution.omega) if held is None and solution.identified else 0.0
    potential = LinearPotential(base, basis, solution.coefficients)
    return WeakFit(potential, solution, systematic, base, evolution, bar, prior, local, from_continuity=seen is not None)


def _continuity(weak: WeakForm, seed: int) -> tuple[float, float] | None:
    """Omega of continuity alone and its error in this volume, where it sees a pattern."""
    speed = continuity(weak.stars, weak.volume, weak.weights, seed=seed, copies=weak.copies)
    omega, error = float(speed.value.value), float(speed.error.value)
    error = float(np.sqrt(max(error**2 - local_scatter(weak.volume, omega) ** 2, 0.0)))
    return (omega, error) if speed.detected else None


@dataclass
class _System:
    """Everything that a solution needs but the scales of `Evolution`."""

    equations: WeakEquations
    base_sums: Array
    layout: Layout
    prior: DensityPrior
    held: float | None
    typical: tuple[float, float]

    def solve(
        self,
        evolution: Evolution,
        *,
        omega: float | None = None,
        rows: NDArray[np.bool_] | None = None,
        scales: PriorScales | None = None,
        nonnegative: bool = False,
    ) -> LinearSolution:
        """Solve with the rates in units of ``omega``, from all rows or some."""
        rows = np.ones(len(self.base_sums), dtype=bool) if rows is None else rows
        speed = max(abs(self.typical[0] if omega is None else omega), 0.3 * abs(self.typical[0]))
        quadratic = weak_quadratic(
            self.equations.subset(rows), self.base_sums[rows], layout=self.layout.subset(rows), evolution=evolution, speed=speed
        )
        return solve(
            quadratic,
            self.prior,
            held=self.held,
            typical_omega=self.typical,
            scales=scales,
            nonnegative=nonnegative,
        )


def _averaged(system: _System, solution: LinearSolution) -> tuple[Evolution, float, float]:
    """The likeliest scales of evolution, and Omega with its error averaged over them with their evidence as weights.

    The random change is chosen first; the wobble inside the bar has an exponential prior, bars being steady to a few per cent.
    """

    def fit(evolution: Evolution) -> LinearSolution:
        return system.solve(evolution, omega=solution.omega, scales=solution.scales)

    best = max((Evolution(change=change) for change in CHANGES), key=lambda e: fit(e).evidence)
    if not len(system.layout.in_bar):
        found = fit(best)
        return best, found.omega, found.omega_error
    tried = [replace(best, inside=wobble) for wobble in WOBBLES]
    fits = [fit(e) for e in tried]
    log_weight = np.array([f.evidence - e.inside / _WOBBLE for f, e in zip(fits, tried, strict=True)])
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    values, errors = np.array([f.omega for f in fits]), np.array([f.omega_error for f in fits])
    mean = float(weight @ values)
    return tried[int(np.argmax(weight))], mean, float(np.sqrt(weight @ (errors**2 + (values - mean) ** 2)))


def _with_variance(covariance: Array, variance: float) -> Array:
    """The covariance with another variance of Omega and the same correlations."""
    out = covariance.copy()
    factor = np.sqrt(variance / out[0, 0])
    out[0, :] *= factor
    out[:, 0] *= factor
    return out


def _disagreement(system: _System, evolution: Evolution, solution: LinearSolution) -> float:
    """How much more than expected Omega differs between the solution and those from parts of its equations.

    A part has a variance s_p^2 > s^2; if the model holds, their difference has the variance s_p^2 - s^2 (Hausman 1978). Parts: even and
    odd numbered test functions, those without m = 4, and those without continuity, radial or azimuthal momentum.
    """
    j = system.layout.order.size // N_FIELDS
    index, field = np.arange(N_FIELDS * j) % j, np.arange(N_FIELDS * j) // j
    parts = [index % 2 == 0, index % 2 == 1, *(field != k for k in range(3))]
    if len(system.layout.in_bar):
        parts.append(system.layout.order != 4)
    excess = []
    for part in parts:
        fit = system.solve(evolution, omega=solution.omega, rows=part, scales=solution.scales)
        if fit.identified:
            expected = max(fit.omega_error**2 - solution.omega_error**2, 0.0)
            excess.append((fit.omega - solution.omega) ** 2 - expected)
    return float(np.sqrt(max(np.mean(excess), 0.0))) if excess else 0.0
