r"""Continuous normalising flows: ln p(y) by integrating a velocity field from the data (t = 0) to a Gaussian (t = 1).

    dz/dt = v(t, z),   z(0) = y,     ln p(y) = ln N(z(1); 0, 1) + \int_0^1 div v(t, z(t)) dt,

for one field or a chain of them. The integral runs over a few classical Runge-Kutta steps of equal length with the exact divergence,
so that the value of a star depends on nothing but the star (an adaptive solver with one error norm for a batch would mix them). The
score is the exact gradient of the discretised ln p: one reverse pass. Sampling integrates backwards from Gaussian draws.

`FlowDistribution` turns a trained flow into f(x, v); `matching` and `likelihood` are two ways to train the same fields.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .base import Distribution
from .padding import Padding
from .rebuild import precision_of
from .rejection import collect
from .vector_field import VectorField
from .whitening import Whitening

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume

ROWS = 256
"""Stars whose scores are found at once on the CPU: the tape of the reverse pass then stays near the processor."""


def rk4(derivative: Any, state: tuple[Tensor, ...], start: float, stop: float, steps: int) -> tuple[Tensor, ...]:
    """Classical Runge-Kutta from ``start`` to ``stop`` in equal steps; ``derivative(t, state)`` returns a tuple like ``state``."""
    h = (stop - start) / steps
    for k in range(steps):
        t = start + k * h
        k1 = derivative(t, state)
        k2 = derivative(t + 0.5 * h, tuple(s + 0.5 * h * d for s, d in zip(state, k1, strict=True)))
        k3 = derivative(t + 0.5 * h, tuple(s + 0.5 * h * d for s, d in zip(state, k2, strict=True)))
        k4 = derivative(t + h, tuple(s + h * d for s, d in zip(state, k3, strict=True)))
        state = tuple(s + (h / 6.0) * (a + 2.0 * b + 2.0 * c + d) for s, a, b, c, d in zip(state, k1, k2, k3, k4, strict=True))
    return state


class ContinuousFlow(nn.Module):
    """A chain of velocity fields, each integrated over t in [0, 1].

    Parameters
    ----------
    fields : sequence of VectorField
        From the data to the Gaussian.
    steps : int
        Runge-Kutta steps per field.
    """

    def __init__(self, fields: Sequence[VectorField], *, steps: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(fields)
        self.steps = steps

    def log_prob(self, y: Tensor) -> Tensor:
        """ln p (n,) of whitened points (n, 6), differentiable."""
        z, gained = y, torch.zeros_like(y[:, 0])
        for field in self.fields:

            def derivative(t: float, state: tuple[Tensor, ...], field: Any = field) -> tuple[Tensor, Tensor]:
                v, jacobian = field.with_jacobian(t, state[0])
                return v, jacobian.diagonal(dim1=1, dim2=2).sum(1)

            z, gained = rk4(derivative, (z, gained), 0.0, 1.0, self.steps)
        return standard_normal(z) + gained

    def sample(self, z: Tensor, steps: int | None = None) -> Tensor:
        """Map Gaussian draws (n, 6) to whitened points."""
        for field in reversed(list(self.fields)):
            (z,) = rk4(lambda t, state, field=field: (field(t, state[0]),), (z,), 1.0, 0.0, steps or 2 * self.steps)
        return z

    def describe(self) -> dict[str, Any]:
        """What `from_description` needs to rebuild the modules."""
        first = self.fields[0]
        return {"chain": len(self.fields), "width": first.width, "depth": first.depth, "shape": first.shape, "steps": self.steps}

    @classmethod
    def from_description(cls, values: dict[str, Any], generator: torch.Generator | None = None) -> ContinuousFlow:
        """Build a chain; see `describe`."""
        options = {"width": int(values["width"]), "depth": int(values["depth"]), "shape": str(values["shape"])}
        return cls([VectorField(**options, generator=generator) for _ in range(int(values["chain"]))], steps=int(values["steps"]))


def standard_normal(z: Tensor) -> Tensor:
    """ln N(z; 0, 1)."""
    return -0.5 * (z * z).sum(1) - 0.5 * z.shape[1] * math.log(2.0 * math.pi)


class FlowDistribution(Distribution):
    """f = scale p(y) |J| / p(x) with a continuous flow p(y) and the padding p(x), see `padding`. Made by `fit_flow`.

    With known symmetries f is the mean over ``images``, the signs of (x, y, z, vx, vy, vz) under each; a draw is of one at random.
    """

    estimator = "flow"

    def __init__(
        self,
        *,
        flow: ContinuousFlow,
        whitening: Whitening,
        log_scale: float,
        padding: Padding | None = None,
        images: Sequence[Sequence[float]] = ((1.0,) * 6,),
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self.flow = flow
        self.whitening = whitening
        self.log_scale = log_scale
        self.padding = padding
        self.images = [[float(sign) for sign in image] for image in images]

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parameter = next(self.flow.parameters())
        values, scores = [], []
        for rows in x.to(parameter.device).split(ROWS if parameter.device.type == "cpu" else 16 * ROWS):
            rows = rows.clone().requires_grad_(True)
            images = [self._log_image(rows * rows.new_tensor(signs), parameter.dtype) for signs in self.images]
            log_f = torch.logsumexp(torch.stack(images), dim=0) - math.log(len(images))
            scores.append(torch.autograd.grad(log_f.sum(), rows)[0])
            values.append(log_f.detach())
        return torch.cat(values), torch.cat(scores)

    def _log_image(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """ln f (n,) of the flow itself, without its images."""
        y, log_det = self.whitening.forward(rows)
        log_f = self.flow.log_prob(y.to(dtype)).double() + log_det + self.log_scale
        return log_f if self.padding is None else log_f - self.padding.log_acceptance(rows[:, :3])

    @property
    def has_sampler(self) -> bool:
        return True

    def _sample(self, n: int, seed: int) -> NDArray[np.float64]:
        x = sample_in_volume(self.flow, self.whitening, self.volume, n, seed)[0]
        if len(self.images) == 1:
            return x
        return x * np.array(self.images)[np.random.default_rng([seed, 0x1A]).integers(len(self.images), size=len(x))]

    def _parts(self) -> list[Any]:
        return [self.flow, self.whitening]

    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors = {name: value.detach().cpu().numpy() for name, value in self.flow.state_dict().items()}
        padding = None if self.padding is None else self.padding.to_dict()
        header = {"flow": self.flow.describe(), "whitening": self.whitening.to_dict(), "log_scale": self.log_scale, "padding": padding}
        return tensors, header | {"images": self.images}

    @classmethod
    def _from_state(cls, tensors: dict[str, NDArray[Any]], header: dict[str, Any], common: dict[str, Any]) -> FlowDistribution:
        flow = ContinuousFlow.from_description(header["flow"]).to(precision_of(tensors))
        flow.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
        whitening = Whitening.from_dict(header["whitening"])
        padding = None if header.get("padding") is None else Padding.from_dict(header["padding"])
        images = np.array(header.get("images", [[1.0] * 6]), dtype=float)
        if images.ndim != 2 or images.shape[1] != 6 or not 1 <= len(images) <= 4 or (np.abs(images) != 1.0).any():
            raise ValueError("images must be one to four rows of six signs")
        return cls(
            flow=flow.requires_grad_(False),
            whitening=whitening,
            log_scale=float(header["log_scale"]),
            padding=padding,
            images=images.tolist(),
            **common,
        )


def draw_from_flow(flow: ContinuousFlow, whitening: Whitening, n: int, generator: torch.Generator) -> NDArray[np.float64]:
    """``n`` draws (m, 6) from the flow wherever they fall; the few that overflow are left out."""
    parameter = next(flow.parameters())
    z = torch.randn((n, 6), generator=generator).to(parameter.device, parameter.dtype)
    with torch.no_grad():
        x = whitening.inverse(flow.sample(z).double()).cpu().numpy()
    return x[np.isfinite(x).all(axis=1)]


def sample_in_volume(
    flow: ContinuousFlow, whitening: Whitening, volume: Volume, n: int, seed: int, *, chunk: int = 16384
) -> tuple[NDArray[np.float64], float]:
    """Draw from the flow, rejecting what falls outside.

    Returns
    -------
    x : ndarray, shape (n, 6)
    share : float
        Share of the draws inside the volume: the mass of the flow there.

    Raises
    ------
    FitError
        When hardly any draw falls inside.
    """
    generator = torch.Generator().manual_seed(seed)

    def attempt(_: int) -> tuple[NDArray[np.float64], int]:
        x = draw_from_flow(flow, whitening, chunk, generator)
        return x[volume.contains(x[:, :3])], chunk

    x, share = collect(n, attempt, f"draws from the flow fall inside the {volume.describe()}; it was not trained there")
    return x[:n], share
