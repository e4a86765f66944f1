"""Checks of a fit: gradients of ln f across the joins of shells, calibration of the scores, the loss against Omega, the dark matter,
where a volume lies in its galaxy. Every function draws into ``ax`` and returns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ..diagnostics.calibration import Calibration
from ..diagnostics.dark_matter import DarkProfile
from ..diagnostics.structure import Map
from .maps import draw_map, round_up
from .style import BLUE, DIVERGING_MAP, FIT, GREEN, INK, LAB, ORANGE, SPEED_UNIT, TRUTH, VERMILLION, WEAK, tidy

if TYPE_CHECKING:
    from ...potential import LossProfile

Array = NDArray[np.float64]


def gradient_map(ax: Axes, values: Map, *, joins: Sequence[float] = (), limit: float | None = None, **bar: Any) -> Axes:
    """Mean d ln f/dR in the plane, with the radii where shells were joined: a step there would be a seam of the fit.

    Parameters
    ----------
    ax : Axes
    values : Map
        Mean d ln f/dR per pixel [1/kpc].
    joins : sequence of float
        Radii of the joins [kpc].
    limit : float, optional
        End of the colour range [1/kpc].
    **bar
        ``cax``, ``colorbar``: see `draw_map`.

    Returns
    -------
    Axes
        ``ax``.
    """
    known = np.abs(values.values[np.isfinite(values.values)])
    reach = limit or round_up(float(np.percentile(known, 97)) if len(known) else 1.0)
    label = "mean d ln f / dR [kpc⁻¹]"
    draw_map(ax, values, cmap=DIVERGING_MAP, norm=TwoSlopeNorm(0, -reach, reach), label=label, extend="both", **bar)
    for radius in joins:
        ax.add_patch(Circle((0, 0), radius, fill=False, color=INK, linewidth=1.0, linestyle=(0, (4, 3))))
    return ax


def score_calibration(ax: Axes, calibration: Calibration) -> Axes:
    """Ratios of `Calibration` against radius; 1 is calibrated.

    Parameters
    ----------
    ax : Axes
    calibration : Calibration
        From `diagnostics.score_calibration`.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    styles = {
        "v_R": (BLUE, "o", "$v_R$"),
        "v_phi": (ORANGE, "s", "$v_φ$"),
        "v_z": (GREEN, "^", "$v_z$"),
        "bar": (VERMILLION, "D", "bar (φ)"),
    }
    ax.axhline(1, color=INK, linewidth=1.0)
    shown = [1.0]
    for name, (colour, marker, label) in styles.items():
        ratio, error = calibration.ratio[name], calibration.error[name]
        good = np.isfinite(ratio) & (error < 0.3)
        if good.any():
            style = {"color": colour, "marker": marker, "markersize": 4.5, "linewidth": 1.3, "label": label}
            ax.errorbar(calibration.radius[good], ratio[good], error[good], **style)
            shown += [*(ratio - error)[good], *(ratio + error)[good]]
    reach = float(np.clip(1.15 * max(abs(np.array(shown) - 1)), 0.1, 1.2))
    ax.set(ylim=(1 - reach, 1 + 1.35 * reach), xlabel="R [kpc]", ylabel="slope of ln f, learned / stars")
    ax.set_xlim(0, float(calibration.radius[-1] + 0.5 * (calibration.radius[-1] - calibration.radius[-2])))
    ax.legend(loc="upper right", ncols=4, columnspacing=1.2, handlelength=1.4)
    return ax


def loss_against_omega(ax: Axes, profile: LossProfile, *, fit: float | None = None, truth: float | None = None) -> Axes:
    """Loss against Omega, with Phi held and with Phi free to follow.

    Parameters
    ----------
    ax : Axes
    profile : LossProfile
        From `deeppot_galactic.potential.profile_loss`.
    fit, truth : float, optional
        Pattern speeds to mark [km/s/kpc].

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    omega, held, follows = profile.omega.value, profile.held.value, profile.loss.value
    ax.plot(omega, held, color=FIT, label="Φ held")
    ax.plot(omega, follows, color=LAB, label=f"Φ follows: least at {profile.best.value:.1f}")
    for value, colour, label, style in ((fit, WEAK, "fit", "-"), (truth, TRUTH, "truth", "--")):
        if value is not None:
            ax.axvline(value, color=colour, linewidth=1.2, linestyle=style, label=f"{label}: {value:.1f}")
    low, top = float(np.min(follows)), float(np.percentile(held, 90))
    ax.set(xlim=(omega[0], omega[-1]), ylim=(low - 0.05 * (top - low), low + 1.5 * (top - low)))
    ax.set(xlabel=f"Ω [{SPEED_UNIT}]", ylabel="mean square of d ln f/dt [(km/s/kpc)²]")
    ax.legend(loc="upper center", ncols=2, framealpha=1.0, columnspacing=1.2)
    return ax


def dark_matter(ax: Axes, profile: DarkProfile) -> Axes:
    """Density of the dark matter in spherical shells with its errors, and the truth with the factor of two about it.

    Parameters
    ----------
    ax : Axes
    profile : DarkProfile
        From `diagnostics.dark_matter`.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    known = np.isfinite(profile.truth) & (profile.truth > 0)
    if known.any():
        r, truth = profile.radius[known], profile.truth[known]
        ax.fill_between(r, 0.5 * truth, 2 * truth, color=TRUTH, alpha=0.1, linewidth=0, label="within a factor of 2")
        ax.plot(r, truth, color=TRUTH, linestyle="--", linewidth=1.6, label="truth")
    good = np.isfinite(profile.density) & (profile.density > 0)
    lower = np.minimum(profile.error, 0.99 * np.abs(profile.density))
    bars = np.stack([lower[good], profile.error[good]])
    ax.errorbar(profile.radius[good], profile.density[good], bars, fmt="o", color=FIT, markersize=4.5, linewidth=1.4, label="fit − stars")
    everything = np.concatenate([profile.density[good], profile.truth[known]])
    if len(everything):
        ax.set_yscale("log")
        ax.set_ylim(0.4 * everything.min(), 4 * everything.max())
    ax.set(xlabel="r [kpc]", ylabel="dark matter ρ [M☉ kpc⁻³]")
    ax.legend(loc="upper right")
    return ax


def sub_volumes(ax: Axes, outlines: dict[str, tuple[Array, float]], *, colour: str = "white") -> Axes:
    """Draw circles with names over a face-on map.

    Parameters
    ----------
    ax : Axes
        Of the map.
    outlines : dict
        Name: (centre (2,) or (3,), radius), kpc. An empty name is not written.
    colour : str
        Of lines and names.

    Returns
    -------
    Axes
        ``ax``.
    """
    for name, (centre, radius) in outlines.items():
        ax.add_patch(Circle((float(centre[0]), float(centre[1])), radius, fill=False, color=colour, linewidth=1.4))
        if name:
            ax.annotate(name, (float(centre[0]), float(centre[1]) + radius), color=colour, fontsize=8.5, ha="center", va="bottom",
                        xytext=(0, 2), textcoords="offset points")  # fmt: skip
    return ax
