"""Points with ln f and scores, block by block: memory does not grow with their number, and a kill costs one block.

Block k holds the points number k B to (k + 1) B - 1. It depends on the distribution, the seed and k alone, so that an interrupted stream
goes on with the numbers it would have had. Finished rows wait in a plain file of float64 beside the target, with a small JSON document
that says to what they belong; when the last is there, they are copied, again block by block, into one HDF5 file that appears whole or not
at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError, StoreError
from ..store import jsonable, read_json, write_json
from .base import Distribution
from .gradient_file import write_hdf5

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers
    from ..training import Progress

Array = NDArray[np.float64]
BLOCK = 16384
"""Points of a block."""


@dataclass(frozen=True)
class PointSource:
    """Where the points of a stream come from.

    Attributes
    ----------
    n : int
        Number of points.
    name : str
        "sampled" or "stars".
    draw : callable
        Block number and its size to points (m, 6) and weights (m,) or None.
    weighted : bool
        Whether there are weights.
    key : list
        What the points depend on apart from the distribution and the seed, JSON-able.
    """

    n: int
    name: str
    draw: Callable[[int, int], tuple[Array, Array | None]]
    weighted: bool
    key: list[Any]


def point_source(df: Distribution, n: int, seed: int, tracers: Tracers | None) -> PointSource:
    """Draws from the distribution, or of the stars without replacement.

    Raises
    ------
    FitError
        When there is neither a sampler nor stars, or ``n`` is not positive.
    """
    if n < 1:
        raise FitError(f"n must be at least 1, found {n}")
    if tracers is None and not df.prefers_stars:

        def sampled(block: int, size: int) -> tuple[Array, None]:
            return df._sample(size, int(np.random.SeedSequence([seed, block]).generate_state(1)[0])), None

        return PointSource(n, "sampled", sampled, False, [])
    stars = tracers if tracers is not None else df.tracers
    if stars is None:
        raise FitError(f"a distribution fitted by {df.estimator} and loaded from a file knows no stars; pass tracers=")
    x, weights = stars.phase_space, stars.weights
    inside = np.concatenate([start + np.flatnonzero(df.volume.contains(x[start : start + BLOCK, :3])) for start in range(0, len(x), BLOCK)])
    if not len(inside):
        stars.within(df.volume)  # says where the stars are
    rows = inside[np.sort(np.random.default_rng(seed).permutation(len(inside))[:n])]

    def chosen(block: int, size: int) -> tuple[Array, Array | None]:
        part = rows[block * BLOCK : block * BLOCK + size]
        return np.asarray(x[part], dtype=np.float64), None if weights is None else np.asarray(weights[part], dtype=np.float64)

    head = hashlib.sha256(np.ascontiguousarray(x[rows[:BLOCK]]).tobytes()).hexdigest()
    return PointSource(len(rows), "stars", chosen, weights is not None, [len(x), len(inside), head])


def blocks(df: Distribution, source: PointSource, first: int, progress: Progress | None) -> Iterator[Array]:
    """Rows (m, 13 or 14) of block ``first`` and all after it: point, ln f, score and, for weighted stars, the weight.

    Raises
    ------
    FitError
        When f is not defined at a point.
    """
    for block in range(first, -(-source.n // BLOCK)):
        size = min(BLOCK, source.n - block * BLOCK)
        points, weights = source.draw(block, size)
        log_density, score = df.evaluate(points)
        rows = np.concatenate([points, log_density[:, None], score] + ([] if weights is None else [weights[:, None]]), axis=1)
        yield rows
        if progress is not None:
            progress("gradients", block * BLOCK + size, source.n, {})


def stream(
    df: Distribution,
    source: PointSource,
    path: Path,
    *,
    seed: int,
    meta: dict[str, Any],
    progress: Progress | None,
    extra: dict[str, Array] | None = None,
) -> None:
    """Write all points to an HDF5 file, going on where an earlier call for the same points was interrupted.

    Raises
    ------
    StoreError
        When a file cannot be written.
    """
    columns = 13 + source.weighted
    waiting, note = path.with_name(f"{path.name}.rows"), path.with_name(f"{path.name}.rows.json")
    identity = _identity(df, source, seed)
    done = _finished_blocks(waiting, note, identity, columns)
    try:
        write_json(note, {"identity": identity})
        with waiting.open("r+b" if done else "wb") as file:
            file.truncate(done * BLOCK * columns * 8)
            file.seek(0, os.SEEK_END)
            for rows in blocks(df, source, done, progress):
                file.write(rows.astype("<f8").tobytes())
                file.flush()
                os.fsync(file.fileno())
        table = np.memmap(waiting, dtype="<f8", mode="r", shape=(source.n, columns))
        write_hdf5(path, table, df.volume, meta, extra)
        del table
        waiting.unlink()
        note.unlink()
    except OSError as error:
        raise StoreError(f"cannot write {waiting}: {error.strerror or error}; free some space and go on") from error


def _finished_blocks(waiting: Path, note: Path, identity: str, columns: int) -> int:
    if not (waiting.is_file() and note.is_file()):
        return 0
    try:
        same = read_json(note).get("identity") == identity
    except StoreError:
        same = False
    return waiting.stat().st_size // (BLOCK * columns * 8) if same else 0


def _identity(df: Distribution, source: PointSource, seed: int) -> str:
    tensors, header = df._state()
    digest = hashlib.sha256(
        json.dumps(jsonable([header, source.n, source.name, source.key, source.weighted, seed]), sort_keys=True).encode()
    )
    for name in sorted(tensors):
        digest.update(name.encode() + np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
