"""Many runs: their names and configurations, and the same numbers from one process, from killed workers and from a dask cluster."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deeppot_galactic.campaign import carry_out, run_all, variations
from deeppot_galactic.catalogue import demo_path, read_tracers
from deeppot_galactic.config import Config
from deeppot_galactic.demo import demo_config
from deeppot_galactic.errors import ConfigError
from deeppot_galactic.preparation import load_catalogue
from deeppot_galactic.tasks import RetryingExecutor


def small() -> Config:
    options = {"steps": 40, "batch": 256, "width": 16, "validate_every": 20, "checkpoint_every": 10}
    return demo_config(quick=True).replace(
        catalogue={"limit": 3000},
        distribution={"preset": "quick", "options": options},
        gradients={"n": 1500},
        potential={"method": "linear"},
        run={"threads": 1},
    )


def numbers(summary: dict[str, Any]) -> dict[str, Any]:
    kept = ("omega", "pattern_speed", "stationarity", "force_error", "n_stars", "n_points", "history", "seed")
    return json.loads(json.dumps({name: summary[name] for name in kept}))


def test_variations_are_combined_and_named() -> None:
    ball = {"kind": "ball", "center": [4.0, 0.0, 0.0], "radius": 2.0}
    configs = variations(small(), volumes={"sun": ball}, paths={"early": "a.fits", "late": "b.fits"}, seeds=[3], bootstraps=[0, 1])
    assert list(configs) == [f"sun-{epoch}-seed3-bootstrap{k}" for epoch in ("early", "late") for k in (0, 1)]
    first = configs["sun-early-seed3-bootstrap0"]
    assert (first.volume.kind, first.catalogue.path, first.run.seed, first.catalogue.bootstrap) == ("ball", "a.fits", 3, 0)
    assert len({config.digest() for config in configs.values()}) == 4
    assert variations(small()) == {"run": small()}
    with pytest.raises(ConfigError, match="name of a folder"):
        variations(small(), paths={"../elsewhere": "a.fits"})
    with pytest.raises(ConfigError, match="radius"):
        variations(small(), volumes={"bad": {**ball, "radius": -1.0}})


def test_bootstrap_samples_are_poisson_counts_of_the_stars() -> None:
    config = small()
    whole = load_catalogue(config)[0]
    first, again, other = (load_catalogue(config.replace(catalogue={"bootstrap": k}))[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(first.phase_space, again.phase_space)
    assert first.phase_space.shape != other.phase_space.shape or not np.array_equal(first.weights, other.weights)
    assert {tuple(row) for row in first.phase_space} < {tuple(row) for row in whole.phase_space}
    assert len(first) == pytest.approx((1 - np.exp(-1)) * len(whole), rel=0.06)
    assert first.weights is not None
    assert first.weights.sum() == pytest.approx(len(whole), rel=0.06)
    assert set(np.unique(first.weights)) <= set(range(1, 9))


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Config], dict[str, dict[str, Any]]]:
    """Bootstrap samples, a sub-volume, another epoch, and one that cannot be done."""
    stars = read_tracers(demo_path()).phase_space[::40]
    later = tmp_path_factory.mktemp("epoch") / "later.npz"
    np.savez(later, pos=stars[:, :3] * np.array([-1, -1, 1]), vel=stars[:, 3:] * np.array([-1, -1, 1]))
    configs = variations(small(), bootstraps=[0, 1])
    configs |= variations(small(), volumes={"inner": {"kind": "cylinder", "r_out": 8.0, "half_height": 2.0}})
    configs |= variations(small(), paths={"later": str(later)})
    assert list(configs) == ["bootstrap0", "bootstrap1", "inner", "later"]
    configs["impossible"] = small().replace(volume={"r_out": 1e-3, "half_height": 1e-3})
    return configs, run_all(configs, tmp_path_factory.mktemp("serial"))


@pytest.mark.slow
def test_one_failure_does_not_hold_up_the_others(serial: Any) -> None:
    _, summaries = serial
    assert set(summaries["impossible"]) == {"error"}
    assert numbers(summaries["bootstrap0"]) != numbers(summaries["bootstrap1"])
    assert summaries["bootstrap0"]["n_stars"] < 3000
    assert len({summary["n_stars"] for summary in summaries.values() if "n_stars" in summary}) >= 4


def same(summaries: dict[str, dict[str, Any]], reference: dict[str, dict[str, Any]]) -> None:
    assert list(summaries) == list(reference)
    for name, summary in summaries.items():
        if "error" in reference[name]:
            assert summary == reference[name]
        else:
            assert numbers(summary) == numbers(reference[name]), name


def dies_in_the_training(job: tuple[dict[str, Any], str]) -> dict[str, Any]:
    """A run whose worker is killed once, in the middle of a training."""
    from deeppot_galactic import pipeline
    from deeppot_galactic.config import make_config

    marker = Path(job[1] + ".killed")

    def kill(stage: str, done: int, total: int, _: Any) -> None:
        if stage == "distribution" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    if "bootstrap0" in job[1]:
        return pipeline.run(make_config(job[0]), job[1], resume=True, progress=kill).summary
    return carry_out(job)


@pytest.mark.slow
def test_workers_that_are_killed_give_the_same_runs(serial: Any, tmp_path: Path) -> None:
    configs, reference = serial
    jobs = [(config.to_dict(), str(tmp_path / name)) for name, config in configs.items()]
    with RetryingExecutor(lambda: ProcessPoolExecutor(1, mp_context=get_context("spawn"))) as executor:
        summaries = dict(zip(configs, executor.map(dies_in_the_training, jobs), strict=True))
    assert (tmp_path / "bootstrap0.killed").exists()
    assert summaries["bootstrap0"]["resumed"] is True
    same(summaries, reference)


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same_runs(serial: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    configs, reference = serial
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own: ports in use, a slow event loop
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path))
        with cluster, distributed.Client(cluster) as client:
            executor: Executor = client.get_executor(retries=2, pure=False)
            summaries = run_all(configs, tmp_path / "runs", executor=executor)
    same(summaries, reference)
