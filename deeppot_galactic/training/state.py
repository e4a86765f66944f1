"""The state of one training: weights, averages, optimiser, schedule, history; what an update and a validation do to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import StoreError
from .checkpoints import load_checkpoint, save_checkpoint
from .history import History
from .schedules import Schedule, make_schedule
from .settings import TrainingSettings, make_optimiser


class TrainingState:
    """Everything that changes in a training; `train` is its only user."""

    def __init__(self, model: nn.Module, settings: TrainingSettings, generator: torch.Generator) -> None:
        self.model = model
        self.settings = settings
        self.generator = generator
        self.optimiser = make_optimiser(model, settings)
        self.schedule: Schedule = make_schedule(settings)
        self.history = History()
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.best = {k: v.clone() for k, v in self.average.items()}
        self.best_loss = math.inf
        self.step = 0
        self.skipped_in_a_row = 0
        self.sum, self.count = 0.0, 0
        self.stale = 0

    def _numbers(self) -> dict[str, Any]:
        """What is not a tensor, JSON-able."""
        return {
            "step": self.step,
            "settings": self.settings.plain(),
            "schedule": self.schedule.state(),
            "history": self.history.to_dict(),
            "best_loss": None if math.isinf(self.best_loss) else self.best_loss,
            "skipped_in_a_row": self.skipped_in_a_row,
            "sum": self.sum,
            "count": self.count,
            "stale": self.stale,
        }

    def _set_numbers(self, state: dict[str, Any]) -> None:
        self.step = int(state["step"])
        self.schedule.load_state(state["schedule"])
        self.history = History.from_dict(state["history"])
        self.best_loss = math.inf if state["best_loss"] is None else float(state["best_loss"])
        self.skipped_in_a_row = int(state["skipped_in_a_row"])
        self.sum, self.count, self.stale = float(state["sum"]), int(state["count"]), int(state["stale"])

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        averages = {"average": self.average, "best": self.best}
        save_checkpoint(
            path, model=self.model, optimiser=self.optimiser, generator=self.generator, averages=averages, state=self._numbers()
        )

    def load(self, path: Path) -> None:
        """Read a checkpoint (`StoreError` when it is damaged, or of other settings)."""
        averages, state = load_checkpoint(path, model=self.model, optimiser=self.optimiser, generator=self.generator)
        try:
            if state["settings"] != self.settings.plain():
                changed = sorted(k for k, v in self.settings.plain().items() if state["settings"].get(k) != v)
                raise StoreError(f"checkpoint {path} was made with other settings ({', '.join(changed)}); delete it or restore them")
            self.average, self.best = averages["average"], averages["best"]
            self._set_numbers(state)
        except (KeyError, TypeError, AttributeError) as error:
            raise StoreError(f"checkpoint {path} is incomplete ({type(error).__name__} {error}); delete it to start again") from None

    def everything(self) -> dict[str, Any]:
        """All of the state but the best weights, which outlive a return to an earlier state."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": self.generator.get_state(),
            "average": self.average,
            "numbers": self._numbers(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to what `everything` gave; the best weights, their loss and their step stay as they are."""
        best = self.best_loss, self.history.best_step
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.average = state["average"]
        self._set_numbers(state["numbers"])
        self.best_loss, self.history.best_step = best

    def begin(self, validate: Callable[[], float] | None) -> None:
        """The loss before the first update."""
        if validate is not None:
            with torch.no_grad():
                self.history.initial_loss = float(validate())

    def update(self, loss: Tensor, value: float) -> None:
        """One step along the gradient of ``loss``; ``value`` is the loss over all processes."""
        settings = self.settings
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
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
        """Write a row of the history, and keep the average weights if they are the best; give the mean training loss."""
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
