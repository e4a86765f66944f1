"""What `Tracers` does with weights and errors: checks, covariances as Quantities, drawing anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arguments import array
from ..errors import CatalogueError, DeepPotError
from ..units import LENGTH, VELOCITY
from .sanity import check_weighted
from .uncertainty import root_of

if TYPE_CHECKING:
    from .tracers import Tracers

Array = NDArray[np.float64]


def checked_weights(weights: ArrayLike | None, n: int, error: type[DeepPotError] = CatalogueError) -> Array | None:
    """Weights of ``n`` stars as float64, or None (`CatalogueError`, or the class ``error``, for anything but ``n`` numbers >= 0)."""
    if weights is None:
        return None
    values = array(weights, "weights", error)
    bad = np.count_nonzero(~(np.isfinite(values) & (values >= 0.0)))
    if values.shape != (n,) or bad:
        raise error(f"weights must be {n} finite numbers >= 0, found shape {values.shape}" + (f" with {bad} that are not" if bad else ""))
    return values


def star_weights(weights: ArrayLike | None, n: int) -> Array:
    """Weights of ``n`` stars, one each by default (`CatalogueError` for another number of them, or where none is positive)."""
    values = checked_weights(weights, n)
    check_weighted(values)
    return np.ones(n) if values is None else values


def checked_covariance(covariance: ArrayLike | None, n: int) -> Array | None:
    """Covariances (n, 6, 6) as float64, or None."""
    if covariance is None:
        return None
    values = array(covariance, "the covariance", CatalogueError)
    if values.shape != (n, 6, 6):
        raise CatalogueError(f"the covariance must have shape ({n}, 6, 6), found {values.shape}")
    return values


def extent(rows: Array) -> str:
    """Where the stars are, in words."""
    if len(rows) == 0:
        return "there are no stars at all"
    parts = (f"{k} from {v.min():.3g} to {v.max():.3g}" for k, v in (("R", np.hypot(*rows[:, :2].T)), ("x", rows[:, 0]), ("z", rows[:, 2])))
    return f"the stars have {', '.join(parts)} kpc"


def known_covariance(tracers: Tracers) -> Array:
    """The covariance, or a `CatalogueError` that says what it would take."""
    values = tracers.covariance
    if values is None:
        needed = "the error columns of parallax (or distance), proper motions and velocity"
        raise CatalogueError(f"these tracers have no errors: they need {needed}")
    return values


def covariance_blocks(tracers: Tracers, method: str, n_draws: int, seed: int) -> tuple[u.Quantity, u.Quantity, u.Quantity]:
    """See `Tracers.covariances`."""
    if method != "jacobian" and tracers.observations is not None and tracers.frame is not None:
        values = tracers.observations.covariance(tracers.frame, method=method, n_draws=n_draws, seed=seed)
    else:
        values = known_covariance(tracers)
    place, mixed, motion = values[:, :3, :3], values[:, :3, 3:], values[:, 3:, 3:]
    return u.Quantity(place, LENGTH**2), u.Quantity(mixed, LENGTH * VELOCITY), u.Quantity(motion, VELOCITY**2)


def drawing(tracers: Tracers) -> Callable[[np.random.Generator], Array]:
    """See `Tracers.drawing`."""
    pair = pairs(tracers)
    return lambda rng: pair(rng, 1.0)[0]


def pairs(tracers: Tracers) -> Callable[[np.random.Generator, float], tuple[Array, Array]]:
    """Phase space (N, 6) twice, displaced by noise of ``factor`` times the errors' covariance and by the same noise reversed."""
    if tracers.observations is not None and tracers.frame is not None:
        draw, frame = tracers.observations.pairs(), tracers.frame

        def from_observations(rng: np.random.Generator, factor: float) -> tuple[Array, Array]:
            first, second = draw(rng, factor)
            return first.phase_space(frame), second.phase_space(frame)

        return from_observations
    covariance, rows = known_covariance(tracers), tracers.phase_space
    known = np.isfinite(covariance).all(axis=(1, 2))
    root = np.zeros_like(covariance)
    root[known] = root_of(covariance[known])

    def from_covariance(rng: np.random.Generator, factor: float) -> tuple[Array, Array]:
        noise = np.sqrt(factor) * np.einsum("nij,nj->ni", root, rng.standard_normal(rows.shape))
        return rows + noise, rows - noise

    return from_covariance
