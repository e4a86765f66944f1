"""Tracers back to tables: phase space with units and a full record, or the sky as Gaia would list it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from ..errors import CatalogueError, StoreError
from ..store import atomic_path, jsonable
from ..units import LENGTH, VELOCITY
from .frames import frame_to_dict, phase_space_to_sky
from .reading import format_of
from .sources import META_KEY

if TYPE_CHECKING:
    from astropy.table import QTable

    from .tracers import Tracers

_AXES = {
    "x": "Galactocentric x, from the Sun's side towards and beyond the centre",
    "y": "Galactocentric y, along Galactic rotation at the Sun",
    "z": "Galactocentric z, towards the north Galactic pole",
}


def _record(tracers: Tracers) -> str:
    meta = dict(tracers.meta)
    meta["frame"] = None if tracers.frame is None else frame_to_dict(tracers.frame)
    return json.dumps(jsonable(meta), sort_keys=True)


def tracers_table(tracers: Tracers, *, errors: bool = False) -> QTable:
    """See `Tracers.to_table`."""
    from astropy.table import QTable

    table: Any = QTable()
    if tracers.ids is not None:
        table["source_id"] = tracers.ids
        table["source_id"].info.description = "Gaia source identifier, -1 where unknown"
    rows = tracers.phase_space
    for i, (axis, text) in enumerate(_AXES.items()):
        table[axis] = rows[:, i] * LENGTH
        table[axis].info.description = text if tracers.frame is not None else f"Cartesian {axis}"
    for i, (axis, text) in enumerate(_AXES.items(), 3):
        table[f"v{axis}"] = rows[:, i] * VELOCITY
        table[f"v{axis}"].info.description = "velocity along " + (text if tracers.frame is not None else axis)
    if tracers.weights is not None:
        table["weights"] = tracers.weights
    if errors:
        place, motion = tracers.errors
        for i, axis in enumerate("xyz"):
            table[f"{axis}_error"] = place[:, i]
            table[f"v{axis}_error"] = motion[:, i]
        table["phase_space_covariance"] = np.asarray(tracers.covariance)
        table["phase_space_covariance"].info.description = "covariance of (x, y, z, vx, vy, vz) in kpc and km/s"
    table.meta[META_KEY] = _record(tracers)
    return table


def sky_table(tracers: Tracers) -> QTable:
    """See `Tracers.to_sky`."""
    from astropy.table import QTable

    if tracers.frame is None:
        raise CatalogueError("these tracers have no Galactocentric frame, so they have no place on the sky; give one with frame=...")
    sky = phase_space_to_sky(tracers.phase_space, tracers.frame)
    columns = {
        "ra": sky[:, 0] * u.deg,
        "dec": sky[:, 1] * u.deg,
        "parallax": 1.0 / sky[:, 2] * u.mas,
        "distance": sky[:, 2] * LENGTH,
        "pmra": sky[:, 3] * u.mas / u.yr,
        "pmdec": sky[:, 4] * u.mas / u.yr,
        "radial_velocity": sky[:, 5] * VELOCITY,
    }
    table: Any = QTable(columns) if tracers.ids is None else QTable({"source_id": tracers.ids, **columns})
    table.meta[META_KEY] = _record(tracers)
    return table


def write_table(table: QTable, path: Path, *, overwrite: bool = False) -> Path:
    """Write a table so that the file appears whole or not at all; see `Tracers.write`."""
    kind = format_of(path, None)
    written = {
        "fits": {"format": "fits"},
        "ecsv": {"format": "ascii.ecsv"},
        "votable": {"format": "votable"},
        "parquet": {"format": "parquet"},
        "hdf5": {"format": "hdf5", "path": "tracers", "serialize_meta": True},
    }
    if kind not in written or path.suffix.lower() in (".gz", ".bz2"):
        raise CatalogueError(f"{path}: stars are written as FITS, ECSV, VOTable, Parquet or HDF5 (.fits .ecsv .vot .parquet .h5)")
    if path.exists() and not overwrite:
        raise CatalogueError(f"{path} exists; overwrite=True replaces it")
    try:
        with atomic_path(path) as partial:
            if kind == "votable":
                _write_votable(table, partial)
            else:
                table.write(partial, overwrite=True, **written[kind])
    except StoreError as error:
        raise CatalogueError(str(error)) from None
    return path


def _write_votable(table: Any, path: Path) -> None:
    from astropy.io import votable
    from astropy.io.votable.tree import Info
    from astropy.table import Table

    document = votable.from_table(Table(table))
    inner = next(iter(document.iter_tables()))
    inner.infos.append(Info(name=META_KEY, value=table.meta[META_KEY]))
    votable.writeto(document, str(path))
