"""Model files: what is written comes back exactly, and whatever was done to a file is refused in one line."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from deeppot_galactic.errors import StoreError
from deeppot_galactic.store import (
    VERSION,
    atomic_path,
    jsonable,
    read_json,
    read_model,
    remove_partial_files,
    write_json,
    write_model,
    write_text,
)

TENSORS = {
    "weight": np.random.default_rng(0).normal(size=(5, 3)),
    "bias": np.arange(4, dtype=np.float32),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 6)),
}
HEADER = {"omega": [0.0, 0.0, 39.0], "note": "R < 16 kpc, été", "n": 3}


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    write_model(path, TENSORS, HEADER, "potential")
    return path


def refused(path: Path, match: str = ".", kind: str | None = "potential") -> str:
    with pytest.raises(StoreError, match=match) as caught:
        read_model(path, kind)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    return message


def test_round_trip_is_exact(model_file: Path) -> None:
    tensors, header = read_model(model_file, "potential")
    assert header == HEADER
    assert set(tensors) == set(TENSORS)
    for name, array in TENSORS.items():
        assert tensors[name].dtype == array.dtype
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name], array)


def test_writing_is_deterministic_and_leaves_nothing_behind(model_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    write_model(again, TENSORS, HEADER, "potential")
    assert again.read_bytes() == model_file.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.safetensors", "model.safetensors"]


def test_non_contiguous_arrays_keep_their_values(tmp_path: Path) -> None:
    array = np.arange(24.0).reshape(4, 6).T[::2]
    write_model(tmp_path / "a.safetensors", {"a": array}, {}, "x")
    np.testing.assert_array_equal(read_model(tmp_path / "a.safetensors")[0]["a"], array)


def test_missing_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.safetensors", "does not exist")
    refused(tmp_path, "not a file")


def test_wrong_kind(model_file: Path) -> None:
    refused(model_file, "'potential' model, expected 'distribution'", kind="distribution")
    assert read_model(model_file)[1] == HEADER


def test_every_truncation_is_refused(model_file: Path, tmp_path: Path) -> None:
    data = model_file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in [*range(0, 64), *range(64, len(data), 17), len(data) - 1]:
        cut.write_bytes(data[:length])
        refused(cut)
    cut.write_bytes(data + b"\0")
    refused(cut)


def test_every_flipped_bit_is_refused(model_file: Path, tmp_path: Path) -> None:
    data = bytearray(model_file.read_bytes())
    bad = tmp_path / "bad.safetensors"
    rng = np.random.default_rng(1)
    header_bits = rng.choice(8 * 600, 300, replace=False)
    tensor_bits = rng.choice(np.arange(8 * 600, 8 * len(data)), 200, replace=False)
    for bit in [*range(64), *header_bits, *tensor_bits]:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        bad.write_bytes(flipped)
        refused(bad)


def forge(path: Path, entry: object, arrays: dict[str, np.ndarray] | None = None) -> None:
    path.write_bytes(save(arrays or {"a": np.zeros(2)}, metadata={"deeppot": entry if isinstance(entry, str) else json.dumps(entry)}))


def test_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    forge(path, {"version": VERSION + 1, "kind": "potential", "header": "{}", "sha256": "0"})
    assert "newer" in refused(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"version": VERSION, "kind": "potential", "header": "{}", "sha256": "0" * 64},
        {"version": VERSION, "kind": "potential", "header": "{}"},
        {"version": "1", "kind": "potential", "header": "{}", "sha256": "0"},
        {"version": VERSION, "kind": ["potential"], "header": "{}", "sha256": "0"},
        {"kind": "potential"},
        [],
        "null",
        "{",
        "[" * 100_000,
    ],
)
def test_forged_headers(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "forged.safetensors"
    forge(path, entry)
    refused(path)


def test_foreign_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(save({"a": np.zeros(2)}))
    refused(path, "not a model file")


@pytest.mark.parametrize("length", [2**63 - 1, 2**64 - 1, 2**32, 17 * 2**20])
def test_claimed_huge_header(tmp_path: Path, length: int) -> None:
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" * 100)
    refused(path, "claims a header")


class Bomb:
    fired = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Bomb, "fired", True)


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    refused(path)
    path.write_bytes(struct.pack("<Q", 100) + pickle.dumps(Bomb()) * 10)
    refused(path)
    assert not Bomb.fired


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_rubbish_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "rubbish.safetensors"
    path.write_bytes(data)
    refused(path)


def test_names_in_a_file_are_never_used_as_paths(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path, {"../../escape": np.ones(1)}, {"path": "/etc/passwd"}, "x")
    assert list(read_model(path)[0]) == ["../../escape"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]


def test_atomic_path_keeps_the_old_file_when_the_writer_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_refusal_by_the_file_system_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write .*; files written before are untouched"):
        write_text(tmp_path / "nowhere" / "a.txt", "x")
    with pytest.raises(StoreError, match="No space left"), atomic_path(tmp_path / "a.bin"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_earlier_model(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    before = model_file.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="No space left on device"):
        write_model(model_file, {"a": np.ones(3)}, {}, "potential")
    monkeypatch.undo()
    assert model_file.read_bytes() == before


def test_partial_files_of_killed_writers_are_removed(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / ".a.partial123.png").write_bytes(b"")
    (tmp_path / "keep.json").write_text("{}")
    assert remove_partial_files(tmp_path) == 1
    assert (tmp_path / "keep.json").exists()
    assert not list((tmp_path / "figures").iterdir())


def test_jsonable() -> None:
    import astropy.units as u

    value = {"a": np.float32(1.5), "b": np.arange(2), "c": (Path("x"), np.bool_(True)), "d": np.nan, 3: None, "q": 39.0 * u.km / u.s}
    assert jsonable(value) == {"a": 1.5, "b": [0, 1], "c": ["x", True], "d": None, "3": None, "q": {"value": 39.0, "unit": "km / s"}}
    assert jsonable(np.array([1.0, np.inf])) == [1.0, None]
    with pytest.raises(StoreError, match="cannot write a object as JSON"):
        jsonable(object())


def test_read_json_refuses_what_is_not_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text in ("", "[1]", "{", "[" * 100_000, "\xff"):
        path.write_text(text, encoding="latin-1")
        with pytest.raises(StoreError):
            read_json(path)
