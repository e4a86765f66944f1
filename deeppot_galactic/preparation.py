"""What must hold before a run may start: its settings, its stars, its volume.

Everything that can be wrong with the input is found here, in seconds, before anything is written and before a training costs time.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .catalogue.masks import Mask
from .catalogue.selection import StoredSelection
from .catalogue.tracers import Tracers
from .catalogue.volumes import Ball, Cylinder, Volume
from .config import Config, SelectionConfig, VolumeConfig, make_config, read_config
from .errors import CatalogueError, ConfigError, FrameError, StoreError
from .units import LENGTH, VELOCITY

if TYPE_CHECKING:
    from .potential.frame import RotatingFrame


def table_config(
    path: Path,
    r_out: float | None = None,
    half_height: float | None = None,
    ball: str | None = None,
    where: list[str] | None = None,
    columns: list[str] | None = None,
    options: list[str] | None = None,
    selection: Path | None = None,
    errors: str | None = None,
) -> Config:
    """The configuration that the options of a command mean, for a table or on top of a CONFIG.toml (`ConfigError` for a bad one)."""
    volume: dict[str, Any] = {}
    if ball is not None:
        if half_height is not None:
            raise ConfigError("a ball has no half height: leave --half-height away, or --ball for a cylinder")
        try:
            volume = {"kind": "ball", "center": [float(part) for part in ball.split(",")], "radius": 16.0 if r_out is None else r_out}
        except ValueError:
            raise ConfigError(f"--ball takes three numbers X,Y,Z in kpc, found {ball!r}") from None
    else:
        volume = {key: value for key, value in (("r_out", r_out), ("half_height", half_height)) if value is not None}
    reading: dict[str, Any] = {}
    for text in options or []:
        key, value = _pair(text, "--set", "KEY=VALUE")
        reading[key] = _toml_value(value)
    if columns:
        reading["columns"] = {**reading.get("columns", {}), **dict(_pair(text, "--column", "ROLE=NAME") for text in columns)}
    if where:
        reading["where"] = [*([reading["where"]] if isinstance(reading.get("where"), str) else reading.get("where", [])), *where]
    catalogue: dict[str, Any] = {} if errors is None else {"errors": errors}
    if path.suffix.lower() != ".toml":
        values: dict[str, Any] = {"catalogue": {"path": str(path), "options": reading, **catalogue}, "volume": volume}
        if selection is not None:
            values["selection"] = {"path": str(selection)}
        return make_config(values, source="options")
    config = read_config(path)
    if volume:
        raise ConfigError(f"the volume comes from {path}; leave --r-out, --half-height and --ball away")
    changes: dict[str, dict[str, Any]] = {"catalogue": {**catalogue, "options": {**config.catalogue.options, **reading}}}
    if selection is not None:
        changes["selection"] = {"path": str(selection)}
    return config.replace(**changes)


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    key, mark, value = text.partition("=")
    if not mark or not key.strip():
        raise ConfigError(f"{option} takes {expected}, found {text!r}")
    return key.strip(), value.strip()


def _toml_value(text: str) -> Any:
    """A value as TOML writes it; anything else is text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def make_volume(config: VolumeConfig) -> Volume:
    """The `Volume` that a configuration describes (`VolumeError` for impossible numbers)."""
    if config.kind == "ball":
        return Ball(np.asarray(config.center) * LENGTH, (config.radius or 0.0) * LENGTH)
    return Cylinder(
        r_out=config.outer_radius * LENGTH,
        half_height=config.height * LENGTH,
        r_in=(config.r_in or 0.0) * LENGTH,
        shells=None if config.shells is None else np.asarray(config.shells) * LENGTH,
    )


def read_stars(config: Config) -> tuple[Tracers, Volume]:
    """The stars of a run, selected, weighted and thinned, and the volume they are used in.

    A selection function weights the stars by its inverse and masks the volume where it is too small.

    Raises
    ------
    CatalogueError, UnitsError, VolumeError
        If the table cannot be used.
    """
    from .catalogue.reading import read_tracers

    path, limit = Path(config.catalogue.path), config.catalogue.limit
    volume = make_volume(config.volume)
    tracers = read_tracers(path, **config.catalogue.options)
    if config.selection.path is not None:
        selection = load_selection(config.selection, tracers)
        tracers = tracers.weighted(selection, least=config.selection.least_of_use)
        volume = volume.masked(Mask(selection, config.selection.least_of_use))
    if config.catalogue.errors != "ignore" and tracers.covariance_known == 0:
        needed = "the error columns of parallax (or distance), proper motions and radial velocity"
        raise CatalogueError(f"catalogue.errors is {config.catalogue.errors!r}, but no star of {path} has errors: it needs {needed}")
    if limit is not None and limit < len(tracers):
        keep = np.sort(np.random.default_rng(config.run.seed).permutation(len(tracers))[:limit])
        tracers = tracers.select(keep, name=f"random {limit} stars")
    if config.catalogue.bootstrap is not None:
        tracers = bootstrap_sample(tracers, config.catalogue.bootstrap)
    return tracers, volume


