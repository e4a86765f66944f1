"""Growth, foreign patterns and slow change in the weak form: integrated out as a Gaussian should be, and seen where they are."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.potential.annuli import bar_radii
from deeppot_galactic.potential.basis import BallBasis, DiscBasis
from deeppot_galactic.potential.evolution import Evolution, Layout, weak_quadratic
from deeppot_galactic.potential.moments import N_FIELDS, WeakEquations

SPEED = 40.0


@pytest.fixture
def basis():
    return DiscBasis(r_max=8.0, z_max=1.0, n_radial=6, n_vertical=5, harmonics=(0, 2))


@pytest.fixture
def equations(basis):
    rng = np.random.default_rng(0)
    j, k = N_FIELDS * basis.size, 7
    root = rng.normal(size=(j, 2 * j)) / np.sqrt(2 * j) * rng.uniform(0.5, 2.0, j)[:, None]
    return WeakEquations(
        constant=rng.normal(size=j),
        rotation=rng.normal(size=j),
        response=rng.normal(size=(j, k)),
        covariance=root @ root.T,
        effective_stars=np.full(j, 1000.0),
        content=rng.normal(size=j),
        size=rng.uniform(1.0, 3.0, j),
    )


def test_marginalised_rates_are_extra_noise(basis, equations):
    """Integrating a rate out over a Gaussian prior is the same as adding the outer product of its column to the covariance."""
    layout, evolution = Layout.of(basis, (0.5, 3.0)), Evolution(inside=0.02, change=0.01)
    base = np.random.default_rng(1).normal(size=len(equations.constant))
    found = weak_quadratic(equations, base, layout=layout, evolution=evolution, speed=SPEED)
    scale2 = np.diag(equations.covariance) + (0.01 * SPEED * equations.size) ** 2
    covariance = equations.covariance + np.diag((0.01 * SPEED * equations.size) ** 2) + 1e-4 * np.diag(scale2)
    waves = layout.order > 0
    for k, inside in enumerate(basis.radii < 3.0):
        mine = waves & (layout.group == k)
        for column, width in ((equations.rotation, 0.02 if inside else 0.3), (equations.content, 0.05)):
            c = np.where(mine, column, 0.0) * width * SPEED
            covariance = covariance + np.outer(c, c)
    c = np.where(waves, equations.content, 0.0) * 0.1 * SPEED
    covariance = covariance + np.outer(c, c)
    a = np.concatenate([equations.rotation[:, None], equations.response], axis=1)
    y = equations.constant + base
    np.testing.assert_allclose(found.hessian, a.T @ np.linalg.solve(covariance, a), rtol=1e-6)
    np.testing.assert_allclose(found.slope, a.T @ np.linalg.solve(covariance, y), rtol=1e-6)
    assert found.constant == pytest.approx(y @ np.linalg.solve(covariance, y), rel=1e-6)
    assert found.log_norm == pytest.approx(-0.5 * np.linalg.slogdet(covariance)[1], rel=1e-6)


def test_without_a_disc_only_random_change_is_known():
    layout = Layout.of(BallBasis(center=(8.0, 0.0, 0.0), radius=2.0), (0.0, 3.0))
    assert not len(layout.in_bar)
    assert not layout.order.any()


def test_radii_of_the_splines_are_where_they_peak(basis):
    x = np.zeros((4000, 3))
    x[:, 0] = np.linspace(1e-3, 8.0, 4000)
    values = basis.evaluate(x, 0)[0]
    for k in range(1, basis.n_radial - 1):
        column = values[:, (basis.radial_of == k) & (basis.order_of == 0)].sum(axis=1)
        assert abs(x[np.argmax(column), 0] - basis.radii[k]) < 0.35 * basis.radii[k]


def test_the_bar_ends_where_another_pattern_begins():
    """A bar inside 3 kpc, and beyond 4.5 kpc a disc that is elongated across it."""
    rng = np.random.default_rng(2)
    bar = GaussianBar(lengths=(1.6, 0.9, 0.3), sigma=80.0, omega=40.0, angle=0.3).sample(60_000, rng)
    outer = GaussianBar(lengths=(5.0, 3.0, 0.3), sigma=80.0, omega=40.0, angle=0.3 + np.pi / 2).sample(120_000, rng)
    radius = np.hypot(bar[:, 0], bar[:, 1])
    far = np.hypot(outer[:, 0], outer[:, 1])
    stars = np.concatenate([bar[radius < 3.0], outer[far > 4.5]])
    found = bar_radii(stars, Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc))
    assert found is not None
    assert found[0] < 2.0
    assert 2.0 < found[1] < 5.5
    turned = rng.uniform(0.0, 2.0 * np.pi, len(stars))
    circle = np.stack([np.cos(turned), np.sin(turned)], axis=1) * np.hypot(stars[:, 0], stars[:, 1])[:, None]
    stars[:, :2] = circle
    assert bar_radii(stars, Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)) is None
