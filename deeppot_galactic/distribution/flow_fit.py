"""Training of continuous flows on stars: the part that flow matching and likelihood training share.

Both see the same whitened stars, the same batches and the same validation; they differ in the loss alone. Validation uses fixed random
numbers, so that the same weights always score the same. A flow is normalised by construction; its share of mass inside the volume is
counted from draws, so that f integrates to the number of stars there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..training import Progress, ShuffledBatches, split_indices, train
from .flow import ContinuousFlow, FlowDistribution, sample_in_volume
from .likelihood import LikelihoodSettings, hutchinson_signs, likelihood_loss
from .matching import MatchingSettings, matching_draws, matching_loss
from .members import member_checkpoint
from .noise import NoisyBatches, NoisyStars
from .padding import Padding
from .symmetries import symmetry_images
from .whitening import Whitening

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume

Batch = tuple[Tensor, ...]
VALIDATION_ROWS = 8192
"""Most stars looked at in one validation."""
MASS_DRAWS = 32768
"""Draws that measure the share of mass inside the volume."""
VALIDATION_DRAW = 2**31
"""Step that names the one draw of the errors used in every validation."""


def fit_flow(
    x: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    *,
    whitening: Whitening,
    volume: Volume,
    region: Volume | Padding,
    settings: MatchingSettings | LikelihoodSettings,
    validation_fraction: float,
    seed: int,
    device: str,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    noisy: NoisyStars | None = None,
) -> FlowDistribution:
    """Train a flow on the stars ``x`` (n, 6) of the region, or of the volume and its padding; keywords as in `fit_score_matching`."""
    images = symmetry_images(reflect=settings.reflect, turn=settings.turn)
    y = torch.stack([whitening.whiten(torch.tensor(x * np.array(image), dtype=torch.float64))[0].float() for image in images]).to(device)
    importance = torch.ones(len(x)) if weights is None else torch.from_numpy(weights / weights.mean()).float()
    importance = importance.to(device)
    rows, held = split_indices(len(x), validation_fraction, seed)
    held = held[:VALIDATION_ROWS].to(device)
    stars = y[:, rows.to(device)].flatten(0, 1), importance[rows.to(device)].repeat(len(images))
    batches: Callable[[int], Any] = ShuffledBatches(*stars, size=settings.batch, seed=seed)
    judged = kept = y[0, held], importance[held]
    if noisy is not None:
        batches = NoisyBatches(noisy, rows, size=settings.batch, seed=seed, device=device)
        judged = tuple(part.to(device) for part in noisy(held.cpu().numpy(), VALIDATION_DRAW)[:2])
    description = {
        "chain": settings.chain,
        "width": settings.width,
        "depth": settings.depth,
        "shape": settings.shape,
        "steps": settings.solver_steps,
    }
    flow = ContinuousFlow.from_description(description, torch.Generator().manual_seed(seed)).to(device)
    draw, loss = _objective(flow, settings)

    def validate() -> float:
        generator = torch.Generator(device=device).manual_seed(seed + 1)
        parts = [(loss(draw(part, generator)), len(part[0])) for part in zip(*(t.split(2048) for t in judged), strict=True)]
        return float(sum(float(value) * n for value, n in parts)) / len(held)

    history = train(
        flow,
        loss,
        batches,
        settings=settings.training(),
        draw=draw,
        validate=validate if len(held) else None,
        checkpoint=checkpoint,
        progress=progress,
        generator=torch.Generator(device=device).manual_seed(seed),
        device=device,
        stage="distribution",
    )
    meta: dict[str, Any] = {"settings": asdict(settings), "seed": seed, "region": region.to_dict()}
    if isinstance(settings, MatchingSettings) and settings.finetune_steps > 0:
        meta["finetuning"] = _finetune(flow, stars, kept, settings, seed=seed, checkpoint=checkpoint, progress=progress)
        history.restarts += [{**restart, "stage": "fine-tuning"} for restart in meta["finetuning"]["history"]["restarts"]]
    flow = flow.cpu().requires_grad_(False)
    inside = volume.contains(x[:, :3])
    n_stars = float(inside.sum()) if weights is None else float(weights[inside].sum())
    _, share = sample_in_volume(flow, whitening, volume, MASS_DRAWS, seed + 2)
    return FlowDistribution(
        flow=flow,
        whitening=whitening,
        log_scale=float(np.log(n_stars / share)),
        padding=region if isinstance(region, Padding) else None,
        images=images,
        volume=volume,
        n_stars=n_stars,
        history=history,
        meta=meta | {"mass_inside": share},
    )


def _finetune(
    flow: ContinuousFlow,
    stars: tuple[Tensor, Tensor],
    held: tuple[Tensor, Tensor],
    settings: MatchingSettings,
    *,
    seed: int,
    checkpoint: Path | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Raise the likelihood of a matched flow in place; what was done, and the mean -ln p of the stars held out before and after."""
    exact = LikelihoodSettings(solver="rk4", solver_steps=settings.solver_steps, kinetic=0.0, jacobian=0.0)

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        return likelihood_loss(flow, batch[0], batch[1], exact)

    def validate() -> float:
        with torch.no_grad():
            parts = [float(loss(part)) * len(part[0]) for part in zip(*(t.split(1024) for t in held), strict=True)]
        return sum(parts) / len(held[0])

    matched = {name: value.detach().clone() for name, value in flow.state_dict().items()}
    before = validate() if len(held[0]) else None
    history = train(
        flow,
        loss,
        ShuffledBatches(*stars, size=settings.finetune_batch, seed=seed + 1),
        settings=settings.finetuning(),
        validate=validate if len(held[0]) else None,
        checkpoint=member_checkpoint(checkpoint, "finetuning"),
        progress=progress,
        device=stars[0].device,
        stage="fine-tuning",
    )
    after = validate() if len(held[0]) else None
    kept = before is None or after is None or after < before
    if not kept:
        flow.load_state_dict(matched)
    return {"before": before, "after": after, "kept": kept, "history": history.to_dict()}


def _objective(flow: ContinuousFlow, settings: Any) -> tuple[Callable[[Batch, torch.Generator], Batch], Callable[[Batch], Tensor]]:
    """What is drawn for a batch of stars and weights, and the loss of the two."""
    if isinstance(settings, MatchingSettings):
        return lambda batch, generator: (*batch[:2], *matching_draws(batch[0], generator)), lambda batch: matching_loss(flow, *batch)

    def draw(batch: Batch, generator: torch.Generator) -> Batch:
        return *batch[:2], *hutchinson_signs(flow, batch[0], settings, generator)

    return draw, lambda batch: likelihood_loss(flow, batch[0], batch[1], settings, *batch[2:])
