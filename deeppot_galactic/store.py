"""Files that appear whole or not at all: safetensors with one JSON header, and JSON documents.

A model file is a safetensors file whose metadata holds one entry, ``deeppot``, a JSON text with the format version, the ``kind``
of model, its ``header`` and the SHA-256 digest

    sha256( version, kind, header, and for every tensor in order of its name: name, dtype, shape, bytes ).

Reading checks all of it before anything is used; nothing in a file is ever executed. Writing goes to a hidden file in the same
folder, which is flushed to disk and then renamed: a reader, or a run resumed after a kill, sees the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StoreError

FORMAT = "deeppot"
VERSION = 1
MAX_HEADER = 16 * 2**20
"""Bytes of JSON header accepted; ours are a few hundred kB at most (training histories)."""
MAX_FILE = 4 * 2**30
"""Bytes of model file accepted; ours are a few MB."""


def jsonable(value: Any) -> Any:
    """Reduce a value to what strict JSON can hold.

    NumPy scalars and arrays become numbers and lists, paths become text, Quantities become ``{"value", "unit"}``, and numbers
    that are not finite become ``None``.

    Raises
    ------
    StoreError
        For an object with no JSON form.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray):
        if hasattr(value, "unit"):
            return {"value": jsonable(np.asarray(value).tolist()), "unit": str(value.unit)}  # pyright: ignore[reportAttributeAccessIssue]
        return jsonable(value.tolist())
    raise StoreError(f"cannot write a {type(value).__name__} as JSON; expected numbers, text, lists or mappings of them")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that becomes ``path`` when the block ends well.

    The temporary file lies in the same folder and has the same suffix. If the block raises, it is removed and an existing
    ``path`` is left as it was.

    Raises
    ------
    StoreError
        When the file system refuses (no such folder, read-only, disk full).
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial{os.getpid()}{path.suffix}")
    try:
        yield partial
        with partial.open("rb") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}; files written before are untouched") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def remove_partial_files(folder: str | Path) -> int:
    """Delete what interrupted writers left in a folder and below; give the number of files deleted."""
    stale = [path for path in Path(folder).rglob(".*.partial*") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text atomically (`StoreError` when refused)."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON document atomically; see `jsonable` for what it may hold (`StoreError` when refused)."""
    write_text(path, json.dumps(jsonable(value), indent=2, allow_nan=False) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON document whose top level is a mapping.

    Raises
    ------
    StoreError
        If it is missing, unreadable, or not such a document.
    """
    path = Path(path)
    try:
        value = json.loads(_read_bytes(path, MAX_HEADER * 8))
    except (ValueError, RecursionError) as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path} is damaged: not a JSON document ({_one_line(error)})") from None
    if not isinstance(value, dict):
        raise StoreError(f"{path} is not a JSON mapping but a {type(value).__name__}")
    return value


def write_model(path: str | Path, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any], kind: str) -> None:
    """Write arrays and a JSON header as one safetensors file, atomically.

    Parameters
    ----------
    path : str or Path
        Conventionally ``*.safetensors``.
    tensors : mapping of str to array
        Numeric arrays of any shape.
    header : mapping
        What `jsonable` can hold.
    kind : str
        What the file is, e.g. ``"potential"``; `read_model` can insist on it.

    Raises
    ------
    StoreError
        When the header has no JSON form or the file system refuses.
    """
    from safetensors.numpy import save

    arrays = {str(name): np.ascontiguousarray(np.asarray(array)).reshape(np.shape(array)) for name, array in tensors.items()}
    text = _canonical(jsonable(header))
    entry = {"version": VERSION, "kind": kind, "header": text, "sha256": _digest(VERSION, kind, text, arrays)}
    try:
        data = save(arrays, metadata={FORMAT: _canonical(entry)})
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"cannot write {path}: arrays of this type cannot be stored ({_one_line(error)})") from None
    with atomic_path(path) as partial:
        partial.write_bytes(data)


def read_model(path: str | Path, kind: str | tuple[str, ...] | None = None) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_model` wrote, after checking every byte of it.

    Parameters
    ----------
    path : str or Path
        The file.
    kind : str or tuple of str, optional
        The kind of model that is expected, or several that will do.

    Returns
    -------
    tensors, header : dict, dict

    Raises
    ------
    StoreError
        If the file is missing, truncated, altered, of a newer version, of another kind, or not ours; one line says which.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = Path(path)
    data = _read_bytes(path, MAX_FILE)
    entry = _entry(path, data)
    version, found, text = entry.get("version"), entry.get("kind"), entry.get("header")
    if not isinstance(version, int) or not isinstance(found, str) or not isinstance(text, str):
        raise StoreError(f"{path} is damaged: its header lacks the version, the kind or the description of the model")
    if version > VERSION:
        raise StoreError(f"{path} has format version {version}, newer than the {VERSION} this package can read; upgrade deeppot-galactic")
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, MemoryError) as error:
        raise StoreError(f"{path} is damaged: {_one_line(error)}; copy it again from its source") from None
    if _digest(version, found, text, tensors) != entry.get("sha256"):
        raise StoreError(f"{path} is damaged: its content does not match its SHA-256 digest; copy it again from its source")
    kinds = (kind,) if isinstance(kind, str) else kind
    if kinds is not None and found not in kinds:
        raise StoreError(f"{path} holds a {found!r} model, expected {' or '.join(map(repr, kinds))}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: the description of the model is not JSON ({_one_line(error)})") from None
    if not isinstance(header, dict):
        raise StoreError(f"{path} is damaged: the description of the model is not a mapping")
    return tensors, header


@contextmanager
def rebuilding(path: str | Path) -> Iterator[None]:
    """Turn whatever a description that fits its digest but not this package raises into one `StoreError`."""
    try:
        with np.errstate(all="ignore"):
            yield
    except StoreError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is incomplete or damaged: {type(error).__name__} {_one_line(error)}") from None


def _read_bytes(path: Path, limit: int) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise StoreError(f"{path} is not a file")
        if size > limit:
            raise StoreError(f"{path} is too large: {size} bytes, expected at most {limit}")
        return path.read_bytes()
    except FileNotFoundError:
        raise StoreError(f"{path} does not exist") from None
    except (OSError, MemoryError) as error:
        raise StoreError(f"cannot read {path}: {_one_line(error)}") from None


def _entry(path: Path, data: bytes) -> dict[str, Any]:
    """Our metadata entry, taken from the raw safetensors header with the size limits applied first."""
    if len(data) < 8:
        raise StoreError(f"{path} is truncated: {len(data)} bytes")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER:
        raise StoreError(f"{path} is not a model file: it claims a header of {length} bytes, at most {MAX_HEADER} are accepted")
    if length > len(data) - 8:
        raise StoreError(f"{path} is truncated: its header should have {length} bytes, {len(data) - 8} are there")
    try:
        entry = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][FORMAT])
    except (ValueError, RecursionError, KeyError, TypeError):
        raise StoreError(f"{path} is not a model file of this package, or its header is damaged") from None
    if not isinstance(entry, dict):
        raise StoreError(f"{path} is not a model file of this package, or its header is damaged")
    return entry


def _digest(version: int, kind: str, text: str, tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(_canonical([version, kind, text]).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(_canonical([name, array.dtype.str, list(array.shape)]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
