"""`fit_distribution`: from stars and a volume to a fitted distribution function, by the name of a preset."""

from __future__ import annotations

import difflib
from concurrent.futures import Executor
from dataclasses import fields
from functools import partial
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import device as valid_device
from ..arguments import instance, replaced, whole
from ..catalogue.sanity import check_copies, check_extent
from ..catalogue.tracers import Tracers
from ..catalogue.volumes import Ball, Cylinder, Volume
from ..errors import CatalogueError, ConfigError, FitError, VolumeError
from .base import Distribution
from .disc_whitening import DiscWhitening
from .flow_fit import fit_flow
from .likelihood import LikelihoodSettings
from .matching import MatchingSettings
from .noise import NoisyStars, trained_on
from .padding import Padding, padded_stars
from .score_matching import ScoreMatchingSettings, fit_score_matching
from .sphere_whitening import SphereWhitening
from .stitching import fit_stitched
from .thinning import CHUNK, most_stars, thinned
from .training_volume import training_volume
from .whitening import AffineWhitening, Whitening

if TYPE_CHECKING:
    from ..training import Progress

LEAST_STARS = 500
"""Fewer stars than this say nothing about a density in six dimensions."""
MOST_DUPLICATES = 0.01
"""Share of stars that may coincide exactly with another one."""

PRESETS: dict[str, Any] = {
    "fast": ScoreMatchingSettings(),
    "quick": ScoreMatchingSettings(steps=300, batch=1024, width=64, depth=3, weight_decay=1e-2, ema=0.97, validate_every=50),
    "flow-matching": MatchingSettings(),
    "paper": LikelihoodSettings(),
    "paper-small": LikelihoodSettings(
        steps=2000,
        batch=1024,
        width=64,
        depth=3,
        chain=1,
        solver="rk4",
        solver_steps=4,
        warmup=100,
        validate_every=100,
        checkpoint_every=100,
    ),
}
"""Named settings. "fast": score matching, the default. "quick": the same for tests and first looks, far from converged.
"flow-matching": a continuous flow with a sampler. "paper": FFJORD by likelihood with the numbers of Kalda, Green & Ghosh (2023);
"paper-small": the same method at a size for a laptop."""


def resolve_settings(preset: str, overrides: dict[str, Any]) -> Any:
    """The settings of a preset with some of them replaced.

    Raises
    ------
    ConfigError
        For an unknown preset or setting, with the nearest name, or a value out of range.
    """
    if preset not in PRESETS:
        raise ConfigError(f"distribution preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}{_nearest(preset, PRESETS)}")
    settings = PRESETS[preset]
    known = {f.name for f in fields(settings)} - {"estimator"}
    for name in overrides:
        if name not in known:
            raise ConfigError(f"setting {name!r} does not belong to the distribution preset {preset!r}{_nearest(name, known)}")
    settings = replaced(settings, overrides, "distribution option", ConfigError)
    settings.training()  # refuses what the loop does not know
    return settings


def _nearest(name: str, known: Any) -> str:
    match = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


def choose_whitening(x: NDArray[np.float64], weights: NDArray[np.float64] | None, volume: Volume, settings: Any) -> Whitening:
    """A sphere for a ball around the origin, a disc with linear (x, y) for any other ball, and a disc for a cylinder: in physical
    lengths for score matching, which needs a metric, stretched to a normal for flows, which need one to start from."""
    if not getattr(settings, "whiten", True):
        return AffineWhitening.fit(x, weights)
    physical = isinstance(settings, ScoreMatchingSettings)
    mirror = bool(getattr(settings, "reflect", False))
    if isinstance(volume, Ball):
        if np.linalg.norm(volume.center) < 0.5 * volume.radius:
            return SphereWhitening.fit(x, weights, centre=volume.center)
        return DiscWhitening.fit(x, weights, planar="local" if physical else "linear", degree=3, mirror=mirror)
    return DiscWhitening.fit(x, weights, planar="physical" if physical else "log", mirror=mirror)


def check_symmetries(settings: Any, volume: Volume) -> None:
    """Refuse a symmetry that does not map the volume onto itself.

    Raises
    ------
    ConfigError
        Naming the symmetry.
    """
    centre = volume.center
    if getattr(settings, "reflect", False) and centre[2] != 0.0:
        raise ConfigError(f"reflect needs a volume symmetric about z = 0; the {volume.describe()} is not")
    if getattr(settings, "turn", False) and (centre[0] != 0.0 or centre[1] != 0.0):
        raise ConfigError(f"turn needs a volume centred on the axis; the {volume.describe()} is not")


def _check(x: NDArray[np.float64], volume: Volume) -> None:
    if len(x) < LEAST_STARS:
        raise FitError(f"only {len(x)} stars in the {volume.describe()}; at least {LEAST_STARS} are needed for a density in six dimensions")
    check_extent(x)
    check_copies(x, MOST_DUPLICATES, "stars")


