"""Orbits in every backend: force errors, speed, conservation of the Jacobi energy, agreement between packages.

    python benchmarks/orbits.py [--orbits 1000] [--gyr 1.0] [--network] [--model model.safetensors] [--out orbits.json]

The potential is an analytic barred Milky Way (Miyamoto-Nagai disc, NFW halo, Long-Murali bar with Omega = 39 km/s/kpc) standing in for a
learned one; with --network a 4 x 512 tanh network of random weights is added to it at one per cent, for the cost of a network; with
--model a fitted one from a file. Times are CPU seconds of this process on one core (set OMP_NUM_THREADS=1), and wall-clock beside them.
The agama and C rows appear where these packages are installed. The last lines set the numbers beside what they should be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import astropy.units as u
import numpy as np

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.dynamics.orbits import integrate_orbits
from deeppot_galactic.errors import ExtrapolationWarning
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.potential.analytic import NFW, LongMurali, MiyamotoNagai
from deeppot_galactic.potential.blended import GlobalPotential

KMS = u.km / u.s
RO, VO = 8.0, 220.0
N_HOST = 2
"""Orbits integrated by the hosts' own Python integrators."""
MODEL = MiyamotoNagai(4.5e10, 3.0, 0.28) + NFW(5.8e11, 16.0) + LongMurali(1.6e10, 4.0, 0.65, 0.40, -0.54)


class NetworkLike:
    """The analytic model plus one per cent of a tanh network with random weights: the cost of a network, the field of a galaxy."""

    base = MODEL

    def __init__(self, width: int = 512, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        shapes = [(3, width), (width, width), (width, width), (width, width)]
        self.layers = [(rng.normal(0, 1.2 / np.sqrt(n), (n, m)), rng.normal(0, 0.5, m)) for n, m in shapes]
        self.scale, self.out = 12.0, rng.normal(0, 1 / np.sqrt(width), width) * 500.0

    def evaluate(self, x: np.ndarray, order: int) -> tuple[Any, Any, Any]:
        phi, grad, hess = MODEL.evaluate(x, order)
        value = x / self.scale
        slope = np.broadcast_to(np.eye(3) / self.scale, (len(x), 3, 3))
        curve = np.zeros((len(x), 3, 3, 3))
        for weight, bias in self.layers:
            value = np.tanh(value @ weight + bias)
            first = 1 - value**2
            if order >= 1:
                pushed = slope @ weight
                if order >= 2:
                    bend = curve @ weight
                    curve = first[:, None, None] * bend - (2 * value * first)[:, None, None] * pushed[:, :, None] * pushed[:, None]
                slope = first[:, None] * pushed
        return (
            phi + value @ self.out,
            None if grad is None else grad + slope @ self.out,
            None if hess is None else hess + curve @ self.out,
        )


def stars(potential: GlobalPotential, n: int, seed: int = 5, r_max: float = 12.0) -> np.ndarray:
    """A warm disc: rows (n, 6) in kpc and km/s."""
    rng = np.random.default_rng(seed)
    radius, angle = rng.uniform(0.5, r_max, n), rng.uniform(0, 2 * np.pi, n)
    x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0, 0.3, n)])
    grad = potential.gradient(x)
    speed = np.sqrt(np.maximum(np.einsum("ni,ni->n", x[:, :2], grad[:, :2]), 100.0))
    tangent = np.column_stack([-x[:, 1], x[:, 0], 0 * radius]) / radius[:, None]
    sense = 1.0 if potential.omega[2] >= 0 else -1.0
    return np.hstack([x + potential.x0, sense * tangent * speed[:, None] + rng.normal(0, 1, (n, 3)) * [35, 30, 20] + potential.v0])


class Clock:
    """CPU and wall-clock seconds of a block."""

    def __enter__(self) -> Clock:
        self.cpu, self.wall = -time.process_time(), -time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu += time.process_time()
        self.wall += time.perf_counter()


