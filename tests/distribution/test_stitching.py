"""Shells stitched to one distribution: continuous with its gradient, normalised, sampled, stored, resumed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Cylinder
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.stitching import StitchedDistribution, half_widths
from deeppot_galactic.errors import FitError, StoreError

from .conftest import disc_stars

EDGES = (0.0, 3.0, 6.0, 10.0)
VOLUME = Cylinder(shells=EDGES * u.kpc, half_height=1 * u.kpc)
FLOW = {
    "preset": "flow-matching",
    "steps": 250,
    "batch": 512,
    "width": 32,
    "depth": 2,
    "rate": 5e-3,
    "ema": 0.98,
    "warmup": 20,
    "validate_every": 50,
}


@pytest.fixture(scope="module")
def stitched():
    return fit_distribution(Tracers(disc_stars(20_000)), VOLUME, seed=3, **FLOW)


def ray(df, radius):
    """A star on a circular orbit at every radius."""
    x = np.zeros((len(radius), 6))
    angle = 0.7
    x[:, 0], x[:, 1], x[:, 2] = radius * np.cos(angle), radius * np.sin(angle), 0.1
    x[:, 3], x[:, 4] = -200 * np.sin(angle), 200 * np.cos(angle)
    ln_f, score = df.evaluate(x)
    return ln_f, score[:, 0] * np.cos(angle) + score[:, 1] * np.sin(angle)


def test_one_member_for_each_shell(stitched):
    assert isinstance(stitched, StitchedDistribution)
    assert [m.volume.r_in for m in stitched.members] == [0.0, 3.0, 6.0]
    assert stitched.n_stars == len(stitched.tracers)
    assert [round(j["radius"]) for j in stitched.meta["joins"]] == [3, 6]


def test_density_and_radial_gradient_are_continuous(stitched):
    """The paper's figure 4 as numbers: no jump of ln f or of d ln f/dR anywhere along a ray, joins and their edges included."""
    for member in stitched.members:
        member.flow.double()
    try:
        for edge, d in zip(EDGES[1:-1], half_widths(EDGES), strict=True):
            for centre in (edge - d, edge, edge + d):
                around = centre + np.array([-1e-7, 1e-7])
                ln_f, slope = ray(stitched, around)
                assert abs(np.diff(ln_f)[0]) < 1e-5
                assert abs(np.diff(slope)[0]) < 1e-4
            radius = np.linspace(edge - 2 * d, edge + 2 * d, 401)
            ln_f, slope = ray(stitched, radius)
            assert np.allclose(np.gradient(ln_f, radius)[1:-1], slope[1:-1], atol=2e-2)
            inner, outer = (ray(m, np.array([edge]))[0][0] for m in stitched.members[EDGES.index(edge) - 1 : EDGES.index(edge) + 1])
            assert abs(inner - outer) > 1e-3  # the members do differ: a hard merge would jump
    finally:
        for member in stitched.members:
            member.flow.float()


def test_score_is_the_gradient(stitched):
    x = stitched.tracers.phase_space
    radius = np.hypot(x[:, 0], x[:, 1])
    x = np.concatenate([x[:10], x[np.abs(radius - 3.0) < 0.1][:10]])
    for member in stitched.members:
        member.flow.double()
    try:
        score = stitched.evaluate(x)[1]
        for i, step in enumerate((1e-5,) * 3 + (1e-3,) * 3):
            shift = step * np.eye(6)[i]
            difference = (stitched.evaluate(x + shift)[0] - stitched.evaluate(x - shift)[0]) / (2 * step)
            assert np.allclose(difference, score[:, i], rtol=1e-3, atol=1e-4 * np.abs(score[:, i]).max())
    finally:
        for member in stitched.members:
            member.flow.float()


def annuli(x, edges):
    return np.histogram(np.hypot(x[:, 0], x[:, 1]), edges)[0] / len(x)


def test_relative_normalisation_of_the_shells(stitched):
    """Draws fill the shells as the stars do, however short the training."""
    x, drawn = stitched.tracers.phase_space, stitched._sample(20_000, 5)
    assert VOLUME.contains(drawn[:, :3]).all()
    assert annuli(drawn, EDGES) == pytest.approx(annuli(x, EDGES), abs=0.02)
    assert np.array_equal(drawn, stitched._sample(20_000, 5))


