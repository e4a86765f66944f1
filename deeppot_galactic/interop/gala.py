r"""The learned potential as a gala `PotentialBase`.

gala is right-handed like astropy's galactocentric frame: positions are ours about the rotation axis, x_gala = x - x0,
and velocities relative to the frame, v - v0. With

    k = (km/s)^2 in the unit system,  l = kpc in the unit system,

energy, gradient, Hessian and density are k Phi, k / l grad Phi, k / l^2 H and lap Phi k / (4 pi G l^2).

Static, it is the potential in the frame of the bar: combine it with ``ConstantRotatingFrame(Omega)`` in a `Hamiltonian`
(`hamiltonian`). With ``inertial=True`` it turns: it is evaluated at x_bar = T x, T = R(-Omega t), and T^T grad, T^T H T come back; the
two frames coincide at t = 0. An ``origin`` and a rotation ``R`` are honoured: x -> R (x - origin), which gala leaves to its C classes.

Saved to YAML, the numbers go to a model file beside it, in the backend of the potential; ``gala.potential.load(file,
module=deeppot_galactic.interop.gala)`` brings it back. The same holds for sums with gala's own potentials, which `save` writes. In a sum,
too, a bar that does not turn by itself needs its frame: `hamiltonian` takes sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import astropy.units as u
import gala.integrate as gi
import gala.potential
import gala.units as unit_systems
import numpy as np
import yaml
from gala.potential import CompositePotential, ConstantRotatingFrame, PotentialBase
from gala.potential.common import PotentialParameter
from gala.potential.hamiltonian import Hamiltonian  # pyright: ignore[reportAttributeAccessIssue]
from gala.units import UnitSystem, galactic
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..errors import ExportError
from ..potential.blended import GlobalPotential
from ..units import ANGULAR_SPEED, LENGTH, POTENTIAL, TIME
from .compiled import with_backend

Array = NDArray[np.float64]


def _scale(unit: Any, units: Any) -> float:
    """One of ``unit`` in the unit system ``units``."""
    return float(u.Quantity(1.0, unit).decompose(units).value)


def _unit_system(units: Any) -> UnitSystem:
    """gala's unit system, from itself, its name, or the units that make one."""
    try:
        found = getattr(unit_systems, units) if isinstance(units, str) else units
        found = found if isinstance(found, UnitSystem) else UnitSystem(*found)
        _scale(TIME, found)
    except (AttributeError, TypeError, ValueError):
        raise ExportError(f"units must be one of gala's unit systems with a length and a time, or its name, found {units!r}") from None
    return found


def _option(name: str, **options: Any) -> PotentialParameter:
    """A parameter without unit which stays in Python."""
    anything: Any = None
    return PotentialParameter(name, physical_type=anything, python_only=True, **options)


