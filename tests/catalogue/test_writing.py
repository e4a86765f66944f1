"""Tracers to tables and back."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table

from deeppot_galactic.catalogue import Ball, Tracers, galactocentric, read_tracers
from deeppot_galactic.catalogue.frames import frame_to_dict
from deeppot_galactic.errors import CatalogueError

from .tables import gaia_table, phase_space_table

FRAME = galactocentric(galcen_distance=8.2 * u.kpc, z_sun=5 * u.pc)


@pytest.mark.parametrize("name", ["s.fits", "s.ecsv", "s.vot", "s.parquet", "s.h5"])
@pytest.mark.parametrize("errors", [False, True])
def test_written_stars_come_back_whole(tmp_path: Path, name: str, errors: bool) -> None:
    tracers = Tracers.from_table(gaia_table(100), frame=FRAME)
    tracers.weights = np.linspace(0.5, 1.5, 100)
    assert tracers.write(tmp_path / name, errors=errors) == tmp_path / name
    again = read_tracers(tmp_path / name)
    assert np.array_equal(again.phase_space, tracers.phase_space)
    assert np.array_equal(again.weights, tracers.weights) and np.array_equal(again.ids, tracers.ids)
    assert again.frame is not None and frame_to_dict(again.frame) == frame_to_dict(FRAME)
    if errors:
        assert np.allclose(again.covariance, tracers.covariance, rtol=1e-14)
        assert np.allclose(again.drawing()(np.random.default_rng(0)).std(0), again.phase_space.std(0), rtol=0.2)
    else:
        assert again.covariance is None


@pytest.mark.parametrize("name", ["s.fits", "s.ecsv", "s.vot"])
def test_other_readers_see_units_descriptions_and_the_record(tmp_path: Path, name: str) -> None:
    tracers = Tracers.from_table(gaia_table(20), frame=FRAME).within(Ball([-8, 0, 0] * u.kpc, 5 * u.kpc))
    tracers.write(tmp_path / name)
    table = QTable.read(tmp_path / name)
    assert table["x"].unit == u.kpc and table["vz"].unit == u.km / u.s
    assert np.array_equal(table["x"].to_value(u.kpc), tracers.phase_space[:, 0])
    if name != "s.vot":
        record = json.loads(table.meta["DEEPPOT"])
        assert record["frame"]["galcen_distance_kpc"] == 8.2 and record["cuts"][-1]["name"].startswith("ball")
    if name == "s.ecsv":
        assert "Sun" in table["x"].info.description


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    tracers = Tracers.from_table(phase_space_table(10))
    tracers.write(tmp_path / "s.fits")
    before = (tmp_path / "s.fits").read_bytes()
    with pytest.raises(CatalogueError, match="exists; overwrite=True"):
        tracers.write(tmp_path / "s.fits")
    assert (tmp_path / "s.fits").read_bytes() == before
    tracers.select(np.arange(5)).write(tmp_path / "s.fits", overwrite=True)
    assert len(read_tracers(tmp_path / "s.fits")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s.fits"]
    for name in ("s.npz", "s.csv", "s.fits.gz"):
        with pytest.raises(CatalogueError, match="stars are written as"):
            tracers.write(tmp_path / name)
    with pytest.raises(CatalogueError, match="cannot write"):
        tracers.write(tmp_path / "nowhere" / "s.fits")


def test_to_the_sky_and_back() -> None:
    table = gaia_table(500)
    tracers = Tracers.from_table(table, frame=FRAME)
    sky = tracers.to_sky()
    for name in ("ra", "dec", "parallax", "pmra", "pmdec", "radial_velocity"):
        assert np.allclose(sky[name].to_value(table[name].unit), np.asarray(table[name]), rtol=0, atol=1e-10), name
    again = Tracers.from_table(sky)
    assert again.frame is not None and frame_to_dict(again.frame) == frame_to_dict(FRAME)  # the table says where the Sun was
    assert np.abs(again.phase_space - tracers.phase_space).max() < 1e-10
    with pytest.raises(CatalogueError, match="no Galactocentric frame"):
        Tracers.from_table(phase_space_table(10)).to_sky()


def test_a_damaged_record_is_ignored() -> None:
    table = Tracers.from_table(phase_space_table(10)).to_table()
    for record in ("{not json", "[1, 2]", 7, '{"frame": 3}'):
        table.meta["DEEPPOT"] = record
        assert Tracers.from_table(table).frame is None
    table.meta["DEEPPOT"] = '{"frame": {"name": "v4.0", "galcen_distance_kpc": 8}}'
    with pytest.raises(CatalogueError, match="frame is not understood"):
        Tracers.from_table(table)


def test_table_holds_plain_columns() -> None:
    table = Tracers.from_table(gaia_table(10)).to_table(errors=True)
    assert table.colnames[:7] == ["source_id", "x", "y", "z", "vx", "vy", "vz"]
    assert table["vx_error"].unit == u.km / u.s and table["phase_space_covariance"].shape == (10, 6, 6)
    assert isinstance(Table(table)["x"].data, np.ndarray)
