"""The names under which catalogues keep the six coordinates, their errors and correlations, and the unit of each.

A role is a fixed name (Gaia's own, or x..vz) with the aliases found in Gaia's releases, VizieR's versions of them and common
compilations.
"""

from __future__ import annotations

from typing import Any

import astropy.units as u

from ..units import LENGTH, VELOCITY

MAS_YR = u.mas / u.yr

ALIASES: dict[str, tuple[str, ...]] = {
    "ra": ("ra", "ra_icrs", "_ra_icrs", "ra_deg", "ra_j2000", "raj2000", "_raj2000"),
    "dec": ("dec", "de_icrs", "_de_icrs", "dec_icrs", "dec_deg", "dec_j2000", "dej2000", "_dej2000"),
    "l": ("l", "glon", "gal_l", "_glon"),
    "b": ("b", "glat", "gal_b", "_glat"),
    "parallax": ("parallax", "plx", "parallax_mas"),
    "distance": ("distance", "dist", "r_med_photogeo", "rpgeo", "r_med_geo", "rgeo"),
    "pmra": ("pmra", "pm_ra", "pmra_cosdec", "pm_ra_cosdec"),
    "pmdec": ("pmdec", "pmde", "pm_dec", "pm_de"),
    "pml": ("pml", "pm_l", "pml_cosb", "pm_l_cosb", "pmglon"),
    "pmb": ("pmb", "pm_b", "pmglat"),
    "radial_velocity": ("radial_velocity", "dr3_radial_velocity", "dr2_radial_velocity", "rv", "vlos", "v_los", "vrad", "v_rad", "hrv"),
    "ra_error": ("ra_error", "e_ra_icrs", "e_ra"),
    "dec_error": ("dec_error", "e_de_icrs", "e_dec", "e_de"),
    "l_error": ("l_error", "e_l", "e_glon"),
    "b_error": ("b_error", "e_b", "e_glat"),
    "parallax_error": ("parallax_error", "e_plx", "plx_error", "e_parallax"),
    "distance_error": ("distance_error", "dist_error", "e_distance", "e_dist"),
    "distance_low": ("r_lo_photogeo", "r_lo_geo"),
    "distance_high": ("r_hi_photogeo", "r_hi_geo"),
    "pmra_error": ("pmra_error", "e_pmra", "pm_ra_error"),
    "pmdec_error": ("pmdec_error", "e_pmde", "e_pmdec", "pm_dec_error"),
    "pml_error": ("pml_error", "e_pml"),
    "pmb_error": ("pmb_error", "e_pmb"),
    "radial_velocity_error": (
        "radial_velocity_error",
        "dr3_radial_velocity_error",
        "dr2_radial_velocity_error",
        "e_rv",
        "rv_error",
        "rv_err",
        "vlos_error",
        "e_vlos",
        "v_los_error",
    ),
    "ra_dec_corr": ("ra_dec_corr", "radecor"),
    "ra_parallax_corr": ("ra_parallax_corr", "raplxcor"),
    "ra_pmra_corr": ("ra_pmra_corr", "rapmracor"),
    "ra_pmdec_corr": ("ra_pmdec_corr", "rapmdecor"),
    "dec_parallax_corr": ("dec_parallax_corr", "deplxcor"),
    "dec_pmra_corr": ("dec_pmra_corr", "depmracor"),
    "dec_pmdec_corr": ("dec_pmdec_corr", "depmdecor"),
    "parallax_pmra_corr": ("parallax_pmra_corr", "plxpmracor"),
    "parallax_pmdec_corr": ("parallax_pmdec_corr", "plxpmdecor"),
    "pmra_pmdec_corr": ("pmra_pmdec_corr", "pmrapmdecor"),
    "ruwe": ("ruwe",),
    "parallax_over_error": ("parallax_over_error", "rplx"),
    "source_id": ("source_id", "dr3_source_id", "gaiadr3_source_id", "gaia_source_id", "source"),
    "phot_g_mean_mag": ("phot_g_mean_mag",),
    "nu_eff_used_in_astrometry": ("nu_eff_used_in_astrometry",),
    "pseudocolour": ("pseudocolour",),
    "ecl_lat": ("ecl_lat",),
    "astrometric_params_solved": ("astrometric_params_solved",),
    **{name: (name, f"{name}_gc", f"{name}gc", f"{name}_gal") for name in ("x", "y", "z")},
    **{f"v{name}": (f"v{name}", f"v_{name}", f"v{name}_gc", f"v{name}_gal") for name in "xyz"},
    "weight": ("weights",),
    "covariance": ("phase_space_covariance",),
}
"""Names under which each role is looked for, whatever the case of the letters; the first found is used."""

CORRELATIONS = tuple(role for role in ALIASES if role.endswith("_corr"))
PHASE_SPACE = ("x", "y", "z", "vx", "vy", "vz")
ZERO_POINT = ("phot_g_mean_mag", "nu_eff_used_in_astrometry", "pseudocolour", "ecl_lat", "astrometric_params_solved")
IN_PARSEC = (
    *("r_med_photogeo", "rpgeo", "r_med_geo", "rgeo", "r_lo_photogeo", "r_hi_photogeo", "r_lo_geo", "r_hi_geo"),
    *("distance_gspphot", "distance_gspphot_lower", "distance_gspphot_upper"),
)
"""Distances that are pc wherever they appear without a unit (Bailer-Jones et al. 2021, and Gaia's own)."""

CORES = ("ra", "dec", "l", "b", "parallax", "distance", "pmra", "pmdec", "pml", "pmb", "radial_velocity", *PHASE_SPACE)
"""Roles without which a star has no place in phase space."""

DISTANCE_RANGES = {"r_med_photogeo": ("r_lo_photogeo", "r_hi_photogeo"), "r_med_geo": ("r_lo_geo", "r_hi_geo")}

TARGETS: dict[str, Any] = {
    **dict.fromkeys(("ra", "dec", "l", "b", "ecl_lat"), u.deg),
    **dict.fromkeys(("ra_error", "dec_error", "l_error", "b_error", "parallax", "parallax_error"), u.mas),
    **dict.fromkeys(("pmra", "pmdec", "pml", "pmb", "pmra_error", "pmdec_error", "pml_error", "pmb_error"), MAS_YR),
    **dict.fromkeys(("radial_velocity", "radial_velocity_error", "vx", "vy", "vz"), VELOCITY),
    **dict.fromkeys(("distance", "distance_error", "distance_low", "distance_high", "x", "y", "z"), LENGTH),
}
"""The unit each role is converted to; roles that are absent are pure numbers."""
