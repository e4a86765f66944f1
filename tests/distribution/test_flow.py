"""Continuous flows: derivatives by autograd, the change of variables, both objectives against densities that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.distribution import flow_fit
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.flow import ContinuousFlow
from deeppot_galactic.distribution.gradients import draw_gradients
from deeppot_galactic.distribution.likelihood import ADAPTIVE, LikelihoodSettings, hutchinson_signs, likelihood_loss
from deeppot_galactic.distribution.matching import matching_draws, matching_loss
from deeppot_galactic.distribution.vector_field import VectorField
from deeppot_galactic.errors import ConfigError, DivergenceWarning
from deeppot_galactic.training import History, train


def random_flow(shape: str = "residual", chain: int = 1, steps: int = 4, amplitude: float = 0.3) -> ContinuousFlow:
    generator = torch.Generator().manual_seed(0)
    fields = [VectorField(width=12, depth=3, shape=shape, generator=generator) for _ in range(chain)]
    for field in fields:
        with torch.no_grad():
            field.weights[-1].copy_(amplitude * torch.randn(6, 12, generator=generator))
    return ContinuousFlow(fields, steps=steps).double()


def points(n: int = 20) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("shape", ["plain", "residual"])
@pytest.mark.parametrize("depth", [1, 3])
def test_jacobian_of_the_field_against_autograd(shape, depth):
    field = VectorField(width=10, depth=depth, shape=shape, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        field.weights[-1].normal_(generator=torch.Generator().manual_seed(3))
    y = points()
    v, jacobian = field.with_jacobian(0.3, y)
    assert torch.allclose(v, field(0.3, y))
    direct = torch.stack([torch.autograd.functional.jacobian(lambda row: field(0.3, row[None])[0], row) for row in y])
    assert torch.allclose(jacobian, direct, atol=1e-12)
    tangent = torch.randn(1, len(y), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(field.pushed(0.3, y, tangent)[1][0], torch.einsum("nik,nk->ni", jacobian, tangent[0]), atol=1e-12)


@pytest.mark.parametrize("chain", [1, 3])
def test_log_prob_is_the_change_of_variables(chain):
    """ln p(y) = ln N(z(1)) + ln |det dz(1)/dy| with the determinant of the whole map, found by autograd."""
    flow, y = random_flow(chain=chain, steps=12), points(3)

    def forward_map(row: torch.Tensor) -> torch.Tensor:
        from deeppot_galactic.distribution.flow import rk4

        z = row[None]
        for field in flow.fields:
            (z,) = rk4(lambda t, s, field=field: (field(t, s[0]),), (z,), 0.0, 1.0, 12)
        return z[0]

    for row, value in zip(y, flow.log_prob(y).detach(), strict=True):
        z = forward_map(row).detach()
        jacobian = torch.autograd.functional.jacobian(forward_map, row)
        expected = -0.5 * (z * z).sum() - 3 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian)[1]
        assert float(value) == pytest.approx(float(expected), abs=1e-5)


def test_fixed_steps_agree_with_an_adaptive_solver():
    from torchdiffeq import odeint

    flow, y = random_flow(steps=16), points(8)

    def dynamics(t, state):
        v, jacobian = flow.fields[0].with_jacobian(t, state[0])
        return v, jacobian.diagonal(dim1=1, dim2=2).sum(1)

    span = torch.tensor([0.0, 1.0], dtype=torch.float64)
    z, gained = odeint(dynamics, (y, torch.zeros(8, dtype=torch.float64)), span, rtol=1e-10, atol=1e-10, method="dopri5")
    expected = -0.5 * (z[-1] ** 2).sum(1) - 3 * math.log(2 * math.pi) + gained[-1]
    assert torch.allclose(flow.log_prob(y), expected, atol=1e-5)


def test_sampling_inverts_the_flow():
    flow, y = random_flow(steps=16), points()
    from deeppot_galactic.distribution.flow import rk4

    (z,) = rk4(lambda t, s: (flow.fields[0](t, s[0]),), (y,), 0.0, 1.0, 32)
    assert torch.allclose(flow.sample(z), y, atol=1e-5)


def test_flow_is_normalised():
    """Importance sampling with a wide Gaussian: the flow integrates to one."""
    flow = random_flow()
    generator = torch.Generator().manual_seed(5)
    y = 1.6 * torch.randn(10_000, 6, generator=generator, dtype=torch.float64)
    log_q = -0.5 * ((y / 1.6) ** 2).sum(1) - 6 * math.log(1.6) - 3 * math.log(2 * math.pi)
    with torch.no_grad():
        ratio = torch.exp(flow.log_prob(y) - log_q)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=4 * float(ratio.std()) / math.sqrt(10_000))


@pytest.mark.parametrize("solver", ["rk4", *ADAPTIVE])
def test_likelihood_loss_is_the_log_density_plus_the_regularisation(solver):
    flow, y = random_flow(chain=2, steps=8), points(30)
    tolerance, within = (1e-8, 1e-5) if solver in ("rk4", "dopri5", "dopri8") else (1e-5, 1e-3)  # the others are of low order, hence slow
    weight = torch.rand(30, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    bare = LikelihoodSettings(solver=solver, solver_steps=8, kinetic=0.0, jacobian=0.0, rtol=tolerance, atol=tolerance)
    loss = likelihood_loss(flow, y, weight, bare)
    assert float(loss.detach()) == pytest.approx(float(-(weight * flow.log_prob(y)).mean().detach()), abs=within)
    loss.backward()
    found = [p.grad.clone() for p in flow.parameters()]
    flow.zero_grad()
    (-(weight * flow.log_prob(y)).mean()).backward()
    for a, p in zip(found, flow.parameters(), strict=True):
        assert torch.allclose(a, p.grad, atol=within)
    full = LikelihoodSettings(solver=solver, solver_steps=8, kinetic=1.0, jacobian=1.0, rtol=tolerance, atol=tolerance)
    assert float(likelihood_loss(flow, y, weight, full).detach()) > float(loss.detach()) + 0.01


def test_hutchinson_is_unbiased():
    flow, y = random_flow(steps=4), points(1).expand(4000, 6)
    exact = LikelihoodSettings(solver="rk4", solver_steps=4, kinetic=0.0, jacobian=0.6)
    noisy = LikelihoodSettings(solver="rk4", solver_steps=4, kinetic=0.0, jacobian=0.6, trace="hutchinson")
    generator = torch.Generator().manual_seed(0)
    weight = torch.ones(4000, dtype=torch.float64)
    with torch.no_grad():
        values = [float(likelihood_loss(flow, y, weight, s, *hutchinson_signs(flow, y, s, generator))) for s in (exact, noisy)]
    assert values[1] == pytest.approx(values[0], abs=0.03)


def test_matching_loss_has_the_known_minimum_for_a_gaussian():
    """For stars N(0, s^2) the optimal field is linear: v = z (t - (1 - t) s^2) / ((1 - t)^2 s^2 + t^2)."""

    class Optimal(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, t, z):
            t = t[:, None]
            return self.factor * z * (t - (1 - t) * 0.25) / ((1 - t) ** 2 * 0.25 + t**2)

    generator = torch.Generator().manual_seed(0)
    y = 0.5 * torch.randn(200_000, 6, generator=generator, dtype=torch.float64)
    weight = torch.ones(len(y), dtype=torch.float64)
    losses = []
    for factor in (0.95, 1.0, 1.05):
        flow = ContinuousFlow([Optimal(factor)], steps=4)  # type: ignore[list-item]
        losses.append(float(matching_loss(flow, y, weight, *matching_draws(y, torch.Generator().manual_seed(1)))))
    assert losses[1] < min(losses[0], losses[2])


@pytest.fixture(scope="module")
def matched(bar):
    mock, tracers, volume, _ = bar
    options = {
        "steps": 400,
        "batch": 1024,
        "width": 48,
        "depth": 2,
        "ema": 0.98,
        "rate": 5e-3,
        "validate_every": 100,
        "warmup": 20,
        "whiten": False,
    }
    return mock, tracers, volume, fit_distribution(tracers, volume, preset="flow-matching", seed=0, **options)


def test_matched_flow_has_density_scores_and_samples(matched, tmp_path):
    mock, tracers, volume, df = matched
    x = tracers.within(volume).phase_space[:3000]
    ln_f, score = df.evaluate(x)
    offset = ln_f - mock.log_density(x) - np.log(len(tracers))
    assert abs(np.median(offset)) < 0.1
    truth = mock.score(x) * x.std(0)
    error = np.linalg.norm(score * x.std(0) - truth, axis=1)
    assert np.median(error) < 0.45 * np.median(np.linalg.norm(truth, axis=1))
    df.save(tmp_path / "flow.safetensors")
    again = Distribution.load(tmp_path / "flow.safetensors")
    assert np.array_equal(again.evaluate(x[:50])[1], score[:50]) or np.allclose(again.evaluate(x[:50])[1], score[:50], rtol=1e-4, atol=1e-5)
    pos, vel = again.sample(4000, seed=3)
    drawn = np.concatenate([pos.to_value("kpc"), vel.to_value("km/s")], 1)
    assert volume.contains(drawn[:, :3]).all()
    assert np.allclose(drawn.std(0), tracers.within(volume).phase_space.std(0), rtol=0.08)
    assert np.array_equal(drawn, again._sample(4000, 3))
    assert draw_gradients(again, 200).meta["source"] == "sampled"


def test_score_of_the_flow_is_the_gradient_of_ln_f(matched):
    *_, df = matched
    x = df.tracers.phase_space[:20]
    df.flow.double()
    try:
        score = df.evaluate(x)[1]
        for i, step in enumerate((1e-4,) * 3 + (1e-2,) * 3):
            shift = step * np.eye(6)[i]
            difference = (df.evaluate(x + shift)[0] - df.evaluate(x - shift)[0]) / (2 * step)
            assert np.allclose(difference, score[:, i], rtol=1e-4, atol=1e-5 * np.abs(score[:, i]).max())
    finally:
        df.flow.float()


def test_value_does_not_depend_on_batch_mates(matched):
    *_, df = matched
    x = df.tracers.phase_space[:100].copy()
    alone = df.evaluate(x[:1])[0]
    x[1:, :3] *= 0.01
    x[1:, 3:] *= 5.0
    assert df.evaluate(x)[0][0] == pytest.approx(alone[0], abs=2e-5)


def test_fine_tuning_raises_the_likelihood(bar, tmp_path, monkeypatch):
    _, tracers, volume, _ = bar
    stars = Tracers(tracers.phase_space[:3000])
    options = {
        "preset": "flow-matching",
        "steps": 60,
        "batch": 256,
        "width": 16,
        "depth": 1,
        "solver_steps": 2,
        "whiten": False,
        "warmup": 5,
    }
    plain = fit_distribution(stars, volume, **options)
    tuned = fit_distribution(
        stars, volume, finetune_steps=60, finetune_rate=5e-3, finetune_batch=256, checkpoint=tmp_path / "fit.safetensors", **options
    )
    report = tuned.meta["finetuning"]
    assert report["kept"]
    assert report["after"] < report["before"] - 0.02
    x = tuned.tracers.phase_space
    assert tuned.evaluate(x)[0].mean() > plain.evaluate(x)[0].mean() + 0.01
    again = fit_distribution(
        stars, volume, finetune_steps=60, finetune_rate=5e-3, finetune_batch=256, checkpoint=tmp_path / "fit.safetensors", **options
    )
    assert np.array_equal(again.evaluate(x)[1], tuned.evaluate(x)[1])  # from the finished checkpoints

    with pytest.warns(DivergenceWarning, match="fine-tuning diverged"):
        wild = fit_distribution(stars, volume, finetune_steps=60, finetune_rate=300.0, finetune_batch=256, **options)
    assert wild.history.restarts
    assert {restart["stage"] for restart in wild.history.restarts} == {"fine-tuning"}

    def spoil(flow, *args, stage, **kwargs):
        if stage != "fine-tuning":
            return train(flow, *args, stage=stage, **kwargs)
        with torch.no_grad():
            flow.fields[0].weights[-1].mul_(-3.0)
        return History()

    monkeypatch.setattr(flow_fit, "train", spoil)
    spoiled = fit_distribution(stars, volume, finetune_steps=20, **options)
    assert not spoiled.meta["finetuning"]["kept"]
    assert np.array_equal(spoiled.evaluate(x)[1], plain.evaluate(x)[1])


def test_likelihood_training_learns_and_stops(bar):
    mock, tracers, volume, _ = bar
    stars = Tracers(tracers.phase_space[:3000])
    options = {"steps": 60, "batch": 512, "width": 24, "depth": 2, "rate": 1e-2, "warmup": 5, "solver_steps": 2, "validate_every": 20}
    df = fit_distribution(stars, volume, preset="paper-small", whiten=True, **options)
    losses = df.history.validation_loss
    assert losses[-1] < losses[0]
    x = stars.within(volume).phase_space[:500]
    ln_f, score = df.evaluate(x)
    assert np.corrcoef(ln_f, mock.log_density(x))[0, 1] > 0.8
    assert np.isfinite(score).all()


def test_unknown_options():
    with pytest.raises(ConfigError, match="dopri5"):
        LikelihoodSettings(solver="euler")
    with pytest.raises(ConfigError, match="hutchinson"):
        LikelihoodSettings(trace="none")
    with pytest.raises(ConfigError, match="residual"):
        VectorField(width=3, depth=1, shape="conv")
