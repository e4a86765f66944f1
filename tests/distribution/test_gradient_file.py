"""Gradient files: exact round trip; damaged, newer, foreign and hostile files are refused in one line, and nothing in them is followed."""

from __future__ import annotations

import hashlib
import json
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
from deeppot_galactic.distribution.gradient_file import LINE, VERSION
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


def sealed(path: Path, data: bytes) -> None:
    """Write what an attacker would: anything, behind a first line that vouches for it."""
    path.write_bytes(f"deeppot-gradients {VERSION} sha256={hashlib.sha256(data).hexdigest()}".encode().ljust(LINE - 1) + b"\n" + data)


def with_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the description, and vouch for it."""
    data = path.read_bytes()[LINE:]
    text, _, rest = data.partition(b"\n")
    head = json.loads(text)
    changed = change(head)
    new = json.dumps(head if changed is None else changed).encode() if not isinstance(changed, bytes) else changed
    # the datasets stay where they are: the block has room for a longer text, and longer ones still move them, to be refused
    room = len(rest) - len(rest.lstrip(b"\0"))
    padded = rest[max(len(new) - len(text), 0) :] if len(new) - len(text) <= room else rest
    sealed(path, new + b"\n" + b"\0" * max(len(text) - len(new), 0) + padded)


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
        for name in file:
            np.testing.assert_array_equal(file[name], getattr(GradientSample.load(path), name))
        assert "kpc" in file.attrs["units"]


def test_every_truncation_and_extension_is_refused(path: Path) -> None:
    data = path.read_bytes()
    for length in [*range(0, 2000, 7), *range(2000, len(data), 501), len(data) - 1]:
        path.write_bytes(data[:length])
        refused(path)
    path.write_bytes(data + b"\0")
    refused(path, "damaged")


def test_every_flipped_bit_is_refused(path: Path) -> None:
    data = path.read_bytes()
    bits = np.random.default_rng(1).choice(np.arange(8 * LINE, 8 * len(data)), 400, replace=False)
    for bit in [*range(8 * LINE), *bits]:
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


def place(name: str, offset: Any = None, shape: Any = None) -> Callable[[dict[str, Any]], None]:
    """Another place or shape for a dataset."""

    def change(head: dict[str, Any]) -> None:
        old = head["datasets"][name]
        head["datasets"][name] = [old[0] if offset is None else offset, old[1] if shape is None else shape]

    return change


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "claimed rows": place("points", shape=[10**12, 6]),
    "claimed rows beyond numbers": place("points", shape=[2**80, 6]),
    "one row less": place("points", shape=[N - 1, 6]),
    "no rows": place("points", shape=[0, 6]),
    "negative rows": place("points", shape=[-1, 6]),
    "true rows": place("log_density", shape=[True]),
    "rows as text": place("log_density", shape=["1; rm -rf /"]),
    "fraction": place("log_density", shape=[1.5]),
    "no dimension": place("log_density", shape=[]),
    "five columns": place("points", shape=[N, 5]),
    "offset in the header": place("points", offset=0),
    "negative offset": place("points", offset=-(2**62)),
    "offset beyond the end": place("points", offset=10**9),
    "offset as a path": place("points", offset="../../etc/passwd"),
    "place as a number": lambda head: head["datasets"].update(points=3),
    "datasets as a list": lambda head: head.update(datasets=[1, 2, 3]),
    "not numbers": lambda head: place("points", offset=head["datasets"]["points"][0] + 4)(head),
    "missing": lambda head: head["datasets"].pop("score") and None,
    "half of the copies": lambda head: head["datasets"].update(copies=head["datasets"]["points"]),
    "no volume": lambda head: head.pop("volume") and None,
    "no mapping": lambda head: head.update(meta=[1]),
    "impossible volume": lambda head: head.update(volume={"kind": "ball", "center": [0, 0], "radius": -3}),
    "unknown volume": lambda head: head.update(volume={"kind": "os.system"}),
    "a list": lambda head: [1, 2],
    "deep": lambda head: b"[" * 200_000,
    "no JSON": lambda head: b"__import__('os').abort()",
    "binary": lambda head: b"\xff\xfe",
    "nothing": lambda head: b"",
    "no end": lambda head: b'{"datasets": ' + b"1" * 2_000_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_descriptions_with_a_valid_digest(path: Path, case: str) -> None:
    with_header(path, lambda head: None)
    whole = GradientSample.load(path)
    with_header(path, HOSTILE[case])
    if case == "not numbers":  # four bytes off is some other number, or none at all
        try:
            assert not np.array_equal(GradientSample.load(path).points, whole.points)
        except StoreError:
            return
    else:
        refused(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8))
def test_damage_that_is_vouched_for_never_gets_past_as_anything_else(path: Path, places: list[tuple[int, int]]) -> None:
    """Bytes anywhere in header and structure changed, with a digest that fits: read or refused, in one line."""
    whole = path.read_bytes()
    data = bytearray(whole[LINE:])
    for place, value in places:
        data[place % 4000] = value
    sealed(path, bytes(data))
    try:
        assert len(GradientSample.load(path)) > 0
    except StoreError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(whole)


def test_the_hdf5_library_is_not_asked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5py, "File", None)
    assert len(GradientSample.load(path)) == N
