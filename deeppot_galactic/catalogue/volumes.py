r"""Training volumes: where the stars are used, and how their weight falls to zero at the edge.

A volume is a closed region V of space together with a smooth weight g(x): one in the interior, zero with zero first and second
derivative at and beyond the boundary. With :math:`s(t) = t^3 (10 - 15 t + 6 t^2)` (C2, s(0) = 0, s(1) = 1, clipped outside),

.. math::
   g = s\left(\frac{r_{out} - R}{\tau\, r_{out}}\right) s\left(\frac{h - |z|}{\tau\, h}\right)
       s\left(\frac{R - r_{in}}{\tau\, r_{out}}\right) \quad\text{(cylinder)}, \qquad
   g = s\left(\frac{r_{max} - r}{\tau\, r_{max}}\right) \quad\text{(ball)},

where :math:`\tau` is ``taper`` and the factor of r_in is present only if r_in > 0. Objectives that integrate by parts need g and
grad g: a hard edge would add a surface term. A volume may have a mask (`masks`), for a catalogue that does not fill it: the stars count
where the mask is positive, and g is multiplied by it.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array, fraction, instance, rebuilding, whole
from ..errors import VolumeError
from ..units import LENGTH, to_internal

if TYPE_CHECKING:
    from .masks import Mask

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
        from .masks import Mask

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
        from .masks import Mask

        return volume.masked(Mask.from_dict(mask))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Volume) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(repr(sorted(self.to_dict().items())))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"


def _length(value: Any, name: str) -> float:
    number = to_internal(value, LENGTH, name)
    if number.ndim != 0 or not np.isfinite(number):
        raise VolumeError(f"{name} must be one finite length, found {value}")
    return float(number)


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
        self.r_out = _length(r_out, "r_out") if r_out is not None else float(edges[-1])  # type: ignore[index]
        self.r_in = _length(r_in, "r_in") if r_in is not None else (0.0 if edges is None else float(edges[0]))
        self.half_height = _length(half_height, "half_height")
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
        self.radius = _length(radius, "radius")
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
