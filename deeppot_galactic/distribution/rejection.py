"""Draws that are kept or thrown away, until there are enough: the loop of every sampler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..errors import FitError

Array = NDArray[np.float64]

LEAST_ACCEPTED = 1e-3
"""Share of the draws below which rejection gives up."""


def collect(n: int, attempt: Callable[[int], tuple[Array, int]], what: str, *, least: float = LEAST_ACCEPTED) -> tuple[Array, float]:
    """Repeat ``attempt`` until it has accepted ``n`` rows.

    Parameters
    ----------
    n : int
    attempt : callable
        ``attempt(missing) -> rows, drawn``: the rows (m, 6) that were accepted, and of how many draws.
    what : str
        The rest of the complaint "only 3 of 5000 ...".
    least : float
        Share of accepted draws below which to give up.

    Returns
    -------
    rows : ndarray, shape (m, 6)
        In the order of the draws, m >= n.
    share : float
        Accepted of all draws.

    Raises
    ------
    FitError
        When hardly any draw is accepted.
    """
    kept: list[Array] = []
    found = drawn = 0
    while found < n:
        rows, made = attempt(n - found)
        kept.append(rows)
        found, drawn = found + len(rows), drawn + made
        if found < least * drawn:
            raise FitError(f"only {found} of {drawn} {what}")
    return np.concatenate(kept), found / drawn
