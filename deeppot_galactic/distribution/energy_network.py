r"""ln p(y) as a network, with gradient and Laplacian pushed forward by hand.

    ln p(y) = base(y) + E(y),     E = w . h_L,     h_{l+1} = h_l + phi(W_l h_l + b_l),    h_1 = phi(W_0 q(y) + b_0),

with q(y) and base(y) from `features`. For every unit its value h, gradient J = grad h and Laplacian L = lap h travel together: with
z = W h + b, J_z = W J, L_z = W L (one product of matrices for the eight rows),

    h' = phi(z),   J' = phi'(z) J_z,   L' = phi''(z) |J_z|^2 + phi'(z) L_z.

The objective of score matching is quadratic in s = grad ln p = w J + grad base and linear in lap ln p = w L + lap base,

    loss = mean( g (|s|^2 / 2 + lap ln p) + grad_y g . s ).

Its gradient with respect to the weights is written out below (`objective_gradient`) instead of left to autograd, and rows are worked
through in chunks that stay in the processor's cache: several times faster, and the memory does not grow with the batch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .features import Features

CHUNK = 256
"""Rows worked through at once on the CPU: eight rows of 128 numbers for each fit into a megabyte."""


class EnergyNetwork(nn.Module):
    """Residual SiLU network E(y), zero at the start.

    Parameters
    ----------
    width, depth : int
        Units of a hidden layer, and number of hidden layers.
    features : Features
        Inputs and base, see `deeppot_galactic.distribution.features`.
    generator : torch.Generator
        Draws the initial weights.
    """

    def __init__(self, *, features: Features, width: int = 128, depth: int = 3, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.features = features
        self.width, self.depth = width, depth
        sizes = [features.size] + [width] * depth
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            bound = 1.0 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(_uniform((fan_out, fan_in), bound, generator)))
            self.biases.append(nn.Parameter(_uniform((fan_out,), bound, generator)))
        self.out = nn.Parameter(torch.zeros(width))

    def forward(self, y: Tensor) -> Tensor:
        """ln p (n,), not normalised, of whitened points (n, 6)."""
        energy, base = self.parts(y)
        return energy + base

    def parts(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """E and the base, each (n,): ln p is their sum."""
        h, base = self.features.values(y)
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = nn.functional.silu(nn.functional.linear(h, weight, bias))
            h = a if index == 0 else h + a
        return h @ self.out, base

    def score_and_laplacian(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """grad ln p (n, 6) and lap ln p (n,); differentiable with respect to the weights."""
        inputs = self.features.pushed_forward(y)
        state, base = inputs[:, :, :-1], inputs[:, :, -1]
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            moved = state @ weight.T
            _, d1, d2, _ = _activation(moved[0] + bias)
            slope, bend = moved[1:7], moved[7]
            new = torch.cat([nn.functional.silu(moved[:1] + bias), d1 * slope, (d2 * (slope * slope).sum(0) + d1 * bend)[None]])
            state = new if index == 0 else state + new
        projected = state @ self.out + base
        return projected[1:7].T, projected[7]

    def objective(self, y: Tensor, weight: Tensor, slope: Tensor) -> Tensor:
        """The loss of the module's docstring.

        Parameters
        ----------
        y : Tensor, shape (n, 6)
        weight : Tensor, shape (n,)
            g, times the star's own weight.
        slope : Tensor, shape (n, 3)
            grad of g with respect to y_pos, times the star's own weight.
        """
        if torch.is_grad_enabled():
            return _Objective.apply(self, y, weight, slope, *self.weights, *self.biases, self.out)  # type: ignore[no-any-return]
        total = 0.0
        for rows in zip(y.split(4 * CHUNK), weight.split(4 * CHUNK), slope.split(4 * CHUNK), strict=True):
            s, laplacian = self.score_and_laplacian(rows[0])
            total += float((rows[1] * (0.5 * (s * s).sum(1) + laplacian) + (rows[2] * s[:, :3]).sum(1)).sum(dtype=torch.float64))
        return torch.tensor(total / len(y))


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator | None) -> Tensor:
    return (2.0 * torch.rand(shape, generator=generator) - 1.0) * bound


def _activation(z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """SiLU phi = z g(z), g the logistic function, with the first, second and third derivative."""
    g = torch.sigmoid(z)
    q = g * (1.0 - g)
    m = 1.0 - 2.0 * g
    zm = z * m
    return z * g, g + z * q, q * (2.0 + zm), q * (m * (3.0 + zm) - 2.0 * z * q)


class _Objective(torch.autograd.Function):
    """Loss and, computed in the same sweep, its gradient with respect to every weight."""

    @staticmethod
    def forward(ctx: Any, network: EnergyNetwork, y: Tensor, weight: Tensor, slope: Tensor, *parameters: Tensor) -> Tensor:
        depth = network.depth
        weights, biases, out = parameters[:depth], parameters[depth : 2 * depth], parameters[-1]
        gradients = [torch.zeros_like(p) for p in parameters]
        total = torch.zeros((), dtype=torch.float64, device=y.device)
        chunk = CHUNK if y.device.type == "cpu" else len(y)
        scale = 1.0 / len(y)
        for rows in zip(y.split(chunk), (weight * scale).split(chunk), (slope * scale).split(chunk), strict=True):
            total += objective_gradient(network.features, *rows, weights, biases, out, gradients)
        ctx.gradients = gradients
        return total.to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return (None, None, None, None, *(g * grad_outputs[0] for g in ctx.gradients))


def objective_gradient(
    features: Features,
    y: Tensor,
    weight: Tensor,
    slope: Tensor,
    weights: tuple[Tensor, ...],
    biases: tuple[Tensor, ...],
    out: Tensor,
    gradients: list[Tensor],
) -> Tensor:
    """Add the gradient of the summed objective of one chunk to ``gradients`` (weights, biases, out) and return the sum.

    With bars for derivatives of the loss, a layer is run backwards by

        zbar   = hbar phi' + phi'' sum_k Jbar_k Jz_k + Lbar (phi''' |Jz|^2 + phi'' Lz),
        Jzbar  = phi' Jbar + 2 phi'' Lbar Jz,        Lzbar = phi' Lbar.
    """
    depth = len(weights)
    with torch.no_grad():
        inputs = features.pushed_forward(y)
        state, base = inputs[:, :, :-1].contiguous(), inputs[:, :, -1]
        kept = []
        for index in range(depth):
            moved = torch.matmul(state, weights[index].T)
            value, d1, d2, d3 = _activation(moved[0].add_(biases[index]))
            slopes, bend = moved[1:7], moved[7]
            square = torch.einsum("knh,knh->nh", slopes, slopes)
            new = torch.empty_like(moved)
            new[0] = value
            torch.mul(slopes, d1, out=new[1:7])
            torch.mul(bend, d1, out=new[7])
            new[7].addcmul_(d2, square)
            kept.append((state, slopes, bend, square, d1, d2, d3))
            state = new if index == 0 else new.add_(state)
        projected = torch.matmul(state, out).add_(base)
        s, laplacian = projected[1:7].T, projected[7]
        loss = (weight * (0.5 * (s * s).sum(1) + laplacian)).sum(dtype=torch.float64) + (slope * s[:, :3]).sum(dtype=torch.float64)
        cotangent = torch.zeros_like(projected)
        cotangent[1:7] = weight * projected[1:7]
        cotangent[1:4] += slope.T
        cotangent[7] = weight
        gradients[-1].addmv_(state.reshape(-1, state.shape[2]).T, cotangent.reshape(-1))
        bar = cotangent[:, :, None] * out
        for index in reversed(range(depth)):
            below, slopes, bend, square, d1, d2, d3 = kept[index]
            low = bar[7]
            moved_bar = torch.empty_like(bar)
            torch.mul(bar[1:7], d1, out=moved_bar[1:7])
            moved_bar[1:7].addcmul_(slopes, (2.0 * d2 * low)[None])
            torch.mul(low, d1, out=moved_bar[7])
            mixed = torch.einsum("knh,knh->nh", bar[1:7], slopes)
            moved_bar[0] = bar[0] * d1 + d2 * (mixed + low * bend) + low * d3 * square
            flat = moved_bar.reshape(-1, moved_bar.shape[2])
            gradients[index].addmm_(flat.T, below.reshape(-1, below.shape[2]))
            gradients[depth + index] += moved_bar[0].sum(0)
            if index:
                bar = torch.matmul(moved_bar, weights[index]).add_(bar)
    return loss
