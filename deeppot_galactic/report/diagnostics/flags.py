"""What to distrust: every warning sign that the numbers of a run show, in words for somebody who sees them for the first time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...training.divergence import describe_restart
from ..inputs import Field
from .diagnosis import Diagnosis
from .stationarity import PER_GYR

FEW_STARS = 50_000
"""Below this many stars the learned scores are dominated by sampling noise (the test problems used 130,000 and more)."""


@dataclass(frozen=True)
class Flag:
    """``level`` is "warning" (do not trust without looking) or "note" (know this); ``title`` in a few words,
    ``text`` in a sentence or two.
    """

    level: str
    title: str
    text: str


def find_flags(diagnosis: Diagnosis, summary: dict[str, Any] | None = None) -> list[Flag]:
    """Warnings first, then notes.

    Parameters
    ----------
    diagnosis : Diagnosis
        From `diagnose`.
    summary : dict, optional
        The contents of ``summary.json``: pattern speed of the weak form, training histories, ``quick``, number of stars.

    Returns
    -------
    list of Flag
    """
    summary = summary or {}
    found = [
        *_run(diagnosis, summary),
        *_pattern(diagnosis, summary),
        *_potential(diagnosis),
        *_training(summary),
        *_outside(diagnosis),
        *_scope(diagnosis),
    ]
    return sorted(found, key=lambda flag: flag.level != "warning")


def number_of_stars(diagnosis: Diagnosis, summary: dict[str, Any], points: Any = None) -> int | None:
    """Stars the distribution was fitted to: as the run or the points say, else the number of points."""
    given = summary.get("n_stars") or (getattr(points, "meta", None) or {}).get("n_stars")
    if given:
        return round(float(given))
    return None if diagnosis.stars is None else len(diagnosis.stars)


def _run(diagnosis: Diagnosis, summary: dict[str, Any]) -> list[Flag]:
    flags = []
    if summary.get("quick"):
        flags.append(
            Flag("warning", "Quick run", "Few stars and few training steps: this shows that everything works, not how well it can work.")
        )
    stars = number_of_stars(diagnosis, summary)
    if stars is not None and stars < FEW_STARS and (summary.get("preset") or {}).get("method") != "weak":
        text = f"{stars:,} stars leave much noise in the gradients of f, which biases forces and pattern speed towards zero."
        flags.append(Flag("warning", "Few stars", text))
    return flags


def _pattern(diagnosis: Diagnosis, summary: dict[str, Any]) -> list[Flag]:
    flags = []
    weak = summary.get("pattern_speed") or {}
    if weak.get("detected") is False or (diagnosis.region.whole_disc and diagnosis.profile is not None and diagnosis.bar is None):
        text = (
            "No significant bar in these stars: an axisymmetric distribution turns into itself at any pattern "
            "speed, so Ω means nothing here."
        )
        flags.append(Flag("warning", "Axisymmetric within the noise", text))
    if weak.get("detected") and not diagnosis.region.holds_the_axis:
        text = (
            "One part of a galaxy knows the pattern where it is, and spirals and evolution add to the bar's. The error of Ω holds 12 % for "
            "that; around N-body bars such volumes differ by up to a fifth."
        )
        flags.append(Flag("note", "The pattern of this volume", text))
    value, error = weak.get("value"), weak.get("error")
    fit = diagnosis.omega  # 0 in the lab, which is no answer to that question
    if fit and value is not None and error is not None:
        own = diagnosis.field.omega_error if diagnosis.field is not None else None
        sigma = float(np.hypot(error, 0.0 if own is None or not np.isfinite(own[2]) else own[2]))
        if abs(fit - value) > max(2 * sigma, 0.05 * abs(value)):
            text = (
                f"The fit has {fit:.1f}, the continuity equation alone {value:.1f} ± {error:.1f} km/s/kpc. One of "
                f"them is biased; see Ω against radius."
            )
            flags.append(Flag("warning", "Two pattern speeds disagree", text))
    per_gyr = 1.0 if weak.get("growth_unit") else PER_GYR  # runs from before that was named have km/s/kpc
    growth, noise = (None if weak.get(key) is None else weak[key] * per_gyr for key in ("growth_rate", "growth_rate_error"))
    if growth is not None and value and abs(growth) > max(0.1 * PER_GYR * abs(value), 3.0 * (noise or 0.0)):
        word = "growing" if growth > 0 else "decaying"
        text = (
            f"The m = 2 pattern is {word} at {abs(growth):.1f}/Gyr (e-folding {1000 / abs(growth):.0f} Myr): no frame makes it stationary."
        )
        flags.append(Flag("warning", "The bar changes", text))
    coherent = diagnosis.coherent() if fit else None
    if coherent is not None and np.all(np.isfinite(coherent)) and coherent[1] > 0 and coherent[0] > 0.5 * coherent[1]:
        share = coherent[0] / coherent[1]
        text = (
            f"Rotating with the fitted Ω leaves {share:.0%} of the change of star density that the lab frame "
            f"sees. A good fit of a steady bar leaves much less."
        )
        flags.append(Flag("warning", "Not stationary in the rotating frame", text))
    return flags


def _potential(diagnosis: Diagnosis) -> list[Flag]:
    flags = []
    if diagnosis.negative is not None and diagnosis.negative > 0.02:
        text = (
            f"The density ∇²Φ/4πG is negative at {diagnosis.negative:.0%} of the stars. Second derivatives are "
            f"the least certain part of the fit."
        )
        flags.append(Flag("warning", "Negative matter density", text))
    error = None if diagnosis.forces is None else diagnosis.forces.summary(*diagnosis.error_range())
    if error is not None and error["median"] > 0.2:
        text = (
            f"The median error of the accelerations against the truth is {error['median']:.0%}; the published "
            f"method reaches 20 % or better."
        )
        flags.append(Flag("warning", "Large force errors", text))
    if diagnosis.forces is None and diagnosis.field is not None:
        text = (
            "No true potential came with these stars, so the report cannot say how large the errors are; it can "
            "only show whether the fit is consistent."
        )
        flags.append(Flag("note", "No truth to compare with", text))
    return flags


def _training(summary: dict[str, Any]) -> list[Flag]:
    flags = []
    histories = summary.get("history") or {}
    for name, history in histories.items():
        if not isinstance(history, dict):
            continue
        if history.get("outcome") == "diverged":
            text = f"The training of the {name} met infinite or undefined losses and kept its best earlier state."
            flags.append(Flag("warning", f"Training of the {name} diverged", text))
        for restart in history.get("restarts") or []:
            flags.append(Flag("warning", f"Training of the {name} went back", f"The {describe_restart(name, restart)}."))
        steps, best = history.get("steps") or [], history.get("best_step")
        if best and len(steps) > 4 and best >= steps[-1] and any(v is not None for v in history.get("validation_loss") or []):
            text = f"The validation loss of the {name} was still falling at the last step: a longer training would probably be better."
            flags.append(Flag("note", f"Training of the {name} may be too short", text))
    return flags


def _outside(diagnosis: Diagnosis) -> list[Flag]:
    """What a bar is known by, where no star constrains it."""
    field, curve, bar, profile = diagnosis.field, diagnosis.curve, diagnosis.bar, diagnosis.profile
    if field is None or curve is None or bar is None or profile is None or not diagnosis.omega:
        return []
    flags = []
    speed = curve.omega[np.isfinite(curve.omega)]
    beyond = diagnosis.corotation is None and len(speed) > 0 and speed[-1] > abs(diagnosis.omega)
    if beyond or (diagnosis.corotation is not None and not _constrained(field, diagnosis.corotation)):
        where = f"beyond {curve.radius[-1]:.1f} kpc" if beyond else f"at {diagnosis.corotation:.1f} kpc"
        text = f"By the fit stars turn with the bar {where}, where none was seen: the radius rests on a continuation of the potential."
        flags.append(Flag("warning", "Corotation outside the volume", text))
    if bar.length >= profile.radius[-1]:
        text = f"The bar has not ended at {bar.length:.1f} kpc, the last ring of the volume: it is longer than the length given here."
        flags.append(Flag("warning", "The bar ends outside the volume", text))
    return flags


def _constrained(field: Field, radius: float) -> bool:
    """Whether most of a circle in the plane (kpc) lies in the volume of the stars."""
    phi = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    return bool(field.inside(radius * np.column_stack([np.cos(phi), np.sin(phi), 0 * phi])).mean() > 0.5)


def _scope(diagnosis: Diagnosis) -> list[Flag]:
    if diagnosis.field is None:
        return []
    region = diagnosis.region
    where = f"at R < {region.radius:g} kpc, |z| < {region.half_height:g} kpc"
    if not region.whole_disc:
        where = f"within {region.radius:g} kpc of ({', '.join(f'{c:.1f}' for c in region.centre)}) kpc"
    text = f"The potential was learned {where}. Outside it goes over into a smooth analytic continuation that the stars do not constrain."
    return [Flag("note", "Valid inside the volume only", text)]
