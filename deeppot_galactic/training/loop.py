"""The training loop: updates, moving average, choice by validation, watch for divergence, exact resume.

Update k takes the batch of step k, the gradient of ``loss_fn`` clipped to the norm ``clip``, and the rate of the schedule. The average
weights follow theta_avg <- d theta_avg + (1 - d) theta with d = min(ema, (1 + k) / (10 + k)). Validation looks at the average; its
best weights are what the model holds at the end. A non-finite loss or gradient skips the update; ``MAX_SKIPPED`` in a row end the
training as "diverged".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, FitError, StoreError
from .checkpoints import load_checkpoint, save_checkpoint
from .history import History
from .schedules import Schedule, make_schedule
from .soap import SOAP

Progress = Callable[[str, int, int, dict[str, float]], None]
"""``progress(stage, done, total, values)``."""

MAX_SKIPPED = 20
"""Non-finite updates in a row after which a training has diverged."""


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train. Steps are updates, never seconds, so that the same seed gives the same numbers on a busy machine.

    Attributes
    ----------
    steps : int
        Number of updates (an upper limit for the plateau schedule and early stopping).
    rate, schedule, warmup, patience, min_drop, min_rate
        See `deeppot_galactic.training.schedules`.
    optimiser : {"radam", "adamw", "adam", "soap"}
        RAdam with decoupled decay, AdamW, Adam or SOAP (see `deeppot_galactic.training.soap`).
    betas : tuple of float
        Moment decay of the optimiser.
    weight_decay : float
        Decoupled weight decay, on matrices only.
    clip : float
        Largest gradient norm.
    ema : float
        Decay d of the average of the weights; 0 switches it off.
    validate_every : int
        Steps between validations and history rows.
    early_stopping : int
        Validations without improvement after which to stop; 0 switches it off.
    checkpoint_every : int
        Steps between checkpoints.
    """

    steps: int
    rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    patience: int = 512
    min_drop: float = 0.01
    min_rate: float = 1e-6
    optimiser: str = "radam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = math.inf
    ema: float = 0.998
    validate_every: int = 200
    early_stopping: int = 0
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps must be at least 1, found {self.steps}")
        if not self.rate > 0:
            raise ConfigError(f"rate must be positive, found {self.rate}")
        if self.optimiser not in ("radam", "adamw", "adam", "soap"):
            raise ConfigError(f"optimiser {self.optimiser!r} is unknown; choose radam, adamw, adam or soap")


def _optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if settings.optimiser == "radam":
        return torch.optim.RAdam(groups, lr=settings.rate, betas=settings.betas, decoupled_weight_decay=True)
    if settings.optimiser == "soap":
        return SOAP(groups, lr=settings.rate, betas=settings.betas)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)
    return torch.optim.Adam(groups, lr=settings.rate, betas=settings.betas)


