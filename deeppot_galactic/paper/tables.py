"""The tables of the experiment as rows of text: whole discs (P table 3), balls (P table 4), and what else was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import published
from .volumes import DISC

Row = dict[str, Any]
Table = tuple[list[str], list[list[str]]]
"""Head and rows."""


def percent(value: float | None, *, signed: bool = False) -> str:
    """A fraction in per cent, or a dash."""
    if value is None:
        return "–"
    return f"{100 * value:+.0f} %".replace("-", "−") if signed else f"{100 * value:.0f} %"


def plus_minus(value: float | None, error: float | None) -> str:
    """A number with its error, or a dash."""
    if value is None:
        return "–"
    return (f"{value:.2f}" + ("" if error is None else f" ± {error:.2f}")).replace("-", "−")


def span(numbers: dict[str, float] | None) -> str:
    """Median and 84 % of relative errors."""
    return "–" if not numbers else f"{percent(numbers['median'])} ({percent(numbers['p84'])})"


def paper_errors(volume: str) -> str:
    """The paper's errors of Omega at its three epochs."""
    errors = published.OMEGA_ERRORS.get(volume)
    return "–" if errors is None else ", ".join(f"{error:+d}".replace("-", "−") for error in errors) + " %"


def discs(rows: Sequence[Row]) -> Table:
    """P table 3: the whole disc."""
    head = ["snapshot", "preset", "stars", "true Ω", "Ω of the fit", "error", "sigma", "Ω by continuity", "paper's errors"]
    return head, [_omega(row, with_volume=False) for row in rows if row["volume"] == DISC]


def balls(rows: Sequence[Row]) -> Table:
    """P table 4: balls at the Sun's place and mirrored."""
    head = ["volume", "snapshot", "preset", "stars", "true Ω", "Ω of the fit", "error", "sigma", "Ω by continuity", "paper's errors"]
    return head, [_omega(row, with_volume=True) for row in rows if row["volume"] != DISC]


def _omega(row: Row, *, with_volume: bool) -> list[str]:
    first = [row["volume"]] * with_volume + [row["snapshot"], row["preset"]]
    if "failed" in row:
        return [*first, "", "", f"failed: {row['failed']}", "", "", "", paper_errors(row["volume"])]
    sigmas = "–" if row["sigmas"] is None else f"{row['sigmas']:+.1f}".replace("-", "−")
    fit = plus_minus(row["omega"], row["omega_error"])
    numbers = [f"{row['truth']:.2f}", fit, percent(row["relative"], signed=True), sigmas, plus_minus(row["continuity"], None)]
    return [*first, f"{row['n_stars']:,}", *numbers, paper_errors(row["volume"])]


def fields(rows: Sequence[Row]) -> Table:
    """Errors of accelerations and densities, stationarity, and the time of every run."""
    head = ["volume", "snapshot", "preset", "accelerations: median (84 %)", "density: median (84 %)", "dark matter", "steady by", "minutes"]
    body = []
    for row in rows:
        if "failed" in row:
            continue
        steady = "–" if not row["rotating"] or not row["lab"] else f"{row['lab'] / row['rotating']:.1f}×"
        numbers = [span(row["force_error"]), span(row["density_error"]), percent(row["dark_matter"]), steady, f"{row['seconds'] / 60:.1f}"]
        body.append([row["volume"], row["snapshot"], row["preset"], *numbers])
    paper = [f"within {published.FORCE_ERROR} %", f"within {published.DENSITY_ERROR} %", f"within a factor {published.DARK_MATTER_FACTOR}"]
    return head, [*body, ["the paper", "", "", *paper, "–", "–"]]


def markdown(table: Table) -> str:
    """A table in Markdown, its columns aligned."""
    head, *body = [[cell.replace("|", "\\|") for cell in line] for line in (table[0], *table[1])]
    widths = [max(3, *(len(line[k]) for line in (head, *body))) for k in range(len(head))]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)
