"""The command line: thin commands over the public functions.

Exit status 0: done, even if who reads the output (``| head``) has seen enough; 2: bad input, said in one line, nothing lost; 1: anything
else. With ``--json`` standard output is one JSON document, ``{"error": ...}`` if something went wrong.
"""

from __future__ import annotations

import json
import os
import select
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from .errors import DeepPotError

app = typer.Typer(
    name="deeppot",
    help="Gravitational potentials and pattern speeds of barred galaxies from stars in six dimensions.",
    epilog="Example: deeppot demo --quick --out first-look",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path, typer.Option("--out", help="Run folder to write; must not exist unless --resume.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run in that folder.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu [default], cuda, cuda:1 or mps.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every random number [default: of the configuration, or 0].")]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of torch [default 0: as it chooses].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, no bars, no tables.")]
TableFile = Annotated[
    Path, typer.Argument(metavar="TABLE", help="fits, ecsv, csv, vot, parquet or hdf5 table, npz with pos and vel, or a CONFIG.toml.")
]
ROut = Annotated[float | None, typer.Option("--r-out", help="Radius of the volume [kpc; default 16].")]
HalfHeight = Annotated[float | None, typer.Option("--half-height", help="Half height of the cylinder [kpc; default 2].")]
Center = Annotated[str | None, typer.Option("--ball", metavar="X,Y,Z", help="A ball of radius --r-out around this point [kpc] instead.")]
Where = Annotated[list[str] | None, typer.Option("--where", metavar="CUT", help="Keep stars with e.g. 'phot_g_mean_mag < 14'; repeatable.")]
Columns = Annotated[
    list[str] | None, typer.Option("--column", metavar="ROLE=NAME", help="Name a column, e.g. radial_velocity=RV; repeatable.")
]
Options = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key of [catalogue] options, e.g. distance_max=4; repeatable.")
]
Selection = Annotated[Path | None, typer.Option("--selection", help="File of the selection function.")]


