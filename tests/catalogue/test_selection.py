"""HEALPix arithmetic and selection functions."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue import Tracers, galactocentric
from deeppot_galactic.catalogue.frames import sky_to_phase_space
from deeppot_galactic.catalogue.healpix import interpolation, nested_to_ring, nside_of, pixel_centers, pixel_of
from deeppot_galactic.catalogue.selection import SelectionFunction
from deeppot_galactic.errors import CatalogueError, UnitsError

FRAME = galactocentric()


def directions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))


def places(n: int, far: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Galactocentric positions within ``far`` of the Sun, and their lon, lat, distance."""
    lon, lat = directions(n, seed)
    d = far * np.cbrt(np.random.default_rng(seed + 1).uniform(0.001, 1, n))
    rows = sky_to_phase_space(np.stack([lon, lat, d, 0 * d, 0 * d, 0 * d], axis=1), FRAME, sky="galactic")
    return rows[:, :3], lon, lat, d


@pytest.mark.parametrize("nside", [1, 2, 8, 32])
def test_pixels_are_equal_and_centred(nside: int) -> None:
    lon, lat = pixel_centers(nside)
    assert len(lon) == 12 * nside**2 and nside_of(len(lon)) == nside
    assert np.array_equal(pixel_of(nside, lon, lat), np.arange(12 * nside**2))
    counts = np.bincount(pixel_of(nside, *directions(200_000)), minlength=12 * nside**2)
    expected = 200_000 / (12 * nside**2)
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)


@pytest.mark.parametrize("nside", [1, 2, 8, 64])
def test_interpolation_is_exact_at_centres_and_for_constants(nside: int) -> None:
    values = np.random.default_rng(0).uniform(0, 1, 12 * nside**2)
    pixels, weights = interpolation(nside, *pixel_centers(nside))
    assert np.allclose((values[pixels] * weights).sum(1), values, atol=1e-9)
    pixels, weights = interpolation(nside, *directions(5000))
    assert np.allclose(weights.sum(1), 1.0) and weights.min() >= -1e-12 and pixels.min() >= 0 and pixels.max() < 12 * nside**2
    poles = interpolation(nside, np.array([0.0, 123.0]), np.array([90.0, -90.0]))[1]
    assert np.allclose(poles, 0.25)


def test_interpolation_converges() -> None:
    """A smooth function of the sky is recovered to second order in the size of the pixel, away from the poles."""

    def smooth(lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
        return np.sin(np.radians(lat)) + 0.5 * np.cos(np.radians(lat)) * np.cos(np.radians(lon - 40))

    lon, lat = directions(5000)
    away, errors = np.abs(lat) < 60, []
    for nside in (8, 16, 32):
        pixels, weights = interpolation(nside, lon, lat)
        error = np.abs((smooth(*pixel_centers(nside))[pixels] * weights).sum(1) - smooth(lon, lat))
        errors.append(error[away].max())
        assert error.max() < 0.1 / nside  # only first order within a pixel of the poles, where four pixels make a ring
    assert errors[0] < 0.01 and errors[1] < 0.3 * errors[0] and errors[2] < 0.3 * errors[1]


@pytest.mark.parametrize("nside", [1, 2, 16])
def test_against_astropy_healpix(nside: int) -> None:
    oracle = pytest.importorskip("astropy_healpix")
    lon, lat = directions(10_000)
    assert np.array_equal(pixel_of(nside, lon, lat), oracle.lonlat_to_healpix(lon * u.deg, lat * u.deg, nside, order="ring"))
    values = np.random.default_rng(0).normal(size=12 * nside**2)
    pixels, weights = interpolation(nside, lon, lat)
    reference = oracle.interpolate_bilinear_lonlat(lon * u.deg, lat * u.deg, values, order="ring")
    assert np.allclose((values[pixels] * weights).sum(1), reference, atol=1e-11)
    nested = oracle.HEALPix(nside, order="nested")
    ring = nested_to_ring(values, nside)
    assert np.array_equal(ring[pixel_of(nside, lon, lat)], values[nested.lonlat_to_healpix(lon * u.deg, lat * u.deg)])


def test_nested_order_is_a_permutation_that_keeps_neighbours() -> None:
    """The four children of a nested pixel lie together on the sky: within a pixel's size of each other."""
    nside = 8
    place = np.empty(12 * nside**2, dtype=int)
    place[nested_to_ring(np.arange(12 * nside**2), nside)] = np.arange(12 * nside**2)
    lon, lat = (np.radians(values[place]) for values in pixel_centers(nside))
    unit = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1).reshape(-1, 4, 3)
    spread = np.degrees(np.linalg.norm(unit - unit.mean(1, keepdims=True), axis=2)).max()
    assert spread < 58.6 / nside


