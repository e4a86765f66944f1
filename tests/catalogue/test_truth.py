"""The shipped catalogue and its truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable

from deeppot_galactic.catalogue import Cylinder, demo_path, read_tracers, read_truth
from deeppot_galactic.catalogue.check import summarize
from deeppot_galactic.catalogue.truth import Truth, write_demo_table
from deeppot_galactic.errors import CatalogueError

from .tables import gaia_table


def snapshot(path: Path, n: int = 500) -> Path:
    """A small snapshot of a Plummer-like toy with every key of the real ones."""
    rng = np.random.default_rng(0)
    pos, truth_pos = rng.normal(0, 3, (n, 3)), rng.normal(0, 3, (40, 3))
    x = np.linspace(-4, 4, 8)
    grid = np.stack(np.meshgrid(x, x, [0.0], indexing="ij"), axis=-1)[:, :, 0]
    arrays = {
        "pos": pos,
        "vel": rng.normal(0, 50, (n, 3)),
        "truth_pos": truth_pos,
        "truth_acc": -truth_pos,
        "truth_pot": 0.5 * np.sum(truth_pos**2, axis=1),
        "truth_rho": np.full(40, 3.0),
        "grid_x": x,
        "grid_acc": -grid * np.array([1.0, 2.0, 3.0]),
        "grid_rho": grid[..., 0],
        "vc_R": x[4:],
        "vc": x[4:],
        "A2_R": x[4:],
        "A2": x[4:],
        "A2_phase": x[4:],
    }
    np.savez(
        path,
        **{name: values.astype(np.float32) for name, values in arrays.items()},
        Omega_bar=39.0,
        Omega_bar_err=0.5,
        bar_angle=-0.5,
        R_bar=3.3,
        R_corotation=5.9,
        softening=0.0,
        time_Myr=5500.0,
        mass=2.0,
        meta='{"kind": "toy"}',
    )
    return path


def test_the_shipped_catalogue() -> None:
    tracers = read_tracers(demo_path())
    assert len(tracers) == 131_072 and tracers.meta["n_read"] == 131_072 and tracers.frame is None
    summary = summarize(tracers)
    assert summary["rotation"] == "counter-clockwise" and 100 < summary["medians"]["v_phi"] < 250 and not summary["warnings"]
    assert 90_000 < len(tracers.within(Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc))) < 100_000
    assert demo_path().stat().st_size < 4e6
    table = QTable.read(demo_path(), hdu="TRACERS")
    assert table["x"].unit == u.kpc and table["vx"].unit == u.km / u.s and table["x"].dtype.itemsize == 4
    assert 4e5 < fits.getheader(demo_path())["PARTMASS"] < 1e6


def test_the_shipped_truth() -> None:
    truth = read_truth(demo_path())
    assert truth is not None and truth.positions is not None and truth.accelerations is not None
    assert truth.omega == pytest.approx(14.59, abs=0.01) and truth.omega_error == pytest.approx(0.086, abs=0.01)
    assert truth.positions.shape == truth.accelerations.shape == (5000, 3) and truth.positions.dtype == np.float64
    assert truth.grid_x is not None and truth.grid_acceleration is not None and truth.grid_acceleration.shape == (64, 64, 3)
    # forces point inwards, and the grid is indexed [ix, iy]
    assert np.mean(np.sum(truth.positions * truth.accelerations, axis=1) < 0) > 0.99
    assert np.all(truth.grid_acceleration[-1, :, 0] < 0) and np.all(truth.grid_acceleration[:, -1, 1] < 0)
    # the circular velocity of the curve is that of the points
    assert truth.vc_R is not None and truth.vc is not None
    radius = np.hypot(*truth.positions[:, :2].T)
    near = (np.abs(truth.positions[:, 2]) < 0.1) & (radius > 6) & (radius < 14)
    inward = -np.sum(truth.positions[near, :2] * truth.accelerations[near, :2], axis=1)
    assert np.median(np.sqrt(inward) / np.interp(radius[near], truth.vc_R, truth.vc)) == pytest.approx(1.0, abs=0.03)


def test_the_shipped_stars_are_drawn_from_the_snapshot(shared_data: Path, tmp_path: Path) -> None:
    npz = shared_data / "nbody_bar_t2250.npz"
    if not npz.is_file():
        pytest.skip("no such snapshot here")
    write_demo_table(npz, tmp_path / "again.fits", 131_072, 0)
    assert (tmp_path / "again.fits").read_bytes() == demo_path().read_bytes()
    full = {row.tobytes() for row in read_tracers(npz).phase_space}
    assert all(row.tobytes() in full for row in read_tracers(demo_path()).phase_space)


def test_both_homes_hold_the_same_truth(tmp_path: Path) -> None:
    npz = snapshot(tmp_path / "s.npz")
    write_demo_table(npz, tmp_path / "s.fits", 100, 3)
    first, second = read_truth(npz), read_truth(tmp_path / "s.fits")
    assert first is not None and second is not None
    for field in dataclasses.fields(Truth):
        if field.name != "meta":
            a, b = getattr(first, field.name), getattr(second, field.name)
            assert (a is None) == (b is None) and (a is None or np.array_equal(a, b)), field.name
    assert first.omega == 39.0 and first.meta["model"] == {"kind": "toy"} and first.grid_density is not None and first.omega_of_R is None
    assert second.meta["particle_mass"] == pytest.approx(2.0 * 500 / 100)
    assert first.grid_acceleration is not None and np.allclose(first.grid_acceleration[2, 5], [-first.grid_x[2], -2 * first.grid_x[5], 0])  # type: ignore[index]
    assert len(read_tracers(tmp_path / "s.fits")) == 100
    write_demo_table(npz, tmp_path / "same.fits", 100, 3)
    assert (tmp_path / "same.fits").read_bytes() == (tmp_path / "s.fits").read_bytes()


def test_n_body_density_is_disc_and_halo(shared_data: Path) -> None:
    path = shared_data / "nbody_bar_t1000.npz"
    if not path.is_file():
        pytest.skip("no such snapshot here")
    truth = read_truth(path)
    with np.load(path) as data:
        assert truth is not None and truth.density is not None
        assert np.allclose(truth.density, data["truth_rho_disc_knn64"] + data["truth_rho_halo_smooth"], rtol=1e-6)


def test_catalogues_without_truth(tmp_path: Path) -> None:
    gaia_table(10).write(tmp_path / "s.fits")
    gaia_table(10).write(tmp_path / "s.ecsv")
    np.savez(tmp_path / "s.npz", pos=np.ones((2, 3)), vel=np.ones((2, 3)))
    for name in ("s.fits", "s.ecsv", "s.npz"):
        assert read_truth(tmp_path / name) is None


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such file"):
        read_truth(tmp_path / "s.npz")
    for name in ("bad.npz", "bad.fits"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing of the kind")
        with pytest.raises(CatalogueError, match="cannot be read as"):
            read_truth(tmp_path / name)
    np.savez(tmp_path / "s.npz", pos=np.ones((2, 3)), vel=np.ones((2, 3)))
    with pytest.raises(CatalogueError, match="holds no truth"):
        write_demo_table(tmp_path / "s.npz", tmp_path / "s.fits")
    with pytest.raises(CatalogueError, match="holds 500 stars, asked for 501"):
        write_demo_table(snapshot(tmp_path / "s.npz"), tmp_path / "s.fits", 501)
