"""Training of torch modules: loop, schedules, batches and exact checkpoints. Knows no physics."""

from __future__ import annotations

from .batches import ShuffledBatches, split_indices
from .checkpoints import load_checkpoint, save_checkpoint
from .distributed import process_group
from .history import History
from .loop import Progress, train
from .schedules import Schedule, make_schedule
from .settings import TrainingSettings
from .threads import threads

__all__ = [
    "History",
    "Progress",
    "Schedule",
    "ShuffledBatches",
    "TrainingSettings",
    "load_checkpoint",
    "make_schedule",
    "process_group",
    "save_checkpoint",
    "split_indices",
    "threads",
    "train",
]
