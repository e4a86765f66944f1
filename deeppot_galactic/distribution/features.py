"""Inputs of the ln f network: the whitened coordinates and, for discs, smooth functions of them.

In a disc f is close to a function of rotation-invariant quantities. With the whitened (X, Y, Z, V_x, V_y, V_z) and
rho^2 = X^2 + Y^2 + EPSILON^2 the network is also given

    u_R = (X V_x + Y V_y) / rho,   u_phi = (X V_y - Y V_x) / rho,   rho,   cos 2phi ~ (X^2 - Y^2) / rho^2,   sin 2phi ~ 2 X Y / rho^2.

Each is N / rho^p with a polynomial N, hence with r = (X, Y)

    grad = grad N / rho^p - p N r / rho^(p+2),
    lap  = lap N / rho^p - 2 p (r . grad N) / rho^(p+2) + N (p (p+2) |r|^2 / rho^(p+4) - 2 p / rho^(p+2)),

which is exact and costs a few element-wise products. Nothing here is learnt.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ConfigError

EPSILON2 = 0.01
"""Square of the softening of rho, in whitened units: a tenth of the disc's radial scale."""

SIZES = {"plain": 6, "rotation": 11}


def check_features(name: str) -> None:
    """Refuse an unknown set of features."""
    if name not in SIZES:
        raise ConfigError(f"features {name!r} are unknown; choose {' or '.join(SIZES)}")


def values(name: str, y: Tensor) -> Tensor:
    """The features of whitened points (n, 6), shape (n, k)."""
    if name == "plain":
        return y
    x, u, _, vx, vy, _ = y.unbind(1)
    rho2 = x * x + u * u + EPSILON2
    rho = torch.sqrt(rho2)
    extra = [(x * vx + u * vy) / rho, (x * vy - u * vx) / rho, rho - 1.0, (x * x - u * u) / rho2, 2.0 * x * u / rho2]
    return torch.cat([y, torch.stack(extra, 1)], 1)


def pushed_forward(name: str, y: Tensor) -> Tensor:
    """Features, their six derivatives and their Laplacian, stacked: shape (8, n, k)."""
    n = len(y)
    out = torch.zeros(8, n, SIZES[name], dtype=y.dtype, device=y.device)
    out[0, :, :6] = y
    out[1:7, :, :6] = torch.eye(6, dtype=y.dtype, device=y.device)[:, None, :]
    if name == "plain":
        return out
    x, u, _, vx, vy, _ = y.unbind(1)
    r2 = x * x + u * u
    rho2 = r2 + EPSILON2
    i2 = 1.0 / rho2
    i1 = torch.sqrt(i2)
    i3, i4 = i1 * i2, i2 * i2
    curve = 3.0 * r2 * i4 - 2.0 * i2  # Laplacian of 1/rho times rho
    radial, azimuthal = x * vx + u * vy, x * vy - u * vx
    for k, numerator, dx, dy in ((6, radial, vx, vy), (7, azimuthal, vy, -vx)):
        out[0, :, k] = numerator * i1
        out[1, :, k] = dx * i1 - numerator * x * i3
        out[2, :, k] = dy * i1 - numerator * u * i3
        out[7, :, k] = numerator * i1 * (curve - 2.0 * i2)
    out[4, :, 6], out[5, :, 6] = x * i1, u * i1
    out[4, :, 7], out[5, :, 7] = -u * i1, x * i1
    out[0, :, 8] = rho2 * i1 - 1.0
    out[1, :, 8], out[2, :, 8] = x * i1, u * i1
    out[7, :, 8] = (2.0 - r2 * i2) * i1
    quadratic = 8.0 * r2 * i4 - 12.0 * i2  # p = 2, r . grad N = 2 N: -8 / rho^2 from the cross term and -4 / rho^2 from rho^-2
    for k, numerator, dx, dy in ((9, x * x - u * u, 2.0 * x, -2.0 * u), (10, 2.0 * x * u, 2.0 * u, 2.0 * x)):
        out[0, :, k] = numerator * i2
        out[1, :, k] = dx * i2 - 2.0 * numerator * x * i4
        out[2, :, k] = dy * i2 - 2.0 * numerator * u * i4
        out[7, :, k] = numerator * i2 * quadratic
    return out
