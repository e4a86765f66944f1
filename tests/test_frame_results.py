"""Fitted components of the frame are seen wherever a run tells its results."""

from __future__ import annotations

from types import SimpleNamespace

import astropy.units as u
import numpy as np
from rich.console import Console

from deeppot_galactic import PotentialModel, RotatingFrame
from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.console import result_table
from deeppot_galactic.potential.analytic import NFW
from deeppot_galactic.potential.basis import LinearPotential, basis_for
from deeppot_galactic.report.text import _speed_cards
from deeppot_galactic.summary import describe_frame

FRAME = RotatingFrame([0, 0, 40] * u.km / u.s / u.kpc, v0=[7, 0, -3] * u.km / u.s, free=("omega_z", "v0_x", "v0_z"))


def model() -> PotentialModel:
    ball = Ball([0, 0, 0] * u.kpc, 3 * u.kpc)
    basis = basis_for(ball)
    inner = LinearPotential(NFW(1e11, 10.0), basis, np.zeros(basis.size))
    meta = {"frame_errors": {"omega_z": 0.5, "v0_x": 0.25, "v0_z": 0.125}}
    return PotentialModel(inner, ball, FRAME, omega_error=np.array([np.nan, np.nan, 0.5]), meta=meta)


def test_errors_of_the_frame_have_names_and_units():
    errors = model().frame_errors
    assert errors == {"omega_z": 0.5 * u.km / u.s / u.kpc, "v0_x": 0.25 * u.km / u.s, "v0_z": 0.125 * u.km / u.s}
    upright = PotentialModel(model().inner, model().volume, RotatingFrame(), omega_error=np.array([np.nan, np.nan, 0.3]))
    assert upright.frame_errors == {"omega_z": 0.3 * u.km / u.s / u.kpc}


def test_summary_console_and_report_show_them():
    frame = describe_frame(model())
    assert frame["v0_x"] == {"value": 7.0, "error": 0.25, "unit": "km/s"}
    assert list(frame) == ["omega_z", "v0_x", "v0_z"]
    summary = {"omega": {"value": [0, 0, 40], "error": [None, None, 0.5]}, "frame": frame, "timings": {}, "peak_memory_mb": 1.0}
    console = Console(width=120)
    with console.capture() as shown:
        console.print(result_table(summary), markup=False)
    text = shown.get()
    assert "v0_z of the fit [km/s]" in text
    assert "7 ± 0.25" in text
    cards = "".join(_speed_cards(SimpleNamespace(summary=summary), SimpleNamespace(truth=None, omega=None, field=None)))
    assert "Velocity of the frame, x" in cards
    assert "−3.00 ± 0.12" in cards
