"""Smooth linear bases for a potential, and the potential they span.

Disc (`DiscBasis`): even in z, chosen azimuthal harmonics,

    B_{klm}(x) = S_k(s(R)) S_l(t(z)) e_m(R) {cos, sin}(m phi),
    s = ((1 + R^2/a^2)^(1/4) - 1) / s_max,   t = ((1 + z^2/h^2)^(1/4) - 1) / t_max,   e_m = (R^2 / (R^2 + a_m^2))^(m/2),

with S quartic B-splines on equal knots in [0, 1]. The stretched coordinates are even and smooth in R and z, so every function is
smooth at the centre and in the plane, and resolution goes where stars and forces change. Ball (`BallBasis`): Legendre products in
local coordinates, (x - x_c)/r, (y - y_c)/r, asinh((z - z_c)/h)/asinh(r/h), up to a total degree.

Every basis gives values, gradients and second derivatives as (n, K), (n, K, 3), (n, K, 3, 3); `LinearPotential` adds an analytic
base to a linear combination. Internal units (kpc, km/s).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from ..catalogue.volumes import Ball, Cylinder, Volume
from .analytic import AnalyticPotential, Evaluation, from_list

Array = NDArray[np.float64]
_MARGIN = 1.02  # the basis reaches a little beyond the volume, so that boundary points are inside its support


def _splines(x: Array, n: int, degree: int, order: int) -> list[Array]:
    """Values and derivatives up to ``order`` of the ``n`` B-splines on [0, 1] (x clipped), each (len(x), n)."""
    knots = np.concatenate([np.zeros(degree), np.linspace(0.0, 1.0, n - degree + 1), np.ones(degree)])
    spline = BSpline(knots, np.eye(n), degree)
    x = np.clip(x, 0.0, 1.0)
    return [np.asarray(spline(x, nu=k)) for k in range(order + 1)]


def _stretch(q: Array, scale: float, q_max: float) -> tuple[Array, Array, Array]:
    """s(q) = ((1 + q^2/scale^2)^(1/4) - 1) / s_max with its first and second derivative."""
    one = 1.0 + (q / scale) ** 2
    s_max = (1.0 + (q_max / scale) ** 2) ** 0.25 - 1.0
    first = 0.5 * q / scale**2 * one**-0.75
    second = 0.5 / scale**2 * (one**-0.75 - 1.5 * (q / scale) ** 2 * one**-1.75)
    return (one**0.25 - 1.0) / s_max, first / s_max, second / s_max


def _chain(values: list[Any], first: Array, second: Array) -> list[Array]:
    """Derivatives with respect to q of functions of s(q)."""
    out = [values[0]]
    if len(values) > 1:
        out.append(values[1] * first[:, None])
    if len(values) > 2:
        out.append(values[2] * (first**2)[:, None] + values[1] * second[:, None])
    return out


class DiscBasis:
    """Spline and harmonic basis of a disc (see the module). ``size`` functions.

    Parameters
    ----------
    r_max, z_max : float
        Extent in kpc.
    n_radial, n_vertical : int
        Number of B-splines in each direction.
    harmonics : tuple of int
        Azimuthal orders m; 0 must be among them.
    r_scale, z_scale : float
        The softening lengths a, h of the stretched coordinates (kpc).
    """

    degree = 4

    def __init__(
        self,
        *,
        r_max: float,
        z_max: float,
        n_radial: int = 14,
        n_vertical: int = 6,
        harmonics: tuple[int, ...] = (0, 2, 4),
        r_scale: float = 0.8,
        z_scale: float = 0.3,
    ) -> None:
        self.r_max, self.z_max = float(r_max), float(z_max)
        self.n_radial, self.n_vertical = int(n_radial), int(n_vertical)
        self.harmonics = tuple(int(m) for m in harmonics)
        self.r_scale, self.z_scale = float(r_scale), float(z_scale)
        block = self.n_radial * self.n_vertical
        self.terms = [(m, part) for m in self.harmonics for part in (("cos", "sin") if m else ("cos",))]
        self.size = block * len(self.terms)
        self.order_of = np.repeat([m for m, _ in self.terms], block)  # the harmonic of each function
        self.radial_of = np.tile(np.repeat(np.arange(self.n_radial), self.n_vertical), len(self.terms))  # and its radial spline

    @property
    def radii(self) -> Array:
        """Where the radial splines are centred (Greville abscissae), (n_radial,) in kpc."""
        knots = np.concatenate([np.zeros(self.degree), np.linspace(0.0, 1.0, self.n_radial - self.degree + 1), np.ones(self.degree)])
        middle = np.array([knots[k + 1 : k + 1 + self.degree].mean() for k in range(self.n_radial)])
        reach = (1.0 + (self.r_max / self.r_scale) ** 2) ** 0.25 - 1.0
        return self.r_scale * np.sqrt((middle * reach + 1.0) ** 4 - 1.0)

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "disc",
            "r_max": self.r_max,
            "z_max": self.z_max,
            "n_radial": self.n_radial,
            "n_vertical": self.n_vertical,
            "harmonics": list(self.harmonics),
            "r_scale": self.r_scale,
            "z_scale": self.z_scale,
        }

    def cylindrical(self, x: Array, order: int = 1) -> dict[str, Array]:
        """Derivatives along R, phi, z, each (n, size): keys "", "R", "p", "z", and "RR", "Rp", "Rz", "pp", "pz", "zz" at order 2.

        "p" is the derivative with respect to phi itself (no 1/R).
        """
        radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-6)
        phi = np.arctan2(x[:, 1], x[:, 0])
        s, s1, s2 = _stretch(radius, self.r_scale, self.r_max)
        t, t1, t2 = _stretch(x[:, 2], self.z_scale, self.z_max)
        radial = _chain(_splines(s, self.n_radial, self.degree, order), s1, s2)
        vertical = _chain(_splines(t, self.n_vertical, self.degree, order), t1, t2)
        names = [("", 0, 0, 0), ("R", 1, 0, 0), ("p", 0, 1, 0), ("z", 0, 0, 1)][: 1 if order == 0 else 4]
        if order == 2:
            names += [("RR", 2, 0, 0), ("Rp", 1, 1, 0), ("Rz", 1, 0, 1), ("pp", 0, 2, 0), ("pz", 0, 1, 1), ("zz", 0, 0, 2)]
        out = {name: np.empty((len(x), self.size)) for name, *_ in names}
        block = self.n_radial * self.n_vertical
        envelope: dict[int, list[Array]] = {}
        for i, (m, part) in enumerate(self.terms):
            if m not in envelope:
                envelope[m] = self._enveloped(radial, radius, m)
            wave = self._wave(phi, m, part)
            for name, kr, kp, kz in names:
                product = (envelope[m][kr] * wave[kp][:, None])[:, :, None] * vertical[kz][:, None, :]
                out[name][:, i * block : (i + 1) * block] = product.reshape(len(x), block)
        return out

    def _enveloped(self, radial: list[Array], radius: Array, m: int) -> list[Array]:
        """e_m(R) S_k(R) and its radial derivatives by Leibniz."""
        if m == 0:
            return radial
        a2 = self.r_scale**2
        q = radius**2 / (radius**2 + a2)
        q1 = 2.0 * radius * a2 / (radius**2 + a2) ** 2
        q2 = 2.0 * a2 * (a2 - 3.0 * radius**2) / (radius**2 + a2) ** 3
        p = 0.5 * m
        e = q**p
        e1 = p * q ** (p - 1) * q1
        out = [radial[0] * e[:, None]]
        if len(radial) > 1:
            out.append(radial[1] * e[:, None] + radial[0] * e1[:, None])
        if len(radial) > 2:
            e2 = p * q ** (p - 1) * q2 + p * (p - 1) * q ** (p - 2) * q1**2
            out.append(radial[2] * e[:, None] + 2.0 * radial[1] * e1[:, None] + radial[0] * e2[:, None])
        return out

    @staticmethod
    def _wave(phi: Array, m: int, part: str) -> list[Array]:
        cos, sin = np.cos(m * phi), np.sin(m * phi)
        return [cos, -m * sin, -(m**2) * cos] if part == "cos" else [sin, m * cos, -(m**2) * sin]

    def evaluate(self, x: Array, order: int = 1) -> Evaluation:
        """Values (n, K), Cartesian gradients (n, K, 3) and Hessians (n, K, 3, 3); None above ``order``."""
        d = self.cylindrical(x, order)
        if order == 0:
            return d[""], None, None
        radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-6)[:, None]
        c, s = x[:, :1] / radius, x[:, 1:2] / radius
        along, across = d["R"], d["p"] / radius
        gradient = np.stack([along * c - across * s, along * s + across * c, d["z"]], axis=2)
        if order == 1:
            return d[""], gradient, None
        rr = d["RR"]
        pp = d["pp"] / radius**2 + d["R"] / radius
        rp = d["Rp"] / radius - d["p"] / radius**2
        rz, pz = d["Rz"], d["pz"] / radius
        hessian = np.empty((*gradient.shape, 3))
        hessian[..., 0, 0] = rr * c**2 - 2 * rp * s * c + pp * s**2
        hessian[..., 1, 1] = rr * s**2 + 2 * rp * s * c + pp * c**2
        hessian[..., 0, 1] = hessian[..., 1, 0] = (rr - pp) * s * c + rp * (c**2 - s**2)
        hessian[..., 0, 2] = hessian[..., 2, 0] = rz * c - pz * s
        hessian[..., 1, 2] = hessian[..., 2, 1] = rz * s + pz * c
        hessian[..., 2, 2] = d["zz"]
        return d[""], gradient, hessian

    def laplacian(self, x: Array) -> Array:
        """(n, K)."""
        d = self.cylindrical(x, 2)
        radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-6)[:, None]
        return d["RR"] + d["R"] / radius + d["pp"] / radius**2 + d["zz"]


class BallBasis:
    """Products of Legendre polynomials in a ball, even in z when its centre is in the plane, total degree from ``lowest`` to ``degree``."""

    def __init__(
        self, *, center: Any, radius: float, degree: int = 10, lowest: int = 1, z_scale: float = 0.5, even: bool | None = None
    ) -> None:
        self.center, self.radius = np.asarray(center, dtype=float), float(radius)
        self.degree, self.lowest, self.z_scale = int(degree), int(lowest), float(z_scale)
        self.even = abs(self.center[2]) < 1e-9 if even is None else bool(even)
        n = self.degree + 1
        powers = [(i, j, k) for i in range(n) for j in range(n) for k in range(n) if self.lowest <= i + j + k <= self.degree]
        self.powers = np.array([p for p in powers if not (self.even and p[2] % 2)])
        self.size = len(self.powers)
        self.order_of = np.zeros(self.size, dtype=int)

    def to_dict(self) -> dict[str, Any]:
        return {
            "type": "ball",
            "center": self.center.tolist(),
            "radius": self.radius,
            "degree": self.degree,
            "lowest": self.lowest,
            "z_scale": self.z_scale,
            "even": self.even,
        }

    def evaluate(self, x: Array, order: int = 1) -> Evaluation:
        """Values (n, K), gradients (n, K, 3) and Hessians (n, K, 3, 3); None above ``order``."""
        d = x - self.center
        norm = np.arcsinh(self.radius / self.z_scale)
        root = np.sqrt(d[:, 2] ** 2 + self.z_scale**2)
        unit = 1.0 / self.radius
        coordinates = (
            (d[:, 0] * unit, np.full(len(x), unit), np.zeros(len(x))),
            (d[:, 1] * unit, np.full(len(x), unit), np.zeros(len(x))),
            (np.arcsinh(d[:, 2] / self.z_scale) / norm, 1.0 / (root * norm), -d[:, 2] / (root**3 * norm)),
        )
        eye = np.eye(self.degree + 1)
        factors = []  # factors[axis][k]: k-th derivative of the axis' polynomials, gathered for each function
        for axis, (q, q1, q2) in enumerate(coordinates):
            values = [
                np.stack([legendre.legval(q, legendre.legder(row, nu) if nu else row) for row in eye], axis=1) for nu in range(order + 1)
            ]
            factors.append([v[:, self.powers[:, axis]] for v in _chain(values, q1, q2)])
        fx, fy, fz = factors
        value = fx[0] * fy[0] * fz[0]
        if order == 0:
            return value, None, None
        gradient = np.stack([fx[1] * fy[0] * fz[0], fx[0] * fy[1] * fz[0], fx[0] * fy[0] * fz[1]], axis=2)
        if order == 1:
            return value, gradient, None
        hessian = np.empty((*gradient.shape, 3))
        hessian[..., 0, 0] = fx[2] * fy[0] * fz[0]
        hessian[..., 1, 1] = fx[0] * fy[2] * fz[0]
        hessian[..., 2, 2] = fx[0] * fy[0] * fz[2]
        hessian[..., 0, 1] = hessian[..., 1, 0] = fx[1] * fy[1] * fz[0]
        hessian[..., 0, 2] = hessian[..., 2, 0] = fx[1] * fy[0] * fz[1]
        hessian[..., 1, 2] = hessian[..., 2, 1] = fx[0] * fy[1] * fz[1]
        return value, gradient, hessian

    def laplacian(self, x: Array) -> Array:
        """(n, K)."""
        hessian = self.evaluate(x, 2)[2]
        return np.einsum("nkii->nk", hessian)


Basis = DiscBasis | BallBasis


def basis_for(volume: Volume, **options: Any) -> Basis:
    """The default basis of a volume: `DiscBasis` for a cylinder about the axis, `BallBasis` elsewhere."""
    if isinstance(volume, Cylinder):
        return DiscBasis(r_max=_MARGIN * volume.r_out, z_max=_MARGIN * volume.half_height, **options)
    if isinstance(volume, Ball):
        return BallBasis(center=volume.center, radius=_MARGIN * volume.radius, **options)
    return BallBasis(center=volume.center, radius=_MARGIN * volume.size, **options)


def basis_from_dict(d: dict[str, Any], size: int) -> Basis:
    """Inverse of ``to_dict``, for a basis of ``size`` functions; `ValueError` for a description of another size."""
    for name, value in dict(d).items():
        # a basis of degree n, or of n functions in one direction, has at least n: checked before anything of that size is made
        if isinstance(value, int | float) and (name.startswith("n_") or name == "degree") and not 0 <= value <= size:
            raise ValueError(f"{name} = {value} does not fit {size} coefficients")
    options = {k: v for k, v in d.items() if k != "type"}
    if d["type"] == "disc":
        basis: Basis = DiscBasis(**{**options, "harmonics": tuple(options["harmonics"])})
    else:
        basis = BallBasis(**options)
    if basis.size != size:
        raise ValueError(f"{size} coefficients do not fit a basis of {basis.size}")
    return basis


class LinearPotential:
    """Phi(x) = base(x) + sum_k c_k B_k(x), NumPy float64 in kpc and km/s.

    Parameters
    ----------
    base : analytic potential or None
        Anything with ``evaluate(x, order)``.
    basis : `DiscBasis` or `BallBasis`
    coefficients : (K,) array, (km/s)^2
    origin : (3,) array, optional
        Where base and basis have their origin, kpc.
    """

    def __init__(self, base: AnalyticPotential | None, basis: Basis, coefficients: Array, *, origin: Array | None = None) -> None:
        self.base, self.basis, self.coefficients = base, basis, np.asarray(coefficients, dtype=float)
        self.origin = np.zeros(3) if origin is None else np.asarray(origin, dtype=float)

    def evaluate(self, x: Array, order: int = 1) -> Evaluation:
        """Phi (n,), gradient (n, 3), Hessian (n, 3, 3); None above ``order``. Batched, so memory stays bounded."""
        x = np.atleast_2d(np.asarray(x, dtype=float)) - self.origin
        parts = [self._chunk(x[i : i + 2048], order) for i in range(0, len(x), 2048)] or [self._chunk(x, order)]
        out: list[Any] = [np.concatenate([p[k] for p in parts]) if k <= order else None for k in range(3)]
        return out[0], out[1], out[2]

    def _chunk(self, x: Array, order: int) -> list[Any]:
        terms = self.basis.evaluate(x, order)
        out: list[Any] = [np.einsum("nk...,k->n...", t, self.coefficients) if t is not None else None for t in terms]
        if self.base is not None:
            for k, extra in enumerate(self.base.evaluate(x, order)[: order + 1]):
                out[k] = out[k] + extra
        return out

    def to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        return {"coefficients": self.coefficients}, {
            "basis": self.basis.to_dict(),
            "base": None if self.base is None else self.base.to_list(),
            "origin": self.origin.tolist(),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], header: dict[str, Any]) -> LinearPotential:
        base = None if header["base"] is None else from_list(header["base"])
        coefficients = np.asarray(arrays["coefficients"], dtype=float)
        if coefficients.ndim != 1:
            raise ValueError(f"coefficients must be a list, found the shape {coefficients.shape}")
        origin = np.asarray(header["origin"], dtype=float)
        if origin.shape != (3,):
            raise ValueError(f"the origin must be three numbers, found the shape {origin.shape}")
        return cls(base, basis_from_dict(header["basis"], len(coefficients)), coefficients, origin=origin)
