"""What the score benchmark measures, in NumPy: errors of scores, Omega from a known potential, and forces without one.

With s the scores and (d ln f/dt)_Omega = r_0 + Omega b, where r_0 = -(v . s_x + a . s_v) and b = (e_z x x) . s_x + (e_z x v) . s_v:

* score error: median |s_model - s| / median |s|, coordinates in units of their robust width (and for s_x and s_v alone);
* Omega from the true potential: the robust least-squares slope of -r_0 on b;
* forces without a potential: least squares of Omega b - v . s_x = a . s_v, bin by bin, for a few parameters of a.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

VERTICAL_SOFTENING = 0.3
"""kpc; of the vertical force law z / sqrt(z^2 + h^2) used in discs."""
VERTICAL_CUT = 0.5
"""kpc; forces in discs are measured at |z| below this."""


def score_errors(x: Array, model: Array, truth: Array) -> dict[str, float]:
    """Median score errors relative to the median score, for points and scores (N, 6): all six components, s_x and s_v."""
    width = 1.4826 * np.median(np.abs(x - np.median(x, axis=0)), axis=0)
    width[:3], width[3:] = np.sqrt(np.mean(width[:3] ** 2)), np.sqrt(np.mean(width[3:] ** 2))

    def relative(columns: slice) -> float:
        size = np.linalg.norm((truth * width)[:, columns], axis=1)
        return float(np.median(np.linalg.norm(((model - truth) * width)[:, columns], axis=1)) / np.median(size))

    return {"all": relative(slice(0, 6)), "x": relative(slice(0, 3)), "v": relative(slice(3, 6))}


def rotation_terms(x: Array, score: Array, acceleration: Array) -> tuple[Array, Array]:
    """r_0 and b, each (N,), so that the residual is r_0 + Omega b."""
    rest = -np.sum(x[:, 3:] * score[:, :3], axis=1) - np.sum(acceleration * score[:, 3:], axis=1)
    turn = x[:, 0] * score[:, 1] - x[:, 1] * score[:, 0] + x[:, 3] * score[:, 4] - x[:, 4] * score[:, 3]
    return rest, turn


def robust_slope(rest: Array, turn: Array, iterations: int = 30) -> tuple[float, float, float]:
    """Omega that minimises a robust mean of |rest + Omega turn|, its statistical error, and the median |residual| at it."""
    weight = np.ones_like(rest)
    omega = 0.0
    for _ in range(iterations):
        omega = -np.sum(weight * rest * turn) / np.sum(weight * turn**2)
        residual = rest + omega * turn
        weight = 1 / np.sqrt(1 + (residual / (1.5 * np.median(np.abs(residual)) + 1e-300)) ** 2)
    residual = rest + omega * turn
    error = np.sqrt(np.sum((weight * residual * turn) ** 2)) / np.sum(weight * turn**2)
    return float(omega), float(error), float(np.median(np.abs(residual)))


def radial_forces(x: Array, score: Array, acceleration: Array, edges: Array, *, spherical: bool, omega: float) -> list[dict[str, float]]:
    """Relative error of the radial force in bins of radius, from scores alone (and Omega, for a bar).

    Spherical: a_r and its slope per bin. Otherwise, near the plane: also two vertical terms and, for a bar, the m = 2 part of a_R
    and a_phi. The true force goes through the same least squares with the same weights, so that neither the width of the bins nor
    terms left out count: exact scores give exactly zero.
    """
    radius = np.linalg.norm(x[:, :3], axis=1) if spherical else np.hypot(x[:, 0], x[:, 1])
    out = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        inside = (radius > low) & (radius < high)
        if not spherical:
            inside &= np.abs(x[:, 2]) < VERTICAL_CUT
        y, s, r = x[inside], score[inside], radius[inside]
        if len(y) < 100:
            out.append({"low": float(low), "high": float(high), "n": len(y), "error": float("nan")})
            continue
        radial = y[:, :3] / r[:, None] if spherical else np.stack([y[:, 0] / r, y[:, 1] / r, 0 * r], axis=1)
        design = _design(y, s[:, 3:], r, radial, spherical=spherical, bar=omega != 0)
        _, turn = rotation_terms(y, s, np.zeros_like(y[:, :3]))
        target = omega * turn - np.sum(y[:, 3:] * s[:, :3], axis=1)
        weight = _irls_weights(design, target)
        force = np.sum(acceleration[inside] * s[:, 3:], axis=1)
        fit, truth = (np.linalg.lstsq(design * weight[:, None], t * weight, rcond=None)[0] for t in (target, force))
        out.append({"low": float(low), "high": float(high), "n": len(y), "error": float(fit[0] / truth[0] - 1)})
    return out


def _design(y: Array, s_v: Array, r: Array, radial: Array, *, spherical: bool, bar: bool) -> Array:
    """Columns e . s_v of the force terms; the first is the mean radial force."""
    columns = [np.sum(radial * s_v, axis=1)]
    columns.append((r - r.mean()) * columns[0])
    if not spherical:
        columns += [y[:, 2] / np.hypot(y[:, 2], VERTICAL_SOFTENING) * s_v[:, 2], y[:, 2] * s_v[:, 2]]
    if bar:
        phi = np.arctan2(y[:, 1], y[:, 0])
        along = (-y[:, 1] * s_v[:, 0] + y[:, 0] * s_v[:, 1]) / r
        columns += [w(2 * phi) * c for w in (np.cos, np.sin) for c in (columns[0], along)]
    return np.stack(columns, axis=1)


def _irls_weights(design: Array, target: Array, iterations: int = 10) -> Array:
    """Square roots of the weights of a robust least squares of ``target`` on the columns of ``design``."""
    root = np.ones(len(target))
    for _ in range(iterations):
        solution = np.linalg.lstsq(design * root[:, None], target * root, rcond=None)[0]
        residual = target - design @ solution
        root = (1 + (residual / (1.5 * np.median(np.abs(residual)) + 1e-300)) ** 2) ** -0.25
    return root


def worst(bins: list[dict[str, float]]) -> float:
    """Largest |relative error| over bins that had enough stars."""
    errors = [abs(b["error"]) for b in bins if np.isfinite(b["error"])]
    return float(max(errors)) if errors else float("nan")
