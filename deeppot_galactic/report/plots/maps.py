"""Maps in the plane of the disc and across it: stars, forces, matter density, residuals. Lengths in kpc.

Every function draws into ``ax`` and returns it; ``cax`` takes the colour bar, which is otherwise placed beside ``ax``, and
``colorbar=False`` leaves it out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ..diagnostics.structure import BarExtent, Map
from .style import INK, PALE, STARS_MAP, colour_bar

Array = NDArray[np.float64]


def draw_map(
    ax: Axes, values: Map, *, cmap: str, norm: Normalize, label: str, cax: Axes | None = None, colorbar: bool = True, **bar: Any
) -> Axes:
    """Draw a `Map` with square kiloparsecs and a colour bar; pixels without data are pale.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Pixels and their values.
    cmap : str
        Name of a colour map.
    norm : Normalize
        Of the colours.
    label : str
        Of the colour bar or the axis, with its unit.
    cax : Axes, optional
        Of the colour bar; otherwise it is placed beside ``ax``.
    colorbar : bool
        Whether to draw a colour bar.
    **bar
        Passed on to the colour bar.

    Returns
    -------
    Axes
        ``ax``.
    """
    ax.set_facecolor(PALE)
    shown = np.ma.masked_invalid(values.values.T)
    artist = ax.pcolormesh(values.x_edges, values.y_edges, shown, cmap=cmap, norm=norm, rasterized=True)
    ax.set_xlim(values.x_edges[0], values.x_edges[-1])
    ax.set_ylim(values.y_edges[0], values.y_edges[-1])
    if colorbar:
        colour_bar(ax, artist, label, cax=cax, **bar)
    return ax


def face_on(ax: Axes) -> Axes:
    """Axes of a map of the plane.

    Parameters
    ----------
    ax : Axes
        Drawn into.

    Returns
    -------
    Axes
        ``ax``.
    """
    ax.set_aspect("equal")
    ax.set_xlabel("x [kpc]")
    ax.set_ylabel("y [kpc]")
    return ax


def edge_on(ax: Axes, *, along_bar: bool) -> Axes:
    """Axes of a map across the plane; heights are stretched to fill the panel.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    along_bar : bool
        Whether the horizontal axis is the bar.

    Returns
    -------
    Axes
        ``ax``.
    """
    ax.set_xlabel("along the bar [kpc]" if along_bar else "x [kpc]")
    ax.set_ylabel("z [kpc]")
    return ax


def stellar_density(ax: Axes, values: Map, *, decades: float = 3.2, smooth: float = 0.8, **bar: Any) -> Axes:
    """Stars per kpc^2, logarithmic over ``decades``, smoothed by a Gaussian of ``smooth`` pixels.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Stars per kpc^2.
    decades : float
        Range of the colours.
    smooth : float
        Width of the kernel [pixels].
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    density = smoothed(values, smooth)
    top = float(np.percentile(density.values, 99.9)) or 1.0
    norm = LogNorm(top / 10**decades, top, clip=True)
    floor = np.maximum(np.nan_to_num(density.values), top / 10**decades)
    return draw_map(ax, Map(values.x_edges, values.y_edges, floor), cmap=STARS_MAP, norm=norm, label="stars [kpc⁻²]", **bar)


def smoothed(values: Map, sigma: float) -> Map:
    """A map convolved with a Gaussian of ``sigma`` pixels."""
    from scipy.ndimage import gaussian_filter

    return Map(values.x_edges, values.y_edges, gaussian_filter(np.nan_to_num(values.values), sigma) if sigma > 0 else values.values)


def landmarks(
    ax: Axes, *, bar: BarExtent | None = None, corotation: float | None = None, colour: str = "white", legend: bool = True
) -> Axes:
    """Draw the bar (a line as long as it is, with ends) and the corotation circle over a face-on map.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    bar : BarExtent, optional
        Length [kpc] and angle [rad] of the bar.
    corotation : float, optional
        Radius to mark [kpc].
    colour : str
        Of the lines.
    legend : bool
        Whether to draw one.

    Returns
    -------
    Axes
        ``ax``.
    """
    reach = max(abs(limit) for limit in (*ax.get_xlim(), *ax.get_ylim()))
    if bar is not None:
        along = bar.length * np.array([np.cos(bar.angle), np.sin(bar.angle)])
        across = 0.035 * reach * np.array([-np.sin(bar.angle), np.cos(bar.angle)])
        ax.plot([-along[0], along[0]], [-along[1], along[1]], color=colour, linewidth=1.6, label=f"bar, half-length {bar.length:.1f} kpc")
        for end in (-along, along):
            ax.plot(*np.transpose([end - across, end + across]), color=colour, linewidth=1.6)
    if corotation is not None and corotation < reach:
        ax.add_patch(Circle((0, 0), corotation, fill=False, color=colour, linestyle=(0, (5, 3)), linewidth=1.4))
        ax.plot([], [], color=colour, linestyle=(0, (5, 3)), linewidth=1.4, label=f"corotation, {corotation:.1f} kpc")
    if legend and ax.get_legend_handles_labels()[0]:
        box = ax.legend(loc="upper right", labelcolor=colour, fontsize=9, handlelength=1.8, frameon=True, borderpad=0.5)
        box.get_frame().set(facecolor="#0b0b14" if colour == "white" else "white", alpha=0.6, edgecolor="none")
    return ax


def stellar_contours(ax: Axes, values: Map, *, levels: int = 6, colour: str = "white") -> Axes:
    """Contours of equal (smoothed) star density, one per factor of three downwards from half the peak.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    values : Map
        Stars per kpc^2.
    levels : int
        Number of contours.
    colour : str
        Of the lines.

    Returns
    -------
    Axes
        ``ax``.
    """
    density = smoothed(values, 1.5)
    middle_x, middle_y = (0.5 * (edges[1:] + edges[:-1]) for edges in (values.x_edges, values.y_edges))
    steps = 0.5 * np.max(density.values) / 3.0 ** np.arange(levels)[::-1]
    if np.max(density.values) > 0:
        ax.contour(middle_x, middle_y, density.values.T, levels=steps, colors=colour, linewidths=0.8, alpha=0.75)
    return ax


def round_up(value: float) -> float:
    """The next of 1, 2, 3, 5, 10, 20, 30, 50, ... that is not below ``value``.

    Parameters
    ----------
    value : float
        Any number.

    Returns
    -------
    float
        1 if it is not positive.
    """
    if not value > 0 or not np.isfinite(value):
        return 1.0
    decade = 10.0 ** np.floor(np.log10(value))
    return float(next(step * decade for step in (1, 2, 3, 5, 10) if step * decade >= value * (1 - 1e-9)))


def outline(ax: Axes, radius: float, centre: Array | None = None) -> Axes:
    """The circle that bounds a ball or a cylinder seen from above.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    radius : float
        kpc.
    centre : array (2,) or (3,), optional
        kpc; the origin by default.

    Returns
    -------
    Axes
        ``ax``.
    """
    middle = (0.0, 0.0) if centre is None else (float(centre[0]), float(centre[1]))
    ax.add_patch(Circle(middle, radius, fill=False, color=INK, linewidth=0.8))
    return ax
