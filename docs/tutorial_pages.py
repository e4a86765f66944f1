"""Turn the tutorials, Python scripts in jupytext's percent format, into pages.

A cell that begins with ``# %% [markdown]`` is text, one that begins with ``# %%`` is code. Where code ends in ``show(figure, "name")``
the picture ``images/tutorials/name.png`` follows it, if there is one; before it comes what the code printed at full size, as kept by
`tutorial_outputs`.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from tutorial_outputs import digest, stored

WIDTH = 88
"""Characters that fit beside the table of contents."""
CELL = re.compile(r"^# %%(.*)$", re.M)
SHOWN = re.compile(r'^show\(\w+, "([\w-]+)"\)', re.M)


def cells(script: str) -> list[tuple[str, str]]:
    """The cells of a script: (kind, content), kind "markdown" or "code"."""
    marks = list(CELL.finditer(script))
    found = []
    for k, mark in enumerate(marks):
        content = script[mark.end() : marks[k + 1].start() if k + 1 < len(marks) else len(script)].strip("\n")
        if "[markdown]" in mark.group(1):
            lines = [line[2:] if line.startswith("# ") else "" for line in content.splitlines()]
            found.append(("markdown", "\n".join(lines)))
        elif content.strip():
            found.append(("code", content))
    return found


def wrapped(output: str) -> str:
    """An output with its long sentences broken; tables, in which columns are apart by more than a space, stay as they are."""
    lines = [textwrap.wrap(line, WIDTH) if "  " not in line.strip() else [line] for line in output.splitlines()]
    return "\n".join(part for line in lines for part in (line or [""]))


def page(script: str, *, name: str, pictures: Path, outputs: dict[str, str] | None = None) -> str:
    """The tutorial as Markdown; ``outputs`` by the digest of the code."""
    parts = []
    for kind, content in cells(script):
        parts.append(content if kind == "markdown" else f"```python\n{content}\n```")
        printed = (outputs or {}).get(digest(content), "") if kind == "code" else ""
        if printed:
            parts.append(f"```{{code-block}} text\n:class: output\n\n{wrapped(printed)}\n```")
        for shown in SHOWN.findall(content) if kind == "code" else ():
            if (pictures / f"{shown}.png").is_file():
                parts.append(f"![{shown.replace('_', ' ')}](../images/tutorials/{shown}.png)")
    parts.append(f"*This page is the script `tutorials/{name}`; `jupytext --to notebook` makes a notebook of it.*")
    return "\n\n".join(parts) + "\n"


def write_tutorial_pages(scripts: Path, out: Path) -> None:
    """Write a page for every tutorial ``NN_name.py`` into ``out``, and only what has changed."""
    out.mkdir(exist_ok=True)
    for script in sorted(scripts.glob("[0-9][0-9]_*.py")):
        pictures, outputs = out.parent / "images" / "tutorials", stored(script, out.parent / "outputs")
        text = page(script.read_text(encoding="utf-8"), name=script.name, pictures=pictures, outputs=outputs)
        target = out / f"{script.stem}.md"
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
