"""Gaia tables to tracers: numbers against astropy by hand, cuts and their counts, units, aliases, missing values, refusals."""

from __future__ import annotations

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import Galactic, SkyCoord
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked

from deeppot_galactic.catalogue import Tracers, galactocentric, read_tracers
from deeppot_galactic.errors import CatalogueError, MissingPackageError

from .tables import UNITS, gaia_table, phase_space_table


def by_hand(table: Table, **columns: u.Quantity) -> np.ndarray:
    """Phase space by SkyCoord and Galactocentric, as a user would do it."""
    values = {name: np.asarray(table[name]) * UNITS[name] for name in ("ra", "dec", "pmra", "pmdec", "radial_velocity")} | columns
    distance = columns.get("distance", 1.0 / np.asarray(table["parallax"]) * u.kpc)
    moved = SkyCoord(
        ra=values["ra"],
        dec=values["dec"],
        distance=distance,
        pm_ra_cosdec=values["pmra"],
        pm_dec=values["pmdec"],
        radial_velocity=values["radial_velocity"],
    ).transform_to(galactocentric())
    return np.concatenate([moved.cartesian.xyz.to_value(u.kpc).T, moved.velocity.d_xyz.to_value(u.km / u.s).T], axis=1)


def cut_counts(tracers: Tracers) -> dict[str, int]:
    return {cut["name"]: cut["removed"] for cut in tracers.meta["cuts"]}


def test_agrees_with_astropy_by_hand() -> None:
    table = gaia_table(2000)
    tracers = Tracers.from_table(table)
    assert np.abs(tracers.phase_space - by_hand(table)).max() < 1e-10
    assert tracers.pos.unit == u.kpc and tracers.vel.unit == u.km / u.s and tracers.pos.shape == (2000, 3)
    assert tracers.meta["frame"]["galcen_distance_kpc"] == 8.122 and tracers.frame is not None
    assert set(cut_counts(tracers).values()) == {0} and tracers.meta["n_complete"] == 2000


@pytest.mark.parametrize("kind", [Table, QTable, dict, "array", "pandas"])
def test_any_kind_of_table(kind) -> None:
    table = gaia_table(50)
    reference = Tracers.from_table(table).phase_space
    if kind == "array":
        given = table.as_array()
    elif kind == "pandas":
        pytest.importorskip("pandas")
        given = table.to_pandas()
    elif kind is dict:
        given = {name: np.asarray(table[name]) for name in table.colnames}
    else:
        given = kind(table)
    assert np.array_equal(Tracers.from_table(given).phase_space, reference)


def test_other_units_of_the_table() -> None:
    table = QTable(gaia_table(100))
    reference = Tracers.from_table(table).phase_space
    for name, unit in {"ra": u.hourangle, "dec": u.rad, "parallax": u.arcsec, "pmra": u.deg / u.Myr, "radial_velocity": u.m / u.s}.items():
        table[name] = table[name].to(unit)
    for name in ("parallax_error", "pmra_error"):
        table[name] = table[name].to(u.uas if name.startswith("par") else u.uas / u.yr)
    assert np.allclose(Tracers.from_table(table).phase_space, reference, rtol=1e-12, atol=1e-9)


def test_units_missing_are_gaias_and_said() -> None:
    reference = Tracers.from_table(gaia_table(100))
    tracers = Tracers.from_table(gaia_table(100, units=False))
    assert np.array_equal(tracers.phase_space, reference.phase_space)
    note = next(note for note in tracers.meta["notes"] if "no unit" in note)
    assert "those of Gaia assumed" in note and "parallax [mas]" in note
    assert not any("no unit" in note for note in reference.meta["notes"])


