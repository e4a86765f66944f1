"""Batches: every row once an epoch, a pure function of the step; the split is shuffled and disjoint."""

from __future__ import annotations

import torch

from deeppot_galactic.training import ShuffledBatches, split_indices


def test_every_row_once_per_epoch():
    rows = torch.arange(100)
    batches = ShuffledBatches(rows, rows * 2, size=30, seed=3)
    seen = torch.cat([batches(step)[0] for step in range(10)])
    for epoch in range(3):
        assert sorted(seen[100 * epoch : 100 * (epoch + 1)].tolist()) == rows.tolist()
    assert not torch.equal(seen[:100], seen[100:200])
    a, b = batches(4)
    assert torch.equal(b, 2 * a)


def test_pure_function_of_the_step():
    rows = torch.arange(101)
    forward = ShuffledBatches(rows, size=32, seed=1)
    straight = [forward(step)[0] for step in range(12)]
    fresh = ShuffledBatches(rows, size=32, seed=1)
    for step in (11, 3, 7, 3, 0):
        assert torch.equal(fresh(step)[0], straight[step])
    assert not torch.equal(ShuffledBatches(rows, size=32, seed=2)(0)[0], straight[0])


def test_batch_larger_than_the_data():
    assert len(ShuffledBatches(torch.arange(10), size=64)(5)[0]) == 10


def test_split():
    training, validation = split_indices(1000, 0.25, seed=0)
    assert len(validation) == 250
    assert sorted(torch.cat([training, validation]).tolist()) == list(range(1000))
    assert validation.float().mean() > 400  # not the unshuffled first quarter
    assert len(split_indices(10, 0.0, seed=0)[1]) == 0
