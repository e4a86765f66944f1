"""Cost and memory of every stage against the number of stars, from a table on disk.

    python benchmarks/scaling.py --sizes 100000 1000000 10000000 --format parquet --json scaling.json

For every size a table of a barred disc is written in pieces, and a process of its own carries out the stages one after the other: read,
pattern speed, distribution (preset ``quick``, a fixed number of steps), gradients (as many points as ``--points`` allows) and the weak
form of the potential (on up to 2^17 of these). Reported are seconds, stars (or points) per second, and the largest resident memory up to
the end of the stage; at the end the exponent p of cost ~ N^p between the two largest sizes, 1 where the cost is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from deeppot_galactic.memory import peak_memory

PIECE = 250_000
"""Stars made and written at once."""
NAMES = ("x", "y", "z", "vx", "vy", "vz")
STAGES = ("read", "pattern_speed", "distribution", "gradients", "potential")
TRAININGS = ("distribution", "potential")
"""Stages that a run carries out in its own precision."""


def barred_disc(n: int, rng: np.random.Generator) -> np.ndarray:
    """A warm disc with a bar of fixed angle: enough for the cost, not meant to be in equilibrium."""
    radius, phi = rng.gamma(2.0, 2.5, n), rng.uniform(0, 2 * np.pi, n)
    phi = phi - 0.3 * np.exp(-((radius / 4.0) ** 2)) * np.sin(2 * (phi - 0.4))
    warm = np.exp(-radius / 10)
    v_r, v_phi = rng.normal(0, 80 * warm), 220 * radius / np.hypot(radius, 1.5) + rng.normal(0, 60 * warm)
    c, s = np.cos(phi), np.sin(phi)
    height, v_z = rng.normal(0, 0.2 + 0.02 * radius), rng.normal(0, 50 * warm)
    return np.stack([radius * c, radius * s, height, v_r * c - v_phi * s, v_r * s + v_phi * c, v_z], axis=1)


def write_table(path: Path, n: int) -> None:
    """A Parquet or HDF5 table of ``n`` stars, a piece at a time."""
    rng = np.random.default_rng(0)
    pieces = [min(PIECE, n - start) for start in range(0, n, PIECE)]
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        units = [pa.field(name, pa.float64(), metadata={"unit": "kpc" if name in "xyz" else "km/s"}) for name in NAMES]
        with pq.ParquetWriter(path, pa.schema(units)) as writer:
            for size in pieces:
                rows = barred_disc(size, rng)
                writer.write_table(pa.table([rows[:, k] for k in range(6)], schema=pa.schema(units)))
        return
    import h5py

    with h5py.File(path, "w") as file:
        columns = [file.create_dataset(name, (n,), "f8") for name in NAMES]
        for name, column in zip(NAMES, columns, strict=True):
            column.attrs["unit"] = "kpc" if name in "xyz" else "km/s"
        start = 0
        for size in pieces:
            rows = barred_disc(size, rng)
            for k, column in enumerate(columns):
                column[start : start + size] = rows[:, k]
            start += size


def measure(path: Path, steps: int, points: int, device: str, precision: str) -> dict[str, dict[str, float]]:
    """All stages on one table, in this process."""
    import warnings

    import astropy.units as u

    import deeppot_galactic as dg
    from deeppot_galactic.training.precision import matmul_precision

    warnings.simplefilter("ignore")
    volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
    found: dict[str, dict[str, float]] = {}

    def timed(stage: str, run: Any, count: Any) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        with matmul_precision(precision if stage in TRAININGS else None):
            result = run()
        seconds, number = time.perf_counter() - wall, count(result)
        found[stage] = {
            "seconds": seconds,
            "processor_seconds": time.process_time() - processor,
            "number": number,
            "per_second": number / seconds,
            "peak_mb": peak_memory(),
        }
        return result

    tracers = timed("read", lambda: dg.read_tracers(path), len)
    n = len(tracers)
    timed("pattern_speed", lambda: dg.pattern_speed(tracers, volume), lambda _: n)
    df = timed("distribution", lambda: dg.fit_distribution(tracers, volume, preset="quick", steps=steps, device=device), lambda _: n)
    df.to(device)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        sample = timed("gradients", lambda: dg.draw_gradients(df, min(points, n), path=Path(folder) / "gradients.h5"), len)
    if len(sample) > 2**17:
        sample = dg.draw_gradients(df, 2**17)
    timed("potential", lambda: dg.fit_potential(sample, method="weak", device=device), lambda _: len(sample))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--format", choices=["parquet", "hdf5"], default="parquet")
    parser.add_argument("--steps", type=int, default=100, help="updates of the distribution's training")
    parser.add_argument("--points", type=int, default=2**20, help="most points with gradients")
    parser.add_argument("--device", default="cpu", help="of the distribution, the gradients and the potential")
    parser.add_argument("--precision", choices=["single", "tf32"], default="single", help="of the distribution and the potential")
    parser.add_argument("--folder", type=Path, help="where the tables are written; a temporary folder by default")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.table is not None:
        print(json.dumps(measure(options.table, options.steps, options.points, options.device, options.precision)))
        return
    results: dict[int, dict[str, dict[str, float]]] = {}
    print(f"{'stars':>10}  {'stage':<14} {'seconds':>9} {'processor s':>12} {'per second':>11} {'peak MB':>8}")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for n in sorted(options.sizes):
            path = Path(folder) / f"stars{n}.{options.format}"
            write_table(path, n)
            command = [sys.executable, __file__, "--table", str(path), "--steps", str(options.steps), "--points", str(options.points)]
            command += ["--device", options.device, "--precision", options.precision]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            results[n] = json.loads(done.stdout)
            for stage, row in results[n].items():
                print(
                    f"{n:>10,}  {stage:<14} {row['seconds']:>9.1f} {row['processor_seconds']:>12.1f} "
                    f"{row['per_second']:>11,.0f} {row['peak_mb']:>8,.0f}",
                    flush=True,
                )
            path.unlink()
    if options.json:
        options.json.write_text(json.dumps({"format": options.format, "sizes": results}, indent=2))
    if len(results) > 1:
        small, large = sorted(results)[-2:]
        for stage in STAGES:
            one, two = results[small][stage], results[large][stage]
            if two["number"] > 2 * one["number"]:
                exponent = math.log(two["processor_seconds"] / one["processor_seconds"]) / math.log(two["number"] / one["number"])
                print(f"{stage:<14} processor time ~ N^{exponent:.2f} between {small:,} and {large:,} stars")


if __name__ == "__main__":
    main()
