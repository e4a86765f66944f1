"""Catalogues from files: which format a file has, its stars, and one clear line where it cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import file_path
from ..errors import CatalogueError
from .settings import CatalogueSettings
from .sources import FitsSource, Hdf5Source, Source, guarded
from .text_sources import AsciiSource, CsvSource, NpzSource, ParquetSource, VotableSource

if TYPE_CHECKING:
    from .tracers import Tracers

SUFFIXES = {
    ".fits": "fits",
    ".fit": "fits",
    ".fts": "fits",
    ".ecsv": "ecsv",
    ".csv": "csv",
    ".tsv": "csv",
    ".vot": "votable",
    ".vo": "votable",
    ".votable": "votable",
    ".xml": "votable",
    ".parquet": "parquet",
    ".parq": "parquet",
    ".pq": "parquet",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".npz": "npz",
    ".txt": "ascii",
    ".dat": "ascii",
}
"""Format by suffix; a trailing .gz or .bz2 is looked through."""


def format_of(path: Path, stated: str | None) -> str:
    """The format of a file by its suffix, or as stated."""
    known = sorted(set(SUFFIXES.values()))
    if stated is not None:
        name = {"vot": "votable", "h5": "hdf5", "fit": "fits"}.get(stated.lower(), stated.lower())
        if name not in known:
            raise CatalogueError(f"unknown format {stated!r}: expected one of {', '.join(known)}")
        return name
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in (".gz", ".bz2"):
        suffixes.pop()
    if not suffixes or suffixes[-1] not in SUFFIXES:
        raise CatalogueError(f"{path}: the suffix does not tell the format; expected one of {' '.join(SUFFIXES)}, or state format=...")
    return SUFFIXES[suffixes[-1]]


@contextmanager
def open_source(path: str | Path, *, format: str | None = None, table: str | int | None = None) -> Iterator[Source]:
    """Open a file as a `Source`, closed at the end of the block; a file that cannot be read is one `CatalogueError`."""
    path = Path(path)
    try:
        if path.is_dir():
            raise CatalogueError(f"{path} is a folder, expected a table of stars")
        if not path.is_file():
            raise CatalogueError(f"no such file: {path}")
    except OSError as error:
        raise CatalogueError(f"{str(path)[:200]} cannot be opened: {error.strerror}") from None
    kind = format_of(path, format)
    if path.stat().st_size == 0:
        raise CatalogueError(f"{path} is empty (0 bytes)")
    if table is not None and kind not in ("fits", "hdf5"):
        raise CatalogueError(f"{path}: only FITS and HDF5 files have named tables, found table = {table!r}")
    openers: dict[str, Callable[[], Source]] = {
        "fits": lambda: FitsSource(path, table),
        "hdf5": lambda: Hdf5Source(path, table),
        "csv": lambda: CsvSource(path),
        "ecsv": lambda: CsvSource(path),
        "parquet": lambda: ParquetSource(path),
        "votable": lambda: VotableSource(path),
        "npz": lambda: NpzSource(path),
        "ascii": lambda: AsciiSource(path),
    }
    with guarded(path, kind):
        source = openers[kind]()
    try:
        yield source
    finally:
        source.close()


def read_tracers(path: str | Path, **options: Any) -> Tracers:
    """Read stars from a file: FITS, ECSV, CSV, VOTable, Parquet or HDF5 table, or ``.npz`` with ``pos`` and ``vel`` [kpc, km/s].

    A ``.npy`` file is not read but mapped, see `Tracers.mapped`.

    Parameters
    ----------
    path : str or Path
        The file; its suffix tells the format.
    **options
        Any field of `CatalogueSettings`: ``frame``, ``columns``, ``units``, ``ruwe_max``, ``distance_max``, ``where`` and so on.

    Returns
    -------
    Tracers
        ``meta`` holds the count of every cut, the columns and units used, the frame, and notes on every choice made.

    Raises
    ------
    CatalogueError
        With one line that names the file, column or cut at fault.

    Examples
    --------
    >>> tracers = read_tracers("gaia.fits", where="phot_g_mean_mag < 14", distance_max=4)  # doctest: +SKIP
    """
    from .gaia import build_tracers
    from .tracers import Tracers

    path = file_path(path, "the file of a catalogue", CatalogueError)
    if path.suffix == ".npy":
        if options:
            raise CatalogueError(f"{path}: a mapped file takes no options, found {', '.join(options)}")
        return Tracers.mapped(path)
    settings = CatalogueSettings.make(options)
    with open_source(path, format=settings.format, table=settings.table) as source:
        try:
            return build_tracers(source, settings)
        except CatalogueError as error:
            message = str(error)
            raise CatalogueError(message if str(path) in message else f"{path}: {message}") from None
