"""Do the claimed errors hold? Many realisations of galaxies with known answers, and how often 68 % intervals contain the truth.

    python benchmarks/coverage.py [--realisations 40] [--stars 20000] [--cases bars,ergodic,balls,galaxies]
                                  [--snapshots a.npz ...] [--methods linear,network] [--out out.json]

Rotating Gaussian bars (an exact, stationary distribution function) of axis ratios, angles and pattern speeds drawn at random; ergodic
f(E_J) inside corotation of a realistic barred potential, whole and in balls off the axis; test particles in galaxies drawn at random
(`unseen.py`; not by default: a minute for each); and, with ``--snapshots``, disjoint random parts of snapshots with a truth. In balls,
the part of the error of Omega that allows for patterns of their own in parts of a galaxy is taken out: this bar is steady everywhere. For
`pattern_speed` and `fit_weak`: the share of realisations with |Omega - truth| below the claimed error, the root mean square of the
deviation in units of it, the median claim; for `fit_weak` the share of force components along the plane, of those along z, and of
densities, within their claimed error at places in the volume. With ``--methods`` the same of `fit_potential` with scores of preset
"fast", fitted anew to every realisation (minutes for each, hence not by default), densities left out.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from unseen import draw_galaxy, evaluate

import deeppot_galactic as dg
from deeppot_galactic.catalogue.truth import read_truth
from deeppot_galactic.mocks import AnalyticDistribution, test_particles
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.potential.annuli import local_scatter
from deeppot_galactic.potential.weak_fit import fit_weak
from deeppot_galactic.units import G

Case = tuple[np.ndarray, dg.Volume, float, np.ndarray, np.ndarray, np.ndarray]
"""Stars (n, 6), volume, true Omega, places (m, 3), true gradient of Phi (m, 3) and density (m,) there."""


def gaussian_bars(n: int, stars: int, rng: np.random.Generator) -> Iterator[Case]:
    for _ in range(n):
        length = rng.uniform(1.8, 2.6)
        lengths = (length, length * rng.uniform(0.45, 0.75), 0.4)
        bar = GaussianBar(lengths=lengths, sigma=80.0, omega=rng.uniform(25.0, 50.0), angle=rng.uniform(0.0, np.pi))
        w = bar.sample(stars, rng)
        places = _places(w, 3.5, 1.0)
        yield w, dg.Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc), bar.omega, places, -bar.acceleration(places), _density(bar, places)


def ergodic_bars(n: int, stars: int, rng: np.random.Generator) -> Iterator[Case]:
    bar = ErgodicBar()
    for _ in range(n):
        w = bar.sample(stars, rng)
        places = _places(w, 4.0, 1.0)
        yield w, dg.Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc), bar.omega, places, -bar.acceleration(places), _density(bar, places)


def ergodic_balls(n: int, stars: int, rng: np.random.Generator) -> Iterator[Case]:
    """Off the axis, inside the bar's own region."""
    bar, ball = ErgodicBar(), dg.Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc)
    for _ in range(n):
        w = bar.sample(5 * stars, rng)
        w = w[ball.contains(w[:, :3])]
        places = w[np.linalg.norm(w[:, :3] - ball.center, axis=1) < 1.4][:500, :3]
        yield w, ball, bar.omega, places, -bar.acceleration(places), _density(bar, places)


def galaxies(n: int, stars: int, rng: np.random.Generator) -> Iterator[Case]:
    for _ in range(n):
        galaxy, angle = draw_galaxy(rng), rng.uniform(-np.pi, np.pi)
        w = test_particles(stars, potential=galaxy, angle=angle * u.rad, seed=int(rng.integers(2**31))).phase_space
        volume = dg.Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
        x = volume.sample(1000, rng)
        places = x[(np.hypot(x[:, 0], x[:, 1]) > 1) & (np.abs(x[:, 2]) < 1.5)][:500]
        _, gradient, density = evaluate(galaxy, angle, places)
        yield w, volume, galaxy.omega, places, gradient, density


