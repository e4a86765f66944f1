"""Gradient files: HDF5 for everyone else, and behind a header that lets this package read it without parsing HDF5.

A file begins with a block that HDF5 readers skip (the "user block"):

    deeppot-gradients VERSION sha256=DIGEST           128 bytes, the digest being that of all that follows
    {"datasets": {NAME: [OFFSET, SHAPE]}, "volume": {...}, "meta": {...}}    one line of JSON, then zeros

Datasets are contiguous, so that their place in the file is one number. The reader checks the digest, then the header, then takes the
numbers from these places. A damaged file is refused by its digest. A hostile one can have a valid digest, but there is nothing in it to
parse but one JSON document of bounded size; links, external files, filters and type conversions of HDF5, and the faults of its library,
are out of reach.
"""

from __future__ import annotations

import hashlib
import json
import math
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
LINE = 128
"""Bytes of the first line, padded with blanks."""
MAX_HEADER = 2**24
"""Bytes of JSON accepted; ours are a few hundred, and more for a volume with a mask."""
ROWS = 16384
"""Rows written at once."""
UNITS = "points: kpc, km/s; log_density: ln(kpc^-3 (km/s)^-3); score: 1/kpc, s/km"
COPIES = ("copies", "copy_coefficients", "copy_weights")
"""Datasets of `deeppot_galactic.catalogue.copies`: rows (m, 6 k), coefficients (k,) and, for weighted stars, their weights (m,)."""
_SHAPES: dict[str, tuple[int, ...]] = {"points": (6,), "log_density": (), "score": (6,), "weights": ()}
"""Datasets of one length, with the shape of a row."""
_TOGETHER = ("log_density", "score")
"""Datasets that a file of stars alone does not have."""


def write_hdf5(path: str | Path, table: Array, volume: Volume, meta: dict[str, Any], extra: dict[str, Array] | None = None) -> None:
    """Write a gradient file atomically and a piece at a time.

    Parameters
    ----------
    path : str or Path
    table : ndarray, shape (n, 13) or (n, 14); (n, 6) or (n, 7)
        Point, ln f, score and, where there are weights, the weight; may be mapped from a file. Of stars alone: point and weight.
    volume : Volume
    meta : dict
    extra : dict of arrays, optional
        Of `COPIES`.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    import h5py

    parts: dict[str, Any] = {"points": slice(0, 6)}
    if table.shape[1] > 7:
        parts |= {"log_density": 6, "score": slice(7, 13)}
    if table.shape[1] in (7, 14):
        parts["weights"] = -1
    head = {"volume": jsonable(volume.to_dict()), "meta": jsonable(meta)}
    block = 512  # a user block is 512 bytes times a power of two
    while block < LINE + len(json.dumps(head)) + 1024:
        block *= 2
    with atomic_path(path) as temporary:
        datasets: dict[str, tuple[int, list[int]]] = {}
        # A volume with a mask needs a longer attribute than the oldest format has.
        with h5py.File(temporary, "w", userblock_size=block, libver=("v108", "v110")) as file:
            file.attrs["volume"], file.attrs["meta"], file.attrs["units"] = json.dumps(head["volume"]), json.dumps(head["meta"]), UNITS
            for name, columns in parts.items():
                data = file.create_dataset(name, shape=(len(table), *_SHAPES[name]), dtype="<f8")
                for start in range(0, len(table), ROWS):
                    data[start : start + ROWS] = table[start : start + ROWS, columns]
                datasets[name] = (data.id.get_offset() or 0, list(data.shape))
            for name, values in (extra or {}).items():
                data = file.create_dataset(name, data=np.asarray(values, dtype="<f8"))
                datasets[name] = (data.id.get_offset() or 0, list(data.shape))
        with temporary.open("r+b") as stream:
            stream.seek(LINE)
            stream.write(json.dumps({"datasets": datasets, **head}).encode() + b"\n")
            stream.seek(LINE)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            stream.write(_first_line(digest))


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
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"no gradients at {path}")
    _check_bytes(path)
    with rebuilding(path):
        with path.open("rb") as stream:
            stream.seek(LINE)
            head = json.loads(stream.read(MAX_HEADER).partition(b"\n")[0])
        datasets, volume, meta = (head[name] for name in ("datasets", "volume", "meta"))
        if not (isinstance(datasets, dict) and isinstance(volume, dict) and isinstance(meta, dict)):
            raise StoreError(f"{path} is damaged: its description is no mapping")
        known = {*_SHAPES, *COPIES}
        arrays = {name: _numbers(path, name, *place) for name, place in datasets.items() if name in known}
        _check_shapes(path, arrays)
    return arrays, volume, meta


def _check_shapes(path: Path, arrays: dict[str, Array]) -> None:
    rows = len(arrays["points"])
    needed = _TOGETHER if any(name in arrays for name in _TOGETHER) else ()
    for name, shape in _SHAPES.items():
        if (name in arrays or name in needed) and arrays[name].shape != (rows, *shape):
            raise StoreError(f"{path} is damaged: {name} has shape {arrays[name].shape}, expected {(rows, *shape)}")
    copies, coefficients, weights = (arrays.get(name) for name in COPIES)
    if copies is None and coefficients is None and weights is None:
        return
    if copies is None or coefficients is None:
        raise StoreError(f"{path} is damaged: the copies of its stars are incomplete")
    fitting = copies.ndim == 2 and copies.shape[1:] == (6 * coefficients.size,)
    if not fitting or (weights is not None and weights.shape != copies.shape[:1]):
        raise StoreError(f"{path} is damaged: the copies of its stars do not fit together")


def _first_line(digest: str) -> bytes:
    return f"{FORMAT} {VERSION} sha256={digest}".encode().ljust(LINE - 1) + b"\n"


def _check_bytes(path: Path) -> None:
    """Compare the first line with the rest of the file."""
    try:
        with path.open("rb") as stream:
            line = stream.read(LINE)
            words = line.decode("ascii", "replace").split()
            if len(words) != 3 or words[0] != FORMAT or not words[1].isdecimal():
                raise StoreError(f"{path} is not a gradient file of this package, or its first line is damaged")
            if int(words[1][:9]) > VERSION:
                raise StoreError(f"{path} has format version {words[1][:9]}, newer than the {VERSION} this package can read; upgrade it")
            if line != _first_line(hashlib.file_digest(stream, "sha256").hexdigest()):
                raise StoreError(f"{path} is damaged or truncated: its content does not match its SHA-256 digest; make it again")
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from None


def _numbers(path: Path, name: str, offset: Any, shape: Any) -> Array:
    """One dataset, from its place in the file."""
    plain = isinstance(shape, list) and 1 <= len(shape) <= 2 and all(type(size) is int and 1 <= size < 2**40 for size in shape)
    if not plain or type(offset) is not int or not LINE <= offset < 2**60:
        raise StoreError(f"{path} is damaged: {name} of shape {str(shape)[:30]} at {str(offset)[:20]}")
    count = math.prod(shape)
    if offset + 8 * count > path.stat().st_size:
        raise StoreError(f"{path} is damaged: it claims {count} numbers of {name} and holds fewer")
    values = np.fromfile(path, dtype="<f8", count=count, offset=offset).astype(np.float64, copy=False).reshape(shape)
    if not np.isfinite(values).all():
        raise StoreError(f"{path} is damaged: {name} holds values that are not finite")
    return values
