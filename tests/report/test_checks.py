"""Calibration of scores, on a bar whose scores are exact."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from deeppot_galactic.report import diagnostics as dx


def test_exact_scores_are_calibrated(bar: SimpleNamespace) -> None:
    found = dx.score_calibration(bar.points.points, bar.points.score, edges=np.linspace(0, 3, 7))
    for name, ratio in found.ratio.items():
        known = np.isfinite(ratio)
        assert known.sum() >= 3, name
        deviation = (ratio[known] - 1) / found.error[name][known]
        assert np.abs(deviation).max() < 4, name
        assert np.all(found.error[name][known] < 0.3)


@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_scores_that_are_too_flat_or_steep_show_by_their_factor(bar: SimpleNamespace, factor: float) -> None:
    exact, scaled = (dx.score_calibration(bar.points.points, k * bar.points.score, edges=np.array([1.0, 3.0])) for k in (1.0, factor))
    for name in exact.ratio:
        assert scaled.ratio[name][0] == pytest.approx(factor * exact.ratio[name][0])


def test_few_stars_and_round_discs_give_nothing(bar: SimpleNamespace) -> None:
    rng = np.random.default_rng(0)
    phi = rng.uniform(0, 2 * np.pi, 5000)
    x = np.column_stack([np.cos(phi), np.sin(phi), rng.normal(size=(5000, 4)) @ np.eye(4)])
    found = dx.score_calibration(x, -x, edges=np.array([0.5, 1.5, 2.5]))
    assert np.isnan(found.ratio["bar"]).all()
    assert np.isnan(found.ratio["v_R"][1])
    assert found.ratio["v_z"][0] == pytest.approx(1.0, abs=0.06)
