"""One table of estimators through everything that must hold for all of them, whatever they have learned."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.errors import FitError
from deeppot_galactic.mocks.gaussian_bar import GaussianBar

STARS = GaussianBar(lengths=(2.0, 1.2, 0.5), sigma=100.0, omega=40.0, angle=0.4).sample(5000, np.random.default_rng(3))
WHOLE = Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc)
SHELLS = Cylinder(shells=[0, 2, 5] * u.kpc, half_height=1.5 * u.kpc)
SMALL = {"steps": 40, "batch": 256, "width": 16, "depth": 2, "validate_every": 10, "checkpoint_every": 15}
FLOW = SMALL | {"warmup": 5, "solver_steps": 3, "rate": 5e-3, "whiten": False}
TABLE = {
    "score-matching": (WHOLE, {"preset": "quick"} | SMALL),
    "score-matching-symmetric": (WHOLE, {"preset": "quick", "reflect": True, "turn": True} | SMALL),
    "flow-matching": (WHOLE, {"preset": "flow-matching", "ema": 0.9} | FLOW),
    "likelihood": (WHOLE, {"preset": "paper-small"} | FLOW | {"depth": 1, "steps": 20}),
    "ensemble": (WHOLE, {"preset": "quick", "members": 2} | SMALL),
    "stitched": (SHELLS, {"preset": "flow-matching", "ema": 0.9} | FLOW),
}


def fit(name, **more):
    volume, options = TABLE[name]
    return fit_distribution(Tracers(STARS), volume, **(options | more))


@pytest.fixture(scope="module", params=list(TABLE))
def case(request):
    return request.param, fit(request.param, seed=1)


def points(df, n=60):
    return np.array(df.tracers.phase_space[:n])


def test_the_integral_is_the_number_of_stars(case):
    """Importance sampling from a broad Gaussian in v at uniform positions."""
    _, df = case
    rng = np.random.default_rng(0)
    n = 30_000
    v = rng.normal(size=(n, 3)) * (sigma := 1.3 * STARS[:, 3:].std(0))
    log_q = -np.log(WHOLE.measure) - 0.5 * ((v / sigma) ** 2).sum(1) - np.log(sigma).sum() - 1.5 * np.log(2 * np.pi)
    ratio = np.exp(df.evaluate(np.concatenate([WHOLE.sample(n, rng), v], 1))[0] - log_q)
    error = ratio.std() / np.sqrt(n)
    assert error < 0.06 * df.n_stars
    assert ratio.mean() == pytest.approx(df.n_stars, abs=float(4 * error + 0.03 * df.n_stars))


def test_the_score_is_the_gradient(case):
    _, df = case
    x = points(df, 20)
    df.to(dtype="float64")
    try:
        score = df.evaluate(x)[1]
        for i, step in enumerate((1e-5,) * 3 + (1e-3,) * 3):
            shift = step * np.eye(6)[i]
            difference = (df.evaluate(x + shift)[0] - df.evaluate(x - shift)[0]) / (2 * step)
            assert np.allclose(difference, score[:, i], rtol=1e-4, atol=2e-5 * np.abs(score[:, i]).max())
    finally:
        df.to(dtype="float32")


def test_single_and_double_precision_agree(case):
    _, df = case
    x = points(df, 300)
    single = df.evaluate(x)
    double = df.to("cpu", dtype="float64").evaluate(x)
    df.to(dtype="float32")
    assert np.abs(single[0] - double[0]).max() < 1e-4
    assert np.abs(single[1] - double[1]).max() < 1e-4 * np.abs(double[1]).max()
    with pytest.raises(FitError, match="float64"):
        df.to(dtype="float16")


def test_a_star_does_not_know_its_batch_mates(case):
    _, df = case
    x = points(df)
    ln_f, score = df.evaluate(x[:1])
    x[1:, :3] *= 0.01
    x[1:, 3:] *= 5.0
    others = df.evaluate(x)
    assert others[0][0] == pytest.approx(ln_f[0], abs=2e-5)
    assert np.allclose(others[1][0], score[0], rtol=1e-4, atol=1e-5 * np.abs(score).max())


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_save_and_load(case, tmp_path, dtype):
    _, df = case
    df.to(dtype=dtype)
    df.save(tmp_path / "df.safetensors")
    again = Distribution.load(tmp_path / "df.safetensors")
    x = points(df)
    for mine, theirs in zip(df.evaluate(x), again.evaluate(x), strict=True):
        assert np.array_equal(mine, theirs)
    assert (again.estimator, again.n_stars, again.volume, again.has_sampler) == (df.estimator, df.n_stars, df.volume, df.has_sampler)
    if df.has_sampler:
        assert np.array_equal(again._sample(100, 2), df._sample(100, 2))
        assert df.volume.contains(df._sample(500, 3)[:, :3]).all()
    else:
        with pytest.raises(FitError, match="no sampler"):
            df.sample(10)


class Killed(BaseException):
    """What a kill looks like from inside."""


def test_seeds_and_resume(case, tmp_path):
    """The same seed gives the same bits, another one does not, and a training killed between two checkpoints ends the same."""
    name, df = case
    x = points(df)
    expected = df.evaluate(x)[1]

    def kill(stage, done, total, values):
        if done >= 20:
            raise Killed

    checkpoint = tmp_path / "fit.safetensors"
    with pytest.raises(Killed):
        fit(name, seed=1, checkpoint=checkpoint, progress=kill)
    assert list(tmp_path.iterdir())
    assert np.array_equal(fit(name, seed=1, checkpoint=checkpoint).evaluate(x)[1], expected)
    assert not np.array_equal(fit(name, seed=2).evaluate(x)[1], expected)
