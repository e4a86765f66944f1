"""The documentation builds without a warning, and names every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import deeppot_galactic as dg
from deeppot_galactic import dynamics, interop, mocks
from deeppot_galactic.report import diagnostics, plots

ROOT = Path(__file__).resolve().parents[1]


def test_every_public_name_is_in_the_reference() -> None:
    pages = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "api").glob("*.md"))
    listed = {name.rsplit(".", 1)[-1] for name in re.findall(r"auto(?:class|function):: (\S+)", pages)}
    for module in (dg, dynamics, interop, mocks, diagnostics, plots):
        missing = set(module.__all__) - listed - {"PER_GYR", "INK", "CYCLE"}
        assert not missing, f"{module.__name__}: {sorted(missing)}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#:\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("tutorials/"):  # made by the build
                assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", str(ROOT / "docs"), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fit_potential" in (tmp_path / "html" / "api" / "package.html").read_text(encoding="utf-8")
