"""Stars sorted by the resonance they sit on, in one call.

A draw of the stars is integrated in the potential, the frequencies of each orbit are read off by frequency analysis (`frequencies`), and
its ratio eta = (Omega_phi - Omega_p) / Omega_R is compared with those of corotation and the Lindblad resonances. The fraction of stars
near each resonance follows, with its binomial error. Orbits that leave the training volume are extrapolated, and marked.

References
----------
Binney & Tremaine 2008, Galactic Dynamics, section 3.3 (resonances).
Valluri et al. 2016, ApJ 818, 141 (orbits in bars by their frequencies).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import ArrayLike

from ..arguments import whole
from ..catalogue.propagation import star_weights
from ..errors import DeepPotError, ExtrapolationWarning
from ..units import LENGTH, VELOCITY, vectors
from .frequencies import RESONANCES, TOLERANCE, orbital_frequencies, resonance_fractions, resonance_ratio
from .orbits import integrate_orbits

LIMIT = 1000
DURATION = 3.0 * u.Gyr
SAMPLES = 512
"""Outputs of each orbit: one in 6 Myr, four or more in the shortest radial period of a galaxy's disc."""
DRIFT = 5e-3
"""Relative change of the Jacobi energy that is let pass: it shifts a frequency by less than the 1 / duration to which it is known."""


def classify_stars(
    potential: Any,
    pos: u.Quantity,
    vel: u.Quantity,
    *,
    limit: int = LIMIT,
    duration: u.Quantity = DURATION,
    samples: int = SAMPLES,
    tolerance: float = TOLERANCE,
    weights: ArrayLike | None = None,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> tuple[QTable, QTable]:
    """Frequencies and resonances of stars, and the fraction of stars near each resonance.

    Parameters
    ----------
    potential : PotentialModel, GlobalPotential
        With a pattern speed; a compiled one (`deeppot_galactic.interop.compile_potential`) is a hundred times faster.
    pos, vel : Quantity, shape (N, 3)
        In the catalogue's frame.
    limit : int
        Stars to classify, drawn at random without replacement.
    duration : Quantity
        How long each orbit is followed; eta is known to about one radial period over this.
    samples : int
        Outputs per orbit, at least 64.
    tolerance : float
        Half width in eta.
    weights : array_like, shape (N,), optional
        Masses, or inverse selection probabilities.
    seed : int
        Of the draw.
    progress : callable, optional
        ``progress(stage, done, total, values)``.

    Returns
    -------
    stars : QTable
        ``index`` of the star in the catalogue, ``Omega_R``, ``Omega_phi``, ``Omega_z``, ``ratio`` (eta), ``resonance`` (the nearest within
        the tolerance, or empty), ``jacobi``, ``left_volume``.
    fractions : QTable
        As from `resonance_fractions`.

    Raises
    ------
    DeepPotError
        Without stars, or a pattern speed, or for a ``limit`` or seed that is no whole number of at least 1 or 0.
    MissingPackageError
        Without naif.
    """
    x, v = vectors(pos, LENGTH, "pos"), vectors(vel, VELOCITY, "vel")
    if len(x) != len(v):
        raise DeepPotError(f"positions hold {len(x)} stars and velocities {len(v)}; they must agree")
    limit, seed = whole(limit, "limit", least=1), whole(seed, "seed")
    if not len(x):
        raise DeepPotError("no stars to classify")
    index = np.sort(np.random.default_rng(seed).permutation(len(x))[:limit])
    w = star_weights(weights, len(x))
    times = u.Quantity(np.linspace(0, 1, samples) * duration)
    with warnings.catch_warnings():
        # the table says which ones
        warnings.simplefilter("ignore", ExtrapolationWarning)
        orbits = integrate_orbits(potential, x[index] * LENGTH, v[index] * VELOCITY, times, tolerance=DRIFT, progress=progress)
    if not np.any(orbits.omega.value):
        raise DeepPotError("the potential has no pattern speed: no star is in resonance with it")
    frequencies: Any = orbital_frequencies(orbits)
    ratio = resonance_ratio(orbits, frequencies)
    places = np.array(list(RESONANCES.values()))
    nearest = np.argmin(np.abs(ratio[:, None] - places), axis=1)
    near = np.abs(ratio - places[nearest]) < tolerance
    names = np.where(near, np.array(list(RESONANCES))[nearest], "")
    columns = [index, frequencies[:, 0], frequencies[:, 1], frequencies[:, 2], ratio, names, orbits.jacobi[0], orbits.left_volume]
    stars = QTable(columns, names=["index", "Omega_R", "Omega_phi", "Omega_z", "ratio", "resonance", "jacobi", "left_volume"])
    return stars, resonance_fractions(ratio, tolerance=tolerance, weights=w[index])
