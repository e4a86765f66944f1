"""Checks that need no truth: scores against the stars, the loss against Omega, joins of shells, an analytic model, the dark matter, and
where the volume lies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import DeepPotError
from ...units import ANGULAR_SPEED, LENGTH, VELOCITY
from .. import diagnostics as dx
from .context import Context, Drawn, pixel_edges, plane_positions

if TYPE_CHECKING:
    from ...potential import LossProfile

_SPEEDS, _LEAST_REACH, _POINTS = 21, 20.0, 4096  # of the loss against Omega: grid, half width at least [km/s/kpc], points


def where(c: Context) -> Drawn:
    """A volume off the axis in its galaxy."""
    from .. import plots

    d = c.d
    if d.region.whole_disc or c.everything is None:
        return
    reach = 1.15 * d.region.outer_radius
    edges = np.linspace(-reach, reach, int(np.clip(np.sqrt(len(c.everything)) / 2.2, 40, 160)) + 1)
    figure, ax, bar_axes = plots.map_panel()
    plots.stellar_density(ax, dx.surface_density(c.everything[:, 0], c.everything[:, 1], edges, edges), cax=bar_axes)
    bar = dx.bar_extent(dx.harmonic_profile(c.everything, edges=np.linspace(0, reach, 33)))
    plots.landmarks(plots.face_on(ax), bar=bar)
    plots.sub_volumes(ax, {"": (d.region.centre, d.region.radius)})
    ax.set_title("The volume in its galaxy")
    yield "volume", "stars", "Where the volume is", "All stars of the catalogue; those inside the circle were used.", figure


def omega_loss(c: Context) -> Drawn:
    """Loss against the pattern speed."""
    from .. import plots

    profile = loss_profile(c)
    if profile is None:
        return
    figure, (ax,) = plots.panel()
    plots.loss_against_omega(ax, profile, fit=c.d.omega, truth=getattr(c.d.truth, "omega", None))
    ax.set_title("Loss against Ω")
    caption = (
        "How much less steady the stars would be at other pattern speeds, by the linear solver on the scores alone, without the weak form: "
        "with its potential held, and solved again at each speed. A wide second curve means that potential and pattern speed stand in for "
        "one another."
    )
    yield "omega_loss", "pattern", "How sharply Ω is fixed", caption, figure


def loss_profile(c: Context) -> LossProfile | None:
    """The linear solver's loss about the fitted pattern speed, from some of the points; None where it does not apply."""
    from ...catalogue.volumes import Volume
    from ...distribution.gradients import GradientSample
    from ...potential import RotatingFrame, profile_loss

    d, p = c.d, c.points
    if d.omega is None or d.field is None or p is None or not isinstance(p.volume, Volume):
        return None
    reach = max(abs(d.omega), _LEAST_REACH)
    grid = (d.omega + np.linspace(-reach, reach, _SPEEDS)) * ANGULAR_SPEED
    x0, v0 = (None if q is None else q * unit for q, unit in ((d.field.x0, LENGTH), (d.field.v0, VELOCITY)))
    try:
        points = GradientSample(p.points, np.full(len(p.points), np.nan), p.score, volume=p.volume, weights=p.weights)  # or look-alikes
        return profile_loss(points, grid, frame=RotatingFrame(d.field.omega * ANGULAR_SPEED, x0, v0), base=c.base, n_max=_POINTS)
    except DeepPotError:  # another axis, no scores, too few stars
        return None


