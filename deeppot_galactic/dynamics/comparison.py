"""The learned potential beside analytic Milky Way models, in one table.

At radii R in the plane: the circular speed, K_z at a height, the density in the plane, the escape speed; for the learned potential
(axisymmetrised) and for galpy's MWPotential2014, gala's MilkyWayPotential2022 and agama's McMillan17 where they are installed, with a
published rotation curve interpolated to the same radii if one is given. `report.plots` draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table
from numpy.typing import NDArray

from ..errors import DeepPotError
from ..potential.axisymmetric import AxisymmetricPotential
from ..potential.blended import as_global
from ..units import ACCELERATION, DENSITY, LENGTH, VELOCITY, G, to_internal

Array = NDArray[np.float64]
Model = Callable[[Array], tuple[Array, Array, Array]]
"""Phi (N,), grad Phi (N, 3), density (N,) at (N, 3) in kpc, km/s, Msun."""

HEIGHT = 1.1 * u.kpc


def _learned(potential: Any) -> Model:
    potential = as_global(potential)
    model = potential if isinstance(potential, AxisymmetricPotential) else AxisymmetricPotential(potential)

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        phi, grad, hess = model.evaluate(x + model.x0, 2)
        return phi, grad, np.trace(hess, axis1=1, axis2=2) / (4 * np.pi * G)

    return evaluate


def _galpy_2014() -> Model:
    from galpy.potential import MWPotential2014, evaluateDensities, evaluatePotentials, evaluateRforces, evaluatezforces

    ro, vo = 8.0, 220.0
    density_unit = vo**2 / ro**2 / G

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        radius, z = np.hypot(x[:, 0], x[:, 1]) / ro, x[:, 2] / ro
        call = {"use_physical": False}
        f_R, f_z = (np.asarray(f(MWPotential2014, radius, z, **call)) * vo**2 / ro for f in (evaluateRforces, evaluatezforces))
        grad = np.column_stack([-f_R, np.zeros_like(f_R), -f_z])
        # the bulge with its cut-off tends to a constant
        infinity = evaluatePotentials(MWPotential2014, 1e12, 0.0, **call)
        phi = (np.asarray(evaluatePotentials(MWPotential2014, radius, z, **call)) - infinity) * vo**2
        return phi, grad, np.asarray(evaluateDensities(MWPotential2014, radius, z, **call)) * density_unit

    return evaluate


def _gala_2022() -> Model:
    potentials = import_module("gala.potential")
    try:
        # what MilkyWayPotential2022 is called from gala 1.11 on
        model = potentials.MilkyWayPotential(version="v2")
    except (TypeError, ValueError):
        model = potentials.MilkyWayPotential2022()

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        q = x.T * LENGTH
        phi = model.energy(q).to_value(VELOCITY**2)
        return phi, model.gradient(q).to_value(ACCELERATION).T, model.density(q).to_value(DENSITY)

    return evaluate


def _agama_mcmillan() -> Model:
    agama: Any = import_module("agama")
    # its units are global: they are set once, and never changed behind the user's back
    if not agama.getUnits():
        agama.setUnits(length=1, velocity=1, mass=1)
    if abs(agama.G / G - 1) > 1e-4:
        raise DeepPotError("agama's global units are not kpc, km/s and Msun: call agama.setUnits(length=1, velocity=1, mass=1) before")
    model = agama.Potential(str(Path(str(agama.__file__)).parent / "data" / "McMillan17.ini"))

    def evaluate(x: Array) -> tuple[Array, Array, Array]:
        return np.asarray(model.potential(x)), -np.asarray(model.force(x)), np.asarray(model.density(x))

    return evaluate


MODELS: dict[str, tuple[str, Callable[[], Model]]] = {
    "MWPotential2014": ("galpy", _galpy_2014),
    "MilkyWayPotential2022": ("gala", _gala_2022),
    "McMillan17": ("agama", _agama_mcmillan),
}


def compare(
    potential: Any,
    radii: u.Quantity,
    *,
    height: u.Quantity = HEIGHT,
    models: Sequence[str] | None = None,
    published: Table | None = None,
) -> QTable:
    """Tabulate the learned potential beside analytic models.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential or AxisymmetricPotential
    radii : Quantity, shape (N,)
    height : Quantity
        Of K_z.
    models : sequence of str, optional
        Of "MWPotential2014", "MilkyWayPotential2022", "McMillan17"; by default those whose package is installed.
    published : Table, optional
        A measured rotation curve with columns ``R``, ``vc`` and, if known, ``vc_error``; with units, or in kpc and km/s.

    Returns
    -------
    QTable
        ``R``, then ``vc``, ``Kz``, ``rho``, ``vesc`` followed by ``_learned`` or the name of the model, and ``vc_published`` interpolated
        to ``R``; the published points themselves are in ``meta["published"]``, in kpc and km/s.

    Raises
    ------
    DeepPotError
        For an unknown model or a table without these columns.
    """
    r = np.atleast_1d(to_internal(radii, LENGTH, "radii"))
    z = float(to_internal(height, LENGTH, "height"))
    names = [name for name, (package, _) in MODELS.items() if find_spec(package)] if models is None else list(models)
    unknown = [name for name in names if name not in MODELS]
    if unknown:
        raise DeepPotError(f"unknown model {unknown[0]!r}: expected one of {', '.join(MODELS)}")
    table = QTable([u.Quantity(r, LENGTH)], names=["R"], meta={"height_kpc": z})
    for name, model in [("learned", _learned(potential)), *((name, MODELS[name][1]()) for name in names)]:
        phi, grad, density = model(np.column_stack([r, np.zeros((len(r), 2))]))
        above = model(np.column_stack([r, np.zeros_like(r), np.full_like(r, z)]))[1]
        table[f"vc_{name}"] = np.sqrt(np.maximum(r * grad[:, 0], 0)) * VELOCITY
        table[f"Kz_{name}"] = -above[:, 2] * ACCELERATION
        table[f"rho_{name}"] = density * DENSITY
        table[f"vesc_{name}"] = np.sqrt(np.maximum(-2 * phi, 0)) * VELOCITY
    if published is not None:
        _add_published(table, r, published)
    return table


def _add_published(table: QTable, r: Array, published: Table) -> None:
    missing = {"R", "vc"} - set(published.colnames)
    if missing:
        raise DeepPotError(f"the published rotation curve lacks {', '.join(sorted(missing))}: found {', '.join(published.colnames)}")
    columns: dict[str, Any] = {}
    for name, unit in (("R", LENGTH), ("vc", VELOCITY), ("vc_error", VELOCITY)):
        if name in published.colnames:
            column: Any = published[name]
            columns[name] = np.asarray(column, np.float64) if column.unit is None else u.Quantity(column).to_value(unit)
    order = np.argsort(columns["R"])
    meta: Any = table.meta
    meta["published"] = {name: column[order].tolist() for name, column in columns.items()}
    for name in ("vc", "vc_error"):
        if name in columns:
            value = np.interp(r, columns["R"][order], columns[name][order], left=np.nan, right=np.nan)
            table[f"{name}_published"] = value * VELOCITY
