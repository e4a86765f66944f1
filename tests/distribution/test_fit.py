"""Bad input to fit_distribution: one clear line each; and the choice of whitening and training region."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.tracers import Tracers
from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.fit import PRESETS, choose_whitening, fit_distribution
from deeppot_galactic.distribution.training_volume import training_volume
from deeppot_galactic.errors import ConfigError, DeepPotWarning, FitError, VolumeError

from .conftest import disc_stars

VOLUME = Cylinder(r_out=10 * u.kpc, half_height=1 * u.kpc)


def test_too_few_stars():
    with pytest.raises(FitError, match="at least 500"):
        fit_distribution(Tracers(disc_stars(300)), VOLUME)


def test_empty_volume():
    with pytest.raises(VolumeError):
        fit_distribution(Tracers(disc_stars(1000)), Ball([100, 0, 0] * u.kpc, 1 * u.kpc))


def test_duplicate_stars():
    x = disc_stars(800)
    with pytest.raises(FitError, match="repeat another one"):
        fit_distribution(Tracers(np.concatenate([x, x[:400]])), VOLUME)


def test_constant_dimension():
    x = disc_stars(2000)
    x[:, 2] = 0.1
    with pytest.raises(FitError, match="dimension z is constant"):
        fit_distribution(Tracers(x), VOLUME)


def test_unknown_names_get_a_suggestion():
    tracers = Tracers(disc_stars(1000))
    with pytest.raises(ConfigError, match="did you mean 'fast'"):
        fit_distribution(tracers, VOLUME, preset="fastt")
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        fit_distribution(tracers, VOLUME, widht=3)
    with pytest.raises(ConfigError, match="validation_fraction"):
        fit_distribution(tracers, VOLUME, validation_fraction=1.0)


def test_diverging_training_is_an_error():
    with pytest.warns(DeepPotWarning, match="diverged"), pytest.raises(FitError):
        fit_distribution(Tracers(disc_stars(2000)), VOLUME, preset="quick", rate=1e30, clip=1e38, warmup=0, steps=100, batch=64, width=8)


THIN = Cylinder(r_out=10 * u.kpc, half_height=0.4 * u.kpc)


def test_region_reaches_beyond_the_volume_where_the_stars_do():
    x = disc_stars(40_000)[:, :3]
    grown = training_volume(x, THIN)
    assert grown.r_out == pytest.approx(10 / 0.85)
    assert grown.half_height == pytest.approx(0.4 / 0.85)
    assert training_volume(x[THIN.contains(x)], THIN) == THIN
    flat = training_volume(x[np.abs(x[:, 2]) < 0.4], THIN)
    assert flat.r_out > 10
    assert flat.half_height == 0.4
    ball = Ball([6, 0, 0] * u.kpc, 2 * u.kpc)
    assert training_volume(x, ball).radius == pytest.approx(2 / 0.85)
    assert training_volume(x[ball.contains(x)], ball) == ball


def test_weight_is_one_in_the_volume_when_the_region_is_larger():
    x = disc_stars(40_000)[:, :3]
    for volume in (THIN, Ball([6, 0, 0] * u.kpc, 2 * u.kpc)):
        inside = x[volume.contains(x)]
        g, slope = training_volume(x, volume).boundary_weight(inside)
        assert np.allclose(g, 1.0)
        assert np.allclose(slope, 0.0)


def test_choice_of_whitening():
    x = disc_stars(5000)
    fast, flow = PRESETS["fast"], PRESETS["flow-matching"]
    assert bool(choose_whitening(x, None, VOLUME, fast).parameters["linear"])
    assert not bool(choose_whitening(x, None, VOLUME, flow).parameters["linear"])
    assert choose_whitening(x, None, Ball([0.5, 0, 0] * u.kpc, 4 * u.kpc), fast).kind == "sphere"
    local = choose_whitening(x, None, Ball([8, 0, 0] * u.kpc, 4 * u.kpc), fast)
    assert local.kind == "disc"
    assert bool((local.parameters["centre"] != 0).all())
    assert choose_whitening(x, None, VOLUME, PRESETS["paper"]).kind == "affine"
