"""Closed-form potentials against finite differences and against galpy and gala."""

from __future__ import annotations

import numpy as np
import pytest

from deeppot_galactic.errors import FitError
from deeppot_galactic.potential.analytic import NFW, LongMurali, MiyamotoNagai, Plummer, Sum, fit_to_forces, from_list

MODELS = {
    "plummer": Plummer(1.6e11, 10.0),
    "nfw": NFW(5.8e11, 16.0),
    "disc": MiyamotoNagai(4.5e10, 3.0, 0.28),
    "bar": LongMurali(1.6e10, 4.0, 0.65, 0.40, 0.3),
    "sum": MiyamotoNagai(4.5e10, 3.0, 0.28) + NFW(5.8e11, 16.0) + LongMurali(1.6e10, 4.0, 0.65, 0.40, -0.5),
}


@pytest.fixture
def points() -> np.ndarray:
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(size=(100, 3)) * [6, 6, 1], rng.normal(size=(20, 3)) * 0.2, rng.normal(size=(20, 3)) * 200])


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_match_finite_differences(name, points):
    model, step = MODELS[name], 1e-4
    phi, grad, hess = model.evaluate(points, 2)
    for axis in range(3):
        shift = step * np.eye(3)[axis]
        up, down = model.evaluate(points + shift, 1), model.evaluate(points - shift, 1)
        size = np.linalg.norm(grad, axis=1)
        # rounding of Phi bounds the first from below, curvature of the force the second
        assert np.all(np.abs((up[0] - down[0]) / (2 * step) - grad[:, axis]) < 1e-5 * size + 1e-11 * np.abs(phi) / step)
        norm = np.linalg.norm(hess, axis=(1, 2))[:, None]
        assert np.all(np.abs((up[1] - down[1]) / (2 * step) - hess[:, axis]) < 1e-5 * norm + 1e-11 * size[:, None] / step)


@pytest.mark.parametrize("name", MODELS)
def test_finite_from_the_centre_to_infinity(name):
    x = np.array([[0, 0, 0], [1e-9, 0, 0], [1e6, 0, 0], [-1e12, 1e3, 0.0]])
    phi, grad, hess = MODELS[name].evaluate(x, 2)
    assert np.isfinite(phi).all() and np.isfinite(grad).all() and np.isfinite(hess).all()
    assert np.all(phi < 0) and abs(phi[3]) < 1e-4
    np.testing.assert_allclose(hess, np.swapaxes(hess, 1, 2), atol=1e-9 * np.abs(hess).max())


def test_nfw_series_joins_the_closed_form():
    model = NFW(1e12, 16.0)
    x = np.outer(16 * np.array([2e-2 * (1 - 1e-9), 2e-2 * (1 + 1e-9)]), [1, 0, 0])
    for low, high in (part for part in model.evaluate(x, 2)):
        np.testing.assert_allclose(low, high, rtol=1e-7)


def test_gala_agrees(points):
    potential = pytest.importorskip("gala.potential")
    import astropy.units as u
    from gala.units import galactic

    hosts = {
        "plummer": potential.PlummerPotential(m=1.6e11 * u.Msun, b=10 * u.kpc, units=galactic),
        "nfw": potential.NFWPotential(m=5.8e11 * u.Msun, r_s=16 * u.kpc, units=galactic),
        "disc": potential.MiyamotoNagaiPotential(m=4.5e10 * u.Msun, a=3 * u.kpc, b=0.28 * u.kpc, units=galactic),
        "bar": potential.LongMuraliBarPotential(
            m=1.6e10 * u.Msun, a=4 * u.kpc, b=0.65 * u.kpc, c=0.4 * u.kpc, alpha=0.3 * u.rad, units=galactic
        ),
    }
    for name, host in hosts.items():
        phi, grad, _ = MODELS[name].evaluate(points, 1)
        np.testing.assert_allclose(phi, host.energy(points.T * u.kpc).to_value(u.km**2 / u.s**2), rtol=2e-6, err_msg=name)
        expected = host.gradient(points.T * u.kpc).to_value(u.km**2 / u.s**2 / u.kpc).T
        size = np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.all(np.abs(grad - expected) / size < 2e-6), name


def test_dictionaries_round_trip_and_refuse_nonsense(points):
    model = MODELS["sum"]
    again = from_list(model.to_list())
    np.testing.assert_array_equal(model.evaluate(points, 0)[0], again.evaluate(points, 0)[0])
    with pytest.raises(FitError, match="unknown analytic potential"):
        from_list([{"type": "Cube", "m": 1}])
    with pytest.raises(FitError, match="NFW"):
        from_list([{"type": "NFW", "m": 1, "size": 2}])
    with pytest.raises(FitError, match="positive"):
        NFW(-1.0, 2.0)
    with pytest.raises(FitError, match="at least one"):
        Sum([])


def test_fit_to_forces_recovers_the_parameters():
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.uniform(-16, 16, (400, 2)), rng.uniform(-3, 3, 400)])
    truth = MiyamotoNagai(4.5e10, 3.0, 0.28) + NFW(5.8e11, 16.0)
    start = MiyamotoNagai(8e10, 4.5, 0.5) + NFW(3e11, 10.0)
    fitted = fit_to_forces(start, x, truth.evaluate(x, 1)[1])
    np.testing.assert_allclose(np.exp(fitted.parameters()), np.exp(truth.parameters()), rtol=0.02)
    with pytest.raises(FitError, match="cannot fit"):
        fit_to_forces(start, x[:1], x[:1])
