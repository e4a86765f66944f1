"""Whitening by physics: exact smooth maps that make a stellar system nearly N(0, 1).

A whitening y(x, v) is a smooth bijection with y_pos a function of the position alone. With ln |J| = ln |det dy/d(x, v)|,

    ln f(x, v) = ln p(y) + ln |J|,        grad ln f = (dy/d(x, v))^T grad_y ln p + grad ln |J|.

Every map ends in an affine standardisation, so that each coordinate of y has zero mean and unit variance. `DiscWhitening` and
`SphereWhitening` are in their own files; this one holds the interface and the plain affine map (the paper's base Gaussian).
Everything is float64 torch in kpc and km/s; the learners take y as float32.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.sanity import check_scale
from ..errors import StoreError

MAX_CHUNK = 65536
"""Rows differentiated at once, which bounds the memory."""


class Whitening(ABC):
    """A smooth bijection between phase space and dimensionless coordinates.

    Subclasses hold float64 parameter tensors in ``self.parameters`` and nothing else, so that they can be stored as JSON.
    """

    kind: str

    def __init__(self, parameters: dict[str, Any], *, device: str | torch.device = "cpu") -> None:
        self.parameters = {k: torch.tensor(np.array(v, dtype=np.float64), device=device) for k, v in parameters.items()}

    @abstractmethod
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map phase space (n, 6) to ``y`` (n, 6) and ``ln |J|`` (n,), differentiably."""

    @abstractmethod
    def inverse(self, y: Tensor) -> Tensor:
        """Map ``y`` (n, 6) back to phase space (n, 6)."""

    def to(self, device: str | torch.device) -> Whitening:
        """Move the parameters."""
        self.parameters = {k: v.to(device) for k, v in self.parameters.items()}
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-able description; `Whitening.from_dict` is the inverse."""
        return {"kind": self.kind} | {k: v.cpu().tolist() for k, v in self.parameters.items()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Whitening:
        """Build any whitening from `to_dict`."""
        from .disc_whitening import DiscWhitening
        from .sphere_whitening import SphereWhitening

        classes: dict[str, type[Whitening]] = {c.kind: c for c in (AffineWhitening, DiscWhitening, SphereWhitening)}
        kind = values.get("kind")
        if kind not in classes:
            raise StoreError(f"whitening {kind!r} is unknown; this version knows {', '.join(sorted(classes))}")
        return classes[kind]({k: v for k, v in values.items() if k != "kind"})

    def whiten(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` without gradients, in chunks."""
        with torch.no_grad():
            parts = [self.forward(chunk) for chunk in x.split(MAX_CHUNK)]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def position_jacobian(self, x: Tensor) -> Tensor:
        """d y_pos / d pos, shape (n, 3, 3), rows i = component of y_pos."""
        rows = []
        for chunk in x.split(MAX_CHUNK):
            chunk = chunk.detach().clone().requires_grad_(True)
            y, _ = self.forward(chunk)
            columns = [torch.autograd.grad(y[:, i].sum(), chunk, retain_graph=True)[0][:, :3] for i in range(3)]
            rows.append(torch.stack(columns, 1))
        return torch.cat(rows)

    def pull_back_covector(self, x: Tensor, covector: Tensor) -> Tensor:
        """Turn the gradient (n, 3) with respect to the position into one with respect to y_pos."""
        return torch.linalg.solve(self.position_jacobian(x).transpose(1, 2), covector)


class AffineWhitening(Whitening):
    """y = (x - mean) / scale, per dimension: the paper's base Gaussian with the data's mean and variance."""

    kind = "affine"

    @classmethod
    def fit(cls, x: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> AffineWhitening:
        """Mean and standard deviation of the rows (n, 6)."""
        mean = np.average(x, axis=0, weights=weights)
        scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
        check_scale(scale)
        return cls({"mean": mean, "scale": scale})

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = self.parameters
        return (x - p["mean"]) / p["scale"], -torch.log(p["scale"]).sum().expand(len(x))

    def inverse(self, y: Tensor) -> Tensor:
        return y * self.parameters["scale"] + self.parameters["mean"]


def smooth_saturation(s: Tensor, limit: Tensor) -> Tensor:
    """s for s well below ``limit``, rising smoothly to it: keeps fitted polynomials tame outside the data."""
    return s / (1.0 + (s / limit) ** 8) ** 0.125


def chebyshev(w: Tensor, coefficients: Tensor) -> Tensor:
    """Sum of c_k T_k(w) by Clenshaw's recurrence."""
    b1 = torch.zeros_like(w)
    b2 = torch.zeros_like(w)
    for c in coefficients.flip(0)[:-1]:
        b1, b2 = 2.0 * w * b1 - b2 + c, b1
    return w * b1 - b2 + coefficients[0]


def fit_profile(
    w: NDArray[np.float64], values: NDArray[np.float64], degree: int, factor: NDArray[np.float64] | float = 1.0
) -> NDArray[np.float64]:
    """Coefficients c for which ``factor`` sum_k c_k T_k(w) is nearest to a binned profile, with a light damping of the high orders.

    Parameters
    ----------
    w : ndarray, shape (k,)
        Argument, mostly within [-1, 1].
    values : ndarray, shape (k,)
        Profile.
    degree : int
        Highest order.
    factor : ndarray, shape (k,), or float
        Known factor of the profile; where it vanishes the profile says nothing about the sum.
    """
    degree = min(degree, max(len(w) // 3, 0))
    matrix = np.polynomial.chebyshev.chebvander(w, degree) * np.reshape(factor, (-1, 1))
    damping = np.diag(1e-3 * np.arange(degree + 1.0) ** 2)
    rows = np.concatenate([matrix, damping * np.sqrt(len(w))])
    target = np.concatenate([values, np.zeros(degree + 1)])
    return np.asarray(np.linalg.lstsq(rows, target, rcond=None)[0], dtype=np.float64)


def quantile_bins(r: NDArray[np.float64], most: int = 48, least_stars: int = 200) -> list[NDArray[np.int64]]:
    """Row numbers in bins of equal counts, sorted by ``r``: at most ``most`` bins of at least ``least_stars``."""
    count = int(np.clip(len(r) // least_stars, 1, most))
    return [np.asarray(part, dtype=np.int64) for part in np.array_split(np.argsort(r, kind="stable"), count)]
