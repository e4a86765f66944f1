"""The loop on a least-squares problem with a known solution: convergence, resume, divergence, early stopping, averages."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from deeppot_galactic.errors import ConfigError, DeepPotWarning, FitError, StoreError
from deeppot_galactic.training import ShuffledBatches, TrainingSettings, train
from deeppot_galactic.training.divergence import MAX_RESTARTS


def noisy(batch, generator):
    rows, target = batch
    return rows, target + 1e-3 * torch.randn(len(rows), generator=generator)


def problem(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(400, 3, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.3
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()

    def loss(batch):
        rows, target = batch
        return ((model(rows)[:, 0] - target) ** 2).mean()

    def validate() -> float:
        return float(((model(x)[:, 0] - y) ** 2).mean())

    return model, loss, ShuffledBatches(x, y, size=64, seed=seed), validate


def weights_of(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("optimiser", ["radam", "adamw", "adam", "soap"])
@pytest.mark.parametrize("schedule", ["cosine", "constant", "plateau"])
def test_finds_the_least_squares_solution(optimiser, schedule):
    model, loss, batches, validate = problem()
    settings = TrainingSettings(steps=300, rate=0.1, optimiser=optimiser, schedule=schedule, ema=0.9, validate_every=100, warmup=10)
    history = train(model, loss, batches, settings=settings, draw=noisy, validate=validate)
    assert torch.allclose(weights_of(model), torch.tensor([1.0, -2.0, 0.5, 0.3]), atol=0.08)
    assert history.outcome == "finished"
    assert history.steps == [100, 200, 300]
    assert history.validation_loss[-1] < history.validation_loss[0]


def test_weight_decay_shrinks_matrices_and_spares_biases():
    model, loss, batches, validate = problem()
    settings = TrainingSettings(steps=800, rate=0.03, weight_decay=3.0, schedule="constant", ema=0.9)
    train(model, loss, batches, settings=settings, draw=noisy, validate=validate)
    found = weights_of(model)
    assert found[:3].norm() < 0.9 * torch.tensor([1.0, -2.0, 0.5]).norm()
    assert abs(float(found[3]) - 0.3) < 0.25


@pytest.mark.parametrize(
    ("schedule", "optimiser", "stop_at"),
    [("cosine", "radam", 100), ("plateau", "adam", 150), ("cosine", "soap", 130), ("cosine", "adamw", 300)],
)
def test_resume_is_bit_identical(tmp_path, schedule, optimiser, stop_at):
    settings = TrainingSettings(
        steps=300,
        rate=0.02,
        optimiser=optimiser,
        schedule=schedule,
        patience=40,
        min_drop=0.5,
        warmup=20,
        ema=0.95,
        validate_every=30,
        checkpoint_every=50,
    )
    model, loss, batches, validate = problem()
    whole = train(model, loss, batches, settings=settings, draw=noisy, validate=validate)
    expected = weights_of(model)

    class KilledError(RuntimeError):
        pass

    model, loss, batches, validate = problem()
    calls = 0

    def interrupted(batch):
        nonlocal calls
        if calls == stop_at:
            raise KilledError
        calls += 1
        return loss(batch)

    path = tmp_path / "checkpoint.safetensors"
    if stop_at < settings.steps:
        with pytest.raises(KilledError):
            train(model, interrupted, batches, settings=settings, draw=noisy, validate=validate, checkpoint=path)
    else:
        train(model, interrupted, batches, settings=settings, draw=noisy, validate=validate, checkpoint=path)
    model, loss, batches, validate = problem()
    resumed = train(model, loss, batches, settings=settings, draw=noisy, validate=validate, checkpoint=path)
    assert torch.equal(weights_of(model), expected)
    assert resumed.to_dict() == whole.to_dict()


def test_checkpoint_of_other_settings_or_another_model_is_refused(tmp_path):
    model, loss, batches, validate = problem()
    path = tmp_path / "checkpoint.safetensors"
    train(model, loss, batches, settings=TrainingSettings(steps=5), checkpoint=path)
    with pytest.raises(StoreError, match="rate"):
        train(model, loss, batches, settings=TrainingSettings(steps=5, rate=0.5), checkpoint=path)
    other = nn.Linear(4, 1)
    with pytest.raises(StoreError, match="another model"):
        train(other, loss, batches, settings=TrainingSettings(steps=5), checkpoint=path)


def test_divergence_is_named():
    model, _, batches, _ = problem()
    with pytest.warns(DeepPotWarning, match="diverged"), pytest.raises(FitError, match="diverged"):
        train(model, lambda batch: model.weight.sum() * math.nan, batches, settings=TrainingSettings(steps=200))


def test_divergence_after_a_good_start_keeps_the_best_weights():
    model, loss, batches, validate = problem()
    step = 0

    def explodes(batch):
        nonlocal step
        step += 1
        return loss(batch) * (math.inf if step > 150 else 1.0)

    settings = TrainingSettings(steps=400, rate=0.02, validate_every=50, schedule="constant")
    with pytest.warns(DeepPotWarning, match="goes on from step 0 with the rate times 0"):
        history = train(model, explodes, batches, settings=settings, draw=noisy, validate=validate)
    assert history.outcome == "diverged"
    assert len(history.restarts) == MAX_RESTARTS
    assert torch.isfinite(weights_of(model)).all()
    assert history.best_step == 150


def test_isolated_bad_losses_are_skipped():
    model, loss, batches, validate = problem()
    step = 0

    def hiccups(batch):
        nonlocal step
        step += 1
        return loss(batch) * (math.nan if step % 7 == 0 else 1.0)

    history = train(model, hiccups, batches, settings=TrainingSettings(steps=70, validate_every=70), validate=validate)
    assert history.outcome == "finished"
    assert history.skipped == 10


def test_early_stopping_holds_the_best():
    model, loss, batches, _ = problem()
    values = iter([6.0, 5.0, 3.0, 4.0, 4.0, 4.0, 4.0])  # the first before any update
    seen = []

    def validate() -> float:
        seen.append(weights_of(model).clone())
        return next(values)

    settings = TrainingSettings(steps=1000, validate_every=10, early_stopping=2)
    history = train(model, loss, batches, settings=settings, draw=noisy, validate=validate)
    assert history.outcome == "stopped-early"
    assert history.steps[-1] == 40
    assert history.best_step == 20
    assert torch.equal(weights_of(model), seen[2])


def test_plateau_ends_when_the_rate_falls_below_its_floor():
    model, _, batches, _ = problem()
    settings = TrainingSettings(steps=100_000, rate=1e-3, schedule="plateau", patience=16, min_rate=2e-4, validate_every=50)
    history = train(model, lambda batch: (model.weight * 0).sum() + 1.0, batches, settings=settings)
    assert history.outcome == "rate-exhausted"
    assert history.rate[-1] < 2e-4
    assert history.steps[-1] < 200


def test_progress_is_told_and_history_survives_json():
    import json

    from deeppot_galactic.training import History

    model, loss, batches, _ = problem()
    told = []
    history = train(
        model,
        loss,
        batches,
        settings=TrainingSettings(steps=20, validate_every=10),
        progress=lambda stage, done, total, values: told.append((stage, done, total, sorted(values))),
        stage="fit",
    )
    assert told == [("fit", 10, 20, ["loss", "rate", "validation"]), ("fit", 20, 20, ["loss", "rate", "validation"])]
    text = json.dumps(history.to_dict(), allow_nan=False)
    assert History.from_dict(json.loads(text)).to_dict() == history.to_dict()


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"steps": 5, "rate": 0.0},
        {"steps": 5, "optimiser": "sgd"},
        {"steps": 5, "rate": math.nan},
        {"steps": 5, "validate_every": 0},
    ],
)
def test_bad_settings(bad):
    with pytest.raises(ConfigError):
        TrainingSettings(**bad)
