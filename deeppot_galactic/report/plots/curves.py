"""Curves against radius: strength of the bar, pattern speed, circular speed, frequencies, densities, rates of change. Radii in kpc.

Every function draws into ``ax`` and returns it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from ..diagnostics.rotation import RotationCurve
from ..diagnostics.structure import BarExtent, HarmonicProfile
from .style import FIT, GREY, ORANGE, PALE, SPEED_UNIT, TRUTH, VERMILLION, WEAK, tidy

Array = NDArray[np.float64]

RESONANCES = {"inner": "ILR", "corotation": "CR", "outer": "OLR"}
"""Names of the resonances of a `RotationCurve`."""


def vertical_mark(ax: Axes, radius: float | None, text: str, *, colour: str = GREY, below: bool = False, top: float = 0.98) -> Axes:
    """A thin vertical line with a word that ends at the height ``top`` (of the axes), or at the foot of the line.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    radius : float or None
        Where [kpc]; nothing is drawn for None or outside the axes.
    text : str
        The word.
    colour : str
        Of the lines.
    below : bool
        At the foot of the line.
    top : float
        Height of the word's end, as a fraction of the axes.

    Returns
    -------
    Axes
        ``ax``.
    """
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
    ax.annotate(text, (radius, 0.02 if below else top), xycoords=ax.get_xaxis_transform(), **style)  # type: ignore[arg-type]
    return ax


def bar_strength(
    ax: Axes, profile: HarmonicProfile, *, bar: BarExtent | None = None, corotation: float | None = None, truth: Any = None
) -> Axes:
    """A_2/A_0 of the stars with its noise; the level that an axisymmetric disc would show is shaded.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    profile : HarmonicProfile
        From `diagnostics.harmonic_profile`; radii in kpc, angles in rad.
    bar : BarExtent, optional
        Length [kpc] and angle [rad] of the bar.
    corotation : float, optional
        Radius to mark [kpc].
    truth : Truth, optional
        Its ``A2`` at ``A2_R`` [kpc].

    Returns
    -------
    Axes
        ``ax``.
    """
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
    vertical_mark(ax, corotation, "corotation", top=0.78)
    ax.legend(loc="upper right")
    return ax


def bar_phase(ax: Axes, profile: HarmonicProfile, *, bar: BarExtent | None = None, limit: float = 0.25) -> Axes:
    """Position angle of the m = 2 pattern relative to the bar (degrees), where it is better known than ``limit`` rad.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    profile : HarmonicProfile
        From `diagnostics.harmonic_profile`; radii in kpc, angles in rad.
    bar : BarExtent, optional
        Length [kpc] and angle [rad] of the bar.
    limit : float
        Largest error shown [rad].

    Returns
    -------
    Axes
        ``ax``.
    """
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
    ax : Axes
        Drawn into.
    rings : list of dict
        ``R_lo``, ``R_hi`` (kpc), ``omega``, ``error`` (km/s/kpc); ``in_pattern`` (optional): false where it is drawn faintly.
    fit, weak : (value, error), optional
        Pattern speed of the potential fit and of the weak form over all radii.
    truth : optional
        Its ``omega``, ``omega_error`` and, if there, ``omega_R``, ``omega_of_R``.

    Returns
    -------
    Axes
        ``ax``.
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


def rotation_curve(ax: Axes, curve: RotationCurve, *, omega: float | None = None, truth: Any = None) -> Axes:
    """Circular speed of the fit and of the truth (km/s), with the resonances of the fit.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    curve : RotationCurve
        From `diagnostics.rotation_curve`; kpc, km/s, km/s/kpc.
    omega : float, optional
        Pattern speed [km/s/kpc]; without it no resonance is marked.
    truth : Truth, optional
        Its ``vc`` [km/s] at ``vc_R`` [kpc].

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    ax.plot(curve.radius, curve.speed, color=FIT, label="fit")
    top = np.nanmax(curve.speed) if np.isfinite(curve.speed).any() else 1.0
    if getattr(truth, "vc", None) is not None:
        inside = np.asarray(truth.vc_R) <= curve.radius[-1]
        ax.plot(np.asarray(truth.vc_R)[inside], np.asarray(truth.vc)[inside], color=TRUTH, linestyle="--", linewidth=1.6, label="truth")
        top = max(top, float(np.max(np.asarray(truth.vc)[inside], initial=0)))
    ax.set(xlim=(0, curve.radius[-1]), ylim=(0, 1.15 * top), xlabel="R [kpc]", ylabel="circular speed [km s⁻¹]")
    for kind, radii in curve.resonances(omega).items() if omega else ():
        for radius in radii:
            vertical_mark(ax, radius, RESONANCES[kind])
    ax.legend(loc="lower center")
    return ax


def frequencies(ax: Axes, curve: RotationCurve, omega: float, *, error: float | None = None, truth: Any = None) -> Axes:
    """Omega_c and Omega_c -/+ kappa/2 with the pattern speed; resonances where they cross it.

    Parameters
    ----------
    ax : Axes
        Drawn into.
    curve : RotationCurve
        From `diagnostics.rotation_curve`; kpc, km/s, km/s/kpc.
    omega : float
        Pattern speed [km/s/kpc].
    error : float, optional
        Its error [km/s/kpc].
    truth : Truth, optional
        What is known, drawn dashed.

    Returns
    -------
    Axes
        ``ax``.
    """
    tidy(ax)
    ax.plot(curve.radius, curve.omega, color=FIT, label="$Ω_c = v_c / R$")
    ax.plot(curve.radius, curve.omega - curve.kappa / 2, color=ORANGE, linewidth=1.5, label="$Ω_c − κ/2$")
    ax.plot(curve.radius, curve.omega + curve.kappa / 2, color="#009e73", linewidth=1.5, label="$Ω_c + κ/2$")
    _level(ax, abs(omega), error, WEAK, f"|Ω| = {abs(omega):.1f}", "-")
    if getattr(truth, "omega", None) is not None:
        ax.axhline(abs(truth.omega), color=TRUTH, linewidth=1.2, linestyle="--", label=f"true |Ω| = {abs(truth.omega):.1f}")
    ax.set(xlim=(0, curve.radius[-1]), ylim=(0, 4.0 * max(abs(omega), 1e-3)), xlabel="R [kpc]", ylabel=f"frequency [{SPEED_UNIT}]")
    for kind, radii in curve.resonances(omega).items():
        for radius in radii:
            ax.plot(radius, abs(omega), "o", color=WEAK, markersize=6, markeredgecolor="white", zorder=5)
            where = {"xytext": (0, 7), "textcoords": "offset points", "ha": "center", "fontsize": 9.5, "fontweight": "bold"}
            where["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            ax.annotate(RESONANCES[kind], (radius, abs(omega)), **where)
    ax.legend(loc="upper right")
    return ax
