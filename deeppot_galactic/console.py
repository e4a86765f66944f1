"""What the command line shows: progress with the time left, and the tables at the end.

Everything for people goes to standard error except the final table; with ``--json`` standard output holds one JSON document and
nothing else.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .errors import DeepPotWarning

REPORT_EVERY = 10.0
"""Seconds between lines of progress where there is no terminal."""


class _Console(Console):
    """A console that leaves it to the command what a broken pipe means."""

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that rich is handling


def error_console() -> Console:
    """Standard error."""
    return _Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def output_console() -> Console:
    """Standard output."""
    return _Console(highlight=False, markup=False)


class Bars:
    """Progress of the stages as bars on a terminal, or as a line now and then elsewhere; call it like any ``progress``."""

    def __init__(self, progress: Progress | None, console: Console) -> None:
        self._progress, self._console = progress, console
        self._tasks: dict[str, TaskID] = {}
        self._begun: dict[str, tuple[float, int]] = {}  # when, and how much had been done
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int, values: dict[str, float]) -> None:
        text = "  ".join(f"{name} {_number(value)}" for name, value in values.items())
        if self._progress is None:
            self._line(stage, done, total, text)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, values="")
        self._progress.update(self._tasks[stage], completed=done, total=total, values=text)

    def restart(self) -> None:
        """Forget what was shown: the stages come again, for another run."""
        if self._progress is not None:
            for task in self._tasks.values():
                self._progress.remove_task(task)
        self._tasks, self._begun = {}, {}

    def _line(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        begun, before = self._begun.setdefault(stage, (now, done))
        if done < total and now - max(self._last, begun) < REPORT_EVERY:
            return
        self._last = now
        left = f", {(now - begun) / (done - before) * (total - done):.0f} s left" if before < done < total else ""
        self._console.print(f"{stage}: {done} of {total}, {now - begun:.0f} s{left}  {text}".rstrip())


@contextmanager
def quiet_warnings() -> Iterator[None]:
    """Keep warnings off the screen while the block runs, for commands that say the same in their result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeepPotWarning)
        yield


