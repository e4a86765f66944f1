"""What comes out against what is known: Omega, forces, densities on snapshots with a truth.

    python benchmarks/recovery.py SNAPSHOT.npz [...] [--methods pattern,weak] [--stars N] [--shells] [--around N]
                                [--out recovery.json] [--markdown recovery.md]

For every snapshot (the format is that of the three shared ones): the whole disc R < 16, |z| < 2 kpc, and balls of 4 and 2 kpc at 8 kpc
from the centre, 20 degrees behind the bar, and mirrored. With --shells the distribution of the disc is fitted in the paper's four shells
(its table 2), stitched together. With --around the volumes are that many balls of 4 kpc around the ring at 8 kpc. One row a volume and
method, printed and written as JSON: Omega with its error, its relative error and deviation in sigma, beside the paper's errors at its three
epochs; median, 84 % and 95 % force error at 1 < R < 12, |z| < 1.5 kpc inside the volume; median density error; in discs the median error of
the dark-matter profile at 2 < r < 12 kpc, where the snapshot tells stars from halo; seconds. The training of the distribution is counted
with the first method that needs it: where `linear` ran, those of `network` do not include it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path

import astropy.units as u
import numpy as np
import torch

import deeppot_galactic as dg
from deeppot_galactic.catalogue.truth import read_truth
from deeppot_galactic.config import VolumeConfig
from deeppot_galactic.paper import DISC, volumes
from deeppot_galactic.paper.published import DARK_MATTER_FACTOR, DENSITY_ERROR, FORCE_ERROR, OMEGA_ERRORS
from deeppot_galactic.paper.volumes import DISTANCE, RADII, SHELLS
from deeppot_galactic.preparation import make_volume
from deeppot_galactic.report.diagnostics import dark_matter, diagnose


def relative(fit: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Median, 84 % and 95 % of the relative error."""
    norm = np.linalg.norm if truth.ndim == 2 else (lambda a, axis=None: np.abs(a))
    error = norm(fit - truth, axis=1) / norm(truth, axis=1)
    return {"median": float(np.median(error)), "p84": float(np.quantile(error, 0.84)), "p95": float(np.quantile(error, 0.95))}


def dark_matter_error(model: dg.PotentialModel, truth: dg.Truth, stars: np.ndarray) -> float | None:
    """Median relative error of the dark-matter profile at 2 < r < 12 kpc, where the snapshot tells stars from halo."""
    if truth.dark_density is None or not isinstance(model.volume, dg.Cylinder):
        return None
    profile = dark_matter(diagnose(None, model, truth), stars)
    return None if profile is None else profile.median_error()


def measure(model: dg.PotentialModel, truth: dg.Truth, stars: np.ndarray, name: str) -> dict:
    """All errors of one model."""
    x = truth.positions
    radius = np.hypot(x[:, 0], x[:, 1])
    use = (radius > 1) & (radius < 12) & (np.abs(x[:, 2]) < 1.5) & model.in_training_volume(x * u.kpc)
    row = {"forces": relative(model.acceleration(x[use] * u.kpc).value, truth.accelerations[use])}
    if truth.density is not None:
        row["density"] = relative(model.density(x[use] * u.kpc).value, truth.density[use])
    dark = dark_matter_error(model, truth, stars) if name == DISC else None
    return row | ({"dark_matter": dark} if dark is not None else {})


def in_shells(disc: dg.Volume) -> dg.Volume:
    """The disc of `volumes`, whose distribution is to be fitted shell by shell."""
    return make_volume(VolumeConfig(shells=list(SHELLS), half_height=disc.half_height))  # type: ignore[attr-defined]


def around(bar_angle: float, n: int) -> dict[str, dg.Volume]:
    """Balls of 4 kpc at 8 kpc from the centre, all around, the first at the bar's angle."""
    angles = bar_angle + 2.0 * np.pi * np.arange(n) / n
    centres = DISTANCE * np.stack([np.cos(angles), np.sin(angles), np.zeros(n)], axis=1)
    return {f"{RADII[0]:g} kpc at {360 * k // n} deg": dg.Ball(c * u.kpc, RADII[0] * u.kpc) for k, c in enumerate(centres)}


def omega_row(value: float, error: float, truth: dg.Truth) -> dict:
    return {
        "omega": value,
        "omega_error": error,
        "relative": value / truth.omega - 1.0,
        "sigmas": (value - truth.omega) / np.hypot(error, truth.omega_error or 0.0),
    }


def run(
    path: Path, methods: list[str], stars: int | None, seed: int, only: str | None, *, shells: bool = False, balls: int = 0
) -> list[dict]:
    """All rows of one snapshot."""
    truth = read_truth(path)
    tracers = dg.read_tracers(path)
    everything = tracers.phase_space
    if stars and stars < len(tracers):
        tracers = tracers.select(np.sort(np.random.default_rng(seed).permutation(len(tracers))[:stars]))
    rows = []
    for name, volume in (around(truth.bar_angle, balls) if balls else volumes(truth.bar_angle)).items():
        if only and name != only:
            continue
        start = time.perf_counter()
        speed = dg.pattern_speed(tracers, volume, seed=seed)
        seconds = time.perf_counter() - start
        common = {
            "snapshot": path.stem,
            "volume": f"{name}, shells" if shells and name == DISC else name,
            "stars": len(tracers.within(volume)),
            "truth": truth.omega,
        }
        common |= {"paper_omega_percent": OMEGA_ERRORS.get(name, ())}
        if "pattern" in methods:
            found = omega_row(speed.value.value, speed.error.value, truth) | {"detected": speed.detected}
            rows.append(common | {"method": "pattern", "seconds": seconds} | found)
            show(rows[-1])
        points = None
        for method in [m for m in methods if m != "pattern"]:
            start = time.perf_counter()
            if method in ("linear", "network") and points is None:
                region = in_shells(volume) if shells and name == DISC else volume
                df = dg.fit_distribution(tracers, region, preset="fast", seed=seed)
                points = dg.draw_gradients(df, seed=seed)
            sample = points if method != "weak" else dg.GradientSample.of_stars(tracers, volume)
            model = dg.fit_potential(sample, frame=dg.RotatingFrame(omega=speed.value), method=method, seed=seed)
            seconds = time.perf_counter() - start
            found = omega_row(model.omega[2].value, model.omega_error[2].value, truth)
            found["detected"] = bool(model.meta["weak_form"]["identified"])
            rows.append(common | {"method": method, "seconds": seconds} | found | measure(model, truth, everything, name))
            show(rows[-1])
    return rows


