"""Continuing a learned potential outside its training volume: the blending surface and the analytic fit.

The blend runs between q = q_0 and q = 1, where q is a smooth function of position, one on a closed surface inscribed in the training
volume: for a cylinder the superellipsoid q^2 = (R / r_out)^4 + (z / h)^4, for a ball q = |x - x_c|^2 / r^2.

The continuation Phi_out = sum_k M_k phi_k, M_k >= 0, over a library of discs, halos, spheres and bars at fixed angles, and the
constant c of the learned Phi_in solve one non-negative least squares on points between the start of the blend and the edge,

    sum_k M_k grad phi_k = grad Phi_in,        |grad w| (sum_k M_k phi_k - c) = |grad w| Phi_in,

both relative to |grad Phi_in|; the second because a mismatch D of the two potentials costs a force D grad w in the blend.
Non-negative masses make the density of Phi_out positive, its force attractive, its value negative, and the optimum unique.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from ..catalogue.volumes import Ball, Cylinder, Volume
from ..errors import FitError, VolumeError
from .analytic import NFW, AnalyticPotential, InnerPotential, LongMurali, MiyamotoNagai, Plummer, Sum

Array = NDArray[np.float64]

BLEND_START = 0.8
"""Where the blend begins, as a fraction of the size of the blending surface."""
FIT_POINTS = 2000
SHARE = 3e-3
"""Components contributing less than this fraction of the largest are left out."""


def smooth_step(t: Array) -> tuple[Array, Array, Array]:
    """The C3 step s(t) with its first two derivatives, t clipped to [0, 1]."""
    t = np.clip(t, 0.0, 1.0)
    return t**4 * (35 + t * (-84 + t * (70 - 20 * t))), 140 * (t * (1 - t)) ** 3, 420 * (t * (1 - t)) ** 2 * (1 - 2 * t)


def blending_measure(volume: Volume, x: Array) -> Array:
    """q(x) of the module docstring alone, (N,)."""
    if isinstance(volume, Ball):
        d = x - volume.center
        return np.einsum("ni,ni->n", d, d) / volume.radius**2
    if not isinstance(volume, Cylinder):
        raise VolumeError(f"cannot blend over a {type(volume).__name__}: expected a Cylinder or a Ball")
    return np.hypot((x[:, 0] ** 2 + x[:, 1] ** 2) / volume.r_out**2, (x[:, 2] / volume.half_height) ** 2)


def blending_surface(volume: Volume, x: Array) -> tuple[Array, Array, Array]:
    """The same q(x) with gradient (N, 3) and Hessian (N, 3, 3)."""
    if isinstance(volume, Ball):
        d, inverse = x - volume.center, 1 / volume.radius**2
        return inverse * np.einsum("ni,ni->n", d, d), 2 * inverse * d, np.broadcast_to(2 * inverse * np.eye(3), (len(x), 3, 3))
    if not isinstance(volume, Cylinder):
        raise VolumeError(f"cannot blend over a {type(volume).__name__}: expected a Cylinder or a Ball")
    planes = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) / np.array([[volume.r_out**2], [volume.half_height**2]])
    terms = (x * x) @ planes.T
    slopes = 2 * x[:, None, :] * planes
    q = np.maximum(np.linalg.norm(terms, axis=1), 1e-12)
    grad = np.einsum("nk,nki->ni", terms, slopes) / q[:, None]
    hess = np.einsum("nki,nkj->nij", slopes, slopes) - grad[:, :, None] * grad[:, None, :]
    hess[:, range(3), range(3)] += 2 * terms @ planes
    return q, grad, hess / q[:, None, None]


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
    x = x[(blending_surface(volume, x)[0] > (0.9 * blend_start) ** 2) | near_hole][:FIT_POINTS]
    phi, grad, _ = inner.evaluate(x, 1)
    if len(x) < 10 or not (np.isfinite(phi).all() and np.isfinite(grad).all()):
        raise FitError("the learned potential is not finite near the edge of the training volume: it cannot be continued outside")
    size = np.linalg.norm(grad, axis=1)
    scale = 1 / np.maximum(size, 1e-2 * np.median(size))
    slope = np.linalg.norm(blending_surface(volume, x)[1], axis=1) / (1 - blend_start**2)

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
