"""Rotating Gaussian bar: an exactly Gaussian f that is stationary only in its own rotating frame.

In the bar's axes (x', y', z') the potential is quadratic,

    Phi = Phi_eff + Omega^2 (x'^2 + y'^2) / 2,     Phi_eff = sum_i (sigma / l_i)^2 x_i'^2 / 2
    E_J = |v - Omega x x|^2 / 2 + Phi_eff
    f   = exp(-E_J / sigma^2) / ((2 pi)^3 sigma^3 l_x l_y l_z)

so that positions are Gaussian with the standard deviations ``lengths`` = l, and v - Omega x x is Gaussian with dispersion ``sigma``.
Any function of Jacobi's integral E_J is stationary in the rotating frame (Freeman 1966); this one has scores linear in (x, v):
the simplest test that an estimator keeps the pattern speed. lap Phi = sum (sigma/l)^2 + 2 Omega^2 > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DeepPotError
from .base import AnalyticDistribution, Array, finite, positive, rotate


class GaussianBar(AnalyticDistribution):
    """Gaussian ellipsoid of stars that rotates rigidly as a figure.

    Parameters
    ----------
    lengths : sequence of float
        Standard deviations (l_x, l_y, l_z) of the positions along the bar's axes, kpc.
    sigma : float
        Velocity dispersion in the rotating frame, km/s.
    omega : float
        Pattern speed, km/s/kpc; positive is counter-clockwise.
    angle : float
        Angle of the bar's long axis from the x axis, rad.

    Raises
    ------
    DeepPotError
        If the lengths are not three, or a length or ``sigma`` is not positive.
    """

    name = "rotating Gaussian bar"

    def __init__(
        self, *, lengths: Sequence[float] = (2.0, 1.0, 0.5), sigma: float = 100.0, omega: float = 40.0, angle: float = 0.0
    ) -> None:
        if len(lengths) != 3:
            raise DeepPotError(f"lengths needs three standard deviations in kpc, got {len(lengths)}")
        self.lengths = np.array([positive(length, "each of lengths") for length in lengths])
        self.sigma = positive(sigma, "sigma")
        self.omega, self.angle = finite(omega, "omega"), finite(angle, "angle")

    def _effective_gradient(self, pos: Array) -> Array:
        """grad Phi_eff (N, 3) in (km/s)^2/kpc."""
        body = rotate(pos[:, :3], -self.angle)
        return rotate(body * (self.sigma / self.lengths) ** 2, self.angle)

    def potential(self, pos: Array) -> Array:
        r2 = pos[:, 0] ** 2 + pos[:, 1] ** 2
        return 0.5 * np.sum(pos[:, :3] * self._effective_gradient(pos), axis=1) + 0.5 * self.omega**2 * r2

    def acceleration(self, pos: Array) -> Array:
        centrifugal = self.omega**2 * pos[:, :3] * np.array([1.0, 1.0, 0.0])
        return -self._effective_gradient(pos) - centrifugal

    def _relative_velocity(self, x: Array) -> Array:
        """v - Omega x x, shape (N, 3)."""
        stream = self.omega * np.stack([-x[:, 1], x[:, 0], np.zeros(len(x))], axis=1)
        return x[:, 3:] - stream

    def log_density(self, x: Array) -> Array:
        relative = self._relative_velocity(x)
        jacobi = 0.5 * np.sum(relative**2, axis=1) + 0.5 * np.sum(x[:, :3] * self._effective_gradient(x), axis=1)
        constant = -3 * np.log(2 * np.pi) - 3 * np.log(self.sigma) - np.log(self.lengths).sum()
        return constant - jacobi / self.sigma**2

    def score(self, x: Array) -> Array:
        relative = self._relative_velocity(x)
        turned = self.omega * np.stack(
            [relative[:, 1], -relative[:, 0], np.zeros(len(x))], axis=1
        )  # minus the x-gradient of |v - Omega x x|^2 / 2
        return -np.concatenate([self._effective_gradient(x) - turned, relative], axis=1) / self.sigma**2

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        pos = rotate(rng.standard_normal((n, 3)) * self.lengths, self.angle)
        vel = self.sigma * rng.standard_normal((n, 3))
        vel[:, 0] -= self.omega * pos[:, 1]
        vel[:, 1] += self.omega * pos[:, 0]
        return np.concatenate([pos, vel], axis=1)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "lengths_kpc": self.lengths.tolist(), "sigma_km_s": self.sigma, "angle_rad": self.angle}
