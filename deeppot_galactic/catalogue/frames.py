r"""The Galactocentric frame, stated and stored, and the way between the sky and phase space.

For a star in the direction :math:`\hat r` (with :math:`\hat e_\alpha`, :math:`\hat e_\delta` along increasing longitude and
latitude) at distance d, proper motion :math:`(\mu_{\alpha*}, \mu_\delta)` and radial velocity v_r,

.. math::
   x = A\, d\, \hat r + b, \qquad
   v = A\,[v_r \hat r + \kappa d (\mu_{\alpha*} \hat e_\alpha + \mu_\delta \hat e_\delta)] + v_\odot,
   \qquad \kappa = 4.7405\ \mathrm{km\,s^{-1}\,kpc^{-1}\,(mas/yr)^{-1}} .

A is a rotation, b the Sun's place, so the transformation is affine in heliocentric Cartesian coordinates; A, b and v_sun are taken
from astropy's own `Galactocentric`, never from a second copy of its constants. The frame is right-handed: the Sun sits at x < 0, the
disc turns clockwise seen from the north Galactic pole, so that the Milky Way's Omega_z is negative. Positions are those at
the catalogue's epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError
from ..units import LENGTH, VELOCITY, to_internal

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

Array = NDArray[np.float64]

DEFAULT_FRAME = "v4.0"
"""astropy's parameter set of 2020: 8.122 kpc, (12.9, 245.6, 7.78) km/s, 20.8 pc."""

KAPPA = float(to_internal(1.0 * LENGTH * u.mas / u.yr, VELOCITY / u.rad, "kappa"))
"""Tangential velocity [km/s] at 1 kpc for a proper motion of 1 mas/yr."""

_PARAMETERS = ("galcen_coord", "galcen_distance", "galcen_v_sun", "z_sun", "roll")


def galactocentric(
    name: str = DEFAULT_FRAME,
    *,
    galcen_distance: u.Quantity | None = None,
    z_sun: u.Quantity | None = None,
    galcen_v_sun: u.Quantity | None = None,
    roll: u.Quantity | None = None,
) -> Galactocentric:
    """An explicit Galactocentric frame: one of astropy's named parameter sets, with the Sun's parameters replaced as asked.

    Parameters
    ----------
    name : str
        ``"v4.0"`` (default), ``"pre-v4.0"`` or ``"latest"`` as in `astropy.coordinates.galactocentric_frame_defaults`.
    galcen_distance, z_sun, roll : Quantity, optional
        Distance to the centre, height of the Sun, roll angle.
    galcen_v_sun : Quantity, optional
        Velocity of the Sun in the frame, shape (3,).

    Returns
    -------
    Galactocentric
        Every parameter is fixed in it: later changes of astropy's global defaults have no effect.

    Raises
    ------
    CatalogueError
        For an unknown name or a parameter out of range.
    UnitsError
        For a parameter without a unit.
    """
    from astropy.coordinates import CartesianDifferential, Galactocentric, galactocentric_frame_defaults

    try:
        parameters = dict(galactocentric_frame_defaults.get_from_registry(name)["parameters"])
    except KeyError:
        raise CatalogueError(f"unknown Galactocentric frame {name!r}: expected 'v4.0', 'pre-v4.0' or 'latest'") from None
    if galcen_distance is not None:
        parameters["galcen_distance"] = _scalar(galcen_distance, LENGTH, "galcen_distance", positive=True)
    if z_sun is not None:
        parameters["z_sun"] = _scalar(z_sun, LENGTH, "z_sun")
    if roll is not None:
        parameters["roll"] = _scalar(roll, u.deg, "roll")
    if galcen_v_sun is not None:
        velocity = to_internal(galcen_v_sun, VELOCITY, "galcen_v_sun")
        if velocity.shape != (3,) or not np.all(np.isfinite(velocity)):
            raise CatalogueError(f"galcen_v_sun must be three finite velocities, found {galcen_v_sun}")
        parameters["galcen_v_sun"] = CartesianDifferential(velocity * VELOCITY)
    return Galactocentric(**parameters)


def _scalar(value: u.Quantity, unit: u.UnitBase, name: str, *, positive: bool = False) -> u.Quantity:
    number = to_internal(value, unit, name)
    if number.ndim != 0 or not np.isfinite(number) or (positive and number <= 0):
        raise CatalogueError(f"{name} must be one finite{' positive' if positive else ''} number, found {value}")
    return u.Quantity(float(number), unit)


