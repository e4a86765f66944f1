"""Gaussian priors on the frame act as in a posterior: a wide one changes nothing, a narrow one rules, between them the product counts."""

import warnings

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import AxisymmetryWarning
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.mocks.staeckel_disc import StaeckelDisc
from deeppot_galactic.potential import RotatingFrame, fit_potential, linear, weak_fit
from deeppot_galactic.potential.network_fit import join_priors

KMSKPC = u.km / u.s / u.kpc
VOLUME = Ball([0, 0, 0] * u.kpc, 4 * u.kpc)
SMALL = {"steps": 60, "width": 16, "depth": 2}
METHODS = {
    "weak": {"method": "weak"},
    "linear": {"method": "linear"},
    "network": SMALL,
    "network without anchor": {**SMALL, "anchor": 0.0, "start": "linear"},
}


def sample_of(mock, n: int) -> GradientSample:
    w = mock.sample(n, np.random.default_rng(0))
    w = w[VOLUME.contains(w[:, :3])]
    return GradientSample(w, mock.log_density(w), mock.score(w), volume=VOLUME, meta={"n_stars": float(len(w))})


@pytest.fixture(scope="module")
def bar() -> GradientSample:
    return sample_of(GaussianBar(omega=40.0, angle=0.4), 6000)


def fit(points, options, prior=None):
    frame = RotatingFrame(omega=35 * KMSKPC, prior=None if prior is None else {"omega_z": tuple(p * KMSKPC for p in prior)})
    model = fit_potential(points, frame=frame, **options)
    return model, float(model.omega[2].value), float(model.omega_error[2].value)


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_priors_displaced_from_the_truth_give_the_product(bar, options):
    model, value, error = fit(bar, options)
    assert abs(value - 40.0) < 3.0 * error
    x = VOLUME.sample(30, np.random.default_rng(1)) * 0.7 * u.kpc
    moves = {}
    for name, ratio in (("wide", 1e3), ("comparable", 1.0), ("narrow", 0.01)):
        mean, sigma = 40.0 + 4.0 * error, ratio * error
        share = 1.0 / (1.0 + ratio**-2)  # of the stars
        other, joined, joined_error = fit(bar, options, (mean, sigma))
        assert joined == pytest.approx(share * value + (1.0 - share) * mean, abs=0.05 * joined_error + 1e-3), name
        assert joined_error == pytest.approx(error * sigma / np.hypot(error, sigma), rel=1e-3), name
        moves[name] = np.abs(other.acceleration(x) / model.acceleration(x) - 1.0).value.max()
        assert other.frame.prior == {"omega_z": (pytest.approx(mean), pytest.approx(sigma))}
    assert moves["wide"] < 1e-3 < moves["narrow"]


@pytest.mark.parametrize("options", METHODS.values(), ids=METHODS)
def test_axisymmetric_stars_leave_the_prior_as_it_is(options):
    points = sample_of(StaeckelDisc(), 30_000)
    with pytest.warns(AxisymmetryWarning, match="is only its prior"):
        _, value, error = fit(points, options, (25.0, 2.0))
    assert value == pytest.approx(25.0, abs=0.01)
    assert error == pytest.approx(2.0, rel=1e-3)


def test_the_lab_frame_does_not_rotate_and_has_no_error(bar):
    """Omega = 0, held: the potential is the one in which f, seen at rest, changes least."""
    round_stars = sample_of(StaeckelDisc(), 30_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AxisymmetryWarning)
        for options in METHODS.values():
            model = fit_potential(round_stars, frame=RotatingFrame(free=()), **options)
            assert model.frame.is_lab
            np.testing.assert_allclose(model.omega.value, 0.0, atol=1e-6)
            np.testing.assert_array_equal(model.omega_error.value, 0.0)


def test_priors_on_other_components_are_joined_with_what_the_scores_say(bar):
    """A narrow prior on v0_x is obeyed by the network, a wide one is not seen; Omega stays where the stars have it."""
    free = ("omega_z", "v0_x")
    values = {}
    for sigma in (1e3, 1e-3):
        frame = RotatingFrame(omega=35 * KMSKPC, free=free, prior={"v0_x": (7 * u.km / u.s, sigma * u.km / u.s)})
        model = fit_potential(bar, frame=frame, **SMALL)
        values[sigma] = model.frame.v0_vector[0]
        assert model.meta["frame_errors"]["v0_x"] <= sigma
    alone = fit_potential(bar, frame=RotatingFrame(omega=35 * KMSKPC, free=free), **SMALL)
    assert values[1e3] == pytest.approx(alone.frame.v0_vector[0], abs=0.1 * alone.meta["frame_errors"]["v0_x"])
    assert values[1e-3] == pytest.approx(7.0, abs=0.01)


def test_joined_gaussians_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    covariance, values = root @ root.T, rng.normal(size=3)
    names = ("omega_z", "v0_x", "v0_y")
    mean, after = join_priors(names, values, covariance, {"v0_x": (2.0, 0.5)})
    draws = rng.multivariate_normal(values, covariance, 400_000)
    weight = np.exp(-0.5 * ((draws[:, 1] - 2.0) / 0.5) ** 2)
    np.testing.assert_allclose(mean, np.average(draws, axis=0, weights=weight), atol=0.03)
    np.testing.assert_allclose(after, np.cov(draws.T, aweights=weight), atol=0.05)


@pytest.mark.parametrize("method", ["weak", "linear"])
def test_where_omega_is_open_the_potential_is_that_of_the_reported_speed(monkeypatch, method):
    """The median of the stars' angular speeds, or the mean of a prior: Phi belongs to it as if it had been given."""
    monkeypatch.setattr(linear, "MIN_SIGNAL", 1e6)
    monkeypatch.setattr(weak_fit, "_continuity", lambda *_: None)
    mock, ball = ErgodicBar(), Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc)
    w = mock.sample(12_000, np.random.default_rng(0))
    w = w[ball.contains(w[:, :3]) & np.isfinite(mock.score(w)).all(axis=1)]
    points = GradientSample(w, mock.log_density(w), mock.score(w), volume=ball, meta={"n_stars": float(len(w))})
    x = w[:200, :3] * u.kpc
    with pytest.warns(AxisymmetryWarning):
        open_, value, error = fit(points, {"method": method})
    with pytest.warns(AxisymmetryWarning):
        told, told_value, told_error = fit(points, {"method": method}, (value + 8.0, 0.5))
    assert error >= abs(value)
    assert (told_value, told_error) == (pytest.approx(value + 8.0), pytest.approx(0.5))

    def held(omega):
        return fit_potential(points, frame=RotatingFrame(omega=omega * KMSKPC, free=()), method=method).acceleration(x).value

    at_value, at_told = held(value), held(value + 8.0)
    moved = np.linalg.norm(at_told - at_value, axis=1)
    off = np.linalg.norm(open_.acceleration(x).value - at_value, axis=1)
    told_off = np.linalg.norm(told.acceleration(x).value - at_told, axis=1)
    assert np.median(off) < 0.2 * np.median(moved)
    assert np.median(told_off) < 0.2 * np.median(moved)
    assert np.median(told.acceleration_error(x).value) < np.median(open_.acceleration_error(x).value)
