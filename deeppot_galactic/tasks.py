"""Independent tasks on any `concurrent.futures` executor, and workers that die.

A worker can be killed from outside: by a batch system, or for want of memory. `ProcessPoolExecutor` then gives up all its tasks with
`BrokenExecutor`. `RetryingExecutor` is an executor around another: it makes a fresh one and hands the lost tasks in again. Tasks of this
package depend on their arguments and seeds alone, and their trainings go on from checkpoints, so that the result is the same.
"""

from __future__ import annotations

import concurrent.futures
import logging
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import partial
from threading import RLock
from typing import Any

from .errors import ConfigError, FitError

LOGGER = logging.getLogger("deeppot_galactic")


class RetryingExecutor(Executor):
    """An executor whose tasks outlive its workers.

    Parameters
    ----------
    make : callable
        Gives a fresh executor, e.g. ``lambda: ProcessPoolExecutor(4)``.
    attempts : int
        How often a task is started before it is given up. A task that kills its worker takes the others along each time.

    Raises
    ------
    ConfigError
        For fewer than one attempt.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with RetryingExecutor(lambda: ThreadPoolExecutor(2)) as executor:
    ...     list(executor.map(abs, [-1, 2]))
    [1, 2]
    """

    def __init__(self, make: Callable[[], Executor], *, attempts: int = 3) -> None:
        if attempts < 1:
            raise ConfigError(f"attempts must be at least 1, found {attempts}")
        self._make, self._attempts = make, attempts
        self._lock = RLock()
        self._inner: Executor | None = None
        self._closed = False
        self._handed_in: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Hand in a task.

        Parameters
        ----------
        fn : callable
            What to carry out.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        concurrent.futures.Future
            Has the result of the task, its error, or a `FitError` when its worker died too often.

        Raises
        ------
        RuntimeError
            After `shutdown`.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot hand in tasks after shutdown")
        outer: Future[Any] = Future()
        outer.set_running_or_notify_cancel()
        self._handed_in.add(outer)
        outer.add_done_callback(self._handed_in.discard)
        self._start(outer, partial(fn, *args, **kwargs), 1)
        return outer

    def _start(self, outer: Future[Any], task: Callable[[], Any], attempt: int) -> None:
        with self._lock:
            for _ in range(2):
                inner = self._inner = self._make() if self._inner is None else self._inner
                try:
                    future = inner.submit(task)
                    break
                except BrokenExecutor:
                    self._discard(inner)
            else:
                outer.set_exception(FitError("no worker can be started; look for one that is killed at once, as for want of memory"))
                return
        future.add_done_callback(partial(self._finish, outer, task, attempt, inner))

    def _finish(self, outer: Future[Any], task: Callable[[], Any], attempt: int, inner: Executor, future: Future[Any]) -> None:
        if future.cancelled():
            outer.set_exception(FitError("a task was cancelled before it began"))
            return
        error = future.exception()
        if error is None:
            outer.set_result(future.result())
        elif not isinstance(error, BrokenExecutor):
            outer.set_exception(error)
        elif attempt >= self._attempts or self._closed:
            outer.set_exception(
                FitError(f"a worker died in each of {attempt} attempts at a task; give it more memory, or use fewer workers")
            )
        else:
            LOGGER.warning("a worker died; its tasks are started again, attempt %d of %d", attempt + 1, self._attempts)
            self._discard(inner)
            self._start(outer, task, attempt + 1)

    def _discard(self, inner: Executor) -> None:
        with self._lock:
            if self._inner is inner:
                self._inner = None
                inner.shutdown(wait=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As of any executor; tasks that are lost while it waits are started again.

        Parameters
        ----------
        wait : bool
            Until all tasks are finished.
        cancel_futures : bool
            Give up those that have not begun.
        """
        if wait and not cancel_futures:
            concurrent.futures.wait(set(self._handed_in))
        with self._lock:
            self._closed = True
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.shutdown(wait=wait, cancel_futures=cancel_futures)
