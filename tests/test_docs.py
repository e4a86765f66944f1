"""The documentation builds without a warning, and names every public name."""

from __future__ import annotations

import importlib.util
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest

import deeppot_galactic as dg
from deeppot_galactic import dynamics, interop, mocks
from deeppot_galactic.report import diagnostics, plots

ROOT = Path(__file__).resolve().parents[1]


def reference() -> list[str]:
    """Every name that the pages of the API document, errors apart."""
    spec = importlib.util.spec_from_file_location("api_pages", ROOT / "docs" / "api_pages.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    by_hand = [(ROOT / "docs" / "api" / f"{name}.md").read_text(encoding="utf-8") for name in ("interop", "more")]
    text = "\n".join([*made.pages().values(), *by_hand])
    return re.findall(r"auto(?:class|function):: (\S+)", text)


def test_every_public_name_is_in_the_reference() -> None:
    listed = reference()
    assert len(listed) == len(set(listed))
    for module in (dg, dynamics, interop, mocks, diagnostics, plots):
        names = {name for name in module.__all__ if callable(getattr(module, name))}
        missing = names - {name.rsplit(".", 1)[-1] for name in listed}
        assert not missing, f"{module.__name__}: {sorted(missing)}"


def test_every_name_that_the_pages_import_is_in_the_reference() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "tutorials").glob("*.py")]
    found = [
        line for page in pages for line in re.findall(r"from (deeppot_galactic\S*) import ([\w, ]+)", page.read_text(encoding="utf-8"))
    ]
    used = {f"{module}.{name.split()[0]}" for module, names in found for name in names.split(",")}
    missing = {name for name in used if callable(pydoc.locate(name))} - set(reference())
    assert {"deeppot_galactic.catalogue.masks.Mask", "deeppot_galactic.campaign.run_all"} <= used
    assert not {name for name in missing if "deeppot_galactic.errors." not in name}  # which are listed by module


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


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_from_the_page_to_an_orbit_by_pasting(page: str, tmp_path: Path) -> None:
    pytest.importorskip("galpy")
    tracers = dg.read_tracers(dg.demo_path()).select(np.arange(0, 131_072, 16))
    volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
    model = dg.fit_potential(dg.GradientSample.of_stars(tracers, volume), method="weak")
    (tmp_path / "first-look").mkdir()
    model.save(tmp_path / "first-look" / "model.safetensors")  # in the place of the run of `deeppot demo`
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    pasted = "\n".join(block for block in blocks if "fit_distribution" not in block)
    done = subprocess.run([sys.executable, "-c", pasted], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Jacobi energy kept to [" in done.stdout
    if "galpy" in pasted:  # the last line sets galpy's radius beside ours
        there, here = map(float, re.search(r"([\d.]+) kpc; above: ([\d.]+)", done.stdout).groups())  # type: ignore[union-attr]
        assert there == pytest.approx(here, abs=0.01)  # the spline of a potential from few stars, 1 Gyr later
