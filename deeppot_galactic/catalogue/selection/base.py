"""What every selection function is: S, grad ln S, a table of it; and the ways to make one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import array
from ...errors import CatalogueError
from ...units import LENGTH, to_internal
from ..frames import affine, resolve_frame, rotate, sky_basis
from ..healpix import nside_of, pixel_centers, pixel_of
from ..volumes import positions
from .sky import increasing, sky_name, sky_of

if TYPE_CHECKING:
    from ..tracers import Tracers
    from .tables import DistanceLimit, TableSelection

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
        from .tables import TableSelection

        edges = increasing(distances, "distances", 2)
        sun = resolve_frame(frame)
        nside_of(12 * nside**2)
        to_frame = affine(sun, sky_name(sky))
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
        from .function import CallableSelection

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
        from .tables import TableSelection

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
        from .tables import TableSelection

        if parent.frame is None:
            raise CatalogueError("a completeness map needs tracers with a Galactocentric frame, so that the Sun has a place")
        edges = increasing(distance_edges, "distance_edges", 2)
        counts = []
        for tracers in (selected, parent):
            lon, lat, distance = sky_of(tracers.phase_space[:, :3], parent.frame, sky)
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
        from .tables import DistanceLimit

        return DistanceLimit(limits, frame, sky, order, taper)
