"""The fitted potential: what users hold, save, evaluate with units and export.

A `PotentialModel` wraps one `GlobalPotential` (the learned potential inside the training volume, continued to all space) with the rotating
frame it is static in. It runs on NumPy alone. Positions are those of the catalogue's frame; x0 is a point of the rotation axis there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import file_path, whole
from ..catalogue.volumes import Volume
from ..errors import FitError, StoreError
from ..store import read_model, rebuilding, write_model
from ..units import ACCELERATION, ANGULAR_SPEED, DENSITY, LENGTH, POTENTIAL, VELOCITY, lengths, vectors
from .analytic import InnerPotential
from .basis import LinearPotential
from .blended import GlobalPotential
from .frame import RotatingFrame, unit_of
from .network_potential import NetworkPotential
from .posterior import PotentialPosterior

if TYPE_CHECKING:
    import astropy.units as u

Array = NDArray[np.float64]
KIND = "potential"
_INNER = {"network": NetworkPotential, "linear": LinearPotential}


class PotentialModel:
    """A gravitational potential Phi(x), static in a rotating frame.

    Parameters
    ----------
    inner : NetworkPotential or LinearPotential
        The learned potential.
    volume : Volume
        Where it was learned.
    frame : RotatingFrame
    omega_error : (3,) array
        Standard errors of Omega in km/s/kpc; NaN for components that were held fixed.
    history : dict
        Of the training, as in `deeppot_galactic.training.History.to_dict`; empty for linear methods.
    meta : dict
        Method, settings, diagnostics; JSON-able. ``frame_errors``, where there: those of `frame_errors`, in km/s/kpc, kpc, km/s.
    global_potential : GlobalPotential, optional
        Made from ``inner`` where absent.
    posterior : PotentialPosterior, optional
        Errors of forces and densities: that of the fit for the linear methods, that of its anchor for the network.
    """

    def __init__(
        self,
        inner: InnerPotential,
        volume: Volume,
        frame: RotatingFrame,
        *,
        omega_error: Array,
        history: dict[str, Any] | None = None,
        meta: dict[str, Any] | None = None,
        global_potential: GlobalPotential | None = None,
        posterior: PotentialPosterior | None = None,
    ) -> None:
        self.inner, self.volume, self.frame = inner, volume, frame
        self._omega_error = np.asarray(omega_error, dtype=float)
        self.history = dict(history or {})
        self.meta = dict(meta or {})
        self.posterior = posterior
        self.global_potential = global_potential or GlobalPotential(
            inner, volume, omega=frame.omega_vector, x0=frame.x0_vector, v0=frame.v0_vector
        )

    @property
    def omega(self) -> u.Quantity:
        """Angular velocity of the frame, shape (3,), km/s/kpc."""
        return self.frame.omega

    @property
    def omega_error(self) -> u.Quantity:
        """Standard error of each component, shape (3,), km/s/kpc; NaN where it was held fixed."""
        import astropy.units as u

        return u.Quantity(self._omega_error, ANGULAR_SPEED)

    @property
    def frame_errors(self) -> dict[str, u.Quantity]:
        """Standard errors of all components that were fitted, by their names in ``frame.free``: omega_x ... [km/s/kpc], x0_x ... [kpc],
        v0_x ... [km/s]. Their values are ``frame.component(name)``."""
        import astropy.units as u

        known = {f"omega_{axis}": error for axis, error in zip("xyz", self._omega_error, strict=True)} | self.meta.get("frame_errors", {})
        return {name: u.Quantity(known.get(name, np.nan), unit_of(name)) for name in self.frame.free}

    def potential(self, pos: u.Quantity) -> u.Quantity:
        """Phi, zero at infinity.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N,)
            km^2/s^2.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        """
        return self.global_potential.potential(vectors(pos, LENGTH, "pos")) * POTENTIAL

    def acceleration(self, pos: u.Quantity) -> u.Quantity:
        """-grad Phi: gravity alone, no inertial forces.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N, 3)
            km^2/s^2/kpc.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        """
        return -self.global_potential.gradient(vectors(pos, LENGTH, "pos")) * ACCELERATION

    def acceleration_error(self, pos: u.Quantity) -> u.Quantity:
        """Standard error of each component of the acceleration: statistical, with what the weak form leaves unexplained added.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N, 3)
            km^2/s^2/kpc; NaN outside the training volume.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        FitError
            For a model without a posterior (trained on scores alone): use `deeppot_galactic.potential.resampled.fit_ensemble`.
        """
        x = vectors(pos, LENGTH, "pos")
        import astropy.units as u

        error = np.where(self.in_training_volume(pos)[:, None], self._posterior().gradient_error(x), np.nan)
        return u.Quantity(error, ACCELERATION)

    def density_error(self, pos: u.Quantity) -> u.Quantity:
        """Standard error of the density; as `acceleration_error`.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N,)
            Msun/kpc^3; NaN outside the training volume.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        FitError
            For a model without a posterior.
        """
        x = vectors(pos, LENGTH, "pos")
        import astropy.units as u

        return u.Quantity(np.where(self.in_training_volume(pos), self._posterior().density_error(x), np.nan), DENSITY)

    def _posterior(self) -> PotentialPosterior:
        if self.posterior is None:
            raise FitError("a model trained on scores alone has no posterior; potential.resampled.fit_ensemble gives errors")
        return self.posterior

    def density(self, pos: u.Quantity) -> u.Quantity:
        """Total matter density lap Phi / (4 pi G).

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N,)
            Msun/kpc^3.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        """
        return self.global_potential.density(vectors(pos, LENGTH, "pos")) * DENSITY

    def hessian(self, pos: u.Quantity) -> u.Quantity:
        """Second derivatives of Phi.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        Quantity, shape (N, 3, 3)
            km^2/s^2/kpc^2.

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        """
        return self.global_potential.hessian(vectors(pos, LENGTH, "pos")) * (ACCELERATION / LENGTH)

    def circular_speed(self, radius: u.Quantity, *, n_azimuth: int = 64) -> u.Quantity:
        """Rotation curve: sqrt(R <d Phi / d R>_phi) in the plane through x0.

        Parameters
        ----------
        radius : Quantity, shape (N,) or a scalar
            Distances from the axis.
        n_azimuth : int
            Points on each circle.

        Returns
        -------
        Quantity, shape (N,)
            km/s; zero where the mean force points outwards.

        Raises
        ------
        UnitsError
            For bare numbers, another unit, or radii that are negative or not finite.
        DeepPotError
            If ``n_azimuth`` is not a whole number of at least one.
        """
        r, n_azimuth = lengths(radius, "radius"), whole(n_azimuth, "n_azimuth", least=1)
        phi = np.linspace(0.0, 2.0 * np.pi, n_azimuth, endpoint=False)
        ring = np.stack([np.cos(phi), np.sin(phi), np.zeros(n_azimuth)], axis=1)
        points = (r[:, None, None] * ring).reshape(-1, 3) + self.frame.x0_vector
        gradient = self.global_potential.gradient(points).reshape(len(r), n_azimuth, 3)
        force = np.sum(gradient * ring, axis=2).mean(axis=1)
        return np.sqrt(np.maximum(r * force, 0.0)) * VELOCITY

    def in_training_volume(self, pos: u.Quantity) -> NDArray[np.bool_]:
        """Whether positions lie where the potential was learned.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)
            Positions.

        Returns
        -------
        array of bool, shape (N,)

        Raises
        ------
        UnitsError
            For positions without units or of the wrong shape.
        """
        return self.global_potential.in_training_volume(vectors(pos, LENGTH, "pos"))

    def to_galpy(self, **options: Any) -> Any:
        """The potential in galpy; see `deeppot_galactic.interop.galpy.to_galpy`.

        Parameters
        ----------
        **options
            Its keywords: ``ro``, ``vo``, ``backend``, ``inertial``.

        Returns
        -------
        galpy.potential.Potential

        Raises
        ------
        ExportError
            For an unknown backend, or one that cannot express the potential.
        MissingPackageError
            If galpy is not installed.
        """
        from ..interop import to_galpy

        return to_galpy(self.global_potential, **options)

    def to_gala(self, **options: Any) -> Any:
        """The potential in gala; see `deeppot_galactic.interop.gala.to_gala`.

        Parameters
        ----------
        **options
            Its keywords: ``units``, ``backend``, ``inertial``.

        Returns
        -------
        gala.potential.PotentialBase

        Raises
        ------
        ExportError
            For an unknown backend.
        MissingPackageError
            If gala is not installed.
        """
        from ..interop import to_gala

        return to_gala(self.global_potential, **options)

    def to_agama(self, **options: Any) -> Any:
        """The potential in agama; see `deeppot_galactic.interop.agama.to_agama`.

        Parameters
        ----------
        **options
            Its keywords: ``backend``, ``inertial``, ``shape``, ``m_max``.

        Returns
        -------
        LearnedPotential or ExactPotential
            ``.agama`` is agama's own object.

        Raises
        ------
        MissingPackageError
            If agama is not installed.
        ExportError
            For an unknown backend, a tilted axis of rotation, or other units set in agama.
        """
        from ..interop.agama import to_agama

        return to_agama(self.global_potential, **options)

    def axisymmetrized(self) -> Any:
        """The m = 0 part, for tools that need an axisymmetric potential; see `deeppot_galactic.dynamics.axisymmetrize`.

        Returns
        -------
        AxisymmetricPotential
        """
        from ..dynamics import axisymmetrize

        return axisymmetrize(self.global_potential)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with a JSON header, atomically.

        Parameters
        ----------
        path : str or Path
            Conventionally ``*.safetensors``.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        arrays, header = self.inner.to_arrays()  # type: ignore[attr-defined]
        tensors = {f"inner/{k}": v for k, v in arrays.items()}
        tensors |= {f"global/{k}": v for k, v in self.global_potential.to_arrays().items()}
        errors, errors_header = self.posterior.to_arrays() if self.posterior is not None else ({}, None)
        tensors |= {f"posterior/{k}": v for k, v in errors.items()}
        kind = next(name for name, cls in _INNER.items() if isinstance(self.inner, cls))
        write_model(
            path,
            tensors,
            {
                "inner": {"type": kind, **header},
                "volume": self.volume.to_dict(),
                "frame": self.frame.to_dict(),
                "omega_error": [None if np.isnan(e) else float(e) for e in self._omega_error],
                "history": self.history,
                "meta": self.meta,
                "posterior": errors_header,
            },
            KIND,
        )

    @classmethod
    def load(cls, path: str | Path) -> PotentialModel:
        """Read a model file, or the one in a run folder.

        Parameters
        ----------
        path : str or Path
            The file, or a folder with ``model.safetensors``.

        Returns
        -------
        PotentialModel

        Raises
        ------
        StoreError
            If it is missing, damaged, of a newer version or no potential.
        """
        path = file_path(path, "the file of a model", StoreError)
        if path.is_dir():
            path = path / "model.safetensors"
        tensors, header = read_model(path, KIND)
        with rebuilding(path):
            inner_header = dict(header["inner"])
            kind = inner_header.pop("type")
            if kind not in _INNER:
                raise StoreError(f"{path} holds a potential of unknown type {kind!r}")
            frame = RotatingFrame.from_dict(header["frame"])
            if kind == "linear":  # whose x0 is fixed; files of 0.1.0 before its release did not name the origin
                inner_header.setdefault("origin", frame.x0_vector.tolist())
            inner = _INNER[kind].from_arrays(_with_prefix(tensors, "inner/"), inner_header)
            volume = Volume.from_dict(header["volume"])
            described = header.get("posterior")
            posterior = None if described is None else PotentialPosterior.from_arrays(_with_prefix(tensors, "posterior/"), described)
            errors = np.array([np.nan if e is None else e for e in header["omega_error"]])
            model = cls(
                inner,
                volume,
                frame,
                omega_error=errors,
                history=header["history"],
                meta=header["meta"],
                global_potential=GlobalPotential.from_arrays(inner, volume, _with_prefix(tensors, "global/")),
                posterior=posterior,
            )
            somewhere = np.asarray(volume.center, dtype=float)[None] + 0.1
            if not np.isfinite(np.append(inner.evaluate(somewhere, 1)[1], model.global_potential.gradient(somewhere))).all():
                raise StoreError(f"{path} is damaged: the force is not finite in the volume")
            return model

    def __repr__(self) -> str:
        omega, error = self.frame.omega_vector[2], self._omega_error[2]
        return f"<PotentialModel: {self.meta.get('method', '?')}, Omega_z = {omega:.2f} +- {error:.2f} km/s/kpc, {self.volume.describe()}>"


def _with_prefix(tensors: dict[str, Array], prefix: str) -> dict[str, Array]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
