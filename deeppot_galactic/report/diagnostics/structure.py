"""Where the stars are: surface density, the m = 2 strength of the bar, its length and position angle.

In an annulus the m-th Fourier amplitude of the stars relative to the mean, and its position angle, are

    A_m / A_0 = |S| / sum_k w_k,    phase = -arg(S) / m,    S = sum_k w_k exp(-i m phi_k),

with weights w_k (1 by default). An axisymmetric disc of N stars still gives A_m / A_0 = sqrt(pi / 4N) on average (Rayleigh),
which is returned as ``floor``. The bar ends where A_2 / A_0 has dropped to 70 % of its peak (one of the usual conventions,
Athanassoula & Misiriotis 2002, arXiv:astro-ph/0111449).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MINIMUM_STRENGTH = 0.08
"""A_2 / A_0 below which an m = 2 pattern is not called a bar."""

PHASE_TOLERANCE = np.radians(20.0)
"""How far the m = 2 position angle may turn along a bar; beyond it is a spiral arm."""


@dataclass(frozen=True)
class Map:
    """A quantity on a regular grid: ``values[i, j]`` belongs to the pixel i along the first axis and j along the
    second (NaN: no data), whose borders are ``x_edges`` and ``y_edges``.
    """

    x_edges: Array
    y_edges: Array
    values: Array


@dataclass(frozen=True)
class HarmonicProfile:
    """Fourier strength against radius: ``radius`` (kpc), ``amplitude`` A_m/A_0, its ``error`` and noise ``floor``,
    ``phase`` (rad), ``count``; ``m``, the harmonic.
    """

    radius: Array
    amplitude: Array
    error: Array
    floor: Array
    phase: Array
    count: Array
    m: int = 2


@dataclass(frozen=True)
class BarExtent:
    """A bar: ``length`` (semi-major axis, kpc), position ``angle`` (rad, modulo pi), peak ``strength`` A_2/A_0 and
    its radius ``peak_radius`` (kpc).
    """

    length: float
    angle: float
    strength: float
    peak_radius: float


def harmonic_profile(positions: Array, *, edges: Array, m: int = 2, weights: Array | None = None) -> HarmonicProfile:
    """Measure A_m/A_0 and the position angle of the m-th harmonic in annuli.

    Parameters
    ----------
    positions : array (N, 2) or (N, 3)
        Galactocentric x, y (kpc).
    edges : array (K + 1,)
        Radii that separate the annuli (kpc).
    m : int
        Harmonic; 2 for bars.
    weights : array (N,), optional
        One weight per star.

    Returns
    -------
    HarmonicProfile
        Arrays of length K; NaN where an annulus is empty.
    """
    w = np.ones(len(positions)) if weights is None else np.asarray(weights, dtype=np.float64)
    radius, phi = np.hypot(positions[:, 0], positions[:, 1]), np.arctan2(positions[:, 1], positions[:, 0])
    total, squares, count = (np.histogram(radius, edges, weights=q)[0] for q in (w, w**2, np.ones_like(w)))
    real = np.histogram(radius, edges, weights=w * np.cos(m * phi))[0]
    imaginary = np.histogram(radius, edges, weights=w * np.sin(m * phi))[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        amplitude = np.hypot(real, imaginary) / total
        error = np.sqrt(squares / 2) / total
    phase = np.where(total > 0, np.arctan2(imaginary, real) / m, np.nan)
    middle = 0.5 * (edges[1:] + edges[:-1])
    return HarmonicProfile(middle, amplitude, error, error * np.sqrt(np.pi / 2), phase, count, m)


def bar_extent(profile: HarmonicProfile, *, fraction: float = 0.7, significance: float = 5.0) -> BarExtent | None:
    """Find the bar in an m = 2 profile, or None when there is none worth the name.

    Parameters
    ----------
    profile : HarmonicProfile
        With m = 2.
    fraction : float
        The bar ends where A_2/A_0 falls below this fraction of its peak (interpolated linearly).
    significance : float
        The peak must exceed this many standard errors, and `MINIMUM_STRENGTH`.

    Returns
    -------
    BarExtent or None
        Lengths in kpc, angle in rad.
    """
    amplitude = np.where(np.isfinite(profile.amplitude) & (profile.error < 0.05), profile.amplitude, 0.0)
    significant = amplitude > np.maximum(MINIMUM_STRENGTH, significance * profile.error)
    if not significant.any():
        return None
    start = int(np.argmax(significant))
    stop = start
    while stop < len(amplitude) and significant[stop] and _aligned(profile.phase[start : stop + 1]):
        stop += 1
    if stop - start < 2:
        return None
    peak = start + int(np.argmax(amplitude[start:stop]))
    limit = fraction * amplitude[peak]
    length = float(profile.radius[stop - 1])
    for k in range(peak, stop):
        following = amplitude[k + 1] if k + 1 < len(amplitude) else 0.0
        if following < limit and k + 1 < len(amplitude):
            step = (amplitude[k] - limit) / (amplitude[k] - following)
            length = float(profile.radius[k] + step * (profile.radius[k + 1] - profile.radius[k]))
            break
    inside = slice(start, max(peak + 1, start + 2))
    turn = np.sum(amplitude[inside] * profile.count[inside] * np.exp(2j * profile.phase[inside]))
    return BarExtent(length, float(np.angle(turn) / 2), float(amplitude[peak]), float(profile.radius[peak]))


def _aligned(phase: Array) -> bool:
    """Whether the last position angle (modulo pi) agrees with the mean of those before."""
    mean = np.angle(np.sum(np.exp(2j * phase))) / 2
    return bool(abs(np.angle(np.exp(2j * (phase[-1] - mean)))) / 2 < PHASE_TOLERANCE)


def rotate_to_bar(positions: Array, angle: float) -> Array:
    """Positions (N, 3) in axes of which the first lies along the position angle ``angle`` (rad).

    Parameters
    ----------
    positions : array (N, 3) or wider
        kpc; further columns are kept.
    angle : float
        rad.

    Returns
    -------
    array
        Of the same shape [kpc].
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = np.array(positions, dtype=np.float64)
    turned[:, 0] = cosine * positions[:, 0] + sine * positions[:, 1]
    turned[:, 1] = -sine * positions[:, 0] + cosine * positions[:, 1]
    return turned


