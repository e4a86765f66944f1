"""The weak form on exact distributions: the equations hold for the truth, and the fits recover it within their errors."""

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.errors import AxisymmetryWarning, FitError
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.mocks.staeckel_disc import StaeckelDisc
from deeppot_galactic.potential import linear
from deeppot_galactic.potential.analytic import MiyamotoNagai
from deeppot_galactic.potential.basis import DiscBasis
from deeppot_galactic.potential.linear import DensityPrior, PriorScales, Quadratic, solve, with_omega
from deeppot_galactic.potential.moments import WeakForm
from deeppot_galactic.potential.pattern import pattern_speed
from deeppot_galactic.potential.weak_fit import fit_weak

KMSKPC = u.km / u.s / u.kpc
DISC = Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc)


class _Truth:
    def __init__(self, mock):
        self.mock = mock

    def evaluate(self, x, order=1):
        return self.mock.potential(x), -self.mock.acceleration(x), None


@pytest.fixture(scope="module")
def bar():
    return GaussianBar(lengths=(2.2, 1.2, 0.4), sigma=80.0, omega=40.0, angle=0.3)


@pytest.fixture(scope="module")
def stars(bar):
    return bar.sample(30_000, np.random.default_rng(1))


@pytest.mark.parametrize("volume", [DISC, Ball([1.5, 0.5, 0] * u.kpc, 2 * u.kpc)], ids=["disc", "ball"])
def test_the_truth_satisfies_the_equations_to_the_noise(bar, stars, volume):
    weak = WeakForm(stars, volume)
    rows = np.concatenate([r for r, _ in weak.residuals(bar.omega, _Truth(bar))])
    square = rows**2
    used = np.sum(square, axis=0) ** 2 > 40 * np.sum(square**2, axis=0)  # rows that rest on more than a few stars
    z = rows.sum(axis=0)[used] / np.sqrt(np.sum(square, axis=0)[used])
    assert 0.7 < np.sqrt(np.mean(z**2)) < 1.3
    wrong = np.concatenate([r for r, _ in weak.residuals(-bar.omega, _Truth(bar))])[:, used]
    assert np.sqrt(np.mean((wrong.sum(axis=0) / np.sqrt(np.sum(wrong**2, axis=0))) ** 2)) > 1.5


def test_pattern_speed_of_a_rotating_bar_and_its_mirror_image(stars):
    for sign in (1, -1):
        w = stars * np.array([1, sign, 1, 1, sign, 1])
        speed = pattern_speed(Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s), DISC)
        assert speed.detected
        assert abs(speed.value.value - sign * 40.0) < 3.0 * speed.error.value
        assert speed.error.value < 4.0
        assert speed.by_radius["in_pattern"].any()
        assert abs(speed.growth_rate) < 3.0 * speed.growth_rate_error < 10.0 / u.Gyr


def test_pattern_speed_in_a_ball_off_the_axis(bar):
    w = bar.sample(150_000, np.random.default_rng(2))
    ball = Ball([1.8, 0.6, 0] * u.kpc, 1.8 * u.kpc)
    speed = pattern_speed(Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s), ball)
    assert speed.detected
    assert abs(speed.value.value - 40.0) < 3.0 * speed.error.value
    assert speed.error.value < 8.0
    disc = pattern_speed(Tracers(w[:5000]), Cylinder(r_out=6 * u.kpc, half_height=2 * u.kpc), n_bootstrap=5).by_radius
    assert len(speed.by_radius) == 0
    assert repr(speed).endswith(f"{speed.message}>")
    assert speed.by_radius.colnames == disc.colnames
    assert [(c.unit, c.dtype) for c in speed.by_radius.itercols()] == [(c.unit, c.dtype) for c in disc.itercols()]
    assert disc["growth_rate"].unit == 1 / u.Gyr


def test_an_axisymmetric_disc_warns_and_gives_a_wide_error():
    tracers = StaeckelDisc().tracers(20_000, seed=0)
    volume = Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
    with pytest.warns(AxisymmetryWarning, match="not determined"):
        speed = pattern_speed(tracers, volume)
    assert not speed.detected
    assert speed.error > 0.9 * abs(speed.value)
    weak = fit_weak(tracers.phase_space, volume)
    assert weak.omega_error > 5.0