class LearnedPotential(PotentialBase):
    """A `GlobalPotential` in gala (module docstring).

    Parameters
    ----------
    model : GlobalPotential or str
        In the backend wanted (see `to_gala`), or the path of a file written by `deeppot_galactic.interop.export`.
    inertial : bool
        Whether it rotates with its pattern speed.
    units, origin, R
        As in gala.

    Raises
    ------
    ExportError
        If ``R`` is not one 3 x 3 matrix, or ``units`` is no unit system.
    """

    model = _option("model", convert=None)
    inertial = _option("inertial", convert=bool, default=False)

    def __init__(self, *args: Any, units: Any = galactic, origin: Any = None, R: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, units=_unit_system(units), origin=origin, R=R, **kwargs)
        if isinstance(self.parameters["model"], str | Path):
            from .files import read_potential

            self.parameters["model"] = read_potential(self.parameters["model"])
        if self.R is not None and self.R.shape != (3, 3):
            raise ExportError(f"the rotation R must be one 3 x 3 matrix, found shape {self.R.shape}")
        self.potential: GlobalPotential = self.parameters["model"]
        self._length, self._energy_unit, self._time_unit = (_scale(unit, self.units) for unit in (LENGTH, POTENTIAL, TIME))

    @property
    def report(self) -> Any:
        """Force error of the compiled backend, None for the exact one."""
        return self.potential.report

    @property
    def omega(self) -> u.Quantity:
        """Angular velocity of the frame in which the potential is static, Quantity (3,) [rad per unit of time]."""
        return u.Quantity(self.potential.omega, ANGULAR_SPEED).to(u.rad / self.units["time"], u.dimensionless_angles())

    def _frame(self, q: Array, t: Array) -> tuple[Array, Array | None]:
        """Positions (N, 3) in the catalogue's axes and kpc, and the rotations T (N or 1, 3, 3) that led there, None for none."""
        turn = None
        x = q - self.origin
        if self.R is not None:
            turn = self.R[None]
        if self.parameters["inertial"]:
            angles = np.atleast_1d(np.asarray(t, np.float64)) / self._time_unit
            spin = Rotation.from_rotvec(-np.outer(angles, self.potential.omega)).as_matrix()
            turn = spin if turn is None else spin @ turn
        if turn is not None:
            x = np.einsum("nij,nj->ni", np.broadcast_to(turn, (len(x), 3, 3)), x)
        return x / self._length + self.potential.x0, turn

    def _energy(self, q: Array, t: Any = 0.0) -> Array:
        return self.potential.potential(self._frame(q, t)[0]) * self._energy_unit

    def _gradient(self, q: Array, t: Any = 0.0) -> Array:
        x, turn = self._frame(q.T, t)
        grad = self.potential.gradient(x) * (self._energy_unit / self._length)
        if turn is not None:
            grad = np.einsum("nij,ni->nj", np.broadcast_to(turn, (len(x), 3, 3)), grad)
        return np.ascontiguousarray(grad.T)

    def _hessian(self, q: Array, t: Any = 0.0) -> Array:
        x, turn = self._frame(q, t)
        hess = self.potential.hessian(x) * (self._energy_unit / self._length**2)
        return hess if turn is None else np.swapaxes(turn, 1, 2) @ hess @ turn

    def _density(self, q: Array, t: Any = 0.0) -> Array:
        hess = self.potential.hessian(self._frame(q, t)[0])
        return np.trace(hess, axis1=1, axis2=2) * (self._energy_unit / self._length**2 / (4 * np.pi * self.G))

    def replicate(self, **kwargs: Any) -> LearnedPotential:
        """A copy with some parameters changed; the numbers of the model, which never change, are shared.

        Parameters
        ----------
        **kwargs
            Those to change: ``model``, ``inertial``, ``units``, ``origin``, ``R``.

        Returns
        -------
        LearnedPotential
        """
        origin = u.Quantity(self.origin, self.units["length"])
        values = {**self.parameters, "units": self.units, "origin": origin, "R": self.R, **kwargs}
        return type(self)(**values)

    def replace_units(self, units: Any, copy: bool = True) -> LearnedPotential:
        """The same potential in another unit system.

        Parameters
        ----------
        units : gala.units.UnitSystem
            The new one.
        copy : bool
            Leave this object as it is, instead of changing it in place.

        Returns
        -------
        LearnedPotential
        """
        other = self.replicate(units=units)
        if copy:
            return other
        vars(self).update(vars(other))
        return self

    def save(self, f: Any) -> None:
        """Write a YAML file, and the numbers to a model file of the same name beside it.

        Parameters
        ----------
        f : str or Path
            Name of the YAML file.

        Raises
        ------
        ExportError
            For an open file, or a potential with ``origin`` or ``R``, which gala does not write.
        StoreError
            When the numbers cannot be written.
        """
        if hasattr(f, "write"):
            raise ExportError("give a file name to save a learned potential: its numbers go to a file beside it")
        with self.in_file(Path(f).with_suffix(".safetensors")):
            super().save(str(f))

    @contextmanager
    def in_file(self, numbers: Path) -> Iterator[None]:
        """Write the numbers to a model file, and describe the potential by its path as long as this lasts.

        Parameters
        ----------
        numbers : Path
            Of the model file.

        Yields
        ------
        None

        Raises
        ------
        ExportError
            For a potential with ``origin`` or ``R``, which gala does not write.
        StoreError
            When the numbers cannot be written.
        """
        from .files import write_potential

        if self.R is not None or np.any(self.origin != 0):
            raise ExportError("leave out origin and R of a learned potential to save it: gala does not write them")
        write_potential(self.potential, numbers, backend="exact" if self.report is None else "compiled")
        stored = self.parameters
        try:
            self.parameters = {"model": str(numbers), "inertial": stored["inertial"]}
            yield
        finally:
            self.parameters = stored

    def integrate_orbit(self, *args: Any, **kwargs: Any) -> Any:
        """As gala's, which puts the potential in a frame that does not turn; refused if the bar would stand still there.

        Parameters
        ----------
        *args, **kwargs
            As in gala; see `CarefulHamiltonian`.

        Returns
        -------
        gala.dynamics.Orbit

        Raises
        ------
        ExportError
            If the potential has a pattern speed and was not exported with ``inertial=True``.
        """
        if np.any(self.potential.omega) and not self.parameters["inertial"]:
            raise ExportError(
                "the bar would stand still: integrate with deeppot_galactic.interop.gala.hamiltonian(pot), or export with inertial=True"
            )
        return CarefulHamiltonian(self).integrate_orbit(*args, **kwargs)

    def as_interop(self, package: str, **kwargs: Any) -> Any:
        """The same potential in another package.

        Parameters
        ----------
        package : {"galpy", "agama"}
            Which.
        **kwargs
            Passed to the other package's class or to `deeppot_galactic.interop.agama.to_agama`.

        Returns
        -------
        LearnedPotential or ExactPotential
            Of `deeppot_galactic.interop.galpy` or `deeppot_galactic.interop.agama`.

        Raises
        ------
        ExportError
            For another package.
        MissingPackageError
            If agama is asked for and is not installed.
        """
        if package == "galpy":
            from .galpy import LearnedPotential as InGalpy

            return InGalpy(self.potential, inertial=self.parameters["inertial"], **kwargs)
        if package == "agama":
            from .agama import to_agama

            return to_agama(self.potential, **kwargs)
        raise ExportError(f"unknown package {package!r}: expected 'galpy' or 'agama'")

    def __repr__(self) -> str:
        kind = "exact" if self.report is None else "compiled"
        units = ",".join(str(self.units[name]) for name in ("length", "time", "mass", "angle"))
        speed = f"Omega={self.potential.omega.round(3).tolist()} km/s/kpc"
        return f"<LearnedPotential: model={kind}, {speed}, inertial={self.parameters['inertial']} ({units})>"


