"""A barred test-particle catalogue: a disc of massless stars through a growing bar, mixed over epochs.

The stars start as an exponential disc in the axisymmetric galaxy (disc + halo + a second Miyamoto-Nagai disc of the bar's mass), which
over ``growth`` turns smoothly into the barred one of `BarredPotential`: the bar's share of the mass follows Dehnen's (2000) polynomial,
in steps short against an orbit. Orbits are integrated in the bar's rotating frame by gala's compiled DOPRI853. After ``mixing`` more, each
star is kept at one of ``epochs`` moments, ``spacing`` apart, chosen at random: the catalogue is a time average of f in the bar's
frame and hence closer to stationary than any one moment. Last, two exact symmetries of the potential are used: a rotation by pi about z and
a reflection in z, each for a random half of the stars.

Unlike the mocks of `deeppot_galactic.mocks.analytic` this f is neither known nor exactly stationary: the bar traps, heats and shapes it, as
bars do. What is exact is the potential and Omega.

Gala returns positions and *inertial* velocity components along the rotating axes: rows need no further rotation.
"""
# ruff: noqa: PT028  (a catalogue, not a test)

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np

from ..arguments import whole
from ..errors import DeepPotError, MissingPackageError
from ..potential.analytic import NFW, MiyamotoNagai
from ..units import to_internal
from .barred_potential import BarredPotential
from .base import Array, positive, rotate

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers

GROWTH_STEPS = 40
"""Steps of the bar's growth; 2 Gyr / 40 = 50 Myr changes the bar by at most 5 per cent of its mass at once."""
TOLERANCE = 1e-6
"""Absolute and relative tolerance of DOPRI853 (kpc, kpc/Myr): Jacobi's integral drifts by less than 1e-4 in 5 Gyr."""
CHUNK = 16384
"""Stars integrated at once, for bounded memory and frequent progress."""
PRE_BAR = (2.2, 0.45)
"""Scale length and height (kpc) of the disc that holds the bar's mass before it grows."""

Progress = Callable[[str, int, int, dict[str, float]], None]


