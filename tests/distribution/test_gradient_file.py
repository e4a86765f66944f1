"""Gradient files: exact round trip; damaged, newer, foreign and hostile files are refused in one line, and nothing in them is followed."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeppot_galactic.catalogue.volumes import Ball
from deeppot_galactic.distribution.gradient_file import BLOCK, VERSION
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.errors import StoreError

RNG = np.random.default_rng(0)
N = 40


def sample(weights: bool = True) -> GradientSample:
    x, s = RNG.normal(size=(N, 6)), RNG.normal(size=(N, 6))
    volume = Ball([0.0, 0.0, 0.0] * u.kpc, 9.0 * u.kpc)
    return GradientSample(
        x, RNG.normal(size=N), s, volume=volume, weights=RNG.uniform(size=N) if weights else None, meta={"été": [1, None]}
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    sample().save(tmp_path / "gradients.h5")
    return tmp_path / "gradients.h5"


def refused(path: Path, match: str = ".") -> None:
    with pytest.raises(StoreError, match=match) as caught:
        GradientSample.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def sealed(path: Path, change: Callable[[h5py.File], Any] | None = None) -> None:
    """Change the file as an attacker would, with a first line that vouches for the change."""
    if change is not None:
        with h5py.File(path, "r+") as file:
            change(file)
    data = path.read_bytes()[BLOCK:]
    line = f"deeppot-gradients {VERSION} sha256={hashlib.sha256(data).hexdigest()} bytes={len(data)}\n"
    path.write_bytes(line.encode().ljust(BLOCK, b"\0") + data)


@pytest.mark.parametrize("weights", [True, False])
def test_round_trip_is_exact_and_deterministic(tmp_path: Path, weights: bool) -> None:
    mine = sample(weights)
    mine.save(tmp_path / "a.h5")
    mine.save(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    again = GradientSample.load(tmp_path / "a.h5")
    for name in ("points", "log_density", "score"):
        np.testing.assert_array_equal(getattr(again, name), getattr(mine, name))
    assert (again.weights is None) is not weights
    assert again.meta == mine.meta
    assert again.volume == mine.volume


def test_other_hdf5_readers_open_it(path: Path) -> None:
    with h5py.File(path) as file:
        assert set(file) == {"points", "log_density", "score", "weights"}
        assert "kpc" in file.attrs["units"]


def test_every_truncation_and_extension_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in [*range(0, 600, 7), *range(600, len(data), 501), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path)
    path.write_bytes(data + b"\0")
    refused(path, "has grown")


def test_every_flipped_bit_is_refused(path: Path) -> None:
    data = path.read_bytes()
    bits = np.random.default_rng(1).choice(np.arange(8 * BLOCK, 8 * len(data)), 400, replace=False)
    for bit in [*range(8 * 120), 8 * BLOCK - 1, *bits]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        refused(path)


def test_newer_versions_and_other_files(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"deeppot-gradients 1", b"deeppot-gradients 2", 1))
    refused(path, "newer")
    path.write_bytes(pickle.dumps({"points": np.zeros(3)}))
    refused(path, "not a gradient file")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["points"] = np.zeros((3, 6))
    refused(tmp_path / "plain.h5", "not a gradient file")
    refused(tmp_path, "no gradients")


def replace(name: str, make: Callable[[h5py.File], Any]) -> Callable[[h5py.File], Any]:
    def change(file: h5py.File) -> None:
        del file[name]
        made = make(file)
        if made is not None:
            file[name] = made

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(N,), dtype="f8")
    layout[:] = h5py.VirtualSource("secret.h5", "x", shape=(N,))
    file.create_virtual_dataset("log_density", layout)


HOSTILE: dict[str, Callable[[h5py.File], Any]] = {
    "link to another file": replace("log_density", lambda file: h5py.ExternalLink("secret.h5", "/x")),
    "soft link": replace("log_density", lambda file: h5py.SoftLink("/weights")),
    "bytes of another file": replace(
        "log_density", lambda file: file.create_dataset("log_density", (N,), "f8", external=[("secret.bin", 0, 8 * N)]) and None
    ),
    "virtual": replace("log_density", virtual),
    "claimed size": replace("points", lambda file: file.create_dataset("points", (10**12, 6), "f8", chunks=(1024, 6)) and None),
    "compressed": replace("points", lambda file: file.create_dataset("points", data=np.zeros((N, 6)), compression="gzip") and None),
    "group": replace("points", lambda file: file.create_group("points") and None),
    "text": replace("log_density", lambda file: np.array([b"rm -rf /"] * N)),
    "objects": replace("log_density", lambda file: file.create_dataset("log_density", data=["a"] * N, dtype=h5py.string_dtype()) and None),
    "references": replace("log_density", lambda file: np.array([file["points"].ref] * N, dtype=h5py.ref_dtype)),
    "complex": replace("log_density", lambda file: np.zeros(N, complex)),
    "no rows in common": replace("log_density", lambda file: np.zeros(N + 1)),
    "scalar": replace("log_density", lambda file: np.float64(1.0)),
    "null": replace("log_density", lambda file: h5py.Empty("f8")),
    "columns": replace("points", lambda file: np.zeros((N, 5))),
    "missing": lambda file: file.pop("score"),
    "not finite": lambda file: file["score"].write_direct(np.full((N, 6), np.nan)),
    "no volume": lambda file: file.attrs.pop("volume"),
    "no mapping": lambda file: file.attrs.__setitem__("meta", "[1]"),
    "deep": lambda file: file.attrs.__setitem__("meta", "[" * 30_000),
    "no JSON": lambda file: file.attrs.__setitem__("volume", "__import__('os').abort()"),
    "impossible volume": lambda file: file.attrs.__setitem__("volume", '{"kind": "ball", "center": [0, 0], "radius": -3}'),
    "array for text": lambda file: file.attrs.__setitem__("volume", np.zeros(3)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_with_a_valid_digest(path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    Path("secret.bin").write_bytes(np.ones(N).tobytes())
    with h5py.File("secret.h5", "w") as file:
        file["x"] = np.ones(N)
    sealed(path)
    GradientSample.load(path)
    sealed(path, HOSTILE[case])
    refused(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_that_is_vouched_for_never_gets_past_as_anything_else(path: Path, places: list[tuple[int, int]]) -> None:
    """Bytes of the HDF5 structure changed, with a digest that fits: read or refused, in one line."""
    whole = path.read_bytes()
    data = bytearray(whole)
    for place, value in places:
        data[BLOCK + place % 3000] = value
    path.write_bytes(data)
    sealed(path)
    try:
        assert len(GradientSample.load(path)) > 0
    except StoreError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(whole)
