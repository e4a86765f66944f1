r"""Matter from a potential: smoothed densities, dark matter, and radial profiles with errors.

The total density is lap Phi / (4 pi G). Given the density of the stars, the rest is dark: rho_dark = rho - rho_stars (Kalda, Green & Ghosh
2023, section 4). Second derivatives are noisy at single points; means over a kernel or a shell are what a fit determines, and their errors
follow from the posterior with all correlations (`posterior`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arguments import instance, whole
from ..errors import FitError
from ..units import DENSITY, LENGTH, lengths, to_internal, vectors
from .model import PotentialModel

if TYPE_CHECKING:
    import astropy.units as u
    from astropy.table import QTable

Array = NDArray[np.float64]
StellarDensity = Callable[["u.Quantity"], "u.Quantity"]
"""Positions (n, 3) to densities (n,), both with units."""


def smoothed_density(model: PotentialModel, pos: u.Quantity, *, width: u.Quantity, n: int = 64, seed: int = 0) -> u.Quantity:
    """Total density averaged over a Gaussian kernel that is cut at the edge of the training volume.

    Parameters
    ----------
    model : PotentialModel
    pos : Quantity, shape (N, 3)
    width : Quantity
        Standard deviation of the kernel along each axis: a length, or three.
    n : int
        Points of the kernel at every position; the same displacements, drawn in opposite pairs, serve all of them.
    seed : int

    Returns
    -------
    Quantity, shape (N,), Msun/kpc^3
        NaN where no point of the kernel is inside the volume.

    Raises
    ------
    UnitsError
        For positions or widths without units.
    FitError
        If ``model`` is none, for a width that is negative or of another shape, ``n`` below one, or a seed that is no whole number.
    """
    places, share, known = _kernel(model, pos, width, n, seed)
    density = np.zeros(share.shape)
    inside = share > 0
    if inside.any():
        density[inside] = model.global_potential.density(places[inside])
    import astropy.units as u

    return u.Quantity(np.where(known, np.sum(share * density, axis=1), np.nan), DENSITY)


def smoothed_density_error(model: PotentialModel, pos: u.Quantity, *, width: u.Quantity, n: int = 64, seed: int = 0) -> u.Quantity:
    """Standard error of `smoothed_density`: that of the posterior, with the correlations of the points of the kernel.

    Parameters
    ----------
    model : PotentialModel
    pos : Quantity, shape (N, 3)
    width : Quantity
        As there, like ``n`` and ``seed``.
    n, seed : int

    Returns
    -------
    Quantity, shape (N,), Msun/kpc^3
        NaN where no point of the kernel is inside the volume.

    Raises
    ------
    FitError
        As `smoothed_density`, and for a model without a posterior (trained on scores alone): use
        `deeppot_galactic.potential.resampled.fit_ensemble`.
    UnitsError
        For positions or widths without units.
    """
    posterior = instance(model, PotentialModel, "model", FitError).posterior
    if posterior is None:
        raise FitError("a model trained on scores alone has no posterior; potential.resampled.fit_ensemble gives errors")
    places, share, known = _kernel(model, pos, width, n, seed)
    import astropy.units as u

    return u.Quantity(np.where(known, posterior.weighted_density_error(places, share), np.nan), DENSITY)


def _kernel(model: PotentialModel, pos: u.Quantity, width: u.Quantity, n: int, seed: int) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Points (N, M, 3) of the kernel at every position [kpc], the share (N, M) of each in the mean, and where there is a mean."""
    instance(model, PotentialModel, "model", FitError)
    n, seed = whole(n, "n", least=1, error=FitError), whole(seed, "seed", error=FitError)
    x, kernel = vectors(pos, LENGTH, "pos"), to_internal(width, LENGTH, "width")
    if kernel.shape not in ((), (3,)) or not np.all(np.isfinite(kernel) & (kernel >= 0.0)):
        raise FitError(f"width must be one length >= 0, or three, found {width}")
    half = np.random.default_rng(seed).standard_normal((max(n // 2, 1), 3)) * kernel
    places = x[:, None, :] + np.concatenate([half, -half])
    inside = model.in_training_volume(places.reshape(-1, 3) * LENGTH).reshape(places.shape[:2])
    count = inside.sum(axis=1)
    return places, inside / np.maximum(count, 1)[:, None], count > 0


def dark_matter_density(model: PotentialModel, pos: u.Quantity, stars: StellarDensity) -> u.Quantity:
    """Total density less that of the stars.

    Parameters
    ----------
    model : PotentialModel
        The fit.
    pos : Quantity, shape (N, 3)
        Positions.
    stars : callable
        Stellar density, ``stars(pos) -> Quantity`` of shape (N,).

    Returns
    -------
    Quantity, shape (N,)
        Msun/kpc^3; negative where the fit or ``stars`` is wrong.

    Raises
    ------
    FitError
        If ``model`` is none, ``stars`` no function, or its densities not one for each position.
    UnitsError
        For positions without units, or if ``stars`` gives no densities.
    """
    import astropy.units as u

    x = vectors(pos, LENGTH, "pos")
    return u.Quantity(instance(model, PotentialModel, "model", FitError).global_potential.density(x) - _stellar(stars, x), DENSITY)


def dark_matter_profile(
    model: PotentialModel, radii: u.Quantity, *, stars: StellarDensity | None = None, n: int = 2000, seed: int = 0
) -> QTable:
    """Mean density in spherical shells about the rotation axis' origin, within the training volume.

    Parameters
    ----------
    model : PotentialModel
    radii : Quantity, shape (K + 1,)
        Edges of the shells.
    stars : callable, optional
        Stellar density, ``stars(pos) -> Quantity``; without it the column ``dark`` is absent.
    n : int
        Points in every shell, uniform in its part of the volume.
    seed : int

    Returns
    -------
    QTable
        One row a shell: r_lo, r_hi, total, total_error and, with ``stars``, dark, dark_error (the error of the total density; ``stars``
        is taken as exact), all in Msun/kpc^3. NaN where a shell misses the volume; errors are NaN for a model without a posterior.

    Raises
    ------
    FitError
        If ``model`` is none, ``n`` below one, a seed that is no whole number, ``stars`` no function, or its densities not one for each
        position.
    UnitsError
        For edges that are not two or more increasing lengths, or if ``stars`` gives no densities.
    """
    from astropy.table import QTable

    instance(model, PotentialModel, "model", FitError)
    edges, n = lengths(radii, "radii", least=2), whole(n, "n", least=1, error=FitError)
    rng = np.random.default_rng(whole(seed, "seed", error=FitError))
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        x = _in_shell(model, low, high, n, rng)
        if not len(x):
            rows.append((np.nan, np.nan, np.nan))
            continue
        total = float(np.mean(model.global_potential.density(x)))
        error = model.posterior.mean_density_error(x) if model.posterior is not None else np.nan
        stellar = np.nan if stars is None else float(np.mean(_stellar(stars, x)))
        rows.append((total, error, total - stellar))
    total, error, dark = np.array(rows).T
    table = QTable({"r_lo": edges[:-1] * LENGTH, "r_hi": edges[1:] * LENGTH, "total": total * DENSITY, "total_error": error * DENSITY})
    if stars is not None:
        table["dark"], table["dark_error"] = dark * DENSITY, error * DENSITY
    return table


def _in_shell(model: PotentialModel, low: float, high: float, n: int, rng: np.random.Generator) -> Array:
    """Up to ``n`` points of a shell that lie in the volume, (m, 3)."""
    found = np.empty((0, 3))
    for _ in range(40):
        direction = rng.standard_normal((4 * n, 3))
        radius = rng.uniform(low**3, high**3, 4 * n) ** (1.0 / 3.0)
        x = direction / np.linalg.norm(direction, axis=1)[:, None] * radius[:, None] + model.frame.x0_vector
        found = np.concatenate([found, x[model.in_training_volume(x * LENGTH)]])
        if len(found) >= n:
            break
    return found[:n]


def _stellar(stars: StellarDensity, x: Array) -> Array:
    if not callable(stars):
        raise FitError(f"stars must be a function of positions that gives a density, found a {type(stars).__name__}")
    density = to_internal(stars(x * LENGTH), DENSITY, "the stellar density")
    if density.shape != x.shape[:1]:
        raise FitError(f"stars must give one density for each of {len(x)} positions, shape ({len(x)},), found {density.shape}")
    return density
