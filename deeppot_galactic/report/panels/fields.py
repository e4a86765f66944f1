"""Accelerations and densities: maps, against the truth, against radius."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import diagnostics as dx
from .context import Array, Context, Drawn, pixel_edges, pixels_about, plane_positions


def forces(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.field is None:
        return
    x_edges, y_edges = pixel_edges(c, 64)
    plane = plane_positions(x_edges, y_edges, d.region.centre[2])
    size = np.where(d.field.inside(plane), np.linalg.norm(d.field.acceleration(plane), axis=1), np.nan).reshape(64, 64)
    drawings = [("fit", dx.Map(x_edges, y_edges, size), "Fitted acceleration", "Size of the acceleration in the plane, from the fit.")]
    pair = against_truth(d, "acceleration")
    if pair is not None:
        drawings.append(("truth", pair[1], "True acceleration", "The same, from the simulation or the analytic potential."))
    limits = plots.force_limits(*(seen.values for _, seen, _, _ in drawings))
    for name, seen, title, caption in drawings:
        figure, ax, bar_axes = plots.map_panel()
        plots.acceleration_map(ax, seen, limits=limits, cax=bar_axes)
        plots.landmarks(plots.face_on(ax), bar=d.bar, legend=False)
        ax.set_title(title)
        yield f"acceleration_{name}", "forces", title, caption, figure
    if pair is not None:
        figure = _difference(c, *pair, label="|a| fit / truth - 1 [%]")
        caption = "Relative difference of the two maps before. Red: the fit pulls too hard."
        yield "acceleration_residual", "forces", "Where they differ", caption, figure


def against_truth(d: dx.Diagnosis, name: str) -> tuple[dx.Map, dx.Map] | None:
    """Fit and truth in the plane z = 0, on those pixels of the truth that lie in the box of the volume; sizes of vectors."""
    field, region = d.field, d.region
    grid, known = (getattr(d.truth, key, None) for key in ("grid_x", f"grid_{name}"))
    if field is None or grid is None or known is None:
        return None
    x = np.asarray(grid, dtype=np.float64)
    first, second = (np.flatnonzero(np.abs(x - centre) < region.radius) for centre in region.centre[:2])
    if min(len(first), len(second)) < 2:
        return None
    x_edges, y_edges = pixels_about(x[first]), pixels_about(x[second])
    plane = plane_positions(x_edges, y_edges)
    values = np.asarray(known, dtype=np.float64)[np.ix_(first, second)]
    fit = getattr(field, name)(plane).reshape(values.shape)
    if values.ndim == 3:
        fit, values = np.linalg.norm(fit, axis=2), np.linalg.norm(values, axis=2)
    inside = field.inside(plane).reshape(values.shape)
    if not inside.any():
        return None
    return dx.Map(x_edges, y_edges, np.where(inside, fit, np.nan)), dx.Map(x_edges, y_edges, np.where(inside, values, np.nan))


def difference(fit: dx.Map, truth: dx.Map) -> dx.Map:
    """fit / truth - 1."""
    return dx.Map(fit.x_edges, fit.y_edges, fit.values / np.where(truth.values > 0, truth.values, np.nan) - 1)


def _difference(c: Context, fit: dx.Map, truth: dx.Map, *, label: str) -> Any:
    """Its figure."""
    from .. import plots

    figure, ax, bar_axes = plots.map_panel()
    plots.residual_map(ax, difference(fit, truth), label=label, cax=bar_axes)
    plots.landmarks(plots.face_on(ax), bar=c.d.bar, legend=False, colour="#1b2733")
    ax.set_title("Fit against truth")
    return figure


def force_errors(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.forces is not None:
        figure, ax = plots.square_panel()
        plots.acceleration_scatter(ax, d.forces)
        ax.set_title("Accelerations")
        caption = "Each component of the acceleration at points inside the volume. A perfect fit lies on the line."
        yield "acceleration_scatter", "forces", "Point by point", caption, figure
        figure, (ax,) = plots.panel()
        plots.error_against_radius(ax, d.forces.radius, d.forces.error, edges=_rings(c))
        ax.set_title("Error of the acceleration")
        caption = "Length of the difference vector over the length of the true acceleration. Near the centre the force itself goes to zero."
        yield "acceleration_error", "forces", "Error against radius", caption, figure
    if d.curve is not None:
        figure, (ax,) = plots.panel()
        plots.rotation_curve(ax, d.curve, omega=d.omega, truth=d.truth)
        ax.set_title("Rotation curve")
        caption = "Circular speed in the plane, averaged over azimuth. Dashed: the resonances of the fit that lie in the volume."
        yield "rotation_curve", "forces", "Rotation curve", caption, figure


def _rings(c: Context) -> Array:
    """Borders of the rings in which errors are quoted (kpc)."""
    region = c.d.region
    low, high = (0.0, region.radius) if region.whole_disc else (region.inner_radius, region.outer_radius)
    return np.linspace(low, high, 17)


def density(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.field is None:
        return
    x_edges, y_edges = pixel_edges(c, 80)
    plane = plane_positions(x_edges, y_edges, d.region.centre[2])
    rho = np.where(d.field.inside(plane), d.field.density(plane), np.nan).reshape(80, 80)
    z_edges = d.region.centre[2] + np.linspace(-1, 1, 33) * d.region.half_height
    angle = d.bar.angle if d.bar else 0.0
    slice_ = plane_positions(x_edges, z_edges)
    slice_ = dx.rotate_to_bar(np.column_stack([slice_[:, 0], np.full(len(slice_), d.region.centre[1]), slice_[:, 1]]), -angle)
    side = np.where(d.field.inside(slice_), d.field.density(slice_), np.nan).reshape(80, 32)
    pair = against_truth(d, "density")
    limits = plots.density_limits(rho, side, *([] if pair is None else [pair[1].values]))
    figure, face, bar_axes, edge = plots.face_edge_panel(shared=True)
    plots.matter_density(face, dx.Map(x_edges, y_edges, rho), limits=limits, cax=bar_axes)
    if d.stars is not None:
        plots.stellar_contours(face, dx.surface_density(d.stars[:, 0], d.stars[:, 1], x_edges, y_edges, weights=d.weights))
    plots.face_on(face).set_title("Matter")
    plots.matter_density(edge, dx.Map(x_edges, z_edges, side), limits=limits, colorbar=False)
    plots.edge_on(edge, along_bar=d.bar is not None)
    caption = (
        "Density of all matter, ∇²Φ/4πG, in the plane (contours: projected stars, a factor of three apart) "
        "and in an upright slice through the centre."
    )
    yield "matter", "density", "Where the mass is", caption, figure
    if pair is not None:
        figure, ax, bar_axes = plots.map_panel()
        plots.matter_density(ax, pair[1], limits=limits, cax=bar_axes)
        plots.face_on(ax).set_title("True density")
        yield (
            "density_truth",
            "density",
            "Where the mass truly is",
            "The same in the plane, from the simulation or the analytic model.",
            figure,
        )
        figure = _difference(c, *pair, label="ρ fit / truth - 1 [%]")
        caption = "Relative difference of the density of all matter in the plane. Red: the fit puts too much there."
        yield "density_residual", "density", "Where the masses differ", caption, figure
    if d.densities is not None:
        figure, (ax,) = plots.panel()
        plots.error_against_radius(ax, d.densities.radius, d.densities.error, edges=_rings(c), label="relative error of ρ")
        ax.set_title("Error of the density")
        caption = "At points inside the volume. A truth that was counted from particles has noise of its own."
        yield "density_error", "density", "Error of the density against radius", caption, figure
    if d.region.whole_disc:
        figure, (ax,) = plots.panel(6.2)
        radius, fit, stars, truth = _profiles(c)
        plots.density_profile(ax, radius, fit, stars=stars, truth=truth)
        ax.set_title("Density near the plane")
        caption = (
            f"Mean density within {_layer(c):.2g} kpc of the plane. Stars and all matter need not follow each "
            f"other: the difference is gas and dark matter."
        )
        yield "density_profile", "density", "Density against radius", caption, figure


def _layer(c: Context) -> float:
    """Half thickness of the layer in which densities are averaged (kpc)."""
    return min(0.3, c.d.region.half_height / 4)


def _profiles(c: Context) -> tuple[Array, Array, tuple[Array, Array, Array] | None, tuple[Array, Array] | None]:
    """Radius and density of the fit in the layer, the stars in it and the truth in it."""
    d, layer = c.d, _layer(c)
    field_ = d.field
    if field_ is None:
        return np.zeros(0), np.zeros(0), None, None
    radius = np.linspace(0.01, 0.99, 50) * d.region.radius
    phi, z = 2 * np.pi * np.arange(24) / 24, layer * np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    r, p, h = np.meshgrid(radius, phi, z, indexing="ij")
    fit = field_.density(np.column_stack([(r * np.cos(p)).ravel(), (r * np.sin(p)).ravel(), h.ravel()])).reshape(r.shape).mean(axis=(1, 2))
    edges = np.linspace(0, d.region.radius, 25)
    stars = None if d.stars is None else dx.midplane_profile(d.stars, edges=edges, half_height=layer, weights=d.weights)
    truth = None
    if d.densities is not None:
        near = np.abs(d.densities.positions[:, 2]) < layer
        middle = dx.radial_percentiles(d.densities.radius[near], d.densities.truth[near], edges, (50,), at_least=5)[0]
        known = np.isfinite(middle) & (middle > 0)
        truth = (0.5 * (edges[1:] + edges[:-1])[known], middle[known])
    return radius, fit, stars, truth
