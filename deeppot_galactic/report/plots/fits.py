"""How the fits went: losses and learning rate of a training, and accelerations against the truth point by point.

Every function draws into ``ax`` and returns it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..diagnostics.forces import Comparison, cylindrical
from ..diagnostics.stationarity import percentiles
from .fields import KM_S_MYR
from .style import BLUE, FIT, GREEN, GREY, INK, ORANGE, VERMILLION, tidy

Array = NDArray[np.float64]


def training_loss(ax: Axes, history: dict[str, Any]) -> Axes:
    """Training and validation loss against the number of steps, with the step whose weights were kept.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    history : dict
        ``steps``, ``train_loss``, ``validation_loss`` (None where not measured), ``best_step``: see `training.History.to_dict`.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    steps, train = _series(history, "train_loss")
    ax.plot(steps, train, color=GREY, linewidth=1.2, label="training")
    at, validation = _series(history, "validation_loss")
    if len(at):
        ax.plot(at, validation, color=FIT, linewidth=2.0, marker="o" if len(at) < 40 else None, markersize=3.5, label="validation")
    best = history.get("best_step")
    if best:
        ax.axvline(best, color=VERMILLION, linewidth=1.2, linestyle=(0, (4, 3)), label="kept")
    every = np.concatenate([train[len(train) // 20 :], validation[len(validation) // 20 :]])
    if len(every) and np.ptp(every) > 0:
        low, high = float(np.min(every)), float(np.percentile(every, 97))
        margin = 0.08 * max(high - low, 1e-12)
        ax.set_ylim(low - margin, high + 2 * margin)
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(loc="upper right")
    return ax


def learning_rate(ax: Axes, history: dict[str, Any]) -> Axes:
    """Learning rate against the number of steps.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    history : dict
        See `training.History.to_dict`: ``steps``, ``rate`` and so on.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    steps, rate = _series(history, "rate")
    positive = rate > 0
    ax.plot(steps[positive], rate[positive], color=INK, linewidth=1.4)
    if positive.any():
        ax.set_yscale("log")
        ax.set_ylim(max(rate[positive].min() / 2, rate.max() * 1e-4), 2 * rate.max())
    ax.set(xlabel="step", ylabel="rate")
    return ax


def _series(history: dict[str, Any], key: str) -> tuple[Array, Array]:
    """Steps and finite values of one row of a history."""
    pairs = [(step, value) for step, value in zip(history.get("steps") or [], history.get(key) or [], strict=False) if value is not None]
    values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    values = values[np.isfinite(values).all(axis=1)]
    return values[:, 0], values[:, 1]


def acceleration_scatter(ax: Axes, comparison: Comparison) -> Axes:
    """Every component of the fitted acceleration against the true one, with the line of equality (km/s/Myr).

    Parameters
    ----------
    ax : Axes
        Drawn into.
    comparison : Comparison
        Accelerations of the fit and the truth (N, 3) [km^2/s^2/kpc].

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    truth = KM_S_MYR * cylindrical(comparison.positions, comparison.truth)
    fit = KM_S_MYR * cylindrical(comparison.positions, comparison.fit)
    reach = 1.08 * float(np.percentile(np.abs(truth), 99.7)) if len(truth) else 1.0
    colours = {"radial": BLUE, "azimuthal": ORANGE, "vertical": GREEN}
    order = np.random.default_rng(0).permutation(truth.size)  # so that no component hides the others
    paint = np.tile(list(colours.values()), len(truth))[order]
    ax.scatter(truth.ravel()[order], fit.ravel()[order], c=paint, s=5, alpha=0.5, linewidths=0, rasterized=True)
    for name, colour in colours.items():
        ax.plot([], [], "o", color=colour, markersize=5, label=name)
    ax.axline((0, 0), slope=1, color=INK, linewidth=1.0)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="true a [km s⁻¹ Myr⁻¹]", ylabel="fitted a [km s⁻¹ Myr⁻¹]")
    ax.legend(loc="upper left")
    return ax


def rate_histogram(ax: Axes, rotating: Array, lab: Array, *, limit: float, weights: Array | None = None) -> Axes:
    """Distribution of d ln f/dt over the points in both frames, by their weights, within +-``limit``; its integral over all rates is one.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    rotating : array (N,)
        d ln f/dt in the rotating frame [1/Gyr].
    lab : array (N,)
        The same at rest.
    limit : float
        Largest rate shown [1/Gyr].
    weights : array (N,), optional
        Of the points.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    bins = np.linspace(-limit, limit, 81)
    for rate, colour, name in ((lab, ORANGE, "lab frame"), (rotating, FIT, "rotating frame")):
        total = len(rate) if weights is None else float(np.sum(weights))
        share = np.histogram(rate, bins, weights=weights)[0] / (total * np.diff(bins))
        ax.stairs(share, bins, fill=True, color=colour, alpha=0.25)
        ax.stairs(share, bins, color=colour, linewidth=1.8)
        ax.plot([], [], color=colour, label=f"{name}: median |…| {float(percentiles(np.abs(rate), 50, weights)):.3g}")
    ax.set(xlim=(-limit, limit), xlabel="d ln f / dt [Gyr⁻¹]", ylabel="share of points per rate [Gyr]")
    ax.set_ylim(0, 1.3 * ax.get_ylim()[1])
    ax.legend(loc="upper right")
    return ax