def resolve_frame(frame: Galactocentric | str | Mapping[str, Any] | None) -> Galactocentric:
    """Make a frame explicit: None is the default set, a string names one, a mapping is a stored frame or keywords of `galactocentric`."""
    from astropy.coordinates import Galactocentric

    if frame is None:
        return galactocentric()
    if isinstance(frame, str):
        return galactocentric(frame)
    if isinstance(frame, Mapping):
        return frame_from_dict(frame)
    if isinstance(frame, Galactocentric):
        return frame.replicate_without_data() if frame.has_data else frame
    raise CatalogueError(f"the frame must be astropy's Galactocentric or the name of one of its sets, found {type(frame).__name__}")


def frame_to_dict(frame: Galactocentric) -> dict[str, Any]:
    """The frame's parameters as numbers for JSON; `frame_from_dict` is the inverse, to the last bit."""
    centre: Any = frame.galcen_coord
    motion: Any = frame.galcen_v_sun
    distance: Any = frame.galcen_distance
    height: Any = frame.z_sun
    roll: Any = frame.roll
    velocity: Any = motion.d_xyz if hasattr(motion, "d_xyz") else motion.xyz
    return {
        "name": "galactocentric",
        "galcen_ra_deg": float(centre.ra.to_value(u.deg)),
        "galcen_dec_deg": float(centre.dec.to_value(u.deg)),
        "galcen_distance_kpc": float(to_internal(distance, LENGTH, "galcen_distance")),
        "galcen_v_sun_km_s": [float(v) for v in velocity.to_value(VELOCITY)],
        "z_sun_pc": float(to_internal(height, u.pc, "z_sun")),
        "roll_deg": float(to_internal(roll, u.deg, "roll")),
    }


def frame_from_dict(values: Mapping[str, Any]) -> Galactocentric:
    """Rebuild a frame from `frame_to_dict`, or from keywords of `galactocentric` (strings such as ``"8.2 kpc"`` are quantities).

    Raises
    ------
    CatalogueError
        For keys that are unknown or missing.
    """
    from astropy.coordinates import ICRS, CartesianDifferential, Galactocentric

    try:
        if "galcen_distance_kpc" in values:
            return Galactocentric(
                galcen_coord=ICRS(ra=values["galcen_ra_deg"] * u.deg, dec=values["galcen_dec_deg"] * u.deg),
                galcen_distance=values["galcen_distance_kpc"] * LENGTH,
                galcen_v_sun=CartesianDifferential(np.asarray(values["galcen_v_sun_km_s"], dtype=np.float64) * VELOCITY),
                z_sun=values["z_sun_pc"] * u.pc,
                roll=values["roll_deg"] * u.deg,
            )
        keywords = {key: _quantity(value) for key, value in values.items() if key != "name"}
        return galactocentric(str(values.get("name", DEFAULT_FRAME)), **keywords)  # type: ignore[arg-type]
    except (KeyError, TypeError, u.UnitConversionError) as error:
        raise CatalogueError(f"the frame is not understood ({error}): expected {', '.join(_PARAMETERS[1:])} or a stored frame") from None


def _quantity(value: Any) -> u.Quantity:
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return u.Quantity([u.Quantity(part) for part in value])
    return u.Quantity(value)


@dataclass(frozen=True)
class Affine:
    """x = rotation @ heliocentric + origin, v = rotation @ heliocentric velocity + velocity."""

    rotation: Array
    origin: Array
    velocity: Array


def affine(frame: Galactocentric, sky: str = "icrs") -> Affine:
    """The affine map from heliocentric Cartesian coordinates (``sky``: "icrs" or "galactic") to ``frame`` [kpc, km/s]."""
    numbers = frame_to_dict(frame)
    numbers["galcen_v_sun_km_s"] = tuple(numbers["galcen_v_sun_km_s"])
    return _affine(tuple(sorted(numbers.items())), sky)


@lru_cache(maxsize=16)
def _affine(numbers: tuple[tuple[str, Any], ...], sky: str) -> Affine:
    from astropy.coordinates import ICRS, CartesianDifferential, CartesianRepresentation, Galactic

    lever = 1000.0  # kpc: long against 8 kpc, so that differences keep full precision
    places = np.vstack([np.zeros(3), lever * np.eye(3)])
    motions = CartesianDifferential(np.zeros((3, 4)) * VELOCITY)
    data = CartesianRepresentation(places.T * LENGTH, differentials=motions)
    sky_frame = {"icrs": ICRS, "galactic": Galactic}[sky]
    moved = sky_frame(data).transform_to(frame_from_dict(dict(numbers)))
    points = moved.cartesian.xyz.to_value(LENGTH).T
    rotation = (points[1:] - points[0]).T / lever
    return Affine(rotation, points[0], moved.velocity.d_xyz.to_value(VELOCITY).T[0])


