r"""The analytic base with parameters that train along with the network.

A sum of Miyamoto-Nagai discs and NFW halos (`analytic`), differentiable in ln M and the logarithms of its lengths. With
zeta = (b^2 + z^2)^(1/2), D = (R^2 + (a + zeta)^2)^(1/2) and s = r / r_s,

    disc:  grad Phi = G M / D^3 (x, y, (a + zeta) z / zeta),  lap Phi = G M b^2 [a R^2 + (a + 3 zeta)(a + zeta)^2] / (D^5 zeta^3)
    halo:  grad Phi = G M [ln(1 + s) - s / (1 + s)] x / r^3,  lap Phi = G M / (r (r + r_s)^2),

in double precision, because the bracket of the halo cancels at small s.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import FitError
from ..units import G
from .analytic import NFW, AnalyticPotential, MiyamotoNagai, Sum

_SCALE = 0.1  # parameters are of order one when the base changes by ten per cent


class TrainableBase(nn.Module):
    """A base that starts as ``start`` and can move.

    Parameters
    ----------
    start : AnalyticPotential
        Made of `MiyamotoNagai` and `NFW` components.

    Raises
    ------
    FitError
        For other components.
    """

    def __init__(self, start: AnalyticPotential) -> None:
        super().__init__()
        components = list(start.components) if isinstance(start, Sum) else [start]
        for component in components:
            if not isinstance(component, MiyamotoNagai | NFW):
                raise FitError(f"a trainable base is made of MiyamotoNagai and NFW, found {type(component).__name__}")
        self.start = start
        self.kinds = [type(component) for component in components]
        self.register_buffer("first", torch.tensor(start.parameters(), dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros(len(start.parameters()), dtype=torch.float32))

    def parameters_now(self) -> Tensor:
        """Logarithms of the parameters, in the order of ``start.parameters()``."""
        return self.get_buffer("first") + _SCALE * self.shift.double()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """grad Phi (n, 3) and lap Phi (n,) at points (n, 3) in kpc; km/s."""
        gradient, laplacian = torch.zeros_like(x, dtype=torch.float64), torch.zeros(len(x), dtype=torch.float64, device=x.device)
        values, k, x64 = torch.exp(self.parameters_now()), 0, x.double()
        for kind in self.kinds:
            size = 3 if kind is MiyamotoNagai else 2
            part = (_disc if kind is MiyamotoNagai else _halo)(x64, *values[k : k + size])
            gradient, laplacian, k = gradient + part[0], laplacian + part[1], k + size
        return gradient.to(x.dtype), laplacian.to(x.dtype)

    def penalty(self) -> Tensor:
        """Mean square of the moves, in units of ten per cent."""
        return (self.shift**2).mean()

    def to_numpy(self) -> AnalyticPotential:
        """The analytic potential as it is now."""
        return self.start.with_parameters(self.parameters_now().detach().cpu().numpy())


def _disc(x: Tensor, m: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    zeta = torch.sqrt(b**2 + x[:, 2] ** 2)
    radius2, high = x[:, 0] ** 2 + x[:, 1] ** 2, a + zeta
    distance2 = radius2 + high**2
    pull = G * m * distance2**-1.5
    gradient = pull[:, None] * torch.stack([x[:, 0], x[:, 1], high * x[:, 2] / zeta], dim=1)
    return gradient, G * m * b**2 * (a * radius2 + (a + 3.0 * zeta) * high**2) / (distance2**2.5 * zeta**3)


def _halo(x: Tensor, m: Tensor, r_s: Tensor) -> tuple[Tensor, Tensor]:
    radius = torch.clamp(x.norm(dim=1), min=1e-6)
    s = radius / r_s
    enclosed = torch.log1p(s) - s / (1.0 + s)
    return (G * m * enclosed / radius**3)[:, None] * x, G * m / (radius * (radius + r_s) ** 2)
