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

Array = NDArray[np.float64]


@dataclass
class Fitted:
    """What a method gives: potential, frame, errors of Omega (3,) [km/s/kpc], posterior, history of the training, and diagnostics."""

    inner: LinearPotential | NetworkPotential
    frame: RotatingFrame
    errors: Array
    posterior: PotentialPosterior | None
    history: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
