"""Stars of an incomplete catalogue, weighted by 1/S: what the report shows of them is what it would show of the complete one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest

import deeppot_galactic as dg
from deeppot_galactic.catalogue.frames import galactocentric, sun
from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report.inputs import RunFolder, Sample, catalogue_stars, stars_and_sample
from deeppot_galactic.report.panels import Context
from deeppot_galactic.report.panels.checks import loss_profile, omega_loss, scores
from deeppot_galactic.report.panels.stars import stars
from deeppot_galactic.report.panels.training import significance


def thinned(points: Any, seed: int = 0) -> Any:
    """The points that a selection function S(phi, v_phi) leaves, lopsided in phi, with their weights 1/S."""
    x = points.points
    c = np.cos(np.arctan2(x[:, 1], x[:, 0]) - 0.6)
    selection = (0.25 + 0.2 * c + 0.5 * c**2) * (0.7 + 0.3 * np.tanh(dx.cylindrical(x[:, :3], x[:, 3:])[:, 1] / 60 - 1))
    keep = np.random.default_rng(seed).uniform(size=len(c)) < selection
    values = vars(points) | {"points": points.points[keep], "score": points.score[keep], "weights": 1 / selection[keep]}
    return SimpleNamespace(**values)


@pytest.fixture(scope="module")
def few(bar: SimpleNamespace) -> Any:
    return thinned(bar.points)


def context(bar: SimpleNamespace, few: Any, **values: Any) -> Context:
    diagnosis = dx.diagnose(few, bar.make_model(bar.volume, 0.05))
    return Context(diagnosis, {}, None, values.get("sample"), False, score=few.score, points=few)


def drawn(figure: Any) -> np.ndarray:
    """Pixels of the map of a figure."""
    return np.ma.filled(figure.axes[0].collections[0].get_array(), np.nan)


def figures(panels: Any) -> dict[str, Any]:
    return {name: figure for name, _, _, _, figure in panels}


def test_data_against_model_is_noise_with_the_weights_only(bar: SimpleNamespace, few: Any) -> None:
    model = bar.draw(120_000, bar.volume, seed=7).points
    for weights, agrees in ((few.weights, True), (None, False)):
        found = figures(significance(context(bar, few, sample=Sample(few.points, model, weights))))
        for name in ("significance_plane", "significance_velocity"):
            spread = np.nanstd(drawn(found[name]))
            assert (0.85 < spread < 1.15) if agrees else spread > 1.5, (name, agrees, spread)


def test_equal_weights_change_no_significance(bar: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    data, model = rng.normal(size=(2, 3000)), rng.normal(size=(2, 9000))
    edges = np.linspace(-3, 3, 13)
    maps = [
        dx.significance_map((data[0], data[1]), (model[0], model[1]), edges, edges, weights=w).values for w in (None, np.full(3000, 2.5))
    ]
    np.testing.assert_allclose(maps[0], maps[1])
    nobody = np.zeros(0)
    assert np.isnan(dx.significance_map((nobody, nobody), (model[0], model[1]), edges, edges).values).all()


def test_the_map_of_the_stars_is_as_symmetric_as_the_galaxy(bar: SimpleNamespace, few: Any) -> None:
    def lopsided(c: Context) -> float:
        density = drawn(figures(stars(c))["stars"])
        side = int(np.sqrt(density.size))
        density = density.reshape(side, side)
        turned = density[::-1, ::-1]
        return float(np.sum(np.abs(density - turned)) / np.sum(density))

    c = context(bar, few)
    plain = dataclasses.replace(c, d=dataclasses.replace(c.d, weights=None))
    assert lopsided(c) < 0.2 < 0.3 < lopsided(plain)


def test_gradients_are_calibrated_and_omega_is_profiled_with_weights(bar: SimpleNamespace, few: Any) -> None:
    edges = np.linspace(0, bar.volume.r_out, 13)
    with_weights, without = (dx.score_calibration(few.points, few.score, edges=edges, weights=w) for w in (few.weights, None))
    off = [np.nanmax(np.abs((found.ratio["bar"] - 1) / found.error["bar"])) for found in (with_weights, without)]
    assert off[0] < 3 < 30 < off[1]
    c = context(bar, few)
    found = figures(scores(c))["score_calibration"].axes[0]
    shown = next(container for container in found.containers if container.get_label() == "bar (φ)")[0].get_ydata()
    assert set(shown) <= set(with_weights.ratio["bar"])
    profile = loss_profile(c)
    assert profile is not None and profile.best.value == pytest.approx(bar.omega, rel=0.02)
    curve = figures(omega_loss(c))["omega_loss"].axes[0].get_lines()[1].get_ydata()
    np.testing.assert_array_equal(curve, profile.loss.value)
    few_without = SimpleNamespace(**vars(few) | {"weights": None})
    assert (loss_profile(dataclasses.replace(c, points=few_without)).loss != profile.loss).all()


def test_means_in_the_plane_undo_a_selection_by_what_is_averaged() -> None:
    """A value that decides about the selection: its mean is zero with the weights only."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-1, 1, (2, 60_000))
    value = rng.normal(size=60_000)
    selection = 0.2 + 0.7 / (1 + np.exp(-2 * value))
    keep = rng.uniform(size=60_000) < selection
    x, y, value, weights = x[keep], y[keep], value[keep], 1 / selection[keep]
    edges = np.linspace(-1, 1, 11)
    assert dx.coherent_rms(x, y, value, edges, weights=weights) < 0.03 < 0.2 < dx.coherent_rms(x, y, value, edges)
    for options in ({}, {"smooth": 1.0}):
        right, wrong = (np.nanmean(dx.mean_map(x, y, value, edges, edges, weights=w, **options).values) for w in (weights, None))
        assert abs(right) < 0.02 < 0.2 < wrong
    equal = (dx.mean_map(x, y, value, edges, edges, weights=w, smooth=0.5, at_least=600).values for w in (None, np.full(len(x), 3.0)))
    np.testing.assert_allclose(*equal)


