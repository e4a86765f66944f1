"""Bar strength, length and angle of catalogues made for it."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.dynamics.bar import bar_angle, bar_length, bar_peak, fourier, measure_bar
from deeppot_galactic.errors import DeepPotError


def catalogue(n: int, angle: float, strength: float = 0.5, reach: float = 3.0, seed: int = 0) -> np.ndarray:
    """A disc whose density is 1 + 2 A(R) cos 2(phi - angle), A(R) = strength exp(-(R - 2)^2 / 2 (reach - 2)^2 ...) beyond 2 kpc."""
    rng = np.random.default_rng(seed)
    radius = 8 * np.sqrt(rng.random(4 * n))
    amplitude = strength * np.exp(-0.5 * ((radius - 2) / (reach - 2)) ** 2)
    phi = rng.uniform(0, 2 * np.pi, 4 * n)
    keep = rng.random(4 * n) * (1 + 2 * strength) < 1 + 2 * amplitude * np.cos(2 * (phi - angle))
    radius, phi = radius[keep][:n], phi[keep][:n]
    return np.column_stack([radius * np.cos(phi), radius * np.sin(phi), rng.normal(0, 0.3, len(phi))])


@pytest.mark.parametrize("angle", [-1.2, 0.3, 1.5])
def test_recovers_what_was_put_in(angle):
    # A falls to 70 % of its peak at 2 + sqrt(2 ln(1 / 0.7)) = 2.845 kpc
    bar = measure_bar(catalogue(300_000, angle, strength=0.3) * u.kpc, r_max=8 * u.kpc)
    assert bar.detected
    assert bar.peak == pytest.approx(0.3, abs=0.02)
    assert bar.length.to_value(u.kpc) == pytest.approx(2.845, abs=0.15)
    assert bar.angle.to_value(u.rad) == pytest.approx(angle, abs=0.01)
    inner = 3 * u.kpc > bar.R
    phase = bar.phase[inner].to_value(u.rad)
    assert np.nanmedian(np.abs(np.angle(np.exp(2j * (phase - angle))) / 2)) < 0.05


def test_no_bar_in_an_axisymmetric_disc():
    bar = measure_bar(catalogue(100_000, 0.0, strength=0.0) * u.kpc)
    assert not bar.detected and np.isnan(bar.length) and np.isnan(bar.angle)
    # and the noise estimate is right
    assert np.nanmean(bar.strength / bar.noise) == pytest.approx(1, abs=0.35)


def test_weights_and_heights():
    x = catalogue(100_000, 0.4)
    rng = np.random.default_rng(1)
    kept = x[rng.random(len(x)) < np.where(x[:, 0] > 0, 0.3, 0.9)]
    weights = np.where(kept[:, 0] > 0, 1 / 0.3, 1 / 0.9)
    assert measure_bar(kept * u.kpc, weights=weights).angle.value == pytest.approx(0.4, abs=0.06)
    high = x + np.array([0, 0, 5.0])
    both = np.concatenate([x, high[:, [1, 0, 2]]])
    assert measure_bar(both * u.kpc, z_max=2 * u.kpc).angle.value == pytest.approx(0.4, abs=0.02)


def test_a_stronger_ring_outside_is_not_the_bar():
    # the bar of before, and a ring at 6.5 kpc across it, stronger
    x = catalogue(400_000, 0.3, strength=0.25)
    radius = np.hypot(x[:, 0], x[:, 1])
    rng = np.random.default_rng(2)
    turned = np.arctan2(x[:, 1], x[:, 0]) - 0.3
    ring = np.exp(-0.5 * ((radius - 6.5) / 0.4) ** 2)
    kept = x[rng.random(len(x)) * 1.9 < 1 - 0.9 * ring * np.cos(2 * turned)]
    bar = measure_bar(kept * u.kpc, r_max=8 * u.kpc)
    assert abs(bar.R[np.nanargmax(bar.strength)] - 6.5 * u.kpc) < 0.3 * u.kpc and bar.peak < np.nanmax(bar.strength) - 0.05
    assert bar.peak == pytest.approx(0.25, abs=0.04) and bar.length.to_value(u.kpc) == pytest.approx(2.845, abs=0.15)
    assert bar.angle.to_value(u.rad) == pytest.approx(0.3, abs=0.02)
    # annuli without a number are stepped over
    assert bar_peak(np.array([np.nan, 0.3, np.nan, 0.1, 0.4, 0.1]), np.full(6, 0.01)) == 1
    assert bar_length(np.arange(6.0), np.array([np.nan, 0.3, np.nan, 0.1, 0.4, 0.1]), peak=1) == pytest.approx(1 + 2 * 0.45)


def test_seventy_percent_rule():
    radius = np.linspace(0.5, 8, 16)
    assert bar_length(radius, np.interp(radius, [0, 2, 6], [0, 1, 0])) == pytest.approx(3.2)
    assert np.isnan(bar_length(radius, np.ones(16))) and np.isnan(bar_length(radius, np.full(16, np.nan)))


def test_refusals():
    with pytest.raises(DeepPotError, match="fewer than"):
        measure_bar(np.zeros((3, 3)) * u.kpc)
    with pytest.raises(DeepPotError, match="no stars"):
        bar_angle([[9.0, 0, 0]] * u.kpc, r_max=1 * u.kpc)


def test_development_data(shared_data):
    data = np.load(shared_data / "nbody_bar_t2250.npz")
    x = data["pos"].astype(float)
    bar = measure_bar(x * u.kpc, r_max=14 * u.kpc, z_max=2 * u.kpc)
    difference = bar.angle.to_value(u.rad) - float(data["bar_angle"])
    assert abs(np.angle(np.exp(2j * difference)) / 2) < 0.03
    assert bar.length.to_value(u.kpc) == pytest.approx(float(data["R_bar"]), rel=0.15)
    strength = np.abs(fourier(x, np.array([0.0, 4.0]))[0][0])
    assert 0.05 < strength < 1


def test_development_data_with_a_ring(shared_data):
    # at 9.2 kpc, near the outer Lindblad resonance, A_2 is larger than in the bar
    data = np.load(shared_data / "testparticle_bar.npz")
    bar = measure_bar(data["pos"].astype(float) * u.kpc)
    assert bar.length.to_value(u.kpc) == pytest.approx(float(data["R_bar"]), rel=0.05)
    assert bar.angle.to_value(u.rad) == pytest.approx(float(data["bar_angle"]), abs=0.03)
