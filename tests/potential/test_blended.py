"""The global potential: exact in the core, smooth through the blend, decaying outside."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.errors import FitError
from deeppot_galactic.potential.analytic import NFW, LongMurali, MiyamotoNagai, Plummer
from deeppot_galactic.potential.blended import GlobalPotential
from deeppot_galactic.potential.continuation import smooth_step

INNER = MiyamotoNagai(4.5e10, 3.1, 0.28) + NFW(5.8e11, 17.3) + LongMurali(1.6e10, 4.1, 0.65, 0.40, 0.3)
VOLUMES = {
    "disc": Cylinder(r_out=15 * u.kpc, half_height=2 * u.kpc),
    "ring": Cylinder(r_out=15 * u.kpc, half_height=2 * u.kpc, r_in=3 * u.kpc),
    "ball": Ball([7.5, 2.7, 0.02] * u.kpc, 4 * u.kpc),
}


class Shifted:
    """The model with an arbitrary additive constant, as a network has."""

    def evaluate(self, x, order):
        phi, grad, hess = INNER.evaluate(x, order)
        return phi + 1.234e5, grad, hess


@pytest.fixture(scope="module", params=VOLUMES)
def model(request) -> GlobalPotential:
    return GlobalPotential(Shifted(), VOLUMES[request.param], omega=(0, 0, 39.0))


@pytest.fixture
def points(model) -> np.ndarray:
    rng = np.random.default_rng(2)
    return np.concatenate([model.volume.sample(400, rng), model.volume.sample(100, rng) * 1.1, rng.normal(size=(100, 3)) * 30])


def test_the_learned_potential_is_untouched_in_the_core(model, points):
    core = points[model.in_core(points)]
    assert len(core) > 50
    np.testing.assert_array_equal(model.gradient(core), INNER.evaluate(core, 1)[1])
    np.testing.assert_array_equal(model.hessian(core), INNER.evaluate(core, 2)[2])
    assert model.in_training_volume(core).all()


def test_the_continuation_is_close_to_the_truth_it_was_fitted_to(model, points):
    expected = INNER.evaluate(points, 1)[1]
    error = np.linalg.norm(model.gradient(points) - expected, axis=1) / np.linalg.norm(expected, axis=1)
    inside = model.in_training_volume(points)
    assert np.median(error[inside & (error > 0)]) < 5e-3
    assert np.percentile(error[inside], 98) < 0.05
    # the additive constant of the network has gone, to what the extent of the halo outside leaves open
    assert abs(model.constant + 1.234e5) < 1e5
    core = points[model.in_core(points)]
    assert np.ptp(model.potential(core) - INNER.evaluate(core, 0)[0]) < 1e-6


def test_derivatives_match_finite_differences_everywhere(model, points):
    phi, grad, hess = model.evaluate(points, 2)
    step = 1e-4
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = model.evaluate(points + shift, 1), model.evaluate(points - shift, 1)
        size = np.linalg.norm(grad, axis=1)
        assert np.all(np.abs((up[0] - down[0]) / (2 * step) - grad[:, axis]) < 1e-5 * size + 1e-5 * np.median(size))
        norm = np.linalg.norm(hess, axis=(1, 2))[:, None]
        assert np.all(np.abs((up[1] - down[1]) / (2 * step) - hess[:, axis]) < 1e-5 * norm + 1e-5 * np.median(norm))


def test_weight_derivatives_match_finite_differences(model, points):
    w, grad, hess = model.weight(points)
    assert w.min() == 0 and w.max() == pytest.approx(1) and np.any((w > 0.01) & (w < 0.99))
    step = 1e-5
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = model.weight(points + shift), model.weight(points - shift)
        np.testing.assert_allclose((up[0] - down[0]) / (2 * step), grad[:, axis], atol=1e-7)
        np.testing.assert_allclose((up[1] - down[1]) / (2 * step), hess[:, axis], atol=1e-6)


def test_attractive_finite_and_zero_at_infinity(model):
    x = np.array([[0, 0, 0], [1e-9, 0, 0], [0, 0, 50], [1e6, 0, 0], [0, 1e9, 1e9], [1e12, 0, 0]], float)
    phi, grad, hess = model.evaluate(x, 2)
    assert np.isfinite(grad).all() and np.isfinite(hess).all() and np.all(phi < 0)
    assert abs(phi[-1]) < 1e-3
    assert np.all(np.diff(phi[2:]) > 0)
    assert np.all(model.density(x[:3]) > 0)


def test_arrays_round_trip(model, points):
    again = GlobalPotential.from_arrays(Shifted(), model.volume, model.to_arrays())
    np.testing.assert_allclose(again.potential(points), model.potential(points), rtol=1e-14)
    np.testing.assert_array_equal(again.omega, [0, 0, 39])
    arrays = model.to_arrays()
    del arrays["blend"]
    with pytest.raises(FitError, match="damaged"):
        GlobalPotential.from_arrays(Shifted(), model.volume, arrays)


def test_orders_and_chunks_agree(model, points):
    phi, grad, hess = model.evaluate(points, 2)
    np.testing.assert_array_equal(model.evaluate(points, 0)[0], phi)
    assert model.evaluate(points, 0)[1] is None and model.evaluate(points, 1)[2] is None
    many = np.tile(points, (120, 1))
    np.testing.assert_allclose(model.gradient(many), np.tile(grad, (120, 1)), rtol=1e-12)
    with pytest.raises(FitError, match="shape"):
        model.evaluate(np.zeros(3))


def test_a_given_continuation_gets_only_its_constant(points):
    model = GlobalPotential(Shifted(), VOLUMES["disc"], outer=INNER)
    np.testing.assert_allclose(model.constant, -1.234e5, rtol=1e-6)


def test_step_is_c3():
    t = np.linspace(0, 1, 20001)
    s, first, second = smooth_step(t)
    np.testing.assert_allclose(np.gradient(s, t)[1:-1], first[1:-1], atol=1e-7)
    np.testing.assert_allclose(np.gradient(first, t)[1:-1], second[1:-1], atol=1e-5)
    for part, value in ((s, 1), (first, 0), (second, 0)):
        assert part[0] == 0 and abs(part[-1] - value) < 1e-12
    assert abs(np.gradient(second, t)[0]) < 0.1


class Broken:
    def evaluate(self, x, order):
        return np.full(len(x), np.nan), np.full((len(x), 3), np.nan), None


class Repulsive:
    def evaluate(self, x, order):
        phi, grad, hess = Plummer(1e11, 5.0).evaluate(x, order)
        return -phi, -grad, None if hess is None else -hess


@pytest.mark.parametrize(("inner", "message"), [(Broken(), "not finite"), (Repulsive(), "not attractive")])
def test_a_useless_inner_potential_is_refused(inner, message):
    with pytest.raises(FitError, match=message):
        GlobalPotential(inner, VOLUMES["disc"])
    with pytest.raises(FitError, match="blend_start"):
        GlobalPotential(INNER, VOLUMES["disc"], blend_start=1.0)
