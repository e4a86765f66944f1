"""How far the fit is from stationary, in the rotating frame and, for comparison, in the lab frame.

At a point (x, v) drawn from f, with the scores s_x = d ln f / dx and s_v = d ln f / dv,

    r = d ln f / dt = (u - v) . s_x + (grad Phi + w) . s_v,    u = Omega x (x - x0) + v0,    w = Omega x (v - v0)

(Kalda, Green & Ghosh 2023, arXiv:2310.00040, eqs. 3-5, divided by f): the rate at which f changes at a point that turns with the
frame. r = 0 everywhere is what the fit tries to reach; Omega = 0 and v0 = 0 give the lab frame, in which the catalogue's coordinates rest,
a bar passes by and r oscillates (v0 alone says nothing there: only v0 - Omega x x0 belongs to the rotating frame). The
mean of r over the stars in a column is the relative rate of change of the surface density there (the force term integrates to
zero over velocity), so that the face-on maps have a meaning: a quadrupole in the lab, nothing but noise in the right frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ...units import TIME
from .structure import Map

Array = NDArray[np.float64]

PER_GYR = float(np.asarray(u.Quantity(1.0, TIME**-1).to_value(u.Gyr**-1)).item())
"""One km/s/kpc in 1/Gyr (1.0227)."""

SATURATION = 100
"""Points beyond which a pixel gains no further weight in `coherent_rms`."""


def percentiles(values: Array, which: float | tuple[float, ...], weights: Array | None = None) -> Array:
    """Percentiles of values (N,), with weights (N,) those of the distribution that each value stands for."""
    if weights is None or not np.any(weights > 0):
        return np.asarray(np.percentile(values, which))
    return np.asarray(np.percentile(values, which, weights=weights, method="inverted_cdf"))


@dataclass(frozen=True)
class Stationarity:
    """d ln f/dt (km/s/kpc) at points ``x`` (N, 6) with ``weights`` (N,) or None: arrays ``rotating`` and ``lab`` (N,)."""

    x: Array
    rotating: Array
    lab: Array
    weights: Array | None = None

    def summary(self) -> dict[str, float | str | int]:
        """Medians of |d ln f/dt| over the stars, by their weights, in both frames, for ``summary.json``.

        Returns
        -------
        dict
            ``rotating_median`` and ``lab_median`` [km/s/kpc], their ``unit``, and ``n``, the number of points.
        """
        return {
            "rotating_median": float(percentiles(np.abs(self.rotating), 50, self.weights)),
            "lab_median": float(percentiles(np.abs(self.lab), 50, self.weights)),
            "unit": "km/s/kpc",
            "n": len(self.x),
        }


def time_derivative(x: Array, score: Array, gradient: Array, omega: Array, *, x0: Array | None = None, v0: Array | None = None) -> Array:
    """d ln f / dt in the frame that turns with ``omega``, array level.

    Parameters
    ----------
    x : array (N, 6)
        Positions (kpc) and velocities (km/s).
    score : array (N, 6)
        Gradient of ln f (1/kpc, s/km).
    gradient : array (N, 3)
        grad Phi, i.e. minus the acceleration (km^2/s^2/kpc).
    omega : array (3,)
        Angular velocity of the frame (km/s/kpc).
    x0, v0 : array (3,), optional
        A point on the axis (kpc) and its velocity (km/s); zero by default.

    Returns
    -------
    array (N,)
        km/s/kpc.
    """
    position = x[:, :3] if x0 is None else x[:, :3] - x0
    shift = np.zeros(3) if v0 is None else np.asarray(v0, dtype=np.float64)
    drift = np.cross(omega, position) + shift
    kick = np.cross(omega, x[:, 3:] - shift)
    return np.sum((drift - x[:, 3:]) * score[:, :3] + (gradient + kick) * score[:, 3:], axis=1)


def non_stationarity(
    x: Array,
    score: Array,
    gradient: Array,
    omega: Array,
    *,
    x0: Array | None = None,
    v0: Array | None = None,
    weights: Array | None = None,
) -> Stationarity:
    """d ln f / dt in the rotating frame and in the lab, Omega = v0 = 0 (see `time_derivative` for shapes and units), without bad points.

    Parameters
    ----------
    x : array (N, 6)
        Points [kpc, km/s].
    score : array (N, 6)
        Gradients of ln f [1/kpc, s/km].
    gradient : array (N, 3)
        grad Phi [km^2/s^2/kpc].
    omega : array (3,)
        Of the frame [km/s/kpc].
    x0 : array (3,), optional
        A point of the axis [kpc].
    v0 : array (3,), optional
        Velocity of the frame [km/s].
    weights : array (N,), optional
        Of the points.

    Returns
    -------
    Stationarity
        Rates in km/s/kpc.
    """
    rotating = time_derivative(x, score, gradient, omega, x0=x0, v0=v0)
    lab = time_derivative(x, score, gradient, np.zeros(3))
    good = np.isfinite(rotating) & np.isfinite(lab)
    return Stationarity(x[good], rotating[good], lab[good], None if weights is None else weights[good])


def mean_map(
    first: Array,
    second: Array,
    values: Array,
    x_edges: Array,
    y_edges: Array,
    *,
    weights: Array | None = None,
    smooth: float = 0.0,
    at_least: float = 8,
) -> Map:
    """Mean of ``values`` (N,) around each pixel, NaN where fewer than ``at_least`` points contribute.

    With ``smooth`` > 0 the mean is weighted by a Gaussian of so many pixels, to which n_eff = 4 pi smooth^2 n points contribute at n
    points per pixel; points with weights w count as n = (sum w)^2 / sum w^2. Values beyond 20 median absolute values are clipped so that a
    few wild scores do not paint their surroundings.

    Parameters
    ----------
    first : array (N,)
        First coordinate in the plane [kpc].
    second : array (N,)
        Second coordinate in the plane [kpc].
    values : array (N,)
        Any unit, which the map keeps.
    x_edges : array
        Borders of the pixels along the first axis.
    y_edges : array
        Borders of the pixels along the second axis.
    weights : array (N,), optional
        Of the points.
    smooth : float
        Width of the kernel [pixels]; 0: none.
    at_least : float
        Pixels to which fewer points contribute are NaN.

    Returns
    -------
    Map
        NaN where there is no data.
    """
    limit = 20 * np.median(np.abs(values)) if len(values) else 0.0
    clipped = np.clip(values, -limit, limit) if limit > 0 else values
    w = np.ones(len(values)) if weights is None else weights
    totals, squares, sums = (np.histogram2d(first, second, bins=(x_edges, y_edges), weights=q)[0] for q in (w, w**2, w * clipped))
    if smooth > 0:
        totals, squares, sums = (gaussian_filter(array, smooth, mode="constant") for array in (totals, squares, sums))
    contributing = totals**2 / np.where(squares > 0, squares, np.inf) * (4 * np.pi * smooth**2 if smooth > 0 else 1)
    return Map(x_edges, y_edges, np.where(contributing >= at_least, sums / np.where(totals > 0, totals, 1), np.nan))


def radial_percentiles(
    radius: Array,
    values: Array,
    edges: Array,
    which: tuple[float, ...] = (16, 50, 84),
    *,
    weights: Array | None = None,
    at_least: int = 10,
) -> Array:
    """Percentiles of ``values`` (N,) in bins of ``radius`` (N,): array (len(which), K), NaN where fewer than ``at_least`` values.

    Parameters
    ----------
    radius : array (N,)
        Radii [kpc].
    values : array (N,)
        Any unit.
    edges : array (K + 1,)
        Radii between the bins [kpc].
    which : tuple of float
        In per cent.
    weights : array (N,), optional
        Of the values.
    at_least : int
        Bins with fewer points are NaN.

    Returns
    -------
    array (len(which), K)
        In the unit of the values.
    """
    index = np.digitize(radius, edges) - 1
    out = np.full((len(which), len(edges) - 1), np.nan)
    for k in range(len(edges) - 1):
        inside = index == k
        if np.count_nonzero(inside) >= at_least:
            out[:, k] = percentiles(values[inside], which, None if weights is None else weights[inside])
    return out


def coherent_rms(first: Array, second: Array, values: Array, edges: Array, *, weights: Array | None = None, at_least: int = 20) -> float:
    """Root mean square over the pixels of a plane of the mean of ``values``, with the variance of that mean subtracted.

    Pixels count by their number of points, (sum w)^2 / sum w^2 for weights w, up to `SATURATION`: beyond it noise is small and the
    crowded centre should not decide alone. What is left is structure common to neighbouring stars; for pure noise the result is near
    zero. Values are clipped as in `mean_map`.

    Parameters
    ----------
    first : array (N,)
        First coordinate in the plane [kpc].
    second : array (N,)
        Second coordinate in the plane [kpc].
    values : array (N,)
        Any unit, e.g. km/s/kpc.
    edges : array
        Borders of the pixels along both axes [kpc].
    weights : array (N,), optional
        Of the points.
    at_least : int
        Bins with fewer points are NaN.

    Returns
    -------
    float
        In the unit of the values; NaN without points.
    """
    if len(values) == 0:
        return float("nan")
    limit = 20 * np.median(np.abs(values))
    clipped = np.clip(values, -limit, limit) if limit > 0 else values
    w = np.ones(len(values)) if weights is None else weights
    total, squares, first_moment, second_moment = (
        np.histogram2d(first, second, bins=(edges, edges), weights=q)[0] for q in (w, w**2, w * clipped, w * clipped**2)
    )
    n = total**2 / np.where(squares > 0, squares, np.inf)
    used = n >= at_least
    if not used.any():
        return float("nan")
    mean, square = first_moment[used] / total[used], second_moment[used] / total[used]
    noise = (square - mean**2) / (n[used] - 1)
    return float(np.sqrt(max(0.0, float(np.average(mean**2 - noise, weights=np.minimum(n[used], SATURATION))))))
