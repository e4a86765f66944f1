r"""Measured values with their errors, and what these mean in phase space.

The observables are :math:`o = (\alpha^*, \delta, \varpi\ \mathrm{or}\ d, \mu_{\alpha*}, \mu_\delta, v_r)` with covariance
:math:`C_o` (Gaia's five errors and ten correlations; v_r is independent). With :math:`J = \partial(x, v)/\partial o`,

.. math:: C = J C_o J^T .

J follows from :math:`\partial\hat r = \hat e_\alpha d\alpha^* + \hat e_\delta d\delta`,
:math:`\partial\hat e_\alpha = (\tan\delta\,\hat e_\delta - \hat r)\, d\alpha^*`,
:math:`\partial\hat e_\delta = -\tan\delta\,\hat e_\alpha d\alpha^* - \hat r d\delta` and :math:`dd = -d\varpi / \varpi^2`. This is
the first order in :math:`\sigma_\varpi/\varpi`; where that is not small, ``method="monte-carlo"`` draws instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..arguments import whole
from ..errors import CatalogueError
from .frames import KAPPA, affine, rotate, sky_basis, sky_to_phase_space

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

Array = NDArray[np.float64]

MAS = np.pi / 180.0 / 3.6e6
"""One milliarcsecond [rad]."""

PAIRS = tuple((i, j) for i in range(5) for j in range(i + 1, 5))
"""Places of the ten correlations, in Gaia's order: ra_dec, ra_parallax, ..., pmra_pmdec."""

NEAREST_PARALLAX = 0.01
"""Smallest parallax [mas] a draw may have: 100 kpc. Draws below it are drawn again."""

_BLOCK = 2**16


