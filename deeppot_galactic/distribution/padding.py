r"""Padding of a volume with stars from beyond its edge, thinned smoothly (Kalda, Green & Ghosh 2023, appendix B).

A flow cannot end at an edge: it smears what stops abruptly. So a star beyond the volume is kept with a probability p(x) that is one in
the volume and rolls off smoothly outside, the flow learns p f, and f is what it learned, divided by p. For a cylinder of radius R_out and
half height H, and for a ball about c,

    p = g_R(R) g_z(z) q(R)            p = g_R(|x - c|)
    g_R = 1 for t = R / R_out < 1.1,  exp(-(t - 1.1)^2 / (2 0.1^2)) beyond,          g_z the same with t = |z| / H,

and, for a shell R > R_in, the hole is filled with stars of its own: their surface density n(R), which rises steeply inwards, is thinned to

    q = h(R) / n(R),    h(R) = n_0 + a_3 u^3 + a_4 u^4 + a_5 u^5,    u = R / R_in,    n_0 = n(R_in),

the quintic that meets n, n' and n'' at R_in and is flat at the centre; ln n is a cubic fitted to the stars about R_in. Where the
catalogue itself ends at the volume, there is nothing to keep, and its stars are mirrored in the edge instead, so thinned that ln n goes
on with the slope it has there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.volumes import Ball, Cylinder, Volume
from ..errors import VolumeError
from .training_volume import continues

Array = NDArray[np.float64]

START = 1.1
"""Where the roll-off begins, in units of the edge."""
SIGMA = 0.1
"""Its width, in the same units."""
REACH = START + 4.0 * SIGMA
"""Beyond this nothing is kept (p < 4e-4)."""
PROFILE_BINS = 24
"""Bins of the surface density about R_in."""
FLOOR = 1e-4
"""Least p that is divided by."""


@dataclass(frozen=True)
class Padding:
    """p(x) of one volume.

    Attributes
    ----------
    volume : Volume
        Where p = 1.
    log_n : tuple of float
        Coefficients of ln n in u = R / R_in, lowest first; empty without an inner edge.
    h : tuple of float
        n_0, a_3, a_4, a_5; empty without an inner edge.
    """

    volume: Volume
    log_n: tuple[float, ...] = ()
    h: tuple[float, ...] = ()

    @classmethod
    def fit(cls, x: Array, volume: Volume, weights: Array | None = None) -> Padding:
        """The padding of a volume, with the surface density of the stars ``x`` (n, 3) about an inner edge."""
        if not isinstance(volume, Cylinder) or volume.r_in == 0.0:
            return cls(volume)
        near = np.abs(x[:, 2]) <= START * volume.half_height
        u = np.hypot(x[near, 0], x[near, 1]) / volume.r_in
        edges = np.linspace(0.0, min(2.0, volume.r_out / volume.r_in), PROFILE_BINS + 1)
        counts = np.histogram(u, edges, weights=None if weights is None else weights[near])[0]
        middle = 0.5 * (edges[1:] + edges[:-1])
        density = counts / (np.pi * np.diff(edges**2))
        good = counts > 0
        if (good & (middle < 1.0)).sum() < 4:  # nothing inside: the hole stays empty, and p falls to zero there
            return cls(volume)
        log_n = np.polynomial.polynomial.polyfit(middle[good], np.log(density[good]), 3, w=np.sqrt(counts[good]))
        polynomial = np.polynomial.Polynomial(log_n)
        n = math.exp(polynomial(1.0))
        first = float(polynomial.deriv(1)(1.0))
        slope, bend = n * first, n * (float(polynomial.deriv(2)(1.0)) + first**2)
        a = np.linalg.solve([[1.0, 1.0, 1.0], [3.0, 4.0, 5.0], [6.0, 12.0, 20.0]], [0.0, slope, bend])
        return cls(volume, tuple(float(c) for c in log_n), (n, *(float(c) for c in a)))

    def log_acceptance(self, x: Tensor) -> Tensor:
        """ln p (n,) at positions (n, 3), float64, differentiable; at least ln `FLOOR`."""
        if isinstance(self.volume, Ball):
            offset = x - torch.tensor(self.volume.center.tolist(), dtype=x.dtype, device=x.device)
            return _log_roll_off(torch.sqrt((offset * offset).sum(1) + 1e-24) / self.volume.radius).clamp_min(math.log(FLOOR))
        if not isinstance(self.volume, Cylinder):
            raise VolumeError(f"padding knows cylinders and balls, found {self.volume!r}")
        radius = torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2 + 1e-24)
        log_p = _log_roll_off(radius / self.volume.r_out) + _log_roll_off(x[:, 2].abs() / self.volume.half_height)
        if self.h:
            u = (radius / self.volume.r_in).clamp_max(1.0)
            n0, a3, a4, a5 = self.h
            h = (n0 + u**3 * (a3 + u * (a4 + u * a5))).clamp_min(FLOOR * n0)
            log_n = sum(c * u**k for k, c in enumerate(self.log_n))
            log_p = log_p + torch.where(u < 1.0, (torch.log(h) - log_n).clamp_max(0.0), torch.zeros_like(u))
        elif self.volume.r_in > 0.0:
            log_p = log_p + _log_roll_off(2.0 - radius / self.volume.r_in)
        return log_p.clamp_min(math.log(FLOOR))

    def acceptance(self, x: Array) -> Array:
        """p (n,) at positions (n, 3)."""
        with torch.no_grad():
            p = torch.exp(self.log_acceptance(torch.tensor(x, dtype=torch.float64))).numpy()
        return np.where(p > 2.0 * FLOOR, p, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description."""
        return {"volume": self.volume.to_dict(), "log_n": list(self.log_n), "h": list(self.h)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Padding:
        """Inverse of `to_dict`."""
        return cls(Volume.from_dict(values["volume"]), tuple(values["log_n"]), tuple(values["h"]))


def _log_roll_off(t: Tensor) -> Tensor:
    return -0.5 * ((t - START).clamp_min(0.0) / SIGMA) ** 2


def padded_stars(x: Array, weights: Array | None, volume: Volume, seed: int) -> tuple[Array, Array | None, Padding]:
    """The stars of a volume with its padding.

    Parameters
    ----------
    x : ndarray, shape (n, 6)
        All stars of the catalogue.
    weights : ndarray, shape (n,), optional
        Their weights.
    volume : Volume
        Without shells, or one of them.
    seed : int
        Decides which stars beyond the volume are kept.

    Returns
    -------
    x : ndarray, shape (m, 6)
    weights : ndarray, shape (m,), or None
    padding : Padding
    """
    padding = Padding.fit(x[:, :3], volume, weights)
    rng = np.random.default_rng([seed, 0xAD])
    stars, known = _mirrored(x, weights, volume, rng)
    p = padding.acceptance(stars[:, :3])
    kept = rng.uniform(size=len(p)) < p
    return stars[kept], None if known is None else known[kept], padding


def _mirrored(x: Array, weights: Array | None, volume: Volume, rng: np.random.Generator) -> tuple[Array, Array | None]:
    """The stars, and their thinned mirror images in every edge at which the catalogue ends; velocities stay as they are."""
    for vertical in (False, True) if isinstance(volume, Cylinder) else (False,):
        if continues(x[:, :3], volume, vertical=vertical):
            continue
        t, centre, axes = _depth(x[:, :3], volume, vertical=vertical)
        inside = t <= 1.0
        x, t, weights = x[inside], t[inside], None if weights is None else weights[inside]
        near = np.flatnonzero(t > 2.0 - REACH)
        near = near[rng.uniform(size=len(near)) < _image_share(t[near], len(axes))]
        image = x[near].copy()
        image[:, axes] = centre + (image[:, axes] - centre) * ((2.0 - t[near]) / t[near])[:, None]
        x = np.concatenate([x, image])
        weights = None if weights is None else np.concatenate([weights, weights[near]])
    return x, weights


def _image_share(t: Array, dimensions: int) -> Array:
    """Share of the images at 2 - t to keep, so that their density is n(1)^2 / n(t): ln n goes on with the slope it has at the edge."""
    counts, edges = np.histogram(t, np.linspace(2.0 - REACH, 1.0, 11))
    good = counts > 0
    if good.sum() < 4:
        return np.zeros(len(t))
    middle = 0.5 * (edges[1:] + edges[:-1])
    density = counts[good] / middle[good] ** (dimensions - 1)
    log_n = np.polynomial.Polynomial(np.polynomial.polynomial.polyfit(middle[good], np.log(density), 2, w=np.sqrt(counts[good])))
    return np.minimum(1.0, np.exp(2.0 * (log_n(1.0) - log_n(t))) * ((2.0 - t) / t) ** (dimensions - 1))


def _depth(x: Array, volume: Volume, *, vertical: bool) -> tuple[Array, Array, list[int]]:
    """Distance in units of the edge, what it is measured from, and the coordinates that it is made of."""
    axes = [2] if vertical else [0, 1] if isinstance(volume, Cylinder) else [0, 1, 2]
    centre = np.asarray(volume.center)[axes]
    edge = volume.half_height if vertical and isinstance(volume, Cylinder) else volume.size
    return np.linalg.norm(x[:, axes] - centre, axis=1) / edge, centre, axes
