"""The panels of a report, by subject. Each function yields (name, section, title, caption, figure) for what the run allows."""

from .checks import analytic, halo, omega_loss, scores, where
from .context import Context
from .fields import density, force_errors, forces
from .stars import bar, pattern_speed, stars
from .steadiness import stationarity
from .training import significance, training

MAKERS = (
    stars,
    where,
    bar,
    pattern_speed,
    omega_loss,
    stationarity,
    forces,
    analytic,
    force_errors,
    density,
    halo,
    training,
    scores,
    significance,
)
"""In the order of the page."""

__all__ = ["MAKERS", "Context"]
