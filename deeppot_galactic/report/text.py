"""The words of the page: the opening, the numbers in large type, the section introductions, the tables for reproduction."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import html
from .diagnostics import PER_GYR, Diagnosis
from .inputs import RunFolder

SPEED_UNIT = "km/s/kpc"

COMPONENTS = {"omega": "Ω about {}", "x0": "Axis of rotation, {}", "v0": "Velocity of the frame, {}"}
"""Titles of the components of the frame."""

SECTIONS = {
    "stars": ("The stars", "What went in: a sample of stars with positions and velocities, here seen in space."),
    "pattern": ("Pattern speed", "How fast the bar turns, and where in the disc stars move in step with it."),
    "stationarity": (
        "Is it steady?",
        "The fit looks for the potential and the rotation in which the distribution of stars f(x, v) does not change. "
        "This is what it achieved.",
    ),
    "forces": ("Forces", "Accelerations are the first derivative of the potential and the most trustworthy part of the result."),
    "density": (
        "Mass",
        "The density is the second derivative of the potential: it shows all matter, seen or dark, but with larger errors.",
    ),
    "training": ("How the fits went", "Losses should fall and flatten; the curve on stars held back should not rise again."),
}

GLOSSARY = [
    (
        "f(x, v)",
        "Distribution function: stars per unit of volume in position and velocity. A network learns ln f and its gradients from the stars.",
    ),
    ("Φ(x)", "Gravitational potential. Minus its gradient is the acceleration; its Laplacian over 4πG is the density of all matter."),
    (
        "Ω",
        "Angular speed of the frame in which f is steady: the pattern speed of the bar. "
        "Positive is counter-clockwise in these coordinates.",
    ),
    (
        "d ln f / dt",
        "Relative rate at which f changes at a point that turns with the frame. Zero for a perfect fit of a perfectly steady galaxy.",
    ),
    (
        "Weak form",
        "Pattern speed from the conservation of stars alone (continuity equation, integrated over rings): no potential, no network.",
    ),
    ("A₂ / A₀", "Strength of the two-armed part of the disc relative to its mean: 0 for a round disc, about 0.2 to 0.6 for bars."),
    (
        "Corotation",
        "Radius at which stars on circular orbits turn as fast as the bar. Lindblad resonances (ILR, OLR) lie inside and outside.",
    ),
]


def lead(run: RunFolder, diagnosis: Diagnosis, stars: int | None) -> str:
    """What was done, in two sentences."""
    number = f"<strong>{stars:,} stars</strong>" if stars else "stars"
    region = diagnosis.region
    where = f"within {region.radius:g} kpc of the centre and {region.half_height:g} kpc of the plane"
    if not region.whole_disc:
        where = f"within {region.radius:g} kpc of the point ({', '.join(f'{c:.3g}' for c in region.centre)}) kpc"
    preset = run.summary.get("preset")
    if isinstance(preset, dict):
        preset = ", ".join(f"{name} {value or 'none'}" for name, value in preset.items())
    kind = f" Settings: {html.escape(str(preset))}; seed {html.escape(str(run.summary.get('seed', '?')))}." if preset else ""
    first = (
        f"From the positions and velocities of {number} {where}, this run learned the potential Φ(x) of the "
        f"galaxy and the speed Ω at which it turns"
    )
    return (
        f'<p class="lead">{first}.</p><p>It asked for one thing only: '
        "seen from the rotating frame, the distribution of the stars must not change. "
        f"The mass need not follow the stars, and no orbit was computed.{kind}</p>"
    )


def cards(run: RunFolder, diagnosis: Diagnosis, stars: int | None) -> str:
    """The main numbers in large type; what is not known is left out."""
    made = [*_speed_cards(run, diagnosis), *_error_cards(diagnosis)]
    if diagnosis.bar is not None:
        remark = f"position angle {round(np.degrees(diagnosis.bar.angle)) % 180}°, A₂/A₀ up to {diagnosis.bar.strength:.2f}"
        made.append(html.card("Half-length of the bar", f"{diagnosis.bar.length:.1f}", "kpc", remark))
    if diagnosis.corotation is not None:
        ratio = f"{diagnosis.corotation / diagnosis.bar.length:.1f} bar lengths" if diagnosis.bar is not None else ""
        known = getattr(diagnosis.truth, "corotation", None)
        remark = f"truth {known:.1f} kpc" if known is not None and np.isfinite(known) else ratio
        made.append(html.card("Corotation radius", f"{diagnosis.corotation:.1f}", "kpc", remark))
    timings = run.summary.get("timings") or {}
    total = sum(float(seconds) for seconds in timings.values() if isinstance(seconds, int | float))
    if total > 0:
        slowest = max((name for name in timings if isinstance(timings[name], int | float)), key=lambda name: float(timings[name]))
        made.append(html.card("Run time", duration(total), "", f"of which {slowest}: {duration(float(timings[slowest]))}"))
    return "".join(made)


def _speed_cards(run: RunFolder, diagnosis: Diagnosis) -> list[str]:
    """Pattern speeds, of the fit and of the weak form, and the other fitted components of the frame."""
    made = []
    known = getattr(diagnosis.truth, "omega", None)
    if known is None:
        known = (run.summary.get("truth") or {}).get("omega")
    if diagnosis.omega is not None:
        error = diagnosis.field.omega_error if diagnosis.field is not None else None
        value = number(diagnosis.omega, None if error is None else float(error[2]))
        remark = f"truth {known:.2f}, off by {percent(diagnosis.omega / known - 1, signed=True)}" if known else "of the fit, with Φ"
        made.append(html.card("Pattern speed Ω", value, SPEED_UNIT, remark))
    for name, found in (run.summary.get("frame") or {}).items():
        if name != "omega_z":
            group, axis = name.split("_")
            value = number(found["value"], found["error"])
            made.append(html.card(COMPONENTS[group].format(axis), value, found["unit"], "fitted too"))
    weak = run.summary.get("pattern_speed") or {}
    if weak.get("value") is not None:
        remark = f"off by {percent(weak['value'] / known - 1, signed=True)}" if known else "from continuity alone, an independent check"
        made.append(html.card("Ω by the weak form", number(weak["value"], weak.get("error")), SPEED_UNIT, remark))
    return made


def _error_cards(diagnosis: Diagnosis) -> list[str]:
    """Errors against the truth, and stationarity."""
    made = []
    low, high, z_max = diagnosis.error_range()
    for name, comparison in (("Error of the acceleration", diagnosis.forces), ("Error of the density", diagnosis.densities)):
        numbers = None if comparison is None else comparison.summary(low, high, z_max)
        if numbers is not None:
            where = f", {low:g} < R < {high:g} kpc, |z| < {z_max:g} kpc" if np.isfinite(high) else ""
            remark = f"median{where}; {percent(numbers['p84'])} for 84 % of points"
            made.append(html.card(name, percent(numbers["median"]), "", remark))
    coherent = diagnosis.coherent()
    if coherent is not None and all(np.isfinite(coherent)) and coherent[1] > 0:
        remark = f"{coherent[1] * PER_GYR:.2g} in the lab frame: change of the density of stars, noise removed"
        made.append(html.card("Change in the rotating frame", f"{coherent[0] * PER_GYR:.2g}", "Gyr⁻¹", remark))
    return made


def number(value: float, error: float | None) -> str:
    """A value with its error, to the digits that the error allows."""
    if error is None or not np.isfinite(error) or error <= 0:
        return f"{value:.2f}".replace("-", "−")
    digits = int(np.clip(1 - np.floor(np.log10(error)), 0, 6)) if error < 10 else 0
    return f"{value:.{digits}f} ± {error:.{digits}f}".replace("-", "−")


def percent(fraction: float, *, signed: bool = False) -> str:
    """A fraction in per cent with two digits."""
    value = 100 * fraction
    digits = 1 if abs(value) < 10 else 0
    return f"{value:{'+' if signed else ''}.{digits}f} %".replace("-", "−")


def duration(seconds: float) -> str:
    """Seconds in the unit that people use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def reproduction(run: RunFolder) -> str:
    """Tables: what happened to the stars, how long it took, versions; the configuration and the command."""
    boxes = []
    cuts = [cut for cut in run.catalogue.get("cuts") or [] if isinstance(cut, dict)]
    if cuts:
        rows = [[str(cut.get("name", "")), _count(cut.get("removed")), _count(cut.get("left", cut.get("count")))] for cut in cuts]
        boxes.append(html.box("Stars kept and left out", html.table(rows, head=("Step", "Removed", "Left"), numbers=(1, 2))))
    timings = run.summary.get("timings") or {}
    rows = [[str(name), duration(float(seconds))] for name, seconds in timings.items() if isinstance(seconds, int | float)]
    memory = run.summary.get("peak_memory_mb")
    if memory:
        rows.append(["peak memory", f"{float(memory) / 1000:.1f} GB"])
    if rows:
        boxes.append(html.box("Time", html.table(rows, numbers=(1,))))
    versions = run.summary.get("versions") or {}
    if versions:
        boxes.append(html.box("Versions", html.table([[str(name), str(version)] for name, version in versions.items()], numbers=(1,))))
    command = html.preformatted("deeppot run config.toml --out again")
    boxes.append(
        html.box(
            "Command", f"{command}<p>with the <code>config.toml</code> of this folder, shown here; equal seeds give equal numbers.</p>"
        )
    )
    if run.config_text:
        boxes.append(html.box("Configuration", html.preformatted(run.config_text.strip())))
    return f'<div class="tables">{"".join(boxes)}</div>'


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ("" if value is None else str(value))