def test_selection_weights_undo_a_selection(bar, stars):
    rng = np.random.default_rng(5)
    kept_fraction = 0.25 + 0.75 * (stars[:, 0] > 0)
    kept = rng.uniform(size=len(stars)) < kept_fraction
    tracers = Tracers.from_phase_space(stars[kept, :3] * u.kpc, stars[kept, 3:] * u.km / u.s, weights=1.0 / kept_fraction[kept])
    speed = pattern_speed(tracers, DISC)
    assert abs(speed.value.value - 40.0) < 3.0 * speed.error.value


def test_too_few_stars():
    w = np.random.default_rng(0).normal(size=(100, 6))
    with pytest.raises(FitError, match="stars in the cylinder"):
        pattern_speed(Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s), DISC)


@pytest.fixture(scope="module")
def ergodic():
    return ErgodicBar()


@pytest.fixture(scope="module")
def fit(ergodic):
    w = ergodic.sample(30_000, np.random.default_rng(3))
    volume = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)
    return w, volume, fit_weak(w, volume)


def test_weak_fit_recovers_forces_and_omega_within_its_errors(ergodic, fit):
    w, volume, weak = fit
    assert abs(weak.solution.omega - ergodic.omega) < 3.0 * weak.omega_error
    assert weak.omega_error < 0.1 * ergodic.omega
    x = w[:2000, :3]
    x = x[(np.hypot(x[:, 0], x[:, 1]) > 0.7) & (np.hypot(x[:, 0], x[:, 1]) < 4.0) & (np.abs(x[:, 2]) < 1.0)]
    truth = -ergodic.acceleration(x)
    deviation = weak.potential.evaluate(x, 1)[1] - truth
    assert np.median(np.linalg.norm(deviation, axis=1) / np.linalg.norm(truth, axis=1)) < 0.08
    whitened = np.linalg.solve(np.linalg.cholesky(weak.posterior.gradient_covariance(x)), deviation[:, :, None])[:, :, 0]
    assert np.median(np.sum(whitened**2, axis=1)) < 12.0


def test_where_the_equations_leave_omega_open_it_is_that_of_continuity(ergodic, monkeypatch):
    w = ergodic.sample(20_000, np.random.default_rng(5))
    ball = Ball([2.0, 0.7, 0.0] * u.kpc, 1.7 * u.kpc)
    own = fit_weak(w, ball)
    assert own.solution.identified
    assert not own.from_continuity
    monkeypatch.setattr(linear, "MIN_SIGNAL", 1e6)
    weak, speed = fit_weak(w, ball), pattern_speed(Tracers.from_phase_space(w[:, :3] * u.kpc, w[:, 3:] * u.km / u.s), ball)
    assert weak.from_continuity
    assert weak.solution.identified
    assert weak.solution.omega == pytest.approx(speed.value.value)
    assert weak.omega_error == pytest.approx(speed.error.value)


def test_with_omega_known_from_elsewhere_the_coefficients_follow_it(fit):
    weak = fit[2]
    prior, rng = weak.density_prior, np.random.default_rng(7)
    k = weak.potential.basis.size
    rows = rng.normal(size=(k + 30, k + 1)) * np.sqrt(np.r_[1.0, np.diag(prior.matrix)])
    quadratic = Quadratic.from_rows(rows, rng.normal(size=k + 30))
    held = solve(quadratic, prior, held=30.0, scales=PriorScales(0.4, 0.5), nonnegative=False)
    wide = with_omega(held, 2.0)
    inner = quadratic.hessian[1:, 1:] + prior.precision(PriorScales(0.4, 0.5))[0]
    follow = -np.linalg.solve(inner, quadratic.hessian[1:, 0])
    size = np.sqrt(np.diag(np.linalg.inv(inner)))
    np.testing.assert_allclose(wide.follow / size, follow / size, rtol=1e-4, atol=1e-6 * np.abs(follow / size).max())
    inflation = max(held.chi2 / held.n_rows, 1.0)
    expected = inflation * np.linalg.inv(inner) + 4.0 * np.outer(follow, follow)
    np.testing.assert_allclose(wide.covariance[1:, 1:] / np.outer(size, size), expected / np.outer(size, size), rtol=1e-4, atol=1e-5)
    assert wide.omega_error == 2.0
    np.testing.assert_allclose(wide.covariance[1:, 0] / size, 4.0 * follow / size, rtol=1e-4, atol=1e-6 * np.abs(follow / size).max())


