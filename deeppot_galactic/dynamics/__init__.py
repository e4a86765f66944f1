"""What a rotating potential is used for: orbits, resonances, the bar, rotation curves, comparison with models of the Milky Way."""

from __future__ import annotations

from ..potential.axisymmetric import AxisymmetricPotential, axisymmetrize
from .bar import Bar, bar_angle, measure_bar
from .classification import classify_stars
from .comparison import compare
from .frequencies import orbital_frequencies, resonance_fractions, resonance_ratio, surface_of_section
from .lagrange import LagrangePoint, effective_potential, lagrange_points
from .orbits import Orbits, integrate_orbits, jacobi_energy
from .resonances import Resonance, frequency_table, resonance_table, resonances
from .rotation import asymmetric_drift, escape_speed, rotation_curve, vertical_force

__all__ = [
    "AxisymmetricPotential",
    "Bar",
    "LagrangePoint",
    "Orbits",
    "Resonance",
    "asymmetric_drift",
    "axisymmetrize",
    "bar_angle",
    "classify_stars",
    "compare",
    "effective_potential",
    "escape_speed",
    "frequency_table",
    "integrate_orbits",
    "jacobi_energy",
    "lagrange_points",
    "measure_bar",
    "orbital_frequencies",
    "resonance_fractions",
    "resonance_ratio",
    "resonance_table",
    "resonances",
    "rotation_curve",
    "surface_of_section",
    "vertical_force",
]