def test_particles(
    n: int = 100_000,
    *,
    potential: BarredPotential | None = None,
    angle: u.Quantity = 0.0 * u.rad,
    growth: u.Quantity = 2.0 * u.Gyr,
    mixing: u.Quantity = 1.5 * u.Gyr,
    epochs: int = 9,
    spacing: u.Quantity = 250.0 * u.Myr,
    scale_length: u.Quantity = 2.6 * u.kpc,
    scale_height: u.Quantity = 0.28 * u.kpc,
    sigma_r: u.Quantity = 120.0 * (u.km / u.s),
    sigma_length: u.Quantity = 6.0 * u.kpc,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tracers:
    """Integrate a disc of test particles through a growing, rotating bar.

    Parameters
    ----------
    n : int
        Number of stars. One core integrates about 400 in a second with the default times.
    potential : BarredPotential, optional
        The galaxy and its pattern speed.
    angle : Quantity
        Angle of the bar's long axis from the x axis in the catalogue.
    growth, mixing, spacing : Quantity
        Times: growth of the bar, from full growth to the first epoch, between epochs.
    epochs : int
        Number of epochs that are mixed.
    scale_length, scale_height : Quantity
        Of the initial exponential, sech^2 disc.
    sigma_r, sigma_length : Quantity
        Radial dispersion at the centre and its exponential length, initially.
    seed : int
        Seed of the initial conditions, epochs and reflections.
    progress : callable, optional
        Called as ``progress("test particles", done, n, {})``.

    Returns
    -------
    Tracers
        ``meta`` holds the potential, the pattern speed and the recipe.

    Raises
    ------
    MissingPackageError
        If gala is not installed.
    DeepPotError
        If ``n`` or ``epochs`` is not positive, or ``seed`` no whole number of at least 0.
    UnitsError
        For a length, time or speed without its unit.
    """
    from ..catalogue.tracers import Tracers

    if n < 1 or epochs < 1:
        raise DeepPotError(f"test particles need n >= 1 stars and epochs >= 1, got n = {n} and epochs = {epochs}")
    galaxy = potential or BarredPotential()
    turn = float(to_internal(angle, u.rad, "angle"))
    t_grow, t_mix, t_step = (
        float(to_internal(q, u.Myr, name)) for q, name in ((growth, "growth"), (mixing, "mixing"), (spacing, "spacing"))
    )
    rng = np.random.default_rng(whole(seed, "seed"))
    x = initial_disc(
        galaxy,
        n,
        rng,
        scale_length=float(to_internal(scale_length, u.kpc, "scale_length")),
        scale_height=float(to_internal(scale_height, u.kpc, "scale_height")),
        sigma_r=float(to_internal(sigma_r, u.km / u.s, "sigma_r")),
        sigma_length=float(to_internal(sigma_length, u.kpc, "sigma_length")),
    )
    epoch = rng.integers(0, epochs, n)
    for start in range(0, n, CHUNK):
        part = slice(start, min(start + CHUNK, n))
        y = x[part]
        for k in range(GROWTH_STEPS):
            y = _integrate(galaxy, y, _bar_fraction((k + 0.5) / GROWTH_STEPS), t_grow / GROWTH_STEPS)
        y = _integrate(galaxy, y, 1.0, t_mix)
        for k in range(1, epochs):
            moving = epoch[part] >= k
            if moving.any():
                y[moving] = _integrate(galaxy, y[moving], 1.0, t_step)
        x[part] = y
        if progress is not None:
            progress("test particles", part.stop, n, {})
    x[rng.random(n) < 0.5] *= np.array([-1.0, -1.0, 1.0, -1.0, -1.0, 1.0])
    x[rng.random(n) < 0.5] *= np.array([1.0, 1.0, -1.0, 1.0, 1.0, -1.0])
    x = rotate(x, turn)
    result = Tracers.from_phase_space(x[:, :3] * u.kpc, x[:, 3:] * (u.km / u.s))
    recipe = {"growth_Myr": t_grow, "mixing_Myr": t_mix, "epochs": int(epochs), "spacing_Myr": t_step}
    facts = {"mock": "test particles", "omega_km_s_kpc": galaxy.omega, "angle_rad": turn, "potential": galaxy.to_dict()}
    result.meta.update(facts, n=int(n), seed=int(seed), **recipe)
    return result


test_particles.__test__ = False  # pyright: ignore[reportFunctionMemberAccess]  (not a test: pytest goes by the name)


def initial_disc(
    galaxy: BarredPotential,
    n: int,
    rng: np.random.Generator,
    *,
    scale_length: float,
    scale_height: float,
    sigma_r: float,
    sigma_length: float,
    sigma_min: float = 5.0,
) -> Array:
    """Exponential disc near equilibrium in the galaxy before its bar: rows (n, 6), counter-clockwise.

    Dispersions: radial as given, azimuthal sigma_R kappa / (2 Omega), vertical from the force at one scale height; the mean rotation has
    the asymmetric drift of the Jeans equation. Departures from equilibrium mix away while the bar grows.
    """
    for value, name in (
        (scale_length, "scale_length"),
        (scale_height, "scale_height"),
        (sigma_r, "sigma_r"),
        (sigma_length, "sigma_length"),
    ):
        positive(value, name)
    radius = scale_length * rng.gamma(2.0, 1.0, n)
    height = scale_height * np.arctanh(rng.uniform(-1.0, 1.0, n) * (1 - 1e-9))
    axisymmetric = (
        MiyamotoNagai(galaxy.disc_mass, galaxy.disc_length, galaxy.disc_height)
        + NFW(galaxy.halo_mass, galaxy.halo_scale)
        + MiyamotoNagai(galaxy.bar_mass, *PRE_BAR)
    )
    zero = np.zeros(n)
    _, gradient, hessian = axisymmetric.evaluate(np.stack([radius, zero, zero], axis=1), 2)
    above = axisymmetric.evaluate(np.stack([radius, zero, zero + scale_height], axis=1), 1)[1]
    omega2 = gradient[:, 0] / radius
    kappa2 = hessian[:, 0, 0] + 3 * omega2
    s_r = sigma_r * np.exp(-radius / sigma_length) + sigma_min
    ratio2 = kappa2 / (4 * omega2)
    drift = s_r**2 * (1 - ratio2 - radius * (1 / scale_length + 2 / sigma_length))
    mean = np.sqrt(np.maximum(omega2 * radius**2 + drift, 0.0))
    v_r = s_r * rng.standard_normal(n)
    v_phi = mean + s_r * np.sqrt(ratio2) * rng.standard_normal(n)
    v_z = np.sqrt(above[:, 2] * scale_height) * rng.standard_normal(n)
    phi = rng.uniform(0, 2 * np.pi, n)
    c, s = np.cos(phi), np.sin(phi)
    return np.stack([radius * c, radius * s, height, v_r * c - v_phi * s, v_r * s + v_phi * c, v_z], axis=1)


def gala_hamiltonian(galaxy: BarredPotential, bar_fraction: float = 1.0) -> Any:
    """The galaxy as a gala Hamiltonian in the frame that rotates with the bar; the rest of the bar's mass is in the pre-bar disc.

    Raises
    ------
    MissingPackageError
        If gala is not installed.
    """
    try:
        gp, galactic = import_module("gala.potential"), import_module("gala.units").galactic
    except ImportError:
        raise MissingPackageError(
            "test particles are integrated by gala, which is not installed; pip install 'deeppot-galactic[gala]'"
        ) from None
    total = gp.CCompositePotential()
    total["disc"] = gp.MiyamotoNagaiPotential(m=galaxy.disc_mass, a=galaxy.disc_length, b=galaxy.disc_height, units=galactic)
    total["halo"] = gp.NFWPotential(m=galaxy.halo_mass, r_s=galaxy.halo_scale, units=galactic)
    if bar_fraction > 0:
        shape = {"a": galaxy.bar_length, "b": galaxy.bar_width, "c": galaxy.bar_height}
        total["bar"] = gp.LongMuraliBarPotential(m=bar_fraction * galaxy.bar_mass, units=galactic, **shape)
    if bar_fraction < 1:
        total["pre-bar"] = gp.MiyamotoNagaiPotential(m=(1 - bar_fraction) * galaxy.bar_mass, a=PRE_BAR[0], b=PRE_BAR[1], units=galactic)
    frame = gp.ConstantRotatingFrame([0, 0, galaxy.omega] * (u.km / u.s / u.kpc), units=galactic)
    return gp.Hamiltonian(total, frame)


def _bar_fraction(t: float) -> float:
    """Dehnen's (2000, AJ 119, 800, equation 4) growth: 0 at t = 0, 1 at t = 1, with two flat derivatives at both ends."""
    s = 2 * t - 1
    return 3 / 16 * s**5 - 5 / 8 * s**3 + 15 / 16 * s + 0.5


def _integrate(galaxy: BarredPotential, x: Array, bar_fraction: float, time: float) -> Array:
    """Advance rows (n, 6) by ``time`` (Myr) in the rotating frame."""
    if time <= 0:
        return x
    hamiltonian = gala_hamiltonian(galaxy, bar_fraction)
    start = import_module("gala.dynamics").PhaseSpacePosition(pos=x[:, :3].T * u.kpc, vel=x[:, 3:].T * (u.km / u.s))
    steps = max(1, round(time / 10.0))  # only the first trial step: the integrator is adaptive
    orbit = hamiltonian.integrate_orbit(
        start,
        dt=time / steps * u.Myr,
        n_steps=steps,
        Integrator=import_module("gala.integrate").DOPRI853Integrator,
        Integrator_kwargs={"atol": TOLERANCE, "rtol": TOLERANCE},
        save_all=False,
    )
    pos = orbit.xyz.to_value(u.kpc).reshape(3, -1).T
    vel = orbit.v_xyz.to_value(u.km / u.s).reshape(3, -1).T
    return np.concatenate([pos, vel], axis=1)
