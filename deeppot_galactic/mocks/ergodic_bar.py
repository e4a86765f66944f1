"""Ergodic bar: f a smooth function of Jacobi's integral alone, inside corotation of a realistic rotating potential.

    E_J = |v - Omega x x|^2 / 2 + Phi_eff(x),    e = E_L - E_J,    f = A e^p  where e > 0 and R < R_L,  else 0

E_L is the Jacobi energy of the Lagrange point L1 and R_L its radius: below E_L no star can leave, so f is an exact stationary state of
the rotating frame whatever the potential (Jeans' theorem), with a bar, a stream v = Omega x x and no other symmetry to hide errors in.

    s_x = -p (grad Phi_eff + Omega x (v - Omega x x)) / e,      s_v = -p (v - Omega x x) / e
    rho(x) = A 4 pi 2^(1/2) B(3/2, p + 1) (E_L - Phi_eff)^(p + 3/2)

The position is drawn from rho by rejection; then |v - Omega x x|^2 / (2 (E_L - Phi_eff)) is Beta(3/2, p + 1) distributed, and the
direction isotropic.
The tracers carry no mass: the potential is that of `BarredPotential`.

References
----------
Binney & Tremaine 2008, Galactic Dynamics, section 4.2 (Jeans' theorem).
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import beta as beta_function

from .barred_potential import BarredPotential
from .base import AnalyticDistribution, Array, positive, rotate
from .plummer import directions
from .rejection import CellRejection, integrate


class ErgodicBar(AnalyticDistribution):
    """Stars distributed as (E_L - E_J)^p inside corotation.

    Parameters
    ----------
    potential : BarredPotential, optional
        The rotating potential, pattern speed included.
    exponent : float
        p > 0; the larger, the more concentrated the bar and the smoother its edge.
    angle : float
        Angle of the bar's long axis from the x axis, rad.
    """

    name = "ergodic bar"

    def __init__(self, potential: BarredPotential | None = None, *, exponent: float = 2.0, angle: float = 0.0) -> None:
        self.galaxy = potential or BarredPotential()
        self.exponent = positive(exponent, "exponent")
        self.angle = float(angle)
        self.omega = self.galaxy.omega
        self.energy = self.galaxy.lagrange_energy
        self.radius = self.galaxy.lagrange_radius

    def potential(self, pos: Array) -> Array:
        return self.galaxy.evaluate(rotate(pos[:, :3], -self.angle), 0)[0]

    def acceleration(self, pos: Array) -> Array:
        return -rotate(self.galaxy.evaluate(rotate(pos[:, :3], -self.angle), 1)[1], self.angle)

    def _depth(self, pos: Array) -> Array:
        """E_L - Phi_eff at positions (N, 3), zero outside the closed level surface, in (km/s)^2."""
        r2 = pos[:, 0] ** 2 + pos[:, 1] ** 2
        depth = self.energy - self.potential(pos) + 0.5 * self.omega**2 * r2
        return np.where(r2 < self.radius**2, np.maximum(depth, 0.0), 0.0)

    def _relative(self, x: Array) -> tuple[Array, Array]:
        """e = E_L - E_J (N,), zero outside the support, and v - Omega x x (N, 3)."""
        relative = x[:, 3:] - self.omega * np.stack([-x[:, 1], x[:, 0], np.zeros(len(x))], axis=1)
        return np.maximum(self._depth(x) - 0.5 * np.sum(relative**2, axis=1), 0.0), relative

    def log_density(self, x: Array) -> Array:
        e, _ = self._relative(x)
        return np.where(e > 0, self._log_constant + self.exponent * np.log(np.where(e > 0, e, 1.0)), -np.inf)

    def score(self, x: Array) -> Array:
        e, relative = self._relative(x)
        gradient = np.empty((len(x), 6))  # of E_J
        gradient[:, :3] = -self.acceleration(x)
        gradient[:, :2] -= self.omega**2 * x[:, :2]
        gradient[:, 0] -= self.omega * relative[:, 1]
        gradient[:, 1] += self.omega * relative[:, 0]
        gradient[:, 3:] = relative
        return -np.where(e > 0, self.exponent / np.where(e > 0, e, 1.0), 0.0)[:, None] * gradient

    @cached_property
    def _octant(self) -> list[Array]:
        """Cell edges of the positive octant, in the bar's axes: finer towards the centre and the plane."""
        height = self._height()
        stretch = np.linspace(0, 1, 41)
        return [self.radius * stretch**1.5, self.radius * stretch**1.5, height * stretch**1.5]

    def _height(self) -> float:
        """Largest z of the level surface, bracketed on a grid with one per cent to spare."""
        z = np.geomspace(1e-2, 30.0, 400)
        x = np.linspace(0, self.radius, 50)
        points = np.stack([a.ravel() for a in np.meshgrid(x, [0.0], z, indexing="ij")], axis=1)
        inside = self._depth(rotate(points, self.angle)) > 0
        return 1.01 * float(points[inside, 2].max()) + 0.02

    def _position_density(self, body: Array) -> Array:
        """rho without its constant, at points in the bar's axes, scaled to one at the centre."""
        centre = self._depth(np.zeros((1, 3)))[0]
        return (self._depth(rotate(body, self.angle)) / centre) ** (self.exponent + 1.5)

    @cached_property
    def _log_constant(self) -> float:
        """ln A: from the integral of rho over the eight octants."""
        centre = self._depth(np.zeros((1, 3)))[0]
        shape = 8 * integrate(self._position_density, [e[::2] for e in self._octant], order=4)
        velocity = 4 * np.pi * np.sqrt(2.0) * beta_function(1.5, self.exponent + 1.0)
        return float(-np.log(shape * velocity) - (self.exponent + 1.5) * np.log(centre))

    @cached_property
    def _positions(self) -> CellRejection:
        return CellRejection(self._position_density, self._octant)

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        body = self._positions.sample(n, rng) * rng.choice([-1.0, 1.0], size=(n, 3))
        pos = rotate(body, self.angle)
        speed = np.sqrt(2.0 * self._depth(pos) * rng.beta(1.5, self.exponent + 1.0, n))
        vel = speed[:, None] * directions(n, rng)
        vel[:, 0] -= self.omega * pos[:, 1]
        vel[:, 1] += self.omega * pos[:, 0]
        return np.concatenate([pos, vel], axis=1)

    def describe(self) -> dict[str, Any]:
        facts = {"exponent": self.exponent, "angle_rad": self.angle, "R_L_kpc": self.radius, "potential": self.galaxy.to_dict()}
        return {**super().describe(), **facts}
