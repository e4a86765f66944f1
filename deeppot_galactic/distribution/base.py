"""The interface of every estimator of the distribution function f(x, v).

f is normalised to the number of stars (the sum of their weights) in the volume: its unit is stars per kpc^3 (km/s)^3. The scores are

    s_x = grad_x ln f [1/kpc],     s_v = grad_v ln f [s/km].

A subclass gives `_evaluate` on a float64 tensor and its state as arrays and JSON; everything public is written here once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ..arguments import array, whole
from ..arguments import device as valid_device
from ..errors import FitError, StoreError
from ..store import read_model, rebuilding, write_model
from ..training import History
from ..units import LENGTH, VELOCITY, vectors

if TYPE_CHECKING:
    from astropy.units import Quantity

    from ..catalogue.tracers import Tracers
    from ..catalogue.volumes import Volume

Array = NDArray[np.float64]
KIND = "distribution"
ROWS = 16384
"""Stars evaluated at once."""


class Distribution(ABC):
    """A fitted distribution function.

    Attributes
    ----------
    volume : Volume
        Where f is trusted.
    n_stars : float
        Sum of the weights of the stars in the volume: the integral of f.
    history : History
        How the training went.
    tracers : Tracers or None
        The stars it was fitted to; None after loading from a file.
    meta : dict
        Settings and numbers of the fit, JSON-able.
    """

    estimator: str
    log_scale: float

    def __init__(
        self, *, volume: Volume, n_stars: float, history: History, tracers: Tracers | None = None, meta: dict[str, Any] | None = None
    ) -> None:
        self.volume = volume
        self.n_stars = n_stars
        self.history = history
        self.tracers = tracers
        self.meta: dict[str, Any] = {} if meta is None else meta

    @abstractmethod
    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ln f (n,) and its gradient (n, 6) at ``x`` (n, 6), float64."""

    @abstractmethod
    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and JSON-able numbers from which `_from_state` rebuilds the estimator."""

    @classmethod
    @abstractmethod
    def _from_state(cls, tensors: dict[str, NDArray[Any]], header: dict[str, Any], common: dict[str, Any]) -> Distribution:
        """Inverse of `_state`; ``common`` are the keywords of `Distribution.__init__`."""

    @property
    def has_sampler(self) -> bool:
        """Whether `sample` works."""
        return False

    @property
    def prefers_stars(self) -> bool:
        """Whether gradients are taken at the stars themselves, not at draws, unless asked otherwise."""
        return not self.has_sampler

    def _sample(self, n: int, seed: int) -> Array:
        raise FitError(
            f"a distribution fitted by {self.estimator} has no sampler; draw_gradients draws the stars themselves, "
            "or fit with preset 'flow-matching'"
        )

    @abstractmethod
    def _parts(self) -> list[Any]:
        """Networks, whitenings and other distributions that `to` must move."""

    def to(self, device: str | None = None, *, dtype: str | None = None) -> Self:
        """Move the estimator, or change its precision, in place.

        Parameters
        ----------
        device : str, optional
            A torch device. Results come back to the CPU.
        dtype : {"float32", "float64"}, optional
            Precision of the networks; whitening, ln f and scores are float64 always.

        Returns
        -------
        Distribution
            Itself.

        Raises
        ------
        FitError
            For another precision.
        ConfigError
            For a device that is not there.
        """
        device = None if device is None else valid_device(device)
        kinds = {None: None, "float32": torch.float32, "float64": torch.float64}
        if dtype not in kinds:
            raise FitError(f"precision {dtype!r} is unknown; choose float32 or float64")
        for part in self._parts():
            if isinstance(part, Distribution):
                part.to(device, dtype=dtype)
            elif isinstance(part, torch.nn.Module):
                part.to(device=device, dtype=kinds[dtype])
            elif device is not None:
                part.to(device)
        return self

    def rescale(self, n_stars: float) -> None:
        """Let f integrate to another number of stars, when the fit has seen a part of them.

        Parameters
        ----------
        n_stars : float
            The integral of f from now on.

        Raises
        ------
        FitError
            If the estimator has no scale of its own, or ``n_stars`` is not positive.
        """
        if not (n_stars > 0.0 and np.isfinite(n_stars)):
            raise FitError(f"f must integrate to a positive number of stars, found {n_stars}")
        if not hasattr(self, "log_scale"):
            raise FitError(f"a distribution made by {self.estimator} has no scale of its own")
        self.log_scale += float(np.log(n_stars / self.n_stars))  # type: ignore[has-type]
        self.n_stars = n_stars

    def evaluate(self, x: ArrayLike) -> tuple[Array, Array]:
        """ln f and its gradient at array level.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space in kpc and km/s.

        Returns
        -------
        log_density : ndarray, shape (N,)
        score : ndarray, shape (N, 6)
            1/kpc and s/km.

        Raises
        ------
        FitError
            If x has another shape, or rows where f is not defined: that are not finite, or so far away that ln f is not.
        """
        rows = np.atleast_2d(array(x, "phase space", FitError))
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise FitError(f"phase space must have shape (N, 6), found {rows.shape}")
        log_density, score = self._evaluate_rows(rows)
        undefined = int((~(np.isfinite(log_density) & np.isfinite(score).all(axis=1))).sum())
        if undefined:
            raise FitError(
                f"f is not defined at {undefined} of {len(rows)} rows, which are not finite or too far from the {self.volume.describe()}; "
                "leave them out"
            )
        return log_density, score

    def _evaluate_rows(self, rows: Array) -> tuple[Array, Array]:
        """ln f (n,) and its gradient (n, 6) in chunks, with -inf or NaN where they are not defined."""
        log_density, score = np.empty(len(rows)), np.empty_like(rows)
        for start in range(0, len(rows), ROWS):
            chunk = torch.tensor(rows[start : start + ROWS])
            part, gradient = self._evaluate(chunk)
            log_density[start : start + ROWS] = part.cpu().numpy()
            score[start : start + ROWS] = gradient.cpu().numpy()
        return log_density, score

    def log_density(self, pos: Quantity, vel: Quantity) -> Array:
        """ln of the number of stars per kpc^3 (km/s)^3.

        Parameters
        ----------
        pos, vel : Quantity, shape (N, 3)
            Galactocentric positions and velocities.

        Returns
        -------
        ndarray, shape (N,)

        Raises
        ------
        UnitsError
            For a bare array, a wrong unit or another shape.
        FitError
            If there are not as many velocities as positions, or rows where f is not defined.
        """
        return self.evaluate(_phase_space(pos, vel))[0]

    def score(self, pos: Quantity, vel: Quantity) -> tuple[Quantity, Quantity]:
        """Gradients of ln f with respect to position and velocity.

        Parameters
        ----------
        pos, vel : Quantity, shape (N, 3)
            Galactocentric positions and velocities.

        Returns
        -------
        score_x : Quantity, shape (N, 3)
            1/kpc.
        score_v : Quantity, shape (N, 3)
            s/km.

        Raises
        ------
        UnitsError
            For a bare array, a wrong unit or another shape.
        FitError
            If there are not as many velocities as positions, or rows where f is not defined.
        """
        score = self.evaluate(_phase_space(pos, vel))[1]
        return score[:, :3] / LENGTH, score[:, 3:] / VELOCITY

    def sample(self, n: int, seed: int = 0) -> tuple[Quantity, Quantity]:
        """Draw stars from f inside the volume.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            Of the draw.

        Returns
        -------
        pos, vel : Quantity, shape (n, 3)
            kpc, km/s.

        Raises
        ------
        FitError
            For an estimator without a sampler, a flow of which too few draws fall inside the volume, or numbers that are not whole.
        """
        x = self._sample(whole(n, "n", least=1, error=FitError), whole(seed, "seed", error=FitError))
        return x[:, :3] * LENGTH, x[:, 3:] * VELOCITY

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, atomically.

        Parameters
        ----------
        path : str or Path
            Conventionally ``*.safetensors``.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        tensors, header = self._state()
        write_model(path, tensors, self.describe() | {"state": header}, KIND)

    def describe(self) -> dict[str, Any]:
        """What every estimator has in common, JSON-able.

        Returns
        -------
        dict
            ``estimator``, ``volume`` [kpc], ``n_stars``, ``history`` and ``meta``.
        """
        return {
            "estimator": self.estimator,
            "volume": self.volume.to_dict(),
            "n_stars": self.n_stars,
            "history": self.history.to_dict(),
            "meta": self.meta,
        }

    @staticmethod
    def load(path: str | Path) -> Distribution:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Distribution
            Without the stars it was fitted to.

        Raises
        ------
        StoreError
            When the file is missing, damaged, too new, or no distribution.
        """
        from .rebuild import rebuild

        tensors, header = read_model(path, KIND)
        with rebuilding(path):
            df = rebuild(tensors, header)
            somewhere = np.append(np.asarray(df.volume.center, dtype=np.float64) + 0.1, [1.0, 2.0, 3.0])
            if not all(np.isfinite(values).all() for values in df._evaluate_rows(somewhere[None])):
                raise StoreError(f"{path} is damaged: ln f is not finite in the volume")
            return df


def _phase_space(pos: Quantity, vel: Quantity) -> Array:
    x, v = vectors(pos, LENGTH, "pos"), vectors(vel, VELOCITY, "vel")
    if len(x) != len(v):
        raise FitError(f"pos holds {len(x)} points and vel {len(v)}; they must agree")
    return np.concatenate([x, v], axis=1)
