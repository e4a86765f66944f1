"""Ensembles: members are fitted to bootstrap samples, and scatter by the statistical error."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic import fit_ensemble
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import FitError
from deeppot_galactic.potential import resampled

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
    with pytest.raises(FitError, match="at least two"):
        fit_ensemble(points, members=1)
