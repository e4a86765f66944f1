"""The way between sky and phase space against astropy, and the stored frame."""

from __future__ import annotations

import json

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord, galactocentric_frame_defaults
from hypothesis import given, settings
from hypothesis import strategies as st

from deeppot_galactic.catalogue.frames import (
    KAPPA,
    affine,
    frame_from_dict,
    frame_to_dict,
    galactocentric,
    phase_space_to_sky,
    resolve_frame,
    rotate_sky,
    sky_to_phase_space,
    sun,
)
from deeppot_galactic.errors import CatalogueError, UnitsError

FRAMES = {
    "default": galactocentric(),
    "old": galactocentric("pre-v4.0"),
    "custom": galactocentric(galcen_distance=8.178 * u.kpc, z_sun=14 * u.pc, galcen_v_sun=[11.1, 248.5, 7.25] * u.km / u.s, roll=3 * u.deg),
}


def observed(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    return np.stack([rng.uniform(0, 360, n), lat, 10 ** rng.uniform(-2, 1.5, n), *rng.normal(0, 8, (2, n)), rng.normal(0, 80, n)], axis=1)


def by_hand(values: np.ndarray, frame, sky: str) -> SkyCoord:
    lon, lat, pm_lon, pm_lat = ("ra", "dec", "pm_ra_cosdec", "pm_dec") if sky == "icrs" else ("l", "b", "pm_l_cosb", "pm_b")
    return SkyCoord(
        **{lon: values[:, 0] * u.deg, lat: values[:, 1] * u.deg},
        distance=values[:, 2] * u.kpc,
        **{pm_lon: values[:, 3] * u.mas / u.yr, pm_lat: values[:, 4] * u.mas / u.yr},
        radial_velocity=values[:, 5] * u.km / u.s,
        frame=sky,
    ).transform_to(frame)


@pytest.mark.parametrize("sky", ["icrs", "galactic"])
@pytest.mark.parametrize("name", FRAMES)
def test_agrees_with_astropy_to_1e_10(name: str, sky: str) -> None:
    values = observed(3000)
    rows = sky_to_phase_space(values, FRAMES[name], sky=sky)
    reference = by_hand(values, FRAMES[name], sky)
    assert np.abs(rows[:, :3] - reference.cartesian.xyz.to_value(u.kpc).T).max() < 1e-10
    assert np.abs(rows[:, 3:] - reference.velocity.d_xyz.to_value(u.km / u.s).T).max() < 1e-10


@pytest.mark.parametrize("sky", ["icrs", "galactic"])
@pytest.mark.parametrize("name", FRAMES)
def test_round_trip_to_1e_10(name: str, sky: str) -> None:
    values = observed(3000, seed=1)
    again = phase_space_to_sky(sky_to_phase_space(values, FRAMES[name], sky=sky), FRAMES[name], sky=sky)
    assert np.abs(again - values).max() < 1e-9  # degrees and mas/yr of stars as near as 10 pc
    far = values[:, 2] > 0.1
    assert np.abs(again - values)[far].max() < 1e-10


@given(st.floats(0, 359.99), st.floats(-90, 90), st.floats(0.01, 100), st.floats(-500, 500), st.floats(-500, 500), st.floats(-900, 900))
@settings(max_examples=150, deadline=None)
def test_round_trip_of_any_star(lon: float, lat: float, d: float, pm_lon: float, pm_lat: float, radial: float) -> None:
    """Phase space -> sky -> phase space; at the poles the longitude itself is not unique, the place is."""
    rows = sky_to_phase_space(np.array([[lon, lat, d, pm_lon, pm_lat, radial]]), FRAMES["default"])
    again = sky_to_phase_space(phase_space_to_sky(rows, FRAMES["default"]), FRAMES["default"])
    assert np.allclose(again[:, :3], rows[:, :3], rtol=0, atol=1e-11)
    assert np.allclose(again[:, 3:], rows[:, 3:], rtol=1e-10, atol=1e-8)


def test_the_affine_map_is_a_rotation() -> None:
    for frame in FRAMES.values():
        rotation = affine(frame).rotation
        assert np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-14) and np.linalg.det(rotation) == pytest.approx(1.0)


def test_the_sun_is_at_negative_x_and_the_disc_turns_clockwise() -> None:
    position, velocity = sun(galactocentric())
    assert position.to_value(u.kpc) == pytest.approx([-np.sqrt(8.122**2 - 0.0208**2), 0.0, 0.0208])
    assert velocity.to_value(u.km / u.s) == pytest.approx([12.9, 245.6, 7.78])
    angular_momentum = np.cross(position.value, velocity.value)[2]
    assert angular_momentum < 0


def test_kappa() -> None:
    """au / yr in km/s: 149597870.7 km over a Julian year."""
    assert pytest.approx(149597870.7 / (365.25 * 86400), rel=1e-14) == KAPPA


def test_default_is_explicit_whatever_astropy_is_set_to() -> None:
    with galactocentric_frame_defaults.set("pre-v4.0"):
        numbers = frame_to_dict(galactocentric())
    assert numbers["galcen_distance_kpc"] == 8.122 and numbers["galcen_v_sun_km_s"] == [12.9, 245.6, 7.78] and numbers["z_sun_pc"] == 20.8


@pytest.mark.parametrize("name", FRAMES)
def test_stored_frame_is_the_same_to_the_last_bit(name: str) -> None:
    numbers = json.loads(json.dumps(frame_to_dict(FRAMES[name])))
    assert frame_to_dict(frame_from_dict(numbers)) == frame_to_dict(FRAMES[name])
    values = observed(50)
    assert np.array_equal(sky_to_phase_space(values, frame_from_dict(numbers)), sky_to_phase_space(values, FRAMES[name]))


def test_frames_from_words() -> None:
    assert frame_to_dict(resolve_frame(None)) == frame_to_dict(resolve_frame("v4.0"))
    made = resolve_frame({"galcen_distance": "8.2 kpc", "z_sun": "0 pc", "galcen_v_sun": ["12 km/s", "240 km/s", "7 km/s"]})
    assert frame_to_dict(made)["galcen_distance_kpc"] == 8.2 and frame_to_dict(made)["galcen_v_sun_km_s"] == [12, 240, 7]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: galactocentric("v9"), "unknown Galactocentric frame"),
        (lambda: galactocentric(galcen_distance=-8 * u.kpc), "positive"),
        (lambda: galactocentric(galcen_v_sun=[1, 2] * u.km / u.s), "three finite"),
        (lambda: resolve_frame(3), "must be astropy's Galactocentric"),
        (lambda: resolve_frame({"distance": "8 kpc"}), "not understood"),
        (
            lambda: phase_space_to_sky(np.concatenate([affine(galactocentric()).origin, np.zeros(3)])[None], galactocentric()),
            "Sun's own place",
        ),
    ],
)
def test_refusals(build, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        build()


def test_bare_numbers_are_refused() -> None:
    with pytest.raises(UnitsError):
        galactocentric(galcen_distance=8.2)  # type: ignore[arg-type]


def test_rotation_of_the_sky() -> None:
    values = observed(500, seed=2)
    lon, lat = rotate_sky(values[:, 0], values[:, 1], "icrs", "galactic")
    reference = SkyCoord(values[:, 0] * u.deg, values[:, 1] * u.deg).galactic
    assert np.allclose(lon, reference.l.deg, atol=1e-9) and np.allclose(lat, reference.b.deg, atol=1e-9)
