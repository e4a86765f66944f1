"""What a run found, as the numbers of ``summary.json``.

Errors against a truth are relative: |a_model - a_true| / |a_true| for accelerations and |rho_model - rho_true| / rho_true for densities,
at the truth's points inside the training volume; in a whole disc only those with 1 < R < 12 kpc and |z| < 1.5 kpc count.
"""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import Config
from .memory import peak_memory
from .report.diagnostics import Comparison, Diagnosis, diagnose, find_flags
from .store import jsonable
from .units import ANGULAR_SPEED

HEIGHT_RANGE = 1.5
"""Height above the plane [kpc] within which errors of a whole disc are quoted."""

_PACKAGES = ("numpy", "scipy", "astropy", "torch", "h5py", "safetensors", "pydantic", "matplotlib", "galpy", "gala", "agama")


def describe_pattern_speed(speed: Any) -> dict[str, Any]:
    """A `PatternSpeed` as JSON: angular speeds in km/s/kpc, growth rates in 1/Gyr, radii in kpc."""
    names = ("value", "error", "statistical", "systematic", "growth_rate", "growth_rate_error")
    table = speed.by_radius
    columns = {name: np.asarray(getattr(table[name], "value", table[name])) for name in table.colnames}
    rows = [{name: values[k] for name, values in columns.items()} for k in range(len(table))]
    return jsonable(
        {name: float(getattr(speed, name).value) for name in names}
        | {"unit": "km/s/kpc", "growth_unit": "1/Gyr", "by_radius": rows, "detected": bool(speed.detected), "message": str(speed.message)}
    )


def describe_frame(model: Any) -> dict[str, dict[str, Any]]:
    """The fitted components of the frame, by their names in ``RotatingFrame.free``: ``value``, ``error``, ``unit``."""
    return {
        name: {"value": model.frame.component(name), "error": float(error.value), "unit": _unit(name)}
        for name, error in getattr(model, "frame_errors", {}).items()
    }


def _unit(name: str) -> str:
    return {"omega": "km/s/kpc", "x0": "kpc", "v0": "km/s"}[name.split("_")[0]]


def describe_truth(truth: Any) -> dict[str, Any] | None:
    """The scalars of a `Truth` that a reader of the summary compares with; None for a real catalogue."""
    if truth is None:
        return None
    return {name: getattr(truth, name) for name in ("omega", "omega_error", "bar_angle", "bar_length", "corotation", "time")}


def summarise(
    config: Config,
    *,
    points: Any,
    model: Any,
    truth: Any,
    speed: dict[str, Any],
    distribution_history: dict[str, Any],
    timings: dict[str, float],
    n_stars: int,
    resumed: bool,
    notes: list[str],
) -> dict[str, Any]:
    """All numbers of a run.

    Parameters
    ----------
    config : Config
        The run.
    points, model, truth
        `GradientSample`, `PotentialModel`, and `Truth` or None.
    speed : dict
        From `describe_pattern_speed`.
    distribution_history : dict
        Of the training of the distribution.
    timings : dict
        Seconds of each stage so far.
    n_stars : int
        Stars in the volume.
    resumed : bool
        Whether the run was interrupted; the timings and the peak memory then are those of the last attempts.
    notes : list of str
        Warnings met on the way; they lead the ``flags``.
    """
    diagnosis = diagnose(points, model, truth, seed=config.run.seed)
    numbers = diagnosis.summary()
    numbers["force_error"] = _errors(diagnosis.forces, diagnosis)
    numbers["density_error"] = _errors(diagnosis.densities, diagnosis)
    omega, error = (_vector(getattr(model, name, None)) for name in ("omega", "omega_error"))
    summary = {
        "omega": {"value": omega, "error": error, "unit": "km/s/kpc"},
        "frame": describe_frame(model),
        "pattern_speed": speed,
        "truth": describe_truth(truth),
        **numbers,
        "n_stars": n_stars,
        "n_points": len(points),
        "timings": timings,
        "resumed": resumed,
        "peak_memory_mb": peak_memory(),
        "versions": versions(),
        "seed": config.run.seed,
        "preset": {
            "distribution": config.distribution.preset if points.has_scores else None,
            "potential": config.potential.preset if config.potential.method == "network" else None,
            "method": config.potential.method,
        },
        "device": config.run.device,
        "quick": config.run.quick,
        "history": {"distribution": distribution_history, "potential": _history(model)},
    }
    found = [f"{flag.title}: {flag.text}" for flag in find_flags(diagnosis, summary) if flag.level == "warning"]
    summary["flags"] = list(dict.fromkeys([*notes, *found]))
    return jsonable(summary)


def _errors(comparison: Comparison | None, diagnosis: Diagnosis) -> dict[str, Any] | None:
    if comparison is None:
        return None
    if diagnosis.region.whole_disc:
        near = np.abs(comparison.positions[:, 2]) < HEIGHT_RANGE
        comparison = Comparison(comparison.positions[near], comparison.fit[near], comparison.truth[near])
    return comparison.summary(*diagnosis.error_range())


def _vector(quantity: Any) -> list[float] | None:
    if quantity is None:
        return None
    values: NDArray[np.float64] = np.broadcast_to(quantity.to_value(ANGULAR_SPEED), (3,))
    return [float(value) for value in values]


def _history(model: Any) -> dict[str, Any] | None:
    history: Any = getattr(model, "history", None)
    return history.to_dict() if hasattr(history, "to_dict") else history


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of what the numbers depend on, as far as installed."""
    from . import __version__

    found = {"deeppot-galactic": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