@dataclass(frozen=True, eq=False)
class Observations:
    """What was measured of N stars.

    Attributes
    ----------
    values : array (N, 6)
        Longitude, latitude [deg], parallax [mas] or distance [kpc], two proper motions [mas/yr], radial velocity [km/s].
    errors : array (N, 6)
        Standard errors; of longitude (times cos latitude) and latitude in mas, the others as the values. NaN where unknown.
    correlations : array (N, 10) or None
        Of the first five, in Gaia's order.
    sky : str
        "icrs" or "galactic".
    by_parallax : bool
        Whether the third value is a parallax.
    """

    values: Array
    errors: Array
    correlations: NDArray[np.floating] | None
    sky: str
    by_parallax: bool

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Observations:
        correlations = None if self.correlations is None else self.correlations[index]
        return Observations(self.values[index], self.errors[index], correlations, self.sky, self.by_parallax)

    @property
    def distance(self) -> Array:
        """Distance, array (N,) [kpc]; the inverse of the parallax, where that is what was measured."""
        return 1.0 / self.values[:, 2] if self.by_parallax else self.values[:, 2]

    def phase_space(self, frame: Galactocentric) -> Array:
        """(x, y, z, vx, vy, vz) of the measured values.

        Parameters
        ----------
        frame : Galactocentric
            The frame of the result.

        Returns
        -------
        array, shape (N, 6)
            kpc, km/s.
        """
        observed = self.values.copy()
        observed[:, 2] = self.distance
        return sky_to_phase_space(observed, frame, sky=self.sky)

    def observed_covariance(self) -> Array:
        """Covariance of the observables.

        Returns
        -------
        array, shape (N, 6, 6)
            In the units of ``errors``: angles in mas.
        """
        correlation = np.broadcast_to(np.eye(6), (len(self), 6, 6)).copy()
        if self.correlations is not None:
            for k, (i, j) in enumerate(PAIRS):
                correlation[:, i, j] = correlation[:, j, i] = self.correlations[:, k]
        errors = self.errors.astype(np.float64)
        return correlation * errors[:, :, None] * errors[:, None, :]

    def jacobian(self, frame: Galactocentric) -> Array:
        """Exact derivative of phase space by the observables.

        Parameters
        ----------
        frame : Galactocentric
            The frame of phase space.

        Returns
        -------
        array, shape (N, 6, 6)
            kpc and km/s by the units of ``errors``: angles in mas.
        """
        to_frame = affine(frame, self.sky)
        lon, lat, depth, pm_lon, pm_lat, radial = self.values.T
        r, east, north = sky_basis(lon, lat)
        d = self.distance
        tangent = np.tan(np.radians(lat))

        def column(vector: Array) -> Array:
            return rotate(to_frame.rotation, vector)

        def scaled(factor: Array, vector: Array) -> Array:
            return factor[:, None] * vector

        east_by_lon = scaled(tangent, north) - r
        north_by_lon = -scaled(tangent, east)
        motion = KAPPA * (scaled(pm_lon, east) + scaled(pm_lat, north))
        by_depth = -(d**2) if self.by_parallax else np.ones_like(d)
        j = np.zeros((len(self), 6, 6))
        j[:, :3, 0] = MAS * column(scaled(d, east))
        j[:, :3, 1] = MAS * column(scaled(d, north))
        j[:, :3, 2] = column(scaled(by_depth, r))
        transverse = scaled(KAPPA * d * pm_lon, east_by_lon) + scaled(KAPPA * d * pm_lat, north_by_lon)
        j[:, 3:, 0] = MAS * column(scaled(radial, east) + transverse)
        j[:, 3:, 1] = MAS * column(scaled(radial, north) - scaled(KAPPA * d * pm_lat, r))
        j[:, 3:, 2] = column(scaled(by_depth, motion))
        j[:, 3:, 3] = column(scaled(KAPPA * d, east))
        j[:, 3:, 4] = column(scaled(KAPPA * d, north))
        j[:, 3:, 5] = column(r)
        return j

    def covariance(self, frame: Galactocentric, *, method: str = "jacobian", n_draws: int = 512, seed: int = 0) -> Array:
        """Covariance in phase space.

        Parameters
        ----------
        frame : Galactocentric
            The frame of phase space.
        method : "jacobian", "monte-carlo" or "auto"
            First order, by drawing (about the mean of the draws), or by drawing only where error / value of the parallax exceeds 0.1.
        n_draws, seed : int
            Of the drawing.

        Returns
        -------
        array, shape (N, 6, 6)
            kpc, km/s; NaN where an error is unknown.

        Raises
        ------
        CatalogueError
            For another method, fewer than two draws, or a seed that is no whole number of at least 0.
        """
        seed = whole(seed, "seed", error=CatalogueError)
        if method not in ("jacobian", "monte-carlo", "auto"):
            raise CatalogueError(f"method must be 'jacobian', 'monte-carlo' or 'auto', found {method!r}")
        if method == "monte-carlo":
            return self._drawn_covariance(frame, n_draws, np.random.default_rng(seed))
        result = np.empty((len(self), 6, 6))
        for start in range(0, len(self), _BLOCK):
            part = self[slice(start, start + _BLOCK)]
            jacobian = part.jacobian(frame)
            result[start : start + _BLOCK] = jacobian @ part.observed_covariance() @ jacobian.transpose(0, 2, 1)
        if method == "auto" and self.by_parallax:
            wide = np.abs(self.errors[:, 2] / self.values[:, 2]) > 0.1
            if wide.any():
                result[wide] = self[wide]._drawn_covariance(frame, n_draws, np.random.default_rng(seed))
        return result

    def _drawn_covariance(self, frame: Galactocentric, n_draws: int, rng: np.random.Generator) -> Array:
        if n_draws < 2:
            raise CatalogueError(f"a covariance needs at least 2 draws, found {n_draws}")
        result = np.empty((len(self), 6, 6))
        for start in range(0, len(self), _BLOCK):
            part = self[slice(start, start + _BLOCK)]
            draw = part.drawing()
            center = part.phase_space(frame)
            first, second = np.zeros((len(part), 6)), np.zeros((len(part), 6, 6))
            for _ in range(n_draws):
                offset = draw(rng).phase_space(frame) - center
                first += offset
                second += offset[:, :, None] * offset[:, None, :]
            first /= n_draws
            result[start : start + _BLOCK] = (second / n_draws - first[:, :, None] * first[:, None, :]) * (n_draws / (n_draws - 1))
        return result

    def drawing(self) -> Callable[[np.random.Generator], Observations]:
        """A function that draws every star's observables anew from its errors (as measured where an error is unknown).

        Depths are drawn from the part of the normal law with parallax above `NEAREST_PARALLAX` (distance above 1 pc).

        Returns
        -------
        callable
            A `numpy.random.Generator` in, `Observations` of the N stars out.
        """
        pair = self.pairs()
        return lambda rng: pair(rng, 1.0)[0]

    def pairs(self) -> Callable[[np.random.Generator, float], tuple[Observations, Observations]]:
        """A function that displaces every star by noise of ``factor`` times its covariance, and by the same noise reversed.

        Sums over both halves of a pair are free of the first order in the noise. Depths as in `drawing`; a half that would leave the
        allowed range is drawn on its own.

        Returns
        -------
        callable
            A `numpy.random.Generator` and ``factor`` in, two `Observations` of the N stars out.
        """
        covariance = self.observed_covariance()
        known = np.asarray(np.isfinite(covariance).all(axis=(1, 2)))
        root = np.zeros_like(covariance)
        root[known] = root_of(covariance[known])
        least = NEAREST_PARALLAX if self.by_parallax else 1e-3

        def draw(rng: np.random.Generator, factor: float) -> tuple[Observations, Observations]:
            scale = np.sqrt(factor)
            noise = scale * np.einsum("nij,nj->ni", root, rng.standard_normal((len(self), 6)))
            halves = []
            for sign in (1.0, -1.0):
                half = sign * noise
                for _ in range(1000):
                    low = np.flatnonzero(known & (self.values[:, 2] + half[:, 2] < least))
                    if len(low) == 0:
                        break
                    half[low] = scale * np.einsum("nij,nj->ni", root[low], rng.standard_normal((len(low), 6)))
                halves.append(self._displaced(half, known, least))
            return halves[0], halves[1]

        return draw

    def _displaced(self, noise: Array, known: NDArray[np.bool_], least: float) -> Observations:
        values = self.values.copy()
        values[:, 0] += noise[:, 0] / (3.6e6 * np.maximum(np.cos(np.radians(values[:, 1])), 1e-9))
        values[:, 1] += noise[:, 1] / 3.6e6
        values[:, 2] = np.where(known, np.maximum(values[:, 2] + noise[:, 2], least), values[:, 2])
        values[:, 3:] += noise[:, 3:]
        return Observations(values, self.errors, self.correlations, self.sky, self.by_parallax)


def root_of(covariance: Array) -> Array:
    """A with A A^T = C, for matrices that may be singular or, by rounded correlations, slightly indefinite.

    Parameters
    ----------
    covariance : array, shape (N, 6, 6)
        C, in any unit.

    Returns
    -------
    array, shape (N, 6, 6)
    """
    scale = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 1e-300))
    values, vectors = np.linalg.eigh(covariance / (scale[:, :, None] * scale[:, None, :]))
    return scale[:, :, None] * vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
