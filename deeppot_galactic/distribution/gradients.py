"""Points drawn from f with ln f and its gradients: what the potential is fitted to.

An estimator with a sampler gives new points; the others give a draw of the stars themselves (without replacement), which are a sample
of f already. Files are HDF5 with one row per point and the description as JSON in the attributes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError, StoreError
from ..store import atomic_path, jsonable
from .base import Distribution

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers
    from ..catalogue.volumes import Volume
    from ..training import Progress

Array = NDArray[np.float64]
FORMAT = "deeppot-gradients 1"
ROWS = 16384


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
    ) -> None:
        if points.ndim != 2 or points.shape[1] != 6 or score.shape != points.shape or log_density.shape != points.shape[:1]:
            raise FitError(f"points (N, 6), score (N, 6) and log_density (N,) disagree: {points.shape}, {score.shape}, {log_density.shape}")
        self.points, self.log_density, self.score = points, log_density, score
        self.weights, self.volume = weights, volume
        self.meta: dict[str, Any] = {} if meta is None else meta

    def __len__(self) -> int:
        return len(self.points)

    def save(self, path: str | Path) -> None:
        """Write an HDF5 file atomically.

        Raises
        ------
        StoreError
            When it cannot be written.
        """
        import h5py

        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["volume"] = json.dumps(self.volume.to_dict())
            file.attrs["meta"] = json.dumps(jsonable(self.meta))
            file.attrs["units"] = "points: kpc, km/s; log_density: ln(kpc^-3 (km/s)^-3); score: 1/kpc, s/km"
            for name in ("points", "log_density", "score", "weights"):
                values = getattr(self, name)
                if values is not None:
                    file.create_dataset(name, data=values, fletcher32=True, chunks=True)

    @classmethod
    def load(cls, path: str | Path) -> GradientSample:
        """Read what `save` wrote.

        Raises
        ------
        StoreError
            When the file is missing, damaged or of another format.
        """
        import h5py

        from ..catalogue.volumes import Volume

        path = Path(path)
        if not path.is_file():
            raise StoreError(f"no gradients at {path}")
        try:
            with h5py.File(path, "r") as file:
                if file.attrs.get("format") != FORMAT:
                    raise StoreError(f"{path} is not a gradient file of this version ({FORMAT})")
                arrays = {name: np.asarray(file[name], dtype=np.float64) for name in ("points", "log_density", "score")}
                weights = np.asarray(file["weights"], dtype=np.float64) if "weights" in file else None
                volume = Volume.from_dict(json.loads(str(file.attrs["volume"])))
                meta = json.loads(str(file.attrs["meta"]))
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise StoreError(f"{path} is damaged: {' '.join(str(error).split())}") from None
        return cls(arrays["points"], arrays["log_density"], arrays["score"], volume=volume, weights=weights, meta=meta)


def draw_gradients(
    df: Distribution,
    n: int = 2**17,
    *,
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
    seed : int
        Seed of the draw.
    tracers : Tracers, optional
        Stars to draw from; by default those of ``df``, when it has no sampler.
    path : str or Path, optional
        HDF5 file to write too.
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
    if n < 1:
        raise FitError(f"n must be at least 1, found {n}")
    weights: Array | None = None
    if tracers is None and df.has_sampler:
        points = df._sample(n, seed)
        source = "sampled"
    else:
        stars = tracers if tracers is not None else df.tracers
        if stars is None:
            raise FitError(f"a distribution fitted by {df.estimator} and loaded from a file knows no stars; pass tracers=")
        stars = stars.within(df.volume)
        rows = np.sort(np.random.default_rng(seed).permutation(len(stars))[:n])
        points = stars.phase_space[rows]
        weights = None if stars.weights is None else np.asarray(stars.weights, dtype=np.float64)[rows]
        source = "stars"
    log_density, score = np.empty(len(points)), np.empty((len(points), 6))
    for start in range(0, len(points), ROWS):
        part = slice(start, start + ROWS)
        log_density[part], score[part] = df.evaluate(points[part])
        if progress is not None:
            progress("gradients", min(start + ROWS, len(points)), len(points), {})
    if not (np.isfinite(log_density).all() and np.isfinite(score).all()):
        raise FitError("some gradients are not finite; the distribution was evaluated where it is not defined")
    meta = {"source": source, "estimator": df.estimator, "seed": seed, "n": len(points), "n_stars": df.n_stars}
    sample = GradientSample(points, log_density, score, volume=df.volume, weights=weights, meta=meta)
    if path is not None:
        sample.save(path)
    return sample
