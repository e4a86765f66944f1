"""Flow matching: the velocity field of a continuous flow, learnt without solving an ODE.

With a star y, a Gaussian draw e and a time t, uniform in [0, 1], the straight path z_t = (1 - t) y + t e has the velocity e - y. The
field that minimises

    mean( w |v(t, z_t) - (e - y)|^2 )

generates the marginal density of the paths (Lipman et al. 2023, arXiv:2210.02747), hence a flow from the stars (t = 0) to the
Gaussian (t = 1). Draws are independent: pairing stars and draws by optimal transport within a batch would bias the field.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..arguments import Count, Decay, Limit, NotNegative, Positive
from ..training import TrainingSettings
from .noise import check_treatment
from .symmetries import check_flow_symmetries
from .vector_field import check_shape

if TYPE_CHECKING:
    from .flow import ContinuousFlow


@dataclass(frozen=True, kw_only=True)
class MatchingSettings:
    """Settings of flow matching; the defaults are the preset ``flow-matching``.

    Attributes
    ----------
    steps, batch, rate, warmup, weight_decay, ema, clip, validate_every, checkpoint_every
        See `deeppot_galactic.training.TrainingSettings`.
    width, depth, shape
        See `VectorField`.
    solver_steps : int
        Runge-Kutta steps for ln p and scores.
    chain : int
        Fields in the chain; matching trains one.
    whiten : bool
        Physical whitening; False takes the plain mean and variance of each dimension.
    pad : bool
        Train on the stars beyond the volume too, thinned smoothly, see `padding`; False ends at a hard edge.
    finetune_steps, finetune_batch, finetune_rate
        Updates by maximum likelihood after the matching (see `likelihood`; fixed steps, exact trace, no regularisation), their batch
        and rate. The result is kept only where it raises the likelihood of the stars held out.
    errors : {"ignore", "inject"}
        Whether the stars' coordinates are drawn anew from their errors at every epoch, see `deeppot_galactic.distribution.noise`.
    reflect, turn : bool
        Use the symmetry about z = 0, under rotation by pi: trained on all images of the stars, f is the mean over its own images.
    """

    estimator: str = "flow-matching"
    steps: Count = 5000
    batch: Count = 2048
    rate: Positive = 2e-3
    warmup: int = 100
    weight_decay: NotNegative = 1e-3
    ema: Decay = 0.998
    clip: Limit = 10.0
    validate_every: Count = 200
    checkpoint_every: Count = 500
    width: Count = 192
    depth: Count = 4
    shape: str = "residual"
    solver_steps: Count = 4
    chain: Count = 1
    whiten: bool = True
    pad: bool = True
    finetune_steps: int = 0
    finetune_batch: Count = 512
    finetune_rate: Positive = 2e-4
    errors: str = "ignore"
    reflect: bool = False
    turn: bool = False

    def __post_init__(self) -> None:
        check_treatment(self.errors, known=("ignore", "inject"))
        check_flow_symmetries(self)
        check_shape(self.shape)

    def training(self) -> TrainingSettings:
        """The part of the loop."""
        shared = {f.name for f in fields(TrainingSettings)}
        return TrainingSettings(**{k: v for k, v in asdict(self).items() if k in shared})

    def finetuning(self) -> TrainingSettings:
        """The loop of the fine-tuning."""
        steps = self.finetune_steps
        often = max(1, min(self.validate_every, steps // 4))
        return replace(self.training(), steps=steps, rate=self.finetune_rate, warmup=max(1, steps // 20), validate_every=often)


def matching_draws(y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Gaussian draws e (n, 6) and times t (n,) for the stars ``y`` (n, 6)."""
    draw = torch.randn(y.shape, generator=generator, device=y.device, dtype=y.dtype)
    # stratified times: one in each of n equal intervals, in random order, hence exactly uniform and less noisy
    order = torch.randperm(len(y), generator=generator, device=y.device)
    jitter = torch.rand(len(y), generator=generator, device=y.device, dtype=y.dtype)
    return draw, (order + jitter) / len(y)


def matching_loss(flow: ContinuousFlow, y: Tensor, weight: Tensor, draw: Tensor, t: Tensor) -> Tensor:
    """The objective on one batch: stars ``y`` (n, 6) with weights (n,), and their `matching_draws`."""
    z = y + t[:, None] * (draw - y)
    miss = flow.fields[0](t, z) - (draw - y)
    return (weight * (miss * miss).sum(1)).mean()
