"""A learned network potential at run time: NumPy float64, with gradient and Hessian, no torch (mathematics in `network`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .analytic import AnalyticPotential, Evaluation, from_list

Array = NDArray[np.float64]
_CHUNK = 4096
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


class NetworkPotential:
    """Phi(x) = base(x) + output . tanh(... tanh(W q(x) + b)).

    Parameters
    ----------
    base : AnalyticPotential or None
    layers : sequence of (W, b)
        Shapes (out, in) and (out,).
    output : (width,) array
        Last weights, (km/s)^2.
    inputs, scales, center, images
        As in `deeppot_galactic.potential.network.PotentialNetwork`.
    origin : (3,) sequence
        Where base and network have their origin, kpc.
    """

    def __init__(
        self,
        base: AnalyticPotential | None,
        layers: Sequence[tuple[Array, Array]],
        output: Array,
        *,
        inputs: str,
        scales: Sequence[float],
        center: Sequence[float] = (0.0, 0.0, 0.0),
        images: Sequence[Sequence[float]] = ((1.0, 1.0, 1.0),),
        origin: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        self.base, self.layers, self.output = base, list(layers), output
        self.inputs, self.scales, self.center = inputs, [float(s) for s in scales], [float(c) for c in center]
        self.images, self.origin = np.asarray(images, dtype=float), np.asarray(origin, dtype=float)

    def evaluate(self, x: Array, order: int = 1) -> Evaluation:
        """Phi (n,) in (km/s)^2, gradient (n, 3), Hessian (n, 3, 3); None above ``order``."""
        x = np.atleast_2d(np.asarray(x, dtype=float)) - self.origin
        parts = [self._chunk(x[i : i + _CHUNK], order) for i in range(0, len(x), _CHUNK)] or [self._chunk(x, order)]
        out: list[Any] = [np.concatenate([p[k] for p in parts]) if k <= order else None for k in range(3)]
        if self.base is not None:
            for k, extra in enumerate(self.base.evaluate(x, order)[: order + 1]):
                out[k] = out[k] + extra
        return out[0], out[1], out[2]

    def _coordinates(self, x: Array, order: int) -> tuple[Array, Any, Any]:
        """q (n, 3), dq/dx (n, 3, 3) and the six second derivatives (n, 6, 3), derivative index before the coordinate."""
        a, _, h = self.scales
        n = len(x)
        if self.inputs == "plain":
            jacobian = np.broadcast_to(np.diag(1.0 / np.asarray(self.scales)), (n, 3, 3))
            return (x - self.center) / np.asarray(self.scales), jacobian, np.zeros((n, 6, 3))
        px, py, pz = x.T
        one = 1.0 + (px**2 + py**2) / a**2
        c, dc, d2c = one**-0.25, -0.5 * one**-1.25 / a**2, 1.25 * one**-2.25 / a**4
        height = 1.0 + (pz / h) ** 2
        q = np.stack([px * c / a, py * c / a, height**0.25], axis=1)
        if order == 0:
            return q, None, None
        plane = x[:, :2]
        jacobian = np.zeros((n, 3, 3))
        jacobian[:, :2, :2] = plane[:, :, None] * plane[:, None, :] * (dc / a)[:, None, None]
        jacobian[:, 0, 0] += c / a
        jacobian[:, 1, 1] += c / a
        jacobian[:, 2, 2] = 0.5 * pz / h**2 * height**-0.75
        if order == 1:
            return q, jacobian, None
        second = np.zeros((n, 6, 3))
        for k, (i, j) in enumerate(_PAIRS):
            if j == 2:
                continue
            c_ij = d2c * x[:, i] * x[:, j] + (dc if i == j else 0.0)
            for target in range(2):
                value = x[:, target] * c_ij
                value = value + (dc * x[:, j] if i == target else 0.0) + (dc * x[:, i] if j == target else 0.0)
                second[:, k, target] = value / a
        second[:, 2, 2] = 0.5 / h**2 * (height**-0.75 - 1.5 * (pz / h) ** 2 * height**-1.75)
        return q, jacobian, second

    def _chunk(self, x: Array, order: int) -> list[Array]:
        """The mean over the images of the points."""
        if len(self.images) == 1:
            return self._network(x, order)
        total: list[Array] = []
        for signs in self.images:
            parts = self._network(x * signs, order)
            factors = (1.0, signs, signs[:, None] * signs)
            moved = [part * factor for part, factor in zip(parts, factors, strict=False)]
            total = moved if not total else [t + m for t, m in zip(total, moved, strict=True)]
        return [t / len(self.images) for t in total]

    def _network(self, x: Array, order: int) -> list[Array]:
        a, jac, second = self._coordinates(x, order)
        for weight, bias in self.layers:
            a = np.tanh(a @ weight.T + bias)
            if order == 0:
                continue
            slope = 1.0 - a * a
            z_jac = jac @ weight.T
            if order == 2:
                pairs = np.stack([z_jac[:, i] * z_jac[:, j] for i, j in _PAIRS], axis=1)
                second = slope[:, None] * (second @ weight.T - 2.0 * a[:, None] * pairs)
            jac = slope[:, None] * z_jac
        out = [a @ self.output]
        if order >= 1:
            out.append(jac @ self.output)
        if order == 2:
            values = second @ self.output
            hessian = np.empty((len(x), 3, 3))
            for k, (i, j) in enumerate(_PAIRS):
                hessian[:, i, j] = hessian[:, j, i] = values[:, k]
            out.append(hessian)
        return out

    def to_arrays(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Tensors and a JSON-able header for a model file."""
        arrays = {"output": self.output}
        for k, (weight, bias) in enumerate(self.layers):
            arrays[f"weight_{k}"], arrays[f"bias_{k}"] = weight, bias
        header = {
            "depth": len(self.layers),
            "inputs": self.inputs,
            "scales": self.scales,
            "center": self.center,
            "images": self.images.tolist(),
            "origin": self.origin.tolist(),
            "base": None if self.base is None else self.base.to_list(),
        }
        return arrays, header

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array], header: dict[str, Any]) -> NetworkPotential:
        """Inverse of `to_arrays`."""
        layers = [(np.asarray(arrays[f"weight_{k}"], float), np.asarray(arrays[f"bias_{k}"], float)) for k in range(int(header["depth"]))]
        base = None if header["base"] is None else from_list(header["base"])
        return cls(
            base,
            layers,
            np.asarray(arrays["output"], float),
            inputs=header["inputs"],
            scales=header["scales"],
            center=header["center"],
            images=header.get("images", [[1.0, 1.0, 1.0]]),
            origin=header.get("origin", [0.0, 0.0, 0.0]),
        )
