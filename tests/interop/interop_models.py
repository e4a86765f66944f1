"""A synthetic learned potential: the analytic barred Milky Way of the test particles, with a network's arbitrary constant."""

from __future__ import annotations

import astropy.units as u
import numpy as np

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.potential.analytic import NFW, LongMurali, MiyamotoNagai, Plummer
from deeppot_galactic.potential.basis import LinearPotential, basis_for
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.potential.network_potential import NetworkPotential

OMEGA = 39.0
BAR_ANGLE = -0.54
MODEL = MiyamotoNagai(4.5e10, 3.0, 0.28) + NFW(5.8e11, 16.0) + LongMurali(1.6e10, 4.0, 0.65, 0.40, BAR_ANGLE)


class Learned:
    """An inner potential that is not an analytic one to the code under test."""

    base = NFW(5.8e11, 16.0)

    def __init__(self, model=MODEL) -> None:
        self.model = model

    def evaluate(self, x, order):
        phi, grad, hess = self.model.evaluate(x, order)
        return phi + 4.2e4, grad, hess


def barred_galaxy(omega=(0.0, 0.0, OMEGA), **options) -> GlobalPotential:
    return GlobalPotential(Learned(), Cylinder(r_out=15 * u.kpc, half_height=2.5 * u.kpc), omega=omega, **options)


def soft_galaxy() -> GlobalPotential:
    """Without a cusp."""
    model = MiyamotoNagai(4.5e10, 3.0, 0.28) + Plummer(1.6e11, 10.0) + LongMurali(1.6e10, 4.0, 0.65, 0.40, BAR_ANGLE)
    inner = Learned(model)
    inner.base = None
    return GlobalPotential(inner, Cylinder(r_out=15 * u.kpc, half_height=2.5 * u.kpc), omega=(0, 0, OMEGA))


def network_galaxy() -> GlobalPotential:
    """The analytic model plus half a per cent of a small network with random weights."""
    rng = np.random.default_rng(3)
    layers = [(rng.normal(0, 0.6, (12, 3)), rng.normal(0, 0.5, 12)), (rng.normal(0, 0.3, (12, 12)), rng.normal(0, 0.5, 12))]
    inner = NetworkPotential(MODEL, layers, rng.normal(0, 150.0, 12), inputs="disc", scales=(6.0, 6.0, 0.5))
    return GlobalPotential(inner, Cylinder(r_out=15 * u.kpc, half_height=2.5 * u.kpc), omega=(0, 0, OMEGA))


def fitted_galaxy(noise: float = 0.02, n: int = 8000) -> GlobalPotential:
    """A linear basis on an axisymmetric base fitted to the forces of the analytic bar at random places, each wrong by ``noise``."""
    volume = Cylinder(r_out=15 * u.kpc, half_height=2.5 * u.kpc)
    base = MiyamotoNagai(6e10, 2.8, 0.3) + NFW(5e11, 15.0)
    basis, x = basis_for(volume), disc_points(n, 11, 14.9)
    rng = np.random.default_rng(4)
    target = MODEL.evaluate(x, 1)[1]
    size = np.linalg.norm(target, axis=1)
    target = target + noise * size[:, None] * rng.normal(size=target.shape) - base.evaluate(x, 1)[1]
    rows = np.moveaxis(basis.evaluate(x, 1)[1] / size[:, None, None], 1, 2).reshape(3 * n, -1)
    scale = np.linalg.norm(rows, axis=0)
    # a ridge, as the prior of the real fits
    matrix = (rows / scale).T @ (rows / scale) + 1e-6 * np.eye(rows.shape[1])
    coefficients = np.linalg.solve(matrix, (rows / scale).T @ (target / size[:, None]).ravel()) / scale
    return GlobalPotential(LinearPotential(base, basis, coefficients), volume, omega=(0, 0, OMEGA))


def disc_points(n: int, seed: int = 5, r_max: float = 13.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    radius, angle = rng.uniform(0.3, r_max, n), rng.uniform(0, 2 * np.pi, n)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), rng.normal(0, 0.4, n)])


def disc_stars(potential: GlobalPotential, n: int, seed: int = 5, r_max: float = 12.0) -> np.ndarray:
    """Phase-space rows (n, 6) of a warm disc, velocities in the inertial frame."""
    rng = np.random.default_rng(seed)
    x = disc_points(n, seed, r_max)
    grad = potential.gradient(x)
    radius = np.hypot(x[:, 0], x[:, 1])
    speed = np.sqrt(np.maximum(np.einsum("ni,ni->n", x[:, :2], grad[:, :2]), 100.0))
    tangent = np.column_stack([-x[:, 1], x[:, 0], 0 * radius]) / radius[:, None]
    return np.hstack([x, tangent * speed[:, None] + rng.normal(0, 1, (n, 3)) * [35, 30, 20]])
