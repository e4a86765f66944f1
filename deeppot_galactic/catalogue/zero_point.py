"""The parallax zero point of Gaia (E)DR3, subtracted only when asked for: corrected = parallax - zero point.

The zero point is a function of magnitude, colour and ecliptic latitude (Lindegren et al. 2021, arXiv:2012.01742), computed by the
optional package gaiadr3-zeropoint, or one constant [mas]. Stars without the magnitudes and colours it needs stay as they are and are
counted.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingPackageError
from .aliases import ZERO_POINT

if TYPE_CHECKING:
    from .gaia import Reading

Array = NDArray[np.float64]


class ZeroPoint:
    """Parallax corrections: ``True`` for the Gaia (E)DR3 model, or a constant [mas]."""

    def __init__(self, setting: bool | float) -> None:
        self.constant = None if setting is True else float(setting)
        self._model: Any = None
        if setting is True:
            try:
                from zero_point import zpt  # type: ignore[import-not-found]
            except ImportError:
                raise MissingPackageError(
                    "zero_point = true needs another package: pip install gaiadr3-zeropoint; or give a constant, e.g. zero_point = -0.017"
                ) from None
            zpt.load_tables()
            self._model = zpt

    def correct(self, parallax: Array, reading: Reading) -> Array:
        """Parallaxes [mas] less the zero point; what could not be corrected is counted in the ledger."""
        if self.constant is not None:
            return parallax - self.constant
        magnitude, colour, pseudocolour, latitude, solved = (reading.values(role) for role in ZERO_POINT)
        known = np.isfinite(parallax) & np.isfinite(magnitude) & np.isfinite(latitude)
        known &= ((solved == 31) & np.isfinite(colour)) | ((solved == 95) & np.isfinite(pseudocolour))
        offset = np.full(len(parallax), np.nan)
        if known.any():
            columns = [np.nan_to_num(column[known]) for column in (magnitude, colour, pseudocolour, latitude)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns for magnitudes and colours beyond its range, where it extrapolates
                offset[known] = self._model.get_zpt(*columns, solved[known].astype(int), _warnings=False)
        reading.ledger.count("parallaxes without zero point", np.count_nonzero(np.isfinite(parallax) & np.isnan(offset)))
        return parallax - np.nan_to_num(offset)
