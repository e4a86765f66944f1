r"""The loss as a function of Omega, with the potential held and with the potential free to follow.

At the points of the fit the residual is linear in Omega and in changes of the potential,

    d ln f/dt = r_0 + Omega b + sum_k c_k grad chi_k . s_v,     b = (e_z x x) . s_x + (e_z x v) . s_v.

With robust weights fixed at the fit, the loss S(Omega) = sum w (...)^2 is a parabola when Phi is held (c = 0), and a wider one when the
c_k are chosen best for each Omega: the profile. How much wider says how much Phi and Omega stand in for one another; a profile that is
flat says that the stars do not fix Omega. chi_k are bumps in ln R times cos m phi, sin m phi (m = 0, 2) times 1 or z^2.

References
----------
Kalda, Green & Ghosh 2023, arXiv:2310.00040, eqs. 3-5 and 9 (the residual and its loss).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KNOTS, MOST = 6, 20_000


@dataclass(frozen=True)
class OmegaProfile:
    """``omega`` (K,) in km/s/kpc; weighted squares of the residual with Phi ``held`` and ``free`` (K,), both in units of the least value
    with Phi held; ``best_held``, ``best_free``: where they are least.
    """

    omega: Array
    held: Array
    free: Array
    best_held: float
    best_free: float


def omega_profile(
    points: Array, score: Array, gradient: Array, omega: float, *, span: float | None = None, weights: Array | None = None, seed: int = 0
) -> OmegaProfile:
    """Profile of the loss over the pattern speed.

    Parameters
    ----------
    points, score : array (N, 6)
        Points [kpc, km/s] about the axis, and scores [1/kpc, s/km].
    gradient : array (N, 3)
        grad Phi of the fit at the points [km^2/s^2/kpc].
    omega : float
        Pattern speed of the fit [km/s/kpc].
    span : float, optional
        Half width of the range [km/s/kpc]; by default ``|omega|``, and 20 at least.
    weights : array (N,), optional
        Of the points.
    seed : int
        Of the draw of at most 20,000 points.

    Returns
    -------
    OmegaProfile
    """
    some = np.sort(np.random.default_rng(seed).permutation(len(points))[:MOST])
    x, s, force = points[some], score[some], gradient[some]
    rest = -np.sum(x[:, 3:] * s[:, :3], axis=1) + np.sum(force * s[:, 3:], axis=1)
    turn = x[:, 0] * s[:, 1] - x[:, 1] * s[:, 0] + x[:, 3] * s[:, 4] - x[:, 4] * s[:, 3]
    residual = rest + omega * turn
    scale = 1.5 * float(np.median(np.abs(residual))) + 1e-12
    given = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)[some]
    root = np.sqrt(given / given.sum() / np.sqrt(1 + (residual / scale) ** 2))
    changes = np.einsum("nki,ni->nk", _gradients(x[:, :3]), s[:, 3:]) * root[:, None]
    changes /= np.linalg.norm(changes, axis=0) + 1e-300
    basis = np.linalg.qr(changes)[0]
    half = span if span is not None else max(abs(omega), 20.0)
    trial = omega + np.linspace(-half, half, 81)
    held, best_held, least = _parabola(rest * root, turn * root, trial)
    free, best_free, _ = _parabola(_without(rest * root, basis), _without(turn * root, basis), trial)
    return OmegaProfile(trial, held / least, free / least, best_held, best_free)


def _parabola(a: Array, b: Array, trial: Array) -> tuple[Array, float, float]:
    """|a + Omega b|^2 at the trial Omega, the Omega where it is least, and its least value."""
    best = -float(a @ b / (b @ b))
    least = max(float(np.sum((a + best * b) ** 2)), 1e-300)
    return least + (trial - best) ** 2 * float(b @ b), best, least


def _without(a: Array, basis: Array) -> Array:
    return a - basis @ (basis.T @ a)


def _gradients(x: Array) -> Array:
    """grad chi_k (N, K, 3)."""
    radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-6)
    c, s, phi, z = x[:, 0] / radius, x[:, 1] / radius, np.arctan2(x[:, 1], x[:, 0]), x[:, 2]
    log = np.log(radius)
    low, high = (float(value) for value in np.quantile(log, (0.03, 0.97)))
    middle = np.linspace(low, high, KNOTS)
    width = middle[1] - middle[0]
    height = float(np.std(z)) or 1.0
    columns = []
    for place in middle:
        bump = np.exp(-0.5 * ((log - place) / width) ** 2)
        slope = -bump * (log - place) / width**2 / radius
        for m, wave, turned in ((0, np.ones_like(phi), np.zeros_like(phi)), (2, np.cos(2 * phi), -np.sin(2 * phi)),
                                (2, np.sin(2 * phi), np.cos(2 * phi))):  # fmt: skip
            for up, dup in ((np.ones_like(z), np.zeros_like(z)), ((z / height) ** 2, 2 * z / height**2)):
                d_R, d_phi = slope * wave * up, m * bump * turned * up / radius
                columns.append(np.stack([c * d_R - s * d_phi, s * d_R + c * d_phi, bump * wave * dup], axis=1))
    return np.stack(columns, axis=1)
