"""Training curves, and the stars against a sample of what was learned."""

from __future__ import annotations

import numpy as np

from .. import diagnostics as dx
from .context import Context, Drawn, pixel_edges


def training(c: Context) -> Drawn:
    from .. import plots

    for name, title in (("distribution", "Training: distribution of stars"), ("potential", "Training: potential")):
        history = (c.summary.get("history") or {}).get(name)
        if not isinstance(history, dict) or len(history.get("steps") or []) < 2:
            continue
        figure, (loss, rate) = plots.panel(rows=(3.2, 1.0))
        plots.training_loss(loss, history)
        plots.learning_rate(rate, history)
        loss.set_xlabel("")
        loss.set_title(title)
        caption = (
            "Loss on the stars learned from and on those held back (validation), and the learning rate. A "
            "validation loss that rises again is overfitting."
        )
        yield f"training_{name}", "training", title, caption, figure


def significance(c: Context) -> Drawn:
    from .. import plots

    if c.sample is None:
        return
    data, model, weights = c.sample
    x_edges, y_edges = pixel_edges(c, int(np.clip(np.sqrt(len(data) / 50), 16, 64)))
    figure, ax, bar_axes = plots.map_panel()
    seen = dx.significance_map((data[:, 0], data[:, 1]), (model[:, 0], model[:, 1]), x_edges, y_edges, weights=weights)
    plots.significance(ax, seen, cax=bar_axes)
    plots.face_on(ax).set_title("Stars against model")
    caption = (
        "Difference of the counts of stars and of a sample of the fitted distribution, in units of its "
        "Poisson noise: structure here is misfit."
    )
    if weights is not None:
        caption += " Stars count by their weights."
    yield "significance_plane", "training", "Positions: data minus model", caption, figure
    speeds = []
    for x in (data, model):
        velocity = dx.cylindrical(x[:, :3], x[:, 3:])
        speeds.append((velocity[:, 0], velocity[:, 1]))
    together = [np.concatenate(pair) for pair in zip(*speeds, strict=True)]
    borders = []
    for values in together:
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
        borders.append(np.linspace(low, high, 41))
    figure, ax, bar_axes = plots.map_panel()
    plots.significance(ax, dx.significance_map(speeds[0], speeds[1], borders[0], borders[1], weights=weights), cax=bar_axes)
    ax.set(xlabel="$v_R$ [km s⁻¹]", ylabel="$v_φ$ [km s⁻¹]", title="Stars against model")
    yield (
        "significance_velocity",
        "training",
        "Velocities: data minus model",
        "The same in the plane of radial and azimuthal velocity.",
        figure,
    )
