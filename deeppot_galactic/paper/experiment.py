"""Run the paper's experiment: every snapshot, every volume, every preset, each as an ordinary run in a folder of its own.

    out/
      runs/SNAPSHOT/PRESET/VOLUME/    run folders as of ``deeppot run``, reports included
      results.json                    one row a run; written again after each
      paper.md, paper.html            tables 3 and 4, our numbers beside the paper's
      figures/*.png                   counterparts of the paper's figures

An interrupted experiment goes on where it was: finished runs are kept, the unfinished one continues from its checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, make_config
from ..errors import CatalogueError, ConfigError, FitError, StoreError, VolumeError
from ..pipeline import run
from ..store import write_json
from .volumes import SHELLS, volume_table

LOGGER = logging.getLogger("deeppot_galactic")
Progress = Callable[[str, int, int, dict[str, float]], None]
PRESETS = ("fast", "paper-small", "paper", "quick")
"""Presets that exist for the distribution and for the potential."""


@dataclass(frozen=True)
class Case:
    """One run of the experiment: a ``snapshot``, the name of a ``volume`` and of a ``preset``."""

    snapshot: Path
    volume: str
    preset: str

    @property
    def folder(self) -> str:
        """Of the run, relative to the experiment."""
        return f"runs/{self.snapshot.stem}/{self.preset}/{self.volume.replace(' ', '-')}"


@dataclass(frozen=True)
class Reproduction:
    """A finished experiment: its ``folder``, the ``rows`` of its tables, and the path of the ``page``."""

    folder: Path
    rows: list[dict[str, Any]]
    page: Path


def reproduce(
    snapshots: Iterable[str | Path],
    out: str | Path,
    *,
    presets: Iterable[str] = ("fast",),
    only: Iterable[str] = (),
    stars: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    threads: int = 0,
    resume: bool = False,
    progress: Progress | None = None,
    announce: Callable[[str], None] | None = None,
) -> Reproduction:
    """Carry out the paper's experiment, or go on with it.

    Parameters
    ----------
    snapshots : iterable of path
        Catalogues with a truth: Omega and the angle of the bar at least (see `deeppot_galactic.read_truth`).
    out : path
        Folder to write; must not exist or be empty, unless ``resume``.
    presets : iterable of str
        "fast", "paper-small", "paper", "quick"; used for the distribution and the potential alike.
    only : iterable of str
        Names of volumes; by default all of `volume_table`.
    stars : int, optional
        Use at most so many stars of a snapshot, drawn at random.
    seed : int
        Of every run.
    device : str
        Of every training.
    threads : int
        Of torch; 0: as it chooses.
    resume : bool
        Go on in ``out``; more snapshots, presets or volumes may be added.
    progress : callable, optional
        ``progress(stage, done, total, values)`` of the run that is going on.
    announce : callable, optional
        Called with one line when a run begins.

    Returns
    -------
    Reproduction

    Raises
    ------
    CatalogueError
        If a snapshot is missing or has no truth.
    ConfigError
        For unknown presets or volumes, two snapshots of one name, or a folder begun with other settings.
    StoreError
        If the folder is in use, not empty, or cannot be written.

    References
    ----------
    Kalda, Green & Ghosh 2023, arXiv:2310.00040, section 4.
    """
    from .page import write_page
    from .results import measure_run

    folder = Path(out)
    paths = [Path(path) for path in snapshots]
    plan = list(_plan(paths, list(presets), list(only), stars=stars, seed=seed, device=device, threads=threads))
    if folder.is_dir() and any(folder.iterdir()) and not resume:
        raise StoreError(f"the output folder {folder} exists and is not empty; choose another with --out, or go on with --resume")
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"the output {folder} exists and is not a folder; choose another with --out")
    rows: list[dict[str, Any]] = []
    for k, (case, config) in enumerate(plan):
        if announce is not None:
            announce(f"{k + 1} of {len(plan)}: {case.snapshot.stem}, {case.volume}, preset {case.preset}")
        place = folder / case.folder
        place.parent.mkdir(parents=True, exist_ok=True)
        base = {"snapshot": case.snapshot.stem, "volume": case.volume, "preset": case.preset, "folder": case.folder}
        try:
            result = run(config, place, resume=resume and place.is_dir(), progress=progress)
        except (FitError, VolumeError) as error:  # too few stars in a small ball is a result too
            LOGGER.warning("%s: %s", case.folder, error)
            rows.append({**base, "failed": str(error)})
        else:
            rows.append({**base, **measure_run(result)})
        write_json(folder / "results.json", {"rows": rows})
    return Reproduction(folder, rows, write_page(folder, rows, [path.stem for path in paths]))


def _plan(snapshots: list[Path], presets: list[str], only: list[str], **options: Any) -> Iterable[tuple[Case, Config]]:
    """Every case with its configuration; whole discs of all snapshots first."""
    from ..catalogue.truth import read_truth

    if not snapshots:
        raise ConfigError("no snapshots; give at least one catalogue with a truth")
    if len({path.stem for path in snapshots}) < len(snapshots):
        raise ConfigError(f"two snapshots have the same name: {', '.join(path.name for path in snapshots)}")
    for preset in presets:
        if preset not in PRESETS:
            raise ConfigError(f"unknown preset {preset!r}; known are {', '.join(PRESETS)}")
    tables = {}
    for path in snapshots:
        truth = read_truth(path)
        if truth is None or truth.omega is None or truth.bar_angle is None:
            raise CatalogueError(f"{path} has no known pattern speed and bar angle; the experiment needs snapshots with a truth")
        tables[path] = volume_table(truth.bar_angle)
    names = list(next(iter(tables.values())))
    for name in only:
        if name not in names:
            raise ConfigError(f"unknown volume {name!r}; known are {', '.join(names)}")
    for preset in presets:
        for name in only or names:
            for path in snapshots:
                yield Case(path, name, preset), case_config(path, tables[path][name], preset, **options)


def case_config(path: Path, volume: dict[str, Any], preset: str, *, stars: int | None, seed: int, device: str, threads: int) -> Config:
    """The configuration of one run; presets of the paper fit a disc in the shells of its table 2.

    Parameters
    ----------
    path : Path
        The snapshot.
    volume : dict
        Section ``[volume]``, lengths in kpc.
    preset : str
        Of distribution and potential.
    stars : int or None
        At most so many.
    seed, device, threads
        As in section ``[run]``.

    Returns
    -------
    Config
    """
    if preset.startswith("paper") and volume["kind"] == "cylinder":
        volume = {**volume, "shells": list(SHELLS)}
    catalogue: dict[str, Any] = {"path": str(path.resolve())} | ({} if stars is None else {"limit": stars})
    return make_config(
        {
            "catalogue": catalogue,
            "volume": volume,
            "distribution": {"preset": preset},
            "potential": {"preset": preset},
            "run": {"seed": seed, "device": device, "threads": threads, "quick": preset == "quick"},
        },
        source="paper",
    )
