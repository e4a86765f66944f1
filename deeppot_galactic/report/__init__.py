"""Look at a run: numbers (`diagnostics`), pictures (`plots`, the only place that uses matplotlib) and a page
that tells the story (`page`).
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Load `write_report` on first use."""
    if name == "write_report":
        from .page import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
