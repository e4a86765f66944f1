"""Accelerations and densities: maps, against the truth, against radius."""

from __future__ import annotations

import numpy as np

from .. import diagnostics as dx
from .context import Array, Context, Drawn, pixel_edges, plane_positions


def forces(c: Context) -> Drawn:
    from .. import plots

    d = c.d
    if d.field is None:
        return
    grid, known = getattr(d.truth, "grid_x", None), getattr(d.truth, "grid_acceleration", None)
    if grid is not None and known is not None and d.region.whole_disc:
        x = np.asarray(grid, dtype=np.float64)
        x_edges = y_edges = np.concatenate([[1.5 * x[0] - 0.5 * x[1]], 0.5 * (x[1:] + x[:-1]), [1.5 * x[-1] - 0.5 * x[-2]]])
    else:
        known = None
        x_edges, y_edges = pixel_edges(c, 64)
    plane = plane_positions(x_edges, y_edges, d.region.centre[2])
    shape = (len(x_edges) - 1, len(y_edges) - 1)
    inside = d.field.inside(plane)
    size = np.where(inside, np.linalg.norm(d.field.acceleration(plane), axis=1), np.nan).reshape(shape)
    true = None if known is None else np.where(inside.reshape(shape), np.linalg.norm(known, axis=2), np.nan)
    limits = plots.force_limits(size, *([] if true is None else [true]))
    drawings = [("fit", size, "Fitted acceleration", "Size of the acceleration in the plane z = 0, from the fit.")]
    if true is not None:
        drawings.append(("truth", true, "True acceleration", "The same, from the simulation or the analytic potential."))
    for name, values, title, caption in drawings:
        figure, ax, bar_axes = plots.map_panel()
        plots.acceleration_map(ax, dx.Map(x_edges, y_edges, values), limits=limits, cax=bar_axes)
        plots.landmarks(plots.face_on(ax), bar=d.bar, legend=False)
        ax.set_title(title)
        yield f"acceleration_{name}", "forces", title, caption, figure
    if true is not None:
        figure, ax, bar_axes = plots.map_panel()
        plots.residual_map(ax, dx.Map(x_edges, y_edges, size / np.where(true > 0, true, np.nan) - 1), cax=bar_axes)
        plots.landmarks(plots.face_on(ax), bar=d.bar, legend=False, colour="#1b2733")
        ax.set_title("Fit against truth")
        yield (
            "acceleration_residual",
            "forces",
            "Where they differ",
            "Relative difference of the two maps before. Red: the fit pulls too hard.",
            figure,
        )


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
        low, high = (0.0, d.region.radius) if d.region.whole_disc else (d.region.inner_radius, d.region.outer_radius)
        plots.error_against_radius(ax, d.forces.radius, d.forces.error, edges=np.linspace(low, high, 17))
        ax.set_title("Error of the acceleration")
        caption = "Length of the difference vector over the length of the true acceleration. Near the centre the force itself goes to zero."
        yield "acceleration_error", "forces", "Error against radius", caption, figure
    if d.curve is not None:
        figure, (ax,) = plots.panel()
        plots.rotation_curve(ax, d.curve, truth=d.truth)
        if d.corotation is not None:
            plots.vertical_mark(ax, d.corotation, "corotation", below=True)
        ax.set_title("Rotation curve")
        yield "rotation_curve", "forces", "Rotation curve", "Circular speed in the plane, averaged over azimuth.", figure


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
    limits = plots.density_limits(rho, side)
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
