"""One internal unit system: kpc, km/s, Msun, radian.

Inside the package every array is float64 (or a float32 tensor) in these units; `Quantity` enters and leaves at the public
functions only. Derived units: angular speed km/s/kpc, potential (km/s)^2, acceleration (km/s)^2/kpc, density Msun/kpc^3,
time kpc/(km/s) = 977.8 Myr.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from .errors import UnitsError

LENGTH = u.kpc
VELOCITY = u.km / u.s
MASS = u.Msun
TIME = u.kpc / VELOCITY
ANGULAR_SPEED = VELOCITY / u.kpc
POTENTIAL = VELOCITY**2
ACCELERATION = VELOCITY**2 / u.kpc
DENSITY = u.Msun / u.kpc**3
RADIAN = u.rad

G = 4.300917270e-6
"""Newton's constant in kpc (km/s)^2 / Msun (CODATA 2018 and the IAU nominal solar mass, as in astropy)."""


def to_internal(quantity: Any, unit: u.UnitBase, name: str) -> NDArray[np.float64]:
    """Strip a `Quantity` to a float64 array in ``unit``.

    Parameters
    ----------
    quantity : `~astropy.units.Quantity`
        Any shape. Angular speeds may carry radians (``rad / Gyr``).
    unit : `~astropy.units.UnitBase`
        The internal unit expected.
    name : str
        What the argument is called, for the error.

    Raises
    ------
    UnitsError
        For a bare array, or a unit that cannot be converted.
    """
    if not isinstance(quantity, u.Quantity):
        raise UnitsError(
            f"{name} has no unit: got {type(quantity).__name__}, expected a Quantity in units of {unit}; multiply by astropy.units"
        )
    try:
        with u.set_enabled_equivalencies(u.dimensionless_angles()):
            return np.asarray(quantity.to_value(unit), dtype=np.float64)
    except u.UnitConversionError:
        raise UnitsError(f"{name} is in {quantity.unit}, which cannot be converted to {unit}") from None


def lengths(quantity: Any, name: str, *, least: int = 1) -> NDArray[np.float64]:
    """Finite lengths >= 0 as float64 (N,) [kpc]; a scalar becomes (1,).

    Parameters
    ----------
    quantity : `~astropy.units.Quantity`
        A scalar or shape (N,).
    name : str
        What the argument is called, for the error.
    least : int
        Numbers that there must be; with two or more, each larger than the one before (edges).

    Raises
    ------
    UnitsError
        For a bare array, another unit or shape, or numbers that are no such lengths.
    """
    values = np.atleast_1d(to_internal(quantity, LENGTH, name))
    increasing = least < 2 or bool(np.all(np.diff(values) > 0.0))
    if values.ndim != 1 or len(values) < least or not np.all(np.isfinite(values) & (values >= 0.0)) or not increasing:
        wanted = "finite lengths >= 0" if least < 2 else f"at least {least} increasing lengths >= 0"
        raise UnitsError(f"{name} must be {wanted}, shape (N,), found {' '.join(str(quantity).split())[:80]}")
    return values


def radians(angle: Any, name: str) -> float:
    """One angle [rad] from a Quantity or a bare number already in rad.

    Raises
    ------
    UnitsError
        For another unit, or anything but one finite number.
    """
    try:
        value = to_internal(angle, RADIAN, name) if isinstance(angle, u.Quantity) else np.asarray(angle, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise error if isinstance(error, UnitsError) else UnitsError(f"{name} must be an angle, found {angle!r}") from None
    if value.ndim != 0 or not np.isfinite(value):
        raise UnitsError(f"{name} must be one finite angle, found {angle}")
    return float(value)


def vectors(quantity: Any, unit: u.UnitBase, name: str) -> NDArray[np.float64]:
    """Like `to_internal`, and require the shape (N, 3); a single vector (3,) becomes (1, 3)."""
    values = np.atleast_2d(to_internal(quantity, unit, name))
    if values.ndim != 2 or values.shape[1] != 3:
        raise UnitsError(f"{name} must have shape (N, 3), found {values.shape}")
    return values