def test_units_given_by_the_user_win() -> None:
    table = gaia_table(100)
    reference = Tracers.from_table(table).phase_space
    table["radial_velocity"] = np.asarray(table["radial_velocity"]) * 1000.0
    table["ra"] = np.asarray(table["ra"]) / 15.0
    again = Tracers.from_table(table, units={"radial_velocity": "m/s", "ra": "hourangle"})
    assert np.allclose(again.phase_space, reference, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(
    "names",
    [
        {"radial_velocity": "dr2_radial_velocity", "radial_velocity_error": "dr2_radial_velocity_error"},
        {"radial_velocity": "vlos"},
        {"radial_velocity": "RV", "ra": "RA_ICRS", "dec": "DE_ICRS", "parallax": "Plx", "pmra": "pmRA", "pmdec": "pmDE", "ruwe": "RUWE"},
        {"parallax_error": "e_Plx", "radial_velocity_error": "e_RV", "ra_dec_corr": "RADEcor"},
        {"ra": "RA", "dec": "DEC"},
    ],
)
def test_aliases(names: dict[str, str]) -> None:
    table = gaia_table(100)
    reference = Tracers.from_table(table)
    for old, new in names.items():
        table.rename_column(old, new)
    tracers = Tracers.from_table(table)
    assert np.array_equal(tracers.phase_space, reference.phase_space) and np.array_equal(tracers.covariance, reference.covariance)


def test_without_error_columns_there_is_no_covariance() -> None:
    table = gaia_table(10)
    table.remove_column("parallax_error")
    tracers = Tracers.from_table(table)
    assert tracers.covariance is None and any("no parallax errors" in note for note in tracers.meta["notes"])
    with pytest.raises(CatalogueError, match="no errors"):
        _ = tracers.errors


def test_missing_correlations_are_said() -> None:
    table = gaia_table(10)
    assert not any("correlations" in note for note in Tracers.from_table(table).meta["notes"])
    table["ra_dec_corr"][:3] = np.nan
    assert "3 stars have correlations that are missing; these are taken as zero" in Tracers.from_table(table).meta["notes"]
    table.remove_column("ra_dec_corr")
    assert any("1 correlations are missing (ra_dec_corr, ...)" in note for note in Tracers.from_table(table).meta["notes"])


def test_columns_named_by_the_user() -> None:
    table = gaia_table(100)
    reference = Tracers.from_table(table).phase_space
    table.rename_column("radial_velocity", "heliocentric")
    table["rv"] = 1e4
    tracers = Tracers.from_table(table, columns={"radial_velocity": "heliocentric"})
    assert np.array_equal(tracers.phase_space, reference) and tracers.meta["columns"]["radial_velocity"] == "heliocentric"
    with pytest.raises(CatalogueError, match="did you mean 'radial_velocity'"):
        Tracers.from_table(table, columns={"radial_velocty": "heliocentric"})
    with pytest.raises(CatalogueError, match="did you mean 'heliocentric'"):
        Tracers.from_table(table, columns={"radial_velocity": "heliocentrc"})


def test_two_columns_that_fit_equally_are_not_chosen_between() -> None:
    table = gaia_table(10)
    table.rename_column("ra", "RA")
    table["Ra"] = table["RA"]
    with pytest.raises(CatalogueError, match="could both be ra"):
        Tracers.from_table(table)


def test_galactic_columns() -> None:
    table = gaia_table(300)
    reference = Tracers.from_table(table)
    sky = SkyCoord(
        table["ra"].quantity, table["dec"].quantity, pm_ra_cosdec=table["pmra"].quantity, pm_dec=table["pmdec"].quantity
    ).transform_to(Galactic())
    plain = table[["parallax", "radial_velocity"]]
    galactic = Table({"l": sky.l, "b": sky.b, "pml": sky.pm_l_cosb, "pmb": sky.pm_b, **{c: plain[c] for c in plain.colnames}})
    assert np.allclose(Tracers.from_table(galactic).phase_space, reference.phase_space, rtol=0, atol=1e-9)
    # places in l, b beside motions in ra, dec
    mixed = Table({"l": sky.l, "b": sky.b, **{c: table[c] for c in ("pmra", "pmdec", "parallax", "radial_velocity")}})
    assert np.allclose(Tracers.from_table(mixed).phase_space, reference.phase_space, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("name", "unit", "scale"), [("distance", u.pc, 1000.0), ("dist", u.kpc, 1.0), ("r_med_photogeo", None, 1000.0)])
def test_a_distance_wins_over_the_parallax(name: str, unit, scale: float) -> None:
    table = gaia_table(200)
    d = np.random.default_rng(1).uniform(0.3, 5, 200)
    table[name] = d * scale
    table[name].unit = unit
    table["parallax"] = -1.0
    tracers = Tracers.from_table(table)
    assert np.abs(tracers.phase_space - by_hand(table, distance=d * u.kpc)).max() < 1e-10
    assert any("not the parallax" in note for note in tracers.meta["notes"])
    ignoring = Tracers.from_table(gaia_table(200), columns={"distance": ""})
    assert np.array_equal(ignoring.phase_space, Tracers.from_table(gaia_table(200)).phase_space)


def test_a_distance_without_unit_is_refused() -> None:
    table = gaia_table(10)
    table["distance"] = 1.0
    with pytest.raises(CatalogueError, match="distances come in pc and in kpc"):
        Tracers.from_table(table)
    assert len(Tracers.from_table(table, units={"distance": "kpc"})) == 10


def test_every_kind_of_missing_value_is_counted() -> None:
    table = gaia_table(20)
    table["radial_velocity"][0] = np.nan
    table["radial_velocity"][1] = np.inf
    table["radial_velocity"][2] = -9999.99
    table["radial_velocity"][3] = -99.0
    table["radial_velocity"] = MaskedColumn(table["radial_velocity"], mask=np.arange(20) == 4)
    table["pmra"][5] = -9999.0
    table["parallax"][6] = np.nan
    table["parallax"][7] = -0.5
    table["ra"][8] = np.nan
    tracers = Tracers.from_table(table)
    assert len(tracers) == 11 and np.array_equal(tracers.ids, np.asarray(table["source_id"])[9:])
    assert cut_counts(tracers) == {
        "radial_velocity measured": 5,
        "position measured": 1,
        "proper motion measured": 1,
        "parallax measured": 1,
        "parallax > 0": 1,
        "ruwe < 1.4": 0,
        "parallax_over_error > 5": 0,
    }
    assert tracers.meta["negative_parallaxes"] == 1 and any("zero or negative" in note for note in tracers.meta["notes"])
    assert tracers.meta["missing"]["radial_velocity"] == 5 and tracers.meta["sentinels"] == {"radial_velocity": 2, "pmra": 1}
    assert [cut["left"] for cut in tracers.meta["cuts"]] == [15, 14, 13, 12, 11, 11, 11]


def test_a_real_minus_99_can_be_kept() -> None:
    table = gaia_table(20)
    table["radial_velocity"][3] = -99.0
    assert len(Tracers.from_table(table)) == 19
    assert len(Tracers.from_table(table, sentinels=[-9999.99])) == 20


def test_masked_quantities() -> None:
    table = QTable(gaia_table(20))
    table["radial_velocity"] = Masked(table["radial_velocity"], mask=np.arange(20) < 7)
    tracers = Tracers.from_table(table)
    assert len(tracers) == 13 and cut_counts(tracers)["radial_velocity measured"] == 7


def test_text_that_holds_numbers_is_read_and_other_text_refused() -> None:
    table = gaia_table(20)
    reference = Tracers.from_table(table).phase_space
    text = [repr(float(v)) for v in table["parallax"]]
    text[3] = " null "
    table["parallax"] = text
    tracers = Tracers.from_table(table)
    assert np.array_equal(tracers.phase_space, np.delete(reference, 3, axis=0))
    text[5] = "1.2 mas"
    table["parallax"] = text
    with pytest.raises(CatalogueError, match=r"column 'parallax' holds text, expected numbers: found '1.2 mas' \(row 5\)"):
        Tracers.from_table(table)
    table["parallax"] = [True] * 20
    with pytest.raises(CatalogueError, match="column 'parallax' holds bool values"):
        Tracers.from_table(table)
    table["parallax"] = np.ones((20, 2))
    with pytest.raises(CatalogueError, match="column 'parallax'"):
        Tracers.from_table(table)


def test_quality_cuts() -> None:
    table = gaia_table(100)
    table["ruwe"][:10] = 1.5
    table["ruwe"][10] = np.nan
    table["parallax_error"][20:25] = np.asarray(table["parallax"])[20:25] / 4
    table["radial_velocity_error"][30:33] = 20.0
    d = 1 / np.asarray(table["parallax"])
    rest = np.ones(100, dtype=bool)
    rest[:11] = rest[20:25] = rest[30:33] = False
    tracers = Tracers.from_table(table, radial_velocity_error_max=10, distance_max="2.5 kpc", distance_min=400 * u.pc)
    counts = cut_counts(tracers)
    assert (counts["ruwe < 1.4"], counts["parallax_over_error > 5"], counts["radial_velocity_error < 10 km/s"]) == (11, 5, 3)
    assert counts["distance > 0.4 kpc"] == np.sum(rest & (d <= 0.4))
    assert counts["distance < 2.5 kpc"] == np.sum(rest & (d >= 2.5))
    assert len(tracers) == np.sum(rest & (d > 0.4) & (d < 2.5))
    assert len(Tracers.from_table(table, ruwe_max=None, parallax_over_error_min=None)) == 100


def test_expressions_of_the_user() -> None:
    table = gaia_table(300)
    table["flag"] = np.arange(300) % 2 == 0
    keep = (table["phot_g_mean_mag"] < 12) & (np.abs(table["dec"]) > 10) & table["flag"]
    tracers = Tracers.from_table(table, where=["phot_g_mean_mag < 12 & abs(dec) > 10", "flag"])
    assert np.array_equal(tracers.ids, np.asarray(table["source_id"])[keep])
    assert list(cut_counts(tracers))[-2:] == ["phot_g_mean_mag < 12 & abs(dec) > 10", "flag"]
    with pytest.raises(CatalogueError, match="no column 'phot_g_mag'; did you mean 'phot_g_mean_mag'"):
        Tracers.from_table(table, where="phot_g_mag < 12")


def test_duplicates() -> None:
    table = gaia_table(50)
    table["source_id"][10:13] = table["source_id"][0]
    tracers = Tracers.from_table(table)
    assert len(tracers) == 50 and tracers.meta["duplicates"] == 3 and any("repeat a source_id" in note for note in tracers.meta["notes"])
    dropped = Tracers.from_table(table, duplicates="drop", chunk_size=7)
    assert np.array_equal(dropped.phase_space, np.delete(tracers.phase_space, [10, 11, 12], axis=0))
    assert cut_counts(dropped)["repeated source_id"] == 3
    with pytest.raises(CatalogueError, match="3 stars repeat"):
        Tracers.from_table(table, duplicates="error")
    table["source_id"] = np.asarray(table["source_id"], dtype=np.float64)
    assert any("floating point" in note for note in Tracers.from_table(table).meta["notes"])


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_chunks_change_nothing(size: int) -> None:
    table = gaia_table(200)
    table["radial_velocity"][::3] = np.nan
    table["ruwe"][50:120] = 2.0
    reference, chunked = Tracers.from_table(table), Tracers.from_table(table, chunk_size=size)
    assert np.array_equal(chunked.phase_space, reference.phase_space) and chunked.meta == reference.meta
    assert chunked.covariance is not None and np.array_equal(chunked.covariance, reference.covariance)


def test_constant_zero_point() -> None:
    table = gaia_table(100)
    corrected = table.copy()
    corrected["parallax"] = np.asarray(table["parallax"]) + 0.04
    given = Tracers.from_table(table, zero_point=-0.04 * u.mas)
    assert np.allclose(given.phase_space, Tracers.from_table(corrected).phase_space, rtol=0, atol=1e-12)
    assert np.array_equal(Tracers.from_table(table, zero_point=-40 * u.uas).phase_space, given.phase_space)


def test_gaia_zero_point_needs_its_columns_and_package() -> None:
    with pytest.raises(CatalogueError, match="zero point needs the columns"):
        Tracers.from_table(gaia_table(10), zero_point=True)
    table = gaia_table(10)
    table["nu_eff_used_in_astrometry"], table["pseudocolour"], table["ecl_lat"], table["astrometric_params_solved"] = 1.5, np.nan, 10.0, 31
    table["nu_eff_used_in_astrometry"][2] = np.nan
    try:
        from zero_point import zpt
    except ImportError:
        with pytest.raises(MissingPackageError, match="gaiadr3-zeropoint"):
            Tracers.from_table(table, zero_point=True)
        return
    zpt.load_tables()
    offset = zpt.get_zpt(np.asarray(table["phot_g_mean_mag"]), np.full(10, 1.5), np.full(10, np.nan), np.full(10, 10.0), np.full(10, 31))
    offset[2] = 0.0
    reference = table.copy()
    reference["parallax"] = np.asarray(table["parallax"]) - offset
    tracers = Tracers.from_table(table, zero_point=True)
    assert np.allclose(tracers.phase_space, Tracers.from_table(reference).phase_space, rtol=0, atol=1e-12)
    assert any("1 parallaxes have no zero point" in note for note in tracers.meta["notes"])


def test_phase_space_columns() -> None:
    table = phase_space_table(100)
    tracers = Tracers.from_table(table)
    expected = np.stack([np.asarray(table[name]) for name in ("x", "y", "z", "vx", "vy", "vz")], axis=1)
    assert np.array_equal(tracers.phase_space, expected) and tracers.frame is None
    parsecs = QTable(table)
    parsecs["x"], parsecs["vy"] = parsecs["x"].to(u.pc), parsecs["vy"].to(u.kpc / u.Myr)
    assert np.allclose(Tracers.from_table(parsecs).phase_space, expected, rtol=1e-13)
    bare = Table({name: np.asarray(table[name]) for name in table.colnames})
    assert np.array_equal(Tracers.from_table(bare).phase_space, expected)
    assert any("kpc and km/s assumed" in note for note in Tracers.from_table(bare).meta["notes"])
    bare["x"] = bare["x"] * 1000.0
    bare["y"] = bare["y"] * 1000.0
    with pytest.raises(CatalogueError, match="must be wrong"):
        Tracers.from_table(bare)


def test_phase_space_beside_sky_columns() -> None:
    table = gaia_table(100)
    other = phase_space_table(100)
    for name in other.colnames:
        table[name] = other[name]
    assert np.array_equal(Tracers.from_table(table).phase_space, Tracers.from_table(other).phase_space)
    assert np.array_equal(Tracers.from_table(table, kind="sky").phase_space, Tracers.from_table(gaia_table(100)).phase_space)


def broken(change) -> Table:
    table = gaia_table(30)
    change(table)
    return table


def remove(*names: str):
    return lambda table: table.remove_columns(names)


def put(name: str, value, unit=None):
    def change(table: Table) -> None:
        table[name] = value
        table[name].unit = unit

    return change


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (broken(remove("radial_velocity")), "no radial velocities: .*radial_velocity"),
        (broken(remove("pmra", "parallax")), r"no column for pmra, parallax \(or a distance\)"),
        (broken(put("radial_velocity", np.nan)), "no radial velocities: column 'radial_velocity' is empty .* all 30 rows"),
        (broken(put("parallax", np.nan)), "column 'parallax' has no usable value in any of the 30 rows"),
        (broken(put("parallax", -1.0)), "no star is left of 30 rows: parallax > 0 removed 30"),
        (broken(put("ruwe", 3.0)), "no star is left of 30 rows: ruwe < 1.4 removed 30"),
        (broken(put("parallax", 1.0, u.kpc)), "column 'parallax' is in kpc, which cannot be converted to mas"),
        (broken(put("radial_velocity", 1.0, u.mas / u.yr)), "column 'radial_velocity' is in mas / yr"),
        (broken(put("pmra", 1.0, u.km / u.s)), "column 'pmra' is in km / s"),
        (broken(put("ra", 1.0, u.UnrecognizedUnit("furlong"))), "unit 'furlong' of column 'ra' is not understood"),
        (broken(put("dec", 120.0, u.deg)), "column 'dec' has 30 values outside -90 to 90"),
        (gaia_table(30)[:0], "holds no rows"),
        (phase_space_table(5)[["x", "y", "z", "vx", "vy"]], "no column for vz"),
        (Table({"a": [1, 2], "b": [3, 4]}), "no column for ra, dec"),
        (42, "must be a Table"),
        ({"ra": [1, 2], "dec": [1]}, "differ in length"),
    ],
)
def test_refusals_name_what_is_wrong(table, message: str) -> None:
    with pytest.raises(CatalogueError, match=message) as caught:
        Tracers.from_table(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ruwemax": 1.2}, "unknown catalogue option 'ruwemax'; did you mean 'ruwe_max'"),
        ({"distance_max": "4 mas"}, "distance_max must be a number or a quantity in kpc"),
        ({"ruwe_max": -1}, "ruwe_max must be finite and not negative"),
        ({"duplicates": "keep"}, "duplicates must be one of"),
        ({"kind": "gaia"}, "kind must be one of"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"frame": "v7"}, "unknown Galactocentric frame"),
        ({"units": {"ra": "blobs"}}, "unit 'blobs' of column 'ra' is not understood"),
        ({"where": "ra"}, None),
        ({"where": "ra + 1"}, "not a condition"),
        ({"sentinels": ["x"]}, "sentinels must be numbers"),
        ({"columns": ["ra"]}, "columns must map"),
    ],
)
def test_options_are_checked(options: dict, message: str | None) -> None:
    if message is None:
        assert len(Tracers.from_table(gaia_table(5), **options)) == 5
        return
    with pytest.raises(CatalogueError, match=message):
        Tracers.from_table(gaia_table(5), **options)


