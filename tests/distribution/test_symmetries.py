"""Known symmetries: f has them exactly, and a volume that lacks them is refused."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.symmetries import symmetry_images
from deeppot_galactic.errors import ConfigError

from .conftest import disc_stars

TINY = {"preset": "quick", "steps": 40, "batch": 256, "width": 16}
FLOWS = {
    "flow-matching": {"preset": "flow-matching", "steps": 40, "batch": 256, "width": 16},
    "likelihood": {"preset": "paper-small", "steps": 3, "batch": 64, "width": 8, "warmup": 1},
}


def test_images_form_the_group():
    assert symmetry_images(reflect=False, turn=False) == [[1.0] * 6]
    both = symmetry_images(reflect=True, turn=True)
    assert len(both) == 4
    products = {tuple(np.multiply(a, b)) for a in both for b in both}
    assert products == {tuple(image) for image in both}


@pytest.mark.parametrize(("reflect", "turn"), [(True, False), (False, True), (True, True)])
def test_f_has_the_symmetry(reflect, turn):
    x = disc_stars(3000)
    x[:, 2] += 0.05
    volume = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
    df = fit_distribution(Tracers(x), volume, reflect=reflect, turn=turn, **TINY)
    ln_f, score = df.evaluate(x[:200])
    for image in symmetry_images(reflect=reflect, turn=turn):
        other_f, other = df.evaluate(x[:200] * image)
        assert np.allclose(other_f, ln_f, atol=1e-4)
        assert np.allclose(other * image, score, rtol=1e-3, atol=1e-3 * np.abs(score).max(axis=0))
    lacking = [1, 1, -1, 1, 1, -1] if not reflect else [-1, -1, 1, -1, -1, 1]
    if not (reflect and turn):
        assert np.abs(df.evaluate(x[:200] * lacking)[0] - ln_f).max() > 1e-3


def test_volume_must_have_the_symmetry():
    tracers = Tracers(disc_stars(3000))
    ball = Ball([6, 0, 0.5] * u.kpc, 2 * u.kpc)
    with pytest.raises(ConfigError, match="reflect"):
        fit_distribution(tracers, ball, reflect=True, **TINY)
    with pytest.raises(ConfigError, match="turn"):
        fit_distribution(tracers, ball, turn=True, **TINY)


@pytest.mark.parametrize("kind", FLOWS)
def test_a_flow_has_the_symmetry_and_draws_with_it(kind, tmp_path):
    x = disc_stars(3000)
    x[:, 2] += 0.05
    volume = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
    plain = fit_distribution(Tracers(x), volume, **FLOWS[kind])
    df = fit_distribution(Tracers(x), volume, reflect=True, turn=True, **FLOWS[kind])
    df.save(tmp_path / "df.safetensors")
    df = Distribution.load(tmp_path / "df.safetensors")
    ln_f, score = df.evaluate(x[:100])
    for image in symmetry_images(reflect=True, turn=True):
        other_f, other = df.evaluate(x[:100] * image)
        np.testing.assert_allclose(other_f, ln_f, atol=1e-4)
        np.testing.assert_allclose(other * image, score, rtol=1e-3, atol=1e-3 * np.abs(score).max())
    assert np.abs(plain.evaluate(x[:100] * [1, 1, -1, 1, 1, -1])[0] - plain.evaluate(x[:100])[0]).max() > 1e-3
    h = 1e-3  # the score is the gradient of the mean over the images
    for k in range(6):
        step = h * np.eye(6)[k] * (1.0 if k < 3 else 50.0)
        slope = (df.evaluate(x[:100] + step)[0] - df.evaluate(x[:100] - step)[0]) / (2 * step[k])
        np.testing.assert_allclose(slope, score[:, k], rtol=0.05, atol=0.02 * np.abs(score[:, k]).max())
    z = df.sample(4000, seed=1)[0][:, 2].to_value(u.kpc)
    assert abs(np.mean(z > 0) - 0.5) < 0.04


def test_a_flow_with_drawn_errors_has_no_symmetries():
    volume = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)
    with pytest.raises(ConfigError, match="symmetries"):
        fit_distribution(Tracers(disc_stars(3000)), volume, preset="flow-matching", reflect=True, errors="inject")
