"""The ledger of cuts: how many stars each one removed, in the order they were applied, summed over chunks."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)


class Ledger:
    """Counts of what was read, what was missing and what each cut removed.

    A cut counts the stars that were still there when it was applied; ``missing`` and ``sentinels`` count all rows of a column.
    """

    def __init__(self) -> None:
        self.n_read = 0
        self.missing: dict[str, int] = {}
        self.sentinels: dict[str, int] = {}
        self.removed: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def count(self, name: str, number: Any) -> None:
        """Add to one of the other counts, such as the negative parallaxes."""
        self.counts[name] = self.counts.get(name, 0) + int(number)

    def column(self, name: str, missing: int, sentinels: int) -> None:
        """Record what is missing in one chunk of a column."""
        self.missing[name] = self.missing.get(name, 0) + missing
        if sentinels:
            self.sentinels[name] = self.sentinels.get(name, 0) + sentinels

    def apply(self, name: str, keep: NDArray[np.bool_], passes: NDArray[np.bool_]) -> None:
        """Remove from ``keep`` (in place) what does not pass, and count it under ``name``."""
        lost = keep & ~passes
        self.removed[name] = self.removed.get(name, 0) + int(np.count_nonzero(lost))
        keep &= passes

    def cuts(self) -> list[dict[str, Any]]:
        """The cuts as records: name, stars removed, stars left."""
        left = self.n_read
        records = []
        for name, removed in self.removed.items():
            left -= removed
            records.append({"name": name, "removed": removed, "left": left})
        return records

    def summary(self) -> str:
        """One line: what each cut that removed something removed."""
        parts: Iterable[str] = (f"{name} removed {removed:,}" for name, removed in self.removed.items() if removed)
        return "; ".join(parts) or "no cut removed any"

    def log(self, label: str) -> None:
        """Write the cuts to the log, one line each."""
        log.info("%s: %s rows read", label, f"{self.n_read:,}")
        for record in self.cuts():
            log.info("cut: %s removed %s, left %s", record["name"], f"{record['removed']:,}", f"{record['left']:,}")
