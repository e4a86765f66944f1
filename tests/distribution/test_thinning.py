"""Catalogues larger than a training can look at: memory-mapped, counted in full, drawn from at random."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers, read_tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution import fit, thinning
from deeppot_galactic.distribution.fit import PRESETS, fit_distribution
from deeppot_galactic.distribution.gradients import draw_gradients
from deeppot_galactic.errors import CatalogueError

from .conftest import disc_stars

VOLUME = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
TINY = {"preset": "quick", "steps": 20, "batch": 128, "width": 16}


@pytest.fixture
def mapped(tmp_path):
    x = disc_stars(20_000)
    np.save(tmp_path / "stars.npy", x)
    return x, Tracers.mapped(tmp_path / "stars.npy")


def test_default_preset_takes_two_million():
    assert thinning.most_stars(PRESETS["fast"], 0.25) == 2_048_000
    assert thinning.most_stars(PRESETS["quick"], 0.25) == thinning.LEAST


def test_mapped_stars_stay_in_their_file(mapped):
    x, tracers = mapped
    assert isinstance(tracers.phase_space, np.memmap)
    assert np.array_equal(tracers.phase_space, x)
    inside = tracers.within(VOLUME)
    assert not isinstance(inside.phase_space, np.memmap)
    assert np.array_equal(inside.phase_space, x[VOLUME.contains(x[:, :3])])


def test_mapped_and_loaded_stars_give_the_same_fit(mapped):
    x, tracers = mapped
    first, second = (fit_distribution(t, VOLUME, **TINY) for t in (tracers, Tracers(x)))
    assert np.array_equal(first.evaluate(x[:50])[1], second.evaluate(x[:50])[1])


def test_a_thinned_fit_counts_all_stars(mapped, monkeypatch):
    x, tracers = mapped
    inside = x[VOLUME.contains(x[:, :3])]
    whole = fit_distribution(tracers, VOLUME, **TINY)
    monkeypatch.setattr(thinning, "LEAST", 4000)
    df = fit_distribution(tracers, VOLUME, **TINY)
    assert df.meta["thinned_to"] == 4000
    assert df.n_stars == len(inside)
    assert np.median(df.evaluate(inside[:2000])[0] - whole.evaluate(inside[:2000])[0]) == pytest.approx(0.0, abs=0.25)
    sample = draw_gradients(df, 10**6)
    assert np.array_equal(sample.points, inside)  # of all stars, not of those that were trained on
    weighted = Tracers(x, weights=np.full(len(x), 2.0))
    assert fit_distribution(weighted, VOLUME, **TINY).n_stars == 2.0 * len(inside)


def test_thinned_stars_keep_their_errors(monkeypatch):
    x = disc_stars(20_000)
    covariance = np.broadcast_to(np.diag([0.01, 0.01, 0.01, 4.0, 4.0, 4.0]), (len(x), 6, 6)) * np.linspace(1, 2, len(x))[:, None, None]
    tracers = Tracers(x, covariance=covariance, ids=np.arange(len(x)))
    kept, _ = thinning.thinned(tracers, VOLUME, 4000, 1)
    assert np.array_equal(kept.covariance, covariance[kept.ids])
    assert np.array_equal(kept.phase_space, x[kept.ids])
    monkeypatch.setattr(thinning, "LEAST", 4000)
    assert fit_distribution(tracers, VOLUME, errors="correct", **TINY).meta["thinned_to"] == 4000


def test_thinned_shells_draw_from_all_stars(mapped, monkeypatch):
    x, tracers = mapped
    shells = Cylinder(shells=(0, 5, 10) * u.kpc, half_height=1 * u.kpc)
    monkeypatch.setattr(thinning, "LEAST", 4000)
    monkeypatch.setattr(fit, "CHUNK", 3000)
    df = fit_distribution(tracers, shells, **TINY)
    assert np.array_equal(draw_gradients(df, 10**6).points, x[shells.contains(x[:, :3])])


def test_what_is_kept_is_a_fair_draw(mapped, monkeypatch):
    x, tracers = mapped
    kept, total = thinning.thinned(tracers, VOLUME, 5000, 1)
    assert (len(kept), total) == (5000, VOLUME.contains(x[:, :3]).sum())
    near = x[(np.hypot(x[:, 0], x[:, 1]) < 15) & (np.abs(x[:, 2]) < 1.5)]
    assert kept.phase_space.mean(0) == pytest.approx(near.mean(0), abs=float(5 * (near.std(0) / np.sqrt(5000)).max()))
    assert not np.array_equal(kept.phase_space, thinning.thinned(tracers, VOLUME, 5000, 2)[0].phase_space)
    monkeypatch.setattr(thinning, "CHUNK", 777)
    assert np.array_equal(kept.phase_space, thinning.thinned(tracers, VOLUME, 5000, 1)[0].phase_space)
    ball = Ball([6, 0, 0] * u.kpc, 2 * u.kpc)
    assert len(thinning.thinned(tracers, ball, 10**6, 0)[0]) > ball.contains(x[:, :3]).sum()


def test_files_that_are_no_stars(tmp_path):
    np.save(tmp_path / "integers.npy", np.zeros((10, 6), dtype=int))
    np.save(tmp_path / "flat.npy", np.zeros(10))
    np.save(tmp_path / "nan.npy", np.full((10, 6), np.nan))
    (tmp_path / "text.npy").write_text("no")
    for name, message in (
        ("integers", "float32"),
        ("flat", "shape"),
        ("nan", "not finite"),
        ("text", "cannot be mapped"),
        ("none", "cannot"),
    ):
        with pytest.raises(CatalogueError, match=message):
            Tracers.mapped(tmp_path / f"{name}.npy")
    with pytest.raises(CatalogueError, match="takes no options"):
        read_tracers(tmp_path / "flat.npy", where="x > 0")


def test_read_tracers_maps_npy(mapped, tmp_path):
    assert isinstance(read_tracers(tmp_path / "stars.npy").phase_space, np.memmap)
