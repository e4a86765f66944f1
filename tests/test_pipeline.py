"""A whole run: its files, its numbers, and that nothing is lost when it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeppot_galactic.config import Config, parse_config
from deeppot_galactic.demo import demo_config
from deeppot_galactic.errors import CatalogueError, ConfigError, StoreError
from deeppot_galactic.pipeline import STAGES, RunResult, run

FILES = (
    "config.toml",
    "catalogue.json",
    "pattern_speed.json",
    "distribution/fit.safetensors",
    "gradients.h5",
    "model.safetensors",
    "summary.json",
    "report.html",
    "log.txt",
    "state.json",
)


def small_config(seed: int = 0) -> Config:
    """Every stage for real, with so few stars and steps that a run takes seconds."""
    config = demo_config(quick=True)
    return config.replace(
        catalogue={"limit": 6000},
        distribution={"preset": "quick", "options": {"steps": 60, "validate_every": 20, "checkpoint_every": 10}},
        gradients={"n": 2000},
        potential={"options": {"steps": 60, "width": 32, "n_places": 512, "batch": 512}},
        run={"seed": seed, "threads": 1, "quick": True},
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(small_config(), tmp_path_factory.mktemp("pipeline") / "out")


def numbers(folder: Path) -> dict[str, Any]:
    """What must not depend on interruptions: the summary without times and memory."""
    summary = json.loads((folder / "summary.json").read_text())
    for name in ("timings", "peak_memory_mb", "resumed"):
        summary.pop(name)
    return json.loads(json.dumps(summary, sort_keys=True, default=str), object_hook=_without_seconds)


def _without_seconds(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if "seconds" not in key}


def same_run(first: Path, second: Path) -> None:
    assert numbers(first) == numbers(second)
    from deeppot_galactic.store import read_model

    for name in ("distribution/fit.safetensors", "model.safetensors"):
        mine, theirs = read_model(first / name)[0], read_model(second / name)[0]
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key], err_msg=f"{name}: {key}")


def test_the_folder_is_complete(finished: RunResult) -> None:
    for name in FILES:
        assert (finished.folder / name).is_file(), name
    assert list((finished.folder / "figures").glob("*.png"))
    assert not list(finished.folder.rglob("*checkpoint*"))
    assert not list(finished.folder.rglob(".*"))
    assert parse_config((finished.folder / "config.toml").read_text()) == small_config()


def test_the_summary_has_what_is_promised(finished: RunResult) -> None:
    summary = finished.summary
    assert summary == json.loads((finished.folder / "summary.json").read_text())
    assert len(summary["omega"]["value"]) == 3
    assert summary["omega"]["unit"] == "km/s/kpc"
    assert summary["truth"]["omega"] == pytest.approx(14.59, abs=0.05)
    assert 0 < summary["force_error"]["median"] <= summary["force_error"]["p84"] <= summary["force_error"]["p95"]
    assert set(summary["timings"]) == set(STAGES)
    assert summary["stationarity"]["rotating_median"] > 0
    assert {"deeppot-galactic", "numpy", "torch"} <= set(summary["versions"])
    assert summary["quick"] is True
    assert "quick" in (finished.folder / "report.html").read_text().lower()
    assert summary["seed"] == 0
    assert 50 < summary["peak_memory_mb"] < 4096
    assert set(summary["history"]) == {"distribution", "potential"}


def test_the_force_error_agrees_with_a_direct_evaluation(finished: RunResult) -> None:
    import astropy.units as u

    import deeppot_galactic as dg

    truth, model = dg.read_truth(dg.demo_path()), dg.load(finished.folder)
    assert truth is not None
    assert truth.positions is not None
    x, a = truth.positions, truth.accelerations
    radius = np.hypot(x[:, 0], x[:, 1])
    keep = (radius > 1) & (radius < 12) & (np.abs(x[:, 2]) < 1.5)
    difference = model.acceleration(x[keep] * u.kpc).to_value(u.km**2 / u.s**2 / u.kpc) - a[keep]
    error = np.linalg.norm(difference, axis=1) / np.linalg.norm(a[keep], axis=1)
    assert finished.summary["force_error"]["n"] == keep.sum()
    assert finished.summary["force_error"]["median"] == pytest.approx(np.median(error), rel=1e-9)


def test_resuming_a_finished_run_changes_nothing(finished: RunResult) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.folder.rglob("*") if path.name not in ("log.txt", "state.json", "figures")}
    assert run(small_config(), finished.folder, resume=True).summary == finished.summary
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_existing_folder_needs_resume_and_the_same_configuration(finished: RunResult) -> None:
    with pytest.raises(StoreError, match="--resume"):
        run(small_config(), finished.folder)
    with pytest.raises(ConfigError, match=r"run\.seed"):
        run(small_config(seed=3), finished.folder, resume=True)


def test_a_changed_table_is_not_mixed_into_an_old_run(tmp_path: Path) -> None:
    table = tmp_path / "stars.npz"
    rng = np.random.default_rng(0)
    np.savez(table, pos=rng.normal(size=(2000, 3)), vel=rng.normal(size=(2000, 3)))
    config = small_config().replace(catalogue={"path": str(table)})

    def stop(stage: str, *_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "out", progress=stop)
    np.savez(table, pos=rng.normal(size=(2000, 3)), vel=rng.normal(size=(2000, 3)))
    with pytest.raises(CatalogueError, match="has changed"):
        run(config, tmp_path / "out", resume=True)


def test_interrupted_in_every_stage_and_resumed(finished: RunResult, tmp_path: Path) -> None:
    """An exception in the middle of each stage in turn; the numbers are those of the run that went through, and so is the seed's."""
    reached: set[str] = set()

    def stop_in(stage: str) -> Any:
        def stop(name: str, done: int, total: int, _: dict[str, float]) -> None:
            if name == stage and done * 2 >= total:
                reached.add(name)
                raise KeyboardInterrupt

        return stop

    for stage in ("pattern speed", "distribution", "gradients", "potential", "report"):
        with pytest.raises(KeyboardInterrupt):
            run(small_config(), tmp_path / "out", resume=True, progress=stop_in(stage))
        assert stage in reached
        assert not (tmp_path / "out" / "report.html").exists()
    last = run(small_config(), tmp_path / "out", resume=True)
    assert last.summary["resumed"] is True
    assert finished.summary["resumed"] is False
    same_run(last.folder, finished.folder)


