"""The region an estimator is trained on: the volume, with a margin where the stars reach beyond it.

Near the boundary of the trained region the weight g of the objective falls to zero and f is known less well. When the catalogue goes
on outside the volume, the region is enlarged so that the fall of g lies outside; when the catalogue ends at the volume, g falls
inside. This takes the place of the virtual particles of Kalda, Green & Ghosh (2023, appendix B). The hole of a shell is entered in the same
way, as far as the fall of g needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np

from ..catalogue.volumes import TAPER, Ball, Cylinder, Volume

if TYPE_CHECKING:
    from numpy.typing import NDArray

MARGIN = 1.0 / (1.0 - TAPER)
"""Enlargement for which the roll-off of g just lies outside the volume."""
LEAST_SHARE = 0.25
"""Stars of the outer half of the margin, over those expected from the inner half, below which the catalogue is taken to end."""
LEAST_HOLE = 0.2
"""A hole that would shrink below this share of itself is filled altogether."""


def _scaled(volume: Volume, radial: float, vertical: float, *, inwards: bool = False) -> Volume:
    larger = volume
    if isinstance(volume, Ball):
        larger = Ball(volume.center * u.kpc, volume.radius * radial * u.kpc)
    elif isinstance(volume, Cylinder):
        r_out = volume.r_out * radial
        r_in = volume.r_in - (TAPER * r_out if inwards else 0.0)
        r_in = r_in if r_in > LEAST_HOLE * volume.r_in else 0.0
        larger = Cylinder(r_out=r_out * u.kpc, half_height=volume.half_height * vertical * u.kpc, r_in=r_in * u.kpc)
    return larger if volume.mask is None else larger.masked(volume.mask)


def continues(x: NDArray[np.float64], volume: Volume, *, vertical: bool) -> bool:
    """Whether the stars fill the outer half of the margin in one direction."""
    half = 1.0 + 0.5 * (MARGIN - 1.0)
    counts = []
    for factor in (1.0, half, MARGIN):
        region = _scaled(volume, 1.0, factor) if vertical else _scaled(volume, factor, 1.0)
        counts.append(int(region.contains(x).sum()))
    inner, outer = counts[1] - counts[0], counts[2] - counts[1]
    return outer > 20 and outer > LEAST_SHARE * inner


def training_volume(x: NDArray[np.float64], volume: Volume) -> Volume:
    """The region to train on.

    Parameters
    ----------
    x : ndarray, shape (n, 3)
        Positions of all stars of the catalogue, in kpc.
    volume : Volume
        Where f is wanted.
    """
    if isinstance(volume, Cylinder):
        radial = MARGIN if continues(x, volume, vertical=False) else 1.0
        vertical = MARGIN if continues(x, volume, vertical=True) else 1.0
        inwards = volume.r_in > 0.0 and int((np.hypot(x[:, 0], x[:, 1]) < volume.r_in).sum()) > 20
        return volume if radial == vertical == 1.0 and not inwards else _scaled(volume, radial, vertical, inwards=inwards)
    if isinstance(volume, Ball) and continues(x, volume, vertical=False):
        return _scaled(volume, MARGIN, MARGIN)
    return volume
