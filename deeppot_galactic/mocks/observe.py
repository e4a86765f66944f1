"""From phase space to the sky: a table such as Gaia would give of a mock, with its errors.

`observe` is the inverse of `Tracers.from_table`: x, v -> (ra, dec, parallax, pmra, pmdec, radial_velocity) through an explicit
Galactocentric frame, apparent magnitudes from absolute ones, and Gaia DR3 errors drawn from the covariance that is written in the table.

Errors as functions of magnitude G (sky averages):

    parallax         sigma = sqrt(40 + 800 z + 30 z^2) microarcsec,  z = 10^(0.4 (max(G, 13) - 15))     (Gaia science performance, DR3)
    ra*, dec         0.80 and 0.70 times that;  pmra*, pmdec 1.03 and 0.89 times that per year             (the same)
    radial velocity  sigma = 0.12 + exp(0.84 (G_RVS - 12) + 0.166) km/s: 0.12 for bright stars, 1.3 at G_RVS = 12, 6.4 at 14
                     (Katz et al. 2023, A&A 674, A5)

each times a log-normal scatter between stars. The five astrometric errors are correlated: every star gets its own correlation matrix
(Wishart) with a spread of the ten coefficients of 0.2 for G < 19 rising to 0.3 at G = 21, as in the DR3 catalogue. Extinction,
crowding, the zero point of the parallax and binaries are not modelled; what is lost at the faint limit of the radial velocities is.
"""

from __future__ import annotations

import json
from itertools import combinations
from typing import TYPE_CHECKING, Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from ..arguments import whole
from ..catalogue.frames import frame_to_dict, phase_space_to_sky, resolve_frame
from ..errors import CatalogueError
from ..units import to_internal
from .base import Array, rotate

if TYPE_CHECKING:
    from astropy.coordinates import Galactocentric

    from ..catalogue.tracers import Tracers

ASTROMETRY = ("ra", "dec", "parallax", "pmra", "pmdec")
ERROR_FACTORS = np.array([0.80, 0.70, 1.00, 1.03, 0.89])
"""Sky-averaged errors of `ASTROMETRY` in units of the parallax error (mas, mas/yr), DR3."""
ERROR_SCATTER = 0.25
"""Standard deviation of ln(error) between stars of one magnitude (scanning law)."""
G_MINUS_RVS = 1.0
"""G - G_RVS of a red-clump star."""
ERROR_MODELS = ("gaia-dr3", "none")


def parallax_error(g: Array) -> Array:
    """Median parallax error in mas at magnitude ``g``."""
    z = 10.0 ** (0.4 * (np.maximum(g, 13.0) - 15.0))
    return 1e-3 * np.sqrt(40.0 + 800.0 * z + 30.0 * z**2)


def velocity_error(g_rvs: Array) -> Array:
    """Median radial-velocity error in km/s at magnitude ``g_rvs`` in the RVS band."""
    return 0.12 + np.exp(0.84 * (g_rvs - 12.0) + 0.166)


