"""The batched integrator: order, conservation, frames, flags, refusals."""

from __future__ import annotations

import warnings

import astropy.units as u
import numpy as np
import pytest
from interop_models import OMEGA, barred_galaxy, disc_stars

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.dynamics.orbits import DRIFTS, KICKS, integrate, integrate_orbits, jacobi_energy
from deeppot_galactic.errors import DeepPotError, ExtrapolationWarning, UnitsError
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.potential.analytic import Plummer
from deeppot_galactic.potential.blended import GlobalPotential

KMS = u.km / u.s


class Oscillator:
    """Phi = k x^2 / 2 in a turning frame: the orbit is known exactly."""

    k, x0, v0 = 900.0, np.zeros(3), np.zeros(3)

    def __init__(self, omega):
        self.omega = np.asarray(omega, float)

    def gradient(self, x):
        return self.k * x

    def potential(self, x):
        return 0.5 * self.k * np.einsum("ni,ni->n", x, x)

    def in_training_volume(self, x):
        return np.linalg.norm(x, axis=1) < 1e3


@pytest.fixture(scope="module")
def galaxy():
    return compile_potential(barred_galaxy())


def test_coefficients_are_consistent():
    assert sum(DRIFTS) == pytest.approx(1, abs=1e-15) and sum(KICKS) == pytest.approx(1, abs=1e-15)
    assert DRIFTS[::-1] == DRIFTS and KICKS[::-1] == KICKS


def test_fourth_order_against_the_exact_oscillator_in_a_tilted_turning_frame():
    model = Oscillator([3.0, -8.0, 39.0])
    x, p = np.array([[8.0, 1.0, 0.3]]), np.array([[20.0, 180.0, -9.0]])
    end, rate = 0.2, np.sqrt(model.k)
    exact = x * np.cos(rate * end) + p / rate * np.sin(rate * end)
    from scipy.spatial.transform import Rotation

    exact = exact @ Rotation.from_rotvec(-model.omega * end).as_matrix().T
    errors = []
    for n in (8, 16, 32):
        got, _ = integrate(model, x, p, np.array([0.0, end]), end / n)
        errors.append(np.abs(got[-1] - exact).max())
    assert errors[2] < 1e-6
    assert errors[0] / errors[1] == pytest.approx(16, rel=0.3) and errors[1] / errors[2] == pytest.approx(16, rel=0.3)


def test_rotation_itself_is_without_error():
    # an axisymmetric potential cannot tell whether the axes turn
    volume = Cylinder(r_out=15 * u.kpc, half_height=3 * u.kpc)
    still, turning = (GlobalPotential(Plummer(1e11, 3.0), volume, omega=(0, 0, rate), outer=Plummer(1e11, 3.0)) for rate in (0, 50))
    pos, vel = [[6.0, 1.0, 0.4]] * u.kpc, [[20.0, 150.0, 10.0]] * KMS
    times = np.linspace(0, 500, 6) * u.Myr
    one, two = (integrate_orbits(model, pos, vel, times).inertial()[0] for model in (still, turning))
    np.testing.assert_allclose(one.value, two.value, atol=1e-9)


def test_jacobi_energy_is_kept(galaxy):
    w = disc_stars(galaxy, 24)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExtrapolationWarning)
        orbits = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * KMS, np.linspace(0, 1, 21) * u.Gyr)
    assert np.median(orbits.jacobi_drift) < 1e-6 and orbits.jacobi_drift.max() < 1e-4
    assert orbits.pos.shape == (21, 24, 3) and orbits.jacobi.shape == (21, 24) and orbits.step.shape == (24,)
    # by hand, from the definition
    x, v = orbits.pos[7, 3].value, orbits.vel[7, 3].value
    expected = 0.5 * v @ v - OMEGA * (x[0] * v[1] - x[1] * v[0]) + galaxy.potential(x[None])[0]
    assert orbits.jacobi[7, 3].value == pytest.approx(expected)
    assert jacobi_energy(galaxy, x[None], v[None])[0] == pytest.approx(expected)
    # and the inertial energy is not conserved: the bar does work
    energy = 0.5 * np.sum(orbits.vel.value**2, axis=-1) + galaxy.potential(orbits.pos.value.reshape(-1, 3)).reshape(21, 24)
    assert np.median(np.ptp(energy, axis=0) / np.abs(energy[0])) > 1e-3


def test_orbits_with_large_errors_get_a_shorter_step(galaxy):
    plunging = np.array([[0.4, 0.02, 0.01, 20.0, 30.0, 5.0], [8.0, 0, 0, 0, 230.0, 0]])
    args = plunging[:, :3] * u.kpc, plunging[:, 3:] * KMS, [0, 0.1] * u.Gyr
    coarse = integrate_orbits(galaxy, *args, step=4 * u.Myr, tolerance=np.inf)
    fine = integrate_orbits(galaxy, *args, step=4 * u.Myr, tolerance=1e-7)
    assert coarse.jacobi_drift[0] > 1e-6 > fine.jacobi_drift[0] * 0.1
    assert fine.step[0] < fine.step[1] == 4 * u.Myr


