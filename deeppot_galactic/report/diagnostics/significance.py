"""Data against model, pixel by pixel: is the difference larger than counting noise?

A pixel holds d stars of the data and m of a sample drawn from the model; the model is alpha = N_data / N_model times m. The
significance of the excess, with the noise of both counts, is that of Li & Ma (1983, ApJ 272, 317, eq. 17),

    S = sign(d - alpha m) sqrt(2) { d ln[(1 + alpha)/alpha d/(d + m)] + m ln[(1 + alpha) m/(d + m)] }^(1/2).

If the model is right, S is close to a standard normal deviate: a map of S shows white noise of unit size and no structure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from .structure import Map

Array = NDArray[np.float64]


def poisson_significance(data: ArrayLike, model: ArrayLike, alpha: float) -> Array:
    """Signed significance (standard deviations) of ``data`` counts against ``alpha`` times ``model`` counts, same
    shapes; NaN where both are zero.

    Parameters
    ----------
    data : array_like
        Counts of the data, of any shape.
    model : array_like
        Counts of the model, of the same shape.
    alpha : float
        Expected ratio of data to model.

    Returns
    -------
    array
        Standard deviations, dimensionless.
    """
    data, model = np.asarray(data, dtype=np.float64), np.asarray(model, dtype=np.float64)
    both = np.where(data + model > 0, data + model, np.nan)
    likelihood = xlogy(data, (1 + alpha) / alpha * data / both) + xlogy(model, (1 + alpha) * model / both)
    return np.sign(data - alpha * model) * np.sqrt(2 * np.maximum(likelihood, 0))


def significance_map(data: tuple[Array, Array], model: tuple[Array, Array], x_edges: Array, y_edges: Array, *, at_least: int = 10) -> Map:
    """Significance of the difference of two samples in a plane.

    Parameters
    ----------
    data, model : pair of arrays
        The two coordinates of the stars and of the sample of the model. The sample counts as normalised to the stars inside the borders.
    x_edges, y_edges : array
        Borders of the pixels.
    at_least : int
        Pixels with fewer points than this, both together, are NaN.

    Returns
    -------
    Map
        Standard deviations.
    """
    counts = np.histogram2d(*data, bins=(x_edges, y_edges))[0]
    expected = np.histogram2d(*model, bins=(x_edges, y_edges))[0]
    alpha = counts.sum() / max(expected.sum(), 1.0)
    values = poisson_significance(counts, expected, alpha) if alpha > 0 else np.full_like(counts, np.nan)
    return Map(x_edges, y_edges, np.where(counts + expected >= at_least, values, np.nan))
