"""Volumes: membership, smooth weights with true gradients, uniform samples."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppot_galactic.catalogue.volumes import Ball, Cylinder, Volume, smoother_step
from deeppot_galactic.errors import UnitsError, VolumeError

VOLUMES = {
    "disc": Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc),
    "annulus": Cylinder(r_in=2 * u.kpc, r_out=6 * u.kpc, half_height=500 * u.pc),
    "shells": Cylinder(shells=[0, 2, 5, 10, 16] * u.kpc, half_height=2 * u.kpc),
    "ball": Ball([-8, 1, 0.5] * u.kpc, 4 * u.kpc),
    "central ball": Ball([0, 0, 0] * u.kpc, 3 * u.kpc),
}


@pytest.fixture(params=list(VOLUMES), name="volume")
def _volume(request: pytest.FixtureRequest) -> Volume:
    return VOLUMES[request.param]


def test_step_is_twice_differentiable_at_its_ends() -> None:
    """s, s' and (by differences of s') s'' vanish at 0, and s = 1, s' = s'' = 0 at 1."""
    h = 1e-4
    value, slope = smoother_step(np.array([0.0, h, 1.0 - h, 1.0]))
    assert value[0] == 0.0 and value[3] == 1.0 and slope[0] == slope[3] == 0.0
    assert slope[1] / h < 0.01 and slope[2] / h < 0.01
    assert smoother_step(np.array([-3.0, 4.0]))[0].tolist() == [0.0, 1.0]


def test_samples_fill_the_volume_uniformly(volume: Volume) -> None:
    x = volume.sample(20_000, np.random.default_rng(1))
    assert volume.contains(x).all()
    # Independent oracle: the share of a bounding box that the volume fills.
    low, high = x.min(0), x.max(0)
    box = np.random.default_rng(2).uniform(low, high, (200_000, 3))
    share = volume.contains(box).mean() * np.prod(high - low)
    assert share == pytest.approx(volume.measure, rel=0.02)
    assert np.abs(x.mean(0) - volume.center).max() < 0.03 * volume.size


def test_weight_is_one_inside_and_zero_at_the_edge(volume: Volume) -> None:
    x = volume.sample(20_000, np.random.default_rng(3))
    g, gradient = volume.boundary_weight(x)
    assert g.shape == (20_000,) and gradient.shape == (20_000, 3)
    assert g.min() >= 0.0 and g.max() == 1.0 and (g == 1.0).mean() > 0.3
    assert np.all(gradient[g == 1.0] == 0.0)
    outside = np.random.default_rng(4).uniform(-30, 30, (20_000, 3))
    outside = outside[~volume.contains(outside)]
    g, gradient = volume.boundary_weight(outside)
    assert np.all(g == 0.0) and np.all(gradient == 0.0)


@pytest.mark.parametrize("taper", [0.05, 0.15, 0.6])
def test_gradient_against_central_differences(volume: Volume, taper: float) -> None:
    x = volume.sample(3000, np.random.default_rng(5))
    h = 1e-6
    differences = np.stack(
        [
            (volume.boundary_weight(x + h * e, taper=taper)[0] - volume.boundary_weight(x - h * e, taper=taper)[0]) / (2 * h)
            for e in np.eye(3)
        ],
        axis=1,
    )
    gradient = volume.boundary_weight(x, taper=taper)[1]
    assert np.abs(gradient).max() > 0.1
    assert np.allclose(gradient, differences, atol=3e-5 / taper)


def test_divergence_theorem(volume: Volume) -> None:
    """The integral of grad g over all space vanishes, as g has compact support; also of x_i d_j g = -delta_ij integral g."""
    x = volume.sample(400_000, np.random.default_rng(6))
    g, gradient = volume.boundary_weight(x)
    moment = ((x - volume.center)[:, :, None] * gradient[:, None, :]).mean(0)
    assert np.allclose(moment, -np.eye(3) * g.mean(), atol=0.02)


