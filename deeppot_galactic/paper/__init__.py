"""The experiment of the paper again, on any snapshots with a known truth: whole discs and balls, tables and figures.

`reproduce` carries it out (``deeppot paper``); `published` holds the numbers of Kalda, Green & Ghosh 2023 (arXiv:2310.00040, "P") that
ours stand beside.
"""

from __future__ import annotations

from .experiment import Case, Reproduction, reproduce
from .volumes import DISC, volume_table, volumes

__all__ = ["DISC", "Case", "Reproduction", "reproduce", "volume_table", "volumes"]
