r"""The effective potential of a rotating bar and its stationary points.

    Phi_eff = Phi - |Omega x x|^2 / 2

In the bar's frame a star at rest where grad Phi_eff = 0 stays there: a minimum at the centre (L3), saddles at the ends of the bar (L1,
L2), maxima on its short axis (L4, L5). Small displacements xi obey

    d^2 xi / dt^2 = -H_eff xi - 2 Omega x d xi / dt,     xi ~ exp(lambda t);

a point is stable if no eigenvalue lambda of this linear system has a positive real part: maxima can be, thanks to the Coriolis force.

References
----------
Binney & Tremaine 2008, Galactic Dynamics, section 3.3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..errors import DeepPotError
from ..potential.blended import GlobalPotential, as_global
from ..units import LENGTH, POTENTIAL, radians, vectors
from .resonances import circular_frequencies

Array = NDArray[np.float64]

NEWTON_STEPS = 60
GROWTH = 1e-3
"""Growth rates below this fraction of Omega count as zero."""


def effective(potential: GlobalPotential, x: Array, order: int = 2) -> tuple[Array, Any, Any]:
    """Phi_eff (N,), its gradient (N, 3) and Hessian (N, 3, 3) at points (N, 3) about the axis, in kpc and km/s."""
    phi, grad, hess = potential.evaluate(x + potential.x0, order)
    omega = potential.omega
    # |Omega x x|^2 = x . P x with P = Omega^2 - Omega Omega^T
    centrifugal = omega @ omega * np.eye(3) - np.outer(omega, omega)
    push = x @ centrifugal
    phi = phi - 0.5 * np.einsum("ni,ni->n", x, push)
    return phi, None if grad is None else grad - push, None if hess is None else hess - centrifugal


def effective_potential(potential: Any, pos: u.Quantity) -> u.Quantity:
    """Phi_eff of a model or potential, along the bar's axes.

    Parameters
    ----------
    potential : PotentialModel or GlobalPotential
        With its pattern speed.
    pos : Quantity, shape (N, 3)
        Positions.

    Returns
    -------
    Quantity, shape (N,)
        km^2/s^2.
    """
    potential = as_global(potential)
    return u.Quantity(effective(potential, vectors(pos, LENGTH, "pos") - potential.x0, 0)[0], POTENTIAL)


@dataclass(frozen=True)
class LagrangePoint:
    """A stationary point of the effective potential.

    Attributes
    ----------
    name : str
        L1 ... L5; "saddle", "maximum" or "minimum" for any more.
    kind : {"minimum", "saddle", "maximum"}
        Of Phi_eff in the plane.
    position : tuple of float
        In kpc, about the axis of rotation, along the bar's axes.
    energy : float
        Phi_eff in (km/s)^2, the Jacobi energy of a star at rest there.
    stable : bool
        Linear stability, vertical motion included.
    growth_rate : float
        Largest real part of lambda in km/s/kpc.
    in_training_volume : bool
    """

    name: str
    kind: str
    position: tuple[float, float, float]
    energy: float
    stable: bool
    growth_rate: float
    in_training_volume: bool

    @property
    def radius(self) -> float:
        """Distance from the axis [kpc]."""
        return float(np.hypot(self.position[0], self.position[1]))


def _newton(potential: GlobalPotential, x: Array, reach: float) -> Array:
    """Newton's method from every row of x at once; rows that do not converge within ``reach`` are dropped."""
    scale = reach * float(potential.omega @ potential.omega)
    for _ in range(NEWTON_STEPS):
        _, grad, hess = effective(potential, x)
        step = np.einsum("nij,nj->ni", np.linalg.pinv(hess), -grad)
        length = np.linalg.norm(step, axis=1, keepdims=True)
        x = x + step * np.minimum(1.0, 0.05 * reach / np.maximum(length, 1e-300))
        x = np.where(np.linalg.norm(x, axis=1, keepdims=True) > 2 * reach, np.nan, x)
        x = x[np.isfinite(x).all(axis=1)]
        if not len(x):
            return x
    good = np.linalg.norm(effective(potential, x, 1)[1], axis=1) < 1e-8 * scale
    return x[good & (np.hypot(x[:, 0], x[:, 1]) < reach)]


def growth_rate(potential: GlobalPotential, x: Array) -> float:
    """Largest real part of the eigenvalues of small displacements about a stationary point (3,), in km/s/kpc."""
    hess = effective(potential, x[None])[2][0]
    wx, wy, wz = potential.omega
    spin = np.array([[0, -wz, wy], [wz, 0, -wx], [-wy, wx, 0]])
    system = np.block([[np.zeros((3, 3)), np.eye(3)], [-hess, -2 * spin]])
    return float(np.linalg.eigvals(system).real.max())


