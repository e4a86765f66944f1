r"""Many orbits at once in a rotating potential, by symplectic composition.

In the frame turning with Omega, with p the inertial velocity along the rotating axes, the Hamiltonian is H = A + B,

    A = p^2 / 2 - Omega . (x x p),        B = Phi(x).

Both flows are exact. A moves freely in the inertial frame and turns the axes: (x, p) -> R(-Omega h) (x + h p, p), where the rotation
commutes with p^2 / 2. B kicks: p -> p - h grad Phi. They are composed by the symmetric fourth-order scheme of six stages of Blanes and
Moan, coefficients a_i for A and b_i for B, so that the Jacobi energy E_J = p^2 / 2 - Omega . (x x p) + Phi does not drift. With Omega = 0
it is an ordinary leapfrog of high order, and for an axisymmetric potential the turning is without any error.

Splitting p^2 / 2 from Phi and ignoring the Coriolis term, as a plain leapfrog does in a rotating frame, is wrong; there is no such
choice here.

References
----------
Blanes & Moan 2002, J. Comput. Appl. Math. 142, 313, table 2 (S6, order 4).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import astropy.units as u
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..errors import DeepPotError, ExtrapolationWarning
from ..potential.blended import as_global
from ..units import ANGULAR_SPEED, LENGTH, POTENTIAL, TIME, VELOCITY, to_internal, vectors

Array = NDArray[np.float64]

_A = (0.0792036964311957, 0.353172906049774, -0.0420650803577195)
_B = (0.209515106613362, -0.143851773179818)
DRIFTS = (*_A, 1 - 2 * sum(_A), *_A[::-1])
KICKS = (*_B, 0.5 - sum(_B), 0.5 - sum(_B), *_B[::-1])
STEP = 2.0 * u.Myr
"""Longest step: in a barred Milky Way nine orbits in ten keep the Jacobi energy to 1e-5, the median to 1e-8."""
TOLERANCE = 5e-5
"""Largest relative change of the Jacobi energy; orbits above it are integrated again with a shorter step."""
ROUNDS = 3
SHRINK = 8.0
"""Shorter by this factor at most, per round."""


class RotatingPotential(Protocol):
    """What orbits need of a potential; `~deeppot_galactic.potential.blended.GlobalPotential` has it."""

    omega: Array
    x0: Array
    v0: Array

    def gradient(self, x: Array) -> Array:
        """grad Phi (N, 3) in (km/s)^2/kpc."""
        ...

    def potential(self, x: Array) -> Array:
        """Phi (N,) in (km/s)^2."""
        ...

    def in_training_volume(self, x: Array) -> NDArray[np.bool_]:
        """Whether there were stars at (N, 3)."""
        ...


@dataclass(frozen=True)
class Orbits:
    """Orbits of N stars at T times, about the axis of rotation, as seen in the bar's frame; it coincides with the inertial one at t = 0.

    Attributes
    ----------
    time : Quantity, shape (T,)
    pos, vel : Quantity, shape (T, N, 3)
        Positions along the rotating axes, and inertial velocities along the same axes.
    jacobi : Quantity, shape (T, N)
        Jacobi energy.
    left_volume : array of bool, shape (N,)
        Whether the orbit left the training volume, where the potential is extrapolated.
    omega : Quantity, shape (3,)
    step : Quantity, shape (N,)
        Step with which each orbit was integrated.
    """

    time: u.Quantity
    pos: u.Quantity
    vel: u.Quantity
    jacobi: u.Quantity
    left_volume: NDArray[np.bool_]
    omega: u.Quantity
    step: u.Quantity

    @property
    def jacobi_drift(self) -> Array:
        """Largest relative change of the Jacobi energy along each orbit, array of shape (N,), dimensionless."""
        return _drift(self.jacobi.value)

    def inertial(self) -> tuple[u.Quantity, u.Quantity]:
        """Positions and velocities along axes that do not turn.

        Returns
        -------
        pos, vel : Quantity, shape (T, N, 3)
            About the axis of rotation, in the units of the orbits.
        """
        angles = np.outer(to_internal(self.time, TIME, "time"), to_internal(self.omega, ANGULAR_SPEED, "omega"))
        turn = Rotation.from_rotvec(angles).as_matrix()
        pos, vel = (np.einsum("tij,tnj->tni", turn, part.value) * part.unit for part in (self.pos, self.vel))
        return pos, vel

    def to_gala(self, *, inertial: bool = True, units: Any = None) -> Any:
        """The orbits in gala.

        Parameters
        ----------
        inertial : bool
            Along axes that do not turn; else along the rotating axes, in a `ConstantRotatingFrame`.
        units : gala.units.UnitSystem, optional
            Of the frame; gala's ``galactic`` by default.

        Returns
        -------
        gala.dynamics.Orbit
            Of shape (T, N).
        """
        import gala.dynamics as gd
        import gala.potential as gp
        from gala.units import galactic

        units = units or galactic
        pos, vel = self.inertial() if inertial else (self.pos, self.vel)
        omega = self.omega.to(u.rad / units["time"], u.dimensionless_angles())
        frame = gp.StaticFrame(units) if inertial else gp.ConstantRotatingFrame(Omega=omega, units=units)
        return gd.Orbit(np.moveaxis(pos, -1, 0), np.moveaxis(vel, -1, 0), t=self.time.to(u.Myr), frame=frame)

    def to_galpy(self, *, inertial: bool = True, ro: float = 8.0, vo: float = 220.0) -> Any:
        """The orbits in galpy with their whole history, in its left-handed coordinates (x -> -x).

        Parameters
        ----------
        inertial : bool
            Along axes that do not turn; else along the rotating axes.
        ro, vo : float
            galpy's units [kpc, km/s].

        Returns
        -------
        galpy.orbit.Orbit
            Of N orbits at T times.
        """
        from galpy.orbit import Orbit

        pos, vel = self.inertial() if inertial else (self.pos, self.vel)
        mirror = np.array([-1.0, 1.0, 1.0])
        x, v = np.asarray(pos.to_value(LENGTH)) * mirror / ro, np.asarray(vel.to_value(VELOCITY)) * mirror / vo
        radius = np.hypot(x[..., 0], x[..., 1])
        v_R = (x[..., 0] * v[..., 0] + x[..., 1] * v[..., 1]) / radius
        v_T = (x[..., 0] * v[..., 1] - x[..., 1] * v[..., 0]) / radius
        rows = np.stack([radius, v_R, v_T, x[..., 2], v[..., 2], np.arctan2(x[..., 1], x[..., 0])], axis=-1)
        orbit = Orbit(rows[0], ro=ro, vo=vo)
        orbit.t, orbit.orbit = to_internal(self.time, TIME, "time") * vo / ro, np.ascontiguousarray(np.swapaxes(rows, 0, 1))
        orbit._integrate_t_asQuantity = False
        return orbit


def _steps(times: Array, step: float) -> list[tuple[int, float]]:
    """Number and length of the steps between outputs."""
    gaps = np.diff(times)
    if len(times) < 2 or not np.isfinite(times).all() or not (np.all(gaps > 0) or np.all(gaps < 0)):
        raise DeepPotError("times must be at least two, finite, and all increasing or all decreasing")
    counts = np.maximum(np.ceil(np.abs(gaps) / step - 1e-9).astype(int), 1)
    return [(int(n), float(gap / n)) for n, gap in zip(counts, gaps, strict=True)]


def integrate(
    potential: RotatingPotential, x: Array, p: Array, times: Array, step: float, progress: Callable[..., None] | None = None
) -> tuple[Array, Array]:
    """Array level: positions and momenta (T, N, 3) in kpc and km/s at ``times`` (T,) in kpc/(km/s), steps of at most ``step``."""
    x, p = x.copy(), p.copy()
    out_x, out_p = np.empty((len(times), *x.shape)), np.empty((len(times), *x.shape))
    out_x[0], out_p[0] = x, p
    plan = _steps(times, step)
    turns: dict[float, list[Array]] = {}
    for i, (count, h) in enumerate(plan):
        if h not in turns:
            turns[h] = [Rotation.from_rotvec(-a * h * potential.omega).as_matrix().T for a in (*DRIFTS, 2 * DRIFTS[0])]
        turn = turns[h]
        # the last drift of a step and the first of the next are one
        x, p = (x + DRIFTS[0] * h * p) @ turn[0], p @ turn[0]
        for n in range(count):
            for k, b in enumerate(KICKS):
                p -= b * h * potential.gradient(x)
                last = k == len(KICKS) - 1
                which = 7 if last and n < count - 1 else k + 1
                a = 2 * DRIFTS[0] if which == 7 else DRIFTS[k + 1]
                x, p = (x + a * h * p) @ turn[which], p @ turn[which]
        out_x[i + 1], out_p[i + 1] = x, p
        if progress is not None:
            progress("orbits", i + 1, len(plan), {})
    return out_x, out_p


def jacobi_energy(potential: RotatingPotential, x: Array, p: Array) -> Array:
    """E_J (N,) in (km/s)^2 of positions (N, 3) about the axis and inertial velocities (N, 3), in kpc and km/s.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    x : array (N, 3)
        Positions about the axis [kpc].
    p : array (N, 3)
        Inertial velocities along the rotating axes [km/s].

    Returns
    -------
    array (N,)
        km^2/s^2.
    """
    phi = potential.potential(x + potential.x0)
    return np.asarray(0.5 * np.einsum("ni,ni->n", p, p) - np.cross(x, p) @ potential.omega + phi)


def integrate_orbits(
    potential: Any,
    pos: u.Quantity,
    vel: u.Quantity,
    times: u.Quantity,
    *,
    step: u.Quantity = STEP,
    tolerance: float = TOLERANCE,
    progress: Callable[..., None] | None = None,
) -> Orbits:
    """Integrate orbits in the rotating potential.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential, or any `RotatingPotential`
        Exact or compiled; orbits are integrated with what is given, a model's exact potential among it.
    pos, vel : Quantity, shape (N, 3)
        Positions and velocities at the first of ``times``, in the catalogue's frame (not relative to the bar). The axes of the bar's frame
        coincide with them at time zero, so that the first time should be zero unless the bar has turned.
    times : Quantity, shape (T,)
        Output times, increasing or decreasing (backwards).
    step : Quantity
        Longest step.
    tolerance : float
        Orbits whose Jacobi energy changes by more (relative) are integrated again with a shorter step, the same along the whole
        orbit; infinite to keep ``step`` for all.
    progress : callable, optional
        ``progress(stage, done, total, values)``.

    Returns
    -------
    Orbits

    Raises
    ------
    DeepPotError
        If positions or velocities are not finite, the times not monotonic, or ``step`` or ``tolerance`` not positive.

    Warns
    -----
    ExtrapolationWarning
        If orbits leave the training volume; `Orbits.left_volume` says which.
    """
    potential = as_global(potential)
    x, v = vectors(pos, LENGTH, "pos"), vectors(vel, VELOCITY, "vel")
    if x.shape != v.shape or not (np.isfinite(x).all() and np.isfinite(v).all()):
        raise DeepPotError(f"positions {x.shape} and velocities {v.shape} must be finite and of the same shape (N, 3)")
    if not tolerance > 0:
        raise DeepPotError(f"the tolerance must be positive, found {tolerance}")
    at, h = to_internal(times, TIME, "times"), float(to_internal(step, TIME, "step"))
    if not h > 0:
        raise DeepPotError(f"the step must be positive, found {step}")
    x, p = x - potential.x0, v - potential.v0
    if at.ndim == 1 and len(at) and at[0] != 0:
        turn = Rotation.from_rotvec(-at[0] * potential.omega).as_matrix().T
        x, p = x @ turn, p @ turn
    about, at = _About(potential), np.atleast_1d(at)
    xs, ps = integrate(about, x, p, at, h, progress)
    energy = _energies(about, xs, ps)
    steps = np.full(len(x), h)
    for _ in range(ROUNDS):
        drift = _drift(energy)
        again = np.flatnonzero(drift > tolerance)
        if not len(again):
            break
        # the error of a fourth-order scheme falls as the fourth power of the step
        h *= np.clip(0.8 * (tolerance / drift.max()) ** 0.25, 1 / SHRINK, 0.5)
        steps[again] = h
        xs[:, again], ps[:, again] = integrate(about, x[again], p[again], at, h, progress)
        energy[:, again] = _energies(about, xs[:, again], ps[:, again])
    inside = potential.in_training_volume(xs.reshape(-1, 3) + potential.x0).reshape(xs.shape[:2])
    left = np.asarray(~inside.all(axis=0))
    if left.any():
        warnings.warn(f"{int(left.sum())} of {len(left)} orbits leave the training volume", ExtrapolationWarning, stacklevel=2)
    return Orbits(
        u.Quantity(at, TIME).to(u.Myr),
        u.Quantity(xs, LENGTH),
        u.Quantity(ps, VELOCITY),
        u.Quantity(energy, POTENTIAL),
        left,
        u.Quantity(potential.omega, ANGULAR_SPEED),
        u.Quantity(steps, TIME).to(u.Myr),
    )


def _energies(potential: RotatingPotential, xs: Array, ps: Array) -> Array:
    """Jacobi energies (T, N)."""
    return jacobi_energy(potential, xs.reshape(-1, 3), ps.reshape(-1, 3)).reshape(xs.shape[:2])


def _drift(energy: Array) -> Array:
    """Largest relative change (N,) of energies (T, N)."""
    return np.abs(energy - energy[0]).max(axis=0) / np.abs(energy[0])


class _About:
    """The potential about its axis of rotation."""

    def __init__(self, potential: RotatingPotential) -> None:
        self.omega, self._potential = np.asarray(potential.omega, np.float64), potential
        self._shift = potential.x0 if np.any(potential.x0) else None
        self.x0 = self.v0 = np.zeros(3)

    def gradient(self, x: Array) -> Array:
        return self._potential.gradient(x if self._shift is None else x + self._shift)

    def potential(self, x: Array) -> Array:
        return self._potential.potential(x if self._shift is None else x + self._shift)

    def in_training_volume(self, x: Array) -> NDArray[np.bool_]:
        return self._potential.in_training_volume(x if self._shift is None else x + self._shift)
