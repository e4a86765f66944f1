"""Gradient files: HDF5 behind one line of text that vouches for every byte.

The first 512 bytes (a "user block", which HDF5 readers skip) hold

    deeppot-gradients VERSION sha256=DIGEST bytes=LENGTH

over all that follows. It is checked before HDF5 sees the file, so that a damaged one is refused in one line instead of being parsed. A
file can be hostile and yet have a valid digest: only plain datasets of numbers that are stored in the file itself are read (no links to
other files, no external or virtual storage, no size that the stored bytes do not fill), and nothing in it is ever executed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import StoreError
from ..store import atomic_path, jsonable, rebuilding

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume

Array = NDArray[np.float64]
FORMAT = "deeppot-gradients"
VERSION = 1
BLOCK = 512
"""Bytes of the first line with its padding."""
ROWS = 16384
"""Rows written at once."""
UNITS = "points: kpc, km/s; log_density: ln(kpc^-3 (km/s)^-3); score: 1/kpc, s/km"
COPIES = ("copies", "copy_coefficients", "copy_weights")
"""Datasets of `deeppot_galactic.catalogue.copies`: rows (m, 6 k), coefficients (k,) and, for weighted stars, their weights (m,)."""
_ANY = -1
_COPY_WIDTHS = dict(zip(COPIES, (_ANY, 0, 0), strict=True))
_WIDTHS = {"points": 6, "log_density": 0, "score": 6, "weights": 0}
"""Datasets of one length with their number of columns (0: one-dimensional, -1: any)."""


def write_hdf5(path: str | Path, table: Array, volume: Volume, meta: dict[str, Any], extra: dict[str, Array] | None = None) -> None:
    """Write a gradient file atomically and a piece at a time (`StoreError` when refused).

    Parameters
    ----------
    path : str or Path
    table : ndarray, shape (n, 13) or (n, 14)
        Point, ln f, score and, where there are weights, the weight; may be mapped from a file.
    volume : Volume
    meta : dict
    extra : dict of arrays, optional
        Of `COPIES`.
    """
    import h5py

    parts = {"points": slice(0, 6), "log_density": 6, "score": slice(7, 13)} | ({"weights": 13} if table.shape[1] > 13 else {})
    with atomic_path(path) as temporary:
        # A volume with a mask needs a longer attribute than the oldest format has.
        with h5py.File(temporary, "w", userblock_size=BLOCK, libver=("v108", "v110")) as file:
            file.attrs["volume"] = json.dumps(jsonable(volume.to_dict()))
            file.attrs["meta"] = json.dumps(jsonable(meta))
            file.attrs["units"] = UNITS
            for name, values in (extra or {}).items():
                file.create_dataset(name, data=np.asarray(values, dtype="<f8"))
            for name, columns in parts.items():
                data = file.create_dataset(name, shape=(len(table), 6) if isinstance(columns, slice) else (len(table),), dtype="<f8")
                for start in range(0, len(table), ROWS):
                    data[start : start + ROWS] = table[start : start + ROWS, columns]
        with temporary.open("r+b") as stream:
            stream.seek(BLOCK)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            block = _first_block(digest, stream.tell() - BLOCK)
            stream.seek(0)
            stream.write(block)


def read_hdf5(path: str | Path) -> tuple[dict[str, Array], dict[str, Any], dict[str, Any]]:
    """Read what `write_hdf5` wrote, after checking every byte of it.

    Returns
    -------
    arrays, volume, meta : dict, dict, dict

    Raises
    ------
    StoreError
        If the file is missing, truncated, altered, of a newer version, or not ours; one line says which.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise StoreError(f"no gradients at {path}")
    _check_bytes(path)
    with rebuilding(path), h5py.File(path, "r") as file:
        arrays = {name: _numbers(file, name, width) for name, width in _WIDTHS.items() if name in file or name != "weights"}
        volume, meta = json.loads(str(file.attrs["volume"])), json.loads(str(file.attrs["meta"]))
        lengths = {len(values) for values in arrays.values()}
        arrays |= {name: _numbers(file, name, width) for name, width in _COPY_WIDTHS.items() if name in file}
        _check_copies(path, arrays)
        if len(lengths) != 1 or not isinstance(volume, dict) or not isinstance(meta, dict):
            raise StoreError(f"{path} is damaged: its datasets have {sorted(lengths)} rows, or its description is no mapping")
        for name, values in arrays.items():
            if not np.isfinite(values).all():
                raise StoreError(f"{path} is damaged: {name} holds values that are not finite")
    return arrays, volume, meta


def _check_copies(path: Path, arrays: dict[str, Array]) -> None:
    rows, coefficients, weights = (arrays.get(name) for name in COPIES)
    if rows is None and coefficients is None and weights is None:
        return
    if (
        rows is None
        or coefficients is None
        or rows.shape[1] != 6 * len(coefficients)
        or (weights is not None and len(weights) != len(rows))
    ):
        raise StoreError(f"{path} is damaged: the copies of its stars are incomplete")


def _first_block(digest: str, length: int) -> bytes:
    return f"{FORMAT} {VERSION} sha256={digest} bytes={length}\n".encode().ljust(BLOCK, b"\0")


def _check_bytes(path: Path) -> None:
    """Compare the line at the start of the file with the rest of it."""
    try:
        with path.open("rb") as stream:
            block = stream.read(BLOCK)
            words = block.rstrip(b"\0").decode("ascii", "replace").split()
            if len(words) != 4 or words[0] != FORMAT or not words[1].isdecimal():
                raise StoreError(f"{path} is not a gradient file of this package, or its first line is damaged")
            if int(words[1][:9]) > VERSION:
                raise StoreError(f"{path} has format version {words[1][:9]}, newer than the {VERSION} this package can read; upgrade it")
            size = path.stat().st_size - BLOCK
            if words[3] != f"bytes={size}":
                raise StoreError(f"{path} is truncated or has grown: {size} bytes after its first line, which states {words[3][:30]}")
            if block != _first_block(hashlib.file_digest(stream, "sha256").hexdigest(), size):
                raise StoreError(f"{path} is damaged: its content does not match its SHA-256 digest; make it again")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from None


def _numbers(file: Any, name: str, width: int) -> Array:
    """One dataset, if it is what `write_hdf5` makes: real numbers, of the right shape, that lie in this file."""
    import h5py

    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise StoreError(f"{file.filename} is refused: {name} is a link to elsewhere")
    dataset: Any = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f" or dataset.shape is None:
        raise StoreError(f"{file.filename} is refused: {name} is not a dataset of real numbers")
    if dataset.is_virtual or dataset.external or dataset.id.get_create_plist().get_nfilters():
        raise StoreError(f"{file.filename} is refused: {name} is not stored plainly in the file itself")
    if dataset.ndim != (2 if width else 1) or (width > 0 and dataset.shape[1] != width):
        raise StoreError(f"{file.filename} is damaged: {name} has shape {dataset.shape}")
    if dataset.id.get_storage_size() < dataset.size * dataset.dtype.itemsize:
        raise StoreError(f"{file.filename} is refused: {name} claims {dataset.size} numbers and stores fewer")
    return np.asarray(dataset[()], dtype=np.float64)
