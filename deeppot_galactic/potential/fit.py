"""Fit Phi and the rotating frame: `fit_potential`.

``method="weak"``     the stars alone (`weak_fit`), under a minute.
``method="linear"``   scores on a linear basis (`pointwise`), seconds after the weak fit, which always runs first and gives base, prior
                      and part of the error: 31 to 46 s for 10^5 stars of a disc.
``method="network"``  the network (`network_fit`), trained on stationarity (`stationarity`). With preset ``fast`` it starts from the base
                      of the weak fit and is anchored to its posterior; with ``paper`` it is Kalda, Green & Ghosh (2023): no base,
                      no anchor, residual on f.

The error of Omega joins that of the weak form with the disagreement between the weak form and the scores, as far as that is known:
``linear`` fits both, the network with an anchor only away from the axis, where the weak form cannot see that another pattern rules.
A Gaussian prior on Omega is multiplied with that estimate (`linear.given_omega`).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import device as valid_device
from ..arguments import instance, whole
from ..errors import AxisymmetryWarning, ConfigError, FitError, FrameError
from .basis import LinearPotential
from .checks import check_density, check_points, check_scores
from .continuation import check_continuable
from .fitted import Fitted
from .frame import RotatingFrame
from .linear import given_omega, with_omega
from .model import PotentialModel
from .moments import Progress
from .pointwise import covariance_of_scores, fit_pointwise
from .posterior import PotentialPosterior
from .recentred import about_axis
from .settings import PotentialSettings, resolve_settings
from .weak_fit import MIN_STARS, WeakFit, fit_weak

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample
    from .symmetry import OpenAxis

__all__ = ["PotentialSettings", "fit_potential", "resolve_settings"]
Array = NDArray[np.float64]
METHODS = ("network", "linear", "weak")
Prior = tuple[float, float]


def fit_potential(
    points: GradientSample,
    *,
    frame: RotatingFrame | None = None,
    method: str = "network",
    preset: str = "fast",
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint: str | Path | None = None,
    **overrides: Any,
) -> PotentialModel:
    """Fit the potential and the rotating frame in which f is stationary.

    Parameters
    ----------
    points : GradientSample
        Points drawn from f with ln f and scores, from `draw_gradients`.
    frame : RotatingFrame, optional
        Start values, and which components are free; by default Omega_z is free and starts from the weak form, or, for a network without
        an anchor, from the linear solution.
    method : {"network", "linear", "weak"}
        See the module.
    preset : str
        "fast", "quick" (to see that it works), "paper" or "paper-small"; of the network, the other methods are the same with all of them.
    seed : int
        The same seed on the same machine gives the same numbers.
    device : str
        Of the network's training.
    progress : callable, optional
        ``progress(stage, done, total, values)``.
    checkpoint : path, optional
        File from which an interrupted training resumes.
    **overrides
        Settings of the preset, see `PotentialSettings`; for the network alone.

    Returns
    -------
    PotentialModel

    Warns
    -----
    AxisymmetryWarning
        When the stars do not determine Omega_z or, in a frame that may tilt, Omega along some axis.

    Raises
    ------
    FitError
        With too few points, points that fill no volume in phase space or are copies of a few, gradients that no density has, or a
        training that diverges.
    CatalogueError
        For stars faster than light.
    VolumeError
        In a volume that is neither a `Cylinder` nor a `Ball`, which no potential is continued out of.
    FrameError
        For freedoms that a method does not have.
    ConfigError
        For an unknown method, preset or setting, a setting out of range or of another method, a seed that is no whole number of at least 0,
        or a device that is not there.

    References
    ----------
    Kalda, Green & Ghosh 2023, arXiv:2310.00040, section 2.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    settings = resolve_settings(preset, overrides, method)
    from ..distribution.gradients import GradientSample  # torch comes with it, which a loaded model does without

    instance(points, GradientSample, "points", FitError)
    seed, device = whole(seed, "seed", error=ConfigError), valid_device(device)
    if len(points) < MIN_STARS:
        raise FitError(f"{len(points)} points; a potential needs at least {MIN_STARS}")
    check_continuable(points.volume)
    check_points(points)
    if method != "weak":
        check_scores(points)
    if method == "network" and settings.residual == "f":
        check_density(points)
    if frame is None:
        frame, settings = RotatingFrame(), replace(settings, start="linear")
    instance(frame, RotatingFrame, "frame", FrameError)
    check_method(method, frame)
    about, relative = about_axis(points, frame)
    held = None if "omega_z" in frame.free else float(frame.omega_vector[2])
    prior = relative.prior.get("omega_z")
    weak = _weak_fit(points, about, held=held, fallback=prior, seed=seed, progress=progress)
    if frame.about_z and not weak.solution.identified:
        warnings.warn(AxisymmetryWarning(_not_determined(weak, prior)), stacklevel=2)
    if method == "network":
        from .network_fit import fit_network

        found = fit_network(about, relative, weak, settings, seed=seed, device=device, progress=progress, checkpoint=checkpoint)
        found.meta |= {"preset": preset}
        for axis in found.open_axes:
            warnings.warn(AxisymmetryWarning(_not_determined_along(axis, relative)), stacklevel=2)
    else:
        found = _from_weak_form(relative, weak, prior) if method == "weak" else _from_scores(about, relative, weak, prior, held, seed)
    if frame.is_lab:
        found.errors = np.zeros(3)  # it does not rotate by definition
    inner, posterior, fitted = found.inner, found.posterior, found.frame
    inner.origin = frame.x0_vector  # type: ignore[attr-defined]
    if posterior is not None:
        posterior.origin = frame.x0_vector
    x0, v0 = fitted.x0_vector + frame.x0_vector, fitted.v0_vector + frame.v0_vector
    meta = {"method": method, "seed": seed, "n_points": len(points), "weak_form": _describe(weak)} | found.meta
    return PotentialModel(
        inner,
        points.volume,
        frame.with_vectors(fitted.omega_vector, x0, v0),
        omega_error=found.errors,
        history=found.history,
        meta=meta,
        posterior=posterior,
    )


