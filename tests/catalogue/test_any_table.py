"""Tables spoiled at random: never a traceback, never a silently wrong number.

The oracle is the same table before it was spoiled: whatever survives reading must be one of its stars, to rounding, and every row
must be accounted for by the counts.
"""

from __future__ import annotations

import logging
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deeppot_galactic.catalogue import Tracers
from deeppot_galactic.errors import CatalogueError, DeepPotError

from .tables import gaia_table, phase_space_table

N = 40
SKY = ("ra", "dec", "parallax", "pmra", "pmdec", "radial_velocity")
PHASE = ("x", "y", "z", "vx", "vy", "vz")
EQUIVALENT = {
    "deg": [u.rad, u.hourangle, u.arcmin],
    "mas": [u.arcsec, u.deg, u.uas],
    "mas / yr": [u.arcsec / u.yr, u.deg / u.Myr, u.rad / u.s],
    "km / s": [u.m / u.s, u.pc / u.Myr, u.au / u.yr],
    "kpc": [u.pc, u.m, u.lyr],
}
WRONG = [u.K, u.mag, u.mas / u.kg, u.kpc / u.mas, u.UnrecognizedUnit("blobs"), u.Jy]

SPOIL = ("drop", "mask", "nan", "inf", "sentinel", "text", "words", "convert", "wrong unit", "no unit", "rename", "bool", "big-endian")
spoil = st.sampled_from(SPOIL)


def apply(table: Table, what: str, name: str, rng: np.random.Generator, dead: np.ndarray) -> bool:
    """Spoil one column in place; mark in ``dead`` the rows that lost a value. False where the table must now be refused."""
    if name not in table.colnames:
        return True
    unit, values, rows = table[name].unit, np.ma.filled(table[name], np.nan), rng.random(len(table)) < 0.3
    if values.dtype.kind not in "fi":
        return True

    def put(column: Any, new_unit: Any = unit) -> None:
        table[name] = column
        table[name].unit = new_unit

    if what == "drop":
        table.remove_column(name)
        return False
    if what == "mask":
        put(MaskedColumn(values, mask=rows | np.ma.getmaskarray(table[name])))
        dead |= rows
    elif what in ("nan", "inf", "sentinel"):
        values[rows] = {"nan": np.nan, "inf": np.inf, "sentinel": -9999.99}[what]
        put(values)
        dead |= rows
    elif what == "text":
        put(np.array([repr(float(v)) for v in values]))
    elif what == "words":
        put(np.array(["a word"] * len(values)))
        return False
    elif what == "convert" and unit is not None:
        choices = EQUIVALENT[str(unit)]
        new = choices[rng.integers(len(choices))]
        put(u.Quantity(values, unit).to_value(new, u.dimensionless_angles()), new)
        # A missing value stays missing: sentinels were scaled away with the unit, as in a table somebody converted blindly.
        values = np.asarray(table[name])
    elif what == "wrong unit":
        put(values, WRONG[rng.integers(len(WRONG))])
        return False
    elif what == "no unit":
        put(values, None)
    elif what == "rename":
        table.rename_column(name, name.upper())
    elif what == "bool":
        put(values > 0)
        return False
    elif what == "big-endian":
        put(values.astype(">f8"))
    return True


def spoiled(table: Table, names: tuple[str, ...], choices: list[tuple[str, int]], seed: int) -> tuple[Table, np.ndarray, bool]:
    rng = np.random.default_rng(seed)
    dead, usable = np.zeros(len(table), dtype=bool), True
    touched: set[str] = set()
    for what, index in choices:
        name = names[index]
        if name not in touched:  # once each, so that the oracle stays simple
            usable &= apply(table, what, name, rng, dead)
            touched.add(name)
    order = rng.permutation(len(table.colnames))
    return table[[table.colnames[i] for i in order]], dead, usable