def in_galpy(rows: np.ndarray) -> np.ndarray:
    """Phase-space rows as galpy's (R, vR, vT, z, vz, phi)."""
    x, v = rows[:, :3] * [-1, 1, 1] / RO, rows[:, 3:] * [-1, 1, 1] / VO
    radius = np.hypot(x[:, 0], x[:, 1])
    v_R, v_T = (x[:, :2] * v[:, :2]).sum(1) / radius, (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / radius
    return np.column_stack([radius, v_R, v_T, x[:, 2], v[:, 2], np.arctan2(x[:, 1], x[:, 0])])


def report(results: list[dict[str, Any]], name: str, **values: Any) -> None:
    """Print one row and keep it."""
    results.append({"name": name, **values})
    print(
        f"{name:<58s}", "  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in values.items())
    )


def own_backends(results: list[dict[str, Any]], backends: dict[str, GlobalPotential], n: int, gyr: float) -> None:
    """Our integrator: the compiled backend in full, the exact one on a few orbits."""
    for name, potential in backends.items():
        count = n if name == "compiled" else min(n, 20)
        w = stars(potential, count)
        with Clock() as clock:
            orbits = integrate_orbits(potential, w[:, :3] * u.kpc, w[:, 3:] * KMS, np.linspace(0, gyr, 51) * u.Gyr)
        drift = orbits.jacobi_drift
        energies = {"E_J median": float(np.median(drift)), "E_J max": float(drift.max())}
        report(results, f"ours, {name}, {count} orbits x {gyr} Gyr", cpu_s=clock.cpu, wall_s=clock.wall, **energies)


def hosts(results: list[dict[str, Any]], potential: GlobalPotential, gyr: float) -> None:
    """The same orbits in galpy and gala, inertial and turning, through their own Python integrators."""
    w = stars(potential, 40, r_max=9.0)[20 : 20 + N_HOST]
    times = np.linspace(0, gyr, 11) * u.Gyr
    mine = integrate_orbits(potential, w[:, :3] * u.kpc, w[:, 3:] * KMS, times, step=0.5 * u.Myr)
    if find_spec("gala"):
        import gala.dynamics as gd

        from deeppot_galactic.interop.gala import hamiltonian, to_gala

        start = gd.PhaseSpacePosition((w[:, :3] - potential.x0).T * u.kpc, (w[:, 3:] - potential.v0).T * KMS)
        for inertial in (True, False):
            with Clock() as clock:
                orbit = hamiltonian(to_gala(potential, backend="compiled", inertial=inertial)).integrate_orbit(start, t=times)
            apart = float(np.abs(orbit.xyz - mine.to_gala(inertial=inertial).xyz).max().to_value(u.kpc))
            frame = "inertial" if inertial else "bar frame"
            report(results, f"gala DOPRI853 in Python, {frame}, {N_HOST} orbits", cpu_s=clock.cpu, difference_kpc=apart)
    if find_spec("galpy"):
        from galpy.orbit import Orbit

        from deeppot_galactic.interop.galpy import to_galpy

        host = to_galpy(potential, backend="compiled", ro=RO, vo=VO, inertial=True)
        at = times.to_value(u.kpc / KMS) * VO / RO
        apart, total = 0.0, 0.0
        for i, row in enumerate(in_galpy(np.hstack([w[:, :3] - potential.x0, w[:, 3:] - potential.v0]))):
            orbit = Orbit(row, ro=RO, vo=VO)
            with Clock() as clock:
                orbit.integrate(at, host, method="dop853", rtol=1e-9, atol=1e-9)
            x = np.stack([-orbit.x(at), orbit.y(at), orbit.z(at)], axis=-1)
            apart, total = max(apart, float(np.abs(x - mine.inertial()[0][:, i].to_value(u.kpc)).max())), total + clock.cpu
        report(results, f"galpy dop853 in Python, inertial, {N_HOST} orbits", cpu_s=total, difference_kpc=apart)


def on_the_sky(results: list[dict[str, Any]], potential: GlobalPotential, gyr: float) -> None:
    """One SkyCoord through galpy and through gala, compared on the sky."""
    if not (find_spec("gala") and find_spec("galpy")):
        return
    import gala.dynamics as gd
    from astropy.coordinates import ICRS, CartesianDifferential, CartesianRepresentation, Galactocentric, SkyCoord
    from galpy.orbit import Orbit

    from deeppot_galactic.interop.gala import hamiltonian, to_gala
    from deeppot_galactic.interop.galpy import to_galpy

    frame = Galactocentric(galcen_distance=8.122 * u.kpc, z_sun=0 * u.pc, galcen_v_sun=[12.0, 243.0, 7.0] * KMS)
    velocity = CartesianDifferential([40, 180, 15] * KMS)
    star = SkyCoord(frame.realize_frame(CartesianRepresentation([-5.0, 1.5, 0.2] * u.kpc, differentials=velocity)))
    times = np.linspace(0, gyr, 11) * u.Gyr
    orbit = Orbit(star.transform_to("icrs"), ro=8.122, vo=231.0, zo=0.0, solarmotion=[-12.0, 12.0, 7.0])
    orbit.integrate(times, to_galpy(potential, backend="compiled", ro=8.122, vo=231.0, inertial=True), method="dop853")
    start = gd.PhaseSpacePosition(star.cartesian.without_differentials(), star.velocity)
    there = hamiltonian(to_gala(potential, backend="compiled", inertial=True)).integrate_orbit(start, t=times)
    sky = there.to_coord_frame(ICRS(), galactocentric_frame=frame)
    apart = SkyCoord(orbit.ra(times) * u.deg, orbit.dec(times) * u.deg).separation(SkyCoord(sky.ra, sky.dec))
    distance = float(np.abs(orbit.dist(times) - sky.distance.to_value(u.kpc)).max())
    report(results, "one SkyCoord in galpy and in gala", apart_deg=float(apart.deg.max()), distance_kpc=distance)


def verdicts(results: list[dict[str, Any]], n: int, gyr: float) -> None:
    """The numbers beside what they should be; times are scaled to 1000 orbits over 1 Gyr, too long from few orbits."""
    rows = {row["name"].split(",")[0] + ("," + row["name"].split(",")[1] if row["name"].startswith("ours") else ""): row for row in results}
    scale = 1000 / n / gyr
    ours, agama, c = rows["ours, compiled"], rows.get("agama CylSpline"), rows.get("galpy C expansion")
    apart = [row["difference_kpc"] for row in results if "difference_kpc" in row]
    checks: list[tuple[str, float | None, float]] = [
        ("spline force error, median", rows["spline"]["median"], 1e-3),
        ("galpy C force error, median", c and c["force median"], 1e-2),
        ("agama force error, median", agama and agama["force median"], 1e-2),
        ("ours, 1000 orbits over 1 Gyr [CPU s]", ours["cpu_s"] * scale, 20.0),
        ("agama, 1000 orbits over 1 Gyr [CPU s]", agama and agama["cpu_s"] * scale, 10.0),
        ("Jacobi energy, median change", ours["E_J median"], 1e-6),
        ("Jacobi energy, largest change", ours["E_J max"], 1e-4),
        ("same orbit in every package [kpc]", max(apart) if apart else None, 1e-3),
    ]
    for name, value, limit in checks:
        if value is None:
            print(f"  {name:<44s} not measured here, should be below {limit:g}")
        else:
            print(f"  {name:<44s} {value:<10.3g} {'below' if value < limit else 'NOT below'} {limit:g}")


def c_backends(results: list[dict[str, Any]], potential: GlobalPotential, n: int, gyr: float) -> None:
    """galpy in C and agama."""
    w = stars(potential, n)
    w = np.hstack([w[:, :3] - potential.x0, w[:, 3:] - potential.v0])
    end = (gyr * u.Gyr).to_value(u.kpc / KMS)
    if find_spec("galpy"):
        from galpy.orbit import Orbit

        from deeppot_galactic.interop.galpy import to_galpy

        host = to_galpy(potential, backend="expansion", ro=RO, vo=VO, inertial=True)
        print(f"  {host.report}")
        few = min(n, 100)
        orbit = Orbit(in_galpy(w[:few]), ro=RO, vo=VO)
        with Clock() as clock:
            orbit.integrate(np.linspace(0, end * VO / RO, 51), host, method="dop853_c", progressbar=False, numcores=1)
        errors = {"force median": host.report.median, "force 95 %": host.report.p95, "build_s": host.report.seconds}
        report(results, f"galpy C expansion, {few} orbits x {gyr} Gyr", cpu_s=clock.cpu, wall_s=clock.wall, **errors)
    if find_spec("agama"):
        import agama

        from deeppot_galactic.interop.agama import to_agama

        host = to_agama(potential)
        print(f"  {host.report}")
        agama.setNumThreads(1)
        with Clock() as clock:
            agama.orbit(potential=host.agama, ic=w, time=end, trajsize=51, Omega=host.omega_z, separateTime=False, verbose=False)
        errors = {"force median": host.report.median, "force 95 %": host.report.p95, "build_s": host.report.seconds}
        exact_in_agama(results, potential, gyr)
        report(results, f"agama CylSpline, {n} orbits x {gyr} Gyr", cpu_s=clock.cpu, wall_s=clock.wall, **errors)


def exact_in_agama(results: list[dict[str, Any]], potential: GlobalPotential, gyr: float) -> None:
    """The same orbits by agama's integrator with our forces, in both frames."""
    import agama

    from deeppot_galactic.interop.agama import to_agama

    w = stars(potential, 40, r_max=9.0)[20 : 20 + N_HOST]
    end = (gyr * u.Gyr).to_value(u.kpc / KMS)
    mine = integrate_orbits(potential, w[:, :3] * u.kpc, w[:, 3:] * KMS, [0, gyr] * u.Gyr, step=0.5 * u.Myr)
    w = np.hstack([w[:, :3] - potential.x0, w[:, 3:] - potential.v0])
    for inertial, expected in ((False, mine.pos), (True, mine.inertial()[0])):
        host = to_agama(potential, backend="exact", inertial=inertial)
        with Clock() as clock:
            orbits = agama.orbit(
                potential=host.agama,
                ic=w,
                time=end,
                trajsize=2,
                Omega=0.0 if inertial else host.omega_z,
                separateTime=False,
                accuracy=1e-10,
                verbose=False,
            )
        last = np.array([orbit[1][-1][:3] for orbit in orbits])
        apart = float(np.abs(last - expected[-1].to_value(u.kpc)).max())
        frame = "inertial" if inertial else "bar frame"
        report(results, f"agama calling back, {frame}, {N_HOST} orbits", cpu_s=clock.cpu, difference_kpc=apart)


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orbits", type=int, default=1000)
    parser.add_argument("--gyr", type=float, default=1.0)
    parser.add_argument("--network", action="store_true", help="add a network of random weights")
    parser.add_argument("--model", type=Path, help="a fitted model instead")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", ExtrapolationWarning)
    if options.model:
        from deeppot_galactic.potential.model import PotentialModel

        exact = PotentialModel.load(options.model).global_potential
    else:
        inner = NetworkLike() if options.network else MODEL
        exact = GlobalPotential(inner, Cylinder(r_out=16 * u.kpc, half_height=2.5 * u.kpc), omega=(0, 0, 39.0))
    results: list[dict[str, Any]] = []
    compiled = compile_potential(exact)
    print(f"  {compiled.report}")
    report(results, "spline", median=compiled.report.median, p95=compiled.report.p95, maximum=compiled.report.maximum)
    own_backends(results, {"exact": exact, "compiled": compiled}, options.orbits, options.gyr)
    c_backends(results, compiled, options.orbits, options.gyr)
    hosts(results, compiled, options.gyr)
    on_the_sky(results, compiled, options.gyr)
    verdicts(results, options.orbits, options.gyr)
    if options.out:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__}
        options.out.write_text(json.dumps({**machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
