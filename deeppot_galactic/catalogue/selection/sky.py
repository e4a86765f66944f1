"""Where galactocentric positions lie on the sky of the Sun, and the pixels of maps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ...errors import CatalogueError
from ...units import LENGTH, to_internal
from ..frames import affine, rotate
from ..healpix import nested_to_ring

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

Array = NDArray[np.float64]


def sky_of(x: Array, frame: Galactocentric, sky: str) -> tuple[Array, Array, Array]:
    """Longitude, latitude [deg] and distance from the Sun [kpc], (N,) each, of galactocentric positions (N, 3) [kpc]."""
    to_frame = affine(frame, sky)
    place = rotate(to_frame.rotation.T, x - to_frame.origin)
    lon = np.degrees(np.arctan2(place[:, 1], place[:, 0])) % 360.0
    lat = np.degrees(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
    return lon, lat, np.linalg.norm(place, axis=1)


def increasing(values: u.Quantity, name: str, least: int) -> Array:
    """Increasing distances (K,) [kpc] (`CatalogueError` for anything else)."""
    found = to_internal(values, LENGTH, name)
    if found.ndim != 1 or len(found) < least or not np.all(np.isfinite(found)) or found[0] < 0.0 or np.any(np.diff(found) <= 0.0):
        raise CatalogueError(f"{name} must be at least {least} increasing distances >= 0, found {values}")
    return found


def sky_name(sky: str) -> str:
    """The name of the sky's coordinates (`CatalogueError` for an unknown one)."""
    if sky not in ("galactic", "icrs"):
        raise CatalogueError(f"sky must be 'galactic' or 'icrs', found {sky!r}")
    return sky


def ring_order(values: Array, nside: int, order: str) -> Array:
    """A map of pixels in either order, in ring order (`CatalogueError` for another one)."""
    if order not in ("ring", "nested"):
        raise CatalogueError(f"order must be 'ring' or 'nested', found {order!r}")
    return values if order == "ring" else nested_to_ring(values, nside)
