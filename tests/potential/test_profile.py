"""The loss of the linear solver against Omega: least where the free solution is, and what it says is what re-weighted sums say."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import FitError, FrameError, UnitsError
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.potential import RotatingFrame, fit_potential, profile_loss

KMSKPC = u.km / u.s / u.kpc
BALL = Ball([0, 0, 0] * u.kpc, 4 * u.kpc)


def sample(volume, n=6_000) -> GradientSample:
    bar = ErgodicBar()
    w = bar.sample(n, np.random.default_rng(0))
    w = w[volume.contains(w[:, :3])]
    w = w[np.isfinite(bar.score(w)).all(axis=1)]
    noise = np.random.default_rng(1).normal(size=w.shape) * 0.03 * bar.score(w).std(axis=0)
    return GradientSample(w, bar.log_density(w), bar.score(w) + noise, volume=volume, meta={"n_stars": float(n)})


@pytest.fixture(scope="module")
def points() -> GradientSample:
    return sample(BALL)


@pytest.fixture(scope="module")
def profile(points):
    return profile_loss(points)


def test_the_loss_is_least_at_the_free_solution(points, profile):
    fit = fit_potential(points, method="linear")
    assert profile.best.to_value(KMSKPC) == pytest.approx(fit.omega[2].to_value(KMSKPC), abs=1e-6)
    step = profile.omega[1] - profile.omega[0]
    assert abs(profile.omega[profile.loss.argmin()] - profile.best) <= 0.5 * step
    fine = profile_loss(points, profile.best + np.array([-0.2, -0.1, 0.0, 0.1, 0.2]) * KMSKPC)
    assert fine.loss.argmin() == fine.held.argmin() == 2
    assert abs(profile.best.value - ErgodicBar().omega) < 0.05 * ErgodicBar().omega


def test_a_potential_that_may_follow_costs_less_and_units_are_those_of_a_rate_squared(profile):
    assert profile.loss.unit == profile.held.unit == KMSKPC**2
    assert (profile.loss <= profile.held * (1 + 1e-9)).all()
    assert profile.loss.max() > 2 * profile.loss.min()
    assert 0 * KMSKPC < profile.error < 1 * KMSKPC


def test_at_the_optimum_the_loss_is_the_mean_square_rate(points, profile):
    """Without noise in the scores nothing changes in the frame of the bar; with it the loss has the size of the median rate."""
    exact = profile_loss(GradientSample(points.points, points.log_density, ErgodicBar().score(points.points), volume=BALL))
    assert exact.loss.min() < 0.5 * profile.loss.min()  # what is left is what polynomials cannot follow
    fit = fit_potential(points, method="network", steps=5, width=8, depth=2)
    rms = np.sqrt(profile.loss.min()).to_value(KMSKPC)
    assert 0.5 * fit.meta["median_rate"] < rms < 5.0 * fit.meta["median_rate"]


def test_density_stays_positive_at_every_speed_in_a_disc():
    """Far from the truth the constraints are active, so that the profile is no longer a parabola; it never falls below it."""
    volume = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)
    few = sample(volume, 4000)
    found = profile_loss(few, [10, 30, 38, 39, 40, 48, 68] * KMSKPC, n_max=3000)
    assert found.loss.argmin() in (2, 3, 4)
    assert (np.diff(found.loss[:3]) < 0).all() and (np.diff(found.loss[4:]) > 0).all()


def test_an_axis_elsewhere(points, profile):
    x0, v0 = np.array([7.0, -3.0, 0.0]), np.array([20.0, 5.0, 0.0])
    moved = GradientSample(
        points.points + np.concatenate([x0, v0]), points.log_density, points.score, volume=Ball(x0 * u.kpc, 4 * u.kpc), meta=points.meta
    )
    found = profile_loss(moved, profile.omega, frame=RotatingFrame(x0=x0 * u.kpc, v0=v0 * u.km / u.s))
    np.testing.assert_allclose(found.loss, profile.loss, rtol=1e-3)


def test_bad_requests_are_named(points):
    with pytest.raises(UnitsError):
        profile_loss(points, [30.0, 40.0])
    with pytest.raises(FitError, match="finite"):
        profile_loss(points, [30.0, np.nan] * KMSKPC)
    with pytest.raises(FrameError, match="z alone"):
        profile_loss(points, frame=RotatingFrame(omega=[1, 0, 30] * KMSKPC))
    with pytest.raises(FitError, match="needs scores"):
        profile_loss(GradientSample(points.points, points.log_density, np.nan * points.score, volume=BALL))
