"""The paper's experiment: its volumes, its plan, its tables, and a whole one at small size."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from matplotlib.patches import Circle

import deeppot_galactic as dg
from deeppot_galactic import cli
from deeppot_galactic.errors import CatalogueError, ConfigError, StoreError
from deeppot_galactic.mocks import ErgodicBar
from deeppot_galactic.paper import reproduce, tables, volume_table, volumes
from deeppot_galactic.paper.figures import FIGURES, Disc
from deeppot_galactic.report.diagnostics import Region, dark_matter_profile
from deeppot_galactic.report.panels.context import joins_of


def test_balls_lie_behind_the_bar_at_the_suns_distance() -> None:
    found = volumes(np.radians(30.0))
    assert list(found) == ["disc", "4 kpc", "4 kpc mirrored", "2 kpc", "2 kpc mirrored"]
    ball, mirrored = found["4 kpc"], found["4 kpc mirrored"]
    assert isinstance(ball, dg.Ball) and ball.radius == 4.0
    np.testing.assert_allclose(ball.center, [8 * np.cos(np.radians(10)), 8 * np.sin(np.radians(10)), 0])
    np.testing.assert_allclose(mirrored.center, -ball.center)
    assert found["disc"].contains(np.array([[15.9, 0, 1.9], [16.1, 0, 0], [0, 0, 2.1]])).tolist() == [True, False, False]
    assert volume_table(0.0)["2 kpc"]["radius"] == 2.0


def test_dark_matter_is_what_is_left_of_a_known_mixture() -> None:
    rng = np.random.default_rng(0)
    halo, disc, mass = 5e6, 2e6, 1e4
    n = round(disc * np.pi * 10**2 * 4 / mass)
    phi, r = rng.uniform(0, 2 * np.pi, n), 10 * np.sqrt(rng.uniform(size=n))
    stars = np.column_stack([r * np.cos(phi), r * np.sin(phi), rng.uniform(-2, 2, n)])
    edges = np.linspace(1, 9, 9)
    profile = dark_matter_profile(lambda x: np.full(len(x), halo + disc), stars, mass, edges=edges, radius=10.0, half_height=2.0)
    assert np.all(np.abs(profile.density - halo) < 5 * profile.error + 0.05 * disc)
    assert np.all(profile.error < 0.2 * halo)
    assert profile.median_error() is None  # no truth
    double = dark_matter_profile(lambda x: np.full(len(x), halo + disc), stars, 2 * mass, edges=edges, radius=10.0, half_height=2.0)
    np.testing.assert_allclose(np.mean(profile.density - double.density), disc, rtol=0.1)


MAKERS = {name: make for name, _, _, make in FIGURES}


@pytest.mark.parametrize("joins", [(), (2.0, 5.0, 10.0)])
def test_joins_are_drawn_in_fits_of_shells_only(joins: tuple[float, ...]) -> None:
    stars = np.random.default_rng(0).normal(size=(2000, 6))
    d: Any = SimpleNamespace(stars=stars, region=Region(np.zeros(3), 16.0, 2.0, True))
    figure = MAKERS["gradient"]([Disc("a", d, -stars, None, None, joins)])
    assert figure is not None
    assert [patch.radius for patch in figure.axes[0].patches if isinstance(patch, Circle)] == list(joins)
    shelled = SimpleNamespace(volume=dg.Cylinder(half_height=2 * u.kpc, shells=[0, 2, 5, 10, 16] * u.kpc))
    assert joins_of(shelled) == (2.0, 5.0, 10.0) and joins_of(SimpleNamespace(volume=dg.Ball([8, 0, 0] * u.kpc, 2 * u.kpc))) == ()
    for _, title, caption, _ in FIGURES:  # true for every preset, whatever its estimator
        assert not re.search(r"flow|paper's shells", f"{title} {caption}")


def test_density_stands_above_its_difference_from_the_truth_where_that_is_known() -> None:
    x = np.linspace(-15, 15, 16)
    field = SimpleNamespace(density=lambda p: np.full(len(p), 2e7), inside=lambda p: np.hypot(p[:, 0], p[:, 1]) < 16)
    known, unknown = SimpleNamespace(grid_x=x, grid_density=np.full((16, 16), 1.6e7)), SimpleNamespace(grid_x=x)
    region = Region(np.zeros(3), 16.0, 2.0, True)
    discs: Any = [Disc("a", SimpleNamespace(field=field, truth=truth, region=region), None, None, None) for truth in (known, unknown)]
    both, alone = MAKERS["density"](discs), MAKERS["density"](discs[1:])
    assert both is not None and alone is not None
    drawn = [ax for ax in both.axes if ax.get_title() == "fit against truth"]
    assert len(drawn) == 1
    np.testing.assert_allclose(np.ma.compressed(drawn[0].collections[0].get_array()), 25.0)
    assert not [ax for ax in alone.axes if ax.get_title() == "fit against truth"]


ROW = {
    "snapshot": "a", "volume": "disc", "preset": "fast", "folder": "runs/a", "n_stars": 100_000, "time": 1000.0, "truth": 16.0,
    "omega": 14.4, "omega_error": 0.5, "relative": -0.1, "sigmas": -3.2, "continuity": 15.5, "force_error": {"median": 0.051, "p84": 0.12},
    "density_error": None, "dark_matter": 0.4, "rotating": 2.0, "lab": 6.0, "seconds": 90.0,
}  # fmt: skip


def test_tables_stand_beside_the_papers() -> None:
    failed = {"snapshot": "a", "volume": "2 kpc", "preset": "fast", "folder": "x", "failed": "120 stars"}
    head, body = tables.discs([ROW, failed])
    assert len(body) == 1 and len(body[0]) == len(head)
    assert body[0][-1] == "−15, +17, +28 %" and body[0][5] == "−10 %" and body[0][6] == "−3.2"
    head, body = tables.balls([ROW, failed])
    assert len(body) == 1 and len(body[0]) == len(head)
    assert "failed: 120 stars" in body[0] and body[0][-1] == "+14, +16, +21 %"
    head, body = tables.fields([ROW, failed])
    assert body[0] == ["disc", "a", "fast", "5 % (12 %)", "–", "40 %", "3.0×", "1.5"]
    assert tables.markdown((["a", "b"], [["1|2", "3"]])) == "| a    | b   |\n| ---- | --- |\n| 1\\|2 | 3   |"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small rotating bar with its truth, in the format of the snapshots."""
    mock = ErgodicBar()
    rng = np.random.default_rng(0)
    w, where = mock.sample(3000, rng), rng.uniform(-2, 2, (300, 3)) * [1, 1, 0.3]
    path = tmp_path_factory.mktemp("snapshot") / "bar.npz"
    truth = {"truth_pos": where, "truth_acc": mock.acceleration(where), "grid_x": np.linspace(-4, 4, 5)}
    np.savez(path, pos=w[:, :3], vel=w[:, 3:], Omega_bar=mock.omega, Omega_bar_err=0.0, bar_angle=0.0, time_Myr=0.0, **truth)
    return path


