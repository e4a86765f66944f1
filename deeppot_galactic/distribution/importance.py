r"""Draws from an unnormalised density whose base can be drawn from: importance resampling.

With proposals y from the base b(y), the weights are w = p(y) / b(y) = e^{E(y)} inside the volume and zero outside. A proposal is taken
floor(w / c + u) times, u uniform: rejection where w < c, copies where w is larger, and unbiased for any c. c is the 99.9 % quantile of
the weights, so that few draws are copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from .rejection import collect

if TYPE_CHECKING:
    from ..catalogue.volumes import Volume
    from .energy_network import EnergyNetwork
    from .whitening import Whitening

PROPOSALS = 65536
"""Proposals made at once."""
CAP = 0.999
"""Quantile of the weights that is c."""
LEAST_ACCEPTED = 1e-4
"""Share of proposals that must be taken."""


def resampled(network: EnergyNetwork, whitening: Whitening, volume: Volume, n: int, seed: int) -> NDArray[np.float64]:
    """Draw from p inside the volume.

    Parameters
    ----------
    network : EnergyNetwork
        ln p(y) of whitened coordinates.
    whitening : Whitening
    volume : Volume
    n : int
    seed : int

    Returns
    -------
    ndarray, shape (n, 6)
        kpc and km/s, in random order.

    Raises
    ------
    FitError
        When the base hardly overlaps with p inside the volume.
    """
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng([seed, 0x1A9])
    parameter = network.out
    cap: float | None = None

    def attempt(_: int) -> tuple[NDArray[np.float64], int]:
        nonlocal cap
        y = network.features.draw(PROPOSALS, generator).to(parameter.device, parameter.dtype)
        x = whitening.inverse(y.double()).cpu().numpy()
        inside = volume.contains(x[:, :3])
        x, y = x[inside], y[torch.from_numpy(inside).to(y.device)]
        with torch.no_grad():
            log_weight = torch.cat([network.parts(part)[0] for part in y.split(16384)]).double().cpu().numpy()
        finite = np.isfinite(log_weight)
        x, log_weight = x[finite], log_weight[finite]
        if cap is None and len(x):
            cap = float(np.quantile(log_weight, CAP))
        if cap is None:
            return x, PROPOSALS  # none
        times = np.floor(np.exp(np.minimum(log_weight - cap, 20.0)) + rng.uniform(size=len(x))).astype(int)
        return np.repeat(x, times, axis=0), PROPOSALS

    what = f"proposals represent f inside the {volume.describe()}; f is too far from its base"
    return rng.permutation(collect(n, attempt, what, least=LEAST_ACCEPTED)[0])[:n]
