"""Counterparts of the paper's figures, one column or row a snapshot, from the whole-disc runs of the experiment; and one that sets all
pattern speeds beside the paper's. They are drawn by the same functions as those of every report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..report import diagnostics as dx
from ..report import plots
from ..report.figures import Panel
from ..report.inputs import catalogue_stars, read_run_folder, scores, stars_and_sample
from ..report.panels.context import joins_of, plane_positions
from ..report.panels.fields import against_truth, difference
from .published import OMEGA_ERRORS
from .volumes import DISC, volume_table

SIDE = 3.6
"""Inches of one map."""


@dataclass(frozen=True)
class Disc:
    """A whole-disc run: ``name`` of the snapshot, numbers ``d``, scores at the points, stars and sample, all ``stars`` (N, 6), radii of
    the ``joins`` of its shells (kpc).
    """

    name: str
    d: dx.Diagnosis
    score: Any
    sample: Any
    stars: Any
    joins: tuple[float, ...] = ()


def paper_figures(folder: Path, rows: Sequence[dict[str, Any]], snapshots: Sequence[str]) -> list[Panel]:
    """Draw everything that the finished runs allow into ``folder/figures``.

    Parameters
    ----------
    folder : Path
        Of the experiment.
    rows : sequence of dict
        Of its table.
    snapshots : sequence of str
        In the order of the columns.

    Returns
    -------
    list of Panel
    """
    out = folder / "figures"
    out.mkdir(parents=True, exist_ok=True)
    done = [row for row in rows if "failed" not in row]
    panels = []
    with plots.styled():
        for preset in dict.fromkeys(row["preset"] for row in done):
            found = {row["snapshot"]: row for row in done if row["preset"] == preset and row["volume"] == DISC}
            discs = [load_disc(folder / found[name]["folder"], name) for name in snapshots if name in found]
            for name, title, caption, make in FIGURES:
                figure = make(discs) if discs else None
                if figure is not None:
                    panels.append(_panel(out, f"{name}_{preset}", f"{title} (preset {preset})", caption, figure))
        if done:
            caption = "Relative error of Ω by volume; dots: the snapshots here, crosses: the three epochs of the paper."
            panels.append(_panel(out, "pattern_speeds", "Pattern speeds beside the paper's", caption, omega_errors(done)))
    return panels


def load_disc(folder: Path, name: str) -> Disc:
    """What the figures need of a finished run."""
    run = read_run_folder(folder)
    score = None if run.points is None else scores(run.points)
    diagnosis = dx.diagnose(run.points, run.model, run.truth)
    return Disc(name, diagnosis, score, stars_and_sample(run), catalogue_stars(run), joins_of(run.points))


def _panel(out: Path, name: str, title: str, caption: str, figure: Figure) -> Panel:
    return Panel(name, "figures", title, caption, plots.save(figure, out / f"{name}.png"))


def _grid(rows: int, columns: int, *, height: float = SIDE, ratios: Sequence[float] | None = None) -> tuple[Figure, Any]:
    total = height * (rows if ratios is None else sum(ratios))
    figure = Figure(figsize=((SIDE + 1.0) * columns, total + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=ratios)


def _edges(disc: Disc, bins: int = 96) -> Any:
    return np.linspace(-1, 1, bins + 1) * disc.d.region.radius


def _stars(discs: list[Disc]) -> Figure:
    figure, axes = _grid(2, len(discs), ratios=(1, 0.38))
    for disc, face, edge in zip(discs, *axes, strict=True):
        d, x = disc.d, disc.stars if disc.stars is not None else disc.d.stars
        edges, heights = _edges(disc), np.linspace(-1, 1, 25) * d.region.half_height
        plots.stellar_density(face, dx.surface_density(x[:, 0], x[:, 1], edges, edges))
        plots.landmarks(plots.face_on(face), bar=d.bar, corotation=d.corotation).set_title(disc.name)
        turned = dx.rotate_to_bar(x, d.bar.angle) if d.bar else x
        plots.stellar_density(edge, dx.surface_density(turned[:, 0], turned[:, 2], edges, heights))
        plots.edge_on(edge, along_bar=d.bar is not None)
    return figure


def _strength(discs: list[Disc]) -> Figure | None:
    if any(disc.d.profile is None for disc in discs):
        return None
    figure, axes = _grid(1, len(discs))
    for disc, ax in zip(discs, axes[0], strict=True):
        d: Any = disc.d
        plots.bar_strength(ax, d.profile, bar=d.bar, corotation=d.corotation, truth=d.truth).set_title(disc.name)
    return figure


def _significance(discs: list[Disc]) -> Figure | None:
    discs = [disc for disc in discs if disc.sample is not None]
    if not discs:
        return None
    figure, axes = _grid(2, len(discs))
    for disc, plane, speed in zip(discs, *axes, strict=True):
        data, model, weights = disc.sample
        edges = _edges(disc, 48)
        seen = dx.significance_map((data[:, 0], data[:, 1]), (model[:, 0], model[:, 1]), edges, edges, weights=weights)
        plots.significance(plane, seen)
        plots.face_on(plane).set_title(disc.name)
        (first, second), borders = [dx.cylindrical(w[:, :3], w[:, 3:]) for w in (data, model)], []
        for k in (0, 1):
            low, high = np.percentile(np.concatenate([first[:, k], second[:, k]]), (0.5, 99.5))
            borders.append(np.linspace(low, high, 41))
        seen = dx.significance_map((first[:, 0], first[:, 1]), (second[:, 0], second[:, 1]), *borders, weights=weights)
        plots.significance(speed, seen)
        speed.set(xlabel="$v_R$ [km s⁻¹]", ylabel="$v_φ$ [km s⁻¹]")
    return figure


def _gradient(discs: list[Disc]) -> Figure | None:
    discs = [disc for disc in discs if disc.score is not None]
    if not discs:
        return None
    figure, axes = _grid(1, len(discs))
    for disc, ax in zip(discs, axes[0], strict=True):
        x: Any = disc.d.stars
        slope = (x[:, 0] * disc.score[:, 0] + x[:, 1] * disc.score[:, 1]) / np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-9)
        edges = _edges(disc, 64)
        plots.gradient_map(ax, dx.mean_map(x[:, 0], x[:, 1], slope, edges, edges, smooth=1.5, at_least=20), joins=disc.joins)
        plots.face_on(ax).set_title(disc.name)
    return figure


def _accelerations(discs: list[Disc]) -> Figure | None:
    found = [(disc.name, pair) for disc in discs if (pair := against_truth(disc.d, "acceleration")) is not None]
    if not found:
        return None
    figure, axes = _grid(len(found), 3)
    for (name, pair), line in zip(found, axes, strict=True):
        limits = plots.force_limits(*(seen.values for seen in pair))
        for ax, seen, whose in zip(line[:2], pair, ("fit", "truth"), strict=True):
            plots.face_on(plots.acceleration_map(ax, seen, limits=limits)).set_title(f"{name}: {whose}")
        plots.face_on(plots.residual_map(line[2], difference(*pair), limit=30)).set_title("fit against truth")
    return figure


def _density(discs: list[Disc]) -> Figure | None:
    discs = [disc for disc in discs if disc.d.field is not None]
    if not discs:
        return None
    pairs = [against_truth(disc.d, "density") for disc in discs]
    figure, axes = _grid(1 if all(pair is None for pair in pairs) else 2, len(discs))
    for disc, pair, (ax, *below) in zip(discs, pairs, axes.T, strict=True):
        field: Any = disc.d.field
        edges = _edges(disc, 72)
        plane = plane_positions(edges, edges)
        rho = np.where(field.inside(plane), field.density(plane), np.nan).reshape(len(edges) - 1, -1)
        plots.matter_density(ax, dx.Map(edges, edges, rho))
        plots.face_on(ax).set_title(disc.name)
        for lower in below:
            if pair is None:
                lower.set_axis_off()
            else:
                plots.residual_map(lower, difference(*pair), label="ρ fit / truth - 1 [%]", limit=100)
                plots.face_on(lower).set_title("fit against truth")
    return figure


def _halo(discs: list[Disc]) -> Figure | None:
    found = [(disc.name, profile) for disc in discs if (profile := dx.dark_matter(disc.d, disc.stars)) is not None]
    if not found:
        return None
    figure, axes = _grid(1, len(found))
    for (name, profile), ax in zip(found, axes[0], strict=True):
        plots.dark_matter(ax, profile).set_title(name)
    return figure


def _stationarity(discs: list[Disc]) -> Figure | None:
    discs = [disc for disc in discs if disc.d.stationarity is not None]
    if not discs:
        return None
    figure, axes = _grid(len(discs), 2)
    for disc, line in zip(discs, axes, strict=True):
        s: Any = disc.d.stationarity
        edges = _edges(disc, 64)
        maps = [dx.mean_map(s.x[:, 0], s.x[:, 1], rate, edges, edges, smooth=2.0, at_least=40) for rate in (s.rotating, s.lab)]
        known = np.abs(maps[1].values[np.isfinite(maps[1].values)])
        limit = plots.round_up(float(np.percentile(known, 97)) * dx.PER_GYR) / dx.PER_GYR if len(known) else 1.0
        for ax, seen, name in zip(line, maps, ("rotating frame", "at rest"), strict=True):
            plots.face_on(plots.rate_map(ax, seen, limit=limit)).set_title(f"{disc.name}: {name}")
    return figure


def _volumes(discs: list[Disc]) -> Figure | None:
    discs = [disc for disc in discs if getattr(disc.d.truth, "bar_angle", None) is not None]
    if not discs:
        return None
    figure, axes = _grid(1, len(discs))
    for disc, ax in zip(discs, axes[0], strict=True):
        x: Any = disc.stars if disc.stars is not None else disc.d.stars
        edges = _edges(disc)
        plots.stellar_density(ax, dx.surface_density(x[:, 0], x[:, 1], edges, edges))
        table = {name: keys for name, keys in volume_table(disc.d.truth.bar_angle).items() if name != DISC}
        plots.sub_volumes(ax, {name: (np.asarray(keys["center"]), keys["radius"]) for name, keys in table.items()})
        plots.face_on(ax).set_title(disc.name)
    return figure


def omega_errors(rows: Sequence[dict[str, Any]]) -> Figure:
    """Relative errors of Omega by volume and preset, beside the paper's."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    ax = plots.tidy(figure.subplots())
    names = list(OMEGA_ERRORS)
    for k, name in enumerate(names):
        ax.plot([k - 0.22] * 3, OMEGA_ERRORS[name], "x", color=plots.INK, markersize=6, label="the paper" if k == 0 else None)
    presets = list(dict.fromkeys(row["preset"] for row in rows))
    for j, (preset, colour) in enumerate(zip(presets, plots.CYCLE, strict=False)):
        chosen = [row for row in rows if row["preset"] == preset and row["volume"] in names]
        place = [names.index(row["volume"]) + 0.13 * j for row in chosen]
        spread = [100 * (row["omega_error"] or 0.0) / abs(row["truth"]) for row in chosen]
        ax.errorbar(place, [100 * row["relative"] for row in chosen], spread, fmt="o", color=colour, markersize=5, label=f"here, {preset}")
    ax.axhline(0, color=plots.INK, linewidth=1)
    ax.set_xticks(range(len(names)), names, fontsize=9)
    ax.set(ylabel="relative error of Ω [%]", xlim=(-0.5, len(names) - 0.4))
    ax.legend(loc="best")
    return figure


Maker = Callable[[list[Disc]], Figure | None]
FIGURES: tuple[tuple[str, str, str, Maker], ...] = (
    ("stars", "The discs", "Stars face-on and edge-on, with the bar (to 70 % of the peak of A₂/A₀) and corotation.", _stars),
    ("bar_strength", "Strength of the bar", "Second Fourier harmonic of the stars in rings.", _strength),
    ("significance", "Stars against model", "Stars minus a sample of the fit, in units of the Poisson noise.", _significance),
    ("gradient", "Gradient of the distribution", "Mean radial gradient of ln f; dashed, in a fit of shells: their joins.", _gradient),
    ("acceleration", "Accelerations", "Size of the acceleration in the plane: fit, truth and relative difference.", _accelerations),
    ("density", "Density of matter", "Laplacian of the potential over 4πG in the plane; below, where known, against the truth.", _density),
    ("dark_matter", "Dark matter", "All matter minus stars in spherical shells, with the factor of two of the paper.", _halo),
    ("stationarity", "Is it steady?", "Mean d ln f/dt, turning with the fitted Ω and at rest; same colours.", _stationarity),
    ("volumes", "The balls", "Balls at the Sun's place, 20° behind the bar, and mirrored.", _volumes),
)
"""In the order of the paper."""
