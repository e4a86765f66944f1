"""The page of the experiment: tables beside the paper's, figures, and where every run is; ``paper.md`` and ``paper.html``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from ..report import html
from ..report.stylesheet import CSS
from ..store import write_text
from . import tables
from .figures import paper_figures

TABLES = (
    ("Whole discs", "Pattern speed in R < 16, |z| < 2 kpc [km/s/kpc]: table 3 of the paper.", tables.discs),
    ("Balls", "Pattern speed in balls 8 kpc from the centre, 20° behind the bar and opposite [km/s/kpc]: table 4.", tables.balls),
    (
        "Forces and densities",
        "Relative errors against the truth inside each volume (whole discs: 1 < R < 12, |z| < 1.5 kpc; dark matter: 2 < r < 12 kpc). "
        "“Steady by”: how many times smaller the median |d ln f/dt| is in the rotating frame than at rest.",
        tables.fields,
    ),
)

REMARK = (
    "The paper's numbers are for its own simulation at three epochs; ours are for other snapshots, so that they can be compared in size "
    "and not one by one. Errors of Ω are those that the fit gives; sigma is the deviation from the truth in units of them."
)


def write_page(folder: Path, rows: Sequence[dict[str, Any]], snapshots: Sequence[str]) -> Path:
    """Write ``figures/*.png``, ``paper.md`` and ``paper.html`` of an experiment.

    Parameters
    ----------
    folder : Path
        Of the experiment.
    rows : sequence of dict
        From `measure_run`, with "snapshot", "volume", "preset" and "folder".
    snapshots : sequence of str
        Names of the snapshots, in order.

    Returns
    -------
    Path
        Of ``paper.html``.
    """
    panels = paper_figures(folder, rows, snapshots)
    total = sum(row.get("seconds", 0.0) for row in rows) / 60
    time = f"{len(rows)} runs, {total:.0f} minutes of computing in all."
    text, parts = [f"# The experiment of the paper on our snapshots\n\n{REMARK} {time}\n"], []
    for title, caption, make in TABLES:
        head, body = make(rows)
        if body:
            text.append(f"## {title}\n\n{caption}\n\n{tables.markdown((head, body))}\n")
            parts.append(html.section(title.split()[0].lower(), title, caption, html.table(body, head=head)))
    if panels:
        pairs = "".join(html.figures(panels[k : k + 2]) for k in range(0, len(panels), 2))
        parts.append(html.section("figures", "Figures", "Counterparts of the paper's figures.", pairs))
        text.append("## Figures\n\n" + "\n\n".join(f"![{p.title}](figures/{p.path.name})\n\n{p.title}. {p.caption}" for p in panels) + "\n")
    links = [f'<li><a href="{escape(row["folder"])}/report.html">{escape(row["folder"])}</a></li>' for row in rows if "failed" not in row]
    parts.append(html.section("runs", "Runs", "Each run has its own report.", f"<ul>{''.join(links)}</ul>"))
    opening = f'<p class="lead">{escape(REMARK)}</p><p>{escape(time)}</p>'
    head = f'<header><div class="wrap"><h1>The experiment of the paper on our snapshots</h1>{opening}</div></header>'
    write_text(folder / "paper.md", "\n".join(text))
    path = folder / "paper.html"
    write_text(path, html.document("deeppot paper", CSS, f'{head}<main><div class="wrap">{"".join(parts)}</div></main>'))
    return path
