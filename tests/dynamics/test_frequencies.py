"""Orbital frequencies, resonance fractions and surfaces of section."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from interop_models import BAR_ANGLE, barred_galaxy

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.dynamics.classification import classify_stars
from deeppot_galactic.dynamics.frequencies import orbital_frequencies, resonance_fractions, resonance_ratio, surface_of_section
from deeppot_galactic.dynamics.lagrange import lagrange_points
from deeppot_galactic.dynamics.orbits import integrate_orbits
from deeppot_galactic.dynamics.resonances import circular_frequencies, resonances
from deeppot_galactic.errors import DeepPotError
from deeppot_galactic.interop import compile_potential
from deeppot_galactic.potential.analytic import MiyamotoNagai, Plummer
from deeppot_galactic.potential.blended import GlobalPotential

pytest.importorskip("naif")
KMS = u.km / u.s


@pytest.fixture(scope="module")
def disc():
    model = MiyamotoNagai(6e10, 3.0, 0.3) + Plummer(2e11, 12.0)
    return GlobalPotential(model, Cylinder(r_out=15 * u.kpc, half_height=2 * u.kpc), omega=(0, 0, 30.0), outer=model)


def nearly_circular(potential, radii, kick=3.0):
    rates = circular_frequencies(potential, radii)[0]
    pos = np.column_stack([radii, 0 * radii, 0 * radii + 1e-3])
    vel = np.column_stack([0 * radii + kick, rates * radii, 0 * radii + 1.0])
    return pos * u.kpc, vel * KMS


def test_epicycle_frequencies_come_out(disc):
    radii = np.array([4.0, 7.0, 10.0])
    orbits = integrate_orbits(disc, *nearly_circular(disc, radii), np.linspace(0, 3, 1024) * u.Gyr)
    got = orbital_frequencies(orbits).value
    expected = np.column_stack([(circular_frequencies(disc, radii))[i] for i in (1, 0, 2)])
    np.testing.assert_allclose(got, expected, rtol=3e-3)
    backwards = integrate_orbits(disc, nearly_circular(disc, radii)[0], nearly_circular(disc, radii)[1] * [1, -1, 1], orbits.time)
    assert np.all(orbital_frequencies(backwards)[:, 1] < 0)
    with pytest.raises(DeepPotError, match="equidistant"):
        orbital_frequencies(integrate_orbits(disc, *nearly_circular(disc, radii), [0, 1] * u.Gyr))


def test_stars_at_the_resonant_radii_have_resonant_ratios(disc):
    found = {r.name: r.radius for r in resonances(disc)}
    names = ["CR", "OLR2", "ILR4", "OLR4"]
    radii = np.array([found[name] for name in names])
    orbits = integrate_orbits(disc, *nearly_circular(disc, radii), np.linspace(0, 3, 512) * u.Gyr)
    ratio = resonance_ratio(orbits)
    np.testing.assert_allclose(ratio, [0, -0.5, 0.25, -0.25], atol=0.01)
    table = resonance_fractions(ratio)
    assert dict(zip(table["name"], table["fraction"], strict=True)) == {"CR": 0.25, "ILR2": 0, "OLR2": 0.25, "ILR4": 0.25, "OLR4": 0.25}
    weighted = resonance_fractions(ratio, weights=[3.0, 1, 1, 1])
    assert weighted["fraction"][0] == pytest.approx(0.5)


def test_classifying_a_catalogue(disc):
    found = {r.name: r.radius for r in resonances(disc)}
    names = ["CR", "OLR2", "ILR4", "OLR4", ""]
    pos, vel = nearly_circular(disc, np.array([*(found[name] for name in names[:4]), 3.0]))
    stars, fractions = classify_stars(disc, pos, vel, duration=2 * u.Gyr, samples=256)
    assert stars["resonance"].tolist() == names and stars["index"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(stars["ratio"][:4], [0, -0.5, 0.25, -0.25], atol=0.01)
    np.testing.assert_allclose(stars["Omega_R"][:4].value, circular_frequencies(disc, [found[name] for name in names[:4]])[1], rtol=0.01)
    assert fractions["fraction"].sum() == pytest.approx(0.8) and not stars["left_volume"][0]
    drawn, _ = classify_stars(disc, pos, vel, duration=1 * u.Gyr, samples=64, limit=2, seed=1)
    again, _ = classify_stars(disc, pos, vel, duration=1 * u.Gyr, samples=64, limit=2, seed=1)
    assert len(set(drawn["index"])) == 2 and drawn["index"].tolist() == again["index"].tolist()
    _, weighted = classify_stars(disc, pos, vel, duration=2 * u.Gyr, samples=256, weights=[6.0, 1, 1, 1, 1])
    assert weighted["fraction"][0] == pytest.approx(0.6)
    # far out the disc is extrapolated, and the table says so
    far, _ = classify_stars(disc, *nearly_circular(disc, np.array([20.0])), duration=1 * u.Gyr, samples=64)
    assert far["left_volume"].all()
    with pytest.raises(DeepPotError, match="limit must be a whole number of at least 1"):
        classify_stars(disc, pos, vel, limit=0)
    with pytest.raises(DeepPotError, match="no stars"):
        classify_stars(disc, pos[:0], vel[:0])
    still = GlobalPotential(disc.inner, disc.volume, outer=disc.outer, constant=disc.constant)
    with pytest.raises(DeepPotError, match="no pattern speed"):
        classify_stars(still, pos, vel, duration=1 * u.Gyr, samples=64)


def test_surface_of_section():
    galaxy = compile_potential(barred_galaxy())
    points = {p.name: p for p in lagrange_points(galaxy, bar_angle=BAR_ANGLE)}
    c, s = np.cos(BAR_ANGLE), np.sin(BAR_ANGLE)
    pos = np.array([[1.5 * c, 1.5 * s, 0.0]])
    vel = np.cross(galaxy.omega, pos) + 120.0 * np.array([[-s, c, 0]])
    orbits = integrate_orbits(galaxy, pos * u.kpc, vel * KMS, np.arange(0, 1000, 2.0) * u.Myr)
    star, x, v_x = surface_of_section(orbits, bar_angle=BAR_ANGLE)
    assert len(x) > 8 and set(star) == {0}
    assert np.all(np.abs(x.to_value(u.kpc)) < points["L1"].radius)
    # the crossings lie on one curve of constant Jacobi energy: v_y from it must be real and upwards
    place = x.to_value(u.kpc)[:, None] * np.array([c, s, 0.0])
    phi = galaxy.potential(place) - 0.5 * (galaxy.omega[2] * x.value) ** 2
    square = 2 * (orbits.jacobi[0, 0].value - phi) - v_x.value**2
    assert np.all(square > 0)
    # denser output finds the same crossings
    finer = integrate_orbits(galaxy, pos * u.kpc, vel * KMS, np.arange(0, 300, 0.5) * u.Myr)
    fine = surface_of_section(finer, bar_angle=BAR_ANGLE)[1]
    np.testing.assert_allclose(x[: len(fine)].value[:4], fine.value[:4], atol=1e-3)
