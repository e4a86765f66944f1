"""Tracers from phase space and from SkyCoord; selecting, volumes, offsets."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import ICRS, Galactic, Galactocentric, SkyCoord
from astropy.utils.masked import Masked

from deeppot_galactic.catalogue import Ball, Cylinder, Tracers, galactocentric
from deeppot_galactic.errors import CatalogueError, UnitsError, VolumeError

from .tables import gaia_table, phase_space_table

N = 100


def arrays() -> tuple[u.Quantity, u.Quantity]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 5, (N, 3)) * u.kpc, rng.normal(0, 100, (N, 3)) * u.km / u.s


def coordinates(**changes) -> SkyCoord:
    table = gaia_table(N)
    columns = {
        "ra": table["ra"].quantity,
        "dec": table["dec"].quantity,
        "distance": 1 / table["parallax"].value * u.kpc,
        "pm_ra_cosdec": table["pmra"].quantity,
        "pm_dec": table["pmdec"].quantity,
        "radial_velocity": table["radial_velocity"].quantity,
    } | changes
    return SkyCoord(**{name: column for name, column in columns.items() if column is not None})


def test_from_phase_space() -> None:
    pos, vel = arrays()
    tracers = Tracers.from_phase_space(pos.to(u.pc), vel.to(u.m / u.s))
    assert np.allclose(tracers.phase_space, np.concatenate([pos.value, vel.value], axis=1), rtol=1e-14)
    assert len(tracers) == N and tracers.frame is None and tracers.weights is None and tracers.covariance is None
    assert "100 stars" in repr(tracers)
    with pytest.raises(ValueError, match="read-only"):
        tracers.phase_space[0, 0] = 1.0


def test_rows_that_are_not_finite_are_dropped_and_counted() -> None:
    pos, vel = arrays()
    pos[3, 1], vel[4, 2], vel[5, 0] = np.nan * u.kpc, np.inf * u.km / u.s, -np.inf * u.km / u.s
    weights = np.arange(N, dtype=float)
    tracers = Tracers.from_phase_space(pos, vel, weights=weights)
    assert tracers.meta["cuts"] == [{"name": "finite coordinates", "removed": 3, "left": N - 3}]
    assert np.array_equal(tracers.weights, np.delete(weights, [3, 4, 5]))
    masked = Masked(arrays()[0], mask=(np.arange(N) == 9)[:, None])
    assert len(Tracers.from_phase_space(masked, arrays()[1])) == N - 1


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda p, v: Tracers.from_phase_space(p.value, v), UnitsError, "positions has no unit"),
        (lambda p, v: Tracers.from_phase_space(p, p), UnitsError, "velocities is in kpc"),
        (lambda p, v: Tracers.from_phase_space(p[:, :2], v), UnitsError, r"shape \(N, 3\)"),
        (lambda p, v: Tracers.from_phase_space(p[:5], v), CatalogueError, "5 stars and velocities 100"),
        (lambda p, v: Tracers.from_phase_space(p * np.nan, v), CatalogueError, "none of the 100 stars"),
        (lambda p, v: Tracers.from_phase_space(p, v, weights=-np.ones(N)), CatalogueError, "weights must be 100"),
        (lambda p, v: Tracers.from_phase_space(p, v, covariance=np.ones((N, 3, 3))), CatalogueError, "covariance must have shape"),
        (lambda p, v: Tracers(np.ones((N, 5))), CatalogueError, r"shape \(N, 6\)"),
        (lambda p, v: Tracers(np.full((N, 6), np.nan)), CatalogueError, "not finite"),
    ],
)
def test_refusals(build, error, message: str) -> None:
    with pytest.raises(error, match=message):
        build(*arrays())


def test_select() -> None:
    tracers = Tracers.from_table(gaia_table(N))
    mask = np.arange(N) % 3 == 0
    some = tracers.select(mask, name="every third")
    assert np.array_equal(some.phase_space, tracers.phase_space[mask]) and np.array_equal(some.ids, np.asarray(tracers.ids)[mask])
    assert np.array_equal(some.covariance, np.asarray(tracers.covariance)[mask])
    assert some.meta["cuts"][-1] == {"name": "every third", "removed": 66, "left": 34}
    assert len(tracers.meta["cuts"]) == len(some.meta["cuts"]) - 1
    assert np.array_equal(tracers.select([5, 2]).phase_space, tracers.phase_space[[5, 2]])
    for wrong in (mask[:5], np.ones(3), [[1]]):
        with pytest.raises(CatalogueError, match="mask|select takes"):
            tracers.select(wrong)


def test_within() -> None:
    tracers = Tracers.from_table(phase_space_table(1000))
    volume = Cylinder(r_out=5 * u.kpc, half_height=1 * u.kpc)
    inside = tracers.within(volume)
    assert volume.contains(inside.pos).all() and len(inside) == volume.contains(tracers.pos).sum()
    assert inside.meta["cuts"][-1]["name"] == "cylinder R < 5 kpc, |z| < 1 kpc"
    with pytest.raises(VolumeError, match=r"no star of 1,000 lies in the ball .* R from 1.* to 12"):
        tracers.within(Ball([50, 0, 0] * u.kpc, 1 * u.kpc))


def test_relative_to() -> None:
    tracers = Tracers.from_table(gaia_table(N))
    moved = tracers.relative_to([1000, 0, 0] * u.pc, [0, 0, 7] * u.km / u.s)
    assert np.allclose(tracers.phase_space - moved.phase_space, [1, 0, 0, 0, 0, 7]) and moved.meta["offset"]["x0_kpc"] == [1.0, 0.0, 0.0]
    assert np.array_equal(moved.covariance, tracers.covariance) and moved.frame is None


@pytest.mark.parametrize("frame", [None, "pre-v4.0", galactocentric(galcen_distance=8 * u.kpc)])
@pytest.mark.parametrize("start", [ICRS, Galactic])
def test_from_skycoord(start, frame) -> None:
    reference = Tracers.from_table(gaia_table(N), frame=frame)
    tracers = Tracers.from_skycoord(coordinates().transform_to(start()), frame=frame)
    assert np.abs(tracers.phase_space - reference.phase_space).max() < 1e-9
    assert tracers.meta["frame"] == reference.meta["frame"]
    assert np.abs(Tracers.from_skycoord(coordinates().frame, frame=frame).phase_space - reference.phase_space).max() < 1e-10


def test_a_galactocentric_skycoord_keeps_its_frame() -> None:
    own = Galactocentric(galcen_distance=7.5 * u.kpc)
    moved = coordinates().transform_to(own)
    tracers = Tracers.from_skycoord(moved)
    assert tracers.meta["frame"]["galcen_distance_kpc"] == 7.5
    assert np.array_equal(tracers.pos.value, moved.cartesian.xyz.to_value(u.kpc).T)
    other = Tracers.from_skycoord(moved, frame="v4.0")
    assert np.abs(other.phase_space - Tracers.from_table(gaia_table(N)).phase_space).max() < 1e-9
    single = Tracers.from_skycoord(moved[4])
    assert single.phase_space.shape == (1, 6) and np.array_equal(single.phase_space[0], tracers.phase_space[4])


def test_missing_values_in_a_skycoord() -> None:
    velocity = np.full(N, 10.0)
    velocity[:30] = np.nan
    assert len(Tracers.from_skycoord(coordinates(radial_velocity=velocity * u.km / u.s))) == 70


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: coordinates(distance=None, radial_velocity=None), "no distance"),
        (lambda: coordinates(radial_velocity=None), "no radial velocities"),
        (lambda: coordinates(pm_ra_cosdec=None, pm_dec=None), "no proper motions"),
        (lambda: coordinates(pm_ra_cosdec=None, pm_dec=None, radial_velocity=None), "no velocities"),
        (lambda: ICRS(), "no data"),
        (lambda: gaia_table(3), "expected a SkyCoord"),
        (lambda: coordinates().reshape(10, 10), "one dimension"),
    ],
)
def test_incomplete_skycoords_are_refused(build, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        Tracers.from_skycoord(build())
