r"""The bar as the stars show it: strength, phase, angle, length.

In annuli of radius R, with weights w_i,

    A_m(R) exp(i m phi_m(R)) = sum_i w_i exp(i m phi_i) / sum_i w_i,      m = 2:

A_2 is the strength relative to A_0 = 1 and phi_2 the azimuth of the density maximum, modulo pi. The length of the bar R_bar is where
A_2 has fallen to 70 % of its peak, outwards; of several peaks the innermost that falls so far, for rings near the outer Lindblad resonance
can be stronger. Its angle is the m = 2 phase of all stars within,

    phi_bar = arctan2(sum w sin 2 phi, sum w cos 2 phi) / 2        (P 13).

Noise alone gives A_2 of about (pi / N)^(1/2) / 2 from N stars of equal weight: peaks below four times that are not called a bar.

References
----------
Kalda, Green & Ghosh 2023, arXiv:2310.00040 ("P").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import whole
from ..catalogue.propagation import star_weights
from ..errors import DeepPotError
from ..units import LENGTH, to_internal, vectors

Array = NDArray[np.float64]

FRACTION = 0.7
"""Of the peak of A_2, where the bar ends (P)."""
SIGNIFICANCE = 4.0
MIN_STARS = 50
"""Fewer stars in an annulus tell nothing."""


@dataclass(frozen=True)
class Bar:
    """The m = 2 structure of a disc.

    Attributes
    ----------
    R : Quantity, shape (K,)
        Middle of the annuli.
    strength : array, shape (K,)
        A_2 / A_0, NaN in annuli with too few stars.
    phase : Quantity, shape (K,)
        Azimuth of the maximum in rad, from -pi/2 to pi/2.
    noise : array, shape (K,)
        Expected A_2 of an axisymmetric annulus.
    peak : float
        A_2 / A_0 at the peak of the bar.
    length, angle : Quantity
        R_bar and phi_bar; NaN if there is no bar.
    detected : bool
        Whether the peak stands out of the noise.
    """

    R: u.Quantity
    strength: Array
    phase: u.Quantity
    noise: Array
    peak: float
    length: u.Quantity
    angle: u.Quantity
    detected: bool


def fourier(pos: Array, edges: Array, *, m: int = 2, weights: ArrayLike | None = None) -> tuple[NDArray[np.complex128], Array]:
    """A_m exp(i m phi_m) per annulus (K,), complex, and the number of effective stars (K,), for positions (N, 3) in kpc."""
    w = star_weights(weights, len(pos))
    radius, phi = np.hypot(pos[:, 0], pos[:, 1]), np.arctan2(pos[:, 1], pos[:, 0])
    total, squares, real, imaginary = (
        np.histogram(radius, edges, weights=value)[0] for value in (w, w**2, w * np.cos(m * phi), w * np.sin(m * phi))
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return (real + 1j * imaginary) / total, total**2 / squares


def bar_angle(pos: u.Quantity, *, r_max: u.Quantity, weights: ArrayLike | None = None) -> u.Quantity:
    """Azimuth of the bar (P 13) from the stars (N, 3) within ``r_max`` of the axis, from -pi/2 to pi/2.

    Parameters
    ----------
    pos : Quantity, shape (N, 3)
        Positions.
    r_max : Quantity
        Length.
    weights : array_like, shape (N,), optional
        One weight a star.

    Returns
    -------
    Quantity
        rad, from -pi/2 to pi/2.

    Raises
    ------
    DeepPotError
        If there are no stars.
    """
    x = vectors(pos, LENGTH, "pos")
    amplitude, _ = fourier(x, np.array([0.0, float(to_internal(r_max, LENGTH, "r_max"))]), weights=weights)
    if not np.isfinite(amplitude[0]):
        raise DeepPotError(f"no stars within {r_max} of the axis: the bar has no angle")
    return u.Quantity(np.angle(amplitude[0]) / 2, u.rad)


def bar_peak(strength: Array, noise: Array, *, fraction: float = FRACTION) -> int:
    """Index of the peak of A_2 that is the bar's, of strengths and their noise (K,), NaN where unknown.

    A bar is the innermost structure: of all maxima that stand out of the noise, reach half of the highest, and are followed outwards by a
    fall to ``fraction`` before anything higher, the first. Rings and spirals further out may be stronger. Without any, the highest.
    """
    known = np.nan_to_num(strength)
    highest = int(np.argmax(known))
    for i in np.flatnonzero((known >= 0.5 * known[highest]) & (known > SIGNIFICANCE * np.nan_to_num(noise, nan=np.inf))):
        outwards = strength[i + 1 :]
        fallen = np.flatnonzero(outwards < fraction * strength[i] - noise[i + 1 :])
        if len(fallen) and not np.any(outwards[: fallen[0]] > strength[i]):
            return int(i)
    return highest


def bar_length(radius: Array, strength: Array, *, fraction: float = FRACTION, peak: int | None = None) -> float:
    """Radius beyond the peak where A_2 falls to ``fraction`` of it, interpolated; NaN if it does not fall that far.

    Parameters
    ----------
    radius, strength : array, shape (K,)
        Middle of the annuli [kpc] and A_2, NaN where unknown.
    fraction : float
        Of the peak.
    peak : int, optional
        Index of the peak, from `bar_peak`; the highest if left out.
    """
    known = np.isfinite(strength)
    if not known.any():
        return float("nan")
    peak = int(np.sum(known[: int(np.nanargmax(strength)) if peak is None else peak]))
    radius, strength = radius[known], strength[known]
    level = fraction * strength[peak]
    below = np.flatnonzero(strength[peak:] < level)
    if not len(below):
        return float("nan")
    i = peak + int(below[0])
    return float(np.interp(level, strength[[i, i - 1]], radius[[i, i - 1]]))


def measure_bar(
    pos: u.Quantity, *, r_max: u.Quantity = 12 * u.kpc, annuli: int = 32, weights: ArrayLike | None = None, z_max: Any = None
) -> Bar:
    """Measure the bar in the positions of stars.

    Parameters
    ----------
    pos : Quantity, shape (N, 3)
        About the centre of the galaxy.
    r_max : Quantity
        Outermost radius; choose it to leave out spiral arms.
    annuli : int
        Number of annuli, of equal width.
    weights : array_like, shape (N,), optional
        Masses, or inverse selection probabilities.
    z_max : Quantity, optional
        Leave out stars further from the plane.

    Returns
    -------
    Bar

    Raises
    ------
    DeepPotError
        If no annulus has enough stars.
    """
    x = vectors(pos, LENGTH, "pos")
    w, annuli = star_weights(weights, len(x)), whole(annuli, "annuli", least=1)
    if z_max is not None:
        near = np.abs(x[:, 2]) < float(to_internal(z_max, LENGTH, "z_max"))
        x, w = x[near], w[near]
    edges = np.linspace(0, float(to_internal(r_max, LENGTH, "r_max")), annuli + 1)
    amplitude, count = fourier(x, edges, weights=w)
    enough = np.nan_to_num(count) >= MIN_STARS
    if not enough.any():
        raise DeepPotError(f"fewer than {MIN_STARS} stars in every annulus within {r_max}: the bar cannot be measured")
    middle, strength = 0.5 * (edges[1:] + edges[:-1]), np.where(enough, np.abs(amplitude), np.nan)
    noise = np.where(enough, 0.5 * np.sqrt(np.pi / np.maximum(np.nan_to_num(count), 1)), np.nan)
    peak = bar_peak(strength, noise)
    detected = bool(strength[peak] > SIGNIFICANCE * noise[peak])
    length = bar_length(middle, strength, peak=peak) if detected else float("nan")
    angle = float("nan")
    if detected:
        reach = length if np.isfinite(length) else edges[-1]
        angle = float(bar_angle(x * LENGTH, r_max=reach * LENGTH, weights=w).value)
    phase = u.Quantity(np.where(enough, np.angle(amplitude) / 2, np.nan), u.rad)
    sizes = u.Quantity(length, LENGTH), u.Quantity(angle, u.rad)
    return Bar(u.Quantity(middle, LENGTH), strength, phase, noise, float(strength[peak]), *sizes, detected)
