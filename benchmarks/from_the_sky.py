"""From the sky to Omega: the test-particle bar seen by Gaia from the Sun's place, with and without a treatment of the errors.

    python benchmarks/from_the_sky.py                          # a few minutes on two cores
    python benchmarks/from_the_sky.py --small                  # one noise realisation, few redraws: checks the script only

Stars -> sky -> Gaia DR3 errors -> table -> catalogue -> pattern speed in a ball of 4 kpc around the Sun. The stars have the absolute
magnitudes M_G = 0.5 (red clump: distances to 6 per cent at 4 kpc), 1.5 (9 per cent) and 3.5 (23 per cent); the last two would need
radial velocities deeper than Gaia's, which they get here, with errors as the formula says. Omega comes from the weak form of the
continuity equation, with

* exact: no errors, the same stars: its deviation from 39 is that of the sample, not of the errors;
* untreated: observed values as they are, 1/parallax as distance;
* corrected: ``pattern_speed(..., errors="correct")``, the sums over the stars extrapolated to no errors star by star;
* extrapolated (with --simex): SIMEX (Cook & Stefanski 1994). Noise of lambda times the known covariance of each star is added on top,
  the estimate is followed over lambda = 0 ... 2 and extrapolated by a parabola to lambda = -1, where there would be no error at all.

Bias is the mean over noise realisations of the difference to "exact". The file's stars are used twice, as they are and rotated by pi
about z (an exact symmetry of the potential): the two halves of the disc each give the Sun's ball once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Table

from deeppot_galactic import Ball, Tracers, pattern_speed
from deeppot_galactic.catalogue.frames import galactocentric, sun
from deeppot_galactic.errors import AxisymmetryWarning
from deeppot_galactic.mocks import as_milky_way, observe, test_particles

LAMBDAS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Added noise variance in units of the known one."""


def mock_galaxy(options: argparse.Namespace) -> tuple[Tracers, float]:
    """The shared test-particle bar (or one integrated now), seen as a Milky Way; and its Omega, negative: clockwise."""
    path = options.data / "testparticle_bar.npz"
    if path.is_file():
        with np.load(path) as data:
            x = np.concatenate([data["pos"], data["vel"]], axis=1).astype(np.float64)
            omega, angle = float(data["Omega_bar"]), float(data["bar_angle"]) * u.rad
    else:
        made = test_particles(options.stars, seed=options.seed)
        x, omega, angle = made.phase_space, float(made.meta["omega_km_s_kpc"]), 0.0 * u.rad
    if options.small:
        x = x[:60_000]
    x = np.concatenate([x, x * np.array([-1.0, -1.0, 1.0, -1.0, -1.0, 1.0])])
    return as_milky_way(Tracers(x), bar_angle=angle, sun_angle=options.sun_angle * u.deg), -omega


def read(table: Table, frame: Any) -> Tracers:
    """The table as a catalogue, with no cut on the parallax error: what is lost is lost by the errors."""
    keep = np.isfinite(np.asarray(table["radial_velocity"])) & (np.asarray(table["parallax"]) > 0.02)
    return Tracers.from_table(table[keep], frame=frame, parallax_over_error_min=None)


