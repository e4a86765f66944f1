r"""The learned potential as a galpy `Potential`.

galpy is left-handed, with the Sun at x = +R_0: its coordinates are ours mirrored, X = -x, Y = y, Z = z, so that

    Phi_galpy(X, Y, Z) = Phi(-X, Y, Z),    Omega_galpy = -Omega,    phi_galpy = pi - phi,

and an orbit started from a SkyCoord in galpy meets the bar where the same SkyCoord meets it in astropy's galactocentric frame.
Lengths are in units of ``ro``, velocities of ``vo``, times of ro / vo; derivatives are with respect to (R, z, phi), e.g.

    d^2 Phi / dphi^2 = R^2 e_phi . H . e_phi - R e_R . grad Phi,    d^2 Phi / dR dphi = R e_R . H . e_phi + e_phi . grad Phi.

With ``inertial=True`` the potential rotates: it is evaluated at x_bar = R(-Omega t) x, which allows any axis of rotation; the bar frame
and the inertial frame coincide at t = 0. Otherwise it is static, as seen from the frame of the bar.

Galactocentric positions are about the rotation axis: x = x_galpy + x0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from galpy.potential import NonInertialFrameForce, Potential
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..arguments import array, instance
from ..errors import ExportError
from ..potential.blended import GlobalPotential
from ..units import LENGTH, VELOCITY, to_internal
from .compiled import with_backend

Array = NDArray[np.float64]

MIRROR = np.array([-1.0, 1.0, 1.0])
FAR = 1e12
"""Stands in for infinity, in kpc."""


class LearnedPotential(Potential):
    """A `GlobalPotential` in galpy (module docstring).

    Parameters
    ----------
    potential : GlobalPotential
        In the backend wanted; see `to_galpy`.
    inertial : bool
        Whether it rotates with its pattern speed.
    amp, ro, vo
        As in galpy.
    """

    def __init__(self, potential: GlobalPotential, *, inertial: bool = False, amp: float = 1.0, ro: Any = None, vo: Any = None) -> None:
        Potential.__init__(self, amp=amp, ro=_unit(ro, LENGTH, "ro"), vo=_unit(vo, VELOCITY, "vo"))
        self.potential, self.inertial = potential, bool(inertial)
        self.isNonAxi = not getattr(potential, "axisymmetric", False)
        self.hasC = self.hasC_dxdv = self.hasC_dens = False
        self._memory: tuple[Any, ...] | None = None

    @property
    def report(self) -> Any:
        """Force error of the compiled backend, None for the exact one."""
        return self.potential.report

    @property
    def omega(self) -> float:
        """Pattern speed about galpy's z axis, in units of vo / ro (mirrored: negative if ours is positive)."""
        return -float(self.potential.omega[2]) * self._ro / self._vo

    def OmegaP(self) -> float:
        """As galpy's own rotating potentials have it.

        Returns
        -------
        float
            In units of vo / ro; zero if static.
        """
        return self.omega if self.inertial else 0.0

    def _derivatives(self, R: Any, z: Any, phi: Any, t: Any, order: int) -> tuple[tuple[int, ...], Any]:
        """Phi, gradient and Hessian in the cylindrical frame (e_R, e_phi, e_z) and internal units; the last point is remembered."""
        # galpy passes phi=None to axisymmetric potentials
        phi, t = 0.0 if phi is None else phi, 0.0 if t is None else t
        scalar = all(np.ndim(value) == 0 for value in (R, z, phi, t))
        key = (float(R), float(z), float(phi), float(t), self._ro, self._vo) if scalar else None
        if key is not None and self._memory is not None and self._memory[0] == key and self._memory[1] >= order:
            return (), self._memory[2]
        R, z, phi, t = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (R, z, phi, t)))
        shape = R.shape
        R, z, phi, t = (value.ravel() for value in (R, z, phi, t))
        ro, vo = self._ro, self._vo
        c, s, zero, one = np.cos(phi), np.sin(phi), np.zeros_like(phi), np.ones_like(phi)
        with np.errstate(invalid="ignore"):
            x = np.column_stack([R * c, R * s, z]) * MIRROR * ro
        # rows are the unit vectors e_R, e_phi, e_z in the catalogue's axes
        basis = np.stack([np.stack([c, s, zero], 1), np.stack([-s, c, zero], 1), np.stack([zero, zero, one], 1)], 1) * MIRROR
        if self.inertial:
            turn = Rotation.from_rotvec(-np.outer(t * ro / vo, self.potential.omega)).as_matrix()
            x = np.einsum("nij,nj->ni", turn, x)
            basis = np.einsum("nij,nkj->nki", turn, basis)
        # infinity, for galpy's escape speeds: there everything vanishes
        far = ~np.isfinite(x).all(axis=1)
        x[far] = FAR
        value, grad, hess = self.potential.evaluate(x + self.potential.x0, order)
        if far.any():
            for part in (value, grad, hess):
                if part is not None:
                    part[far] = 0.0
        value = value / vo**2
        if grad is not None:
            grad = np.einsum("nki,ni->kn", basis, grad) * ro / vo**2
        if hess is not None:
            hess = np.einsum("nki,nij,nlj->kln", basis, hess, basis) * ro**2 / vo**2
        result = (value, grad, hess)
        if key is not None:
            result = tuple(None if part is None else part[..., 0] for part in result)
            self._memory = (key, order, result)
        return shape, result

    def _reshape(self, value: Any, shape: tuple[int, ...]) -> Any:
        return np.reshape(value, shape) if shape else value

    def _evaluate(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (value, _, _) = self._derivatives(R, z, phi, t, 0)
        return self._reshape(value, shape)

    def _Rforce(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, grad, _) = self._derivatives(R, z, phi, t, 1)
        return self._reshape(-grad[0], shape)

    def _zforce(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, grad, _) = self._derivatives(R, z, phi, t, 1)
        return self._reshape(-grad[2], shape)

    def _phitorque(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, grad, _) = self._derivatives(R, z, phi, t, 1)
        return -R * self._reshape(grad[1], shape)

    def _R2deriv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, _, hess) = self._derivatives(R, z, phi, t, 2)
        return self._reshape(hess[0, 0], shape)

    def _z2deriv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, _, hess) = self._derivatives(R, z, phi, t, 2)
        return self._reshape(hess[2, 2], shape)

    def _Rzderiv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, _, hess) = self._derivatives(R, z, phi, t, 2)
        return self._reshape(hess[0, 2], shape)

    def _phi2deriv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, grad, hess) = self._derivatives(R, z, phi, t, 2)
        return R**2 * self._reshape(hess[1, 1], shape) - R * self._reshape(grad[0], shape)

    def _Rphideriv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, grad, hess) = self._derivatives(R, z, phi, t, 2)
        return R * self._reshape(hess[0, 1], shape) + self._reshape(grad[1], shape)

    def _phizderiv(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, _, hess) = self._derivatives(R, z, phi, t, 2)
        return R * self._reshape(hess[1, 2], shape)

    def _dens(self, R: Any, z: Any, phi: Any = 0.0, t: Any = 0.0) -> Any:
        shape, (_, _, hess) = self._derivatives(R, z, phi, t, 2)
        return self._reshape(hess[0, 0] + hess[1, 1] + hess[2, 2], shape) / (4 * np.pi)


