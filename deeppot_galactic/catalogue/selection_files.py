"""Selection functions in files: one row for every HEALPix pixel (and distance), in any table format this package reads.

    pixel  distance [kpc]  selection        a table over pixels and distances, 0 to 1; every pixel at the same distances
    pixel  limit [kpc]                      a limiting distance for every pixel

Pixels are numbered from 0 in ring order (``order="nested"`` for the order of Gaia's source_id). Files written by
`StoredSelection.write` also carry the frame, the sky (galactic or icrs) and the order, which then need not be stated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from ..errors import CatalogueError
from ..store import jsonable
from ..units import LENGTH
from .columns import parse_unit
from .frames import frame_to_dict
from .reading import open_source
from .selection import DistanceLimit, StoredSelection, TableSelection
from .sources import META_KEY, Source
from .values import factor, numbers

Array = NDArray[np.float64]
_PIXELS = ("pixel", "healpix", "hpx", "ipix")
_KEY = "selection"


def read_selection(
    path: str | Path,
    *,
    frame: Any = None,
    default_frame: Any = None,
    sky: str | None = None,
    order: str | None = None,
    taper: float | None = None,
) -> StoredSelection:
    """Read a selection function.

    Parameters
    ----------
    path : str or Path
        FITS, ECSV, CSV, VOTable, Parquet or HDF5.
    frame : Galactocentric, str or mapping, optional
        Where the Sun is; by default what the file says, else ``default_frame``.
    default_frame : Galactocentric, str or mapping, optional
        By default astropy's "v4.0".
    sky : {"galactic", "icrs"}, optional
        Coordinates of the pixels; by default what the file says, else "galactic".
    order : {"ring", "nested"}, optional
        Their order; by default what the file says, else "ring".
    taper : float, optional
        For limits: the last fraction of the distance over which the edge falls; 0.1 by default.

    Returns
    -------
    StoredSelection

    Raises
    ------
    CatalogueError
        With one line that names what is wrong.
    """
    with open_source(path) as source:
        try:
            return _build(source, frame, default_frame, sky, order, taper)
        except CatalogueError as error:
            message = str(error)
            raise CatalogueError(message if str(path) in message else f"{path}: {message}") from None


def _build(source: Source, frame: Any, default_frame: Any, sky: str | None, order: str | None, taper: float | None) -> StoredSelection:
    names = {name.lower(): name for name in source.units}
    pixel = next((names[name] for name in _PIXELS if name in names), None)
    kind = "limit" if "limit" in names else "selection"
    wanted = ["limit"] if kind == "limit" else ["distance", "selection"]
    missing = [name for name in wanted if name not in names] + ([] if pixel is not None else ["pixel"])
    if missing or pixel is None:
        found = ", ".join(source.units) or "no columns"
        needed = "a selection function needs the columns pixel, distance and selection, or pixel and limit"
        raise CatalogueError(f"{needed}: there is no {', '.join(missing)}; found {found}")
    stored: dict[str, Any] = source.meta.get(_KEY, {}) if isinstance(source.meta.get(_KEY), dict) else {}
    frame = frame if frame is not None else stored.get("frame", default_frame)
    sky, order = sky or str(stored.get("sky", "galactic")), order or str(stored.get("order", "ring"))
    columns = {name: _column(source, names[name]) for name in wanted}
    index = _column(source, pixel)
    if not np.array_equal(index, np.round(index)) or index.min() < 0:
        raise CatalogueError(f"column {pixel!r} must hold whole numbers from 0")
    rows = index.astype(np.int64)
    n_pixels = int(rows.max()) + 1
    if kind == "limit":
        limits = np.full(n_pixels, np.nan)
        limits[rows] = columns["limit"] * _length(source, names["limit"])
        if len(rows) != n_pixels or np.isnan(limits).any():
            raise CatalogueError(f"every pixel needs one limit: {len(rows)} rows for {n_pixels} pixels")
        return DistanceLimit(limits * LENGTH, frame, sky, order, taper if taper is not None else stored.get("taper", 0.1))
    distances, place = np.unique(columns["distance"], return_inverse=True)
    table = np.full((n_pixels, len(distances)), np.nan)
    table[rows, place] = columns["selection"]
    if len(rows) != table.size or np.isnan(table).any():
        raise CatalogueError(
            f"every pixel needs a value at every distance: {len(rows)} rows for {n_pixels} pixels and {len(distances)} distances"
        )
    return TableSelection(table, distances * _length(source, names["distance"]) * LENGTH, frame, sky, order)


def _column(source: Source, name: str) -> Array:
    parts = [numbers(chunk[name], name)[0] for chunk in source.read([name], 2**20)]
    values = np.concatenate(parts) if parts else np.empty(0)
    if not len(values):
        raise CatalogueError("the table holds no rows")
    if not np.isfinite(values).all():
        raise CatalogueError(f"column {name!r} has {np.count_nonzero(~np.isfinite(values))} missing values")
    return values


def _length(source: Source, name: str) -> float:
    unit = parse_unit(source.units[name], name)
    if unit is None:
        raise CatalogueError(f"column {name!r} has no unit; expected a length, such as kpc")
    if not unit.is_equivalent(LENGTH):
        raise CatalogueError(f"column {name!r} is in {unit}, expected a length")
    return factor(unit, LENGTH)


def write_selection(selection: StoredSelection, path: Path, *, overwrite: bool = False) -> Path:
    """Write a selection function; see `StoredSelection.write`.

    Parameters
    ----------
    selection : StoredSelection
        A table or a distance limit.
    path : Path
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
    from astropy.table import QTable

    from .writing import write_table

    stored, columns = selection.to_dict(), selection.columns()
    table: Any = QTable()
    if "limit" in columns:
        table["pixel"] = np.arange(len(columns["limit"]))
        table["limit"] = columns["limit"] * LENGTH
    else:
        n_pixels, n_distances = columns["selection"].shape
        table["pixel"] = np.repeat(np.arange(n_pixels), n_distances)
        table["distance"] = u.Quantity(np.tile(columns["distances"], n_pixels), LENGTH)
        table["selection"] = columns["selection"].ravel()
    record = {"frame": frame_to_dict(selection.frame), "sky": stored["sky"], "order": "ring", "taper": stored.get("taper")}
    table.meta[META_KEY] = json.dumps(jsonable({_KEY: {key: value for key, value in record.items() if value is not None}}), sort_keys=True)
    return write_table(table, path, overwrite=overwrite)
