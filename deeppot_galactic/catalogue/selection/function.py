"""Selection functions that are functions."""

from __future__ import annotations

from collections.abc import Callable

import astropy.units as u
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...arguments import array
from ...errors import CatalogueError
from ..volumes import positions
from .base import SelectionFunction

Array = NDArray[np.float64]


class CallableSelection(SelectionFunction):
    """S from a user's function; made by `SelectionFunction.from_callable`.

    Parameters
    ----------
    function : callable
        Positions, array (N, 3) [kpc], to S, array (N,).
    gradient : callable or None
        Positions to grad ln S, array (N, 3) [1/kpc].
    step : float
        Half the interval of the differences [kpc].

    Raises
    ------
    CatalogueError
        If ``function`` is not callable, or ``step`` not positive.
    """

    def __init__(self, function: Callable[[Array], ArrayLike], gradient: Callable[[Array], ArrayLike] | None, step: float) -> None:
        if not callable(function):
            raise CatalogueError(f"a selection function must be callable, found {type(function).__name__}")
        if not (step > 0.0 and np.isfinite(step)):
            raise CatalogueError(f"the step of the differences must be a positive length, found {step} kpc")
        self._function, self._gradient, self.step = function, gradient, step

    def _evaluate(self, x: Array) -> Array:
        return self._function(x)  # type: ignore[return-value]  # checked by the caller

    def log_gradient(self, x: ArrayLike | u.Quantity) -> Array:
        if self._gradient is None:
            return super().log_gradient(x)
        points = positions(x)
        gradient = array(self._gradient(points), "log_gradient", CatalogueError)
        if gradient.shape != points.shape:
            raise CatalogueError(f"log_gradient returned shape {gradient.shape}, expected {points.shape}")
        return gradient

    def describe(self) -> str:
        return f"selection by {getattr(self._function, '__name__', 'a function')}"
