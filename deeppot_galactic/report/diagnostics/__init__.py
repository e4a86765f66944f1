"""Numbers about a run: structure of the stars, stationarity, errors against a truth, rotation curve, significance of differences, flags."""

from .calibration import Calibration, score_calibration
from .dark_matter import DarkProfile, dark_matter, dark_matter_profile
from .diagnosis import Diagnosis, Region, diagnose
from .flags import Flag, find_flags
from .forces import Comparison, compare, cylindrical, negative_fraction
from .rotation import RotationCurve, crossings, rotation_curve
from .significance import poisson_significance, significance_map
from .stationarity import PER_GYR, Stationarity, coherent_rms, mean_map, non_stationarity, radial_percentiles, time_derivative
from .structure import BarExtent, HarmonicProfile, Map, bar_extent, harmonic_profile, midplane_profile, rotate_to_bar, surface_density

__all__ = [
    "PER_GYR",
    "BarExtent",
    "Calibration",
    "Comparison",
    "DarkProfile",
    "Diagnosis",
    "Flag",
    "HarmonicProfile",
    "Map",
    "Region",
    "RotationCurve",
    "Stationarity",
    "bar_extent",
    "coherent_rms",
    "compare",
    "crossings",
    "cylindrical",
    "dark_matter",
    "dark_matter_profile",
    "diagnose",
    "find_flags",
    "harmonic_profile",
    "mean_map",
    "midplane_profile",
    "negative_fraction",
    "non_stationarity",
    "poisson_significance",
    "radial_percentiles",
    "rotate_to_bar",
    "rotation_curve",
    "score_calibration",
    "significance_map",
    "surface_density",
    "time_derivative",
]
