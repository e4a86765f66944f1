"""What every analytic mock offers: f, its exact score, a sampler and the potential it is stationary in.

A mock is a distribution function f(x, v), normalised to one, that solves the collisionless Boltzmann equation exactly in a frame
rotating with ``omega`` about the z axis through the origin (``omega = 0``: in every frame). With u = Omega x x and w = Omega x v,

    (df/dt)_Omega = (u - v) . df/dx + (grad Phi + w) . df/dv = 0          (arXiv:2310.00040, equations 3-5 with x0 = v0 = 0)

and `AnalyticDistribution.residual` evaluates the same with s = grad ln f in place of grad f. Rows are (x, y, z, vx, vy, vz) in kpc and
km/s: *inertial* velocities along axes that coincide with the bar's frame at the moment of observation. Outside the support of f the
log density is -inf and the score is zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..arguments import array, whole
from ..errors import DeepPotError

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class AnalyticDistribution(ABC):
    """An exactly stationary distribution function in a known potential.

    Attributes
    ----------
    name : str
        A short name, kept in the tracers' metadata.
    omega : float
        Pattern speed about z in km/s/kpc; 0 for an axisymmetric or spherical mock.
    """

    name: str = "analytic"
    omega: float = 0.0

    @abstractmethod
    def log_density(self, x: Array) -> Array:
        """ln f; the integral of f is one.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space [kpc, km/s].

        Returns
        -------
        array, shape (N,)
            ln of 1/(kpc km/s)^3; -inf where f is zero.
        """

    @abstractmethod
    def score(self, x: Array) -> Array:
        """grad ln f.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space [kpc, km/s].

        Returns
        -------
        array, shape (N, 6)
            1/kpc for the first three columns, s/km for the last three; zero where f is zero.
        """

    @abstractmethod
    def potential(self, pos: Array) -> Array:
        """Phi.

        Parameters
        ----------
        pos : array, shape (N, 3) or (N, 6)
            Positions [kpc] in the first three columns.

        Returns
        -------
        array, shape (N,)
            (km/s)^2.
        """

    @abstractmethod
    def acceleration(self, pos: Array) -> Array:
        """-grad Phi.

        Parameters
        ----------
        pos : array, shape (N, 3) or (N, 6)
            Positions [kpc] in the first three columns.

        Returns
        -------
        array, shape (N, 3)
            (km/s)^2/kpc.
        """

    @abstractmethod
    def _draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw exactly ``n`` independent points (n, 6)."""

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw independent stars from f.

        Parameters
        ----------
        n : int
            How many stars; at least 1.
        rng : `numpy.random.Generator`
            Source of randomness; the same state gives the same stars.

        Returns
        -------
        ndarray
            Shape (n, 6), kpc and km/s.

        Raises
        ------
        DeepPotError
            If ``n`` is not positive.
        """
        if n < 1:
            raise DeepPotError(f"a mock needs at least one star, got n = {n}")
        return self._draw(int(n), rng)

    def residual(self, x: Array, omega: float | None = None) -> Array:
        """(d ln f / dt)_Omega with the mock's own potential: zero for its own pattern speed.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space [kpc, km/s].
        omega : float, optional
            A trial pattern speed in km/s/kpc; the true one by default.

        Returns
        -------
        array, shape (N,)
            km/s/kpc (1.02 per Gyr).
        """
        rate = self.omega if omega is None else float(omega)
        score = self.score(x)
        transport = -np.sum(x[:, 3:] * score[:, :3], axis=1) - np.sum(self.acceleration(x) * score[:, 3:], axis=1)
        return transport + rate * rotation_derivative(x, score)

    def tracers(self, n: int, seed: int = 0) -> Tracers:
        """Draw stars as a catalogue.

        Parameters
        ----------
        n : int
            How many stars; at least 1.
        seed : int
            Of the draw.

        Returns
        -------
        Tracers
            ``meta`` names the mock, the seed and the pattern speed.

        Raises
        ------
        DeepPotError
            If ``n`` is not positive, or ``seed`` no whole number of at least 0.
        """
        from ..catalogue.tracers import Tracers

        x = self.sample(n, np.random.default_rng(whole(seed, "seed")))
        result = Tracers.from_phase_space(x[:, :3] * u.kpc, x[:, 3:] * (u.km / u.s))
        result.meta.update(self.describe(), n=int(n), seed=int(seed))
        return result

    def describe(self) -> dict[str, Any]:
        """Facts about the mock, JSON-able.

        Returns
        -------
        dict
            The name, the pattern speed and the parameters; units are in the keys.
        """
        return {"mock": self.name, "omega_km_s_kpc": self.omega}


def rotation_derivative(x: Array, score: Array) -> Array:
    """The factor of Omega_z in the residual: (e_z x x) . s_x + (e_z x v) . s_v, shape (N,), for points and scores (N, 6)."""
    return x[:, 0] * score[:, 1] - x[:, 1] * score[:, 0] + x[:, 3] * score[:, 4] - x[:, 4] * score[:, 3]


def rotate(x: Array, angle: float) -> Array:
    """Turn vectors counter-clockwise about z by ``angle`` (rad); columns in blocks of three, shape (N, 3) or (N, 6)."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.array(x, dtype=np.float64, copy=True)
    for k in range(0, out.shape[1], 3):
        out[:, k] = c * x[:, k] - s * x[:, k + 1]
        out[:, k + 1] = s * x[:, k] + c * x[:, k + 1]
    return out


def positive(value: float, name: str) -> float:
    """Return ``value`` as a float, or raise when it is not a positive finite number."""
    number = finite(value, name)
    if not number > 0:
        raise DeepPotError(f"{name} must be a positive finite number, got {value}")
    return number


def finite(value: float, name: str) -> float:
    """Return ``value`` as a float, or raise when it is not one finite bare number."""
    number = array(value, name)
    if number.ndim or not np.isfinite(number):
        raise DeepPotError(f"{name} must be one finite number, got {value}")
    return float(number)
