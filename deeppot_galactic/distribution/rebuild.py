"""A distribution from what a file holds, which may come from anywhere: sizes are checked before anything of that size is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import StoreError
from ..training import History
from .base import Distribution

MOST_STEPS = 10_000
"""Solver steps accepted from a file."""


def rebuild(tensors: dict[str, NDArray[Any]], header: dict[str, Any]) -> Distribution:
    """A distribution from its arrays and its description."""
    from ..catalogue.volumes import Volume
    from .estimators import estimator_class

    _check_sizes(tensors, header["state"])
    common = {
        "volume": Volume.from_dict(header["volume"]),
        "n_stars": float(header["n_stars"]),
        "history": History.from_dict(header["history"]),
        "meta": header["meta"],
    }
    return estimator_class(header["estimator"])._from_state(tensors, header["state"], common)


def precision_of(tensors: dict[str, NDArray[Any]]) -> torch.dtype:
    """Precision of the stored arrays of a network."""
    kinds = {array.dtype for array in tensors.values()}
    for kind, precision in ((np.float32, torch.float32), (np.float64, torch.float64)):
        if kinds == {np.dtype(kind)}:
            return precision
    raise StoreError(f"the network is stored as {', '.join(sorted(map(str, kinds)))}, expected float32 or float64")


def _check_sizes(tensors: dict[str, NDArray[Any]], state: Any) -> None:
    """Refuse network sizes that the stored arrays do not have, before anything of that size is made (`StoreError`)."""
    if not isinstance(state, dict):
        raise StoreError("the description of the estimator is not a mapping")
    sizes = {size for array in tensors.values() for size in array.shape}
    for part in (state, state.get("flow")):
        if isinstance(part, dict):
            width, layers = part.get("width", 0), [part.get(name, 1) for name in ("depth", "chain")]
            steps = part.get("steps", 1)
            if not isinstance(steps, int) or not 0 < steps <= MOST_STEPS:
                raise StoreError(f"the description speaks of {str(steps)[:20]} solver steps, expected 1 to {MOST_STEPS}")
            if "width" in part and (not isinstance(width, int) or width not in sizes):
                raise StoreError(f"the description speaks of a network of width {str(width)[:20]}, which is not stored")
            if not all(isinstance(number, int) and 0 < number <= len(tensors) for number in layers):
                raise StoreError("the description speaks of more layers than are stored")
