r"""Known errors of the stars in the training of f: drawn anew at every epoch, or taken out of the objective.

The stars as observed sample f blurred by their errors, and nothing else. Two treatments:

``inject``   every time a star is used, its coordinates are drawn from its errors about the observed ones. That blurs a second time: the
             scores are those of f with *twice* the covariance. It keeps the network from resolving structure finer than the errors, and
             shows how much the errors matter; it does not correct for them.
``correct``  the objective of the true stars. Any mean over stars, as a function of the noise variance, is known with lambda = 0, 1, 2
             times the covariance added, and extrapolated to lambda = -1 (see `deeppot_galactic.catalogue.copies`): every star counts
             thrice as observed, minus thrice displaced by a draw n, plus once displaced by sqrt(2) n, drawn anew at every epoch. To
             second order in the covariance this trains on f itself, with no Gaussian approximation of 1 / parallax.

The draws of a step depend on the seed and the step alone, so that an interrupted training resumes exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..catalogue.copies import EXTRAPOLATION, error_copies
from ..catalogue.propagation import pairs
from ..errors import ConfigError
from ..training import ShuffledBatches

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers
    from ..catalogue.volumes import Volume
    from .whitening import Whitening

Array = NDArray[np.float64]
TREATMENTS = ("ignore", "inject", "correct")
_ORDER = 2
_TAG = 0xE7705


def check_treatment(errors: str, *, known: tuple[str, ...] = TREATMENTS) -> None:
    """Refuse another treatment of errors than those known (`ConfigError`)."""
    if errors not in TREATMENTS:
        raise ConfigError(f"errors must be one of {', '.join(map(repr, TREATMENTS))}, found {errors!r}")
    if errors not in known:
        raise ConfigError(f"errors = {errors!r} needs score matching (preset 'fast' or 'quick'); flows know {', '.join(map(repr, known))}")


def trained_on(tracers: Tracers, region: Volume, errors: str, seed: int) -> Tracers:
    """The stars that count in the training: those in the region, and with errors those that noise may bring in."""
    if errors == "ignore":
        return tracers.within(region)
    return tracers.select(error_copies(tracers, order=_ORDER, seed=seed).reaching(region))


class NoisyStars:
    """Whitened stars with their boundary weights, displaced by their errors.

    Parameters
    ----------
    tracers : Tracers
        The stars of the training, with errors.
    whitening : Whitening
    region : Volume or None
        Whose boundary weight counts; None for flows, which have none.
    errors : {"inject", "correct"}
    seed : int
    """

    def __init__(self, tracers: Tracers, whitening: Whitening, region: Volume | None, errors: str, seed: int) -> None:
        self.tracers, self.whitening, self.region, self.seed = tracers, whitening, region, seed
        weights = tracers.weights
        self.importance = np.ones(len(tracers)) if weights is None else np.asarray(weights, dtype=np.float64) / np.mean(weights)
        self.levels = ((1.0, 1.0),) if errors == "inject" else tuple((c, float(k)) for k, c in enumerate(EXTRAPOLATION[_ORDER]))

    def __call__(self, rows: NDArray[np.int64], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """y (m, 6), weight (m,) and slope (m, 3) of the copies of some stars, float32; their sum over m / n is the mean over stars.

        Parameters
        ----------
        rows : array of int
        step : int
            Names the draw.
        """
        some = self.tracers.select(rows)
        draw = pairs(some)
        parts = []
        for coefficient, factor in self.levels:
            # The same generator for every level: displacements differ by a factor only, and their noise partly cancels.
            rng = np.random.default_rng([self.seed, step, _TAG])
            x = draw(rng, factor)[0] if factor > 0.0 else some.phase_space
            parts.append(self._weighted(x, coefficient * self.importance[rows]))
        y, weight, slope = (torch.cat(part) for part in zip(*parts, strict=True))
        # The objective divides by the number of rows it is given; the mean is over stars.
        return y, weight * len(self.levels), slope * len(self.levels)

    def _weighted(self, x: Array, importance: Array) -> tuple[Tensor, Tensor, Tensor]:
        points = torch.tensor(x, dtype=torch.float64)
        y, _ = self.whitening.whiten(points)
        g, slope = (np.ones(len(x)), np.zeros((len(x), 3))) if self.region is None else self.region.boundary_weight(x[:, :3])
        slope_y = torch.zeros(len(x), 3, dtype=torch.float64)
        edge = np.flatnonzero(slope.any(axis=1))
        if len(edge):
            slope_y[edge] = self.whitening.pull_back_covector(points[edge], torch.from_numpy(slope[edge]))
        signed = torch.from_numpy(importance)
        return y.float(), (torch.from_numpy(g) * signed).float(), (slope_y * signed[:, None]).float()


class NoisyBatches:
    """Callable ``step -> (y, weight, slope)``: shuffled stars, displaced anew at every step."""

    def __init__(self, stars: NoisyStars, rows: Tensor, *, size: int, seed: int, device: str) -> None:
        self.stars, self.device = stars, device
        self.index = ShuffledBatches(rows.cpu(), size=size, seed=seed)

    def __call__(self, step: int) -> tuple[Tensor, ...]:
        rows = self.index(step)[0].numpy()
        return tuple(part.to(self.device) for part in self.stars(rows, step))
