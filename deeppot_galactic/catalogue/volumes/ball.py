"""Balls anywhere."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ...errors import VolumeError
from ...units import LENGTH, to_internal
from .base import Array, Volume, one_length, smoother_step


class Ball(Volume):
    """A ball |x - center| <= radius.

    Parameters
    ----------
    center : Quantity
        Shape (3,).
    radius : Quantity
        Positive length.

    Raises
    ------
    UnitsError
        For a number without a length unit.
    VolumeError
        If the centre is not three finite numbers or the radius is not positive.
    """

    kind = "ball"

    def __init__(self, center: u.Quantity, radius: u.Quantity) -> None:
        self._center = to_internal(center, LENGTH, "center")
        if self._center.shape != (3,) or not np.all(np.isfinite(self._center)):
            raise VolumeError(f"the centre of a ball must be three finite lengths, found {center}")
        self._center.setflags(write=False)
        self.radius = one_length(radius, "radius")
        if self.radius <= 0.0:
            raise VolumeError(f"the radius of a ball must be positive, found {self.radius:g} kpc")

    @property
    def size(self) -> float:
        return self.radius

    @property
    def center(self) -> Array:
        return self._center

    @property
    def measure(self) -> float:
        return float(4.0 / 3.0 * np.pi * self.radius**3)

    def _encloses(self, points: Array) -> NDArray[np.bool_]:
        return np.asarray(np.sum((points - self._center) ** 2, axis=1) <= self.radius**2)

    def _edge_weight(self, points: Array, taper: float) -> tuple[Array, Array]:
        offset = points - self._center
        radius = np.sqrt(np.sum(offset**2, axis=1))
        width = taper * self.radius
        weight, slope = smoother_step((self.radius - radius) / width)
        return weight, offset * (-slope / width / np.where(radius > 0.0, radius, 1.0))[:, None]

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        direction = rng.standard_normal((n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        return self._center + direction * (self.radius * np.cbrt(rng.uniform(size=n)))[:, None]

    def _numbers(self) -> dict[str, Any]:
        return {"kind": self.kind, "unit": "kpc", "center": [float(c) for c in self._center], "radius": self.radius}

    def _shape(self) -> str:
        return f"ball of radius {self.radius:g} kpc about ({', '.join(f'{c:g}' for c in self._center)}) kpc"
