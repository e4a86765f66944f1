"""Masked volumes: smooth edges, files, and what they do to sums."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table

from deeppot_galactic.catalogue import Ball, Cylinder, Tracers, Volume, galactocentric
from deeppot_galactic.catalogue.frames import sun
from deeppot_galactic.catalogue.healpix import nested_to_ring, pixel_centers
from deeppot_galactic.catalogue.masks import Mask
from deeppot_galactic.catalogue.selection import SelectionFunction, StoredSelection
from deeppot_galactic.catalogue.selection_files import read_selection
from deeppot_galactic.errors import CatalogueError

FRAME = galactocentric("v4.0", galcen_distance=8.0 * u.kpc)
SUN = sun(FRAME)[0]


def limit(taper: float = 0.4) -> StoredSelection:
    lat = np.radians(pixel_centers(4)[1])
    selection = SelectionFunction.from_distance_limit((2.2 + np.sin(lat)) * u.kpc, frame=FRAME, taper=taper)
    assert isinstance(selection, StoredSelection)
    return selection


def falling() -> SelectionFunction:
    return SelectionFunction.from_callable(lambda x: 0.9 * np.exp(-0.5 * np.linalg.norm(x - SUN.value, axis=1)))


def table() -> StoredSelection:
    return falling().tabulated(np.linspace(0.0, 3.5, 15) * u.kpc, nside=4, frame=FRAME)


MASKS = [Mask(limit()), Mask(table(), 0.25), Mask(table(), 0.05)]
SHAPES: list[Volume] = [Ball(SUN, 4.0 * u.kpc), Cylinder(r_out=11.0 * u.kpc, half_height=2.0 * u.kpc)]


@pytest.mark.parametrize("mask", MASKS, ids=["limit", "table", "end-of-table"])
@pytest.mark.parametrize("shape", SHAPES, ids=["ball", "cylinder"])
def test_the_weight_vanishes_at_the_edge_and_has_its_gradient(shape: Volume, mask: Mask) -> None:
    volume = shape.masked(mask)
    x = shape.sample(20_000, np.random.default_rng(0))
    g, gradient = volume.boundary_weight(x, taper=0.5)
    inside = volume.contains(x)
    assert 0.02 < inside.mean() < 0.8 and np.array_equal(g[~inside], np.zeros(np.count_nonzero(~inside)))
    assert not volume.contains(SUN + np.array([0.0, 0.0, 3.6]) * u.kpc).any() and shape.mask is None
    h = 1e-6
    for axis in range(3):
        shift = h * np.eye(3)[axis]
        difference = (volume.boundary_weight(x + shift, taper=0.5)[0] - volume.boundary_weight(x - shift, taper=0.5)[0]) / (2 * h)
        off = np.abs(difference - gradient[:, axis])
        assert np.quantile(off, 0.99) < 1e-5 * np.abs(gradient).max()  # the interpolation has kinks between the pixels
    # Whatever vanishes at the boundary has a gradient whose integral is zero.
    error = gradient.std(axis=0) / np.sqrt(len(x))
    assert np.all(np.abs(gradient.mean(axis=0)) < 4.0 * error) and np.all(error > 0.0)


def test_a_table_of_limits_is_one_out_to_the_limit() -> None:
    volume = SHAPES[0].masked(MASKS[0])
    north = SUN.value + np.outer([1.0, 1.9, 2.5, 3.1, 3.3], [0.0, 0.0, 1.0])
    weight = MASKS[0].weight(north)
    assert np.all(weight[:1] == 1.0) and 0.0 < weight[2] < 1.0 and weight[-1] == 0.0
    assert volume.contains(north).tolist() == (weight > 0).tolist()


@pytest.mark.parametrize("mask", MASKS[:2], ids=["limit", "table"])
def test_a_stored_volume_keeps_its_mask_to_the_last_bit(mask: Mask) -> None:
    volume = SHAPES[0].masked(mask)
    again = Volume.from_dict(volume.to_dict())
    x = SHAPES[0].sample(500, np.random.default_rng(1))
    assert again == volume and again != SHAPES[0] and "within the" in again.describe()
    assert np.array_equal(again.boundary_weight(x)[0], volume.boundary_weight(x)[0])
    column = "limit" if mask is MASKS[0] else "selection"
    bomb = {"shape": [12], "type": "<f8", "data": base64.b85encode(zlib.compress(bytes(10**6))).decode()}
    for key, value in (("kind", "Sieve"), (column, bomb), (column, {**bomb, "shape": [10**9]}), (column, {**bomb, "type": "|O"})):
        damaged = volume.to_dict()
        damaged["mask"]["selection"][key] = value
        with pytest.raises(CatalogueError, match="selection function"):
            Volume.from_dict(damaged)


def test_a_distance_limit_cuts_and_does_not_weight() -> None:
    x = SHAPES[0].sample(2000, np.random.default_rng(2))
    stars = Tracers(np.concatenate([x, 0 * x], axis=1), frame=FRAME).weighted(limit())
    assert stars.weights is None and len(stars) == np.count_nonzero(limit()(x) > 0.0) and stars.meta["cuts"][-1]["name"] == "distance limit"


def test_refusals() -> None:
    with pytest.raises(CatalogueError, match=r"use selection.tabulated"):
        Mask(falling())
    with pytest.raises(CatalogueError, match="must lie in"):
        Mask(limit(), 0.0)


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "vot", "parquet", "h5"])
@pytest.mark.parametrize("make", [limit, table])
def test_files_keep_everything(tmp_path: Path, suffix: str, make) -> None:
    selection = make()
    path = selection.write(tmp_path / f"selection.{suffix}")
    again, x = read_selection(path), SHAPES[0].sample(300, np.random.default_rng(3))
    assert np.array_equal(again(x), selection(x)) and 0.0 < again(x).mean() < 1.0
    with pytest.raises(CatalogueError, match="overwrite"):
        selection.write(path)


def test_a_file_made_by_hand(tmp_path: Path) -> None:
    """Rows in any order, pc, the nested order of Gaia's source_id, and the Sun of the catalogue."""
    selection = limit()
    nested = np.empty(192)
    nested[nested_to_ring(np.arange(192), 4)] = selection.columns()["limit"]
    by_hand: Any = QTable({"healpix": np.arange(192), "limit": nested * 1000 * u.pc})[np.random.default_rng(0).permutation(192)]
    by_hand.write(tmp_path / "limits.ecsv")
    again = read_selection(tmp_path / "limits.ecsv", default_frame=FRAME, order="nested", taper=0.4)
    x = SHAPES[0].sample(300, np.random.default_rng(3))
    assert np.allclose(again(x), selection(x), atol=1e-12)
    assert not np.allclose(read_selection(tmp_path / "limits.ecsv", default_frame=FRAME, taper=0.4)(x), selection(x), atol=0.01)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixel": [0, 1], "l": [1.0, 2.0]}, "there is no distance, selection"),
        ({"limit": np.ones(12) * u.kpc}, "there is no pixel"),
        ({"pixel": np.arange(12), "limit": np.ones(12)}, "no unit"),
        ({"pixel": np.arange(12), "limit": np.ones(12) * u.K}, "is in K"),
        ({"pixel": np.arange(12) + 0.5, "limit": np.ones(12) * u.kpc}, "whole numbers"),
        ({"pixel": np.zeros(12, int), "limit": np.ones(12) * u.kpc}, "every pixel needs one limit"),
        ({"pixel": np.arange(13), "limit": np.ones(13) * u.kpc}, "12 nside"),
        ({"pixel": np.arange(12), "limit": np.full(12, np.nan) * u.kpc}, "12 missing values"),
        ({"pixel": np.arange(12), "distance": np.arange(12) * u.kpc, "selection": np.ones(12)}, "a value at every distance"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, columns: dict, message: str) -> None:
    Table(QTable(columns)).write(tmp_path / "bad.ecsv")
    with pytest.raises(CatalogueError, match=message) as caught:
        read_selection(tmp_path / "bad.ecsv")
    assert "bad.ecsv" in str(caught.value) and "\n" not in str(caught.value)
