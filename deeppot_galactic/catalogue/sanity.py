"""Stars that cannot be what they seem: faster than light, or many times the same one.

Both come from wrong units and from joins of tables, and both would go through every later stage without an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError

LIGHT = 299792.458
"""Speed of light [km/s]."""


def repeated(rows: NDArray[np.float64]) -> int:
    """How many rows (n, 6) repeat an earlier one exactly."""
    if len(np.unique(rows[:, 0])) == len(rows):  # one coordinate tells most catalogues apart, at a fraction of the cost
        return 0
    return len(rows) - len(np.unique(rows, axis=0))


def check_speeds(rows: NDArray[np.float64]) -> None:
    """Refuse stars faster than light (`CatalogueError`)."""
    fast = np.abs(rows[:, 3:]).max(axis=1, initial=0.0) > LIGHT
    number = int(fast.sum())
    if number:
        worst = float(np.abs(rows[:, 3:]).max())
        raise CatalogueError(f"{number:,} of {len(rows):,} stars move faster than light (up to {worst:.3g} km/s); check the units")