@app.command(epilog="Example: deeppot demo --quick --out first-look")
def demo(
    out: Out = Path("demo"),
    quick: Annotated[bool, typer.Option("--quick", help="Few stars and steps: under two minutes, poor numbers.")] = False,
    resume: Resume = False,
    device: Device = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Fit the shipped N-body bar and compare with its truth."""
    from .demo import demo_config

    _run(demo_config(quick=quick), out, resume, device, seed, threads, as_json)


@app.command(short_help="From a catalogue to a potential and a report.", epilog="Example: deeppot run stars.toml --out runs/stars --seed 1")
def run(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Configuration; only [catalogue] path is needed.")],
    out: Annotated[Path | None, typer.Option("--out", help="Run folder to write [default: runs/NAME of the configuration].")] = None,
    resume: Resume = False,
    device: Device = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Carry out a run: from a catalogue to a potential, a pattern speed and a report."""
    from .config import read_config

    _run(read_config(config), out if out is not None else Path("runs") / config.stem, resume, device, seed, threads, as_json)


@app.command(epilog="Example: deeppot check stars.fits --r-out 12")
def check(
    table: TableFile,
    r_out: ROut = None,
    half_height: HalfHeight = None,
    ball: Center = None,
    where: Where = None,
    column: Columns = None,
    options: Options = None,
    selection: Selection = None,
    as_json: Json = False,
) -> None:
    """Read a catalogue as a run would, and say what is in it."""
    from .console import catalogue_table, output_console
    from .preparation import load_catalogue, table_config

    config = table_config(table, r_out, half_height, ball, where, column, options, selection)
    catalogue = load_catalogue(config)[2]
    if as_json:
        _print_json(catalogue)
    else:
        console = output_console()
        console.print(catalogue_table(catalogue))
        for note in [*catalogue.get("notes", []), *(f"! {warning}" for warning in catalogue.get("warnings", []))]:
            console.print(note)


@app.command(
    "pattern-speed",
    short_help="Measure the pattern speed, in seconds.",
    epilog="Example: deeppot pattern-speed stars.fits --r-out 12 --json",
)
def pattern_speed(
    table: TableFile,
    r_out: ROut = None,
    half_height: HalfHeight = None,
    ball: Center = None,
    where: Where = None,
    column: Columns = None,
    options: Options = None,
    selection: Selection = None,
    errors: Annotated[str | None, typer.Option("--errors", help="ignore [default], or correct: take the stars' known errors out.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure the pattern speed with the weak form: no training, seconds."""
    from .console import bars, output_console, pattern_speed_table, quiet_warnings, rows_left_out
    from .potential.pattern import pattern_speed as measure
    from .preparation import load_catalogue, seen_from_axis, table_config
    from .summary import describe_pattern_speed

    config = table_config(table, r_out, half_height, ball, where, column, options, selection, errors)
    tracers, volume, catalogue = load_catalogue(config)
    with quiet_warnings(), bars(quiet=as_json) as progress:
        speed = describe_pattern_speed(
            measure(*seen_from_axis(config, tracers, volume), errors=config.catalogue.errors, seed=seed, progress=progress)
        )
    if as_json:
        _print_json({**speed, **{name: catalogue[name] for name in ("n_read", "cuts", "n_in_volume")}})
        return
    console = output_console()
    console.print(pattern_speed_table(speed))
    for line in filter(None, (speed["message"], rows_left_out(catalogue))):
        console.print(line)


@app.command(epilog="Example: deeppot export demo --to agama --out potential.ini")
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder or model.safetensors.")],
    to: Annotated[str, typer.Option("--to", help="galpy, gala or agama.")],
    out: Annotated[Path, typer.Option("--out", help="File to write; must not exist.")],
    backend: Annotated[str, typer.Option("--backend", help="compiled (a spline, fast) or exact (as learned).")] = "compiled",
    as_json: Json = False,
) -> None:
    """Write a fitted potential for another package."""
    from . import load
    from .errors import ExportError, StoreError

    if to not in ("galpy", "gala", "agama"):
        raise ExportError(f"cannot export to {to!r}; choose galpy, gala or agama")
    if out.exists():
        raise StoreError(f"{out} exists; choose another file with --out")
    from .interop import export as write

    path = write(load(run_folder).global_potential, out, to=to, backend=backend)
    if as_json:
        _print_json({"path": str(path), "to": to, "backend": backend})
    else:
        typer.echo(f"wrote {path}")


@app.command(epilog="Example: deeppot report demo")
def report(run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")], as_json: Json = False) -> None:
    """Make the figures and report.html of a run again."""
    from .report import write_report

    path = write_report(run_folder)
    if as_json:
        _print_json({"report": str(path)})
    else:
        typer.echo(f"wrote {path}")


@app.command(
    short_help="Repeat the experiment of the paper.",
    epilog="Example: deeppot paper --snapshots t1000.npz t2250.npz --presets fast,paper-small --out paper",
)
def paper(
    snapshots: Annotated[list[Path], typer.Option("--snapshots", help="Catalogues with a truth: one or more files.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist unless --resume.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[SNAPSHOT]...", show_default=False, hidden=True)] = None,
    presets: Annotated[str, typer.Option("--presets", help="fast, paper-small, paper or quick; several with commas.")] = "fast",
    volumes: Annotated[str, typer.Option("--volumes", help="disc, '4 kpc', '4 kpc mirrored', ...; with commas [default: all].")] = "",
    stars: Annotated[int | None, typer.Option("--stars", min=1, help="At most so many stars of a snapshot [default: all].")] = None,
    resume: Resume = False,
    device: Device = None,
    seed: Seed = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Repeat the experiment of the paper on snapshots with a truth: tables 3 and 4, and the figures."""
    from .console import bars, error_console
    from .paper import reproduce
    from .paper.tables import balls, discs, markdown

    def split(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    say = error_console()
    say.quiet = as_json
    with bars(quiet=as_json) as progress:

        def announce(text: str) -> None:
            progress.restart()
            say.print(text)

        done = reproduce(
            [*snapshots, *(more or [])],
            out,
            presets=split(presets),
            only=split(volumes),
            stars=stars,
            seed=seed or 0,
            device=device or "cpu",
            threads=threads or 0,
            resume=resume,
            progress=progress,
            announce=announce,
        )
    if as_json:
        _print_json({"folder": str(done.folder), "page": str(done.page), "rows": done.rows})
        return
    for title, table in (("Whole discs", discs(done.rows)), ("Balls", balls(done.rows))):
        if table[1]:
            typer.echo(f"{title}: Omega [km/s/kpc]\n\n{markdown(table)}\n")
    typer.echo(f"Tables and figures: {done.page}")


@app.callback(invoke_without_command=True)
def _top(context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        from . import __version__

        typer.echo(f"deeppot-galactic {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _run(config: Any, out: Path, resume: bool, device: str | None, seed: int | None, threads: int | None, as_json: bool) -> None:
    from .console import bars, output_console, result_table
    from .pipeline import run as carry_out

    given = {name: value for name, value in (("device", device), ("seed", seed), ("threads", threads)) if value is not None}
    with bars(quiet=as_json) as progress:
        result = carry_out(config.replace(run=given), out, resume=resume, progress=progress)
    if not result.summary:
        return  # one of several processes that trained together; the first tells the result
    if as_json:
        _print_json({"folder": str(result.folder), "report": str(result.report), **result.summary})
        return
    console = output_console()
    console.print(result_table(result.summary))
    for flag in result.summary["flags"]:
        console.print(f"! {flag}")
    console.print(f"Report: {result.report}")


def _print_json(value: Any) -> None:
    from .store import jsonable

    typer.echo(json.dumps(jsonable(value), indent=2, allow_nan=False))


def _fail(message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    if "--json" in sys.argv:
        with suppress(BrokenPipeError):
            typer.echo(json.dumps({"error": line, "status": status}))
    typer.echo(f"deeppot: {line}", err=True)
    raise SystemExit(status)


def _reader_left() -> bool:
    """Whether nobody reads standard output any more, as after ``| head``."""
    pipe = select.poll()
    pipe.register(sys.stdout.fileno(), 0)
    return bool(pipe.poll(0))


def main() -> None:
    """Entry point of ``deeppot``; turns every error into one line and an exit status."""
    try:
        app(standalone_mode=False)
    except SystemExit as end:  # of typer, where any pipe is broken
        raise SystemExit(0 if isinstance(end.__context__, BrokenPipeError) and _reader_left() else end.code) from None
    except DeepPotError as error:
        _fail(str(error), error.exit_status)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted; a run goes on with --resume", 1)
    except MemoryError:
        _fail("not enough memory; use fewer stars (catalogue.limit) or a smaller batch", 1)
    except Exception as error:
        usage = getattr(error, "format_message", None)  # typer brings its own copy of click, or uses click's, depending on its version
        if callable(usage):
            _fail(f"{usage()}; see --help", 2)
        if os.environ.get("DEEPPOT_TRACEBACK"):
            raise
        _fail(f"unexpected {type(error).__name__}: {error}; log.txt of the run, or DEEPPOT_TRACEBACK=1, tells where", 1)
