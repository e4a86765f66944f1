"""Exact checkpoints of a training: weights, averages, best weights, optimiser, generator, schedule, step and history.

All arrays go into one safetensors file through `deeppot_galactic.store` (no pickle); numbers that steer the training go into its
JSON header. Loading restores every bit, so that a training that was interrupted continues as if it had not been (on the CPU).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import StoreError
from ..store import read_model, rebuilding, write_model

KIND = "checkpoint"


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    averages: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
) -> None:
    """Write a checkpoint atomically.

    Parameters
    ----------
    path : Path
        File to write.
    averages : dict of dict of Tensor
        Further sets of weights, such as the moving average and the best ones.
    state : dict
        JSON-able: step, schedule, history, settings.
    """
    tensors = {f"model/{name}": _numpy(value) for name, value in model.state_dict().items()}
    for group, weights in averages.items():
        tensors |= {f"{group}/{name}": _numpy(value) for name, value in weights.items()}
    for index, values in optimiser.state_dict()["state"].items():
        for key, value in values.items():
            tensors[f"optimiser/{index}/{key}"] = _numpy(torch.as_tensor(value))
    tensors["generator"] = _numpy(generator.get_state())
    write_model(path, tensors, state, KIND)


def load_checkpoint(
    path: Path, *, model: nn.Module, optimiser: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Restore what `save_checkpoint` wrote, in place.

    Returns
    -------
    averages : dict of dict of Tensor
    state : dict

    Raises
    ------
    StoreError
        When the file is damaged, or belongs to a model of another shape.
    """
    tensors, state = read_model(path, KIND)
    groups: dict[str, dict[str, Tensor]] = {}
    moments: dict[int, dict[str, Tensor]] = {}
    device = next(model.parameters()).device
    with rebuilding(path):
        for name, array in tensors.items():
            value = torch.from_numpy(np.array(array))
            group, _, rest = name.partition("/")
            if group == "generator":
                generator.set_state(value)
            elif group == "optimiser":
                index, _, key = rest.partition("/")
                moments.setdefault(int(index), {})[key] = value
            else:
                groups.setdefault(group, {})[rest] = value.to(device)
        try:
            model.load_state_dict(groups.pop("model"))
        except (KeyError, RuntimeError):
            raise StoreError(f"{path} is the checkpoint of another model; delete it or use the settings it was made with") from None
        described = optimiser.state_dict()
        described["state"] = moments
        optimiser.load_state_dict(described)
    return groups, state
