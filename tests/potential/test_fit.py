"""fit_potential on exact scores: every method recovers the rotating bar; models are stored exactly; errors are named."""

import warnings

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder, Volume
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import AxisymmetryWarning, ConfigError, FitError, FrameError, StoreError, VolumeError
from deeppot_galactic.mocks import BarredPotential
from deeppot_galactic.mocks.ergodic_bar import ErgodicBar
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.mocks.plummer import Plummer
from deeppot_galactic.mocks.staeckel_disc import StaeckelDisc
from deeppot_galactic.potential import PotentialModel, RotatingFrame, fit, fit_potential
from deeppot_galactic.potential.frame import stationarity_rate
from deeppot_galactic.potential.symmetry import open_axes
from deeppot_galactic.store import read_model, write_model

KMSKPC = u.km / u.s / u.kpc
VOLUME = Cylinder(r_out=5 * u.kpc, half_height=2 * u.kpc)


@pytest.fixture(scope="module")
def mock():
    return ErgodicBar()


@pytest.fixture(scope="module")
def points(mock):
    w = mock.sample(20_000, np.random.default_rng(0))
    w = w[VOLUME.contains(w[:, :3])]
    w = w[np.isfinite(mock.score(w)).all(axis=1)]
    return GradientSample(w, mock.log_density(w), mock.score(w), volume=VOLUME, meta={"n_stars": 20_000})


@pytest.fixture(scope="module")
def few_points(points):
    k = 4000
    return GradientSample(points.points[:k], points.log_density[:k], points.score[:k], volume=VOLUME, meta=points.meta)


def force_error(model, mock):
    rng = np.random.default_rng(5)
    radius, phi = rng.uniform(0.7, 3.5, 500), rng.uniform(0, 2 * np.pi, 500)
    x = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(-0.8, 0.8, 500)], axis=1)
    truth = mock.acceleration(x)
    return np.median(np.linalg.norm(model.acceleration(x * u.kpc).value - truth, axis=1) / np.linalg.norm(truth, axis=1))


def start(mock):
    return RotatingFrame(omega=0.8 * mock.omega * KMSKPC)


@pytest.mark.parametrize(
    ("method", "options", "limit"),
    [("weak", {}, 0.1), ("linear", {}, 0.03), ("network", {"steps": 300, "width": 32, "depth": 2}, 0.1)],
)
def test_every_method_recovers_the_bar(mock, points, method, options, limit, tmp_path):
    model = fit_potential(points, frame=start(mock), method=method, **options)
    assert force_error(model, mock) < limit
    assert abs(model.omega[2].value - mock.omega) < max(3.0 * model.omega_error[2].value, 0.02 * mock.omega)
    assert model.omega_error[2].value < 0.15 * mock.omega
    path = tmp_path / "model.safetensors"
    model.save(path)
    again = PotentialModel.load(path)
    x = VOLUME.sample(50, np.random.default_rng(1)) * 2 * u.kpc
    for name in ("potential", "acceleration", "density", "hessian"):
        np.testing.assert_array_equal(getattr(again, name)(x), getattr(model, name)(x))
    assert again.omega[2] == model.omega[2]
    assert again.in_training_volume([[0, 0, 0], [9, 0, 0]] * u.kpc).tolist() == [True, False]


def test_the_network_on_scores_alone_finds_omega(mock, points):
    """Exact scores, no anchor: the pointwise loss by itself rotates the frame from 0.8 of the truth towards it."""
    model = fit_potential(
        points, frame=start(mock), method="network", anchor=0.0, steps=500, width=32, depth=2, rate=5e-3, weight_decay=0.0
    )
    assert abs(model.omega[2].value - mock.omega) < 0.07 * mock.omega
    assert force_error(model, mock) < 0.05


