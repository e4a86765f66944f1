r"""Linear fits of Phi and Omega: a quadratic likelihood, a prior on the density, and density >= 0.

Both the weak form (`moments`) and the pointwise residual on scores (`pointwise`) are linear in theta = (Omega, c), with
Phi = Phi_base + sum_k c_k B_k. Whitened, they give chi^2(theta) = |A theta + y|^2, kept as H = A^T A, h = A^T y, |y|^2.

The prior says that the density differs from that of the analytic base by a relative scatter tau, and the force by a fraction of it,
at points spread through the volume (where stars are few, too):

    prior = c'^T P c',  c'_k = c_k / tau_k,   P = n_rho < d^2 + (sigma l |grad_xy d|)^2 > + n_a < (grad B / |a_base|)^2 > / s_a^2,

d = lap B / 4 pi G rho_base. In a disc tau_k is tau_0 for the axisymmetric functions, because a disc that is built otherwise than the base
need not have a strong bar, nor a strong bar another disc, and tau_m / (1 + (R_k / R_m)^2) for the harmonics at the radius R_k, because a
bar ends and the galaxy beyond it may be round; sigma says how smooth that difference is along the plane, on the scale l = sqrt(R^2 + a^2)
with the softening a of the basis. In a ball there is one tau, and sigma = 0. The taus, with wide log-normal priors, R_m and sigma maximise
the evidence, one after the other in turns from the best with tau_0 = tau_m and R_m infinite,

    ln Z = -1/2 [chi^2 + prior + ln det(H + P') - ln det P'],   P'_kl = P_kl / (tau_k tau_l).

Non-negative density is a set of linear inequalities at the same points; the constrained optimum is the point of the feasible set nearest to
the unconstrained one in the metric of the Hessian, a least-distance problem solved by non-negative least squares (Lawson & Hanson 1974,
chapter 23).

A Gaussian prior on Omega joins what the stars say afterwards (`given_omega`), when the whole error of their Omega is known, the systematic
part included: the product of two Gaussians, with c moved along its regression on Omega.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import nnls

from ..catalogue.volumes import Cylinder, Volume
from ..errors import FitError
from ..units import G
from .analytic import AnalyticPotential
from .basis import Basis, DiscBasis

Array = NDArray[np.float64]

DENSITY_SCATTERS = (0.1, 0.14, 0.2, 0.28, 0.4, 0.57, 0.8, 1.1, 1.6, 2.3)
SMOOTHNESSES = (0.2, 0.5, 1.0, 2.0)
REACHES = (np.inf, 1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)  # of the waves, in units of the extent of the basis
_DENSITY_CELLS = 300.0  # effective number of independent density cells in the prior
_FORCE_CELLS, _FORCE_SCATTER = 30.0, 0.3  # and of force cells, with their scatter in units of tau
_ROUNDS = 2  # in which tau_m, R_m, tau_0 and sigma are chosen in turns
_STEP = 0.02  # of the differences that make the slope of the density, in units of l
_TYPICAL_SCATTER, _SCATTER_WIDTH = 0.4, 0.7  # median of tau and its width in ln tau before the stars are seen
_SLACK = 1e-6  # relative density below zero that is taken for round-off
MIN_SIGNAL = 3.0  # standard deviations of its noise by which the signal of a pattern must stand out


class PriorScales(NamedTuple):
    """tau_0, sigma, tau_m and R_m of the prior: how much the density differs from that of the base, relatively, how smoothly, how much by
    waves around the axis (None: as much), and the radius beyond which they fade, in kpc."""

    scatter: float
    smoothness: float
    waves: float | None = None
    reach: float = np.inf

    @property
    def of_waves(self) -> float:
        """tau_m."""
        return self.scatter if self.waves is None else self.waves

    def describe(self) -> dict[str, float | None]:
        """For the header of a model file."""
        return {
            "density_scatter": self.scatter,
            "density_scatter_of_waves": self.of_waves,
            "reach_of_waves": self.reach if np.isfinite(self.reach) else None,
            "density_smoothness": self.smoothness,
        }

    @property
    def log_prior(self) -> float:
        """Of the taus: where the stars say little, they stay near what discs and halos need."""
        taus = [self.scatter] if self.waves is None else [self.scatter, self.waves]
        return -0.5 * sum(float(np.log(tau / _TYPICAL_SCATTER) / _SCATTER_WIDTH) ** 2 for tau in taus)


@dataclass
class Quadratic:
    """chi^2(theta) = theta^T hessian theta + 2 theta^T slope + constant, theta = (Omega, c).

    ``noise`` and ``drag`` have been taken from hessian[0, 0] and slope[0], because the column of Omega is noisy (see `moments`);
    ``noise_error`` is the standard deviation of that noise, against which the signal of a pattern is judged; ``log_norm`` is the
    logarithm of the likelihood's normalisation.
    """

    hessian: Array
    slope: Array
    constant: float
    n_rows: int
    noise: float = 0.0
    drag: float = 0.0
    noise_error: float = 0.0
    log_norm: float = 0.0

    @classmethod
    def from_rows(cls, rows: Array, offset: Array) -> Quadratic:
        return cls(rows.T @ rows, rows.T @ offset, float(offset @ offset), len(offset))

    def uncorrected(self) -> Quadratic:
        """The plain sum of squares, without the correction for noise in the column of Omega."""
        hessian, slope = self.hessian.copy(), self.slope.copy()
        hessian[0, 0] += self.noise
        slope[0] += self.drag
        return Quadratic(hessian, slope, self.constant, self.n_rows, log_norm=self.log_norm)

    def chi2(self, theta: Array) -> float:
        """Misfit of the rows themselves, without the noise correction."""
        corrected = theta @ self.hessian @ theta + 2.0 * theta @ self.slope + self.constant
        return float(corrected + self.noise * theta[0] ** 2 + 2.0 * self.drag * theta[0])

    def omega_information(self, prior_matrix: Array) -> float:
        """Fisher information on Omega after the coefficients are marginalised, 1 / (km/s/kpc)^2; not positive if there is no signal."""
        inner = self.hessian[1:, 1:] + prior_matrix
        return float(self.hessian[0, 0] - self.hessian[0, 1:] @ np.linalg.solve(inner, self.hessian[1:, 0]))


def collocation_points(volume: Volume, n: int, rng: np.random.Generator) -> Array:
    """Points through the volume, half of them spread evenly in radius and crowded to the plane, half uniform: (n, 3)."""
    if not isinstance(volume, Cylinder):
        return volume.sample(n, rng)
    even = n // 2
    radius = rng.uniform(volume.r_in, volume.r_out, even)
    phi = rng.uniform(0.0, 2.0 * np.pi, even)
    z = volume.half_height * rng.uniform(0.0, 1.0, even) ** 2 * np.where(rng.uniform(size=even) < 0.5, -1.0, 1.0)
    uniform = volume.sample(n - even, rng)
    uniform[:, 2] *= np.abs(uniform[:, 2]) / volume.half_height
    return np.concatenate([np.stack([radius * np.cos(phi), radius * np.sin(phi), z], axis=1), uniform])


class DensityPrior:
    """The prior and the inequality constraints at collocation points.

    Parameters
    ----------
    basis : Basis
    base : AnalyticPotential
        Sets the scale of density and force.
    volume : Volume
    n_points : int
    seed : int
    """

    def __init__(self, basis: Basis, base: AnalyticPotential, volume: Volume, *, n_points: int = 4000, seed: int = 0) -> None:
        x = collocation_points(volume, n_points, np.random.default_rng(seed))
        _, gradient, hessian = base.evaluate(x, 2)
        self.points = x
        force = np.linalg.norm(gradient, axis=1)
        k = basis.size
        self.relative = np.empty((len(x), k))  # change of density over base density, per unit coefficient
        force_matrix = np.zeros((k, k))
        for start in range(0, len(x), 500):
            part = slice(start, start + 500)
            self.relative[part] = _ratio(basis, x[part], hessian[part])
            scaled = basis.evaluate(x[part], 1)[1]
            scaled = np.moveaxis(scaled / force[part, None, None], 1, 2).reshape(-1, k)
            force_matrix += scaled.T @ scaled
        matrix = _DENSITY_CELLS * self.relative.T @ self.relative + _FORCE_CELLS / _FORCE_SCATTER**2 * force_matrix
        self.matrix = matrix / len(x)
        self.matrix[np.diag_indices_from(self.matrix)] += 1e-10 * np.trace(self.matrix) / k
        self.waving = basis.order_of > 0
        self.roughness, self._radius, reaches, smoothnesses = None, np.zeros(k), (np.inf,), (0.0,)
        if isinstance(basis, DiscBasis):
            self.roughness, self._radius = self._roughness(basis, base, x[::2]), basis.radii[basis.radial_of]
            reaches, smoothnesses = tuple(basis.r_max * reach for reach in REACHES), SMOOTHNESSES
        self.choices = {"waves": DENSITY_SCATTERS, "reach": reaches, "scatter": DENSITY_SCATTERS, "smoothness": smoothnesses}
        self._log_determinants: dict[float, float] = {}

    def precision(self, scales: PriorScales) -> tuple[Array, float]:
        """Prior precision of the coefficients (K, K), and the logarithm of its determinant."""
        matrix = self.matrix if self.roughness is None else self.matrix + scales.smoothness**2 * self.roughness
        if scales.smoothness not in self._log_determinants:
            self._log_determinants[scales.smoothness] = float(np.linalg.slogdet(matrix)[1])
        tau = np.where(self.waving, scales.of_waves / (1.0 + (self._radius / scales.reach) ** 2), scales.scatter)
        return matrix / np.outer(tau, tau), self._log_determinants[scales.smoothness] - 2.0 * float(np.sum(np.log(tau)))

    @property
    def scales(self) -> list[PriorScales]:
        """Those with one tau among which the evidence chooses."""
        return [PriorScales(tau, sigma) for sigma in self.choices["smoothness"] for tau in self.choices["scatter"]]

    def _roughness(self, basis: DiscBasis, base: AnalyticPotential, x: Array) -> Array:
        """n_rho < |l grad_xy d|^2 > at points (n, 3): (K, K)."""
        out = np.zeros((basis.size, basis.size))
        radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-6)
        along = np.stack([x[:, 0] / radius, x[:, 1] / radius, np.zeros(len(x))], axis=1)
        length = np.sqrt(radius**2 + basis.r_scale**2)
        across = np.stack([-along[:, 1], along[:, 0], along[:, 2]], axis=1)
        for direction in (along, across):
            for start in range(0, len(x), 500):
                part = slice(start, start + 500)
                step = _STEP * length[part, None] * direction[part]
                above, below = (_ratio(basis, y, base.evaluate(y, 2)[2]) for y in (x[part] + step, x[part] - step))
                slope = above - below
                out += slope.T @ slope / (2.0 * _STEP) ** 2
        return _DENSITY_CELLS * out / len(x)


def _ratio(basis: Basis, x: Array, hessian: Array) -> Array:
    """d: change of density over base density at points (n, 3), per unit coefficient, from the Hessian of the base: (n, K)."""
    density = np.maximum(np.einsum("nii->n", hessian) / (4.0 * np.pi * G), 1e-12)
    return basis.laplacian(x) / (4.0 * np.pi * G * density[:, None])


@dataclass
class LinearSolution:
    """Optimum of a linear fit.

    Attributes
    ----------
    omega : float
        km/s/kpc.
    coefficients : (K,) array, (km/s)^2
    covariance : (K + 1, K + 1) array
        Posterior covariance of (Omega, c), scaled by ``max(chi2 / n_rows, 1)`` where the model does not describe the data to the noise.
    chi2, n_rows : float, int
    evidence : float
    scales : PriorScales
        tau and sigma.
    n_active : int
        Density constraints that hold with equality.
    follow : (K,) array
        dc / dOmega, how the coefficients follow Omega at the optimum; zero where Omega is held or not determined, but for `with_omega`.
    identified : bool
        False where the tracers are axisymmetric within their noise, so that Omega is not determined.
    """

    omega: float
    coefficients: Array
    covariance: Array
    chi2: float
    n_rows: int
    evidence: float
    scales: PriorScales
    n_active: int
    follow: Array
    identified: bool = True

    @property
    def omega_error(self) -> float:
        return float(np.sqrt(self.covariance[0, 0]))


def solve(
    quadratic: Quadratic,
    prior: DensityPrior,
    *,
    held: float | None = None,
    typical_omega: tuple[float, float] = (0.0, 100.0),
    scales: PriorScales | None = None,
    nonnegative: bool = True,
) -> LinearSolution:
    """Posterior optimum of (Omega, c).

    Parameters
    ----------
    quadratic : Quadratic
    prior : DensityPrior
    held : float, optional
        Omega in km/s/kpc, where it is not to be fitted.
    typical_omega : (mean, sigma)
        What Omega falls back to when the data do not determine it.
    scales : PriorScales, optional
        tau and sigma; chosen by evidence where absent.
    nonnegative : bool
        Impose density >= 0 at the collocation points.

    Raises
    ------
    FitError
        If the system is singular.
    """
    identified, omega_prior = True, None if held is None else (held, 0.0)
    if omega_prior is None:
        information = quadratic.omega_information(prior.matrix / _TYPICAL_SCATTER**2)
        if information < MIN_SIGNAL * quadratic.noise_error:
            identified, omega_prior = False, typical_omega
            quadratic = quadratic.uncorrected()
    best, evidence, theta, factor = _likeliest(quadratic, prior, omega_prior, scales)
    covariance = cho_solve(factor, np.eye(len(theta)))
    covariance *= max(quadratic.chi2(theta) / quadratic.n_rows, 1.0)
    follow = covariance[1:, 0] / covariance[0, 0] if identified and held is None else np.zeros(len(theta) - 1)
    if not identified:
        covariance[0, :] = covariance[:, 0] = 0.0
        covariance[0, 0] = omega_prior[1] ** 2 if omega_prior is not None else np.inf
    n_active = 0
    if nonnegative:
        theta, n_active = _nonnegative(theta, factor, prior)
    omega = float(theta[0]) if held is None else held
    return LinearSolution(
        omega, theta[1:], covariance, quadratic.chi2(theta), quadratic.n_rows, evidence, best, n_active, follow, identified
    )


def with_omega(solution: LinearSolution, error: float) -> LinearSolution:
    """The solution with Omega held, when it is only known with an ``error`` from elsewhere: the coefficients follow it."""
    follow = solution.covariance[1:, 0] / solution.covariance[0, 0]
    covariance = solution.covariance.copy()
    covariance[1:, 1:] += error**2 * np.outer(follow, follow)
    covariance[0, 1:] = covariance[1:, 0] = error**2 * follow
    covariance[0, 0] = error**2
    return replace(solution, covariance=covariance, follow=follow)


def product(value: float, error: float, prior: tuple[float, float]) -> tuple[float, float]:
    """Mean and standard deviation of the product of two Gaussians; an infinite ``error`` leaves the prior."""
    mean, sigma = prior
    share = 1.0 / (1.0 + (error / sigma) ** 2)
    return mean + share * (value - mean), float(sigma * np.sqrt(1.0 - share))


def given_omega(solution: LinearSolution, error: float, omega_prior: tuple[float, float], prior: DensityPrior) -> LinearSolution:
    """The solution with a Gaussian prior on Omega.

    Parameters
    ----------
    solution : LinearSolution
        Of the stars alone.
    error : float
        The whole error of its Omega, km/s/kpc.
    omega_prior : (mean, sigma)
        km/s/kpc. Where the stars do not determine Omega it is all that is known.
    prior : DensityPrior
        Whose constraints hold again afterwards.

    Returns
    -------
    LinearSolution
    """
    omega, sigma = product(solution.omega, error if solution.identified else np.inf, omega_prior)
    old = solution.covariance
    covariance, coefficients = old.copy(), solution.coefficients + solution.follow * (omega - solution.omega)
    if old[0, 0] > 0.0:
        share = (sigma / error) ** 2 if solution.identified else sigma**2 / old[0, 0]
        covariance[1:, 1:] -= (1.0 - share) * np.outer(old[1:, 0], old[0, 1:]) / old[0, 0]
        covariance[0, 1:] = covariance[1:, 0] = old[1:, 0] * sigma * np.sqrt(share / old[0, 0])
    covariance[0, 0] = sigma**2
    n_active = solution.n_active
    if (prior.relative @ coefficients < -1.0 - _SLACK).any():
        inner = covariance[1:, 1:]
        inner = inner + 1e-9 * np.trace(inner) / len(inner) * np.eye(len(inner))
        coefficients, n_active = feasible(coefficients, cho_factor(np.linalg.inv(inner), lower=True), prior)
    return replace(solution, omega=omega, coefficients=coefficients, covariance=covariance, n_active=n_active)


def _likeliest(
    quadratic: Quadratic, prior: DensityPrior, omega_prior: tuple[float, float] | None, scales: PriorScales | None
) -> tuple[PriorScales, float, Array, tuple]:
    """`_optimum` at given scales, or at those of the largest evidence and prior."""

    def best(some: list[PriorScales]) -> tuple[PriorScales, float, Array, tuple]:
        return max((_optimum(quadratic, prior, one, omega_prior) for one in some), key=lambda found: found[1] + found[0].log_prior)

    if scales is not None:
        return best([scales])
    found = best(prior.scales)
    if prior.waving.any():
        for name, values in list(prior.choices.items()) * _ROUNDS:
            at = found[0]._replace(waves=found[0].of_waves)
            found = best([at._replace(**{name: value}) for value in values])
    return found


def _optimum(
    quadratic: Quadratic, prior: DensityPrior, scales: PriorScales, omega_prior: tuple[float, float] | None
) -> tuple[PriorScales, float, Array, tuple]:
    size = len(quadratic.slope)
    precision = np.zeros((size, size))
    precision[1:, 1:], log_prior = prior.precision(scales)
    target = np.zeros(size)
    if omega_prior is not None:
        mean, sigma = omega_prior
        precision[0, 0] = 1.0 / max(sigma, 1e-6) ** 2
        target[0] = mean
    posterior = quadratic.hessian + precision
    try:
        factor = cho_factor(posterior, lower=True)
    except np.linalg.LinAlgError:
        raise FitError("the linear system for the potential is singular: too few stars in the volume for this basis") from None
    theta = cho_solve(factor, precision @ target - quadratic.slope)
    log_posterior = 2.0 * np.sum(np.log(np.diag(factor[0])))
    shift = theta - target
    evidence = quadratic.log_norm - 0.5 * (quadratic.chi2(theta) + shift @ precision @ shift + log_posterior - log_prior)
    return scales, float(evidence), theta, factor


def feasible(coefficients: Array, factor: tuple, prior: DensityPrior, *, rounds: int = 30) -> tuple[Array, int]:
    """The nearest coefficients with density >= 0 in the metric whose Cholesky factor is given, and the number of active constraints."""
    inner = np.tril(factor[0])
    lower = np.eye(len(inner) + 1)
    lower[1:, 1:] = inner  # without correlation, so that Omega stays
    theta, n_active = _nonnegative(np.concatenate([[0.0], coefficients]), (lower, True), prior, rounds=rounds)
    return theta[1:], n_active


def _nonnegative(theta: Array, factor: tuple, prior: DensityPrior, *, rounds: int = 30) -> tuple[Array, int]:
    """Nearest point, in the metric of the posterior, with 1 + relative @ c >= 0; constraints are added where violated."""
    lower = np.tril(factor[0])
    active = np.zeros(len(prior.relative), dtype=bool)
    optimum, held = theta, 0
    for _ in range(rounds):
        slack = 1.0 + prior.relative @ optimum[1:]
        violated = slack < -_SLACK
        if not violated.any():
            break
        active |= violated
        rows = prior.relative[active]
        # min |z|^2 with E z >= f, z = L^T (theta' - theta)
        e = solve_triangular(lower, np.concatenate([np.zeros((len(rows), 1)), rows], axis=1).T, lower=True).T
        f = -(1.0 + rows @ theta[1:]) + 1e-5
        matrix = np.concatenate([e.T, f[None, :]])
        try:
            multipliers, _ = nnls(matrix, np.concatenate([np.zeros(e.shape[1]), [1.0]]), maxiter=50 * len(f))
        except RuntimeError:
            raise FitError(
                f"no potential with density >= 0 at {len(f)} points was found; the stars do not fit the volume or the frame"
            ) from None
        residual = matrix @ multipliers
        residual[-1] -= 1.0
        z = -residual[:-1] / residual[-1]
        optimum = theta + solve_triangular(lower.T, z, lower=False)
        held = int(np.sum(multipliers > 0))
    return optimum, held
