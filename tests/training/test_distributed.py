"""Two processes under torch's launcher against one at the same global batch: the same losses, the same weights, one set of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deeppot_galactic.errors import ConfigError
from deeppot_galactic.training.distributed import Group

SCRIPT = """
import json, sys
import torch
from torch import nn
from deeppot_galactic.training import ShuffledBatches, TrainingSettings, process_group, train

out, optimiser, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
generator = torch.Generator().manual_seed(0)
x = torch.randn(512, 3, generator=generator)
y = torch.sin(x).sum(1)
model = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1))
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.randn(p.shape, generator=generator) * 0.3)

def loss(batch):
    if kill_at and len(told) * 10 >= kill_at:
        raise SystemExit(9)
    return ((model(batch[0])[:, 0] - batch[1]) ** 2).mean()

def draw(batch, generator):
    x, y = batch
    return x + 0.1 * torch.randn(x.shape, generator=generator), y

told = []
settings = TrainingSettings(steps=60, rate=0.01, optimiser=optimiser, validate_every=10, checkpoint_every=20, ema=0.9)
with process_group() as group:
    validate = lambda: float(((model(x)[:, 0] - y) ** 2).mean())
    history = train(
        model, loss, ShuffledBatches(x, y, size=64, seed=1), settings=settings, draw=draw, validate=validate,
        checkpoint=out + ".checkpoint.safetensors", progress=lambda *a: told.append(a[1]),
    )
    weights = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    print(json.dumps({"rank": group.rank, "size": group.size, "told": told}), file=sys.stderr)
    with open(f"{out}.{group.rank}.json", "w") as stream:
        json.dump({"history": history.to_dict(), "weights": weights.tolist(), "told": told}, stream)
"""

FITS = """
import json, sys
import astropy.units as u
import numpy as np
import deeppot_galactic as dg
from deeppot_galactic.training import process_group

stars = dg.Tracers(np.random.default_rng(0).normal(size=(2000, 6)))
shared = {"steps": 24, "validate_every": 8, "batch": 126, "width": 8, "depth": 2, "warmup": 2}
flow = shared | {"solver_steps": 2}
fits = {
    "flow matching": {"preset": "flow-matching"} | flow,
    "hutchinson": {"preset": "paper-small", "trace": "hutchinson"} | flow,
    "noise and reflections": {"preset": "quick", "noise": 0.1, "reflect": True, "optimiser": "radam", "rate": 1e-3} | shared,
}
with process_group() as group:
    found = {name: dg.fit_distribution(stars, dg.Ball([0, 0, 0] * u.kpc, 2 * u.kpc), **options) for name, options in fits.items()}
    with open(f"{sys.argv[1]}.{group.rank}.json", "w") as stream:
        json.dump({name: df.history.to_dict() for name, df in found.items()}, stream)
"""


def launch(
    tmp_path: Path, processes: int, name: str, optimiser: str = "", kill_at: int = 0, text: str = SCRIPT
) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "script.py"
    script.write_text(text)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root, "USE_LIBUV": "0"}
    start = [sys.executable, str(script)]
    if processes > 1:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", str(script)]
    return subprocess.run(
        [*start, str(tmp_path / name), optimiser, str(kill_at)], env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def result(tmp_path: Path, name: str, rank: int) -> dict:
    return json.loads((tmp_path / f"{name}.{rank}.json").read_text())


@pytest.mark.parametrize("optimiser", ["radam", pytest.param("adamw", marks=pytest.mark.slow)])
def test_two_processes_follow_the_losses_of_one(tmp_path: Path, optimiser: str) -> None:
    for processes, name in ((1, "one"), (2, "two")):
        done = launch(tmp_path, processes, name, optimiser)
        assert done.returncode == 0, done.stderr
        assert "deprecated" not in done.stderr
        assert "terminate called" not in done.stderr
    one, two, other = result(tmp_path, "one", 0), result(tmp_path, "two", 0), result(tmp_path, "two", 1)
    assert two["history"] == other["history"]
    assert two["weights"] == other["weights"]
    assert one["history"]["steps"] == two["history"]["steps"] == [10, 20, 30, 40, 50, 60]
    for curve in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(two["history"][curve], one["history"][curve], rtol=2e-4)
    np.testing.assert_allclose(two["weights"], one["weights"], atol=2e-3)
    assert one["weights"] != two["weights"]  # sums are rounded in another order: they did share the work
    assert two["told"] == [10, 20, 30, 40, 50, 60]
    assert other["told"] == []


def test_losses_with_random_numbers_are_those_of_one_process(tmp_path: Path) -> None:
    """Times, directions and noise are drawn for the whole batch; shares of 63 rows, so that the second begins at an odd row."""
    for processes, name in ((1, "one"), (2, "two")):
        done = launch(tmp_path, processes, name, text=FITS)
        assert done.returncode == 0, done.stderr
    one, two = result(tmp_path, "one", 0), result(tmp_path, "two", 0)
    for fit, history in one.items():
        for curve in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(two[fit][curve], history[curve], rtol=1e-4, err_msg=f"{fit}, {curve}")


@pytest.mark.slow
def test_a_group_that_dies_resumes_with_the_same_result(tmp_path: Path) -> None:
    assert launch(tmp_path, 2, "whole", "radam").returncode == 0
    assert launch(tmp_path, 2, "killed", "radam", kill_at=30).returncode != 0
    assert (tmp_path / "killed.checkpoint.safetensors").exists()
    done = launch(tmp_path, 2, "killed", "radam")
    assert done.returncode == 0, done.stderr
    whole, resumed = result(tmp_path, "whole", 0), result(tmp_path, "killed", 0)
    assert resumed["weights"] == whole["weights"]
    assert resumed["history"] == whole["history"]


def test_shares_are_contiguous_disjoint_and_complete() -> None:
    batch = (torch.arange(12), (torch.arange(8)[:, None], [torch.arange(4)]))
    parts = [Group(rank, 4).share(batch) for rank in range(4)]
    assert torch.equal(torch.cat([part[0] for part in parts]), batch[0])
    assert torch.equal(torch.cat([part[1][1][0] for part in parts]), torch.arange(4))
    assert Group().share(batch) is batch
    with pytest.raises(ConfigError, match="12 rows cannot be shared equally among 5"):
        Group(0, 5).share(batch)
