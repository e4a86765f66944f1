r"""One distribution from several shells, smooth where they join (Kalda, Green & Ghosh 2023, section 4.2 and figure 4).

A disc holds very different densities and velocities at different radii, so the paper fits one flow for each of four shells. Here every
shell knows f a little beyond its own edges (see `padding`), so that neighbours overlap at the join R_k, and

    f = sum_j w_j(R) f_j,    w_j = S_j - S_{j+1},    S_k = s( (R - R_k + d_k) / (2 d_k) ),

with the quintic step s of `volumes`, S_0 = 1 and S_K = 0: a partition of unity with the half widths d_k. The score is the gradient of this
sum, so f and its gradient are continuous across the joins by construction; how well they agree there is in ``meta``. Each f_j is normalised
to the number of stars of its own shell, and so is the sum. Draws come from the flows in proportion to the mass of each, and are accepted
with the probability w_j / p_j inside the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.volumes import Cylinder
from ..errors import FitError
from .base import Distribution
from .flow import FlowDistribution, draw_from_flow
from .members import joint_history, member_checkpoint, members_from_state, members_state, train_members
from .rejection import collect

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers

Array = NDArray[np.float64]

OVERLAP = 0.05
"""Half width of a join, in units of its radius."""
WIDEST = 0.25
"""And at most this share of the narrower of the two shells."""
JOIN_STARS = 4096
"""Stars looked at in each join."""
DRAWS = 16384
"""Draws from all flows together in one round."""


def half_widths(edges: tuple[float, ...]) -> list[float]:
    """d_k of the inner joins of shells with these edges."""
    thickness = np.diff(edges)
    return [float(min(OVERLAP * edges[k], WIDEST * thickness[k - 1 : k + 1].min())) for k in range(1, len(edges) - 1)]


class StitchedDistribution(Distribution):
    """The blend of its ``members``, one for each shell of the volume. Made by `fit_stitched`."""

    estimator = "stitched"

    def __init__(self, *, members: list[Distribution], **common: Any) -> None:
        super().__init__(**common)
        self.members = members
        if not isinstance(self.volume, Cylinder) or self.volume.shells is None or len(self.volume.shells) != len(members) + 1:
            raise FitError(f"{len(members)} fits cannot be stitched in the {self.volume.describe()}; it needs as many shells")
        self.edges = self.volume.shells

    def weights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """w_j and dw_j/dR, each (members, n), at positions (n, 3)."""
        radius = torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2)
        rises, slopes = [torch.ones_like(radius)], [torch.zeros_like(radius)]
        for edge, d in zip(self.edges[1:-1], half_widths(self.edges), strict=True):
            t = ((radius - edge + d) / (2.0 * d)).clamp(0.0, 1.0)
            rises.append(t**3 * (10.0 + t * (6.0 * t - 15.0)))
            slopes.append(30.0 * (t * (1.0 - t)) ** 2 / (2.0 * d))
        rises.append(torch.zeros_like(radius))
        slopes.append(torch.zeros_like(radius))
        s, ds = torch.stack(rises), torch.stack(slopes)
        return s[:-1] - s[1:], ds[:-1] - ds[1:]

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        w, dw = self.weights(x[:, :3])
        log_f = torch.full(w.shape, -math.inf, dtype=x.dtype)
        scores = torch.zeros((*w.shape, 6), dtype=x.dtype)
        for j, member in enumerate(self.members):
            rows = torch.nonzero(w[j] > 0.0)[:, 0]
            if len(rows):
                value, score = member._evaluate(x[rows].clone())
                log_f[j, rows], scores[j, rows] = value.cpu(), score.cpu()
        top = log_f.max(0).values
        f = torch.exp(log_f - top)
        total = (w * f).sum(0)
        score = ((w * f)[:, :, None] * scores).sum(0) / total[:, None]
        along = (dw * f).sum(0) / total / torch.sqrt(x[:, 0] ** 2 + x[:, 1] ** 2).clamp_min(1e-12)
        score[:, :2] += along[:, None] * x[:, :2]
        return top + torch.log(total), score

    @property
    def has_sampler(self) -> bool:
        return all(isinstance(member, FlowDistribution) for member in self.members)

    def _sample(self, n: int, seed: int) -> Array:
        if not self.has_sampler:
            return super()._sample(n, seed)
        flows = [member for member in self.members if isinstance(member, FlowDistribution)]
        mass = np.exp([member.log_scale for member in flows])  # of the whole flow, padding included
        rng, generator = np.random.default_rng([seed, 0x57]), torch.Generator().manual_seed(seed)

        def attempt(_: int) -> tuple[Array, int]:
            kept: list[Array] = []
            for j, (member, count) in enumerate(zip(flows, rng.multinomial(DRAWS, mass / mass.sum()), strict=True)):
                x = draw_from_flow(member.flow, member.whitening, int(count), generator)
                accept = self.weights(torch.from_numpy(x[:, :3]))[0][j].numpy()
                if member.padding is not None:
                    p = member.padding.acceptance(x[:, :3])
                    accept = np.where(p > 0.0, accept / np.maximum(p, 1e-12), 0.0)
                kept.append(x[(rng.uniform(size=len(x)) < accept) & self.volume.contains(x[:, :3])])
            return np.concatenate(kept), DRAWS

        what = f"draws fall inside the {self.volume.describe()}; the flows were not trained there"
        return rng.permutation(collect(n, attempt, what)[0])[:n]

    def _parts(self) -> list[Any]:
        return list(self.members)

    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        return members_state(self.members)

    @classmethod
    def _from_state(cls, tensors: dict[str, NDArray[Any]], header: dict[str, Any], common: dict[str, Any]) -> StitchedDistribution:
        return cls(members=members_from_state(tensors, header), **common)

    def joins(self, x: Array) -> list[dict[str, float]]:
        """How well neighbours agree where they overlap.

        Parameters
        ----------
        x : ndarray, shape (n, 6)
            Stars.

        Returns
        -------
        list of dict
            For every join its ``radius`` and ``half_width`` in kpc, the number ``n`` of stars looked at, and the ``median`` and
            ``scatter`` (half the 16 to 84 % range) of the difference of ln f, outer minus inner.
        """
        radius = np.hypot(x[:, 0], x[:, 1])
        rows = []
        for k, (edge, d) in enumerate(zip(self.edges[1:-1], half_widths(self.edges), strict=True)):
            near = x[np.abs(radius - edge) < d][:JOIN_STARS]
            row = {"radius": float(edge), "half_width": d, "n": float(len(near)), "median": math.nan, "scatter": math.nan}
            if len(near):
                difference = self.members[k + 1]._evaluate_rows(near)[0] - self.members[k]._evaluate_rows(near)[0]
                low, middle, high = np.percentile(difference, [16, 50, 84])
                row |= {"median": float(middle), "scatter": float(0.5 * (high - low))}
            rows.append(row)
        return rows


def fit_stitched(
    fit: Callable[[tuple[Cylinder, int, Path | None]], Distribution],
    volume: Cylinder,
    stars: Tracers,
    *,
    seed: int,
    checkpoint: Path | None = None,
    executor: Executor | None = None,
) -> StitchedDistribution:
    """Fit every shell of a volume and stitch the fits.

    Parameters
    ----------
    fit : callable
        ``fit((shell, seed, checkpoint)) -> Distribution``; must survive pickling for an executor of processes.
    volume : Cylinder
        With shells.
    stars : Tracers
        Those inside the volume.
    seed : int
        Every shell uses it.
    checkpoint : Path, optional
        Each shell writes a file of its own beside it.
    executor : concurrent.futures.Executor, optional
        Trains the shells side by side.
    """
    shells = volume.split()
    jobs = [(shell, seed, member_checkpoint(checkpoint, f"shell{k}")) for k, shell in enumerate(shells)]
    members = train_members(fit, jobs, executor)
    stitched = StitchedDistribution(
        members=members,
        volume=volume,
        n_stars=float(sum(member.n_stars for member in members)),
        history=joint_history(members, max(members, key=lambda m: m.n_stars)),
        tracers=stars,
        meta={"seed": seed, "members": [member.meta | {"volume": member.volume.to_dict()} for member in members]},
    )
    stitched.meta["joins"] = stitched.joins(stars.phase_space)
    return stitched
