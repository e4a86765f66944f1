r"""Phi as a tanh network, with gradient and Laplacian pushed forward by hand.

    Phi(x) = Phi_base(x) + S [w_L . a_L(q(x)) ],    a_{l+1} = tanh(W_l a_l + b_l),   q(x): three input coordinates.

With J_l = d a_l / dx (n, 3, width) and L_l = lap_x a_l (n, width), a layer z = W a + b, a' = tanh z maps

    J' = (1 - a'^2) (J W^T),     L' = (1 - a'^2) (L W^T) - 2 a' (1 - a'^2) sum_i (J W^T)_i^2,

so one pass gives Phi, grad Phi and lap Phi, and its cost is five rows of a plain network. The inputs are q = (x, y, z) / scale
("plain", Kalda, Green & Ghosh 2023), or, for discs, q = (x c, y c, t): c = (1 + R^2/a^2)^(-1/4), t = (1 + z^2/h^2)^(1/4), which compress
the outskirts, resolve the disc, and make Phi even in z.

`PotentialNetwork` learns in torch on dimensionless numbers; `NetworkPotential` is the same function in NumPy float64, with its Hessian,
so that a saved model needs no torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .network_potential import NetworkPotential

Array = NDArray[np.float64]


class PotentialNetwork(nn.Module):
    """The network part of Phi, in units of ``output_scale`` (km/s)^2 and kpc.

    Parameters
    ----------
    width, depth : int
        Size of the tanh layers (4 x 512 in the paper).
    inputs : {"disc", "plain"}
        Input coordinates, see the module.
    scales : (3,) sequence
        a, a, h for "disc"; lengths of x, y, z for "plain" (kpc).
    output_scale : float
        S in (km/s)^2.
    center : (3,) sequence
        Subtracted from x for "plain" inputs (kpc).
    generator : torch.Generator, optional
        Of the initial weights.
    zero_output : bool
        Start from Phi = base exactly.
    images : sequence of (3,) sequences, optional
        Signs of (x, y, z): Phi is the mean over these images of a point, hence exactly symmetric under them.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        depth: int = 3,
        inputs: str = "disc",
        scales: Any = (3.0, 3.0, 0.3),
        output_scale: float = 1.0,
        center: Any = (0.0, 0.0, 0.0),
        generator: torch.Generator | None = None,
        zero_output: bool = True,
        images: Any = ((1.0, 1.0, 1.0),),
    ) -> None:
        super().__init__()
        self.images = [[float(sign) for sign in image] for image in images]
        self.width, self.depth, self.inputs = int(width), int(depth), inputs
        self.scales, self.output_scale = [float(s) for s in scales], float(output_scale)
        self.center = [float(c) for c in center]
        sizes = [3] + [self.width] * self.depth
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            bound = (6.0 / (fan_in + fan_out)) ** 0.5
            self.weights.append(nn.Parameter((torch.rand(fan_out, fan_in, generator=generator) * 2 - 1) * bound))
            self.biases.append(nn.Parameter((torch.rand(fan_out, generator=generator) * 2 - 1) * (1.0 if fan_in == 3 else 0.1)))
        last = torch.zeros(self.width) if zero_output else (torch.rand(self.width, generator=generator) * 2 - 1) * (3.0 / self.width) ** 0.5
        self.output = nn.Parameter(last)

    def coordinates(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q (n, 3), dq/dx (n, 3, 3) with the derivative first, and lap q (n, 3)."""
        a, _, h = self.scales
        if self.inputs == "plain":
            scale = x.new_tensor(self.scales)
            return (x - x.new_tensor(self.center)) / scale, torch.diag(1.0 / scale).expand(len(x), 3, 3), torch.zeros_like(x)
        r2 = (x[:, 0] ** 2 + x[:, 1] ** 2) / a**2
        one = 1.0 + r2
        c = one**-0.25
        dc = -0.5 * one**-1.25 / a**2  # d c / d x_i = dc * x_i
        d2c = 1.25 * one**-2.25 / a**4  # d^2 c / dx_i dx_j = dc delta_ij + d2c x_i x_j
        height = 1.0 + (x[:, 2] / h) ** 2
        q = torch.stack([x[:, 0] * c / a, x[:, 1] * c / a, height**0.25], dim=1)
        jacobian = torch.zeros(len(x), 3, 3, dtype=x.dtype, device=x.device)
        for i in range(2):
            for j in range(2):
                jacobian[:, i, j] = x[:, i] * x[:, j] * dc / a
            jacobian[:, i, i] += c / a
        jacobian[:, 2, 2] = 0.5 * x[:, 2] / h**2 * height**-0.75
        # lap (x_j c) = 2 d_j c + x_j lap c
        radius2 = x[:, 0] ** 2 + x[:, 1] ** 2
        lap_c = 2.0 * dc + d2c * radius2
        planar = (2.0 * dc + lap_c)[:, None] * x[:, :2] / a
        lap_t = 0.5 / h**2 * (height**-0.75 - 1.5 * (x[:, 2] / h) ** 2 * height**-1.75)
        return q, jacobian, torch.cat([planar, lap_t[:, None]], dim=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Phi (n,), grad Phi (n, 3) and lap Phi (n,) of the network part at x (n, 3)."""
        if len(self.images) == 1:
            return self._forward(x)
        signs = x.new_tensor(self.images)
        phi, gradient, laplacian = self._forward((x[None] * signs[:, None]).reshape(-1, 3))
        k = len(signs)
        gradient = (gradient.reshape(k, -1, 3) * signs[:, None]).mean(0)
        return phi.reshape(k, -1).mean(0), gradient, laplacian.reshape(k, -1).mean(0)

    def _forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a, jac, lap = self.coordinates(x)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            z_jac = jac @ weight.T
            z_lap = lap @ weight.T
            a = torch.tanh(a @ weight.T + bias)
            slope = 1.0 - a * a
            lap = slope * (z_lap - 2.0 * a * (z_jac * z_jac).sum(dim=1))
            jac = slope[:, None] * z_jac
        s = self.output_scale
        return (a @ self.output) * s, (jac @ self.output) * s, (lap @ self.output) * s

    def weight_norm(self) -> Tensor:
        """Mean square of the weights, for the l2 penalty."""
        parameters = [*self.weights, self.output]
        return sum((p**2).sum() for p in parameters) / sum(p.numel() for p in parameters)  # type: ignore[return-value]

    def to_numpy(self, base: Any) -> NetworkPotential:
        """The same function in NumPy, added to ``base``."""
        layers = [
            (w.detach().cpu().double().numpy(), b.detach().cpu().double().numpy()) for w, b in zip(self.weights, self.biases, strict=True)
        ]
        return NetworkPotential(
            base,
            layers,
            self.output.detach().cpu().double().numpy() * self.output_scale,
            inputs=self.inputs,
            scales=self.scales,
            center=self.center,
            images=self.images,
        )
