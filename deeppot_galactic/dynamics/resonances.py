r"""Frequencies of nearly circular orbits, and where they resonate with the bar.

In the axisymmetrised potential, in the plane z = 0,

    Omega^2 = Phi_R / R,     kappa^2 = Phi_RR + 3 Phi_R / R,     nu^2 = Phi_zz,

and a pattern of m-fold symmetry turning with Omega_p resonates where

    Omega = Omega_p (corotation),     Omega - kappa / m = Omega_p (inner),     Omega + kappa / m = Omega_p (outer Lindblad resonance).

Omega - kappa / 2 has a maximum in most galaxies, so there may be two inner Lindblad resonances, or none: radii are scanned and every
crossing is reported. The sense of rotation is left out (a real Milky Way turns clockwise in a right-handed frame).

Errors: dR = dOmega_p / |dF/dR| from the pattern speed, and the standard deviation over an ensemble of potentials (`fit_ensemble`), added
in quadrature. With an error of the pattern speed given the members are evaluated at one pattern speed, without it each at its own, so
that nothing is counted twice.

References
----------
Binney & Tremaine 2008, Galactic Dynamics, sections 3.2.3 and 3.3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import root_scalar

from ..arguments import whole
from ..errors import DeepPotError
from ..potential.axisymmetric import AxisymmetricPotential
from ..potential.blended import as_global
from ..units import ANGULAR_SPEED, LENGTH, VELOCITY, to_internal

Array = NDArray[np.float64]

SCAN = 300
"""Radii scanned for crossings."""


def _axisymmetric(potential: Any) -> AxisymmetricPotential:
    potential = as_global(potential)
    return potential if isinstance(potential, AxisymmetricPotential) else AxisymmetricPotential(potential)


def circular_frequencies(potential: Any, radii: ArrayLike) -> tuple[Array, Array, Array]:
    """Omega, kappa, nu (N,) in km/s/kpc at radii (N,) in kpc; NaN where a square is negative (no circular or stable orbit)."""
    radii = np.atleast_1d(np.asarray(radii, np.float64))
    model = _axisymmetric(potential)
    x = np.column_stack([radii, np.zeros((len(radii), 2))]) + model.x0
    _, grad, hess = model.evaluate(x, 2)
    slope = grad[:, 0] / radii
    squares = slope, hess[:, 0, 0] + 3 * slope, hess[:, 2, 2]
    omega, kappa, nu = (np.sqrt(np.where(square >= 0, square, np.nan)) for square in squares)
    return omega, kappa, nu


def frequency_table(potential: Any, radii: u.Quantity) -> QTable:
    """Table of R, circular speed, Omega, kappa, nu.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential or AxisymmetricPotential
    radii : Quantity, shape (N,)

    Returns
    -------
    QTable
        Columns ``R``, ``vc``, ``Omega``, ``kappa``, ``nu`` with units.
    """
    r = np.atleast_1d(to_internal(radii, LENGTH, "radii"))
    omega, kappa, nu = circular_frequencies(potential, r)
    columns = [r * LENGTH, omega * r * VELOCITY, omega * ANGULAR_SPEED, kappa * ANGULAR_SPEED, nu * ANGULAR_SPEED]
    return QTable(columns, names=["R", "vc", "Omega", "kappa", "nu"])


@dataclass(frozen=True)
class Resonance:
    """One crossing.

    Attributes
    ----------
    kind : {"corotation", "inner Lindblad", "outer Lindblad"}
    m : int
        Symmetry of the pattern; 0 for corotation.
    order : int
        Counted from the centre, from 1.
    radius, error : float
        In kpc; the error is NaN if nothing is known about it.
    in_training_volume : bool
        Whether there were stars at this radius somewhere.
    """

    kind: str
    m: int
    order: int
    radius: float
    error: float
    in_training_volume: bool

    @property
    def name(self) -> str:
        """Short name: CR, ILR2, OLR4."""
        return "CR" if self.m == 0 else f"{self.kind[0].upper()}LR{self.m}"


def _mismatches(omega_p: float, m_values: Sequence[int]) -> list[tuple[str, int, Callable[[Array, Array], Array]]]:
    """F(Omega, kappa), zero at each resonance."""
    found: list[tuple[str, int, Callable[[Array, Array], Array]]] = [("corotation", 0, lambda o, k: o - omega_p)]
    for m in m_values:
        found.append(("inner Lindblad", m, lambda o, k, m=m: o - k / m - omega_p))
        found.append(("outer Lindblad", m, lambda o, k, m=m: o + k / m - omega_p))
    return found


def _roots(
    model: AxisymmetricPotential, function: Callable[[Array, Array], Array], radii: Array, values: Array
) -> list[tuple[float, float]]:
    """All crossings of zero between the scanned radii, with the slope dF/dR there."""

    def at(r: float) -> float:
        omega, kappa, _ = circular_frequencies(model, [r])
        return float(function(omega, kappa)[0])

    found = []
    for i in np.flatnonzero(values[:-1] * values[1:] < 0):
        root = float(root_scalar(at, bracket=(radii[i], radii[i + 1]), xtol=1e-8).root)
        found.append((root, float((values[i + 1] - values[i]) / (radii[i + 1] - radii[i]))))
    return found


def resonances(
    potential: Any,
    *,
    omega: u.Quantity | None = None,
    omega_error: u.Quantity | None = None,
    m: int | Sequence[int] = (2, 4),
    r_min: u.Quantity = 0.05 * u.kpc,
    r_max: u.Quantity | None = None,
    ensemble: Sequence[Any] = (),
) -> list[Resonance]:
    """All corotation and Lindblad radii.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential or AxisymmetricPotential
    omega : Quantity, optional
        Pattern speed, or a vector of which the z component counts; by default the z component of the potential's own.
    omega_error : Quantity, optional
        Its error; by default that of the model, if ``potential`` is one and ``omega`` is its own.
    m : int or sequence of int
        Symmetries of the pattern.
    r_min, r_max : Quantity
        Range scanned; by default out to three times the reach of the training volume.
    ensemble : sequence of PotentialModel or GlobalPotential
        Fits to resampled stars, from `fit_ensemble`, whose scatter is the error of the potential.

    Returns
    -------
    list of Resonance
        By kind, then from the centre outwards.

    Raises
    ------
    DeepPotError
        If the pattern speed is zero or not finite, or not 0 < ``r_min`` < ``r_max``.
    """
    symmetries = [whole(number, "each of m", least=1) for number in np.atleast_1d(np.asarray(m, object))]
    own_error = getattr(potential, "omega_error", None)
    if omega is None and omega_error is None and own_error is not None and np.isfinite(own_error[2]):
        omega_error = own_error[2]
    potential = as_global(potential)
    omega_p = abs(float(potential.omega[2])) if omega is None else abs(float(np.ravel(to_internal(omega, ANGULAR_SPEED, "omega"))[-1]))
    if not omega_p > 0 or not np.isfinite(omega_p):
        raise DeepPotError(f"the pattern speed must not be zero: found {omega_p} km/s/kpc; pass omega=")
    model = _axisymmetric(potential)
    reach = potential.volume.size + float(np.linalg.norm(potential.volume.center - potential.x0))
    top = 3 * reach if r_max is None else float(to_internal(r_max, LENGTH, "r_max"))
    bottom = float(to_internal(r_min, LENGTH, "r_min"))
    if not 0.0 < bottom < top:
        raise DeepPotError(f"resonances are sought between 0 < r_min < r_max, found {bottom:g} and {top:g} kpc")
    radii = np.geomspace(bottom, top, SCAN)
    rates, kappa, _ = circular_frequencies(model, radii)
    error_p = np.nan if omega_error is None else float(to_internal(omega_error, ANGULAR_SPEED, "omega_error"))
    common = None if omega_error is None else omega_p * ANGULAR_SPEED
    members = [resonances(as_global(member), omega=common, m=symmetries, r_min=r_min, r_max=top * LENGTH) for member in ensemble]
    found = []
    for kind, symmetry, function in _mismatches(omega_p, symmetries):
        for order, (radius, slope) in enumerate(_roots(model, function, radii, function(rates, kappa)), start=1):
            ring = np.linspace(0, 2 * np.pi, 64, endpoint=False)
            x = radius * np.column_stack([np.cos(ring), np.sin(ring), 0 * ring]) + potential.x0
            inside = bool(potential.in_training_volume(x).any())
            one = Resonance(kind, symmetry, order, radius, abs(error_p / slope), inside)
            found.append(_with_scatter(one, members))
    return found


def _with_scatter(one: Resonance, members: Sequence[Sequence[Resonance]]) -> Resonance:
    """Add the scatter of the same resonance over the ensemble (in at least two of its members)."""
    key = (one.kind, one.m, one.order)
    radii = [other.radius for member in members for other in member if (other.kind, other.m, other.order) == key]
    if len(radii) < 2:
        return one
    terms = [np.std(radii, ddof=1), 0.0 if np.isnan(one.error) else one.error]
    return replace(one, error=float(np.hypot(*terms)))


def resonance_table(found: Sequence[Resonance]) -> QTable:
    """The resonances as a table with units.

    Parameters
    ----------
    found : sequence of Resonance
        From `resonances`.

    Returns
    -------
    QTable
        One row each; radii in kpc.
    """
    rows = [(one.name, one.kind, one.m, one.order, one.radius, one.error, one.in_training_volume) for one in found]
    names = ["name", "kind", "m", "order", "radius", "error", "in_training_volume"]
    table = QTable(rows=rows, names=names) if rows else QTable(names=names)
    if rows:
        table["radius"], table["error"] = table["radius"] * LENGTH, table["error"] * LENGTH
        for name in ("radius", "error"):
            column: Any = table[name]
            column.info.format = ".3f"  # as printed; the numbers keep all digits
    return table