def test_the_same_seed_gives_the_same_numbers_and_a_kill_changes_nothing(mock, few_points, tmp_path):
    options = {"frame": start(mock), "steps": 40, "width": 16, "depth": 2, "seed": 7}
    one = fit_potential(few_points, **options)
    checkpoint = tmp_path / "c.safetensors"

    class Stop(Exception):
        pass

    def stop(stage, done, total, values):
        if stage == "potential" and done >= 20:
            raise Stop

    with pytest.raises(Stop):
        fit_potential(few_points, progress=stop, checkpoint=checkpoint, **options)
    resumed = fit_potential(few_points, checkpoint=checkpoint, **options)
    np.testing.assert_array_equal(resumed.inner.output, one.inner.output)
    assert resumed.omega[2] == one.omega[2]


def test_omega_held_fixed_stays(few_points):
    frame = RotatingFrame(omega=30 * KMSKPC, free=())
    for method in ("linear", "network"):
        options = {"steps": 10, "width": 8, "depth": 2} if method == "network" else {}
        model = fit_potential(few_points, frame=frame, method=method, **options)
        assert model.meta["weak_form"]["omega"] == pytest.approx(30.0, abs=1e-3)
        assert model.omega[2].value == pytest.approx(30.0, abs=1e-3)
        assert np.isnan(model.omega_error[2].value)


def test_bad_requests_are_named(mock, points):
    with pytest.raises(ConfigError, match="unknown method"):
        fit_potential(points, method="magic")
    with pytest.raises(ConfigError, match="did you mean 'steps'"):
        fit_potential(points, step=3)
    with pytest.raises(ConfigError, match="preset"):
        fit_potential(points, preset="quik")
    with pytest.raises(ConfigError, match="train_base needs use_base"):
        fit_potential(points, train_base=True, use_base=False)
    with pytest.raises(FrameError, match="omega_z alone"):
        fit_potential(points, method="weak", frame=RotatingFrame(free=("omega_x",)))
    few = GradientSample(points.points[:10], points.log_density[:10], points.score[:10], volume=VOLUME)
    with pytest.raises(FitError, match="10 points"):
        fit_potential(few)
    with pytest.raises(StoreError):
        PotentialModel.load("nothing.safetensors")


class Cube(Volume):
    """|x|, |y|, |z| < 2 kpc, a shape that the package does not have."""

    kind, size, center, measure = "cube", 2.0, np.zeros(3), 64.0

    def _encloses(self, points):
        return np.abs(points).max(axis=1) < 2.0

    def _edge_weight(self, points, taper):
        raise NotImplementedError

    def _draw(self, n, rng):
        return rng.uniform(-2.0, 2.0, (n, 3))

    def _numbers(self):
        return {"kind": self.kind}

    def _shape(self):
        return "cube"


def test_a_shape_of_ones_own_is_refused_before_anything_is_fitted(mock, monkeypatch):
    monkeypatch.setattr(fit, "fit_weak", lambda *_, **__: pytest.fail("it was fitted"))
    points = GradientSample.of_stars(Tracers(mock.sample(4000, np.random.default_rng(0))), Cube())
    with pytest.raises(VolumeError, match="cannot blend over a Cube: expected a Cylinder or a Ball"):
        fit_potential(points, method="weak")


def test_stars_without_scores_are_enough_for_the_weak_form(mock):
    tracers = Tracers(mock.sample(4000, np.random.default_rng(0)), weights=np.random.default_rng(1).uniform(0.5, 1.5, 4000))
    points = GradientSample.of_stars(tracers, VOLUME)
    model = fit_potential(points, method="weak")
    zero = GradientSample(points.points, np.zeros(len(points)), np.zeros((len(points), 6)), volume=VOLUME, weights=points.weights)
    assert model.omega[2] == fit_potential(zero, method="weak").omega[2]
    for method in ("linear", "network"):
        with pytest.raises(FitError, match="needs scores.*method='weak'"):
            fit_potential(points, method=method)


