"""Padding: p is the paper's, smooth, one inside; the stars it keeps have the density p f."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
import torch

from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.distribution.padding import Padding, padded_stars

from .conftest import disc_stars

DISC = Cylinder(r_out=8 * u.kpc, half_height=1 * u.kpc)
SHELL = Cylinder(r_in=4 * u.kpc, r_out=8 * u.kpc, half_height=1 * u.kpc)
BALL = Ball([6, 0, 0] * u.kpc, 2 * u.kpc)


def roll_off(t):
    return np.where(t < 1.1, 1.0, np.exp(-((t - 1.1) ** 2) / (2 * 0.1**2)))


def test_equations_of_the_paper():
    x = np.array([[3.0, 0.0, 0.5], [0.0, 8.7, 0.0], [9.2, 0.0, 0.0], [5.0, 0.0, 1.2], [0.0, 9.0, -1.25]])
    radius, z = np.hypot(x[:, 0], x[:, 1]), np.abs(x[:, 2])
    expected = roll_off(radius / 8) * roll_off(z)
    assert Padding.fit(x, DISC).acceptance(x) == pytest.approx(expected, rel=1e-9)
    x = np.array([[6.5, 0.0, 0.0], [8.15, 0.0, 0.0], [6.0, 0.0, 2.3], [6.0, 2.45, 0.0]])
    expected = roll_off(np.linalg.norm(x - [6, 0, 0], axis=1) / 2)
    assert Padding.fit(x, BALL).acceptance(x) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("volume", [DISC, SHELL, BALL], ids=["disc", "shell", "ball"])
def test_one_inside_and_twice_differentiable(volume):
    stars = disc_stars(60_000)[:, :3]
    padding = Padding.fit(stars, volume)
    inside = stars[volume.contains(stars)]
    assert np.array_equal(padding.acceptance(inside), np.ones(len(inside)))
    assert (padding.acceptance(stars) <= 1.0).all()
    ray = np.linspace(0.3, 12.0, 40_001)
    x = torch.tensor(np.stack([ray, 0 * ray, 0 * ray], 1), requires_grad=True)
    kept = torch.exp(padding.log_acceptance(x))
    (slope,) = torch.autograd.grad(kept.sum(), x)
    p = kept.detach().numpy()
    assert np.allclose(np.gradient(p, ray)[1:-1], slope[1:-1, 0], atol=2e-3)
    assert np.abs(np.diff(p)).max() < 2e-3  # no jump
    assert np.abs(np.diff(slope[:, 0].numpy())).max() < 2e-2  # no kink: the second derivative is finite everywhere


def test_the_hole_is_filled_flat():
    """Inside R_in the kept stars have the surface density h: n_0 at the centre, n at R_in, nothing like the cusp of the disc."""
    stars = disc_stars(400_000)
    kept, _, padding = padded_stars(stars, None, SHELL, 0)
    edges = np.linspace(0.0, 4.4, 12)

    def density(x):
        x = x[np.abs(x[:, 2]) < 1.0]
        return np.histogram(np.hypot(x[:, 0], x[:, 1]), edges)[0] / np.diff(edges**2)

    thinned, full = density(kept), density(stars)
    at_edge = full[-2]
    assert full[1] > 2.0 * at_edge
    assert thinned[:-2] == pytest.approx(np.full(9, at_edge), rel=0.35)
    u = torch.linspace(0.05, 1.0, 50, dtype=torch.float64)
    n0, a3, a4, a5 = padding.h
    h = n0 + a3 * u**3 + a4 * u**4 + a5 * u**5
    assert float(h[0]) == pytest.approx(n0, rel=1e-2)
    assert float(h[-1]) == pytest.approx(np.exp(sum(padding.log_n)), rel=1e-9)


def test_kept_stars_follow_p():
    stars = disc_stars(400_000)
    kept = padded_stars(stars, None, DISC, 1)[0]
    share = []
    for low, high in ((8.0, 8.8), (8.8, 9.6), (9.6, 10.4)):
        rows = [(np.hypot(x[:, 0], x[:, 1]) > low) & (np.hypot(x[:, 0], x[:, 1]) < high) & (np.abs(x[:, 2]) < 1) for x in (kept, stars)]
        share.append(rows[0].sum() / rows[1].sum())
    t = np.linspace(1.1, 1.2, 200), np.linspace(1.2, 1.3, 200)
    assert share == pytest.approx([1.0, roll_off(t[0]).mean(), roll_off(t[1]).mean()], abs=0.03)
    assert np.array_equal(kept, padded_stars(stars, None, DISC, 1)[0])
    assert not np.array_equal(kept, padded_stars(stars, None, DISC, 2)[0])


def test_catalogue_that_ends_is_mirrored():
    stars = disc_stars(200_000)
    inside = stars[DISC.contains(stars[:, :3])]
    weights = np.arange(len(inside)) + 1.0
    kept, known, _ = padded_stars(inside, weights, DISC, 0)
    radius, z = np.hypot(kept[:, 0], kept[:, 1]), kept[:, 2]
    assert (radius > 8).sum() > 1000
    edges = (7.2, 7.6, 8.0, 8.4, 8.8)
    counts = np.histogram(radius[np.abs(z) < 1], edges)[0]
    truth = np.histogram(np.hypot(stars[:, 0], stars[:, 1])[np.abs(stars[:, 2]) < 1], edges)[0]
    assert counts == pytest.approx(truth, rel=0.1)  # the density and its slope go on across the edge
    layers = np.histogram(np.abs(z)[radius < 8], (0.8, 0.9, 1.0, 1.1, 1.2))[0]
    assert 0 < layers[2] < layers[1] < layers[0]  # and so does a steep fall
    assert len(known) == len(kept)
    row = int(np.argmax(radius > 8))
    assert (np.abs(inside[int(known[row]) - 1, 3:] - kept[row, 3:]) == 0).all()  # the image has the velocity and weight of its star
    ball = stars[BALL.contains(stars[:, :3])]
    kept = padded_stars(ball, None, BALL, 0)[0]
    assert (np.linalg.norm(kept[:, :3] - [6, 0, 0], axis=1) > 2).sum() > 300


def test_an_empty_hole_stays_empty():
    stars = disc_stars(50_000)
    stars = stars[np.hypot(stars[:, 0], stars[:, 1]) > 3.9]
    kept, _, padding = padded_stars(stars, None, SHELL, 0)
    assert padding.h == ()
    assert np.hypot(kept[:, 0], kept[:, 1]).min() > 3.8
    assert Padding.from_dict(padding.to_dict()) == padding
