"""Weights of stars by a selection function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import CatalogueError
from .base import SelectionFunction
from .tables import DistanceLimit

if TYPE_CHECKING:
    from ..tracers import Tracers


def divide_by(tracers: Tracers, selection: SelectionFunction, *, least: float = 0.05) -> Tracers:
    """Weights over S, without the stars where S is small; see `Tracers.weighted`.

    Parameters
    ----------
    tracers : Tracers
        The stars.
    selection : SelectionFunction
        S; a distance limit only cuts.
    least : float
        Stars with S below it are cut.

    Returns
    -------
    Tracers

    Raises
    ------
    CatalogueError
        If no star lies where S is at least that.
    """
    if isinstance(selection, DistanceLimit):
        keep = selection(tracers.phase_space[:, :3]) > 0.0
        if not keep.any():
            raise CatalogueError(f"no star of {len(tracers):,} lies within the {selection.describe()}")
        kept = tracers.select(keep, name="distance limit")
        kept.meta["selection"] = selection.describe()
        return kept
    value = selection(tracers.phase_space[:, :3])
    keep = value >= max(least, 1e-12)
    if not keep.any():
        raise CatalogueError(f"no star of {len(tracers):,} lies where the {selection.describe()} is at least {least:g}")
    kept = tracers.select(keep, name=f"selection >= {least:g}")
    kept.weights = (1.0 if kept.weights is None else kept.weights) / value[keep]
    kept.meta["selection"] = selection.describe()
    return kept