def test_what_cannot_be_done_is_refused_before_anything_is_written(snapshot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    np.savez(tmp_path / "stars.npz", pos=np.zeros((5, 3)), vel=np.zeros((5, 3)))
    with pytest.raises(CatalogueError, match="no known pattern speed"):
        reproduce([tmp_path / "stars.npz"], out)
    with pytest.raises(CatalogueError, match="no such file"):
        reproduce([tmp_path / "absent.npz"], out)
    with pytest.raises(ConfigError, match="unknown preset 'fats'"):
        reproduce([snapshot], out, presets=["fats"])
    with pytest.raises(ConfigError, match="unknown volume '3 kpc'"):
        reproduce([snapshot], out, only=["3 kpc"])
    with pytest.raises(ConfigError, match="same name"):
        reproduce([snapshot, snapshot], out)
    assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(StoreError, match="not empty"):
        reproduce([snapshot], out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


@pytest.mark.tutorial
def test_an_experiment_goes_on_where_it_was_stopped(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deeppot_galactic.paper import experiment

    def tiny(*arguments, **options):
        config = original(*arguments, **options)
        return config.replace(distribution={"options": {"steps": 4, "width": 16}}, potential={"options": {"steps": 4, "width": 16}})

    original, out = experiment.case_config, tmp_path / "out"
    monkeypatch.setattr(experiment, "case_config", tiny)
    said: list[str] = []
    options = {"presets": ["quick"], "only": ["disc", "2 kpc"], "announce": said.append}
    done = reproduce([snapshot], out, **options)
    assert [row["volume"] for row in done.rows] == ["disc", "2 kpc"]
    assert "failed" not in done.rows[0] and done.rows[0]["truth"] == pytest.approx(39.0)
    assert "stars" in done.rows[1]["failed"]  # no star of this bar is 8 kpc from the centre
    assert json.loads((out / "results.json").read_text())["rows"] == done.rows
    page = done.page.read_text(encoding="utf-8")
    assert "−15, +17, +28 %" in page and "report.html" in page and "<script" not in page
    assert (out / "paper.md").read_text(encoding="utf-8").count("![") == len(list((out / "figures").glob("*.png"))) >= 5
    finished = (out / done.rows[0]["folder"] / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr("sys.argv", f"deeppot paper --snapshots {snapshot} --presets quick --volumes disc --out {out} --resume".split())
    cli.main()
    printed = capsys.readouterr().out
    assert "| bar      | quick  |" in printed and printed.strip().endswith("paper.html")
    again = reproduce([snapshot], out, resume=True, **options)
    assert (out / done.rows[0]["folder"] / "model.safetensors").stat().st_mtime_ns == finished
    assert again.rows == done.rows and len(said) == 4


def test_the_papers_presets_fit_a_disc_in_its_shells(snapshot: Path) -> None:
    from deeppot_galactic.paper.experiment import case_config
    from deeppot_galactic.preparation import check_settings, make_volume

    options = {"stars": None, "seed": 0, "device": "cpu", "threads": 0}
    for preset, shells in (("fast", None), ("paper-small", [0, 2, 5, 10, 16]), ("paper", [0, 2, 5, 10, 16])):
        for name, keys in volume_table(0.0).items():
            config = case_config(snapshot, keys, preset, **options)
            check_settings(config)
            assert config.volume.shells == (shells if name == "disc" else None)
            assert make_volume(config.volume).size == keys.get("r_out", keys.get("radius"))


def test_volumes_are_quantities_of_the_configuration() -> None:
    centre = volumes(0.0)["2 kpc"].center * u.kpc
    assert np.linalg.norm(centre).to_value(u.kpc) == pytest.approx(8.0)