def load_catalogue(config: Config) -> tuple[Tracers, Volume, dict[str, Any]]:
    """`read_stars`, and the content of ``catalogue.json``.

    Raises
    ------
    CatalogueError, UnitsError, VolumeError
        If the table cannot be used, or no star lies in the volume.
    """
    from .catalogue.check import summarize

    path = Path(config.catalogue.path)
    tracers, volume = read_stars(config)
    inside = len(tracers.within(volume))
    found = {"sha256": fingerprint(path), "n_in_volume": inside, "volume": volume.to_dict(), "volume_text": volume.describe()}
    if config.selection.path is not None:
        found["selection_sha256"] = fingerprint(Path(config.selection.path))
    return tracers, volume, {**tracers.meta, **summarize(tracers), **found, "source": str(path)}


def load_selection(config: SelectionConfig, tracers: Tracers) -> StoredSelection:
    """The selection function of a configuration; the Sun is where its file says, else where the catalogue's frame says."""
    from .catalogue.selection_files import read_selection

    path = config.path or ""
    return read_selection(path, default_frame=tracers.frame, sky=config.sky, order=config.order, taper=config.taper)


def bootstrap_sample(tracers: Tracers, number: int) -> Tracers:
    """Bootstrap sample ``number`` of the stars: each has its weight times a draw from Poisson(1), and those drawn as zero are left out."""
    counts = np.random.default_rng([number, 0xB007]).poisson(1.0, len(tracers))
    drawn = tracers.select(counts > 0, name=f"bootstrap sample {number}")
    weights = counts[counts > 0].astype(float)
    drawn.weights = weights if drawn.weights is None else drawn.weights * weights
    return drawn


def check_settings(config: Config) -> None:
    """Refuse settings that a late stage would refuse, before an early stage costs time (`ConfigError`, `FrameError`)."""
    from .distribution.executors import executor_class
    from .distribution.fit import resolve_settings
    from .potential.fit import resolve_settings as resolve_potential

    if config.potential.method != "weak":  # which fits no distribution
        preset, options = config.distribution.preset, distribution_options(config)
        _check_kinds("distribution.options", resolve_settings(preset, {}), options)
        resolve_settings(preset, options)
        executor_class(config.distribution.executor)
    preset, options = config.potential.preset, config.potential.options
    _check_kinds("potential.options", resolve_potential(preset, {}), options)
    resolve_potential(preset, options, config.potential.method)
    check_frame(config)
    if config.run.device != "cpu":
        import torch

        kind = config.run.device.split(":")[0]
        if not (torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()):
            raise ConfigError(f"run.device is {config.run.device!r}, but torch finds no such device here; use --device cpu")


def distribution_options(config: Config) -> dict[str, Any]:
    """The options of the distribution; ``catalogue.errors`` holds for it too unless they say otherwise."""
    treatment = {} if config.catalogue.errors == "ignore" else {"errors": config.catalogue.errors}
    return {**treatment, **config.distribution.options}


def make_frame(config: Config, omega: float | list[float]) -> RotatingFrame:
    """The rotating frame to start from, at ``omega`` [km/s/kpc], a number about z or a vector (`FrameError` for freedoms that stars cannot
    identify)."""
    from .potential.frame import RotatingFrame

    settings = config.pattern_speed
    values = {"omega": [0.0, 0.0, omega] if isinstance(omega, int | float) else omega, "x0": [0.0] * 3, "v0": [0.0] * 3}
    values |= {name: vector for name in ("x0", "v0") if (vector := getattr(settings, name)) is not None}
    return RotatingFrame.from_dict({**values, "free": settings.free, "prior": settings.prior or {}})


def check_frame(config: Config) -> None:
    """Refuse a frame that the method or the volume does not have (`FrameError`)."""
    from .potential.fit import check_method
    from .potential.recentred import recentred

    settings = config.pattern_speed
    start = settings.omega if settings.omega != "weak" else 1.0  # some rotation, which the stars will tell
    frame = make_frame(config, start)
    check_method(config.potential.method, frame)
    if frame.x0_vector.any():
        if config.selection.path is not None:
            raise FrameError("pattern_speed.x0 does not fit a volume with a selection function: shift the catalogue instead")
        recentred(make_volume(config.volume), frame.x0_vector)


def seen_from_axis(config: Config, tracers: Tracers, volume: Volume) -> tuple[Tracers, Volume]:
    """Stars and volume relative to ``pattern_speed.x0`` and ``v0``, as `pattern_speed` takes them."""
    settings = config.pattern_speed
    if not settings.is_offset:
        return tracers, volume
    from .potential.recentred import recentred

    x0, v0 = (np.zeros(3) if vector is None else np.asarray(vector) for vector in (settings.x0, settings.v0))
    return tracers.relative_to(x0 * LENGTH, v0 * VELOCITY), recentred(volume, x0) if x0.any() else volume


def _check_kinds(section: str, defaults: Any, options: dict[str, Any]) -> None:
    """Refuse a value of another kind than the default of the same name has; names are checked by the owner of the settings."""
    if hasattr(defaults, "for_stars"):  # numbers that depend on the stars have a kind, too
        defaults = defaults.for_stars(10**6)
    kinds = ((bool, "true or false"), (int, "a whole number"), (float, "a number"), (str, "text"), ((list, tuple), "a list"))
    for name, value in options.items():
        default = getattr(defaults, name, None)
        for kind, expected in kinds:
            if isinstance(default, kind):
                accepted = (int, float) if kind is float else kind
                if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
                    raise ConfigError(f"{section}.{name} must be {expected}, found {value!r}")
                break


def fingerprint(path: Path) -> str:
    """SHA-256 of a file (`StoreError` if it cannot be read)."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
