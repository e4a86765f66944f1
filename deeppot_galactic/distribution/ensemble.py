"""Ensembles: the mean of several fits, and their spread as the uncertainty of the scores.

    ln f = mean_k ln f_k - ln c,     s = mean_k s_k = grad ln f,     spread = standard deviation of s_k over the members.

c < 1 is the share of mean_k f_k that the geometric mean has, so that f integrates to the stars as they do: the mean of the ratio of the two
over draws of the members. The stars stand for these where members have no sampler (shells by score matching); that is right to second order
in the members' scatter. A draw x of a member, accepted with the probability exp(mean_k ln f_k) / mean_k f_k, is a draw of f.

Members differ in seed: initial weights, batches and the stars held out for validation, so that together they have seen all stars. The
mean removes what is particular to one training; what all of them share, the finite sample itself, stays.

References
----------
Lakshminarayanan, Pritzel & Blundell 2017, arXiv:1612.01474 (ensembles of networks that differ in their initial weights).
"""

from __future__ import annotations

from concurrent.futures import Executor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments import whole
from ..errors import ConfigError
from .base import Distribution
from .gradient_stream import BLOCK, point_source
from .members import joint_history, member_checkpoint, members_from_state, members_state, train_members
from .rejection import collect

if TYPE_CHECKING:
    from ..catalogue.tracers import Tracers
    from ..catalogue.volumes import Volume


DRAWS = BLOCK
"""Points from which the normalisation of the mean is found."""


