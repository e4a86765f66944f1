"""Figures: every panel is drawn with and without a truth, labels carry units, and matplotlib is left as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report import plots
from deeppot_galactic.report.figures import make_figures
from deeppot_galactic.report.inputs import Sample

WITH_TRUTH = {"acceleration_truth", "acceleration_residual", "acceleration_scatter", "acceleration_error"}
ALWAYS = {
    "stars", "bar_strength", "pattern_speed", "resonances", "stationarity_rotating", "stationarity_lab", "stationarity_radius",
    "stationarity_histogram", "acceleration_fit", "rotation_curve", "matter", "density_profile",
    "training_distribution", "training_potential",
}  # fmt: skip


@pytest.fixture
def ax():
    return Figure().add_subplot()


def test_every_panel_is_drawn_and_matplotlib_is_left_alone(bar: SimpleNamespace, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    half = len(bar.points.points) // 2
    sample = Sample(bar.points.points[:half], bar.points.points[half:])
    panels = make_figures(
        dx.diagnose(bar.points, bar.model, bar.truth), tmp_path / "a", summary=bar.make_summary(), sample=sample, points=bar.points
    )
    drawn = {"significance_plane", "significance_velocity", "omega_loss", "score_calibration", "gradient_radial"}
    assert {panel.name for panel in panels} == ALWAYS | WITH_TRUTH | drawn
    for panel in panels:
        assert panel.path.read_bytes().startswith(b"\x89PNG")
        assert panel.caption.endswith(".")
    assert dict(matplotlib.rcParams) == before


def test_panels_without_a_truth_and_in_a_ball(bar: SimpleNamespace, tmp_path: Path) -> None:
    few = bar.draw(4000, bar.volume)
    names = {panel.name for panel in make_figures(dx.diagnose(few, bar.model), tmp_path / "a", summary=bar.make_summary())}
    assert names == ALWAYS
    base = SimpleNamespace(meta={"weak_form": {"base": [{"type": "Plummer", "m": 1e10, "b": 2.0}]}})
    names = {panel.name for panel in make_figures(dx.diagnose(few, bar.model), tmp_path / "d", model=base)}
    assert "acceleration_analytic" in names
    ball = bar.make_ball(np.array([2.0, 1.0, 0.0]), 1.0)
    model = bar.make_model(ball)
    names = {
        panel.name
        for panel in make_figures(dx.diagnose(bar.draw(4000, ball), model, bar.make_truth(model)), tmp_path / "b", everything=few.points)
    }
    assert {"volume", "stars", "matter", "stationarity_lab", "acceleration_fit", "acceleration_error"} <= names
    assert not {"bar_strength", "rotation_curve", "density_profile", "training_potential"} & names
    assert make_figures(dx.diagnose(None, None), tmp_path / "c") == []


def test_equal_input_gives_equal_files(bar: SimpleNamespace, tmp_path: Path) -> None:
    diagnosis = dx.diagnose(bar.draw(3000, bar.volume), None)
    first, second = (make_figures(diagnosis, tmp_path / name) for name in "ab")
    assert [panel.path.read_bytes() for panel in first] == [panel.path.read_bytes() for panel in second]


def test_functions_return_their_axes_and_label_units(bar: SimpleNamespace, ax) -> None:
    d: Any = dx.diagnose(bar.points, bar.make_model(bar.volume, 0.1), bar.truth)
    edges = np.linspace(0, 8, 9)
    seen = dx.Map(np.linspace(-8, 8, 11), np.linspace(-8, 8, 11), np.random.default_rng(0).normal(size=(10, 10)))
    calls = [
        lambda: plots.bar_strength(ax, d.profile, bar=d.bar),
        lambda: plots.bar_phase(ax, d.profile, bar=d.bar),
        lambda: plots.rotation_curve(ax, d.curve, truth=bar.truth),
        lambda: plots.frequencies(ax, d.curve, 30.0, error=1.0),
        lambda: plots.pattern_speed_profile(ax, bar.make_summary()["pattern_speed"]["by_radius"], fit=(30.0, None), truth=bar.truth),
        lambda: plots.error_against_radius(ax, d.forces.radius, d.forces.error, edges=edges),
        lambda: plots.rate_against_radius(ax, d.stationarity, edges=edges),
        lambda: plots.acceleration_scatter(ax, d.forces),
        lambda: plots.face_on(plots.residual_map(ax, seen)),
        lambda: plots.face_on(plots.rate_map(ax, seen, limit=1.0)),
        lambda: plots.face_on(plots.matter_density(ax, seen)),
        lambda: plots.face_on(plots.significance(ax, seen)),
        lambda: plots.density_profile(ax, edges[1:], np.exp(-edges[1:])),
        lambda: plots.face_on(plots.gradient_map(ax, seen, joins=(2.0, 5.0))),
        lambda: plots.score_calibration(ax, dx.score_calibration(bar.points.points, bar.points.score, edges=edges)),
        lambda: plots.loss_against_omega(ax, dx.OmegaProfile(edges, edges, edges, 1.0, 2.0), fit=3.0, truth=2.0),
        lambda: plots.dark_matter(ax, dx.DarkProfile(edges, edges + 1, edges, 0.5 * edges)),
        lambda: plots.sub_volumes(plots.face_on(ax), {"4 kpc": (np.zeros(2), 4.0)}),
    ]
    for call in calls:
        ax.clear()
        assert call() is ax
        assert "[" in ax.get_xlabel()


def test_the_colours_of_a_residual_are_symmetric_about_zero(ax) -> None:
    values = dx.Map(np.linspace(0, 1, 4), np.linspace(0, 1, 4), np.linspace(-0.1, 0.4, 9).reshape(3, 3))
    plots.residual_map(ax, values)
    norm = ax.collections[0].norm
    assert norm.vmin == -norm.vmax
    assert norm(0.0) == pytest.approx(0.5)
    assert [plots.round_up(v) for v in (0.9, 1.0, 1.1, 4.0, 23.0, 0.0)] == [1.0, 1.0, 2.0, 5.0, 30.0, 1.0]


def test_a_map_shows_x_to_the_right_and_y_upwards(ax) -> None:
    values = np.zeros((2, 3))
    values[1, 0] = 1.0
    plots.significance(ax, dx.Map(np.array([0.0, 1, 2]), np.array([0.0, 1, 2, 3]), values), colorbar=False)
    drawn = ax.collections[0].get_array().reshape(3, 2)
    assert drawn[0, 1] == 1.0


def test_neither_pyplot_nor_a_display_is_needed() -> None:
    code = "import sys, deeppot_galactic.report.figures, deeppot_galactic.report.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, deeppot_galactic.report.diagnostics; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
