"""What is around the code: versions that agree, a light import, names that exist, constraints that cover the dependencies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import deeppot_galactic

ROOT = Path(__file__).resolve().parents[1]


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_citation_and_changelog_agree_with_the_version() -> None:
    version = deeppot_galactic.__version__
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.M).group(1).strip('"') == version  # type: ignore[union-attr]
    assert "arXiv:2310.00040" in citation
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert newest is not None
    assert newest.group(1) == version


def test_importing_is_light() -> None:
    code = "import sys, time; t = time.perf_counter(); import deeppot_galactic; print(time.perf_counter() - t, *sorted(sys.modules))"
    seconds = []
    for _ in range(2):  # the first may read from a cold disk
        words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        seconds.append(float(words[0]))
        assert not {"torch", "matplotlib", "astropy", "galpy", "gala", "scipy"} & set(words)
    assert min(seconds) < 1.0


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, deeppot_galactic.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "matplotlib", "astropy"} & set(loaded)


def test_public_names_exist_and_are_listed() -> None:
    for name in deeppot_galactic.__all__:
        assert getattr(deeppot_galactic, name) is not None
        assert name in dir(deeppot_galactic)
    assert set(deeppot_galactic._HOME) | {"load"} == set(deeppot_galactic.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = deeppot_galactic.nonsense


def test_every_dependency_is_pinned_within_its_range() -> None:
    from packaging.requirements import Requirement

    pins = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = project()["optional-dependencies"]
    wanted = [*project()["dependencies"], *(line for name, lines in extras.items() if name not in ("agama", "dev") for line in lines)]
    for line in wanted:
        requirement = Requirement(line)
        version = pins[requirement.name.lower().replace("_", "-")]
        assert version in requirement.specifier, f"{line}: pinned to {version}"
        assert "==" not in line
    assert pins["torch"] == "2.13.0"


def pins_of(name: str) -> dict[str, str]:
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^ \\\n]+)", (ROOT / name).read_text(), re.M)
    return {package.lower().replace("_", "-"): version for package, version in pins}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    from packaging.requirements import Requirement

    oldest, extras = pins_of("constraints-oldest.txt"), project()["optional-dependencies"]
    for line in [*project()["dependencies"], *(line for name in ("galpy", "gala", "orbits", "test") for line in extras[name])]:
        requirement = Requirement(line)
        (bound,) = requirement.specifier
        assert bound.operator == ">="
        found, stated = oldest[requirement.name.lower()].split("."), bound.version.split(".")
        assert found[: len(stated)] == stated, f"{line}: tested from {oldest[requirement.name.lower()]}"


def test_hashes_cover_the_runtime_dependencies_at_the_pinned_versions() -> None:
    from packaging.requirements import Requirement

    hashed, pinned = pins_of("requirements-hashed.txt"), pins_of("constraints.txt")
    for line in project()["dependencies"]:
        name = Requirement(line).name.lower().replace("_", "-")
        assert name in hashed or name == "torch", f"{name} has no hash: make hashes"
    assert {name: version for name, version in hashed.items() if pinned.get(name) != version} == {}, "make hashes"
    blocks = re.split(r"^(?=[A-Za-z])", (ROOT / "requirements-hashed.txt").read_text(), flags=re.M)[1:]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)


def test_files_of_the_package_that_are_not_python() -> None:
    package = Path(deeppot_galactic.__file__).parent
    assert (package / "py.typed").is_file()
    assert deeppot_galactic.demo_path().is_file()


def test_no_pickle_no_stub_no_assert_in_the_package() -> None:
    forbidden = re.compile(r"\bimport pickle\b|\bpickle\.load|NotImplementedError|\bTODO\b|allow_pickle=True|^\s*assert ", re.M)
    for path in (ROOT / "deeppot_galactic").rglob("*.py"):
        found = forbidden.search(path.read_text())
        assert found is None, f"{path.relative_to(ROOT)}: {found.group(0)!r}"


@pytest.mark.slow
def test_a_path_with_spaces_and_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Installed with pip into ``my galaxies``, by somebody whose home cannot be written: a run from an empty folder, with its report."""
    place, home = tmp_path / "my galaxies" / "environment", tmp_path / "no home"
    home.touch()  # no folder: nobody can write into it, not even root
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(place)], check=True)
    python = str(place / "bin" / "python")
    # what the environment of the tests has installed is found through a path file; the package itself comes from pip
    packages = subprocess.run([python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True)
    theirs = next(path for path in sys.path if path.endswith("site-packages"))
    (Path(packages.stdout.strip()) / "others.pth").write_text(theirs + "\n")
    source = tmp_path / "a copy"
    ignored = shutil.ignore_patterns(".git", ".venv*", "*cache*", "_build", "shared")
    shutil.copytree(ROOT, source, ignore=ignored)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XDG", "MPL"))} | {"HOME": str(home)}
    install = [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-cache-dir", str(source)]
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(source)
    work = tmp_path / "my galaxies" / "work"
    work.mkdir()
    command = [str(place / "bin" / "deeppot"), "demo", "--quick", "--out", "a run"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (work / "a run" / "report.html").is_file()
    where = "import deeppot_galactic; print(deeppot_galactic.__file__)"
    assert str(place) in subprocess.run([python, "-c", where], cwd=work, env=environment, capture_output=True, text=True).stdout
    assert home.read_bytes() == b""


@pytest.mark.slow
def test_the_example_of_the_readme_runs_as_pasted() -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert code is not None
    assert len([line for line in code.group(1).splitlines() if line.strip()]) <= 10
    done = subprocess.run([sys.executable, "-c", code.group(1)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "km" in done.stdout


@pytest.mark.slow
def test_everything_but_torch_is_installed_with_its_hashes_checked(tmp_path: Path) -> None:
    """`pip install --require-hashes` into a fresh environment, which then holds the pinned versions; a wrong hash is refused."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "fresh")], check=True)
    pip = [str(tmp_path / "fresh" / "bin" / "python"), "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "-r"]
    done = subprocess.run([*pip, str(ROOT / "requirements-hashed.txt")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([*pip[:3], "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout
    found = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in listed.split())}
    assert {name: found.get(name) for name in pins_of("requirements-hashed.txt")} == pins_of("requirements-hashed.txt")
    spoiled = re.sub(r"sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, (ROOT / "requirements-hashed.txt").read_text())
    (tmp_path / "spoiled.txt").write_text(spoiled)
    refused = subprocess.run([*pip, str(tmp_path / "spoiled.txt"), "--force-reinstall"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr


def test_the_oldest_versions_are_a_job_of_their_own() -> None:
    """`.ci/run` takes the constraints file from its environment, and nothing else for it."""
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", str(script)], check=True)
    wrong = subprocess.run(
        ["bash", str(script)], env={**os.environ, "DEEPPOT_CONSTRAINTS": "other.txt"}, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 2
    assert "constraints-oldest.txt" in wrong.stderr
