"""Errors from the posterior against draws from it; dark matter and smoothed densities against closed forms."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.errors import FitError, UnitsError
from deeppot_galactic.potential.analytic import NFW, MiyamotoNagai, Sum
from deeppot_galactic.potential.basis import DiscBasis, LinearPotential
from deeppot_galactic.potential.frame import RotatingFrame
from deeppot_galactic.potential.matter import dark_matter_density, dark_matter_profile, smoothed_density, smoothed_density_error
from deeppot_galactic.potential.model import PotentialModel
from deeppot_galactic.potential.posterior import PotentialPosterior
from deeppot_galactic.units import G

DISC, HALO = MiyamotoNagai(6e10, 3.0, 0.3), NFW(5e11, 16.0)
VOLUME = Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
BASIS = DiscBasis(r_max=12.0, z_max=2.0, n_radial=6, n_vertical=5, harmonics=(0, 2))


def density(model, pos):
    return np.einsum("nii->n", model.evaluate(pos.to_value(u.kpc), 2)[2]) / (4 * np.pi * G) * u.Msun / u.kpc**3


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(BASIS.size, BASIS.size)) * 30.0
    inner = LinearPotential(Sum([DISC, HALO]), BASIS, np.zeros(BASIS.size))
    frame = RotatingFrame(omega=40.0 * u.km / u.s / u.kpc)
    return PotentialModel(inner, VOLUME, frame, omega_error=np.full(3, 1.0), posterior=PotentialPosterior(BASIS, root @ root.T))


def test_errors_are_those_of_draws_from_the_posterior(model):
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal(np.zeros(BASIS.size), model.posterior.covariance, size=4000)
    x = VOLUME.sample(5, rng)
    _, gradient, hessian = BASIS.evaluate(x, 2)
    forces = np.einsum("nki,dk->dni", gradient, draws)
    densities = np.einsum("nkii,dk->dn", hessian, draws) / (4 * np.pi * G)
    np.testing.assert_allclose(model.acceleration_error(x * u.kpc).value, forces.std(axis=0), rtol=0.06, atol=1e-6)
    np.testing.assert_allclose(model.density_error(x * u.kpc).value, densities.std(axis=0), rtol=0.06)
    assert model.posterior.mean_density_error(x) == pytest.approx(densities.mean(axis=1).std(), rel=0.06)
    assert np.isnan(model.acceleration_error([[20.0, 0.0, 0.0]] * u.kpc)).all()


def test_the_posterior_is_saved_with_the_model(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    again = PotentialModel.load(tmp_path / "m.safetensors")
    x = [[8.0, 0.0, 0.1], [3.0, 1.0, 0.5]] * u.kpc
    np.testing.assert_array_equal(again.acceleration_error(x), model.acceleration_error(x))


def test_a_model_without_posterior_says_what_to_do(model):
    bare = PotentialModel(model.inner, VOLUME, model.frame, omega_error=np.full(3, 1.0))
    with pytest.raises(FitError, match="fit_ensemble"):
        bare.density_error([[8.0, 0.0, 0.0]] * u.kpc)


def test_dark_matter_is_what_the_stars_leave(model):
    x = np.array([[4.0, 1.0, 0.3], [8.0, 0.0, 1.0]]) * u.kpc
    dark = dark_matter_density(model, x, lambda pos: density(DISC, pos))
    np.testing.assert_allclose(dark.value, density(HALO, x).value, rtol=1e-6)
    table = dark_matter_profile(model, [2, 4, 8] * u.kpc, stars=lambda pos: density(DISC, pos), n=4000)
    for row in table:
        r = np.linspace(row["r_lo"].value, row["r_hi"].value, 2001)[1:-1]
        weight = r**2 * np.minimum(1.0, 2.0 / r)  # the part of a sphere with |z| < 2 kpc
        halo = density(HALO, np.stack([r, 0 * r, 0 * r], axis=1) * u.kpc).value
        assert row["dark"].value == pytest.approx(np.sum(weight * halo) / np.sum(weight), rel=0.02)
        assert row["dark_error"].value > 0.0
    assert np.isnan(dark_matter_profile(model, [30, 40] * u.kpc)["total"]).all()
    with pytest.raises(UnitsError, match="increasing"):
        dark_matter_profile(model, [4, 2] * u.kpc)
    with pytest.raises(UnitsError, match="stellar density"):
        dark_matter_density(model, x, lambda pos: np.ones(len(pos)))
    one = dark_matter_density(model, x[0], lambda pos: density(DISC, pos))
    np.testing.assert_allclose(one.value, dark.value[:1])


def test_smoothing_a_density_changes_it_by_its_curvature(model):
    x, width = np.array([[7.0, 0.0, 0.8]]), 0.15
    around = np.concatenate([np.eye(3), -np.eye(3)]) * 0.05
    values = density(Sum([DISC, HALO]), (x + around) * u.kpc).value
    middle = density(Sum([DISC, HALO]), x * u.kpc).value[0]
    laplacian = np.sum(values - middle) / 0.05**2
    found = smoothed_density(model, x * u.kpc, width=width * u.kpc, n=20000).value[0]
    assert found == pytest.approx(middle + 0.5 * width**2 * laplacian, rel=0.01)
    assert abs(found / middle - 1.0) > 0.03
    assert np.isnan(smoothed_density(model, [[40.0, 0.0, 0.0]] * u.kpc, width=width * u.kpc)).all()


def test_the_error_of_a_smoothed_density_is_that_of_draws_from_the_posterior(model):
    """With the correlations between the points of the kernel: less than the error at a point, more than independent points would have."""
    rng = np.random.default_rng(1)
    draws = rng.multivariate_normal(np.zeros(BASIS.size), model.posterior.covariance, size=400)
    pos, options = [[7.0, 1.0, 0.4], [11.9, 0.0, 0.0], [40.0, 0.0, 0.0]] * u.kpc, {"width": [0.3, 0.3, 0.2] * u.kpc, "n": 20}
    values = []
    for draw in draws:
        inner = LinearPotential(model.inner.base, BASIS, draw)
        drawn = PotentialModel(inner, VOLUME, model.frame, omega_error=np.full(3, 1.0), global_potential=_Everywhere(inner))
        values.append(smoothed_density(drawn, pos, **options).value)
    error = smoothed_density_error(model, pos, **options)
    assert error.unit == u.Msun / u.kpc**3
    np.testing.assert_allclose(error.value[:2], np.std(values, axis=0)[:2], rtol=0.12)
    assert np.isnan(error[2])
    point = model.density_error(pos[:1])[0]
    assert point / np.sqrt(20) < error[0] < point
    bare = PotentialModel(model.inner, VOLUME, model.frame, omega_error=np.full(3, 1.0))
    with pytest.raises(FitError, match="fit_ensemble"):
        smoothed_density_error(bare, pos, **options)


class _Everywhere:
    """A potential without its continuation."""

    def __init__(self, inner):
        self.inner = inner

    def density(self, x):
        return np.einsum("nii->n", self.inner.evaluate(x, 2)[2]) / (4 * np.pi * G)

    def in_training_volume(self, x):
        return VOLUME.contains(x)


def test_a_variance_that_rounding_took_below_zero_is_none():
    x = np.array([[8.0, 0.0, 0.0], [3.0, 1.0, 0.5]])
    posterior = PotentialPosterior(BASIS, -1e-20 * np.eye(BASIS.size))
    for error in (posterior.gradient_error(x), posterior.density_error(x), posterior.mean_density_error(x)):
        assert np.all(error == 0.0)
