"""How good the potential is, where the truth is known: accelerations and densities of the fit against it.

The error of an acceleration is |a_fit - a_true| / |a_true|, of a density |rho_fit - rho_true| / rho_true, at given points inside the
training volume. Medians over the points are quoted, with the 84 and 95 % points of their distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RADIAL_RANGE = (1.0, 12.0)
"""Galactocentric cylindrical radii (kpc) between which errors are quoted for a whole disc."""

HEIGHT_RANGE = 1.5
"""Height above the plane (kpc) within which they are quoted."""


@dataclass(frozen=True)
class Comparison:
    """``fit`` against ``truth`` at ``positions`` (N, 3) kpc; vectors (N, 3) or scalars (N,)."""

    positions: Array
    fit: Array
    truth: Array

    @property
    def radius(self) -> Array:
        """Cylindrical radius (N,) [kpc]."""
        return np.hypot(self.positions[:, 0], self.positions[:, 1])

    @property
    def error(self) -> Array:
        """Relative error, array (N,): the length of the difference over the length of the truth."""
        difference, size = self.fit - self.truth, self.truth
        if difference.ndim == 2:
            difference, size = np.linalg.norm(difference, axis=1), np.linalg.norm(size, axis=1)
        return np.abs(difference) / np.abs(size)

    def between(self, r_min: float, r_max: float, z_max: float = np.inf) -> Comparison:
        """Only the points in a range of radius and height.

        Parameters
        ----------
        r_min, r_max : float
            Cylindrical radii, r_min < R < r_max [kpc].
        z_max : float
            Height, |z| < z_max [kpc].

        Returns
        -------
        Comparison
        """
        keep = (self.radius > r_min) & (self.radius < r_max) & (np.abs(self.positions[:, 2]) < z_max)
        return Comparison(self.positions[keep], self.fit[keep], self.truth[keep])

    def summary(self, r_min: float = 0.0, r_max: float = np.inf, z_max: float = np.inf) -> dict[str, float | int] | None:
        """The relative error in a range, for ``summary.json``.

        Parameters
        ----------
        r_min, r_max : float
            Cylindrical radii, r_min < R < r_max [kpc].
        z_max : float
            Height, |z| < z_max [kpc].

        Returns
        -------
        dict or None
            ``median``, ``p84`` and ``p95`` of the error, and ``n``, the number of points; None without points.
        """
        error = self.between(r_min, r_max, z_max).error
        error = error[np.isfinite(error)]
        if len(error) == 0:
            return None
        median, p84, p95 = (float(value) for value in np.percentile(error, (50, 84, 95)))
        return {"median": median, "p84": p84, "p95": p95, "n": len(error)}


def compare(positions: Array, fit: Array, truth: Array, inside: NDArray[np.bool_]) -> Comparison:
    """Keep the points ``inside`` (N,) the training volume where both are finite and the truth is not zero.

    Parameters
    ----------
    positions : array (N, 3)
        Galactocentric positions [kpc].
    fit : array (N,) or (N, 3)
        Of the fit.
    truth : array, like ``fit``
        Known values, in the same unit.
    inside : array of bool (N,)
        Whether the potential was learned there.

    Returns
    -------
    Comparison
        The points that count.
    """
    flat = np.column_stack([np.reshape(fit, (len(fit), -1)), np.reshape(truth, (len(truth), -1))])
    good = inside & np.all(np.isfinite(flat), axis=1)
    good &= np.any(np.reshape(truth, (len(truth), -1)) != 0, axis=1)
    return Comparison(np.asarray(positions, dtype=np.float64)[good], fit[good], np.asarray(truth, dtype=np.float64)[good])


def cylindrical(positions: Array, vectors: Array) -> Array:
    """Components (R, phi, z) of ``vectors`` (N, 3) at ``positions`` (N, 3).

    Parameters
    ----------
    positions : array (N, 3)
        Galactocentric positions [kpc].
    vectors : array (N, 3)
        Any unit.

    Returns
    -------
    array (N, 3)
        In the unit of the vectors.
    """
    radius = np.maximum(np.hypot(positions[:, 0], positions[:, 1]), 1e-12)
    cosine, sine = positions[:, 0] / radius, positions[:, 1] / radius
    radial = cosine * vectors[:, 0] + sine * vectors[:, 1]
    azimuthal = -sine * vectors[:, 0] + cosine * vectors[:, 1]
    return np.column_stack([radial, azimuthal, vectors[:, 2]])


def negative_fraction(density: Array, *, weights: Array | None = None) -> float:
    """Fraction of the points at which a density is negative.

    Parameters
    ----------
    density : array (N,)
        Msun/kpc^3.
    weights : array (N,), optional
        Of the points.

    Returns
    -------
    float
        Between 0 and 1; NaN without points.
    """
    finite = np.isfinite(density)
    w = None if weights is None or not np.any(weights[finite] > 0) else weights[finite]
    return float(np.average(density[finite] < 0, weights=w)) if finite.any() else float("nan")
