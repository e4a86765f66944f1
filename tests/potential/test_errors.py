"""Known errors taken out of the pattern speed and of the weak form, on bars whose Omega is exact."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic import pattern_speed
from deeppot_galactic.catalogue import Ball, Cylinder, Tracers, Volume, demo_path, read_tracers
from deeppot_galactic.catalogue.copies import error_copies
from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.errors import CatalogueError, ConfigError
from deeppot_galactic.mocks import GaussianBar
from deeppot_galactic.potential.moments import WeakForm

OMEGA = 40.0
DISC = Cylinder(r_out=7.0 * u.kpc, half_height=3.0 * u.kpc)
BALL = Ball([1.0, 0.0, 0.0] * u.kpc, 3.5 * u.kpc)


@pytest.fixture(scope="module")
def stars() -> tuple[Tracers, Tracers]:
    """A bar with errors along y and, fully correlated with them, in vx, as distances give both; and the same without."""
    rng = np.random.default_rng(1)
    true = GaussianBar(omega=OMEGA).sample(60_000, rng)
    sigma = rng.uniform(0.2, 0.6, len(true))
    direction = np.array([0.0, 1.0, 0.0, 60.0, 0.0, 0.0])
    covariance = np.outer(direction, direction) * sigma[:, None, None] ** 2
    noise = (sigma * rng.standard_normal(len(true)))[:, None] * direction
    return Tracers(true + noise, covariance=covariance), Tracers(true)


@pytest.mark.parametrize("volume", [DISC, BALL], ids=["disc", "ball"])
def test_the_bias_of_omega_is_removed(volume: Volume, stars: tuple[Tracers, Tracers]) -> None:
    noisy, clean = stars
    exact = pattern_speed(clean, volume, n_bootstrap=20)
    biased = pattern_speed(noisy, volume, n_bootstrap=20)
    corrected = pattern_speed(noisy, volume, errors="correct", n_bootstrap=20)
    assert exact.detected and corrected.detected
    off = abs(float(biased.value.value) - float(exact.value.value))
    left = abs(float(corrected.value.value) - float(exact.value.value))
    assert off > 3.0 and left < 0.4 * off, (off, left)
    assert abs(float(corrected.value.value) - OMEGA) < 3.0 * float(corrected.error.value) + 1.0
    assert float(exact.statistical.value) < float(corrected.statistical.value) < 6.0 * float(exact.statistical.value)


def test_copies_without_errors_change_nothing(stars: tuple[Tracers, Tracers]) -> None:
    _, clean = stars
    few = clean.select(np.arange(3000))
    still = Tracers(few.phase_space, covariance=np.zeros((3000, 6, 6)))
    plain, copied = (WeakForm(few.phase_space, BALL, copies=c) for c in (None, error_copies(still)))
    basis = plain.basis
    one, two = plain.equations(basis), copied.equations(basis)
    for name in ("constant", "rotation", "response", "covariance"):
        a, b = getattr(one, name), getattr(two, name)
        assert np.allclose(a, b, rtol=1e-9, atol=1e-9 * np.abs(a).max()), name


def test_refusals(stars: tuple[Tracers, Tracers]) -> None:
    with pytest.raises(ConfigError, match="errors must be"):
        pattern_speed(stars[0], DISC, errors="inject")
    with pytest.raises(CatalogueError, match="no errors"):
        pattern_speed(stars[1], DISC, errors="correct")


def test_a_catalogue_that_ends_inside_the_volume_needs_its_mask() -> None:
    """The shipped N-body bar, of which only the stars within 6 kpc of a point 4 kpc from the centre are known."""
    disc = Cylinder(r_out=7.0 * u.kpc, half_height=2.0 * u.kpc)
    sun = {"name": "v4.0", "galcen_distance": "4 kpc", "z_sun": "0 pc"}
    limit = SelectionFunction.from_distance_limit(np.full(12, 6.0) * u.kpc, frame=sun, taper=0.5)
    near = read_tracers(demo_path()).weighted(limit)
    cut, masked = pattern_speed(near, disc, n_bootstrap=10), pattern_speed(near, disc.masked(Mask(limit)), n_bootstrap=10)
    assert masked.detected and abs(float(masked.value.value) - 14.6) < 3.0 < 3.0 * float(masked.error.value)
    assert abs(float(cut.value.value) - 14.6) > 3.0 * float(cut.error.value) + 3.0
