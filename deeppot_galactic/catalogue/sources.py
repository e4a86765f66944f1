"""Where columns come from: one small interface over tables in memory and files on disk, read a few columns and rows at a time.

A source knows its column names and their units before any data is read, and then yields chunks of the columns that are wanted.
Memory stays bounded by the chunk for FITS, HDF5, Parquet and (E)CSV; a VOTable and an .npz are held whole, the former with only the
columns wanted.
"""

from __future__ import annotations

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CatalogueError, DeepPotError

Chunk = dict[str, Any]

META_KEY = "DEEPPOT"
"""Table metadata (FITS keyword) under which `Tracers.to_table` keeps its own record, as JSON."""


class Source(ABC):
    """Columns with names and units.

    Attributes
    ----------
    label : str
        For messages: the file, or the type of table.
    units : dict
        Column name to its unit as text or Unit, None where not stated; in the order of the table.
    meta : dict
        What `Tracers.to_table` left in the table's metadata.
    notes : list of str
        Choices made in opening the file.
    """

    label: str
    units: dict[str, Any]
    meta: dict[str, Any]
    notes: list[str]

    @abstractmethod
    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        """Yield dicts of arrays (possibly masked) of at most about ``size`` rows, all of one length."""

    def read(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        """`chunks`, where a damaged file ends in a `CatalogueError`."""
        chunks = self.chunks(names, size)
        while True:
            with guarded(self.label, "a table"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:  # noqa: B027 - most sources hold nothing open
        """Release the file."""


@contextmanager
def guarded(label: str | Path, kind: str) -> Iterator[None]:
    """Turn whatever a reader of a damaged file raises into one `CatalogueError`."""
    with warnings.catch_warnings():
        # Readers warn about units they do not know in columns nobody asked for; those that matter are checked by name.
        warnings.simplefilter("ignore")
        try:
            yield
        except DeepPotError:
            raise
        except MemoryError:
            raise CatalogueError(f"{label} does not fit into memory; write it as FITS or Parquet, which are read in pieces") from None
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise CatalogueError(f"{label} cannot be read as {kind}: {text if len(text) <= 200 else text[:197] + '...'}") from None


def own_meta(text: Any) -> dict[str, Any]:
    """The record of `Tracers.to_table`, or an empty one where it is absent or damaged."""
    if isinstance(text, Mapping):
        return dict(text)
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


class MemorySource(Source):
    """An astropy Table or QTable, a pandas DataFrame, a structured array, or a mapping of arrays."""

    def __init__(self, table: Any) -> None:
        self.label, self.notes = f"a {type(table).__name__}", []
        self.meta, self._columns = {}, {}
        if isinstance(table, np.ndarray) and table.dtype.names:
            columns: Mapping[str, Any] = {name: table[name] for name in table.dtype.names}
        elif not isinstance(table, np.ndarray) and hasattr(table, "colnames") and hasattr(table, "itercols"):
            columns = {name: table[name] for name in table.colnames}
            self.meta = own_meta(table.meta.get(META_KEY, table.meta.get(META_KEY.lower())))
        elif not isinstance(table, np.ndarray) and hasattr(table, "columns") and hasattr(table, "to_numpy") and hasattr(table, "iloc"):
            columns = {str(name): _from_pandas(table[name]) for name in table.columns}
        elif isinstance(table, Mapping):
            columns = {str(name): values if hasattr(values, "shape") else np.asarray(values) for name, values in table.items()}
        else:
            raise CatalogueError(
                f"a catalogue must be a Table, DataFrame, structured array or mapping of columns, found {type(table).__name__}"
            )
        self._columns = dict(columns)
        lengths = {np.shape(values)[:1] for values in self._columns.values()}
        if len(lengths) > 1 or () in lengths:
            raise CatalogueError(
                f"the columns of {self.label} differ in length: {sorted(length[0] if length else 0 for length in lengths)}"
            )
        self._rows = next(iter(lengths))[0] if lengths else 0
        self.units = {}
        for name, values in self._columns.items():
            coordinate = hasattr(values, "ra") or hasattr(values, "transform_to")
            self.units[name] = "SkyCoord" if coordinate else getattr(values, "unit", None)

    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        for start in range(0, self._rows, size):
            yield {name: self._columns[name][start : start + size] for name in names}


def _from_pandas(series: Any) -> Any:
    values = series.to_numpy()
    if values.dtype == object or str(series.dtype) in ("Int64", "Int32", "Float64", "boolean"):
        missing = series.isna().to_numpy()
        if str(series.dtype).startswith("Int"):
            return np.ma.MaskedArray(series.fillna(0).to_numpy(dtype=np.int64), mask=missing)
        return np.ma.MaskedArray(values, mask=missing)
    return values


class FitsSource(Source):
    """A binary (or ASCII) table in a FITS file, memory-mapped."""

    def __init__(self, path: Path, table: str | int | None) -> None:
        from astropy.io import fits

        self.label, self.notes = str(path), []
        self._hdus: Any = fits.open(path, memmap=True)
        try:
            self._open(table)
        except BaseException:
            self._hdus.close()
            raise

    def _open(self, table: str | int | None) -> None:
        from astropy.io import fits

        kinds = (fits.BinTableHDU, fits.TableHDU)
        tables = [hdu for hdu in self._hdus if isinstance(hdu, kinds)]
        names = [hdu.name or f"HDU {self._hdus.index(hdu)}" for hdu in tables]
        if not tables:
            raise CatalogueError(f"{self.label} holds no table, only images or headers")
        if table is None:
            self._hdu: Any = tables[0]
            if len(tables) > 1:
                self.notes.append(f"the file holds {len(tables)} tables ({', '.join(names)}); the first is read")
        else:
            try:
                self._hdu = self._hdus[table]
            except (KeyError, IndexError):
                raise CatalogueError(f"{self.label} has no table {table!r}; it has {', '.join(names)}") from None
            if not isinstance(self._hdu, kinds):
                raise CatalogueError(f"{self.label}: {table!r} is not a table; the tables are {', '.join(names)}")
        columns: Any = self._hdu.columns
        self.units = {str(column.name): column.unit for column in columns}
        self._null = {column.name: column.null for column in columns if column.null not in (None, "")}
        header = self._hdu.header
        self.meta = own_meta(header.get(META_KEY))

    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        rows = int(self._hdu.header["NAXIS2"])
        for start in range(0, rows, size):
            part = self._hdu.data[start : start + size]
            chunk: Chunk = {}
            for name in names:
                values = np.asarray(part[name])
                null = self._null.get(name)
                integer = null is not None and values.dtype.kind in "iu"
                chunk[name] = np.ma.MaskedArray(values, mask=values == null) if integer else values
            yield chunk

    def close(self) -> None:
        self._hdus.close()


class Hdf5Source(Source):
    """A compound dataset (as astropy writes), or equally long datasets side by side in a group; ``pos`` and ``vel`` (N, 3) included."""

    def __init__(self, path: Path, table: str | int | None) -> None:
        import h5py

        self.label, self.notes, self.meta, self.units = str(path), [], {}, {}
        self._file = h5py.File(path, "r")
        try:
            self._open(None if table is None else str(table))
        except BaseException:
            self._file.close()
            raise

    def _open(self, table: str | None) -> None:
        import h5py

        compound: list[str] = []
        plain: dict[str, list[str]] = {}

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                if item.dtype.names:
                    compound.append(name)
                elif item.ndim >= 1 and not name.endswith("__table_column_meta__"):
                    parent, _, _ = name.rpartition("/")
                    plain.setdefault(parent, []).append(name)

        self._file.visititems(visit)
        choices = compound + [group or "/" for group in plain]
        wanted = None if table is None else table.strip("/")
        if wanted is None:
            wanted = compound[0] if compound else ("" if "" in plain else next(iter(plain), None))
            if wanted is not None and len(choices) > 1:
                self.notes.append(f"the file holds {len(choices)} tables ({', '.join(choices[:6])}); {wanted or '/'} is read")
        if wanted is None or (wanted not in compound and wanted not in plain):
            named = "no table" if table is None else f"no table {table!r}"
            raise CatalogueError(f"{self.label} holds {named}; it holds {', '.join(choices) if choices else 'no datasets'}")
        self._columns: dict[str, tuple[Any, Any]] = {}
        if wanted in compound:
            dataset: Any = self._file[wanted]
            stored = self._file.get(wanted + ".__table_column_meta__")
            units = {}
            if stored is not None:
                units, meta = yaml_units([bytes(line).decode() for line in np.asarray(stored)])
                self.meta = own_meta(meta.get(META_KEY))
            self.meta = self.meta or own_meta(dataset.attrs.get(META_KEY))
            for name in dataset.dtype.names:
                self.units[name] = units.get(name)
                self._columns[name] = (dataset, name)
            self._rows = len(dataset)
        else:
            self._side_by_side([self._file[name] for name in plain[wanted]])

    def _side_by_side(self, datasets: list[Any]) -> None:
        short = {dataset.name.rpartition("/")[2]: dataset for dataset in datasets}
        if {"pos", "vel"} <= short.keys() and all(short[key].ndim == 2 and short[key].shape[1] == 3 for key in ("pos", "vel")):
            for key, axes, default in (("pos", ("x", "y", "z"), "kpc"), ("vel", ("vx", "vy", "vz"), "km/s")):
                for i, axis in enumerate(axes):
                    self._columns[axis] = (short[key], i)
                    self.units[axis] = _attribute(short[key], default)
            self._rows = len(short["pos"])
            same = {len(short["pos"]), len(short["vel"])}
        else:
            for name, dataset in short.items():
                self._columns[name] = (dataset, None)
                self.units[name] = _attribute(dataset, None)
            same = {len(dataset) for dataset in short.values()}
            self._rows = max(same)
        if len(same) > 1:
            raise CatalogueError(f"{self.label}: the datasets differ in length: {sorted(same)}")

    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        for start in range(0, self._rows, size):
            cut = slice(start, min(start + size, self._rows))
            chunk: Chunk = {}
            fields = [name for name in names if isinstance(self._columns[name][1], str)]
            fields += [f"{name}.mask" for name in fields if f"{name}.mask" in self._columns]  # how astropy stores masked columns
            rows = self._columns[fields[0]][0].fields(fields)[cut] if fields else {}
            for name in names:
                dataset, part = self._columns[name]
                if isinstance(part, str):
                    masked = f"{name}.mask" in self._columns
                    chunk[name] = np.ma.MaskedArray(rows[name], mask=rows[f"{name}.mask"]) if masked else rows[name]
                else:
                    chunk[name] = dataset[cut] if part is None else dataset[cut, part]
            yield chunk

    def close(self) -> None:
        self._file.close()


def _attribute(dataset: Any, default: str | None) -> str | None:
    for key in ("unit", "units", "UNIT"):
        value = dataset.attrs.get(key)
        if value is not None:
            return value.decode() if isinstance(value, bytes) else str(value)
    return default


def yaml_units(lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Column units and table metadata from the YAML header that astropy writes beside HDF5 and Parquet tables."""
    from astropy.table.meta import get_header_from_yaml

    header = get_header_from_yaml(list(lines))
    meta: Any = header.get("meta") or {}
    units = {column["name"]: column.get("unit") for column in header["datatype"]}
    for name, column in _serialized(meta).items():
        if isinstance(column, Mapping) and column.get("unit") is not None:
            units[name] = column["unit"]
    return units, dict(meta)


def _serialized(meta: Mapping[str, Any]) -> dict[str, Any]:
    found = meta.get("__serialized_columns__") or {}
    return {str(name): column for name, column in found.items()}
