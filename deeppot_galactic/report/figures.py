"""Which figures a report has: each is a panel of its own (a slide, or a column of the page), with a title and a caption.

`make_figures` draws what the run allows and leaves out the rest: without a truth there are no comparisons with it, in a small ball
no bar profile and no rotation curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .diagnostics import Diagnosis
from .inputs import Sample, scores

Array = NDArray[np.float64]
Progress = Callable[[str, int, int, dict[str, float]], None]


@dataclass(frozen=True)
class Panel:
    """One picture: ``name`` (of its file), ``section`` of the page, ``title``, ``caption``, ``path``."""

    name: str
    section: str
    title: str
    caption: str
    path: Path


def make_figures(
    diagnosis: Diagnosis,
    folder: Path,
    *,
    summary: dict[str, Any] | None = None,
    n_stars: float | None = None,
    sample: Sample | None = None,
    drawn: bool = False,
    everything: Array | None = None,
    points: Any = None,
    model: Any = None,
    progress: Progress | None = None,
) -> list[Panel]:
    """Draw every panel that the diagnosis allows into ``folder``.

    Parameters
    ----------
    diagnosis : Diagnosis
        From `diagnose`.
    folder : Path
        Made if needed.
    summary : dict, optional
        ``summary.json``: pattern speeds by radius, training histories.
    n_stars : float, optional
        Stars in the volume, or the sum of their weights, to which the density of the points is scaled.
    sample : Sample, optional
        The stars and a sample of the fitted distribution, to compare with one another.
    drawn : bool
        Whether the points are such a sample, and not the stars themselves (said in the caption).
    everything : array (N, 6), optional
        All stars of the catalogue, inside the volume and out [kpc, km/s].
    points : GradientSample or look-alike, optional
        For the scores at the points, and the joins of its volume.
    model : PotentialModel or look-alike, optional
        For the analytic model that the fit began with.
    progress : callable, optional
        Called as ``progress("report", done, total, {})``.

    Returns
    -------
    list of Panel
        In the order of the page.
    """
    from . import plots
    from .panels import MAKERS, Context
    from .panels.checks import analytic_base
    from .panels.context import joins_of

    folder.mkdir(parents=True, exist_ok=True)
    score = None if points is None else scores(points)
    total = None if n_stars is None else float(n_stars)
    context = Context(diagnosis, summary or {}, total, sample, drawn, everything, score, joins_of(points), analytic_base(model), points)
    panels = []
    with plots.styled():
        for k, make in enumerate(MAKERS):
            for name, section, title, caption, figure in make(context):
                panels.append(Panel(name, section, title, caption, plots.save(figure, folder / f"{name}.png")))
            if progress is not None:
                progress("report", k + 1, len(MAKERS), {})
    return panels
