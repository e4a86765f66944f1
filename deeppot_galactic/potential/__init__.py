"""Phi and the rotating frame: bases and networks, the weak form, stationarity, fits and the global potential."""

from __future__ import annotations

from .fit import fit_potential
from .frame import RotatingFrame
from .model import PotentialModel
from .pattern import PatternSpeed, pattern_speed
from .profile import LossProfile, profile_loss

__all__ = [
    "LossProfile",
    "PatternSpeed",
    "PotentialModel",
    "RotatingFrame",
    "fit_potential",
    "pattern_speed",
    "profile_loss",
]