class _Run:
    """The state of one training; `train` is its only user."""

    def __init__(self, model: nn.Module, settings: TrainingSettings, generator: torch.Generator) -> None:
        self.model = model
        self.settings = settings
        self.generator = generator
        self.optimiser = _optimiser(model, settings)
        self.schedule: Schedule = make_schedule(settings)
        self.history = History()
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.best = {k: v.clone() for k, v in self.average.items()}
        self.best_loss = math.inf
        self.step = 0
        self.skipped_in_a_row = 0
        self.sum, self.count = 0.0, 0
        self.stale = 0

    def save(self, path: Path) -> None:
        state = {
            "step": self.step,
            "settings": _plain(self.settings),
            "schedule": self.schedule.state(),
            "history": self.history.to_dict(),
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "skipped_in_a_row": self.skipped_in_a_row,
            "sum": self.sum,
            "count": self.count,
            "stale": self.stale,
        }
        averages = {"average": self.average, "best": self.best}
        save_checkpoint(path, model=self.model, optimiser=self.optimiser, generator=self.generator, averages=averages, state=state)

    def load(self, path: Path) -> None:
        averages, state = load_checkpoint(path, model=self.model, optimiser=self.optimiser, generator=self.generator)
        if state["settings"] != _plain(self.settings):
            changed = sorted(k for k, v in _plain(self.settings).items() if state["settings"].get(k) != v)
            raise StoreError(f"checkpoint {path} was made with other settings ({', '.join(changed)}); delete it or restore them")
        self.average, self.best = averages["average"], averages["best"]
        self.step = int(state["step"])
        self.schedule.load_state(state["schedule"])
        self.history = History.from_dict(state["history"])
        self.best_loss = math.inf if state["best_loss"] is None else float(state["best_loss"])
        self.skipped_in_a_row = int(state["skipped_in_a_row"])
        self.sum, self.count, self.stale = float(state["sum"]), int(state["count"]), int(state["stale"])

    def update(self, loss: Tensor) -> None:
        settings = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        value = float(loss.detach())
        rate = self.schedule.rate(self.step)
        if math.isfinite(value) and math.isfinite(float(norm)):
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self.optimiser.step()
            self.skipped_in_a_row = 0
            self.sum += value
            self.count += 1
            self.schedule.observe(self.step, value)
            decay = min(settings.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for name, weight in self.model.state_dict().items():
                    if weight.is_floating_point():
                        self.average[name].lerp_(weight, 1.0 - decay)
                    else:
                        self.average[name].copy_(weight)
        else:
            self.skipped_in_a_row += 1
            self.history.skipped += 1
        self.step += 1

    def record(self, validate: Callable[[], float] | None) -> float:
        current = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        loss = math.nan
        if validate is not None:
            self.model.load_state_dict(self.average)
            with torch.no_grad():
                loss = float(validate())
            self.model.load_state_dict(current)
        train_loss = self.sum / self.count if self.count else math.nan
        self.history.record(self.step, train_loss, loss, self.schedule.rate(self.step))
        self.sum, self.count = 0.0, 0
        finite = all(bool(torch.isfinite(v).all()) for v in self.average.values())
        if finite and (validate is None or loss < self.best_loss):
            self.best = {k: v.clone() for k, v in self.average.items()}
            self.best_loss = loss if validate is not None else math.inf
            self.history.best_step = self.step
            self.stale = 0
        else:
            self.stale += 1
        return train_loss


def _plain(settings: TrainingSettings) -> dict[str, Any]:
    values = asdict(settings)
    values["betas"] = list(values["betas"])
    values["clip"] = None if math.isinf(settings.clip) else settings.clip
    return values


def train(
    model: nn.Module,
    loss_fn: Callable[[Any, torch.Generator], Tensor],
    batches: Callable[[int], Any],
    *,
    settings: TrainingSettings,
    validate: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
    stage: str = "training",
) -> History:
    """Train ``model`` in place.

    Parameters
    ----------
    model : Module
        Holds the best (by validation) average weights at the end.
    loss_fn : callable
        ``loss_fn(batch, generator) -> scalar Tensor``.
    batches : callable
        ``batches(step) -> batch``, a pure function of the step, such as `ShuffledBatches`.
    validate : callable, optional
        Loss of the model as it stands, without gradients; must be deterministic.
    checkpoint : Path, optional
        File to write every ``checkpoint_every`` steps; a training resumes from it when it exists.
    progress : callable, optional
        ``progress(stage, done, total, values)``.
    generator : torch.Generator, optional
        Random numbers of ``loss_fn``; stored in checkpoints.
    device : str
        Where to train.
    stage : str
        Name given to ``progress``.

    Returns
    -------
    History
        With a named outcome.

    Raises
    ------
    FitError
        When the training diverges before any usable weights.
    StoreError
        When the checkpoint is damaged or belongs to other settings.
    """
    model.to(device)
    generator = generator if generator is not None else torch.Generator(device=device).manual_seed(0)
    run = _Run(model, settings, generator)
    if checkpoint is not None and Path(checkpoint).exists():
        run.load(Path(checkpoint))
    outcome = run.history.outcome
    while outcome == "running" and run.step < settings.steps:
        run.update(loss_fn(batches(run.step), generator))
        if run.skipped_in_a_row >= MAX_SKIPPED:
            outcome = "diverged"
            break
        if run.step % settings.validate_every == 0 or run.step == settings.steps:
            train_loss = run.record(validate)
            if progress is not None:
                values = {"loss": train_loss, "validation": run.history.validation_loss[-1], "rate": run.history.rate[-1]}
                progress(stage, run.step, settings.steps, values)
            if settings.early_stopping and run.stale >= settings.early_stopping:
                outcome = "stopped-early"
        if outcome == "running" and run.schedule.exhausted:
            run.record(validate)
            outcome = "rate-exhausted"
        if checkpoint is not None and run.step % settings.checkpoint_every == 0 and outcome == "running":
            run.save(Path(checkpoint))
    if outcome == "running":
        outcome = "finished"
    run.history.outcome = outcome
    if outcome == "diverged" and run.history.best_step == 0:
        raise FitError(f"training diverged: {MAX_SKIPPED} non-finite losses in a row at step {run.step}; lower the rate or check the input")
    model.load_state_dict(run.best)
    if checkpoint is not None:
        run.save(Path(checkpoint))
    return run.history
