r"""The network fit: where it starts, what holds it, its training and its errors.

Tensors, scales and batches for `stationarity` are made here; `deeppot_galactic.training` runs the training.

With an anchor, Omega starts from the weak form, times the user's prior, and is held there by its error; Phi starts from the base. Without
one Omega starts from the frame, or from the linear solution where the stars determine it (``start="linear"``), and Phi from random weights:
a last layer fitted to the forces of the linear solution was tried, and trained worse (docs/method.md).

Where the stars are axisymmetric within their noise, Omega is held at the median of their angular speeds, or at its prior. A frame that may
tilt is judged by its scores instead, after the training (`symmetry`).

Other Gaussian priors on the frame would be out of scale beside a mean loss, which is no likelihood. So the network is trained without them;
the values q of the components and their covariance C are joined with the priors (m, S) to the product of Gaussians,

    C' = (C^-1 + S^-1)^-1,   q' = C' (C^-1 q + S^-1 m),

and where that moves a component by more than a tenth of its error, the network is trained again with those components held at q'.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..catalogue.volumes import Cylinder
from ..distribution.symmetries import symmetry_images
from ..errors import FitError
from ..training import History, ShuffledBatches, split_indices, train
from .annuli import holds_the_axis
from .fitted import Fitted
from .frame import RotatingFrame, frame_covariance, stationarity_rate
from .linear import LinearSolution, collocation_points
from .moments import Progress
from .network import PotentialNetwork
from .network_potential import NetworkPotential
from .pointwise import fit_pointwise
from .settings import PotentialSettings
from .stationarity import Objective, StationaryModel, robust_scale
from .symmetry import OpenAxis, open_axes
from .trainable_base import TrainableBase
from .weak_fit import WeakFit

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample

Array = NDArray[np.float64]
_VALIDATION = 0.1
_FORCE_FLOOR = 0.005  # the anchor's force errors are at least this fraction of the force
_PAPER_VELOCITY = 100.0  # km/s: with kpc, the units in which alpha = 1e5 acts
_MATTERS = 0.1  # move of a component by a prior, in its errors, for which the network is trained again
SOME_POINTS = 16_384
"""Points that are enough for the scores' own Omega beside the network's."""


def fit_network(
    points: GradientSample,
    frame: RotatingFrame,
    weak: WeakFit,
    settings: PotentialSettings,
    *,
    seed: int,
    device: str,
    progress: Progress | None,
    checkpoint: str | Path | None,
) -> Fitted:
    """Train Phi and the frame, join the priors, and say how wrong Omega may be.

    Parameters
    ----------
    points : GradientSample
        About the axis.
    frame : RotatingFrame
    weak : WeakFit
        Of the stars alone.
    settings : PotentialSettings
    seed, device, progress, checkpoint
        As in `fit_potential`.

    Returns
    -------
    Fitted
    """
    tilted = bool(frame.omega_vector[:2].any())
    if tilted:  # the weak form knows rotation about z alone
        settings = replace(settings, anchor=0.0)
    anchored, identified = settings.anchor > 0, weak.solution.identified
    priors, training = dict(frame.prior), frame.holding({})
    training.prior = {}
    error = weak.omega_error
    sees_part = "omega_z" in frame.free and anchored and not holds_the_axis(points.volume)
    several = bool(set(frame.free) - {"omega_z"}) and not tilted
    apart = _disagreement_of_scores(points, weak, seed) if identified and (sees_part or several) else 0.0
    if "omega_z" in frame.free and frame.about_z and not identified:
        if "omega_z" in priors:
            weak = weak.given(priors.pop("omega_z"), error)
            error = weak.omega_error
        training = training.holding({"omega_z": weak.solution.omega})
    elif "omega_z" in frame.free and identified and anchored:
        if sees_part:
            error = float(np.hypot(error, apart))
        if "omega_z" in priors:
            weak = weak.given(priors.pop("omega_z"), error)
            error = weak.omega_error
        training = training.starting_from(weak.solution.omega, weak.frame_error)
    elif "omega_z" in frame.free and identified and settings.start == "linear":
        training = training.with_vectors(np.array([*frame.omega_vector[:2], _linear_solution(points, weak, seed).omega]))

    def trained(start: RotatingFrame, file: Path | None) -> tuple[NetworkPotential, RotatingFrame, History, float, Array]:
        inner, found, history, scale = train_network(
            points, start, weak, settings, seed=seed, device=device, progress=progress, checkpoint=file
        )
        rate = stationarity_rate(points.points, points.score, inner.evaluate(points.points[:, :3], 1)[1], found)
        return inner, frame.with_vectors(found.omega_vector, found.x0_vector, found.v0_vector), history, scale, rate

    file = None if checkpoint is None else Path(checkpoint)
    inner, fitted, history, scale, rate = trained(training, file)
    covariance = frame_covariance(points.points, points.score, rate, fitted)
    if several and identified:
        covariance *= _noise_of_scores(points, apart, rate, fitted)
    if "omega_z" in frame.free and not tilted and (identified or frame.about_z):
        if identified and not anchored:
            error = float(np.hypot(error, fitted.omega_vector[2] - weak.solution.omega))
        covariance = _with_error(covariance, frame.free.index("omega_z"), error)
    axes = [] if frame.about_z else open_axes(points.points, points.score, rate, fitted)
    for axis in axes:
        fitted, covariance = _opened(fitted, covariance, axis)
    if priors:
        values = np.array([fitted.component(name) for name in frame.free])
        joined, after = join_priors(frame.free, values, covariance, priors)
        held = fitted.holding(dict(zip(frame.free, joined, strict=True)))
        if (np.abs(joined - values) > _MATTERS * np.sqrt(np.diag(covariance))).any():
            again = None if file is None else file.with_suffix(f".prior{file.suffix}")
            inner, _, history, scale, rate = trained(held, again)
            if again is not None:
                again.unlink(missing_ok=True)
        fitted, covariance = frame.with_vectors(held.omega_vector, held.x0_vector, held.v0_vector), after
    errors = dict(zip(frame.free, np.sqrt(np.diag(covariance)).tolist(), strict=True))
    meta = {"residual_scale": scale, "median_rate": float(np.median(np.abs(rate))), "frame_errors": errors}
    omega_errors = np.array([errors.get(f"omega_{axis}", np.nan) for axis in "xyz"])
    return Fitted(inner, fitted, omega_errors, weak.posterior if anchored else None, history.to_dict(), meta, axes)


def _opened(frame: RotatingFrame, covariance: Array, axis: OpenAxis) -> tuple[RotatingFrame, Array]:
    """Frame and covariance of its free components with Omega along ``axis`` that of the stars, within the range of their speeds."""
    omega = frame.omega_vector + (axis.omega - frame.omega_vector @ axis.direction) * axis.direction
    along = np.array([axis.direction["xyz".index(name[-1])] if name.startswith("omega") else 0.0 for name in frame.free])
    across = np.eye(len(along)) - np.outer(along, along)
    return frame.with_vectors(omega), across @ covariance @ across + axis.error**2 * np.outer(along, along)


def join_priors(names: tuple[str, ...], values: Array, covariance: Array, priors: dict[str, tuple[float, float]]) -> tuple[Array, Array]:
    """Product of the Gaussian of the components ``names`` with Gaussian priors (mean, sigma) on some of them: mean and covariance."""
    scale = np.sqrt(np.diag(covariance))
    information = np.linalg.inv(covariance / np.outer(scale, scale) + 1e-12 * np.eye(len(scale))) / np.outer(scale, scale)
    mean = np.array([priors.get(name, (0.0, 1.0))[0] for name in names])
    precision = np.array([priors[name][1] ** -2.0 if name in priors else 0.0 for name in names])
    after = np.linalg.inv(information + np.diag(precision))
    return np.asarray(after @ (information @ values + precision * mean), dtype=float), np.asarray(after, dtype=float)


def _with_error(covariance: Array, k: int, error: float) -> Array:
    """The covariance with another error of component ``k`` and the same correlations."""
    factor = np.ones(len(covariance))
    factor[k] = error / np.sqrt(covariance[k, k]) if covariance[k, k] > 0 else 0.0
    out = covariance * np.outer(factor, factor)
    out[k, k] = error**2
    return out


def _linear_solution(points: GradientSample, weak: WeakFit, seed: int) -> LinearSolution:
    """Phi and Omega of some of the scores on the linear basis."""
    x, s, prior = points.points, points.score, weak.density_prior
    return fit_pointwise(x, s, points.volume, weak.base, weights=points.weights, prior=prior, n_max=SOME_POINTS, seed=seed)[1]


def _disagreement_of_scores(points: GradientSample, weak: WeakFit, seed: int) -> float:
    """How much more than by its own noise the scores' Omega differs from the weak form's; 0 where it is not known."""
    try:
        alone = _linear_solution(points, weak, seed)
    except FitError:
        return 0.0
    return float(np.sqrt(max((alone.omega - weak.solution.omega) ** 2 - alone.omega_error**2, 0.0)))


def _noise_of_scores(points: GradientSample, apart: float, rate: Array, frame: RotatingFrame) -> float:
    """How many times the variance of Omega_z that the scores claim is exceeded by their distance ``apart`` from the weak form; at least 1.

    Errors of learned scores reach across the volume, which no scatter of the residuals shows, and enter all components alike.
    """
    alone = RotatingFrame(frame.omega, x0=frame.x0, v0=frame.v0, free=("omega_z",))
    claimed = float(frame_covariance(points.points, points.score, rate, alone)[0, 0])
    return 1.0 + apart**2 / claimed


def train_network(
    points: GradientSample,
    frame: RotatingFrame,
    weak: WeakFit,
    settings: PotentialSettings,
    *,
    seed: int,
    device: str,
    progress: Progress | None,
    checkpoint: Path | None,
) -> tuple[NetworkPotential, RotatingFrame, History, float]:
    """Train Phi and the free components of the frame.

    Returns
    -------
    NetworkPotential, RotatingFrame, History
    scale : float
        Of the residual, km/s/kpc.
    """
    rows, score, volume = points.points, points.score, points.volume
    base = weak.base if settings.use_base else None
    stars = [rows[:, :3], rows[:, 3:], score, _base_gradient(base, rows[:, :3]), _weights(points, settings)]
    stars += _anchor(weak, rows[:, :3]) if settings.anchor > 0 else [np.zeros((len(rows), 3)), np.zeros((len(rows), 1, 1))]
    places = collocation_points(volume, settings.n_places, np.random.default_rng(seed + 1))
    around: list[Array] = [places, _base_laplacian(base, places), _base_gradient(base, places)]
    around += _anchor(weak, places) if settings.anchor > 0 else [np.zeros((len(places), 3)), np.zeros((len(places), 1, 1))]

    weak_gradient = weak.potential.evaluate(rows[:20_000, :3], 1)[1]
    scale = settings.scale or robust_scale(stationarity_rate(rows[:20_000], score[:20_000], weak_gradient, frame))
    objective = Objective(
        residual=settings.residual,
        scale=scale if settings.residual == "ln f" else _PAPER_VELOCITY / settings.alpha,
        density_weight=settings.density_weight,
        density_scale=1.0 / settings.beta * (_density_unit(weak, places) if settings.use_base else _PAPER_VELOCITY**2),
        l2=settings.l2,
        anchor=settings.anchor,
        prior=max(settings.anchor, 0.01),
    )
    generator = torch.Generator().manual_seed(seed)
    disc = isinstance(volume, Cylinder) and settings.inputs == "disc"
    spread = np.std(rows[:, :3], axis=0)
    network = PotentialNetwork(
        width=settings.width,
        depth=settings.depth,
        inputs="disc" if disc else "plain",
        scales=(0.25 * float(np.median(np.hypot(rows[:, 0], rows[:, 1]))), 0.0, max(2.0 * float(np.median(np.abs(rows[:, 2]))), 1e-3))
        if disc
        else tuple(np.maximum(spread, 1e-3)),
        output_scale=float(np.median(np.sum(rows[:, 3:] ** 2, axis=1))) * (0.2 if settings.use_base else 1.0),
        center=(0.0, 0.0, 0.0) if disc else tuple(volume.center),
        generator=generator,
        zero_output=settings.use_base,
        # "disc" inputs are even in z already
        images=[image[:3] for image in symmetry_images(reflect=settings.reflect and not disc, turn=settings.turn)],
    )
    trainable = TrainableBase(base) if settings.train_base and base is not None else None
    model = StationaryModel(network, frame, trainable).to(device)
    tensors = [torch.as_tensor(np.asarray(a, dtype=np.float32), device=device) for a in stars]
    field = tuple(torch.as_tensor(np.asarray(a, dtype=np.float32), device=device) for a in around)
    training, held = split_indices(len(rows), _VALIDATION, seed)
    batches = ShuffledBatches(*(t[training.to(device)] for t in tensors), size=settings.batch, seed=seed)
    field_batches = ShuffledBatches(*field, size=max(settings.batch // 4, 256), seed=seed + 1)
    held_rows = _of_mean_one(tuple(t[held.to(device)][:8192] for t in tensors), settings)

    def loss(batch: Any) -> torch.Tensor:
        return model.loss(batch[0], batch[1], objective)

    def validate() -> float:
        return float(model.loss(held_rows, field[:0], objective))

    history = train(
        model,
        loss,
        lambda step: (_of_mean_one(batches(step), settings), field_batches(step)),
        settings=settings.training(),
        validate=validate,
        checkpoint=checkpoint,
        progress=progress,
        device=device,
        stage="potential",
    )
    omega, x0, v0 = (model.vector(g).detach().cpu().double().numpy() for g in ("omega", "x0", "v0"))
    if trainable is not None:
        base = trainable.to_numpy()
    return network.to_numpy(base), frame.with_vectors(omega, x0, v0), history, scale


def _of_mean_one(stars: tuple[torch.Tensor, ...], settings: PotentialSettings) -> tuple[torch.Tensor, ...]:
    """A batch with its weights divided by their mean (residual "ln f"), before it is shared among processes."""
    if settings.residual == "f":
        return stars
    return (*stars[:4], stars[4] / stars[4].mean(), *stars[5:])


def _base_gradient(base: Any, x: Array) -> Array:
    return np.zeros_like(x) if base is None else base.evaluate(x, 1)[1]


def _base_laplacian(base: Any, x: Array) -> Array:
    return np.zeros(len(x)) if base is None else np.einsum("nii->n", base.evaluate(x, 2)[2])


def _density_unit(weak: WeakFit, x: Array) -> float:
    """Median Laplacian of the base: the scale on which negative density counts."""
    return float(np.median(_base_laplacian(weak.base, x)))


def _weights(points: GradientSample, settings: PotentialSettings) -> Array:
    """Weights of the residual: boundary and star weights for "ln f"; times f, in units of kpc and 100 km/s, for "f"."""
    weights = np.ones(len(points)) if points.weights is None else points.weights / np.mean(points.weights)
    if settings.residual == "f":
        n_stars = float(points.meta.get("n_stars", len(points)))
        return weights * np.exp(points.log_density - np.log(n_stars) + 3.0 * np.log(_PAPER_VELOCITY))
    return weights * points.volume.boundary_weight(points.points[:, :3])[0]


def _anchor(weak: WeakFit, x: Array) -> list[Array]:
    """Mean gradient of Phi and inverse square root of its covariance under the weak form's posterior: (n, 3), (n, 3, 3)."""
    mean, whiten, posterior = np.empty_like(x), np.empty((len(x), 3, 3)), weak.posterior
    for start in range(0, len(x), 4096):
        part = slice(start, start + 4096)
        mean[part] = weak.potential.evaluate(x[part], 1)[1]
        covariance = posterior.gradient_covariance(x[part])
        floor = _FORCE_FLOOR * np.linalg.norm(mean[part], axis=1)
        covariance += (floor**2 + 1e-6)[:, None, None] * np.eye(3)
        whiten[part] = np.linalg.inv(np.linalg.cholesky(covariance))
    return [mean, whiten]
