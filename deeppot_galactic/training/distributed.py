"""One training in several processes, by torch's own DistributedDataParallel under ``torchrun``.

Every process draws the same global batch and the same random numbers of the loss, and takes its own contiguous share of the rows;
gradients are averaged over the processes by torch while they are computed. The mean of equal shares is the mean of the batch, so that the
losses are those of a single process at the same global batch, up to the rounding of sums. The first process alone validates, writes
checkpoints and tells progress; the others are told what it found. Without ``torchrun`` all of this is a group of one, and nothing is
different.
"""

from __future__ import annotations

import gc
import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError

LossFunction = Callable[[Any], Tensor]
PATIENCE = timedelta(days=2)
"""How long processes wait for one another; stages that only the first carries out may take hours."""


class Group:
    """The processes that train together: this one is number ``rank`` of ``size``."""

    def __init__(self, rank: int = 0, size: int = 1, device: str | torch.device = "cpu") -> None:
        self.rank, self.size, self.device = rank, size, torch.device(device)

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which validates and writes."""
        return self.rank == 0

    def share(self, batch: Any) -> Any:
        """This process's rows of a batch: a tensor, or tuples or lists of them, nested at will."""
        if self.size == 1:
            return batch
        if isinstance(batch, Tensor):
            part = len(batch) // self.size
            if part * self.size != len(batch):
                raise ConfigError(f"a batch of {len(batch)} rows cannot be shared equally among {self.size} processes; choose a multiple")
            return batch[self.rank * part : (self.rank + 1) * part]
        return tuple(self.share(part) for part in batch)

    def wrap(self, model: nn.Module, loss_fn: LossFunction) -> LossFunction:
        """The loss function with gradients that are averaged over the group."""
        if self.size == 1:
            return loss_fn
        from torch.nn.parallel import DistributedDataParallel

        # Buffers do not change in a training. The argument that says so has been renamed; the oldest supported torch knows the old name.
        known = inspect.signature(DistributedDataParallel.__init__).parameters
        still: dict[str, Any] = {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}
        return DistributedDataParallel(_Loss(model, loss_fn), **still)

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over the group."""
        if self.size == 1:
            return float(value.detach())
        total = value.detach().double().clone()
        torch.distributed.all_reduce(total)
        return float(total) / self.size

    def agree(self, value: float) -> float:
        """What the first process says, in all of them."""
        if self.size == 1:
            return value
        told = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, src=0)
        return float(told)


class _Loss(nn.Module):
    """A loss function as a module, which is the form DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self._loss_fn = loss_fn

    def forward(self, batch: Any) -> Tensor:
        return self._loss_fn(batch)


def group_of(device: str | torch.device = "cpu") -> Group:
    """The group this process belongs to: that of `process_group`, or itself alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return Group(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
    return Group(device=device)


def started_by_torchrun() -> bool:
    """Whether this process is one of several started by ``torchrun``."""
    return os.environ.get("WORLD_SIZE", "1") != "1" and "RANK" in os.environ


def local_device(device: str) -> str:
    """The device of this process: ``cuda`` becomes the card of its local rank."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" and started_by_torchrun() else device


@contextmanager
def process_group(device: str = "cpu") -> Iterator[Group]:
    """Join the processes that ``torchrun`` started while the block runs; a group of one where it did not.

    Raises
    ------
    ConfigError
        When the processes cannot find each other.
    """
    if not started_by_torchrun():
        yield Group(device=device)
        return
    backend = "nccl" if device.startswith("cuda") else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(local_device(device))
    try:
        torch.distributed.init_process_group(backend, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"the processes of torchrun cannot find each other: {' '.join(str(error).split())[:200]}") from None
    try:
        yield group_of(local_device(device))
        torch.distributed.barrier()  # not after an error: the others may never come. A process that leaves early takes its threads along
    finally:
        gc.collect()  # the engine of a training refers to itself, and must not outlive the group whose threads it uses
        torch.distributed.destroy_process_group()
