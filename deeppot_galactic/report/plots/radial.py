"""Densities, errors and rates of change against radius. Radii in kpc.

Every function draws into ``ax`` and returns it.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..diagnostics.stationarity import PER_GYR, Stationarity, radial_percentiles
from .style import FIT, GREY, LAB, ORANGE, TRUTH, plain_log, tidy

Array = NDArray[np.float64]


SMALLEST = 1e-3
"""Floor of logarithmic axes: per cent, or 1/Gyr; less is as good as zero."""


def density_profile(
    ax: Axes, radius: Array, fit: Array, *, stars: tuple[Array, Array, Array] | None = None, truth: tuple[Array, Array] | None = None
) -> Axes:
    """Matter density near the plane (Msun/kpc^3) of the fit and the truth; the stars (radius, density, error)
    scaled to the fit, for their shape.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    radius : array (K,)
        kpc.
    fit : array (K,)
        Density [Msun/kpc^3].
    stars : tuple of arrays, optional
        Radius [kpc], density and error (K,).
    truth : pair of arrays, optional
        Radius [kpc] and density [Msun/kpc^3].

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    shown = np.where(fit > 0, fit, np.nan)
    positive = shown[np.isfinite(shown)]
    if stars is not None and len(positive):
        at = np.interp(stars[0], radius, np.where(np.isfinite(shown), shown, 0))
        use = (stars[1] > 0) & (at > 0)
        scale = float(np.exp(np.median(np.log(at[use] / stars[1][use])))) if use.any() else 1.0
        label = "stars (scaled: shape only)"
        ax.errorbar(stars[0], scale * stars[1], scale * stars[2], fmt="o", color=ORANGE, markersize=4, linewidth=1.2, label=label)
    if truth is not None:
        ax.plot(truth[0], truth[1], "s", color=TRUTH, markersize=5, markerfacecolor="none", label="truth")
    ax.plot(radius, shown, color=FIT, label="fit, ∇²Φ / 4πG")
    ax.set(xlim=(0, radius[-1]), xlabel="R [kpc]", ylabel="ρ [M☉ kpc⁻³]")
    if len(positive):
        ax.set_ylim(min(0.3 * np.percentile(positive, 2), 0.1 * positive.max()), 3 * positive.max())
        ax.set_yscale("log")
    ax.legend(loc="upper right")
    return ax


def error_against_radius(ax: Axes, radius: Array, error: Array, *, edges: Array, label: str = "relative error of a") -> Axes:
    """Relative errors at single points, their median and the band that holds the middle 68 %.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    radius : array (N,)
        Radii [kpc].
    error : array (N,)
        Relative errors.
    edges : array (K + 1,)
        Radii between the bins [kpc].
    label : str
        Of the vertical axis, without its unit, per cent.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    percent = np.maximum(100 * error, SMALLEST)
    low, median, high = radial_percentiles(radius, percent, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    ax.plot(radius, percent, ".", color=GREY, markersize=2.5, alpha=0.35, rasterized=True)
    ax.fill_between(middle, low, high, color=FIT, alpha=0.22, linewidth=0, label="16 to 84 % of points")
    ax.plot(middle, median, color=FIT, label="median")
    ax.set(xlim=(edges[0], edges[-1]), xlabel="R [kpc]", ylabel=f"{label} [%]")
    _logarithmic(ax, percent)
    ax.legend(loc="upper right")
    return ax


def rate_against_radius(ax: Axes, result: Stationarity, *, edges: Array, centre: Array | None = None) -> Axes:
    """Median |d ln f/dt| of the points in both frames (1/Gyr), with the middle 68 % in the rotating frame.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    result : Stationarity
        Rates in both frames [km/s/kpc].
    edges : array (K + 1,)
        Radii between the bins [kpc].
    centre : array (2,) or (3,), optional
        From which radii are measured [kpc].

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    offset = np.zeros(2) if centre is None else centre[:2]
    radius = np.hypot(result.x[:, 0] - offset[0], result.x[:, 1] - offset[1])
    middle = 0.5 * (edges[1:] + edges[:-1])
    shown: list[Array] = []
    for rate, colour, name in ((result.lab, LAB, "lab frame"), (result.rotating, FIT, "rotating frame")):
        low, median, high = radial_percentiles(radius, np.maximum(PER_GYR * np.abs(rate), SMALLEST), edges, weights=result.weights)
        shown += [low, 2 * high]
        ax.fill_between(middle, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(middle, median, color=colour, label=name)
    where = "R [kpc]" if centre is None else "distance from the centre of the volume [kpc]"
    ax.set(xlim=(edges[0], edges[-1]), xlabel=where, ylabel="|d ln f / dt| [Gyr⁻¹]")
    _logarithmic(ax, np.concatenate(shown), percentiles=(0, 100))
    ax.legend(loc="upper right")
    return ax


def _logarithmic(ax: Axes, values: Array, *, percentiles: tuple[float, float] = (0.5, 99.7)) -> None:
    """A logarithmic axis around the positive ``values``, with room for a legend; linear if there are none."""
    good = values[np.isfinite(values) & (values > 0)]
    if len(good):
        low, high = np.percentile(good, percentiles)
        ax.set_ylim(0.9 * low, 2.5 * high)
        ax.set_yscale("log")
        plain_log(ax.yaxis)
