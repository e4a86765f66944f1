"""Training of torch modules: loop, schedules, batches and exact checkpoints. Knows no physics."""

from __future__ import annotations

from .batches import ShuffledBatches, split_indices
from .checkpoints import load_checkpoint, save_checkpoint
from .history import History
from .loop import Progress, TrainingSettings, train
from .schedules import Schedule, make_schedule

__all__ = [
    "History",
    "Progress",
    "Schedule",
    "ShuffledBatches",
    "TrainingSettings",
    "load_checkpoint",
    "make_schedule",
    "save_checkpoint",
    "split_indices",
    "train",
]
