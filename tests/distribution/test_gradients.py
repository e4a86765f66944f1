"""Draws of the stars, their scores, and the file."""

from __future__ import annotations

import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.distribution import gradient_stream
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.gradients import GradientSample, draw_gradients
from deeppot_galactic.errors import FitError, StoreError


@pytest.fixture(scope="module")
def matched_small(bar):
    """A flow that has hardly been trained: it has a sampler, and that is all that is wanted."""
    _, tracers, volume, _ = bar
    options = {"steps": 30, "batch": 256, "width": 16, "depth": 1, "solver_steps": 2, "whiten": False, "warmup": 5}
    return fit_distribution(tracers, volume, preset="flow-matching", **options)


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


class Killed(BaseException):
    """What a kill looks like from inside."""


def killed_after(blocks):
    def progress(stage, done, total, values):
        if done >= blocks * gradient_stream.BLOCK:
            raise Killed

    return progress


@pytest.mark.parametrize("source", ["stars", "sampled"])
def test_stream_goes_on_in_the_middle(bar, matched_small, tmp_path, monkeypatch, source):
    """Killed after any block, a later call does only what is missing and gives the bytes of a call that was not disturbed."""
    monkeypatch.setattr(gradient_stream, "BLOCK", 256)
    df = bar[3] if source == "stars" else matched_small
    path, whole = tmp_path / "gradients.h5", tmp_path / "whole.h5"
    draw_gradients(df, 1200, path=whole)
    memory = draw_gradients(df, 1200)
    for blocks in (1, 3):
        with pytest.raises(Killed):
            draw_gradients(df, 1200, path=path, progress=killed_after(blocks))
        assert not path.exists()
    with (tmp_path / "gradients.h5.rows").open("ab") as file:
        file.write(b"half a row")  # killed while writing
    seen = []
    sample = draw_gradients(df, 1200, path=path, progress=lambda stage, done, total, values: seen.append(done))
    assert seen == [1024, 1200]
    assert sample.meta["source"] == source
    for name in ("points", "log_density", "score"):
        assert np.array_equal(getattr(sample, name), getattr(GradientSample.load(whole), name))
        assert np.array_equal(getattr(sample, name), getattr(memory, name))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gradients.h5", "whole.h5"]


def test_rows_of_other_points_are_not_used(bar, tmp_path, monkeypatch):
    monkeypatch.setattr(gradient_stream, "BLOCK", 256)
    *_, df = bar
    path = tmp_path / "gradients.h5"
    with pytest.raises(Killed):
        draw_gradients(df, 1200, seed=1, path=path, progress=killed_after(2))
    assert np.array_equal(draw_gradients(df, 1200, seed=2, path=path).points, draw_gradients(df, 1200, seed=2).points)


def test_memory_does_not_grow_with_the_points(matched_small, tmp_path):
    """Twenty times the points, written without reading them back, need no more memory than a few blocks."""
    import tracemalloc

    source = gradient_stream.point_source(matched_small, 20 * gradient_stream.BLOCK, 0, None)
    monkey = np.zeros((gradient_stream.BLOCK, 6))
    cheap = gradient_stream.PointSource(source.n, "sampled", lambda block, size: (monkey[:size], None), False, [])

    class Instant:
        volume = matched_small.volume
        _state = matched_small._state

        def evaluate(self, x):
            return np.zeros(len(x)), np.zeros((len(x), 6))

    tracemalloc.start()
    gradient_stream.stream(Instant(), cheap, tmp_path / "g.h5", seed=0, meta={}, progress=None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(GradientSample.load(tmp_path / "g.h5")) == source.n
    assert peak < 6 * gradient_stream.BLOCK * 13 * 8


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
