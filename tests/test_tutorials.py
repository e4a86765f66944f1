"""Every tutorial runs at its small size, draws its pictures, and becomes a page of the documentation."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorial_pages", ROOT / "docs" / "tutorial_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_six() -> None:
    assert [path.name[:2] for path in TUTORIALS] == ["01", "02", "03", "04", "05", "06"]


@pytest.mark.tutorial
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs_at_small_size(script: Path, tmp_path: Path) -> None:
    if script.name.startswith("05"):
        pytest.importorskip("galpy")
    environment = {**os.environ, "DEEPPOT_TUTORIAL": "small", "DEEPPOT_FIGURES": str(tmp_path), "PYTHONPATH": str(ROOT)}
    # so few stars may show no bar, which the package says
    command = [sys.executable, "-W", "error", "-W", "ignore:the stars are axisymmetric", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    wanted = re.findall(r'^show\(\w+, "([\w-]+)"\)', script.read_text(encoding="utf-8"), re.M)
    assert wanted
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in wanted)


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