def observe(
    tracers: Tracers,
    frame: Galactocentric | None = None,
    errors: str = "gaia-dr3",
    *,
    absolute_magnitude: float | Array = 0.5,
    magnitude_scatter: float = 0.3,
    faint_limit: float = 14.0,
    seed: int = 0,
) -> Table:
    """Observe mock stars from the Sun.

    Parameters
    ----------
    tracers : Tracers
        The stars; their coordinates are taken as Galactocentric ones of ``frame``. Use `as_milky_way` first to turn a mock with
        counter-clockwise rotation into a galaxy in which the Sun's velocity makes sense.
    frame : `~astropy.coordinates.Galactocentric`, optional
        Position and velocity of the Sun; the tracers' own frame, else astropy's v4.0 parameters.
    errors : {"gaia-dr3", "none"}
        With "none" values are exact, there are no error columns, and reading the table back reproduces the tracers to rounding.
    absolute_magnitude : float or ndarray
        M_G of the stars, without extinction; the default is a red-clump giant's.
    magnitude_scatter : float
        Gaussian scatter of M_G.
    faint_limit : float
        Stars fainter than this in G_RVS have no radial velocity (NaN), as in DR3. Ignored with ``errors="none"``.
    seed : int
        Seed of magnitudes and errors.

    Returns
    -------
    `~astropy.table.Table`
        Columns named and in units as in ``gaia_source``; `meta` tells the mock and the Sun's parameters (as JSON, which FITS can hold).

    Raises
    ------
    CatalogueError
        For an unknown error model, a star at the Sun's own place, or a seed that is no whole number of at least 0.
    """
    if errors not in ERROR_MODELS:
        raise CatalogueError(f"unknown error model {errors!r}; known are {', '.join(ERROR_MODELS)}")
    sun = resolve_frame(tracers.frame if frame is None else frame)
    rng = np.random.default_rng(whole(seed, "seed", error=CatalogueError))
    truth = phase_space_to_sky(tracers.phase_space, sun)
    truth[:, 2] = 1.0 / truth[:, 2]
    n = len(truth)
    g = np.broadcast_to(absolute_magnitude, n) + magnitude_scatter * rng.standard_normal(n) - 5.0 * np.log10(truth[:, 2] / 100.0)
    columns: dict[str, Any] = {"source_id": np.arange(1, n + 1, dtype=np.int64)}
    observed = truth.copy()
    if errors == "gaia-dr3":
        sigma = parallax_error(g)[:, None] * ERROR_FACTORS * np.exp(ERROR_SCATTER * rng.standard_normal((n, 1)))
        correlation = correlations(g, rng)
        noise = sigma * np.einsum("nij,nj->ni", np.linalg.cholesky(correlation), rng.standard_normal((n, 5)))
        sigma_v = velocity_error(g - G_MINUS_RVS) * np.exp(ERROR_SCATTER * rng.standard_normal(n))
        observed[:, 0] += noise[:, 0] / (3.6e6 * np.cos(np.deg2rad(truth[:, 1])))
        observed[:, 1] += noise[:, 1] / 3.6e6
        observed[:, 2:5] += noise[:, 2:]
        observed[:, 5] += sigma_v * rng.standard_normal(n)
        observed[g - G_MINUS_RVS > faint_limit, 5] = np.nan
        observed[:, 0] %= 360.0
        observed[:, 1] = np.clip(observed[:, 1], -90.0, 90.0)
    units = (u.deg, u.deg, u.mas, u.mas / u.yr, u.mas / u.yr, u.km / u.s)
    for k, (name, unit) in enumerate(zip((*ASTROMETRY, "radial_velocity"), units, strict=True)):
        columns[name] = u.Quantity(observed[:, k], unit)
        if errors != "none":
            columns[f"{name}_error"] = u.Quantity(sigma[:, k] if k < 5 else sigma_v, unit if k > 1 else u.mas)
    if errors != "none":
        columns["parallax_over_error"] = observed[:, 2] / sigma[:, 2]
        columns["radial_velocity_error"][np.isnan(observed[:, 5])] = np.nan
        for i, j in combinations(range(5), 2):
            columns[f"{ASTROMETRY[i]}_{ASTROMETRY[j]}_corr"] = correlation[:, i, j]
        columns["ruwe"] = np.exp(0.05 * rng.standard_normal(n))
    columns["phot_g_mean_mag"] = u.Quantity(g, u.mag)
    columns["ref_epoch"] = u.Quantity(np.full(n, 2016.0), u.yr)
    table = Table(QTable(columns))
    mock = str(tracers.meta.get("mock", tracers.meta.get("source", "tracers")))
    table.meta = {"errors": errors, "seed": int(seed), "mock": mock, "sun": json.dumps(frame_to_dict(sun))}
    return table


def correlations(g: Array, rng: np.random.Generator) -> Array:
    """Random correlation matrices (N, 5, 5) whose coefficients scatter by 0.2 at ``g`` < 19 and 0.3 at 21 mag.

    A Wishart matrix of nu degrees of freedom has correlations of standard deviation nu^(-1/2); drawn through its Bartlett decomposition.
    """
    spread = np.clip(0.2 + 0.05 * (g - 19.0), 0.2, 0.3)
    lower = np.zeros((len(g), 5, 5))
    for i in range(5):
        lower[:, i, i] = np.sqrt(rng.chisquare(1.0 / spread**2 - i))
        lower[:, i, :i] = rng.standard_normal((len(g), i))
    wishart = lower @ lower.transpose(0, 2, 1)
    scale = 1.0 / np.sqrt(np.einsum("nii->ni", wishart))
    return wishart * scale[:, :, None] * scale[:, None, :]


def as_milky_way(tracers: Tracers, *, bar_angle: u.Quantity = 0.0 * u.rad, sun_angle: u.Quantity = 25.0 * u.deg) -> Tracers:
    """Turn a counter-clockwise mock into a clockwise galaxy with the Sun on the negative x axis, as in `Galactocentric`.

    The stars are rotated by pi about the x axis, (x, y, z) -> (x, -y, -z) and the same for velocities: a proper rotation that reverses the
    sense of Omega_z. Then they are turned about z until the near end of the bar lies ``sun_angle`` ahead of the Sun in the sense of
    rotation, towards positive Galactic longitudes as in the Milky Way.

    Parameters
    ----------
    tracers : Tracers
        With counter-clockwise rotation; its ``omega_km_s_kpc`` in ``meta``, if any, changes sign.
    bar_angle : Quantity
        Angle of the bar in ``tracers``.
    sun_angle : Quantity
        Angle between the bar and the line from the centre to the Sun.

    Returns
    -------
    Tracers
        The same stars, turned; weights and metadata are kept, covariances dropped.
    """
    from ..catalogue.tracers import Tracers

    x = tracers.phase_space * np.array([1.0, -1.0, -1.0, 1.0, -1.0, -1.0])
    target = np.pi - float(to_internal(sun_angle, u.rad, "sun_angle"))  # the Sun is at pi, and rotation is towards smaller angles
    turned = rotate(x, target + float(to_internal(bar_angle, u.rad, "bar_angle")))
    meta = dict(tracers.meta)
    if "omega_km_s_kpc" in meta:
        meta["omega_km_s_kpc"] = -float(meta["omega_km_s_kpc"])
    meta["oriented"] = "rotated by pi about x, then about z: clockwise, Sun on the negative x axis"
    return Tracers(turned, weights=tracers.weights, meta=meta)
