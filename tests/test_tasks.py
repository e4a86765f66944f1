"""Tasks on executors: workers that die are replaced with the same result; processes and a dask cluster give what one process gives."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from deeppot_galactic.errors import ConfigError, FitError
from deeppot_galactic.tasks import RetryingExecutor


def processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


class Dying(Executor):
    """Processes whose workers die as told: in this process, so that it takes no time."""

    def __init__(self, deaths: list[int]) -> None:
        self.deaths = deaths

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        from concurrent.futures import BrokenExecutor

        future: Future[Any] = Future()
        if self.deaths:
            self.deaths.pop()
            future.set_exception(BrokenExecutor("gone"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def test_lost_tasks_are_handed_in_again_and_in_order() -> None:
    deaths, made = [1, 1], []

    def make() -> Executor:
        made.append(Dying(deaths))
        return made[-1]

    with RetryingExecutor(make) as executor:
        assert list(executor.map(abs, [-1, -2, -3])) == [1, 2, 3]
    assert len(made) == 3


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    with RetryingExecutor(lambda: Dying([1] * 99), attempts=3) as executor, pytest.raises(FitError, match="each of 3 attempts"):
        executor.submit(abs, -1).result()
    with pytest.raises(ConfigError, match="attempts"):
        RetryingExecutor(processes, attempts=0)


def test_errors_of_a_task_are_its_own() -> None:
    with RetryingExecutor(lambda: ThreadPoolExecutor(1)) as executor:
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result()
        assert executor.submit(divmod, 7, 2).result() == (3, 1)
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, 1)


def killed_once(marker: str, number: int) -> tuple[float, int]:
    """A seeded task; number 1 kills its process the first time."""
    if number == 1 and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return float(np.random.default_rng(number).normal()), os.getpid()


def test_a_worker_that_is_really_killed(tmp_path: Path) -> None:
    marker = str(tmp_path / "killed")
    with RetryingExecutor(processes) as executor:
        results = list(executor.map(partial(killed_once, marker), range(4)))
    assert Path(marker).exists()
    assert [value for value, _ in results] == [float(np.random.default_rng(number).normal()) for number in range(4)]
    assert os.getpid() not in {process for _, process in results}


def test_executors_of_a_configuration_replace_their_workers(tmp_path: Path) -> None:
    from deeppot_galactic.distribution.executors import open_executor

    marker = str(tmp_path / "killed")
    with open_executor("processes", 2) as executor:
        assert executor is not None
        results = list(executor.map(partial(killed_once, marker), range(3)))
    assert Path(marker).exists()
    assert [value for value, _ in results] == [float(np.random.default_rng(number).normal()) for number in range(3)]


def test_an_ensemble_on_a_dask_cluster_is_the_one_of_this_process(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    import warnings

    import astropy.units as u

    from deeppot_galactic.catalogue.volumes import Ball
    from deeppot_galactic.distribution.ensemble import fit_ensemble
    from deeppot_galactic.mocks import Plummer

    tracers, volume = Plummer().tracers(2000), Ball([0, 0, 0] * u.kpc, 3 * u.kpc)
    options: dict[str, Any] = {"members": 2, "preset": "quick", "steps": 20, "batch": 128, "width": 16}
    here = fit_ensemble(tracers, volume, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own: ports in use, a slow event loop
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path))
        with cluster, distributed.Client(cluster) as client:
            client.run(one_thread)
            there = fit_ensemble(tracers, volume, executor=client.get_executor(retries=2, pure=False), **options)
    points = tracers.phase_space[:200]
    for mine, theirs in zip(here.evaluate(points), there.evaluate(points), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-6)
    assert [member.meta["seed"] for member in there.members] == [0, 1]


@pytest.mark.slow
def test_shells_on_a_dask_cluster_whose_worker_is_killed(tmp_path: Path) -> None:
    """One of two workers is killed while it trains: its shell is trained elsewhere, and the numbers are those of this process."""
    distributed = pytest.importorskip("distributed")
    import threading
    import warnings

    import astropy.units as u

    from deeppot_galactic.catalogue.volumes import Cylinder
    from deeppot_galactic.distribution.fit import fit_distribution
    from deeppot_galactic.mocks import Plummer

    tracers, volume = Plummer().tracers(6000), Cylinder(shells=(0, 0.7, 3) * u.kpc, half_height=2 * u.kpc)
    options: dict[str, Any] = {"preset": "quick", "steps": 100, "batch": 256, "width": 32, "optimiser": "radam", "rate": 3e-3}
    here = fit_distribution(tracers, volume, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the cluster's own: ports in use, a slow event loop, a worker that is gone
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=str(tmp_path))
        with cluster, distributed.Client(cluster) as client:
            client.run(one_thread)
            (first, *_) = client.run(os.getpid).values()
            timer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
            timer.start()
            there = fit_distribution(tracers, volume, executor=client.get_executor(retries=2, pure=False), **options)
            timer.join()
            marker = str(tmp_path / "killed")
            values = list(client.get_executor(retries=2, pure=False).map(partial(killed_once, marker), range(4)))
    assert here.estimator == there.estimator == "stitched"
    points = tracers.within(volume).phase_space[:200]
    for mine, theirs in zip(here.evaluate(points), there.evaluate(points), strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-3, atol=1e-3 * np.abs(mine).max())
    assert Path(marker).exists()
    assert [value for value, _ in values] == [float(np.random.default_rng(number).normal()) for number in range(4)]


def one_thread() -> None:
    torch.set_num_threads(1)