def test_draws_know_no_more_than_the_stars_they_were_learned_from(mock, points):
    """A weak fit of 20,000 draws from an f of 4,000 stars claims the errors of 4,000 stars."""
    draws = GradientSample(points.points, points.log_density, points.score, volume=VOLUME, meta={"source": "sampled", "n_stars": 4000.0})
    few = GradientSample(points.points[:4000], points.log_density[:4000], points.score[:4000], volume=VOLUME)
    assert fit_potential(draws, method="weak").omega_error[2] == fit_potential(few, method="weak").omega_error[2]


def test_circular_speed_agrees_with_the_forces(mock, few_points):
    model = fit_potential(few_points, method="weak", frame=start(mock))
    speed = model.circular_speed([1.0, 2.0, 3.0] * u.kpc)
    assert speed.unit == u.km / u.s
    phi = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = 2.0 * np.stack([np.cos(phi), np.sin(phi), 0 * phi], axis=1)
    inward = -np.mean(np.sum(model.acceleration(ring * u.kpc).value * ring / 2.0, axis=1))
    assert speed[1].value == pytest.approx(np.sqrt(2.0 * inward), rel=1e-9)


def test_the_base_trains_along_and_a_turned_potential_is_symmetric(mock, few_points):
    options = {"frame": start(mock), "steps": 40, "width": 16, "depth": 2, "turn": True}
    held, moved = (fit_potential(few_points, train_base=choice, **options) for choice in (False, True))
    assert held.inner.base.to_list() == held.meta["weak_form"]["base"]
    shift = moved.inner.base.parameters() - held.inner.base.parameters()
    assert 0.0 < np.abs(shift).max() < 0.5
    x = VOLUME.sample(50, np.random.default_rng(2))
    turned = x * np.array([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(moved.potential(turned * u.kpc), moved.potential(x * u.kpc), rtol=1e-10)


@pytest.mark.parametrize("method", ["weak", "linear", "network"])
def test_an_axis_elsewhere_gives_the_same_potential_there(mock, few_points, method, tmp_path):
    """Stars moved by x0 and v0, in a ball about the axis: the fit in the moved frame is the moved fit, from its file, too."""
    ball = Ball([0, 0, 0] * u.kpc, 4 * u.kpc)
    x0, v0 = np.array([7.0, -3.0, 0.0]), np.array([20.0, 5.0, 0.0])
    w, inside = few_points.points, ball.contains(few_points.points[:, :3])
    options = {"method": method, "steps": 40, "width": 16, "depth": 2, "anchor": 1.0} if method == "network" else {"method": method}
    parts = (w[inside], few_points.log_density[inside], few_points.score[inside])
    here = fit_potential(GradientSample(*parts, volume=ball), frame=start(mock), **options)
    frame = RotatingFrame(omega=0.8 * mock.omega * KMSKPC, x0=x0 * u.kpc, v0=v0 * u.km / u.s)
    moved = GradientSample(w[inside] + np.concatenate([x0, v0]), *parts[1:], volume=Ball(x0 * u.kpc, 4 * u.kpc))
    there = fit_potential(moved, frame=frame, **options)
    x = 0.6 * ball.sample(40, np.random.default_rng(3))  # within the part that the continuation leaves alone
    np.testing.assert_allclose(there.acceleration((x + x0) * u.kpc).value, here.acceleration(x * u.kpc).value, rtol=2e-3, atol=1.0)
    np.testing.assert_allclose(there.acceleration_error((x + x0) * u.kpc).value, here.acceleration_error(x * u.kpc).value, rtol=2e-2)
    assert there.omega[2].value == pytest.approx(here.omega[2].value, rel=1e-3)
    np.testing.assert_array_equal(there.frame.x0_vector, x0)
    there.save(tmp_path / "model.safetensors")
    tensors, header = read_model(tmp_path / "model.safetensors", "potential")
    if method != "network":
        del header["inner"]["origin"]  # as it was before files had it
    write_model(tmp_path / "older.safetensors", tensors, header, "potential")
    for name in ("model", "older"):
        again = PotentialModel.load(tmp_path / f"{name}.safetensors")
        np.testing.assert_array_equal(again.acceleration((x + x0) * u.kpc), there.acceleration((x + x0) * u.kpc))
        np.testing.assert_array_equal(again.density_error((x + x0) * u.kpc), there.density_error((x + x0) * u.kpc))


@pytest.fixture(scope="module")
def round_points():
    """Stars of an axisymmetric disc, with exact scores."""
    disc = StaeckelDisc()
    w = disc.sample(8000, np.random.default_rng(0))
    volume = Cylinder(r_out=12 * u.kpc, half_height=2 * u.kpc)
    w = w[volume.contains(w[:, :3])]
    return GradientSample(w, disc.log_density(w), disc.score(w), volume=volume)


@pytest.mark.parametrize("options", [{"method": "weak"}, {"method": "linear"}, {}, {"anchor": 0.0}], ids=str)
def test_axisymmetric_stars_warn_and_leave_omega_open(round_points, options):
    """The model carries the numbers that the warning names, and the errors of the forces that hold the network."""
    options = {"method": "network", "steps": 20, "width": 16, "depth": 2} | options if "method" not in options else options
    with pytest.warns(AxisymmetryWarning, match="axisymmetric") as caught:
        model = fit_potential(round_points, frame=RotatingFrame(omega=35 * KMSKPC), **options)
    omega, error = model.omega[2].value, model.omega_error[2].value
    assert f"Omega = {omega:.0f} +- {error:.0f} km/s/kpc" in str(caught[0].message)
    assert error > 0.4 * abs(omega)
    if "anchor" not in options:
        assert np.isfinite(model.acceleration_error([[8.0, 0.0, 0.0]] * u.kpc)).all()


@pytest.mark.parametrize("reflect", [True, False])
def test_reflect_holds_in_a_ball_off_the_axis(mock, points, reflect):
    ball = Ball([1.5, 0.0, 0.0] * u.kpc, 1.5 * u.kpc)
    inside = ball.contains(points.points[:, :3])
    sample = GradientSample(points.points[inside], points.log_density[inside], points.score[inside], volume=ball, meta=points.meta)
    model = fit_potential(sample, frame=start(mock), steps=40, width=16, depth=2, reflect=reflect)
    x = ball.sample(50, np.random.default_rng(2))
    x[:, 2] = np.abs(x[:, 2]) + 0.1
    network = model.inner.evaluate(x, 0)[0] - model.inner.base.evaluate(x, 0)[0]
    mirrored = x * np.array([1.0, 1.0, -1.0])
    difference = np.abs(model.inner.evaluate(mirrored, 0)[0] - model.inner.base.evaluate(mirrored, 0)[0] - network).max()
    assert (difference < 1e-8 * np.abs(network).max()) == reflect


def test_in_a_ball_the_error_of_omega_knows_what_the_scores_say(mock):
    """Scores that claim another speed do not move a network held to the weak form, but they widen its error."""
    volume = Ball([2.0, 0.5, 0.0] * u.kpc, 1.8 * u.kpc)
    w = mock.sample(40_000, np.random.default_rng(2))
    w = w[volume.contains(w[:, :3])]
    score, slow = mock.score(w), ErgodicBar(BarredPotential(omega=0.85 * mock.omega)).score(w)
    finite = np.isfinite(np.hstack([score, slow])).all(axis=1)
    w, score, slow = w[finite], score[finite], slow[finite]
    options = {"frame": start(mock), "steps": 20, "width": 16, "depth": 2}
    fits = [fit_potential(GradientSample(w, np.zeros(len(w)), s, volume=volume), **options) for s in (score, slow)]
    linear = fit_potential(GradientSample(w, np.zeros(len(w)), slow, volume=volume), method="linear", frame=start(mock))
    weak = fits[0].meta["weak_form"]
    assert weak["identified"]
    disagreement = linear.omega[2].value - weak["omega"]
    assert fits[1].omega_error[2].value == pytest.approx(np.hypot(weak["omega_error"], disagreement), rel=0.1)
    of_frame = [np.sqrt(fit.omega_error[2].value ** 2 - weak["local"] ** 2) for fit in fits]
    assert 2.0 * of_frame[0] < of_frame[1]


def tilted(mock, ball, n, noise=0.0):
    """Stars of a mock in a ball, turned by 0.5 rad about x, with scores that are wrong by a fraction ``noise``; and the turned z axis."""
    cos, sin = np.cos(0.5), np.sin(0.5)
    tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    both = np.kron(np.eye(2), tilt)
    rng = np.random.default_rng(0)
    w = mock.sample(n, rng)
    w = w[ball.contains(w[:, :3])]
    w, score = w @ both.T, mock.score(w) @ both.T
    for part in (slice(0, 3), slice(3, 6)):
        score[:, part] += noise * np.linalg.norm(score[:, part], axis=1)[:, None] * rng.normal(size=(len(w), 3))
    return GradientSample(w, np.zeros(len(w)), score, volume=ball), tilt[:, 2]


def test_an_axis_in_any_direction():
    """A bar that turns about a tilted axis: the network finds the whole vector Omega."""
    ball = Ball([0, 0, 0] * u.kpc, 4 * u.kpc)
    points, axis = tilted(GaussianBar(omega=40.0, angle=0.4, lengths=(2.0, 1.0, 0.7)), ball, 5000)
    frame = RotatingFrame(omega=[1, -15, 30] * KMSKPC, free=("omega_x", "omega_y", "omega_z"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", AxisymmetryWarning)
        model = fit_potential(points, frame=frame, steps=300, width=24, depth=2)
    np.testing.assert_allclose(model.omega.value, 40.0 * axis, atol=2.5)  # from 5 off
    assert model.posterior is None


@pytest.mark.parametrize(
    ("start", "noise"), [([0.0, -14.4, 26.3], 0.0), ([0.0, -14.4, 26.3], 0.05), ([0.0, 0.0, 30.0], 0.0)], ids=["exact", "noisy", "upright"]
)
def test_a_tilted_axis_of_symmetry_leaves_omega_open_along_it(start, noise):
    """The scores tell the direction of the axis of a tilted disc, and nothing of the rotation about it."""
    points, axis = tilted(StaeckelDisc(), Ball([0, 0, 0] * u.kpc, 8 * u.kpc), 6000, noise)
    frame = RotatingFrame(omega=start * KMSKPC, free=("omega_x", "omega_y", "omega_z"))
    with pytest.warns(AxisymmetryWarning, match=r"axisymmetric about \(.*, -0.4., 0.8.\)"):
        model = fit_potential(points, frame=frame, steps=100, width=16, depth=2)
    assert np.linalg.norm(np.cross(model.omega.value, axis)) < 3.0
    speed, error = model.omega.value @ axis, model.omega_error.value
    assert np.linalg.norm(error) > 0.4 * speed
    np.testing.assert_allclose(error[1:] / np.linalg.norm(error), np.abs(axis[1:]), atol=0.1)


def test_what_the_scores_know_of_a_rotation():
    """Errors of 5 % of the scores hide no bar, and make none of a sphere or a disc."""
    ball, frame = Ball([0, 0, 0] * u.kpc, 4 * u.kpc), RotatingFrame(omega=[0, -19, 35] * KMSKPC, free=("omega_x", "omega_y", "omega_z"))
    for mock, n_open in ((ErgodicBar(), 0), (StaeckelDisc(), 1), (Plummer(), 3)):
        points, axis = tilted(mock, ball, 20_000, noise=0.05)
        w, score = points.points, points.score
        turn = np.stack([np.eye(3)[0], np.cross(axis, np.eye(3)[0]), axis])
        gradient = -mock.acceleration(w[:, :3] @ turn.T) @ turn
        omega = mock.omega if n_open == 0 else 39.0
        rate = stationarity_rate(w, score, gradient, frame.with_vectors(omega * axis))
        assert len(open_axes(w, score, rate, frame)) == n_open
