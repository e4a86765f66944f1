"""Every analytic mock through the same invariants, then each against its own oracle."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from deeppot_galactic.errors import DeepPotError
from deeppot_galactic.mocks import AnalyticDistribution, BarredPotential, ErgodicBar, GaussianBar, KuzminKutuzov, Plummer, StaeckelDisc
from deeppot_galactic.mocks.base import rotate, rotation_derivative
from deeppot_galactic.mocks.rejection import CellRejection, integrate
from deeppot_galactic.units import G

MOCKS: dict[str, AnalyticDistribution] = {
    "plummer": Plummer(mass=2e10, scale=1.5),
    "gaussian bar": GaussianBar(lengths=(2.0, 0.8, 0.5), sigma=90.0, omega=35.0, angle=0.4),
    "ergodic bar": ErgodicBar(angle=-0.3),
    "ergodic bar, weak and slow": ErgodicBar(BarredPotential(omega=30.0, bar_mass=1e10), exponent=3.5),
    "staeckel disc": StaeckelDisc(),
    "staeckel disc, one component": StaeckelDisc(KuzminKutuzov(masses=(2e11,), heights=(0.6,), focal=4.0), sigma_r=50.0, sigma_z=30.0),
}


@pytest.fixture(scope="module", params=list(MOCKS), ids=list(MOCKS))
def drawn(request: pytest.FixtureRequest) -> tuple[AnalyticDistribution, np.ndarray]:
    mock = MOCKS[request.param]
    return mock, mock.sample(40_000, np.random.default_rng(11))


def _differences(function, x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Fourth-order central differences, (N, d)."""
    columns = []
    for i, h in enumerate(steps):
        e = np.zeros(x.shape[1])
        e[i] = h
        columns.append((8 * (function(x + e) - function(x - e)) - function(x + 2 * e) + function(x - 2 * e)) / (12 * h))
    return np.stack(columns, axis=1)


def test_score_is_the_gradient_of_the_log_density(drawn):
    mock, x = drawn
    points = x[mock.log_density(x) > np.quantile(mock.log_density(x), 0.02)][:400]  # finite differences suffer at the edge of f
    steps = np.array([1e-3] * 3 + [0.1] * 3) * 0.5
    numeric, exact = _differences(mock.log_density, points, steps), mock.score(points)
    scale = np.median(np.abs(exact), axis=0)
    error = np.abs(numeric - exact) / (np.abs(exact) + scale)
    assert np.median(error) < 1e-8
    assert np.quantile(error, 0.99) < 1e-4


def test_acceleration_is_minus_the_gradient_of_the_potential(drawn):
    mock, x = drawn
    pos = x[:300, :3]
    numeric = -_differences(mock.potential, pos, np.full(3, 1e-3))
    assert np.allclose(numeric, mock.acceleration(pos), rtol=1e-7, atol=1e-6 * np.abs(mock.acceleration(pos)).max())


def test_collisionless_boltzmann_equation_holds_exactly(drawn):
    mock, x = drawn
    score = mock.score(x)
    terms = np.abs(x[:, 3:] * score[:, :3]).sum(axis=1) + np.abs(mock.acceleration(x) * score[:, 3:]).sum(axis=1)
    assert np.max(np.abs(mock.residual(x)) / terms) < 1e-8


def test_a_wrong_pattern_speed_leaves_a_residual_in_bars_only(drawn):
    mock, x = drawn
    off = np.median(np.abs(mock.residual(x, mock.omega + 1.0)))
    slope = rotation_derivative(x, mock.score(x))
    if mock.omega == 0:
        assert off < 1e-9
    else:
        assert off > 1e-2
        best = mock.omega - np.sum(mock.residual(x) * slope) / np.sum(slope**2)
        assert best == pytest.approx(mock.omega, rel=1e-10)


