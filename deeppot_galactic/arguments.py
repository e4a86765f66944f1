"""Checks of arguments at the border: what a public function was given, in one clear line of the package's own errors.

Functions that learn or compute take what passed here; they check nothing twice. Units are checked in `units`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError, DeepPotError

T = TypeVar("T")

Count = int
"""Type of a setting that is a whole number of at least 1; a plain ``int`` may be 0. `replaced` checks these ranges."""
Positive = float
"""Type of a setting that is a finite number above 0."""
NotNegative = float
"""Type of a setting that is a finite number of at least 0."""
Limit = float
"""Type of a setting that is a number above 0, infinity included, which sets no limit."""
Decay = float
"""Type of a setting that is the decay of a moving average: at least 0 and below 1."""
_LEAST = {"int": 0, "Count": 1}
_NUMBERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "float": ("a finite number", np.isfinite),
    "Positive": ("a positive number", lambda value: 0.0 < value < np.inf),
    "NotNegative": ("a number of at least 0", lambda value: 0.0 <= value < np.inf),
    "Limit": ("a positive number", lambda value: value > 0.0),
    "Decay": ("a number of at least 0 and below 1", lambda value: 0.0 <= value < 1.0),
}


def instance(value: Any, kind: type[T], name: str, error: type[DeepPotError] = DeepPotError) -> T:
    """An argument that must be of one class of this package.

    Raises
    ------
    DeepPotError
        Of the class ``error``, for anything else.
    """
    if not isinstance(value, kind):
        raise error(f"{name} must be a {kind.__name__}, found a {type(value).__name__}")
    return value


def whole(value: Any, name: str, *, least: int = 0, error: type[DeepPotError] = DeepPotError) -> int:
    """A whole number (a float such as 1e6 counts) that is at least ``least``.

    Raises
    ------
    DeepPotError
        Of the class ``error``, for anything else.
    """
    is_whole = isinstance(value, Integral) or (isinstance(value, float | np.floating) and float(value).is_integer())
    if isinstance(value, bool) or not is_whole or value < least:
        raise error(f"{name} must be a whole number of at least {least}, found {value!r}")
    return int(value)


def fraction(value: Any, name: str, error: type[DeepPotError] = DeepPotError) -> float:
    """A number between 0 and 1, neither of them.

    Raises
    ------
    DeepPotError
        Of the class ``error``, for anything else.
    """
    found = float(array(value, name, error).reshape(-1)[0]) if np.ndim(value) == 0 else np.nan
    if not 0.0 < found < 1.0:
        raise error(f"{name} must lie between 0 and 1, found {value!r}")
    return found


def array(values: Any, name: str, error: type[DeepPotError] = DeepPotError) -> NDArray[np.float64]:
    """Numbers as float64, of any shape; bare ones, in the unit that the caller documents.

    Raises
    ------
    DeepPotError
        Of the class ``error``, for text, ragged lists and the like, and for a `Quantity`, whose unit would be lost.
    """
    if getattr(values, "unit", None) is not None:
        raise error(f"{name} must be bare numbers here, found a {type(values).__name__} in {values.unit}")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise error(f"{name} must be numbers, found {' '.join(repr(values).split())[:60]}") from None


def file_path(value: Any, name: str, error: type[DeepPotError] = DeepPotError) -> Path:
    """A path from text or a path object.

    Raises
    ------
    DeepPotError
        Of the class ``error``, for anything else.
    """
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise error(f"{name} must be a path, found {value!r}")
    return Path(value)


@contextmanager
def rebuilding(what: str, values: Any, error: type[DeepPotError] = DeepPotError) -> Iterator[None]:
    """Turn what a broken description (a mapping, from JSON or by hand) raises into one error that names the key.

    Parameters
    ----------
    what : str
        What is rebuilt, such as "a volume".
    values : mapping
        Its description.
    error : type
        Class of the error; errors of this package pass as they are.

    Raises
    ------
    DeepPotError
        Of the class ``error``.
    """
    if not isinstance(values, Mapping):
        raise error(f"the description of {what} must be a mapping, found a {type(values).__name__}")
    try:
        yield
    except DeepPotError:
        raise
    except KeyError as missing:
        raise error(f"the description of {what} has no {missing.args[0]!r}; found {', '.join(map(str, values)) or 'nothing'}") from None
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError) as cause:
        raise error(f"the description of {what} is damaged: {' '.join(str(cause).split())[:160]}") from None


def replaced(settings: Any, overrides: Mapping[str, Any], what: str, error: type[DeepPotError] = DeepPotError) -> Any:
    """A dataclass of settings with some of them replaced, each by a value of its type and within the range that the type names.

    ``what`` says what they are, such as "potential option".

    Raises
    ------
    DeepPotError
        Of the class ``error``, naming the setting.
    """
    kinds = {entry.name: entry.type for entry in fields(settings)}
    values = dict(overrides)
    for name, value in overrides.items():
        optional = str(kinds[name]).endswith(" | None")
        kind = str(kinds[name]).removesuffix(" | None")
        if optional and value is None:
            continue
        if kind in _LEAST:
            values[name] = whole(value, f"{what} {name}", least=_LEAST[kind], error=error)
        elif kind in _NUMBERS:
            expected, allowed = _NUMBERS[kind]
            if isinstance(value, bool) or not isinstance(value, Real) or not allowed(value):
                raise error(f"{what} {name} must be {expected}, found {value!r}")
        elif kind in ("bool", "str") and type(value).__name__ != kind:
            raise error(f"{what} {name} must be {'true or false' if kind == 'bool' else 'text'}, found {value!r}")
    return replace(settings, **values)


def device(name: Any) -> str:
    """The name of a torch device that is there.

    Raises
    ------
    ConfigError
        For anything else.
    """
    import torch

    try:
        found = torch.device(name)
        torch.empty(0, device=found)
    except (AssertionError, RuntimeError, TypeError):
        raise ConfigError(f"there is no device {name!r} here; use 'cpu', or 'cuda' or 'mps' where torch finds one") from None
    return str(name)
