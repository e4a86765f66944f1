r"""Inputs and base of the ln f network: smooth functions of the chart y, with gradient and Laplacian in closed form.

`PlainFeatures`: q(y) = y / scale and base(y) = -|y / scale|^2 / 2, with the standard deviations of the stars in the chart.

`DiscFeatures`: the chart is (x / l, y / l, z', v'), physical lengths in units of the epicyclic scale l, because the distances over
which f of a cold disc changes are of that size at all radii (in coordinates that compress the outer disc its scores would dominate the
objective). The network is given quantities of order one, most of them invariant under rotation. With Q = x^2 + y^2 (in units of l^2),
s = ln(1 + Q / a^2), rho^2 = Q + e^2,

    (x, y) (s / Q)^(1/2) / b,   z', v',   u_R = (x v_x + y v_y) / rho,   u_phi = (x v_y - y v_x) / rho,   rho,
    (x^2 - y^2) / rho^2,   2 x y / rho^2,
    and w(u) = (c^2 + |u|^2)^(1/2) - c of the speed in the plane, of the vertical speed and of the height,
    base = -s / (2 b^2) - ln(a^2 + Q) - z'^2 / 2 - |v'|^2 / 2,

w because ln f of a steady disc depends on v much as on an energy; the base being the axisymmetric disc in which
(x, y) (s / Q)^(1/2) / b, z', v' is N(0, 1). Each in-plane function is a polynomial N(x, y) times psi(Q), so that with r = (x, y)

    grad = psi grad N + 2 N psi' r,      lap = psi lap N + 4 psi' (r . grad N) + 4 N (psi' + Q psi'').

Nothing here is learnt. `Features.pushed_forward` stacks value, six derivatives and Laplacian; its last column is the base.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import StoreError

SOFTENING = 1.0
"""e, in units of the epicyclic scale."""
CORE = 2.0
"""c, in standard deviations of the stars: w is half the square of the speed where most of them are, and grows no faster beyond."""
ENERGIES = ([3, 4], [5], [2])
"""Coordinates of the chart whose size w is given to the network."""

SERIES = 0.1
"""R^2 / a^2 below which a series of twelve terms replaces ln(1 + t) / t."""


class Features(ABC):
    """Inputs of the network (``size`` of them) and the base of ln p."""

    kind: str
    size: int

    @abstractmethod
    def pushed_forward(self, y: Tensor) -> Tensor:
        """Features and base with derivatives and Laplacian, shape (8, n, size + 1), for ``y`` (n, 6)."""

    @abstractmethod
    def values(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, size) and base (n,), differentiable."""

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` draws (n, 6) from the base, float32."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """JSON-able description."""

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Features:
        """Inverse of `to_dict`."""
        if values.get("kind") == PlainFeatures.kind:
            return PlainFeatures([float(v) for v in values["scale"]])
        if values.get("kind") == DiscFeatures.kind:
            if values.get("size") != DiscFeatures.size:
                raise StoreError("the distribution was fitted with other inputs of its network, by an earlier version; fit it again")
            return DiscFeatures(a=float(values["a"]), b=float(values["b"]))
        raise StoreError(f"features {values.get('kind')!r} are unknown; this version knows plain and disc")


def _identity(y: Tensor, size: int) -> Tensor:
    out = torch.zeros(8, len(y), size + 1, dtype=y.dtype, device=y.device)
    out[0, :, :6] = y
    out[1:7, :, :6] = torch.eye(6, dtype=y.dtype, device=y.device)[:, None, :]
    out[0, :, -1] = -0.5 * (y * y).sum(1)
    out[1:7, :, -1] = -y.T
    out[7, :, -1] = -6.0
    return out


class PlainFeatures(Features):
    """The chart itself and a normal base.

    Parameters
    ----------
    scale : sequence of 6 floats
        Standard deviation of the base in each coordinate; one by default.
    """

    kind = "plain"
    size = 6

    def __init__(self, scale: Sequence[float] = (1.0,) * 6) -> None:
        self.scale = tuple(scale)

    def _inverse(self, y: Tensor) -> Tensor:
        return 1.0 / torch.tensor(self.scale, dtype=y.dtype, device=y.device)

    def pushed_forward(self, y: Tensor) -> Tensor:
        inverse = self._inverse(y)
        out = _identity(y * inverse, self.size)
        out[1:7] *= inverse[:, None, None]
        out[7, :, -1] = -(inverse * inverse).sum()
        return out

    def values(self, y: Tensor) -> tuple[Tensor, Tensor]:
        q = y * self._inverse(y)
        return q, -0.5 * (q * q).sum(1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn((n, 6), generator=generator) * torch.tensor(self.scale)

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "scale": list(self.scale)}


class DiscFeatures(Features):
    """See the module.

    Parameters
    ----------
    a : float
        Radial scale of the logarithmic stretch, in units of l.
    b : float
        Standard deviation of the stretched (x, y).
    """

    kind = "disc"
    size = 14

    def __init__(self, *, a: float, b: float) -> None:
        self.a2, self.b = a * a, b

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        y = torch.randn((n, 6), generator=generator)
        square = y[:, 0] ** 2 + y[:, 1] ** 2
        y[:, :2] *= torch.sqrt(self.a2 * torch.expm1(self.b**2 * square) / square)[:, None]
        return y

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size, "a": math.sqrt(self.a2), "b": self.b}

    def _stretch(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """psi = (s / Q)^(1/2) / b with two derivatives in Q, and s."""
        t = q / self.a2
        s = torch.log1p(t)
        small = t < SERIES
        safe = torch.where(small, torch.ones_like(t), t)
        # w = ln(1 + t) / t = sum (-t)^n / (n + 1) and two derivatives; the series where the closed form would lose digits
        near = tuple(_horner(t, [(-1.0) ** n / (n + 1) * math.perm(n, k) for n in range(k, 12)]) for k in range(3))
        u = 1.0 / (1.0 + safe)
        w0 = torch.log1p(safe) / safe
        w1 = (u - w0) / safe
        w2 = (-u * u - 2.0 * w1) / safe
        w, d1, d2 = (torch.where(small, p, r) for p, r in zip(near, (w0, w1, w2), strict=True))
        root = torch.sqrt(w)
        scale = 1.0 / (math.sqrt(self.a2) * self.b)
        first = d1 / (2.0 * root)
        second = d2 / (2.0 * root) - d1 * d1 / (4.0 * root * w)
        return scale * root, scale * first / self.a2, scale * second / self.a2**2, s

    def values(self, y: Tensor) -> tuple[Tensor, Tensor]:
        x, u, _, vx, vy, _ = y.unbind(1)
        q = x * x + u * u
        psi, _, _, s = self._stretch(q)
        rho2 = q + SOFTENING**2
        rho = torch.sqrt(rho2)
        plane = torch.stack([x * psi, u * psi], 1)
        extra = [(x * vx + u * vy) / rho, (x * vy - u * vx) / rho, rho - SOFTENING, (x * x - u * u) / rho2, 2.0 * x * u / rho2]
        extra += [_size(y[:, part])[0] for part in ENERGIES]
        base = -0.5 * s / self.b**2 - torch.log(self.a2 + q) - 0.5 * (y[:, 2:] ** 2).sum(1)
        return torch.cat([plane, y[:, 2:], torch.stack(extra, 1)], 1), base

    def pushed_forward(self, y: Tensor) -> Tensor:
        out = _identity(y, self.size)
        x, u, _, vx, vy, _ = y.unbind(1)
        q = x * x + u * u
        one = torch.ones_like(x)
        psi, psi1, psi2, s = self._stretch(q)
        out[1:3, :, :2] = 0.0
        for k, n, nx, ny in ((0, x, one, 0.0 * one), (1, u, 0.0 * one, one)):
            _in_plane(out, k, x, u, q, (n, nx, ny), n, (psi, psi1, psi2))
        i2 = 1.0 / (q + SOFTENING**2)
        i1 = torch.sqrt(i2)
        i3 = i1 * i2
        inverse = (i1, -0.5 * i3, 0.75 * i3 * i2)
        radial, azimuthal = x * vx + u * vy, x * vy - u * vx
        _in_plane(out, 6, x, u, q, (radial, vx, vy), radial, inverse)
        _in_plane(out, 7, x, u, q, (azimuthal, vy, -vx), azimuthal, inverse)
        out[4, :, 6], out[5, :, 6] = x * i1, u * i1
        out[4, :, 7], out[5, :, 7] = -u * i1, x * i1
        rho = i1 / i2
        _in_plane(out, 8, x, u, q, (one, 0.0 * one, 0.0 * one), 0.0 * one, (rho, 0.5 * i1, -0.25 * i3))
        out[0, :, 8] -= SOFTENING
        inverse2 = (i2, -i2 * i2, 2.0 * i2 * i2 * i2)
        first, second = x * x - u * u, 2.0 * x * u
        _in_plane(out, 9, x, u, q, (first, 2.0 * x, -2.0 * u), 2.0 * first, inverse2)
        _in_plane(out, 10, x, u, q, (second, 2.0 * u, 2.0 * x), 2.0 * second, inverse2)
        for column, part in enumerate(ENERGIES, start=11):
            out[0, :, column], slope, out[7, :, column] = _size(y[:, part])
            out[[1 + k for k in part], :, column] = slope.T
        ia = 1.0 / (self.a2 + q)
        c = 0.5 / self.b**2 + 1.0
        out[0, :, -1] = -0.5 * s / self.b**2 - torch.log(self.a2 + q) - 0.5 * (y[:, 2:] ** 2).sum(1)
        out[1, :, -1], out[2, :, -1] = -2.0 * c * x * ia, -2.0 * c * u * ia
        out[7, :, -1] = -4.0 - 4.0 * c * ia * (1.0 - q * ia)
        return out


def _size(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """w(u) of vectors (n, k), with gradient (n, k) and Laplacian."""
    square = (u * u).sum(1)
    root = torch.sqrt(CORE**2 + square)
    return root - CORE, u / root[:, None], (u.shape[1] - square / root**2) / root


def _horner(t: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.full_like(t, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * t + c
    return total


def _in_plane(
    out: Tensor,
    column: int,
    x: Tensor,
    u: Tensor,
    q: Tensor,
    numerator: tuple[Tensor, Tensor, Tensor],
    turned: Tensor,
    psi: tuple[Tensor, Tensor, Tensor],
) -> None:
    """Write N psi(Q) with harmonic N: ``numerator`` is N, dN/dx, dN/dy and ``turned`` is r . grad N."""
    n, nx, ny = numerator
    p0, p1, p2 = psi
    out[0, :, column] = n * p0
    out[1, :, column] = nx * p0 + 2.0 * n * p1 * x
    out[2, :, column] = ny * p0 + 2.0 * n * p1 * u
    out[7, :, column] = 4.0 * p1 * turned + 4.0 * n * (p1 + q * p2)
