"""Files: every format gives the same stars, in pieces, and damaged ones give one line."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table

from deeppot_galactic.catalogue import Tracers, read_tracers
from deeppot_galactic.errors import CatalogueError

from .tables import gaia_table, phase_space_table

FORMATS = {
    "stars.fits": {},
    "stars.fits.gz": {},
    "stars.ecsv": {},
    "stars.csv": {},
    "stars.csv.gz": {"format": "ascii.csv"},
    "stars.tsv": {"format": "ascii.tab"},
    "stars.txt": {"format": "ascii.commented_header"},
    "stars.vot": {"format": "votable"},
    "stars.xml": {"format": "votable"},
    "stars.parquet": {},
    "stars.h5": {"path": "stars", "serialize_meta": True},
    "stars.hdf5": {"path": "group/stars", "serialize_meta": True},
}


def with_gaps(table: Table) -> Table:
    """Masked and NaN radial velocities, a masked whole number and text beside the numbers."""
    velocity = np.asarray(table["radial_velocity"])
    velocity[3] = np.nan
    table["radial_velocity"] = MaskedColumn(velocity, mask=np.arange(len(table)) % 5 == 0, unit=table["radial_velocity"].unit)
    table["source_id"] = MaskedColumn(table["source_id"], mask=np.arange(len(table)) == 7)
    table["name"] = [f"star, {i}" for i in range(len(table))]
    return table


@pytest.mark.parametrize("kind", [Table, QTable])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_stars(tmp_path: Path, name: str, kind) -> None:
    table = kind(with_gaps(gaia_table(300)))
    reference = Tracers.from_table(table)
    assert len(reference) == 239
    if name in ("stars.csv", "stars.csv.gz", "stars.tsv", "stars.txt"):
        table = Table(table)
        if name == "stars.txt":
            table.remove_column("name")
            for column in ("radial_velocity", "source_id"):
                table[column] = table[column].filled(np.nan if column == "radial_velocity" else -1)
    table.write(tmp_path / name, **FORMATS[name])
    if name == "stars.csv.gz":
        (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    for size in (64, 100_000):
        tracers = read_tracers(tmp_path / name, chunk_size=size)
        assert np.array_equal(tracers.phase_space, reference.phase_space)
        assert tracers.ids is not None and np.array_equal(tracers.ids, reference.ids)
        assert np.array_equal(tracers.covariance, reference.covariance)
        assert tracers.meta["cuts"] == reference.meta["cuts"] and tracers.meta["source"].endswith(name)


def test_units_survive_in_the_file(tmp_path: Path) -> None:
    table = QTable(phase_space_table(50))
    reference = Tracers.from_table(table).phase_space
    table["x"] = table["x"].to(u.pc)
    for name in ("stars.fits", "stars.ecsv", "stars.vot", "stars.parquet", "stars.h5"):
        table.write(tmp_path / name, **FORMATS[name])
        assert np.allclose(read_tracers(tmp_path / name).phase_space, reference, rtol=1e-13, atol=0), name


def test_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pos, vel = rng.normal(0, 5, (100, 3)).astype(np.float32), rng.normal(0, 100, (100, 3)).astype(np.float32)
    pos[4, 1] = np.nan
    np.savez(tmp_path / "stars.npz", pos=pos, vel=vel, other=np.arange(3))
    tracers = read_tracers(tmp_path / "stars.npz")
    keep = np.arange(100) != 4
    assert np.array_equal(tracers.phase_space, np.concatenate([pos, vel], axis=1)[keep].astype(np.float64))
    assert tracers.meta["cuts"][0] == {"name": "position measured", "removed": 1, "left": 99} and not tracers.meta["notes"]
    with h5py.File(tmp_path / "stars.h5", "w") as file:
        file["pos"], file["vel"] = pos, vel
    assert np.array_equal(read_tracers(tmp_path / "stars.h5").phase_space, tracers.phase_space)
    with h5py.File(tmp_path / "parsec.h5", "w") as file:
        file["pos"], file["vel"] = pos * 1000.0, vel
        file["pos"].attrs["unit"] = "pc"
    assert np.allclose(read_tracers(tmp_path / "parsec.h5").phase_space, tracers.phase_space, rtol=1e-6)


def test_columns_side_by_side_in_hdf5(tmp_path: Path) -> None:
    table = gaia_table(100)
    with h5py.File(tmp_path / "stars.h5", "w") as file:
        for name in table.colnames:
            file[f"gaia/{name}"] = np.asarray(table[name])
    assert np.array_equal(read_tracers(tmp_path / "stars.h5").phase_space, Tracers.from_table(table).phase_space)


def test_the_table_within_a_file(tmp_path: Path) -> None:
    first, second = gaia_table(20, seed=1), gaia_table(30, seed=2)
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(first, name="ONE"), fits.BinTableHDU(second, name="TWO")]).writeto(
        tmp_path / "s.fits"
    )
    assert len(read_tracers(tmp_path / "s.fits")) == 20
    assert any("2 tables (ONE, TWO)" in note for note in read_tracers(tmp_path / "s.fits").meta["notes"])
    assert len(read_tracers(tmp_path / "s.fits", table="TWO")) == len(read_tracers(tmp_path / "s.fits", table=2)) == 30
    with pytest.raises(CatalogueError, match="no table 'THREE'; it has ONE, TWO"):
        read_tracers(tmp_path / "s.fits", table="THREE")
    first.write(tmp_path / "s.h5", path="one", serialize_meta=True)
    second.write(tmp_path / "s.h5", path="two", serialize_meta=True, append=True)
    assert len(read_tracers(tmp_path / "s.h5", table="two")) == 30
    with pytest.raises(CatalogueError, match="no table 'three'; it holds one, two"):
        read_tracers(tmp_path / "s.h5", table="three")


def test_csv_as_people_write_it(tmp_path: Path) -> None:
    """Comments, spaces, other separators, null in words, a number column that starts out whole or empty."""
    path = tmp_path / "stars.csv"
    rows = "1; 2;3;4;5;6;a\n 1.5;null;3;4;5;6;b\n7;8;NaN;1;1;1;\n2e0;3;4; 5 ;6;7;c\n"
    path.write_text(f"# made by hand\n# second line\nx ; y; z;vx;vy;vz;name\n{rows}", encoding="utf-8")
    with pytest.raises(CatalogueError, match="no column for"):
        read_tracers(path)  # "x " is not x: the separator is ";", spaces belong to the names
    path.write_text(path.read_text().replace("x ; y; z", "x;y;z"), encoding="utf-8")
    assert read_tracers(path).phase_space.tolist() == [[1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]]
    path.write_text("#x,y,z,vx,vy,vz\n1,2,3,4,5,6\n7,8,9,1,2,3\n", encoding="utf-8")
    assert read_tracers(path).phase_space.tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 9, 1, 2, 3]]


def test_csv_whose_types_change_far_down(tmp_path: Path) -> None:
    """More than one block of 8 MB: the first says whole numbers, a later one has fractions and then words for nothing."""
    n = 50_000
    rows = np.random.default_rng(0).integers(1, 9, (n, 6)).astype(np.float64)
    lines = [",".join(f"{int(v)}" for v in row) + "," + "padding " * 30 for row in rows]
    rows[-2, 2] = 0.25
    lines[-2] = ",".join(f"{v:g}" for v in rows[-2]) + ",p"
    lines[-1] = "1,2,3, nothing ,5,6,p".replace(" nothing ", " null ")
    (tmp_path / "stars.csv").write_text("x,y,z,vx,vy,vz,text\n" + "\n".join(lines) + "\n")
    tracers = read_tracers(tmp_path / "stars.csv")
    assert np.array_equal(tracers.phase_space, rows[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("this is not a table\n" * 3)


def truncated(path: Path) -> None:
    gaia_table(2000).write(path, **FORMATS[f"stars{path.suffix}"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".csv", ".vot", ".parquet", ".h5", ".npz", ".txt"])
@pytest.mark.parametrize("damage", [empty, text, truncated])
def test_damaged_files_give_one_line(tmp_path: Path, suffix: str, damage) -> None:
    path = tmp_path / f"stars{suffix}"
    if damage is truncated:
        if suffix in (".csv", ".ecsv", ".txt"):
            pytest.skip("half a text table is a table")
        if suffix == ".npz":
            np.savez(path, pos=np.ones((999, 3)), vel=np.ones((999, 3)))
            path.write_bytes(path.read_bytes()[:9999])
        else:
            damage(path)
    else:
        damage(path)
    with pytest.raises(CatalogueError) as caught:
        read_tracers(path)
    assert "stars" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing.fits", "no such file"), ("", "is a folder"), ("stars.docx", "suffix does not tell the format"), ("x" * 400 + ".fits", "x")],
)
def test_wrong_paths(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "stars.docx").write_text("x")
    with pytest.raises(CatalogueError, match=message):
        read_tracers(tmp_path / name)


def test_other_refusals(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.fits")
    with pytest.raises(CatalogueError, match="holds no table"):
        read_tracers(tmp_path / "image.fits")
    np.savez(tmp_path / "half.npz", pos=np.zeros((3, 3)))
    with pytest.raises(CatalogueError, match="has no vel; it holds pos"):
        read_tracers(tmp_path / "half.npz")
    np.savez(tmp_path / "flat.npz", pos=np.zeros(3), vel=np.zeros(3))
    with pytest.raises(CatalogueError, match=r"pos must have shape \(N, 3\)"):
        read_tracers(tmp_path / "flat.npz")
    np.savez(tmp_path / "pickle.npz", pos=np.array([{}], dtype=object), vel=np.zeros((1, 3)))
    with pytest.raises(CatalogueError, match="cannot be read"):
        read_tracers(tmp_path / "pickle.npz")
    (tmp_path / "twice.csv").write_text("x,x,y\n1,2,3\n")
    with pytest.raises(CatalogueError, match="two columns of one name"):
        read_tracers(tmp_path / "twice.csv")
    (tmp_path / "ragged.csv").write_text("x,y,z,vx,vy,vz\n1,2,3,4,5,6\n1,2\n")
    with pytest.raises(CatalogueError, match="cannot be read as"):
        read_tracers(tmp_path / "ragged.csv")
    (tmp_path / "words.csv").write_text("x,y,z,vx,vy,vz\n1,2,3,4,5,6\n1,2,3,4,5,six\n")
    with pytest.raises(CatalogueError, match=r"column 'vz' holds text, expected numbers: found 'six'"):
        read_tracers(tmp_path / "words.csv")
    (tmp_path / "header.csv").write_text("x,y,z,vx,vy,vz\n")
    with pytest.raises(CatalogueError, match="no rows"):
        read_tracers(tmp_path / "header.csv")
    with pytest.raises(CatalogueError, match="only FITS and HDF5"):
        read_tracers(tmp_path / "words.csv", table=1)
    with pytest.raises(CatalogueError, match="unknown format 'xls'"):
        read_tracers(tmp_path / "words.csv", format="xls")


def test_format_can_be_stated(tmp_path: Path) -> None:
    gaia_table(10).write(tmp_path / "stars.fits")
    (tmp_path / "stars.fits").rename(tmp_path / "stars.data")
    assert len(read_tracers(tmp_path / "stars.data", format="fits")) == 10
    with gzip.open(tmp_path / "stars.csv.gz", "wt") as file:
        file.write("x,y,z,vx,vy,vz\n1,2,3,4,5,6\n")
    assert len(read_tracers(tmp_path / "stars.csv.gz")) == 1


def test_readers_do_not_warn(tmp_path: Path) -> None:
    """A unit nobody can parse, in a column nobody asks for, is nobody's business (warnings are errors in these tests)."""
    hdu = fits.BinTableHDU(gaia_table(10))
    hdu.columns["phot_g_mean_mag"].unit = "furlong/fortnight**"
    hdu.writeto(tmp_path / "stars.fits", output_verify="ignore")
    assert len(read_tracers(tmp_path / "stars.fits")) == 10


MEMORY = """
import resource, sys
from deeppot_galactic.catalogue import read_tracers
import astropy.table, astropy.coordinates
read_tracers(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tracers = read_tracers(sys.argv[2], where="phot_g_mean_mag < 8.05", chunk_size=20000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, len(tracers))
"""


@pytest.mark.parametrize("suffix", [".parquet", ".h5"])
def test_memory_is_bounded_by_the_chunk(tmp_path: Path, suffix: str) -> None:
    """300,000 rows are 63 MB in the columns used; reading them 20,000 at a time and keeping few takes a fraction of it."""
    gaia_table(1000).write(tmp_path / f"small{suffix}", **FORMATS[f"stars{suffix}"])
    gaia_table(300_000).write(tmp_path / f"large{suffix}", **FORMATS[f"stars{suffix}"])
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / f"small{suffix}"), str(tmp_path / f"large{suffix}")],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    grown, kept = done.stdout.split()
    assert 500 < int(kept) < 5000
    assert float(grown) < 45
