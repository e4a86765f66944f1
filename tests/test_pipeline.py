"""A whole run: its files, its numbers, and that nothing is lost when it is killed."""

from __future__ import annotations

import json
import shlex
import subprocess
from contextlib import nullcontext
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import torch
from kills import command_for, finish, kill_in, killed_and_resumed, numbers, same_run, small_config

from deeppot_galactic import pipeline, trainings
from deeppot_galactic.config import Config, parse_config
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import CatalogueError, ConfigError, StoreError
from deeppot_galactic.pipeline import STAGES, RunResult, _Run, run
from deeppot_galactic.potential import RotatingFrame, fit_potential
from deeppot_galactic.preparation import load_catalogue
from deeppot_galactic.training import distributed
from deeppot_galactic.training.distributed import Group

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


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return run(small_config(), tmp_path_factory.mktemp("pipeline") / "out")


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


@pytest.mark.slow
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


def test_killed_three_times(finished: RunResult, tmp_path: Path) -> None:
    folder, seconds = tmp_path / "out", finished.summary["timings"]
    died = [kill_in(stage, 0.5, seconds[stage], folder) for stage in ("distribution", "gradients", "potential")]
    assert set(died) >= {"distribution", "potential"}
    finish(folder, finished.folder)


@pytest.mark.slow
def test_killed_at_random_in_every_stage(finished: RunResult, tmp_path: Path) -> None:
    """Twenty-four kills, four in each stage at random moments, in four runs."""
    rng, seconds, died = np.random.default_rng(8), finished.summary["timings"], []
    for attempt in range(4):
        folder = tmp_path / str(attempt) / "out"
        folder.parent.mkdir()
        died += [kill_in(stage, rng.uniform(0.0, 0.9), seconds[stage], folder) for stage in STAGES]
        finish(folder, finished.folder)
    kills = [stage for stage in died if stage is not None]
    assert len(kills) >= 20
    assert set(kills) >= set(STAGES), died
    print({stage: kills.count(stage) for stage in (*STAGES, "end")})