def test_density_is_not_negative_where_constrained(fit):
    _, volume, weak = fit
    x = volume.sample(3000, np.random.default_rng(9))
    laplacian = np.einsum("nii->n", weak.potential.evaluate(x, 2)[2])
    base = np.einsum("nii->n", weak.base.evaluate(x, 2)[2])
    assert np.quantile(laplacian / base, 0.02) > -0.05


def test_nonnegative_solution_is_the_constrained_optimum(ergodic):
    """The active-set answer against a plain penalty method on a small problem."""
    w = ergodic.sample(3000, np.random.default_rng(4))
    volume = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)
    weak = fit_weak(w, volume)
    basis, base = weak.potential.basis, weak.base
    prior = DensityPrior(basis, base, volume, n_points=300)
    k = basis.size
    rng = np.random.default_rng(0)
    direction = np.linalg.solve(prior.matrix, -prior.relative[:5].sum(axis=0))
    target = 3.0 * direction / np.abs(prior.relative @ direction).max()
    quadratic = Quadratic(1e3 * np.eye(k + 1) + 0.0 * rng.normal(), -1e3 * np.r_[30.0, target], 0.0, k)
    free = solve(quadratic, prior, scales=PriorScales(10.0, 0.0), nonnegative=False)
    bound = solve(quadratic, prior, scales=PriorScales(10.0, 0.0))
    assert (1.0 + prior.relative @ free.coefficients).min() < -0.1
    assert (1.0 + prior.relative @ bound.coefficients).min() > -1e-4
    assert bound.n_active > 0
    posterior = quadratic.hessian[1:, 1:] + prior.matrix / 100.0

    def cost(c):
        return (c - free.coefficients) @ posterior @ (c - free.coefficients)

    for _ in range(50):  # no feasible step towards the free optimum is left
        step = rng.normal(size=k) * 1e-3 * np.abs(bound.coefficients).max()
        trial = bound.coefficients + step
        if (1.0 + prior.relative @ trial).min() >= 0.0:
            assert cost(trial) >= cost(bound.coefficients) * (1 - 1e-3)


def test_a_smooth_galaxy_is_seen_to_be_smooth(bar, stars):
    """The Gaussian bar has constant density: the evidence asks for a smooth difference from the base, and forces get better by it."""
    places = bar.sample(400, np.random.default_rng(8))[:, :3]
    places = places[np.hypot(places[:, 0], places[:, 1]) < 3.0]
    truth = -bar.acceleration(places)

    def error(weak):
        return np.median(np.linalg.norm(weak.potential.evaluate(places, 1)[1] - truth, axis=1) / np.linalg.norm(truth, axis=1))

    smooth = fit_weak(stars, DISC)
    assert smooth.solution.scales.smoothness > linear.SMOOTHNESSES[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "SMOOTHNESSES", (0.0,))
        rough = fit_weak(stars, DISC)
    assert rough.solution.scales.smoothness == 0.0
    assert smooth.solution.evidence > rough.solution.evidence + 5.0
    assert error(smooth) < 0.9 * error(rough)


