"""The m = 0 part of a potential: the mean over azimuth about the rotation axis.

    Phi_0(R, z) = (1 / K) sum_k Phi(R, phi_k, z),        phi_k = 2 pi k / K,

and the same for dPhi/dR, dPhi/dz and the second derivatives in (R, z), from which the gradient and Hessian of Phi_0 follow:

    grad = Phi_R e_R + Phi_z e_z,
    H = Phi_RR e_R e_R + (Phi_R / R) e_phi e_phi + Phi_Rz (e_R e_z + e_z e_R) + Phi_zz e_z e_z.

For a potential learned in a ball away from the centre most of each circle lies in the analytic continuation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FitError
from ..units import G
from .analytic import Evaluation
from .blended import GlobalPotential, as_global

Array = NDArray[np.float64]

AZIMUTHS = 32
"""K: exact for all harmonics below it."""
CHUNK = 1 << 12


class AxisymmetricPotential:
    """The m = 0 part of a `GlobalPotential` (module docstring); it exports like one, and does not rotate.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    azimuths : int
        K, at least 4.

    Raises
    ------
    FitError
        For fewer azimuths.
    """

    axisymmetric = True

    def __init__(self, potential: GlobalPotential, *, azimuths: int = AZIMUTHS) -> None:
        if azimuths < 4:
            raise FitError(f"the mean over azimuth needs at least 4 directions, found {azimuths}")
        potential = as_global(potential)
        self.source, self.volume = potential, potential.volume
        self.omega = np.zeros(3)
        self.x0, self.v0 = potential.x0, potential.v0
        angles = 2 * np.pi * np.arange(azimuths) / azimuths
        self._c, self._s = np.cos(angles), np.sin(angles)

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        """Phi_0 and its derivatives up to an order.

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
        x = np.asarray(x, np.float64)
        if len(x) > CHUNK:
            parts = [self.evaluate(x[i : i + CHUNK], order) for i in range(0, len(x), CHUNK)]
            phi, grad, hess = (None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True))
            return np.asarray(phi), grad, hess
        d = x - self.x0
        radius = np.hypot(d[:, 0], d[:, 1])
        c, s = self._c, self._s
        circle = np.stack([radius[:, None] * c, radius[:, None] * s, np.broadcast_to(d[:, 2:], (len(d), len(c)))], axis=-1)
        shape = circle.shape[:2]
        phi, grad, hess = self.source.evaluate(circle.reshape(-1, 3) + self.x0, order)
        value = phi.reshape(shape).mean(axis=1)
        if grad is None:
            return value, None, None
        safe = np.maximum(radius, 1e-10)
        direction = np.stack([np.where(radius > 1e-10, d[:, 0] / safe, 1.0), np.where(radius > 1e-10, d[:, 1] / safe, 0.0)], axis=1)
        grad = grad.reshape(*shape, 3)
        slope_R = (grad[..., 0] * c + grad[..., 1] * s).mean(axis=1)
        mean_grad = np.column_stack([slope_R[:, None] * direction, grad[..., 2].mean(axis=1)])
        if hess is None:
            return value, mean_grad, None
        hess = hess.reshape(*shape, 3, 3)
        rr = (hess[..., 0, 0] * c**2 + 2 * hess[..., 0, 1] * c * s + hess[..., 1, 1] * s**2).mean(axis=1)
        rz = (hess[..., 0, 2] * c + hess[..., 1, 2] * s).mean(axis=1)
        tangential = np.where(radius > 1e-6, slope_R / np.maximum(radius, 1e-6), rr)
        e_R, e_phi = np.pad(direction, ((0, 0), (0, 1))), np.column_stack([-direction[:, 1], direction[:, 0], np.zeros(len(d))])
        mean = rr[:, None, None] * e_R[:, :, None] * e_R[:, None, :] + tangential[:, None, None] * e_phi[:, :, None] * e_phi[:, None, :]
        mean[:, :, 2] += rz[:, None] * e_R
        mean[:, 2, :] += rz[:, None] * e_R
        mean[:, 2, 2] += hess[..., 2, 2].mean(axis=1)
        return value, mean_grad, mean

    def potential(self, x: ArrayLike) -> Array:
        """Phi_0.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """
        return self.evaluate(x, 0)[0]

    def gradient(self, x: ArrayLike) -> Array:
        """grad Phi_0.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3)
            (km/s)^2/kpc.
        """
        return self.evaluate(x, 1)[1]

    def hessian(self, x: ArrayLike) -> Array:
        """Second derivatives of Phi_0.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N, 3, 3)
            (km/s)^2/kpc^2.
        """
        return self.evaluate(x, 2)[2]

    def density(self, x: ArrayLike) -> Array:
        """lap Phi_0 / (4 pi G).

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
            Msun/kpc^3.
        """
        return np.trace(self.hessian(x), axis1=1, axis2=2) / (4 * np.pi * G)

    def in_training_volume(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Whether there were stars.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array of bool, shape (N,)

        Raises
        ------
        VolumeError
            If ``x`` has another shape.
        """
        return self.source.in_training_volume(x)

    @property
    def report(self) -> Any:
        """Force error of a compiled source, None for an exact one."""
        return self.source.report


def axisymmetrize(potential: GlobalPotential, *, azimuths: int = AZIMUTHS) -> AxisymmetricPotential:
    """The m = 0 part of a potential, for tools that need an axisymmetric one (circular frequencies, actions).

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    azimuths : int
        Over which the mean is taken.

    Returns
    -------
    AxisymmetricPotential
        kpc, km/s, Msun.
    """
    return AxisymmetricPotential(potential, azimuths=azimuths)
