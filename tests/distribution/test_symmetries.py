"""Known symmetries: f has them exactly, and a volume that lacks them is refused."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.fit import fit_distribution
from deeppot_galactic.distribution.score_matching import symmetry_images
from deeppot_galactic.errors import ConfigError

from .conftest import disc_stars

TINY = {"preset": "quick", "steps": 40, "batch": 256, "width": 16}


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
