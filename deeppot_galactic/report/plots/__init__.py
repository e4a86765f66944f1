"""Figures: every curve and map of the report, and of ``paper.figures``, which only arranges them on sheets of its own (and compares Omega
with the paper's). Every function draws into an ``ax``, returns it, and touches no global state.
"""

from .checks import dark_matter, gradient_map, loss_against_omega, score_calibration, sub_volumes
from .curves import (
    bar_phase,
    bar_strength,
    frequencies,
    pattern_speed_profile,
    rotation_curve,
    vertical_mark,
)
from .fields import acceleration_map, density_limits, force_limits, matter_density, rate_map, residual_map, significance
from .fits import acceleration_scatter, learning_rate, rate_histogram, training_loss
from .maps import draw_map, edge_on, face_on, landmarks, outline, round_up, stellar_contours, stellar_density
from .radial import density_profile, error_against_radius, rate_against_radius
from .style import CYCLE, INK, face_edge_panel, map_panel, panel, save, square_panel, styled, tidy

__all__ = [
    "CYCLE",
    "INK",
    "acceleration_map",
    "acceleration_scatter",
    "bar_phase",
    "bar_strength",
    "dark_matter",
    "density_limits",
    "density_profile",
    "draw_map",
    "edge_on",
    "error_against_radius",
    "face_edge_panel",
    "face_on",
    "force_limits",
    "frequencies",
    "gradient_map",
    "landmarks",
    "learning_rate",
    "loss_against_omega",
    "map_panel",
    "matter_density",
    "outline",
    "panel",
    "pattern_speed_profile",
    "rate_against_radius",
    "rate_histogram",
    "rate_map",
    "residual_map",
    "rotation_curve",
    "round_up",
    "save",
    "score_calibration",
    "significance",
    "square_panel",
    "stellar_contours",
    "stellar_density",
    "styled",
    "sub_volumes",
    "tidy",
    "training_loss",
    "vertical_mark",
]
