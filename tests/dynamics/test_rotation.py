"""Rotation curves from the potential and from stars, K_z, escape speed, and the comparison with Milky Way models."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import Table
from interop_models import barred_galaxy

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.dynamics.comparison import compare
from deeppot_galactic.dynamics.rotation import asymmetric_drift, escape_speed, rotation_curve, vertical_force
from deeppot_galactic.errors import DeepPotError
from deeppot_galactic.potential.analytic import Plummer
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.units import G

KMS = u.km / u.s


@pytest.fixture(scope="module")
def sphere():
    model = Plummer(1e11, 5.0)
    return GlobalPotential(model, Cylinder(r_out=12 * u.kpc, half_height=3 * u.kpc), outer=model)


def isotropic_plummer(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stars of an isotropic Plummer sphere by rejection (Aarseth, Henon & Wielen 1974)."""
    rng = np.random.default_rng(seed)
    radius = 5.0 / np.sqrt(rng.random(n) ** (-2 / 3) - 1)
    unit = rng.normal(size=(2, n, 3))
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    q = np.empty(n)
    todo = np.arange(n)
    while len(todo):
        trial, y = rng.random(len(todo)), 0.1 * rng.random(len(todo))
        good = y < trial**2 * (1 - trial**2) ** 3.5
        q[todo[good]] = trial[good]
        todo = todo[~good]
    speed = q * np.sqrt(2 * G * 1e11 / np.sqrt(radius**2 + 25.0))
    return unit[0] * radius[:, None], unit[1] * speed[:, None]


def test_asymmetric_drift_recovers_the_curve_of_a_plummer_sphere(sphere):
    # not rotating at all: the whole curve comes from the drift terms
    x, v = isotropic_plummer(600_000)
    edges = np.linspace(2.5, 9, 14) * u.kpc
    table = asymmetric_drift(x * u.kpc, v * KMS, edges, z_max=0.4 * u.kpc, degree=3, potential=sphere)
    radius = table["R"].to_value(u.kpc)
    expected = np.sqrt(G * 1e11 * radius**2 / (radius**2 + 25) ** 1.5) * KMS
    np.testing.assert_allclose(table["vc_potential"], expected)
    pull = ((table["vc"] - expected) / table["vc_error"]).value
    assert np.abs(table["vc"] / expected - 1).max() < 0.08
    assert np.median(np.abs(pull)) < 2.5
    assert np.abs(table["v_phi"]).max() < 5 * KMS
    with pytest.raises(DeepPotError, match="widen the annuli"):
        asymmetric_drift(x[:50] * u.kpc, v[:50] * KMS, edges)


def test_curves_of_a_known_potential(sphere):
    r = np.array([1.0, 4.0, 8.0])
    square = G * 1e11 * r**2 / (r**2 + 25) ** 1.5
    np.testing.assert_allclose(rotation_curve(sphere, r * u.kpc).to_value(KMS), np.sqrt(square))
    force = vertical_force(sphere, r * u.kpc, 1.1 * u.kpc)
    np.testing.assert_allclose(force.value, -G * 1e11 * 1.1 / (r**2 + 1.21 + 25) ** 1.5)
    np.testing.assert_allclose(escape_speed(sphere, r * u.kpc).to_value(KMS), np.sqrt(2 * G * 1e11 / np.sqrt(r**2 + 25)))


def test_comparison_table(sphere):
    pytest.importorskip("galpy")
    pytest.importorskip("gala")
    radii = np.array([4.0, 8.0, 12.0]) * u.kpc
    published = Table({"R": [2.0, 20.0], "vc": [220.0, 238.0], "vc_error": [2.0, 2.0]})
    table = compare(barred_galaxy(), radii, models=["MWPotential2014", "MilkyWayPotential2022"], published=published)
    assert table["vc_MWPotential2014"][1].to_value(KMS) == pytest.approx(220, rel=1e-6)
    assert table["vc_MilkyWayPotential2022"][1].to_value(KMS) == pytest.approx(230, abs=6)
    assert table["vc_published"][1].to_value(KMS) == pytest.approx(226)
    np.testing.assert_allclose(table["vc_learned"], rotation_curve(barred_galaxy(), radii))
    assert table.meta["published"] == {"R": [2.0, 20.0], "vc": [220.0, 238.0], "vc_error": [2.0, 2.0]}
    for name in ("learned", "MWPotential2014", "MilkyWayPotential2022"):
        # the literature's K_z at 1.1 kpc near the Sun is about 2 pi G 70 Msun/pc^2
        assert -2800 < table[f"Kz_{name}"][1].value < -1200
        assert 3e7 < table[f"rho_{name}"][1].to_value(u.Msun / u.kpc**3) < 2e8
        assert 400 < table[f"vesc_{name}"][1].to_value(KMS) < 700
    with pytest.raises(DeepPotError, match="unknown model 'Mars'"):
        compare(sphere, radii, models=["Mars"])
    with pytest.raises(DeepPotError, match="lacks vc"):
        compare(sphere, radii, models=[], published=Table({"R": [1.0]}))


def test_mcmillan_where_agama_is_installed(sphere):
    pytest.importorskip("agama")
    table = compare(sphere, [8.0] * u.kpc, models=["McMillan17"])
    assert table["vc_McMillan17"][0].to_value(KMS) == pytest.approx(233, abs=5)
