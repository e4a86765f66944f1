r"""The pattern speed from the stars alone, by the continuity equation in the weak form: no potential, no distribution function.

In the rotating frame the mean of any test function b(x) of compact support changes as d<b>/dt = < v . grad b > - Omega < d b/d phi >.

**About the axis** (a disc, or a ball whose centre lies on it). b_k = g h_k(R) e^{-i m phi}, h_k a smooth bump in an annulus and g a
roll-off to the edge of the volume. A pattern that turns with Omega and grows at the rate gamma has d<b>/dt = (gamma - i m Omega) <b> in
the lab, so with B = sum b and D = sum v . grad b over the stars (weights 1/S for a selection)

    gamma - i m Omega = D / B,     Omega = -Im(D/B) / m,     growth rate = Re(D/B):

growth does not bias Omega. The bar is the run of annuli, about the strongest one, in which the m = 2 phase stays the same; the result is
the mean over its annuli with an intrinsic scatter (random effects). The statistical error comes from a Poisson bootstrap of the stars, the
systematic one from that scatter between radii (spirals, wobble, winding), from m = 4 against m = 2, and from the two ends of the bar.

**Elsewhere** (a ball at the Sun's place, any volume with a mask, and a ball whose annuli show nothing) b_j = g(x) P_j(x) with polynomials
P_j, and Omega minimises (D - Omega E)^T C^-1 (D - Omega E), E = sum d b/d phi, where C = C(Omega) is the covariance of D - Omega E. The
statistical error is the larger of the width of that minimum and its scatter over a Poisson bootstrap of the stars; even and odd subsets of
the b_j give the systematic one. Growth cannot be told from rotation there, nor the bar from spirals that turn otherwise: where the volume
does not hold the axis, the systematic error holds 12 % of Omega, the rms of the twelve balls of Kalda, Green & Ghosh 2023 (tables 3 and 4),
too.

Every sum is linear in the stars, so that known errors of the stars can be taken out of it: see `deeppot_galactic.catalogue.copies`.

References
----------
Tremaine & Weinberg 1984, ApJ 282, L5 (continuity); Dehnen, Semczuk & Schoenrich 2023, MNRAS 518, 2712 (the m = 2 phase method it is
compared with).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2

from ..arguments import instance, whole
from ..catalogue.copies import Copies, error_copies
from ..catalogue.sanity import repeated
from ..catalogue.tracers import Tracers
from ..catalogue.volumes import Cylinder, Volume
from ..errors import AxisymmetryWarning, CatalogueError, ConfigError, DeepPotWarning, FitError
from ..units import ANGULAR_SPEED, LENGTH
from .annuli import CHUNK, SIGNIFICANCE, Round, angular_speeds, annuli, bar_annuli, end_speeds, is_round, local_scatter, star_sums
from .moments import Progress, WeakForm

Array = NDArray[np.float64]

MIN_STARS = 500
_COLUMNS: dict[str, u.UnitBase | None] = {
    "R_lo": LENGTH,
    "R_hi": LENGTH,
    "omega": ANGULAR_SPEED,
    "error": ANGULAR_SPEED,
    "growth_rate": 1 / u.Gyr,
    "growth_rate_error": 1 / u.Gyr,
    "amplitude": None,
    "significance": None,
    "phase": u.rad,
    "in_pattern": None,
}


@dataclass(frozen=True)
class PatternSpeed:
    """A pattern speed with its errors.

    Attributes
    ----------
    value, error : Quantity
        Omega_z and its total error (statistical and systematic in quadrature), km/s/kpc.
    statistical, systematic : Quantity
        The two parts.
    growth_rate, growth_rate_error : Quantity
        d ln A_2 / dt of the pattern and its statistical error, 1/Gyr; NaN where it cannot be told from rotation.
    by_radius : QTable
        One row an annulus, none where polynomials stand in their place (see the module): R_lo, R_hi [kpc]; omega of m = 2 and its
        statistical error [km/s/kpc]; growth_rate and growth_rate_error [1/Gyr]; amplitude A_2/A_0; significance, the amplitude in units of
        its noise; phase, the azimuth of m = 2 [rad]; in_pattern, whether the annulus turns with the bar.
    detected : bool
        False when the stars are axisymmetric within the noise: then ``value`` and ``error`` only give the range of the stars' own
        angular speeds.
    message : str
        The verdict in one sentence.
    """

    value: u.Quantity
    error: u.Quantity
    statistical: u.Quantity
    systematic: u.Quantity
    growth_rate: u.Quantity
    growth_rate_error: u.Quantity
    by_radius: QTable
    detected: bool
    message: str

    def __repr__(self) -> str:
        omega, growth = (
            f"{value.value:.4g} +- {error.value:.2g} {value.unit}"
            for value, error in ((self.value, self.error), (self.growth_rate, self.growth_rate_error))
        )
        return f"<PatternSpeed {omega}, growth rate {growth}, {len(self.by_radius)} annuli: {self.message}>"


def pattern_speed(
    tracers: Tracers,
    volume: Volume,
    *,
    errors: str = "ignore",
    n_bootstrap: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> PatternSpeed:
    """Measure the pattern speed of the stars in a volume; linear in their number, seconds for a million.

    Parameters
    ----------
    tracers : Tracers
        Stars; ``weights`` (1 / selection function) are used where present.
    volume : Volume
        A `Cylinder` or a `Ball` about the axis of rotation, which is z through the origin (shift the stars where it is not, or give a run
        its ``x0``); a `Ball` elsewhere, which knows the pattern where it is; or any region of either, as
        ``Ball(...).masked(Mask(...))`` (`deeppot_galactic.catalogue.masks`). Growth and Omega(R) need one about the axis without a mask.
    errors : {"ignore", "correct"}
        "correct" takes the stars' known errors out of every sum, to second order in their covariance. Pass stars beyond the volume too:
        those that errors may have carried out of it count.
    n_bootstrap : int
        Bootstrap samples for the statistical error.
    seed : int
        Of the bootstrap.
    progress : callable, optional

    Returns
    -------
    PatternSpeed

    Raises
    ------
    VolumeError
        If no star lies in the volume.
    FitError
        With fewer than 500 stars.
    CatalogueError
        If errors are to be corrected and none are known, or ``tracers`` are none.
    ConfigError
        For other ``errors``, fewer than two bootstrap samples, or a seed that is no whole number.

    Warns
    -----
    AxisymmetryWarning
        When no pattern stands out from the noise.
    """
    if errors not in ("ignore", "correct"):
        raise ConfigError(f"errors must be 'ignore' or 'correct', found {errors!r}")
    n_bootstrap, seed = whole(n_bootstrap, "n_bootstrap", least=2, error=ConfigError), whole(seed, "seed", error=ConfigError)
    inside = instance(tracers, Tracers, "tracers", CatalogueError).within(volume)
    different = len(inside) - repeated(inside.phase_space)
    if different < MIN_STARS:
        among = "" if different == len(inside) else f" among {len(inside)}"
        raise FitError(f"{different} different stars{among} in the {volume.describe()}; a pattern speed needs at least {MIN_STARS}")
    if different < 0.5 * len(inside):
        text = f"{len(inside) - different} of {len(inside)} stars repeat another one exactly; the errors take them for independent"
        warnings.warn(DeepPotWarning(text), stacklevel=2)
    copies: Copies | None = None
    if errors == "correct":
        copies = error_copies(tracers, seed=seed)
        reach = copies.reaching(volume)
        inside, copies = tracers.select(reach), copies[reach]
    weights = None if inside.weights is None else np.asarray(inside.weights, dtype=float)
    result = continuity(inside.phase_space, volume, weights, n_bootstrap=n_bootstrap, seed=seed, progress=progress, copies=copies)
    if not result.detected:
        warnings.warn(AxisymmetryWarning(result.message), stacklevel=2)
    return result


def continuity(
    stars: Array,
    volume: Volume,
    weights: Array | None,
    *,
    n_bootstrap: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
    copies: Copies | None = None,
) -> PatternSpeed:
    """`pattern_speed` of the stars (n, 6) in a volume, in kpc and km/s, with weights (n,), without its checks and its warning."""
    if not is_round(volume):
        return _elsewhere(stars, volume, weights, n_bootstrap, seed, copies)
    found = _in_annuli(stars, volume, weights, n_bootstrap, seed, progress, copies)
    if found.detected or isinstance(volume, Cylinder):
        return found
    # Polynomials all over a ball see weaker patterns than its annuli do, if these do not grow.
    other = _elsewhere(stars, volume, weights, n_bootstrap, seed, copies)
    return other if other.detected else found


def _in_annuli(
    stars: Array,
    volume: Round,
    weights: Array | None,
    n_bootstrap: int,
    seed: int,
    progress: Progress | None,
    copies: Copies | None = None,
) -> PatternSpeed:
    edges, orders = annuli(volume), (2, 4)
    shape = (n_bootstrap + 1, len(edges), len(orders))
    sums_b, sums_d = np.zeros(shape, dtype=complex), np.zeros(shape, dtype=complex)
    total, power = np.zeros(len(edges)), np.zeros((len(edges), len(orders)))
    rng = np.random.default_rng(seed)
    for start in range(0, len(stars), CHUNK):
        part = slice(start, start + CHUNK)
        b, d, profile = star_sums(part, stars, volume, edges, orders, weights, copies)
        draw = np.concatenate([np.ones((1, len(b))), rng.poisson(1.0, (n_bootstrap, len(b)))])
        sums_b += np.tensordot(draw, b, axes=1)
        sums_d += np.tensordot(draw, d, axes=1)
        total += profile.sum(axis=0)
        power += np.sum(np.abs(b) ** 2, axis=0)
        if progress is not None:
            progress("pattern speed", min(start + CHUNK, len(stars)), len(stars), {})
    rate = sums_d / np.where(sums_b == 0, 1.0, sums_b)
    omega = -rate.imag / np.array(orders)
    error = np.std(omega[1:], axis=0)
    growth = np.asarray(u.Quantity(rate[:, :, 0].real, ANGULAR_SPEED).to_value(1 / u.Gyr))
    amplitude = np.abs(sums_b[0]) / np.maximum(total[:, None], 1e-300)
    significance = np.abs(sums_b[0]) / np.sqrt(np.maximum(0.5 * power, 1e-300))
    phase = -np.angle(sums_b[0, :, 0]) / 2.0
    chosen = bar_annuli(amplitude[:, 0], significance[:, 0], phase)
    by_radius = _by_radius(
        R_lo=edges[:, 0],
        R_hi=edges[:, 1],
        omega=omega[0, :, 0],
        error=error[:, 0],
        growth_rate=growth[0],
        growth_rate_error=np.std(growth[1:], axis=0),
        amplitude=amplitude[:, 0],
        significance=significance[:, 0],
        phase=phase,
        in_pattern=chosen,
    )
    if not chosen.any():
        return _nothing(stars, by_radius, f"no m = 2 pattern: its amplitude is below {SIGNIFICANCE:g} sigma in every annulus")
    values = omega[:, chosen, 0]
    covariance = _linear_covariance(stars, volume, edges[chosen], weights, copies, sums_b[0, chosen, 0], rate[0, chosen, 0])
    tau2 = _intrinsic_variance(values[0], covariance)
    weight = np.linalg.solve(covariance + tau2 * np.eye(len(covariance)), np.ones(len(covariance)))
    weight /= weight.sum()
    value = float(weight @ values[0])
    statistical = float(max(np.std(values[1:] @ weight), np.sqrt(weight @ covariance @ weight)))
    # Neighbouring annuli overlap by half, so that the scatter averages down with half their number.
    systematic = float(np.sqrt(2.0 * tau2 * np.sum(weight**2)))
    four = chosen & (significance[:, 1] > SIGNIFICANCE) & (error[:, 1] < 3.0 * np.max(error[chosen, 0]))
    if four.any():
        w4 = 1.0 / (error[four, 1] ** 2 + tau2)
        offset = float(np.sum(w4 * omega[0, four, 1]) / np.sum(w4)) - value
        noise2 = statistical**2 + 1.0 / np.sum(w4)
        systematic = float(np.hypot(systematic, 0.5 * np.sqrt(max(offset**2 - noise2, 0.0))))
    angle = -float(np.angle(np.sum(sums_b[0, chosen, 0]))) / 2.0
    ends, noise = end_speeds(stars, volume, edges[chosen], weight, angle, weights, copies)
    systematic = float(np.hypot(systematic, np.sqrt(_intrinsic_variance(ends, noise) / 2.0)))
    total_error = float(np.hypot(statistical, systematic))
    growth = growth[:, chosen] @ weight
    low, high = edges[chosen, 0].min(), edges[chosen, 1].max()
    if _is_lost(value, total_error, stars):
        return _nothing(stars, by_radius, f"an m = 2 asymmetry without a steady pattern: Omega = {value:.1f} +- {total_error:.1f} km/s/kpc")
    return PatternSpeed(
        value * ANGULAR_SPEED,
        total_error * ANGULAR_SPEED,
        statistical * ANGULAR_SPEED,
        systematic * ANGULAR_SPEED,
        growth[0] / u.Gyr,
        np.std(growth[1:]) / u.Gyr,
        by_radius,
        True,
        f"a pattern between R = {low:.1f} and {high:.1f} kpc turns at {value:.1f} +- {total_error:.1f} km/s/kpc",
    )


def _by_radius(**columns: Any) -> QTable:
    """The table of the annuli with its units; without columns, the same table without rows."""
    table = QTable()
    for name, unit in _COLUMNS.items():
        values = columns.get(name, np.zeros(0, dtype=bool if name == "in_pattern" else float))
        table[name] = values if unit is None else values * unit
    return table


def _linear_covariance(
    stars: Array, volume: Round, edges: Array, weights: Array | None, copies: Copies | None, b_sum: Array, rate: Array
) -> Array:
    """Covariance (K, K) of Omega in the annuli from the influence of each star: neighbours share stars, and their errors are
    anticorrelated."""
    out = np.zeros((len(edges), len(edges)))
    for start in range(0, len(stars), CHUNK):
        part = slice(start, start + CHUNK)
        b, d, _ = star_sums(part, stars, volume, edges, (2,), weights, copies)
        influence = -((d[:, :, 0] - rate * b[:, :, 0]) / b_sum).imag / 2.0
        out += influence.T @ influence
    return out


def _intrinsic_variance(values: Array, covariance: Array) -> float:
    """Variance tau^2 of the values beyond their errors (Paule & Mandel 1982): the least that brings chi^2 below its 84 % quantile.

    The quantile, instead of the expectation, keeps noise among few annuli from being taken for scatter.
    """
    k = len(values)
    if k < 2:
        return 0.0
    limit = float(chi2.ppf(0.84, k - 1))

    def excess(tau2: float) -> float:
        inverse = np.linalg.inv(covariance + tau2 * np.eye(k))
        mean = float(np.sum(inverse @ values) / np.sum(inverse))
        return float((values - mean) @ inverse @ (values - mean)) - limit

    upper = float(np.var(values)) * 2.0 + 1e-12
    if excess(0.0) <= 0.0 or excess(upper) >= 0.0:
        return 0.0 if excess(0.0) <= 0.0 else upper
    root: Any = brentq(excess, 0.0, upper)
    return float(root)


def _is_lost(omega: float, error: float, stars: Array) -> bool:
    """Whether the stars' own angular speeds say as much."""
    return error > 0.5 * abs(omega) and error > 0.3 * angular_speeds(stars).spread


