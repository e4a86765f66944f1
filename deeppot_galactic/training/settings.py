"""How to train: the settings of `train`, and the optimiser they name."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from .schedules import make_schedule
from .soap import SOAP


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How to train. Steps are updates, never seconds, so that the same seed gives the same numbers on a busy machine.

    Attributes
    ----------
    steps : int
        Number of updates (an upper limit for the plateau schedule and early stopping).
    rate, schedule, warmup, patience, min_drop, min_rate
        See `deeppot_galactic.training.schedules`.
    optimiser : {"radam", "adamw", "adam", "soap"}
        RAdam with decoupled decay, AdamW, Adam or SOAP (see `deeppot_galactic.training.soap`).
    betas : tuple of float
        Moment decay of the optimiser.
    weight_decay : float
        Decoupled weight decay, on matrices only.
    clip : float
        Largest gradient norm.
    ema : float
        Decay d of the average of the weights; 0 switches it off.
    validate_every : int
        Steps between validations and history rows.
    early_stopping : int
        Validations without improvement after which to stop; 0 switches it off.
    checkpoint_every : int
        Steps between checkpoints, which are also the states a diverging training goes back to.
    """

    steps: int
    rate: float = 1e-3
    schedule: str = "cosine"
    warmup: int = 0
    patience: int = 512
    min_drop: float = 0.01
    min_rate: float = 1e-6
    optimiser: str = "radam"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip: float = math.inf
    ema: float = 0.998
    validate_every: int = 200
    early_stopping: int = 0
    checkpoint_every: int = 1000

    def __post_init__(self) -> None:
        for name in ("steps", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise ConfigError(f"rate must be positive, found {self.rate}")
        if self.optimiser not in ("radam", "adamw", "adam", "soap"):
            raise ConfigError(f"optimiser {self.optimiser!r} is unknown; choose radam, adamw, adam or soap")
        pair = self.betas if isinstance(self.betas, tuple | list) else ()
        if len(pair) != 2 or not all(isinstance(beta, Real) and 0.0 <= beta < 1.0 for beta in pair):
            raise ConfigError(f"betas must be two numbers of at least 0 and below 1, found {self.betas!r}")
        make_schedule(self)  # refuses an unknown one

    def plain(self) -> dict[str, Any]:
        """JSON-able, for a checkpoint."""
        values = asdict(self)
        values["betas"] = list(values["betas"])
        values["clip"] = None if math.isinf(self.clip) else self.clip
        return values


def make_optimiser(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser of the settings over the parameters of a model; biases and other vectors are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    groups = [g for g in groups if g["params"]]
    if settings.optimiser == "radam":
        return torch.optim.RAdam(groups, lr=settings.rate, betas=settings.betas, decoupled_weight_decay=True)
    if settings.optimiser == "soap":
        return SOAP(groups, lr=settings.rate, betas=settings.betas)
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)
    return torch.optim.Adam(groups, lr=settings.rate, betas=settings.betas)
