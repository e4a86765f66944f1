"""What the tutorials share: their size, their pictures, and a potential that takes seconds.

``DEEPPOT_TUTORIAL=small`` makes them run in seconds, with few stars and few steps: everything works then, and no number is good.
``DEEPPOT_FIGURES=folder`` writes the pictures there; in a notebook they are shown, otherwise they are drawn and dropped.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

import deeppot_galactic as dg

SMALL = os.environ.get("DEEPPOT_TUTORIAL") == "small"


def show(figure: Any, name: str) -> None:
    """Show a figure in a notebook, or save it, or at least draw it (so that a figure that cannot be drawn is noticed)."""
    folder = os.environ.get("DEEPPOT_FIGURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(folder) / f"{name}.png", dpi=110, metadata={"Software": None})
    elif "ipykernel" in sys.modules:
        from IPython.display import display

        display(figure)
    else:
        FigureCanvasAgg(figure).draw()


def brief(table: Any) -> Any:
    """A copy of a table that is printed with four digits."""
    copy = table.copy()
    for name in copy.colnames:
        if copy[name].dtype.kind == "f":
            copy[name].info.format = ".4g"
    return copy


def some(tracers: dg.Tracers, n: int, *, seed: int = 0) -> dg.Tracers:
    """``n`` stars of a catalogue drawn at random, or all if there are fewer."""
    keep = np.random.default_rng(seed).permutation(len(tracers))[:n]
    return tracers.select(np.sort(keep), name=f"random {n} stars")


def weak_potential(tracers: dg.Tracers, volume: dg.Volume) -> dg.PotentialModel:
    """Potential and pattern speed by the weak form: moments of the stars alone, no training."""
    points = dg.GradientSample.of_stars(tracers, volume)  # the weak form needs no scores
    return dg.fit_potential(points, method="weak")