def test_callable() -> None:
    def function(x: np.ndarray) -> np.ndarray:
        return np.exp(-0.1 * np.sum(x**2, axis=1))

    selection = SelectionFunction.from_callable(function)
    x = np.random.default_rng(0).normal(0, 2, (500, 3))
    assert np.allclose(selection(x), function(x)) and np.allclose(selection(x * u.kpc), selection(x))
    assert np.allclose(selection.log_gradient(x), -0.2 * x, atol=1e-4)
    exact = SelectionFunction.from_callable(function, log_gradient=lambda x: -0.2 * x)
    assert np.array_equal(exact.log_gradient(x), -0.2 * x) and "function" in exact.describe()
    for wrong, message in (
        (lambda x: x, "returned shape"),
        (lambda x: 2 + 0 * x[:, 0], "between 0 and 1"),
        (lambda x: np.nan * x[:, 0], "between"),
    ):
        with pytest.raises(CatalogueError, match=message):
            SelectionFunction.from_callable(wrong)(x)


@pytest.mark.parametrize("order", ["ring", "nested"])
def test_table_of_pixels_and_distances(order: str) -> None:
    nside, distances = 16, np.linspace(0.0, 5.0, 26)

    def truth(lon: np.ndarray, lat: np.ndarray, d: np.ndarray) -> np.ndarray:
        return (0.6 + 0.3 * np.sin(np.radians(lat)) + 0.1 * np.cos(np.radians(lat)) * np.cos(np.radians(lon))) * np.exp(-0.2 * d)

    lon, lat = pixel_centers(nside)
    table = truth(lon[:, None], lat[:, None], distances)
    if order == "nested":
        shuffled = np.empty_like(table)
        shuffled[nested_to_ring(np.arange(len(table)), nside)] = table
        table = shuffled
    selection = SelectionFunction.from_healpix(table, distances * u.kpc, frame=FRAME, order=order)
    x, lon, lat, d = places(3000)
    assert np.abs(selection(x) - truth(lon, lat, d)).max() < 5e-3
    # the gradient along the line of sight of ln S is -0.2 per kpc, everywhere
    away = x + np.array([np.sqrt(8.122**2 - 0.0208**2), 0, -0.0208])
    along = np.sum(selection.log_gradient(x) * away / np.linalg.norm(away, axis=1)[:, None], axis=1)
    assert np.abs(along[d > 0.5] + 0.2).max() < 0.02
    x, _, _, d = places(100, far=40.0, seed=3)
    assert np.all(selection(x[d > 5.0]) == 0.0)
    assert "nside 16" in selection.describe()


def test_distance_limit_by_pixel() -> None:
    limits = np.where(pixel_centers(8)[1] > 0, 2.0, 3.0)
    selection = SelectionFunction.from_distance_limit(limits * u.kpc, frame=FRAME)
    x, _, lat, d = places(5000)
    value = selection(x)
    north, south = lat > 12, lat < -12
    assert np.all(value[north & (d < 1.79)] == 1.0) and np.all(value[north & (d > 2.01)] == 0.0)
    assert np.all(value[south & (d < 2.69)] == 1.0) and np.all(value[south & (d > 3.01)] == 0.0)
    assert np.any((value > 0) & (value < 1)) and np.all(np.isfinite(selection.log_gradient(x)))


