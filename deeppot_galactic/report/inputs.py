"""What a report is made from: the parts of a run folder, loaded, with arrays in internal units.

The report only asks for the attributes named in the protocols below, so that any object that has them (a fitted model, an analytic
potential in a test, points of another code) can be looked at. Everything but the folder may be missing; the report then leaves out
what depends on it.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..errors import DeepPotError, StoreError
from ..units import ACCELERATION, ANGULAR_SPEED, DENSITY, LENGTH, POTENTIAL, VELOCITY

Array = NDArray[np.float64]


class PointsLike(Protocol):
    """Phase-space points with scores (see `deeppot_galactic.draw_gradients`): ``points`` (N, 6) kpc, km/s; ``score`` (N, 6) 1/kpc, s/km."""

    @property
    def points(self) -> Array: ...
    @property
    def score(self) -> Array: ...
    @property
    def weights(self) -> Array | None: ...
    @property
    def volume(self) -> Any: ...
    @property
    def meta(self) -> dict[str, Any]: ...


def scores(points: PointsLike) -> Array | None:
    """The scores (N, 6) of points, or None where they are not known (stars alone)."""
    score = np.asarray(points.score, dtype=np.float64)
    return score if np.isfinite(score).any() else None


class PotentialLike(Protocol):
    """A potential with a pattern speed; `Quantity` in, `Quantity` out, (N, 3) positions."""

    @property
    def omega(self) -> Any: ...
    def potential(self, pos: Any) -> Any: ...
    def acceleration(self, pos: Any) -> Any: ...
    def density(self, pos: Any) -> Any: ...
    def in_training_volume(self, pos: Any) -> Any: ...


class Field:
    """A fitted potential as plain arrays: positions (N, 3) in kpc, results in km/s, kpc, Msun; evaluated in pieces to save memory."""

    def __init__(self, model: PotentialLike, *, batch: int = 16384) -> None:
        self._model, self._batch = model, batch
        self.omega = np.broadcast_to(_strip(model.omega, ANGULAR_SPEED), (3,)).astype(np.float64)
        error = getattr(model, "omega_error", None)
        self.omega_error = None if error is None else np.broadcast_to(_strip(error, ANGULAR_SPEED), (3,)).astype(np.float64)
        frame = getattr(model, "frame", None)
        self.x0 = _optional(getattr(frame, "x0", None), LENGTH)
        self.v0 = _optional(getattr(frame, "v0", None), VELOCITY)

    def _evaluate(self, name: str, positions: Array, unit: u.UnitBase) -> Array:
        function = getattr(self._model, name)
        parts = [positions[k : k + self._batch] for k in range(0, len(positions), self._batch)] or [positions]
        return np.concatenate([_strip(function(part * LENGTH), unit) for part in parts])

    def potential(self, positions: Array) -> Array:
        """Phi (N,), km^2/s^2."""
        return self._evaluate("potential", positions, POTENTIAL)

    def acceleration(self, positions: Array) -> Array:
        """-grad Phi (N, 3), km^2/s^2/kpc."""
        return self._evaluate("acceleration", positions, ACCELERATION)

    def density(self, positions: Array) -> Array:
        """lap Phi / (4 pi G) (N,), Msun/kpc^3."""
        return self._evaluate("density", positions, DENSITY)

    @property
    def mean_density_error(self) -> Any:
        """Error of the mean density [Msun/kpc^3] over positions (N, 3) [kpc], as a function; None for a fit without a posterior."""
        return getattr(getattr(self._model, "posterior", None), "mean_density_error", None)

    def inside(self, positions: Array) -> NDArray[np.bool_]:
        """Whether the potential was learned there (N,)."""
        return np.asarray(self._model.in_training_volume(positions * LENGTH), dtype=bool)


def _strip(value: Any, unit: u.UnitBase) -> Array:
    """A Quantity (or bare numbers in internal units) as float64 in ``unit``; radians count as one."""
    with u.set_enabled_equivalencies(u.dimensionless_angles()):
        return np.asarray(u.Quantity(value, unit).to_value(unit), dtype=np.float64)


def _optional(value: Any, unit: u.UnitBase) -> Array | None:
    return None if value is None else _strip(value, unit)


@dataclass
class RunFolder:
    """The contents of a run folder; empty dictionaries and None stand for what is not there.

    Attributes
    ----------
    path : Path
        The folder.
    config, catalogue, summary : dict
        ``config.toml``, ``catalogue.json``, ``summary.json``.
    config_text : str
        The configuration as written.
    points, model, truth
        `GradientSample`, `PotentialModel` and `Truth` (or look-alikes).
    missing : list of str
        One line for every part that should be there and could not be read.
    """

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    config_text: str = ""
    catalogue: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    points: Any = None
    model: Any = None
    truth: Any = None
    missing: list[str] = field(default_factory=list)

    @cached_property  # looking for it reads whole files
    def stars_file(self) -> Path | None:
        """The catalogue, where it is now."""
        return find_file(self, "catalogue", "sha256")

    @cached_property
    def selection_file(self) -> Path | None:
        """The file of its selection function, where it is now."""
        return find_file(self, "selection", "selection_sha256")


def read_run_folder(folder: str | Path, *, points: Any = None, model: Any = None, truth: Any = None) -> RunFolder:
    """Read a run folder, loading what was not given.

    Parameters
    ----------
    folder : str or Path
        As written by ``deeppot run``.
    points, model, truth : optional
        Loaded objects, used instead of the files.

    Raises
    ------
    StoreError
        If the folder does not exist, or holds neither points, nor a model, nor a summary.
    """
    path = Path(folder)
    if not path.is_dir():
        raise StoreError(f"no run folder at {path}; give the folder that `deeppot run` wrote")
    run = RunFolder(path, points=points, model=model, truth=truth)
    run.config_text = _text(path / "config.toml")
    try:
        run.config = tomllib.loads(run.config_text)
    except tomllib.TOMLDecodeError as error:
        run.missing.append(f"config.toml cannot be read: {error}")
    run.catalogue, run.summary = _json(run, "catalogue.json"), _json(run, "summary.json")
    _note_moved_files(run)
    if run.points is None:
        run.points = _load(run, "gradients.h5", _load_points)
    if run.model is None:
        run.model = _load(run, "model.safetensors", _load_model)
    if run.truth is None:
        run.truth = _load_truth(run)
    if run.points is None and run.model is None and not run.summary:
        raise StoreError(f"{path} is not a run folder: it has no readable gradients.h5, model.safetensors or summary.json")
    return run


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _json(run: RunFolder, name: str) -> dict[str, Any]:
    text = _text(run.path / name)
    try:
        values = json.loads(text) if text else {}
    except json.JSONDecodeError as error:
        run.missing.append(f"{name} cannot be read: {error}")
        return {}
    return values if isinstance(values, dict) else {}


def _load(run: RunFolder, name: str, loader: Any) -> Any:
    path = run.path / name
    if not path.is_file():
        run.missing.append(f"{name} is not there")
        return None
    try:
        return loader(path)
    except StoreError as error:
        run.missing.append(f"{name} cannot be read: {error}")
        return None


def _load_points(path: Path) -> Any:
    from ..distribution.gradients import GradientSample

    return GradientSample.load(path)


def _load_model(path: Path) -> Any:
    from ..potential.model import PotentialModel

    return PotentialModel.load(path)


def find_file(run: RunFolder, section: str, digest: str) -> Path | None:
    """The file that ``path`` of a section of the configuration means, wherever the run folder has been moved to.

    An absolute path is taken as it is; a relative one is looked for from here, from the run folder and from every folder above it; then a
    file of this name in the run folder or beside it. Other files than that of the run (by its ``digest`` in catalogue.json) do not count.
    """
    source = run.config.get(section, {}).get("path")
    if not source:
        return None
    given, folder, known = Path(str(source)), run.path.resolve(), run.catalogue.get(digest)
    if given.is_absolute() and given.is_file():
        return given
    places = [] if given.is_absolute() else [given, *(place / given for place in (folder, *folder.parents))]
    from ..preparation import fingerprint

    for path in [*places, folder / given.name, folder.parent / given.name]:
        if path.is_file() and (not known or fingerprint(path) == known):
            return path
    return None


def _note_moved_files(run: RunFolder) -> None:
    """Say which panels are absent because a file is gone."""
    for section, name, found, lost in (
        ("catalogue", "the catalogue", run.stars_file, "a truth, all of its stars, and the stars beside a sample of the fit are left out"),
        ("selection", "the selection function", run.selection_file, "the stars beside a sample of the fit may be left out"),
    ):
        source = run.config.get(section, {}).get("path")
        if source and found is None:
            run.missing.append(f"{name} {source} is no longer where it was, nor near the run folder: {lost}")


def _load_truth(run: RunFolder) -> Any:
    """The truth that came with the catalogue, if any."""
    path = run.stars_file
    if path is None:
        return None
    from ..catalogue.truth import read_truth

    try:
        return read_truth(path)
    except ValueError as error:
        run.missing.append(f"the truth cannot be read: {error}")
        return None


def catalogue_stars(run: RunFolder) -> Array | None:
    """All stars of the catalogue of a run, (N, 6) [kpc, km/s], thinned out or not; None if it can no longer be read."""
    from ..catalogue import read_tracers

    path = run.stars_file
    if path is None:
        return None
    try:
        return read_tracers(path, **run.config.get("catalogue", {}).get("options", {})).phase_space
    except DeepPotError as error:
        run.missing.append(f"the catalogue cannot be read again: {error}")
        return None


class Sample(NamedTuple):
    """The stars (N, 6) of a fit and a sample (M, 6) of the fitted ``model`` [kpc, km/s]; ``weights`` (N,) of the stars, or None."""

    stars: Array
    model: Array
    weights: Array | None = None


def stars_and_sample(run: RunFolder, *, n: int = 2**17, seed: int = 0) -> Sample | None:
    """What the distribution was fitted to and a sample of it; None if it has no sampler or either is gone."""
    files = sorted((run.path / "distribution").glob("*.safetensors"))
    if run.points is None or len(files) != 1:
        return None
    from ..config import make_config
    from ..distribution.base import Distribution
    from ..preparation import read_stars

    try:
        df = Distribution.load(files[0])
        if not df.has_sampler:
            return None
        if run.points.meta.get("source") == "sampled":
            stars = read_stars(make_config(_moved(run)))[0].within(run.points.volume)
            return Sample(stars.phase_space, run.points.points, stars.weights)
        position, velocity = df.sample(n, seed=seed)
        return Sample(run.points.points, np.hstack([position.to_value(LENGTH), velocity.to_value(VELOCITY)]), run.points.weights)
    except DeepPotError as error:
        run.missing.append(f"no comparison of the stars with a sample of the fit: {error}")
        return None


def _moved(run: RunFolder) -> dict[str, Any]:
    """The configuration of a run with the files where they are now."""
    config = dict(run.config)
    for section, path in (("catalogue", run.stars_file), ("selection", run.selection_file)):
        if path is not None:
            config[section] = {**config[section], "path": str(path)}
    return config
