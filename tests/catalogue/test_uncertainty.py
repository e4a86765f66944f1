"""Errors in phase space: the Jacobian against finite differences of astropy, the covariance against drawing."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from deeppot_galactic.catalogue import Tracers, galactocentric
from deeppot_galactic.catalogue.uncertainty import PAIRS, Observations
from deeppot_galactic.errors import CatalogueError

from .tables import FIVE, gaia_table

FRAME = galactocentric()


def by_astropy(values: np.ndarray, by_parallax: bool, sky: str) -> np.ndarray:
    lon, lat, pm_lon, pm_lat = ("ra", "dec", "pm_ra_cosdec", "pm_dec") if sky == "icrs" else ("l", "b", "pm_l_cosb", "pm_b")
    moved = SkyCoord(
        **{lon: values[:, 0] * u.deg, lat: values[:, 1] * u.deg},
        distance=(1.0 / values[:, 2] if by_parallax else values[:, 2]) * u.kpc,
        **{pm_lon: values[:, 3] * u.mas / u.yr, pm_lat: values[:, 4] * u.mas / u.yr},
        radial_velocity=values[:, 5] * u.km / u.s,
        frame=sky,
    ).transform_to(FRAME)
    return np.concatenate([moved.cartesian.xyz.to_value(u.kpc).T, moved.velocity.d_xyz.to_value(u.km / u.s).T], axis=1)


@pytest.mark.parametrize("sky", ["icrs", "galactic"])
@pytest.mark.parametrize("by_parallax", [True, False])
def test_jacobian_against_differences_of_astropy(by_parallax: bool, sky: str) -> None:
    rng = np.random.default_rng(0)
    n = 50
    values = np.stack(
        [rng.uniform(0, 360, n), rng.uniform(-85, 85, n), rng.uniform(0.3, 3, n), *rng.normal(0, 6, (2, n)), rng.normal(0, 60, n)], axis=1
    )
    found = Observations(values, np.ones((n, 6)), None, sky, by_parallax).jacobian(FRAME)
    steps = np.array([1e-4, 1e-4, 1e-4, 1e-2, 1e-2, 1e-2])  # deg, deg, mas or kpc, mas/yr, mas/yr, km/s
    for k, step in enumerate(steps):
        shift = np.zeros((n, 6))
        # A change of ra* = ra cos(dec): the longitude itself moves by more.
        shift[:, k] = step / np.cos(np.radians(values[:, 1])) if k == 0 else step
        differences = (by_astropy(values + shift, by_parallax, sky) - by_astropy(values - shift, by_parallax, sky)) / (2.0 * step)
        if k < 2:
            differences /= 3.6e6  # per mas
        scale = np.abs(differences).max(axis=1, keepdims=True)
        assert np.abs(found[:, :, k] - differences).max() < 2e-6 * scale.max()


def test_covariance_against_drawing_by_hand() -> None:
    """All ten correlations: SkyCoord applied to NumPy's own multivariate normal, 200,000 draws of each of three stars."""
    table = gaia_table(3, relative_error=0.002)
    rng = np.random.default_rng(1)
    for first in range(5):
        for second in range(first + 1, 5):
            table[f"{FIVE[first]}_{FIVE[second]}_corr"] = rng.uniform(-0.35, 0.35, 3)
    tracers = Tracers.from_table(table)
    assert tracers.covariance is not None
    for star in range(3):
        sigma = np.array([table[f"{name}_error"][star] for name in (*FIVE, "radial_velocity")])
        correlation = np.eye(6)
        for i, j in PAIRS:
            correlation[i, j] = correlation[j, i] = table[f"{FIVE[i]}_{FIVE[j]}_corr"][star]
        noise = rng.multivariate_normal(np.zeros(6), correlation * np.outer(sigma, sigma), 200_000)
        values = np.array([float(table[name][star]) for name in (*FIVE, "radial_velocity")]) + np.zeros((200_000, 1))
        values[:, 0] += noise[:, 0] / 3.6e6 / np.cos(np.radians(values[:, 1]))
        values[:, 1] += noise[:, 1] / 3.6e6
        values[:, 2:] += noise[:, 2:]
        drawn = np.cov(by_astropy(values, True, "icrs").T)
        scale = np.sqrt(np.outer(np.diag(drawn), np.diag(drawn)))
        assert np.abs(tracers.covariance[star] - drawn).max() > 0.0
        assert (np.abs(tracers.covariance[star] - drawn) / scale).max() < 0.012


def test_correlations_matter() -> None:
    table = gaia_table(20)
    plain = table.copy()
    plain.remove_columns([name for name in table.colnames if name.endswith("_corr")])
    with_them, without = Tracers.from_table(table).covariance, Tracers.from_table(plain).covariance
    assert with_them is not None and without is not None
    assert np.abs(with_them - without).max() > 0.01 * np.abs(without).max()
    # The trace of the observables' covariance does not change; that of the positions hardly does (depth dominates).
    assert np.allclose(np.trace(with_them[:, :3, :3], axis1=1, axis2=2), np.trace(without[:, :3, :3], axis1=1, axis2=2), rtol=1e-6)


