r"""Rotation curves: from the potential, and from the stars by the asymmetric drift.

From the potential v_c^2 = R dPhi/dR, averaged over azimuth. From the stars near the plane, assuming an axisymmetric steady state (the
radial Jeans equation),

    v_c^2 = <v_phi^2> - <v_R^2> (1 + d ln nu / d ln R + d ln <v_R^2> / d ln R) - R d<v_R v_z>/dz,        (P 14)

with nu the density of stars. The last term is small near the plane and left out. Where there is a bar the assumption fails: the two
curves side by side show by how much.

References
----------
Kalda, Green & Ghosh 2023, arXiv:2310.00040 ("P"); Binney & Tremaine 2008, eq. 4.222a.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from ..arguments import whole
from ..catalogue.propagation import star_weights
from ..errors import DeepPotError, UnitsError
from ..potential.axisymmetric import AxisymmetricPotential
from ..potential.blended import as_global
from ..units import ACCELERATION, LENGTH, VELOCITY, lengths, to_internal, vectors
from .resonances import circular_frequencies

Array = NDArray[np.float64]

MIN_STARS = 30


def _axisymmetric(potential: Any) -> AxisymmetricPotential:
    potential = as_global(potential)
    return potential if isinstance(potential, AxisymmetricPotential) else AxisymmetricPotential(potential)


def rotation_curve(potential: Any, radii: u.Quantity) -> u.Quantity:
    """Circular speed (N,) of the axisymmetrised potential at radii (N,); NaN where the mean force points outwards.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    radii : Quantity, shape (N,)
        Lengths.

    Returns
    -------
    Quantity, shape (N,)
        km/s.

    Raises
    ------
    UnitsError
        For radii that are no lengths, or negative.
    """
    r = lengths(radii, "radii")
    away = np.maximum(r, 1e-9)
    return u.Quantity(circular_frequencies(potential, away)[0] * r, VELOCITY)


def _smooth_slope(log_radius: Array, log_value: Array, weights: Array, degree: int) -> Array:
    """d ln value / d ln R from a polynomial of low degree in ln R."""
    fit = np.polynomial.Polynomial.fit(log_radius, log_value, degree, w=np.sqrt(weights))
    return np.asarray(fit.deriv()(log_radius), np.float64)


def asymmetric_drift(
    pos: u.Quantity,
    vel: u.Quantity,
    edges: u.Quantity,
    *,
    z_max: u.Quantity = 0.5 * u.kpc,
    weights: ArrayLike | None = None,
    degree: int = 5,
    potential: Any = None,
) -> QTable:
    """Circular speed from the motions of stars (module docstring).

    Parameters
    ----------
    pos, vel : Quantity, shape (N, 3)
        About the centre of the galaxy.
    edges : Quantity, shape (K + 1,)
        Edges of the annuli.
    z_max : Quantity
        Stars further from the plane are left out.
    weights : array_like, shape (N,), optional
        Inverse selection probabilities.
    degree : int
        Of the polynomials in ln R that give the logarithmic slopes.
    potential : PotentialModel, GlobalPotential or AxisymmetricPotential, optional
        Its own circular speed at the same radii is put beside.

    Returns
    -------
    QTable
        Columns ``R``, ``n``, ``vc``, ``vc_error`` (statistical), ``v_phi``, ``sigma_R``, ``sigma_phi``, and ``vc_potential`` if a
        potential is given; annuli with fewer than 30 stars are left out.

    Raises
    ------
    DeepPotError
        If fewer annuli than ``degree`` + 2 are left, positions, velocities and weights differ in number, or ``degree`` is below one.
    UnitsError
        For edges that do not increase, or quantities in other units.
    """
    x, v = vectors(pos, LENGTH, "pos"), vectors(vel, VELOCITY, "vel")
    if len(x) != len(v):
        raise DeepPotError(f"positions hold {len(x)} stars and velocities {len(v)}; they must agree")
    borders, degree = lengths(edges, "edges", least=2), whole(degree, "degree", least=1)
    w = star_weights(weights, len(x))
    near = np.abs(x[:, 2]) < float(to_internal(z_max, LENGTH, "z_max"))
    x, v, w = x[near], v[near], w[near]
    radius = np.maximum(np.hypot(x[:, 0], x[:, 1]), 1e-12)
    v_R = (x[:, 0] * v[:, 0] + x[:, 1] * v[:, 1]) / radius
    v_phi = (x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]) / radius
    count = np.histogram(radius, borders)[0]

    def mean(value: Array) -> Array:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.histogram(radius, borders, weights=w * value)[0] / np.histogram(radius, borders, weights=w)[0]

    middle, square_R, square_phi, speed = mean(radius), mean(v_R**2), mean(v_phi**2), mean(v_phi)
    spread_phi, spread_R = (np.sqrt(np.maximum(mean(value**4) - s**2, 0)) for value, s in ((v_phi, square_phi), (v_R, square_R)))
    density = np.histogram(radius, borders, weights=w)[0] / (borders[1:] ** 2 - borders[:-1] ** 2)
    good = count >= MIN_STARS
    if good.sum() < degree + 2:
        raise DeepPotError(f"{int(good.sum())} annuli have {MIN_STARS} stars or more, expected at least {degree + 2}: widen the annuli")
    log_r, n = np.log(middle[good]), count[good]
    factor = 1 + _smooth_slope(log_r, np.log(density[good]), n, degree) + _smooth_slope(log_r, np.log(square_R[good]), n, degree)
    square = square_phi[good] - square_R[good] * factor
    v_c = np.sqrt(np.where(square > 0, square, np.nan))
    error = np.hypot(spread_phi[good], factor * spread_R[good]) / np.sqrt(n) / (2 * v_c)
    sigma_phi = np.sqrt(np.maximum(square_phi - speed**2, 0))[good]
    columns = [middle[good] * LENGTH, n, *(c * VELOCITY for c in (v_c, error, speed[good], np.sqrt(square_R[good]), sigma_phi))]
    table = QTable(columns, names=["R", "n", "vc", "vc_error", "v_phi", "sigma_R", "sigma_phi"])
    if potential is not None:
        table["vc_potential"] = rotation_curve(potential, middle[good] * LENGTH)
    return table


def vertical_force(potential: Any, radii: u.Quantity, height: u.Quantity = 1.1 * u.kpc) -> u.Quantity:
    """K_z = -dPhi/dz (N,) of the axisymmetrised potential at radii (N,) and one height; negative above the plane.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    radii : Quantity, shape (N,)
        Lengths.
    height : Quantity
        Length.

    Returns
    -------
    Quantity, shape (N,)
        km^2/s^2/kpc.

    Raises
    ------
    UnitsError
        For radii that are no lengths or negative, or more than one height.
    """
    r, z = lengths(radii, "radii"), to_internal(height, LENGTH, "height")
    if z.ndim != 0:
        raise UnitsError(f"height must be one length, found {height}")
    x = np.column_stack([r, np.zeros_like(r), np.full_like(r, float(z))])
    model = _axisymmetric(potential)
    return u.Quantity(-model.gradient(x + model.x0)[:, 2], ACCELERATION)


def escape_speed(potential: Any, radii: u.Quantity) -> u.Quantity:
    """sqrt(-2 Phi_0) (N,) in the plane at radii (N,): the speed to reach infinity.

    Parameters
    ----------
    potential : GlobalPotential
        Exact or compiled.
    radii : Quantity, shape (N,)
        Lengths.

    Returns
    -------
    Quantity, shape (N,)
        km/s.

    Raises
    ------
    UnitsError
        For radii that are no lengths, negative or not finite.
    DeepPotError
        If ``potential`` is none.
    """
    r = lengths(radii, "radii")
    model = _axisymmetric(potential)
    phi = model.potential(np.column_stack([r, np.zeros((len(r), 2))]) + model.x0)
    return u.Quantity(np.sqrt(np.maximum(-2 * phi, 0)), VELOCITY)