def rotate(rotation: Array, vectors: Array) -> Array:
    """Each of the vectors (N, 3) rotated; unlike a matrix product, to the last bit the same however many there are."""
    return vectors[:, :1] * rotation[:, 0] + vectors[:, 1:2] * rotation[:, 1] + vectors[:, 2:] * rotation[:, 2]


def sky_basis(lon: Array, lat: Array) -> tuple[Array, Array, Array]:
    """Unit vectors (r, e_lon, e_lat), each (N, 3), for longitudes and latitudes in degrees."""
    a, d = np.radians(lon), np.radians(lat)
    sa, ca, sd, cd = np.sin(a), np.cos(a), np.sin(d), np.cos(d)
    return np.stack([cd * ca, cd * sa, sd], -1), np.stack([-sa, ca, np.zeros_like(a)], -1), np.stack([-sd * ca, -sd * sa, cd], -1)


def sky_to_phase_space(observed: Array, frame: Galactocentric, *, sky: str = "icrs") -> Array:
    """Phase space (N, 6) [kpc, km/s] from the sky.

    Parameters
    ----------
    observed : array, shape (N, 6)
        Longitude and latitude [deg] (right ascension and declination, or l and b if ``sky`` is "galactic"), distance [kpc], proper
        motions [mas/yr] (the first including the cosine of the latitude), heliocentric radial velocity [km/s].
    frame : Galactocentric
    """
    to_frame = affine(frame, sky)
    lon, lat, distance, pm_lon, pm_lat, radial_velocity = observed.T
    radial, east, north = sky_basis(lon, lat)
    motion = radial * radial_velocity[:, None] + (east * pm_lon[:, None] + north * pm_lat[:, None]) * (KAPPA * distance)[:, None]
    rows = np.empty((len(observed), 6))
    rows[:, :3] = rotate(to_frame.rotation, radial * distance[:, None]) + to_frame.origin
    rows[:, 3:] = rotate(to_frame.rotation, motion) + to_frame.velocity
    return rows


def phase_space_to_sky(rows: Array, frame: Galactocentric, *, sky: str = "icrs") -> Array:
    """The inverse of `sky_to_phase_space`: (lon, lat [deg], distance [kpc], pm_lon, pm_lat [mas/yr], v_r [km/s]), shape (N, 6)."""
    to_frame = affine(frame, sky)
    place = rotate(to_frame.rotation.T, rows[:, :3] - to_frame.origin)
    motion = rotate(to_frame.rotation.T, rows[:, 3:] - to_frame.velocity)
    distance = np.linalg.norm(place, axis=1)
    if np.any(distance == 0.0):
        raise CatalogueError("a star at the Sun's own place has no direction on the sky")
    lon = np.degrees(np.arctan2(place[:, 1], place[:, 0])) % 360.0
    lat = np.degrees(np.arctan2(place[:, 2], np.hypot(place[:, 0], place[:, 1])))
    radial, east, north = sky_basis(lon, lat)
    scale = 1.0 / (KAPPA * distance)
    return np.stack(
        [lon, lat, distance, np.sum(motion * east, 1) * scale, np.sum(motion * north, 1) * scale, np.sum(motion * radial, 1)], -1
    )


def rotate_sky(lon: Array, lat: Array, source: str, target: str) -> tuple[Array, Array]:
    """Longitude and latitude [deg] from one of "icrs", "galactic" to the other."""
    default = galactocentric()
    matrix = affine(default, target).rotation.T @ affine(default, source).rotation
    unit = rotate(matrix, sky_basis(lon, lat)[0])
    return np.degrees(np.arctan2(unit[:, 1], unit[:, 0])) % 360.0, np.degrees(np.arctan2(unit[:, 2], np.hypot(unit[:, 0], unit[:, 1])))


def sun(frame: Galactocentric) -> tuple[u.Quantity, u.Quantity]:
    """Position [kpc] and velocity [km/s] of the Sun in ``frame``, each (3,)."""
    to_frame = affine(frame)
    return to_frame.origin * LENGTH, to_frame.velocity * VELOCITY