def test_score_identities_of_the_sample(drawn):
    """E[s] = 0 and E[x_i s_j] = -delta_ij: true if and only if the sampler and the scores belong to the same f (Stein)."""
    mock, x = drawn
    score = mock.score(x)
    if isinstance(mock, Plummer):  # heavy tails: keep moments finite by a bounded test function b(r), E[b s + grad b] = 0
        r2 = 1 + np.sum(x[:, :3] ** 2, axis=1)
        terms = score[:, :3] / r2[:, None] - 2 * x[:, :3] / r2[:, None] ** 2
    else:
        terms = np.concatenate([score, x * score + 1, x * np.roll(score, 1, axis=1)], axis=1)
    sigma = terms.std(axis=0) / np.sqrt(len(terms))
    assert np.all(np.abs(terms.mean(axis=0)) < 5 * sigma)


def test_density_is_normalised_by_importance_sampling(drawn):
    """1 = E_q[f / q] with q a Student t mixture of the sample's own covariance around random sample points."""
    mock, x = drawn
    rng = np.random.default_rng(5)
    kernel = stats.gaussian_kde(x[:300].T, bw_method=0.6)
    draw = kernel.resample(4000, seed=rng).T
    ratio = np.exp(mock.log_density(draw) - np.log(kernel(draw.T)))
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.15
    assert abs(ratio.mean() - 1) < 5 * error


def test_same_seed_same_stars(drawn):
    mock, _ = drawn
    first, second = mock.sample(50, np.random.default_rng(3)), mock.sample(50, np.random.default_rng(3))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, mock.sample(50, np.random.default_rng(4)))
    assert first.shape == (50, 6)
    assert np.all(np.isfinite(mock.log_density(first)))


def test_tracers_carry_the_truth():
    tracers = MOCKS["gaussian bar"].tracers(100, seed=2)
    assert len(tracers) == 100
    assert tracers.meta["omega_km_s_kpc"] == 35.0
    assert np.array_equal(tracers.phase_space, MOCKS["gaussian bar"].sample(100, np.random.default_rng(2)))


def test_outside_the_support():
    far = np.array([[1.0, 0.0, 0.0, 900.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0, 2000.0, 0.0]])
    for name in ("plummer", "ergodic bar", "staeckel disc"):
        assert np.all(np.isneginf(MOCKS[name].log_density(far)))
        assert np.all(MOCKS[name].score(far) == 0)


def test_plummer_moments():
    mock = Plummer(mass=2e10, scale=1.5)
    x = mock.sample(200_000, np.random.default_rng(0))
    r = np.linalg.norm(x[:, :3], axis=1)
    assert stats.kstest(r, lambda q: q**3 / (q**2 + 1.5**2) ** 1.5).pvalue > 1e-3
    kinetic = np.sum(x[:, 3:] ** 2, axis=1)
    assert kinetic.mean() == pytest.approx(3 * np.pi * G * 2e10 / (32 * 1.5), rel=5e-3)  # virial theorem
    near = np.abs(r - 1.5) < 0.05
    assert x[near, 3].var() == pytest.approx(G * 2e10 / (6 * np.hypot(1.5, 1.5)), rel=0.05)  # Jeans: GM / (6 sqrt(r^2 + b^2))


def test_gaussian_bar_is_the_normal_distribution():
    mock = GaussianBar(lengths=(2.0, 0.8, 0.5), sigma=90.0, omega=35.0, angle=0.4)
    shear = np.zeros((3, 3))
    shear[0, 1], shear[1, 0] = -35.0, 35.0
    turn = rotate(np.eye(3), 0.4).T
    position = turn @ np.diag(np.array([2.0, 0.8, 0.5]) ** 2) @ turn.T
    covariance = np.block([[position, position @ shear.T], [shear @ position, shear @ position @ shear.T + 90.0**2 * np.eye(3)]])
    normal = stats.multivariate_normal(np.zeros(6), covariance)
    x = mock.sample(1000, np.random.default_rng(1))
    assert np.allclose(mock.log_density(x), normal.logpdf(x), rtol=1e-10)
    assert np.allclose(mock.score(x), -x @ np.linalg.inv(covariance), rtol=1e-8, atol=1e-8)


