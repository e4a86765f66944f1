"""Columns from CSV and ECSV (in blocks, by Arrow's reader), Parquet, VOTable and .npz files."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

import numpy as np

from ..errors import CatalogueError
from .sources import META_KEY, Chunk, MemorySource, Source, own_meta, yaml_units

_MISSING = ["", "null", "NULL", "Null", "nan", "NaN", "NAN", "None", "none", "--", "-", "N/A", "n/a", "NA"]
_BLOCK = 8 * 2**20
"""Bytes of text parsed at a time."""


class CsvSource(Source):
    """Delimited text with one line of column names, with or without the YAML header of ECSV."""

    def __init__(self, path: Path) -> None:
        self.label, self.notes, self.meta = str(path), [], {}
        self._path = path
        comments: list[str] = []
        with _open_text(path) as file:
            line = file.readline()
            while line.startswith("#"):
                comments.append(line[1:].strip("\r\n"))
                line = file.readline()
        self._skip, self._names = len(comments), None
        ecsv = bool(comments) and comments[0].strip().startswith("%ECSV")
        self._delimiter = next((mark for mark in ",\t;|" if mark in line), " ")
        if not line.strip():
            raise CatalogueError(f"{path} is empty" if not comments else f"{path} holds no rows")
        if comments and not ecsv and _is_number(line.split(self._delimiter)[0]):
            names = [name.strip() for name in comments[-1].strip().split(self._delimiter)]
            if len(names) == len(line.split(self._delimiter)):
                self._names = names  # the names stand in the last comment line
        self._nested: set[str] = set()
        if ecsv:
            header = [comment.removeprefix(" ") for comment in comments if not comment.strip().startswith(("%ECSV", "---"))]
            found, meta = yaml_units(header)
            self.meta = own_meta(meta.get(META_KEY))
            self._nested = {name for name in found if any(f"name: {name}," in row and "subtype:" in row for row in header)}
            self.units = {name: found.get(name) for name in found}
        else:
            names = self._reader(None).schema.names
            self.units = dict.fromkeys(names)
            if len(self.units) < len(names):
                raise CatalogueError(f"{path} has two columns of one name")

    def _reader(self, wanted: Sequence[str] | None, types: dict[str, Any] | None = None) -> Any:
        from pyarrow import csv

        return csv.open_csv(
            str(self._path),
            read_options=csv.ReadOptions(skip_rows=self._skip, column_names=self._names, block_size=_BLOCK),
            parse_options=csv.ParseOptions(delimiter=self._delimiter),
            convert_options=csv.ConvertOptions(
                include_columns=list(wanted) if wanted else None, column_types=types or {}, null_values=_MISSING, strings_can_be_null=True
            ),
        )

    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        import pyarrow as pa

        # The types found in the first block are taken for the rest; where a later block disagrees, text is read from there on.
        types = {}
        for field in self._reader(names).schema:
            number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
            types[field.name] = pa.float64() if pa.types.is_null(field.type) else (field.type if number else pa.string())
        done = 0
        try:
            for batch in self._reader(names, types):
                yield from self._split(batch, names, size)
                done += batch.num_rows
        except pa.ArrowInvalid:
            for batch in self._reader(names, dict.fromkeys(names, pa.string())):
                rest = batch.slice(min(done, batch.num_rows))
                done -= batch.num_rows - rest.num_rows
                yield from self._split(rest, names, size)

    def _split(self, batch: Any, names: Sequence[str], size: int) -> Iterator[Chunk]:
        for start in range(0, batch.num_rows, size):
            part = batch.slice(start, size)
            chunk: Chunk = {}
            for name in names:
                column = part.column(part.schema.get_field_index(name))
                if name in self._nested:
                    chunk[name] = np.array([json.loads(text) for text in column.to_pylist()], dtype=np.float64)
                else:
                    chunk[name] = _simplest(column)
            yield chunk


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _open_text(path: Path) -> TextIO:
    openers = {".gz": gzip.open, ".bz2": bz2.open}
    opener: Any = openers.get(path.suffix.lower(), open)
    return cast(TextIO, opener(path, "rt", encoding="utf-8-sig", errors="replace"))


def _simplest(column: Any) -> Any:
    """The simplest type that holds every entry of a column of text: whole numbers, numbers, truth values, else the text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_string(column.type):
        return from_arrow(column)
    trimmed: Any = pc.utf8_trim_whitespace(column)  # pyright: ignore[reportAttributeAccessIssue]
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        try:
            return from_arrow(trimmed.cast(kind))
        except pa.ArrowInvalid:
            continue
    return from_arrow(trimmed)


