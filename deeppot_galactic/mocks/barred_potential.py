"""A realistic rotating barred galaxy: Miyamoto-Nagai disc + NFW halo + Long-Murali bar, with pattern speed Omega.

    Phi = -G M_d / |(R, a_d + sqrt(z^2 + b_d^2))| - G M_h ln(1 + r / r_s) / r + Phi_bar,     Phi_eff = Phi - Omega^2 R^2 / 2

The bar lies along the x axis. `BarredPotential.lagrange_radius` is the distance of L1, L2: the saddle points of Phi_eff on the long
axis, where the level surface of Phi_eff that closes around the centre first opens. The defaults make a corotation radius of 5.9 kpc and a
circular speed near 220 km/s.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from scipy.optimize import brentq

from ..errors import DeepPotError
from ..potential.analytic import NFW, AnalyticPotential, LongMurali, MiyamotoNagai
from .base import Array, finite, positive


@dataclass(frozen=True)
class BarredPotential:
    """Parameters in Msun, kpc and km/s/kpc.

    Attributes
    ----------
    disc_mass, disc_length, disc_height : float
        Miyamoto-Nagai disc.
    halo_mass, halo_scale : float
        NFW: mass scale 4 pi rho_0 r_s^3, and r_s.
    bar_mass, bar_length, bar_width, bar_height : float
        Long-Murali bar: half length of the needle, and the two softening lengths.
    omega : float
        Pattern speed, positive counter-clockwise.

    Raises
    ------
    DeepPotError
        For a negative mass, a length that is not positive, or anything but finite numbers.
    """

    disc_mass: float = 4.5e10
    disc_length: float = 3.0
    disc_height: float = 0.28
    halo_mass: float = 5.8e11
    halo_scale: float = 16.0
    bar_mass: float = 1.6e10
    bar_length: float = 4.0
    bar_width: float = 0.65
    bar_height: float = 0.40
    omega: float = 39.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = (finite if entry.name == "omega" or entry.name.endswith("mass") else positive)(getattr(self, entry.name), entry.name)
            if entry.name.endswith("mass") and value < 0.0:
                raise DeepPotError(f"{entry.name} must not be negative, got {value}")

    @cached_property
    def model(self) -> AnalyticPotential:
        """The sum of the three components, bar along x; positions in kpc, Phi in (km/s)^2."""
        return (
            MiyamotoNagai(self.disc_mass, self.disc_length, self.disc_height)
            + NFW(self.halo_mass, self.halo_scale)
            + LongMurali(self.bar_mass, self.bar_length, self.bar_width, self.bar_height)
        )

    def evaluate(self, x: Array, order: int = 1) -> tuple[Array, Any, Any]:
        """Phi and its derivatives up to an order.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].
        order : {0, 1, 2}
            Derivatives beyond it are None.

        Returns
        -------
        potential : array, shape (N,)
            (km/s)^2.
        gradient : array, shape (N, 3), or None
            (km/s)^2/kpc.
        hessian : array, shape (N, 3, 3), or None
            (km/s)^2/kpc^2.
        """
        return self.model.evaluate(x, order)

    def effective(self, x: Array) -> Array:
        """Phi_eff in the frame of the bar.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """
        return self.evaluate(x, 0)[0] - 0.5 * self.omega**2 * (x[:, 0] ** 2 + x[:, 1] ** 2)

    @cached_property
    def lagrange_radius(self) -> float:
        """Distance of L1 and L2 from the centre [kpc].

        Raises
        ------
        DeepPotError
            If the effective potential has no saddle on the long axis within 100 kpc, or if its level surface through L1 does not
            close around the centre.
        """

        def slope(x: float) -> float:
            return float(self.evaluate(np.array([[x, 0.0, 0.0]]), 1)[1][0, 0]) - self.omega**2 * x

        grid = np.geomspace(0.5 * self.bar_length, 100.0, 200)
        values = np.array([slope(x) for x in grid])
        crossing = np.flatnonzero((values[:-1] > 0) & (values[1:] <= 0))
        if len(crossing) == 0:
            raise DeepPotError(f"no corotation within 100 kpc for omega = {self.omega} km/s/kpc; choose a larger omega")
        radius = float(np.asarray(brentq(slope, grid[crossing[0]], grid[crossing[0] + 1], xtol=1e-12)))
        phi = np.linspace(0, 2 * np.pi, 721)
        ring = self.effective(radius * np.stack([np.cos(phi), np.sin(phi), 0 * phi], axis=1))
        if ring.min() < ring[0] - 1e-9 * abs(ring[0]):
            raise DeepPotError("the level surface of the effective potential through L1 is open; the bar is not along its long axis")
        return radius

    @cached_property
    def lagrange_energy(self) -> float:
        """Jacobi's integral of a star at rest at L1 in the rotating frame [(km/s)^2]."""
        return float(self.effective(np.array([[self.lagrange_radius, 0.0, 0.0]]))[0])

    def to_dict(self) -> dict[str, float]:
        """The parameters, ready for JSON.

        Returns
        -------
        dict of float
            By attribute, in Msun, kpc and km/s/kpc.
        """
        return asdict(self)
