"""What a method of `fit_potential` hands back to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .basis import LinearPotential
from .frame import RotatingFrame
from .posterior import PotentialPosterior

if TYPE_CHECKING:
    from .network_potential import NetworkPotential
    from .symmetry import OpenAxis

Array = NDArray[np.float64]


@dataclass
class Fitted:
    """What a method gives: potential, frame, errors of Omega (3,) [km/s/kpc], posterior, history of the training, diagnostics, and the axes
    along which the scores do not determine Omega."""

    inner: LinearPotential | NetworkPotential
    frame: RotatingFrame
    errors: Array
    posterior: PotentialPosterior | None
    history: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    open_axes: list[OpenAxis] = field(default_factory=list)