def scatter(rows: list[dict], method: str) -> str:
    """How Omega differs between the volumes of one snapshot in which it is determined, and what is claimed."""
    found = [row for row in rows if row["method"] == method and row["detected"]]
    omega, error = (np.array([row[key] for row in found]) for key in ("omega", "omega_error"))
    within = np.mean([abs(row["sigmas"]) < 1.0 for row in found]) if found else np.nan
    line = f"{rows[0]['snapshot']:18s} {method:8s} Omega determined in {len(found)}"
    return f"{line}: scatter {np.std(omega):.2f}, median claim {np.median(error):.2f}, within it {100 * within:.0f} %" if found else line


def _paper(row: dict) -> str:
    """The paper's errors of Omega in that volume; nothing where it has none."""
    return ", ".join(f"{percent:+d}" for percent in row["paper_omega_percent"]) + " %" if row["paper_omega_percent"] else ""


def show(row: dict) -> None:
    """One line of the table."""
    line = f"{row['snapshot']:18s} {row['volume']:15s} {row['stars']:7d} {row['method']:8s} {row['seconds']:6.0f} s  "
    line += f"Omega {row['omega']:6.2f} +- {row['omega_error']:5.2f}"
    line += f" ({row['truth']:.2f}; {100 * row['relative']:+5.1f} %, {row['sigmas']:+.1f} sigma"
    line += f"; the paper {_paper(row)})" if _paper(row) else ")"
    if "forces" in row:
        line += "  forces " + " / ".join(f"{100 * row['forces'][k]:.1f}" for k in ("median", "p84", "p95")) + " %"
    if "density" in row:
        line += f"  density {100 * row['density']['median']:.0f} %"
    if "dark_matter" in row:
        line += f"  dark matter {100 * row['dark_matter']:.0f} %"
    if not row.get("detected", True):
        line += "  (no pattern detected)"
    print(line, flush=True)


_HEAD = (
    "| snapshot (true $\\Omega$) | volume | stars | method | $\\Omega$, km/s/kpc | its error | the paper's "
    f"| forces: median, 84, 95 % (the paper's: {FORCE_ERROR} %) | density ({DENSITY_ERROR} %) | dark matter (factor {DARK_MATTER_FACTOR}) "
    "| seconds |"
)


def markdown(rows: list[dict]) -> str:
    """The same table for a document."""
    lines = [_HEAD, "|---" * _HEAD.count(" | ") + "|---|"]
    for row in rows:
        start = [f"{row['snapshot']} ({row['truth']:.4g})", row["volume"], f"{row['stars']:,}", row["method"]]
        cells = [f"{row['omega']:.2f} ± {row['omega_error']:.2f}", f"{100 * row['relative']:+.1f} %"]
        cells.append(_paper(row))
        cells.append(", ".join(f"{100 * row['forces'][k]:.1f}" for k in ("median", "p84", "p95")) + " %" if "forces" in row else "")
        cells.append(f"{100 * row['density']['median']:.0f} %" if "density" in row else "")
        cells.append(f"{100 * row['dark_matter']:.0f} %" if "dark_matter" in row else "")
        lines.append("| " + " | ".join([*start, *(cell.replace("-", "−") for cell in cells), f"{row['seconds']:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("snapshots", nargs="+", type=Path)
    parser.add_argument("--methods", default="pattern,weak,linear,network")
    parser.add_argument("--stars", type=int, default=131_072, help="use at most this many (0: all)")
    parser.add_argument("--volume", default=None, help="only this volume, e.g. disc or '4 kpc'")
    parser.add_argument("--shells", action="store_true", help="fit the distribution of the disc in the paper's four shells")
    parser.add_argument("--around", type=int, default=0, help="instead of those volumes, so many balls of 4 kpc around the ring at 8 kpc")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--markdown", type=Path, default=None, help="write the table for a document, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{torch.get_num_threads()} threads on {os.cpu_count()} processors; load {os.getloadavg()[0]:.2f}", flush=True)
    rows, methods, balls = [], options.methods.split(","), options.around
    for path in options.snapshots:
        found = run(path, methods, options.stars or None, options.seed, options.volume, shells=options.shells, balls=balls)
        rows += found
        for method in methods if balls else ():
            print(scatter(found, method))
    print(f"the paper: forces within {FORCE_ERROR} %, densities within {DENSITY_ERROR} %, dark matter within a factor {DARK_MATTER_FACTOR}")
    if options.out is not None:
        options.out.write_text(json.dumps({"results": rows}, indent=1))
    if options.markdown is not None:
        options.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    main()
