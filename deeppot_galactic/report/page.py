"""One page that tells somebody new what was fitted, how well, what to distrust, and how to get the same again.

`write_report` draws the figures into ``figures/`` of the run folder and writes ``report.html`` beside it: a single file with the
pictures and the style sheet inside, which can be mailed, archived and read without a network.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

from ..store import write_text
from . import html
from .diagnostics import Diagnosis, diagnose, find_flags
from .diagnostics.flags import Flag, number_of_stars
from .figures import Panel, make_figures
from .inputs import RunFolder, catalogue_stars, read_run_folder, stars_and_sample
from .stylesheet import CSS
from .text import GLOSSARY, SECTIONS, cards, lead, reproduction

Progress = Callable[[str, int, int, dict[str, float]], None]


def write_report(
    run_folder: str | Path, *, points: Any = None, model: Any = None, truth: Any = None, progress: Progress | None = None
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` into a run folder.

    Parameters
    ----------
    run_folder : str or Path
        As written by ``deeppot run``: ``config.toml``, ``catalogue.json``, ``summary.json``, ``gradients.h5``, ``model.safetensors``.
        What is missing is left out of the report, which says so.
    points : GradientSample, optional
        Points with scores, if already in memory.
    model : PotentialModel, optional
        The fitted potential, if already in memory.
    truth : Truth, optional
        What is known of the true potential; by default read from the catalogue of the run.
    progress : callable, optional
        Called as ``progress("report", done, total, {})``.

    Returns
    -------
    Path
        Of ``report.html``.

    Raises
    ------
    StoreError
        If the folder does not exist, is not a run folder, or cannot be written.
    """
    run = read_run_folder(run_folder, points=points, model=model, truth=truth)
    diagnosis = diagnose(run.points, run.model, run.truth)
    stars = number_of_stars(diagnosis, run.summary, run.points)
    meta = getattr(run.points, "meta", {})
    # the mass of the stars of a catalogue is known where it is complete
    complete = "particle_mass" in (getattr(run.truth, "meta", None) or {}) and not run.config.get("selection", {}).get("path")
    wanted = not diagnosis.region.whole_disc or complete
    panels = make_figures(
        diagnosis,
        run.path / "figures",
        summary=run.summary,
        n_stars=meta.get("n_stars") or stars,
        sample=stars_and_sample(run),
        drawn=meta.get("source") == "sampled",
        everything=catalogue_stars(run) if wanted else None,
        points=run.points,
        model=run.model,
        progress=progress,
    )
    path = run.path / "report.html"
    write_text(path, html.document(f"deeppot report: {run.path.resolve().name}", CSS, _body(run, diagnosis, panels, stars)))
    return path


def _body(run: RunFolder, diagnosis: Diagnosis, panels: list[Panel], stars: int | None) -> str:
    """Everything between the body tags."""
    flags = _flags(run, diagnosis)
    parts = [_section(name, list(group)) for name, group in groupby(panels, key=lambda panel: panel.section)]
    names = list(dict.fromkeys(panel.section for panel in panels))
    anchors = [
        ("results", "Results"),
        ("distrust", "What to distrust"),
        *((name, SECTIONS[name][0]) for name in names),
        ("again", "Do it again"),
    ]
    links = "".join(f'<a href="#{anchor}">{html.escape(title)}</a>' for anchor, title in anchors)
    serious = sum(flag.level == "warning" for flag in flags)
    introduction = "Warning signs found in the numbers of this run, and the limits that every run has."
    if serious == 0:
        flags = [Flag("good", "No warning sign", "None of the checks of this report found anything suspicious."), *flags]
    return "".join(
        [
            f'<header><div class="wrap"><h1>A rotating gravitational potential from stars</h1>{lead(run, diagnosis, stars)}</div></header>',
            f'<nav><div class="wrap">{links}</div></nav>',
            f'<main><div class="wrap"><section id="results"><div class="cards">{cards(run, diagnosis, stars)}</div></section>',
            html.section("distrust", "What to distrust", introduction, html.flag_list(flags)),
            *parts,
            html.section("again", "Do it again", "The configuration, the stars and the software of this run.", reproduction(run)),
            html.section("words", "Words", "What the symbols mean.", html.glossary(GLOSSARY)),
            _footer(run),
            "</div></main>",
        ]
    )


def _section(name: str, panels: list[Panel]) -> str:
    title, introduction = SECTIONS[name]
    return html.section(name, title, introduction, html.figures(panels))


def _flags(run: RunFolder, diagnosis: Diagnosis) -> list[Flag]:
    """Flags of the diagnosis, then those that the run itself noted and parts that could not be read."""
    flags = find_flags(diagnosis, {**run.summary, "n_stars": number_of_stars(diagnosis, run.summary, run.points)})
    titles = {flag.title for flag in flags}
    for text in run.summary.get("flags") or []:
        if str(text).split(":")[0] not in titles:
            flags.append(Flag("warning", "Noted during the run", str(text)))
    flags += [Flag("note", "Missing from this report", text) for text in run.missing]
    return sorted(flags, key=lambda flag: flag.level != "warning")


def _footer(run: RunFolder) -> str:
    version = (run.summary.get("versions") or {}).get("deeppot-galactic", "")
    method = "Method: Kalda, Green &amp; Ghosh 2023, arXiv:2310.00040."
    name = f"deeppot-galactic {html.escape(str(version))}".strip()
    return f"<footer>Written by {name}. {method} Figures are also in the folder <code>figures/</code>, one PNG each.</footer>"
