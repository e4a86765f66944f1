"""Fit Phi and the rotating frame: `fit_potential` and its presets.

``method="weak"``     the stars alone (`weak_fit`), under a minute.
``method="linear"``   scores on a linear basis (`pointwise`), seconds; shares the base of the weak fit.
``method="network"``  the network (`network`), trained on stationarity (`stationarity`). With preset ``fast`` it starts from the base
                      of the weak fit and is anchored to its posterior; with ``paper`` it is Kalda, Green & Ghosh (2023): no base,
                      no anchor, residual on f.

The error of Omega joins that of the weak form with the disagreement between the weak form and the scores, as far as that is known:
``linear`` fits both, the network with an anchor only away from the axis, where the weak form cannot see that another pattern rules.
"""

from __future__ import annotations

import difflib
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import device as valid_device
from ..arguments import instance, replaced, whole
from ..catalogue.volumes import Cylinder, Volume
from ..errors import AxisymmetryWarning, ConfigError, FitError, FrameError
from .frame import RotatingFrame, omega_errors, stationarity_rate
from .model import PotentialModel
from .moments import Progress
from .pointwise import fit_pointwise
from .posterior import PotentialPosterior
from .weak_fit import MIN_STARS, WeakFit, fit_weak

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample
    from .network_potential import NetworkPotential

Array = NDArray[np.float64]
METHODS = ("network", "linear", "weak")
SOME_POINTS = 16_384
"""Points that are enough for the scores' own Omega beside the network's."""


@dataclass(frozen=True)
class PotentialSettings:
    """Settings of the network fit.

    Attributes
    ----------
    width, depth : int
        Size of the network.
    inputs : {"disc", "plain"}
        See `network`; a volume off the axis always uses "plain".
    use_base : bool
        Add the analytic base of the weak fit.
    train_base : bool
        Let the parameters of that base train along with the network.
    reflect, turn : bool
        Make Phi exactly even in z, and under a rotation by pi about the axis ("disc" inputs are even in z already).
    anchor : float
        Weight of the weak form's posterior; 0 trains on scores alone.
    residual : {"ln f", "f"}
    alpha, beta, density_weight, l2 : float
        Constants of the paper's loss; ``alpha`` is used with residual "f" only.
    scale : float or None
        Scale of the residual in km/s/kpc for "ln f"; from the data where None.
    batch, steps, rate, warmup, schedule, patience, weight_decay
        Training, see `deeppot_galactic.training`.
    n_places : int
        Points through the volume for density and anchor.
    """

    width: int = 128
    depth: int = 3
    inputs: str = "disc"
    use_base: bool = True
    train_base: bool = False
    reflect: bool = False
    turn: bool = False
    anchor: float = 1.0
    residual: str = "ln f"
    alpha: float = 1e5
    beta: float = 1.0
    density_weight: float = 10.0
    l2: float = 1e-3
    scale: float | None = None
    batch: int = 1024
    steps: int = 1600
    rate: float = 1e-2
    warmup: int = 100
    schedule: str = "cosine"
    patience: int = 512
    weight_decay: float = 0.0
    ema: float = 0.995
    n_places: int = 8192


PRESETS: dict[str, PotentialSettings] = {
    "fast": PotentialSettings(),
    "quick": PotentialSettings(steps=200, width=64, n_places=2048),
    "paper": PotentialSettings(
        width=512, depth=4, inputs="plain", use_base=False, anchor=0.0, residual="f", density_weight=1.0, l2=0.1, batch=2**15,
        steps=200_000, rate=1e-3, warmup=2048,
        schedule="plateau", patience=2048, ema=0.0, n_places=2**17,
    ),
    "paper-small": PotentialSettings(
        width=128, depth=4, inputs="plain", use_base=False, anchor=0.0, residual="f", density_weight=1.0, l2=0.1, batch=1024,
        steps=8000, rate=1e-3, warmup=256,
        schedule="plateau", patience=512, ema=0.0, n_places=2**15,
    ),
}  # fmt: skip


