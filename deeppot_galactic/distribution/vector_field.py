"""The velocity field v(t, z) of a continuous flow, and its Jacobian pushed forward by hand.

A multilayer perceptron of (z, t, cos pi t, sin pi t) with two shapes:

    plain      tanh layers, a linear output: the field of Kalda, Green & Ghosh (2023);
    residual   SiLU layers with skips: the field trained by flow matching.

For the divergence all six tangents travel with the value (one product of matrices for the seven rows), in place of six passes of
automatic differentiation; the result is differentiable once by autograd, with respect to z and to the weights. Likelihood training
may estimate it with one random tangent instead (Hutchinson).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import ConfigError

TIME_INPUTS = 3


def check_shape(shape: str) -> None:
    """Refuse a shape that no field has (`ConfigError`)."""
    if shape not in ("plain", "residual"):
        raise ConfigError(f"vector field shape {shape!r} is unknown; choose plain or residual")


class VectorField(nn.Module):
    """v(t, z) for z of shape (n, 6).

    Parameters
    ----------
    width, depth : int
        Units of a hidden layer, number of hidden layers.
    shape : {"plain", "residual"}
        See the module.
    generator : torch.Generator, optional
        Draws the initial weights.
    """

    def __init__(self, *, width: int, depth: int, shape: str = "residual", generator: torch.Generator | None = None) -> None:
        super().__init__()
        check_shape(shape)
        self.width, self.depth, self.shape = width, depth, shape
        sizes = [6 + TIME_INPUTS] + [width] * depth + [6]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for index, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            last = index == depth
            bound = (0.0 if last and shape == "residual" else 1.0) / math.sqrt(fan_in)
            self.weights.append(nn.Parameter((2.0 * torch.rand((fan_out, fan_in), generator=generator) - 1.0) * bound))
            self.biases.append(nn.Parameter(torch.zeros(fan_out)))

    def _time(self, t: Tensor | float, z: Tensor) -> Tensor:
        t = torch.as_tensor(t, dtype=z.dtype, device=z.device).expand(len(z))
        return torch.stack([t, torch.cos(math.pi * t), torch.sin(math.pi * t)], 1)

    def _layer(self, h: Tensor, a: Tensor, *, first: bool) -> Tensor:
        if self.shape == "plain":
            return torch.tanh(a)
        return nn.functional.silu(a) if first else h + nn.functional.silu(a)

    def forward(self, t: Tensor | float, z: Tensor) -> Tensor:
        """v of shape (n, 6); ``t`` is one number or one per row."""
        h = torch.cat([z, self._time(t, z)], 1)
        for index in range(self.depth):
            a = nn.functional.linear(h, self.weights[index], self.biases[index])
            h = self._layer(h, a, first=index == 0)
        return nn.functional.linear(h, self.weights[-1], self.biases[-1])

    def pushed(self, t: Tensor | float, z: Tensor, tangents: Tensor) -> tuple[Tensor, Tensor]:
        """v (n, 6) and (dv/dz) applied to tangents (k, n, 6)."""
        h = torch.cat([z, self._time(t, z)], 1)
        moved = tangents @ self.weights[0][:, :6].T
        for index in range(self.depth):
            a = nn.functional.linear(h, self.weights[index], self.biases[index])
            if index:
                moved = state @ self.weights[index].T
            if self.shape == "plain":
                h = torch.tanh(a)
                state = (1.0 - h * h) * moved
            else:
                g = torch.sigmoid(a)
                slope = g * (1.0 + a * (1.0 - g))
                h = a * g if index == 0 else h + a * g
                state = slope * moved if index == 0 else state + slope * moved
        return nn.functional.linear(h, self.weights[-1], self.biases[-1]), state @ self.weights[-1].T

    def with_jacobian(self, t: Tensor | float, z: Tensor) -> tuple[Tensor, Tensor]:
        """v (n, 6) and J (n, 6, 6) with J[:, i, k] = dv_i / dz_k."""
        identity = torch.eye(6, dtype=z.dtype, device=z.device)[:, None, :].expand(6, len(z), 6)
        v, columns = self.pushed(t, z, identity)
        return v, columns.permute(1, 2, 0)
