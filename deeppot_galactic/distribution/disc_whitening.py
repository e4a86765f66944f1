"""Whitening of a rotating disc, smooth also on the axis.

With R^2 = x^2 + y^2, s = ln(1 + R^2 / a^2) and w(s) in [-1, 1] over the data:

    planar "log"      (x', y') = (x, y) sqrt(s) / R                so that R' = sqrt(s)
    planar "linear"   (x', y') = (x, y) - centre                    for a volume away from the axis
    planar "physical" (x', y') = (x, y) / l                         with l the epicyclic scale, median of R sigma_phi / |v_stream|
    planar "local"    (x', y') = ((x, y) - centre) / l              the same away from the axis
    z' = asinh((z - z_0) / h(w)),                                   a vertical scale that follows R
    u = (v_x, v_y) - Omega_s(w) (-y, x),   Omega_s = C(w) / sqrt(R^2 + a^2),
    (v_x', v_y') = u / sigma_R + e (e . u) kappa,   e = (-y, x),
    kappa = (1/sigma_phi - 1/sigma_R) / R^2 = expm1(-t q(w)) / (t sigma_R (R^2 + a^2)),   t = R^2 / (R^2 + a^2),
    v_z' = v_z / sigma_z(w),

where ln h, C, ln sigma_R, q and ln sigma_z are Chebyshev sums fitted to the profiles of the stars, and sigma_phi = sigma_R exp(t q).
The anisotropy vanishes like R^2 on the axis, hence everything is a smooth function of (x, y). Last, a standardisation that treats
x' and y' (and v_x', v_y') alike for "log", so that the disc's rotational symmetry survives.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.sanity import check_scale
from ..errors import FitError
from .whitening import Whitening, chebyshev, fit_profile, quantile_bins, smooth_saturation


class DiscWhitening(Whitening):
    """See the module. ``parameters``: a, linear (0 or 1), centre (2,), z0, s_limit, s_mid, s_half, stream, ln_h, ln_sigma_r, q,
    ln_sigma_z, mean (6,), scale (6,)."""

    kind = "disc"

    @classmethod
    def fit(
        cls,
        x: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
        *,
        planar: str = "log",
        degree: int = 6,
        mirror: bool = False,
    ) -> DiscWhitening:
        """Fit the profiles to stars.

        Parameters
        ----------
        x : ndarray, shape (n, 6)
            kpc, km/s.
        weights : ndarray, shape (n,), optional
            Per-star weights.
        planar : {"log", "linear", "physical", "local"}
            Map of (x, y).
        degree : int
            Highest order of the profiles.
        mirror : bool
            Centre z and v_z on zero, so that a reflection in the plane z = 0 is a change of sign.

        Raises
        ------
        FitError
            When a coordinate is constant.
        """
        check_scale(x.std(axis=0))
        weight = np.ones(len(x)) if weights is None else weights
        radius = np.hypot(x[:, 0], x[:, 1])
        a = max(float(np.median(radius)) / np.sqrt(3.0), 1e-3)
        s = np.log1p(radius**2 / a**2)
        limit = float(s.max())
        s = s / (1.0 + (s / limit) ** 8) ** 0.125
        local = planar in ("linear", "local")
        low = float(s.min()) if local else 0.0
        mid, half = 0.5 * (limit + low), max(0.5 * (limit - low), 1e-6)  # w stays below 1 at any radius
        z0 = 0.0 if mirror else float(np.median(x[:, 2]))
        rows = _profiles(x, weight, radius, (s - mid) / half, z0)
        w, r = rows["w"], rows["r"]
        t = r**2 / (r**2 + a**2)
        parameters = {
            "a": a,
            "linear": float(planar != "log"),
            "centre": np.average(x[:, :2], axis=0, weights=weight) if local else np.zeros(2),
            "z0": z0,
            "s_limit": limit,
            "s_mid": mid,
            "s_half": half,
            "stream": fit_profile(w, rows["stream"], degree, r / np.sqrt(r**2 + a**2)),
            "ln_h": fit_profile(w, np.log(rows["h"]), degree),
            "ln_sigma_r": fit_profile(w, np.log(rows["sigma_r"]), degree),
            "q": fit_profile(w, np.log(rows["sigma_phi"] / rows["sigma_r"]), degree, t),
            "ln_sigma_z": fit_profile(w, np.log(rows["sigma_z"]), degree),
            "mean": np.zeros(6),
            "scale": np.ones(6),
        }
        whitening = cls(parameters)
        y = whitening.whiten(torch.tensor(x, dtype=torch.float64))[0].numpy()
        mean = np.average(y, axis=0, weights=weight)
        symmetric = not local
        if symmetric:
            mean[[0, 1, 3, 4]] = 0.0
        if mirror:
            mean[[2, 5]] = 0.0
        square = np.average((y - mean) ** 2, axis=0, weights=weight)
        if planar == "log":
            square[:2] = square[:2].mean()
        if planar in ("physical", "local"):
            square[:2] = epicyclic_scale(rows) ** 2
        if symmetric:
            square[3:5] = square[3:5].mean()
        whitening.parameters["mean"] = torch.from_numpy(mean)
        whitening.parameters["scale"] = torch.from_numpy(np.sqrt(square))
        return whitening

    def _radial(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """R^2, s and w."""
        p = self.parameters
        r2 = x * x + y * y
        s = torch.log1p(r2 / p["a"] ** 2)
        return r2, s, (smooth_saturation(s, p["s_limit"]) - p["s_mid"]) / p["s_half"]

    def _velocity(self, r2: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Omega_s, 1 / sigma_R, kappa, t q and ln sigma_R."""
        p = self.parameters
        a2 = p["a"] ** 2
        t = (r2 + 1e-12 * a2) / (r2 + a2)
        tq = t * chebyshev(w, p["q"])
        ln_sigma = chebyshev(w, p["ln_sigma_r"])
        alpha = torch.exp(-ln_sigma)
        kappa = alpha * torch.expm1(-tq) / (t * (r2 + a2))
        omega = chebyshev(w, p["stream"]) / torch.sqrt(r2 + a2)
        return omega, alpha, kappa, tq, ln_sigma

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = self.parameters
        px, py, pz, vx, vy, vz = x.unbind(1)
        r2, s, w = self._radial(px, py)
        omega, alpha, kappa, tq, ln_sigma = self._velocity(r2, w)
        if bool(p["linear"]):
            qx, qy = px - p["centre"][0], py - p["centre"][1]
            log_det = torch.zeros_like(px)
        else:
            ratio = torch.sqrt(_log1p_over(r2 / p["a"] ** 2)) / p["a"]
            qx, qy = px * ratio, py * ratio
            log_det = -torch.log(p["a"] ** 2 + r2)  # (R'/R) dR'/dR = 1 / (a^2 + R^2)
        ln_h = chebyshev(w, p["ln_h"])
        scaled = (pz - p["z0"]) * torch.exp(-ln_h)
        log_det = log_det - ln_h - 0.5 * torch.log1p(scaled * scaled)
        ux, uy = vx + omega * py, vy - omega * px
        along = (-py * ux + px * uy) * kappa
        ln_sigma_z = chebyshev(w, p["ln_sigma_z"])
        # det of alpha I + kappa e e^T is alpha (alpha + kappa R^2), and the second factor is exp(-t q) alpha
        log_det = log_det - 2.0 * ln_sigma - tq - ln_sigma_z
        raw = torch.stack([qx, qy, torch.asinh(scaled), alpha * ux - along * py, alpha * uy + along * px, vz * torch.exp(-ln_sigma_z)], 1)
        return (raw - p["mean"]) / p["scale"], log_det - torch.log(p["scale"]).sum()

    def inverse(self, y: Tensor) -> Tensor:
        p = self.parameters
        qx, qy, qz, wx, wy, wz = (y * p["scale"] + p["mean"]).unbind(1)
        if bool(p["linear"]):
            px, py = qx + p["centre"][0], qy + p["centre"][1]
        else:
            s = qx * qx + qy * qy
            ratio = p["a"] * torch.sqrt(_expm1_over(s))
            px, py = qx * ratio, qy * ratio
        r2, _, w = self._radial(px, py)
        omega, alpha, kappa, _, _ = self._velocity(r2, w)
        pz = p["z0"] + torch.exp(chebyshev(w, p["ln_h"])) * torch.sinh(qz)
        along = (-py * wx + px * wy) * kappa / (alpha + kappa * r2)
        ux, uy = (wx + along * py) / alpha, (wy - along * px) / alpha
        vz = wz * torch.exp(chebyshev(w, p["ln_sigma_z"]))
        return torch.stack([px, py, pz, ux - omega * py, uy + omega * px, vz], 1)