def from_arrow(column: Any) -> Any:
    """An Arrow array as NumPy, masked where null (so that whole numbers stay exact)."""
    import pyarrow as pa

    kind = column.type
    nulls = column.null_count
    if pa.types.is_nested(kind):
        return np.array(column.to_pylist(), dtype=np.float64)
    if not nulls or pa.types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False)
    mask = column.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        fill = False if pa.types.is_boolean(kind) else 0
        return np.ma.MaskedArray(column.fill_null(fill).to_numpy(zero_copy_only=False), mask=mask)
    return np.ma.MaskedArray(np.array(["" if value is None else str(value) for value in column.to_pylist()]), mask=mask)


class ParquetSource(Source):
    """An Apache Parquet file; units where astropy wrote it."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        self.label, self.notes, self.meta = str(path), [], {}
        self._file = parquet.ParquetFile(path)
        schema = self._file.schema_arrow
        self.units = dict.fromkeys(schema.names)
        stored = (schema.metadata or {}).get(b"table_meta_yaml")
        if stored is not None:
            units, meta = yaml_units(stored.decode().split("\n"))
            self.units |= {name: unit for name, unit in units.items() if name in self.units}
            self.meta = own_meta(meta.get(META_KEY))
        for field in schema:
            stated = (field.metadata or {}).get(b"unit")
            if stated and self.units[field.name] is None:
                self.units[field.name] = stated.decode()

    def chunks(self, names: Sequence[str], size: int) -> Iterator[Chunk]:
        masks = [f"{name}.mask" for name in names if f"{name}.mask" in self.units]
        for batch in self._file.iter_batches(batch_size=size, columns=[*names, *masks]):
            chunk: Chunk = {name: from_arrow(batch.column(name)) for name in names}
            for mask in masks:
                name = mask.removesuffix(".mask")
                chunk[name] = np.ma.MaskedArray(chunk[name], mask=from_arrow(batch.column(mask)))
            yield chunk

    def close(self) -> None:
        self._file.close()


class VotableSource(MemorySource):
    """The first table of a VOTable, read whole."""

    def __init__(self, path: Path) -> None:
        from astropy.io import votable

        document = votable.parse(path, verify="ignore")
        tables = list(document.iter_tables())
        if not tables:
            raise CatalogueError(f"{path} holds no table")
        super().__init__(tables[0].to_table(use_names_over_ids=True))
        self.label = str(path)
        if len(tables) > 1:
            self.notes.append(f"the file holds {len(tables)} tables; the first is read")
        for info in [*document.infos, *(info for resource in document.resources for info in resource.infos), *tables[0].infos]:
            if info.name == META_KEY:
                self.meta = own_meta(info.value)


class AsciiSource(MemorySource):
    """Any other table of text astropy can guess, read whole."""

    def __init__(self, path: Path) -> None:
        from astropy.table import Table

        super().__init__(Table.read(path, format="ascii"))
        self.label = str(path)


class NpzSource(MemorySource):
    """NumPy arrays: ``pos`` and ``vel`` (N, 3) in kpc and km/s by definition, or one array per column."""

    def __init__(self, path: Path) -> None:
        # NumPy leaves the file open when it is damaged, unless it is ours.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            if {"pos", "vel"} <= set(data.files):
                pos, vel = data["pos"], data["vel"]
                for name, array in (("pos", pos), ("vel", vel)):
                    if array.ndim != 2 or array.shape[1] != 3:
                        raise CatalogueError(f"{path}: {name} must have shape (N, 3), found {array.shape}")
                columns = {name: pos[:, i] for i, name in enumerate("xyz")} | {f"v{name}": vel[:, i] for i, name in enumerate("xyz")}
                if "weights" in data.files and data["weights"].shape == (len(pos),):
                    columns["weights"] = data["weights"]
            else:
                columns = {name: data[name] for name in data.files if data[name].ndim == 1}
                half = [name for name in ("pos", "vel") if name in data.files]
                if half or not columns:
                    lacking = " and ".join(name for name in ("pos", "vel") if name not in data.files)
                    raise CatalogueError(f"{path} has no {lacking}; it holds {', '.join(data.files) or 'nothing'}")
        super().__init__(columns)
        self.label = str(path)
        if "x" in self.units and "vx" in self.units:
            self.units |= {**dict.fromkeys("xyz", "kpc"), **dict.fromkeys(("vx", "vy", "vz"), "km/s")}
