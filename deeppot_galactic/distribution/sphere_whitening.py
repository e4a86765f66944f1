"""Whitening of a spherical system around the origin, smooth at the centre.

With r^2 = x^2 + y^2 + z^2 and s = ln(1 + r^2 / a^2): x' = x sqrt(s) / r, v' = v / sigma(w), ln sigma a Chebyshev sum in w(s). The
radial and the two tangential stretches give ln |det dx'/dx| = (1/2) ln s - ln r - ln(a^2 + r^2), finite at r = 0. A standardisation
that treats the three axes alike follows.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.sanity import check_scale
from .disc_whitening import _expm1_over, _log1p_over
from .whitening import Whitening, chebyshev, fit_profile, quantile_bins, smooth_saturation


class SphereWhitening(Whitening):
    """See the module. ``parameters``: a, centre (3,), s_limit, s_mid, s_half, ln_sigma, mean_v (3,), scale (6,)."""

    kind = "sphere"

    @classmethod
    def fit(
        cls, x: NDArray[np.float64], weights: NDArray[np.float64] | None = None, *, centre: NDArray[np.float64], degree: int = 5
    ) -> SphereWhitening:
        """Fit the dispersion profile to stars (n, 6) around ``centre`` (3,)."""
        check_scale(x.std(axis=0))
        weight = np.ones(len(x)) if weights is None else weights
        radius = np.linalg.norm(x[:, :3] - centre, axis=1)
        a = max(float(np.median(radius)) / np.sqrt(3.0), 1e-3)
        s = np.log1p(radius**2 / a**2)
        limit = max(float(s.max()), 1e-6)
        s = s / (1.0 + (s / limit) ** 8) ** 0.125
        half = 0.5 * limit
        mean_v = np.average(x[:, 3:], axis=0, weights=weight)
        arguments, values = [], []
        for rows in quantile_bins(radius):
            square = ((x[rows, 3:] - mean_v) ** 2).mean(axis=1)
            arguments.append((np.average(s[rows], weights=weight[rows]) - half) / half)
            values.append(0.5 * np.log(max(np.average(square, weights=weight[rows]), 1e-12)))
        parameters = {
            "a": a,
            "centre": centre,
            "s_limit": limit,
            "s_mid": half,
            "s_half": half,
            "ln_sigma": fit_profile(np.array(arguments), np.array(values), degree),
            "mean_v": mean_v,
            "scale": np.ones(6),
        }
        whitening = cls(parameters)
        y = whitening.whiten(torch.tensor(x, dtype=torch.float64))[0].numpy()
        square = np.average(y**2, axis=0, weights=weight)
        scale = np.sqrt(np.concatenate([np.full(3, square[:3].mean()), np.full(3, square[3:].mean())]))
        whitening.parameters["scale"] = torch.from_numpy(scale)
        return whitening

    def _ln_sigma(self, r2: Tensor) -> Tensor:
        p = self.parameters
        s = torch.log1p(r2 / p["a"] ** 2)
        return chebyshev((smooth_saturation(s, p["s_limit"]) - p["s_mid"]) / p["s_half"], p["ln_sigma"])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = self.parameters
        position = x[:, :3] - p["centre"]
        r2 = (position * position).sum(1)
        ratio = _log1p_over(r2 / p["a"] ** 2)  # s a^2 / r^2
        ln_sigma = self._ln_sigma(r2)
        log_det = 0.5 * torch.log(ratio) - torch.log(p["a"]) - torch.log(p["a"] ** 2 + r2) - 3.0 * ln_sigma
        stretched = position * (torch.sqrt(ratio) / p["a"])[:, None]
        raw = torch.cat([stretched, (x[:, 3:] - p["mean_v"]) * torch.exp(-ln_sigma)[:, None]], 1)
        return raw / p["scale"], log_det - torch.log(p["scale"]).sum()

    def inverse(self, y: Tensor) -> Tensor:
        p = self.parameters
        raw = y * p["scale"]
        s = (raw[:, :3] ** 2).sum(1)
        position = raw[:, :3] * (p["a"] * torch.sqrt(_expm1_over(s)))[:, None]
        sigma = torch.exp(self._ln_sigma((position * position).sum(1)))
        return torch.cat([position + p["centre"], raw[:, 3:] * sigma[:, None] + p["mean_v"]], 1)
