"""The stars, the bar in them, and how fast it turns."""

from __future__ import annotations

import numpy as np

from .. import diagnostics as dx
from .context import Context, Drawn, pixel_edges


def stars(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.stars is None:
        return
    bins = int(np.clip(np.sqrt(len(d.stars)) / 2.2, 40, 160))
    x_edges, y_edges = pixel_edges(c, bins)
    figure, face, bar_axes, edge = plots.face_edge_panel(shared=False)
    seen = dx.surface_density(d.stars[:, 0], d.stars[:, 1], x_edges, y_edges, weights=d.weights, total=c.total)
    plots.stellar_density(face, seen, cax=bar_axes)
    plots.landmarks(plots.face_on(face), bar=d.bar, corotation=d.corotation)
    face.set_title("Stars")
    turned = dx.rotate_to_bar(d.stars, d.bar.angle) if d.bar else d.stars
    z_edges = d.region.centre[2] + np.linspace(-1, 1, max(bins // 4, 16) + 1) * d.region.half_height
    side = dx.surface_density(turned[:, 0], turned[:, 2], x_edges, z_edges, weights=d.weights, total=c.total)
    plots.stellar_density(edge, side, colorbar=False)
    plots.edge_on(edge, along_bar=d.bar is not None)
    caption = "Points drawn from the fitted distribution" if c.drawn else "Stars of the fit"
    if d.weights is not None:
        caption += ", counted by their weights"
    caption += ", per square kiloparsec, from above and from the side (heights stretched, own scale)."
    if d.bar is not None:
        caption += " The line is the bar: it ends where A₂/A₀ falls to 70 % of its peak."
    if d.corotation is not None:
        caption += " On the dashed circle the fitted rotation curve turns as fast as the bar."
    yield "stars", "stars", "Where the stars are", caption, figure


def bar(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.profile is None:
        return
    figure, (strength, phase) = plots.panel(6.2, rows=(2.2, 1.0))
    plots.bar_strength(strength, d.profile, bar=d.bar, corotation=d.corotation, truth=d.truth)
    plots.bar_phase(phase, d.profile, bar=d.bar)
    strength.set_xlabel("")
    strength.set_title("Strength of the bar")
    caption = (
        "Second Fourier harmonic of the stars relative to their mean, in rings, and its position angle. A "
        "bar has one angle; spiral arms wind."
    )
    yield "bar_strength", "stars", "How strong the bar is", caption, figure


def pattern_speed(c: Context) -> Drawn:
    from .. import plots

    d, weak = c.d, c.summary.get("pattern_speed") or {}
    rings = [ring for ring in weak.get("by_radius") or [] if all(ring.get(key) is not None for key in ("R_lo", "R_hi", "omega", "error"))]
    error = None if d.field is None or d.field.omega_error is None else float(d.field.omega_error[2])
    if rings:
        figure, (ax,) = plots.panel()
        both = weak.get("value") is not None and weak.get("error") is not None
        fit = None if d.omega is None else (d.omega, error)
        plots.pattern_speed_profile(ax, rings, fit=fit, weak=(weak["value"], weak["error"]) if both else None, truth=d.truth)
        ax.set_title("Pattern speed")
        caption = (
            "Ω from the continuity equation alone, ring by ring, which needs no potential, beside the Ω of the "
            "fit. A rigid bar gives one value."
        )
        yield "pattern_speed", "pattern", "Does everything turn together?", caption, figure
    if d.curve is not None and d.omega:
        figure, (ax,) = plots.panel()
        plots.frequencies(ax, d.curve, d.omega, error=error, truth=d.truth)
        ax.set_title("Resonances")
        caption = (
            "Circular frequency of the fitted potential with half the epicyclic frequency taken away and added. "
            "Where they meet the pattern speed: "
        )
        caption += "inner Lindblad resonance (ILR), corotation (CR), outer Lindblad resonance (OLR)."
        yield "resonances", "pattern", "Where the resonances lie", caption, figure