def _nothing(stars: Array, by_radius: QTable, reason: str) -> PatternSpeed:
    speeds, nan = angular_speeds(stars), np.nan * ANGULAR_SPEED
    own = f"the stars themselves turn at {speeds.median:.0f} +- {speeds.spread:.0f} km/s/kpc"
    message = f"{reason}; the pattern speed is not determined ({own})"
    return PatternSpeed(
        speeds.median * ANGULAR_SPEED, speeds.error * ANGULAR_SPEED, nan, nan, np.nan / u.Gyr, np.nan / u.Gyr, by_radius, False, message
    )


def _elsewhere(
    stars: Array, volume: Volume, weights: Array | None, n_bootstrap: int, seed: int, copies: Copies | None = None
) -> PatternSpeed:
    """Continuity with polynomial bumps in a volume that is not round about the axis."""
    weak = WeakForm(stars, volume, weights=weights, copies=copies)
    j = weak.basis.size
    d, e = np.zeros(j), np.zeros(j)
    dd, de, ee = (np.zeros((j, j)) for _ in range(3))
    d_drawn, e_drawn = np.zeros((n_bootstrap, j)), np.zeros((n_bootstrap, j))
    rng = np.random.default_rng(seed)
    for rows, turning in weak.continuity():
        d, e = d + rows.sum(axis=0), e + turning.sum(axis=0)
        draw = rng.poisson(1.0, (n_bootstrap, len(rows))).astype(float)
        d_drawn, e_drawn = d_drawn + draw @ rows, e_drawn + draw @ turning
        dd, de, ee = dd + rows.T @ rows, de + rows.T @ turning, ee + turning.T @ turning
    n = len(weak)
    dd, de, ee = dd - np.outer(d, d) / n, de - np.outer(d, e) / n, ee - np.outer(e, e) / n
    everything = np.ones(j, dtype=bool)
    omega, statistical, detected = _profile(d, e, dd, de, ee, everything)
    empty = _by_radius()
    if not detected:
        return _nothing(stars, empty, f"no pattern stands out in the {volume.describe()}")
    statistical = max(statistical, _bootstrap_error(omega, statistical, d_drawn, e_drawn, dd, de, ee))
    parts = [_profile(d, e, dd, de, ee, np.arange(j) % 2 == k) for k in (0, 1)]
    usable = [(o, s) for o, s, ok in parts if ok]
    systematic = 0.0
    if len(usable) > 1:
        both, errors = (np.array(q) for q in zip(*usable, strict=True))
        systematic = float(np.sqrt(_intrinsic_variance(both, np.diag(errors**2)) / 2.0))
    systematic = float(np.hypot(systematic, local_scatter(volume, omega)))
    error = float(np.hypot(statistical, systematic))
    if _is_lost(omega, error, stars):
        return _nothing(stars, empty, f"no steady pattern in the {volume.describe()}: Omega = {omega:.1f} +- {error:.1f} km/s/kpc")
    return PatternSpeed(
        omega * ANGULAR_SPEED,
        error * ANGULAR_SPEED,
        statistical * ANGULAR_SPEED,
        systematic * ANGULAR_SPEED,
        np.nan / u.Gyr,
        np.nan / u.Gyr,
        empty,
        True,
        f"a pattern in the {volume.describe()} turns at {omega:.1f} +- {error:.1f} km/s/kpc",
    )


