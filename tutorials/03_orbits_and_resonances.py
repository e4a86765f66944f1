# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3 Orbits and resonances, here and in galpy, gala, agama
#
# A learned potential is a potential like any other: orbits, resonances and Lagrange points follow from it, in this package or in the one
# you are used to. The potential here comes from the weak form, which needs no training; `dg.load("demo")` would give that of a run.

# %%
import warnings
from importlib.util import find_spec

import astropy.units as u
import numpy as np
from helpers import SMALL, show, some, weak_potential
from matplotlib.figure import Figure

import deeppot_galactic as dg
from deeppot_galactic import dynamics, interop
from deeppot_galactic.errors import DeepPotError, ExtrapolationWarning
from deeppot_galactic.report import plots

tracers = dg.read_tracers(dg.demo_path())
truth = dg.read_truth(dg.demo_path())
volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
model = weak_potential(some(tracers, 4000 if SMALL else 60_000), volume)
print(model)

# %% [markdown]
# `model.global_potential` is the learned potential inside the volume, continued smoothly to all space. A spline of it is much faster and
# says how well it does:

# %%
exact = model.global_potential
fast = interop.compile_potential(exact, **({"nodes": (25, 25, 21)} if SMALL else {}))
print(fast.report)

# %% [markdown]
# ## Resonances
#
# Corotation, where circular orbits keep up with the bar, and the Lindblad resonances, where they meet it once per radial oscillation.

# %%
found = dynamics.resonances(fast, omega_error=model.omega_error[2])
print(dynamics.resonance_table(found))
corotation = max((r.radius for r in found if r.kind == "corotation"), default=truth.corotation)  # kpc
print(f"corotation at {corotation:.2f} kpc, in the simulation {truth.corotation:.2f} kpc")

# %% [markdown]
# ## Lagrange points
#
# In the bar's frame a star at rest feels $\Phi_{\rm eff} = \Phi - \Omega^2 R^2 / 2$. Its saddles at the ends of the bar are L1 and L2,
# its maxima across it L4 and L5.

# %%
try:
    points = dynamics.lagrange_points(fast, bar_angle=truth.bar_angle)
except DeepPotError as error:  # with few stars there may be no bar to speak of
    print(error)
    points = []
for point in points[:5]:
    print(f"{point.name:8s} R = {point.radius:5.2f} kpc, {'stable' if point.stable else 'unstable'}")

# %% [markdown]
# ## Orbits
#
# A star released in the bar at rest in its frame stays with the bar; one released near corotation wanders. Both are integrated by a
# symplectic scheme of fourth order that keeps the Jacobi energy, the one thing that such orbits conserve.

# %%
angle = truth.bar_angle
along, across = np.array([np.cos(angle), np.sin(angle), 0.0]), np.array([-np.sin(angle), np.cos(angle), 0.0])
omega = model.omega[2].to_value(u.km / u.s / u.kpc)
pos = np.array([4.0 * along + [0, 0, 0.1], corotation * across + [0, 0, 0.1]]) * u.kpc
spin = np.cross([0, 0, omega], pos.value)
vel = (spin + np.array([40.0 * across, 15.0 * across])) * u.km / u.s
times = np.linspace(0, 0.4 if SMALL else 2.0, 101 if SMALL else 801) * u.Gyr
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ExtrapolationWarning)
    orbits = dynamics.integrate_orbits(fast, pos, vel, times)
print("left the volume, where the potential is extrapolated:", orbits.left_volume)
print("relative change of the Jacobi energy:", orbits.jacobi_drift)

# %%
reach = 1.6 * corotation
grid = np.linspace(-reach, reach, 101)
first, second = np.meshgrid(grid, grid, indexing="ij")
plane = np.column_stack([first.ravel(), second.ravel(), 0 * first.ravel()]) * u.kpc
level = dynamics.effective_potential(fast, plane).value.reshape(first.shape)
peak = np.max(level[np.hypot(first, second) < 1.2 * corotation])
with plots.styled():
    figure = Figure(figsize=(10.5, 5.0), layout="constrained")
    for ax, k, title in zip(figure.subplots(1, 2), (0, 1), ("released in the bar", "released at corotation"), strict=True):
        ax.contour(
            grid,
            grid,
            level.T,
            levels=peak - np.abs(peak) * np.geomspace(0.3, 3e-3, 10),
            colors="#9aa8b4",
            linewidths=0.7,
            linestyles="solid",
        )
        ax.plot(*orbits.pos[:, k, :2].value.T, color="#0072b2", linewidth=0.7)
        for point in points:
            if point.name.startswith("L"):
                ax.plot(*point.position[:2], "o", color="#d55e00", markersize=4)
                ax.annotate(point.name, point.position[:2], xytext=(4, 4), textcoords="offset points", fontsize=9)
        plots.face_on(ax).set(title=title, xlim=(-reach, reach), ylim=(-reach, reach))
show(figure, "03_orbits")

# %% [markdown]
# ## The same orbit in galpy and gala
#
# galpy is left-handed, with the Sun at positive x; the export is mirrored, so that the same star meets the same bar. Compare by converting
# our orbit: `orbits.to_galpy()`, `orbits.to_gala()`.

# %%
steps = np.linspace(0, 200, 21) * u.Myr
mine = dynamics.integrate_orbits(fast, pos[:1], vel[:1], steps)
inertial = mine.inertial()[0][:, 0].to_value(u.kpc)
if find_spec("galpy"):
    from galpy.orbit import Orbit

    host = interop.to_galpy(fast, backend="compiled", inertial=True)
    start = mine.to_galpy()
    orbit = Orbit(start.orbit[0, 0], ro=8.0, vo=220.0)
    orbit.integrate(start.t, host, method="dop853")
    there = np.stack([-orbit.x(start.t), orbit.y(start.t), orbit.z(start.t)], axis=-1)
    print(f"galpy differs by {np.abs(there - inertial).max():.1e} kpc after 200 Myr")
if find_spec("gala"):
    import gala.dynamics as gd

    host = interop.to_gala(fast, backend="compiled", inertial=True)
    begin = gd.PhaseSpacePosition(pos[:1].T, vel[:1].T)
    orbit = interop.gala.hamiltonian(host).integrate_orbit(begin, t=steps)
    print(f"gala differs by {np.abs(np.squeeze(orbit.xyz.to_value(u.kpc)).T - inertial).max():.1e} kpc after 200 Myr")

# %% [markdown]
# agama reads a coefficient file that needs no Python at all, and integrates a thousand orbits in seconds:

# %%
if find_spec("agama"):
    import agama

    agama.setUnits(length=1, velocity=1, mass=1)
    host = interop.to_agama(fast)
    start = np.concatenate([pos[0].value, vel[0].value])
    end = agama.orbit(potential=host.agama, ic=start, time=0.2 / 0.9778, Omega=host.omega_z, trajsize=21)[1][-1]
    print("agama, rotating axes, after 200 Myr:", end[:3], "ours:", mine.pos[-1, 0].value)
else:
    print("agama is not installed; `deeppot export demo --to agama --out bar.ini` writes the file all the same")
