"""Exported potentials as files that load in a fresh process with one line.

    interop.export(potential, "bar.safetensors", to="galpy")
    pot = interop.load("bar.safetensors")                # the host's own object

A file for galpy or gala is a model file, checked on reading and free of code, with the continuation, frame, volume and one backend:
of kind ``potential-spline`` the compiled spline and its report, of kind ``potential-exact`` the learned potential itself (network,
linear basis or analytic). Neither needs torch. A file for agama is its own text of coefficients (`agama` writes it, and reads it
without us), always compiled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..catalogue.volumes import Volume
from ..errors import ExportError, StoreError
from ..potential.analytic import AnalyticPotential, InnerPotential, from_list
from ..potential.basis import LinearPotential
from ..potential.blended import GlobalPotential, as_global
from ..potential.network_potential import NetworkPotential
from ..store import read_model, rebuilding, write_model
from .compiled import SplinePotential, with_backend

KIND = "potential-spline"
EXACT = "potential-exact"
HOSTS = ("galpy", "gala", "agama")
_LEARNED: dict[str, Any] = {"network": NetworkPotential, "linear": LinearPotential}


def write_potential(potential: GlobalPotential, path: str | Path, *, host: str | None = None, backend: str = "compiled") -> Path:
    """Write a potential whole or not at all.

    Parameters
    ----------
    potential : GlobalPotential
        Compiled first if the backend asks for it.
    path : path
    host : str, optional
        The package that `load` gives it to.
    backend : {"compiled", "exact"}
        The spline, or the learned potential itself.

    Raises
    ------
    ExportError
        If it cannot be compiled, or is asked to be exact and is a spline, or of a class that has no file.
    StoreError
        If the file cannot be written.
    """
    chosen = with_backend(potential, backend)
    spline = chosen.inner
    header: dict[str, Any] = {"volume": potential.volume.to_dict(), "host": host}
    if isinstance(spline, SplinePotential):
        tensors = {f"spline.{name}": array for name, array in spline.to_arrays().items()}
        header["report"] = None if spline.report is None else spline.report.to_dict()
        kind = KIND
    else:
        arrays, header["inner"] = _describe(spline)
        tensors, kind = {f"inner.{name}": array for name, array in arrays.items()}, EXACT
    tensors |= {f"global.{name}": array for name, array in chosen.to_arrays().items()}
    write_model(path, tensors, header, kind)
    return Path(path)


def _describe(inner: InnerPotential) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and a JSON-able description of an exact inner potential."""
    if isinstance(inner, AnalyticPotential):
        return {}, {"type": "analytic", "components": inner.to_list()}
    for name, cls in _LEARNED.items():
        if isinstance(inner, cls):
            arrays, description = inner.to_arrays()  # type: ignore[attr-defined]
            return arrays, {"type": name, **description}
    raise ExportError(f"a {type(inner).__name__} has no file format: write the compiled backend")


def _inner(arrays: dict[str, Any], description: dict[str, Any]) -> InnerPotential:
    values = dict(description)
    kind = values.pop("type")
    return from_list(values["components"]) if kind == "analytic" else _LEARNED[kind].from_arrays(arrays, values)


def read_potential(path: str | Path) -> GlobalPotential:
    """Read what `write_potential` wrote; `StoreError` in one line for anything else."""
    return _read(path)[0]


def _read(path: str | Path) -> tuple[GlobalPotential, dict[str, Any]]:
    tensors, header = read_model(path, (KIND, EXACT))
    with rebuilding(path):
        if "inner" in header:
            inner = _inner(_part(tensors, "inner."), header["inner"])
        else:
            inner = SplinePotential.from_arrays(_part(tensors, "spline."), header.get("report"))
        potential = GlobalPotential.from_arrays(inner, Volume.from_dict(header["volume"]), _part(tensors, "global."))
        somewhere = potential.volume.center[None] + 0.1
        if not np.isfinite(np.append(inner.evaluate(somewhere, 1)[1], potential.gradient(somewhere))).all():
            raise StoreError(f"{path} is damaged: the force is not finite in the volume")
        return potential, header


def _part(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def export(potential: Any, path: str | Path, *, to: str, backend: str = "compiled") -> Path:
    """Write a potential for another package.

    Parameters
    ----------
    potential : PotentialModel or GlobalPotential
        What to export.
    path : path
        File to write; for agama a coefficient file, usually ``.ini``.
    to : {"galpy", "gala", "agama"}
        The package.
    backend : {"compiled", "exact"}
        The fast one, or the learned potential itself; agama's file is always compiled.

    Returns
    -------
    Path
        The file, which `load` reads; agama also reads its own: ``agama.Potential(str(path))``.

    Raises
    ------
    ExportError
        For an unknown package or backend, or an exact file for agama, which has none.
    """
    if to not in HOSTS:
        raise ExportError(f"unknown package {to!r}: expected one of {', '.join(HOSTS)}")
    potential = as_global(potential)
    if to != "agama":
        return write_potential(potential, path, host=to, backend=backend)
    if backend != "compiled":
        raise ExportError(f"agama's file holds its own expansion, not the {backend} backend: to_agama(backend='exact') makes one in memory")
    from .agama import write_coefficients

    return write_coefficients(potential, path)


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

    Returns
    -------
    object
        A galpy, gala or agama potential, in the units of its package.

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
    options = {"backend": "exact" if "inner" in header else "compiled", **options}
    from . import to_gala, to_galpy

    if to == "galpy":
        return to_galpy(potential, **options)
    if to == "gala":
        return to_gala(potential, **options)
    raise ExportError(f"unknown package {to!r}: expected one of {', '.join(HOSTS)}")


def _is_text(path: str | Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(1) in b"#["
    except OSError:
        return False
