"""Stars that cannot be what they seem: faster than light, many times the same one, or without extent in phase space.

They come from wrong units, from joins of tables and from columns that were filled in, and would go through later stages without an error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError, DeepPotError, FitError

LIGHT = 299792.458
"""Speed of light [km/s]."""
NAMES = ("x", "y", "z", "vx", "vy", "vz")
LEAST_SCALE = 1e-12
"""Standard deviation of a coordinate, kpc or km/s, below which it is constant."""
LEAST_EIGENVALUE = 1e-10
"""Of the correlation matrix of the six coordinates."""
SOME_STARS = 100_000
"""Stars that are enough to find a linear dependence."""


def repeated(rows: NDArray[np.float64]) -> int:
    """How many rows (n, 6) repeat an earlier one exactly."""
    if len(np.unique(rows[:, 0])) == len(rows):  # one coordinate tells most catalogues apart, at a fraction of the cost
        return 0
    return len(rows) - len(np.unique(rows, axis=0))


def check_copies(rows: NDArray[np.float64], most: float, name: str) -> None:
    """Refuse rows (n, 6) of which more than a share ``most`` repeat another one exactly; ``name`` says what they are (`FitError`)."""
    copies = repeated(rows)
    if copies > most * len(rows):
        raise FitError(f"{copies} of {len(rows)} {name} repeat another one exactly; remove duplicates, and use weights instead of copies")


def check_speeds(rows: NDArray[np.float64]) -> None:
    """Refuse stars faster than light (`CatalogueError`)."""
    fast = np.abs(rows[:, 3:]).max(axis=1, initial=0.0) > LIGHT
    number = int(fast.sum())
    if number:
        worst = float(np.abs(rows[:, 3:]).max())
        raise CatalogueError(f"{number:,} of {len(rows):,} stars move faster than light (up to {worst:.3g} km/s); check the units")


def check_weighted(weights: NDArray[np.float64] | None, error: type[DeepPotError] = CatalogueError) -> None:
    """Refuse stars of which none has a weight (`CatalogueError`, or the class ``error``)."""
    if weights is not None and len(weights) and not np.any(weights):
        raise error(f"all {len(weights):,} stars have weight zero; some weights must be positive")


def check_scale(scale: NDArray[np.float64]) -> None:
    """Refuse a dimension without spread; ``scale`` holds the six standard deviations (`FitError`)."""
    for name, value in zip(NAMES, scale, strict=True):
        if not value > LEAST_SCALE:
            raise FitError(f"dimension {name} is constant over the stars; all six phase-space coordinates must vary")


def check_extent(rows: NDArray[np.float64]) -> None:
    """Refuse stars (n, 6) that are not finite, or fill no volume in phase space (`FitError`)."""
    bad = int((~np.isfinite(rows).all(axis=1)).sum())
    if bad:
        raise FitError(f"{bad} of {len(rows)} stars have a coordinate that is not finite; remove them first")
    check_scale(rows.std(axis=0))
    some = rows[:: max(1, len(rows) // SOME_STARS)]
    if np.linalg.eigvalsh(np.corrcoef(some.T))[0] < LEAST_EIGENVALUE:
        raise FitError(
            "the six coordinates depend on each other linearly: the stars fill no volume in phase space, so they have no density"
        )
