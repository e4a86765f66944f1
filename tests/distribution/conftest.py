"""Catalogues with exact scores, made once for all tests of the distribution function."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.mocks.plummer import Plummer

SMALL = {"steps": 150, "batch": 512, "width": 48}
"""A training of a few seconds that still resolves the bar."""


def disc_stars(n: int, seed: int = 0) -> np.ndarray:
    """A simple rotating disc, exponential in R and Gaussian in z and v."""
    rng = np.random.default_rng(seed)
    radius = rng.gamma(2.0, 2.5, n)
    phi = rng.uniform(0, 2 * np.pi, n)
    z = rng.normal(0.0, 0.2 + 0.02 * radius)
    v_r = rng.normal(0.0, 80 * np.exp(-radius / 10))
    v_phi = 220 * radius / np.hypot(radius, 1.5) + rng.normal(0.0, 60 * np.exp(-radius / 10))
    v_z = rng.normal(0.0, 50 * np.exp(-radius / 10))
    c, s = np.cos(phi), np.sin(phi)
    return np.stack([radius * c, radius * s, z, v_r * c - v_phi * s, v_r * s + v_phi * c, v_z], 1)


@pytest.fixture(scope="session")
def bar():
    """A rotating Gaussian bar, 10,000 stars and the quick fit to them."""
    mock = GaussianBar(lengths=(2.0, 1.2, 0.5), sigma=100.0, omega=40.0, angle=0.4)
    tracers = Tracers(mock.sample(10_000, np.random.default_rng(1)))
    volume = Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc)
    return mock, tracers, volume, fit_distribution(tracers, volume, preset="quick", seed=1, **SMALL)


@pytest.fixture(scope="session")
def plummer():
    """A Plummer sphere in a ball around its centre, 10,000 stars and the quick fit to them."""
    mock = Plummer()
    tracers = Tracers(mock.sample(10_000, np.random.default_rng(2)))
    volume = Ball(np.zeros(3) * u.kpc, 4 * u.kpc)
    return mock, tracers, volume, fit_distribution(tracers, volume, preset="quick", seed=1, **SMALL)
