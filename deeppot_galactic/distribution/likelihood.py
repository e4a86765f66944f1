r"""FFJORD: a chain of continuous flows trained by maximum likelihood, as Kalda, Green & Ghosh (2023, section 3.1) do.

    loss = -mean( w ln p(y) ) + lambda_K mean \int |v|^2 dt + lambda_J mean \int |dv/dz|_F^2 dt,

the last two being the kinetic and Jacobian regularisation of Finlay et al. (2020, arXiv:2002.02798), both divided by the number of
dimensions. The divergence and the Frobenius norm are exact, from the six tangents pushed forward by hand, or estimated with one random
sign vector per star (Hutchinson). The ODE is solved by an adaptive method of `torchdiffeq` with adjoint gradients (``dopri5``, as in the
paper) or by fixed Runge-Kutta steps with gradients through the steps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..arguments import Count, Decay, Limit, NotNegative, Positive
from ..errors import ConfigError
from ..training import TrainingSettings
from .flow import rk4, standard_normal
from .noise import check_treatment
from .symmetries import check_flow_symmetries
from .vector_field import check_shape

if TYPE_CHECKING:
    from .flow import ContinuousFlow

ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Methods of torchdiffeq that choose their steps by the tolerances."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodSettings:
    """Settings of FFJORD by likelihood; the defaults are the preset ``paper``.

    Attributes
    ----------
    steps, batch, rate, schedule, warmup, patience, min_drop, min_rate, optimiser, clip, ema, validate_every, checkpoint_every
        See `deeppot_galactic.training.TrainingSettings`; ``steps`` is an upper limit, the end is the rate below ``min_rate``.
    chain, width, depth, shape
        Number of flows and the field of each, see `VectorField`.
    trace : {"exact", "hutchinson"}
        Divergence in training; densities and scores are always exact.
    solver : {"dopri5", "rk4", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"}
        Solver in training: adaptive, but for rk4.
    rtol, atol : float
        Tolerances of an adaptive solver; float32 resolves no better than 1e-6.
    solver_steps : int
        Fixed steps per flow, for rk4 in training and for densities and scores.
    kinetic, jacobian : float
        lambda_K and lambda_J.
    whiten : bool
        Physical whitening; False is the paper's base Gaussian with the data's mean and variance.
    pad : bool
        Train on the stars beyond the volume too, thinned smoothly, see `padding` (appendix B); False ends at a hard edge.
    errors : {"ignore", "inject"}
        Whether the stars' coordinates are drawn anew from their errors at every epoch, see `deeppot_galactic.distribution.noise`.
    reflect, turn : bool
        Use the symmetry about z = 0, under rotation by pi: trained on all images of the stars, f is the mean over its own images.
    """

    estimator: str = "likelihood"
    steps: Count = 200_000
    batch: Count = 8192
    rate: Positive = 1e-3
    schedule: str = "plateau"
    warmup: int = 2048
    patience: Count = 512
    min_drop: NotNegative = 0.01
    min_rate: NotNegative = 1e-6
    optimiser: str = "radam"
    clip: Limit = 1e9
    ema: Decay = 0.0
    validate_every: Count = 256
    checkpoint_every: Count = 512
    chain: Count = 3
    width: Count = 128
    depth: Count = 8
    shape: str = "plain"
    trace: str = "exact"
    solver: str = "dopri5"
    rtol: Positive = 1e-5
    atol: Positive = 1e-5
    solver_steps: Count = 8
    kinetic: NotNegative = 5e-4
    jacobian: NotNegative = 5e-4
    whiten: bool = False
    pad: bool = True
    errors: str = "ignore"
    reflect: bool = False
    turn: bool = False

    def __post_init__(self) -> None:
        check_treatment(self.errors, known=("ignore", "inject"))
        check_flow_symmetries(self)
        check_shape(self.shape)
        if self.trace not in ("exact", "hutchinson"):
            raise ConfigError(f"trace {self.trace!r} is unknown; choose exact or hutchinson")
        if self.solver not in (*ADAPTIVE, "rk4"):
            raise ConfigError(f"solver {self.solver!r} is unknown; choose one of {', '.join(ADAPTIVE)}, rk4")

    def training(self) -> TrainingSettings:
        """The part of the loop."""
        shared = {f.name for f in fields(TrainingSettings)}
        return TrainingSettings(**{k: v for k, v in asdict(self).items() if k in shared})


class _Dynamics(nn.Module):
    """d/dt of (z, divergence, |v|^2, |J|^2) for one field; a module because the adjoint method looks for its parameters."""

    def __init__(self, field: Any, signs: Tensor | None) -> None:
        super().__init__()
        self.field = field
        self.signs = signs

    def forward(self, t: Tensor | float, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z = state[0]
        if self.signs is None:
            v, jacobian = self.field.with_jacobian(t, z)
            divergence = jacobian.diagonal(dim1=1, dim2=2).sum(1)
            frobenius = (jacobian * jacobian).sum((1, 2))
        else:
            v, pushed = self.field.pushed(t, z, self.signs[None])
            divergence = (pushed[0] * self.signs).sum(1)
            frobenius = (pushed[0] * pushed[0]).sum(1)
        return v, divergence, (v * v).sum(1), frobenius


def hutchinson_signs(flow: ContinuousFlow, y: Tensor, settings: LikelihoodSettings, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A random sign vector for each of the stars ``y`` (n, 6) and each field of the chain; none for the exact trace."""
    if settings.trace == "exact":
        return ()
    return tuple(2.0 * torch.randint(0, 2, y.shape, generator=generator, device=y.device).to(y.dtype) - 1.0 for _ in flow.fields)


def likelihood_loss(flow: ContinuousFlow, y: Tensor, weight: Tensor, settings: LikelihoodSettings, *signs: Tensor) -> Tensor:
    """The objective on one batch: stars ``y`` (n, 6) with weights (n,), and their `hutchinson_signs`."""
    zero = torch.zeros_like(y[:, 0])
    state: tuple[Tensor, ...] = (y, zero, zero, zero)
    for k, field in enumerate(flow.fields):
        dynamics = _Dynamics(field, signs[k] if signs else None)
        if settings.solver == "rk4":
            state = rk4(dynamics, state, 0.0, 1.0, settings.solver_steps)
        else:
            from torchdiffeq import odeint_adjoint

            span = torch.tensor([0.0, 1.0], dtype=y.dtype, device=y.device)
            path = odeint_adjoint(dynamics, state, span, rtol=settings.rtol, atol=settings.atol, method=settings.solver)
            state = tuple(part[-1] for part in path)
    z, divergence, kinetic, frobenius = state
    log_p = standard_normal(z) + divergence
    penalty = (settings.kinetic * kinetic + settings.jacobian * frobenius) / y.shape[1]
    return (weight * (penalty - log_p)).mean()