def in_a_namespace(script: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a shell script where file systems can be mounted that nobody else sees; skip where that is not allowed."""
    try:
        allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("this system lets nobody mount a file system of their own")
    return subprocess.run(["unshare", "-rm", "sh", "-ec", script], env=environment, capture_output=True, text=True, check=False)


def refused_and_kept(done: subprocess.CompletedProcess[str], folder: Path, word: str) -> list[str]:
    """Status 2 and one line; what is listed as finished is whole. Gives the finished stages."""
    assert done.returncode == 2, done.stderr
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    state = json.loads((folder / "state.json").read_text())
    for entry in state["stages"].values():
        for name, size in entry["files"].items():
            assert (folder / name).stat().st_size == size
    return list(state["stages"])


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [100, 400, 1200])
def test_a_disk_that_is_really_full(finished: RunResult, tmp_path: Path, kilobytes: int) -> None:
    """A small file system of its own: the run ends in one line, and goes on elsewhere from what it had."""
    folder = tmp_path / "disk" / "out"
    folder.parent.mkdir()
    command, environment = command_for(tmp_path / "elsewhere")
    command[command.index("--out") + 1] = str(folder)
    script = (
        f"mount -t tmpfs -o size={kilobytes}k tmpfs {folder.parent}; status=0; {shlex.join(command)} || status=$?; "
        f"cp -r {folder} {tmp_path / 'out'}; exit $status"
    )
    done = in_a_namespace(script, environment)
    stages = refused_and_kept(done, tmp_path / "out", "No space left on device")
    assert "report" not in stages
    finish(tmp_path / "out", finished.folder)


def test_a_folder_that_has_become_read_only(finished: RunResult, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert kill_in("pattern_speed", 0.0, 0.0, folder) is not None
    command, environment = command_for(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = in_a_namespace(f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}; {shlex.join(command)}", environment)
    refused_and_kept(done, folder, "Read-only file system")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_two_processes_under_torchrun_make_the_same_run(tmp_path: Path) -> None:
    """The loss curves of both trainings, and the numbers at the end, against one process at the same global batch."""
    options = {"steps": 60, "validate_every": 20, "checkpoint_every": 10, "optimiser": "radam", "rate": 1e-3}
    config = small_config().replace(distribution={"options": options})
    command, environment = command_for(tmp_path / "one", config)
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    for name, prefix in (("one", []), ("two", start)):
        command[command.index("--out") + 1] = str(tmp_path / name)
        several = [command[0], *prefix, *command[1:]] if prefix else command
        done = subprocess.run(several, env={**environment, "USE_LIBUV": "0"}, capture_output=True, text=True, check=False, timeout=1200)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)) > 5  # one document, not one of every process
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    for stage in ("distribution", "potential"):
        for curve in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(two["history"][stage][curve], one["history"][stage][curve], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(two["omega"]["value"], one["omega"]["value"], atol=0.02)
    assert two["force_error"]["median"] == pytest.approx(one["force_error"]["median"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [300, 3000, 50_000, 300_000])
def test_files_that_may_not_grow(finished: RunResult, tmp_path: Path, limit: int) -> None:
    """A limit on the size of files (as quotas have) strikes in whatever stage first writes a larger one."""
    folder = tmp_path / "out"
    command, environment = command_for(folder)
    limited = ["sh", "-c", f"ulimit -f {-(-limit // 512)}; exec {shlex.join(command)}"]
    done = subprocess.run(limited, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    finish(folder, finished.folder)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [3000, 50_000])
def test_an_error_in_one_process_ends_all_of_them(finished: RunResult, tmp_path: Path, limit: int) -> None:
    """The first process cannot write: the others, in the middle of a training or before it, do not wait for ever."""
    options = {"steps": 60, "validate_every": 20, "checkpoint_every": 10, "optimiser": "radam", "rate": 1e-3}
    command, environment = command_for(tmp_path / "out", small_config().replace(distribution={"options": options}))
    several = [command[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command[1:]]
    limited = ["sh", "-c", f"ulimit -f {-(-limit // 512)}; exec {shlex.join(several)}"]
    done = subprocess.run(limited, env={**environment, "USE_LIBUV": "0"}, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode != 0
    assert "File too large" in done.stderr


def test_the_others_do_not_swallow_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Announced:
        size, leads = 2, False

        def agree(self, _: float) -> float:
            return trainings.DISTRIBUTION

    def unreadable(_: Config) -> Any:
        raise StoreError("stars.fits cannot be read on this machine")

    monkeypatch.setattr(trainings, "load_catalogue", unreadable)
    with pytest.raises(StoreError, match="on this machine"):
        trainings.follow(small_config(), tmp_path, Announced())  # type: ignore[arg-type]


def test_gradients_are_drawn_on_the_device_of_the_run(finished: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str | None] = []

    def moved(self: Distribution, device: str | None = None, **_: Any) -> Distribution:
        asked.append(device)
        return self

    monkeypatch.setattr(Distribution, "to", moved)
    copytree(finished.folder / "distribution", tmp_path / "distribution")
    config = small_config().replace(run={"device": "cuda"})
    tracers, volume, catalogue = load_catalogue(config)
    state = SimpleNamespace(config=config, folder=tmp_path, finished=lambda _: False, stage=lambda *_: nullcontext())
    points = _Run(state, tracers, volume, catalogue, None, Group())._gradients()  # type: ignore[arg-type]
    assert asked == ["cuda"]
    np.testing.assert_array_equal(points.points, GradientSample.load(finished.folder / "gradients.h5").points)


@pytest.mark.parametrize("leads", [True, False])
def test_threads_are_those_of_every_process(leads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def note(*_: Any) -> RunResult:
        found.append(torch.get_num_threads())
        return RunResult(tmp_path, {}, tmp_path)

    group = SimpleNamespace(leads=leads, agree=lambda value: value)
    monkeypatch.setattr(distributed, "process_group", lambda _: nullcontext(group))
    monkeypatch.setattr(pipeline, "_lead", note)
    monkeypatch.setattr(pipeline, "follow", note)
    before = torch.get_num_threads()
    run(small_config().replace(run={"threads": before + 2}), tmp_path)
    assert found == [before + 2]
    assert torch.get_num_threads() == before


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
        potential={"method": "linear", "options": {}},
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


def test_the_weak_form_needs_no_distribution(tmp_path: Path) -> None:
    settings = small_config().replace(potential={"method": "weak", "options": {}})
    result = run(settings, tmp_path / "out")
    assert not (result.folder / "distribution").exists()
    tracers, volume, _ = load_catalogue(settings)
    stars = GradientSample.of_stars(tracers, volume)
    points = GradientSample.load(result.folder / "gradients.h5")
    assert not points.has_scores
    np.testing.assert_array_equal(points.points, stars.points)
    expected = fit_potential(stars, method="weak")
    assert result.summary["omega"]["value"][2] == pytest.approx(expected.omega[2].value, rel=1e-9)
    assert result.summary["preset"]["distribution"] is None
    assert result.summary["stationarity"] is None
    assert {path.stem for path in (result.folder / "figures").iterdir()} >= {"stars", "pattern_speed", "matter", "rotation_curve"}
    assert run(settings, result.folder, resume=True).summary == result.summary


def test_a_run_of_the_weak_form_about_another_axis(tmp_path: Path) -> None:
    """What the folder holds is what the fit gives."""
    x0 = [6.0, 0.0, 0.0]
    ball = {"kind": "ball", "center": x0, "radius": 4.0, "r_out": None, "half_height": None}
    changes = {"catalogue": {"limit": 60_000}, "volume": ball, "pattern_speed": {"x0": x0}}
    settings = small_config().replace(**changes, potential={"method": "weak", "options": {}})
    found = run(settings, tmp_path / "out").model
    tracers, volume, _ = load_catalogue(settings)
    expected = fit_potential(GradientSample.of_stars(tracers, volume), frame=RotatingFrame(x0=x0 * u.kpc), method="weak")
    pos = tracers.within(volume).phase_space[:200, :3] * u.kpc
    np.testing.assert_allclose(found.acceleration(pos), expected.acceleration(pos), rtol=1e-9)
    np.testing.assert_allclose(found.density_error(pos), expected.density_error(pos), rtol=1e-9)


@pytest.mark.slow
def test_an_ensemble_from_the_configuration(tmp_path: Path) -> None:
    members = {"members": 2, "executor": "threads", "workers": 2}
    settings = small_config().replace(distribution=members, potential={"method": "linear", "options": {}})
    folder = run(settings, tmp_path / "out").folder
    assert Distribution.load(folder / "distribution" / "fit.safetensors").estimator == "ensemble"
    assert not list(folder.rglob("*checkpoint*"))
    with pytest.raises(ConfigError, match="'no_such:Executor' is not known"):
        run(settings.replace(distribution={"executor": "no_such:Executor"}), tmp_path / "other")
    with pytest.raises(ConfigError, match="executor"):
        settings.replace(distribution={"executor": "fast"})


QUICK = {"steps": 60, "validate_every": 20, "checkpoint_every": 10, "batch": 256, "width": 16}
FLOW = {"steps": 24, "validate_every": 8, "checkpoint_every": 8, "batch": 128, "width": 8, "depth": 1, "solver_steps": 2, "warmup": 2}
FINE = {"finetune_steps": 16, "finetune_batch": 64}
SHELLS = {"kind": "cylinder", "shells": [0.0, 5.0, 16.0], "half_height": 2.0}
VARIANTS: dict[str, tuple[dict[str, Any], str]] = {
    # what is changed in the small run, and the checkpoint at whose sight it is killed
    "an ensemble": ({"distribution": {"members": 2, "options": QUICK}}, "checkpoint.member1*"),
    "the paper's flow": ({"distribution": {"preset": "paper-small", "options": FLOW}}, "checkpoint*"),
    "shells": ({"volume": SHELLS, "distribution": {"options": QUICK}}, "checkpoint.shell1*"),
    "flow matching": ({"distribution": {"preset": "flow-matching", "options": FLOW}}, "checkpoint*"),
    "flow matching, finetuned": ({"distribution": {"preset": "flow-matching", "options": FLOW | FINE}}, "checkpoint.finetuning*"),
}
OFTEN = list(VARIANTS)[:2]


@pytest.mark.parametrize("variant", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS])
def test_killed_in_the_training_of_every_kind(variant: str, tmp_path: Path) -> None:
    """SIGKILL when the training of that kind has just written a checkpoint; errors and a selection are in `test_selected_run`."""
    changes, checkpoint = VARIANTS[variant]
    killed_and_resumed(small_config().replace(**changes), checkpoint, tmp_path)


SLOW = [pytest.param(stage, members, marks=pytest.mark.slow) for stage, members in (("potential", 1), ("distribution", 2))]


@pytest.mark.parametrize(("stage", "members"), [("distribution", 1), *SLOW])
def test_a_divergence_is_recorded_in_the_summary(stage: str, members: int, tmp_path: Path) -> None:
    """A rate that is far too high: the training goes back with a lower one, and the summary, its flags and the log say so."""
    wild = {"distribution": {"options": QUICK | {"optimiser": "radam", "rate": 30.0, "validate_every": 10}}}
    if stage == "potential":
        free = {"use_base": False, "anchor": 0.0}  # nothing holds it to the weak form
        wild = {"potential": {"options": {"steps": 60, "width": 16, "n_places": 512, "batch": 256, "rate": 100.0} | free}}
    else:
        wild |= {"potential": {"method": "linear", "options": {}}}
    if members > 1:  # whose warnings stay in their processes
        wild["distribution"] |= {"members": members, "executor": "processes", "workers": 2}
    folder = run(small_config().replace(**wild), tmp_path / "out").folder
    summary = json.loads((folder / "summary.json").read_text())
    (restart, *_) = summary["history"][stage]["restarts"]
    assert restart["at"] > restart["back_to"] >= 0
    assert restart["rate_factor"] == 0.25
    of_member = " of member 0" if members > 1 else ""
    said = f"{stage}{of_member} diverged at step {restart['at']} ({restart['reason']})"
    assert sum(said in flag for flag in summary["flags"]) == 1
    assert "diverged at step" in (folder / "log.txt").read_text()
    assert np.isfinite(summary["omega"]["value"]).all()
