"""Points drawn from f with ln f and its gradients: what the potential is fitted to.

An estimator with a sampler gives new points; the others give a draw of the stars themselves (without replacement), which are a sample
of f already. Files are HDF5 with one row per point and the description as JSON in the attributes, see `gradient_file`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import instance, whole
from ..catalogue.copies import Copies, error_copies
from ..catalogue.propagation import checked_weights
from ..catalogue.sanity import check_weighted
from ..catalogue.tracers import Tracers
from ..errors import CatalogueError, ConfigError, FitError
from ..store import rebuilding
from .base import Distribution
from .gradient_file import COPIES, read_hdf5, write_hdf5
from .gradient_stream import blocks, point_source, stream

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume
    from ..training import Progress

Array = NDArray[np.float64]


class GradientSample:
    """Phase-space points with ln f and scores.

    Attributes
    ----------
    points : ndarray, shape (N, 6)
        kpc, km/s.
    log_density : ndarray, shape (N,)
        ln of stars per kpc^3 (km/s)^3.
    score : ndarray, shape (N, 6)
        1/kpc, s/km.
    weights : ndarray, shape (N,), or None
        Weights of the points, for weighted stars.
    volume : Volume
        The region all points lie in.
    meta : dict
        Where they come from.
    copies : Copies, optional
        Stars with their known errors taken out, for the sums of the weak form; see `deeppot_galactic.catalogue.copies`.
    copy_weights : ndarray, optional
        Their weights.

    Raises
    ------
    FitError
        If the shapes disagree, or weights are negative, not finite or all zero.
    """

    def __init__(
        self,
        points: Array,
        log_density: Array,
        score: Array,
        *,
        volume: Volume,
        weights: Array | None = None,
        meta: dict[str, Any] | None = None,
        copies: Copies | None = None,
        copy_weights: Array | None = None,
    ) -> None:
        for name, values in (("points", points), ("log_density", log_density), ("score", score)):
            instance(values, np.ndarray, name, FitError)
        if points.ndim != 2 or points.shape[1] != 6 or score.shape != points.shape or log_density.shape != points.shape[:1]:
            raise FitError(f"points (N, 6), score (N, 6) and log_density (N,) disagree: {points.shape}, {score.shape}, {log_density.shape}")
        self.points, self.log_density, self.score = points, log_density, score
        self.volume, self.copies = volume, copies
        self.weights = checked_weights(weights, len(points), FitError)
        self.copy_weights = checked_weights(copy_weights, 0 if copies is None else len(copies), FitError)
        for values in (self.weights, self.copy_weights):
            check_weighted(values, FitError)
        self.meta: dict[str, Any] = {} if meta is None else meta

    @classmethod
    def of_stars(cls, tracers: Tracers, volume: Volume, *, errors: str = "ignore", seed: int = 0) -> GradientSample:
        """The stars of a volume as they are, without a distribution function: enough for ``fit_potential(..., method="weak")``.

        Parameters
        ----------
        tracers : Tracers
        volume : Volume
        errors : {"ignore", "correct"}
            As in `draw_gradients`.
        seed : int
            Of the copies.

        Returns
        -------
        GradientSample
            ln f and the scores are not known (NaN).

        Raises
        ------
        VolumeError
            When no star lies in the volume.
        CatalogueError
            If ``tracers`` are none, or their errors are to be corrected and not known.
        ConfigError
            For another treatment of errors.
        """
        stars = instance(tracers, Tracers, "tracers", CatalogueError).within(volume)
        x, meta = stars.phase_space, {"source": "stars", "n_stars": len(stars), "errors": errors}
        copies, copy_weights = _error_copies(volume, tracers, len(tracers), errors, seed)
        return cls(x, *_unknown(len(x)), volume=volume, weights=stars.weights, meta=meta, copies=copies, copy_weights=copy_weights)

    @property
    def has_scores(self) -> bool:
        """Whether there are scores, as there are not for `of_stars`."""
        return bool(np.isfinite(self.score).any())

    def __len__(self) -> int:
        return len(self.points)

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file atomically.

        Parameters
        ----------
        path : str or Path
            Conventionally ``*.h5``.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        columns = [self.points] + ([self.log_density[:, None], self.score] if self.has_scores else [])
        columns += [] if self.weights is None else [self.weights[:, None]]
        extra = copy_columns(self.copies, self.copy_weights)
        write_hdf5(Path(path), np.concatenate(columns, axis=1), self.volume, self.meta, extra)

    @classmethod
    def load(cls, path: str | Path) -> GradientSample:
        """Read what `save` wrote, see `gradient_file`.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        GradientSample

        Raises
        ------
        StoreError
            If the file is missing, damaged, too new or not a gradient file.
        """
        from ..catalogue.volumes import Volume

        arrays, volume, meta = read_hdf5(path)
        rows, coefficients, copy_weights = (arrays.pop(name, None) for name in COPIES)
        with rebuilding(path):
            copies = None if rows is None or coefficients is None else Copies(coefficients, rows.reshape(-1, len(coefficients), 6))
            if "score" not in arrays:
                arrays["log_density"], arrays["score"] = _unknown(len(arrays["points"]))
            return cls(**arrays, volume=Volume.from_dict(volume), meta=meta, copies=copies, copy_weights=copy_weights)


def draw_gradients(
    df: Distribution,
    n: int = 2**17,
    *,
    errors: str = "ignore",
    seed: int = 0,
    tracers: Tracers | None = None,
    path: str | Path | None = None,
    progress: Progress | None = None,
) -> GradientSample:
    """Points of f inside its volume, with ln f and scores.

    Parameters
    ----------
    df : Distribution
        A fitted distribution.
    n : int
        Number of points; for a draw of the stars themselves at most all of them.
    errors : {"ignore", "correct"}
        "correct" also keeps copies of up to ``n`` stars that take their known errors out of the sums of the weak form.
    seed : int
        Seed of the draw.
    tracers : Tracers, optional
        Stars to draw from; by default those of ``df``, when it has no sampler.
    path : str or Path, optional
        HDF5 file to write too: block by block, and going on where an earlier call for the same points was interrupted.
    progress : callable, optional
        ``progress(stage, done, total, values)``.

    Returns
    -------
    GradientSample

    Raises
    ------
    FitError
        When there is neither a sampler nor stars, or ``n`` is not positive.
    """
    instance(df, Distribution, "df", FitError)
    n, seed = whole(n, "n", least=1, error=FitError), whole(seed, "seed", error=FitError)
    source = point_source(df, n, seed, tracers)
    meta = {"source": source.name, "estimator": df.estimator, "seed": seed, "n": source.n, "n_stars": df.n_stars, "errors": errors}
    copies, copy_weights = _error_copies(df.volume, tracers, n, errors, seed)
    if path is not None:
        extra = copy_columns(copies, copy_weights)
        stream(df, source, Path(path), seed=seed, meta=meta, progress=progress, extra=extra)
        return GradientSample.load(path)
    rows = np.concatenate(list(blocks(df, source, 0, progress)))
    weights = rows[:, 13] if source.weighted else None
    parts = (np.ascontiguousarray(rows[:, columns]) for columns in (slice(0, 6), 6, slice(7, 13)))
    return GradientSample(*parts, volume=df.volume, weights=weights, meta=meta, copies=copies, copy_weights=copy_weights)


def _unknown(n: int) -> tuple[Array, Array]:
    """ln f (n,) and scores (n, 6) of stars alone."""
    return np.full(n, np.nan), np.full((n, 6), np.nan)


def copy_columns(copies: Copies | None, weights: Array | None) -> dict[str, Array]:
    """What a file holds of copies, by the name of the data set."""
    if copies is None:
        return {}
    columns = {COPIES[0]: copies.rows.reshape(len(copies), -1), COPIES[1]: copies.coefficients}
    return columns if weights is None else columns | {COPIES[2]: weights}


def _error_copies(volume: Volume, tracers: Tracers | None, n: int, errors: str, seed: int) -> tuple[Copies | None, Array | None]:
    """Copies of at most ``n`` stars that may lie in the volume, and their weights; none where errors are ignored."""
    if errors == "ignore":
        return None, None
    if errors != "correct":
        raise ConfigError(f"errors must be 'ignore' or 'correct', found {errors!r}")
    if tracers is None:
        raise FitError("errors='correct' needs the stars with their errors, those beyond the volume too: pass tracers=")
    copies = error_copies(tracers, seed=seed)
    reach = np.flatnonzero(copies.reaching(volume))
    reach = np.sort(np.random.default_rng(seed).permutation(reach)[:n])
    weights = None if tracers.weights is None else np.asarray(tracers.weights, dtype=np.float64)[reach]
    return copies[reach], weights