def test_ergodic_bar_density_and_dispersion():
    mock = MOCKS["ergodic bar"]
    assert isinstance(mock, ErgodicBar)
    x = mock.sample(200_000, np.random.default_rng(0))
    assert np.hypot(x[:, 0], x[:, 1]).max() < mock.radius
    centre = 1 / mock._positions.density(np.zeros((1, 3)))[0]
    assert centre == pytest.approx(1.0)
    body = rotate(x, -mock.angle)
    for axis in range(3):  # second moments of position against quadrature
        edges = mock._octant
        mass = integrate(mock._position_density, edges, order=2)
        moment = integrate(lambda p, k=axis: p[:, k] ** 2 * mock._position_density(p), edges, order=2) / mass
        assert np.mean(body[:, axis] ** 2) == pytest.approx(moment, rel=0.02)
    assert body[:, 0].std() > 1.1 * body[:, 1].std() > 1.5 * body[:, 2].std()
    relative = x[:, 3:] - mock.omega * np.stack([-x[:, 1], x[:, 0], 0 * x[:, 0]], axis=1)
    local = 2 * mock._depth(x) / (2 * mock.exponent + 5)  # one-dimensional dispersion^2 of (E_L - E_J)^p
    assert np.mean(relative**2 / local[:, None]) == pytest.approx(1.0, abs=0.01)


def test_barred_potential_is_that_of_the_shared_catalogue(shared_data):
    with np.load(shared_data / "testparticle_bar.npz") as data:
        angle, corotation = float(data["bar_angle"]), float(data["R_corotation"])
        pos, acc = data["truth_pos"].astype(float), data["truth_acc"].astype(float)
    mock = ErgodicBar(angle=angle)
    error = np.linalg.norm(mock.acceleration(pos) - acc, axis=1) / np.linalg.norm(acc, axis=1)
    assert np.median(error) < 1e-5
    assert mock.radius == pytest.approx(corotation, rel=0.08)  # the saddle on the bar's axis lies a little outside the mean radius


def test_no_corotation_is_refused():
    with pytest.raises(DeepPotError, match="no corotation"):
        _ = BarredPotential(omega=0.5).lagrange_radius


def test_staeckel_moments_against_quadrature():
    mock = MOCKS["staeckel disc"]
    assert isinstance(mock, StaeckelDisc)
    x = mock.sample(200_000, np.random.default_rng(0))
    radius, momentum = np.hypot(x[:, 0], x[:, 1]), x[:, 0] * x[:, 4] - x[:, 1] * x[:, 3]
    mass = integrate(mock._marginal, mock._edges, order=2)

    def mean(weight) -> float:
        return integrate(lambda p: weight(p) * mock._marginal(p), mock._edges, order=2) / mass

    assert radius.mean() == pytest.approx(mean(lambda p: mock._unfold(p)[1]), rel=0.01)
    assert np.mean(x[:, 2] ** 2) == pytest.approx(mean(lambda p: mock._unfold(p)[2] ** 2), rel=0.02)
    assert momentum.mean() == pytest.approx(mean(lambda p: mock.galaxy.circular(p[:, 0])[0]), rel=0.01)
    assert np.all(momentum > 0)


def test_staeckel_disc_is_cold_thin_and_rotating():
    x = StaeckelDisc().sample(200_000, np.random.default_rng(1))
    radius = np.hypot(x[:, 0], x[:, 1])
    v_phi, v_r = (x[:, 0] * x[:, 4] - x[:, 1] * x[:, 3]) / radius, (x[:, 0] * x[:, 3] + x[:, 1] * x[:, 4]) / radius
    near = np.abs(radius - 8) < 0.3
    assert 30 < v_r[near].std() < 45
    assert 15 < x[near, 5].std() < 25
    assert 180 < v_phi[near].mean() < 205
    assert x[near, 2].std() < 0.6
    # Jeans, radial, in the plane: kappa^2 / (4 Omega^2) = sigma_phi^2 / sigma_R^2 roughly
    assert 0.5 < v_phi[near].var() / v_r[near].var() < 0.75


