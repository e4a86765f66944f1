"""A thin shell around an agama potential: units, pattern speed, error report, and the interface of the other potentials here.

agama evaluates in global units, which must be kpc, km/s and Msun (`load_module`). What its potentials have (``density``, ``Rcirc``,
``Rmax``, ...) is available on the shell; `Shell.evaluate` gives Phi, gradient and Hessian, so that it also serves galpy and gala.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ExportError, MissingPackageError
from .compiled import ForceErrorReport

Array = NDArray[np.float64]


def _number(value: Any, unit: u.UnitBase) -> float:
    """agama gives its units as Quantities where astropy is installed, as plain numbers of kpc and Msun where not."""
    return float(np.asarray(value.to_value(unit) if isinstance(value, u.Quantity) else value))


def load_module() -> Any:
    """The module, in units of kpc, km/s and Msun.

    Raises
    ------
    MissingPackageError
        Where agama is not installed.
    ExportError
        If its global units were set to others.
    """
    try:
        agama = import_module("agama")
    except ImportError:
        raise MissingPackageError("agama is not installed: pip install 'deeppot-galactic[agama]' (needs GSL and Eigen)") from None
    units = agama.getUnits()
    if not units:
        agama.setUnits(length=1, velocity=1, mass=1)
    elif not np.allclose([_number(units["length"], u.kpc), _number(units["mass"], u.Msun)], 1, rtol=1e-6):
        raise ExportError(f"agama's global units are {units}: call agama.setUnits(length=1, velocity=1, mass=1) before")
    return agama


def rotation(omega: Array) -> list[list[float]]:
    """agama's ``rotation=`` for a pattern speed (3,) in km/s/kpc, which must be about the z axis (`ExportError`)."""
    if np.hypot(*omega[:2]) > 1e-6 * abs(omega[2]):
        raise ExportError(f"agama rotates about the z axis only, Omega = {omega}")
    return [[0.0, 0.0], [1.0, float(omega[2])]]


class Shell:
    """What agama's potentials here have in common.

    Attributes
    ----------
    agama : agama.Potential
    omega : array, shape (3,)
        Pattern speed in km/s/kpc.
    x0 : array, shape (3,)
        Zero: positions are about the axis of rotation.
    inertial : bool
    report : ForceErrorReport or None
    """

    def __init__(self, agama: Any, omega: Array, *, inertial: bool, report: ForceErrorReport | None) -> None:
        self.agama, self.omega, self.x0 = agama, omega, np.zeros(3)
        self.inertial, self.report = inertial, report

    @property
    def omega_z(self) -> float:
        """Pattern speed in km/s/kpc, what ``agama.orbit(Omega=...)`` takes."""
        return float(self.omega[2])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "agama":
            raise AttributeError(name)
        return getattr(self.agama, name)

    def evaluate(self, x: ArrayLike, order: int = 2, t: float = 0.0) -> tuple[Array, Any, Any]:
        """Potential and derivatives up to an order, from agama.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions about the axis of rotation [kpc].
        order : {0, 1, 2}
            Derivatives beyond it are None.
        t : float
            Time in kpc/(km/s), for a potential that turns.

        Returns
        -------
        potential : array, shape (N,)
            (km/s)^2.
        gradient : array, shape (N, 3), or None
            (km/s)^2/kpc.
        hessian : array, shape (N, 3, 3), or None
            (km/s)^2/kpc^2.
        """
        x = np.ascontiguousarray(x, np.float64)
        phi = np.asarray(self.agama.potential(x, t=t))
        if order < 1:
            return phi, None, None
        if order < 2:
            return phi, -np.asarray(self.agama.force(x, t=t)), None
        if hasattr(self.agama, "eval"):
            force, slopes = self.agama.eval(x, acc=True, der=True, t=t)
        else:
            force, slopes = self.agama.forceDeriv(x, t=t)
        # agama orders them xx, yy, zz, xy, yz, zx
        return phi, -np.asarray(force), -np.asarray(slopes)[:, [0, 3, 5, 3, 1, 4, 5, 4, 2]].reshape(-1, 3, 3)
