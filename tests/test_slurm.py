"""The Slurm recipes of the documentation: their syntax, and their commands carried out here by a stand-in for Slurm."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from kills import small_config

ROOT = Path(__file__).resolve().parents[1]
RECIPES = [text for text in re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "many_machines.md").read_text(), re.S) if "#SBATCH" in text]


def test_the_recipes_are_valid_scripts(tmp_path: Path) -> None:
    array, torchrun = RECIPES
    assert "--resume" in array and "--resume" in torchrun
    for text in RECIPES:
        assert text.startswith("#!/bin/bash\n#SBATCH")
        assert "#SBATCH --requeue" in text
        (tmp_path / "job.sh").write_text(text)
        done = subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """``srun`` starts a command once on each of $NODES nodes, all of them this machine; the variables that Slurm sets."""
    folder = tmp_path / "bin"
    folder.mkdir()
    scripts = {
        "srun": 'for node in $(seq "${NODES:-1}"); do "$@" & jobs="$jobs $!"; done\nfor job in $jobs; do wait "$job" || exit 1; done',
        "scontrol": "echo 127.0.0.1",
        "deeppot": f'exec "{sys.executable}" -m deeppot_galactic "$@"',
        "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    slurm = {"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "USE_LIBUV": "0", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **path, **slurm}


@pytest.mark.slow
def test_two_tasks_of_the_array_are_two_runs(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "job.sh").write_text(RECIPES[0])
    jobs = []
    for number in (0, 1):
        config = small_config(seed=number).replace(potential={"method": "linear", "options": {}})
        (tmp_path / "configs" / f"{number}.toml").write_text(config.to_toml())
        environment = {**cluster, "SLURM_ARRAY_TASK_ID": str(number)}
        jobs.append(subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True))
    for job in jobs:
        error = job.communicate()[1]
        assert job.returncode == 0, error
    summaries = [json.loads((tmp_path / "runs" / str(number) / "summary.json").read_text()) for number in (0, 1)]
    assert [summary["seed"] for summary in summaries] == [0, 1]


@pytest.mark.slow
def test_one_training_over_two_nodes(cluster: dict[str, str], tmp_path: Path) -> None:
    """One process on each of two nodes, which find each other at the address of the recipe; no cards here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    changes = {"--nproc-per-node=4": "--nproc-per-node=1", ":29500": f":{port}", " --device cuda": ""}
    text = RECIPES[1]
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "job.sh").write_text(text)
    options = {"steps": 40, "validate_every": 20, "checkpoint_every": 10, "optimiser": "radam", "rate": 1e-3}
    config = small_config().replace(distribution={"options": options}, potential={"method": "linear", "options": {}})
    (tmp_path / "stars.toml").write_text(config.to_toml())
    done = subprocess.run(["bash", "job.sh"], cwd=tmp_path, env={**cluster, "NODES": "2"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "stars" / "summary.json").is_file()
