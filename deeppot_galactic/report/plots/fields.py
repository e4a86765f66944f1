"""Maps of what a fit gives: accelerations, matter density, rates of change, differences. Lengths in kpc.

Every function draws into ``ax`` and returns it; see `maps.draw_map` for the colour bar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, TwoSlopeNorm
from numpy.typing import NDArray

from ..diagnostics.stationarity import PER_GYR
from ..diagnostics.structure import Map
from .maps import draw_map, round_up
from .style import DIVERGING_MAP, FORCE_MAP, MATTER_MAP

Array = NDArray[np.float64]


KM_S_MYR = 1 / 977.7922
"""One km^2/s^2/kpc in km/s/Myr."""


def acceleration_map(ax: Axes, values: Map, *, limits: tuple[float, float] | None = None, **bar: Any) -> Axes:
    """|a| in the plane; ``values`` in km^2/s^2/kpc, shown in km/s/Myr.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        |a| [km^2/s^2/kpc].
    limits : (float, float), optional
        Colour range, in the unit of the values.
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    shown = values.values * KM_S_MYR
    low, high = limits or force_limits(values.values)
    norm = LogNorm(low * KM_S_MYR, high * KM_S_MYR)
    return draw_map(
        ax, Map(values.x_edges, values.y_edges, shown), cmap=FORCE_MAP, norm=norm, label="|a| [km s⁻¹ Myr⁻¹]", extend="both", **bar
    )


def force_limits(*values: Array) -> tuple[float, float]:
    """A common colour range for several maps of |a|.

    Parameters
    ----------
    *values : arrays
        |a| [km^2/s^2/kpc].

    Returns
    -------
    (float, float)
        1 and 99.5 per cent of the positive values [km^2/s^2/kpc].
    """
    together = np.concatenate([np.ravel(v) for v in values])
    together = together[np.isfinite(together) & (together > 0)]
    low, high = np.percentile(together, (1, 99.5)) if len(together) else (1.0, 10.0)
    return float(low), float(max(high, 1.01 * low))


def residual_map(ax: Axes, values: Map, *, label: str = "|a| fit / truth - 1 [%]", limit: float | None = None, **bar: Any) -> Axes:
    """A relative difference, drawn in per cent about zero.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        fit / truth - 1.
    label : str
        Of the colour bar or the axis, with its unit.
    limit : float, optional
        End of the colour range [per cent].
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    percent = 100 * values.values
    reach = limit or round_up(float(np.nanpercentile(np.abs(percent), 95)) if np.isfinite(percent).any() else 10.0)
    norm = TwoSlopeNorm(0, -reach, reach)
    label = label.replace("-", "−")
    return draw_map(ax, Map(values.x_edges, values.y_edges, percent), cmap=DIVERGING_MAP, norm=norm, label=label, extend="both", **bar)


def matter_density(ax: Axes, values: Map, *, limits: tuple[float, float] | None = None, **bar: Any) -> Axes:
    """lap Phi / (4 pi G) in Msun/kpc^3, logarithmic; where it is negative the map is white and hatched.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Msun/kpc^3.
    limits : (float, float), optional
        Colour range, in the unit of the values.
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    density = values.values
    low, high = limits or density_limits(density)
    positive = np.where(density > 0, np.maximum(density, low), np.nan)
    draw_map(
        ax,
        Map(values.x_edges, values.y_edges, positive),
        cmap=MATTER_MAP,
        norm=LogNorm(low, high),
        label="ρ [M☉ kpc⁻³]",
        extend="both",
        **bar,
    )
    if np.any(density < 0):
        middle_x, middle_y = (0.5 * (edges[1:] + edges[:-1]) for edges in (values.x_edges, values.y_edges))
        ax.contourf(middle_x, middle_y, (density < 0).T.astype(float), levels=(0.5, 1.5), colors=["white"], hatches=["//////"])
        ax.set_title("hatched: negative", loc="right", fontsize=9, fontweight="normal")
    return ax


def density_limits(*values: Array, decades: float = 4.0) -> tuple[float, float]:
    """A colour range of at most ``decades`` below the largest density.

    Parameters
    ----------
    *values : arrays
        Msun/kpc^3.
    decades : float
        Largest range.

    Returns
    -------
    (float, float)
        Msun/kpc^3.
    """
    together = np.concatenate([np.ravel(v) for v in values])
    together = together[np.isfinite(together) & (together > 0)]
    if len(together) == 0:
        return 1.0, 10.0
    high = float(np.percentile(together, 99.9))
    low = max(float(np.percentile(together, 1)), high / 10**decades)
    return (low, high) if high > 10 * low else (high / 10, 2 * high)


def rate_map(ax: Axes, values: Map, *, limit: float, **bar: Any) -> Axes:
    """Mean d ln f/dt; ``values`` and ``limit`` in km/s/kpc, shown in 1/Gyr.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Pixels and their values.
    limit : float
        End of the colour range [km/s/kpc].
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    rate = values.values * PER_GYR
    norm = TwoSlopeNorm(0, -limit * PER_GYR, limit * PER_GYR)
    label = "mean d ln f / dt [Gyr⁻¹]"
    return draw_map(ax, Map(values.x_edges, values.y_edges, rate), cmap=DIVERGING_MAP, norm=norm, label=label, extend="both", **bar)


def significance(ax: Axes, values: Map, *, limit: float = 5.0, **bar: Any) -> Axes:
    """Significance of data minus model, in standard deviations.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Standard deviations.
    limit : float
        End of the symmetric colour range, in the unit of the values.
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    return draw_map(ax, values, cmap=DIVERGING_MAP, norm=TwoSlopeNorm(0, -limit, limit), label="(data − model) / σ", extend="both", **bar)
