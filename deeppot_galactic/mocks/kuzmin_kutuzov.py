"""Staeckel potential of Kuzmin-Kutuzov spheroids with a common focal distance: three exact integrals in closed form.

For components j with semi-axes a_j > c_j and one focal distance Delta^2 = a_j^2 - c_j^2 (Batsleer & Dejonghe 1994),

    Phi = -sum_j G M_j / D_j,   D_j^2 = R^2 + z^2 + a_j^2 + c_j^2 + 2 S_j,   S_j^2 = a_j^2 c_j^2 + c_j^2 R^2 + a_j^2 z^2
        = -(F(lambda) - F(nu)) / (lambda - nu),    F(tau) = sum_j G M_j sqrt(tau + c_j^2 - c^2),

where lambda >= a^2 >= nu >= c^2 are the spheroidal coordinates of the flattest component (a, c): the roots of
R^2 / (tau - a^2) + z^2 / (tau - c^2) = 1. A thin component (small c) is nearly Kuzmin's disc, a thick one nearly the isochrone sphere.
The integrals of motion are E, L_z and (de Zeeuw 1985; Dejonghe & de Zeeuw 1988)

    I_3 = (L_x^2 + L_y^2 + Delta^2 v_z^2) / 2 + X,   X = F(nu) - F(c^2) + (nu - c^2) Phi
                                                       = (nu - c^2) (sum_j G M_j / (sqrt(nu + c_j^2 - c^2) + c_j) + Phi),

zero for motion in the plane and positive otherwise; the second form of X has no cancellation. nu - c^2 = Delta^2 z^2 / (lambda - c^2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DeepPotError
from ..units import G
from .base import Array, positive


class KuzminKutuzov:
    """Sum of Kuzmin-Kutuzov spheroids with one focal distance.

    Parameters
    ----------
    masses : sequence of float
        M_j in Msun.
    heights : sequence of float
        c_j in kpc, the smallest first.
    focal : float
        Delta in kpc.

    Raises
    ------
    DeepPotError
        If there are not as many heights as masses, the smallest is not the first, or a number is not positive.
    """

    def __init__(self, *, masses: Sequence[float] = (8e10, 6e11), heights: Sequence[float] = (0.3, 15.0), focal: float = 3.0) -> None:
        if len(masses) != len(heights) or not len(masses):
            raise DeepPotError(f"masses and heights need the same length, got {len(masses)} and {len(heights)}")
        self.gm = np.array([G * positive(m, "each of masses") for m in masses])
        self.c = np.array([positive(h, "each of heights") for h in heights])
        if self.c.argmin() != 0:
            raise DeepPotError("heights must start with the smallest one: it defines the coordinates")
        self.focal = positive(focal, "focal")
        self.a = np.sqrt(self.c**2 + self.focal**2)

    def _terms(self, r2: Array, z2: Array) -> tuple[Array, Array]:
        """S_j and D_j, each of shape (J, N)."""
        a2, c2 = self.a[:, None] ** 2, self.c[:, None] ** 2
        s = np.sqrt(a2 * c2 + c2 * r2 + a2 * z2)
        return s, np.sqrt(r2 + z2 + a2 + c2 + 2 * s)

    def potential(self, pos: Array) -> Array:
        """Phi.

        Parameters
        ----------
        pos : array, shape (N, 3) or (N, 6)
            Positions [kpc] in the first three columns.

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """
        _, d = self._terms(pos[:, 0] ** 2 + pos[:, 1] ** 2, pos[:, 2] ** 2)
        return -np.sum(self.gm[:, None] / d, axis=0)

    def gradient(self, pos: Array) -> Array:
        """grad Phi.

        Parameters
        ----------
        pos : array, shape (N, 3) or (N, 6)
            Positions [kpc] in the first three columns.

        Returns
        -------
        array, shape (N, 3)
            (km/s)^2/kpc.
        """
        s, d = self._terms(pos[:, 0] ** 2 + pos[:, 1] ** 2, pos[:, 2] ** 2)
        weight = self.gm[:, None] / d**3
        in_plane = np.sum(weight * (1 + self.c[:, None] ** 2 / s), axis=0)
        vertical = np.sum(weight * (1 + self.a[:, None] ** 2 / s), axis=0)
        return pos[:, :3] * np.stack([in_plane, in_plane, vertical], axis=1)

    def circular(self, radius: Array) -> tuple[Array, Array, Array]:
        """Circular orbits in the plane.

        Parameters
        ----------
        radius : array, any shape
            R [kpc].

        Returns
        -------
        momentum : array, like ``radius``
            L_c [kpc km/s].
        slope : array, like ``radius``
            dL_c/dR [km/s].
        energy : array, like ``radius``
            E_c [(km/s)^2].
        """
        r2 = np.asarray(radius, dtype=np.float64).ravel() ** 2
        s, d = self._terms(r2, np.zeros_like(r2))
        c2, gm = self.c[:, None] ** 2, self.gm[:, None]
        omega2 = np.sum(gm / d**3 * (1 + c2 / s), axis=0)  # (dPhi/dR)/R
        d_omega2 = np.sum(gm * (-3 / d**5 * (1 + c2 / s) ** 2 - c2**2 / (d * s) ** 3), axis=0)  # its derivative in R, divided by R
        momentum = r2 * np.sqrt(omega2)
        slope = np.sqrt(r2) * (2 * np.sqrt(omega2) + 0.5 * r2 * d_omega2 / np.sqrt(omega2))
        energy = -np.sum(gm / d, axis=0) + 0.5 * r2 * omega2
        return momentum.reshape(np.shape(radius)), slope.reshape(np.shape(radius)), energy.reshape(np.shape(radius))

    def _spheroidal(self, pos: Array) -> tuple[Array, Array, Array, Array]:
        """nu - c^2 (N,), a^2 - nu (N,), lambda - a^2 (N,) and lambda - nu (N,)."""
        a2, c2 = self.a[0] ** 2, self.c[0] ** 2
        r2, z2 = pos[:, 0] ** 2 + pos[:, 1] ** 2, pos[:, 2] ** 2
        total = r2 + z2 - self.focal**2  # (lambda - a^2) + (nu - a^2)
        difference = np.sqrt(total**2 + 4 * self.focal**2 * r2)
        outer = np.where(total > 0, 0.5 * (total + difference), 2 * self.focal**2 * r2 / np.maximum(difference - total, 1e-300))
        above = self.focal**2 * z2 / (outer + a2 - c2)
        return above, self.focal**2 - above, outer, difference

    def _vertical(self, pos: Array, above: Array) -> tuple[Array, Array]:
        """F'(nu) + Phi, and X / (nu - c^2), each (N,)."""
        phi = self.potential(pos)
        root = np.sqrt(above + self.c[:, None] ** 2)
        first = np.sum(self.gm[:, None] / (2 * root), axis=0) + phi
        return first, np.sum(self.gm[:, None] / (root + self.c[:, None]), axis=0) + phi

    def height_energy(self, pos: Array) -> Array:
        """X, the part of I_3 that depends on position only.

        Parameters
        ----------
        pos : array, shape (N, 3) or (N, 6)
            Positions [kpc] in the first three columns.

        Returns
        -------
        array, shape (N,)
            kpc^2 (km/s)^2.
        """
        above = self._spheroidal(pos)[0]
        return above * self._vertical(pos, above)[1]

    def third_integral(self, x: Array) -> tuple[Array, Array]:
        """I_3 and its gradient.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space [kpc, km/s].

        Returns
        -------
        value : array, shape (N,)
            kpc^2 (km/s)^2.
        gradient : array, shape (N, 6)
            kpc (km/s)^2 for the first three columns, kpc^2 km/s for the last three.
        """
        pos, (px, py, pz), (vx, vy, vz) = x[:, :3], x[:, :3].T, x[:, 3:].T
        lx, ly = py * vz - pz * vy, pz * vx - px * vz
        above, below, outer, difference = self._spheroidal(pos)
        first, mean = self._vertical(pos, above)
        value = 0.5 * (lx**2 + ly**2 + (self.focal * vz) ** 2) + above * mean
        # grad nu = 2 (-x (nu - c^2), -y (nu - c^2), z (a^2 - nu)) / (lambda - nu); at the foci F'(nu) + Phi vanishes with lambda - nu
        scale = 2 * first / np.maximum(difference, 1e-300)
        grad = np.empty((len(x), 6))
        grad[:, :3] = scale[:, None] * np.stack([-px * above, -py * above, pz * below], axis=1) + above[:, None] * self.gradient(pos)
        grad[:, 0] -= vz * ly
        grad[:, 1] += vz * lx
        grad[:, 2] += vx * ly - vy * lx
        grad[:, 3] = pz * ly
        grad[:, 4] = -pz * lx
        grad[:, 5] = py * lx - px * ly + self.focal**2 * vz
        return value, grad
