r"""Continuing a learned potential outside its training volume: the blending surface, the clamp, and the analytic fit.

s(x) measures how far out a point is: s = 1 on a closed surface inscribed in the training volume, for a cylinder the superellipsoid
s^4 = (R / r_out)^4 + (z / h)^4, for a ball s = |x - x_c| / r.

The clamp y(x) = x_c + kappa (x - x_c), kappa = sigma(s) / s, leaves points with s < s_0 where they are and draws all others back along
rays, so that s(y) = sigma(s) never exceeds 1: the learned potential is asked only where there were stars. With u = (s - s_0) / Delta,
Delta = 2 (1 - s_0), and the C3 step p,

    sigma' = 1 - p(u),     sigma = s_0 + Delta (u - int_0^u p),     p(u) = u^4 (35 - 84 u + 70 u^2 - 20 u^3).

The continuation Phi_out = sum_k M_k phi_k, M_k >= 0, over a library of discs, halos, spheres and bars at fixed angles, and the
constant c of the learned Phi_in solve one non-negative least squares on points between the start of the blend and the edge,

    sum_k M_k grad phi_k = grad Phi_in,        |grad w| (sum_k M_k phi_k - c) = |grad w| Phi_in,

both relative to |grad Phi_in|; the second because a mismatch D of the two potentials costs a force D grad w outside.
Non-negative masses make the density of Phi_out positive, its force attractive, its value negative, and the optimum unique.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..catalogue.volumes import Ball, Cylinder, Volume
from ..errors import FitError, VolumeError
from .analytic import NFW, AnalyticPotential, InnerPotential, LongMurali, MiyamotoNagai, Plummer, Sum

Array = NDArray[np.float64]

BLEND_START = 0.9
"""s_0: the learned potential holds unchanged inside."""
BLEND_END = 3.0
"""s_1: from here on the analytic continuation alone."""
FIT_POINTS = 2000
SHARE = 3e-3
"""Components contributing less than this fraction of the largest are left out."""


def smooth_step(t: Array) -> tuple[Array, Array, Array]:
    """The C3 step s(t) with its first two derivatives, t clipped to [0, 1]."""
    t = np.clip(t, 0.0, 1.0)
    return t**4 * (35 + t * (-84 + t * (70 - 20 * t))), 140 * (t * (1 - t)) ** 3, 420 * (t * (1 - t)) ** 2 * (1 - 2 * t)


def check_continuable(volume: Volume) -> None:
    """Refuse a volume that has no blending surface (`VolumeError`)."""
    if not isinstance(volume, Ball | Cylinder):
        raise VolumeError(f"cannot blend over a {type(volume).__name__}: expected a Cylinder or a Ball, of which a Mask takes any region")


def blending_measure(volume: Volume, x: Array) -> Array:
    """s(x) of the module docstring alone, (N,)."""
    if isinstance(volume, Cylinder):
        return np.sqrt(np.hypot((x[:, 0] ** 2 + x[:, 1] ** 2) / volume.r_out**2, (x[:, 2] / volume.half_height) ** 2))
    check_continuable(volume)
    return np.linalg.norm(x - volume.center, axis=1) / volume.size


def blending_surface(volume: Volume, x: Array, order: int = 2) -> tuple[Array, Array, Any]:
    """The same s(x) with gradient (N, 3) and, for ``order`` 2, Hessian (N, 3, 3); not at s = 0, where it has a kink."""
    s = np.maximum(blending_measure(volume, x), 1e-6)
    if not isinstance(volume, Cylinder):
        scale = 1 / volume.size**2
        grad = scale * (x - volume.center) / s[:, None]
        return s, grad, None if order < 2 else (scale * np.eye(3) - grad[:, :, None] * grad[:, None, :]) / s[:, None, None]
    # s^4 = |t|^2 with t = ((R / r_out)^2, (z / h)^2)
    planes = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) / np.array([[volume.r_out**2], [volume.half_height**2]])
    terms = (x * x) @ planes.T
    grad = x * (terms @ planes) / (s**3)[:, None]
    if order < 2:
        return s, grad, None
    slopes = 2 * x[:, None, :] * planes
    fourth = np.einsum("nki,nkj->nij", slopes, slopes)
    fourth[:, range(3), range(3)] += 2 * terms @ planes
    return s, grad, fourth / (2 * s**3)[:, None, None] - 3 * grad[:, :, None] * grad[:, None, :] / s[:, None, None]


def clamp(volume: Volume, x: Array, start: float, order: int = 2) -> tuple[Array, Any, Any]:
    """y(x) (N, 3), its first derivatives [n, k, i] = dy_k / dx_i and second [n, k, i, j], up to ``order``."""
    s, s_grad, s_hess = blending_surface(volume, x, order)
    delta = 2 * (1 - start)
    u = np.clip((s - start) / delta, 0, 1)
    sigma = np.where(s <= start, s, start + delta * (u - u**5 * (7 + u * (-14 + u * (10 - 2.5 * u)))))
    kappa, d = sigma / s, x - volume.center
    y = volume.center + kappa[:, None] * d
    if order < 1:
        return y, None, None
    p, slope, _ = smooth_step(u)
    first, second = 1 - p, -slope / delta
    k_first, k_second = first / s - kappa / s, (second - 2 * first / s + 2 * kappa / s) / s
    eye = np.eye(3)
    jacobian = kappa[:, None, None] * eye + d[:, :, None] * (k_first[:, None] * s_grad)[:, None, :]
    if order < 2:
        return y, jacobian, None
    mixed = np.einsum("n,ni,kj->nkij", k_first, s_grad, eye)
    bend = k_second[:, None, None] * s_grad[:, :, None] * s_grad[:, None, :] + k_first[:, None, None] * s_hess
    return y, jacobian, mixed + np.swapaxes(mixed, 2, 3) + d[:, :, None, None] * bend[:, None]


def _library(volume: Volume) -> list[AnalyticPotential]:
    """Candidates for Phi_out: unit-mass models over the scales that the volume and the space around it can hold."""
    size = volume.size + float(np.linalg.norm(volume.center))
    models: list[AnalyticPotential] = []
    models += [MiyamotoNagai(1e10, a * size, b * size) for a in (0.06, 0.12, 0.2, 0.3, 0.45, 0.7) for b in (0.01, 0.02, 0.04, 0.08)]
    models += [NFW(1e11, r_s * size) for r_s in (0.25, 0.5, 1.0, 2.0, 4.0)]
    models += [Plummer(1e10, b * size) for b in (0.02, 0.06, 0.15, 0.3, 0.6, 1.2)]
    angles = np.arange(6) * np.pi / 6
    models += [LongMurali(1e10, a * size, 0.15 * a * size, 0.1 * a * size, angle) for a in (0.12, 0.25, 0.45) for angle in angles.tolist()]
    return models


def fit_outer(
    inner: InnerPotential, volume: Volume, *, outer: AnalyticPotential | None = None, blend_start: float = BLEND_START, seed: int = 0
) -> tuple[AnalyticPotential, float]:
    """Continuation Phi_out and constant c from the values and forces of ``inner`` between the start of the blend and the edge.

    With ``outer`` given only c is fitted. A mismatch D costs a force D |grad w|, so values are weighted by the mean |grad w|.

    Returns
    -------
    outer : AnalyticPotential
    constant : float
        In (km/s)^2.
    """
    rng = np.random.default_rng(seed)
    x = volume.sample(40 * FIT_POINTS, rng)
    near_hole = np.hypot(x[:, 0], x[:, 1]) < getattr(volume, "r_in", 0.0) / blend_start
    x = x[(blending_measure(volume, x) > 0.9 * blend_start) | near_hole][:FIT_POINTS]
    phi, grad, _ = inner.evaluate(x, 1)
    if len(x) < 10 or not (np.isfinite(phi).all() and np.isfinite(grad).all()):
        raise FitError("the learned potential is not finite near the edge of the training volume: it cannot be continued outside")
    size = np.linalg.norm(grad, axis=1)
    if not np.median(size) > 0.0:
        raise FitError("the learned forces vanish near the edge of the training volume: they cannot be continued outside")
    scale = 1 / np.maximum(size, 1e-2 * np.median(size))
    slope = np.linalg.norm(blending_surface(volume, x, 1)[1], axis=1) / (BLEND_END - 1)

    def rows(value: Array, gradient: Array) -> Array:
        return np.concatenate([value * slope * scale, (gradient * scale[:, None]).ravel()])

    shift = rows(np.ones(len(x)), np.zeros((len(x), 3)))
    target = rows(phi, grad)
    if outer is not None:
        return outer, -float(shift @ (target - rows(*outer.evaluate(x, 1)[:2])) / (shift @ shift))
    models = _library(volume)
    columns = np.stack([rows(*model.evaluate(x, 1)[:2]) for model in models], axis=1)
    # the constant is free in sign: project it out, then solve for the non-negative masses
    unit = shift / np.linalg.norm(shift)
    norm = np.linalg.norm(columns, axis=0)
    projected, aim = (columns - np.outer(unit, unit @ columns)) / norm, target - unit * (unit @ target)
    share = nnls(projected, aim, maxiter=100 * len(models))[0]
    kept = np.flatnonzero(share > SHARE * share.max(initial=0.0))
    if not len(kept):
        raise FitError("the learned forces near the edge are not attractive: no continuation outside the training volume fits them")
    # once more without the small ones, which cost time wherever the potential is evaluated
    share[kept] = nnls(projected[:, kept], aim, maxiter=100 * len(models))[0]
    kept = kept[share[kept] > 0]
    masses = share / norm
    chosen = [
        models[i].with_parameters(models[i].parameters() + np.log([masses[i], *[1.0] * (len(models[i].parameters()) - 1)])) for i in kept
    ]
    left = target - columns[:, kept] @ masses[kept]
    return Sum(chosen), -float(shift @ left / (shift @ shift))
