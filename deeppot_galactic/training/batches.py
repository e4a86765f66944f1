"""Shuffled minibatches that are a pure function of the step.

Epoch e uses the permutation of the seed (seed, e); step k takes the rows [k B, (k+1) B) of the endless concatenation of the epochs.
Because nothing is remembered between steps, a resumed training sees exactly the batches it would have seen.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _permutation(n: int, seed: int, epoch: int) -> Tensor:
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch * 7_919 + 12_345) % (2**63))
    return torch.randperm(n, generator=generator)


def split_indices(n: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Shuffle 0 .. n-1 and split them into training and validation rows.

    Parameters
    ----------
    n : int
        Number of rows.
    fraction : float
        Share of the rows for validation, 0 <= fraction < 1.
    seed : int
        The same seed gives the same split.

    Returns
    -------
    training, validation : Tensor of int64
        Disjoint, together all rows.
    """
    order = _permutation(n, seed, -1)
    held = int(round(n * fraction))
    return order[held:], order[:held]


class ShuffledBatches:
    """Callable ``step -> tuple of tensors``, drawing without replacement within each epoch.

    Parameters
    ----------
    *tensors : Tensor, shape (n, ...)
        Rows belong together. They may live on any device.
    size : int
        Rows of a batch (at most n is used).
    seed : int
        Seed of the permutations.
    """

    def __init__(self, *tensors: Tensor, size: int, seed: int = 0) -> None:
        self.tensors = tensors
        self.n = len(tensors[0])
        self.size = min(size, self.n)
        self.seed = seed
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.int64)

    def _rows(self, epoch: int, start: int, stop: int) -> Tensor:
        if epoch != self._epoch:
            self._order = _permutation(self.n, self.seed, epoch)
            self._epoch = epoch
        return self._order[start:stop]

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        epoch, start = divmod(step * self.size, self.n)
        rows = self._rows(epoch, start, min(start + self.size, self.n))
        missing = self.size - len(rows)
        if missing:
            rows = torch.cat([rows, self._rows(epoch + 1, 0, missing)])
        return tuple(t[rows.to(t.device)] for t in self.tensors)
