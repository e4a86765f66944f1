r"""ln f by score matching: an unnormalised network whose gradient is trained directly.

The collisionless Boltzmann equation needs only s = grad ln f, so the network minimises the Fisher divergence to the stars' density
(Hyvarinen 2005), in whitened coordinates y and weighted by a g(x) that vanishes at the boundary of the region V,

    (1/2) E[ g |s_model - s|^2 ] = mean( g (|s_model|^2 / 2 + div s_model) + grad g . s_model ) + constant,

an integration by parts without surface term. s_model is the gradient of ln p(y) = -|y|^2/2 + E(y), hence curl-free. Regularised by
weight decay, noise of variance ``noise``^2 on y, a moving average of the weights and the choice of the best by validation; the number
of steps is fixed, so that the result does not depend on the speed of the machine. The scale comes from `normalisation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import Count, Decay, Limit, NotNegative, Positive
from ..training import Progress, ShuffledBatches, TrainingSettings, split_indices, train
from .base import Distribution
from .energy_network import EnergyNetwork
from .features import DiscFeatures, Features, PlainFeatures
from .importance import resampled
from .noise import NoisyBatches, NoisyStars, check_treatment
from .normalisation import log_normalisation
from .rebuild import precision_of
from .symmetries import symmetry_images
from .whitening import Whitening

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume

VALIDATION_ROWS = 16384
"""Most stars looked at in one validation during the training."""
MOST_STEPS, LEAST_STEPS, ENOUGH_STARS = 1500, 100, 98_304
"""Updates for `ENOUGH_STARS` training stars or more, in proportion to fewer stars, but so many at least."""
DECAY, STRONGEST_DECAY = 150.0, 0.5
"""Weight decay times updates, and the largest decay."""
VALIDATION_DRAW = 2**31
"""Step that names the one draw of the errors used in every validation."""


@dataclass(frozen=True, kw_only=True)
class ScoreMatchingSettings:
    """Settings of the score-matching estimator; the defaults are the preset ``fast``.

    Attributes
    ----------
    batch, rate, optimiser, betas, warmup, ema, clip, validate_every, early_stopping, checkpoint_every
        See `deeppot_galactic.training.TrainingSettings`; ``batch`` is the number of stars of an update.
    steps : int, optional
        Updates; by default 1500 n / 98304 for n training stars, between 100 and 1500: few stars are soon learned by heart.
    weight_decay : float, optional
        By default 150 / ``steps``, 0.5 at most: about the same for a whole training.
    width, depth
        See `EnergyNetwork`.
    noise : float
        Standard deviation of the noise added to whitened stars during training.
    reflect : bool
        Use the symmetry (z, vz) -> (-z, -vz) of the potential: every other star of a batch is reflected, and f is the mean over both.
        Because the Boltzmann equation is linear in f, that mean solves it whenever the potential has the symmetry, even if f has not.
    turn : bool
        Use the symmetry under a rotation by pi about z in the same way.
    errors : {"ignore", "inject", "correct"}
        What is done about the stars' known errors, see `deeppot_galactic.distribution.noise`.
    """

    estimator: str = "score-matching"
    steps: Count | None = None
    batch: Count = 1024
    rate: Positive = 1e-2
    optimiser: str = "soap"
    betas: tuple[float, float] = (0.95, 0.95)
    warmup: int = 20
    weight_decay: NotNegative | None = None
    ema: Decay = 0.99
    clip: Limit = 20.0
    validate_every: Count = 100
    early_stopping: int = 0
    checkpoint_every: Count = 500
    width: Count = 128
    depth: Count = 4
    noise: NotNegative = 0.0
    reflect: bool = False
    turn: bool = False
    errors: str = "ignore"

    def __post_init__(self) -> None:
        check_treatment(self.errors)

    @property
    def most_steps(self) -> int:
        """Updates for any number of stars, at most."""
        return MOST_STEPS if self.steps is None else self.steps

    def for_stars(self, n: int) -> ScoreMatchingSettings:
        """The same with what depends on ``n`` training stars filled in."""
        filled = self
        if filled.steps is None:
            steps = min(max(round(MOST_STEPS * n / ENOUGH_STARS), LEAST_STEPS), MOST_STEPS)
            often = {"validate_every": min(self.validate_every, steps // 10), "checkpoint_every": min(self.checkpoint_every, steps // 3)}
            filled = replace(filled, steps=steps, **often)
        if filled.weight_decay is None:
            filled = replace(filled, weight_decay=min(DECAY / max(filled.most_steps, 1), STRONGEST_DECAY))
        return filled

    def training(self) -> TrainingSettings:
        """The part of the loop; that for many stars where it depends on their number."""
        shared = {f.name for f in fields(TrainingSettings)}
        return TrainingSettings(**{k: v for k, v in asdict(self.for_stars(ENOUGH_STARS)).items() if k in shared})


class ScoreMatchingDistribution(Distribution):
    """f = n_stars exp(ln p(y) - ln Z) |J| with the network ln p. Made by `fit_score_matching`."""

    estimator = "score-matching"

    def __init__(
        self, *, network: EnergyNetwork, whitening: Whitening, log_scale: float, images: list[list[float]] | None = None, **common: Any
    ) -> None:
        super().__init__(**common)
        self.network = network
        self.whitening = whitening
        self.log_scale = log_scale
        self.images = [[1.0] * 6] if images is None else images

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parameter = self.network.out
        x = x.to(parameter.device).requires_grad_(True)
        parts = []
        for signs in self.images:
            y, log_det = self.whitening.forward(x * torch.tensor(signs, dtype=x.dtype, device=x.device))
            parts.append(self.network(y.to(parameter.dtype)).double() + log_det)
        log_f = torch.logsumexp(torch.stack(parts), 0) - math.log(len(parts)) + self.log_scale
        (score,) = torch.autograd.grad(log_f.sum(), x)
        return log_f.detach(), score

    @property
    def has_sampler(self) -> bool:
        return True

    @property
    def prefers_stars(self) -> bool:
        return True

    def _sample(self, n: int, seed: int) -> NDArray[np.float64]:
        x = resampled(self.network, self.whitening, self.volume, n, seed)
        signs = np.array(self.images)[np.random.default_rng([seed, 0x516]).integers(len(self.images), size=n)]
        return x * signs

    def _parts(self) -> list[Any]:
        return [self.network, self.whitening]

    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        network = self.network
        tensors = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
        header = {
            "width": network.width,
            "depth": network.depth,
            "features": network.features.to_dict(),
            "whitening": self.whitening.to_dict(),
            "log_scale": self.log_scale,
            "images": self.images,
        }
        return tensors, header

    @classmethod
    def _from_state(cls, tensors: dict[str, NDArray[Any]], header: dict[str, Any], common: dict[str, Any]) -> ScoreMatchingDistribution:
        features = Features.from_dict(header["features"])
        network = EnergyNetwork(features=features, width=int(header["width"]), depth=int(header["depth"])).to(precision_of(tensors))
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in tensors.items()})
        whitening = Whitening.from_dict(header["whitening"])
        return cls(network=network, whitening=whitening, log_scale=float(header["log_scale"]), images=header["images"], **common)


def fit_score_matching(
    x: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    *,
    whitening: Whitening,
    volume: Volume,
    region: Volume,
    settings: ScoreMatchingSettings,
    validation_fraction: float,
    seed: int,
    device: str,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    noisy: NoisyStars | None = None,
) -> ScoreMatchingDistribution:
    """Train the network on the stars ``x`` (n, 6) of the region V and normalise f on the volume.

    Parameters
    ----------
    x : ndarray, shape (n, 6)
        Stars inside ``region``.
    weights : ndarray, shape (n,), optional
        Star weights, of any scale.
    whitening : Whitening
        Fitted to the stars.
    volume, region : Volume
        Where f is normalised, and where it is trained.
    settings, validation_fraction, seed, device, progress, checkpoint
        As in `fit_distribution`.
    noisy : NoisyStars, optional
        Displaced stars, which then take the place of ``x`` in the training.
    """
    points = torch.tensor(x, dtype=torch.float64)
    y64, _ = whitening.whiten(points)
    rows, held = split_indices(len(x) if noisy is None else len(noisy.tracers), validation_fraction, seed)
    held = held[:VALIDATION_ROWS]
    settings = settings.for_stars(len(rows))
    batches: Callable[[int], Any]
    if noisy is None:
        g, slope = region.boundary_weight(x[:, :3])
        slope_y = whitening.pull_back_covector(points, torch.from_numpy(slope))
        importance = torch.ones(len(x), dtype=torch.float64) if weights is None else torch.from_numpy(weights / weights.mean())
        stars = (y64, torch.from_numpy(g) * importance, slope_y * importance[:, None])
        batches = ShuffledBatches(*(part[rows].float().to(device) for part in stars), size=settings.batch, seed=seed)
        judged = tuple(part[held].float().to(device) for part in stars)
    else:
        batches = NoisyBatches(noisy, rows, size=settings.batch, seed=seed, device=device)
        judged = tuple(part.to(device) for part in noisy(held.numpy(), VALIDATION_DRAW))
    initial = torch.Generator().manual_seed(seed)
    features = choose_features(whitening, y64.numpy())
    network = EnergyNetwork(features=features, width=settings.width, depth=settings.depth, generator=initial).to(device)
    images = symmetry_images(reflect=settings.reflect, turn=settings.turn)
    signs = torch.tensor(images, device=device)

    def draw(batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
        stars, boundary, boundary_slope = batch
        if len(images) > 1:
            flips = signs[torch.arange(len(stars), device=stars.device) % len(images)]
            stars, boundary_slope = stars * flips, boundary_slope * flips[:, :3]
        if settings.noise > 0.0:
            stars = stars + settings.noise * torch.randn(stars.shape, generator=generator, device=stars.device)
        return stars, boundary, boundary_slope

    def validate() -> float:
        return float(network.objective(*judged))

    history = train(
        network,
        lambda batch: network.objective(*batch),
        batches,
        settings=settings.training(),
        draw=draw,
        validate=validate if len(held) else None,
        checkpoint=checkpoint,
        progress=progress,
        generator=torch.Generator(device=device).manual_seed(seed),
        device=device,
        stage="distribution",
    )
    network = network.cpu().requires_grad_(False)

    inside = volume.contains(x[:, :3])

    def log_p(rows64: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([network(part.float()).double() for part in rows64.split(16384)])

    inside_weights = None if weights is None else weights[inside]
    log_z, log_z_error = log_normalisation(log_p, whitening, volume, y64.numpy()[inside], inside_weights, seed)
    n_stars = float(inside.sum()) if inside_weights is None else float(inside_weights.sum())
    return ScoreMatchingDistribution(
        network=network,
        whitening=whitening,
        log_scale=float(np.log(n_stars)) - log_z,
        images=images,
        volume=volume,
        n_stars=n_stars,
        history=history,
        meta={"settings": asdict(settings), "seed": seed, "region": region.to_dict(), "log_normalisation_error": log_z_error},
    )


def choose_features(whitening: Whitening, y: NDArray[np.float64]) -> Features:
    """Disc features for a physical chart about the axis, plain ones otherwise; both scaled to the whitened stars ``y``."""
    if whitening.kind != "disc" or not bool(whitening.parameters["linear"]) or bool((whitening.parameters["centre"] != 0).any()):
        return PlainFeatures([float(v) for v in y.std(axis=0)])
    a = float(whitening.parameters["a"] / whitening.parameters["scale"][0])
    stretched = np.log1p((y[:, 0] ** 2 + y[:, 1] ** 2) / a**2)  # the sum of two squares
    return DiscFeatures(a=a, b=float(np.sqrt(0.5 * stretched.mean())))
