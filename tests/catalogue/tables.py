"""Gaia-like tables made from random stars, for the tests of the catalogue."""

from __future__ import annotations

import astropy.units as u
import numpy as np
from astropy.table import Table

UNITS = {
    "ra": u.deg,
    "dec": u.deg,
    "parallax": u.mas,
    "pmra": u.mas / u.yr,
    "pmdec": u.mas / u.yr,
    "radial_velocity": u.km / u.s,
    "ra_error": u.mas,
    "dec_error": u.mas,
    "parallax_error": u.mas,
    "pmra_error": u.mas / u.yr,
    "pmdec_error": u.mas / u.yr,
    "radial_velocity_error": u.km / u.s,
}
FIVE = ("ra", "dec", "parallax", "pmra", "pmdec")


def gaia_table(n: int = 200, seed: int = 0, *, units: bool = True, relative_error: float = 0.02) -> Table:
    """n stars within 0.2 to 4 kpc, with all errors and correlations, ruwe 1, source_id and G magnitude."""
    rng = np.random.default_rng(seed)
    table = Table()
    table["source_id"] = np.int64(4_000_000_000_000_000_000) + np.arange(n)
    table["ra"] = rng.uniform(0, 360, n)
    table["dec"] = np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    table["parallax"] = 1.0 / rng.uniform(0.2, 4.0, n)
    table["pmra"], table["pmdec"] = rng.normal(0, 5, (2, n))
    table["radial_velocity"] = rng.normal(0, 40, n)
    for name in ("ra", "dec", "pmra", "pmdec"):
        table[f"{name}_error"] = rng.uniform(0.01, 0.05, n)
    table["parallax_error"] = relative_error * np.asarray(table["parallax"])
    table["radial_velocity_error"] = rng.uniform(0.3, 3.0, n)
    for i, first in enumerate(FIVE):
        for second in FIVE[i + 1 :]:
            table[f"{first}_{second}_corr"] = rng.uniform(-0.2, 0.2, n)
    table["ruwe"] = np.ones(n)
    table["phot_g_mean_mag"] = rng.uniform(8, 15, n)
    if units:
        for name, unit in UNITS.items():
            table[name].unit = unit
    return table


def phase_space_table(n: int = 200, seed: int = 0) -> Table:
    """n stars of a warm rotating disc, in kpc and km/s."""
    rng = np.random.default_rng(seed)
    radius, phi = rng.uniform(1, 12, n), rng.uniform(0, 2 * np.pi, n)
    table = Table()
    table["x"], table["y"], table["z"] = radius * np.cos(phi), radius * np.sin(phi), rng.normal(0, 0.3, n)
    table["vx"], table["vy"], table["vz"] = -220 * np.sin(phi), 220 * np.cos(phi), rng.normal(0, 20, n)
    for name in ("x", "y", "z"):
        table[name].unit, table[f"v{name}"].unit = u.kpc, u.km / u.s
    return table
