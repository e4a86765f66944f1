"""The two fits of a run, as its configuration asks for them, and how the other processes of ``torchrun`` take part in them.

Under ``torchrun`` the first process carries out the run and writes its folder. Before each fit it announces it; the others read what it
reads, train with it (`deeppot_galactic.training.distributed`), throw their copy of the result away and wait for the next announcement.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config
from .errors import ConfigError, DeepPotWarning
from .preparation import distribution_options, load_catalogue, make_frame
from .store import read_json

if TYPE_CHECKING:
    from .catalogue.tracers import Tracers
    from .catalogue.volumes import Volume
    from .distribution.base import Distribution
    from .distribution.gradients import GradientSample
    from .potential.model import PotentialModel
    from .training.distributed import Group

Progress = Callable[[str, int, int, dict[str, float]], None]
DONE, DISTRIBUTION, POTENTIAL = 0, 1, 2
"""What the first process announces."""


def fit_run_distribution(
    config: Config, tracers: Tracers, volume: Volume, checkpoint: Path, progress: Progress | None = None
) -> Distribution:
    """Fit f as the configuration of a run says."""
    from .distribution.executors import open_executor
    from .distribution.fit import fit_distribution
    from .training.distributed import local_device
    from .training.precision import matmul_precision

    settings = config.distribution
    with open_executor(settings.executor, settings.workers) as executor, matmul_precision(config.run.precision):
        return fit_distribution(
            tracers,
            volume,
            preset=settings.preset,
            seed=config.run.seed,
            device=local_device(config.run.device),
            validation_fraction=settings.validation_fraction,
            progress=progress if settings.executor in ("serial", "threads") else None,
            checkpoint=checkpoint,
            members=settings.members,
            executor=executor,
            **distribution_options(config),
        )


def fit_run_potential(
    config: Config, points: GradientSample, speed: dict[str, Any], checkpoint: Path, progress: Progress | None = None
) -> PotentialModel:
    """Fit Phi and the frame as the configuration of a run says; ``speed`` is the content of ``pattern_speed.json``."""
    from .potential.fit import fit_potential
    from .training.distributed import local_device
    from .training.precision import matmul_precision

    settings, start = config.potential, config.pattern_speed
    omega = speed["value"] if start.omega == "weak" else start.omega
    if omega is None:
        warnings.warn(DeepPotWarning("the weak form gives no pattern speed; the fit starts from Omega = 0"), stacklevel=2)
    with matmul_precision(config.run.precision):
        return fit_potential(
            points,
            frame=make_frame(config, omega or 0.0),
            method=settings.method,
            preset=settings.preset,
            seed=config.run.seed,
            device=local_device(config.run.device),
            progress=progress,
            checkpoint=checkpoint,
            **settings.options,
        )


def distribution_checkpoint(folder: Path) -> Path:
    """Where the training of f keeps its state."""
    return folder / "distribution" / "checkpoint.safetensors"


def potential_checkpoint(folder: Path) -> Path:
    """Where the training of Phi keeps its state."""
    return folder / "model.checkpoint.safetensors"


def check_team(config: Config, size: int) -> None:
    """Refuse what several processes cannot do together (`ConfigError`)."""
    if size > 1 and config.distribution.executor != "serial" and config.potential.method != "weak":
        raise ConfigError(f"distribution.executor is {config.distribution.executor!r}; under torchrun it must be 'serial'")


def follow(config: Config, folder: Path, group: Group) -> None:
    """Take part in the fits that the first process announces, until it is done. An error ends this process, and torchrun then all."""
    stars: tuple[Tracers, Volume] | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)  # the first process says them
        while (announced := int(group.agree(DONE))) != DONE:
            if announced == DISTRIBUTION:
                stars = load_catalogue(config)[:2] if stars is None else stars
                fit_run_distribution(config, *stars, distribution_checkpoint(folder))
            else:
                from .distribution.gradients import GradientSample

                points = GradientSample.load(folder / "gradients.h5")
                fit_run_potential(config, points, read_json(folder / "pattern_speed.json"), potential_checkpoint(folder))