def test_units_in_any_length(volume: Volume) -> None:
    x = volume.sample(100, np.random.default_rng(7)) * 1.2
    assert np.array_equal(volume.contains(x), volume.contains((x * u.kpc).to(u.lyr)))
    assert volume.contains(x[0]).shape == (1,)


def test_not_finite_is_outside(volume: Volume) -> None:
    assert not volume.contains([[np.nan, 0, 0], [np.inf, 0, 0]]).any()


def test_dictionary_round_trip(volume: Volume) -> None:
    again = Volume.from_dict(volume.to_dict())
    assert again == volume and hash(again) == hash(volume) and again.describe() == volume.describe()
    assert again != Ball([0, 0, 0] * u.kpc, 99 * u.kpc)


def test_shells_split() -> None:
    parts = VOLUMES["shells"].split()  # type: ignore[attr-defined]
    assert [(part.r_in, part.r_out) for part in parts] == [(0, 2), (2, 5), (5, 10), (10, 16)]
    assert sum(part.measure for part in parts) == pytest.approx(VOLUMES["shells"].measure)
    x = VOLUMES["shells"].sample(1000, np.random.default_rng(8))
    assert np.array_equal(np.sum([part.contains(x) for part in parts], axis=0), np.ones(1000))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Cylinder(half_height=2 * u.kpc), "r_out or shells"),
        (lambda: Cylinder(r_out=2 * u.kpc, r_in=3 * u.kpc, half_height=1 * u.kpc), "0 <= r_in < r_out"),
        (lambda: Cylinder(r_out=2 * u.kpc, half_height=0 * u.kpc), "half_height must be positive"),
        (lambda: Cylinder(r_out=np.nan * u.kpc, half_height=1 * u.kpc), "finite"),
        (lambda: Cylinder(r_out=[1, 2] * u.kpc, half_height=1 * u.kpc), "one finite"),
        (lambda: Cylinder(shells=[0, 2, 1] * u.kpc, half_height=1 * u.kpc), "increasing"),
        (lambda: Cylinder(r_out=9 * u.kpc, shells=[0, 2] * u.kpc, half_height=1 * u.kpc), "shells must run"),
        (lambda: Ball([0, 0] * u.kpc, 1 * u.kpc), "three finite"),
        (lambda: Ball([0, 0, 0] * u.kpc, -1 * u.kpc), "positive"),
        (lambda: VOLUMES["disc"].boundary_weight(np.zeros((1, 3)), taper=0), "taper"),
        (lambda: VOLUMES["disc"].contains(np.zeros((1, 2))), r"\(N, 3\)"),
        (lambda: Volume.from_dict({"kind": "cube"}), "unknown kind"),
        (lambda: Volume.from_dict({"kind": "ball", "radius": 1.0}), "no 'center'"),
        (lambda: Volume.from_dict({"kind": "ball", "radius": 1.0, "center": [0, 0, 0], "unit": "pc"}), "kpc"),
    ],
)
def test_refusals(build, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        build()


def test_bare_numbers_are_refused() -> None:
    with pytest.raises(UnitsError, match="r_out has no unit"):
        Cylinder(r_out=16, half_height=2 * u.kpc)  # type: ignore[arg-type]
    with pytest.raises(UnitsError, match="cannot be converted"):
        Ball([0, 0, 0] * u.kpc, 3 * u.km / u.s)


@given(st.floats(0.1, 50), st.floats(0, 0.9), st.floats(0.01, 20), st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_any_cylinder_has_a_weight_between_zero_and_one(r_out: float, inner: float, height: float, taper: float) -> None:
    volume = Cylinder(r_out=r_out * u.kpc, r_in=inner * r_out * u.kpc, half_height=height * u.kpc)
    x = volume.sample(200, np.random.default_rng(0))
    g, gradient = volume.boundary_weight(x, taper=taper)
    assert np.all((g >= 0) & (g <= 1)) and np.isfinite(gradient).all()
    assert Volume.from_dict(volume.to_dict()) == volume
