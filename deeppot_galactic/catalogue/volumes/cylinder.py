"""Cylinders about the z axis, with a hole or without, in one piece or in shells."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ...errors import VolumeError
from ...units import LENGTH, to_internal
from .base import Array, Volume, one_length, smoother_step


class Cylinder(Volume):
    """An upright cylinder r_in <= R <= r_out, |z| <= half_height about the origin.

    Parameters
    ----------
    r_out, half_height : Quantity
        Outer radius and half height. ``r_out`` may be left out when ``shells`` is given.
    r_in : Quantity, optional
        Inner radius; default 0 (or the first shell edge).
    shells : Quantity, optional
        Increasing radii (K + 1,) of K nested shells, from r_in to r_out, for estimators that treat annuli apart.

    Raises
    ------
    UnitsError
        For a number without a length unit.
    VolumeError
        If the radii are not 0 <= r_in < r_out, or the shells do not run from one to the other.

    Examples
    --------
    >>> import astropy.units as u
    >>> Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc).describe()
    'cylinder R < 16 kpc, |z| < 2 kpc'
    """

    kind = "cylinder"

    def __init__(
        self, *, r_out: u.Quantity | None = None, half_height: u.Quantity, r_in: u.Quantity | None = None, shells: u.Quantity | None = None
    ) -> None:
        edges = None if shells is None else to_internal(shells, LENGTH, "shells")
        if edges is not None and (edges.ndim != 1 or len(edges) < 2 or not np.all(np.isfinite(edges)) or np.any(np.diff(edges) <= 0)):
            raise VolumeError(f"shells must be at least two increasing radii, found {shells}")
        if r_out is None and edges is None:
            raise VolumeError("a cylinder needs r_out or shells")
        self.r_out = one_length(r_out, "r_out") if r_out is not None else float(edges[-1])  # type: ignore[index]
        self.r_in = one_length(r_in, "r_in") if r_in is not None else (0.0 if edges is None else float(edges[0]))
        self.half_height = one_length(half_height, "half_height")
        if not 0.0 <= self.r_in < self.r_out:
            raise VolumeError(f"a cylinder needs 0 <= r_in < r_out, found r_in = {self.r_in:g} kpc and r_out = {self.r_out:g} kpc")
        if self.half_height <= 0.0:
            raise VolumeError(f"half_height must be positive, found {self.half_height:g} kpc")
        if edges is not None and not np.allclose(edges[[0, -1]], [self.r_in, self.r_out], rtol=1e-12, atol=1e-12):
            raise VolumeError(
                f"shells must run from r_in = {self.r_in:g} to r_out = {self.r_out:g} kpc, found {edges[0]:g} to {edges[-1]:g}"
            )
        self.shells = None if edges is None else tuple(float(edge) for edge in edges)

    @property
    def size(self) -> float:
        return self.r_out

    @property
    def center(self) -> Array:
        return np.zeros(3)

    @property
    def measure(self) -> float:
        return float(2.0 * np.pi * self.half_height * (self.r_out**2 - self.r_in**2))

    def split(self) -> list[Cylinder]:
        """The shells as cylinders of their own; the cylinder itself where it has none.

        Returns
        -------
        list of Cylinder
            From the innermost to the outermost; each has the mask of the whole.
        """
        if self.shells is None:
            return [self]
        edges = np.asarray(self.shells) * LENGTH
        height = self.half_height * LENGTH
        parts = [Cylinder(r_in=inner, r_out=outer, half_height=height) for inner, outer in zip(edges[:-1], edges[1:], strict=True)]
        return parts if self.mask is None else [part.masked(self.mask) for part in parts]

    def _encloses(self, points: Array) -> NDArray[np.bool_]:
        radius = np.hypot(points[:, 0], points[:, 1])
        return (radius <= self.r_out) & (radius >= self.r_in) & (np.abs(points[:, 2]) <= self.half_height)

    def _edge_weight(self, points: Array, taper: float) -> tuple[Array, Array]:
        radius = np.hypot(points[:, 0], points[:, 1])
        width = taper * self.r_out
        height = taper * self.half_height
        outer, d_outer = smoother_step((self.r_out - radius) / width)
        vertical, d_vertical = smoother_step((self.half_height - np.abs(points[:, 2])) / height)
        inner, d_inner = (np.ones_like(radius), np.zeros_like(radius)) if self.r_in == 0.0 else smoother_step((radius - self.r_in) / width)
        slope = vertical * (outer * d_inner - d_outer * inner) / width
        gradient = np.empty_like(points)
        gradient[:, :2] = points[:, :2] * (slope / np.where(radius > 0.0, radius, 1.0))[:, None]
        gradient[:, 2] = -outer * inner * d_vertical / height * np.sign(points[:, 2])
        return outer * vertical * inner, gradient

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        radius = np.sqrt(rng.uniform(self.r_in**2, self.r_out**2, n))
        phi = rng.uniform(0.0, 2.0 * np.pi, n)
        return np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(-self.half_height, self.half_height, n)], axis=1)

    def _numbers(self) -> dict[str, Any]:
        values: dict[str, Any] = {"kind": self.kind, "unit": "kpc", "r_in": self.r_in, "r_out": self.r_out, "half_height": self.half_height}
        if self.shells is not None:
            values["shells"] = list(self.shells)
        return values

    def _shape(self) -> str:
        radii = f"R < {self.r_out:g} kpc" if self.r_in == 0.0 else f"{self.r_in:g} < R < {self.r_out:g} kpc"
        shells = "" if self.shells is None else f", shells at {' '.join(f'{edge:g}' for edge in self.shells)} kpc"
        return f"cylinder {radii}, |z| < {self.half_height:g} kpc{shells}"
