"""What may be asked of a catalogue: columns, units, frame, cuts. The same keywords in Python and under ``[catalogue] options``.

Every value may be plain (number, text, list, mapping), so that a configuration file can hold it; lengths and velocities may also be
Quantities or text with a unit (``"4 kpc"``). Bare lengths are kpc, velocities km/s, parallaxes mas.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import astropy.units as u
import numpy as np

from ..errors import CatalogueError
from ..units import LENGTH, VELOCITY

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

SENTINELS = (-9999.99, -9999.0, -999.99, -999.0, -99.99, -99.0)
"""Numbers that catalogues write for "no value"; compared in the column's own unit, to six digits."""


@dataclass(frozen=True)
class CatalogueSettings:
    """Keywords of `read_tracers` and `Tracers.from_table`.

    Parameters
    ----------
    frame : Galactocentric, str, mapping, optional
        Frame of the result; see `frames.resolve_frame`. Default: the frame stored in the table, else astropy's "v4.0".
    columns : mapping, optional
        Role to column name, where the names differ from the known ones: ``{"radial_velocity": "RV_KMS"}``. An empty name ignores
        the role: ``{"distance": ""}``.
    units : mapping, optional
        Column (or role) to unit, over what the table says.
    kind : "auto", "sky" or "phase space"
        Which set of columns to use; "auto" takes x..vz where all six are there.
    ruwe_max : float or None
        Keep ruwe < this, where the table has the column (default 1.4).
    parallax_over_error_min : float or None
        Keep parallax / error > this, where the distance comes from the parallax and its error is known (default 5).
    radial_velocity_error_max, distance_min, distance_max : optional
        Further cuts [km/s, kpc, kpc]; none by default.
    where : str or list of str
        Expressions over the columns in the table's units, e.g. ``"phot_g_mean_mag < 14 & abs(b) > 5"``; all must hold.
    zero_point : bool or parallax
        Subtract the Gaia (E)DR3 parallax zero point (needs the package gaiadr3-zeropoint), or the constant given [mas].
    duplicates : "report", "drop" or "error"
        What to do with repeated source_id.
    sentinels : sequence of float
        Values that mean "missing"; see `SENTINELS`.
    keep_errors : bool
        Keep the observed values with their errors, for covariances and redrawing (default; 0.2 kB a star).
    chunk_size : int
        Rows handled at a time.
    format : str, optional
        File format, where the suffix does not tell: fits, ecsv, csv, votable, parquet, hdf5, npz.
    table : str or int, optional
        HDU of a FITS file or path inside an HDF5 file.
    """

    frame: Galactocentric | str | Mapping[str, Any] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, Any] = field(default_factory=dict)
    kind: Literal["auto", "sky", "phase space"] = "auto"
    ruwe_max: float | None = 1.4
    parallax_over_error_min: float | None = 5.0
    radial_velocity_error_max: Any = None
    distance_min: Any = None
    distance_max: Any = None
    where: str | Sequence[str] = ()
    zero_point: Any = False
    duplicates: Literal["report", "drop", "error"] = "report"
    sentinels: Sequence[float] = SENTINELS
    keep_errors: bool = True
    chunk_size: int = 2**17
    format: str | None = None
    table: str | int | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, unit in (("radial_velocity_error_max", VELOCITY), ("distance_min", LENGTH), ("distance_max", LENGTH)):
            put(name, _number(getattr(self, name), unit, name))
        for name in ("ruwe_max", "parallax_over_error_min"):
            put(name, _number(getattr(self, name), u.dimensionless_unscaled, name))
        if not isinstance(self.zero_point, bool):
            put("zero_point", _number(self.zero_point, u.mas, "zero_point", signed=True) or False)
        where = (self.where,) if isinstance(self.where, str) else self.where
        if not isinstance(where, list | tuple) or not all(isinstance(cut, str) for cut in where):
            raise CatalogueError(f"where must be a cut such as 'phot_g_mean_mag < 14', or several, found {self.where!r}")
        put("where", tuple(where))
        for name in ("columns", "units"):
            value = getattr(self, name)
            if value is None:
                put(name, {})
            elif not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise CatalogueError(f"{name} must map names to names, found {value!r}")
        _choice(self.kind, "kind", ("auto", "sky", "phase space"))
        _choice(self.duplicates, "duplicates", ("report", "drop", "error"))
        if not isinstance(self.chunk_size, int) or self.chunk_size < 1:
            raise CatalogueError(f"chunk_size must be a positive whole number, found {self.chunk_size!r}")
        try:
            put("sentinels", tuple(float(value) for value in self.sentinels))
        except (TypeError, ValueError):
            raise CatalogueError(f"sentinels must be numbers, found {self.sentinels!r}") from None

    @classmethod
    def make(cls, options: Mapping[str, Any]) -> CatalogueSettings:
        """Settings from keywords.

        Parameters
        ----------
        options : mapping
            The keywords and their values.

        Returns
        -------
        CatalogueSettings

        Raises
        ------
        CatalogueError
            For an unknown keyword, with a suggestion, or a value that cannot be.
        """
        known = [entry.name for entry in fields(cls)]
        for key in options:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                raise CatalogueError(f"unknown catalogue option {key!r}; {hint}")
        return cls(**options)


def _choice(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise CatalogueError(f"{name} must be one of {', '.join(map(repr, allowed))}, found {value!r}")


def _number(value: Any, unit: u.UnitBase, name: str, *, signed: bool = False) -> float | None:
    if value is None:
        return None
    try:
        quantity = u.Quantity(value)
        if quantity.unit != u.dimensionless_unscaled:
            quantity = quantity.to(unit)
        number = float(quantity.value)
    except (TypeError, ValueError):
        raise CatalogueError(f"{name} must be a number or a quantity in {unit or 'no unit'}, found {value!r}") from None
    if not np.isfinite(number) or (number < 0 and not signed):
        raise CatalogueError(f"{name} must be finite{'' if signed else ' and not negative'}, found {value!r}")
    return number
