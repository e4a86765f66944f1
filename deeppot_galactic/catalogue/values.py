"""From a raw column to float64 in the wanted unit, with NaN for every value that is missing, and nothing else changed.

Missing is: masked, NaN or infinite, an empty or "null" text, or one of the sentinel numbers a catalogue writes. What is not a
number is refused by name; it is never turned into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError

Array = NDArray[np.float64]

_BLANK = ("", "null", "nan", "none", "--", "-", "n/a", "na", "inf", "-inf")


def mask_of(column: Any) -> NDArray[np.bool_]:
    """Where a column (NumPy, masked, astropy Masked or Column) is masked."""
    mask = getattr(column, "mask", None)
    if mask is None or mask is np.ma.nomask:
        return np.zeros(np.shape(column)[:1], dtype=bool)
    mask = np.broadcast_to(np.asarray(mask, dtype=bool), np.shape(column))
    return mask if mask.ndim == 1 else np.asarray(mask.reshape(len(mask), -1).any(axis=1))


def bare(column: Any) -> NDArray[Any]:
    """The data of a column as a plain ndarray, without mask or unit."""
    unmasked = getattr(column, "unmasked", column)
    if isinstance(unmasked, u.Quantity):
        return np.asarray(unmasked.value)
    return np.asarray(getattr(unmasked, "data", unmasked) if isinstance(unmasked, np.ma.MaskedArray) else unmasked)


def numbers(column: Any, name: str, *, sentinels: Sequence[float] = (), dimensions: int = 1) -> tuple[Array, int]:
    """A column as float64 with NaN where missing, and how many values were sentinels.

    Raises
    ------
    CatalogueError
        If the column holds anything but numbers, or has the wrong shape.
    """
    mask, data = mask_of(column), bare(column)
    if data.ndim != dimensions:
        raise CatalogueError(
            f"column {name!r} holds {data.shape[1:] or 'no'} values in a row, expected {'one' if dimensions == 1 else '(6, 6)'}"
        )
    if data.dtype.kind in "SUO":
        values = _from_text(data, mask, name)
    elif data.dtype.kind in "fiu":
        values = data.astype(np.float64)
    else:
        raise CatalogueError(f"column {name!r} holds {data.dtype.name} values, expected numbers")
    sentinel = np.zeros(values.shape, dtype=bool)
    for value in sentinels:
        sentinel |= np.abs(values - value) <= 1e-6 * abs(value)
    sentinel &= ~(mask if values.ndim == 1 else mask[:, None, None])
    values[sentinel] = np.nan
    values[mask] = np.nan
    values[~np.isfinite(values)] = np.nan
    return values, int(np.count_nonzero(sentinel))


def _from_text(data: NDArray[Any], mask: NDArray[np.bool_], name: str) -> Array:
    if data.dtype.kind == "S":
        text = np.char.decode(data, "ascii", "replace")
    elif data.dtype.kind == "O":
        text = np.array(["" if value is None else str(value) for value in data.ravel()], dtype=np.str_).reshape(data.shape)
    else:
        text = data
    text = np.char.strip(text)
    text = np.where(np.isin(np.char.lower(text), _BLANK) | mask, "nan", text)
    try:
        return text.astype(np.float64)
    except ValueError:
        for row, entry in enumerate(text.ravel()):
            try:
                float(entry)
            except ValueError:
                raise CatalogueError(f"column {name!r} holds text, expected numbers: found {str(entry)[:40]!r} (row {row})") from None
        raise CatalogueError(f"column {name!r} holds text, expected numbers") from None


def factor(unit: u.UnitBase | None, target: u.UnitBase | None) -> float:
    """What to multiply by to go from ``unit`` to ``target``."""
    if unit is None or target is None or unit == target:
        return 1.0
    scale: Any = unit.to(target, equivalencies=u.dimensionless_angles())
    return float(scale)


def identifiers(column: Any) -> tuple[NDArray[np.int64] | None, str]:
    """source_id as int64, -1 where missing; or None and the reason, where the column cannot hold them exactly."""
    mask, data = mask_of(column), bare(column)
    if data.ndim != 1:
        return None, "it is not one number per row"
    if data.dtype.kind == "f":
        return None, "it is stored as floating point, which cannot hold a source_id exactly"
    if data.dtype.kind in "iu":
        return np.where(mask, -1, data).astype(np.int64), ""
    if data.dtype.kind in "SU":
        text = np.char.strip(np.char.decode(data, "ascii", "replace") if data.dtype.kind == "S" else data)
        text = np.where(np.isin(np.char.lower(text), _BLANK) | mask, "-1", text)
        try:
            return text.astype(np.int64), ""
        except (ValueError, OverflowError):
            return None, "it holds text that is not a whole number"
    return None, f"it holds {data.dtype.name} values"
