"""The way to the sky and back."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from deeppot_galactic.catalogue import Tracers
from deeppot_galactic.catalogue.frames import galactocentric, resolve_frame
from deeppot_galactic.errors import CatalogueError
from deeppot_galactic.mocks import StaeckelDisc, as_milky_way, observe
from deeppot_galactic.mocks.base import rotate
from deeppot_galactic.mocks.observe import ASTROMETRY, correlations, parallax_error, velocity_error


@pytest.fixture(scope="module")
def stars() -> Tracers:
    return as_milky_way(StaeckelDisc().tracers(4000, seed=1))


def test_exact_round_trip(stars):
    frame = galactocentric(galcen_distance=8.2 * u.kpc, z_sun=15 * u.pc)
    back = Tracers.from_table(observe(stars, frame, errors="none"), frame=frame)
    assert len(back) == len(stars)
    assert np.max(np.abs(back.phase_space - stars.phase_space)) < 1e-10


def test_exact_values_against_astropy(stars):
    table = observe(stars, errors="none")
    sky = SkyCoord(
        ra=table["ra"],
        dec=table["dec"],
        distance=u.Quantity(1 / np.asarray(table["parallax"]), u.kpc),
        pm_ra_cosdec=table["pmra"],
        pm_dec=table["pmdec"],
        radial_velocity=table["radial_velocity"],
    ).transform_to(resolve_frame(None))
    assert np.max(np.abs(sky.cartesian.xyz.to_value(u.kpc).T - stars.phase_space[:, :3])) < 1e-10
    assert np.max(np.abs(sky.velocity.d_xyz.to_value(u.km / u.s).T - stars.phase_space[:, 3:])) < 1e-9


def test_errors_are_drawn_from_the_covariance_in_the_table(stars):
    exact, noisy = observe(stars, errors="none"), observe(stars, seed=3)
    sigma = np.stack([np.asarray(noisy[f"{name}_error"]) for name in ASTROMETRY], axis=1)
    difference = np.stack([np.asarray(noisy[name]) - np.asarray(exact[name]) for name in ASTROMETRY], axis=1)
    difference[:, 0] = (difference[:, 0] + 180) % 360 - 180
    difference[:, 0] *= np.cos(np.deg2rad(np.asarray(exact["dec"]))) * 3.6e6
    difference[:, 1] *= 3.6e6
    pull = difference / sigma
    assert np.allclose(pull.mean(axis=0), 0, atol=0.08)
    assert np.allclose(pull.std(axis=0), 1, atol=0.05)
    for i in range(5):
        for j in range(i + 1, 5):
            rho = np.asarray(noisy[f"{ASTROMETRY[i]}_{ASTROMETRY[j]}_corr"])
            # the product of pulls follows the tabulated correlation star by star: slope one
            slope = np.sum(rho * pull[:, i] * pull[:, j]) / np.sum(rho**2)
            assert slope == pytest.approx(1.0, abs=0.4)
    velocity = (noisy["radial_velocity"] - exact["radial_velocity"]) / noisy["radial_velocity_error"]
    assert np.nanstd(velocity) == pytest.approx(1.0, abs=0.05)


def test_table_looks_like_gaia_source(stars):
    table = observe(stars)
    units = {
        "ra": u.deg,
        "ra_error": u.mas,
        "parallax": u.mas,
        "pmra": u.mas / u.yr,
        "pmdec_error": u.mas / u.yr,
        "radial_velocity": u.km / u.s,
    }
    for name, unit in units.items():
        assert table[name].unit == unit
    assert sum(name.endswith("_corr") for name in table.colnames) == 10
    assert len(np.unique(table["source_id"])) == len(table)
    lost = np.isnan(table["radial_velocity"])
    assert np.array_equal(lost, np.asarray(table["phot_g_mean_mag"]) > 15.0)
    read = Tracers.from_table(table[~lost & (table["parallax"] > 0.05)], frame=resolve_frame(None))
    assert read.covariance is not None or len(read) > 0


def test_error_levels_are_those_published():
    assert parallax_error(np.array([10.0, 15.0, 20.0])) == pytest.approx([0.0137, 0.0295, 0.575], rel=0.1)
    assert velocity_error(np.array([5.0, 12.0, 14.0])) == pytest.approx([0.12, 1.3, 6.4], rel=0.05)


def test_correlations_are_proper():
    g = np.repeat([15.0, 21.0], 4000)
    matrix = correlations(g, np.random.default_rng(0))
    assert np.allclose(np.einsum("nii->ni", matrix), 1)
    assert np.linalg.eigvalsh(matrix).min() > 0
    upper = matrix[:, *np.triu_indices(5, 1)]
    assert upper[:4000].std() == pytest.approx(0.2, rel=0.05)
    assert upper[4000:].std() == pytest.approx(0.3, rel=0.05)


def test_seeds(stars):
    assert np.array_equal(observe(stars, seed=1)["parallax"], observe(stars, seed=1)["parallax"])
    assert not np.array_equal(observe(stars, seed=1)["parallax"], observe(stars, seed=2)["parallax"])


def test_milky_way_orientation():
    along = np.array([[3.0, 0.0, 0.1, 0.0, 200.0, 5.0]])  # a star at the bar's end, counter-clockwise
    tracers = Tracers(rotate(along, 0.7), meta={"omega_km_s_kpc": 39.0})
    turned = as_milky_way(tracers, bar_angle=0.7 * u.rad, sun_angle=25 * u.deg)
    x = turned.phase_space[0]
    assert np.hypot(x[0], x[1]) == pytest.approx(3.0)
    assert x[0] * x[4] - x[1] * x[3] == pytest.approx(-600.0)
    assert np.rad2deg(np.arctan2(x[1], x[0])) == pytest.approx(155.0)  # 25 degrees from the Sun, towards positive longitudes
    assert turned.meta["omega_km_s_kpc"] == -39.0
    table = observe(turned, errors="none")
    longitude = SkyCoord(ra=table["ra"], dec=table["dec"]).galactic.l.wrap_at(180 * u.deg).deg[0]
    assert 5 < longitude < 30


def test_unknown_errors_are_refused(stars):
    with pytest.raises(CatalogueError, match="gaia-dr9"):
        observe(stars, errors="gaia-dr9")
