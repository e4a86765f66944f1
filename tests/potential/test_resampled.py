"""Ensembles: members are fitted to bootstrap samples, and scatter by the statistical error."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic import fit_ensemble
from deeppot_galactic.catalogue.copies import Copies
from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import FitError
from deeppot_galactic.mocks import ErgodicBar
from deeppot_galactic.potential import fit_potential, resampled

VOLUME = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)


def sample(n: int, weights: np.ndarray | None = None) -> GradientSample:
    rng = np.random.default_rng(0)
    return GradientSample(rng.normal(size=(n, 6)), np.arange(n, dtype=float), rng.normal(size=(n, 6)), volume=VOLUME, weights=weights)


class MeanOfStars:
    """Stands in for a fit whose pattern speed is the mean of a coordinate: its error is sigma / sqrt(N)."""

    def __init__(self, points: GradientSample) -> None:
        self.points, self.omega = points, [0, 0, np.mean(points.points[:, 0])] * u.km / u.s / u.kpc


def test_members_scatter_by_the_statistical_error(monkeypatch):
    calls = []

    def fit(points, **options):
        calls.append(options)
        return MeanOfStars(points)

    monkeypatch.setattr(resampled, "fit_potential", fit)
    points, seen = sample(2500, np.ones(2500)), []
    models = fit_ensemble(points, members=200, frame=None, progress=lambda *values: seen.append(values[:3]))
    values = np.array([model.omega[2].value for model in models])
    assert np.std(values, ddof=1) == pytest.approx(np.std(points.points[:, 0]) / 50, rel=0.15)
    assert calls[0] == {"method": "weak", "seed": 0, "frame": None} and seen[-1] == ("ensemble", 200, 200)
    # points, ln f, scores and weights are drawn together
    rows = models[3].points.log_density.astype(int)
    assert len(rows) == 2500 > len(set(rows)) > 1400
    np.testing.assert_array_equal(models[3].points.score, points.score[rows])
    np.testing.assert_array_equal(models[3].points.points, points.points[rows])
    again = fit_ensemble(points, members=2, frame=None)
    np.testing.assert_array_equal(again[1].points.log_density, models[1].points.log_density)
    with pytest.raises(FitError, match="at least 2"):
        fit_ensemble(points, members=1)


def test_errors_of_a_real_ensemble_are_of_the_size_of_the_posterior():
    """Three weak fits of a bar: Omega, forces and densities scatter as the posterior of one fit says, within a factor of three."""
    mock = ErgodicBar()
    points = GradientSample.of_stars(Tracers(mock.sample(8000, np.random.default_rng(0))), VOLUME)
    models = fit_ensemble(points, members=3, seed=1)
    one = fit_potential(points, method="weak")
    pos = points.points[:200, :3] * u.kpc
    assert isinstance(models, list) and len(models) == 3
    assert 0.1 < models.omega_error[2] / one.omega_error[2] < 3.0
    for name in ("acceleration_error", "density_error"):
        ratio = np.median(getattr(models, name)(pos) / getattr(one, name)(pos))
        assert 0.2 < ratio < 3.0, name
    np.testing.assert_array_equal(models.error_of(lambda model: model.acceleration(pos)[:, 2]), models.acceleration_error(pos)[:, 2])


def test_copies_are_drawn_again_too(monkeypatch):
    monkeypatch.setattr(resampled, "fit_potential", lambda points, **_: MeanOfStars(points))
    points = sample(300)
    rows = np.broadcast_to(np.arange(400.0)[:, None, None], (400, 2, 6))
    points.copies, points.copy_weights = Copies(np.array([2.0, -1.0]), rows), np.arange(400.0)
    drawn = fit_ensemble(points, members=2)[0].points
    assert drawn.copies is not None and len(drawn.copies) == 400 > len(set(drawn.copy_weights)) > 200
    np.testing.assert_array_equal(drawn.copies.rows[:, 0, 0], drawn.copy_weights)
