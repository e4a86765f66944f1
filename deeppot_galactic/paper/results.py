"""What one run of the experiment found, as a row of the tables; every number is in summary.json of its run, but for the dark matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..pipeline import RunResult
from ..report.diagnostics import dark_matter, diagnose
from ..report.inputs import catalogue_stars, read_run_folder


def measure_run(result: RunResult) -> dict[str, Any]:
    """One row.

    Parameters
    ----------
    result : RunResult
        A finished run on a snapshot with a truth.

    Returns
    -------
    dict
        ``n_stars``; ``truth``, ``omega``, ``omega_error``, ``continuity`` [km/s/kpc]; ``relative`` and ``sigmas`` (deviations of
        ``omega``); ``force_error``, ``density_error`` (dictionaries with "median", "p84"), ``dark_matter`` (median relative errors);
        ``rotating``, ``lab`` (median |d ln f/dt|, km/s/kpc); ``seconds``.
    """
    summary = result.summary
    truth, spread = summary["truth"]["omega"], summary["truth"].get("omega_error") or 0.0
    value = summary["omega"]["value"][2]
    error = (summary["omega"].get("error") or [None] * 3)[2]
    stationarity = summary.get("stationarity") or {}
    return {
        "n_stars": summary["n_stars"],
        "time": summary["truth"].get("time"),
        "truth": truth,
        "omega": value,
        "omega_error": error,
        "relative": value / truth - 1.0,
        "sigmas": None if error is None else (value - truth) / float(np.hypot(error, spread)),
        "continuity": (summary.get("pattern_speed") or {}).get("value"),
        "force_error": summary.get("force_error"),
        "density_error": summary.get("density_error"),
        "dark_matter": dark_matter_error(result.folder),
        "rotating": stationarity.get("rotating_median"),
        "lab": stationarity.get("lab_median"),
        "seconds": float(sum(summary["timings"].values())),
    }


def dark_matter_error(folder: Path) -> float | None:
    """Median relative error of the dark-matter profile at 2 < r < 12 kpc; None where stars and halo cannot be told apart."""
    run = read_run_folder(folder)
    if getattr(run.truth, "dark_density", None) is None:
        return None
    profile = dark_matter(diagnose(run.points, run.model, run.truth), catalogue_stars(run))
    return None if profile is None else profile.median_error()
