"""The folder of a run: claimed once, written atomically, and able to go on after a kill.

``state.json`` holds the digest of the configuration and, for every finished stage, its seconds and the names and sizes of its files.
A stage counts as finished when it is listed there and its files are present; each stage writes its files first and is listed last. So
whatever the moment of a kill, a resumed run repeats at most one stage, from the checkpoint of its training if it has one.
"""

from __future__ import annotations

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .config import Config, read_config
from .errors import ConfigError, StoreError
from .store import read_json, remove_partial_files, write_json, write_text

LOGGER = logging.getLogger("deeppot_galactic")
STATE = "state.json"
CONFIG = "config.toml"
LOG = "log.txt"


class RunState:
    """What has been done in a run folder; made by `open_run`."""

    def __init__(self, folder: Path, config: Config, stages: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.config = config
        self.stages = stages
        self.sessions = 0
        """How many processes worked in the folder; more than one means that it was resumed."""
        self.notes: list[str] = []
        """Warnings of the stage that is going on; `stage` files them with it, so that a resumed run still knows them."""

    def path(self, name: str) -> Path:
        """A file of the run, with its folder made."""
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror}; files written before are untouched") from None
        return path

    def finished(self, stage: str) -> bool:
        """Whether a stage is listed and all its files are there with the sizes they had."""
        files = self.stages.get(stage, {}).get("files")
        return files is not None and all(size is not None and _size(self.folder / name) == size for name, size in files.items())

    @contextmanager
    def stage(self, name: str, *files: str) -> Iterator[None]:
        """Time a stage that writes ``files``, and list it as finished when the block ends well."""
        LOGGER.info("%s: started", name)
        self.notes.clear()
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        sizes = {file: _size(self.folder / file) for file in files}
        self.stages[name] = {"seconds": seconds, "files": sizes, "notes": list(self.notes)}
        self.save()
        LOGGER.info("%s: finished in %.1f s", name, seconds)

    @property
    def timings(self) -> dict[str, float]:
        """Seconds of every finished stage (of its last attempt, where it was interrupted)."""
        return {name: entry["seconds"] for name, entry in self.stages.items()}

    @property
    def all_notes(self) -> list[str]:
        """The warnings of the finished stages, each once."""
        return list(dict.fromkeys(note for entry in self.stages.values() for note in entry.get("notes", [])))

    def save(self) -> None:
        """Write ``state.json``."""
        write_json(self.folder / STATE, {"digest": self.config.digest(), "sessions": self.sessions, "stages": self.stages})


def check_folder(out: str | Path, config: Config, *, resume: bool) -> Path:
    """Refuse an output folder that must not be used, before anything costs time; nothing is touched.

    Raises
    ------
    StoreError
        If the folder exists and ``resume`` is false, is not a run folder, or is damaged.
    ConfigError
        If the run to be resumed has another configuration.
    """
    folder = Path(out)
    try:
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"the output {folder} exists and is not a folder; choose another with --out")
        content = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise StoreError(f"cannot use the output folder {folder}: {error.strerror}") from None
    if content and not resume:
        raise StoreError(f"the output folder {folder} exists and is not empty; choose another with --out, or go on with --resume")
    begun = all(name.startswith((".config.partial", LOG)) for name in content)  # killed before its first file was complete
    if not begun and CONFIG not in content:
        raise StoreError(f"{folder} is not a run folder (it has no {CONFIG}); choose another with --out")
    if CONFIG in content:
        different = config.differences(read_config(folder / CONFIG))
        if different:
            changed = ", ".join(different[:4]) + (" ..." if len(different) > 4 else "")
            raise ConfigError(f"{folder} was started with another configuration ({changed} differ); choose another folder with --out")
        _read_stages(folder / STATE, config)
    return folder


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Make the folder, and while the block runs keep other runs out of it and append the messages of the package to its log.

    Raises
    ------
    StoreError
        If the folder cannot be made or written, or another run is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(folder / LOG, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write in the output folder {folder}: {error.strerror}; files written before are untouched") from None
    try:
        stream: Any = handler.stream
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by the system, however this process ends
    except OSError:
        handler.close()
        raise StoreError(f"another run is at work in {folder}; wait for it, or choose another folder with --out") from None
    handler.setFormatter(_UtcFormatter("%(asctime)s %(levelname)s %(message)s"))
    level = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(min(logging.INFO, level) if level else logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        handler.close()


def open_run(config: Config, folder: Path) -> RunState:
    """Begin in a claimed folder, or go on with what is finished there (`StoreError` when it cannot be written)."""
    remove_partial_files(folder)
    if not (folder / CONFIG).is_file():
        write_text(folder / CONFIG, config.to_toml())
    state = RunState(folder, config, _read_stages(folder / STATE, config))
    if not state.finished("report"):
        before = read_json(folder / STATE).get("sessions", 0) if (folder / STATE).is_file() else 0
        state.sessions = (before if isinstance(before, int) else 0) + 1
        state.save()
    return state


def _read_stages(path: Path, config: Config) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    state = read_json(path)
    stages = state.get("stages")
    if not isinstance(stages, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("files"), dict) for entry in stages.values()
    ):
        raise StoreError(f"{path} is damaged; delete it to repeat the stages, or choose another folder with --out")
    if state.get("digest") != config.digest():
        raise ConfigError(f"{path.parent} was made with another configuration; choose another folder with --out")
    return stages


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A log that cannot be written (disk full) is no reason to fail."""


class _UtcFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
