"""The objectives of the network: the paper's equations 9 and 10 and the robust one against plain NumPy, and how a fit fills them."""

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.mocks.gaussian_bar import GaussianBar
from deeppot_galactic.potential import RotatingFrame, fit_potential
from deeppot_galactic.potential.frame import stationarity_rate
from deeppot_galactic.potential.network import PotentialNetwork
from deeppot_galactic.potential.settings import PRESETS
from deeppot_galactic.potential.stationarity import Objective, StationaryModel, robust_scale

V = 100.0  # the paper's unit of velocity, km/s
FRAME = RotatingFrame(omega=[1.0, -2.0, 40.0] * u.km / u.s / u.kpc, x0=[0.1, 0.2, 0.0] * u.kpc, v0=[3.0, -4.0, 5.0] * u.km / u.s)
VOLUME = Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc)


@pytest.fixture
def model():
    generator = torch.Generator().manual_seed(1)
    network = PotentialNetwork(width=16, depth=2, inputs="plain", output_scale=2e4, generator=generator, zero_output=False)
    return StationaryModel(network, FRAME).double()


def draws(n=200):
    rng = np.random.default_rng(2)
    x, v, score = rng.normal(0, 3, (n, 3)), rng.normal(0, 150, (n, 3)), rng.normal(0, 1, (n, 6)) / [1, 1, 0.3, 100, 100, 50]
    return x, v, score, rng.uniform(0.1, 3.0, n)


def batch(*arrays):
    return tuple(torch.tensor(np.asarray(a, dtype=float)) for a in arrays)


def nothing(n):
    return np.zeros((n, 3)), np.zeros((n, 3, 3))


def field_of(model, x):
    return [t.detach().numpy() for t in model.network(torch.tensor(x))[1:]]


def test_the_papers_loss_is_its_equation_9_in_its_units(model):
    """kpc, 100 km/s, and f of that unit normalised to one: alpha = 1e5, beta = lambda = 1, l2 = 0.1 per weight."""
    x, v, score, f = draws()
    y = np.random.default_rng(3).normal(0, 3, (100, 3))
    gradient, _ = field_of(model, x)
    _, laplacian = field_of(model, y)
    omega, v0 = FRAME.omega_vector / V, FRAME.v0_vector / V
    stream, turn = np.cross(omega, x - FRAME.x0_vector) + v0, np.cross(omega, v / V - v0)
    df = f[:, None] * score * [1, 1, 1, V, V, V]
    change = np.sum((stream - v / V) * df[:, :3], axis=1) + np.sum((gradient / V**2 + turn) * df[:, 3:], axis=1)
    weights = np.concatenate([p.detach().numpy().ravel() for p in [*model.network.weights, model.network.output]])
    negative = np.maximum(-laplacian / V**2, 0.0)
    assert (negative > 0.0).any()
    expected = np.mean(np.arcsinh(1e5 * np.abs(change))) + np.mean(np.arcsinh(negative)) + 0.1 * np.sum(weights**2) / len(weights)

    paper = PRESETS["paper"]
    objective = Objective(
        residual=paper.residual,
        scale=V / paper.alpha,
        density_weight=paper.density_weight,
        density_scale=V**2 / paper.beta,
        l2=paper.l2,
        anchor=paper.anchor,
    )
    stars, places = batch(x, v, score, np.zeros_like(x), f, *nothing(len(x))), batch(y, np.zeros(100), np.zeros((100, 3)), *nothing(100))
    assert model.loss(stars, places, objective).item() == pytest.approx(expected, rel=1e-9)


def test_the_preset_of_the_paper_has_its_settings():
    paper = PRESETS["paper"]
    assert (paper.depth, paper.width, paper.inputs, paper.use_base, paper.anchor) == (4, 512, "plain", False, 0.0)
    assert (paper.residual, paper.alpha, paper.beta, paper.density_weight, paper.l2) == ("f", 1e5, 1.0, 1.0, 0.1)
    assert (paper.batch, paper.warmup, paper.rate, paper.patience, paper.schedule) == (2**15, 2048, 1e-3, 2048, "plateau")


