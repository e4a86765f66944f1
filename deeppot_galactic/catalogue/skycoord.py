"""Tracers from astropy's own coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike

from ..errors import CatalogueError, DeepPotError
from ..units import LENGTH, VELOCITY
from .frames import frame_to_dict, resolve_frame

if TYPE_CHECKING:
    from .tracers import Tracers


def tracers_from_skycoord(coordinates: Any, *, frame: Any = None, weights: ArrayLike | None = None) -> Tracers:
    """See `Tracers.from_skycoord`."""
    from astropy.coordinates import BaseCoordinateFrame, Galactocentric, SkyCoord

    from .tracers import Tracers

    if not isinstance(coordinates, SkyCoord | BaseCoordinateFrame):
        raise CatalogueError(f"expected a SkyCoord or a coordinate frame with data, found {type(coordinates).__name__}")
    bare = coordinates.frame if isinstance(coordinates, SkyCoord) else coordinates
    if not bare.has_data:
        raise CatalogueError("the coordinate frame holds no data")
    _check_complete(bare)
    already = isinstance(bare, Galactocentric) and frame is None
    target = resolve_frame(cast(Any, bare)) if already else resolve_frame(frame)
    try:
        moved: Any = bare if already else bare.transform_to(target)
        pos = np.atleast_2d(moved.cartesian.xyz.to_value(LENGTH).T)
        vel = np.atleast_2d(moved.velocity.d_xyz.to_value(VELOCITY).T)
    except DeepPotError:
        raise
    except (u.UnitsError, ValueError, TypeError, AttributeError) as error:
        raise CatalogueError(f"the coordinates cannot be taken to Galactocentric: {' '.join(str(error).split())[:200]}") from None
    if pos.ndim != 2:
        raise CatalogueError(f"the coordinates have shape {bare.shape}, expected one dimension")
    tracers = Tracers.from_phase_space(
        u.Quantity(pos, LENGTH), u.Quantity(vel, VELOCITY), frame=target, weights=weights, source=f"SkyCoord ({bare.name})"
    )
    tracers.meta |= {"kind": "sky", "frame": frame_to_dict(target)}
    return tracers


def _check_complete(frame: Any) -> None:
    from astropy.coordinates import (
        RadialDifferential,
        UnitSphericalCosLatDifferential,
        UnitSphericalDifferential,
        UnitSphericalRepresentation,
    )

    if isinstance(frame.data, UnitSphericalRepresentation):
        raise CatalogueError("the coordinates have no distance; give SkyCoord(..., distance=...)")
    motion = frame.data.differentials.get("s")
    if motion is None:
        raise CatalogueError("the coordinates have no velocities; give SkyCoord(..., pm_ra_cosdec=..., pm_dec=..., radial_velocity=...)")
    if isinstance(motion, RadialDifferential):
        raise CatalogueError("the coordinates have no proper motions; give SkyCoord(..., pm_ra_cosdec=..., pm_dec=...)")
    if isinstance(motion, UnitSphericalCosLatDifferential | UnitSphericalDifferential):
        raise CatalogueError("the coordinates have no radial velocities; give SkyCoord(..., radial_velocity=...)")
    place = frame.data.to_cartesian().xyz.unit
    if not LENGTH.is_equivalent(place):
        raise CatalogueError(f"the coordinates have no distance: their unit is {place or 'none'}, expected a length")