def surface_density(
    first: Array, second: Array, x_edges: Array, y_edges: Array, *, weights: Array | None = None, total: float | None = None
) -> Map:
    """Stars per kpc^2 seen in projection.

    Parameters
    ----------
    first, second : array (N,)
        Coordinates in the plane of the picture (kpc).
    x_edges, y_edges : array
        Borders of the pixels (kpc).
    weights : array (N,), optional
        One weight per star.
    total : float, optional
        Scale the stars to this number (when the points are a draw from a larger catalogue).

    Returns
    -------
    Map
        Per kpc^2.
    """
    counts = np.histogram2d(first, second, bins=(x_edges, y_edges), weights=weights)[0]
    mass = float(len(first)) if weights is None else float(np.sum(weights))
    scale = 1.0 if total is None or mass == 0 else total / mass
    return Map(x_edges, y_edges, scale * counts / (np.diff(x_edges)[:, None] * np.diff(y_edges)[None, :]))


def midplane_profile(
    positions: Array, *, edges: Array, half_height: float, weights: Array | None = None, total: float | None = None
) -> tuple[Array, Array, Array]:
    """Number density of stars near the plane against radius.

    Counts in rings of |z| < ``half_height`` (kpc), divided by the volume of the ring, in stars per kpc^3, scaled to
    ``total`` stars when given.

    Parameters
    ----------
    positions : array (N, 3)
        Galactocentric positions [kpc].
    edges : array (K + 1,)
        Radii between the bins [kpc].
    half_height : float
        Of the layer [kpc].
    weights : array (N,), optional
        One weight per star.
    total : float, optional
        Scale to so many stars.

    Returns
    -------
    radius, density, error : array (K,)
        kpc, 1/kpc^3; the error is Poisson's.
    """
    w = np.ones(len(positions)) if weights is None else np.asarray(weights, dtype=np.float64)
    near = np.abs(positions[:, 2]) < half_height
    radius = np.hypot(positions[near, 0], positions[near, 1])
    counts, squares = (np.histogram(radius, edges, weights=q[near])[0] for q in (w, w**2))
    scale = 1.0 if total is None or len(positions) == 0 else total / float(w.sum())
    ring = np.pi * np.diff(edges**2) * 2 * half_height
    return 0.5 * (edges[1:] + edges[:-1]), scale * counts / ring, scale * np.sqrt(squares) / ring
