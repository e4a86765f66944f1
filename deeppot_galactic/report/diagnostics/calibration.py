r"""Are the learned scores as steep as the stars say? Identities that hold for the true f, whatever it is.

Velocities have no boundary, so in any part of space (Stein's identity, by integration by parts over velocity)

    - < s_vi (v_i - v_0i) > = 1        for i = R, phi, z and any constant v_0.

The azimuth has none either: in any ring, with the derivative at fixed R, z and velocities relative to the radius vector,
d/dphi = x d/dy - y d/dx + v_x d/dv_y - v_y d/dv_x, and phi_0 the phase of the bar in the ring,

    - < (d ln f / d phi) sin 2(phi - phi_0) > = 2 < cos 2(phi - phi_0) >,

whose ratio is the calibration of the bar: below one where the gradients along the azimuth, which fix Omega, have been smoothed away.
A ratio of 0.9 in the velocities makes forces too strong by about a tenth; 0.9 in the bar makes Omega too slow by about as much.
The points of the fit are those it was trained on: overfitting shows as ratios that are too good, not as ones that are too bad.

References
----------
Stein 1981, Ann. Statist. 9, 1135; Hyvarinen 2005, JMLR 6, 695 (score matching is built on the same integration by parts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
AT_LEAST = 200
SIGNIFICANT = 8.0
"""Standard errors by which the m = 2 amplitude of a ring must stand out."""


@dataclass(frozen=True)
class Calibration:
    """Ratios in rings, 1 where calibrated: ``radius`` (K,) in kpc; ``ratio`` and its statistical ``error``, each a dictionary of (K,)
    arrays under "v_R", "v_phi", "v_z", "bar"; NaN where there are too few stars or no bar.
    """

    radius: Array
    ratio: dict[str, Array]
    error: dict[str, Array]


def score_calibration(points: Array, score: Array, *, edges: Array, weights: Array | None = None) -> Calibration:
    """Calibrate scores in rings.

    Parameters
    ----------
    points : array (N, 6)
        Stars [kpc, km/s], about the axis.
    score : array (N, 6)
        Gradients of ln f there [1/kpc, s/km].
    edges : array (K + 1,)
        Radii between the rings [kpc].
    weights : array (N,), optional
        Of the stars.

    Returns
    -------
    Calibration
    """
    w = np.ones(len(points)) if weights is None else np.asarray(weights, dtype=np.float64)
    x, y, v = points[:, 0], points[:, 1], points[:, 3:]
    radius, phi = np.hypot(x, y), np.arctan2(y, x)
    c, s = x / np.maximum(radius, 1e-12), y / np.maximum(radius, 1e-12)

    def cylindrical(a: Array) -> Array:
        return np.column_stack([c * a[:, 0] + s * a[:, 1], c * a[:, 1] - s * a[:, 0], a[:, 2]])

    speed, slope = cylindrical(v), cylindrical(score[:, 3:])
    turning = x * score[:, 1] - y * score[:, 0] + v[:, 0] * score[:, 4] - v[:, 1] * score[:, 3]
    names, n = ("v_R", "v_phi", "v_z", "bar"), len(edges) - 1
    ratio, error = ({name: np.full(n, np.nan) for name in names} for _ in range(2))
    for k in range(n):
        use = (radius > edges[k]) & (radius < edges[k + 1])
        if use.sum() < AT_LEAST:
            continue
        q = w[use] / w[use].sum()
        for i, name in enumerate(names[:3]):
            centred = speed[use, i] - q @ speed[use, i]
            ratio[name][k], error[name][k] = _ratio(-slope[use, i] * centred, np.ones_like(q), q)
        moment = q @ np.exp(2j * phi[use])
        if np.abs(moment) < SIGNIFICANT * np.sqrt(0.5 * np.sum(q**2)):
            continue
        twice = 2 * phi[use] - np.angle(moment)
        ratio["bar"][k], error["bar"][k] = _ratio(-turning[use] * np.sin(twice), 2 * np.cos(twice), q)
    return Calibration(0.5 * (edges[1:] + edges[:-1]), ratio, error)


def _ratio(above: Array, below: Array, q: Array) -> tuple[float, float]:
    """Ratio of two means with weights q, and its error from the scatter of both."""
    size = float(q @ below)
    ratio = float(q @ above) / size
    return ratio, float(np.sqrt(np.sum(q**2 * (above - ratio * below) ** 2))) / size
