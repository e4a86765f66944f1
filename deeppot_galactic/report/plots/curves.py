"""Curves against radius: strength of the bar, pattern speed, circular speed, frequencies, densities, rates of change. Radii in kpc.

Every function draws into ``ax`` and returns it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..diagnostics.rotation import RotationCurve
from ..diagnostics.stationarity import PER_GYR, Stationarity, radial_percentiles
from ..diagnostics.structure import BarExtent, HarmonicProfile
from .style import FIT, GREY, LAB, ORANGE, PALE, SPEED_UNIT, TRUTH, VERMILLION, WEAK, plain_log, tidy

Array = NDArray[np.float64]


SMALLEST = 1e-3
"""Floor of logarithmic axes: per cent, or 1/Gyr; less is as good as zero."""


def vertical_mark(ax: Axes, radius: float | None, text: str, *, colour: str = GREY, below: bool = False) -> Axes:
    """A thin vertical line with a word at its top, or at its foot."""
    if radius is None or not ax.get_xlim()[0] < radius < ax.get_xlim()[1]:
        return ax
    ax.axvline(radius, color=colour, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    style = {
        "rotation": 90,
        "va": "bottom" if below else "top",
        "ha": "right",
        "fontsize": 9,
        "color": colour,
        "xytext": (-2, 0),
        "textcoords": "offset points",
    }
    ax.annotate(text, (radius, 0.02 if below else 0.98), xycoords=ax.get_xaxis_transform(), **style)  # type: ignore[arg-type]
    return ax


def bar_strength(
    ax: Axes, profile: HarmonicProfile, *, bar: BarExtent | None = None, corotation: float | None = None, truth: Any = None
) -> Axes:
    """A_2/A_0 of the stars with its noise; the level that an axisymmetric disc would show is shaded."""
    tidy(ax)
    ax.fill_between(profile.radius, 0, profile.floor, color=PALE, linewidth=0, label="axisymmetric, noise only", zorder=0)
    if getattr(truth, "A2", None) is not None:
        ax.plot(truth.A2_R, truth.A2, color=TRUTH, linestyle="--", linewidth=1.4, label="full simulation")
    band = np.nan_to_num(profile.error)
    ax.fill_between(profile.radius, profile.amplitude - band, profile.amplitude + band, color=FIT, alpha=0.25, linewidth=0)
    ax.plot(profile.radius, profile.amplitude, color=FIT, label="stars of the fit")
    ax.set(xlim=(0, profile.radius[-1] + 0.5 * (profile.radius[1] - profile.radius[0])), xlabel="R [kpc]", ylabel="bar strength A₂ / A₀")
    seen = profile.error < 0.05
    ax.set_ylim(0, 1.35 * max(0.12, float(np.max(profile.amplitude[seen], initial=0))))
    vertical_mark(ax, bar.length if bar else None, "bar ends")
    vertical_mark(ax, corotation, "corotation")
    ax.legend(loc="upper right")
    return ax


def bar_phase(ax: Axes, profile: HarmonicProfile, *, bar: BarExtent | None = None, limit: float = 0.25) -> Axes:
    """Position angle of the m = 2 pattern relative to the bar (degrees), where it is better known than ``limit`` rad."""
    tidy(ax)
    reference = bar.angle if bar else 0.0
    known = profile.error < 2 * limit * np.nan_to_num(profile.amplitude)
    turn = np.degrees(np.angle(np.exp(2j * (profile.phase - reference))) / 2)
    error = np.degrees(0.5 * profile.error / np.maximum(profile.amplitude, 1e-9))
    ax.errorbar(profile.radius[known], turn[known], error[known], fmt="o", color=FIT, markersize=4, linewidth=1.2)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(ylim=(-99, 99), yticks=(-90, -45, 0, 45, 90), xlabel="R [kpc]", ylabel="angle to bar [°]" if bar else "angle [°]")
    return ax


def pattern_speed_profile(ax: Axes, rings: list[dict[str, float]], *, fit: tuple[float, float | None] | None = None,
                          weak: tuple[float, float] | None = None, truth: Any = None) -> Axes:  # fmt: skip
    """Omega(R) from the continuity equation in annuli, with the two global values and the truth.

    Parameters
    ----------
    rings : list of dict
        ``R_lo``, ``R_hi`` (kpc), ``omega``, ``error`` (km/s/kpc); ``in_pattern`` (optional): false where it is drawn faintly.
    fit, weak : (value, error), optional
        Pattern speed of the potential fit and of the weak form over all radii.
    truth : optional
        Its ``omega``, ``omega_error`` and, if there, ``omega_R``, ``omega_of_R``.
    """
    tidy(ax)
    low, high, omega, error = (np.array([ring[key] for ring in rings], dtype=np.float64) for key in ("R_lo", "R_hi", "omega", "error"))
    if weak is not None:
        _level(ax, *weak, WEAK, f"weak form, all radii: {weak[0]:.1f} ± {weak[1]:.1f}", "-")
    if fit is not None:
        error_text = f" ± {fit[1]:.1f}" if fit[1] is not None and np.isfinite(fit[1]) else ""
        _level(ax, fit[0], fit[1], FIT, f"fit of Φ and Ω: {fit[0]:.1f}{error_text}", "-")
    known = getattr(truth, "omega", None)
    if known is not None:
        _level(ax, known, getattr(truth, "omega_error", None), TRUTH, f"truth: {known:.1f}", "--")
    if getattr(truth, "omega_of_R", None) is not None:
        steady = np.where(np.abs(truth.omega_of_R - known) < 0.3 * abs(known), truth.omega_of_R, np.nan) if known else truth.omega_of_R
        ax.plot(truth.omega_R, steady, color=TRUTH, linewidth=1.0, linestyle=":", label="truth per annulus")
    good = np.isfinite(error) & np.isfinite(omega)
    within = good & np.array([bool(ring.get("in_pattern", True)) for ring in rings])
    for chosen, alpha, label in ((within, 1.0, "weak form in annuli"), (good & ~within, 0.3, "outside the pattern")):
        if chosen.any():
            style = {"fmt": "o", "color": VERMILLION, "markersize": 5, "linewidth": 1.4, "alpha": alpha, "label": label}
            ax.errorbar((0.5 * (low + high))[chosen], omega[chosen], error[chosen], xerr=0.5 * (high - low)[chosen], **style)
    levels = [value for value in (known, fit[0] if fit else None, weak[0] if weak else None) if value is not None]
    sure = within & (error < max(2 * np.min(error[within], initial=np.inf), 0.5 * float(np.max(np.abs(levels), initial=0))))
    everything = [*levels, *(omega - error)[sure], *(omega + error)[sure]]
    if everything:
        margin = 0.25 * max(max(everything) - min(everything), 0.1 * abs(max(everything, key=abs)), 1.0)
        ax.set_ylim(min(everything) - margin, max(everything) + 2.4 * margin)
    ax.set(xlim=(0, float(np.max(high, initial=1.0)) * 1.02), xlabel="R [kpc]", ylabel=f"pattern speed Ω [{SPEED_UNIT}]")
    ax.legend(loc="upper right", ncols=1)
    return ax


def _level(ax: Axes, value: float, error: float | None, colour: str, label: str, linestyle: str) -> None:
    if error is not None and np.isfinite(error) and error > 0:
        ax.axhspan(value - error, value + error, color=colour, alpha=0.15, linewidth=0)
    ax.axhline(value, color=colour, linewidth=1.6, linestyle=linestyle, label=label)


def rotation_curve(ax: Axes, curve: RotationCurve, *, truth: Any = None) -> Axes:
    """Circular speed of the fit and of the truth (km/s)."""
    tidy(ax)
    ax.plot(curve.radius, curve.speed, color=FIT, label="fit")
    top = np.nanmax(curve.speed) if np.isfinite(curve.speed).any() else 1.0
    if getattr(truth, "vc", None) is not None:
        inside = np.asarray(truth.vc_R) <= curve.radius[-1]
        ax.plot(np.asarray(truth.vc_R)[inside], np.asarray(truth.vc)[inside], color=TRUTH, linestyle="--", linewidth=1.6, label="truth")
        top = max(top, float(np.max(np.asarray(truth.vc)[inside], initial=0)))
    ax.set(xlim=(0, curve.radius[-1]), ylim=(0, 1.15 * top), xlabel="R [kpc]", ylabel="circular speed [km s⁻¹]")
    ax.legend(loc="lower right")
    return ax


def frequencies(ax: Axes, curve: RotationCurve, omega: float, *, error: float | None = None, truth: Any = None) -> Axes:
    """Omega_c and Omega_c -/+ kappa/2 with the pattern speed; resonances where they cross it."""
    tidy(ax)
    ax.plot(curve.radius, curve.omega, color=FIT, label="$Ω_c = v_c / R$")
    ax.plot(curve.radius, curve.omega - curve.kappa / 2, color=ORANGE, linewidth=1.5, label="$Ω_c − κ/2$")
    ax.plot(curve.radius, curve.omega + curve.kappa / 2, color="#009e73", linewidth=1.5, label="$Ω_c + κ/2$")
    _level(ax, abs(omega), error, WEAK, f"|Ω| = {abs(omega):.1f}", "-")
    if getattr(truth, "omega", None) is not None:
        ax.axhline(abs(truth.omega), color=TRUTH, linewidth=1.2, linestyle="--", label=f"true |Ω| = {abs(truth.omega):.1f}")
    ax.set(xlim=(0, curve.radius[-1]), ylim=(0, 4.0 * max(abs(omega), 1e-3)), xlabel="R [kpc]", ylabel=f"frequency [{SPEED_UNIT}]")
    names = {"inner": "ILR", "corotation": "CR", "outer": "OLR"}
    for kind, radii in curve.resonances(omega).items():
        for radius in radii:
            ax.plot(radius, abs(omega), "o", color=WEAK, markersize=6, markeredgecolor="white", zorder=5)
            where = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 9.5, "fontweight": "bold"}
            where["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            ax.annotate(names[kind], (radius, abs(omega)), **where)
    ax.legend(loc="upper right")
    return ax


def density_profile(
    ax: Axes, radius: Array, fit: Array, *, stars: tuple[Array, Array, Array] | None = None, truth: tuple[Array, Array] | None = None
) -> Axes:
    """Matter density near the plane (Msun/kpc^3) of the fit and the truth; the stars (radius, density, error)
    scaled to the fit, for their shape.
    """
    tidy(ax)
    shown = np.where(fit > 0, fit, np.nan)
    positive = shown[np.isfinite(shown)]
    if stars is not None and len(positive):
        at = np.interp(stars[0], radius, np.where(np.isfinite(shown), shown, 0))
        use = (stars[1] > 0) & (at > 0)
        scale = float(np.exp(np.median(np.log(at[use] / stars[1][use])))) if use.any() else 1.0
        label = "stars (scaled: shape only)"
        ax.errorbar(stars[0], scale * stars[1], scale * stars[2], fmt="o", color=ORANGE, markersize=4, linewidth=1.2, label=label)
    if truth is not None:
        ax.plot(truth[0], truth[1], "s", color=TRUTH, markersize=5, markerfacecolor="none", label="truth")
    ax.plot(radius, shown, color=FIT, label="fit, ∇²Φ / 4πG")
    ax.set(xlim=(0, radius[-1]), xlabel="R [kpc]", ylabel="ρ [M☉ kpc⁻³]")
    if len(positive):
        ax.set_ylim(min(0.3 * np.percentile(positive, 2), 0.1 * positive.max()), 3 * positive.max())
        ax.set_yscale("log")
    ax.legend(loc="upper right")
    return ax


def error_against_radius(ax: Axes, radius: Array, error: Array, *, edges: Array, label: str = "relative error of a") -> Axes:
    """Relative errors at single points, their median and the band that holds the middle 68 %."""
    tidy(ax)
    percent = np.maximum(100 * error, SMALLEST)
    low, median, high = radial_percentiles(radius, percent, edges)
    middle = 0.5 * (edges[1:] + edges[:-1])
    ax.plot(radius, percent, ".", color=GREY, markersize=2.5, alpha=0.35, rasterized=True)
    ax.fill_between(middle, low, high, color=FIT, alpha=0.22, linewidth=0, label="16 to 84 % of points")
    ax.plot(middle, median, color=FIT, label="median")
    ax.set(xlim=(edges[0], edges[-1]), xlabel="R [kpc]", ylabel=f"{label} [%]")
    _logarithmic(ax, percent)
    ax.legend(loc="upper right")
    return ax


def rate_against_radius(ax: Axes, result: Stationarity, *, edges: Array, centre: Array | None = None) -> Axes:
    """Median |d ln f/dt| of the points in both frames (1/Gyr), with the middle 68 % in the rotating frame."""
    tidy(ax)
    offset = np.zeros(2) if centre is None else centre[:2]
    radius = np.hypot(result.x[:, 0] - offset[0], result.x[:, 1] - offset[1])
    middle = 0.5 * (edges[1:] + edges[:-1])
    shown: list[Array] = []
    for rate, colour, name in ((result.lab, LAB, "lab frame"), (result.rotating, FIT, "rotating frame")):
        low, median, high = radial_percentiles(radius, np.maximum(PER_GYR * np.abs(rate), SMALLEST), edges)
        shown += [low, 2 * high]
        ax.fill_between(middle, low, high, color=colour, alpha=0.15, linewidth=0)
        ax.plot(middle, median, color=colour, label=name)
    where = "R [kpc]" if centre is None else "distance from the centre of the volume [kpc]"
    ax.set(xlim=(edges[0], edges[-1]), xlabel=where, ylabel="|d ln f / dt| [Gyr⁻¹]")
    _logarithmic(ax, np.concatenate(shown), percentiles=(0, 100))
    ax.legend(loc="upper right")
    return ax


def _logarithmic(ax: Axes, values: Array, *, percentiles: tuple[float, float] = (0.5, 99.7)) -> None:
    """A logarithmic axis around the positive ``values``, with room for a legend; linear if there are none."""
    good = values[np.isfinite(values) & (values > 0)]
    if len(good):
        low, high = np.percentile(good, percentiles)
        ax.set_ylim(0.9 * low, 2.5 * high)
        ax.set_yscale("log")
        plain_log(ax.yaxis)
