"""Quasi-isothermal disc of exact integrals: a cold, thin, rotating disc with scores in closed form.

In a Staeckel potential (`KuzminKutuzov`) E, L_z and I_3 are exact integrals, so any f(E, L_z, I_3) is exactly stationary, without the
epicycle or Staeckel-fudge actions that the usual quasi-isothermal disc (Binney & McMillan 2011) needs. With the guiding radius R_g
where L_c(R_g) = L_z, the energy E_c of that circular orbit and the vertical energy E_z = I_3 / (R_g^2 + Delta^2), which is
v_z^2 / 2 for a star crossing the plane at R_g,

    ln f = A + ln N(R_g) - (E - E_c - E_z) / sigma_R^2 - E_z / sigma_z^2     where L_z > 0 and E < Phi(R_cut, 0),   else f = 0
    N    = exp(-R_g / R_d - (R_hole / R_g)^2) / (sigma_R^2 sigma_z),  sigma^2 = sigma_0^2 exp(-2 (R_g - R_0) / R_sigma) + sigma_min^2

Near-circular orbits have E - E_c - E_z = kappa J_R and E_z = nu J_z to first order: Shu's disc with a vertical isothermal part.
The hole makes f vanish with all its derivatives at L_z -> 0; the cut at R_cut leaves out orbits of relative weight near e^-13.

What is exact: stationarity, the scores (chain rule; R_g is solved to rounding) and the sampler. What is not: R_d and sigma are the
parameters of f, from which the surface density and the dispersions differ by tens of per cent; the constant A is a quadrature good
to about 1e-4.

Sampling: at given (R, z, L_z) the exponent is quadratic in (v_R, v_z), so those two are Gaussian and their integral is closed; (R_g, R, z)
come from the three-dimensional marginal by rejection.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from ..errors import DeepPotError
from .base import AnalyticDistribution, Array, Mask, positive
from .kuzmin_kutuzov import KuzminKutuzov
from .rejection import CellRejection, integrate

NEWTON_STEPS = 8
"""Newton steps for R_g after interpolation; converges quadratically."""


class StaeckelDisc(AnalyticDistribution):
    """Cold rotating disc in a Kuzmin-Kutuzov potential.

    Parameters
    ----------
    potential : KuzminKutuzov, optional
        The galaxy; a disc in a halo with a circular speed near 210 km/s by default.
    scale_length : float
        R_d in kpc.
    sigma_r, sigma_z : float
        sigma_0 of the radial and vertical dispersions at ``reference``, km/s; ``sigma_z`` must not exceed ``sigma_r``.
    reference, sigma_length : float
        R_0 and R_sigma in kpc.
    sigma_min : float
        Floor of both dispersions, km/s.
    hole : float
        R_hole in kpc.
    cut : float
        R_cut in kpc.

    Raises
    ------
    DeepPotError
        If ``sigma_z`` exceeds ``sigma_r``, or a number is not positive.
    """

    name = "quasi-isothermal Staeckel disc"

    def __init__(
        self,
        potential: KuzminKutuzov | None = None,
        *,
        scale_length: float = 2.6,
        sigma_r: float = 35.0,
        sigma_z: float = 20.0,
        reference: float = 8.0,
        sigma_length: float = 8.0,
        sigma_min: float = 5.0,
        hole: float = 1.0,
        cut: float = 100.0,
    ) -> None:
        self.galaxy = potential or KuzminKutuzov()
        self.scale_length = positive(scale_length, "scale_length")
        self.sigma_r, self.sigma_z = positive(sigma_r, "sigma_r"), positive(sigma_z, "sigma_z")
        if self.sigma_z > self.sigma_r:
            raise DeepPotError(
                f"sigma_z = {sigma_z} km/s must not exceed sigma_r = {sigma_r} km/s: the vertical part of f would not be Gaussian"
            )
        self.reference, self.sigma_length = positive(reference, "reference"), positive(sigma_length, "sigma_length")
        self.sigma_min, self.hole, self.cut = positive(sigma_min, "sigma_min"), positive(hole, "hole"), positive(cut, "cut")
        self.omega = 0.0
        self.energy_cut = float(self.galaxy.potential(np.array([[self.cut, 0.0, 0.0]]))[0])
        grid = np.geomspace(1e-4, self.cut, 4000)
        momentum, _, energy = self.galaxy.circular(grid)
        self._log_radius, self._log_momentum = np.log(grid), np.log(momentum)
        self._outermost = float(np.interp(self.energy_cut, energy, grid))

    def potential(self, pos: Array) -> Array:
        return self.galaxy.potential(pos)

    def acceleration(self, pos: Array) -> Array:
        return -self.galaxy.gradient(pos)

    def guiding_radius(self, momentum: Array) -> Array:
        """R_g of the circular orbits with a given angular momentum, to rounding.

        Parameters
        ----------
        momentum : array, shape (N,)
            L_z > 0 [kpc km/s].

        Returns
        -------
        array, shape (N,)
            kpc.
        """
        log_l = np.log(momentum)
        radius = np.exp(np.interp(log_l, self._log_momentum, self._log_radius))
        for _ in range(NEWTON_STEPS):  # in the logarithms: nearly straight
            value, slope, _ = self.galaxy.circular(radius)
            radius = radius * np.exp((log_l - np.log(value)) * value / (slope * radius))
        return radius

    def _dispersion(self, radius: Array, sigma: float) -> tuple[Array, Array]:
        """sigma^2 (N,) and its derivative in R_g."""
        falling = sigma**2 * np.exp(-2 * (radius - self.reference) / self.sigma_length)
        return falling + self.sigma_min**2, -2 / self.sigma_length * falling

    def _log_weight(self, radius: Array) -> Array:
        """ln N (N,)."""
        r2, z2 = self._dispersion(radius, self.sigma_r)[0], self._dispersion(radius, self.sigma_z)[0]
        return -radius / self.scale_length - (self.hole / radius) ** 2 - np.log(r2) - 0.5 * np.log(z2)

    def _supported(self, x: Array) -> tuple[Mask, Array, Array]:
        """Which of ``x`` (N, 6) have f > 0, with E and L_z (N,)."""
        energy = 0.5 * np.sum(x[:, 3:] ** 2, axis=1) + self.potential(x)
        momentum = x[:, 0] * x[:, 4] - x[:, 1] * x[:, 3]
        return (momentum > 0) & (energy < self.energy_cut), energy, momentum

    def log_density(self, x: Array) -> Array:
        inside, energy, momentum = self._supported(x)
        radius = self.guiding_radius(momentum[inside])
        r2, z2 = self._dispersion(radius, self.sigma_r)[0], self._dispersion(radius, self.sigma_z)[0]
        excess = energy[inside] - self.galaxy.circular(radius)[2]
        vertical = self.galaxy.third_integral(x[inside])[0] / (radius**2 + self.galaxy.focal**2)
        out = np.full(len(x), -np.inf)
        out[inside] = self._log_constant + self._log_weight(radius) - (excess - vertical) / r2 - vertical / z2
        return out

    def score(self, x: Array) -> Array:
        inside, energy, momentum = self._supported(x)
        y = x[inside]
        radius = self.guiding_radius(momentum[inside])
        _, slope, circular_energy = self.galaxy.circular(radius)
        r2, d_r2 = self._dispersion(radius, self.sigma_r)
        z2, d_z2 = self._dispersion(radius, self.sigma_z)
        focal2 = radius**2 + self.galaxy.focal**2
        integral, d_integral = self.galaxy.third_integral(y)
        vertical, excess = integral / focal2, energy[inside] - circular_energy
        # d ln f / d R_g at fixed E and I_3, with dE_c/dR_g = Omega dL_c/dR_g
        frequency = momentum[inside] / radius**2
        d_vertical = -vertical * 2 * radius / focal2
        d_weight = -1 / self.scale_length + 2 * self.hole**2 / radius**3 - d_r2 / r2 - 0.5 * d_z2 / z2
        d_radius = (
            d_weight
            + (frequency * slope + d_vertical) / r2
            - d_vertical / z2
            + (excess - vertical) * d_r2 / r2**2
            + vertical * d_z2 / z2**2
        )
        d_momentum = np.zeros((len(y), 6))
        d_momentum[:, 0], d_momentum[:, 1], d_momentum[:, 3], d_momentum[:, 4] = y[:, 4], -y[:, 3], -y[:, 1], y[:, 0]
        d_energy = np.concatenate([self.galaxy.gradient(y), y[:, 3:]], axis=1)
        out = np.zeros((len(x), 6))
        out[inside] = (d_radius / slope)[:, None] * d_momentum - d_energy / r2[:, None] + ((1 / r2 - 1 / z2) / focal2)[:, None] * d_integral
        return out

    def _quadratic(self, radius: Array, cylinder: Array, z: Array) -> tuple[Array, Array, Array]:
        """Matrix elements (RR, Rz, zz) of Q in exp(-v Q v / 2), v = (v_R, v_z), at guiding radius, R and z, each (N,)."""
        r2, z2 = self._dispersion(radius, self.sigma_r)[0], self._dispersion(radius, self.sigma_z)[0]
        k = (1 / z2 - 1 / r2) / (radius**2 + self.galaxy.focal**2)
        return 1 / r2 + k * z**2, -k * cylinder * z, 1 / r2 + k * (cylinder**2 + self.galaxy.focal**2)

    def _marginal(self, points: Array) -> Array:
        """f integrated over v_R and v_z and azimuth, without A, per d(R_g) dp dt at ``points`` (N, 3) of (R_g, p, t)."""
        radius, cylinder, z, jacobian = self._unfold(points)
        momentum, slope, circular_energy = self.galaxy.circular(radius)
        pos = np.stack([cylinder, np.zeros_like(z), z], axis=1)
        energy = self.potential(pos) + 0.5 * (momentum / cylinder) ** 2
        r2, z2 = self._dispersion(radius, self.sigma_r)[0], self._dispersion(radius, self.sigma_z)[0]
        vertical = (self.galaxy.height_energy(pos) + 0.5 * (z * momentum / cylinder) ** 2) / (radius**2 + self.galaxy.focal**2)
        exponent = self._log_weight(radius) - (energy - circular_energy - vertical) / r2 - vertical / z2
        q_rr, q_rz, q_zz = self._quadratic(radius, cylinder, z)
        value = 2 * np.pi * slope * jacobian * np.exp(exponent) * 2 * np.pi / np.sqrt(q_rr * q_zz - q_rz**2)
        return np.where(energy < self.energy_cut, value, 0.0)

    @staticmethod
    def _unfold(points: Array) -> tuple[Array, Array, Array, Array]:
        """R_g, R = R_g exp(sinh p), z = 0.2 sinh t, and dR/dp dz/dt."""
        cylinder = points[:, 0] * np.exp(np.sinh(points[:, 1]))
        return points[:, 0], cylinder, 0.2 * np.sinh(points[:, 2]), cylinder * np.cosh(points[:, 1]) * 0.2 * np.cosh(points[:, 2])

    @cached_property
    def _edges(self) -> list[Array]:
        """Cell edges in (R_g, p, t) that cover the support above rounding; z > 0."""
        inner = 0.15 * self.hole
        widest = np.arcsinh(np.log(self.cut / inner))
        radius = inner + (self._outermost - inner) * np.linspace(0, 1, 61) ** 2
        return [radius, np.linspace(-1.6, widest, 61), np.linspace(0.0, np.arcsinh(self.cut / 0.2), 41)]

    @cached_property
    def _log_constant(self) -> float:
        return float(-np.log(2 * integrate(self._marginal, self._edges, order=3)))

    @cached_property
    def _marginals(self) -> CellRejection:
        return CellRejection(self._marginal, self._edges)

    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        out = np.empty((0, 6))
        while len(out) < n:
            out = np.concatenate([out, self._propose(n - len(out), rng)])
        return out

    def _propose(self, n: int, rng: np.random.Generator) -> Array:
        """``n`` draws less those beyond the cut."""
        radius, cylinder, z, _ = self._unfold(self._marginals.sample(n, rng))
        z = z * rng.choice([-1.0, 1.0], size=n)
        q_rr, q_rz, q_zz = self._quadratic(radius, cylinder, z)
        v_r = rng.standard_normal(n) / np.sqrt(q_rr - q_rz**2 / q_zz)
        v_z = rng.standard_normal(n) / np.sqrt(q_zz) - q_rz / q_zz * v_r
        v_phi = self.galaxy.circular(radius)[0] / cylinder
        phi = rng.uniform(0, 2 * np.pi, n)
        c, s = np.cos(phi), np.sin(phi)
        x = np.stack([cylinder * c, cylinder * s, z, v_r * c - v_phi * s, v_r * s + v_phi * c, v_z], axis=1)
        return x[self._supported(x)[0]]

    def describe(self) -> dict[str, Any]:
        facts = {"scale_length_kpc": self.scale_length, "sigma_r_km_s": self.sigma_r, "sigma_z_km_s": self.sigma_z}
        return {**super().describe(), **facts, "reference_kpc": self.reference, "sigma_length_kpc": self.sigma_length}
