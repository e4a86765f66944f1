r"""Do the scores know how fast f rotates? Axes about which it is axisymmetric within the noise.

A rotation about the direction n enters d ln f / dt by Omega_n a_n with

    a_n = (n x (x - x0)) . s_x + (n x (v - v0)) . s_v,

the derivative of ln f along that rotation, which is zero for all stars where f is axisymmetric about n. Learned scores never are, but their
errors make a residual d ln f / dt of the size that they make in omega a_n with omega an angular speed of the stars. So Omega_n is taken for
unknown where omega |a_n| does not stand out from that residual,

    omega median |a_n| < 1.5 median |d ln f / dt|,

for the directions n of largest and least information: the eigenvectors of < w a a^T >. Exact scores of a barred galaxy exceed that without
limit, with errors of 5 % twice to four times; errors of 5 to 20 % of the scores of a disc or a sphere leave it at 0.8 to 1.1 of the right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .annuli import angular_speeds
from .frame import RotatingFrame, rotation_columns

Array = NDArray[np.float64]

STANDS_OUT = 1.5
"""Times the residual rate that the change by rotation must exceed."""
_FLOOR = 1e-3  # km/s/kpc: residual below which no potential is fitted


class OpenAxis(NamedTuple):
    """A ``direction`` (3,) about which f is axisymmetric, with median and range of the stars' angular speeds about it, km/s/kpc."""

    direction: Array
    omega: float
    error: float


def open_axes(points: Array, score: Array, rate: Array, frame: RotatingFrame) -> list[OpenAxis]:
    """Directions in the space of the free components of Omega along which the scores do not determine it.

    Parameters
    ----------
    points, score : (n, 6) arrays
        Phase-space points and grad ln f (1/kpc, s/km).
    rate : (n,) array
        Residual d ln f / dt in km/s/kpc, from `deeppot_galactic.potential.frame.stationarity_rate`.
    frame : RotatingFrame
    """
    free = [k for k, axis in enumerate("xyz") if f"omega_{axis}" in frame.free]
    columns = rotation_columns(points, score, frame)[:, free]
    if not free:
        return []
    square = np.sum(columns**2, axis=1)
    weight = 1.0 / (1.0 + square / max(float(np.median(square)), 1e-12))
    residual = max(float(np.median(np.abs(rate))), _FLOOR)
    found = []
    for vector in np.linalg.eigh((columns * weight[:, None]).T @ columns)[1].T:
        direction = np.zeros(3)
        direction[free] = vector if vector[np.argmax(np.abs(vector))] > 0 else -vector
        speeds = angular_speeds(points - np.concatenate([frame.x0_vector, frame.v0_vector]), direction)
        speed = max(speeds.spread, 0.5 * abs(speeds.median))  # a typical one, where the error below is to hold all of them
        if speed * float(np.median(np.abs(columns @ direction[free]))) < STANDS_OUT * residual:
            found.append(OpenAxis(direction, speeds.median, speeds.error))
    return found
