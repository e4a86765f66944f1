"""Every public name says in numpydoc what it takes and gives: parameters, shapes, units, errors, and where the method is from."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import deeppot_galactic as dg
from deeppot_galactic import config, dynamics, interop, mocks, paper, pipeline
from deeppot_galactic.interop import gala as interop_gala
from deeppot_galactic.interop import galpy as interop_galpy
from deeppot_galactic.report import diagnostics, page, plots

SHAPE = re.compile(
    r"\((N|K|M|G|T|L|n|\d|len)[^)]*\)|\bshape\b|\blike ``|of arrays|: arrays|\bborders\b|array$|array\b.*\bPixels", re.I | re.M
)
UNIT = re.compile(
    r"kpc|km/s|km\^2|Msun|\brad\b|\bGyr|\bmas\b|[Ii]nches|pixels|[Pp]er cent|[Dd]imensionless|unit|Quantity|Quantities|[Cc]ounts|"
    r"[Ff]raction|standard deviation|[Rr]elative|JSON|points drawn|number of|bool"
)
SOURCE = re.compile(r"arXiv|\bP(aper)?\)? ?\(?\d|\(P \d|eqs?\. |appendix|\b(19|20)\d\d\b")
ARRAYS = re.compile(r"Array|NDArray|Quantity|ArrayLike")
MATHEMATICAL = ("potential", "distribution", "dynamics", "mocks", "report.diagnostics")
WITHOUT_SOURCE = {
    # containers, files, geometry, elementary arithmetic
    "potential.model", "potential.blended", "potential.axisymmetric", "distribution.base", "distribution.fit", "distribution.gradients",
    "dynamics.comparison", "report.diagnostics.diagnosis", "report.diagnostics.flags", "report.diagnostics.forces",
    "report.diagnostics.rotation", "mocks.barred_potential", "mocks.base",
}  # fmt: skip


def public() -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    modules = {"": dg, "dynamics.": dynamics, "interop.": interop, "mocks.": mocks, "paper.": paper, "report.diagnostics.": diagnostics}
    for prefix, module in {**modules, "report.plots.": plots}.items():
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value) and id(value) not in seen:
                seen.add(id(value))
                yield prefix + name, value
    for value in (pipeline.run, config.read_config, config.make_config, page.write_report, interop_galpy.to_galpy, interop_gala.to_gala):
        yield f"{value.__module__.removeprefix('deeppot_galactic.')}.{value.__name__}", value


NAMES = dict(public())
FUNCTIONS = [name for name, value in NAMES.items() if not inspect.isclass(value)]
CLASSES = [name for name, value in NAMES.items() if inspect.isclass(value)]


def sections(doc: str) -> dict[str, str]:
    """The sections of a docstring by name; what stands before them is ""."""
    parts = re.split(r"^([A-Z]\w+)\n-{3,}$", doc, flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section: str) -> dict[str, str]:
    """Name and text of every entry of a section; "a, b : float" counts for both."""
    found: dict[str, str] = {}
    for entry in re.split(r"^(?=\S)", section, flags=re.M):
        if entry.strip():
            for name in entry.splitlines()[0].split(" : ")[0].split(","):
                found[name.strip().lstrip("*")] = entry
    return found


def raises(function: Callable[..., Any]) -> bool:
    """Whether the body of a function raises an error on purpose."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def problems_of_function(function: Callable[..., Any]) -> list[str]:
    doc = inspect.getdoc(function) or ""
    found, signature = sections(doc), inspect.signature(function)
    documented = entries(found.get("Parameters", ""))
    problems = [f"no entry for {name}" for name in signature.parameters if name not in documented]
    if signature.return_annotation not in (None, "None") and "Returns" not in found:
        problems.append("no Returns")
    if raises(function) and "Raises" not in found:
        problems.append("no Raises")
    for name, parameter in signature.parameters.items():
        if re.search(r"Array|NDArray|ArrayLike", str(parameter.annotation)) and not SHAPE.search(documented.get(name, "")):
            problems.append(f"no shape of {name}")
    numbers = [str(p.annotation) for p in signature.parameters.values()] + [str(signature.return_annotation)]
    if any(ARRAYS.search(text) for text in numbers) and not UNIT.search(doc):
        problems.append("no unit")
    return problems


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    assert problems_of_function(NAMES[name]) == []


@pytest.mark.parametrize("name", CLASSES)
def test_class_and_its_methods(name: str) -> None:
    cls = NAMES[name]
    own = inspect.getdoc(cls) or ""
    problems = []
    made = cls.__init__ if "__init__" in vars(cls) else cls
    if not inspect.isabstract(cls):
        try:
            names = [p for p in inspect.signature(made).parameters if p not in ("self", "args", "kwargs")]
        except ValueError:
            names = []
        problems += [f"{p} is not explained" for p in names if not re.search(rf"\b{p}\b", own)]
    for method_name, raw in vars(cls).items():
        method = getattr(raw, "fget", None) or getattr(raw, "__func__", raw)
        if method_name.startswith("_") or not inspect.isfunction(method) or not method.__module__.startswith("deeppot_galactic"):
            continue
        doc = inspect.getdoc(getattr(cls, method_name) if not isinstance(raw, property) else raw) or ""
        if not doc:
            inherited = [inspect.getdoc(vars(base)[method_name]) for base in cls.__mro__ if method_name in vars(base)]
            doc = next((text for text in inherited if text), "")
        if not doc:
            problems.append(f"{method_name} has no docstring")
            continue
        if raises(method) and not re.search(r"^Raises\n-|`\w*Error`", doc, re.M):
            problems.append(f"{method_name}: no Raises")
        returned = str(inspect.signature(method).return_annotation)
        arrays = " ".join([str(p.annotation) for p in inspect.signature(method).parameters.values()] + [returned])
        if ARRAYS.search(arrays):
            if not SHAPE.search(doc) and not SHAPE.search(own):
                problems.append(f"{method_name}: no shape")
            if not UNIT.search(doc) and not UNIT.search(own):
                problems.append(f"{method_name}: no unit")
    assert problems == []


@pytest.mark.parametrize("name", [name for name, value in NAMES.items() if re.match("|".join(MATHEMATICAL), value.__module__[17:])])
def test_the_method_has_a_source(name: str) -> None:
    module = sys.modules[NAMES[name].__module__]
    if module.__name__.removeprefix("deeppot_galactic.") not in WITHOUT_SOURCE:
        assert SOURCE.search((module.__doc__ or "") + (inspect.getdoc(NAMES[name]) or ""))


def test_the_test_can_fail() -> None:
    def bare(x: "Array", y: float) -> "Array":  # noqa: UP037
        """Nothing."""
        if y:
            raise ValueError
        return x

    expected = ["no entry for x", "no entry for y", "no Returns", "no Raises", "no shape of x", "no unit"]
    assert problems_of_function(bare) == expected
    assert entries("a, b : float\n    Two.\n**rest\n    More.\n") == {
        "a": "a, b : float\n    Two.\n", "b": "a, b : float\n    Two.\n", "rest": "**rest\n    More.\n"
    }  # fmt: skip
