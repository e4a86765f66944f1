"""The largest memory that this process has had."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
"""Where Linux counts the memory of this process."""


def peak_memory() -> float:
    """Largest resident memory of this process so far [MB]; Linux's own count, because that of getrusage is inherited from the parent."""
    if STATUS.is_file():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
