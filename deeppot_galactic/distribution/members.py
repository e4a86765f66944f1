"""Distributions made of others: their files, and how their parts are trained side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..training import History
from .base import Distribution
from .rebuild import rebuild

Job = TypeVar("Job")


def members_state(members: Sequence[Distribution]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Arrays and descriptions of all members, as `Distribution._state` wants them."""
    tensors: dict[str, NDArray[Any]] = {}
    headers = []
    for index, member in enumerate(members):
        arrays, header = member._state()
        tensors |= {f"{index}/{name}": value for name, value in arrays.items()}
        headers.append(member.describe() | {"state": header})
    return tensors, {"members": headers}


def members_from_state(tensors: dict[str, NDArray[Any]], header: dict[str, Any]) -> list[Distribution]:
    """Inverse of `members_state`."""
    members = []
    for index, part in enumerate(header["members"]):
        own = {k.partition("/")[2]: v for k, v in tensors.items() if k.partition("/")[0] == str(index)}
        members.append(rebuild(own, part))
    return members


def train_members(fit: Callable[[Job], Distribution], jobs: Sequence[Job], executor: Executor | None) -> list[Distribution]:
    """Fit every job, one after the other or with an executor; the order of the results is that of the jobs."""
    return [fit(job) for job in jobs] if executor is None else list(executor.map(fit, jobs))


def joint_history(members: Sequence[Distribution], shown: Distribution) -> History:
    """The history of one member, with the restarts of all, each with the number of its ``member``."""
    history = History.from_dict(shown.history.to_dict())
    history.restarts = [{**restart, "member": k} for k, member in enumerate(members) for restart in member.history.restarts]
    return history


def member_checkpoint(checkpoint: str | Path | None, name: str) -> Path | None:
    """The checkpoint of one member, beside that of the whole."""
    if checkpoint is None:
        return None
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}.{name}{path.suffix}")
