"""The summary of a catalogue."""

from __future__ import annotations

import json

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue import Tracers
from deeppot_galactic.catalogue.check import summarize
from deeppot_galactic.catalogue.frames import galactocentric, sun
from deeppot_galactic.errors import CatalogueError

from .tables import gaia_table, phase_space_table


def neighbours(n: int = 2000, *, v_phi: float = -225.0) -> Tracers:
    """Stars within 200 pc of the Sun on nearly circular, clockwise orbits."""
    rng = np.random.default_rng(0)
    place = sun(galactocentric())[0].to_value(u.kpc) + rng.uniform(-0.1, 0.1, (n, 3))
    radius = np.hypot(place[:, 0], place[:, 1])[:, None]
    around = np.stack([-place[:, 1], place[:, 0], 0 * place[:, 0]], axis=1) / radius
    return Tracers(np.concatenate([place, v_phi * around + rng.normal(0, 10, (n, 3))], axis=1), frame=galactocentric())


def test_numbers_of_the_solar_neighbourhood() -> None:
    summary = summarize(neighbours())
    assert summary["n"] == 2000 and summary["rotation"] == "clockwise" and summary["warnings"] == []
    assert summary["nearby"]["n"] == 2000 and summary["nearby"]["v_phi"] == pytest.approx(-225, abs=1)
    assert summary["dispersions"]["v_z"] == pytest.approx(10, rel=0.1)
    assert summary["sun"]["position"] == pytest.approx([-8.12197, 0.0, 0.0208], abs=1e-4)
    assert summary["medians"]["R"] == pytest.approx(8.12, abs=0.02)
    json.dumps(summary, allow_nan=False)


def test_a_wrong_rotation_is_remarked_on() -> None:
    assert any("nearby stars have a median v_phi of 225" in warning for warning in summarize(neighbours(v_phi=225.0))["warnings"])


def test_counts_come_from_the_reading() -> None:
    table = gaia_table(3000)
    table["radial_velocity"][:2800] = np.nan
    summary = summarize(Tracers.from_table(table))
    assert (summary["n_read"], summary["n_complete"], summary["n"]) == (3000, 200, 200)
    assert any("only 200 of 3,000 rows have all six coordinates; radial_velocity is missing in 2,800" in w for w in summary["warnings"])
    assert summary["errors"]["n"] == 200 and summary["errors"]["vx"] > 0 and summary["duplicates"] == 0
    assert summary["columns"]["radial_velocity"] == "radial_velocity" and summary["units"]["parallax"] == "mas"
    json.dumps(summary, allow_nan=False)


def test_phase_space_has_no_sun() -> None:
    summary = summarize(Tracers.from_table(phase_space_table(2000)))
    assert summary["sun"] is None and summary["nearby"] is None and summary["errors"] is None
    assert summary["rotation"] == "counter-clockwise" and summary["medians"]["v_phi"] == pytest.approx(220)


def test_far_too_fast() -> None:
    tracers = Tracers(np.concatenate([phase_space_table(2000)["x"].data[:, None] * np.ones(3), np.full((2000, 3), 2e3)], axis=1))
    assert any("far too fast" in warning for warning in summarize(tracers)["warnings"])


def test_stated_units_that_make_no_galaxy_are_remarked_on() -> None:
    table = phase_space_table(2000)
    table["x"].unit = u.Mpc
    tracers = Tracers.from_table(table)
    assert any("are the units right" in note for note in tracers.meta["notes"])
    assert any("are the units right" in warning for warning in summarize(tracers)["warnings"])


def test_nothing_at_all() -> None:
    empty = Tracers(np.empty((0, 6)))
    assert summarize(empty)["warnings"] == ["there are no stars"]
    with pytest.raises(CatalogueError, match="none of the 1 stars"):
        Tracers.from_phase_space([[np.nan] * 3] * u.kpc, [[0.0] * 3] * u.km / u.s)
