"""Mock catalogues with known answers: analytic distribution functions, test particles in a bar, and the way to the sky.

`observe` and `test_particles` here are the functions; reach the modules by ``from deeppot_galactic.mocks.observe import``.
"""

from __future__ import annotations

from .analytic import AnalyticDistribution, BarredPotential, ErgodicBar, GaussianBar, KuzminKutuzov, Plummer, StaeckelDisc
from .observe import as_milky_way, observe
from .test_particles import test_particles

__all__ = [
    "AnalyticDistribution",
    "BarredPotential",
    "ErgodicBar",
    "GaussianBar",
    "KuzminKutuzov",
    "Plummer",
    "StaeckelDisc",
    "as_milky_way",
    "observe",
    "test_particles",
]
