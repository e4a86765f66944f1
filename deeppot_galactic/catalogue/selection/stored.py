"""Selection functions that are tables: in models, in files."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...arguments import rebuilding
from ...errors import CatalogueError
from ...units import LENGTH
from ..frames import frame_to_dict
from ..packing import packed, unpacked
from .base import SelectionFunction

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

Array = NDArray[np.float64]


class StoredSelection(SelectionFunction):
    """A selection function that is a table, and can be kept in files and models."""

    _frame: Galactocentric
    _sky: str
    _nside: int

    @property
    def frame(self) -> Galactocentric:
        """Where the Sun is."""
        return self._frame

    @abstractmethod
    def columns(self) -> dict[str, Array]:
        """The table.

        Returns
        -------
        dict of arrays
            First axis: pixels in ring order. ``selection`` (12 nside^2, K) at ``distances`` (K,) [kpc], or ``limit`` (12 nside^2,) [kpc].
        """

    def end(self, x: Array) -> Array:
        """One where the table goes on, falling to zero at its far end.

        Parameters
        ----------
        x : array, shape (N, 3)
            Galactocentric positions [kpc].

        Returns
        -------
        array, shape (N,)
        """
        return np.ones(len(x))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` is the inverse.

        Returns
        -------
        dict
            The kind, the sky, the frame, and the arrays as compressed text.
        """
        numbers = {name: packed(values) for name, values in self.columns().items()}
        return {"kind": type(self).__name__, "sky": self._sky, "frame": frame_to_dict(self._frame), **self._scalars(), **numbers}

    def _scalars(self) -> dict[str, float]:
        return {}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> StoredSelection:
        """Rebuild from `to_dict`.

        Parameters
        ----------
        values : mapping
            What `to_dict` gives.

        Returns
        -------
        TableSelection or DistanceLimit

        Raises
        ------
        CatalogueError
            If it lacks a key, is of an unknown kind or damaged.
        """
        from .tables import DistanceLimit, TableSelection

        with rebuilding("a selection function", values, CatalogueError):
            frame, sky = values["frame"], values["sky"]
            if values["kind"] == "TableSelection":
                return TableSelection(unpacked(values["selection"]), unpacked(values["distances"]) * LENGTH, frame, sky, "ring")
            if values["kind"] == "DistanceLimit":
                return DistanceLimit(unpacked(values["limit"]) * LENGTH, frame, sky, "ring", values["taper"])
            raise CatalogueError(f"unknown kind of selection function {values['kind']!r}: expected 'TableSelection' or 'DistanceLimit'")

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a table with one row for every pixel and distance; `read_selection` reads it, and TOPCAT.

        Parameters
        ----------
        path : str or Path
            FITS, ECSV, VOTable, Parquet or HDF5, by the suffix.
        overwrite : bool
            Replace a file that exists.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        CatalogueError
            If the file exists and ``overwrite`` is false, the suffix is none of these, or it cannot be written.
        """
        from ..selection_files import write_selection

        return write_selection(self, Path(path), overwrite=overwrite)
