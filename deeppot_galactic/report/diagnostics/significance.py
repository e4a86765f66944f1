"""Data against model, pixel by pixel: is the difference larger than counting noise?

A pixel holds d stars of the data and m of a sample drawn from the model; the model is alpha = N_data / N_model times m. The
significance of the excess, with the noise of both counts, is that of Li & Ma (1983, ApJ 272, 317, eq. 17),

    S = sign(d - alpha m) sqrt(2) { d ln[(1 + alpha)/alpha d/(d + m)] + m ln[(1 + alpha) m/(d + m)] }^(1/2).

If the model is right, S is close to a standard normal deviate: a map of S shows white noise of unit size and no structure.

A pixel of stars with weights w has the noise of d = (sum w)^2 / sum w^2 stars of weight s = sum w^2 / sum w each (the scaled Poisson
distribution of Bohm & Zech 2014, arXiv:1309.1287): these take the place of the counts, and alpha / s that of alpha.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from .structure import Map

Array = NDArray[np.float64]


def poisson_significance(data: ArrayLike, model: ArrayLike, alpha: ArrayLike) -> Array:
    """Signed significance (standard deviations) of ``data`` counts against ``alpha`` times ``model`` counts, same
    shapes; NaN where both are zero.

    Parameters
    ----------
    data : array_like
        Counts of the data, of any shape.
    model : array_like
        Counts of the model, of the same shape.
    alpha : array_like
        Expected ratio of data to model, one for all or of the same shape.

    Returns
    -------
    array
        Standard deviations, dimensionless.
    """
    data, model, alpha = (np.asarray(values, dtype=np.float64) for values in (data, model, alpha))
    both = np.where(data + model > 0, data + model, np.nan)
    likelihood = xlogy(data, (1 + alpha) / alpha * data / both) + xlogy(model, (1 + alpha) * model / both)
    return np.sign(data - alpha * model) * np.sqrt(2 * np.maximum(likelihood, 0))


def significance_map(
    data: tuple[Array, Array],
    model: tuple[Array, Array],
    x_edges: Array,
    y_edges: Array,
    *,
    weights: Array | None = None,
    at_least: int = 10,
) -> Map:
    """Significance of the difference of two samples in a plane.

    Parameters
    ----------
    data, model : pair of arrays
        The two coordinates of the stars and of the sample of the model. The sample counts as normalised to the stars inside the borders.
    x_edges, y_edges : array
        Borders of the pixels.
    weights : array (N,), optional
        Of the stars.
    at_least : int
        Pixels with fewer points than this, both together, are NaN.

    Returns
    -------
    Map
        Standard deviations.
    """
    w = np.ones(len(data[0])) if weights is None else np.asarray(weights, dtype=np.float64)
    total, squares = (np.histogram2d(*data, bins=(x_edges, y_edges), weights=q)[0] for q in (w, w**2))
    expected = np.histogram2d(*model, bins=(x_edges, y_edges))[0]
    if not total.any():
        return Map(x_edges, y_edges, np.full_like(total, np.nan))
    alpha = total.sum() / max(expected.sum(), 1.0)
    weight = np.where(total > 0, squares, squares.sum()) / np.where(total > 0, total, total.sum())  # an empty pixel: that of all stars
    counts = total / weight
    values = poisson_significance(counts, expected, alpha / weight)
    return Map(x_edges, y_edges, np.where(counts + expected >= at_least, values, np.nan))
