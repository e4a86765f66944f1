"""Learning rates: linear warm-up, then constant, cosine or plateau.

cosine   rate(k) = rate_0 (eps + (1 - eps) (1 + cos(pi (k - k_w) / (K - k_w))) / 2) with K the fixed number of steps.
plateau  rate is halved when the smoothed training loss has not dropped by ``min_drop`` within ``patience`` steps; the training ends
         when the RATE falls below ``min_rate`` (Kalda, Green & Ghosh 2023, section 3.1, who write "loss").
constant rate_0.

Reported and applied rates are the same number.
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import ConfigError


class Schedule:
    """Rate as a function of the step and, for the plateau, of the losses seen.

    Parameters
    ----------
    kind : {"cosine", "plateau", "constant"}
        See the module.
    rate : float
        Rate after the warm-up.
    steps : int
        Largest number of updates.
    warmup : int
        Updates of the linear rise from zero.
    patience, min_drop, factor, min_rate : int, float, float, float
        Plateau settings; ``min_rate`` is also the floor of the cosine, as a fraction of ``rate`` never below 0.
    """

    def __init__(
        self,
        kind: str,
        *,
        rate: float,
        steps: int,
        warmup: int = 0,
        patience: int = 512,
        min_drop: float = 0.01,
        factor: float = 0.5,
        min_rate: float = 1e-6,
    ) -> None:
        if kind not in ("cosine", "plateau", "constant"):
            raise ConfigError(f"schedule {kind!r} is unknown; choose cosine, plateau or constant")
        self.kind = kind
        self.base = rate
        self.steps = steps
        self.warmup = warmup
        self.patience = patience
        self.min_drop = min_drop
        self.factor = factor
        self.min_rate = min_rate
        self.scale = 1.0
        self.reduction = 1.0
        """Factor of every rate, lowered when a training diverged."""
        self.best = math.inf
        self.best_step = 0
        self.total = 0.0
        self.count = 0

    def rate(self, step: int) -> float:
        """Rate of update number ``step`` (from 0)."""
        if step < self.warmup:
            return self.reduction * self.base * (step + 1) / self.warmup
        if self.kind == "cosine":
            phase = (step - self.warmup) / max(self.steps - self.warmup, 1)
            floor = min(self.min_rate / self.base, 1.0)
            return self.reduction * self.base * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(phase, 1.0))))
        return self.reduction * self.base * self.scale

    def observe(self, step: int, loss: float) -> None:
        """Tell the schedule the training loss of update ``step``.

        A plateau compares means over an eighth of the patience, because single minibatches are noisy.
        """
        if self.kind != "plateau" or step < self.warmup or not math.isfinite(loss):
            return
        self.total += loss
        self.count += 1
        if self.count < max(self.patience // 8, 1):
            return
        mean = self.total / self.count
        self.total, self.count = 0.0, 0
        if mean < self.best - self.min_drop:
            self.best, self.best_step = mean, step
        elif step - self.best_step >= self.patience:
            self.scale *= self.factor
            self.best_step = step

    @property
    def exhausted(self) -> bool:
        """True when the plateau rate has fallen below ``min_rate``."""
        return self.kind == "plateau" and self.reduction * self.base * self.scale < self.min_rate

    def state(self) -> dict[str, Any]:
        """Everything that changes, for a checkpoint."""
        best = None if math.isinf(self.best) else self.best
        numbers = {"scale": self.scale, "reduction": self.reduction, "best": best, "best_step": self.best_step}
        return {**numbers, "total": self.total, "count": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.scale = float(state["scale"])
        self.reduction = float(state.get("reduction", 1.0))
        self.best = math.inf if state["best"] is None else float(state["best"])
        self.best_step = int(state["best_step"])
        self.total = float(state["total"])
        self.count = int(state["count"])


def make_schedule(settings: Any) -> Schedule:
    """Build the schedule of a `TrainingSettings`."""
    return Schedule(
        settings.schedule,
        rate=settings.rate,
        steps=settings.steps,
        warmup=settings.warmup,
        patience=settings.patience,
        min_drop=settings.min_drop,
        min_rate=settings.min_rate,
    )
