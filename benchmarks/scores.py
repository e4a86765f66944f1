"""How good are the scores? Every estimator against distribution functions that are known exactly, in one run.

    python benchmarks/scores.py                               # everything, 300 s of training per fit: an hour and a half on two cores
    python benchmarks/scores.py --small                       # every part at toy size, a few minutes: checks the script only
    python benchmarks/scores.py --parts plummer,ergodic-bar --seconds 120

Parts: plummer, disc, gaussian-bar, ergodic-bar (known f: score error, radial force without a potential, Omega from the true potential),
gaussian-bar-many, ergodic-bar-many (the same with eight times the stars),
test-particles (Omega per annulus with the true potential), side-by-side (estimators at equal training time, and the time to reach equal
error), few-stars (balls of 3,000 to 50,000 stars), throughput (2^21 scores, and draws of a flow) and scaling (cost and memory against the
number of memory-mapped stars). ``--seconds`` is the training time on idle cores, turned into a fixed number of steps by the processor time
that a few of them take; the load of the machine is printed with the results. ``--out`` writes them as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import torch
from measures import radial_forces, robust_slope, rotation_terms, score_errors, worst

from deeppot_galactic.catalogue import Ball, Cylinder, Tracers, Volume
from deeppot_galactic.distribution import gradient_stream
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.ensemble import EnsembleDistribution
from deeppot_galactic.distribution.fit import PRESETS, fit_distribution
from deeppot_galactic.distribution.score_matching import ScoreMatchingSettings
from deeppot_galactic.memory import peak_memory
from deeppot_galactic.mocks import AnalyticDistribution, BarredPotential, ErgodicBar, GaussianBar, Plummer, StaeckelDisc

CALIBRATION_STEPS = 60
"""Steps that measure the speed of a step, at 300 s of training."""
TEST_STARS = 40_000
MANY = "-many"
"""Ending of the parts with eight times the stars: Omega to 1 % is more than what 131,072 stars of a rotating bar allow."""
CONTENDERS = {"score-matching": ("fast",), "flow-matching": ("flow-matching",), "likelihood": ("paper-small", "likelihood")}
"""Estimators compared side by side, and the presets to look for, first found first."""


@dataclass(frozen=True)
class Case:
    """A known distribution function, where it is fitted, and the bins of the force table (kpc)."""

    mock: AnalyticDistribution
    volume: Volume
    edges: tuple[float, ...]
    spherical: bool = False


def cases() -> dict[str, Case]:
    """The mocks of the table."""
    return {
        "plummer": Case(Plummer(), Ball(np.zeros(3) * u.kpc, 10 * u.kpc), (0.1, 0.3, 0.6, 1.0, 1.5, 2.5), spherical=True),
        "disc": Case(StaeckelDisc(), Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc), (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 13.0)),
        "gaussian-bar": Case(GaussianBar(), Cylinder(r_out=6 * u.kpc, half_height=2 * u.kpc), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)),
        "ergodic-bar": Case(ErgodicBar(), Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc), (0.5, 1.0, 1.5, 2.0, 3.0)),
    }


def train_for(
    stars: Tracers, volume: Volume, seconds: float, preset: str, seed: int, steps: int | None = None
) -> tuple[Distribution, dict[str, float]]:
    """Fit with ``steps``, or as many as take about ``seconds`` on idle cores.

    What is counted is the processor time of this process, ``seconds`` times the threads, because the wall time of a busy machine says
    little. Score matching stops at the steps of its preset, because more would fit noise; further time goes into members of an ensemble.
    Returns the fit, its steps and members, its wall time and processor time, set-up included, and the processor time of the training
    alone.
    """
    if steps is not None:
        df, wall, spent = _timed_fit(stars, volume, preset, seed, steps)
        return df, {"steps": steps, "wall_s": wall, "cpu_s": spent}
    budget = seconds * torch.get_num_threads()
    _timed_fit(stars, volume, preset, seed, 2)  # the first call also pays for imports and caches
    first = _timed_fit(stars, volume, preset, seed, 2)[2]
    trial, spent = max(5, round(CALIBRATION_STEPS * seconds / 600.0)), first
    while spent < 1.5 * first + 0.01 * budget:  # the set-up alone differs by a second or so from fit to fit
        trial *= 2
        spent = _timed_fit(stars, volume, preset, seed, trial)[2]
    per_step = (spent - first) / (trial - 2)
    steps, members = max(10, round(budget / per_step)), 1
    if isinstance(PRESETS[preset], ScoreMatchingSettings):
        most = PRESETS[preset].for_stars(round(0.75 * len(stars))).steps
        steps, members = min(steps, most), max(1, round(steps / most))
    df, wall, spent = _timed_fit(stars, volume, preset, seed, steps, members)
    setup = max(first - 2 * per_step, 0.0) * members
    return df, {"steps": steps, "members": members, "wall_s": wall, "cpu_s": spent, "training_cpu_s": max(spent - setup, 0.0)}


def _timed_fit(stars: Tracers, volume: Volume, preset: str, seed: int, steps: int, members: int = 1) -> tuple[Distribution, float, float]:
    """A fit, its wall time and its processor time."""
    overrides: dict[str, Any] = {"steps": steps}
    if hasattr(PRESETS[preset], "warmup"):
        overrides["warmup"] = min(PRESETS[preset].warmup, max(1, steps // 20))
    start, spent = time.perf_counter(), time.process_time()
    df = fit_distribution(stars, volume, preset=preset, seed=seed, members=members, **overrides)
    return df, time.perf_counter() - start, time.process_time() - spent


def known_density(name: str, case: Case, options: argparse.Namespace, n: int) -> dict[str, Any]:
    """One line of the table: a mock of n stars fitted and compared at fresh stars."""
    mock = case.mock
    stars = mock.tracers(n, seed=options.seed)
    df, facts = train_for(stars, case.volume, options.seconds, options.preset, options.seed, options.steps)
    x = mock.sample(TEST_STARS, np.random.default_rng(options.seed + 1000))
    x = x[case.volume.contains(x[:, :3])]
    truth, acceleration = mock.score(x), mock.acceleration(x)
    log_f, model = df.evaluate(x)
    scale = log_f - mock.log_density(x) - np.log(n)
    edges = np.asarray(case.edges)
    result: dict[str, Any] = {
        "part": name,
        "estimator": df.estimator,
        "stars": n,
        **facts,
        "score_error": score_errors(x, model, truth),
        "log_density_offset": float(np.median(scale)),
        "radial_force": radial_forces(x, model, acceleration, edges, spherical=case.spherical, omega=mock.omega),
        "target": {"score_error": 0.05, "radial_force": 0.03},
    }
    result["worst_radial_force"] = worst(result["radial_force"])
    if mock.omega:
        omega, error, residual = robust_slope(*rotation_terms(x, model, acceleration))
        facts_omega = {"omega": omega, "omega_error": error, "omega_true": mock.omega, "omega_relative": omega / mock.omega - 1}
        result.update(facts_omega, median_residual=residual)
        result["target"]["omega_relative"] = 0.01
        if isinstance(df, EnsembleDistribution):
            slopes = [robust_slope(*rotation_terms(x, member.evaluate(x)[1], acceleration))[0] for member in df.members]
            result["omega_relative_of_members"] = [slope / mock.omega - 1 for slope in slopes]
        if isinstance(mock, GaussianBar):
            # What the sample itself allows: a normal with the stars' own mean and covariance, the exact family.
            w = stars.phase_space
            exact = -np.linalg.solve(np.cov(w.T), (x - w.mean(axis=0)).T).T
            result["omega_relative_of_exact_family"] = robust_slope(*rotation_terms(x, exact, acceleration))[0] / mock.omega - 1
    return result


def annuli(options: argparse.Namespace) -> dict[str, Any]:
    """Shared test-particle bar: Omega from the true potential, per annulus."""
    with np.load(options.data / "testparticle_bar.npz") as data:
        x = np.concatenate([data["pos"], data["vel"]], axis=1).astype(np.float64)
        omega_true, angle = float(data["Omega_bar"]), float(data["bar_angle"])
    if options.small:
        x = x[np.random.default_rng(0).permutation(len(x))[: options.stars]]
    stars = Tracers(x)
    volume = Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
    df, facts = train_for(stars, volume, options.seconds, options.preset, options.seed, options.steps)
    x = stars.within(volume).phase_space
    x = x[np.random.default_rng(options.seed).permutation(len(x))[: 2 * TEST_STARS]]
    score = df.evaluate(x)[1]
    galaxy = ErgodicBar(BarredPotential(omega=omega_true), angle=angle)  # for its potential only
    rest, turn = rotation_terms(x, score, galaxy.acceleration(x))
    radius = np.hypot(x[:, 0], x[:, 1])
    rows = []
    for low, high, target in ((1, 3, 0.03), (2, 4, 0.03), (3, 5, 0.03), (4, 6, 0.06)):
        inside = (radius > low) & (radius < high)
        omega, error, residual = robust_slope(rest[inside], turn[inside])
        row = {"low": low, "high": high, "n": int(inside.sum()), "omega": omega, "omega_error": error}
        rows.append({**row, "relative": omega / omega_true - 1, "median_residual": residual, "target": target})
    return {"part": "test-particles", "estimator": df.estimator, "stars": len(stars), **facts, "omega_true": omega_true, "annuli": rows}


def side_by_side(options: argparse.Namespace) -> dict[str, Any]:
    """All estimators on the Plummer sphere at equal training time; then how soon score matching reaches the likelihood's error."""
    case = cases()["plummer"]
    stars = case.mock.tracers(options.stars, seed=options.seed)
    x = case.mock.sample(TEST_STARS // 2, np.random.default_rng(options.seed + 1000))
    x = x[case.volume.contains(x[:, :3])]
    truth = case.mock.score(x)
    rows: dict[str, Any] = {}
    for name, presets in CONTENDERS.items():
        preset = next((p for p in presets if p in PRESETS), None)
        if preset is None:
            rows[name] = {"missing": f"no preset {' or '.join(presets)}"}
            continue
        df, facts = train_for(stars, case.volume, options.compare_seconds, preset, options.seed)
        rows[name] = {"preset": preset, **facts, "score_error": score_errors(x, df.evaluate(x)[1], truth)}
    result: dict[str, Any] = {"part": "side-by-side", "stars": options.stars, "seconds": options.compare_seconds, "estimators": rows}
    slowest = rows["likelihood"]
    if "missing" not in slowest:
        goal = slowest["score_error"]["all"]
        budget, reached = options.compare_seconds / 256, None
        while reached is None and budget <= options.compare_seconds:
            df, facts = train_for(stars, case.volume, budget, "fast", options.seed)
            error = score_errors(x, df.evaluate(x)[1], truth)["all"]
            reached = facts["training_cpu_s"] if error <= goal else None
            budget *= 2
        spent = slowest["training_cpu_s"]
        result["equal_error"] = {"error": goal, "likelihood_cpu_s": spent, "score_matching_cpu_s": reached, "target_ratio": 50}
        if reached is not None:
            result["equal_error"]["ratio_at_least"] = spent / reached
    return result


def few_stars(options: argparse.Namespace) -> dict[str, Any]:
    """Balls off the axis with few stars: the default, whose training is the shorter the fewer they are, against all of its steps."""
    table, rows = cases(), []
    balls = {"disc": Ball([7.0, 0.5, 0.0] * u.kpc, 4.0 * u.kpc), "ergodic-bar": Ball([2.3, 0.8, 0.0] * u.kpc, 1.7 * u.kpc)}
    full = 200 if options.small else ScoreMatchingSettings().most_steps
    for name, ball in balls.items():
        mock = table[name].mock
        fresh = mock.sample(100_000, np.random.default_rng(options.seed + 1000))
        fresh = fresh[ball.boundary_weight(fresh[:, :3])[0] > 0.05][:20_000]
        truth, acceleration = mock.score(fresh), mock.acceleration(fresh)
        for n in (1000,) if options.small else (3000, 16_000, 50_000):
            x = mock.sample(10 * n, np.random.default_rng(options.seed))
            inside = ball.contains(x[:, :3])
            x = x[: np.searchsorted(np.cumsum(inside), n) + 1]
            stars = Tracers.from_phase_space(x[:, :3] * u.kpc, x[:, 3:] * u.km / u.s)
            for given in ({}, {"steps": full}):
                start = time.perf_counter()
                df = fit_distribution(stars, ball, preset="fast", seed=options.seed, **given)
                row = {"ball": name, "stars": n, "steps": df.meta["settings"]["steps"], "wall_s": time.perf_counter() - start}
                model = df.evaluate(fresh)[1]
                row["score_error"] = score_errors(fresh, model, truth)["all"]
                slope = robust_slope(*rotation_terms(fresh, model, acceleration))[0]
                rows.append({**row, "omega_relative": slope / mock.omega - 1 if mock.omega else float("nan")})
    return {"part": "few-stars", "rows": rows}


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Wall time of 2^21 scores by the default estimator, and of as many draws, kept inside the volume, and their scores by a flow."""
    case = cases()["disc"]
    stars = case.mock.tracers(20_000, seed=0)
    df, *_ = _timed_fit(stars, case.volume, options.preset, 0, 20)
    n = 2**16 if options.small else 2**21
    x = case.mock.sample(n, np.random.default_rng(0))
    start = time.perf_counter()
    df.evaluate(x)
    wall = time.perf_counter() - start
    flow, *_ = _timed_fit(stars, case.volume, "flow-matching", 0, 100)
    m = n // 64
    start = time.perf_counter()
    pos, _ = flow.sample(n // 8)
    drawn = time.perf_counter() - start
    start = time.perf_counter()
    flow.evaluate(x[:m])
    flow_wall = time.perf_counter() - start
    facts = {"flow_draws_s_of_2^21": drawn * 2**21 / len(pos), "flow_scores_s_of_2^21": flow_wall * 2**21 / m}
    return {"part": "throughput", "n": n, "wall_s": wall, "wall_s_of_2^21": wall * 2**21 / n, "target_s": 300, **facts}


def _write_stars(n: int, path: Path) -> None:
    """n stars of the disc in a file, a million at a time."""
    from numpy.lib.format import open_memmap

    file = open_memmap(path, mode="w+", dtype=np.float64, shape=(n, 6))
    mock = cases()["disc"].mock
    for start in range(0, n, 10**6):
        file[start : start + 10**6] = mock.sample(min(10**6, n - start), np.random.default_rng([0, start]))
    file.flush()


def _one_size(path: Path, preset: str, steps: int, threads: int) -> dict[str, float]:
    """Fit the stars of a mapped file and write as many gradients, in a fresh process; its wall times and peak memory."""
    torch.set_num_threads(threads)
    case = cases()["disc"]
    before = peak_memory()
    stars = Tracers.mapped(path)
    df, fit, _ = _timed_fit(stars, case.volume, preset, 0, steps)
    fitted = peak_memory()
    start = time.perf_counter()
    source = gradient_stream.point_source(df, len(stars), 0, stars)
    gradient_stream.stream(df, source, path.with_suffix(".h5"), seed=0, meta={}, progress=None)
    facts = {"stars": len(stars), "fit_s": fit, "gradients_s": time.perf_counter() - start, "gradients": source.n}
    return {**facts, "bare_mb": before, "fit_mb": fitted, "peak_mb": peak_memory(), "file_mb": len(stars) * 48 / 2**20}


def scaling(options: argparse.Namespace) -> dict[str, Any]:
    """Cost and memory against the number of stars, memory-mapped, with a fixed number of training steps and a gradient at every star."""
    sizes = (10_000, 30_000) if options.small else options.sizes
    rows = []
    for n in sizes:
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool,
        ):
            path = Path(folder) / "stars.npy"
            pool.submit(_write_stars, n, path).result()
            rows.append(pool.submit(_one_size, path, options.preset, 50, options.threads).result())
    return {"part": "scaling", "steps": 50, "sizes": rows}


def machine(threads: int) -> dict[str, Any]:
    """What the numbers were measured on, and how busy it was."""
    load = os.getloadavg()
    facts = {"python": platform.python_version(), "torch": torch.__version__, "threads": threads, "cpus": os.cpu_count()}
    return {**facts, "processor": platform.processor() or platform.machine(), "load_1_5_15_min": [round(v, 2) for v in load]}


def show(result: dict[str, Any]) -> None:
    """Print a result as text: a table where it has one."""
    print(f"\n### {result['part']}")
    for key, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{key}:")
            print("  " + " | ".join(value[0]))
            for row in value:
                print("  " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
        elif key != "part":
            print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    sys.stdout.flush()


def main() -> None:
    """Run the parts asked for."""
    many = [name + MANY for name, case in cases().items() if case.mock.omega]
    parts = [*cases(), *many, "test-particles", "side-by-side", "few-stars", "throughput", "scaling"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(parts), help=f"comma-separated, of: {', '.join(parts)}")
    parser.add_argument("--seconds", type=float, default=300.0, help="training time per fit")
    parser.add_argument("--compare-seconds", type=float, default=100.0, help="training time per estimator in side-by-side")
    parser.add_argument("--steps", type=int, help="training steps per fit instead of a time; not for side-by-side")
    parser.add_argument("--stars", type=int, default=131_072)
    parser.add_argument("--preset", default="fast", choices=sorted(PRESETS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000], help="of the part scaling")
    parser.add_argument("--small", action="store_true", help="16,384 stars and 5 s per fit: checks the script only")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    if options.small:
        options.stars, options.seconds, options.compare_seconds = 16_384, 5.0, 5.0
    chosen = options.parts.split(",")
    unknown = sorted(set(chosen) - set(parts))
    if unknown:
        parser.error(f"unknown part {', '.join(unknown)}; choose from {', '.join(parts)}")
    torch.set_num_threads(options.threads)
    report: dict[str, Any] = {"before": machine(options.threads), "small": options.small, "results": []}
    print(f"machine before: {report['before']}" + ("   (small mode: the numbers mean nothing)" if options.small else ""))
    table = cases()
    for part in chosen:
        if part in table:
            result = known_density(part, table[part], options, options.stars)
        elif part.endswith(MANY):
            case = table[part.removesuffix(MANY)]
            result = known_density(part, case, options, options.stars * 8)
        elif part == "test-particles" and not (options.data / "testparticle_bar.npz").is_file():
            result = {"part": part, "skipped": f"no testparticle_bar.npz in {options.data.name}"}
        else:
            others = {"test-particles": annuli, "side-by-side": side_by_side, "few-stars": few_stars}
            result = (others | {"throughput": throughput, "scaling": scaling})[part](options)
        result["load_1_min"] = round(os.getloadavg()[0], 2)
        report["results"].append(result)
        show(result)
        if options.out:
            options.out.write_text(json.dumps(report, indent=1))
    report["after"] = machine(options.threads)
    print(f"\nmachine after: {report['after']}")
    if options.out:
        options.out.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