@pytest.mark.parametrize("smoothness", [0.0, 0.5])
def test_precision_of_the_prior_is_the_mean_of_squares_that_it_says(smoothness):
    """With one coefficient vector, against the density ratio and its slope by wide differences of the potential itself."""
    volume = Cylinder(r_out=5 * u.kpc, half_height=1 * u.kpc)
    base, basis = MiyamotoNagai(5e10, 2.0, 0.4), DiscBasis(r_max=5.1, z_max=1.02, n_radial=6, n_vertical=5, harmonics=(0, 2))
    prior = DensityPrior(basis, base, volume, n_points=200, seed=1)
    precision, log_determinant = prior.precision(PriorScales(0.5, smoothness))
    assert log_determinant == pytest.approx(np.linalg.slogdet(precision)[1], rel=1e-9)
    c = np.random.default_rng(2).normal(size=basis.size)

    def ratio(x):
        return basis.laplacian(x) @ c / np.einsum("nii->n", base.evaluate(x, 2)[2])

    x, h = prior.points[::2], 1e-4
    radius, phi = np.hypot(x[:, 0], x[:, 1]), np.arctan2(x[:, 1], x[:, 0])

    def at(radius, phi):
        return ratio(np.stack([radius * np.cos(phi), radius * np.sin(phi), x[:, 2]], axis=1))

    along = (at(radius + h, phi) - at(radius - h, phi)) / (2 * h)
    across = (at(radius, phi + h) - at(radius, phi - h)) / (2 * h) / radius
    expected = 300.0 * smoothness**2 * np.mean((radius**2 + basis.r_scale**2) * (along**2 + across**2)) / 0.5**2
    added = c @ (precision - prior.precision(PriorScales(0.5, 0.0))[0]) @ c
    assert added == pytest.approx(expected, rel=0.15, abs=1e-9)


def test_a_disc_that_is_built_otherwise_than_the_base_gets_its_own_vertical_forces():
    """Kuzmin-Kutuzov: much less matter in the plane than in the Miyamoto-Nagai disc of the base, and no waves."""
    mock, volume = StaeckelDisc(), Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
    weak = fit_weak(mock.sample(40_000, np.random.default_rng(0)), volume)
    x = np.array([[radius, 0.0, z] for radius in (3.0, 5.0) for z in (0.1, 0.4, 0.8, 1.5)])
    truth = -mock.acceleration(x)[:, 2]
    off = {
        name: weak_z[1][:, 2] / truth - 1.0 for name, weak_z in (("base", weak.base.evaluate(x, 1)), ("fit", weak.potential.evaluate(x, 1)))
    }
    assert np.abs(off["base"]).max() > 0.2
    assert np.abs(off["fit"]).max() < 0.15
    claimed = weak.posterior.gradient_error(x)[:, 2] / truth
    assert np.mean(np.abs(off["fit"]) < 2.0 * claimed) > 0.7
    assert weak.solution.scales.of_waves < 0.5 * weak.solution.scales.scatter


@pytest.mark.parametrize("reach", [3.0, np.inf])
def test_the_evidence_finds_where_the_waves_end(reach):
    """Coefficients drawn from the prior itself, and measured well."""
    volume = Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
    base, basis = MiyamotoNagai(5e10, 3.0, 0.4), DiscBasis(r_max=12.24, z_max=2.04, n_radial=9, n_vertical=5, harmonics=(0, 2))
    prior = DensityPrior(basis, base, volume, n_points=1000, seed=1)
    precision, log_determinant = prior.precision(PriorScales(0.28, 0.5, 0.8, reach))
    assert log_determinant == pytest.approx(np.linalg.slogdet(precision)[1], rel=1e-6)
    drawn = np.linalg.solve(np.linalg.cholesky(precision).T, np.random.default_rng(3).normal(size=basis.size))
    sharp = 1.0 / (1e-2 * np.abs(drawn).mean())
    rows = np.concatenate([np.zeros((basis.size, 1)), sharp * np.eye(basis.size)], axis=1)
    solution = solve(Quadratic.from_rows(rows, -sharp * drawn), prior, held=0.0, nonnegative=False)
    assert solution.coefficients == pytest.approx(drawn, abs=0.1 * np.abs(drawn).max())
    found = solution.scales
    assert 2.0 < found.reach < 4.5 if np.isfinite(reach) else found.reach > 10.0
    assert 0.5 < found.of_waves / 0.8 < 2.0
