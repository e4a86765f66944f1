# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2 From a Gaia table to phase space
#
# A real catalogue has right ascensions, parallaxes, proper motions, radial velocities and errors, many of them missing. This tutorial goes
# from such a table to galactocentric positions and velocities and looks at every step on the way. So that the answer is known, the table is
# a mock: stars of the N-body galaxy, turned so that they look like the Milky Way, observed with the errors of Gaia DR3.

# %%
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
from helpers import SMALL, brief, show, some
from matplotlib.figure import Figure

import deeppot_galactic as dg
from deeppot_galactic import mocks
from deeppot_galactic.report import plots

simulated = dg.read_tracers(dg.demo_path())
truth = dg.read_truth(dg.demo_path())
galaxy = mocks.as_milky_way(some(simulated, 5000 if SMALL else 100_000), bar_angle=truth.bar_angle * u.rad)
table = mocks.observe(galaxy, faint_limit=14.0, seed=1)
print(brief(table["source_id", "ra", "dec", "parallax", "pmra", "radial_velocity", "ruwe"][:4]))

# %% [markdown]
# The mock galaxy turned counter-clockwise; the Milky Way, seen from the north Galactic pole, turns clockwise. `as_milky_way` turned it
# over (a rotation, not a mirror), so from here on **the pattern speed is negative**. More in the FAQ on handedness.
#
# ## Reading it
#
# Nothing is dropped in silence: every cut has a name and a count, every assumption (units, zero point, frame) is a note.

# %%
folder = Path(tempfile.mkdtemp())
table.write(folder / "gaia.ecsv")
stars = dg.read_tracers(folder / "gaia.ecsv")
for cut in stars.meta["cuts"]:
    print(f"{cut['removed']:7d} removed, {cut['left']:7d} left: {cut['name']}")
print(*stars.meta["notes"], sep="\n")

# %% [markdown]
# On the command line, `deeppot check gaia.ecsv` prints the same without fitting anything. The frame is explicit and stored with the stars:

# %%
print(stars.frame)

# %% [markdown]
# ## Distances
#
# 1 / parallax is skewed once the error exceeds a tenth of the parallax. The default cut, parallax / error > 5, keeps the bias small, and it
# makes the sample end where the errors say, not where the Galaxy does. Where you have better distances, put them in a column `distance`:
# it wins over the parallax.

# %%
ids = np.asarray(stars.ids) - 1  # the mock numbers its stars from 1
known = galaxy.phase_space[ids]
sun = np.array([-8.122, 0.0, 0.0208])
true_distance = np.linalg.norm(known[:, :3] - sun, axis=1)
distance = np.linalg.norm(stars.phase_space[:, :3] - sun, axis=1)
with plots.styled():
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(*galaxy.phase_space[::10, :2].T, ".", color="#c7ced6", markersize=1.5, rasterized=True)
    left.plot(*stars.phase_space[::4, :2].T, ".", color="#0072b2", markersize=1.5, rasterized=True)
    left.plot(*sun[:2], "o", color="#d55e00")
    left.set(xlim=(-14, 8), ylim=(-11, 11), aspect="equal", xlabel="x [kpc]", ylabel="y [kpc]", title="all stars, and those that are kept")
    left.set_xticks(range(-10, 6, 5))
    right.plot(true_distance, distance / true_distance - 1, ".", color="#0072b2", markersize=2, alpha=0.4, rasterized=True)
    right.axhline(0, color="#1b2733", linewidth=1)
    right.set(xlabel="true distance [kpc]", ylabel="relative error of 1 / parallax", ylim=(-0.6, 0.9))
show(figure, "02_distances")

# %% [markdown]
# ## Errors in six dimensions
#
# Gaia's five astrometric errors are correlated. `covariances` carries them, with the radial velocity's, through the transformation (its
# Jacobian where the parallax is good, drawing where it is not). The errors of position and velocity of one star are strongly aligned with
# the line of sight: far from spheres.

# %%
covariance = stars.covariance[:, :3, :3]  # kpc^2
along = (stars.phase_space[:, :3] - sun) / distance[:, None]
radial = np.sqrt(np.einsum("ni,nij,nj->n", along, covariance, along))
total = np.sqrt(np.trace(covariance, axis1=1, axis2=2))
pull = (distance - true_distance) / radial
print(f"share of the position error along the line of sight: {np.median(radial / total):.3f}")
print(f"distance errors in units of their sigma: mean {pull.mean():+.2f}, scatter {pull.std():.2f}")

# %% [markdown]
# ## A volume around the Sun
#
# The last step before a fit is a volume in which the sample is complete enough, or a selection function (`stars.weighted(selection)`).
# Here: the ball within 2 kpc of the Sun, and its asymmetric velocity distribution.

# %%
ball = dg.Ball(sun * u.kpc, 2 * u.kpc)
near = stars.within(ball)
w = near.phase_space
radius = np.hypot(w[:, 0], w[:, 1])
v_R = (w[:, 0] * w[:, 3] + w[:, 1] * w[:, 4]) / radius
v_phi = (w[:, 0] * w[:, 4] - w[:, 1] * w[:, 3]) / radius
print(f"{len(near)} stars within 2 kpc; median v_phi = {np.median(v_phi):.0f} km/s: clockwise")
with plots.styled():
    figure = Figure(figsize=(5.4, 4.6), layout="constrained")
    ax = figure.subplots()
    ax.hexbin(v_R, v_phi, gridsize=16, cmap="magma", mincnt=1, extent=(-150, 150, -350, -50))
    ax.set(xlabel="$v_R$ [km s⁻¹]", ylabel="$v_φ$ [km s⁻¹]", title="within 2 kpc of the Sun")
show(figure, "02_velocities")

# %% [markdown]
# From here the way is that of tutorial 1: `dg.pattern_speed(stars, ball)`, `dg.fit_distribution(stars, ball)`, and so on; or on the command
# line `deeppot run run.toml` with `path = "gaia.ecsv"`. Written out with its frame, units and record of cuts, the catalogue is one file:

# %%
stars.write(folder / "stars.ecsv")
again = dg.read_tracers(folder / "stars.ecsv")
print(np.array_equal(again.phase_space, stars.phase_space), again.frame.galcen_distance)
