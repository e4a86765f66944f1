"""Analytic potentials in closed form: value, gradient and Hessian, in NumPy.

With ``zeta = sqrt(c^2 + z^2)`` and ``h = b + zeta`` (so that h_z = z / zeta and h_zz = c^2 / zeta^3), the flattened models are functions
of the stretched point ``q = (x, y, h)``:

* `MiyamotoNagai`:  Phi = -G M / |q|
* `LongMurali`:     Phi = -(G M / a) artanh(2 a / S),  S = |q + a e_x| + |q - a e_x|: a needle of half length a, flattened

and the spherical ones of ``r``:

* `Plummer`:  Phi = -G M / sqrt(r^2 + b^2)
* `NFW`:      Phi = -G M ln(1 + r / r_s) / r, with M the mass scale 4 pi rho_0 r_s^3

All vanish at infinity. They serve as the base of the learned potential, as its continuation outside the training volume, and as
oracles of the tests. Their parameters are positive and are fitted in the logarithm (`fit_to_forces`).

References
----------
Miyamoto & Nagai 1975, PASJ 27, 533; Long & Murali 1992, ApJ 397, 44, eq. 32; Navarro, Frenk & White 1996, ApJ 462, 563.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from ..errors import FitError
from ..units import G

Array = NDArray[np.float64]
Evaluation = tuple[Array, Any, Any]
"""Potential (N,), then gradient (N, 3) and Hessian (N, 3, 3), each None where not asked for."""


@runtime_checkable
class InnerPotential(Protocol):
    """Anything with a value, a gradient and a Hessian at (N, 3) points in kpc: what the rest of the package builds on."""

    def evaluate(self, x: Array, order: int) -> Evaluation:
        """Potential (N,) in (km/s)^2, gradient (N, 3) if ``order`` >= 1, Hessian (N, 3, 3) if ``order`` >= 2."""
        ...


class AnalyticPotential(ABC):
    """Base of the closed-form models."""

    @abstractmethod
    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        """Evaluate the potential and its derivatives.

        Parameters
        ----------
        x : array_like, shape (N, 3)
            Positions in kpc.
        order : {0, 1, 2}
            Highest derivative wanted; the others are returned as None.

        Returns
        -------
        phi : (N,) in (km/s)^2
        gradient : (N, 3) in (km/s)^2/kpc, or None
        hessian : (N, 3, 3) in (km/s)^2/kpc^2, or None
        """

    @abstractmethod
    def parameters(self) -> Array:
        """Logarithms of the positive parameters, shape (n_parameters,)."""

    @abstractmethod
    def with_parameters(self, values: ArrayLike) -> AnalyticPotential:
        """The same model with other (log) parameters."""

    @abstractmethod
    def to_list(self) -> list[dict[str, Any]]:
        """JSON-able description: one dictionary per component."""

    @property
    @abstractmethod
    def mass(self) -> float:
        """Sum of the mass parameters in Msun (for `NFW` the mass scale, its total mass being infinite)."""

    def __add__(self, other: AnalyticPotential) -> Sum:
        return Sum([*_components(self), *_components(other)])


def _components(model: AnalyticPotential) -> Sequence[AnalyticPotential]:
    return model.components if isinstance(model, Sum) else [model]


@dataclass(frozen=True)
class _Component(AnalyticPotential):
    """One component; its parameters are the dataclass fields, positive unless listed in ``_not_fitted``."""

    _not_fitted: ClassVar[tuple[str, ...]] = ()

    m: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not np.isfinite(value) or (name not in self._not_fitted and value <= 0):
                raise FitError(f"{type(self).__name__}: {name} = {value} must be finite and positive")

    @property
    def mass(self) -> float:
        return self.m

    def _fitted(self) -> list[str]:
        return [f.name for f in fields(self) if f.name not in self._not_fitted]

    def parameters(self) -> Array:
        return np.log([getattr(self, name) for name in self._fitted()])

    def with_parameters(self, values: ArrayLike) -> AnalyticPotential:
        return replace(self, **dict(zip(self._fitted(), np.exp(np.asarray(values, float)).tolist(), strict=True)))

    def to_list(self) -> list[dict[str, Any]]:
        return [{"type": type(self).__name__, **asdict(self)}]


def _flatten(x: Array, b: float, c: float) -> tuple[Array, Array, Array]:
    """The stretched points q = (x, y, b + zeta), with h_z and h_zz."""
    zeta = np.hypot(c, x[:, 2])
    return np.column_stack([x[:, 0], x[:, 1], b + zeta]), x[:, 2] / zeta, (c / zeta) ** 2 / zeta


def _unflatten(phi: Array, grad: Array | None, hess: Array | None, h_z: Array, h_zz: Array) -> Evaluation:
    """Chain rule from derivatives in q to derivatives in x."""
    if grad is None:
        return phi, None, None
    if hess is not None:
        hess[:, 2, :] *= h_z[:, None]
        hess[:, :, 2] *= h_z[:, None]
        hess[:, 2, 2] += grad[:, 2] * h_zz
    grad[:, 2] *= h_z
    return phi, grad, hess


def _from_distance(x: Array, phi: Array, first: Array, second: Array, order: int) -> Evaluation:
    """Assemble derivatives of Phi(r) from ``first`` = Phi' / r and ``second`` = (Phi'' - Phi' / r) / r^2."""
    grad = first[:, None] * x if order >= 1 else None
    hess = first[:, None, None] * np.eye(3) + (second[:, None] * x)[:, :, None] * x[:, None, :] if order >= 2 else None
    return phi, grad, hess


@dataclass(frozen=True)
class Plummer(_Component):
    """Plummer sphere of mass ``m`` (Msun) and scale ``b`` (kpc)."""

    b: float

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        x = np.asarray(x, np.float64)
        inverse = 1 / np.sqrt(np.einsum("ni,ni->n", x, x) + self.b**2)
        scale = G * self.m * inverse
        return _from_distance(x, -scale, scale * inverse**2, -3 * scale * inverse**4, order)


@dataclass(frozen=True)
class NFW(_Component):
    """Navarro-Frenk-White halo of mass scale ``m`` = 4 pi rho_0 r_s^3 (Msun) and scale radius ``r_s`` (kpc).

    The Hessian diverges as 1/r at the cusp; there r is floored at 1e-8 r_s so that everything stays finite.
    """

    r_s: float

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        x = np.asarray(x, np.float64)
        s = np.maximum(np.sqrt(np.einsum("ni,ni->n", x, x)) / self.r_s, 1e-8)
        scale = G * self.m / self.r_s
        # With u = ln(1+s)/s: Phi = -scale u; the derivatives cancel to second and third order at small s, hence the series.
        log, ratio = np.log1p(s), s / (1 + s)
        enclosed, third = (log - ratio) / s**2, (3 * (log - ratio) - ratio**2) / s**2
        near = s < 2e-2
        if near.any():
            enclosed[near] = _series(s[near], (1 / 2, -2 / 3, 3 / 4, -4 / 5, 5 / 6, -6 / 7, 7 / 8))
            third[near] = _series(s[near], (1 / 2, 0, -3 / 4, 8 / 5, -5 / 2, 24 / 7, -35 / 8))
        return _from_distance(x, -scale * log / s, scale * enclosed / s / self.r_s**2, -scale * third / s**3 / self.r_s**4, order)


def _series(s: Array, coefficients: Sequence[float]) -> Array:
    return np.asarray(np.polynomial.polynomial.polyval(s, np.asarray(coefficients)), np.float64)


@dataclass(frozen=True)
class MiyamotoNagai(_Component):
    """Miyamoto-Nagai disc of mass ``m`` (Msun), scale length ``a`` and scale height ``b`` (kpc)."""

    a: float
    b: float

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        q, h_z, h_zz = _flatten(np.asarray(x, np.float64), self.a, self.b)
        inverse = 1 / np.sqrt(np.einsum("ni,ni->n", q, q))
        scale = G * self.m * inverse
        return _unflatten(*_from_distance(q, -scale, scale * inverse**2, -3 * scale * inverse**4, order), h_z, h_zz)


@dataclass(frozen=True)
class LongMurali(_Component):
    """Bar of mass ``m`` (Msun): a needle of half length ``a`` along ``angle`` (rad, from x to y), thickened by ``b`` and ``c`` (kpc)."""

    _not_fitted: ClassVar[tuple[str, ...]] = ("angle",)

    a: float
    b: float
    c: float
    angle: float = 0.0

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        rotation = np.array([[np.cos(self.angle), np.sin(self.angle), 0], [-np.sin(self.angle), np.cos(self.angle), 0], [0, 0, 1]])
        q, h_z, h_zz = _flatten(np.asarray(x, np.float64) @ rotation.T, self.b, self.c)
        end = np.array([self.a, 0.0, 0.0])
        arms = np.stack([q + end, q - end])
        inverse = 1 / np.linalg.norm(arms, axis=2)
        total = np.sum(1 / inverse, axis=0)
        phi = -G * self.m / self.a * np.arctanh(2 * self.a / total)
        if order < 1:
            return phi, None, None
        first = 2 * G * self.m / (total**2 - 4 * self.a**2)
        unit = arms * inverse[:, :, None]
        s_grad = unit.sum(axis=0)
        hess = None
        if order >= 2:
            s_hess = np.sum(inverse[:, :, None, None] * (np.eye(3) - unit[:, :, :, None] * unit[:, :, None, :]), axis=0)
            second = -first * 2 * total / (total**2 - 4 * self.a**2)
            hess = first[:, None, None] * s_hess + (second[:, None] * s_grad)[:, :, None] * s_grad[:, None, :]
        _, grad, hess = _unflatten(phi, first[:, None] * s_grad, hess, h_z, h_zz)
        return phi, grad @ rotation, None if hess is None else rotation.T @ hess @ rotation


class Sum(AnalyticPotential):
    """Sum of components."""

    def __init__(self, components: Iterable[AnalyticPotential]) -> None:
        self.components = list(components)
        if not self.components:
            raise FitError("a sum of potentials needs at least one component, found none")

    def evaluate(self, x: ArrayLike, order: int = 2) -> Evaluation:
        x = np.asarray(x, np.float64)
        phi, grad, hess = self.components[0].evaluate(x, order)
        for component in self.components[1:]:
            more = component.evaluate(x, order)
            phi = phi + more[0]
            grad = grad + more[1] if grad is not None else None
            hess = hess + more[2] if hess is not None else None
        return phi, grad, hess

    def parameters(self) -> Array:
        return np.concatenate([component.parameters() for component in self.components])

    def with_parameters(self, values: ArrayLike) -> Sum:
        sizes = [len(component.parameters()) for component in self.components]
        parts = np.split(np.asarray(values, float), np.cumsum(sizes)[:-1])
        return Sum([component.with_parameters(part) for component, part in zip(self.components, parts, strict=True)])

    def to_list(self) -> list[dict[str, Any]]:
        return [entry for component in self.components for entry in component.to_list()]

    @property
    def mass(self) -> float:
        return float(sum(component.mass for component in self.components))


_TYPES: dict[str, type[_Component]] = {cls.__name__: cls for cls in (Plummer, NFW, MiyamotoNagai, LongMurali)}


def from_list(entries: Sequence[dict[str, Any]]) -> Sum:
    """Rebuild what ``to_list`` wrote; unknown types and fields raise `FitError`."""
    components = []
    if not isinstance(entries, list | tuple):
        raise FitError(f"analytic potentials are described by a list of mappings, found a {type(entries).__name__}")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise FitError(f"an analytic potential is described by a mapping with its type and numbers, found {str(entry)[:60]}")
        values = dict(entry)
        name = values.pop("type", None)
        if name not in _TYPES:
            raise FitError(f"unknown analytic potential {name!r}; known are {', '.join(sorted(_TYPES))}")
        try:
            components.append(_TYPES[name](**{key: float(value) for key, value in values.items()}))
        except (TypeError, ValueError) as error:
            raise FitError(f"{name}: {error}") from None
    return Sum(components)


def to_array(model: AnalyticPotential) -> Array:
    """The model as float64 rows (n_components, 6): index of the type, then its fields, padded with zeros."""
    names = list(_TYPES)
    rows = []
    for entry in model.to_list():
        kind = names.index(entry.pop("type"))
        rows.append([kind, *entry.values(), *[0.0] * (5 - len(entry))])
    return np.array(rows, np.float64)


def from_array(rows: ArrayLike) -> Sum:
    """Inverse of `to_array`; malformed rows raise IndexError or `FitError`."""
    types = list(_TYPES.values())
    components = []
    for kind, *values in np.asarray(rows, np.float64).tolist():
        cls = types[int(kind)]
        if len(values) < len(fields(cls)):
            raise FitError(f"a row of {len(values)} numbers is too short for a {cls.__name__}, which has {len(fields(cls))}")
        components.append(cls(*values[: len(fields(cls))]))
    return Sum(components)


def fit_to_forces(
    model: AnalyticPotential, x: ArrayLike, gradient: ArrayLike, *, weights: ArrayLike | None = None, prior_width: float = 2.0
) -> AnalyticPotential:
    """Fit the parameters to gradients, by least squares of the relative force error.

    Parameters
    ----------
    model : AnalyticPotential
        Starting point, and centre of a weak log-normal prior that holds parameters the forces do not determine.
    x, gradient : array_like, shape (N, 3)
        Positions in kpc and grad Phi in (km/s)^2/kpc.
    weights : array_like, shape (N,), optional
        Relative weights of the points.
    prior_width : float
        Standard deviation of ln(parameter) under the prior, which counts as one thousandth of the data.

    Raises
    ------
    FitError
        If points or gradients are not finite, or fewer than the parameters.
    """
    x, gradient = np.asarray(x, np.float64), np.asarray(gradient, np.float64)
    start = model.parameters()
    if 3 * len(x) < len(start) or not (np.isfinite(x).all() and np.isfinite(gradient).all()):
        raise FitError(f"cannot fit {len(start)} parameters to {len(x)} points: need more, and all of them finite")
    size = np.linalg.norm(gradient, axis=1)
    root = np.ones(len(x)) if weights is None else np.sqrt(np.asarray(weights, np.float64))
    scale = (root / np.maximum(size, 1e-3 * np.median(size)))[:, None] / np.sqrt(np.sum(root**2))

    def residual(values: Array) -> Array:
        grad = model.with_parameters(values).evaluate(x, 1)[1]
        return np.concatenate([((grad - gradient) * scale).ravel(), (values - start) / prior_width * 1e-3**0.5 * 0.1])

    bound = 4 * prior_width
    fit = least_squares(residual, start, bounds=(start - bound, start + bound), method="trf", max_nfev=200)
    return model.with_parameters(fit.x)