def test_backwards_returns_to_the_start(galaxy):
    w = disc_stars(galaxy, 5, r_max=9)
    there = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * KMS, [0, 300] * u.Myr)
    pos, vel = (part[-1] for part in there.inertial())
    back = integrate_orbits(galaxy, pos, vel, [300, 0] * u.Myr)
    assert np.abs(back.inertial()[0][-1].value - w[:, :3]).max() < 1e-6


def test_exact_and_compiled_backends_agree():
    exact = barred_galaxy()
    w = disc_stars(exact, 4, r_max=9)
    times = [0, 500] * u.Myr
    one, two = (integrate_orbits(model, w[:, :3] * u.kpc, w[:, 3:] * KMS, times) for model in (exact, compile_potential(exact)))
    assert np.abs(one.pos[-1] - two.pos[-1]).max() < 1e-3 * u.kpc


def test_orbits_that_leave_the_volume_are_flagged(galaxy):
    pos, vel = [[8.0, 0, 0], [8.0, 0, 0]] * u.kpc, [[0.0, 230, 0], [300.0, 300, 80]] * KMS
    with pytest.warns(ExtrapolationWarning, match="1 of 2 orbits"):
        orbits = integrate_orbits(galaxy, pos, vel, np.linspace(0, 200, 5) * u.Myr)
    assert orbits.left_volume.tolist() == [False, True]


def test_an_axis_and_a_velocity_of_the_frame(galaxy):
    shifted = GlobalPotential(
        galaxy.inner, galaxy.volume, omega=galaxy.omega, x0=(0.3, -0.2, 0.0), v0=(5.0, 0, 2.0), outer=galaxy.outer, constant=galaxy.constant
    )
    pos, vel = np.array([[7.0, 1.0, 0.1]]), np.array([[10.0, 220.0, 4.0]])
    orbits = integrate_orbits(shifted, pos * u.kpc, vel * KMS, [0, 100] * u.Myr)
    np.testing.assert_allclose(orbits.pos[0].value, pos - shifted.x0)
    np.testing.assert_allclose(orbits.vel[0].value, vel - shifted.v0)
    assert orbits.jacobi_drift.max() < 1e-7


def test_host_orbits(galaxy):
    w = disc_stars(galaxy, 3, r_max=9)
    times = np.linspace(0, 300, 31) * u.Myr
    orbits = integrate_orbits(galaxy, w[:, :3] * u.kpc, w[:, 3:] * KMS, times)
    pytest.importorskip("gala")
    in_gala = orbits.to_gala()
    assert in_gala.shape == (31, 3)
    np.testing.assert_allclose(in_gala.xyz[:, 0].to_value(u.kpc).T, w[:, :3])
    turning = orbits.to_gala(inertial=False)
    np.testing.assert_allclose(turning.xyz.to_value(u.kpc), np.moveaxis(orbits.pos.value, -1, 0))
    pytest.importorskip("galpy")
    in_galpy = orbits.to_galpy(ro=8.0, vo=220.0)
    np.testing.assert_allclose(in_galpy.x(in_galpy.t), -in_gala.xyz[0].to_value(u.kpc).T, atol=1e-9)
    np.testing.assert_allclose(in_galpy.vT(in_galpy.t), -np.sum(np.cross(*_planes(in_gala)), axis=-1).T, rtol=1e-6)


def _planes(orbit):
    """Unit radius and velocity, whose cross product along z is v_phi."""
    x, v = np.moveaxis(orbit.xyz.to_value(u.kpc), 0, -1) * [1, 1, 0], np.moveaxis(orbit.v_xyz.to_value(KMS), 0, -1) * [1, 1, 0]
    return x / np.linalg.norm(x, axis=-1, keepdims=True), v


def test_refusals(galaxy):
    pos, vel = [[8.0, 0, 0]] * u.kpc, [[0, 220.0, 0]] * KMS
    with pytest.raises(DeepPotError, match="increasing or all decreasing"):
        integrate_orbits(galaxy, pos, vel, [0, 1, 0.5] * u.Gyr)
    with pytest.raises(DeepPotError, match="same shape"):
        integrate_orbits(galaxy, pos, [[0, 220.0, 0]] * 2 * KMS, [0, 1] * u.Gyr)
    with pytest.raises(DeepPotError, match="finite"):
        integrate_orbits(galaxy, pos * np.nan, vel, [0, 1] * u.Gyr)
    with pytest.raises(DeepPotError, match="step must be positive"):
        integrate_orbits(galaxy, pos, vel, [0, 1] * u.Gyr, step=0 * u.Myr)
    with pytest.raises(UnitsError):
        integrate_orbits(galaxy, pos.value, vel, [0, 1] * u.Gyr)
