"""Test particles: the orbits are right, the recipe does what it says."""

from __future__ import annotations

import sys
from importlib import import_module

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.errors import DeepPotError, MissingPackageError, UnitsError
from deeppot_galactic.mocks import BarredPotential

module = import_module("deeppot_galactic.mocks.test_particles")

QUICK = {"growth": 0.2 * u.Gyr, "mixing": 0.1 * u.Gyr, "epochs": 3, "spacing": 50 * u.Myr}


@pytest.fixture(scope="module")
def disc() -> np.ndarray:
    rng = np.random.default_rng(0)
    return module.initial_disc(BarredPotential(), 200, rng, scale_length=2.6, scale_height=0.28, sigma_r=120.0, sigma_length=6.0)


def _jacobi(galaxy: BarredPotential, x: np.ndarray) -> np.ndarray:
    lz = x[:, 0] * x[:, 4] - x[:, 1] * x[:, 3]
    return galaxy.evaluate(x[:, :3], 0)[0] + 0.5 * np.sum(x[:, 3:] ** 2, axis=1) - galaxy.omega * lz


def test_integration_conserves_jacobi_and_matches_our_potential(disc):
    pytest.importorskip("gala")
    galaxy = BarredPotential()
    after = module._integrate(galaxy, disc, 1.0, 300.0)
    assert np.max(np.abs(_jacobi(galaxy, after) / _jacobi(galaxy, disc) - 1)) < 2e-4
    assert np.median(np.linalg.norm(after - disc, axis=1)) > 10


def test_rotating_frame_against_the_inertial_frame(disc):
    """The same orbits by a fourth-order scheme in the inertial frame with a turning bar, turned back at the end."""
    pytest.importorskip("gala")
    galaxy, span = BarredPotential(), 50.0 / 977.792221  # 50 Myr in kpc/(km/s)
    steps = 400
    x, h = disc[:40].copy(), span / steps

    def force(t: float, y: np.ndarray) -> np.ndarray:
        c, s = np.cos(galaxy.omega * t), np.sin(galaxy.omega * t)
        turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return np.concatenate([y[:, 3:], -galaxy.evaluate(y[:, :3] @ turn, 1)[1] @ turn.T], axis=1)

    for k in range(steps):
        t = k * h
        k1 = force(t, x)
        k2 = force(t + h / 2, x + h / 2 * k1)
        k3 = force(t + h / 2, x + h / 2 * k2)
        k4 = force(t + h, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    expected = module.rotate(x, -galaxy.omega * span)
    found = module._integrate(galaxy, disc[:40], 1.0, 50.0)
    assert np.allclose(found[:, :3], expected[:, :3], atol=2e-3)
    assert np.allclose(found[:, 3:], expected[:, 3:], atol=0.3)


def test_growth_is_smooth_and_complete():
    values = [module._bar_fraction(t) for t in (0.0, 0.5, 1.0)]
    assert np.allclose(values, [0.0, 0.5, 1.0])
    assert module._bar_fraction(1e-3) < 1e-7


def test_initial_disc_is_near_equilibrium(disc):
    radius = np.hypot(disc[:, 0], disc[:, 1])
    assert radius.mean() == pytest.approx(5.2, rel=0.15)
    assert np.mean(disc[:, 0] * disc[:, 4] - disc[:, 1] * disc[:, 3] > 0) > 0.9


def test_catalogue_is_reproducible_and_described():
    pytest.importorskip("gala")
    seen: list[int] = []
    first = module.test_particles(60, seed=4, progress=lambda stage, done, total, values: seen.append(done), **QUICK)
    assert np.array_equal(first.phase_space, module.test_particles(60, seed=4, **QUICK).phase_space)
    assert not np.array_equal(first.phase_space, module.test_particles(60, seed=5, **QUICK).phase_space)
    assert seen == [60]
    assert first.meta["omega_km_s_kpc"] == 39.0
    assert first.meta["potential"]["bar_mass"] == 1.6e10
    turned = module.test_particles(60, seed=4, angle=0.5 * u.rad, **QUICK)
    assert np.allclose(turned.phase_space, module.rotate(first.phase_space, 0.5))


def test_bad_input_is_refused(monkeypatch):
    with pytest.raises(DeepPotError, match="n >= 1"):
        module.test_particles(0)
    with pytest.raises(UnitsError, match="growth"):
        module.test_particles(10, growth=2.0)
    monkeypatch.setitem(sys.modules, "gala.potential", None)
    with pytest.raises(MissingPackageError, match="gala"):
        module.gala_hamiltonian(BarredPotential())


@pytest.mark.slow
def test_a_bar_forms_along_x():
    pytest.importorskip("gala")
    x = module.test_particles(4000, seed=0).phase_space
    radius, phi = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])
    inside = (radius > 1) & (radius < 3.5)
    bar = np.mean(np.exp(2j * phi[inside]))
    assert abs(bar) > 0.08
    assert abs(np.angle(bar)) / 2 < 0.2