def test_the_robust_loss_and_its_anchor(model):
    x, v, score, weight = draws()
    rng = np.random.default_rng(4)
    base, whiten, mean = rng.normal(0, 1e3, (200, 3)), rng.normal(0, 1e-3, (200, 3, 3)), rng.normal(0, 1e3, (200, 3))
    gradient = field_of(model, x)[0] + base
    rate = stationarity_rate(np.concatenate([x, v], axis=1), score, gradient, FRAME)
    chi2 = np.sum(np.einsum("nij,nj->ni", whiten, gradient - mean) ** 2, axis=1)
    expected = np.mean(weight * (np.sqrt(1 + (rate / 30.0) ** 2) - 1)) + 0.7 * np.mean(np.sqrt(1 + chi2 / 3) - 1)
    found = model.loss(batch(x, v, score, base, weight, mean, whiten), (), Objective(scale=30.0, l2=0.0, anchor=0.7))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_negative_density_costs_where_no_star_is(model):
    """At places of the volume, whatever is at the stars."""
    x, v, score, weight = draws()
    stars = batch(x, v, score, np.zeros_like(x), weight, *nothing(len(x)))
    far = np.random.default_rng(5).normal([0, 0, 9], 0.1, (50, 3))
    laplacian = field_of(model, far)[1]

    def loss(total):
        return model.loss(stars, batch(far, total - laplacian, np.zeros((50, 3)), *nothing(50)), Objective(density_weight=10.0)).item()

    alone = model.loss(stars, (), Objective()).item()
    assert loss(5.0) == pytest.approx(alone, rel=1e-12)
    assert loss(-5.0) == pytest.approx(alone + 10.0 * np.arcsinh(5.0), rel=1e-9)


def test_a_fit_hands_over_scales_weights_and_places(monkeypatch):
    """Residual "f": f of the paper's units at the points, alpha and beta; "ln f": the scale of the data, or the one that is given."""
    bar, seen = GaussianBar(), []
    w = bar.sample(3000, np.random.default_rng(0))
    w = w[VOLUME.contains(w[:, :3])]
    points = GradientSample(w, np.log(len(w)) + bar.log_density(w), bar.score(w), volume=VOLUME, meta={"n_stars": len(w)})
    original = StationaryModel.loss

    def recorded(self, stars, places, objective):
        seen.append((stars, places, objective))
        return original(self, stars, places, objective)

    monkeypatch.setattr(StationaryModel, "loss", recorded)
    frame, small = RotatingFrame(omega=bar.omega * u.km / u.s / u.kpc), {"steps": 2, "width": 8, "depth": 1, "batch": 512, "n_places": 512}
    fit_potential(points, frame=frame, preset="paper", **small)
    stars, places, objective = next(entry for entry in seen if len(entry[1]))
    assert (objective.scale, objective.density_scale, objective.density_weight) == pytest.approx((1e-3, 1e4, 1.0))
    expected = np.exp(bar.log_density(torch.cat(stars[:2], dim=1).double().numpy())) * V**3
    np.testing.assert_allclose(stars[4].numpy(), expected, rtol=1e-3)
    y = places[0].numpy()
    assert VOLUME.contains(y).all()
    assert np.abs(y[:, 2]).max() > 1.4 > 1.1 > np.quantile(np.abs(w[:, 2]), 0.95)  # above most stars, too

    seen.clear()
    model = fit_potential(points, frame=frame, **small)
    chosen = seen[0][2].scale
    assert chosen == model.meta["residual_scale"]
    weak = fit_potential(points, frame=frame, method="weak")
    gradient = -weak.acceleration(w[:, :3] * u.kpc).value
    assert chosen == pytest.approx(robust_scale(stationarity_rate(w, points.score, gradient, weak.frame)), rel=0.02)
    seen.clear()
    fit_potential(points, frame=frame, scale=7.0, **small)
    assert {entry[2].scale for entry in seen} == {7.0}
