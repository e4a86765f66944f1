r"""Masks: the part of a volume in which a catalogue can be used, with an edge that is smooth.

Where a selection function S falls below some least value there are too few stars to stand for the others. Cutting there alone would
leave an edge inside the volume, and every objective that integrates by parts would miss the flow of stars through it. The mask

.. math:: m(x) = s\!\left(\frac{S(x) - S_{least}}{S_{least}}\right) \times \text{(end of the table, see below)}

with the quintic step s is one where S exceeds twice the least value and falls to zero at it; volumes multiply their weight g by it. A table
over distances ends at its last one, however large S is there: over its last interval m falls to zero. For a distance limit per
HEALPix pixel, m is S itself: one out to the limit less the taper, zero beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import array, instance, rebuilding
from ..errors import CatalogueError
from .selection import DistanceLimit, SelectionFunction, StoredSelection
from .volumes import smoother_step

Array = NDArray[np.float64]

STEP = 1e-4
"""Half the interval [kpc] over which the gradient is taken: short against any cell, long against rounding."""


class Mask:
    """Where a selection function is at least ``least``, with a smooth edge.

    Parameters
    ----------
    selection : SelectionFunction
        A table or a distance limit; tabulate others first (`SelectionFunction.tabulated`).
    least : float
        Smallest S of use, in (0, 0.5]. Without effect for a distance limit.

    Raises
    ------
    CatalogueError
        For a selection function that cannot be stored, or ``least`` out of range.
    """

    def __init__(self, selection: SelectionFunction, least: float = 0.05) -> None:
        instance(selection, SelectionFunction, "the selection of a mask", CatalogueError)
        if not isinstance(selection, StoredSelection):
            raise CatalogueError(f"a mask is stored with the model, and a {selection.describe()} cannot be: use selection.tabulated(...)")
        if not 0.0 < array(least, "the least selection of use", CatalogueError) <= 0.5:
            raise CatalogueError(f"the least selection of use must lie in (0, 0.5], found {least}")
        self.selection, self.least = selection, float(least)

    def weight(self, x: Array) -> Array:
        """m, between 0 and 1.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        array, shape (N,)
        """
        if isinstance(self.selection, DistanceLimit):
            return self.selection(x)
        return smoother_step((self.selection(x) - self.least) / self.least)[0] * self.selection.end(x)

    def weight_and_gradient(self, x: Array) -> tuple[Array, Array]:
        """m and its gradient, by central differences.

        Parameters
        ----------
        x : array, shape (N, 3)
            Positions [kpc].

        Returns
        -------
        weight : array, shape (N,)
            As of `weight`.
        gradient : array, shape (N, 3)
            1/kpc.
        """
        weight, gradient = self.weight(x), np.zeros_like(x)
        for axis in range(3):
            shift = np.zeros(3)
            shift[axis] = STEP
            gradient[:, axis] = (self.weight(x + shift) - self.weight(x - shift)) / (2.0 * STEP)
        return weight, gradient

    def describe(self) -> str:
        """One line for people.

        Returns
        -------
        str
        """
        text = self.selection.describe()
        return text if isinstance(self.selection, DistanceLimit) else f"{text}, at least {self.least:g}"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            ``selection`` and ``least``.
        """
        return {"selection": self.selection.to_dict(), "least": self.least}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Mask:
        """Rebuild a mask from `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives.

        Returns
        -------
        Mask

        Raises
        ------
        CatalogueError
            If it is damaged.
        """
        with rebuilding("a mask", values, CatalogueError):
            return Mask(StoredSelection.from_dict(values["selection"]), values["least"])