class CarefulHamiltonian(Hamiltonian):
    """A `Hamiltonian` with DOPRI853 as its default integrator, which refuses those that are wrong in rotating frames.

    gala's Leapfrog and Ruth4 split off a Coriolis force that depends on the velocity: there the Jacobi energy drifts by factors.

    Parameters
    ----------
    potential, frame
        As in gala.
    """

    def integrate_orbit(self, w0: Any, Integrator: Any = gi.DOPRI853Integrator, Integrator_kwargs: Any = None, **kwargs: Any) -> Any:
        """As gala's; tolerances are 1e-10 by default.

        Parameters
        ----------
        w0 : gala.dynamics.PhaseSpacePosition or array
            Where orbits begin.
        Integrator : class or str
            DOPRI853 by default.
        Integrator_kwargs : dict, optional
            Its options.
        **kwargs
            As in gala: ``dt`` and ``n_steps``, or ``t``, and so on.

        Returns
        -------
        gala.dynamics.Orbit

        Raises
        ------
        ExportError
            For symplectic integrators if the frame rotates.
        """
        name = Integrator if isinstance(Integrator, str) else Integrator.__name__
        if any(word in name.lower() for word in ("leapfrog", "ruth4")) and isinstance(self.frame, ConstantRotatingFrame):
            raise ExportError(f"{name} is wrong in a rotating frame: use DOPRI853Integrator, or deeppot_galactic.dynamics.integrate_orbits")
        if "dop" in name.lower():
            Integrator_kwargs = {"rtol": 1e-10, "atol": 1e-10, "nsteps": 100_000, **(Integrator_kwargs or {})}
        return super().integrate_orbit(w0, Integrator=Integrator, Integrator_kwargs=Integrator_kwargs or {}, **kwargs)


