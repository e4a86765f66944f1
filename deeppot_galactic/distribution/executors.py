"""Executors by name, for configurations: who trains the members of an ensemble or the shells of a volume.

serial      one after the other, in this process
threads     a `ThreadPoolExecutor`: torch works outside the interpreter's lock most of the time
processes   a `ProcessPoolExecutor` of fresh processes with one torch thread each
a.b:C       class C of module a.b, one of `MODULES`: a subclass of `concurrent.futures.Executor`, made with ``max_workers``

A configuration must not name code to be run, so that the list of modules is fixed; from Python any executor can be passed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context

import torch

from ..errors import ConfigError
from ..tasks import RetryingExecutor

MODULES = ("concurrent.futures", "mpi4py.futures", "loky")
"""Modules whose executors a configuration may name."""


def executor_class(name: str) -> type[Executor] | None:
    """The class behind a name; None for "serial".

    Raises
    ------
    ConfigError
        When there is no such module or class, or it is no executor.
    """
    known: dict[str, type[Executor] | None] = {"serial": None, "threads": ThreadPoolExecutor, "processes": ProcessPoolExecutor}
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if module not in MODULES:
        raise ConfigError(
            f"executor {name!r} is not known; choose {', '.join(known)}, or a class of {', '.join(MODULES)} as module:Class "
            "(any other executor can be passed to fit_distribution in Python)"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"executor {name!r} cannot be found: {' '.join(str(error).split())}; choose {', '.join(known)}") from None
    if not (isinstance(found, type) and issubclass(found, Executor)):
        raise ConfigError(f"executor {name!r} is not a class of the concurrent.futures.Executor family")
    return found


@contextmanager
def open_executor(name: str, workers: int) -> Iterator[Executor | None]:
    """An executor with ``workers`` workers while the block lasts, which replaces workers that die; None for "serial"."""
    kind = executor_class(name)
    if kind is None:
        yield None
        return
    make: Callable[[], Executor] = partial(kind, max_workers=workers)
    if kind is ProcessPoolExecutor:
        make = partial(ProcessPoolExecutor, workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,))
    with RetryingExecutor(make) as pool:
        yield pool