@contextmanager
def bars(quiet: bool = False) -> Iterator[Bars]:
    """Show progress on standard error while the block runs; plain lines where that is no terminal, nothing if ``quiet``."""
    console = error_console()
    console.quiet = quiet
    if quiet or not console.is_terminal:
        yield Bars(None, console)
        return
    columns = (
        TextColumn("{task.description:<14}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress, console)


def result_table(summary: dict[str, Any]) -> Table:
    """The result of a run: pattern speed, other components of the frame and force error with their truths, and the time of each stage."""
    title = "Result (QUICK run: shows that it works, not how well)" if summary.get("quick") else "Result"
    table = Table(title=title, title_justify="left", show_header=True)
    for name, justify in (("", "left"), ("value", "right"), ("truth", "right"), ("error", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    truth = summary.get("truth") or {}
    omega, error = summary["omega"]["value"], summary["omega"].get("error")
    own = None if not error else error[2]
    table.add_row("Omega of the fit [km/s/kpc]", *_compared(omega[2] if omega else None, own, truth))
    for name, found in summary.get("frame", {}).items():
        if name != "omega_z":
            table.add_row(f"{name} of the fit [{found['unit']}]", _measured(found["value"], found["error"]), "", "")
    weak = summary.get("pattern_speed") or {}
    table.add_row("Omega, weak form [km/s/kpc]", *_compared(weak.get("value"), weak.get("error"), truth))
    for key, label in (("force_error", "force error, median"), ("density_error", "density error, median")):
        numbers = summary.get(key)
        if numbers:
            table.add_row(label, f"{numbers['median']:.1%}", "", f"84 %: {numbers['p84']:.1%}")
    table.add_section()
    attempt = "last attempt" if summary.get("resumed") else ""
    for stage, seconds in summary["timings"].items():
        table.add_row(f"time of {stage.replace('_', ' ')}", f"{seconds:.1f} s", "", attempt)
    table.add_row("peak memory", f"{summary['peak_memory_mb']:.0f} MB", "", "")
    return table


def pattern_speed_table(speed: dict[str, Any]) -> Table:
    """The weak-form pattern speed, overall with the parts of its error, and per annulus with its significance."""
    table = Table(title="Pattern speed, weak form", title_justify="left")
    for name in ("R [kpc]", "Omega [km/s/kpc]", "growth [1/Gyr]", *(("A2/noise", "in bar") if speed["by_radius"] else ())):
        table.add_column(name, justify="right")
    table.add_row("all", _measured(speed["value"], speed["error"]), _measured(speed["growth_rate"], speed["growth_rate_error"]))
    for part in ("statistical", "systematic"):
        if speed[part] is not None:
            table.add_row(part, f"± {_number(speed[part])}")
    table.add_section()
    for row in speed["by_radius"]:
        omega, growth = _measured(row["omega"], row["error"]), _measured(row["growth_rate"], row["growth_rate_error"])
        span, inside = f"{_number(row['R_lo'])} - {_number(row['R_hi'])}", "yes" if row["in_pattern"] else ""
        table.add_row(span, omega, growth, _number(row["significance"]), inside)
    return table


def rows_left_out(catalogue: dict[str, Any]) -> str:
    """How many rows of a table the cuts removed, in one line; empty for none."""
    cuts = [cut for cut in catalogue["cuts"] if cut["removed"]]
    if not cuts:
        return ""
    by = ", ".join(f"{cut['name']} ({cut['removed']:,})" for cut in cuts)
    return f"{sum(cut['removed'] for cut in cuts):,} of {catalogue['n_read']:,} rows left out by cuts: {by}"


def catalogue_table(catalogue: dict[str, Any]) -> Table:
    """Every cut of a catalogue with its count."""
    table = Table(title=f"Stars of {catalogue.get('source', 'the catalogue')}", title_justify="left")
    for name, justify in (("", "left"), ("removed", "right"), ("left", "right")):
        table.add_column(name, justify=justify)  # pyright: ignore[reportArgumentType]
    if "n_read" in catalogue:
        table.add_row("read", "", f"{catalogue['n_read']:,}")
    for cut in catalogue.get("cuts", []):
        table.add_row(str(cut.get("name")), f"{cut.get('removed', 0):,}", f"{cut.get('left', 0):,}")
    table.add_row(f"in the {catalogue['volume_text']}", "", f"{catalogue['n_in_volume']:,}")
    table.add_section()
    medians, dispersions = catalogue.get("medians", {}), catalogue.get("dispersions", {})
    for name, label in (("R", "median R [kpc]"), ("abs_z", "median |z| [kpc]"), ("v_phi", "median v_phi [km/s]")):
        if name in medians:
            spread = f" (dispersion {_number(dispersions[name])})" if name in dispersions else ""
            table.add_row(label + spread, "", _number(medians[name]))
    table.add_row("rotation", "", str(catalogue.get("rotation")))
    _sky_rows(table, catalogue)
    return table


def _sky_rows(table: Table, catalogue: dict[str, Any]) -> None:
    """What only a catalogue from the sky has: the Sun, its neighbours, distances and errors."""
    sun, nearby, distance, errors = (catalogue.get(key) for key in ("sun", "nearby", "distance", "errors"))
    if sun:
        table.add_section()
        table.add_row("Sun at (x, y, z) [kpc]", "", ", ".join(_number(v) for v in sun["position"]))
        table.add_row("Sun's velocity [km/s]", "", ", ".join(_number(v) for v in sun["velocity"]))
    if distance:
        table.add_row("distance, median and 99 % [kpc]", "", f"{_number(distance['median'])}, {_number(distance['99 %'])}")
    if nearby:
        table.add_row(f"median v_phi of {nearby['n']:,} within 0.3 kpc", "", _number(nearby["v_phi"]))
    if errors:
        table.add_row("median errors of x, y, z [kpc]", "", ", ".join(f"{errors[k]:.2g}" for k in ("x", "y", "z")))
        table.add_row("median errors of vx, vy, vz [km/s]", "", ", ".join(f"{errors[k]:.2g}" for k in ("vx", "vy", "vz")))
    if catalogue.get("duplicates") is not None:
        table.add_row("repeated source_id", "", f"{catalogue['duplicates']:,}")


def _measured(value: float | None, error: float | None) -> str:
    return _number(value) + ("" if error is None else f" ± {_number(error)}")


def _compared(value: float | None, error: float | None, truth: dict[str, Any]) -> tuple[str, str, str]:
    found = _measured(value, error)
    true = truth.get("omega")
    if true is None or value is None:
        return found, "", ""
    spread = truth.get("omega_error")
    return found, _number(true) + ("" if not spread else f" ± {_number(spread)}"), f"{(value - true) / abs(true):+.1%}" if true else ""


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.3e}"
