"""What every volume is: a region, its smooth weight, points drawn in it, and its numbers for JSON."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import array, fraction, instance, rebuilding, whole
from ...errors import VolumeError
from ...units import LENGTH, to_internal

if TYPE_CHECKING:
    from ..masks import Mask

Array = NDArray[np.float64]

TAPER = 0.15
"""Default width of the roll-off, as a fraction of the size of the volume."""


def smoother_step(t: Array) -> tuple[Array, Array]:
    """The quintic step s(t) and its derivative, for t clipped to [0, 1]."""
    t = np.clip(t, 0.0, 1.0)
    return t**3 * (10.0 + t * (6.0 * t - 15.0)), 30.0 * (t * (1.0 - t)) ** 2


def positions(x: ArrayLike | u.Quantity) -> Array:
    """Positions (N, 3) in kpc from a Quantity or a bare array already in kpc; a single point (3,) becomes (1, 3)."""
    values = to_internal(x, LENGTH, "positions") if isinstance(x, u.Quantity) else array(x, "positions", VolumeError)
    values = np.atleast_2d(values)
    if values.ndim != 2 or values.shape[1] != 3:
        raise VolumeError(f"positions must have shape (N, 3), found {values.shape}")
    return values


class Volume(ABC):
    """A region of space in galactocentric kpc. Concrete volumes are `Cylinder` and `Ball`; all are immutable."""

    kind: str
    mask: Mask | None = None

    @property
    @abstractmethod
    def size(self) -> float:
        """Characteristic radius [kpc]."""

    @property
    @abstractmethod
    def center(self) -> Array:
        """Centre, shape (3,) [kpc]."""

    @property
    @abstractmethod
    def measure(self) -> float:
        """Volume [kpc^3]."""

    @abstractmethod
    def _encloses(self, points: Array) -> NDArray[np.bool_]:
        """`contains` without the mask."""

    @abstractmethod
    def _edge_weight(self, points: Array, taper: float) -> tuple[Array, Array]:
        """`boundary_weight` without the mask."""

    def contains(self, x: ArrayLike | u.Quantity) -> NDArray[np.bool_]:
        """Whether each point lies inside; where there is a mask, also where it is positive.

        Parameters
        ----------
        x : Quantity or array
            Positions, shape (N, 3), in kpc if bare. NaN is outside.

        Returns
        -------
        array of bool, shape (N,)

        Raises
        ------
        VolumeError
            If the positions have another shape.
        UnitsError
            If they are no lengths.
        """
        points = positions(x)
        inside = self._encloses(points)
        if self.mask is not None and inside.any():
            inside[inside] = self.mask.weight(points[inside]) > 0.0
        return inside

    def masked(self, mask: Mask) -> Self:
        """The same volume, of which only the part counts where the mask is positive.

        Parameters
        ----------
        mask : Mask
            Takes the place of the one that the volume has.

        Returns
        -------
        Volume
            A copy; the volume itself is not changed.

        Raises
        ------
        VolumeError
            If ``mask`` is no `Mask`.
        """
        from ..masks import Mask

        other = copy.copy(self)
        instance(mask, Mask, "mask", VolumeError)
        other.mask = mask
        return other

    def boundary_weight(self, x: ArrayLike | u.Quantity, *, taper: float = TAPER) -> tuple[Array, Array]:
        """Smooth weight of the points (N, 3) and its gradient.

        Parameters
        ----------
        x : Quantity or array
            Positions, shape (N, 3), in kpc if bare.
        taper : float
            Width of the roll-off as a fraction of the size, in (0, 1).

        Returns
        -------
        g : array, shape (N,)
            One in the interior, zero at and outside the boundary.
        grad_g : array, shape (N, 3)
            Gradient [1/kpc].

        Raises
        ------
        VolumeError
            If ``taper`` lies outside (0, 1), or the positions have another shape.
        UnitsError
            If the positions are no lengths.
        """
        taper, points = fraction(taper, "taper", VolumeError), positions(x)
        weight, gradient = self._edge_weight(points, taper)
        if self.mask is not None:
            inside = np.flatnonzero(weight > 0.0)
            factor, slope = self.mask.weight_and_gradient(points[inside])
            gradient[inside] = gradient[inside] * factor[:, None] + slope * weight[inside, None]
            weight[inside] *= factor
        return weight, gradient

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        """`sample` of checked arguments."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw points uniformly in the volume, whatever its mask.

        Parameters
        ----------
        n : int
            How many.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        array, shape (n, 3)
            In kpc.

        Raises
        ------
        VolumeError
            If ``n`` is no whole number of at least 0, or ``rng`` no Generator.
        """
        return self._draw(whole(n, "n", error=VolumeError), instance(rng, np.random.Generator, "rng", VolumeError))

    @abstractmethod
    def _numbers(self) -> dict[str, Any]:
        """`to_dict` without the mask."""

    @abstractmethod
    def _shape(self) -> str:
        """`describe` without the mask."""

    def to_dict(self) -> dict[str, Any]:
        """Numbers in kpc, ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            ``kind``, ``unit``, the lengths, and ``mask`` where there is one.
        """
        return self._numbers() if self.mask is None else {**self._numbers(), "mask": self.mask.to_dict()}

    def describe(self) -> str:
        """One line for people.

        Returns
        -------
        str
            With lengths in kpc.
        """
        return self._shape() if self.mask is None else f"{self._shape()} within the {self.mask.describe()}"

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Volume:
        """Rebuild a volume from `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives: lengths in kpc.

        Returns
        -------
        Cylinder or Ball

        Raises
        ------
        VolumeError
            For an unknown kind, another unit, or missing or impossible numbers.
        CatalogueError
            If the mask is damaged.
        """
        from .ball import Ball
        from .cylinder import Cylinder

        with rebuilding("a volume", values, VolumeError):
            data = dict(values)
            kind, unit, mask = data.pop("kind"), data.pop("unit", "kpc"), data.pop("mask", None)
            if unit != "kpc":
                raise VolumeError(f"a stored volume must be in kpc, found {unit!r}")
            known = {"cylinder": ("r_in", "r_out", "half_height", "shells"), "ball": ("center", "radius")}.get(str(kind))
            if known is None:
                raise VolumeError(f"unknown kind of volume {kind!r}: expected 'cylinder' or 'ball'")
            unknown = [key for key in data if key not in known]
            if unknown:
                raise VolumeError(f"the description of a {kind} has an unknown {unknown[0]!r}; known are {', '.join(known)}")
            lengths = {key: array(value, key, VolumeError) * LENGTH for key, value in data.items()}
            if kind == "ball":
                volume: Volume = Ball(lengths["center"], lengths["radius"])
            else:
                volume = Cylinder(half_height=lengths.pop("half_height"), **lengths)
        if mask is None:
            return volume
        from ..masks import Mask

        return volume.masked(Mask.from_dict(mask))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(sorted(self.to_dict().items())))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"


def one_length(value: Any, name: str) -> float:
    """One finite length [kpc] (`VolumeError` for anything else)."""
    number = to_internal(value, LENGTH, name)
    if number.ndim != 0 or not np.isfinite(number):
        raise VolumeError(f"{name} must be one finite length, found {value}")
    return float(number)
