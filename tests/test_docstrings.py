"""Every public name says in numpydoc what it takes and gives: parameters, shapes, units, errors, and where the method is from."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import deeppot_galactic as dg
from deeppot_galactic import campaign, config, dynamics, interop, mocks, paper, pipeline, tasks
from deeppot_galactic.catalogue import masks, selection, selection_files, settings, uncertainty
from deeppot_galactic.distribution import ensemble
from deeppot_galactic.interop import agama, gala, galpy
from deeppot_galactic.potential import matter, posterior
from deeppot_galactic.report import diagnostics, page, plots
from deeppot_galactic.report.plots import comparison
from deeppot_galactic.training import history

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
    "potential.model", "potential.blended", "potential.axisymmetric", "potential.posterior",
    "distribution.base", "distribution.fit", "distribution.gradients",
    "dynamics.comparison", "report.diagnostics.diagnosis", "report.diagnostics.flags", "report.diagnostics.forces",
    "report.diagnostics.rotation", "mocks.barred_potential", "mocks.base",
}  # fmt: skip


WHOLE = (
    campaign, tasks, config, settings, selection, selection_files, masks, uncertainty, history, ensemble, matter, posterior, comparison,
    galpy, gala, agama, pipeline, page,
)  # fmt: skip
"""Modules without ``__all__`` that the documentation tells users to import from: every name defined there is public."""


def inside(value: Any, module: Any) -> bool:
    """Whether something is defined in a module, or in the modules of a package."""
    home = getattr(value, "__module__", "")
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def public() -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    modules = {"": dg, "dynamics.": dynamics, "interop.": interop, "mocks.": mocks, "paper.": paper, "report.diagnostics.": diagnostics}
    names = [(prefix, module, module.__all__) for prefix, module in {**modules, "report.plots.": plots}.items()]
    for module in WHOLE:
        defined = [name for name, value in vars(module).items() if name[0] != "_" and inside(value, module)]
        names.append((module.__name__.removeprefix("deeppot_galactic.") + ".", module, defined))
    for prefix, module, listed in names:
        for name in listed:
            value = getattr(module, name)
            if (inspect.isfunction(value) or inspect.isclass(value)) and id(value) not in seen:
                seen.add(id(value))
                yield prefix + name, value


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


def problems_of_function(function: Callable[..., Any], doc: str | None = None, own: str = "") -> list[str]:
    """What its docstring lacks; ``own`` is that of the class of a method, which may state the units for all."""
    doc = inspect.getdoc(function) or "" if doc is None else doc
    found, signature = sections(doc), inspect.signature(function)
    parameters = {name: p for name, p in signature.parameters.items() if name not in ("self", "cls")}
    documented = entries(found.get("Parameters", ""))
    problems = [f"no entry for {name}" for name in parameters if name not in documented]
    if signature.return_annotation not in (None, "None") and not {"Returns", "Yields"} & set(found):
        problems.append("no Returns")
    if raises(function) and "Raises" not in found:
        problems.append("no Raises")
    for name, parameter in parameters.items():
        if re.search(r"Array|NDArray|ArrayLike", str(parameter.annotation)) and not SHAPE.search(documented.get(name, "")):
            problems.append(f"no shape of {name}")
    numbers = [str(p.annotation) for p in parameters.values()] + [str(signature.return_annotation)]
    if any(ARRAYS.search(text) for text in numbers) and not UNIT.search(doc) and not UNIT.search(own):
        problems.append("no unit")
    return problems


def problems_of_property(getter: Callable[..., Any], doc: str, own: str) -> list[str]:
    problems = ["no Raises"] if raises(getter) and "Raises" not in sections(doc) else []
    if ARRAYS.search(str(inspect.signature(getter).return_annotation)):
        problems += [f"no {what}" for what, form in (("shape", SHAPE), ("unit", UNIT)) if not form.search(doc) and not form.search(own)]
    return problems


def methods(cls: type) -> Iterator[tuple[str, Any, Callable[..., Any]]]:
    """Name, entry and function of every public method and property that a class has from this package, its bases included."""
    seen: set[str] = set()
    for base in cls.__mro__:
        for name, raw in vars(base).items():
            function = getattr(raw, "fget", None) or getattr(raw, "func", None) or getattr(raw, "__func__", raw)
            if name in seen or (name.startswith("_") and name != "__call__") or not inspect.isfunction(function):
                continue
            seen.add(name)
            if function.__module__.startswith("deeppot_galactic"):
                yield name, raw, function


def documentation(cls: type, name: str) -> str:
    """The docstring of a method, or of the one that it overrides."""
    found = (getattr(vars(base)[name], "__doc__", None) for base in cls.__mro__ if name in vars(base))
    return inspect.cleandoc(next((text for text in found if text), ""))


def problems_of_method(cls: type, name: str, raw: Any, function: Callable[..., Any]) -> list[str]:
    doc, own = documentation(cls, name), inspect.getdoc(cls) or ""
    if not doc:
        return ["no docstring"]
    if isinstance(raw, property | functools.cached_property):
        return problems_of_property(function, doc, own)
    return problems_of_function(function, doc, own)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(name: str) -> None:
    assert problems_of_function(NAMES[name]) == []


@pytest.mark.parametrize("name", CLASSES)
def test_class(name: str) -> None:
    cls = NAMES[name]
    own = inspect.getdoc(cls) or ""
    made = cls.__init__ if "__init__" in vars(cls) else cls
    names: list[str] = []
    if not inspect.isabstract(cls):
        try:
            names = [p for p in inspect.signature(made).parameters if p not in ("self", "args", "kwargs", "common")]
        except ValueError:
            names = []
    assert [p for p in names if not re.search(rf"\b{p}\b", own)] == []
    if inspect.isfunction(made) and not dataclasses.is_dataclass(cls) and raises(made):
        assert "Raises" in sections(own)


@pytest.mark.parametrize("name", CLASSES)
def test_methods(name: str) -> None:
    found = {method: problems_of_method(NAMES[name], method, raw, function) for method, raw, function in methods(NAMES[name])}
    assert {method: problems for method, problems in found.items() if problems} == {}


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


def test_the_test_of_methods_can_fail() -> None:
    class Bare:
        def undocumented(self) -> None: ...

        def half(self, x: "Array", *, y: float) -> "Array":  # noqa: UP037
            """Says what x is.

            Parameters
            ----------
            x : array, shape (N, 3)
                In kpc.
            """
            raise ValueError

        @property
        def size(self) -> "Array":  # noqa: UP037
            """Nothing."""
            return self.half(1, y=2)

    class Derived(Bare):
        def half(self, x: "Array", *, y: float) -> "Array":  # noqa: UP037
            return x

    bare = vars(Bare)
    assert problems_of_method(Bare, "undocumented", bare["undocumented"], bare["undocumented"]) == ["no docstring"]
    assert problems_of_method(Bare, "half", bare["half"], bare["half"]) == ["no entry for y", "no Returns", "no Raises"]
    assert problems_of_method(Bare, "size", bare["size"], bare["size"].fget) == ["no shape", "no unit"]
    assert problems_of_method(Derived, "half", vars(Derived)["half"], vars(Derived)["half"]) == ["no entry for y", "no Returns"]
    names = [name for name, _, _ in methods(NAMES["Cylinder"])]
    assert {"contains", "sample", "size", "from_dict"} <= set(names) and len(names) == len(set(names))