def test_monte_carlo_agrees_where_errors_are_small_and_not_where_large() -> None:
    small = Tracers.from_table(gaia_table(30, relative_error=0.01))
    assert small.observations is not None
    first, drawn = small.covariance, small.observations.covariance(FRAME, method="monte-carlo", n_draws=600)
    diagonal = np.arange(6)
    assert np.allclose(np.sqrt(drawn[:, diagonal, diagonal]), np.sqrt(first[:, diagonal, diagonal]), rtol=0.15)  # type: ignore[index]
    large = Tracers.from_table(gaia_table(30, relative_error=0.19))
    assert large.observations is not None and large.covariance is not None
    drawn = large.observations.covariance(FRAME, method="monte-carlo", n_draws=600)
    ratio = np.sqrt(np.trace(drawn[:, :3, :3], axis1=1, axis2=2) / np.trace(large.covariance[:, :3, :3], axis1=1, axis2=2))
    assert np.median(ratio) > 1.1  # 1/parallax has a long tail that the first order misses
    auto = large.observations.covariance(FRAME, method="auto", n_draws=600)
    assert np.array_equal(auto, drawn)
    assert np.array_equal(small.observations.covariance(FRAME, method="auto"), small.covariance)


def test_quantities() -> None:
    tracers = Tracers.from_table(gaia_table(10))
    place, mixed, motion = tracers.covariances()
    assert (place.unit, mixed.unit, motion.unit) == (u.kpc**2, u.kpc * u.km / u.s, u.km**2 / u.s**2)
    assert tracers.covariance is not None and np.array_equal(mixed.value, tracers.covariance[:, :3, 3:])
    error_x, error_v = tracers.errors
    assert np.allclose(error_x.value**2, np.diagonal(place.value, axis1=1, axis2=2)) and error_v.unit == u.km / u.s
    assert np.allclose(np.linalg.eigvalsh(tracers.covariance).min(), 0, atol=1e-9) or np.linalg.eigvalsh(tracers.covariance).min() > -1e-12
    with pytest.raises(CatalogueError, match="method must be"):
        tracers.covariances(method="guess")


def test_drawing_follows_the_covariance_and_keeps_the_rest() -> None:
    table = gaia_table(5, relative_error=0.01)
    table["radial_velocity_error"][2] = np.nan
    tracers = Tracers.from_table(table)
    draw = tracers.drawing()
    rng = np.random.default_rng(3)
    draws = np.stack([draw(rng) for _ in range(2000)])
    assert np.all(draws[:, 2] == draws[0, 2]) and np.allclose(draws[0, 2], tracers.phase_space[2])
    assert tracers.covariance is not None and np.isnan(tracers.covariance[2]).all()
    for star in (0, 1, 3, 4):
        sigma = np.sqrt(np.diag(tracers.covariance[star]))
        assert np.all(
            np.abs(draws[:, star].mean(0) - tracers.phase_space[star]) < 5 * sigma / np.sqrt(2000) + 2e-4 * np.abs(draws[0, star])
        )
        assert np.allclose(draws[:, star].std(0), sigma, rtol=0.08)
    once, again = tracers.redraw(7), tracers.redraw(7)
    assert np.array_equal(once.phase_space, again.phase_space) and not np.array_equal(once.phase_space, tracers.phase_space)
    assert once.meta["redrawn"] and len(once) == 5


def test_drawn_parallaxes_stay_positive() -> None:
    tracers = Tracers.from_table(gaia_table(200, relative_error=2.0), parallax_over_error_min=None)
    assert tracers.observations is not None
    draw = tracers.observations.drawing()
    rng = np.random.default_rng(0)
    depth = np.stack([draw(rng).values[:, 2] for _ in range(50)])
    assert depth.min() >= 0.01 and depth.std() > 0


def test_drawing_from_a_covariance() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(6, 6)) * 0.1
    cov = root @ root.T
    tracers = Tracers(np.zeros((20_000, 6)), covariance=np.broadcast_to(cov, (20_000, 6, 6)))
    drawn = tracers.drawing()(np.random.default_rng(6))
    assert np.allclose(np.cov(drawn.T), cov, atol=0.05 * np.abs(cov).max())
    with pytest.raises(CatalogueError, match="no errors"):
        Tracers(np.zeros((3, 6))).drawing()


def test_distance_errors() -> None:
    table = gaia_table(40)
    d = 1.0 / np.asarray(table["parallax"]) * 1000
    table["r_med_photogeo"], table["r_lo_photogeo"], table["r_hi_photogeo"] = d, 0.95 * d, 1.06 * d
    tracers = Tracers.from_table(table)
    assert tracers.observations is not None and not tracers.observations.by_parallax
    assert np.allclose(tracers.observations.errors[:, 2], 0.055 * d / 1000)
    assert tracers.observations.correlations is not None
    assert np.all(tracers.observations.correlations[:, [1, 4, 7, 8]] == 0) and np.any(tracers.observations.correlations[:, 0] != 0)
    place = tracers.errors[0].value
    assert np.allclose(np.linalg.norm(place, axis=1), 0.055 * d / 1000, rtol=1e-3)
