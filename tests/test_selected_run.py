"""A run on a catalogue from the sky that is incomplete and has errors: both reach every stage."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from kills import killed_and_resumed

from deeppot_galactic.catalogue import Tracers, demo_path, galactocentric, read_tracers
from deeppot_galactic.catalogue.frames import sun
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.config import read_config
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import CatalogueError
from deeppot_galactic.mocks import as_milky_way, observe
from deeppot_galactic.pipeline import run

CONFIG = """
[catalogue]
path = "mock.fits"
errors = "correct"
options = { parallax_over_error_min = 0 }
[selection]
path = "selection.fits"
least = 0.3
[volume]
kind = "ball"
center = [-8.122, 0, 0.02]
radius = 4
[distribution]
preset = "quick"
options = { steps = 10, validate_every = 10, width = 16, batch = 256 }
[gradients]
n = 1500
[potential]
method = "linear"
[run]
quick = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = galactocentric()
    place = sun(frame)[0].value
    whole = read_tracers(demo_path()).phase_space
    stars = as_milky_way(Tracers(np.concatenate([whole, whole * np.array([-1.0, -1.0, 1.0, -1.0, -1.0, 1.0])])))
    distance = np.linalg.norm(stars.phase_space[:, :3] - place, axis=1)
    selection = SelectionFunction.from_callable(lambda x: 0.9 * np.exp(-0.2 * np.linalg.norm(x - place, axis=1)))
    stars = stars.select((distance < 5.0) & (np.random.default_rng(0).uniform(size=len(stars)) < selection(stars.phase_space[:, :3])))
    observe(stars, frame, seed=1, faint_limit=20.0).write(tmp_path / "mock.fits")
    selection.tabulated(np.linspace(0.0, 4.5, 19) * u.kpc, nside=4, frame=frame).write(tmp_path / "selection.fits")
    (tmp_path / "run.toml").write_text(CONFIG)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No artists with labels")  # so few stars leave a figure of the report empty
def test_selection_and_errors_reach_every_stage(folder: Path) -> None:
    config = read_config(folder / "run.toml")
    result = run(config, folder / "out")
    catalogue = json.loads((folder / "out" / "catalogue.json").read_text())
    assert catalogue["cuts"][-1]["name"] == "selection >= 0.3" and catalogue["cuts"][-1]["removed"] > 100
    points = GradientSample.load(folder / "out" / "gradients.h5")
    assert points.weights is not None and points.weights.max() > 1.5 * points.weights.min()
    assert points.copies is not None and points.copy_weights is not None and points.meta["errors"] == "correct"
    distribution = Distribution.load(folder / "out" / "distribution" / "fit.safetensors")
    assert distribution.meta["settings"]["errors"] == "correct" and distribution.volume.mask is not None
    model = result.model
    far = np.array([[-8.122 + 3.9, 0.0, 0.0], [-8.122, 0.0, 0.5]]) * u.kpc
    assert model.in_training_volume(far).tolist() == [True, True] or model.in_training_volume(far).tolist() == [False, True]
    assert np.isfinite(model.omega.value).all()
    limits = SelectionFunction.from_distance_limit(np.full(12, 3.0) * u.kpc)
    limits.write(folder / "selection.fits", overwrite=True)
    with pytest.raises(CatalogueError, match=r"selection.fits has changed since the run began"):
        run(config, folder / "out", resume=True)


@pytest.mark.slow
def test_killed_in_a_training_with_errors_and_a_selection(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    options = {"steps": 60, "validate_every": 20, "checkpoint_every": 10, "width": 16, "batch": 256}
    config = read_config(folder / "run.toml").replace(distribution={"options": options})
    assert config.catalogue.errors == "correct"
    assert config.selection.path is not None
    killed_and_resumed(config, "checkpoint*", folder)
