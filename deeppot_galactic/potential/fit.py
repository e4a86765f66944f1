"""Fit Phi and the rotating frame: `fit_potential` and its presets.

``method="weak"``     the stars alone (`weak_fit`), under a minute.
``method="linear"``   scores on a linear basis (`pointwise`), seconds; shares the base of the weak fit.
``method="network"``  the network (`network`), trained on stationarity (`stationarity`). With preset ``fast`` it starts from the base
                      of the weak
                      fit and is anchored to its posterior; with ``paper`` it is Kalda, Green & Ghosh (2023): no base, no anchor,
                      residual on f.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, FitError, FrameError
from .frame import RotatingFrame, stationarity_rate
from .model import PotentialModel
from .moments import Progress
from .pointwise import fit_pointwise
from .posterior import PotentialPosterior
from .weak_fit import MIN_STARS, WeakFit, fit_weak

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample

Array = NDArray[np.float64]
METHODS = ("network", "linear", "weak")


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

    def images(self) -> list[list[float]]:
        """Signs of (x, y, z) over which the network is averaged."""
        images = [[1.0, 1.0, 1.0]]
        if self.reflect and self.inputs != "disc":
            images.append([1.0, 1.0, -1.0])
        if self.turn:
            images += [[-a, -b, c] for a, b, c in images]
        return images


PRESETS: dict[str, PotentialSettings] = {
    "fast": PotentialSettings(),
    "quick": PotentialSettings(steps=200, width=64, n_places=2048),
    "paper": PotentialSettings(
        width=512, depth=4, inputs="plain", use_base=False, anchor=0.0, residual="f", density_weight=1.0, l2=0.1, batch=2**15,
        steps=200_000, rate=1e-3, warmup=2048,
        schedule="plateau", patience=2048, ema=0.0, n_places=2**17,
    ),
    "paper-small": PotentialSettings(
        width=128, depth=4, inputs="plain", use_base=False, anchor=0.0, residual="f", density_weight=1.0, l2=0.1, batch=4096,
        steps=12_000, rate=1e-3, warmup=512,
        schedule="plateau", patience=1024, ema=0.0, n_places=2**15,
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
    return replace(PRESETS[preset], **overrides)


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
    if len(points) < MIN_STARS:
        raise FitError(f"{len(points)} points with scores; a potential needs at least {MIN_STARS}")
    frame = RotatingFrame() if frame is None else frame
    if method != "network" and (set(frame.free) - {"omega_z"} or frame.omega_vector[:2].any()):
        raise FrameError(f"method {method!r} fits omega_z alone, about the z axis; free: {', '.join(frame.free)}; use method='network'")
    offset = np.concatenate([frame.x0_vector, frame.v0_vector])
    shifted = points.points - offset
    volume = points.volume if not frame.x0_vector.any() else _shifted(points.volume, frame.x0_vector)
    prior = _omega_prior(frame)
    copies, stars, weights = points.copies, shifted, points.weights
    if copies is not None:
        copies = replace(copies, rows=copies.rows - offset)
        stars, weights = copies.rows[:, 0], points.copy_weights
    weak = fit_weak(stars, volume, weights=weights, omega_prior=prior, seed=seed, progress=progress, copies=copies)
    if method == "network":
        return _fit_network(
            points, frame, weak, settings, seed=seed, device=device, progress=progress, checkpoint=checkpoint, preset=preset
        )
    meta: dict[str, Any] = {"method": method, "seed": seed, "n_points": len(points), "weak_form": _describe(weak)}
    if method == "weak":
        potential, omega, error, posterior = weak.potential, weak.solution.omega, weak.omega_error, weak.posterior
    else:
        potential, solution = fit_pointwise(shifted, points.score, volume, weak.base, weights=points.weights, omega_prior=prior, seed=seed)
        # The scores' own bias does not show in their scatter: the disagreement with the weak form does.
        omega, error = solution.omega, float(np.hypot(solution.omega_error, solution.omega - weak.solution.omega))
        posterior = PotentialPosterior(potential.basis, solution.covariance[1:, 1:])
        meta["chi2_per_row"], meta["density_scatter"] = solution.chi2 / solution.n_rows, solution.density_scatter
    errors = np.array([np.nan, np.nan, error if "omega_z" in frame.free else np.nan])
    fitted = frame.with_vectors(np.array([0.0, 0.0, omega]))
    return PotentialModel(_centred(potential, frame), points.volume, fitted, omega_error=errors, meta=meta, posterior=posterior)


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


def _centred(potential: Any, frame: RotatingFrame) -> Any:
    """Linear potentials are about the rotation axis; with x0 they would have to be moved, which only a base-free ball could be."""
    if frame.x0_vector.any():
        raise FrameError("methods 'weak' and 'linear' need the rotation axis at the origin: shift the catalogue by x0 first")
    return potential


def _describe(weak: WeakFit) -> dict[str, Any]:
    s = weak.solution
    return {
        "omega": s.omega,
        "omega_error": weak.omega_error,
        "statistical": s.omega_error,
        "systematic": weak.systematic,
        "identified": s.identified,
        "chi2_per_row": s.chi2 / s.n_rows,
        "density_scatter": s.density_scatter,
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
    preset: str,
) -> PotentialModel:
    from .network_fit import train_network

    anchored = settings.anchor > 0 and weak.solution.identified
    if anchored and "omega_z" in frame.free and "omega_z" not in frame.prior:
        frame = frame.starting_from(weak.solution.omega, weak.omega_error)
    inner, fitted, history, scale = train_network(
        points, frame, weak, settings, seed=seed, device=device, progress=progress, checkpoint=checkpoint
    )
    gradient = inner.evaluate(points.points[:, :3], 1)[1]
    rate = stationarity_rate(points.points, points.score, gradient, fitted)
    errors = np.full(3, np.nan)
    for k, axis in enumerate("xyz"):
        if f"omega_{axis}" in fitted.free:
            errors[k] = weak.omega_error if axis == "z" else 0.0
    if "omega_z" in fitted.free and settings.anchor == 0:
        errors[2] = float(np.hypot(weak.omega_error, fitted.omega_vector[2] - weak.solution.omega))
    meta = {
        "method": "network",
        "preset": preset,
        "seed": seed,
        "n_points": len(points),
        "residual_scale": scale,
        "median_rate": float(np.median(np.abs(rate))),
        "weak_form": _describe(weak),
    }
    # The posterior is about the rotation axis; with x0 elsewhere its basis would have to move.
    posterior = weak.posterior if anchored and not fitted.x0_vector.any() else None
    return PotentialModel(inner, points.volume, fitted, omega_error=errors, history=history.to_dict(), meta=meta, posterior=posterior)
