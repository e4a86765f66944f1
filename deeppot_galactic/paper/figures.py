"""Figures of the experiment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..report.figures import Panel


def paper_figures(folder: Path, rows: Sequence[dict[str, Any]], snapshots: Sequence[str]) -> list[Panel]:
    return []
