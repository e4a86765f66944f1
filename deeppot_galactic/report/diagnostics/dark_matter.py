"""The profile of the dark matter: all matter of the fit minus a given mass of stars, in spherical shells.

    rho_DM(r) = < lap Phi / (4 pi G) >_shell - m N_shell / V_shell

with the shell cut to the volume. Shells reach through the disc: a fit that puts mass too near to the plane, or too far from it, moves it
within a shell, so that the mean is far better known than densities at single heights. Positions are drawn uniformly in the volume; the
error joins the scatter of eight sectors in azimuth, the Poisson noise of the stars and, where the fit has one, the posterior's.

References
----------
Kalda, Green & Ghosh 2023, arXiv:2310.00040, section 4 (dark matter as total minus stellar density).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arguments import whole
from .diagnosis import Diagnosis

Array = NDArray[np.float64]
SECTORS = 8
EDGE = 0.95
"""Of the volume that is used: at its very edge the fit is least certain."""
AT_LEAST = 30
"""Positions or stars in a shell."""


@dataclass(frozen=True)
class DarkProfile:
    """Dark matter in shells: ``radius`` (kpc), ``density`` and ``error`` of the fit, ``truth`` (NaN where unknown), Msun/kpc^3."""

    radius: Array
    density: Array
    error: Array
    truth: Array

    def median_error(self, low: float = 2.0, high: float = 12.0) -> float | None:
        """Median of |fit / truth - 1| over the shells between two radii.

        Parameters
        ----------
        low, high : float
            Radii [kpc].

        Returns
        -------
        float or None
            Relative; None without a truth there.
        """
        use = np.isfinite(self.truth) & (self.truth > 0) & np.isfinite(self.density) & (self.radius > low) & (self.radius < high)
        return float(np.median(np.abs(self.density[use] / self.truth[use] - 1))) if use.any() else None


def dark_matter_profile(
    density: Callable[[Array], Array],
    stars: Array,
    mass: float,
    *,
    edges: Array,
    radius: float,
    half_height: float,
    lowest: float = 0.0,
    posterior: Callable[[Array], float] | None = None,
    n: int = 40_000,
    seed: int = 0,
) -> DarkProfile:
    """Dark matter in spherical shells of a cylinder about the centre.

    Parameters
    ----------
    density : callable
        Density of all matter [Msun/kpc^3] at positions (N, 3) [kpc].
    stars : array (N, 3) or (N, 6)
        Positions of the stars [kpc] in their first three columns.
    mass : float
        Of one star [Msun].
    edges : array (K + 1,)
        Radii between the shells [kpc].
    radius, half_height : float
        Of the cylinder [kpc].
    lowest : float
        Heights below it are left out [kpc].
    posterior : callable, optional
        Error of the mean density [Msun/kpc^3] over positions (N, 3).
    n : int
        Positions drawn.
    seed : int
        Of the draw.

    Returns
    -------
    DarkProfile
        With NaN as truth, and NaN where a shell holds fewer than 30 positions.

    Raises
    ------
    DeepPotError
        For ``n`` or ``seed`` that are no whole numbers of at least 1 and 0.
    """
    n, rng = whole(n, "n", least=1), np.random.default_rng(whole(seed, "seed"))
    floor = lowest
    sign = np.where(rng.uniform(size=n) < 0.5, -1.0, 1.0)
    phi, distance = rng.uniform(0, 2 * np.pi, n), radius * np.sqrt(rng.uniform(size=n))
    x = np.column_stack([distance * np.cos(phi), distance * np.sin(phi), sign * rng.uniform(floor, half_height, n)])
    rho, shell = density(x), np.digitize(np.linalg.norm(x, axis=1), edges) - 1
    sector = np.minimum((phi / (2 * np.pi) * SECTORS).astype(int), SECTORS - 1)
    seen = np.abs(stars[:, 2])
    inside = (np.hypot(stars[:, 0], stars[:, 1]) < radius) & (seen > floor) & (seen < half_height)
    count = np.histogram(np.linalg.norm(stars[inside, :3], axis=1), edges)[0].astype(np.float64)
    volume = 2 * np.pi * radius**2 * (half_height - floor)
    mean, error = np.full((2, len(edges) - 1), np.nan)
    for k in range(len(edges) - 1):
        use = shell == k
        if use.sum() < AT_LEAST:
            continue
        size = volume * use.sum() / n
        means = np.array([rho[use & (sector == s)].mean() if (use & (sector == s)).any() else np.nan for s in range(SECTORS)])
        mean[k] = rho[use].mean() - mass * count[k] / size
        fitted = 0.0 if posterior is None else posterior(x[use])
        error[k] = np.sqrt(np.nanstd(means) ** 2 / SECTORS + mass**2 * count[k] / size**2 + fitted**2)
    middle = 0.5 * (edges[1:] + edges[:-1])
    return DarkProfile(middle, mean, error, np.full(len(middle), np.nan))


def dark_matter(diagnosis: Diagnosis, stars: Array | None = None, *, mass: float | None = None) -> DarkProfile | None:
    """The dark matter of a run in a whole disc, with the truth where it is known.

    Parameters
    ----------
    diagnosis : Diagnosis
        From `diagnose`.
    stars : array (N, 6), optional
        All stars of the volume; by default the points of the fit.
    mass : float, optional
        Of one star [Msun]; by default as the truth says.

    Returns
    -------
    DarkProfile or None
        None in a volume off the axis, or without a mass of the stars or a potential.
    """
    points = diagnosis.stars if stars is None else stars
    mass = mass if mass is not None else (getattr(diagnosis.truth, "meta", None) or {}).get("particle_mass")
    if mass is None or points is None or diagnosis.field is None or not diagnosis.region.whole_disc:
        return None
    reach, height = EDGE * diagnosis.region.radius, EDGE * diagnosis.region.half_height
    edges = np.linspace(1.0, reach, max(4, round(reach)))
    posterior = None if diagnosis.field is None else diagnosis.field.mean_density_error
    profile = dark_matter_profile(diagnosis.field.density, points, mass, edges=edges, radius=reach, half_height=height, posterior=posterior)
    known, positions = getattr(diagnosis.truth, "dark_density", None), getattr(diagnosis.truth, "positions", None)
    if known is None or positions is None:
        return profile
    shell = np.digitize(np.linalg.norm(positions, axis=1), edges) - 1
    layer = np.abs(positions[:, 2]) < height
    truth = [np.median(known[layer & (shell == k)]) if (layer & (shell == k)).sum() >= 5 else np.nan for k in range(len(edges) - 1)]
    return DarkProfile(profile.radius, profile.density, profile.error, np.array(truth))
