"""Mixed precision of trainings: matrix products with factors rounded to TF32, everything else in single precision.

TF32 keeps the range of float32 and ten bits of its mantissa; products are added up in float32. Cards since Ampere multiply such matrices
several times faster. Scores of a trained network change by a few times 1e-4 of their size, far below their statistical error
(`tests/test_numbers.py`); narrower formats are not offered, because second derivatives enter the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def matmul_precision(kind: str | None) -> Iterator[None]:
    """Let matrix products use TF32 while the block runs, if ``kind`` is "tf32"."""
    before = torch.get_float32_matmul_precision()
    if kind == "tf32":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
