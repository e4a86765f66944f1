"""Known errors in the training: what is drawn, and that the corrected objective is the one of the true stars."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic import Tracers
from deeppot_galactic.catalogue import Ball
from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.distribution.energy_network import EnergyNetwork
from deeppot_galactic.distribution.features import PlainFeatures
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.gradients import GradientSample, draw_gradients
from deeppot_galactic.distribution.noise import NoisyBatches, NoisyStars, trained_on
from deeppot_galactic.distribution.whitening import AffineWhitening
from deeppot_galactic.errors import ConfigError, FitError
from deeppot_galactic.mocks import Plummer

N = 20_000
BALL = Ball(np.zeros(3) * u.kpc, 1.5 * u.kpc)


@pytest.fixture(scope="module")
def stars() -> tuple[Tracers, Tracers]:
    """A Plummer sphere with errors of a third of its spread, of every size, and the same stars without."""
    rng = np.random.default_rng(0)
    true = Plummer().sample(N, rng)
    sigma = true.std(axis=0) * rng.uniform(0.1, 0.5, (N, 1))
    covariance = np.zeros((N, 6, 6))
    covariance[:, range(6), range(6)] = sigma**2
    return Tracers(true + sigma * rng.standard_normal(true.shape), covariance=covariance), Tracers(true)


def objective(network: EnergyNetwork, parts: tuple[torch.Tensor, ...]) -> np.ndarray:
    """The loss of each row, (m,)."""
    y, weight, slope = parts
    with torch.no_grad():
        s, laplacian = network.score_and_laplacian(y)
    return (weight * (0.5 * (s * s).sum(1) + laplacian) + (slope * s[:, :3]).sum(1)).double().numpy()


def test_the_corrected_objective_is_that_of_the_true_stars(stars: tuple[Tracers, Tracers]) -> None:
    noisy, clean = stars
    whitening = AffineWhitening.fit(clean.phase_space)
    network = EnergyNetwork(features=PlainFeatures([1.0] * 6), width=16, depth=2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        network.out.add_(torch.randn(16, generator=torch.Generator().manual_seed(4)))
    rows = np.arange(N)
    covariance = np.full((N, 6, 6), np.nan)
    true = objective(network, NoisyStars(Tracers(clean.phase_space, covariance=covariance), whitening, BALL, "inject", 0)(rows, 0))
    observed = objective(network, NoisyStars(Tracers(noisy.phase_space, covariance=covariance), whitening, BALL, "inject", 0)(rows, 0))
    corrected = objective(network, NoisyStars(noisy, whitening, BALL, "correct", 0)(rows, 0)).reshape(3, N).mean(axis=0)
    error = (corrected - true).std() / np.sqrt(N)
    assert abs((observed - true).mean()) > 10.0 * (observed - true).std() / np.sqrt(N)
    assert abs((corrected - true).mean()) < 4.0 * error + 0.1 * abs((observed - true).mean())


def test_draws_follow_the_errors_and_the_step(stars: tuple[Tracers, Tracers]) -> None:
    noisy, _ = stars
    whitening = AffineWhitening.fit(noisy.phase_space)
    drawn = NoisyStars(noisy, whitening, None, "inject", 0)
    rows = torch.arange(N)
    first, again, other = (NoisyBatches(drawn, rows, size=4000, seed=1, device="cpu")(step) for step in (0, 0, 1))
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])
    index = np.arange(4000)
    offsets = np.stack([whitening.inverse(drawn(index, step)[0].double()).numpy() - noisy.phase_space[:4000] for step in range(12)])
    sigma = noisy.errors[0].value[:4000], noisy.errors[1].value[:4000]
    scaled = offsets / np.concatenate(sigma, axis=1)
    assert np.abs(scaled.std(axis=(0, 1)) - 1.0).max() < 0.02 and np.abs(scaled.mean()) < 0.02


def test_stars_beyond_the_region_count_where_noise_may_bring_them_in(stars: tuple[Tracers, Tracers]) -> None:
    noisy, _ = stars
    inside, reaching = trained_on(noisy, BALL, "ignore", 0), trained_on(noisy, BALL, "correct", 0)
    assert len(inside) == np.count_nonzero(BALL.contains(noisy.phase_space[:, :3])) < len(reaching) < N


def test_a_training_through_the_noise_runs_and_resumes(stars: tuple[Tracers, Tracers], tmp_path) -> None:
    few = stars[0].select(np.arange(3000))
    options = {"preset": "quick", "steps": 20, "width": 16, "batch": 256, "validate_every": 10, "checkpoint_every": 5}
    whole = fit_distribution(few, BALL, errors="correct", **options)
    with pytest.raises(RuntimeError, match="stop"):
        fit_distribution(few, BALL, errors="correct", checkpoint=tmp_path / "c.safetensors", progress=_stop_late, **options)
    resumed = fit_distribution(few, BALL, errors="correct", checkpoint=tmp_path / "c.safetensors", **options)
    x = few.phase_space[:50]
    assert np.array_equal(whole.evaluate(x)[1], resumed.evaluate(x)[1])
    assert not np.array_equal(whole.evaluate(x)[1], fit_distribution(few, BALL, **options).evaluate(x)[1])


def _stop_late(stage: str, done: int, total: int, values: dict[str, float]) -> None:
    if done >= 10:
        raise RuntimeError("stop")


def test_flows_draw_anew_and_do_not_correct(stars: tuple[Tracers, Tracers]) -> None:
    few = stars[0].select(np.arange(2000))
    options = {"preset": "flow-matching", "steps": 3, "width": 8, "depth": 2, "batch": 128, "validate_every": 3}
    fits = [fit_distribution(few, BALL, pad=False, errors=errors, **options) for errors in ("ignore", "inject")]
    x = few.phase_space[:20]
    assert not np.array_equal(fits[0].evaluate(x)[1], fits[1].evaluate(x)[1])
    with pytest.raises(ConfigError, match="pad = false"):
        fit_distribution(few, BALL, errors="inject", **options)
    with pytest.raises(ConfigError, match="needs score matching"):
        fit_distribution(few, BALL, errors="correct", **options)
    with pytest.raises(ConfigError, match="errors must be one of"):
        fit_distribution(few, BALL, errors="remove")


def test_gradient_files_keep_the_copies(stars: tuple[Tracers, Tracers], tmp_path) -> None:
    few = stars[0].select(np.arange(2500))
    weighted = Tracers(few.phase_space, covariance=few.covariance, weights=np.random.default_rng(0).uniform(1, 2, 2500))
    df = fit_distribution(few, BALL, preset="quick", steps=5, width=8, batch=128, validate_every=5)
    made = draw_gradients(df, 1000, errors="correct", tracers=weighted)
    made.save(tmp_path / "a.h5")
    streamed = draw_gradients(df, 1000, errors="correct", tracers=weighted, path=tmp_path / "b.h5")
    assert made.copies is not None and made.copy_weights is not None and len(made.copies) == 1000 and made.copies.reaching(BALL).all()
    for again in (GradientSample.load(tmp_path / "a.h5"), streamed):
        assert again.copies is not None and np.array_equal(again.copies.rows, made.copies.rows)
        assert np.array_equal(again.copies.coefficients, made.copies.coefficients)
        assert again.copy_weights is not None and np.array_equal(again.copy_weights, made.copy_weights)
    assert draw_gradients(df, 1000, tracers=weighted).copies is None
    with pytest.raises(FitError, match="needs the stars with their errors"):
        draw_gradients(df, 1000, errors="correct")
    masked = df.volume.masked(Mask(SelectionFunction.from_distance_limit(np.random.default_rng(0).uniform(6, 9, 3072) * u.kpc)))
    GradientSample(made.points, made.log_density, made.score, volume=masked).save(tmp_path / "c.h5")
    assert GradientSample.load(tmp_path / "c.h5").volume == masked
