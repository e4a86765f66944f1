"""One look for all figures: colours that survive colour blindness and projectors, figure sizes, colour bars.

The categorical colours are those of Okabe & Ito (2008); maps are perceptually uniform (magma, viridis, cividis) or diverging (RdBu).
Nothing here touches pyplot or any other global state of matplotlib: figures are objects, drawn by the Agg canvas, and labels are
plain Unicode, so that neither a display nor LaTeX is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ...store import atomic_path

INK, GREY, PALE = "#1b2733", "#7d8894", "#eef1f4"
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY)
FIT, TRUTH, WEAK, LAB = BLUE, INK, VERMILLION, ORANGE

STARS_MAP, MATTER_MAP, FORCE_MAP, DIVERGING_MAP = "magma", "viridis", "cividis", "RdBu_r"

SPEED_UNIT = "km s⁻¹ kpc⁻¹"
WIDTH, DPI = 5.4, 170
"""Width of a panel (inches) and its resolution: 918 pixels, sharp on a slide and at the width of a telephone."""

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "text.color": INK,
    "legend.fontsize": 9.5,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.borderpad": 0.2,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "text.usetex": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def styled() -> Iterator[None]:
    """Use the style of the report for what is drawn inside the block, and leave matplotlib as it was.

    Returns
    -------
    context manager
    """
    with matplotlib.rc_context(RC):
        yield


def panel(height: float = 4.64, *, rows: tuple[float, ...] = (1.0,)) -> tuple[Figure, list[Axes]]:
    """A figure with axes above one another that share x; ``rows`` are their relative heights.

    Parameters
    ----------
    height : float
        Inches.
    rows : tuple of float
        Relative heights of the axes above one another.

    Returns
    -------
    figure, axes
        Figure and list of Axes.
    """
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=rows)[:, 0]
    return figure, list(axes)


def map_panel() -> tuple[Figure, Axes, Axes]:
    """A square map with room for its colour bar: figure, axes, colour-bar axes.

    Returns
    -------
    figure, ax, cax
    """
    return _place([3.72])[:3]  # type: ignore[return-value]


def square_panel() -> tuple[Figure, Axes]:
    """A square frame of the size of a map, without a colour bar.

    Returns
    -------
    figure, ax
    """
    figure, ax, bar = map_panel()
    figure.delaxes(bar)
    return figure, ax


def face_edge_panel(*, shared: bool, edge_height: float = 0.95) -> tuple[Figure, Axes, Axes, Axes]:
    """A square map above a flat one of the same width: figure, face-on axes, axes of the colour bar (``shared``:
    for both), edge-on axes.

    Parameters
    ----------
    shared : bool
        One colour bar for both.
    edge_height : float
        Of the edge-on axes [inches].

    Returns
    -------
    figure, face, cax, edge
    """
    figure, face, bar, edge = _place([3.72, edge_height])
    if not shared:
        place, beside = bar.get_position(), face.get_position()
        bar.set_position((place.x0, beside.y0, place.width, beside.height))
    return figure, face, bar, edge


def _place(heights: list[float]) -> Any:
    """Axes of fixed size in inches, so that equal aspect ratios leave no holes."""
    left, side, below, between, above = 0.72, 3.72, 0.56, 0.62, 0.36
    total = below + sum(heights) + between * (len(heights) - 1) + above
    figure = Figure(figsize=(WIDTH, total))
    FigureCanvasAgg(figure)
    axes, top = [], total - above
    for height in heights:
        axes.append(figure.add_axes((left / WIDTH, (top - height) / total, side / WIDTH, height / total)))
        top -= height + between
    bar_left, bar_bottom = left + side + 0.1, below
    bar = figure.add_axes((bar_left / WIDTH, bar_bottom / total, 0.14 / WIDTH, (total - above - below) / total))
    return (figure, axes[0], bar, *axes[1:])


def tidy(ax: Axes, *, grid: bool = True) -> Axes:
    """Open the frame of a curve plot and draw a pale grid.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    grid : bool
        Whether to draw one.

    Returns
    -------
    Axes
        ``ax``.
    """
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(color=PALE, linewidth=1.0)
    return ax


def colour_bar(ax: Axes, artist: Any, label: str, *, cax: Axes | None = None, extend: str = "neither") -> None:
    """A colour bar beside ``ax``, or in ``cax``."""
    figure = ax.figure
    bar = (
        figure.colorbar(artist, cax=cax, extend=extend)
        if cax is not None
        else figure.colorbar(artist, ax=ax, extend=extend, pad=0.02, fraction=0.05)
    )
    bar.set_label(label)
    if isinstance(artist.norm, LogNorm) and (artist.norm.vmax or np.inf) < 1e3:
        plain_log(bar.ax.yaxis)
    bar.outline.set_linewidth(0.6)  # type: ignore[operator]


def plain_log(axis: Any) -> None:
    """Label a logarithmic axis (or that of a colour bar) with plain numbers, 1-2-5 where it spans less than two decades."""
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low) if low > 0 else 9.0
    if decades > 3.5:
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG without dates or versions in it, so that equal figures are equal files.

    Parameters
    ----------
    figure : Figure
        To be written.
    path : Path
        Of the PNG.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, metadata={"Software": None})
    return path
