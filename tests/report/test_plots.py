"""Figures: every panel is drawn with and without a truth, labels carry units, and matplotlib is left as it was."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import matplotlib
import numpy as np
import pytest
from astropy.table import QTable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from deeppot_galactic.potential import LossProfile
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report import plots
from deeppot_galactic.report.figures import make_figures
from deeppot_galactic.report.inputs import Sample
from deeppot_galactic.report.panels import Context
from deeppot_galactic.report.panels.fields import density, force_errors, forces
from deeppot_galactic.report.plots.comparison import model_comparison

KMSKPC = u.km / u.s / u.kpc

WITH_TRUTH = {
    "acceleration_truth", "acceleration_residual", "acceleration_scatter", "acceleration_error", "density_truth", "density_residual",
    "density_error",
}  # fmt: skip
ALWAYS = {
    "stars", "bar_strength", "pattern_speed", "resonances", "stationarity_rotating", "stationarity_lab", "stationarity_radius",
    "stationarity_histogram", "acceleration_fit", "rotation_curve", "matter", "density_profile",
    "training_distribution", "training_potential",
}  # fmt: skip


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture(scope="module")
def imperfect(bar: SimpleNamespace) -> dx.Diagnosis:
    return dx.diagnose(bar.points, bar.make_model(bar.volume, 0.1), bar.truth)


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
    assert {"volume", "stars", "matter", "stationarity_lab", "acceleration_fit"} | WITH_TRUTH <= names
    assert not {"bar_strength", "rotation_curve", "density_profile", "training_potential"} & names
    assert make_figures(dx.diagnose(None, None), tmp_path / "c") == []


def test_equal_input_gives_equal_files(bar: SimpleNamespace, tmp_path: Path) -> None:
    diagnosis = dx.diagnose(bar.draw(3000, bar.volume), None)
    first, second = (make_figures(diagnosis, tmp_path / name) for name in "ab")
    assert [panel.path.read_bytes() for panel in first] == [panel.path.read_bytes() for panel in second]


EDGES = np.linspace(0, 8, 9)
SEEN = dx.Map(np.linspace(-8, 8, 11), np.linspace(-8, 8, 11), np.random.default_rng(0).normal(size=(10, 10)))
TABLE = QTable({"R": [4.0, 8.0] * u.kpc, "Kz_learned": [-1e3, -2e3] * u.km**2 / u.s**2 / u.kpc})

Drawing = Callable[[Any, Any, SimpleNamespace], Any]
DRAWINGS: dict[str, Drawing] = {
    "acceleration_map": lambda ax, d, bar: plots.face_on(plots.acceleration_map(ax, SEEN)),
    "acceleration_scatter": lambda ax, d, bar: plots.acceleration_scatter(ax, d.forces),
    "bar_phase": lambda ax, d, bar: plots.bar_phase(ax, d.profile, bar=d.bar),
    "bar_strength": lambda ax, d, bar: plots.bar_strength(ax, d.profile, bar=d.bar),
    "dark_matter": lambda ax, d, bar: plots.dark_matter(ax, dx.DarkProfile(EDGES, EDGES + 1, EDGES, 0.5 * EDGES)),
    "density_profile": lambda ax, d, bar: plots.density_profile(ax, EDGES[1:], np.exp(-EDGES[1:])),
    "draw_map": lambda ax, d, bar: plots.draw_map(plots.face_on(ax), SEEN, cmap="magma", norm=Normalize(), label="speed [km s⁻¹]"),
    "edge_on": lambda ax, d, bar: plots.edge_on(ax, along_bar=True),
    "error_against_radius": lambda ax, d, bar: plots.error_against_radius(ax, d.forces.radius, d.forces.error, edges=EDGES),
    "face_on": lambda ax, d, bar: plots.face_on(ax),
    "frequencies": lambda ax, d, bar: plots.frequencies(ax, d.curve, 30.0, error=1.0),
    "gradient_map": lambda ax, d, bar: plots.face_on(plots.gradient_map(ax, SEEN, joins=(2.0, 5.0))),
    "landmarks": lambda ax, d, bar: plots.landmarks(plots.face_on(ax), bar=dx.BarExtent(0.4, 0.3, 0.5, 0.2), corotation=0.8),
    "learning_rate": lambda ax, d, bar: plots.learning_rate(ax, bar.make_summary()["history"]["potential"]),
    "loss_against_omega": lambda ax, d, bar: plots.loss_against_omega(
        ax, LossProfile(*(EDGES * unit for unit in (KMSKPC, KMSKPC**2, KMSKPC**2)), 1.0 * KMSKPC, 0.5 * KMSKPC), fit=3.0, truth=2.0
    ),
    "matter_density": lambda ax, d, bar: plots.face_on(plots.matter_density(ax, SEEN)),
    "model_comparison": lambda ax, d, bar: model_comparison(ax, TABLE, "Kz"),
    "outline": lambda ax, d, bar: plots.outline(plots.face_on(ax), 4.0, np.array([1.0, 2.0, 0.0])),
    "pattern_speed_profile": lambda ax, d, bar: plots.pattern_speed_profile(
        ax, bar.make_summary()["pattern_speed"]["by_radius"], fit=(30.0, None), truth=bar.truth
    ),
    "rate_against_radius": lambda ax, d, bar: plots.rate_against_radius(ax, d.stationarity, edges=EDGES),
    "rate_histogram": lambda ax, d, bar: plots.rate_histogram(ax, EDGES - 4, EDGES, limit=4.0),
    "rate_map": lambda ax, d, bar: plots.face_on(plots.rate_map(ax, SEEN, limit=1.0)),
    "residual_map": lambda ax, d, bar: plots.face_on(plots.residual_map(ax, SEEN)),
    "rotation_curve": lambda ax, d, bar: plots.rotation_curve(ax, d.curve, truth=bar.truth),
    "score_calibration": lambda ax, d, bar: plots.score_calibration(
        ax, dx.score_calibration(bar.points.points, bar.points.score, edges=EDGES)
    ),
    "significance": lambda ax, d, bar: plots.face_on(plots.significance(ax, SEEN)),
    "stellar_contours": lambda ax, d, bar: plots.stellar_contours(plots.face_on(ax), SEEN),
    "stellar_density": lambda ax, d, bar: plots.face_on(plots.stellar_density(ax, SEEN)),
    "sub_volumes": lambda ax, d, bar: plots.sub_volumes(plots.face_on(ax), {"4 kpc": (np.zeros(2), 4.0)}),
    "tidy": lambda ax, d, bar: plots.tidy(plots.face_on(ax)),
    "training_loss": lambda ax, d, bar: plots.training_loss(ax, bar.make_summary()["history"]["potential"]),
    "vertical_mark": lambda ax, d, bar: plots.vertical_mark(plots.face_on(ax), 0.5, "corotation"),
}
PURE_NUMBERS = {"step", "loss", "rate", "loss / least loss", "bar strength A₂ / A₀", "slope of ln f, learned / stars", "(data − model) / σ"}


def test_every_function_that_draws_is_in_the_table() -> None:
    functions = {name: getattr(plots, name) for name in plots.__all__ if callable(getattr(plots, name))}
    assert set(DRAWINGS) == {name for name, f in functions.items() if "ax" in inspect.signature(f).parameters} | {"model_comparison"}


@pytest.mark.parametrize("name", DRAWINGS)
def test_functions_return_their_axes_and_label_units(name: str, bar: SimpleNamespace, imperfect: dx.Diagnosis, ax) -> None:
    assert DRAWINGS[name](ax, imperfect, bar) is ax
    bars = [other.get_ylabel() for other in ax.figure.axes if other is not ax]
    for label in (ax.get_xlabel(), ax.get_ylabel(), *bars):
        assert label in PURE_NUMBERS or re.search(r"\[[^\]]+\]$", label), label
    assert ax.has_data() or ax.patches or name in ("edge_on", "face_on", "tidy")


def test_a_histogram_of_rates_is_the_share_of_all_points(ax) -> None:
    rates = np.random.default_rng(0).normal(size=5000)
    plots.rate_histogram(ax, rates, 2 * rates, limit=1.0)
    share = [float(np.sum(data.values * np.diff(data.edges))) for data in (patch.get_data() for patch in ax.patches)]
    assert share[0] == pytest.approx(np.mean(np.abs(rates) < 0.5)) and share[-1] == pytest.approx(np.mean(np.abs(rates) < 1))


def test_a_rotation_curve_marks_the_resonances_it_has(ax) -> None:
    radius = np.linspace(0.5, 8, 400)
    omega = 200 / radius
    plots.rotation_curve(ax, dx.RotationCurve(radius, 200 + 0 * radius, omega, np.sqrt(2) * omega), omega=-40.0)
    marks = {text.get_text(): text.xy[0] for text in ax.texts}
    assert marks == {"ILR": pytest.approx(5 * (1 - np.sqrt(0.5)), abs=0.02), "CR": pytest.approx(5.0, abs=0.02)}  # OLR: 8.5 kpc


@pytest.mark.parametrize("shape", ["disc", "ball"])
def test_maps_of_fit_and_truth_differ_by_what_was_put_in(shape: str, bar: SimpleNamespace) -> None:
    volume = bar.volume if shape == "disc" else bar.make_ball(np.array([2.0, 1.0, 0.0]), 1.0)
    d = dx.diagnose(bar.draw(3000, volume), bar.make_model(volume, 0.1), bar.make_truth(bar.make_model(volume)))
    c = Context(d, {}, None, None, False)
    found = {name: figure.axes[0] for name, _, _, _, figure in (*forces(c), *density(c), *force_errors(c))}
    assert {"acceleration_scatter", "acceleration_error", "density_error"} <= set(found)
    for name in ("acceleration", "density"):
        pixels = np.ma.compressed(found[f"{name}_residual"].collections[0].get_array())
        assert len(pixels) > 30
        np.testing.assert_allclose(pixels, 10.0)
        assert found[f"{name}_truth"].get_xlim()[0] >= volume.center[0] - 1.1 * volume.size  # its own box


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
