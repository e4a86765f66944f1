"""d ln f/dt in the rotating and the lab frame: maps, against radius, as a histogram."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import diagnostics as dx
from .context import Context, Drawn, pixel_edges


def stationarity(c: Context) -> Drawn:
    from .. import plots

    d, s = c.d, c.d.stationarity
    if s is None or len(s.x) < 100:
        return
    x_edges, y_edges = pixel_edges(c, 80)
    # A kernel of 1/25 of the radius keeps the quadrupole of a bar; with few stars it grows until 500 of them contribute on average.
    kernel = float(np.clip(np.sqrt(500 / (4 * len(s.x))), 0.04, 0.12))
    options: dict[str, Any] = {"weights": s.weights, "smooth": 40 * kernel, "at_least": 60}
    maps = [dx.mean_map(s.x[:, 0], s.x[:, 1], rate, x_edges, y_edges, **options) for rate in (s.rotating, s.lab)]
    seen = np.abs(maps[1].values)
    limit = plots.round_up(float(np.nanpercentile(seen, 97)) * dx.PER_GYR) / dx.PER_GYR if np.isfinite(seen).any() else 1.0
    notes = (
        "turning with the fitted Ω: what is left is noise and what the fit could not make steady.",
        "at rest: the bar passes by and f changes.",
    )
    for name, values, title, note in zip(("rotating", "lab"), maps, ("Rotating frame", "Lab frame"), notes, strict=True):
        figure, ax, bar_axes = plots.map_panel()
        plots.rate_map(plots.face_on(ax), values, limit=limit, cax=bar_axes)
        plots.face_on(ax)
        plots.landmarks(ax, bar=d.bar, corotation=d.corotation, colour="#1b2733", legend=False)
        ax.set_title(title)
        caption = (
            f"Rate at which the density of stars changes for somebody {note} Smoothed over "
            f"{d.region.radius * kernel:.2g} kpc; same colours in both frames."
        )
        yield f"stationarity_{name}", "stationarity", title, caption, figure
    figure, (ax,) = plots.panel()
    edges = np.linspace(0, d.region.radius, 25)
    plots.rate_against_radius(ax, s, edges=edges, centre=None if d.region.whole_disc else d.region.centre)
    ax.set_title("Rate of change against radius")
    caption = (
        "Median size of d ln f/dt star by star (68 % of the stars in the shades). Noise of the learned "
        "gradients sets a floor for both curves."
    )
    if s.weights is not None:
        caption += " Stars count by their weights."
    yield "stationarity_radius", "stationarity", "Star by star, against radius", caption, figure
    figure, (ax,) = plots.panel()
    rotating, lab = dx.PER_GYR * s.rotating, dx.PER_GYR * s.lab
    plots.rate_histogram(ax, rotating, lab, limit=plots.round_up(float(np.percentile(np.abs(lab), 90))), weights=s.weights)
    ax.set_title("Rate of change of all stars")
    yield (
        "stationarity_histogram",
        "stationarity",
        "Star by star, all of them",
        "The narrower the blue histogram, the more nearly steady is the fit.",
        figure,
    )
