"""Catalogues: tables of stars in, phase-space tracers in a stated frame out."""

from __future__ import annotations

from .frames import galactocentric
from .tracers import Tracers, read_tracers
from .truth import Truth, demo_path, read_truth
from .volumes import Ball, Cylinder, Volume

__all__ = ["Ball", "Cylinder", "Tracers", "Truth", "Volume", "demo_path", "galactocentric", "read_tracers", "read_truth"]
