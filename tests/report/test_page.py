"""The page: complete, self-contained, safe against hostile text, honest about what is missing, and good at two widths."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import deeppot_galactic as dg
from deeppot_galactic.errors import StoreError
from deeppot_galactic.preparation import fingerprint
from deeppot_galactic.report import write_report
from deeppot_galactic.report.inputs import catalogue_stars, read_run_folder
from deeppot_galactic.report.text import duration, number, percent

CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@pytest.fixture(scope="session")
def small(bar: SimpleNamespace) -> SimpleNamespace:
    """Few points, to draw quickly."""
    points = bar.draw(3000, bar.volume)
    points.meta["n_stars"] = 131072.0
    return points


@pytest.fixture(scope="session")
def page(bar: SimpleNamespace, small: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a complete run."""
    return write_report(bar.make_folder(tmp_path_factory.mktemp("page")), points=small, model=bar.model, truth=bar.truth)


def test_the_page_is_complete_and_self_contained(page: Path) -> None:
    path, run_folder = page, page.parent
    assert path.name == "report.html"
    text = path.read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]{0,40})', text)
    assert len(sources) == len(list((run_folder / "figures").glob("*.png"))) >= 18
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"<(script|link|iframe|object)|@import|url\(", text)
    anchors = set(re.findall(r'href="#([a-z_]+)"', text))
    assert anchors
    assert anchors <= set(re.findall(r'id="([a-z_]+)"', text))
    for expected in (
        "131,072 stars",
        "30.00 ± 0.40",
        "30.10 ± 0.60",
        "Corotation outside",
        "torch",
        "r_out",
        "inside the volume",
        "4.0 min",
    ):
        assert expected in text, expected
    assert 'name="viewport"' in text


def test_a_run_without_truth_says_so(bar: SimpleNamespace, small: SimpleNamespace, run_folder: Path) -> None:
    (run_folder / "config.toml").write_text("[volume]\nr_out = 8.0\n", encoding="utf-8")
    summary = bar.make_summary() | {"truth": None}
    (run_folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_report(run_folder, points=small, model=bar.model).read_text(encoding="utf-8")
    assert "No truth to compare with" in text
    assert "off by" not in text
    assert not (run_folder / "figures" / "acceleration_truth.png").exists()


def test_a_run_without_warning_signs_says_so(bar: SimpleNamespace, run_folder: Path) -> None:
    ball = bar.make_ball(np.array([2.0, 1.0, 0.0]), 1.0)
    points, model = bar.draw(2000, ball), bar.make_model(ball)
    points.meta["n_stars"] = 131072.0
    text = write_report(run_folder, points=points, model=model, truth=bar.make_truth(model)).read_text(encoding="utf-8")
    assert "No warning sign" in text and "Valid inside the volume only" in text


def test_damaged_and_missing_parts_are_named(small: SimpleNamespace, run_folder: Path) -> None:
    (run_folder / "summary.json").write_text("{", encoding="utf-8")
    (run_folder / "model.safetensors").write_bytes(b"not a model")
    text = write_report(run_folder, points=small).read_text(encoding="utf-8")
    assert "summary.json cannot be read" in text
    assert "model.safetensors cannot be read" in text


def test_a_catalogue_is_found_from_a_run_folder_that_moved(small: SimpleNamespace, run_folder: Path) -> None:
    """By its relative path from a folder above, and by its digest: another file of that name is not taken for it."""
    assert "stars.fits is no longer where it was" in write_report(run_folder, points=small).read_text(encoding="utf-8")
    stars = run_folder.parent / "stars.fits"
    dg.Tracers(np.asarray(small.points)).write(stars)
    (run_folder / "catalogue.json").write_text(json.dumps({"sha256": fingerprint(stars)}), encoding="utf-8")
    run = read_run_folder(run_folder, points=small)
    assert run.stars_file == stars and not any("stars.fits" in text for text in run.missing)
    found = catalogue_stars(run)
    assert found is not None and len(found) == len(small.points)
    (run_folder / "catalogue.json").write_text(json.dumps({"sha256": "0" * 64}), encoding="utf-8")
    run = read_run_folder(run_folder, points=small)
    assert run.stars_file is None and catalogue_stars(run) is None and any("stars.fits" in text for text in run.missing)


def test_what_is_not_a_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run folder"):
        write_report(tmp_path / "absent")
    with pytest.raises(StoreError, match="is not a run folder"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_text_of_a_run_cannot_become_markup(bar: SimpleNamespace, small: SimpleNamespace, run_folder: Path) -> None:
    evil = "<script>alert(1)</script>"
    summary = bar.make_summary() | {"flags": [evil], "preset": evil, "versions": {evil: evil}, "seed": evil}
    summary["timings"] = {evil: 3.0}
    (run_folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    (run_folder / "config.toml").write_text(f"# {evil}\n", encoding="utf-8")
    (run_folder / "catalogue.json").write_text(json.dumps({"cuts": [{"name": evil, "left": 1}]}), encoding="utf-8")
    text = write_report(run_folder, points=small, model=bar.model, truth=bar.truth).read_text(encoding="utf-8")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6


def test_flags_of_the_run_are_shown_once(bar: SimpleNamespace, small: SimpleNamespace, run_folder: Path) -> None:
    summary = bar.make_summary() | {"quick": True, "flags": ["Quick run: few stars", "the catalogue had 3 % of masked rows"]}
    (run_folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    text = write_report(run_folder, points=small, model=bar.model, truth=bar.truth).read_text(encoding="utf-8")
    assert text.count("Quick run") == 1
    assert text.count("the catalogue had 3 % of masked rows") == 1


def test_numbers_are_written_as_people_write_them() -> None:
    assert number(14.6123, 0.6) == "14.61 ± 0.60"
    assert number(-39.04, 12.0) == "−39 ± 12"
    assert number(3.0, None) == "3.00"
    assert percent(-0.0123, signed=True) == "−1.2 %"
    assert [duration(s) for s in (3.2, 240.0, 7200.0)] == ["3 s", "4.0 min", "2.0 h"]


@pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium")
@pytest.mark.parametrize(("width", "columns"), [(1280, 2), (390, 1)])
def test_in_a_browser(width: int, columns: int, page: Path, tmp_path: Path) -> None:
    """Nothing sticks out to the right, all pictures load, and they stand in two columns on a desk and in one on a telephone."""
    probe = """<script>window.onload = () => { const d = document, i = [...d.images];
      const first = d.querySelector('.figures').getElementsByTagName('figure');
      parent.postMessage({ inner: innerWidth, page: d.documentElement.scrollWidth, pictures: i.length,
        loaded: i.filter(p => p.naturalWidth > 800).length, tops: [...first].map(f => f.getBoundingClientRect().top) }, '*'); };</script>"""
    probed = tmp_path / "probe.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    # A frame has the width it is told; a window has a smallest width.
    listener = "<script>onmessage = e => { document.body.innerHTML = JSON.stringify(e.data); };</script>"
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<body>{listener}<iframe style="border: 0" width="{width}" height="2000" src="probe.html"></iframe></body>', encoding="utf-8"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,2200"]
    done = subprocess.run(
        [str(CHROMIUM), *options, "--dump-dom", "--virtual-time-budget=20000", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<body>(\{.*?\})</body>", done.stdout, re.DOTALL)
    assert found is not None
    seen = json.loads(found[1])
    assert seen["inner"] == width
    assert seen["page"] <= width
    assert seen["pictures"] == seen["loaded"] >= 18
    assert len(set(seen["tops"])) == len(seen["tops"]) // columns