def test_weights_undo_the_selection() -> None:
    """Weighted counts of the selected stars agree with all of them, region by region, within the Poisson noise."""
    x, _, _, _ = places(200_000)
    parent = Tracers(np.concatenate([x, 0 * x], axis=1), frame=FRAME)
    selection = SelectionFunction.from_callable(lambda x: 0.2 + 0.7 / (1.0 + np.exp(x[:, 1])))
    chosen = parent.select(np.random.default_rng(9).uniform(size=len(x)) < selection(x)).weighted(selection)
    assert chosen.weights is not None
    for low, high in ((-9, 9), (1, 9), (-9, -1)):
        everything = np.count_nonzero((x[:, 1] > low) & (x[:, 1] < high))
        weights = chosen.weights[(chosen.phase_space[:, 1] > low) & (chosen.phase_space[:, 1] < high)]
        assert len(weights) < 0.9 * everything
        assert np.sum(weights) == pytest.approx(everything, abs=4 * np.sqrt(np.sum(weights**2)))
    assert chosen.meta["cuts"][-1]["name"] == "selection >= 0.05" and "selection by" in chosen.meta["selection"]
    with pytest.raises(CatalogueError, match="no star of"):
        parent.weighted(SelectionFunction.from_callable(lambda x: 0 * x[:, 0]))


def test_empirical_completeness() -> None:
    x, _, lat, d = places(400_000)
    parent = Tracers(np.concatenate([x, 0 * x], axis=1), frame=FRAME)
    chance = np.where(lat > 0, 0.8, 0.3) * np.exp(-0.1 * d)
    selected = parent.select(np.random.default_rng(77).uniform(size=len(x)) < chance)
    edges = [1.5, 2.0, 2.5, 3.0, 3.5, 4.0] * u.kpc
    selection = SelectionFunction.from_counts(selected, parent, distance_edges=edges, nside=4)
    test = (np.abs(lat) > 25) & (d > 1.75) & (d < 3.7)
    assert np.abs(selection(x[test]) - chance[test]).mean() < 0.03
    with pytest.raises(CatalogueError, match="more selected stars than parents"):
        SelectionFunction.from_counts(parent, selected, distance_edges=edges)
    with pytest.raises(CatalogueError, match="Galactocentric frame"):
        SelectionFunction.from_counts(Tracers(np.ones((2, 6))), Tracers(np.ones((2, 6))), distance_edges=edges)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: SelectionFunction.from_healpix(np.ones((13, 3)), [1, 2, 3] * u.kpc), CatalogueError, "12 nside"),
        (lambda: SelectionFunction.from_healpix(np.ones((12, 4)), [1, 2, 3] * u.kpc), CatalogueError, "table must have shape"),
        (lambda: SelectionFunction.from_healpix(2 * np.ones((12, 3)), [1, 2, 3] * u.kpc), CatalogueError, "between 0 and 1"),
        (lambda: SelectionFunction.from_healpix(np.ones((12, 3)), [1, 3, 2] * u.kpc), CatalogueError, "increasing"),
        (lambda: SelectionFunction.from_healpix(np.ones((12, 3)), [1, 2, 3]), UnitsError, "no unit"),
        (lambda: SelectionFunction.from_healpix(np.ones((12, 3)), [1, 2, 3] * u.kpc, order="rong"), CatalogueError, "order must be"),
        (lambda: SelectionFunction.from_healpix(np.ones((12, 3)), [1, 2, 3] * u.kpc, sky="fk5"), CatalogueError, "sky must be"),
        (lambda: SelectionFunction.from_distance_limit(-np.ones(12) * u.kpc), CatalogueError, "limits must be"),
        (lambda: SelectionFunction.from_callable(3), CatalogueError, "must be callable"),  # type: ignore[arg-type]
    ],
)
def test_refusals(build, error, message: str) -> None:
    with pytest.raises(error, match=message):
        build()