def kill_and_resume(folder: Path, reference: Path, moments: list[float]) -> None:
    """Start the run in a process of its own, kill it after so many seconds each time, at last let it finish."""
    config = folder.parent / "run.toml"
    config.write_text(small_config().to_toml())
    command = [sys.executable, "-m", "deeppot_galactic", "run", str(config), "--out", str(folder), "--resume", "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    for seconds in moments:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        _, error = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), error
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.rglob(".*partial*"))
    same_run(folder, reference)


def test_killed_three_times(finished: RunResult, tmp_path: Path) -> None:
    total = sum(finished.summary["timings"].values())
    kill_and_resume(tmp_path / "out", finished.folder, [2.0 + total * share for share in (0.2, 0.5, 0.8)])


@pytest.mark.slow
def test_killed_twenty_times(finished: RunResult, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    total = sum(finished.summary["timings"].values())
    for attempt in range(5):
        folder = tmp_path / str(attempt) / "out"
        folder.parent.mkdir()
        kill_and_resume(folder, finished.folder, list(rng.uniform(0.5, 4.0 + total / 2, 4)))


def test_a_full_disk_keeps_what_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deeppot_galactic.distribution.gradient_stream as gradient_stream

    def full(path: Path, *_: object) -> None:
        from deeppot_galactic.store import atomic_path

        with atomic_path(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(gradient_stream, "write_hdf5", full)
    with pytest.raises(StoreError, match="No space left on device"):
        run(small_config(), tmp_path / "out")
    monkeypatch.undo()
    fitted = (tmp_path / "out" / "distribution" / "fit.safetensors").stat().st_mtime_ns

    def stop(stage: str, *_: object) -> None:
        if stage == "potential":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_config(), tmp_path / "out", resume=True, progress=stop)
    assert (tmp_path / "out" / "gradients.h5").is_file()
    assert (tmp_path / "out" / "distribution" / "fit.safetensors").stat().st_mtime_ns == fitted


@pytest.mark.slow
def test_the_papers_flow_in_shells_goes_on_in_the_second_shell(tmp_path: Path) -> None:
    from deeppot_galactic.distribution.base import Distribution
    from deeppot_galactic.distribution.gradients import GradientSample

    options = {
        "steps": 12,
        "batch": 128,
        "width": 8,
        "depth": 1,
        "solver_steps": 2,
        "warmup": 2,
        "validate_every": 4,
        "checkpoint_every": 4,
    }
    settings = small_config().replace(
        catalogue={"limit": 12_000},
        volume={"kind": "cylinder", "shells": [0.0, 5.0, 16.0], "half_height": 2.0},
        distribution={"preset": "paper-small", "options": options},
        potential={"method": "weak", "options": {}},
    )
    seen: list[int] = []

    def stop(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        seen.append(done)
        if stage == "distribution" and seen.count(8) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "out", progress=stop)
    assert {p.name for p in (tmp_path / "out" / "distribution").iterdir()} == {
        "checkpoint.shell0.safetensors",
        "checkpoint.shell1.safetensors",
    }
    seen.clear()
    result = run(settings, tmp_path / "out", resume=True, progress=lambda stage, done, total, values: seen.append(done))
    assert [p.name for p in (tmp_path / "out" / "distribution").iterdir()] == ["fit.safetensors"]
    whole = run(settings, tmp_path / "whole")
    same_run(result.folder, whole.folder)
    df = Distribution.load(result.folder / "distribution" / "fit.safetensors")
    assert df.estimator == "stitched"
    points = GradientSample.load(result.folder / "gradients.h5")
    assert points.meta["source"] == "sampled"
    assert df.volume.contains(points.points[:, :3]).all()


@pytest.mark.slow
def test_an_ensemble_from_the_configuration(tmp_path: Path) -> None:
    from deeppot_galactic.distribution.base import Distribution

    members = {"members": 2, "executor": "threads", "workers": 2}
    settings = small_config().replace(distribution=members, potential={"method": "weak", "options": {}})
    folder = run(settings, tmp_path / "out").folder
    assert Distribution.load(folder / "distribution" / "fit.safetensors").estimator == "ensemble"
    assert not list(folder.rglob("*checkpoint*"))
    with pytest.raises(ConfigError, match="cannot be found"):
        run(settings.replace(distribution={"executor": "no_such:Executor"}), tmp_path / "other")
    with pytest.raises(ConfigError, match="executor"):
        settings.replace(distribution={"executor": "fast"})
