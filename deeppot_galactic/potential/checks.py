"""What a potential cannot be fitted to: stars without extent or motion, copies of a few stars, and gradients that no density has.

Each is refused by name before the sums over stars, in which it would end as a singular matrix, or as a result that means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..catalogue.sanity import check_copies, check_extent, check_speeds
from ..errors import FitError

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample

MOST_REPEATED = 0.5
"""Share of points that may repeat another one exactly; 0.37 of a bootstrap sample do."""
LEAST_FILLED = 0.01
"""Scatter of the positions over the size of the volume."""
SCORES = (1e-8, 1e8)
"""Largest gradient of ln f over one standard deviation of the points: what is below at every point, or above at any, is no density's."""


def check_points(points: GradientSample) -> None:
    """Refuse points that do not determine a potential.

    Raises
    ------
    FitError
        Saying what they lack.
    CatalogueError
        For stars faster than light.
    """
    x = points.points
    check_speeds(x)
    check_extent(x)
    scatter = float(x[:, :3].std(axis=0).max())
    if scatter < LEAST_FILLED * points.volume.size:
        raise FitError(
            f"the stars lie within {scatter:.3g} kpc of one place in the {points.volume.describe()}; choose a volume of their size"
        )
    check_copies(x, MOST_REPEATED, "points")
    if not np.median(np.abs(x[:, 3:]).max(axis=1)) > 0.0:
        raise FitError("half of the stars or more are at rest; a potential is known from motions only")
    if not np.median(np.hypot(x[:, 0], x[:, 1])) > 0.0:
        raise FitError("half of the stars or more lie exactly on the axis; a potential needs them at many radii")


def check_scores(points: GradientSample) -> None:
    """Refuse scores that are missing, or beyond anything that a density of these points can have.

    Raises
    ------
    FitError
        With the number of such points.
    """
    bad = int((~np.isfinite(points.score).all(axis=1)).sum())
    if bad:
        which = "these points have none" if bad == len(points) else f"{bad} of {len(points)} points have none"
        raise FitError(f"this method needs scores, and {which}; draw_gradients makes them, or use method='weak'")
    with np.errstate(over="ignore"):
        steepest = np.abs(points.score * points.points.std(axis=0)).max(axis=1)
    low, high = SCORES
    if (number := int((steepest > high).sum())) > 0:
        raise FitError(
            f"{number} of {len(points)} points have scores up to {np.abs(points.score).max():.3g}, which no density has; fit it anew"
        )
    if steepest.max() < low:
        raise FitError(f"the scores vanish (at most {np.abs(points.score).max():.3g}): a density without gradients tells nothing of forces")


def check_density(points: GradientSample) -> None:
    """Refuse densities whose logarithms are not finite, or whose exponentials are out of range (`FitError`)."""
    ln_f, most = points.log_density, float(np.log(np.finfo(np.float32).max))
    bad = int((~(np.isfinite(ln_f) & (ln_f < most))).sum())
    if bad or ln_f.max() < -most:
        raise FitError(
            f"{bad or len(points)} of {len(points)} points have a ln f that no density has; residual='f' needs it, residual='ln f' does not"
        )
