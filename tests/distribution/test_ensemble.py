"""Ensembles: means, spreads, files, executors."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.ensemble import fit_ensemble, mean_of
from deeppot_galactic.distribution.executors import executor_class, open_executor
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.members import joint_history
from deeppot_galactic.errors import ConfigError, FitError
from deeppot_galactic.training import History

from .conftest import disc_stars

VOLUME = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
TINY = {"preset": "quick", "steps": 40, "batch": 256, "width": 16}


@pytest.fixture(scope="module")
def ensemble():
    return fit_ensemble(Tracers(disc_stars(3000)), VOLUME, members=3, seed=5, **TINY)


def test_mean_and_spread(ensemble):
    x = ensemble.tracers.phase_space[:100]
    ln_f, score = ensemble.evaluate(x)
    parts = [m.evaluate(x) for m in ensemble.members]
    assert np.allclose(ln_f, np.mean([p[0] for p in parts], axis=0) + ensemble.log_scale)
    assert np.allclose(score, np.mean([p[1] for p in parts], axis=0))
    assert np.allclose(ensemble.score_spread(x), np.std([p[1] for p in parts], axis=0, ddof=1))
    assert np.abs(parts[0][1] - parts[1][1]).max() > 0  # members differ


def test_restarts_of_every_member_are_kept(ensemble):
    histories = [member.history for member in ensemble.members]
    histories[0].restarts, histories[2].restarts = [{"at": 3}], [{"at": 7}]
    try:
        again = mean_of(ensemble.members, seed=0, volume=VOLUME, n_stars=1.0, history=joint_history(ensemble.members, ensemble.members[1]))
    finally:
        histories[0].restarts = histories[2].restarts = []
    assert again.history.restarts == [{"at": 3, "member": 0}, {"at": 7, "member": 2}]
    assert again.history.train_loss == histories[1].train_loss


def test_f_and_draws_are_the_same_distribution_however_much_members_differ():
    """Members of hot and of cold stars: the integral of f, by importance sampling, is their number, and draws have its dispersion."""
    stars = disc_stars(3000)
    fits = []
    for k, factor in enumerate((0.7, 1.5)):
        x = stars.copy()
        x[:, 5] *= factor
        fits.append(fit_distribution(Tracers(x), VOLUME, seed=k, **(TINY | {"steps": 150})))
    df = mean_of(fits, seed=3, volume=VOLUME, n_stars=fits[0].n_stars, history=fits[0].history)
    assert df.log_scale > 0.02
    proposals = fits[1]._sample(100_000, 9)  # of the hot stars
    ratio = np.exp(df.evaluate(proposals)[0] - fits[1].evaluate(proposals)[0])
    assert ratio.mean() == pytest.approx(1.0, abs=0.03)
    weighted = np.sqrt(np.average(proposals[:, 5] ** 2, weights=ratio))
    drawn = df._sample(20_000, 4)
    assert np.std(drawn[:, 5]) == pytest.approx(weighted, rel=0.03)
    assert np.std(np.concatenate([f._sample(10_000, 5) for f in fits])[:, 5]) > 1.05 * weighted  # the mixture is wider


class ShiftedNormal(Distribution):
    """N(offset, 1) in each of six coordinates, times the number of stars, without a sampler: an ensemble of +- offset has a known scale."""

    estimator = "normal"

    def __init__(self, offset, **common):
        super().__init__(**common)
        self.offset = offset

    def _evaluate(self, x):
        y = x - self.offset
        return -0.5 * (y**2).sum(1) - 3.0 * np.log(2.0 * np.pi) + np.log(self.n_stars), -y

    def _parts(self):
        return []

    def _state(self):
        return {}, {}

    @classmethod
    def _from_state(cls, tensors, header, common):
        raise NotImplementedError


def test_members_without_a_sampler_are_normalised_with_the_stars():
    """Two normals at +- d in six coordinates: their geometric mean is exp(-6 d^2 / 2) of a normal about zero."""
    x, d = np.random.default_rng(0).normal(size=(20_000, 6)), 0.1
    volume = Cylinder(r_out=50 * u.kpc, half_height=50 * u.kpc)
    for stars in (Tracers(x), Tracers(2.0 * x, weights=np.exp(-1.5 * (x**2).sum(1)))):
        common = {"volume": volume, "n_stars": 7.0, "history": History()}
        df = mean_of([ShiftedNormal(offset, **common) for offset in (-d, d)], seed=0, tracers=stars, **common)
        assert df.log_scale == pytest.approx(3.0 * d**2, rel=0.1)
        assert np.exp(df.evaluate(np.zeros(6))[0]) == pytest.approx(7.0 * (2.0 * np.pi) ** -3, rel=0.005)
    with pytest.raises(FitError, match="knows no stars"):
        mean_of([ShiftedNormal(d, **common)] * 2, seed=0, **common)


def test_shells_by_score_matching_are_normalised():
    """Members of hotter and of colder stars than those at hand: the integral of f, by importance sampling, is their number."""
    stars = disc_stars(4000)
    shells = Cylinder(shells=(0, 5, 10) * u.kpc, half_height=1 * u.kpc)
    options = TINY | {"steps": 100}
    fits = [fit_distribution(Tracers(stars * [1, 1, 1, 1, 1, factor]), shells, seed=1, **options) for factor in (0.75, 1.33)]
    df = mean_of(fits, seed=0, tracers=Tracers(stars), volume=shells, n_stars=fits[0].n_stars, history=fits[0].history)
    assert not df.has_sampler
    assert df.log_scale > 0.04
    proposal = fit_distribution(Tracers(stars), VOLUME, **options)
    x = proposal._sample(50_000, 3)
    integral = [proposal.n_stars * np.exp(f.evaluate(x)[0] - proposal.evaluate(x)[0]).mean() for f in (df, *fits)]
    assert integral[0] == pytest.approx(np.mean(integral[1:]), rel=0.02)


def test_file(ensemble, tmp_path):
    ensemble.save(tmp_path / "ensemble.safetensors")
    again = Distribution.load(tmp_path / "ensemble.safetensors")
    x = ensemble.tracers.phase_space[:100]
    assert np.array_equal(again.evaluate(x)[1], ensemble.evaluate(x)[1])
    assert np.array_equal(again.score_spread(x), ensemble.score_spread(x))


def test_any_executor_gives_the_same(ensemble):
    with ThreadPoolExecutor(2) as executor:
        other = fit_ensemble(Tracers(disc_stars(3000)), VOLUME, members=3, seed=5, executor=executor, **TINY)
    x = ensemble.tracers.phase_space[:100]
    assert np.allclose(other.evaluate(x)[1], ensemble.evaluate(x)[1], rtol=1e-4, atol=1e-5)


def test_processes(tmp_path):
    """Members trained in processes of their own, from a configuration's name, with checkpoints."""
    options = TINY | {"steps": 5}
    with open_executor("processes", 2) as executor:
        df = fit_ensemble(
            Tracers(disc_stars(1000)), VOLUME, members=2, executor=executor, checkpoint=tmp_path / "fit.safetensors", **options
        )
    x = df.tracers.phase_space[:50]
    other = fit_ensemble(Tracers(disc_stars(1000)), VOLUME, members=2, **options)
    assert np.allclose(df.evaluate(x)[1], other.evaluate(x)[1], rtol=1e-4, atol=1e-5)
    assert len(list(tmp_path.glob("fit.member*.safetensors"))) == 2


def test_executors_by_name():
    assert executor_class("serial") is None
    assert executor_class("concurrent.futures:ThreadPoolExecutor") is ThreadPoolExecutor
    with open_executor("concurrent.futures:ThreadPoolExecutor", 1) as executor:
        assert executor.submit(lambda: 3).result() == 3
    for name, message in (
        ("concurrent.futures:Pool", "cannot be found"),
        ("os:system", "is not known"),
        ("no_such_module:Pool", "is not known"),
        ("concurrent.futures:Future", "not a class"),
    ):
        with pytest.raises(ConfigError, match=message):
            executor_class(name)


def test_one_member_is_no_ensemble():
    with pytest.raises(ConfigError, match="at least 2"):
        fit_ensemble(Tracers(disc_stars(1000)), VOLUME, members=1)