def omega_of(stars: Tracers, ball: Ball, errors: str = "ignore", seed: int = 0) -> tuple[float, float, int]:
    """Omega and its error in the ball, and the number of stars."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AxisymmetryWarning)
        speed = pattern_speed(stars, ball, errors=errors, seed=seed)
    if not speed.detected:
        return float("nan"), float("nan"), len(stars.within(ball))
    return float(speed.value.value), float(speed.error.value), len(stars.within(ball))


def noisier(stars: Tracers, factor: float, redraws: int, rng: np.random.Generator) -> Iterator[Tracers]:
    """The stars with noise of ``factor`` times their covariance added on the sky, ``redraws`` times."""
    if stars.observations is None or stars.frame is None:
        raise ValueError("the catalogue kept no observations; read it from a table with errors")
    draw = replace(stars.observations, errors=stars.observations.errors * np.sqrt(factor)).drawing()
    for _ in range(redraws):
        yield Tracers(draw(rng).phase_space(stars.frame), frame=stars.frame)


def extrapolated(stars: Tracers, ball: Ball, untreated: float, redraws: int, rng: np.random.Generator) -> tuple[float, list[float]]:
    """SIMEX: Omega at lambda = -1, and the means at `LAMBDAS`."""
    means = [untreated]
    for factor in LAMBDAS[1:]:
        means.append(float(np.nanmean([omega_of(more, ball)[0] for more in noisier(stars, factor, redraws, rng)])))
    weight = np.array([3.0, 1.0, 1.0, 1.0, 1.0])  # lambda = 0 needs no redraw and is exact
    return float(np.polyval(np.polyfit(LAMBDAS, means, 2, w=weight), -1.0)), means


def one_magnitude(galaxy: Tracers, truth: float, magnitude: float, options: argparse.Namespace) -> dict[str, Any]:
    """All ways for stars of one absolute magnitude."""
    frame = galactocentric()
    ball = Ball(sun(frame)[0], options.radius * u.kpc)
    near = np.linalg.norm(galaxy.phase_space[:, :3] - ball.center, axis=1) < 1.6 * options.radius  # beyond, no error brings a star in
    galaxy = galaxy.select(near)
    exact, exact_error, n = omega_of(read(observe(galaxy, frame, errors="none"), frame), ball)
    rows: dict[str, list[float]] = {"untreated": [], "corrected": []} | ({"extrapolated": []} if options.simex else {})
    curves, numbers = [], []
    errors: dict[str, list[float]] = {"untreated": [], "corrected": []}
    for k in range(options.realisations):
        table = observe(galaxy, frame, absolute_magnitude=magnitude, faint_limit=options.faint_limit, seed=options.seed + k)
        stars = read(table, frame)
        value, error, number = omega_of(stars, ball)
        better, better_error, _ = omega_of(stars, ball, "correct", options.seed + k)
        rows["untreated"].append(value)
        rows["corrected"].append(better)
        errors["untreated"].append(error)
        errors["corrected"].append(better_error)
        numbers.append(number)
        if options.simex:
            rng = np.random.default_rng(1000 + options.seed + k)
            treated, curve = extrapolated(stars, ball, value, options.redraws, rng)
            rows["extrapolated"].append(treated)
            curves.append(curve)
        print(
            f"    M_G {magnitude:g}, noise {k}: untreated {value:.2f} +- {error:.2f}, corrected {better:.2f} +- {better_error:.2f}",
            flush=True,
        )
    result: dict[str, Any] = {"M_G": magnitude, "truth": truth, "stars_in_ball": n, "stars_observed_in_ball": float(np.mean(numbers))}
    result["exact"] = {"omega": exact, "error": exact_error, "relative": exact / truth - 1}
    for name, values in rows.items():
        spread_of_mean = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
        mean = float(np.mean(values))
        extra = {"error": float(np.mean(errors[name]))} if name in errors else {}
        result[name] = {"omega": mean, "relative": mean / truth - 1, "bias": mean - exact, "bias_error": spread_of_mean, **extra}
    if curves:
        result["lambda"], result["omega_of_lambda"] = LAMBDAS, np.mean(curves, axis=0).tolist()
    return result


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--magnitudes", type=float, nargs="+", default=[0.5, 1.5, 3.5], help="absolute magnitudes M_G")
    parser.add_argument("--radius", type=float, default=4.0, help="of the ball around the Sun, kpc")
    parser.add_argument("--sun-angle", type=float, default=25.0, help="degrees between the bar and the Sun")
    parser.add_argument("--faint-limit", type=float, default=18.0, help="of the radial velocities, G_RVS; Gaia's is 14")
    parser.add_argument("--realisations", type=int, default=6, help="of the noise")
    parser.add_argument("--simex", action="store_true", help="also extrapolate Omega itself, many times slower")
    parser.add_argument("--redraws", type=int, default=8, help="per lambda")
    parser.add_argument("--stars", type=int, default=200_000, help="test particles to integrate where the shared file is absent")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help="60,000 stars, 1 realisation, 1 redraw: checks the script only")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    options = parser.parse_args()
    if options.small:
        options.realisations, options.redraws, options.stars = 1, 1, 8000
    start = time.perf_counter()
    galaxy, truth = mock_galaxy(options)
    print(f"load before {os.getloadavg()[0]:.2f}; {len(galaxy):,} stars; ball of {options.radius:g} kpc; true Omega {truth:.2f} km/s/kpc")
    print("bias: from the errors, the mean over noise of Omega less that without errors; scatter: statistical error of one catalogue")
    results = []
    for magnitude in options.magnitudes:
        result = one_magnitude(galaxy, truth, magnitude, options)
        results.append(result)
        print("M_G   stars   way            Omega    rel. error   bias            scatter")
        for name in [name for name in ("exact", "untreated", "corrected", "extrapolated") if name in result]:
            row = result[name]
            bias = f"{row['bias']:+.2f} +- {row['bias_error']:.2f}" if "bias" in row else ""
            numbers = f"{magnitude:3.1f} {result['stars_in_ball']:7d}   {name:13s} {row['omega']:7.2f}   {row['relative']:+8.1%}"
            print(f"{numbers}     {bias:14s}  {row.get('error', float('nan')):.2f}", flush=True)
        if "omega_of_lambda" in result:
            print("      Omega at lambda = 0 ... 2: " + ", ".join(f"{v:.2f}" for v in result["omega_of_lambda"]), flush=True)
    print(f"{time.perf_counter() - start:.0f} s; load after {os.getloadavg()[0]:.2f}")
    if options.out:
        options.out.write_text(json.dumps({"small": options.small, "results": results}, indent=1))


if __name__ == "__main__":
    main()
