"""Tracers from positions and velocities with units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike

from ..errors import CatalogueError
from ..units import LENGTH, VELOCITY, vectors
from .propagation import checked_covariance, checked_weights

if TYPE_CHECKING:
    from .tracers import Tracers


def tracers_from_phase_space(
    pos: u.Quantity, vel: u.Quantity, *, frame: Any, weights: ArrayLike | None, covariance: ArrayLike | None, source: str
) -> Tracers:
    """See `Tracers.from_phase_space`."""
    from .tracers import Tracers

    x, v = vectors(pos, LENGTH, "positions"), vectors(vel, VELOCITY, "velocities")
    if len(x) != len(v):
        raise CatalogueError(f"positions hold {len(x)} stars and velocities {len(v)}; they must agree")
    rows = np.concatenate([x, v], axis=1)
    mask = np.asarray(getattr(pos, "mask", False)) | np.asarray(getattr(vel, "mask", False))
    good = np.isfinite(rows).all(axis=1) & ~np.broadcast_to(mask, x.shape).any(axis=1)
    left = int(np.count_nonzero(good))
    if not left:
        raise CatalogueError(f"none of the {len(rows)} stars has six finite coordinates")
    cuts = [{"name": "finite coordinates", "removed": len(rows) - left, "left": left}]
    meta = {"source": source, "kind": "phase space", "n_read": len(rows), "n_complete": left, "cuts": cuts, "notes": []}
    values = checked_weights(weights, len(rows))
    errors = checked_covariance(covariance, len(rows))
    return Tracers(
        rows[good],
        frame=frame,
        weights=None if values is None else values[good],
        covariance=None if errors is None else errors[good],
        meta=meta,
    )
