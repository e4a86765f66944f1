# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5 Beside analytic models of the Milky Way
#
# A new potential is easiest to judge beside known ones: rotation curve, vertical force, density in the plane, escape speed. The galaxy
# here is the simulated one of the demonstration, which is *not* the Milky Way; what matters is how the comparison is made. With a run
# on Gaia stars, put `dg.load("runs/mine")` in the place of the first lines.

# %%
import astropy.units as u
import numpy as np
from helpers import SMALL, brief, show, some, weak_potential
from matplotlib.figure import Figure

import deeppot_galactic as dg
from deeppot_galactic import dynamics
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report import plots
from deeppot_galactic.report.plots.comparison import compare_figure

tracers = dg.read_tracers(dg.demo_path())
truth = dg.read_truth(dg.demo_path())
volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
model = weak_potential(some(tracers, 4000 if SMALL else 60_000), volume)

# %% [markdown]
# Frequencies, rotation curves and the analytic models are axisymmetric; so is `model.axisymmetrized()`, the mean over azimuth of the
# learned potential. `compare` tabulates whatever models are installed: galpy's MWPotential2014, gala's MilkyWayPotential2022, agama's
# McMillan17.

# %%
table, figure = compare_figure(model.global_potential, np.linspace(2, 14, 7 if SMALL else 25) * u.kpc)
print(brief(table[:3]))
show(figure, "05_models")

# %% [markdown]
# Differences between the curves that are larger than those between fit and truth (tutorial 1) are differences between galaxies. The escape
# speed is the least certain of the four: it depends on all the mass outside the volume, where the fit has seen no star and the
# potential is an analytic continuation.
#
# ## A classical check: the asymmetric drift
#
# The radial Jeans equation turns the velocity moments of the same stars into a circular speed, if the disc is axisymmetric and steady.
# Where the bar is, it is neither, and the two curves part.

# %%
drift = dynamics.asymmetric_drift(tracers.pos, tracers.vel, np.linspace(1, 14, 27) * u.kpc)
radii = np.linspace(1, 14, 50) * u.kpc
learned = dynamics.rotation_curve(model.global_potential, radii)
with plots.styled():
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    ax = figure.subplots()
    ax.plot(radii, learned, color="#0072b2", label="learned potential")
    ax.plot(truth.vc_R, truth.vc, color="#1b2733", linestyle="--", label="truth")
    ax.errorbar(
        drift["R"].value, drift["vc"].value, drift["vc_error"].value, fmt="o", color="#d55e00", markersize=4, label="asymmetric drift"
    )
    ax.set(xlim=(0, 14), ylim=(0, 1.3 * np.nanmax(truth.vc)), xlabel="R [kpc]", ylabel="circular speed [km s⁻¹]")
    ax.legend(loc="lower right")
show(figure, "05_drift")

# %% [markdown]
# ## Where the matter is
#
# The density is the Laplacian of the potential: stars, gas and dark matter together. The mass of one particle is known here, so the stars
# can be subtracted; what is left in spherical shells is the halo. Shells average over heights, which a fit confuses more than radii.

# %%
d = dx.diagnose(None, model, truth)
halo = dx.dark_matter(d, tracers.phase_space)
with plots.styled():
    figure = Figure(figsize=(6.6, 4.6), layout="constrained")
    plots.dark_matter(figure.subplots(), halo)
show(figure, "05_halo")

# %% [markdown]
# The simulation's own halo is a Plummer sphere of 10 kpc and 1.6e11 Msun; its density at the Sun's distance would be
# $3M/(4\pi a^3)\,(1 + r^2/a^2)^{-5/2}$:

# %%
a, mass, r = 10.0, 1.6e11, 8.0
expected = 3 * mass / (4 * np.pi * a**3) * (1 + r**2 / a**2) ** -2.5
found = np.interp(r, halo.radius, halo.density)
print(f"halo density at 8 kpc: {found:.2e}, as the simulation began {expected:.2e} Msun/kpc^3")
