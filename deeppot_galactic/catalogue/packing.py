"""Arrays as compressed text, for tables inside JSON."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 2**28
"""Most bytes of a stored table."""


def packed(values: Array) -> dict[str, Any]:
    """Shape, type and compressed text of an array; float32 where that holds it exactly."""
    kind = "<f4" if np.array_equal(values, values.astype(np.float32)) else "<f8"
    text = base64.b85encode(zlib.compress(np.ascontiguousarray(values, dtype=kind).tobytes(), 9)).decode("ascii")
    return {"shape": list(values.shape), "type": kind, "data": text}


def unpacked(stored: Mapping[str, Any]) -> Array:
    """Inverse of `packed` (KeyError, TypeError or ValueError where it is damaged)."""
    shape, kind = tuple(int(n) for n in stored["shape"]), str(stored["type"])
    size = math.prod(shape) * {"<f4": 4, "<f8": 8}[kind]
    if min(shape, default=0) < 1 or size > LARGEST:
        raise ValueError(f"a table of shape {shape}")
    # A model file may come from anywhere: never unpack more than the shape says.
    try:
        data = zlib.decompressobj().decompress(base64.b85decode(stored["data"]), size + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if len(data) != size:
        raise ValueError(f"a table of shape {shape} that holds {len(data)} bytes")
    return np.frombuffer(data, dtype=kind).reshape(shape).astype(np.float64)