def test_third_integral_is_conserved_along_orbits():
    galaxy = KuzminKutuzov()
    x = StaeckelDisc(galaxy).sample(200, np.random.default_rng(2))
    start = galaxy.third_integral(x)[0]
    step, scale = 2e-4, galaxy.focal**2 * 20.0**2
    for _ in range(1000):  # leapfrog over 0.2 kpc/(km/s), about one orbit
        x[:, 3:] -= 0.5 * step * galaxy.gradient(x)
        x[:, :3] += step * x[:, 3:]
        x[:, 3:] -= 0.5 * step * galaxy.gradient(x)
    assert np.all(np.abs(galaxy.third_integral(x)[0] - start) < 1e-3 * (start + scale))


def test_kuzmin_kutuzov_against_galpy():
    potential = pytest.importorskip("galpy.potential")
    c, focal = 0.6, 4.0
    a = np.hypot(c, focal)
    theirs = potential.KuzminKutuzovStaeckelPotential(amp=1.0, ac=a / c, Delta=focal)
    ours = KuzminKutuzov(masses=(1 / G,), heights=(c,), focal=focal)
    pos = np.random.default_rng(0).uniform(-10, 10, (50, 3))
    radius = np.hypot(pos[:, 0], pos[:, 1])
    expected = np.array([potential.evaluatePotentials(theirs, r, z) for r, z in zip(radius, pos[:, 2], strict=True)])
    assert np.allclose(ours.potential(pos), expected, rtol=1e-10)
    circular = np.array([theirs.vcirc(r) * r for r in radius])
    assert np.allclose(ours.circular(radius)[0], circular, rtol=1e-8)
    step = 1e-4
    slope = (ours.circular(radius + step)[0] - ours.circular(radius - step)[0]) / (2 * step)
    assert np.allclose(ours.circular(radius)[1], slope, rtol=1e-6)


def test_guiding_radius_inverts_the_angular_momentum():
    mock = StaeckelDisc()
    radius = np.geomspace(1e-3, 80, 200)
    assert np.allclose(mock.guiding_radius(mock.galaxy.circular(radius)[0]), radius, rtol=1e-12)


def test_rejection_is_exact_for_a_known_density_and_survives_a_low_envelope():
    edges = [np.linspace(0, 1, 4), np.linspace(0, 2, 3)]
    sampler = CellRejection(lambda p: np.exp(3 * p[:, 0]) * p[:, 1], edges, safety=0.5)  # too low on purpose
    points = sampler.sample(100_000, np.random.default_rng(0))
    assert stats.kstest(points[:, 0], lambda q: np.expm1(3 * q) / np.expm1(3.0)).pvalue > 1e-3
    assert stats.kstest(points[:, 1], lambda q: q**2 / 4).pvalue > 1e-3
    assert integrate(lambda p: np.exp(3 * p[:, 0]) * p[:, 1], edges) == pytest.approx(np.expm1(3.0) / 3 * 2, rel=1e-8)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plummer(mass=-1.0),
        lambda: GaussianBar(sigma=float("nan")),
        lambda: GaussianBar(lengths=(1.0, 2.0)),
        lambda: StaeckelDisc(sigma_r=10.0, sigma_z=20.0),
        lambda: KuzminKutuzov(masses=(1e10,), heights=(1.0, 2.0)),
        lambda: KuzminKutuzov(heights=(15.0, 0.3)),
        lambda: Plummer().sample(0, np.random.default_rng(0)),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(DeepPotError):
        make()