def to_gala(potential: GlobalPotential, *, units: Any = galactic, backend: str = "exact", inertial: bool = False) -> LearnedPotential:
    """Export to gala.

    Parameters
    ----------
    potential : GlobalPotential
        What to export.
    units : gala.units.UnitSystem
        Unit system of the host.
    backend : {"exact", "compiled"}
        As learned, or a quintic spline with a ``report`` of its force error.
    inertial : bool
        Rotate with the pattern speed, instead of standing still in the frame of the bar.

    Returns
    -------
    LearnedPotential
        A gala ``PotentialBase``, right-handed like this package.
    """
    return LearnedPotential(with_backend(potential, backend), inertial=inertial, units=units)


def hamiltonian(potential: PotentialBase) -> Hamiltonian:
    """The potential with the frame it lives in: rotating with the bar, or static if the potential itself turns.

    Initial velocities are inertial components along the axes of the frame.

    Parameters
    ----------
    potential : LearnedPotential or CompositePotential
        From `to_gala`, or a sum with gala's own potentials, which then stand still in the frame.

    Returns
    -------
    CarefulHamiltonian

    Raises
    ------
    ExportError
        If nothing in the potential is from `to_gala`, or its parts live in different frames.
    """
    frames = {_frame_of(part) for part in _learned(potential)}
    if len(frames) != 1:
        found = "none of its parts is from to_gala" if not frames else "its learned parts live in different frames"
        raise ExportError(f"a {type(potential).__name__} has no frame: {found}")
    omega = u.Quantity(frames.pop(), u.rad / potential.units["time"])
    return CarefulHamiltonian(potential, ConstantRotatingFrame(Omega=omega, units=potential.units) if np.any(omega.value) else None)


def save(potential: PotentialBase, path: str | Path) -> None:
    """Write a learned potential, or a sum of potentials with learned ones among them, to YAML.

    Parameters
    ----------
    potential : LearnedPotential or CompositePotential
        What to write.
    path : str or Path
        Name of the YAML file; the numbers of the learned parts go to model files of that name beside it.

    Raises
    ------
    ExportError
        If a learned part has ``origin`` or ``R``, which gala does not write.
    StoreError
        When the numbers cannot be written.
    """
    path, parts = Path(path), _learned(potential)
    if isinstance(potential, LearnedPotential):
        potential.save(path)
        return
    with ExitStack() as described:
        for k, part in enumerate(parts, start=1):
            described.enter_context(part.in_file(path.with_name(f"{path.stem}-{k}.safetensors")))
        potential.save(str(path))


def _learned(potential: Any) -> list[LearnedPotential]:
    """The learned parts of a potential."""
    parts = potential.values() if isinstance(potential, CompositePotential) else [potential]
    return [part for part in parts if isinstance(part, LearnedPotential)]


def _frame_of(part: LearnedPotential) -> tuple[float, ...]:
    """Angular velocity of the frame in which a learned potential is to be used [rad per unit of time]."""
    return (0.0, 0.0, 0.0) if part.parameters["inertial"] else tuple(float(rate) for rate in part.omega.value)


def _refuse(dumper: Any, model: GlobalPotential) -> Any:
    raise ExportError("gala cannot write the numbers of a learned potential: use deeppot_galactic.interop.gala.save(potential, file)")


yaml.add_multi_representer(GlobalPotential, _refuse)


def __getattr__(name: str) -> Any:
    """gala's own potentials, so that a sum can be loaded with this module."""
    if name.startswith("_") or not hasattr(gala.potential, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(gala.potential, name)
