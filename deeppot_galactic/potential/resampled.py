"""An ensemble of potentials from resampled stars: what the finite sample leaves open.

Each member is fitted to a bootstrap sample, N stars drawn from the N with replacement, exactly as the model itself; quantities derived
from the members scatter by their statistical error. Systematic errors (a bar that is not steady, scores that are smoothed) are not in it:
the scores are shared by the members, so that for methods that rest on scores the scatter is a lower limit.

References
----------
Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np

from ..arguments import instance, whole
from ..distribution.gradients import GradientSample
from ..errors import ConfigError, FitError
from .fit import fit_potential
from .model import PotentialModel
from .moments import Progress


class PotentialEnsemble(list[PotentialModel]):
    """Fits to bootstrap samples: a list of models, whose scatter is the statistical error of whatever is derived from them."""

    def error_of(self, quantity: Callable[[PotentialModel], u.Quantity]) -> u.Quantity:
        """Standard deviation over the members of anything that is derived from a model.

        Parameters
        ----------
        quantity : callable
            Model to Quantity, of the same shape for all.

        Returns
        -------
        Quantity
            Of that shape, in its unit.

        Examples
        --------
        >>> ensemble.error_of(lambda model: dark_matter_profile(model, radii)["total"])     # doctest: +SKIP
        """
        return np.std(u.Quantity([quantity(model) for model in self]), axis=0, ddof=1)

    @property
    def omega_error(self) -> u.Quantity:
        """Standard deviation (3,) of Omega over the members."""
        return self.error_of(lambda model: model.omega)

    def acceleration_error(self, pos: u.Quantity) -> u.Quantity:
        """Standard deviation of the acceleration over the members.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)

        Returns
        -------
        Quantity, shape (N, 3)
            Component by component.
        """
        return self.error_of(lambda model: model.acceleration(pos))

    def density_error(self, pos: u.Quantity) -> u.Quantity:
        """Standard deviation of the density over the members.

        Parameters
        ----------
        pos : Quantity, shape (N, 3)

        Returns
        -------
        Quantity, shape (N,)
        """
        return self.error_of(lambda model: model.density(pos))


def fit_ensemble(
    points: GradientSample, *, members: int = 8, method: str = "weak", seed: int = 0, progress: Progress | None = None, **options: Any
) -> PotentialEnsemble:
    """Fit the potential again and again to bootstrap samples.

    Parameters
    ----------
    points : GradientSample
        As for `fit_potential`.
    members : int
        At least two; the error of an error from eight is a quarter of it.
    method : {"weak", "linear", "network"}
        Usually that of the model whose errors are wanted; "weak" and "linear" take seconds to a minute per member.
    seed : int
        Of the samples and of the fits.
    progress : callable, optional
        ``progress(stage, done, total, values)``, once per member.
    **options
        Passed on to `fit_potential`.

    Returns
    -------
    PotentialEnsemble
        A list of models.

    Raises
    ------
    FitError
        If ``points`` are none, for a number of members that is not whole or below two, or a fit that fails.
    ConfigError
        For a seed that is no whole number of at least 0, and as of `fit_potential`.
    """
    instance(points, GradientSample, "points", FitError)
    members, seed = whole(members, "members", least=2, error=FitError), whole(seed, "seed", error=ConfigError)
    rng = np.random.default_rng(seed)
    models = PotentialEnsemble()
    for k in range(members):
        draw = rng.integers(0, len(points), len(points))
        weights = None if points.weights is None else points.weights[draw]
        copies, copy_weights = points.copies, points.copy_weights
        if copies is not None:
            again = rng.integers(0, len(copies), len(copies))
            copies, copy_weights = copies[again], None if copy_weights is None else copy_weights[again]
        sample = GradientSample(
            points.points[draw],
            points.log_density[draw],
            points.score[draw],
            volume=points.volume,
            weights=weights,
            meta=points.meta,
            copies=copies,
            copy_weights=copy_weights,
        )
        models.append(fit_potential(sample, method=method, seed=seed, **options))
        if progress is not None:
            progress("ensemble", k + 1, members, {"omega": float(models[-1].omega.value[2])})
    return models