def resolve_settings(preset: str, overrides: dict[str, Any]) -> PotentialSettings:
    """A preset with some settings replaced.

    Raises
    ------
    ConfigError
        For an unknown preset or setting, with the nearest known one.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown potential preset {preset!r}; known are {', '.join(PRESETS)}")
    known = [f.name for f in fields(PotentialSettings)]
    for name in overrides:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown potential option {name!r}; {hint}")
    return replaced(PRESETS[preset], overrides, ConfigError)


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
        Start values, and which components are free; by default Omega_z is free and starts from the weak form.
    method : {"network", "linear", "weak"}
        See the module.
    preset : str
        "fast", "quick" (to see that it works), "paper" or "paper-small"; for the network.
    seed : int
        The same seed on the same machine gives the same numbers.
    device : str
        Of the network's training.
    progress : callable, optional
        ``progress(stage, done, total, values)``.
    checkpoint : path, optional
        File from which an interrupted training resumes.
    **overrides
        Settings of the preset, see `PotentialSettings`.

    Returns
    -------
    PotentialModel

    Warns
    -----
    AxisymmetryWarning
        When the stars do not determine Omega_z.

    Raises
    ------
    FitError
        With too few points, or a training that diverges.
    FrameError
        For freedoms that a method does not have.
    ConfigError
        For an unknown method, preset or setting.

    References
    ----------
    Kalda, Green & Ghosh 2023, arXiv:2310.00040, section 2.
    """
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}; known are {', '.join(METHODS)}")
    settings = resolve_settings(preset, overrides)
    from ..distribution.gradients import GradientSample  # torch comes with it, which a loaded model does without

    instance(points, GradientSample, "points", FitError)
    seed, device = whole(seed, "seed", error=ConfigError), valid_device(device)
    if len(points) < MIN_STARS:
        raise FitError(f"{len(points)} points with scores; a potential needs at least {MIN_STARS}")
    if method != "weak" and not np.isfinite(points.score).all():
        raise FitError(f"method {method!r} needs scores, and these points have none; draw_gradients makes them, or use method='weak'")
    frame = RotatingFrame() if frame is None else instance(frame, RotatingFrame, "frame", FrameError)
    if method != "network" and (set(frame.free) - {"omega_z"} or frame.omega_vector[:2].any()):
        raise FrameError(f"method {method!r} fits omega_z alone, about the z axis; free: {', '.join(frame.free)}; use method='network'")
    about, relative = _about_axis(points, frame)
    prior = _omega_prior(relative)
    inner: Any
    stars, weights = about.points, points.weights
    if about.copies is not None:
        stars, weights = about.copies.rows[:, 0], points.copy_weights
    elif points.meta.get("source") == "sampled":  # more draws than stars do not know more than the stars
        kept = max(round(points.meta["n_stars"]), MIN_STARS)
        stars, weights = stars[:kept], None if weights is None else weights[:kept]
    weak = fit_weak(stars, about.volume, weights=weights, omega_prior=prior, seed=seed, progress=progress, copies=about.copies)
    if not weak.solution.identified:
        spread = f"{weak.solution.omega:.0f} +- {weak.omega_error:.0f} km/s/kpc"
        warnings.warn(
            AxisymmetryWarning(
                f"the stars are axisymmetric within their noise: Omega = {spread} is only the range of their angular speeds"
            ),
            stacklevel=2,
        )
    if method == "network":
        fitted, errors, inner, posterior, history, meta = _fit_network(
            about, relative, weak, settings, seed=seed, device=device, progress=progress, checkpoint=checkpoint
        )
        meta |= {"preset": preset}
    else:
        meta, history = {}, {}
        if method == "weak":
            inner, omega, error, posterior = weak.potential, weak.solution.omega, weak.omega_error, weak.posterior
        else:
            inner, solution = fit_pointwise(
                about.points, points.score, about.volume, weak.base, weights=points.weights, omega_prior=prior, seed=seed
            )
            omega, disagreement = solution.omega, solution.omega - weak.solution.omega
            error = float(np.linalg.norm([solution.omega_error, disagreement, weak.omega_error]))
            posterior = PotentialPosterior(inner.basis, solution.covariance[1:, 1:])
            meta = {
                "chi2_per_row": solution.chi2 / solution.n_rows,
                "density_scatter": solution.scales.scatter,
                "density_smoothness": solution.scales.smoothness,
            }
        errors = np.array([np.nan, np.nan, error if "omega_z" in frame.free else np.nan])
        fitted = relative.with_vectors(np.array([0.0, 0.0, omega]))
    inner.origin = frame.x0_vector
    if posterior is not None:
        posterior.origin = frame.x0_vector
    x0, v0 = fitted.x0_vector + frame.x0_vector, fitted.v0_vector + frame.v0_vector
    meta = {"method": method, "seed": seed, "n_points": len(points), "weak_form": _describe(weak)} | meta
    return PotentialModel(
        inner,
        points.volume,
        frame.with_vectors(fitted.omega_vector, x0, v0),
        omega_error=errors,
        history=history,
        meta=meta,
        posterior=posterior,
    )