def check(table: Table, reference: np.ndarray, dead: np.ndarray, usable: bool) -> None:
    try:
        tracers = Tracers.from_table(table)
    except DeepPotError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 600
        assert not usable or dead.all(), f"refused a good table: {error}"
        return
    assert usable
    assert np.allclose(tracers.phase_space, reference[~dead], rtol=1e-9, atol=1e-9)
    assert tracers.meta["n_read"] == N and tracers.meta["cuts"][-1]["left"] == len(tracers) == N - dead.sum()


@given(st.lists(st.tuples(spoil, st.integers(0, 5)), max_size=4), st.integers(0, 99))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_sky_tables(choices: list[tuple[str, int]], seed: int) -> None:
    table = gaia_table(N)
    reference = Tracers.from_table(table).phase_space
    check(*_with(reference, spoiled(table, SKY, choices, seed)))


@given(st.lists(st.tuples(spoil, st.integers(0, 5)), max_size=4), st.integers(0, 99))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_phase_space_tables(choices: list[tuple[str, int]], seed: int) -> None:
    table = phase_space_table(N)
    reference = Tracers.from_table(table).phase_space
    check(*_with(reference, spoiled(table, PHASE, choices, seed)))


def _with(reference: np.ndarray, result: tuple[Table, np.ndarray, bool]) -> tuple[Table, np.ndarray, np.ndarray, bool]:
    table, dead, usable = result
    return table, reference, dead, usable


QUALITY = ("parallax_error", "pmra_error", "radial_velocity_error", "ra_error", "ruwe", "ra_dec_corr", "parallax_pmra_corr")


@given(st.lists(st.tuples(spoil, st.integers(0, len(QUALITY) - 1)), min_size=1, max_size=4), st.integers(0, 99))
@example([("convert", 0)], 0)
@example([("convert", 1)], 0)
@example([("convert", 2)], 0)
@example([("convert", 3)], 0)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_quality_columns(choices: list[tuple[str, int]], seed: int) -> None:
    """Spoiled errors, correlations or ruwe may cost stars or their covariance, never change a coordinate or invent an error."""
    table = gaia_table(N)
    reference = Tracers.from_table(table)
    damaged = spoiled(table, QUALITY, choices, seed)[0]
    try:
        tracers = Tracers.from_table(damaged)
    except DeepPotError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 600
        return
    before = {tuple(row): k for k, row in enumerate(reference.phase_space)}
    rows = [before[tuple(row)] for row in tracers.phase_space]
    assert len(set(rows)) == len(rows) == tracers.meta["cuts"][-1]["left"]
    touched = {QUALITY[k] for _, k in choices}
    if tracers.covariance is not None and reference.covariance is not None and not touched & {"ra_dec_corr", "parallax_pmra_corr"}:
        known = np.isfinite(tracers.covariance).all(axis=(1, 2))
        # A missing error of the place on the sky counts as zero, which is far below every other error.
        assert np.allclose(tracers.covariance[known], reference.covariance[rows][known], rtol=1e-6, atol=1e-6)
    if tracers.covariance is not None and {"drop", "words", "bool"}.isdisjoint(what for what, _ in choices):
        finite = np.isfinite(tracers.covariance).all(axis=(1, 2))
        variances = np.diagonal(tracers.covariance[finite], axis1=1, axis2=2)
        assert np.all(variances >= 0.0)


NAMES = [*SKY, *PHASE, "distance", "source_id", "ruwe", "weights", "junk"]
any_number = st.one_of(st.floats(width=64), st.integers(-(2**70), 2**70), st.complex_numbers())
anything = st.one_of(any_number, st.text(max_size=5), st.booleans(), st.none(), st.binary(max_size=4))


@given(st.dictionaries(st.sampled_from(NAMES), st.lists(anything, min_size=2, max_size=2)))
@settings(max_examples=120, deadline=None)
def test_columns_of_anything(columns: dict[str, list]) -> None:
    logging.disable(logging.CRITICAL)
    try:
        Tracers.from_table({name: np.array(values, dtype=object) for name, values in columns.items()})
    except CatalogueError as error:
        assert "\n" not in str(error)
    finally:
        logging.disable(logging.NOTSET)
