"""The command line: bad input of every kind is one clear line with exit status 2, and nothing is lost or overwritten."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table

from deeppot_galactic import Cylinder, Tracers, __version__, console, pattern_speed
from deeppot_galactic.mocks import GaussianBar

Command = Callable[..., tuple[int, str, str]]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def stars(n: int = 2000, **changes: np.ndarray) -> Table:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(scale=3.0 if name in "xyz" else 50.0, size=n) for name in ("x", "y", "z", "vx", "vy", "vz")}
    table = Table({**columns, **changes})
    for name in columns:
        table[name].unit = "kpc" if name in "xyz" else "km/s"
    return table


def gaia(n: int = 50) -> Table:
    rng = np.random.default_rng(0)
    table = Table(
        {
            "ra": rng.uniform(0, 360, n),
            "dec": rng.uniform(-60, 60, n),
            "parallax": rng.uniform(0.5, 2, n),
            "parallax_error": np.full(n, 0.01),
            "pmra": rng.normal(size=n),
            "pmdec": rng.normal(size=n),
            "radial_velocity": np.full(n, np.nan),
        }
    )
    for name, unit in zip(table.colnames, ("deg", "deg", "mas", "mas", "mas/yr", "mas/yr", "km/s"), strict=True):
        table[name].unit = unit
    return table


def without(table: Table, name: str) -> Table:
    table.remove_column(name)
    return table


def with_unit(table: Table, name: str, unit: str) -> Table:
    table[name].unit = unit
    return table


BAD_TABLES = {
    "missing column": (lambda: without(stars(), "vz"), "vz"),
    "all NaN": (lambda: stars(x=np.full(2000, np.nan)), "no usable value"),
    "wrong unit": (lambda: with_unit(stars(), "vx", "kg"), "vx"),
    "no radial velocities": (gaia, "radial"),
    "radial velocities missing altogether": (lambda: without(gaia(), "radial_velocity"), "radial"),
    "empty volume": (lambda: stars(x=np.full(2000, 100.0)), "no star"),
    "no rows": (lambda: stars()[:0], ""),
}


@pytest.mark.parametrize("case", BAD_TABLES)
@pytest.mark.parametrize("command", ["check", "run"])
def test_bad_tables(deeppot: Command, tmp_path: Path, case: str, command: str) -> None:
    make, word = BAD_TABLES[case]
    make().write(tmp_path / "stars.ecsv")
    (tmp_path / "run.toml").write_text('[catalogue]\npath = "stars.ecsv"\n')
    before = snapshot(tmp_path)
    arguments = ("check", "stars.ecsv") if command == "check" else ("run", "run.toml", "--out", "out")
    refused(deeppot(*arguments), word)
    assert snapshot(tmp_path) == before
    assert not (tmp_path / "out").exists()


def refused(result: tuple[int, str, str], word: str = "") -> str:
    status, out, error = result
    assert status == 2, (status, out, error)
    assert out == ""
    assert error.startswith("deeppot: ")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert "unexpected" not in error
    assert word.lower() in error.lower(), error
    return error


BAD_FILES = {
    "missing": (None, "stars.fits"),
    "empty": (b"", ""),
    "noise": (np.random.default_rng(0).bytes(5000), ""),
    "cut FITS": (b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800), ""),
}


@pytest.mark.parametrize("name", ["stars.fits", "stars.ecsv", "stars.csv", "stars.vot", "stars.parquet", "stars.hdf5", "stars.npz"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_files(deeppot: Command, tmp_path: Path, case: str, name: str) -> None:
    content, _ = BAD_FILES[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(deeppot("check", name), name if content is None else "")


def test_pickles_inside_npz_are_not_loaded(deeppot: Command, tmp_path: Path) -> None:
    np.savez(tmp_path / "stars.npz", pos=np.array([{"a": 1}], dtype=object), vel=np.zeros((1, 3)))
    refused(deeppot("check", "stars.npz"))


def good_run(tmp_path: Path, text: str = "") -> Path:
    stars().write(tmp_path / "stars.ecsv", overwrite=True)
    path = tmp_path / "run.toml"
    path.write_text(text if "[catalogue]" in text else f'[catalogue]\npath = "stars.ecsv"\n{text}')
    return path


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[potental]\n", "did you mean 'potential'?"),
        ("[run]\nsed = 1\n", "did you mean 'seed'?"),
        ("[run]\nseed = -1\n", "run.seed"),
        ("[volume]\nr_out = 0.0\n", "volume.r_out"),
        ("[volume]\nkind = 'ball'\n", "needs center"),
        ("[distribution]\npreset = 'fsat'\n", "fast"),
        ("[distribution]\noptions = {stepz = 3}\n", "steps"),
        ("[distribution]\noptions = {steps = 'many'}\n", "steps"),
        ("[distribution]\noptions = {rate = -1.0}\n", "distribution option rate"),
        ("[potential]\noptions = {width = 0}\n", "potential option width"),
        ("[potential]\noptions = {schedule = 'x'}\n", "schedule"),
        ("[potential]\nmethod = 'weak'\noptions = {turn = true}\n", "belongs to method 'network'"),
        ("[pattern_speed]\nfree = ['omega_z', 'omega_z']\n", "named twice"),
        ("[catalogue\n", "TOML"),
        ("[run]\ndevice = 'cuda:99'\n", "device"),
        ("options = {ruwe = 1.0}\n", "ruwe"),
    ],
)
def test_bad_configurations(deeppot: Command, tmp_path: Path, text: str, word: str) -> None:
    good_run(tmp_path, text)
    refused(deeppot("run", "run.toml", "--out", "out"), word)
    assert not (tmp_path / "out").exists()


def test_missing_configuration(deeppot: Command) -> None:
    refused(deeppot("run", "none.toml"), "none.toml")


@pytest.mark.parametrize("arguments", [("run", "run.toml", "--out", "out"), ("demo", "--quick", "--out", "out")])
def test_an_output_folder_that_exists_is_left_alone(deeppot: Command, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    good_run(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious.txt").write_text("mine")
    before = snapshot(tmp_path)
    refused(deeppot(*arguments), "--resume")
    refused(deeppot(*arguments, "--resume"), "not a run folder")
    assert snapshot(tmp_path) == before


def test_an_output_that_is_a_file_or_cannot_be_made(deeppot: Command, tmp_path: Path) -> None:
    good_run(tmp_path)
    (tmp_path / "file").write_text("mine")
    refused(deeppot("run", "run.toml", "--out", "file"), "not a folder")
    refused(deeppot("run", "run.toml", "--out", "file/below"), "file")
    assert (tmp_path / "file").read_text() == "mine"


def begin(config: Path, folder: Path) -> None:
    """The first files of a run, as after an early kill."""
    from deeppot_galactic.config import read_config
    from deeppot_galactic.run_state import claim, open_run

    with claim(folder):
        open_run(read_config(config), folder)


def test_two_runs_in_one_folder_are_refused(deeppot: Command, tmp_path: Path) -> None:
    from deeppot_galactic.run_state import claim

    begin(good_run(tmp_path), tmp_path / "out")
    with claim(tmp_path / "out"):
        before = (tmp_path / "out" / "state.json").stat().st_mtime_ns
        refused(deeppot("run", "run.toml", "--out", "out", "--resume"), "another run is at work")
        assert (tmp_path / "out" / "state.json").stat().st_mtime_ns == before


def test_resume_with_another_configuration_is_refused(deeppot: Command, tmp_path: Path) -> None:
    begin(good_run(tmp_path), tmp_path / "out")
    before = snapshot(tmp_path / "out")
    refused(deeppot("run", "run.toml", "--out", "out", "--resume", "--seed", 5), "run.seed")
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"stages": 3}', '{"stages": {"catalogue": {"files": 3}}}', "{" * 99999])
def test_a_damaged_state_is_refused(deeppot: Command, tmp_path: Path, state: str) -> None:
    begin(good_run(tmp_path), tmp_path / "out")
    (tmp_path / "out" / "state.json").write_text(state)
    before = snapshot(tmp_path / "out")
    refused(deeppot("run", "run.toml", "--out", "out", "--resume"), "state.json")
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("bogus",),
        ("demo", "--bogus"),
        ("demo", "--seed", "x"),
        ("run",),
        ("export", "nowhere", "--to", "nemo", "--out", "f"),
        ("export", "nowhere", "--to", "galpy", "--out", "f"),
        ("export", "nowhere"),
        ("report", "nowhere"),
        ("check", "a.fits", "--ball", "1,2"),
        ("check", "a.fits", "--ball", "here"),
        ("check", "a.fits", "--ball", "1,2,3", "--half-height", "2"),
        ("check", "a.fits", "--r-out", "-3"),
        ("pattern-speed", "none.fits"),
    ],
)
def test_bad_arguments(deeppot: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    refused(deeppot(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_export_does_not_overwrite(deeppot: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.ini").write_text("mine")
    refused(deeppot("export", "nowhere", "--to", "agama", "--out", "mine.ini"), "exists")
    assert (tmp_path / "mine.ini").read_text() == "mine"


def test_errors_as_json(deeppot: Command) -> None:
    status, out, error = deeppot("check", "none.fits", "--json")
    assert status == 2
    assert "none.fits" in json.loads(out)["error"]
    assert error.count("\n") == 1


def test_check_counts_every_cut(deeppot: Command, tmp_path: Path) -> None:
    table = stars()
    table["vx"][:7] = np.nan
    table.write(tmp_path / "stars.ecsv")
    status, out, _ = deeppot("check", "stars.ecsv", "--r-out", 4, "--half-height", 3, "--json")
    assert status == 0
    found = json.loads(out)
    radius = np.hypot(table["x"][7:], table["y"][7:])
    assert found["n"] == 1993
    assert found["n_in_volume"] == int(np.sum((radius <= 4) & (np.abs(table["z"][7:]) <= 3)))
    status, out, _ = deeppot("check", "stars.ecsv", "--r-out", 4)
    assert status == 0
    assert "1,993" in out


@pytest.mark.parametrize("command", ["demo", "run", "check", "pattern-speed", "export", "report"])
def test_every_command_explains_itself_with_an_example(deeppot: Command, command: str) -> None:
    status, out, error = deeppot(command, "--help")
    assert (status, error) == (0, "")
    assert f"Example: deeppot {command}" in out
    assert "--json" in out


def test_version_and_no_arguments(deeppot: Command) -> None:
    assert deeppot("--version") == (0, f"deeppot-galactic {__version__}\n", "")
    status, out, _ = deeppot()
    assert status == 0
    assert "pattern-speed" in out


def test_the_installed_process_has_the_same_exit_status(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "deeppot_galactic", "check", "none.fits"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_an_unexpected_failure_is_one_line_and_status_one(deeppot: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import deeppot_galactic.demo

    def broken(*, quick: bool) -> None:
        raise RuntimeError(f"broken\nbadly {quick}")

    monkeypatch.setattr(deeppot_galactic.demo, "demo_config", broken)
    status, _, error = deeppot("demo")
    assert status == 1
    assert error.count("\n") == 1
    assert "broken badly" in error


def test_check_takes_what_a_configuration_takes(deeppot: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (50, 3))
    table: Any = QTable({"X": x[:, 0] * u.kpc, "Y": x[:, 1] * u.kpc, "height": x[:, 2] * 1000 * u.pc})
    for name in ("vx", "vy", "vz"):
        table[name] = rng.normal(0, 100, 50) * u.km / u.s
    table["mag"] = np.arange(50.0)
    table.write(tmp_path / "odd.ecsv")
    (tmp_path / "run.toml").write_text('[catalogue]\npath = "odd.ecsv"\noptions = { columns = { z = "height" } }\n[volume]\nr_out = 3\n')
    limits: Any = QTable({"pixel": np.arange(12), "limit": np.full(12, 8.5) * u.kpc})
    limits.write(tmp_path / "limits.ecsv")
    refused(deeppot("check", "odd.ecsv"), "no column for z")
    for arguments in (("odd.ecsv", "--column", "z=height", "--r-out", 3), ("run.toml",)):
        status, out, _ = deeppot("check", *arguments, "--where", "mag < 20", "--set", 'where=["mag > 9"]', "--json")
        found = json.loads(out)
        assert status == 0 and [cut["removed"] for cut in found["cuts"]][-2:] == [10, 30] and found["n_in_volume"] == 10
        status, out, _ = deeppot("check", *arguments, "--selection", "limits.ecsv", "--json")
        found = json.loads(out)
        assert found["cuts"][-1]["name"] == "distance limit" and 0 < found["n"] < 50 and "distance limit by HEALPix" in found["volume_text"]
    refused(deeppot("check", "run.toml", "--r-out", "3"), "the volume comes from")
    refused(deeppot("check", "odd.ecsv", "--column", "height"), "ROLE=NAME")
    refused(deeppot("check", "odd.ecsv", "--set", "colour=3"), "unknown catalogue option")
    refused(deeppot("pattern-speed", "run.toml", "--errors", "correct"), "no star of")
    refused(deeppot("pattern-speed", "run.toml", "--errors", "inject"), "catalogue.errors")


@pytest.fixture
def bar(tmp_path: Path) -> np.ndarray:
    """Stars of a rotating bar, in a table with one row more, which is not finite."""
    rows = GaussianBar(lengths=(2.2, 1.2, 0.4), sigma=80.0, omega=40.0, angle=0.3).sample(5000, np.random.default_rng(0))
    written = np.concatenate([rows, np.full((1, 6), np.nan)])
    np.savez(tmp_path / "bar.npz", pos=written[:, :3], vel=written[:, 3:])
    return rows


def measured(value: u.Quantity, error: u.Quantity) -> str:
    return f"{value.value:.4g} ± {error.value:.4g}"


def test_a_pattern_speed_is_told_as_python_has_it(deeppot: Command, bar: np.ndarray) -> None:
    arguments = ("pattern-speed", "bar.npz", "--r-out", 5, "--half-height", 1.5)
    speed = pattern_speed(Tracers(bar), Cylinder(r_out=5 * u.kpc, half_height=1.5 * u.kpc))
    status, out, _ = deeppot(*arguments)
    assert status == 0
    lines = out.splitlines()
    assert all(name in lines[2] for name in ("Omega [km/s/kpc]", "growth [1/Gyr]", "A2/noise", "in bar"))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows[0][1:3] == [measured(speed.value, speed.error), measured(speed.growth_rate, speed.growth_rate_error)]
    parts = ("statistical", speed.statistical), ("systematic", speed.systematic)
    assert [row[:2] for row in rows[1:3]] == [[name, f"± {error.value:.4g}"] for name, error in parts]
    for row, ring in zip(rows[3:], speed.by_radius, strict=True):
        assert row[1:3] == [measured(ring["omega"], ring["error"]), measured(ring["growth_rate"], ring["growth_rate_error"])]
        assert row[3:] == [f"{ring['significance']:.4g}", "yes" if ring["in_pattern"] else ""]
    assert speed.by_radius["in_pattern"].any()
    assert lines[-1] == "1 of 5,001 rows left out by cuts: position measured (1)"
    found = json.loads(deeppot(*arguments, "--json")[1])
    assert (found["growth_rate"], found["growth_unit"]) == (pytest.approx(speed.growth_rate.value), "1/Gyr")
    assert (found["n_read"], found["cuts"][0]["removed"]) == (5001, 1)


def test_a_pattern_speed_about_another_axis_names_the_volume_that_was_given(deeppot: Command, bar: np.ndarray, tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    text = '[catalogue]\npath = "bar.npz"\n[volume]\nkind = "ball"\ncenter = [2, 0.5, 0]\nradius = {}\n[pattern_speed]\nx0 = [0.5, 0, 0]\n'
    config.write_text(text.format(3))
    assert "ball of radius 3 kpc about (2, 0.5, 0) kpc" in " ".join(deeppot("pattern-speed", "run.toml")[1].split())
    config.write_text(text.format(0.1))
    refused(deeppot("pattern-speed", "run.toml"), "ball of radius 0.1 kpc about (2, 0.5, 0) kpc")


@pytest.mark.parametrize("arguments", [("pattern-speed", "bar.npz"), ("pattern-speed", "bar.npz", "--json"), ("check", "--help")])
def test_a_reader_that_has_seen_enough_is_no_failure(bar: np.ndarray, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "deeppot_galactic", *arguments]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, "Error" in said) == (0, False), said


def test_a_pipe_that_breaks_elsewhere_is_a_failure(deeppot: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    import deeppot_galactic.demo

    def broken(*, quick: bool) -> None:
        raise BrokenPipeError(32, f"of a worker {quick}")

    monkeypatch.setattr(deeppot_galactic.demo, "demo_config", broken)
    monkeypatch.setattr("deeppot_galactic.cli._reader_left", lambda: False)  # pytest's standard output is no pipe
    assert deeppot("demo")[0] == 1


def test_progress_counts_its_time_anew_for_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = [0.0], io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    bars = console.Bars(None, console.Console(file=written, width=200))
    for done in (0, 50, 100, 20, 60, 100):  # a run from the start, and the next one from a checkpoint
        if done == 20:
            bars.restart()
        bars("training", done, 100, {})
        now[0] += 20.0
    assert written.getvalue().splitlines() == [
        "training: 50 of 100, 20 s, 20 s left",
        "training: 100 of 100, 40 s",
        "training: 60 of 100, 20 s, 20 s left",
        "training: 100 of 100, 40 s",
    ]