def _about_axis(points: GradientSample, frame: RotatingFrame) -> tuple[GradientSample, RotatingFrame]:
    """The sample and the frame in coordinates in which the rotation axis starts at the origin, at rest."""
    x0, v0 = frame.x0_vector, frame.v0_vector
    if not (x0.any() or v0.any()):
        return points, frame
    from ..distribution.gradients import GradientSample

    relative = frame.with_vectors(frame.omega_vector, np.zeros(3), np.zeros(3))
    starts = {f"{group}_{axis}": float(v[k]) for group, v in (("x0", x0), ("v0", v0)) for k, axis in enumerate("xyz")}
    relative.prior = {name: (mean - starts.get(name, 0.0), sigma) for name, (mean, sigma) in frame.prior.items()}
    volume = _shifted(points.volume, x0) if x0.any() else points.volume
    offset = np.concatenate([x0, v0])
    copies = None if points.copies is None else replace(points.copies, rows=points.copies.rows - offset)
    moved = GradientSample(
        points.points - offset,
        points.log_density,
        points.score,
        volume=volume,
        weights=points.weights,
        meta=points.meta,
        copies=copies,
        copy_weights=points.copy_weights,
    )
    return moved, relative


def _omega_prior(frame: RotatingFrame) -> tuple[float, float] | None:
    if "omega_z" not in frame.free:
        return float(frame.omega_vector[2]), 0.0
    return frame.prior.get("omega_z")


def _shifted(volume: Any, x0: Array) -> Any:
    import astropy.units as u

    from ..catalogue.volumes import Ball

    if volume.mask is not None:
        raise FrameError("x0 does not fit a volume with a mask: shift the catalogue by x0 and make the mask in the shifted frame")
    if isinstance(volume, Ball):
        return Ball((volume.center - x0) * u.kpc, volume.radius * u.kpc)
    raise FrameError(
        f"x0 = {x0.tolist()} kpc does not fit a cylinder about the origin: shift the catalogue instead, so that the axis is at the origin"
    )


def _describe(weak: WeakFit) -> dict[str, Any]:
    s = weak.solution
    return {
        "omega": s.omega,
        "omega_error": weak.omega_error,
        "statistical": s.omega_error,
        "systematic": weak.systematic,
        "identified": s.identified,
        "chi2_per_row": s.chi2 / s.n_rows,
        "density_scatter": s.scales.scatter,
        "density_smoothness": s.scales.smoothness,
        "bar_radii": weak.bar,
        "random_change": weak.evolution.change,
        "wobble": weak.evolution.inside,
        "base": weak.base.to_list(),
    }


def _fit_network(
    points: GradientSample,
    frame: RotatingFrame,
    weak: WeakFit,
    settings: PotentialSettings,
    *,
    seed: int,
    device: str,
    progress: Progress | None,
    checkpoint: str | Path | None,
) -> tuple[RotatingFrame, Array, NetworkPotential, PotentialPosterior | None, dict[str, Any], dict[str, Any]]:
    """Frame, errors of Omega (3,), potential, posterior, history and diagnostics of the network fit."""
    from .network_fit import train_network

    anchored, omega_prior = settings.anchor > 0 and weak.solution.identified, _omega_prior(frame)
    if anchored and "omega_z" in frame.free and "omega_z" not in frame.prior:
        frame = frame.starting_from(weak.solution.omega, weak.omega_error)
    inner, fitted, history, scale = train_network(
        points, frame, weak, settings, seed=seed, device=device, progress=progress, checkpoint=checkpoint
    )
    gradient = inner.evaluate(points.points[:, :3], 1)[1]
    rate = stationarity_rate(points.points, points.score, gradient, fitted)
    errors = omega_errors(points.points, points.score, rate, fitted)
    if "omega_z" in fitted.free:
        disagreement = 0.0 if anchored else fitted.omega_vector[2] - weak.solution.omega
        if anchored and not _holds_the_axis(points.volume):
            disagreement = _disagreement_of_scores(points, weak, omega_prior, seed)
        errors[2] = float(np.hypot(weak.omega_error, disagreement))
    meta = {"residual_scale": scale, "median_rate": float(np.median(np.abs(rate)))}
    return fitted, errors, inner, weak.posterior if anchored else None, history.to_dict(), meta


def _holds_the_axis(volume: Volume) -> bool:
    """Whether the bar can be seen as a whole, so that no other pattern is taken for it."""
    return volume.mask is None and (isinstance(volume, Cylinder) or bool(volume.contains(np.array([[0.0, 0.0, volume.center[2]]]))[0]))


def _disagreement_of_scores(points: GradientSample, weak: WeakFit, omega_prior: tuple[float, float] | None, seed: int) -> float:
    """How much more than by its own noise the scores' Omega differs from the weak form's; 0 where it is not known."""
    x, s = points.points, points.score
    try:
        alone = fit_pointwise(
            x, s, points.volume, weak.base, weights=points.weights, omega_prior=omega_prior, n_max=SOME_POINTS, seed=seed
        )[1]
    except FitError:
        return 0.0
    return float(np.sqrt(max((alone.omega - weak.solution.omega) ** 2 - alone.omega_error**2, 0.0)))
