"""The pattern speed from one snapshot: `pattern_speed` beside the methods that it replaces, on the same stars.

    python benchmarks/pattern_methods.py SNAPSHOT.npz [...] [--stars N] [--drawn N] [--out pattern_methods.json] [--markdown table.md]

* phase, hard edge: d/dt of the m = 2 phase of the stars with R < R_bar, from their angular velocities alone: what is left when the
  flow of stars through the edge is forgotten.
* phase, window: the same with a smooth window and its rate of change (Dehnen, Semczuk & Schoenrich 2023, MNRAS 518, 2712).
* Tremaine-Weinberg: Omega = sum v_y / sum x over slits along x, regressed over slits, for 24 directions of the slits (1984, ApJ 282, L5);
  the directions within 15 degrees of the bar's axes, where the method has no signal, are left out.
* pattern_speed: annuli with growth taken out, the bar's own annuli chosen, statistical and systematic error.

Errors of the three are those of 50 bootstrap samples. Seconds are of the whole method with its errors. The last row is `pattern_speed` of a
million stars (``--drawn``) of a rotating Gaussian bar, whose pattern speed is exact.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import astropy.units as u
import numpy as np

import deeppot_galactic as dg
from deeppot_galactic.catalogue.truth import read_truth
from deeppot_galactic.dynamics import measure_bar
from deeppot_galactic.mocks.gaussian_bar import GaussianBar

Array = np.ndarray
Estimate = Callable[[Array], float]


def window(radius: Array, edge: float) -> tuple[Array, Array]:
    """(1 - q^2)^2 beyond half of ``edge``, one inside, and its derivative."""
    q = np.clip((radius / edge - 0.5) / 0.5, 0.0, 1.0)
    return (1.0 - q**2) ** 2, -4.0 * q * (1.0 - q**2) / (0.5 * edge) * (q > 0)


def phase_rate(w: Array, edge: float, *, smooth: bool) -> float:
    """-Im(D / B) / 2 with B = sum W e^(-2 i phi) and D its rate of change."""
    radius = np.hypot(w[:, 0], w[:, 1])
    wave = ((w[:, 0] - 1j * w[:, 1]) / radius) ** 2
    turning = (w[:, 0] * w[:, 4] - w[:, 1] * w[:, 3]) / radius**2
    if smooth:
        value, slope = window(radius, edge)
        outward = (w[:, 0] * w[:, 3] + w[:, 1] * w[:, 4]) / radius
    else:
        value, slope, outward = (radius < edge).astype(float), np.zeros(len(w)), np.zeros(len(w))
    total = np.sum(value * wave)
    return float(-(np.sum((slope * outward - 2j * turning * value) * wave) / total).imag / 2.0)


def tremaine_weinberg(w: Array, edge: float, reach: float, angle: float) -> float:
    """Median over directions of the regression of sum v_y on sum x over 16 slits with |y| < R_bar."""
    values = []
    for turn in np.linspace(0.0, np.pi, 24, endpoint=False):
        if abs((2.0 * (turn - angle) + np.pi / 2) % np.pi - np.pi / 2) < np.radians(30.0):
            continue
        c, s = np.cos(turn), np.sin(turn)
        x, y, vy = w[:, 0] * c + w[:, 1] * s, -w[:, 0] * s + w[:, 1] * c, -w[:, 3] * s + w[:, 4] * c
        use = (np.abs(y) < edge) & (np.abs(x) < reach)
        slit = ((y[use] / edge + 1.0) * 8).astype(int).clip(0, 15)
        top, bottom = np.bincount(slit, vy[use], 16), np.bincount(slit, x[use], 16)
        values.append(np.sum(top * bottom) / np.sum(bottom**2))
    return float(np.median(values))


def bootstrapped(estimate: Estimate, w: Array, rng: np.random.Generator, n: int = 50) -> tuple[float, float, float]:
    """Value, bootstrap error, and seconds."""
    start = time.perf_counter()
    value = estimate(w)
    error = float(np.std([estimate(w[rng.integers(0, len(w), len(w))]) for _ in range(n)]))
    return value, error, time.perf_counter() - start


def run(path: Path, stars: int | None, seed: int) -> list[dict]:
    truth, tracers = read_truth(path), dg.read_tracers(path)
    rng = np.random.default_rng(seed)
    if stars and stars < len(tracers):
        tracers = tracers.select(np.sort(rng.permutation(len(tracers))[:stars]))
    volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
    w = tracers.within(volume).phase_space
    bar = measure_bar(w[:, :3] * u.kpc)
    edge, angle = bar.length.to_value(u.kpc), bar.angle.to_value(u.rad)
    methods: dict[str, Estimate] = {
        "phase, hard edge": lambda v: phase_rate(v, edge, smooth=False),
        "phase, window": lambda v: phase_rate(v, edge, smooth=True),
        "Tremaine-Weinberg": lambda v: tremaine_weinberg(v, edge, 16.0, angle),
    }
    rows = []
    for name, estimate in methods.items():
        value, error, seconds = bootstrapped(estimate, w, rng)
        rows.append({"method": name, "omega": value, "error": error, "seconds": seconds})
    start = time.perf_counter()
    speed = dg.pattern_speed(tracers, volume, seed=seed)
    rows.append({"method": "pattern_speed", "omega": speed.value.value, "error": speed.error.value, "seconds": time.perf_counter() - start})
    return finish(rows, path.stem, len(w), truth.omega, truth.omega_error or 0.0)


def of_gaussian_bar(n: int, seed: int) -> list[dict]:
    """`pattern_speed` of that many stars of a Gaussian bar."""
    bar, volume = GaussianBar(), dg.Cylinder(r_out=8 * u.kpc, half_height=2 * u.kpc)
    stars = dg.Tracers(bar.sample(n, np.random.default_rng(seed)))
    start = time.perf_counter()
    speed = dg.pattern_speed(stars, volume, seed=seed)
    row = {"method": "pattern_speed", "omega": speed.value.value, "error": speed.error.value, "seconds": time.perf_counter() - start}
    return finish([row], f"{n:,} stars of a Gaussian bar", len(stars.within(volume)), bar.omega)


def finish(rows: list[dict], name: str, stars: int, truth: float, truth_error: float = 0.0) -> list[dict]:
    """Add what they share, and their relative errors and deviations in sigma; print them."""
    for row in rows:
        row |= {"snapshot": name, "stars": stars, "truth": truth}
        deviation = row["omega"] - truth
        row |= {"relative": deviation / truth, "sigmas": deviation / np.hypot(row["error"], truth_error)}
        print(
            f"{name:18s} {row['method']:18s} {stars:8d} Omega {row['omega']:6.2f} +- {row['error']:5.2f} ({truth:.2f}; "
            f"{100 * row['relative']:+6.1f} %, {row['sigmas']:+5.1f} sigma) {row['seconds']:6.1f} s",
            flush=True,
        )
    return rows


def markdown(rows: list[dict]) -> str:
    """The table: a row a method, and for each snapshot Omega with its error, the relative error, and seconds."""
    names = list(dict.fromkeys(row["snapshot"] for row in rows))
    truths = {row["snapshot"]: row["truth"] for row in rows}
    lines = ["| | " + " | ".join(f"{name} ({truths[name]:.4g})" for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = {
            row["snapshot"]: f"{row['omega']:.1f} ± {row['error']:.1f}, {100 * row['relative']:+.1f} %, {row['seconds']:.0f} s"
            for row in rows
            if row["method"] == method
        }
        lines.append(f"| {method} | " + " | ".join(cells.get(name, "") for name in names) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshots", nargs="+", type=Path)
    parser.add_argument("--stars", type=int, default=0, help="use at most this many (0: all)")
    parser.add_argument("--drawn", type=int, default=1_000_000, help="stars of the Gaussian bar")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--markdown", type=Path, default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = [row for path in options.snapshots for row in run(path, options.stars or None, options.seed)]
    rows += of_gaussian_bar(options.drawn, options.seed)
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows))
    if options.out is not None:
        options.out.write_text(json.dumps({"results": rows}, indent=1))


if __name__ == "__main__":
    main()
