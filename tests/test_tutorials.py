"""Every tutorial runs at its small size, draws its pictures, and becomes a page of the documentation."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ROOT / "docs" / "outputs"
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_pages", ROOT / "docs" / "tutorial_pages.py")
    assert spec is not None and spec.loader is not None
    sys.path.insert(0, str(ROOT / "docs"))
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return module


def test_there_are_six() -> None:
    assert [path.name[:2] for path in TUTORIALS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.tutorial
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_at_small_size(script: Path, tmp_path: Path) -> None:
    if script.name.startswith("05"):
        pytest.importorskip("galpy")
    outputs = tmp_path / "outputs"
    environment = {**os.environ, "DEEPPOT_TUTORIAL": "small", "DEEPPOT_FIGURES": str(tmp_path), "PYTHONPATH": str(ROOT)}
    # so few stars may show no bar, which the package says
    execute = [str(ROOT / "docs" / "tutorial_outputs.py"), "--out", str(outputs), str(script)]
    command = [sys.executable, "-W", "error", "-W", "ignore:the stars are axisymmetric", *execute]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    wanted = re.findall(r'^show\(\w+, "([\w-]+)"\)', script.read_text(encoding="utf-8"), re.M)
    assert wanted
    # the documentation shows the outputs at full size: the same code speaks, in as many cells
    found, shown = (json.loads((folder / f"{script.stem}.json").read_text(encoding="utf-8")) for folder in (outputs, OUTPUTS))
    assert [(cell["code"], bool(cell["output"])) for cell in found] == [(cell["code"], bool(cell["output"])) for cell in shown]
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in wanted)


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_its_outputs_are_those_of_its_code(script: Path, pages: ModuleType) -> None:
    code = [content for kind, content in pages.cells(script.read_text(encoding="utf-8")) if kind == "code"]
    kept = json.loads((OUTPUTS / f"{script.stem}.json").read_text(encoding="utf-8"))
    again = f"the tutorial has changed: python docs/tutorial_outputs.py tutorials/{script.name}"
    assert [cell["code"] for cell in kept] == [pages.digest(content) for content in code], again
    printed = [cell["output"] for cell in kept if cell["output"]]
    made = pages.page(script.read_text(encoding="utf-8"), name=script.name, pictures=ROOT, outputs=pages.stored(script))
    assert len(printed) >= 2 and all(pages.wrapped(output) in made for output in printed) and "/tmp" not in made


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_it_becomes_a_page(script: Path, pages: ModuleType) -> None:
    text = script.read_text(encoding="utf-8")
    kinds = [kind for kind, _ in pages.cells(text)]
    assert kinds[0] == "markdown" and kinds.count("code") >= 4 and kinds.count("markdown") >= 4
    made = pages.page(text, name=script.name, pictures=ROOT / "docs" / "images" / "tutorials")
    assert made.startswith("# " + str(int(script.name[:2])))
    code = "\n".join(re.findall(r"```python\n(.*?)\n```", made, re.S))
    compile(code, script.name, "exec")
    wanted = re.findall(r'^show\(\w+, "([\w-]+)"\)', text, re.M)
    assert re.findall(r"images/tutorials/([\w-]+)\.png", made) == wanted  # every picture is in the documentation
