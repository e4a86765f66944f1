r"""The rotating frame: Omega, x0, v0, which of them are free, and what is identifiable.

In a frame that rotates with Omega about an axis through x0 and moves with v0 (Kalda, Green & Ghosh 2023, equations 3-5)

    u = Omega x (x - x0) + v0,    w = Omega x (v - v0).

Stationarity determines Omega and c = v0 - Omega x x0 only: an offset of the axis and a velocity of the frame across it are the same
thing, up to a linear tilt of Phi (w contains Omega x v0). So x0 and v0 are never free together. A shift of x0 along the axis changes
nothing, whatever the direction of the axis; a velocity along it is determined. The default holds both fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..arguments import array, rebuilding
from ..errors import FrameError
from ..units import ANGULAR_SPEED, LENGTH, VELOCITY, to_internal

Array = NDArray[np.float64]

COMPONENTS = tuple(f"{group}_{axis}" for group in ("omega", "x0", "v0") for axis in "xyz")
_ALONG = 1e-3  # sine of the angle to the axis below which a direction is along it
_CELLS = (4, 4, 2)  # along x, y, z: within each the errors of scores are taken for common
_UNITS = {"omega": ANGULAR_SPEED, "x0": LENGTH, "v0": VELOCITY}


class RotatingFrame:
    """A rotating frame of reference, and which of its components a fit may change.

    Methods "weak" and "linear" turn about z and fit Omega_z alone; other rotations and freedoms need ``method="network"``.

    Parameters
    ----------
    omega : Quantity
        Angular velocity: a scalar (about z) or a 3-vector; units of km/s/kpc or rad/Gyr.
    x0 : Quantity, shape (3,), optional
        A point of the rotation axis; the origin by default.
    v0 : Quantity, shape (3,), optional
        Velocity of the frame; zero by default.
    free : tuple of str
        Components fitted to the data: any of omega_x, omega_y, omega_z, and some of either x0_x, x0_y, x0_z or v0_x, v0_y, v0_z. Those of
        x0 must not hold the direction of the axis: about z x0_x and x0_y may be free, x0_z may not.
    prior : mapping, optional
        Component -> (mean, sigma) as Quantities: a Gaussian prior on a free component.

    Raises
    ------
    FrameError
        For an unknown component or one that is named twice, a prior on a fixed one, or a combination that stars cannot identify.

    References
    ----------
    Kalda, Green & Ghosh 2023, arXiv:2310.00040, equations 3-5.

    Examples
    --------
    >>> import astropy.units as u
    >>> RotatingFrame(omega=39 * u.km / u.s / u.kpc).omega[2]
    <Quantity 39. km / (kpc s)>
    """

    def __init__(
        self,
        omega: u.Quantity = 0.0 * ANGULAR_SPEED,
        x0: u.Quantity | None = None,
        v0: u.Quantity | None = None,
        *,
        free: tuple[str, ...] = ("omega_z",),
        prior: Mapping[str, tuple[u.Quantity, u.Quantity]] | None = None,
    ) -> None:
        values = to_internal(omega, ANGULAR_SPEED, "omega")
        self.omega_vector: Array = np.array([0.0, 0.0, float(values)]) if values.ndim == 0 else np.array(values, dtype=float)
        self.x0_vector: Array = np.zeros(3) if x0 is None else to_internal(x0, LENGTH, "x0")
        self.v0_vector: Array = np.zeros(3) if v0 is None else to_internal(v0, VELOCITY, "v0")
        for name, vector in (("omega", self.omega_vector), ("x0", self.x0_vector), ("v0", self.v0_vector)):
            if vector.shape != (3,) or not np.isfinite(vector).all():
                raise FrameError(f"{name} must be three finite numbers, found {vector.tolist()}")
        if not isinstance(free, tuple | list) or not all(isinstance(name, str) for name in free):
            raise FrameError(f"free must be a tuple of components such as ('omega_z',), found {free!r}")
        self.free = tuple(free)
        self.prior: dict[str, tuple[float, float]] = {}
        for name, pair in dict(prior or {}).items():
            mean, sigma = _mean_and_sigma(pair, name)
            if name not in self.free:
                raise FrameError(f"a prior on {name} needs it among the free components {self.free}")
            unit = unit_of(name)
            self.prior[name] = (
                float(to_internal(mean, unit, f"prior mean of {name}")),
                float(to_internal(sigma, unit, f"prior sigma of {name}")),
            )
            if not (self.prior[name][1] > 0 and np.isfinite(self.prior[name]).all()):
                raise FrameError(f"the prior of {name} must be a finite mean and a positive sigma, found {mean} and {sigma}")
        self._check()

    def _check(self) -> None:
        unknown = [name for name in self.free if name not in COMPONENTS]
        if unknown:
            raise FrameError(f"unknown frame component {unknown[0]!r}; known are {', '.join(COMPONENTS)}")
        twice = [name for k, name in enumerate(self.free) if name in self.free[:k]]
        if twice:
            raise FrameError(f"frame component {twice[0]!r} is named twice in free = {self.free}; name it once")
        x0_free = [n for n in self.free if n.startswith("x0")]
        v0_free = [n for n in self.free if n.startswith("v0")]
        if x0_free and v0_free:
            raise FrameError(
                f"{', '.join(x0_free)} and {', '.join(v0_free)} cannot both be free: "
                "stationarity determines only v0 - Omega x x0; hold one of them fixed"
            )
        if x0_free and self.is_lab:
            raise FrameError("x0 cannot be free in a frame that does not rotate: it has no effect there")
        if x0_free and self._holds_axis([n[-1] for n in x0_free]):
            raise FrameError(
                f"{' and '.join(x0_free)} cannot be free: they hold the axis of rotation, and a shift of x0 along it changes nothing; "
                "hold one of them fixed"
            )

    def _holds_axis(self, free: list[str]) -> bool:
        """Whether the axis lies in the space spanned by these coordinates; where Omega starts from zero, any axis that it may take."""
        speed = float(np.linalg.norm(self.omega_vector))
        outside = [k for k, axis in enumerate("xyz") if axis not in free]
        if speed > 0.0:
            return float(np.linalg.norm(self.omega_vector[outside])) < _ALONG * speed
        return not any(f"omega_{'xyz'[k]}" in self.free for k in outside)

    @property
    def omega(self) -> u.Quantity:
        """Angular velocity, Quantity (3,) [km/s/kpc]."""
        return self.omega_vector * ANGULAR_SPEED

    @property
    def x0(self) -> u.Quantity:
        """A point of the rotation axis, Quantity (3,) [kpc]."""
        return self.x0_vector * LENGTH

    @property
    def v0(self) -> u.Quantity:
        """Velocity of the frame, Quantity (3,) [km/s]."""
        return self.v0_vector * VELOCITY

    @property
    def is_lab(self) -> bool:
        """True for a frame that neither rotates nor may start to."""
        return not self.omega_vector.any() and not any(n.startswith("omega") for n in self.free)

    @property
    def about_z(self) -> bool:
        """True for a frame that rotates about the z axis and cannot leave it."""
        return not self.omega_vector[:2].any() and not {"omega_x", "omega_y"} & set(self.free)

    def with_vectors(self, omega: Array, x0: Array | None = None, v0: Array | None = None) -> RotatingFrame:
        """The same freedoms and priors with other numbers, as arrays.

        Parameters
        ----------
        omega : array, shape (3,)
            Angular velocity [km/s/kpc].
        x0 : array, shape (3,), optional
            A point of the rotation axis [kpc]; as it is by default.
        v0 : array, shape (3,), optional
            Velocity of the frame [km/s]; as it is by default.

        Returns
        -------
        RotatingFrame

        Raises
        ------
        FrameError
            If one of them is not three finite numbers.
        """
        out = RotatingFrame(
            array(omega, "omega", FrameError) * ANGULAR_SPEED,
            (self.x0_vector if x0 is None else array(x0, "x0", FrameError)) * LENGTH,
            (self.v0_vector if v0 is None else array(v0, "v0", FrameError)) * VELOCITY,
            free=(),
        )
        out.free, out.prior = self.free, self.prior
        return out

    def component(self, name: str) -> float:
        """The value of one component.

        Parameters
        ----------
        name : str
            Such as "omega_z" or "x0_y".

        Returns
        -------
        float
            In km/s/kpc, kpc or km/s.
        """
        group, axis = name.split("_")
        return float(getattr(self, f"{group}_vector")["xyz".index(axis)])

    def holding(self, values: Mapping[str, float]) -> RotatingFrame:
        """The frame with some components held, and without their priors.

        Parameters
        ----------
        values : mapping
            Component -> value in km/s/kpc, kpc or km/s.

        Returns
        -------
        RotatingFrame
        """
        vectors = {group: getattr(self, f"{group}_vector").copy() for group in _UNITS}
        for name, value in values.items():
            vectors[name.split("_")[0]]["xyz".index(name[-1])] = value
        out = self.with_vectors(vectors["omega"], vectors["x0"], vectors["v0"])
        out.free = tuple(name for name in self.free if name not in values)
        out.prior = {name: prior for name, prior in self.prior.items() if name not in values}
        return out

    def starting_from(self, omega_z: float, sigma: float) -> RotatingFrame:
        """The same frame with Omega_z from an independent measurement, which is also its Gaussian prior.

        Parameters
        ----------
        omega_z, sigma : float
            Value and standard error [km/s/kpc].

        Returns
        -------
        RotatingFrame

        Raises
        ------
        FrameError
            If ``omega_z`` is not finite, or ``sigma`` not positive.
        """
        if not sigma > 0:
            raise FrameError(f"the standard error of omega_z must be positive, found {sigma}")
        out = self.with_vectors(np.array([*self.omega_vector[:2], omega_z]))
        out.prior = {**self.prior, "omega_z": (float(omega_z), float(sigma))}
        return out

    def to_dict(self) -> dict[str, Any]:
        """The frame, ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            ``omega`` [km/s/kpc], ``x0`` [kpc], ``v0`` [km/s], ``free``, and ``prior``: mean and sigma in these units.
        """
        return {
            "omega": self.omega_vector.tolist(),
            "x0": self.x0_vector.tolist(),
            "v0": self.v0_vector.tolist(),
            "free": list(self.free),
            "prior": {k: list(v) for k, v in self.prior.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RotatingFrame:
        """Inverse of `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives; ``free`` and ``prior`` may be left out.

        Returns
        -------
        RotatingFrame

        Raises
        ------
        FrameError
            As for the frame itself, and for a description that lacks a key, has an unknown one or is none.
        """
        with rebuilding("a rotating frame", values, FrameError):
            unknown = set(values) - {*_UNITS, "free", "prior"}
            if unknown:
                raise FrameError(f"the description of a rotating frame has an unknown {sorted(unknown)[0]!r}")
            pairs = {k: (v[0], v[1], _UNITS.get(k.split("_")[0], ANGULAR_SPEED)) for k, v in values.get("prior", {}).items()}
            return cls(
                *(u.Quantity(array(values[name], name, FrameError), unit) for name, unit in _UNITS.items()),
                free=tuple(values.get("free", ())),
                prior={k: (mean * unit, sigma * unit) for k, (mean, sigma, unit) in pairs.items()},
            )

    def __repr__(self) -> str:
        return f"<RotatingFrame: Omega = {self.omega_vector.tolist()} km/s/kpc, free: {', '.join(self.free) or 'nothing'}>"


def unit_of(name: str) -> u.UnitBase:
    """Unit of a component such as "v0_x": km/s/kpc, kpc or km/s."""
    return _UNITS[name.split("_")[0]]


def _mean_and_sigma(pair: Any, name: str) -> tuple[Any, Any]:
    try:
        mean, sigma = pair
    except (TypeError, ValueError):
        raise FrameError(f"the prior of {name} must be (mean, sigma), found {pair!r}") from None
    return mean, sigma


def stationarity_rate(points: Array, score: Array, gradient: Array, frame: RotatingFrame) -> Array:
    """d ln f / dt seen in the frame, (u - v) . s_x + (grad Phi + w) . s_v, shape (n,), in km/s/kpc.

    Parameters
    ----------
    points, score : (n, 6) arrays
        Phase-space points and grad ln f (1/kpc, s/km).
    gradient : (n, 3) array
        grad Phi in (km/s)^2/kpc.
    frame : RotatingFrame
    """
    x, v = points[:, :3], points[:, 3:]
    drift = np.cross(frame.omega_vector, x - frame.x0_vector) + frame.v0_vector - v
    kick = gradient + np.cross(frame.omega_vector, v - frame.v0_vector)
    return np.sum(drift * score[:, :3] + kick * score[:, 3:], axis=1)


def rotation_columns(points: Array, score: Array, frame: RotatingFrame) -> Array:
    """Derivatives of the rate by Omega_x, Omega_y, Omega_z: (e_k x (x - x0)) . s_x + (e_k x (v - v0)) . s_v, shape (n, 3).

    Parameters
    ----------
    points, score : (n, 6) arrays
    frame : RotatingFrame
    """
    return np.cross(points[:, :3] - frame.x0_vector, score[:, :3]) + np.cross(points[:, 3:] - frame.v0_vector, score[:, 3:])


def frame_covariance(points: Array, score: Array, rate: Array, frame: RotatingFrame) -> Array:
    """Covariance (K, K) of the K free components, in the order of ``frame.free``, when Phi is held; km/s/kpc, kpc, km/s.

    The rate is linear in each of them, with the rows

        Omega_k : (e_k x (x - x0)) . s_x + (e_k x (v - v0)) . s_v,   x0_k : -(Omega x e_k) . s_x,   v0_k : s_x,k - (Omega x e_k) . s_v;

    the covariance is the sandwich H^-1 (sum_c p_c p_c^T) H^-1 with p_c = sum_{i in c} w r a, the robust weights w of `stationarity`, and
    cells c (four quantiles in x and in y, two sides in z): errors of learned scores are the same for neighbours (Liang & Zeger 1986).

    Parameters
    ----------
    points, score : (n, 6) arrays
    rate : (n,) array
        From `stationarity_rate`.
    frame : RotatingFrame
    """
    x, turning, columns = points[:, :3] - frame.x0_vector, rotation_columns(points, score, frame), []
    for name in frame.free:
        group, e = name.split("_")[0], np.eye(3)["xyz".index(name[-1])]
        turned = np.cross(frame.omega_vector, e)
        if group == "omega":
            columns.append(turning @ e)
        elif group == "x0":
            columns.append(-score[:, :3] @ turned)
        else:
            columns.append(score[:, :3] @ e - score[:, 3:] @ turned)
    if not columns:
        return np.zeros((0, 0))
    rows = np.stack(columns, axis=1)
    scale = max(1.5 * float(np.median(np.abs(rate))), 1e-3)
    weight = 1.0 / np.sqrt(1.0 + (rate / scale) ** 2)
    inverse = np.linalg.pinv((rows * weight[:, None]).T @ rows)
    cell = np.zeros(len(x), dtype=int)
    for axis, parts in enumerate(_CELLS):
        cell = cell * parts + np.searchsorted(np.quantile(x[:, axis], np.arange(1, parts) / parts), x[:, axis])
    pull = np.zeros((int(np.prod(_CELLS)), rows.shape[1]))
    np.add.at(pull, cell, rows * (weight * rate)[:, None])
    return inverse @ (pull.T @ pull) @ inverse