def epicyclic_scale(profiles: dict[str, NDArray[np.float64]]) -> float:
    """Median over the stars of R sigma_phi / |v_stream| in kpc: how far a star strays from its circle, but at most a third of the
    median radius (slowly rotating systems) and at least a thirtieth."""
    typical = float(np.median(profiles["r"]))
    scale = profiles["r"] * profiles["sigma_phi"] / np.maximum(np.abs(profiles["stream"]), 1e-9)
    return float(np.clip(np.median(scale), typical / 30.0, typical / 3.0))


def _log1p_over(q: Tensor) -> Tensor:
    """ln(1 + q) / q, smooth at 0."""
    safe = torch.where(q > 1e-5, q, torch.ones_like(q))
    return torch.where(q > 1e-5, torch.log1p(safe) / safe, 1.0 - q / 2.0 + q * q / 3.0)


def _expm1_over(s: Tensor) -> Tensor:
    """(exp(s) - 1) / s, smooth at 0."""
    safe = torch.where(s > 1e-5, s, torch.ones_like(s))
    return torch.where(s > 1e-5, torch.expm1(safe) / safe, 1.0 + s / 2.0 + s * s / 6.0)


def _profiles(
    x: NDArray[np.float64], weight: NDArray[np.float64], radius: NDArray[np.float64], w: NDArray[np.float64], z0: float
) -> dict[str, NDArray[np.float64]]:
    """Binned stream, dispersions and heights against w."""
    safe = np.maximum(radius, 1e-9)
    v_r = (x[:, 0] * x[:, 3] + x[:, 1] * x[:, 4]) / safe
    v_phi = (x[:, 0] * x[:, 4] - x[:, 1] * x[:, 3]) / safe
    table: dict[str, list[float]] = {k: [] for k in ("w", "r", "stream", "sigma_r", "sigma_phi", "sigma_z", "h")}
    floor_v = 1e-3 * float(x[:, 3:].std())
    floor_h = 1e-3 * float(x[:, 2].std())
    for rows in quantile_bins(radius):
        k = weight[rows]
        if not k.sum() > 0:
            continue
        stream = float(np.average(v_phi[rows], weights=k))
        table["w"].append(float(np.average(w[rows], weights=k)))
        table["r"].append(float(np.average(radius[rows], weights=k)))
        table["stream"].append(stream)
        table["sigma_r"].append(max(float(np.sqrt(np.average(v_r[rows] ** 2, weights=k))), floor_v))
        table["sigma_phi"].append(max(float(np.sqrt(np.average((v_phi[rows] - stream) ** 2, weights=k))), floor_v))
        table["sigma_z"].append(max(float(np.sqrt(np.average(x[rows, 5] ** 2, weights=k))), floor_v))
        table["h"].append(max(float(np.median(np.abs(x[rows, 2] - z0))), floor_h))
    if not table["w"]:
        raise FitError("no star has a positive weight; weights must be finite and some of them positive")
    return {k: np.array(v) for k, v in table.items()}