def parts(path: Path, n: int, stars: int, rng: np.random.Generator) -> Iterator[Case]:
    truth, tracers = read_truth(path), dg.read_tracers(path)
    rows = tracers.phase_space[rng.permutation(len(tracers))]
    volume = dg.Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
    x = truth.positions
    use = volume.contains(x) & (np.hypot(x[:, 0], x[:, 1]) > 1) & (np.abs(x[:, 2]) < 1.5)
    for k in range(min(n, len(rows) // stars)):
        found = rows[k * stars : (k + 1) * stars]
        yield found, volume, truth.omega, x[use][:500], -truth.accelerations[use][:500], truth.density[use][:500]


CASES = {
    "bars": ("Gaussian bar", gaussian_bars, 1),
    "ergodic": ("ergodic bar", ergodic_bars, 2),
    "balls": ("ergodic balls", ergodic_balls, 2),
    "galaxies": ("random galaxies", galaxies, 2),
}
"""Title, cases, and by what the number of realisations is divided."""


def _density(bar: AnalyticDistribution, x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """From the divergence of the acceleration, by differences."""
    steps = h * np.eye(3)
    divergence = sum((bar.acceleration(x + step) - bar.acceleration(x - step))[:, k] / (2 * h) for k, step in enumerate(steps))
    return -divergence / (4 * np.pi * G)


def _places(w: np.ndarray, radius: float, height: float) -> np.ndarray:
    x = w[:2000, :3]
    return x[(np.hypot(x[:, 0], x[:, 1]) < radius) & (np.abs(x[:, 2]) < height)][:500]


def from_scores(
    stars: dg.Tracers, volume: dg.Volume, speed: dg.PatternSpeed, methods: list[str], seed: int
) -> dict[str, dg.PotentialModel]:
    """Models of the methods that need scores, from one distribution."""
    if not methods:
        return {}
    points = dg.draw_gradients(dg.fit_distribution(stars, volume, preset="fast", seed=seed), seed=seed)
    frame = dg.RotatingFrame(omega=speed.value)
    return {method: dg.fit_potential(points, frame=frame, method=method, seed=seed) for method in methods}


def measure(name: str, cases: Iterator[Case], methods: list[str]) -> dict[str, Any]:
    """All realisations of one kind."""
    pulls: dict[str, list[float]] = {method: [] for method in ("pattern", "weak", *methods)}
    claims: dict[str, list[float]] = {method: [] for method in pulls}
    forces: dict[str, list[np.ndarray]] = {method: [] for method in ("weak", *methods)}
    densities, unidentified = [], 0
    for k, (w, volume, omega, places, gradient, density) in enumerate(cases):
        stars = dg.Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s)
        speed = dg.pattern_speed(stars, volume, seed=k)
        weak = fit_weak(w, volume, seed=k)
        unidentified += not weak.solution.identified
        models = from_scores(stars, volume, speed, methods, k)
        for method, value, error in (
            ("pattern", speed.value.value, speed.error.value),
            ("weak", weak.solution.omega, weak.omega_error),
            *((method, model.omega[2].value, model.omega_error[2].value) for method, model in models.items()),
        ):
            error = np.sqrt(error**2 - local_scatter(volume, value) ** 2)
            pulls[method].append((value - omega) / error)
            claims[method].append(error / omega)
        deviation = weak.potential.evaluate(places, 1)[1] - gradient
        error = weak.posterior.gradient_error(places)
        forces["weak"].append(np.mean(np.abs(deviation) < error, axis=0))
        for method, model in models.items():
            deviation, error = model.acceleration(places * u.kpc).value + gradient, model.acceleration_error(places * u.kpc).value
            forces[method].append(np.mean(np.abs(deviation) < error, axis=0))
        found = np.einsum("nii->n", weak.potential.evaluate(places, 2)[2]) / (4 * np.pi * G)
        densities.append(np.mean(np.abs(found - density) < weak.posterior.density_error(places)))
        print(
            f"{name} {k + 1}: truth {omega:.2f}  pattern {speed.value.value:.2f} +- {speed.error.value:.2f}  "
            f"weak {weak.solution.omega:.2f} +- {weak.omega_error:.2f} (statistical {weak.solution.omega_error:.2f})"
            + "".join(f"  {method} {m.omega[2].value:.2f} +- {m.omega_error[2].value:.2f}" for method, m in models.items()),
            flush=True,
        )
    row: dict[str, Any] = {"case": name, "realisations": len(densities), "unidentified": unidentified}
    for method, values in pulls.items():
        z = np.array(values)
        row[method] = {
            "within": float(np.mean(np.abs(z) < 1)),
            "rms": float(np.sqrt(np.mean(z**2))),
            "mean": float(z.mean()),
            "claim": float(np.median(claims[method])),
        }
    for method, within in forces.items():
        x, y, z = np.mean(within, axis=0).tolist()
        row[method] |= {"forces_within": 0.5 * (x + y), "forces_along_z_within": z}
    return row | {"densities_within": float(np.mean(densities))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--realisations", type=int, default=40)
    parser.add_argument("--stars", type=int, default=20_000)
    parser.add_argument("--cases", default="bars,ergodic,balls", help=f"comma-separated, of: {', '.join(CASES)}; '' for none")
    parser.add_argument("--snapshots", type=Path, nargs="*", default=[])
    parser.add_argument("--methods", default="", help="comma-separated, of: linear, network; fits scores to every realisation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    chosen = [name for name in options.cases.split(",") if name]
    if unknown := sorted(set(chosen) - set(CASES)):
        parser.error(f"unknown case {', '.join(unknown)}; choose from {', '.join(CASES)}")
    methods = [name for name in options.methods.split(",") if name]
    if unknown := sorted(set(methods) - {"linear", "network"}):
        parser.error(f"unknown method {', '.join(unknown)}; choose from linear, network")
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(options.seed)
    rows = []
    for name in chosen:
        title, cases, share = CASES[name]
        rows.append(measure(title, cases(options.realisations // share, options.stars, rng), methods))
    for path in options.snapshots:
        rows.append(measure(path.stem, parts(path, options.realisations, options.stars, rng), methods))
    print("\ncase              n   method    within 1 sigma   rms pull   mean pull   median claim")
    for row in rows:
        start = f"{row['case']:16s} {row['realisations']:3d}"
        for method in ("pattern", "weak", *methods):
            r = row[method]
            line = f"{start}  {method:8s} {100 * r['within']:10.0f} %  {r['rms']:12.2f} {r['mean']:+11.2f}"
            print(f"{line} {100 * r['claim']:11.1f} %")
        for method in ("weak", *methods):
            print(f"{start}  forces along the plane, {method:8s} {100 * row[method]['forces_within']:4.0f} %")
            print(f"{start}  forces along z, {method:8s} {100 * row[method]['forces_along_z_within']:12.0f} %")
        print(f"{start}  density, weak {100 * row['densities_within']:22.0f} %")
    if options.out is not None:
        options.out.write_text(json.dumps({"results": rows}, indent=1))


if __name__ == "__main__":
    main()
