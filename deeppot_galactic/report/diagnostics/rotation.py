"""The rotation curve of a potential and its resonances with a pattern speed.

With <.> the mean over azimuth in the plane z = 0, v_c^2 = -R <a_R>, Omega_c = v_c / R and the epicyclic frequency is
kappa^2 = R d(Omega_c^2)/dR + 4 Omega_c^2. Corotation is where Omega_c = |Omega|, the Lindblad resonances where
Omega_c -/+ kappa / 2 = |Omega| (Binney & Tremaine 2008, section 3.3.3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RotationCurve:
    """``radius`` (kpc), circular speed ``speed`` (km/s), ``omega`` and ``kappa`` (km/s/kpc): arrays (K,), NaN where
    the mean force points outwards.
    """

    radius: Array
    speed: Array
    omega: Array
    kappa: Array

    def resonances(self, pattern_speed: float) -> dict[str, list[float]]:
        """Where the curve meets a pattern speed.

        Parameters
        ----------
        pattern_speed : float
            Of either sign [km/s/kpc].

        Returns
        -------
        dict of list of float
            Radii [kpc] of ``corotation``, and of the ``inner`` and ``outer`` Lindblad resonances: all crossings in order of radius.
        """
        target = abs(pattern_speed)
        curves = {"corotation": self.omega, "inner": self.omega - self.kappa / 2, "outer": self.omega + self.kappa / 2}
        return {name: crossings(self.radius, curve - target) for name, curve in curves.items()}


def rotation_curve(acceleration: Callable[[Array], Array], radii: Array, *, n_azimuth: int = 36) -> RotationCurve:
    """Azimuthally averaged rotation curve in the plane.

    Parameters
    ----------
    acceleration : callable
        Maps positions (N, 3) in kpc to accelerations (N, 3) in km^2/s^2/kpc.
    radii : array (K,)
        Increasing radii (kpc), at least three.
    n_azimuth : int
        Points on each circle.

    Returns
    -------
    RotationCurve
        kpc, km/s, km/s/kpc.
    """
    radii = np.asarray(radii, dtype=np.float64)
    phi = 2 * np.pi * np.arange(n_azimuth) / n_azimuth
    direction = np.column_stack([np.cos(phi), np.sin(phi), np.zeros(n_azimuth)])
    points = (radii[:, None, None] * direction).reshape(-1, 3)
    inward = -np.sum(acceleration(points).reshape(len(radii), n_azimuth, 3) * direction, axis=2).mean(axis=1)
    squared = inward / radii
    with np.errstate(invalid="ignore"):
        omega = np.sqrt(squared)
        kappa = np.sqrt(radii * np.gradient(squared, radii, edge_order=2) + 4 * squared)
    return RotationCurve(radii, radii * omega, omega, kappa)


def crossings(x: Array, y: Array) -> list[float]:
    """Where a sampled curve y(x) crosses zero, by linear interpolation; NaNs interrupt the curve.

    Parameters
    ----------
    x : array (K,)
        Increasing, any unit.
    y : array (K,)
        Any unit.

    Returns
    -------
    list of float
        In the unit of x.
    """
    found = []
    for k in range(len(x) - 1):
        here, there = y[k], y[k + 1]
        if np.isfinite(here) and np.isfinite(there) and (here > 0) != (there > 0):
            found.append(float(x[k] + (x[k + 1] - x[k]) * here / (here - there)))
    return found
