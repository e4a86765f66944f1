r"""The selection function S(x): which fraction of the stars at x made it into the catalogue.

The catalogue samples f S, not f. With S known, the score is :math:`\nabla \ln f = \nabla \ln (f S) - \nabla \ln S` (velocities are
untouched), and every sum over stars becomes one over all stars with weights 1/S. Both need S > 0: where it is small the few stars
there stand for many, so stars with S below a threshold are cut, and the cut is counted; a `masks.Mask` gives the edge that makes the
smooth weight it needs. A distance limit is a mask and nothing else: within it the catalogue is taken as complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array, fraction, rebuilding
from ..errors import CatalogueError
from ..units import LENGTH, to_internal
from .frames import affine, frame_to_dict, resolve_frame, rotate, sky_basis
from .healpix import interpolation, nested_to_ring, nside_of, pixel_centers, pixel_of
from .packing import packed, unpacked
from .volumes import positions, smoother_step

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

    from .tracers import Tracers

Array = NDArray[np.float64]


class SelectionFunction(ABC):
    """S(x), between 0 and 1; build one with `from_callable`, `from_healpix`, `from_counts` or `from_distance_limit`."""

    step = 0.01
    """Half the interval [kpc] over which the gradient is taken."""

    @abstractmethod
    def _evaluate(self, x: Array) -> Array:
        """S at (N, 3) kpc."""

    @abstractmethod
    def describe(self) -> str:
        """One line for people.

        Returns
        -------
        str
        """

    def __call__(self, x: ArrayLike | u.Quantity) -> Array:
        """S, between 0 and 1.

        Parameters
        ----------
        x : Quantity or array
            Galactocentric positions, shape (N, 3), in kpc if bare.

        Returns
        -------
        array, shape (N,)
            Fraction of the stars there that are in the catalogue.

        Raises
        ------
        CatalogueError
            If the function returns anything but numbers between 0 and 1.
        VolumeError
            If the positions have another shape.
        UnitsError
            If they are no lengths.
        """
        points = positions(x)
        values = array(self._evaluate(points), "what the selection function returned", CatalogueError)
        if values.shape != (len(points),):
            raise CatalogueError(f"the selection function returned shape {values.shape}, expected ({len(points)},)")
        wrong = ~((values >= 0.0) & (values <= 1.0 + 1e-9))
        if wrong.any():
            raise CatalogueError(f"the selection function must lie between 0 and 1, found {values[wrong][0]} at {points[wrong][0]} kpc")
        return np.minimum(values, 1.0)

    def log_gradient(self, x: ArrayLike | u.Quantity) -> Array:
        """grad ln S, by central differences unless a function for it was given.

        Parameters
        ----------
        x : Quantity or array
            Galactocentric positions, shape (N, 3), in kpc if bare.

        Returns
        -------
        array, shape (N, 3)
            1/kpc; differences are zero where S = 0, where it has no meaning.

        Raises
        ------
        CatalogueError
            If the function returns anything but numbers between 0 and 1, or that for the gradient another shape.
        VolumeError
            If the positions have another shape.
        UnitsError
            If they are no lengths.
        """
        points = positions(x)
        value = self(points)
        gradient = np.empty_like(points)
        for axis in range(3):
            shift = np.zeros(3)
            shift[axis] = self.step
            gradient[:, axis] = (self(points + shift) - self(points - shift)) / (2.0 * self.step)
        return gradient / np.where(value > 0.0, value, np.inf)[:, None]

    def tabulated(
        self, distances: u.Quantity, *, nside: int = 16, frame: Any = None, sky: Literal["galactic", "icrs"] = "galactic"
    ) -> TableSelection:
        """The same S as a table over HEALPix pixels and distances from the Sun, which can be written and used as a mask.

        Parameters
        ----------
        distances : Quantity, shape (K,)
            Increasing, at least two.
        nside : int
            Of the map: 12 nside^2 pixels.
        frame : Galactocentric, str or mapping, optional
            Where the Sun is; default astropy's "v4.0".
        sky : "galactic" or "icrs"
            Coordinates of the map.

        Returns
        -------
        TableSelection

        Raises
        ------
        CatalogueError
            For distances, a map or a frame that cannot be.
        UnitsError
            For distances without a unit.
        """
        edges = _increasing(distances, "distances", 2)
        sun = resolve_frame(frame)
        nside_of(12 * nside**2)
        to_frame = affine(sun, _sky_name(sky))
        toward = rotate(to_frame.rotation, sky_basis(*pixel_centers(nside))[0])
        places = to_frame.origin + edges[None, :, None] * toward[:, None, :]
        return TableSelection(self(places.reshape(-1, 3)).reshape(len(toward), -1), distances, sun, sky, "ring")

    @staticmethod
    def from_callable(
        function: Callable[[Array], ArrayLike], *, log_gradient: Callable[[Array], ArrayLike] | None = None, step: u.Quantity = 0.01 * u.kpc
    ) -> SelectionFunction:
        """S from a function of position.

        Parameters
        ----------
        function : callable
            Positions, array (N, 3) in galactocentric kpc, to S, array (N,).
        log_gradient : callable, optional
            Positions, array (N, 3), to grad ln S, array (N, 3) [1/kpc]; by central differences unless given.
        step : Quantity
            Half the interval of the differences, a length.

        Returns
        -------
        CallableSelection

        Raises
        ------
        CatalogueError
            If ``function`` is not callable, or ``step`` not positive.
        UnitsError
            For a step without a unit.
        """
        return CallableSelection(function, log_gradient, float(to_internal(step, LENGTH, "step")))

    @staticmethod
    def from_healpix(
        table: ArrayLike, distances: u.Quantity, *, frame: Any = None, sky: str = "galactic", order: str = "ring"
    ) -> TableSelection:
        """S from a table over HEALPix pixels and distances from the Sun, interpolated linearly in both.

        Parameters
        ----------
        table : array, shape (12 nside^2, K)
            Between 0 and 1.
        distances : Quantity, shape (K,)
            Increasing. Below the first the first value holds; beyond the last, S = 0.
        frame : Galactocentric, str or mapping, optional
            Where the Sun is; default astropy's "v4.0".
        sky : "galactic" or "icrs"
            Coordinates of the map.
        order : "ring" or "nested"
            Of the pixels.

        Returns
        -------
        TableSelection

        Raises
        ------
        CatalogueError
            For another shape, numbers beyond 0 and 1, distances that do not increase, or an unknown sky, order or frame.
        UnitsError
            For distances without a unit.
        """
        return TableSelection(table, distances, frame, sky, order)

    @staticmethod
    def from_counts(
        selected: Tracers, parent: Tracers, *, distance_edges: u.Quantity, nside: int = 4, sky: str = "galactic"
    ) -> TableSelection:
        """An empirical completeness map: stars of ``parent`` that are also in ``selected``, by pixel and distance.

        (k + 1) / (n + 2) for k of n stars, the mean of the posterior for a uniform prior; S = 0 where the parent has none.

        Parameters
        ----------
        selected, parent : Tracers
            The catalogue, and a complete one of which it is a part; the frame of ``parent`` says where the Sun is.
        distance_edges : Quantity, shape (K + 1,)
            Borders between the distances, increasing.
        nside : int
            Of the map: 12 nside^2 pixels.
        sky : "galactic" or "icrs"
            Coordinates of the map.

        Returns
        -------
        TableSelection
            At the middles of the distances.

        Raises
        ------
        CatalogueError
            If a cell has more selected stars than parents (beyond counting noise there must be none), or there is no frame.
        UnitsError
            For distances without a unit.
        """
        if parent.frame is None:
            raise CatalogueError("a completeness map needs tracers with a Galactocentric frame, so that the Sun has a place")
        edges = _increasing(distance_edges, "distance_edges", 2)
        counts = []
        for tracers in (selected, parent):
            lon, lat, distance = _sky_of(tracers.phase_space[:, :3], parent.frame, sky)
            cell = pixel_of(nside, lon, lat) * (len(edges) - 1) + np.searchsorted(edges, distance, side="right") - 1
            inside = (distance >= edges[0]) & (distance < edges[-1])
            counts.append(np.bincount(cell[inside], minlength=12 * nside**2 * (len(edges) - 1)).reshape(12 * nside**2, -1))
        k, n = counts
        if np.any(k > n):
            raise CatalogueError(
                f"{np.count_nonzero(k > n)} cells hold more selected stars than parents; the first must be a subset of the second"
            )
        table = np.where(n > 0, (k + 1.0) / (n + 2.0), 0.0)
        return TableSelection(table, 0.5 * (edges[:-1] + edges[1:]) * LENGTH, parent.frame, sky, "ring")

    @staticmethod
    def from_distance_limit(
        limits: u.Quantity, *, frame: Any = None, sky: str = "galactic", order: str = "ring", taper: float = 0.1
    ) -> DistanceLimit:
        """S = 1 out to a limiting distance, which is interpolated between HEALPix pixels.

        Parameters
        ----------
        limits : Quantity, shape (12 nside^2,)
            Distance from the Sun for each pixel.
        frame : Galactocentric, str or mapping, optional
            Where the Sun is; default astropy's "v4.0".
        sky : "galactic" or "icrs"
            Coordinates of the map.
        order : "ring" or "nested"
            Of the pixels.
        taper : float
            Last fraction of the distance over which S falls to 0, in (0, 1).

        Returns
        -------
        DistanceLimit

        Raises
        ------
        CatalogueError
            For negative limits, a number of pixels that no map has, a taper out of range, or an unknown sky, order or frame.
        UnitsError
            For limits without a unit.
        """
        return DistanceLimit(limits, frame, sky, order, taper)


class StoredSelection(SelectionFunction):
    """A selection function that is a table, and can be kept in files and models."""

    _frame: Galactocentric
    _sky: str
    _nside: int

    @property
    def frame(self) -> Galactocentric:
        """Where the Sun is."""
        return self._frame

    @abstractmethod
    def columns(self) -> dict[str, Array]:
        """The table.

        Returns
        -------
        dict of arrays
            First axis: pixels in ring order. ``selection`` (12 nside^2, K) at ``distances`` (K,) [kpc], or ``limit`` (12 nside^2,) [kpc].
        """

    def end(self, x: Array) -> Array:
        """One where the table goes on, falling to zero at its far end.

        Parameters
        ----------
        x : array, shape (N, 3)
            Galactocentric positions [kpc].

        Returns
        -------
        array, shape (N,)
        """
        return np.ones(len(x))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            The kind, the sky, the frame, and the arrays as compressed text.
        """
        numbers = {name: packed(values) for name, values in self.columns().items()}
        return {"kind": type(self).__name__, "sky": self._sky, "frame": frame_to_dict(self._frame), **self._scalars(), **numbers}

    def _scalars(self) -> dict[str, float]:
        return {}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> StoredSelection:
        """Rebuild from `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives.

        Returns
        -------
        TableSelection or DistanceLimit

        Raises
        ------
        CatalogueError
            If it lacks a key, is of an unknown kind or damaged.
        """
        with rebuilding("a selection function", values, CatalogueError):
            frame, sky = values["frame"], values["sky"]
            if values["kind"] == "TableSelection":
                return TableSelection(unpacked(values["selection"]), unpacked(values["distances"]) * LENGTH, frame, sky, "ring")
            if values["kind"] == "DistanceLimit":
                return DistanceLimit(unpacked(values["limit"]) * LENGTH, frame, sky, "ring", values["taper"])
            raise CatalogueError(f"unknown kind of selection function {values['kind']!r}: expected 'TableSelection' or 'DistanceLimit'")

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a table with one row for every pixel and distance; `read_selection` reads it, and TOPCAT.

        Parameters
        ----------
        path : str or Path
            FITS, ECSV, VOTable, Parquet or HDF5, by the suffix.
        overwrite : bool
            Replace a file that exists.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CatalogueError
            If the file exists and ``overwrite`` is false, the suffix is none of these, or it cannot be written.
        """
        from .selection_files import write_selection

        return write_selection(self, Path(path), overwrite=overwrite)


class CallableSelection(SelectionFunction):
    """S from a user's function; made by `SelectionFunction.from_callable`.

    Parameters
    ----------
    function : callable
        Positions, array (N, 3) [kpc], to S, array (N,).
    gradient : callable or None
        Positions to grad ln S, array (N, 3) [1/kpc].
    step : float
        Half the interval of the differences [kpc].

    Raises
    ------
    CatalogueError
        If ``function`` is not callable, or ``step`` not positive.
    """

    def __init__(self, function: Callable[[Array], ArrayLike], gradient: Callable[[Array], ArrayLike] | None, step: float) -> None:
        if not callable(function):
            raise CatalogueError(f"a selection function must be callable, found {type(function).__name__}")
        if not (step > 0.0 and np.isfinite(step)):
            raise CatalogueError(f"the step of the differences must be a positive length, found {step} kpc")
        self._function, self._gradient, self.step = function, gradient, step

    def _evaluate(self, x: Array) -> Array:
        return self._function(x)  # type: ignore[return-value]  # checked by the caller

    def log_gradient(self, x: ArrayLike | u.Quantity) -> Array:
        if self._gradient is None:
            return super().log_gradient(x)
        points = positions(x)
        gradient = array(self._gradient(points), "log_gradient", CatalogueError)
        if gradient.shape != points.shape:
            raise CatalogueError(f"log_gradient returned shape {gradient.shape}, expected {points.shape}")
        return gradient

    def describe(self) -> str:
        return f"selection by {getattr(self._function, '__name__', 'a function')}"


class TableSelection(StoredSelection):
    """S from a table over HEALPix pixels and distances.

    Parameters
    ----------
    table, distances, frame, sky, order
        As in `SelectionFunction.from_healpix`.

    Raises
    ------
    CatalogueError
        As there.
    """

    def __init__(self, table: ArrayLike, distances: u.Quantity, frame: Any, sky: str, order: str) -> None:
        values = (
            array(table, "table", CatalogueError).astype(np.float32).astype(np.float64)
        )  # so that a stored table is the same to the last bit
        self._distances = _increasing(distances, "distances", 2)
        if values.ndim != 2 or values.shape[1] != len(self._distances):
            raise CatalogueError(f"the table must have shape (12 nside^2, {len(self._distances)}), found {values.shape}")
        if not np.all((values >= 0.0) & (values <= 1.0)):
            raise CatalogueError("the table must hold numbers between 0 and 1")
        self._nside = nside_of(len(values))
        self._table = _ring_order(values, self._nside, order)
        self._frame, self._sky = resolve_frame(frame), _sky_name(sky)
        self.step = 0.25 * float(np.min(np.diff(self._distances)))

    def _evaluate(self, x: Array) -> Array:
        lon, lat, distance = _sky_of(x, self._frame, self._sky)
        pixels, weights = interpolation(self._nside, lon, lat)
        place = np.clip(np.interp(distance, self._distances, np.arange(len(self._distances))), 0.0, len(self._distances) - 1.0)
        low = np.minimum(place.astype(np.int64), len(self._distances) - 2)
        part = place - low
        near = np.sum(self._table[pixels, low[:, None]] * weights, axis=1)
        far = np.sum(self._table[pixels, low[:, None] + 1] * weights, axis=1)
        return np.where(distance <= self._distances[-1], (1.0 - part) * near + part * far, 0.0)

    def columns(self) -> dict[str, Array]:
        return {"selection": self._table, "distances": self._distances}

    def end(self, x: Array) -> Array:
        distance = _sky_of(x, self._frame, self._sky)[2]
        return smoother_step((self._distances[-1] - distance) / (self._distances[-1] - self._distances[-2]))[0]

    def describe(self) -> str:
        return (
            f"selection by HEALPix (nside {self._nside}, {self._sky}) and {len(self._distances)} distances to {self._distances[-1]:g} kpc"
        )


class DistanceLimit(StoredSelection):
    """S from a limiting distance per HEALPix pixel.

    Parameters
    ----------
    limits, frame, sky, order, taper
        As in `SelectionFunction.from_distance_limit`.

    Raises
    ------
    CatalogueError
        As there.
    """

    def __init__(self, limits: u.Quantity, frame: Any, sky: str, order: str, taper: float) -> None:
        values = to_internal(limits, LENGTH, "limits")
        if values.ndim != 1 or not np.all(np.isfinite(values) & (values >= 0.0)):
            raise CatalogueError("the limits must be one finite distance >= 0 for every pixel")
        taper = fraction(taper, "taper", CatalogueError)
        self._nside = nside_of(len(values))
        self._limits = _ring_order(values, self._nside, order)
        self._frame, self._sky, self._taper = resolve_frame(frame), _sky_name(sky), taper

    def _evaluate(self, x: Array) -> Array:
        lon, lat, distance = _sky_of(x, self._frame, self._sky)
        pixels, weights = interpolation(self._nside, lon, lat)
        limit = np.sum(self._limits[pixels] * weights, axis=1)
        inside = limit > 0.0
        reach = (limit - distance) / np.where(inside, self._taper * limit, 1.0)
        return np.where(inside, smoother_step(reach)[0], 0.0)

    def columns(self) -> dict[str, Array]:
        return {"limit": self._limits}

    def _scalars(self) -> dict[str, float]:
        return {"taper": self._taper}

    def describe(self) -> str:
        return f"distance limit by HEALPix (nside {self._nside}, {self._sky}), median {np.median(self._limits):.3g} kpc"


def divide_by(tracers: Tracers, selection: SelectionFunction, *, least: float = 0.05) -> Tracers:
    """Weights over S, without the stars where S is small; see `Tracers.weighted`.

    Parameters
    ----------
    tracers : Tracers
        The stars.
    selection : SelectionFunction
        S; a distance limit only cuts.
    least : float
        Stars with S below it are cut.

    Returns
    -------
    Tracers

    Raises
    ------
    CatalogueError
        If no star lies where S is at least that.
    """
    if isinstance(selection, DistanceLimit):
        keep = selection(tracers.phase_space[:, :3]) > 0.0
        if not keep.any():
            raise CatalogueError(f"no star of {len(tracers):,} lies within the {selection.describe()}")
        kept = tracers.select(keep, name="distance limit")
        kept.meta["selection"] = selection.describe()
        return kept
    value = selection(tracers.phase_space[:, :3])
    keep = value >= max(least, 1e-12)
    if not keep.any():
        raise CatalogueError(f"no star of {len(tracers):,} lies where the {selection.describe()} is at least {least:g}")
    kept = tracers.select(keep, name=f"selection >= {least:g}")
    kept.weights = (1.0 if kept.weights is None else kept.weights) / value[keep]
    kept.meta["selection"] = selection.describe()
    return kept


def _sky_of(x: Array, frame: Galactocentric, sky: str) -> tuple[Array, Array, Array]:
    to_frame = affine(frame, sky)
    place = rotate(to_frame.rotation.T, x - to_frame.origin)
    lon = np.degrees(np.arctan2(place[:, 1], place[:, 0])) % 360.0
    lat = np.degrees(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
    return lon, lat, np.linalg.norm(place, axis=1)


def _increasing(values: u.Quantity, name: str, least: int) -> Array:
    found = to_internal(values, LENGTH, name)
    if found.ndim != 1 or len(found) < least or not np.all(np.isfinite(found)) or found[0] < 0.0 or np.any(np.diff(found) <= 0.0):
        raise CatalogueError(f"{name} must be at least {least} increasing distances >= 0, found {values}")
    return found


def _sky_name(sky: str) -> str:
    if sky not in ("galactic", "icrs"):
        raise CatalogueError(f"sky must be 'galactic' or 'icrs', found {sky!r}")
    return sky


def _ring_order(values: Array, nside: int, order: str) -> Array:
    if order not in ("ring", "nested"):
        raise CatalogueError(f"order must be 'ring' or 'nested', found {order!r}")
    return values if order == "ring" else nested_to_ring(values, nside)
