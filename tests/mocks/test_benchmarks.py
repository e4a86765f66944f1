"""The measures of the score benchmark are right for exact and for spoiled scores; the scripts run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeppot_galactic import read_tracers
from deeppot_galactic.catalogue.truth import demo_path, read_truth
from deeppot_galactic.mocks import ErgodicBar, Plummer, StaeckelDisc
from deeppot_galactic.mocks.gaussian_bar import GaussianBar

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def measures():
    spec = importlib.util.spec_from_file_location("measures", FOLDER / "measures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = [(Plummer(), (0.1, 0.6, 1.5, 2.5), True), (StaeckelDisc(), (2.0, 4.0, 8.0), False), (ErgodicBar(), (0.5, 1.0, 2.0), False)]


@pytest.mark.parametrize(("mock", "edges", "spherical"), CASES, ids=["plummer", "disc", "bar"])
def test_exact_scores_have_no_error_and_spoiled_ones_show(measures, mock, edges, spherical):
    x = mock.sample(20_000, np.random.default_rng(0))
    score, acceleration = mock.score(x), mock.acceleration(x)
    assert measures.score_errors(x, score, score) == {"all": 0.0, "x": 0.0, "v": 0.0}
    spoiled = score * np.array([1.1, 1.1, 1.1, 1.0, 1.0, 1.0])
    found = measures.score_errors(x, spoiled, score)
    assert found["x"] == pytest.approx(0.1)
    assert found["v"] == 0.0

    def force(s):
        return measures.radial_forces(x, s, acceleration, np.array(edges), spherical=spherical, omega=mock.omega)

    assert measures.worst(force(score)) < 1e-8
    if mock.omega == 0:  # v . s_x up by a tenth: so is the force
        assert [b["error"] for b in force(spoiled)] == pytest.approx([0.1] * (len(edges) - 1), abs=1e-6)
    else:
        omega, _, residual = measures.robust_slope(*measures.rotation_terms(x, score, acceleration))
        assert omega == pytest.approx(mock.omega, rel=1e-9)
        assert residual < 1e-9
        assert abs(measures.robust_slope(*measures.rotation_terms(x, spoiled, acceleration))[0] - mock.omega) > 1.0


def test_bins_without_stars_are_named_not_invented(measures):
    mock = Plummer()
    x = mock.sample(500, np.random.default_rng(0))
    bins = measures.radial_forces(x, mock.score(x), mock.acceleration(x), np.array([0.001, 0.002, 3.0]), spherical=True, omega=0.0)
    assert np.isnan(bins[0]["error"])
    assert np.isfinite(measures.worst(bins))


SNAPSHOT = "SNAPSHOT"  # stands for the path of one
DEMO = str(demo_path())  # a disc that reaches all shells
PHASES = ("phase, hard edge", "phase, window")
SCRIPTS = [
    # what is run, and by which name its results come in which order
    (["scores.py", "--small", "--parts", "gaussian-bar,throughput"], "part", ["gaussian-bar", "throughput"]),
    (["from_the_sky.py", "--small"], "M_G", [0.5, 1.5, 3.5]),
    (["coverage.py", "--cases", "bars,balls", "--realisations", "2", "--stars", "4000"], "case", ["Gaussian bar", "ergodic balls"]),
    (["coverage.py", "--cases", "galaxies", "--realisations", "2", "--stars", "2000"], "case", ["random galaxies"]),
    (["recovery.py", SNAPSHOT, "--volume", "disc", "--methods", "pattern,weak"], "method", ["pattern", "weak"]),
    (["recovery.py", DEMO, "--stars", "8000", "--volume", "disc", "--shells", "--methods", "linear"], "volume", ["disc, shells"]),
    (["pattern_methods.py", SNAPSHOT, "--drawn", "10000"], "method", [*PHASES, "Tremaine-Weinberg", "pattern_speed", "pattern_speed"]),
]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """Stars of a rotating Gaussian bar with their truth, in the format of the shared snapshots."""
    bar, path = GaussianBar(), tmp_path_factory.mktemp("snapshot") / "bar.npz"
    w = bar.sample(8000, np.random.default_rng(0))
    places = w[:500, :3]
    truth = {"truth_pos": places, "truth_acc": bar.acceleration(places), "Omega_bar": bar.omega, "bar_angle": 0.0}
    np.savez(path, pos=w[:, :3], vel=w[:, 3:], **truth)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("script", "name", "expected"), SCRIPTS, ids=[f"{script[0]} {expected[0]}" for script, _, expected in SCRIPTS])
def test_the_scripts_run(script, name, expected, tmp_path, snapshot):
    out = tmp_path / "result.json"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(FOLDER / script[0]),
        *(str(snapshot) if part == SNAPSHOT else part for part in script[1:]),
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert [result[name] for result in json.loads(out.read_text())["results"]] == expected


@pytest.mark.slow
def test_an_unseen_galaxy_knows_its_truth(tmp_path):
    out = tmp_path / "unseen.npz"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / "unseen.py"), "--seed", "3", "--stars", "4000", "--epochs", "1", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    truth, stars = read_truth(out), read_tracers(out)
    assert len(stars) == 4000
    assert 1.1 < truth.corotation / truth.bar_length < 1.7
    near = np.linalg.norm(truth.positions, axis=1) < 3.0
    inward = np.einsum("nd,nd->n", truth.positions, truth.accelerations)[near]
    assert (inward < 0.0).all()
    assert (truth.density > 0.0).all()
    # Stars crowd along the bar's long axis, which lies at the angle that is told.
    x, y = stars.phase_space[:, 0], stars.phase_space[:, 1]
    inside = np.hypot(x, y) < truth.bar_length
    assert abs(np.angle(np.mean(np.exp(2j * (np.arctan2(y, x)[inside] - truth.bar_angle))))) < 0.4