REAL = {
    # rows, complete six dimensions, after the default cuts; counted by hand with NumPy
    "astropy_tutorial_gaiadr2_4096_100pc.fits": (4096, 4096, 4096),
    "gr8stars_gr8.csv": (2858, 2618, 2101),
    "pyia_gdr3_sm.fits": (1000, 23, 19),
    "pyia_gedr3_sm.fits": (1000, 9, 9),
    "pyia_gdr2_sm.fits": (1000, 4, 4),
}


@pytest.mark.parametrize("name", REAL)
def test_real_tables(shared_data: Path, name: str) -> None:
    from deeppot_galactic.catalogue.check import summarize

    path = shared_data / "gaia" / name
    if not path.is_file():
        pytest.skip("no such table here")
    rows, complete, left = REAL[name]
    tracers = read_tracers(path)
    summary = summarize(tracers)
    assert (summary["n_read"], summary["n_complete"], summary["n"]) == (rows, complete, left)
    assert summary["cuts"][-1]["left"] == left and sum(cut["removed"] for cut in summary["cuts"]) == rows - left
    assert summary["sun"]["position"][0] == pytest.approx(-8.122, abs=1e-3)
    if left > 1000:
        # Dwarfs within 100 pc lag the Sun's 245.6 km/s by the asymmetric drift plus V_sun, some 10 to 25 km/s.
        assert summary["nearby"]["n"] == left and -240 < summary["nearby"]["v_phi"] < -215
        assert abs(summary["nearby"]["v_R"]) < 10 and abs(summary["nearby"]["v_z"]) < 3
        assert summary["distance"]["99 %"] < 0.11 and summary["rotation"] == "clockwise" and not summary["warnings"]
    else:
        assert any("too few for a fit" in warning for warning in summary["warnings"])
        assert any("radial_velocity is missing" in warning for warning in summary["warnings"])


def test_real_table_against_astropy_by_hand(shared_data: Path) -> None:
    path = shared_data / "gaia" / "astropy_tutorial_gaiadr2_4096_100pc.fits"
    if not path.is_file():
        pytest.skip("no such table here")
    table = Table.read(path)
    assert np.abs(read_tracers(path).phase_space - by_hand(table)).max() < 1e-10
