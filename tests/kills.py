"""A small run as a process of its own: to be killed in the middle, resumed, and compared bit by bit with one that nothing disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deeppot_galactic.config import Config, read_config
from deeppot_galactic.demo import demo_config
from deeppot_galactic.errors import DeepPotWarning
from deeppot_galactic.pipeline import STAGES
from deeppot_galactic.preparation import load_catalogue
from deeppot_galactic.store import read_model
from deeppot_galactic.trainings import fit_run_distribution


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
    for name in ("distribution/fit.safetensors", "model.safetensors"):
        mine, theirs = read_model(first / name)[0], read_model(second / name)[0]
        assert mine.keys() == theirs.keys()
        for key in mine:
            np.testing.assert_array_equal(mine[key], theirs[key], err_msg=f"{name}: {key}")


def command_for(folder: Path, config: Config | None = None) -> tuple[list[str], dict[str, str]]:
    """The run as a process of its own, with one thread of BLAS as here."""
    path = folder.parent / "run.toml"
    path.write_text((small_config() if config is None else config).to_toml())
    command = [sys.executable, "-m", "deeppot_galactic", "run", str(path), "--out", str(folder), "--resume", "--json"]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return command, {**os.environ, **threads, "PYTHONPATH": str(Path(__file__).parents[1])}


def kill_in(stage: str, share: float, seconds: float, folder: Path) -> str | None:
    """Start the run, kill it that share of the stage's ``seconds`` after it began; the stage it really died in, None when it was done."""
    command, environment = command_for(folder)
    log = folder / "log.txt"
    before = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    begun = f"{stage}: started".encode()
    while process.poll() is None and not (log.exists() and begun in log.read_bytes()[before:]):
        time.sleep(0.005)
    time.sleep(share * seconds)
    process.send_signal(signal.SIGKILL)
    _, error = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), error
    if process.returncode == 0:
        return None
    state = json.loads((folder / "state.json").read_text())
    return next((name for name in STAGES if name not in state["stages"]), "end")


def finish(folder: Path, reference: Path, config: Config | None = None) -> None:
    """Let the run go to its end, and compare it bit by bit with one that nothing disturbed."""
    command, environment = command_for(folder, config)
    begun = (folder / "state.json").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not list(folder.rglob(".*partial*"))
    assert not list(folder.rglob("*.rows*"))
    assert json.loads(done.stdout)["resumed"] is begun
    same_run(folder, reference)


def fitted(config: Config, folder: Path) -> Path:
    """The distribution of a run alone, with its checkpoints, without the stages around it, which take longer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)
        tracers, volume, _ = load_catalogue(config)
        fit_run_distribution(config, tracers, volume, folder / "checkpoint.safetensors").save(folder / "fit.safetensors")
    return folder / "fit.safetensors"


def killed_and_resumed(config: Config, checkpoint: str, folder: Path) -> None:
    """Kill a fit as soon as it has written a checkpoint of that name, let it go on, and compare with one that nothing disturbed."""
    killed, whole = folder / "killed", folder / "whole"
    killed.mkdir()
    whole.mkdir()
    (folder / "fit.toml").write_text(config.to_toml())
    command = [sys.executable, __file__, str(folder / "fit.toml"), str(killed)]
    process = subprocess.Popen(command, env=command_for(killed)[1], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None and not list(killed.glob(checkpoint)):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, error = process.communicate()
    assert process.returncode == -signal.SIGKILL, error
    assert list(killed.glob(checkpoint))
    assert not (killed / "fit.safetensors").exists()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (mine, described), (theirs, expected) = (read_model(fitted(config, path)) for path in (killed, whole))
    finally:
        torch.set_num_threads(threads)
    assert described["history"] == expected["history"]
    assert mine.keys() == theirs.keys()
    for name in mine:
        np.testing.assert_array_equal(mine[name], theirs[name], err_msg=name)


if __name__ == "__main__":
    fitted(read_config(sys.argv[1]), Path(sys.argv[2]))