def check_method(method: str, frame: RotatingFrame) -> None:
    """Refuse freedoms that a method does not have (`FrameError`)."""
    if method != "network" and (set(frame.free) - {"omega_z"} or frame.omega_vector[:2].any()):
        found = f"free: {', '.join(frame.free) or 'nothing'}; Omega = {frame.omega_vector.tolist()} km/s/kpc"
        raise FrameError(f"method {method!r} fits omega_z alone, about the z axis, found {found}; use method='network'")


def _weak_fit(
    points: GradientSample,
    about: GradientSample,
    *,
    held: float | None,
    fallback: Prior | None,
    seed: int,
    progress: Progress | None,
) -> WeakFit:
    """The weak form of the stars, or of as many draws as there were stars: more draws do not know more."""
    stars, weights = about.points, points.weights
    if about.copies is not None:
        stars, weights = about.copies.rows[:, 0], points.copy_weights
    elif points.meta.get("source") == "sampled":
        kept = max(round(points.meta["n_stars"]), MIN_STARS)
        stars, weights = stars[:kept], None if weights is None else weights[:kept]
    return fit_weak(stars, about.volume, weights=weights, held=held, fallback=fallback, seed=seed, progress=progress, copies=about.copies)


def _not_determined(weak: WeakFit, prior: Prior | None) -> str:
    if prior is not None:
        return f"the stars are axisymmetric within their noise: Omega = {prior[0]:.0f} +- {prior[1]:.0f} km/s/kpc is only its prior"
    spread = f"{weak.solution.omega:.0f} +- {weak.omega_error:.0f} km/s/kpc"
    return f"the stars are axisymmetric within their noise: Omega = {spread} is only the median of their angular speeds"


def _not_determined_along(axis: OpenAxis, frame: RotatingFrame) -> str:
    direction = ", ".join(f"{component:.2f}" for component in axis.direction)
    spread = f"{axis.omega:.0f} +- {axis.error:.0f} km/s/kpc, the median of their angular speeds"
    prior = ", and its prior" if any(name.startswith("omega") for name in frame.prior) else ""
    return f"the stars are axisymmetric about ({direction}) within the noise of their scores: Omega along it is only {spread}{prior}"


def _about_z(frame: RotatingFrame, omega: float, error: float) -> tuple[RotatingFrame, Array]:
    """The fitted frame of a method that knows Omega_z alone, and its errors."""
    errors = np.array([np.nan, np.nan, error if "omega_z" in frame.free else np.nan])
    return frame.with_vectors(np.array([0.0, 0.0, omega])), errors


def _from_weak_form(frame: RotatingFrame, weak: WeakFit, prior: Prior | None) -> Fitted:
    """Phi and Omega of the stars alone."""
    weak = weak if prior is None else weak.given(prior, weak.omega_error)
    return Fitted(weak.potential, *_about_z(frame, weak.solution.omega, weak.omega_error), weak.posterior)


def _from_scores(points: GradientSample, frame: RotatingFrame, weak: WeakFit, prior: Prior | None, held: float | None, seed: int) -> Fitted:
    """Phi and Omega of the scores on the linear basis; Omega is the weak form's where the stars do not determine it."""
    known = held is None and (weak.from_continuity or not weak.solution.identified)  # scores know no more of so weak a pattern
    if known and prior is not None:
        weak = weak.given(prior, weak.omega_error)
    inner, solution = fit_pointwise(
        points.points,
        points.score,
        points.volume,
        weak.base,
        weights=points.weights,
        prior=weak.density_prior,
        held=weak.solution.omega if known else held,
        seed=seed,
    )
    if known:
        solution, error = with_omega(solution, weak.frame_error), weak.omega_error
    else:
        error = float(np.linalg.norm([solution.omega_error, solution.omega - weak.solution.omega, weak.omega_error]))
        if prior is not None:
            solution = given_omega(solution, error, prior, weak.density_prior)
            inner, error = LinearPotential(weak.base, inner.basis, solution.coefficients), solution.omega_error
    meta = {"chi2_per_row": solution.chi2 / solution.n_rows, **solution.scales.describe()}
    covariance = covariance_of_scores(points.points[:, :3], inner.basis, solution, weak.solution)
    return Fitted(inner, *_about_z(frame, solution.omega, error), PotentialPosterior(inner.basis, covariance), meta=meta)


def _describe(weak: WeakFit) -> dict[str, Any]:
    s = weak.solution
    return {
        "omega": s.omega,
        "omega_error": weak.omega_error,
        "statistical": s.omega_error,
        "systematic": weak.systematic,
        "local": weak.local,
        "identified": s.identified,
        "from_continuity": weak.from_continuity,
        "chi2_per_row": s.chi2 / s.n_rows,
        **s.scales.describe(),
        "bar_radii": weak.bar,
        "random_change": weak.evolution.change,
        "wobble": weak.evolution.inside,
        "base": weak.base.to_list(),
    }