def _bootstrap_error(omega: float, step: float, d: Array, e: Array, dd: Array, de: Array, ee: Array) -> float:
    """Scatter of the minima of the profiled misfit over bootstrap sums d, e (n, j), each from a parabola through three speeds."""
    used, places = _used(dd), omega + step * np.array([-1.0, 0.0, 1.0])
    square = np.ix_(used, used)
    dd, de, ee = dd[square], de[square], ee[square]
    rest = [(d - o * e)[:, used] for o in places]
    low, middle, high = (np.sum(r * _weighted(o, dd, de, ee, r), axis=1) for o, r in zip(places, rest, strict=True))
    curvature = low - 2.0 * middle + high
    moved = 0.5 * (low - high) / np.where(curvature > 0.0, curvature, np.inf)
    return float(step * np.std(moved[curvature > 0.0])) if (curvature > 0.0).any() else 0.0


def _used(dd: Array) -> NDArray[np.bool_]:
    """Test functions with stars: those outside a mask have none."""
    power = np.diag(dd)
    return power > 1e-12 * power.max()


def _weighted(omega: float, dd: Array, de: Array, ee: Array, right: Array) -> Array:
    """C(Omega)^-1 times rows ``right`` (..., j), C the covariance of D - Omega E."""
    c = dd - omega * (de + de.T) + omega**2 * ee
    scale = 1.0 / np.sqrt(np.diag(c))
    inner = c * np.outer(scale, scale)
    inner[np.diag_indices_from(inner)] += 1e-8
    return np.linalg.solve(inner, (right * scale).T).T * scale


