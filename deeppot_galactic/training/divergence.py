"""The watch on divergence: when a training has left the road, and the way back.

A training diverges when `MAX_SKIPPED` losses or gradients in a row are not finite, or when the loss L of a history row (validation
where there is one, else training) is not finite or

    L > L_first + FACTOR max(L_first - L_best, |L_first|, 1),

which no noise of a healthy training reaches: that is ten times as far above the first row as the best row is below it, in losses that are
of order one or more. L_first is the first row, or the validation before the first update where that was lower: a rate that is absurd from
the start spoils every row. The training then goes back to its last good state, the one of its last checkpoint or its start, with the rate
multiplied by `REDUCTION`, at most `MAX_RESTARTS` times. Where it ends as diverged without a row better than its start, it has failed.
Because that state is the one a checkpoint holds, a training that was killed and resumed takes the same way back.
"""

from __future__ import annotations

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import DivergenceWarning

if TYPE_CHECKING:
    from .state import TrainingState

MAX_SKIPPED = 20
"""Non-finite updates in a row after which a training has diverged."""
FACTOR = 10.0
MAX_RESTARTS = 3
"""Returns to a good state before a training is given up."""
REDUCTION = 0.25
"""Factor of the rate at each return."""


class DivergenceWatch:
    """Keeps the last good state of a training, and takes it back there."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._good: dict[str, Any] | None = None

    def keep(self, run: TrainingState) -> None:
        """Remember the state as good; one with unfinished trouble (skipped updates) is not."""
        if run.skipped_in_a_row == 0:
            self._good = _copied(run.everything())

    def reason(self, run: TrainingState, recorded: bool) -> str | None:
        """Why the training has diverged, or None; ``recorded`` when a row of the history was just written."""
        if run.skipped_in_a_row >= MAX_SKIPPED:
            return f"{MAX_SKIPPED} non-finite losses or gradients in a row"
        history = run.history
        if not recorded or not history.steps:
            return None
        rows = history.validation_loss if math.isfinite(history.validation_loss[0]) else history.train_loss
        if math.isfinite(history.initial_loss):
            rows = [history.initial_loss, *history.validation_loss]
        if len(rows) < 2 or not math.isfinite(rows[0]):
            return None
        if not math.isfinite(rows[-1]):
            return f"a loss of {rows[-1]}"
        finite = [value for value in rows if math.isfinite(value)]
        first, last, best = min(finite[:2]), rows[-1], min(finite)
        limit = first + FACTOR * max(first - best, abs(first), 1.0)
        return f"a loss of {last:.3g}, after {first:.3g} at first and {best:.3g} at best" if last > limit else None

    def go_back(self, run: TrainingState, reason: str) -> bool:
        """Return to the last good state with a lower rate, say so, and record it; False when that was done often enough."""
        restarts = run.history.restarts
        if self._good is None or len(restarts) >= MAX_RESTARTS:
            return False
        at = run.step
        factor = REDUCTION ** (len(restarts) + 1)
        run.restore(_copied(self._good))
        run.schedule.reduction = factor
        run.history.restarts = [*restarts, {"at": at, "back_to": run.step, "rate_factor": factor, "reason": reason}]
        self.tell(run.history.restarts[-1])
        return True

    def tell(self, restart: dict[str, Any]) -> None:
        """Warn of a return, when it happens, and again when a training that had one is resumed from its checkpoint."""
        warnings.warn(DivergenceWarning(describe_restart(self.stage, restart)), stacklevel=3)

    def good_average(self) -> tuple[dict[str, Tensor], int]:
        """The average weights of the last good state, and its step (0: the start)."""
        good = {} if self._good is None else self._good
        return good.get("average", {}), int(good["numbers"]["step"]) if good else 0


def describe_restart(stage: str, restart: dict[str, Any]) -> str:
    """One of the ``restarts`` of a `History` in words; it may name a ``stage`` of its own, and the ``member`` of an ensemble or shells."""
    who = restart.get("stage", stage) + (f" of member {restart['member']}" if "member" in restart else "")
    text = f"{who} diverged at step {restart['at']} ({restart['reason']}); it goes on from step {restart['back_to']}"
    return f"{text} with the rate times {restart['rate_factor']:g}"


def _copied(value: Any) -> Any:
    """A copy that shares no tensor."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return copy.copy(value)