def scores(c: Context) -> Drawn:
    """Calibration of the scores, and joins of shells."""
    from .. import plots

    d = c.d
    if c.score is None or d.stars is None or len(d.stars) < 1000:
        return
    if d.region.whole_disc:
        low, high = 0.0, d.region.radius
    else:
        low, high = d.region.inner_radius, d.region.outer_radius
    figure, (ax,) = plots.panel()
    plots.score_calibration(ax, dx.score_calibration(d.stars, c.score, edges=np.linspace(low, high, 13), weights=d.weights))
    ax.set_xlim(low, high)
    ax.set_title("Calibration of the gradients")
    caption = (
        "Ratios that are exactly one for the true distribution, by integration by parts. Below one the learned gradients are too flat: in "
        "the velocities this makes forces too strong, along the bar (only where the stars cover whole rings) it makes Ω too slow."
    )
    if not d.region.whole_disc:
        caption = caption.replace(", along the bar (only where the stars cover whole rings) it makes Ω too slow", "")
    yield "score_calibration", "training", "Are the scores steep enough?", caption, figure
    x_edges, y_edges = pixel_edges(c, 64)
    radius = np.maximum(np.hypot(d.stars[:, 0], d.stars[:, 1]), 1e-9)
    slope = (d.stars[:, 0] * c.score[:, 0] + d.stars[:, 1] * c.score[:, 1]) / radius
    seen = dx.mean_map(d.stars[:, 0], d.stars[:, 1], slope, x_edges, y_edges, weights=d.weights, smooth=1.5, at_least=20)
    figure, ax, bar_axes = plots.map_panel()
    plots.gradient_map(ax, seen, joins=c.joins, cax=bar_axes)
    plots.face_on(ax).set_title("Radial gradient of ln f")
    caption = "Mean radial gradient of ln f at the stars."
    caption += " Dashed: where shells were joined; a step there would be a seam." if c.joins else " This fit is one piece, without joins."
    yield "gradient_radial", "training", "Gradient of the distribution", caption, figure


def analytic(c: Context) -> Drawn:
    """Accelerations against the disc and halo that the weak form began with, where there is no truth."""
    from .. import plots

    d, base = c.d, c.base
    if d.field is None or base is None or d.forces is not None:
        return
    x_edges, y_edges = pixel_edges(c, 64)
    plane = plane_positions(x_edges, y_edges, d.region.centre[2])
    inside = d.field.inside(plane)
    if not inside.any():
        return
    size = np.linalg.norm(d.field.acceleration(plane), axis=1)
    model = np.linalg.norm(base.evaluate(plane, 1)[1], axis=1)
    ratio = np.where(inside, size / np.maximum(model, 1e-12) - 1, np.nan).reshape(64, 64)
    figure, ax, bar_axes = plots.map_panel()
    plots.residual_map(ax, dx.Map(x_edges, y_edges, ratio), label="|a| fit / disc + halo - 1 [%]", cax=bar_axes)
    plots.landmarks(plots.face_on(ax), bar=d.bar, legend=False, colour="#1b2733")
    ax.set_title("Against disc and halo")
    caption = (
        "The fitted acceleration against the best Miyamoto-Nagai disc and NFW halo: what the stars ask for beyond an axisymmetric model. "
        "A bar leaves a cross; speckles are noise."
    )
    yield "acceleration_analytic", "forces", "Beyond an analytic model", caption, figure


def halo(c: Context) -> Drawn:
    """Profile of the dark matter, where the mass of the stars is known."""
    from .. import plots

    profile = dx.dark_matter(c.d, c.everything) if c.everything is not None else None
    if profile is None or not np.isfinite(profile.density).any():
        return
    figure, (ax,) = plots.panel(6.2)
    plots.dark_matter(ax, profile)
    ax.set_title("Dark matter")
    caption = (
        "All matter of the fit minus the known mass of the stars, in spherical shells cut to the volume. Error bars: scatter with azimuth, "
        "Poisson noise of the stars, and the posterior of the fit where it has one."
    )
    yield "dark_matter", "density", "What is not stars", caption, figure


def analytic_base(model: Any) -> Any:
    """The analytic potential a model began with, or None."""
    from ...errors import FitError
    from ...potential.analytic import from_list

    entries = ((getattr(model, "meta", None) or {}).get("weak_form") or {}).get("base")
    try:
        return from_list(entries) if entries else None
    except FitError:
        return None