def _profile(d: Array, e: Array, dd: Array, de: Array, ee: Array, used: NDArray[np.bool_]) -> tuple[float, float, bool]:
    """Minimum of the profiled (D - Omega E)^T C(Omega)^-1 (D - Omega E), its error, and whether the signal stands out.

    C(Omega) is the covariance of D - Omega E, so that noise in E does not bias Omega (continuously updated moments).
    """
    used = used & _used(dd)
    square = np.ix_(used, used)
    d, e, dd, de, ee = d[used], e[used], dd[square], de[square], ee[square]

    def solve(omega: float, right: Array) -> Array:
        return _weighted(omega, dd, de, ee, right)

    def misfit(omega: float) -> float:
        r = d - omega * e
        return float(r @ solve(omega, r))

    if not (np.trace(dd) > 0.0 and np.trace(ee) > 0.0):
        return 0.0, np.inf, False  # stars at rest, or all on the axis: nothing turns
    start = float(e @ solve(0.0, d) / (e @ solve(0.0, e)))
    reach = 3.0 * abs(start) + 60.0
    grid = np.linspace(start - reach, start + reach, 241)
    values = np.array([misfit(o) for o in grid])
    best = float(grid[np.argmin(values)])
    step = grid[1] - grid[0]
    found: Any = minimize_scalar(misfit, bounds=(best - step, best + step), method="bounded", options={"xatol": 1e-4})
    best = float(found.x)
    low = misfit(best)
    curvature = (misfit(best + 0.2) - 2.0 * low + misfit(best - 0.2)) / 0.04
    # Far from the truth the misfit levels off at the noise: the depth of the minimum is the significance of the pattern.
    depth = float(np.min([values[0], values[-1]]) - low)
    rows = max(len(d) - 1, 1)
    inflation = max(low / rows, 1.0)
    if curvature <= 0.0 or depth < SIGNIFICANCE**2 * inflation:
        return best, np.inf, False
    return best, float(np.sqrt(2.0 * inflation / curvature)), True
