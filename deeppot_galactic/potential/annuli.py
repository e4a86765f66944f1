r"""Annuli about the axis: azimuthal harmonics of the stars, how they change, the radii of the bar; what volumes and stars know of it.

With h_k a smooth bump in annulus k and g a roll-off to the edge of the volume, b_k = g h_k(R) e^{-i m phi}. Its sum over the stars is the
harmonic of order m, and the sum of v . grad b_k the rate at which it changes (`pattern`). Here g = (1 - s^2)^2 with s = |z| / h in a
cylinder of half height h, and s = |x - x_c| / r in a ball of radius r whose centre x_c lies on the axis: the same all around it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..catalogue.copies import Copies
from ..catalogue.volumes import Ball, Cylinder, Volume

Array = NDArray[np.float64]
Round = Cylinder | Ball

SIGNIFICANCE = 5.0  # of the m = 2 amplitude in an annulus that counts
CHUNK = 65536
_N_ANNULI = 14
_SAME_PHASE = np.radians(7.0)
_ROUNDING = 1e-9  # of a centre on the axis, in radii
_Z = np.array([0.0, 0.0, 1.0])
LOCAL_SCATTER = 0.12
"""By what fraction patterns in parts of a galaxy differ from its bar: rms of the twelve balls of P tables 3 and 4."""


def is_round(volume: Volume) -> TypeGuard[Round]:
    """Whether the volume turns into itself about the axis; a mask does not."""
    if isinstance(volume, Ball):
        return volume.mask is None and bool(np.hypot(*volume.center[:2]) < _ROUNDING * volume.radius)
    return volume.mask is None and isinstance(volume, Cylinder)


def annuli(volume: Round, n: int = _N_ANNULI) -> Array:
    """Edges (n, 2) of half-overlapping annuli, narrower inside: equal steps in sqrt(R)."""
    inner = max(volume.r_in if isinstance(volume, Cylinder) else 0.0, 0.02 * volume.size)
    edges = np.linspace(np.sqrt(inner), np.sqrt(volume.size), n + 2) ** 2
    return np.stack([edges[:-2], edges[2:]], axis=1)


def _roll_off(x: Array, v: Array, volume: Round) -> tuple[Array, Array]:
    """g and v . grad g (n,) at places and velocities (n, 3)."""
    axes, size = (slice(2, 3), volume.half_height) if isinstance(volume, Cylinder) else (slice(3), volume.radius)
    s, ds = (x[:, axes] - volume.center[axes]) / size, v[:, axes] / size
    fall = np.maximum(1.0 - np.sum(s**2, axis=1), 0.0)
    return fall**2, -4.0 * np.sum(s * ds, axis=1) * fall


def annulus_sums(stars: Array, volume: Round, edges: Array, orders: tuple[int, ...], weights: Array | None) -> tuple[Any, Any, Array]:
    """b (n, K, M), v . grad b (n, K, M), complex, and h_k (n, K): annuli K, azimuthal orders M."""
    x, v = stars[:, :3], stars[:, 3:]
    radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-9)
    v_r = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / radius
    turning = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / radius**2
    g, falling = _roll_off(x, v, volume)
    if weights is not None:
        g, falling = g * weights, falling * weights
    t = np.clip((radius[:, None] - edges[:, 0]) / (edges[:, 1] - edges[:, 0]), 0.0, 1.0)
    h = np.sin(np.pi * t) ** 2
    dh = np.pi / (edges[:, 1] - edges[:, 0]) * np.sin(2.0 * np.pi * t)
    profile = g[:, None] * h
    moving = g[:, None] * dh * v_r[:, None] + falling[:, None] * h
    phase = (x[:, 0] - 1j * x[:, 1]) / radius
    wave = np.stack([phase**m for m in orders], axis=1)
    spin = np.stack([-1j * m * turning for m in orders], axis=1)
    b = profile[:, :, None] * wave[:, None, :]
    return b, moving[:, :, None] * wave[:, None, :] + b * spin[:, None, :], profile


def star_sums(
    part: slice, stars: Array, volume: Round, edges: Array, orders: tuple[int, ...], weights: Array | None, copies: Copies | None
) -> tuple[Any, Any, Array]:
    """`annulus_sums` of some of the stars, each summed over its copies where there are any."""
    if weights is not None:
        weights = weights[part]
    if copies is None:
        return annulus_sums(stars[part], volume, edges, orders, weights)
    rows = copies.rows[part]
    totals: list[Any] = [0.0, 0.0, 0.0]
    for k, coefficient in enumerate(copies.coefficients):
        found = annulus_sums(rows[:, k], volume, edges, orders, weights)
        totals = [total + coefficient * value for total, value in zip(totals, found, strict=True)]
    return totals[0], totals[1], totals[2]


def end_speeds(
    stars: Array, volume: Round, edges: Array, share: Array, angle: float, weights: Array | None, copies: Copies | None
) -> tuple[Array, Array]:
    """Omega (2,) from the two ends of the bar, and its covariance (2, 2), km/s/kpc.

    The windows (1 +- cos(phi - angle)) / 2 on the harmonic m = 2 see one end each; with B, E and D the sums of b, d b/d phi and v . grad b,
    D = growth B + Omega E in every annulus, over which Omega is averaged with the weights ``share`` (K,).
    """

    def windows(q: Any, turned: bool = False) -> Any:
        """Both windows of harmonics 1, 2, 3 in q (..., K, 3), or of their derivatives by phi: (..., K, 2)."""
        one, two, three = (q[..., k] * (-1j * (k + 1) if turned else 1.0) for k in range(3))
        side = (np.exp(-1j * angle) * one + np.exp(1j * angle) * three) / 4.0
        return np.stack([two / 2.0 + side, two / 2.0 - side], axis=-1)

    parts, orders = [slice(start, start + CHUNK) for start in range(0, len(stars), CHUNK)], (1, 2, 3)
    b_sum, d_sum = np.zeros((len(edges), 3), dtype=complex), np.zeros((len(edges), 3), dtype=complex)
    for part in parts:
        b, d, _ = star_sums(part, stars, volume, edges, orders, weights, copies)
        b_sum, d_sum = b_sum + b.sum(axis=0), d_sum + d.sum(axis=0)
    total, turning, moving = windows(b_sum), windows(b_sum, turned=True), windows(d_sum)
    lever = np.imag(turning * total.conj())
    omega = np.imag(moving * total.conj()) / lever
    growth = np.real((moving - omega * turning) * total.conj()) / np.abs(total) ** 2
    covariance = np.zeros((2, 2))
    for part in parts:
        b, d, _ = star_sums(part, stars, volume, edges, orders, weights, copies)
        rest = windows(d) - growth * windows(b) - omega * windows(b, turned=True)
        influence = np.einsum("nks,k->ns", np.imag(rest * total.conj()) / lever, share)
        covariance += influence.T @ influence
    return share @ omega, covariance


def bar_annuli(amplitude: Array, significance: Array, phase: Array) -> NDArray[np.bool_]:
    """The run of significant annuli about the most significant strong one in which the phase of m = 2 stays the same."""
    chosen = np.zeros(len(amplitude), dtype=bool)
    strong = significance > SIGNIFICANCE
    if not strong.any():
        return chosen
    peak_amplitude = amplitude[strong].max()
    candidates = np.flatnonzero(strong & (amplitude > 0.7 * peak_amplitude))
    peak = candidates[0]  # the innermost strong maximum: outer ones are spirals or rings
    chosen[peak] = True
    for step in (-1, 1):
        k = peak + step
        while 0 <= k < len(amplitude) and strong[k] and amplitude[k] > 0.3 * peak_amplitude:
            turn = (phase[k] - phase[peak] + np.pi / 2) % np.pi - np.pi / 2
            if abs(turn) > _SAME_PHASE:
                break
            chosen[k] = True
            k += step
    return chosen


def bar_radii(stars: Array, volume: Cylinder, weights: Array | None = None) -> tuple[float, float] | None:
    """Inner and outer radius [kpc] of the annuli that turn as one with the bar, or None where no m = 2 pattern stands out.

    ``stars`` (n, 6) in kpc and km/s; ``weights`` (n,).
    """
    edges = annuli(volume)
    harmonic, total, power = np.zeros(len(edges), dtype=complex), np.zeros(len(edges)), np.zeros(len(edges))
    for start in range(0, len(stars), CHUNK):
        part = slice(start, start + CHUNK)
        b, _, profile = annulus_sums(stars[part], volume, edges, (2,), None if weights is None else weights[part])
        harmonic += b[:, :, 0].sum(axis=0)
        total += profile.sum(axis=0)
        power += np.sum(np.abs(b[:, :, 0]) ** 2, axis=0)
    amplitude = np.abs(harmonic) / np.maximum(total, 1e-300)
    significance = np.abs(harmonic) / np.sqrt(np.maximum(0.5 * power, 1e-300))
    chosen = bar_annuli(amplitude, significance, -np.angle(harmonic) / 2.0)
    return (float(edges[chosen, 0].min()), float(edges[chosen, 1].max())) if chosen.any() else None


class AngularSpeeds(NamedTuple):
    """Median and half the central 68 % range of the angular speeds of stars, km/s/kpc."""

    median: float
    spread: float

    @property
    def error(self) -> float:
        """Of the median, where it stands for an Omega that the stars leave open."""
        return max(self.spread, abs(self.median))


def angular_speeds(phase_space: Array, axis: Array = _Z) -> AngularSpeeds:
    """Of the stars' L / R^2 about an axis (3,) of length one."""
    across = np.cross(axis, phase_space[:, :3])
    speeds = np.sum(across * phase_space[:, 3:], axis=1) / np.maximum(np.sum(across**2, axis=1), 1e-6)
    low, middle, high = np.quantile(speeds, (0.16, 0.5, 0.84))
    return AngularSpeeds(float(middle), float(0.5 * (high - low)))


def holds_the_axis(volume: Volume) -> bool:
    """Whether the bar can be seen as a whole, so that no other pattern is taken for it."""
    return volume.mask is None and (isinstance(volume, Cylinder) or bool(volume.contains(np.array([[0.0, 0.0, volume.center[2]]]))[0]))


def local_scatter(volume: Volume, omega: float) -> float:
    """How much the pattern in a part of the galaxy may differ from the bar's, km/s/kpc: spirals and evolution, of which the stars there do
    not know; 0 where the volume holds the axis."""
    return 0.0 if holds_the_axis(volume) else LOCAL_SCATTER * abs(omega)