def _unit(value: Any, unit: Any, name: str) -> float | None:
    """galpy's ``ro`` [kpc] or ``vo`` [km/s] from a Quantity or a number; None stays."""
    if value is None:
        return None
    number = to_internal(value, unit, name) if hasattr(value, "unit") else array(value, name, ExportError)
    if number.ndim or not (np.isfinite(number) and number > 0):
        raise ExportError(f"{name} must be one positive number [{unit}], found {value}")
    return float(number)


def to_galpy(potential: GlobalPotential, *, ro: Any = 8.0, vo: Any = 220.0, backend: str = "exact", inertial: bool = False) -> Any:
    """Export to galpy.

    Parameters
    ----------
    potential : GlobalPotential
        What to export.
    ro, vo : float or Quantity
        galpy's units [kpc, km/s].
    backend : {"exact", "compiled", "expansion"}
        As learned; a quintic spline; or Miyamoto-Nagai discs with a multipole expansion, which galpy integrates in C
        (`deeppot_galactic.interop.multipole`). The last two carry a ``report`` of their force error.
    inertial : bool
        Rotate with the pattern speed (to integrate orbits as seen from outside), instead of standing still in the bar's frame.

    Returns
    -------
    galpy.potential.Potential

    Raises
    ------
    ExportError
        For an unknown backend, or ``ro`` or ``vo`` that are not positive.
    UnitsError
        For ``ro`` or ``vo`` in another unit.

    Notes
    -----
    galpy's default integrators fall back to a slow Python one: use ``method="dop853"`` or ``"odeint"``, or `integrate_orbits`.
    """
    if backend == "expansion":
        from .multipole import to_galpy_expansion

        return to_galpy_expansion(potential, ro=ro, vo=vo, inertial=inertial)
    return LearnedPotential(with_backend(potential, backend), inertial=inertial, ro=ro, vo=vo)


def bar_frame(potential: LearnedPotential) -> Any:
    """The static potential with the centrifugal and Coriolis forces of the bar's frame, for orbits in that frame.

    Initial velocities are relative to the turning axes, v - Omega x x: on its own the static potential is a bar that stands still.

    Parameters
    ----------
    potential : LearnedPotential
        From `to_galpy` without ``inertial``; Omega must be along z.

    Returns
    -------
    galpy.potential.CompositePotential
        For ``Orbit.integrate`` with ``method="dop853"``.

    Raises
    ------
    ExportError
        If the potential is not from `to_galpy`, turns already, or about a tilted axis.
    """
    instance(potential, LearnedPotential, "potential", ExportError)
    omega = potential.potential.omega
    if potential.inertial:
        raise ExportError("this potential turns in the inertial frame: export it without inertial=True for the bar's frame")
    if np.hypot(*omega[:2]) > 1e-6 * abs(omega[2]):
        raise ExportError(f"the bar's frame in galpy turns about the z axis only, Omega = {omega}")
    total: Any = potential + NonInertialFrameForce(Omega=potential.omega, ro=potential._ro, vo=potential._vo)
    return total
