"""Isotropic Plummer sphere: the textbook distribution function, exact in every number.

With psi = -Phi = G M / sqrt(r^2 + b^2) and the relative energy e = psi - v^2/2,

    f(e) = 24 sqrt(2) / (7 pi^3) * b^2 / (G M)^5 * e^(7/2)          (Binney & Tremaine 2008, equation 4.83, divided by M)
    s_x = -(7/2) grad Phi / e,     s_v = -(7/2) v / e

Sampling (Aarseth, Henon & Wielen 1974): r from the inverse of M(<r), and (v / v_escape)^2 from the Beta(3/2, 9/2) distribution.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..units import G
from .base import AnalyticDistribution, Array, positive

EXPONENT = 3.5
"""f is proportional to e to this power."""


def directions(n: int, rng: np.random.Generator) -> Array:
    """Unit vectors (n, 3), isotropic."""
    g = rng.standard_normal((n, 3))
    return g / np.linalg.norm(g, axis=1, keepdims=True)


class Plummer(AnalyticDistribution):
    """Self-gravitating isotropic Plummer sphere.

    Parameters
    ----------
    mass : float
        M in Msun.
    scale : float
        b in kpc.
    """

    name = "Plummer sphere"

    def __init__(self, *, mass: float = 1e10, scale: float = 1.0) -> None:
        self.mass = positive(mass, "mass")
        self.scale = positive(scale, "scale")
        self.omega = 0.0

    def potential(self, pos: Array) -> Array:
        return -G * self.mass / np.sqrt(np.sum(pos[:, :3] ** 2, axis=1) + self.scale**2)

    def acceleration(self, pos: Array) -> Array:
        r2 = np.sum(pos[:, :3] ** 2, axis=1) + self.scale**2
        return -G * self.mass * pos[:, :3] / (r2 * np.sqrt(r2))[:, None]

    def relative_energy(self, x: Array) -> Array:
        """e = -Phi - v^2/2, positive for bound stars.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space [kpc, km/s].

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """
        return -self.potential(x) - 0.5 * np.sum(x[:, 3:] ** 2, axis=1)

    def log_density(self, x: Array) -> Array:
        e = self.relative_energy(x)
        constant = np.log(24 * np.sqrt(2) / (7 * np.pi**3)) + 2 * np.log(self.scale) - 5 * np.log(G * self.mass)
        return np.where(e > 0, constant + EXPONENT * np.log(np.where(e > 0, e, 1.0)), -np.inf)

    def score(self, x: Array) -> Array:
        e = self.relative_energy(x)
        factor = np.where(e > 0, EXPONENT / np.where(e > 0, e, 1.0), 0.0)
        return factor[:, None] * np.concatenate([self.acceleration(x), -x[:, 3:]], axis=1)

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        mass_fraction = 1.0 - rng.random(n)  # in (0, 1]
        mass_fraction = np.minimum(mass_fraction, 1.0 - 1e-12)
        r = self.scale / np.sqrt(mass_fraction ** (-2.0 / 3.0) - 1.0)
        pos = r[:, None] * directions(n, rng)
        speed = np.sqrt(-2.0 * self.potential(pos) * rng.beta(1.5, EXPONENT + 1.0, n))
        return np.concatenate([pos, speed[:, None] * directions(n, rng)], axis=1)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "mass_msun": self.mass, "scale_kpc": self.scale}
