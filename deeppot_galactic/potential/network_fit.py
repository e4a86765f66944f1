"""Training of the network potential: tensors, scales and batches for `stationarity`, run by `deeppot_galactic.training`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..catalogue.volumes import Cylinder
from ..distribution.score_matching import symmetry_images
from ..training import History, ShuffledBatches, TrainingSettings, split_indices, train
from .frame import RotatingFrame, stationarity_rate
from .linear import collocation_points
from .moments import Progress
from .network import PotentialNetwork
from .network_potential import NetworkPotential
from .stationarity import Objective, StationaryModel, robust_scale
from .trainable_base import TrainableBase
from .weak_fit import WeakFit

if TYPE_CHECKING:
    from ..distribution.gradients import GradientSample
    from .fit import PotentialSettings

Array = NDArray[np.float64]
_VALIDATION = 0.1
_FORCE_FLOOR = 0.005  # the anchor's force errors are at least this fraction of the force
_PAPER_VELOCITY = 100.0  # km/s: with kpc, the units in which alpha = 1e5 acts


def train_network(
    points: GradientSample,
    frame: RotatingFrame,
    weak: WeakFit,
    settings: PotentialSettings,
    *,
    seed: int,
    device: str,
    progress: Progress | None,
    checkpoint: str | Path | None,
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

    def loss(batch: Any, _: torch.Generator) -> torch.Tensor:
        return model.loss(batch[0], batch[1], objective)

    def validate() -> float:
        return float(model.loss(held_rows, field[:0], objective))

    history = train(
        model,
        loss,
        lambda step: (_of_mean_one(batches(step), settings), field_batches(step)),
        settings=TrainingSettings(
            steps=settings.steps,
            rate=settings.rate,
            warmup=min(settings.warmup, settings.steps // 2),
            schedule=settings.schedule,
            patience=settings.patience,
            weight_decay=settings.weight_decay,
            clip=10.0,
            ema=settings.ema,
            validate_every=max(min(100, settings.steps // 10), 1),
            checkpoint_every=500,
        ),
        validate=validate,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        progress=progress,
        generator=torch.Generator(device=device).manual_seed(seed),
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
