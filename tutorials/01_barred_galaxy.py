# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1 A barred N-body galaxy
#
# The package ships 131,072 disc particles of a barred N-body galaxy: positions and velocities at one instant, nothing else. From them we
# want the gravitational potential, dark halo included, and the speed at which the bar turns. Because the galaxy is simulated, the answer
# is known and stands beside ours. At full size this takes some minutes on two cores.

# %%
import astropy.units as u
import numpy as np
from helpers import SMALL, show, some
from matplotlib.figure import Figure

import deeppot_galactic as dg
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report import plots

tracers = dg.read_tracers(dg.demo_path())
truth = dg.read_truth(dg.demo_path())  # for checking only: the fit never sees it
volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
if SMALL:
    tracers = some(tracers, 30_000)
print(tracers.within(volume))

# %% [markdown]
# ## Look first
#
# The second Fourier harmonic of the stars in rings, $A_2/A_0$, tells how strong the bar is and where it ends (here: where it has fallen
# to 70 % of its peak). The shaded level is what an axisymmetric disc with as many stars would show by chance.

# %%
x = tracers.within(volume).phase_space
profile = dx.harmonic_profile(x, edges=np.linspace(0, 16, 25))
bar = dx.bar_extent(profile)
edges = np.linspace(-12, 12, 61 if SMALL else 121)
with plots.styled():
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.stellar_density(left, dx.surface_density(x[:, 0], x[:, 1], edges, edges))
    plots.landmarks(plots.face_on(left), bar=bar)
    plots.bar_strength(right, profile, bar=bar, truth=truth)
show(figure, "01_stars")

# %% [markdown]
# ## How fast does the bar turn?
#
# The number of stars is conserved. Multiply the continuity equation by $e^{-2i\varphi}$ in a ring and integrate: the pattern speed follows
# from sums over the stars, without any potential and without learning anything. It takes a second.

# %%
speed = dg.pattern_speed(tracers, volume)
print(f"Omega = {speed.value:.2f} +- {speed.error.value:.2f}, truth {truth.omega:.2f} +- {truth.omega_error:.2f}")
print(speed.message)

# %% [markdown]
# ## The distribution of the stars
#
# The collisionless Boltzmann equation needs the gradients of $\ln f(x, v)$, the *scores*. They are learned from the stars by score
# matching: a network for $\ln f$, trained so that its gradient is the one the stars follow. `preset="fast"` takes a few minutes.

# %%
options = {"preset": "quick", "steps": 30, "width": 32} if SMALL else {"preset": "fast"}
df = dg.fit_distribution(tracers, volume, **options)
points = dg.draw_gradients(df, n=4000 if SMALL else 2**17)
print(len(points), "points, validation loss", df.history.to_dict()["validation_loss"][-1])

# %% [markdown]
# ## The potential
#
# Now look for the $\Phi(x)$ and the $\Omega$ for which $f$ does not change, seen from the rotating frame:
#
# $$ (\mathbf{\Omega}\times\mathbf{x} - \mathbf{v})\cdot\frac{\partial \ln f}{\partial\mathbf{x}} +
#    (\nabla\Phi + \mathbf{\Omega}\times\mathbf{v})\cdot\frac{\partial \ln f}{\partial\mathbf{v}} = 0. $$
#
# The first guess of $\Omega$ is the one from above, and `free=("omega_z",)` lets the fit change it.

# %%
frame = dg.RotatingFrame(omega=speed.value, free=("omega_z",))
model = dg.fit_potential(points, frame=frame, **({"preset": "quick", "steps": 20} if SMALL else {}))
print(model)
print("acceleration at (8, 0, 0) kpc:", model.acceleration([[8.0, 0, 0]] * u.kpc))

# %% [markdown]
# ## Is it right?
#
# Against the truth: accelerations in the plane, and the rotation curve. Without a truth one can still ask whether $f$ is steadier in the
# rotating frame than at rest; the figure below shows both.

# %%
d = dx.diagnose(points, model, truth)
print({name: round(value, 3) for name, value in d.summary()["force_error"].items()})
with plots.styled():
    figure = Figure(figsize=(10.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.error_against_radius(left, d.forces.radius, d.forces.error, edges=np.linspace(0, 16, 17))
    plots.rotation_curve(right, d.curve, truth=truth)
show(figure, "01_forces")

# %%
pixels = np.linspace(-16, 16, 65)
with plots.styled():
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    for ax, rate, name in zip(figure.subplots(1, 2), (d.stationarity.rotating, d.stationarity.lab), ("rotating", "at rest"), strict=True):
        seen = dx.mean_map(d.stationarity.x[:, 0], d.stationarity.x[:, 1], rate, pixels, pixels, smooth=2.5, at_least=20)
        plots.face_on(plots.rate_map(ax, seen, limit=10 / dx.PER_GYR)).set_title(f"d ln f / dt, {name}")
show(figure, "01_stationarity")

# %% [markdown]
# ## What to distrust
#
# Every report lists warning signs; here they are for this fit. Common ones: few stars (noise in the scores pulls $\Omega$ and the forces
# towards zero), a bar that grows or buckles (no frame makes it steady), densities (second derivatives) more than forces. `deeppot demo`
# does all of the above in one command and writes the report.

# %%
for flag in dx.find_flags(d, {"n_stars": len(x)}):
    print(f"{flag.level}: {flag.title}. {flag.text}")
