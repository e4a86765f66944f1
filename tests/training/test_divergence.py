"""A training that runs away goes back to its last good state with a lower rate, says so, records it, and resumes bit by bit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from deeppot_galactic.errors import DeepPotWarning, FitError
from deeppot_galactic.training import History, ShuffledBatches, TrainingSettings, train
from deeppot_galactic.training.divergence import REDUCTION

TOO_FAST = TrainingSettings(
    steps=240, rate=1.2, optimiser="adam", schedule="constant", warmup=120, ema=0.0, validate_every=20, checkpoint_every=60
)
"""On the valley below, a rate that is fine while the warm-up keeps it low and runs away after that."""


def noisy(batch, generator):
    return *batch, 0.01 * torch.randn(2, generator=generator)


def steep_valley():
    """(w^4 - 1)^2 summed over two weights: beyond |w| of order one the gradient of the quartic throws any large step out."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.6, 0.8]]))
    rows = torch.ones(64, 2)

    def loss(batch):
        rows, noise = batch
        return ((model.weight[0] ** 4 - 1.0 + noise) ** 2).sum() * rows.mean()

    def validate() -> float:
        return float(((model.weight[0].detach() ** 4 - 1.0) ** 2).sum())

    return model, loss, ShuffledBatches(rows, size=16), validate


def test_it_goes_back_with_a_lower_rate_and_ends_well() -> None:
    model, loss, batches, validate = steep_valley()
    with pytest.warns(DeepPotWarning, match=r"valley diverged at step \d+ .* goes on from step \d+ with the rate times 0\.25"):
        history = train(model, loss, batches, settings=TOO_FAST, draw=noisy, validate=validate, stage="valley")
    assert history.outcome == "finished"
    first = history.restarts[0]
    assert first["back_to"] < first["at"]
    assert first["back_to"] % TOO_FAST.checkpoint_every == 0
    assert first["rate_factor"] == REDUCTION
    assert history.rate[-1] == pytest.approx(TOO_FAST.rate * history.restarts[-1]["rate_factor"])
    assert history.steps == sorted(set(history.steps))
    assert validate() < 0.05
    assert History.from_dict(json.loads(json.dumps(history.to_dict(), allow_nan=False))).to_dict() == history.to_dict()


def test_a_healthy_training_is_left_alone() -> None:
    model, loss, batches, validate = steep_valley()
    settings = TrainingSettings(steps=240, rate=0.02, optimiser="adam", ema=0.0, validate_every=20)
    assert train(model, loss, batches, settings=settings, draw=noisy, validate=validate).restarts == []


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_killed_and_resumed_it_takes_the_same_way_back(tmp_path: Path, share: float) -> None:
    model, loss, batches, validate = steep_valley()
    with pytest.warns(DeepPotWarning):
        whole = train(model, loss, batches, settings=TOO_FAST, draw=noisy, validate=validate)
    expected = model.weight.detach().clone()
    updates = TOO_FAST.steps + sum(r["at"] - r["back_to"] for r in whole.restarts)
    model, loss, batches, validate = steep_valley()
    calls = 0

    def killed(batch):
        nonlocal calls
        calls += 1
        if calls > share * updates:
            raise KeyboardInterrupt
        return loss(batch)

    import warnings

    path = tmp_path / "checkpoint.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)
        with pytest.raises(KeyboardInterrupt):
            train(model, killed, batches, settings=TOO_FAST, draw=noisy, validate=validate, checkpoint=path)
        assert path.exists()
        model, loss, batches, validate = steep_valley()
        resumed = train(model, loss, batches, settings=TOO_FAST, draw=noisy, validate=validate, checkpoint=path)
    assert torch.equal(model.weight.detach(), expected)
    assert resumed.to_dict() == whole.to_dict()


def upwards(validate):
    """A weight that training drives from one upwards, whatever validation says."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    settings = TrainingSettings(
        steps=400, rate=0.02, optimiser="adam", schedule="constant", ema=0.0, validate_every=10, checkpoint_every=50
    )
    history = train(
        model,
        lambda batch: -(model.weight.exp() ** 3).sum(),
        lambda step: (),
        settings=settings,
        validate=lambda: validate(float(model.weight.detach())),
    )
    return history, float(model.weight.detach())


def test_a_loss_that_rises_without_end_is_given_up_with_the_best_weights() -> None:
    with pytest.warns(DeepPotWarning):
        history, weight = upwards(lambda w: math.exp(3 * w) / 90 - 3 * w)  # least at w = 1.5
    assert history.outcome == "diverged"
    assert 10 <= history.best_step <= 60
    assert 1.3 < weight < 1.7


def test_weights_that_were_never_better_than_the_start_are_no_result() -> None:
    with pytest.warns(DeepPotWarning), pytest.raises(FitError, match="at lower rates too"):
        upwards(lambda w: math.exp(3 * w))


def test_a_validation_that_is_undefined_after_a_good_start_is_a_divergence() -> None:
    with pytest.warns(DeepPotWarning, match="a loss of nan"), pytest.raises(FitError, match="at lower rates too"):
        upwards(lambda w: 1.0 if w == 1.0 else math.nan)


def test_a_start_near_zero_is_no_measure() -> None:
    history, _ = upwards(lambda w: 0.02 + 0.2 * (w - 1.0) - 0.1 * max(w - 3.0, 0.0) ** 2)
    assert history.outcome == "finished"
    assert history.restarts == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_never_a_good_state(bad: float) -> None:
    model, _, batches, _ = steep_valley()
    with pytest.warns(DeepPotWarning), pytest.raises(FitError, match="at lower rates too"):
        train(model, lambda batch: model.weight.sum() * bad, batches, settings=TrainingSettings(steps=500))


def bowl(rate: float) -> tuple[History, float]:
    """Adam in a bowl of width one."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.6, 0.8]]))

    def validate() -> float:
        return float((model.weight.detach() ** 2).sum())

    settings = TrainingSettings(steps=400, rate=rate, optimiser="adam", schedule="cosine", warmup=0, ema=0.0, validate_every=10)
    return train(model, lambda batch: (model.weight**2).sum(), lambda step: (), settings=settings, validate=validate), validate()


def test_a_rate_that_is_absurd_from_the_start_is_seen_at_the_first_row() -> None:
    """No row is far above the first, but all are far above the start."""
    with pytest.warns(DeepPotWarning, match=r"at step 10 .* after 1 at first and 1 at best"):
        history, loss = bowl(30.0)
    assert history.initial_loss == pytest.approx(1.0)
    assert [restart["back_to"] for restart in history.restarts] == [0] * len(history.restarts)
    assert loss < 1.0
    with pytest.warns(DeepPotWarning), pytest.raises(FitError, match="at lower rates too"):
        bowl(3e3)  # beyond what three returns can mend
