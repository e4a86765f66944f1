"""Model files whose digest is right and whose content is not: loaded or refused in one line, with bounded memory, nothing executed."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import deeppot_galactic as dg
from deeppot_galactic.distribution.base import Distribution
from deeppot_galactic.errors import AxisymmetryWarning, DeepPotError, StoreError
from deeppot_galactic.mocks import Plummer
from deeppot_galactic.potential.model import PotentialModel
from deeppot_galactic.store import read_model, write_model

JUNK = st.sampled_from([None, True, -1, 0, 3, 10**9, 2**70, 1e308, -0.5, "", "../../etc/passwd", "__import__('os').abort()", [], [[]], {}])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small file of every kind that the package writes."""
    folder = tmp_path_factory.mktemp("models")
    tracers = Plummer().tracers(3000)
    volume = dg.Ball([0, 0, 0] * u.kpc, 3 * u.kpc)
    files = {}
    for preset, name in (("quick", "score-matching"), ("flow-matching", "flow")):
        df = dg.fit_distribution(tracers, volume, preset=preset, steps=3, width=8, depth=2, batch=64, checkpoint_every=2)
        files[name] = folder / f"{name}.safetensors"
        df.save(files[name])
        if name == "score-matching":
            points = dg.draw_gradients(df, 2000)
    for method in ("weak", "network"):
        options: dict[str, Any] = {"steps": 3, "width": 8, "n_places": 64, "batch": 64} if method == "network" else {}
        files[method] = folder / f"{method}.safetensors"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AxisymmetryWarning)  # a sphere has no pattern speed, and none is wanted
            dg.fit_potential(points, method=method, preset="quick", **options).save(files[method])
    return files


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Places in nested mappings and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    return [found for key, item in items for found in [(*path, key), *leaves(item, (*path, key))]]


def changed(header: dict[str, Any], place: tuple[Any, ...], junk: Any) -> dict[str, Any]:
    header = copy.deepcopy(header)
    target: Any = header
    for key in place[:-1]:
        target = target[key]
    if junk == "remove":
        del target[place[-1]]
    else:
        target[place[-1]] = junk
    return header


def load(kind: str, path: Path) -> None:
    (PotentialModel if kind in ("weak", "network") else Distribution).load(path)


def load_or_refuse(kind: str, path: Path) -> None:
    try:
        load(kind, path)
    except DeepPotError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 700


KIND = {"score-matching": "distribution", "flow": "distribution", "weak": "potential", "network": "potential"}


@pytest.mark.parametrize("kind", KIND)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_descriptions(models: dict[str, Path], tmp_path: Path, kind: str, data: st.DataObject) -> None:
    tensors, header = read_model(models[kind])
    place = data.draw(st.sampled_from(leaves(header)))
    junk = data.draw(JUNK | st.just("remove"))
    path = tmp_path / "changed.safetensors"
    write_model(path, tensors, changed(header, place, junk), KIND[kind])
    load_or_refuse(kind, path)


@pytest.mark.parametrize("kind", KIND)
def test_changed_tensors(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    tensors, header = read_model(models[kind])
    path = tmp_path / "changed.safetensors"
    load(kind, models[kind])
    for name, array in tensors.items():
        for other in (None, array.reshape(-1)[:1], np.zeros((2, 3, 4)), np.array(["a"]).view(np.uint8), array.reshape(array.shape[::-1])):
            arrays = {key: value for key, value in tensors.items() if key != name} | ({} if other is None else {name: other})
            write_model(path, arrays, header, KIND[kind])
            load_or_refuse(kind, path)
    write_model(path, {}, header, KIND[kind])
    with pytest.raises(StoreError):
        load(kind, path)


@pytest.mark.parametrize("kind", ["score-matching", "flow"])
@pytest.mark.parametrize("size", [10**5, 10**9, 2**62, -3, 2.5, True])
def test_sizes_that_are_claimed_and_not_stored_allocate_nothing(models: dict[str, Path], tmp_path: Path, kind: str, size: Any) -> None:
    tensors, header = read_model(models[kind])
    path = tmp_path / "huge.safetensors"
    for key in ("width", "depth"):
        text = json.dumps(header["state"]).replace(f'"{key}": {2 if key == "depth" else 8}', f'"{key}": {json.dumps(size)}')
        assert text != json.dumps(header["state"])
        if key == "depth" and size is True:
            continue
        write_model(path, tensors, {**header, "state": json.loads(text)}, "distribution")
        with pytest.raises(StoreError, match="not stored|than are stored"):
            load(kind, path)


@pytest.mark.parametrize(
    ("kind", "place", "junk"),
    [
        ("score-matching", ("state", "images"), []),
        ("score-matching", ("state", "features", "scale"), ""),
        ("score-matching", ("state", "whitening", "a"), "remove"),
        ("flow", ("state", "flow", "steps"), 10**9),
        ("flow", ("estimator",), "os.system"),
        ("weak", ("inner", "basis", "degree"), 10**9),
        ("weak", ("inner", "basis", "degree"), 2**70),
        ("weak", ("posterior", "basis", "degree"), 10**9),
        ("network", ("inner", "scales", 0), 0),
        ("network", ("inner", "type"), "builtins.eval"),
        ("network", ("volume", "radius"), -1),
        ("network", ("frame", "omega"), None),
    ],
)
def test_descriptions_that_could_not_be_evaluated_are_refused_on_loading(
    models: dict[str, Path], tmp_path: Path, kind: str, place: tuple[Any, ...], junk: Any
) -> None:
    tensors, header = read_model(models[kind])
    path = tmp_path / "changed.safetensors"
    write_model(path, tensors, changed(header, place, junk), KIND[kind])
    with pytest.raises(StoreError) as caught:
        load(kind, path)
    assert "\n" not in str(caught.value)
