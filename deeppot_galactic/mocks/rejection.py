"""Exact sampling of a low-dimensional density on a box, by rejection under a piecewise-constant envelope.

The box is cut into cells; in cell k the envelope is c_k = safety * max(density at the corners and the centre) plus a small fraction
of the largest neighbour, so that a cell whose corners happen to be empty is still visited. A point is drawn from a cell chosen with
probability c_k V_k / sum(c V), uniformly inside, and kept with probability density / c_k. Should a density above its envelope ever be
met, the envelope of that cell is raised and the draw starts anew: what is returned comes from a valid envelope as far as every
point that was looked at can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import maximum_filter

from ..errors import DeepPotError
from .base import Array

NEIGHBOUR_FRACTION = 1e-3
"""Share of the largest neighbouring cell that is added to every cell of the envelope."""
BATCH = 1 << 18
"""Proposals evaluated at once: bounds the memory."""


class CellRejection:
    """Rejection sampler of ``density`` on the box spanned by ``edges``.

    Parameters
    ----------
    density : callable
        Maps points (N, d) to non-negative values (N,), not normalised.
    edges : sequence of ndarray
        For each dimension the increasing cell edges.
    safety : float
        Factor between the largest value seen in a cell and its envelope.
    """

    def __init__(self, density: Callable[[Array], Array], edges: Sequence[Array], *, safety: float = 1.3) -> None:
        self.density = density
        self.edges = [np.asarray(e, dtype=np.float64) for e in edges]
        shape = tuple(len(e) - 1 for e in self.edges)
        corners = density(_mesh(self.edges)).reshape([len(e) for e in self.edges])
        centres = density(_mesh([(e[1:] + e[:-1]) / 2 for e in self.edges])).reshape(shape)
        peak = centres
        for offset in np.ndindex(*(2,) * len(shape)):
            peak = np.maximum(peak, corners[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))])
        if not np.all(np.isfinite(peak)) or peak.max() <= 0:
            raise DeepPotError("the density to sample is not finite, or zero everywhere on the box; check the parameters of the mock")
        self.envelope = (safety * peak + NEIGHBOUR_FRACTION * maximum_filter(peak, size=3)).ravel()
        volumes = np.ones(shape)
        for axis, e in enumerate(self.edges):
            volumes *= np.diff(e).reshape([-1 if k == axis else 1 for k in range(len(shape))])
        self._shape, self._volumes = shape, volumes.ravel()

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw ``n`` independent points (n, d)."""
        while True:
            points = self._attempt(n, rng)
            if points is not None:
                return points

    def _attempt(self, n: int, rng: np.random.Generator) -> Array | None:
        """One draw of ``n`` points; None, with a raised envelope, when the envelope proved too low."""
        cumulative = np.cumsum(self.envelope * self._volumes)
        kept: list[Array] = []
        found, valid = 0, True
        while found < n:
            cell = np.searchsorted(cumulative, rng.random(BATCH) * cumulative[-1], side="right").clip(max=len(cumulative) - 1)
            index = np.unravel_index(cell, self._shape)
            points = np.stack([e[i] + (e[i + 1] - e[i]) * rng.random(BATCH) for e, i in zip(self.edges, index, strict=True)], axis=1)
            value = self.density(points)
            above = value > self.envelope[cell]
            if above.any():
                valid = False
                np.maximum.at(self.envelope, cell[above], 1.5 * value[above])
            accepted = points[rng.random(BATCH) * self.envelope[cell] < value]
            kept.append(accepted)
            found += len(accepted)
        return np.concatenate(kept)[:n] if valid else None


def _mesh(axes: Sequence[Array]) -> Array:
    return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")], axis=1)


def integrate(density: Callable[[Array], Array], edges: Sequence[Array], *, order: int = 4) -> float:
    """Integral of ``density`` over the box by Gauss-Legendre quadrature of ``order`` points per cell and dimension."""
    node, weight = np.polynomial.legendre.leggauss(order)
    axes, weights = [], []
    for e in edges:
        half = np.diff(e) / 2
        axes.append((((e[1:] + e[:-1]) / 2)[:, None] + half[:, None] * node).ravel())
        weights.append((half[:, None] * weight).ravel())
    total = 0.0
    rest = _mesh(axes[1:])
    rest_weight = np.prod(_mesh(weights[1:]), axis=1)
    for a, w in zip(axes[0], weights[0], strict=True):  # slab by slab: bounded memory
        total += w * float(np.dot(density(np.column_stack([np.full(len(rest), a), rest])), rest_weight))
    return total