def fit_distribution(
    tracers: Tracers,
    volume: Volume,
    *,
    preset: str = "fast",
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    validation_fraction: float = 0.25,
    members: int = 1,
    executor: Executor | None = None,
    **overrides: Any,
) -> Distribution:
    """Fit f(x, v) to stars.

    Parameters
    ----------
    tracers : Tracers
        The stars. Those beyond the volume are used for a margin; pass them uncut where they exist.
    volume : Volume
        Where f is wanted. A cylinder with shells gets one fit for each of them, stitched smoothly.
    preset : str
        A name in `PRESETS`.
    seed : int
        The same seed gives the same numbers on the same machine.
    device : str
        A torch device.
    progress : callable, optional
        ``progress(stage, done, total, values)``.
    checkpoint : str or Path, optional
        File to write to now and then; an existing one is continued, bit-identically on the CPU.
    validation_fraction : float
        Share of the stars held out, shuffled.
    members : int
        More than one make an ensemble: fits with the seeds seed, seed + 1, ..., their mean, and their spread as the uncertainty.
    executor : concurrent.futures.Executor, optional
        Trains the members, or the shells of the volume, side by side; no ``progress`` with an executor of processes.
    **overrides
        Settings of the preset to replace. ``errors="correct"`` (score matching) takes the stars' known errors out of the training,
        ``errors="inject"`` draws their coordinates anew at every epoch.

    Returns
    -------
    Distribution

    Raises
    ------
    VolumeError
        When no star lies in the volume.
    FitError
        For too few or duplicate stars, a constant dimension, or a training that diverged.
    ConfigError
        For an unknown preset or setting, one of the wrong kind or out of range, or a device that is not there.
    CatalogueError
        If ``tracers`` are none.

    Examples
    --------
    >>> df = fit_distribution(tracers, volume, preset="quick")  # doctest: +SKIP
    >>> score_x, score_v = df.score(tracers.pos, tracers.vel)  # doctest: +SKIP
    """
    settings = resolve_settings(preset, overrides)
    instance(tracers, Tracers, "tracers", CatalogueError)
    instance(volume, Volume, "volume", VolumeError)
    seed, members = whole(seed, "seed", error=ConfigError), whole(members, "members", least=1, error=ConfigError)
    device = valid_device(device)
    if executor is not None and not callable(getattr(executor, "map", None)):
        raise ConfigError(f"executor must be a concurrent.futures.Executor, found a {type(executor).__name__}")
    if members != 1:
        from .ensemble import fit_ensemble

        shared = {"preset": preset, "device": device, "progress": progress, "validation_fraction": validation_fraction} | overrides
        return fit_ensemble(tracers, volume, members=members, seed=seed, executor=executor, checkpoint=checkpoint, **shared)
    if not isinstance(validation_fraction, Real) or not 0.0 <= validation_fraction < 1.0:
        raise ConfigError(f"validation_fraction must lie in [0, 1), found {validation_fraction!r}")
    check_symmetries(settings, volume)
    fit = partial(_fit_one, tracers=tracers, settings=settings, validation_fraction=validation_fraction, device=device, progress=progress)
    path = None if checkpoint is None else Path(checkpoint)
    if isinstance(volume, Cylinder) and volume.shells is not None and len(volume.shells) > 2:
        large = len(tracers) > most_stars(settings, validation_fraction)
        stars = thinned(tracers, volume, CHUNK, seed)[0] if large else tracers
        stitched = fit_stitched(fit, volume, stars.within(volume), seed=seed, checkpoint=path, executor=executor)
        if large:
            stitched.tracers = tracers
        return stitched
    return fit((volume, seed, path))


def _fit_one(
    job: tuple[Volume, int, Path | None],
    *,
    tracers: Tracers,
    settings: Any,
    validation_fraction: float,
    device: str,
    progress: Progress | None,
) -> Distribution:
    """The fit of one volume, or of one shell: ``job`` is the volume, the seed and the checkpoint."""
    volume, seed, checkpoint = job
    most = most_stars(settings, validation_fraction)
    everything, n_stars = tracers, None
    if len(tracers) > most:
        tracers, n_stars = thinned(tracers, volume, most, seed)
    inside = tracers.within(volume)
    _check(inside.phase_space, volume)
    weights = None if tracers.weights is None else np.asarray(tracers.weights, dtype=np.float64)
    region: Volume | Padding
    noisy: NoisyStars | None = None
    if getattr(settings, "pad", False):
        if settings.errors != "ignore":
            raise ConfigError(f"errors = {settings.errors!r} needs pad = false: virtual stars beyond the volume have no errors")
        x, weights, region = padded_stars(tracers.phase_space, weights, volume, seed)
        whitening = choose_whitening(x, weights, volume, settings)
    else:
        region = training_volume(tracers.phase_space[:, :3], volume)
        used = region.contains(tracers.phase_space[:, :3])
        x, weights = tracers.phase_space[used], None if weights is None else weights[used]
        whitening = choose_whitening(x, weights, region, settings)
        if settings.errors != "ignore":
            edge = isinstance(settings, ScoreMatchingSettings)
            stars = trained_on(tracers, region, settings.errors, seed) if edge else tracers.select(used)
            noisy = NoisyStars(stars, whitening, region if edge else None, settings.errors, seed)
    fit: Any = fit_score_matching if isinstance(settings, ScoreMatchingSettings) else fit_flow
    df = fit(
        x,
        weights,
        whitening=whitening,
        volume=volume,
        region=region,
        settings=settings,
        validation_fraction=validation_fraction,
        seed=seed,
        device=device,
        progress=progress,
        checkpoint=checkpoint,
        noisy=noisy,
    )
    df.tracers = inside
    if n_stars is not None:
        df.meta["thinned_to"] = len(tracers)
        df.rescale(n_stars)
        df.tracers = everything
    return df
