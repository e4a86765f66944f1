"""A run from catalogue to report.

    catalogue -> pattern_speed -> distribution -> gradients -> potential -> report

With ``method = "weak"``, which takes the stars as they are, there is no distribution, and gradients.h5 holds the stars alone. Each stage
reads what the stages before it wrote, writes its own files atomically, and is skipped when a resumed run finds it finished. The two
trainings also keep a checkpoint, so that a kill costs at most the steps since the last one; on the CPU a resumed run ends with the same
numbers as an uninterrupted one.

Run folder: config.toml (resolved), catalogue.json (every cut and its count), pattern_speed.json, distribution/fit.safetensors,
gradients.h5, model.safetensors, summary.json, figures/*.png, report.html, log.txt, state.json.

Under ``torchrun`` the processes share the trainings, and the first carries out and writes everything else (`trainings`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import Config
from .errors import CatalogueError, DeepPotError, DeepPotWarning, DivergenceWarning
from .preparation import check_settings, load_catalogue, seen_from_axis
from .run_state import RunState, check_folder, claim, open_run
from .store import read_json, write_json
from .trainings import (
    DISTRIBUTION,
    DONE,
    POTENTIAL,
    check_team,
    distribution_checkpoint,
    fit_run_distribution,
    fit_run_potential,
    follow,
    potential_checkpoint,
)

if TYPE_CHECKING:
    from .catalogue.tracers import Tracers
    from .catalogue.volumes import Volume
    from .distribution.gradients import GradientSample
    from .potential.model import PotentialModel
    from .training.distributed import Group

LOGGER = logging.getLogger("deeppot_galactic")
STAGES = ("catalogue", "pattern_speed", "distribution", "gradients", "potential", "report")
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
class RunResult:
    """A finished run: its ``folder``, the ``summary`` (the content of summary.json) and the path of the ``report``."""

    folder: Path
    summary: dict[str, Any]
    report: Path

    @property
    def model(self) -> PotentialModel:
        """The fitted potential, loaded from the folder."""
        from .potential.model import PotentialModel

        return PotentialModel.load(self.folder / "model.safetensors")


def run(config: Config, out: str | Path, *, resume: bool = False, progress: Progress | None = None) -> RunResult:
    """Carry out a run, or go on with one.

    Parameters
    ----------
    config : Config
        From `deeppot_galactic.config.read_config`.
    out : str or Path
        The run folder; must not exist (or be empty), unless ``resume``.
    resume : bool
        Go on in ``out``: finished stages are skipped, trainings continue from their checkpoints.
    progress : callable, optional
        ``progress(stage, done, total, values)``.

    Returns
    -------
    RunResult

    Raises
    ------
    DeepPotError
        For bad input of any kind, before anything is written; or when a fit fails. Finished stages stay.
    """
    from .training import process_group, threads

    with process_group(config.run.device) as group, threads(config.run.threads):
        if not group.leads:
            follow(config, Path(out), group)
            return RunResult(Path(out), {}, Path(out) / "report.html")
        result = _lead(config, out, resume, progress, group)
        group.agree(DONE)  # not after an error: the others may be in the middle of a training, and end when this process does
        return result


def _lead(config: Config, out: str | Path, resume: bool, progress: Progress | None, group: Group) -> RunResult:
    """The run, in the process that writes."""
    folder = check_folder(out, config, resume=resume)
    check_settings(config)
    check_team(config, group.size)
    tracers, volume, catalogue = load_catalogue(config)
    with claim(folder):
        state = open_run(config, folder)
        LOGGER.info("run of %s in %s, digest %s", config.catalogue.path, folder.resolve(), config.digest()[:12])
        return _carry_out(state, tracers, volume, catalogue, progress, group)


def _carry_out(
    state: RunState, tracers: Tracers, volume: Volume, catalogue: dict[str, Any], progress: Progress | None, group: Group
) -> RunResult:
    """All stages, with warnings noted and errors logged."""
    with _noted_warnings(state.notes):
        try:
            return _Run(state, tracers, volume, catalogue, progress, group).all()
        except DeepPotError as error:
            LOGGER.error("%s", error)
            raise
        except Exception:
            LOGGER.exception("stopped by an unexpected error")
            raise


class _Run:
    """The stages of one run, in order; `run` is its only user."""

    def __init__(
        self, state: RunState, tracers: Tracers, volume: Volume, catalogue: dict[str, Any], progress: Progress | None, group: Group
    ) -> None:
        self.state, self.config, self.folder = state, state.config, state.folder
        self.tracers, self.volume, self.catalogue = tracers, volume, catalogue
        self.progress: Progress = progress if progress is not None else _silent
        self.group = group

    def all(self) -> RunResult:
        report = self.folder / "report.html"
        self._catalogue()
        if not (self.state.finished("report") and (self.folder / "summary.json").is_file()):
            speed = self._pattern_speed()
            history = self._distribution()
            points = self._gradients()
            model = self._potential(points, speed)
            self._report(points, model, speed, history)
        return RunResult(self.folder, read_json(self.folder / "summary.json"), report)

    def _catalogue(self) -> None:
        path = self.folder / "catalogue.json"
        if self.state.finished("catalogue"):
            before = read_json(path)
            for key, section in (("sha256", self.config.catalogue), ("selection_sha256", self.config.selection)):
                if section.path is not None and before.get(key) != self.catalogue[key]:
                    raise CatalogueError(f"{section.path} has changed since the run began; choose another folder with --out")
            return
        with self.state.stage("catalogue", "catalogue.json"):
            for cut in self.catalogue["cuts"]:
                LOGGER.info("cut: %s, removed %s, left %s", cut.get("name"), cut.get("removed"), cut.get("left"))
            for note in self.catalogue["notes"]:
                LOGGER.info("%s", note)
            self.state.notes.extend(self.catalogue["warnings"])
            write_json(path, self.catalogue)

    def _pattern_speed(self) -> dict[str, Any]:
        path = self.folder / "pattern_speed.json"
        if not self.state.finished("pattern_speed"):
            from .potential.pattern import pattern_speed
            from .summary import describe_pattern_speed

            with self.state.stage("pattern_speed", path.name):
                speed = pattern_speed(
                    *seen_from_axis(self.config, self.tracers, self.volume),
                    errors=self.config.catalogue.errors,
                    seed=self.config.run.seed,
                    progress=self.progress,
                )
                write_json(path, describe_pattern_speed(speed))
        return read_json(path)

    def _distribution(self) -> dict[str, Any]:
        """Fit f unless done or not needed; give the history of the training."""
        from .distribution.base import Distribution

        name = "distribution/fit.safetensors"
        if self.state.finished("distribution"):
            return Distribution.load(self.state.path(name)).history.to_dict()
        if self.config.potential.method == "weak":
            return {}
        path, checkpoint = self.state.path(name), distribution_checkpoint(self.folder)
        with self.state.stage("distribution", name):
            self.group.agree(DISTRIBUTION)
            distribution = fit_run_distribution(self.config, self.tracers, self.volume, checkpoint, self.progress)
            distribution.save(path)
        for part in checkpoint.parent.glob("checkpoint*.safetensors"):
            part.unlink(missing_ok=True)
        return distribution.history.to_dict()

    def _gradients(self) -> GradientSample:
        from .distribution.base import Distribution
        from .distribution.gradients import GradientSample, draw_gradients
        from .training.distributed import local_device

        path, settings, seed = self.folder / "gradients.h5", self.config, self.config.run.seed
        if not self.state.finished("gradients"):
            with self.state.stage("gradients", path.name):
                if settings.potential.method == "weak":
                    GradientSample.of_stars(self.tracers, self.volume, errors=settings.catalogue.errors, seed=seed).save(path)
                else:
                    distribution = Distribution.load(self.folder / "distribution" / "fit.safetensors").to(local_device(settings.run.device))
                    draw_gradients(
                        distribution,
                        settings.gradients.n,
                        errors=settings.catalogue.errors,
                        seed=seed,
                        tracers=self.tracers if distribution.prefers_stars else None,
                        path=path,
                        progress=self.progress,
                    )
        return GradientSample.load(path)

    def _potential(self, points: GradientSample, speed: dict[str, Any]) -> PotentialModel:
        from .potential.model import PotentialModel

        path, checkpoint = self.folder / "model.safetensors", potential_checkpoint(self.folder)
        if not self.state.finished("potential"):
            with self.state.stage("potential", path.name):
                self.group.agree(POTENTIAL)
                fit_run_potential(self.config, points, speed, checkpoint, self.progress).save(path)
            checkpoint.unlink(missing_ok=True)
        return PotentialModel.load(path)

    def _report(self, points: GradientSample, model: PotentialModel, speed: dict[str, Any], history: dict[str, Any]) -> None:
        from .catalogue.truth import read_truth
        from .report import write_report
        from .summary import summarise

        path = self.folder / "summary.json"
        truth = read_truth(self.config.catalogue.path)
        self.progress("report", 0, 2, {})
        with self.state.stage("report", "report.html"):
            summary = summarise(
                self.config,
                points=points,
                model=model,
                truth=truth,
                speed=speed,
                distribution_history=history,
                timings=self.state.timings,
                n_stars=self.catalogue["n_in_volume"],
                resumed=self.state.sessions > 1,
                notes=[*([] if speed.get("detected", True) else [str(speed.get("message"))]), *self.state.all_notes],
            )
            write_json(path, summary)
            self.progress("report", 1, 2, {})
            write_report(self.folder, points=points, model=model, truth=truth)
            self.progress("report", 2, 2, {})
            for flag in summary["flags"]:
                LOGGER.warning("%s", flag)
        write_json(path, {**summary, "timings": self.state.timings})


def _silent(stage: str, done: int, total: int, values: dict[str, float]) -> None:
    """No progress wanted."""


@contextmanager
def _noted_warnings(notes: list[str]) -> Iterator[None]:
    """Log warnings instead of printing them; add those of this package to ``notes``, except what the histories of trainings keep."""

    def note(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        text = " ".join(str(message).split())
        LOGGER.warning("%s: %s", category.__name__, text)
        if issubclass(category, DeepPotWarning) and not issubclass(category, DivergenceWarning) and text not in notes:
            notes.append(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", DeepPotWarning)
        warnings.showwarning = note
        yield