class EnsembleDistribution(Distribution):
    """The normalised mean of several distributions.

    Parameters
    ----------
    members : list of Distribution
        Of the same stars and volume.
    log_scale : float
        -ln c, see the module.
    **common
        Passed to `Distribution`.
    """

    estimator = "ensemble"

    def __init__(self, *, members: list[Distribution], log_scale: float = 0.0, **common: Any) -> None:
        super().__init__(**common)
        self.members = members
        self.log_scale = log_scale

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = [member._evaluate(x.clone()) for member in self.members]
        log_f = torch.stack([p[0].cpu() for p in parts]).mean(0) + self.log_scale
        return log_f, torch.stack([p[1].cpu() for p in parts]).mean(0)

    def score_spread(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard deviation of the scores over the members.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space in kpc and km/s.

        Returns
        -------
        ndarray, shape (N, 6)
            1/kpc and s/km.

        Raises
        ------
        FitError
            If x has another shape.
        """
        return np.std([member.evaluate(x)[1] for member in self.members], axis=0, ddof=1)

    @property
    def has_sampler(self) -> bool:
        return all(member.has_sampler for member in self.members)

    @property
    def prefers_stars(self) -> bool:
        return any(member.prefers_stars for member in self.members)

    def _sample(self, n: int, seed: int) -> NDArray[np.float64]:
        rng, seeds = np.random.default_rng([seed, 0xE5]), count(seed, len(self.members))

        def attempt(missing: int) -> tuple[NDArray[np.float64], int]:
            x = self.draw_members(max(missing, 1024), next(seeds))
            return x[np.log(rng.uniform(size=len(x))) < self.log_acceptance(x)], len(x)

        return collect(n, attempt, "draws of the members are likely for all of them; they have not learned the same f")[0][:n]

    def draw_members(self, n: int, seed: int) -> NDArray[np.float64]:
        """Draw from the mixture: equal shares from every member, in random order.

        Parameters
        ----------
        n : int
        seed : int

        Returns
        -------
        ndarray, shape (n, 6)
            kpc and km/s.
        """
        counts = np.diff(np.linspace(0, n, len(self.members) + 1).astype(int))
        x = np.concatenate([m._sample(int(k), seed + i) for i, (m, k) in enumerate(zip(self.members, counts, strict=True)) if k])
        return np.random.default_rng(seed).permutation(x)

    def log_acceptance(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """ln of the geometric over the arithmetic mean of the members' f, with which their draws are accepted.

        Parameters
        ----------
        x : array, shape (N, 6)
            Phase space in kpc and km/s.

        Returns
        -------
        ndarray, shape (N,)
            Never positive.
        """
        log_f = np.stack([member._evaluate_rows(x)[0] for member in self.members])
        return log_f.mean(0) - (np.logaddexp.reduce(log_f, axis=0) - np.log(len(log_f)))

    def _parts(self) -> list[Any]:
        return list(self.members)

    def _state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        tensors, header = members_state(self.members)
        return tensors, header | {"log_scale": self.log_scale}

    @classmethod
    def _from_state(cls, tensors: dict[str, NDArray[Any]], header: dict[str, Any], common: dict[str, Any]) -> EnsembleDistribution:
        return cls(members=members_from_state(tensors, header), log_scale=float(header["log_scale"]), **common)


def fit_ensemble(
    tracers: Tracers,
    volume: Volume,
    *,
    members: int = 3,
    seed: int = 0,
    executor: Executor | None = None,
    checkpoint: str | Path | None = None,
    **options: Any,
) -> EnsembleDistribution:
    """Fit several distributions that differ in seed.

    Parameters
    ----------
    tracers : Tracers
        As in `fit_distribution`.
    volume : Volume
        As in `fit_distribution`.
    members : int
        How many, at least two.
    seed : int
        Members use seed, seed + 1, ...
    executor : concurrent.futures.Executor, optional
        Trains the members in parallel (threads, processes, or any other); one after the other by default.
    checkpoint : str or Path, optional
        Each member writes a file of its own beside it, and goes on from there.
    **options
        Passed to `fit_distribution`, such as ``preset``; no ``progress`` with an executor of processes.

    Returns
    -------
    EnsembleDistribution

    Raises
    ------
    ConfigError
        For a number of members that is not whole or below two, a seed that is no whole number of at least 0, and as of `fit_distribution`.
    FitError
        As of `fit_distribution`.
    """
    members, seed = whole(members, "members", least=2, error=ConfigError), whole(seed, "seed", error=ConfigError)
    jobs = [(tracers, volume, seed + k, options | {"checkpoint": member_checkpoint(checkpoint, f"member{k}")}) for k in range(members)]
    fitted = train_members(_fit_member, jobs, executor)
    first = fitted[0]
    meta = {"members": [member.meta for member in fitted], "seed": seed}
    common = {"volume": volume, "n_stars": first.n_stars, "history": joint_history(fitted, first), "meta": meta}
    return mean_of(fitted, seed=seed, tracers=first.tracers, **common)


def mean_of(members: list[Distribution], *, seed: int, **common: Any) -> EnsembleDistribution:
    """The ensemble of ``members``, normalised with draws of them, or with the stars.

    Parameters
    ----------
    members : list of Distribution
    seed : int
        Of the draws.
    **common
        The keywords of `Distribution`; members without a sampler need its ``tracers``.

    Returns
    -------
    EnsembleDistribution

    Raises
    ------
    FitError
        When there is neither a sampler nor stars.
    """
    ensemble = EnsembleDistribution(members=members, **common)
    x, weights = (ensemble.draw_members(DRAWS, seed), None) if ensemble.has_sampler else _some_stars(ensemble, seed)
    ensemble.log_scale = -float(np.log(np.average(np.exp(ensemble.log_acceptance(x)), weights=weights)))
    return ensemble


def _some_stars(df: Distribution, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """At most `DRAWS` of the stars in the volume (n, 6), and their weights."""
    source = point_source(df, DRAWS, seed, None)
    return source.draw(0, source.n)


def _fit_member(job: tuple[Any, Any, int, dict[str, Any]]) -> Distribution:
    from .fit import fit_distribution

    tracers, volume, seed, options = job
    return fit_distribution(tracers, volume, seed=seed, **options)
