"""A galaxy that nothing was tuned to: test particles in a barred potential whose parameters are drawn from a seed.

    python benchmarks/unseen.py --seed 1 --out unseen_1.npz [--stars 131072] [--epochs 9]
    python benchmarks/recovery.py unseen_1.npz

The catalogue has the format of the shared snapshots, with exact forces, densities and pattern speed. Masses and lengths of disc, halo and
bar are drawn within a factor of about 1.5 of a Milky Way's; corotation lies at 1.1 to 1.7 lengths of the bar, at a random angle. With
``--epochs 1`` all stars are seen at one moment, 0.3 Gyr after the bar has grown, so that f is less steady. One core integrates about 400
stars in a second.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import astropy.units as u
import numpy as np

from deeppot_galactic.mocks import BarredPotential, test_particles
from deeppot_galactic.mocks.base import rotate
from deeppot_galactic.units import G

TRUTHS = 5000


def draw_galaxy(rng: np.random.Generator) -> BarredPotential:
    """Parameters about those of the defaults, and the pattern speed that puts corotation where it was drawn."""
    galaxy = BarredPotential(
        disc_mass=rng.uniform(3.5e10, 6e10),
        disc_length=rng.uniform(2.5, 4.0),
        disc_height=rng.uniform(0.25, 0.4),
        halo_mass=rng.uniform(4.5e11, 8e11),
        bar_mass=rng.uniform(0.8e10, 2.2e10),
        bar_length=rng.uniform(2.5, 5.5),
        bar_width=rng.uniform(0.5, 0.9),
    )
    corotation = rng.uniform(1.1, 1.7) * galaxy.bar_length
    force = galaxy.evaluate(np.array([[corotation, 0.0, 0.0]]), 1)[1][0, 0]
    return replace(galaxy, omega=float(np.sqrt(force / corotation)))


def evaluate(galaxy: BarredPotential, angle: float, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Phi (n,), its gradient (n, 3) and the density (n,) at places (n, 3), with the bar at an angle."""
    phi, gradient, hessian = galaxy.evaluate(rotate(x, -angle), 2)
    return phi, rotate(gradient, angle), np.einsum("nii->n", hessian) / (4.0 * np.pi * G)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stars", type=int, default=131_072)
    parser.add_argument("--epochs", type=int, default=9, help="moments over which the stars are mixed; 1 for a galaxy that is less steady")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    galaxy, angle = draw_galaxy(rng), rng.uniform(-np.pi, np.pi)
    times = {} if options.epochs > 1 else {"mixing": 0.3 * u.Gyr}
    stars = test_particles(options.stars, potential=galaxy, angle=angle * u.rad, epochs=options.epochs, seed=options.seed, **times)
    w = stars.phase_space
    n = min(TRUTHS // 2, len(w))
    radius, phi = 16.0 * np.sqrt(rng.uniform(size=n)), rng.uniform(0.0, 2.0 * np.pi, n)
    around = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(-2.0, 2.0, n)], axis=1)
    x = np.concatenate([w[rng.permutation(len(w))[:n], :3], around])
    phi_truth, gradient, density = evaluate(galaxy, angle, x)
    np.savez(
        options.out,
        pos=w[:, :3].astype(np.float32),
        vel=w[:, 3:].astype(np.float32),
        truth_pos=x,
        truth_pot=phi_truth,
        truth_acc=-gradient,
        truth_rho=density,
        Omega_bar=galaxy.omega,
        Omega_bar_err=0.0,
        bar_angle=angle,
        R_bar=galaxy.bar_length,
        R_corotation=galaxy.lagrange_radius,
    )
    shape = ", ".join(f"{name} {value:.4g}" for name, value in asdict(galaxy).items())
    print(f"{options.out}: {len(w):,} stars; {shape}; corotation {galaxy.lagrange_radius:.2f} kpc")


if __name__ == "__main__":
    main()
