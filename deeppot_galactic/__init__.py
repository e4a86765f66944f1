"""Potentials and pattern speeds of barred galaxies from the positions and velocities of stars.

One catalogue of stars in six dimensions, taken as one snapshot of a distribution function f(x, v) that is stationary in a frame
rotating with angular velocity Omega, fixes the gravitational potential Phi(x) and Omega itself through the collisionless
Boltzmann equation (Kalda, Green & Ghosh 2023, arXiv:2310.00040).

The names below are the public interface; each is imported from its module when it is first used, so that importing the package
costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue.reading import read_tracers
    from .catalogue.tracers import Tracers
    from .catalogue.truth import Truth, demo_path, read_truth
    from .catalogue.volumes import Ball, Cylinder, Volume
    from .distribution.base import Distribution
    from .distribution.fit import fit_distribution
    from .distribution.gradients import GradientSample, draw_gradients
    from .potential.blended import GlobalPotential
    from .potential.fit import fit_potential
    from .potential.frame import RotatingFrame
    from .potential.model import PotentialModel
    from .potential.pattern import PatternSpeed, pattern_speed
    from .potential.resampled import fit_ensemble

__version__ = "0.1.0"

_HOME = {
    "Ball": "catalogue.volumes",
    "Cylinder": "catalogue.volumes",
    "Distribution": "distribution.base",
    "GlobalPotential": "potential.blended",
    "GradientSample": "distribution.gradients",
    "PatternSpeed": "potential.pattern",
    "PotentialModel": "potential.model",
    "RotatingFrame": "potential.frame",
    "Tracers": "catalogue.tracers",
    "Truth": "catalogue.truth",
    "Volume": "catalogue.volumes",
    "demo_path": "catalogue.truth",
    "draw_gradients": "distribution.gradients",
    "fit_distribution": "distribution.fit",
    "fit_ensemble": "potential.resampled",
    "fit_potential": "potential.fit",
    "pattern_speed": "potential.pattern",
    "read_tracers": "catalogue.reading",
    "read_truth": "catalogue.truth",
}

__all__ = [
    "Ball",
    "Cylinder",
    "Distribution",
    "GlobalPotential",
    "GradientSample",
    "PatternSpeed",
    "PotentialModel",
    "RotatingFrame",
    "Tracers",
    "Truth",
    "Volume",
    "demo_path",
    "draw_gradients",
    "fit_distribution",
    "fit_ensemble",
    "fit_potential",
    "load",
    "pattern_speed",
    "read_tracers",
    "read_truth",
]


def load(path: str | Path) -> PotentialModel:
    """Read a fitted potential from ``model.safetensors`` or from a run folder that holds one.

    Parameters
    ----------
    path : str or Path
        A model file, or the folder written by ``deeppot run``.

    Returns
    -------
    PotentialModel
        Quantities in, Quantities out.

    Raises
    ------
    StoreError
        If there is no such file, or it is damaged, of a newer version, or not a potential.
    """
    from .potential.model import PotentialModel

    return PotentialModel.load(path)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
