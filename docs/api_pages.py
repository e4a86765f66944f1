"""The pages of the API: every public name of a module, from its ``__all__``, so that none can be forgotten."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path

ROOT = "deeppot_galactic"

GROUPS = {
    "Stars and volumes": ("read_tracers", "Tracers", "Volume", "Cylinder", "Ball", "demo_path", "read_truth", "Truth"),
    "Pattern speed": ("pattern_speed", "PatternSpeed"),
    "Distribution function": ("fit_distribution", "Distribution", "draw_gradients", "GradientSample"),
    "Potential": ("fit_potential", "RotatingFrame", "PotentialModel", "GlobalPotential", "load"),
}
"""Of the package itself; what is in none of them follows at the end."""

MODULES = {
    "dynamics": "Orbits, resonances, the bar, rotation curves.",
    "mocks": "Problems with known answers.",
}
"""Modules whose whole ``__all__`` is one page."""


def directive(module: str, name: str) -> list[str]:
    """The lines that document a name, or none for a constant."""
    value = getattr(import_module(module), name)
    if not callable(value):
        return []
    return [f".. auto{'class' if inspect.isclass(value) else 'function'}:: {module}.{name}", ""]


def block(module: str, names: list[str] | tuple[str, ...]) -> str:
    """A block of reStructuredText for some names of a module."""
    lines = [line for name in names for line in directive(module, name)]
    return "```{eval-rst}\n" + "\n".join(lines) + "\n```\n"


def pages() -> dict[str, str]:
    """Name and text of every page."""
    package = import_module(ROOT)
    rest = [name for name in package.__all__ if not any(name in names for names in GROUPS.values())]
    parts = [f"# {ROOT}\n\nWhat `import {ROOT} as dg` offers, in the order in which a fit uses it.\n"]
    for title, names in {**GROUPS, **({"More": tuple(rest)} if rest else {})}.items():
        parts.append(f"## {title}\n\n{block(ROOT, names)}")
    found = {"package": "\n".join(parts)}
    for name, text in MODULES.items():
        module = f"{ROOT}.{name}"
        found[name] = f"# {module}\n\n{text}\n\n{block(module, import_module(module).__all__)}"
    plots, numbers = f"{ROOT}.report.plots", f"{ROOT}.report.diagnostics"
    models = block(f"{plots}.comparison", ["compare_figure", "model_comparison"])
    found["report"] = (
        f"# {ROOT}.report\n\n`write_report` makes `report.html`. The numbers are in `report.diagnostics` (no matplotlib), the pictures in "
        "`report.plots`: every function that draws takes an `ax` and returns it.\n\n"
        f"{block(f'{ROOT}.report.page', ['write_report'])}\n## Numbers\n\n{block(numbers, import_module(numbers).__all__)}\n"
        f"## Pictures\n\n{block(plots, import_module(plots).__all__)}\n## Beside models of the Milky Way\n\n{models}"
    )
    return found


def write_api_pages(out: Path) -> None:
    """Write the pages into ``out``, and only what has changed."""
    for name, text in pages().items():
        target = out / f"{name}.md"
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
