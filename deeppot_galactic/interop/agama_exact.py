"""The exact backend in agama: agama calls back for Phi and takes its derivatives by finite differences.

agama accepts no forces from Python. From Phi in double precision its fourth-order differences over 5e-4 of the radius give forces to
about 1e-7, but every force costs 13 evaluations through the interpreter: for checks and for a few orbits, not for samples of stars.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..potential.blended import GlobalPotential
from .agama_shell import Shell, load_module, rotation
from .compiled import ForceErrorReport, check_points, force_error

Array = NDArray[np.float64]

N_CHECK = 200
"""Points at which the forces are compared."""


class ExactPotential(Shell):
    """A learned potential that agama evaluates by calling back.

    Parameters
    ----------
    potential : GlobalPotential or AxisymmetricPotential
        As learned, or compiled to our spline.
    inertial : bool
        Rotate about z with the pattern speed.
    report : ForceErrorReport, optional
        Error of agama's finite differences.
    """

    def __init__(self, potential: GlobalPotential, *, inertial: bool = False, report: ForceErrorReport | None = None) -> None:
        self.potential = potential
        agama, x0 = load_module(), potential.x0
        axisymmetric = bool(getattr(potential, "axisymmetric", False))

        def phi(x: Array) -> Array:
            x = np.array(x, np.float64).reshape(-1, 3)
            value = potential.evaluate(x + x0, 0)[0]
            # agama's axisymmetric potentials are the same on both sides of the plane
            return 0.5 * (value + potential.evaluate(x * [1, 1, -1] + x0, 0)[0]) if axisymmetric else value

        options: dict[str, Any] = {"rotation": rotation(potential.omega)} if inertial else {}
        host = agama.Potential(potential=phi, symmetry="axisymmetric" if axisymmetric else "none", **options)
        super().__init__(host, potential.omega, inertial=inertial, report=report)

    def __reduce__(self) -> Any:
        return _rebuild, (self.potential, self.inertial, self.report)


def _rebuild(potential: GlobalPotential, inertial: bool, report: ForceErrorReport | None) -> ExactPotential:
    return ExactPotential(potential, inertial=inertial, report=report)


def to_agama_exact(potential: GlobalPotential, *, inertial: bool = False) -> ExactPotential:
    """See `deeppot_galactic.interop.agama.to_agama` with ``backend="exact"``."""
    start = time.perf_counter()
    static = ExactPotential(potential)
    seconds = time.perf_counter() - start
    x = check_points(potential.volume, N_CHECK)
    approximate = static.evaluate(x - potential.x0, 1)[1]
    report = force_error(approximate, potential.evaluate(x, 1)[1], x, seconds=seconds, backend="agama, finite differences of Phi")
    return ExactPotential(potential, inertial=inertial, report=report)
