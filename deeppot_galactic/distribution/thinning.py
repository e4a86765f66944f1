"""Catalogues larger than a training can look at.

K updates of B stars look at no more than K B stars, so of a larger catalogue that many (and as many more as are held out for validation)
are drawn at random and the others are only counted: the same information as streaming them once, with memory that depends on the settings
instead of the catalogue. The positions are gone through in chunks, which suits stars that lie in a memory-mapped file.
"""

from __future__ import annotations

import math
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..catalogue.tracers import Tracers
from ..catalogue.volumes import Ball, Cylinder, Volume
from .padding import REACH

CHUNK = 2**18
"""Stars looked at together."""
LEAST = 2**20
"""Catalogues up to this are never thinned."""


def most_stars(settings: Any, validation_fraction: float) -> int:
    """Stars that a training with these settings can make use of."""
    steps = getattr(settings, "most_steps", settings.steps)
    return max(LEAST, math.ceil(steps * settings.batch / (1.0 - validation_fraction)))


def inside_in_chunks(x: NDArray[Any], volume: Volume) -> NDArray[np.bool_]:
    """Whether each star (n, 6) lies in the volume, without a copy of the stars."""
    return np.concatenate([volume.contains(np.asarray(x[start : start + CHUNK, :3])) for start in range(0, len(x), CHUNK)])


def thinned(tracers: Tracers, volume: Volume, most: int, seed: int) -> tuple[Tracers, float]:
    """At most ``most`` of the stars in and around the volume, with their errors, and the sum of the weights of all stars in it.

    Parameters
    ----------
    tracers : Tracers
        All stars, possibly memory-mapped.
    volume : Volume
        Where f is wanted; what may lie in its padding is drawn from too.
    most : int
        Stars to keep.
    seed : int
        Of the draw.
    """
    x = tracers.phase_space
    inside = inside_in_chunks(x, volume)
    total = float(inside.sum()) if tracers.weights is None else float(tracers.weights[inside].sum())
    near = np.flatnonzero(inside_in_chunks(x, _surroundings(volume)))
    if len(near) > most:
        near = np.sort(np.random.default_rng([seed, 0x71]).choice(near, most, replace=False))
    return tracers.select(near), total


def _surroundings(volume: Volume) -> Volume:
    if isinstance(volume, Ball):
        return Ball(volume.center * u.kpc, REACH * volume.radius * u.kpc)
    if isinstance(volume, Cylinder):
        return Cylinder(r_out=REACH * volume.r_out * u.kpc, half_height=REACH * volume.half_height * u.kpc)
    return volume
