"""Execute tutorials and keep what each of their cells prints, for the pages of the documentation.

    python docs/tutorial_outputs.py tutorials/*.py                   # at full size: minutes; docs/outputs/NN_name.json are then new
    python docs/tutorial_outputs.py --out somewhere tutorials/04*.py

Each file holds, for every code cell, the digest of its code and its output; a page shows an output only under the code that printed it,
and the tests fail where a tutorial was changed and its outputs were not made anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
OUTPUTS = HERE / "outputs"
FOLDERS = re.compile(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/|(/[^\s/]+)+/(?=deeppot_galactic/)")
"""Temporary folders and that of the package, which are nobody else's."""
WIDTH = "118"
"""Columns of a printed table."""


def digest(code: str) -> str:
    """Of the code of one cell."""
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def execute(script: Path) -> list[dict[str, str]]:
    """Digest and output of every code cell of a script, executed one after the other as a notebook does."""
    from tutorial_pages import cells

    module = ModuleType("__main__")
    namespace: dict[str, Any] = vars(module)
    namespace["__file__"] = str(script)
    found = []
    for kind, code in cells(script.read_text(encoding="utf-8")):
        if kind == "code":
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, str(script), "exec"), namespace)
            lines = FOLDERS.sub("", printed.getvalue()).splitlines()
            found.append({"code": digest(code), "output": "\n".join(line.rstrip() for line in lines).strip("\n")})
    return found


def stored(script: Path, folder: Path = OUTPUTS) -> dict[str, str]:
    """Output by digest of the code that printed it."""
    path = folder / f"{script.stem}.json"
    return {cell["code"]: cell["output"] for cell in json.loads(path.read_text(encoding="utf-8"))} if path.is_file() else {}


def main() -> None:
    """Execute the scripts named on the command line."""
    parser = argparse.ArgumentParser(description="Execute tutorials and keep what their cells print.")
    parser.add_argument("scripts", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=OUTPUTS)
    options = parser.parse_args()
    os.environ["COLUMNS"] = WIDTH
    options.out.mkdir(parents=True, exist_ok=True)
    for script in options.scripts:
        sys.path[:0] = [str(HERE), str(script.resolve().parent)]
        text = json.dumps(execute(script.resolve()), indent=1, ensure_ascii=False) + "\n"
        (options.out / f"{script.stem}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
