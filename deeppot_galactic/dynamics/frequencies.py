r"""Frequencies of orbits, the resonances they sit on, and surfaces of section.

From an orbit in the inertial frame the leading frequencies are read off three complex series by numerical analysis of fundamental
frequencies (package naif),

    R + i v_R -> Omega_R,     (2 |L_z|)^(1/2) exp(i phi) -> Omega_phi,     z + i v_z -> Omega_z,

and an orbit is near the resonance l : m of the bar if its ratio

    eta = (Omega_phi - Omega_p) / Omega_R = -l / m,

within a tolerance: 0 is corotation, +1/2 the inner and -1/2 the outer Lindblad resonance, +-1/4 those of m = 4.

A surface of section gathers the crossings of the bar's long axis: (x, v_x) in the bar's axes where y = 0 going up, from cubic Hermite
interpolation between the outputs.

References
----------
Laskar 1993, Celest. Mech. 56, 191; Beraldo e Silva et al. 2023, ApJ 955, 38 (naif).
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from ..arguments import array
from ..catalogue.propagation import star_weights
from ..errors import DeepPotError, MissingPackageError
from ..units import ANGULAR_SPEED, LENGTH, TIME, VELOCITY, radians, to_internal
from .orbits import Orbits

Array = NDArray[np.float64]

RESONANCES = {"CR": 0.0, "ILR2": 0.5, "OLR2": -0.5, "ILR4": 0.25, "OLR4": -0.25}
"""Ratio eta at each resonance."""
TOLERANCE = 0.03
MIN_SAMPLES = 64


def orbital_frequencies(orbits: Orbits) -> u.Quantity:
    """Omega_R, Omega_phi, Omega_z (N, 3) of orbits with equidistant outputs, Omega_phi with its sign.

    Parameters
    ----------
    orbits : Orbits
        From `integrate_orbits`.

    Returns
    -------
    Quantity, shape (N, 3)
        Omega_R, Omega_phi, Omega_z [km/s/kpc].

    Raises
    ------
    MissingPackageError
        Without naif.
    DeepPotError
        If there are fewer than 64 outputs, or they are not equidistant.
    """
    try:
        from naif import find_peak_freqs
    except ImportError:
        raise MissingPackageError("orbital frequencies need naif: pip install 'deeppot-galactic[orbits]'") from None
    t = to_internal(orbits.time, TIME, "time")
    if len(t) < MIN_SAMPLES or not np.allclose(np.diff(t), t[1] - t[0], rtol=1e-6):
        raise DeepPotError(f"frequencies need at least {MIN_SAMPLES} equidistant outputs, found {len(t)}")
    pos, vel = orbits.inertial()
    x, v = np.asarray(pos.to_value(LENGTH)), np.asarray(vel.to_value(VELOCITY))
    radius = np.maximum(np.hypot(x[..., 0], x[..., 1]), 1e-12)
    v_R = (x[..., 0] * v[..., 0] + x[..., 1] * v[..., 1]) / radius
    spin = x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]
    series = radius + 1j * v_R, np.sqrt(2 * np.abs(spin)) * (x[..., 0] + 1j * x[..., 1]) / radius, x[..., 2] + 1j * v[..., 2]
    found = np.empty((x.shape[1], 3))
    for k, values in enumerate(series):
        for n in range(x.shape[1]):
            frequency = float(np.ravel(find_peak_freqs(values[:, n], t, verbose=False)[0])[0])
            found[n, k] = frequency if k == 1 else abs(frequency)
    return u.Quantity(found, ANGULAR_SPEED)


def resonance_ratio(orbits: Orbits, frequencies: u.Quantity | None = None) -> Array:
    """eta = (Omega_phi - Omega_p) / Omega_R of each orbit (N,), counted in the sense of the bar's rotation.

    Parameters
    ----------
    orbits : Orbits
        From `integrate_orbits`.
    frequencies : Quantity, shape (N, 3), optional
        From `orbital_frequencies`, to save time.

    Returns
    -------
    array, shape (N,)
        Dimensionless.
    """
    rates = to_internal(orbital_frequencies(orbits) if frequencies is None else frequencies, ANGULAR_SPEED, "frequencies")
    omega = float(to_internal(orbits.omega, ANGULAR_SPEED, "omega")[2])
    sense = 1.0 if omega >= 0 else -1.0
    return sense * (rates[:, 1] - omega) / rates[:, 0]


def resonance_fractions(ratio: Array, *, tolerance: float = TOLERANCE, weights: Any = None) -> QTable:
    """Fraction of stars near each resonance, with its binomial error.

    Parameters
    ----------
    ratio : array, shape (N,)
        From `resonance_ratio`.
    tolerance : float
        Half width in eta.
    weights : array_like, shape (N,), optional

    Returns
    -------
    QTable
        Columns ``name``, ``ratio``, ``fraction``, ``error``.

    Raises
    ------
    DeepPotError
        Without stars, or for another number of weights.
    """
    ratio = np.atleast_1d(array(ratio, "ratio"))
    if not len(ratio):
        raise DeepPotError("no stars: they have no fractions near a resonance")
    w = star_weights(weights, len(ratio))
    effective = w.sum() ** 2 / np.sum(w**2)
    fractions = np.array([w[np.abs(ratio - value) < tolerance].sum() / w.sum() for value in RESONANCES.values()])
    errors = np.sqrt(fractions * (1 - fractions) / effective)
    return QTable([list(RESONANCES), list(RESONANCES.values()), fractions, errors], names=["name", "ratio", "fraction", "error"])


def surface_of_section(orbits: Orbits, *, bar_angle: Any = 0.0) -> tuple[NDArray[np.intp], u.Quantity, u.Quantity]:
    """Crossings of the bar's long axis.

    Parameters
    ----------
    orbits : Orbits
        With outputs close enough to follow the motion (a few Myr).
    bar_angle : float or Quantity
        Azimuth of the bar, in rad if bare.

    Returns
    -------
    star : int array (K,)
        Which orbit crosses.
    x, v_x : Quantity (K,)
        Place along the bar and velocity in its frame, where y = 0 and dy/dt > 0.

    Raises
    ------
    UnitsError
        If ``bar_angle`` is no angle.
    """
    angle = radians(bar_angle, "bar_angle")
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    x = np.asarray(orbits.pos.to_value(LENGTH)) @ turn.T
    omega = to_internal(orbits.omega, ANGULAR_SPEED, "omega")
    v = (np.asarray(orbits.vel.to_value(VELOCITY)) - np.cross(omega, np.asarray(orbits.pos.to_value(LENGTH)))) @ turn.T
    h = np.diff(to_internal(orbits.time, TIME, "time"))
    step, star = np.nonzero((x[:-1, :, 1] < 0) & (x[1:, :, 1] >= 0))
    x0, x1, v0, v1 = x[step, star], x[step + 1, star], v[step, star] * h[step, None], v[step + 1, star] * h[step, None]
    fraction = -x0[:, 1] / (x1[:, 1] - x0[:, 1])
    for _ in range(20):
        place, speed = _hermite(fraction, x0, x1, v0, v1)
        fraction = np.clip(fraction - place[:, 1] / np.where(speed[:, 1] > 0, speed[:, 1], np.inf), 0, 1)
    place, speed = _hermite(fraction, x0, x1, v0, v1)
    return star, u.Quantity(place[:, 0], LENGTH), u.Quantity(speed[:, 0] / h[step], VELOCITY)


def _hermite(t: Array, x0: Array, x1: Array, v0: Array, v1: Array) -> tuple[Array, Array]:
    """Cubic Hermite interpolation at t in [0, 1] and its derivative with respect to t."""
    t = t[:, None]
    value = (2 * t**3 - 3 * t**2 + 1) * x0 + (t**3 - 2 * t**2 + t) * v0 + (3 * t**2 - 2 * t**3) * x1 + (t**3 - t**2) * v1
    slope = 6 * (t**2 - t) * (x0 - x1) + (3 * t**2 - 4 * t + 1) * v0 + (3 * t**2 - 2 * t) * v1
    return value, slope
