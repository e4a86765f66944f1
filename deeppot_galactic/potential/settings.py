"""Settings of the network fit, and its presets."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ..arguments import Count, Decay, NotNegative, Positive, replaced
from ..errors import ConfigError

if TYPE_CHECKING:
    from ..training import TrainingSettings


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
        Let the parameters of that base train along with the network; needs ``use_base``.
    reflect, turn : bool
        Make Phi exactly even in z, and under a rotation by pi about the axis ("disc" inputs are even in z already).
    anchor : float
        Weight of the weak form's posterior; 0 trains on scores alone.
    start : {"frame", "linear"}
        Where Omega of a network without anchor starts: from the frame that is given, or from the linear solution. With an anchor it starts
        from the weak form.
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

    width: Count = 128
    depth: Count = 3
    inputs: str = "disc"
    use_base: bool = True
    train_base: bool = False
    reflect: bool = False
    turn: bool = False
    anchor: NotNegative = 1.0
    start: str = "frame"
    residual: str = "ln f"
    alpha: Positive = 1e5
    beta: Positive = 1.0
    density_weight: NotNegative = 10.0
    l2: NotNegative = 1e-3
    scale: Positive | None = None
    batch: Count = 1024
    steps: Count = 1600
    rate: Positive = 1e-2
    warmup: int = 100
    schedule: str = "cosine"
    patience: Count = 512
    weight_decay: NotNegative = 0.0
    ema: Decay = 0.995
    n_places: Count = 8192

    def training(self) -> TrainingSettings:
        """The part of the loop."""
        from ..training import TrainingSettings  # torch comes with it, which a loaded model does without

        return TrainingSettings(
            steps=self.steps,
            rate=self.rate,
            warmup=min(self.warmup, self.steps // 2),
            schedule=self.schedule,
            patience=self.patience,
            weight_decay=self.weight_decay,
            clip=10.0,
            ema=self.ema,
            validate_every=max(min(100, self.steps // 10), 1),
            checkpoint_every=500,
        )


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


_CHOICES = {"inputs": ("disc", "plain"), "residual": ("ln f", "f"), "start": ("frame", "linear")}


def resolve_settings(preset: str, overrides: dict[str, Any], method: str = "network") -> PotentialSettings:
    """A preset with some settings replaced; all of them belong to the network.

    Raises
    ------
    ConfigError
        For an unknown preset or setting, with the nearest known one, a setting of another method, a value out of range, or ``train_base``
        without a base.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown potential preset {preset!r}; known are {', '.join(PRESETS)}")
    known = [f.name for f in fields(PotentialSettings)]
    for name in overrides:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown potential option {name!r}; {hint}")
        if method != "network":
            raise ConfigError(f"potential option {name!r} belongs to method 'network'; method {method!r} has no use for it, leave it away")
    settings = replaced(PRESETS[preset], overrides, "potential option", ConfigError)
    for name, choices in _CHOICES.items():
        if getattr(settings, name) not in choices:
            raise ConfigError(f"potential option {name} must be one of {', '.join(map(repr, choices))}, found {getattr(settings, name)!r}")
    if settings.train_base and not settings.use_base:
        raise ConfigError("potential option train_base needs use_base: without the analytic base there is nothing to train along")
    settings.training()  # refuses what the loop does not know
    return settings
