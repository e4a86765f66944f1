"""Options of the two fits: each number has a range, and what is beyond it is refused by name before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from deeppot_galactic.distribution.fit import PRESETS as DISTRIBUTIONS
from deeppot_galactic.distribution.fit import resolve_settings as resolve_distribution
from deeppot_galactic.errors import ConfigError
from deeppot_galactic.potential.settings import PRESETS as POTENTIALS
from deeppot_galactic.potential.settings import resolve_settings as resolve_potential

RESOLVE: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "potential": (resolve_potential, POTENTIALS),
    "distribution": (resolve_distribution, DISTRIBUTIONS),
}
NUMBERS = [
    (kind, preset, entry.name)
    for kind, (_, presets) in RESOLVE.items()
    for preset, settings in presets.items()
    for entry in fields(settings)
    if entry.type not in ("bool", "str") and entry.name != "betas"
]
ZERO = {
    "anchor", "density_weight", "l2", "warmup", "weight_decay", "ema", "noise", "early_stopping", "min_drop", "min_rate", "kinetic",
    "jacobian", "finetune_steps",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "preset", "name"), NUMBERS)
def test_every_number_has_a_range(kind: str, preset: str, name: str) -> None:
    resolve = RESOLVE[kind][0]
    for value in (-1, np.nan, "1", True, *([] if name in ZERO else [0])):
        with pytest.raises(ConfigError, match=f"{kind} option {name} must be a .*number.*, found {value!r}"):
            resolve(preset, {name: value})
    assert getattr(resolve(preset, {name: 0 if name in ZERO else 1}), name) == (name not in ZERO)


@pytest.mark.parametrize(
    ("kind", "preset", "option", "words"),
    [
        ("potential", "fast", {"ema": 1.0}, "ema must be a number of at least 0 and below 1"),
        ("potential", "fast", {"rate": np.inf}, "rate must be a positive number"),
        ("potential", "fast", {"steps": 2.5}, "steps must be a whole number"),
        ("potential", "paper", {"schedule": "x"}, "schedule 'x' is unknown"),
        ("distribution", "paper", {"schedule": "x"}, "schedule 'x' is unknown"),
        ("distribution", "paper", {"shape": "x"}, "shape 'x' is unknown"),
        ("distribution", "flow-matching", {"shape": "x"}, "shape 'x' is unknown"),
        ("distribution", "fast", {"optimiser": "x"}, "optimiser 'x' is unknown"),
        ("distribution", "fast", {"betas": [0.9, 1.0]}, "betas must be two numbers"),
        ("distribution", "fast", {"betas": ["a", "b"]}, "betas must be two numbers"),
        ("distribution", "fast", {"betas": 0.9}, "betas must be two numbers"),
    ],
)
def test_other_values_that_no_fit_can_use(kind: str, preset: str, option: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RESOLVE[kind][0](preset, option)


def test_a_gradient_may_have_no_limit() -> None:
    assert resolve_distribution("fast", {"clip": np.inf}).clip == np.inf


@pytest.mark.parametrize("method", ["weak", "linear"])
@pytest.mark.parametrize("name", [entry.name for entry in fields(POTENTIALS["fast"])])
def test_options_belong_to_the_network(method: str, name: str) -> None:
    """Also one that repeats the default; presets, which a run always has, are the same for these methods."""
    with pytest.raises(ConfigError, match=f"option '{name}' belongs to method 'network'; method '{method}'"):
        resolve_potential("fast", {name: getattr(POTENTIALS["fast"], name)}, method)
    assert resolve_potential("paper", {}, method) == POTENTIALS["paper"]