def test_numbers_star_by_star_are_those_of_the_complete_catalogue() -> None:
    """Medians, percentiles, shares: a selection by the value itself is undone by the weights; equal weights change nothing."""
    rng = np.random.default_rng(2)
    x, rate = rng.uniform(-1, 1, (40_000, 6)), rng.normal(size=40_000)
    selection = np.where(np.abs(rate) < 1, 0.9, 0.2)
    keep = rng.uniform(size=len(x)) < selection
    weights, edges = 1 / selection[keep], np.array([0.0, 0.5, 1.0])
    radius = np.hypot(x[:, 0], x[:, 1])

    def numbers(chosen: np.ndarray, w: np.ndarray | None) -> np.ndarray:
        summary = dx.Stationarity(x[chosen], rate[chosen], 2 * rate[chosen], w).summary()
        middle = dx.radial_percentiles(radius[chosen], np.abs(rate[chosen]), edges, (50,), weights=w)[0]
        negative = dx.negative_fraction(np.abs(rate[chosen]) - 1, weights=w)
        return np.array([summary["rotating_median"], summary["lab_median"], *middle, negative])

    everything = numbers(np.ones(len(x), bool), None)
    np.testing.assert_allclose(numbers(keep, weights), everything, rtol=0.05)
    assert np.all(np.abs(numbers(keep, None) / everything - 1) > 0.15)
    np.testing.assert_allclose(numbers(keep, np.full(len(weights), 3.0)), numbers(keep, None), rtol=1e-3)


def test_the_profile_of_the_stars_is_that_of_the_complete_catalogue(bar: SimpleNamespace, few: Any) -> None:
    options: dict[str, Any] = {"edges": np.linspace(0, 4, 5), "half_height": 0.3}
    _, complete, _ = dx.midplane_profile(bar.points.points, **options)
    _, density, error = dx.midplane_profile(few.points, weights=few.weights, **options)
    assert np.all(np.abs(density - complete) < 4 * error)
    assert np.all(dx.midplane_profile(few.points, **options)[1] < 0.7 * complete)


def test_a_sample_is_compared_with_the_stars_that_were_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Selected, weighted and thinned as the run did; the catalogue of the run has more stars, and stars without weights."""
    frame = galactocentric()
    place = sun(frame)[0].value
    rng = np.random.default_rng(0)
    rows = np.hstack([place + rng.uniform(-3, 3, (4000, 3)), 30 * rng.normal(size=(4000, 3))])
    dg.Tracers(rows).write(tmp_path / "stars.fits")
    rough = SelectionFunction.from_callable(lambda x: 0.9 * np.exp(-0.5 * np.linalg.norm(x - place, axis=1)))
    selection = rough.tabulated(np.linspace(0.0, 4.5, 19) * u.kpc, nside=4, frame=frame)
    selection.write(tmp_path / "selection.fits")
    volume = dg.Ball(place * u.kpc, 3 * u.kpc).masked(Mask(selection, 0.3))
    config = {
        "catalogue": {"path": str(tmp_path / "stars.fits"), "limit": 900},
        "selection": {"path": str(tmp_path / "selection.fits"), "least": 0.3},
        "volume": {"kind": "ball", "center": place.tolist(), "radius": 3},
    }
    (tmp_path / "distribution").mkdir()
    (tmp_path / "distribution" / "fit.safetensors").touch()
    monkeypatch.setattr(Distribution, "load", lambda path: SimpleNamespace(has_sampler=True))
    points = SimpleNamespace(points=rows[:50], volume=volume, weights=None, meta={"source": "sampled"})
    run = RunFolder(tmp_path, config=config, points=points)
    found = stars_and_sample(run)
    assert found is not None and run.missing == []
    assert found.model is points.points and 200 < len(found.stars) <= 900
    seen = selection(found.stars[:, :3])
    assert seen.min() >= 0.3
    np.testing.assert_allclose(found.weights, 1 / seen, rtol=1e-5)
    everything = catalogue_stars(run)
    assert everything is not None and len(everything) == 4000
    lost = config | {"selection": {"path": str(tmp_path / "absent.fits"), "least": 0.3}}
    run = RunFolder(tmp_path, config=lost, points=points)
    assert stars_and_sample(run) is None and "no comparison of the stars" in run.missing[0]
