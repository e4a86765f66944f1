"""Exported potentials as files that load in a fresh process with one line.

    interop.export(potential, "bar.safetensors", to="galpy")
    pot = interop.load("bar.safetensors")                # the host's own object

A file for galpy or gala is a model file of kind ``potential-spline``: the compiled spline, its continuation, frame, volume and report,
checked on reading and free of code. A file for agama is its own text of coefficients (`agama` writes it, and reads it without us).
The network itself is in the model's file; these hold the compiled backend.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..catalogue.volumes import Volume
from ..errors import ExportError
from ..potential.blended import GlobalPotential
from ..store import read_model, write_model
from .compiled import SplinePotential, compile_potential

KIND = "potential-spline"
HOSTS = ("galpy", "gala", "agama")


def write_potential(potential: GlobalPotential, path: str | Path, *, host: str | None = None) -> Path:
    """Compile the potential if needed and write it whole or not at all.

    Raises
    ------
    ExportError
        If it cannot be compiled.
    StoreError
        If the file cannot be written.
    """
    compiled = compile_potential(potential)
    spline = compiled.inner
    if not isinstance(spline, SplinePotential):
        raise ExportError("only a compiled potential can be written")
    tensors = {f"spline.{name}": array for name, array in spline.to_arrays().items()}
    tensors |= {f"global.{name}": array for name, array in compiled.to_arrays().items()}
    report = None if spline.report is None else spline.report.to_dict()
    write_model(path, tensors, {"volume": potential.volume.to_dict(), "report": report, "host": host}, KIND)
    return Path(path)


def read_potential(path: str | Path) -> GlobalPotential:
    """Read what `write_potential` wrote; `StoreError` in one line for anything else."""
    return _read(path)[0]


def _read(path: str | Path) -> tuple[GlobalPotential, dict[str, Any]]:
    tensors, header = read_model(path, KIND)
    spline = SplinePotential.from_arrays(_part(tensors, "spline."), header.get("report"))
    return GlobalPotential.from_arrays(spline, Volume.from_dict(header["volume"]), _part(tensors, "global.")), header


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def export(potential: GlobalPotential, path: str | Path, *, to: str) -> Path:
    """Write a potential for another package.

    Parameters
    ----------
    potential : GlobalPotential
        What to export.
    path : path
        File to write; for agama a coefficient file, usually ``.ini``.
    to : {"galpy", "gala", "agama"}
        The package.

    Returns
    -------
    Path
        The file, which `load` reads; agama also reads its own: ``agama.Potential(str(path))``.

    Raises
    ------
    ExportError
        For an unknown package.
    """
    if to not in HOSTS:
        raise ExportError(f"unknown package {to!r}: expected one of {', '.join(HOSTS)}")
    if to == "agama":
        from .agama import write_coefficients

        return write_coefficients(potential, path)
    return write_potential(potential, path, host=to)


def load(path: str | Path, *, to: str | None = None, **options: Any) -> Any:
    """The host's object from an exported file.

    Parameters
    ----------
    path : path
        Written by `export`.
    to : {"galpy", "gala", "agama"}, optional
        The package; by default the one the file was written for.
    **options
        Of `to_galpy`, `to_gala` or `load_agama`, such as ``inertial=True``.

    Raises
    ------
    StoreError
        If the file is damaged or not ours.
    ExportError
        For an unknown package.
    """
    if to == "agama" or (to is None and _is_text(path)):
        from .agama import load_agama

        return load_agama(path, **options)
    potential, header = _read(path)
    to = to or header.get("host") or "gala"
    if to == "galpy":
        from .galpy import to_galpy

        return to_galpy(potential, **{"backend": "compiled", **options})
    if to == "gala":
        from .gala import to_gala

        return to_gala(potential, **{"backend": "compiled", **options})
    raise ExportError(f"unknown package {to!r}: expected one of {', '.join(HOSTS)}")


def _is_text(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(1) in b"#["
    except OSError:
        return False
