"""What the panels are drawn from, and the pixels of their maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..diagnostics import Diagnosis
from ..inputs import Sample

Array = NDArray[np.float64]
Drawn = Iterator[tuple[str, str, str, str, Any]]
"""Name, section, title, caption and figure of panels."""


@dataclass(frozen=True)
class Context:
    """What the panels are drawn from: numbers (with the points and their weights), ``summary.json``, stars and sample, all stars of the
    catalogue (``everything``), scores at the points, radii of ``joins`` (kpc), the analytic ``base`` of the fit, and the ``points``
    themselves.
    """

    d: Diagnosis
    summary: dict[str, Any]
    total: float | None
    sample: Sample | None
    drawn: bool
    everything: Array | None = None
    score: Array | None = None
    joins: tuple[float, ...] = ()
    base: Any = None
    points: Any = None


def joins_of(points: Any) -> tuple[float, ...]:
    """Radii at which the shells of a fit were joined (kpc), none for a fit in one piece."""
    shells = getattr(getattr(points, "volume", None), "shells", None)
    return () if shells is None else tuple(float(radius) for radius in shells[1:-1])


def pixel_edges(c: Context, bins: int, *, margin: float = 1.0) -> tuple[Array, Array]:
    """Pixel borders of a face-on map."""
    reach, centre = margin * c.d.region.radius, c.d.region.centre
    return centre[0] + np.linspace(-reach, reach, bins + 1), centre[1] + np.linspace(-reach, reach, bins + 1)


def pixels_about(centres: Array) -> Array:
    """Borders (K + 1,) of the pixels about increasing ``centres`` (K,)."""
    return np.concatenate(
        [[1.5 * centres[0] - 0.5 * centres[1]], 0.5 * (centres[1:] + centres[:-1]), [1.5 * centres[-1] - 0.5 * centres[-2]]]
    )


def plane_positions(x_edges: Array, y_edges: Array, height: float = 0.0) -> Array:
    """Centres of the pixels of a plane z = ``height`` as positions (N, 3), x slowest."""
    x, y = (0.5 * (edges[1:] + edges[:-1]) for edges in (x_edges, y_edges))
    first, second = np.meshgrid(x, y, indexing="ij")
    return np.column_stack([first.ravel(), second.ravel(), np.full(first.size, height)])
