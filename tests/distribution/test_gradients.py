"""Draws of the stars, their scores, and the file."""

from __future__ import annotations

import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.gradients import GradientSample, draw_gradients
from deeppot_galactic.errors import FitError, StoreError


def test_draw_of_the_stars(bar):
    _, tracers, volume, df = bar
    sample = draw_gradients(df, 500, seed=1)
    assert len(sample) == 500
    stars = tracers.within(volume).phase_space
    known = {tuple(row) for row in stars}
    assert all(tuple(row) in known for row in sample.points)
    assert len(np.unique(sample.points, axis=0)) == 500
    ln_f, score = df.evaluate(sample.points)
    assert np.allclose(sample.score, score)
    assert np.allclose(sample.log_density, ln_f)
    assert np.array_equal(draw_gradients(df, 500, seed=1).points, sample.points)
    assert not np.array_equal(draw_gradients(df, 500, seed=2).points, sample.points)


def test_at_most_all_stars(bar):
    _, tracers, volume, df = bar
    assert len(draw_gradients(df)) == len(tracers.within(volume))
    with pytest.raises(FitError):
        draw_gradients(df, 0)


def test_weights_travel_with_the_stars(bar):
    _, tracers, volume, df = bar
    weighted = Tracers(tracers.phase_space, weights=np.arange(len(tracers)) + 1.0)
    sample = draw_gradients(df, 100, tracers=weighted)
    lookup = {tuple(row): w for row, w in zip(weighted.phase_space, weighted.weights, strict=True)}
    assert [lookup[tuple(row)] for row in sample.points] == sample.weights.tolist()


def test_file(bar, tmp_path):
    *_, df = bar
    sample = draw_gradients(df, 300, path=tmp_path / "gradients.h5")
    again = GradientSample.load(tmp_path / "gradients.h5")
    for name in ("points", "log_density", "score"):
        assert np.array_equal(getattr(again, name), getattr(sample, name))
    assert again.weights is None
    assert again.volume == sample.volume
    assert again.meta["source"] == "stars"


def test_damaged_files(bar, tmp_path):
    *_, df = bar
    path = tmp_path / "gradients.h5"
    draw_gradients(df, 300, path=path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(StoreError):
        GradientSample.load(path)
    path.write_text("not hdf5")
    with pytest.raises(StoreError):
        GradientSample.load(path)
    with pytest.raises(StoreError, match="no gradients"):
        GradientSample.load(tmp_path / "absent.h5")


def test_after_loading_the_stars_must_be_given(bar, tmp_path):
    _, tracers, _, df = bar
    df.save(tmp_path / "df.safetensors")
    loaded = Distribution.load(tmp_path / "df.safetensors")
    with pytest.raises(FitError, match="tracers="):
        draw_gradients(loaded, 10)
    assert np.array_equal(draw_gradients(loaded, 50, tracers=tracers).points, draw_gradients(df, 50).points)


def test_shapes_must_agree(bar):
    volume = bar[2]
    with pytest.raises(FitError, match="disagree"):
        GradientSample(np.zeros((4, 6)), np.zeros(3), np.zeros((4, 6)), volume=volume)
