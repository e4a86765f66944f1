r"""Known errors taken out of sums over stars, by copies of the stars with more noise.

The mean of any function h over noisy stars is H(1), over true ones H(0), where H(1 + lambda) is its mean with ``lambda`` times every
star's error covariance added on top. H is smooth in the variance: the first derivative is half the covariance times the second
derivatives of h. What can be computed is H at 1 + lambda, lambda >= 0, by drawing; Lagrange's polynomial through lambda = 0, 1 or
lambda = 0, 1, 2 then gives lambda = -1,

    H(0) = 2 H(1) - H(2) + O(C^2),        H(0) = 3 H(1) - 3 H(2) + H(3) + O(C^3).

Because this holds for every h at once, it is the same to give each star ``copies`` with signed coefficients that add up to one. Sums over
the copies are sums over the true stars, to that order; their scatter over stars is that of the corrected sums, the drawing included. The
noise is added to what was measured (parallax, not distance), so that the skew of 1 / parallax is part of it. It is the corrected score of
Stefanski (1989) and Novick & Stefanski (2002), the linear form of simulation and extrapolation (Cook & Stefanski 1994).

It needs h smooth over an error, and a catalogue that was not cut on what the errors blur: stars that noise could bring into the
volume must be in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arguments import whole
from ..errors import CatalogueError
from .propagation import pairs

if TYPE_CHECKING:
    from .tracers import Tracers
    from .volumes import Volume

Array = NDArray[np.float64]

EXTRAPOLATION = {1: (2.0, -1.0), 2: (3.0, -3.0, 1.0)}
"""Order to the coefficients of lambda = 0, 1, ...: Lagrange's polynomial at lambda = -1."""

_BLOCK = 2**16


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies of N stars.

    Attributes
    ----------
    coefficients : array (K,)
        They add up to one; the first belongs to the stars as observed.
    rows : array (N, K, 6)
        Phase space [kpc, km/s].
    """

    coefficients: Array
    rows: Array

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Copies:
        return Copies(self.coefficients, self.rows[index])

    def reaching(self, volume: Volume) -> NDArray[np.bool_]:
        """The stars of which any copy lies in the volume, bool (N,)."""
        flat = self.rows[:, :, :3].reshape(-1, 3)
        return np.asarray(volume.contains(flat).reshape(len(self), -1).any(axis=1))


def error_copies(tracers: Tracers, *, order: int = 2, n_pairs: int = 1, seed: int = 0) -> Copies:
    """Copies of the stars that take their known errors out of sums over them.

    Parameters
    ----------
    tracers : Tracers
        With errors. A star whose error is unknown counts as it is.
    order : 1 or 2
        Order of the extrapolation.
    n_pairs : int
        Pairs of opposite draws for each noise level.
    seed : int

    Raises
    ------
    CatalogueError
        If the errors are unknown, the order is neither, or ``n_pairs`` or ``seed`` no whole number of at least 1 or 0.
    """
    if order not in EXTRAPOLATION:
        raise CatalogueError(f"the order of the error correction must be 1 or 2, found {order!r}")
    n_pairs = whole(n_pairs, "n_pairs", least=1, error=CatalogueError)
    levels = EXTRAPOLATION[order]
    coefficients = [levels[0]]
    for level in levels[1:]:
        coefficients += [level / (2 * n_pairs)] * (2 * n_pairs)
    rows = np.empty((len(tracers), len(coefficients), 6))
    rows[:, 0] = tracers.phase_space
    rng = np.random.default_rng([whole(seed, "seed", error=CatalogueError), 0xC0B1E5])
    for start in range(0, len(tracers), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(tracers)))
        draw, k = pairs(tracers.select(block)), 1
        for factor in range(1, order + 1):
            for _ in range(n_pairs):
                rows[block, k], rows[block, k + 1] = draw(rng, float(factor))
                k += 2
    return Copies(np.array(coefficients), rows)
