"""Fitted distributions against exact ones, and the invariants of the interface."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.score_matching import ScoreMatchingSettings
from deeppot_galactic.errors import FitError, StoreError, UnitsError
from deeppot_galactic.mocks.base import rotation_derivative

from .conftest import SMALL, disc_stars


def score_error(mock, df, tracers, volume) -> float:
    x = tracers.within(volume).phase_space[:4000]
    truth = mock.score(x) * x.std(0)
    error = df.evaluate(x)[1] * x.std(0) - truth
    return float(np.median(np.linalg.norm(error, axis=1)) / np.median(np.linalg.norm(truth, axis=1)))


def test_scores_of_the_rotating_bar(bar):
    mock, tracers, volume, df = bar
    assert score_error(mock, df, tracers, volume) < 0.3


def test_pattern_speed_with_the_true_potential(bar):
    mock, tracers, volume, df = bar
    x = tracers.within(volume).phase_space
    score = df.evaluate(x)[1]
    transport = -(x[:, 3:] * score[:, :3]).sum(1) - (mock.acceleration(x) * score[:, 3:]).sum(1)
    turn = rotation_derivative(x, score)
    assert -(transport * turn).sum() / (turn * turn).sum() == pytest.approx(40.0, rel=0.1)


def test_scores_of_the_plummer_sphere(plummer):
    mock, tracers, volume, df = plummer
    assert score_error(mock, df, tracers, volume) < 0.22


def test_density_has_a_scale(bar, plummer):
    for mock, tracers, volume, df in (bar, plummer):
        x = tracers.within(volume).phase_space[:4000]
        offset = df.evaluate(x)[0] - mock.log_density(x) - np.log(len(tracers))
        assert abs(np.median(offset)) < 0.15
        assert df.n_stars == len(tracers.within(volume))


def test_score_is_the_gradient_of_ln_f(bar):
    _, tracers, _, df = bar
    x = tracers.phase_space[:100]
    df.network.double()
    try:
        score = df.evaluate(x)[1]
        for i, step in enumerate((1e-4,) * 3 + (1e-2,) * 3):
            shift = step * np.eye(6)[i]
            difference = (df.evaluate(x + shift)[0] - df.evaluate(x - shift)[0]) / (2 * step)
            assert np.allclose(difference, score[:, i], rtol=1e-5, atol=1e-6 * np.abs(score[:, i]).max())
    finally:
        df.network.float()


def test_float32_agrees_with_float64(bar):
    _, tracers, _, df = bar
    x = tracers.phase_space[:2000]
    single = df.evaluate(x)[1]
    df.network.double()
    try:
        double = df.evaluate(x)[1]
    finally:
        df.network.float()
    assert np.abs(single - double).max() < 1e-4 * np.abs(double).max()


def test_value_does_not_depend_on_batch_mates(bar):
    _, tracers, _, df = bar
    x = tracers.phase_space[:300]
    ln_f, score = df.evaluate(x)
    for rows in ([0], [5, 7, 200], list(range(100))):
        alone_f, alone = df.evaluate(x[rows])
        assert np.allclose(alone_f, ln_f[rows], atol=2e-5)
        assert np.allclose(alone, score[rows], rtol=1e-4, atol=1e-5 * np.abs(score).max())


def test_public_units_and_save(bar, tmp_path):
    _, tracers, _, df = bar
    pos, vel = tracers.pos[:50].to(u.pc), tracers.vel[:50].to(u.kpc / u.Gyr)
    score_x, score_v = df.score(pos, vel)
    assert score_x.unit.is_equivalent(1 / u.kpc)
    assert score_v.unit.is_equivalent(u.s / u.km)
    assert np.allclose(score_x.to_value(1 / u.kpc), df.evaluate(tracers.phase_space[:50])[1][:, :3], rtol=1e-3, atol=1e-3)
    df.save(tmp_path / "df.safetensors")
    again = Distribution.load(tmp_path / "df.safetensors")
    assert np.array_equal(again.log_density(pos, vel), df.log_density(pos, vel))
    assert again.tracers is None
    assert again.volume == df.volume
    assert again.history.to_dict() == df.history.to_dict()
    with pytest.raises(UnitsError):
        df.log_density(tracers.phase_space[:, :3], vel)
    with pytest.raises(FitError, match="agree"):
        df.log_density(pos, vel[:10])
    with pytest.raises(FitError, match="shape"):
        df.evaluate(np.zeros((4, 5)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e200])
def test_rows_where_f_is_not_defined_are_refused(bar, value):
    _, tracers, _, df = bar
    x = tracers.phase_space[:300].copy()
    x[[3, 50, 200], [0, 3, 4]] = value
    with pytest.raises(FitError, match="not defined at 3 of 300 rows"):
        df.evaluate(x)


def test_file_of_another_estimator_is_refused(bar, tmp_path):
    from deeppot_galactic.store import read_model, write_model

    *_, df = bar
    path = tmp_path / "df.safetensors"
    df.save(path)
    tensors, header = read_model(path)
    write_model(path, tensors, header | {"estimator": "oracle"}, "distribution")
    with pytest.raises(StoreError, match="oracle"):
        Distribution.load(path)
    write_model(path, tensors, {k: v for k, v in header.items() if k != "state"}, "distribution")
    with pytest.raises(StoreError, match="incomplete"):
        Distribution.load(path)


def test_same_seed_same_numbers_and_resume(tmp_path):
    tracers = Tracers(disc_stars(3000))
    volume = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
    options = {"preset": "quick", "steps": 60, "width": 16, "batch": 256, "checkpoint_every": 20, "noise": 0.05, "reflect": True}
    first = fit_distribution(tracers, volume, seed=3, **options)
    second = fit_distribution(tracers, volume, seed=3, **options)
    other = fit_distribution(tracers, volume, seed=4, **options)
    x = tracers.within(volume).phase_space
    assert np.array_equal(first.evaluate(x)[1], second.evaluate(x)[1])
    assert not np.array_equal(first.evaluate(x)[1], other.evaluate(x)[1])

    class KilledError(RuntimeError):
        pass

    def killer(stage, done, total, values):
        if done >= 50:
            raise KilledError

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KilledError):
        fit_distribution(tracers, volume, seed=3, checkpoint=path, progress=killer, **options)
    resumed = fit_distribution(tracers, volume, seed=3, checkpoint=path, **options)
    assert np.array_equal(first.evaluate(x)[1], resumed.evaluate(x)[1])
    assert first.log_scale == resumed.log_scale


def test_weights_enter_the_objective():
    """Weights exp(v_z / 100) move the score in v_z by 1/100 s/km against that of the unweighted fit, and nothing else."""
    rows = disc_stars(10_000)
    volume = Cylinder(r_out=8 * u.kpc, half_height=1 * u.kpc)
    weights = np.exp(0.01 * rows[:, 5])
    plain = fit_distribution(Tracers(rows), volume, preset="quick", **SMALL)
    tilted = fit_distribution(Tracers(rows, weights=weights), volume, preset="quick", **SMALL)
    x = plain.tracers.phase_space
    shift = np.median(tilted.evaluate(x)[1] - plain.evaluate(x)[1], axis=0) * x.std(0)
    assert shift[5] == pytest.approx(0.01 * x[:, 5].std(), rel=0.2)
    assert np.abs(shift[:5]).max() < 0.3 * shift[5]
    assert tilted.n_stars == pytest.approx(weights[volume.contains(rows[:, :3])].sum())


def test_hard_edge_does_not_bend_the_scores():
    """A uniform density cut off at the volume: s_x stays zero up to the roll-off of g, which a hard edge would spoil."""
    rng = np.random.default_rng(0)
    n = 15_000
    radius, phi = 4 * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    x = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(-1, 1, n), *rng.normal(0, 50, (3, n))], 1)
    volume = Cylinder(r_out=4 * u.kpc, half_height=1 * u.kpc)
    df = fit_distribution(Tracers(x), volume, preset="quick", **SMALL)
    assert df.meta["region"] == volume.to_dict()
    test = x[(radius < 3.2) & (np.abs(x[:, 2]) < 0.8)][:4000]
    score = df.evaluate(test)[1]
    assert np.median(np.abs(score[:, :2])) < 0.08
    outer = np.hypot(test[:, 0], test[:, 1]) > 2.5
    outward = (score[:, :2] * test[:, :2]).sum(1)[outer] / np.hypot(test[:, 0], test[:, 1])[outer]
    assert abs(np.mean(outward)) < 0.06


@pytest.mark.parametrize("which", ["bar", "plummer"])
def test_draws_follow_f_itself(which, request):
    """Means over draws against means over draws of a wide normal weighted with f: no base, no cap."""
    *_, volume, df = request.getfixturevalue(which)
    draws = df._sample(40_000, 3)
    assert draws.shape == (40_000, 6)
    assert volume.contains(draws[:, :3]).all()
    assert len(np.unique(draws, axis=0)) > 0.97 * len(draws)
    # weights f / q at draws of a wider normal about the stars' own
    rng = np.random.default_rng(4)
    centre, spread = draws.mean(0), 1.3 * draws.std(0)
    x = centre + spread * rng.standard_normal((400_000, 6))
    x = x[volume.contains(x[:, :3])]
    log_weight = df.evaluate(x)[0] + 0.5 * (((x - centre) / spread) ** 2).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    effective = weight.sum() ** 2 / (weight**2).sum()
    assert effective > 500
    for power in (1, 2):
        found, expected = (draws**power).mean(0), (weight[:, None] * x**power).sum(0) / weight.sum()
        sigma = (draws**power).std(0) * np.sqrt(1 / effective + 1 / len(draws))
        assert (np.abs(found - expected) < 4.5 * sigma).all()


def test_cuda_agrees_with_the_cpu(bar):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    _, tracers, volume, df = bar
    other = fit_distribution(tracers, volume, preset="quick", seed=1, device="cuda", **SMALL)
    x = tracers.within(volume).phase_space[:1000]
    assert np.median(np.abs(other.evaluate(x)[1] - df.evaluate(x)[1]) / np.abs(df.evaluate(x)[1]).std(0)) < 0.1


@pytest.mark.parametrize(
    ("stars", "given", "steps", "decay"),
    [(1_000_000, {}, 1500, 0.1), (49_152, {}, 750, 0.2), (8000, {}, 122, 0.5), (300, {}, 100, 0.5), (300, {"steps": 800}, 800, 0.1875),
     (8000, {"weight_decay": 0.0}, 122, 0.0)],
)  # fmt: skip
def test_few_stars_are_looked_at_no_more_often_than_many(stars, given, steps, decay):
    filled = ScoreMatchingSettings(**given).for_stars(stars)
    assert (filled.steps, filled.weight_decay) == (steps, pytest.approx(decay))
    assert 1 <= filled.validate_every <= 100
