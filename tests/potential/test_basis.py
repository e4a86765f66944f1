"""Bases: derivatives against finite differences, Laplacian against the trace, smoothness on the axis, storage."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.potential.analytic import MiyamotoNagai
from deeppot_galactic.potential.basis import BallBasis, DiscBasis, LinearPotential, basis_for, basis_from_dict

BASES = {
    "disc": DiscBasis(r_max=10.0, z_max=2.0, n_radial=7, n_vertical=5),
    "ball": BallBasis(center=(6.0, 2.0, 0.0), radius=3.0, degree=4),
    "ball off the plane": BallBasis(center=(6.0, 2.0, 1.0), radius=3.0, degree=3, lowest=0),
}


@pytest.fixture(params=BASES)
def basis(request):
    return BASES[request.param]


def points(basis, n=40):
    rng = np.random.default_rng(0)
    if isinstance(basis, DiscBasis):
        return rng.uniform([-6, -6, -1.5], [6, 6, 1.5], (n, 3))
    return basis.center + rng.uniform(-1.5, 1.5, (n, 3))


def test_derivatives_are_those_of_the_values(basis):
    x = points(basis)
    value, gradient, hessian = basis.evaluate(x, 2)
    h = 1e-5
    for axis in range(3):
        step = np.eye(3)[axis] * h
        up, down = basis.evaluate(x + step, 1), basis.evaluate(x - step, 1)
        np.testing.assert_allclose((up[0] - down[0]) / (2 * h), gradient[:, :, axis], atol=1e-7 * np.abs(gradient).max())
        np.testing.assert_allclose((up[1] - down[1]) / (2 * h), hessian[:, :, :, axis], atol=2e-6 * np.abs(hessian).max())
    np.testing.assert_allclose(basis.laplacian(x), np.einsum("nkii->nk", hessian), atol=1e-9 * np.abs(hessian).max())
    assert value.shape == (len(x), basis.size)


def test_disc_functions_are_smooth_across_the_axis():
    basis = BASES["disc"]
    line = np.stack([np.linspace(-0.02, 0.02, 9), np.zeros(9), np.full(9, 0.1)], axis=1)
    gradient = basis.evaluate(line, 1)[1][:, :, 0]
    # A cusp at R = 0 would make a jump in the gradient: second differences as large as the first ones.
    assert np.abs(np.diff(gradient, 2, axis=0)).max() < 0.01 * np.abs(np.diff(gradient, axis=0)).max()


def test_storage_and_choice_for_a_volume(basis):
    same = basis_from_dict(basis.to_dict(), basis.size)
    x = points(basis)
    np.testing.assert_array_equal(same.evaluate(x, 0)[0], basis.evaluate(x, 0)[0])
    assert isinstance(basis_for(Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)), DiscBasis)
    assert isinstance(basis_for(Ball([8, 0, 0] * u.kpc, 2 * u.kpc)), BallBasis)


def test_linear_potential_adds_the_base_and_round_trips(basis):
    base = MiyamotoNagai(5e10, 3.0, 0.3)
    c = np.random.default_rng(1).normal(size=basis.size)
    potential = LinearPotential(base, basis, c)
    x = points(basis)
    phi, gradient, hessian = potential.evaluate(x, 2)
    np.testing.assert_allclose(phi, base.evaluate(x, 0)[0] + basis.evaluate(x, 0)[0] @ c)
    np.testing.assert_allclose(hessian, base.evaluate(x, 2)[2] + np.einsum("nkij,k->nij", basis.evaluate(x, 2)[2], c))
    again = LinearPotential.from_arrays(*potential.to_arrays())
    np.testing.assert_array_equal(again.evaluate(x, 1)[1], gradient)