def lagrange_points(potential: Any, *, bar_angle: Any = None) -> list[LagrangePoint]:
    """All stationary points of the effective potential within one and a half corotation radii.

    Parameters
    ----------
    potential : PotentialModel or GlobalPotential
        With a pattern speed.
    bar_angle : float or Quantity, optional
        Azimuth of the bar, in rad if bare: L1 is the saddle nearest to it, L4 the maximum a quarter turn ahead. By default that of the
        first saddle.

    Returns
    -------
    list of LagrangePoint
        Named first, in order of name.

    Raises
    ------
    DeepPotError
        If there is no corotation radius.
    UnitsError
        If ``bar_angle`` is no angle.
    """
    potential = as_global(potential)
    bar_angle = None if bar_angle is None else radians(bar_angle, "bar_angle")
    rate = abs(float(potential.omega[2]))
    radii = np.geomspace(0.05, 4 * (potential.volume.size + float(np.linalg.norm(potential.volume.center))), 200)
    above = np.flatnonzero(circular_frequencies(potential, radii)[0] > rate)
    if rate == 0 or not len(above):
        raise DeepPotError(f"no corotation radius for a pattern speed of {rate} km/s/kpc: there are no Lagrange points")
    corotation = float(radii[above[-1]])
    r, angle = np.meshgrid(corotation * np.array([0.6, 0.8, 0.9, 1.0, 1.1, 1.25]), 2 * np.pi * np.arange(32) / 32)
    ring = np.column_stack([(r * np.cos(angle)).ravel(), (r * np.sin(angle)).ravel(), 0 * r.ravel()])
    starts = np.concatenate([ring, 0.02 * corotation * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 1, 0.0]])])
    found: list[Array] = []
    for x in _newton(potential, starts, 1.5 * corotation):
        if all(np.linalg.norm(x - other) > 1e-3 * corotation for other in found):
            found.append(x)
    return _name([_classify(potential, x) for x in found], bar_angle)


def _classify(potential: GlobalPotential, x: Array) -> LagrangePoint:
    phi, _, hess = effective(potential, x[None])
    signs = np.linalg.eigvalsh(hess[0, :2, :2]) > 0
    kind = "minimum" if signs.all() else "saddle" if signs.any() else "maximum"
    growth = growth_rate(potential, x)
    stable = growth < GROWTH * float(np.linalg.norm(potential.omega))
    inside = bool(potential.in_training_volume(x[None] + potential.x0)[0])
    place = (float(x[0]), float(x[1]), float(x[2]))
    return LagrangePoint(kind, kind, place, float(phi[0]), bool(stable), max(growth, 0.0), inside)


def _name(points: list[LagrangePoint], bar_angle: float | None) -> list[LagrangePoint]:
    """L3 is the minimum nearest to the axis, L1 and L2 the outermost saddles along the bar, L4 and L5 the maxima across it."""
    azimuths = {id(p): float(np.arctan2(p.position[1], p.position[0])) for p in points}
    saddles = sorted((p for p in points if p.kind == "saddle"), key=lambda p: p.radius, reverse=True)
    if bar_angle is None:
        bar_angle = azimuths[id(saddles[0])] if saddles else 0.0

    def ahead(point: LagrangePoint) -> float:
        return float((azimuths[id(point)] - bar_angle + np.pi) % (2 * np.pi) - np.pi)

    names: dict[int, str] = {}
    minima = sorted((p for p in points if p.kind == "minimum"), key=lambda p: p.radius)
    names |= {id(p): "L3" for p in minima[:1]}
    names |= {id(p): name for p, name in zip(sorted(saddles[:2], key=lambda p: abs(ahead(p))), ("L1", "L2"), strict=False)}
    maxima = sorted((p for p in points if p.kind == "maximum"), key=lambda p: abs(abs(ahead(p)) - np.pi / 2))[:2]
    names |= {id(p): name for p, name in zip(sorted(maxima, key=ahead, reverse=True), ("L4", "L5"), strict=False)}
    renamed = [LagrangePoint(names.get(id(p), p.kind), *(getattr(p, f) for f in list(p.__dataclass_fields__)[1:])) for p in points]
    return sorted(renamed, key=lambda p: (not p.name.startswith("L"), p.name))
