"""The panels of a report, by subject. Each function yields (name, section, title, caption, figure) for what the run allows."""

from .context import Context
from .fields import density, force_errors, forces
from .stars import bar, pattern_speed, stars
from .steadiness import stationarity
from .training import significance, training

MAKERS = (stars, bar, pattern_speed, stationarity, forces, force_errors, density, training, significance)
"""In the order of the page."""

__all__ = ["MAKERS", "Context"]
