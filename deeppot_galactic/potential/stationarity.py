r"""The training objective of Phi and the frame: stationarity of f, positive density, and what the stars say in the weak form.

At points (x, v) drawn from f with s = grad ln f the frame sees

    r = d ln f / dt = (u - v) . s_x + (grad Phi + w) . s_v,   u = Omega x (x - x0) + v0,   w = Omega x (v - v0)        (P 3-5)

with P = Kalda, Green & Ghosh 2023. The loss of P (equation 9, mean over points, equation 10) is

    L = < asinh(alpha |f r|) > + lambda < asinh(beta max(-lap Phi, 0)) > + l2.

``residual = "f"`` is that, f normalised to one in kpc and 100 km/s, but for the places of the density term: points through the volume (half
of them evenly in radius), where stars are few too, instead of P's draws from f. ``"ln f"`` uses r in units of a robust scale tau_r
of the data, sqrt(1 + (r / tau_r)^2) - 1, quadratic where stationarity holds and linear where the scores fail, averaged over the stars.

Scores are smoothed and noisy, which pulls Omega and the forces; the weak form is not. ``anchor`` adds its posterior (mean force a_w and
covariance C at the points, Omega_w and its error),

    anchor < sqrt(1 + (grad Phi - a_w)^T C^-1 (grad Phi - a_w) / 3) - 1 >  +  prior (Omega_z - Omega_w)^2 / sigma_w^2,

over stars and over points through the volume, so that the network refines the weak solution where the scores know more, and does not
leave it where the stars forbid it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .frame import RotatingFrame
from .network import PotentialNetwork
from .trainable_base import TrainableBase

Array = NDArray[np.float64]
_FRAME_SCALES = {"omega": 40.0, "x0": 1.0, "v0": 10.0}  # parameters are of order one in these units (km/s/kpc, kpc, km/s)


@dataclass(frozen=True)
class Objective:
    """Weights and scales of the terms (see the module).

    Attributes
    ----------
    residual : {"ln f", "f"}
    scale : float
        tau_r in km/s/kpc ("ln f"), or 1/alpha in units of f per kpc/(100 km/s) ("f").
    density_weight, density_scale : float
        lambda, and 1/beta in (km/s)^2/kpc^2.
    l2 : float
        Weight of the mean square of the network's weights.
    anchor : float
    prior : float
        Weight of the Gaussian priors on the frame.
    """

    residual: str = "ln f"
    scale: float = 1.0
    density_weight: float = 1.0
    density_scale: float = 1.0
    l2: float = 1e-3
    anchor: float = 0.0
    prior: float = 0.01


class StationaryModel(nn.Module):
    """A potential network and the free components of the frame.

    Parameters
    ----------
    network : PotentialNetwork
    frame : RotatingFrame
        Where the frame starts; ``frame.free`` says what moves.
    base : TrainableBase, optional
        Trains along; takes the place of the base's values that come with a batch.
    """

    def __init__(self, network: PotentialNetwork, frame: RotatingFrame, base: TrainableBase | None = None) -> None:
        super().__init__()
        self.network, self.base = network, base
        self.free = frame.free
        self.prior = dict(frame.prior)
        for group in ("omega", "x0", "v0"):
            start = getattr(frame, f"{group}_vector")
            moves = [float(f"{group}_{axis}" in frame.free) for axis in "xyz"]
            self.register_buffer(f"{group}_start", torch.tensor(start, dtype=torch.float32))
            self.register_buffer(f"{group}_moves", torch.tensor(moves, dtype=torch.float32) * _FRAME_SCALES[group])
        self.shift = nn.ParameterDict({group: nn.Parameter(torch.zeros(3)) for group in _FRAME_SCALES})

    def vector(self, group: str) -> Tensor:
        """Omega, x0 or v0, (3,), in km/s/kpc, kpc, km/s."""
        return getattr(self, f"{group}_start") + getattr(self, f"{group}_moves") * self.shift[group]

    def rate(self, x: Tensor, v: Tensor, score: Tensor, gradient: Tensor) -> Tensor:
        """d ln f / dt in the frame, (n,), km/s/kpc; ``gradient`` is grad Phi."""
        omega, x0, v0 = (self.vector(g) for g in ("omega", "x0", "v0"))
        drift = torch.linalg.cross(omega.expand_as(x), x - x0) + v0 - v
        kick = gradient + torch.linalg.cross(omega.expand_as(v), v - v0)
        return (drift * score[:, :3]).sum(1) + (kick * score[:, 3:]).sum(1)

    def frame_prior(self) -> Tensor:
        """Sum of squared deviations from the Gaussian priors of free components."""
        total = self.shift["omega"].sum() * 0.0
        for name, (mean, sigma) in self.prior.items():
            group, axis = name.split("_")
            total = total + ((self.vector(group)["xyz".index(axis)] - mean) / sigma) ** 2
        return total

    def loss(self, stars: tuple[Tensor, ...], places: tuple[Tensor, ...], objective: Objective) -> Tensor:
        """The objective on a batch.

        Parameters
        ----------
        stars : tuple of Tensor
            x (n, 3), v (n, 3), score (n, 6), gradient of the base (n, 3), weight (n,) (of mean one; for residual "f" times f), anchor
            gradient
            (n, 3) and its whitening matrix (n, 3, 3).
        places : tuple of Tensor
            x (m, 3) through the volume, with the Laplacian (m,) and gradient (m, 3) of the base, and anchor gradient and whitening there.
        """
        x, v, score, base, weight, anchor, whiten = stars
        _, gradient, _ = self.network(x)
        gradient = gradient + (base if self.base is None else self.base(x)[0])
        rate = self.rate(x, v, score, gradient)
        if objective.residual == "f":
            loss = torch.asinh(torch.abs(rate) * weight / objective.scale).mean()
        else:
            loss = (weight * (torch.sqrt(1.0 + (rate / objective.scale) ** 2) - 1.0)).mean()
        if places:
            y, base_laplacian, base_y, anchor_y, whiten_y = places
            if self.base is not None:
                base_y, base_laplacian = self.base(y)
            _, gradient_y, laplacian_y = self.network(y)
            negative = torch.relu(-(laplacian_y + base_laplacian) / objective.density_scale)
            loss = loss + objective.density_weight * torch.asinh(negative).mean()
            if objective.anchor > 0:
                loss = loss + 0.5 * objective.anchor * _misfit(gradient_y + base_y - anchor_y, whiten_y)
        if objective.anchor > 0:
            loss = loss + objective.anchor * _misfit(gradient - anchor, whiten)
        if self.base is not None:
            loss = loss + objective.l2 * self.base.penalty()
        return loss + objective.prior * self.frame_prior() + objective.l2 * self.network.weight_norm()


def _misfit(deviation: Tensor, whiten: Tensor) -> Tensor:
    """Mean over points of sqrt(1 + chi^2 / 3) - 1, chi^2 that of the deviation from the anchor."""
    chi2 = (torch.einsum("nij,nj->ni", whiten, deviation) ** 2).sum(1)
    return (torch.sqrt(1.0 + chi2 / 3.0) - 1.0).mean()


def robust_scale(rates: Array) -> float:
    """1.5 times the median of |r|: where the loss turns from quadratic to linear."""
    return max(1.5 * float(np.median(np.abs(rates))), 1e-3)
