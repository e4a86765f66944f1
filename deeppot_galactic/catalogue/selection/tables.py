"""The two tables over the sky: S at pixels and distances, and a limiting distance for every pixel."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import array, fraction
from ...errors import CatalogueError
from ...units import LENGTH, to_internal
from ..frames import resolve_frame
from ..healpix import interpolation, nside_of
from ..volumes import smoother_step
from .sky import increasing, ring_order, sky_name, sky_of
from .stored import StoredSelection

Array = NDArray[np.float64]


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
        self._distances = increasing(distances, "distances", 2)
        if values.ndim != 2 or values.shape[1] != len(self._distances):
            raise CatalogueError(f"the table must have shape (12 nside^2, {len(self._distances)}), found {values.shape}")
        if not np.all((values >= 0.0) & (values <= 1.0)):
            raise CatalogueError("the table must hold numbers between 0 and 1")
        self._nside = nside_of(len(values))
        self._table = ring_order(values, self._nside, order)
        self._frame, self._sky = resolve_frame(frame), sky_name(sky)
        self.step = 0.25 * float(np.min(np.diff(self._distances)))

    def _evaluate(self, x: Array) -> Array:
        lon, lat, distance = sky_of(x, self._frame, self._sky)
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
        distance = sky_of(x, self._frame, self._sky)[2]
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
        self._limits = ring_order(values, self._nside, order)
        self._frame, self._sky, self._taper = resolve_frame(frame), sky_name(sky), taper

    def _evaluate(self, x: Array) -> Array:
        lon, lat, distance = sky_of(x, self._frame, self._sky)
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
