"""Sample and frame seen from the axis of rotation: the fits know a rotation about the origin alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..catalogue.volumes import Ball
from ..errors import FrameError
from .frame import RotatingFrame

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample

Array = NDArray[np.float64]


def about_axis(points: GradientSample, frame: RotatingFrame) -> tuple[GradientSample, RotatingFrame]:
    """The sample and the frame in coordinates in which the rotation axis starts at the origin, at rest."""
    x0, v0 = frame.x0_vector, frame.v0_vector
    if not (x0.any() or v0.any()):
        return points, frame
    from ..distribution.gradients import GradientSample as Sample

    relative = frame.with_vectors(frame.omega_vector, np.zeros(3), np.zeros(3))
    starts = {f"{group}_{axis}": float(v[k]) for group, v in (("x0", x0), ("v0", v0)) for k, axis in enumerate("xyz")}
    relative.prior = {name: (mean - starts.get(name, 0.0), sigma) for name, (mean, sigma) in frame.prior.items()}
    volume = recentred(points.volume, x0) if x0.any() else points.volume
    offset = np.concatenate([x0, v0])
    copies = None if points.copies is None else replace(points.copies, rows=points.copies.rows - offset)
    moved = Sample(
        points.points - offset,
        points.log_density,
        points.score,
        volume=volume,
        weights=points.weights,
        meta=points.meta,
        copies=copies,
        copy_weights=points.copy_weights,
    )
    return moved, relative


def recentred(volume: Any, x0: Array) -> Any:
    """The volume in coordinates whose origin is at ``x0`` [kpc].

    Raises
    ------
    FrameError
        For a volume about the origin, or with a mask.
    """
    if volume.mask is not None:
        raise FrameError("x0 does not fit a volume with a mask: shift the catalogue by x0 and make the mask in the shifted frame")
    if isinstance(volume, Ball):
        return _Recentred(volume, x0)
    raise FrameError(
        f"x0 = {x0.tolist()} kpc does not fit a cylinder about the origin: shift the catalogue instead, so that the axis is at the origin"
    )


class _Recentred(Ball):
    """A ball in coordinates whose origin is at ``x0``, which messages name as it was given."""

    def __init__(self, given: Ball, x0: Array) -> None:
        super().__init__((given.center - x0) * u.kpc, given.radius * u.kpc)
        self._given = given

    def _shape(self) -> str:
        return self._given.describe()