@pytest.mark.slow
def test_profile_across_the_joins():
    """Trained longer, the draws follow the stars within every shell and across the joins."""
    stars = Tracers(disc_stars(30_000))
    df = fit_distribution(stars, VOLUME, seed=3, **(FLOW | {"steps": 900, "width": 48, "whiten": False}))
    edges = [0.0, 1.0, 2.0, 2.7, 3.3, 4.5, 5.5, 6.5, 8.0, 10.0]
    assert annuli(df._sample(20_000, 5), edges) == pytest.approx(annuli(df.tracers.phase_space, edges), rel=0.2)


def test_the_integral_is_the_number_of_stars(stitched):
    """Importance sampling from the known density of the mock's positions and broad Gaussian velocities."""
    rng = np.random.default_rng(0)
    n = 16_000
    radius = 10 * np.sqrt(rng.uniform(size=n))
    phi, z = rng.uniform(0, 2 * np.pi, n), rng.uniform(-1, 1, n)
    sigma = 1.3 * np.array([80, 60, 50]) * np.exp(-radius / 10)[:, None] + 5
    v = rng.normal(size=(n, 3)) * sigma
    log_q = -np.log(np.pi * 100 * 2) - 0.5 * ((v / sigma) ** 2).sum(1) - np.log(sigma).sum(1) - 1.5 * np.log(2 * np.pi)
    v_phi = v[:, 1] + 220 * radius / np.hypot(radius, 1.5)
    c, s = np.cos(phi), np.sin(phi)
    x = np.stack([radius * c, radius * s, z, v[:, 0] * c - v_phi * s, v[:, 0] * s + v_phi * c, v[:, 2]], 1)
    integral = np.exp(stitched.evaluate(x)[0] - log_q).mean()
    assert integral == pytest.approx(stitched.n_stars, rel=0.1)


def test_file(stitched, tmp_path):
    stitched.save(tmp_path / "stitched.safetensors")
    again = Distribution.load(tmp_path / "stitched.safetensors")
    x = stitched.tracers.phase_space[:200]
    assert np.allclose(again.evaluate(x)[1], stitched.evaluate(x)[1], rtol=1e-4, atol=1e-5)
    assert np.allclose(again._sample(500, 1), stitched._sample(500, 1), rtol=1e-4, atol=1e-3)
    again.members = again.members[:2]
    again.save(tmp_path / "broken.safetensors")
    with pytest.raises(StoreError, match="as many shells"):
        Distribution.load(tmp_path / "broken.safetensors")


def test_weights_are_a_partition_of_unity(stitched):
    radius = torch.linspace(0.0, 12.0, 500, dtype=torch.float64)
    w, dw = stitched.weights(torch.stack([radius, 0 * radius, 0 * radius], 1))
    assert torch.allclose(w.sum(0), torch.ones_like(radius))
    assert torch.allclose(dw.sum(0), torch.zeros_like(radius))
    assert bool(((w > 0).sum(0) <= 2).all())


def test_shells_side_by_side_and_resumed(tmp_path):
    stars = Tracers(disc_stars(6000))
    options = FLOW | {"steps": 12, "checkpoint_every": 5, "batch": 128, "width": 8, "depth": 1, "solver_steps": 2}
    whole = fit_distribution(stars, VOLUME, **options)
    x = stars.within(VOLUME).phase_space[:50]
    with ThreadPoolExecutor(2) as executor:
        other = fit_distribution(stars, VOLUME, executor=executor, checkpoint=tmp_path / "fit.safetensors", **options)
    assert np.allclose(other.evaluate(x)[1], whole.evaluate(x)[1], rtol=1e-3, atol=1e-4)
    assert len(list(tmp_path.glob("fit.shell*.safetensors"))) == 3
    again = fit_distribution(stars, VOLUME, checkpoint=tmp_path / "fit.safetensors", **options)
    assert np.array_equal(again.evaluate(x)[1], other.evaluate(x)[1])


def test_score_matching_in_shells_has_no_sampler():
    df = fit_distribution(Tracers(disc_stars(8000)), VOLUME, preset="quick", steps=40, batch=256, width=16)
    assert isinstance(df, StitchedDistribution)
    assert np.isfinite(df.evaluate(df.tracers.phase_space)[1]).all()
    with pytest.raises(FitError, match="no sampler"):
        df.sample(10)
