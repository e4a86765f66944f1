"""The training loop: updates, moving average, choice by validation, watch for divergence, exact resume, one process or several.

Update k takes the batch of step k, the gradient of ``loss_fn`` clipped to the norm ``clip``, and the rate of the schedule. The average
weights follow theta_avg <- d theta_avg + (1 - d) theta with d = min(ema, (1 + k) / (10 + k)). Validation looks at the average; its
best weights are what the model holds at the end. A non-finite loss or gradient skips the update. A training that diverges goes back to
its last good state with a lower rate (`divergence`); where that does not help it ends as "diverged", with its best weights. Under
``torchrun`` the batch is shared among the processes (`distributed`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import FitError
from .distributed import Group, group_of
from .divergence import DivergenceWatch
from .history import History
from .settings import TrainingSettings
from .state import TrainingState
from .threads import threads

Progress = Callable[[str, int, int, dict[str, float]], None]
"""``progress(stage, done, total, values)``."""


def train(
    model: nn.Module,
    loss_fn: Callable[[Any], Tensor],
    batches: Callable[[int], Any],
    *,
    settings: TrainingSettings,
    draw: Callable[[Any, torch.Generator], Any] | None = None,
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
        ``loss_fn(batch) -> scalar Tensor``, a mean over the rows of the batch.
    batches : callable
        ``batches(step) -> batch``, a pure function of the step, such as `ShuffledBatches`.
    draw : callable, optional
        ``draw(batch, generator) -> batch`` with the random numbers of the loss, for the whole batch: processes share what it gives.
    validate : callable, optional
        Loss of the model as it stands, without gradients; must be deterministic.
    checkpoint : Path, optional
        File to write every ``checkpoint_every`` steps; a training resumes from it when it exists.
    progress : callable, optional
        ``progress(stage, done, total, values)``.
    generator : torch.Generator, optional
        Random numbers of ``draw``; stored in checkpoints.
    device : str
        Where to train.
    stage : str
        Name given to ``progress``.

    Returns
    -------
    History
        With a named outcome, and the returns to an earlier state, if any.

    Raises
    ------
    FitError
        When the training diverges before any usable weights.
    ConfigError
        When a batch cannot be shared equally among the processes.
    StoreError
        When the checkpoint is damaged or belongs to other settings, or cannot be written.

    Warns
    -----
    DeepPotWarning
        When the training diverged and went back to an earlier state with a lower rate.
    """
    model.to(device)
    generator = generator if generator is not None else torch.Generator(device=device).manual_seed(0)
    group = group_of(device)
    run, watch = TrainingState(model, settings, generator), DivergenceWatch(stage)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and group.agree(float(path.exists())):
        run.load(path)
        for restart in run.history.restarts:
            watch.tell(restart)
    shared_loss = group.wrap(model, loss_fn)
    shared_validate = None if validate is None else _told_by_the_first(validate, group)
    outcome = run.history.outcome
    with threads(1 if settings.optimiser == "soap" and torch.device(device).type == "cpu" else 0):  # see `soap`
        if outcome == "running":
            if run.step == 0:
                run.begin(shared_validate)
            watch.keep(run)
        while outcome == "running" and run.step < settings.steps:
            batch = batches(run.step) if draw is None else draw(batches(run.step), generator)
            loss = shared_loss(group.share(batch))
            run.update(loss, group.mean(loss))
            recorded = run.step % settings.validate_every == 0 or run.step == settings.steps
            if recorded:
                train_loss = run.record(shared_validate)
                if progress is not None and group.leads:
                    values = {"loss": train_loss, "validation": run.history.validation_loss[-1], "rate": run.history.rate[-1]}
                    progress(stage, run.step, settings.steps, values)
            reason = watch.reason(run, recorded)
            if reason is not None:
                if watch.go_back(run, reason):
                    continue
                outcome = "diverged"
            elif recorded and settings.early_stopping and run.stale >= settings.early_stopping:
                outcome = "stopped-early"
            elif run.schedule.exhausted:
                run.record(shared_validate)
                outcome = "rate-exhausted"
            elif run.step % settings.checkpoint_every == 0 and run.skipped_in_a_row == 0:
                watch.keep(run)
                if path is not None and group.leads:
                    run.save(path)
    run.history.outcome = "finished" if outcome == "running" else outcome
    if outcome == "diverged":
        _settle(run, watch, validate is not None)
    model.load_state_dict(run.best)
    if path is not None and group.leads:
        run.save(path)
    return run.history


def _told_by_the_first(validate: Callable[[], float], group: Group) -> Callable[[], float]:
    """Validation in the first process only, and its result in all."""
    return lambda: group.agree(float(validate()) if group.leads else 0.0)


def _settle(run: TrainingState, watch: DivergenceWatch, validated: bool) -> None:
    """Leave a diverged training with the best weights it had (`FitError` where it never had any)."""
    if not validated:
        run.best, run.history.best_step = watch.good_average()
    if run.history.best_step == 0 or run.best_loss >= run.history.initial_loss:
        raise FitError(f"training diverged at step {run.step}, at lower rates too; lower the rate further or check the input")
