# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6 Bring your own snapshot
#
# You have a simulation. This tutorial goes from arrays in simulation units to a run folder with a report, in five steps: units, centre,
# orientation, file, run. A stand-in with a known answer is made first: a rotating bar whose distribution function is exact and stationary,
# put off the origin, tilted, moving, and written in odd units.

# %%
import tempfile
from pathlib import Path

import astropy.units as u
import numpy as np
from helpers import SMALL, show
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation

import deeppot_galactic as dg
from deeppot_galactic import mocks
from deeppot_galactic.config import make_config
from deeppot_galactic.errors import UnitsError
from deeppot_galactic.pipeline import run
from deeppot_galactic.report import diagnostics as dx
from deeppot_galactic.report import plots

mock = mocks.ErgodicBar()
w = mock.sample(4000 if SMALL else 100_000, np.random.default_rng(0))
tilt = Rotation.from_euler("xz", [35, 20], degrees=True)
place, motion = np.array([40.0, -12.0, 3.0]), np.array([150.0, 30.0, -80.0])  # kpc, km/s
positions = (tilt.apply(w[:, :3]) + place) * 1000  # in pc
velocities = tilt.apply(w[:, 3:]) + motion  # in km/s

# %% [markdown]
# ## 1 Units
#
# Everything that enters carries its unit. A bare array is refused, because kpc and pc, or km/s and kpc/Gyr, are equally common.

# %%
pos, vel = positions * u.pc, velocities * u.km / u.s
try:
    dg.Tracers.from_phase_space(positions, velocities)
except UnitsError as error:
    print(error)

# %% [markdown]
# ## 2 Centre
#
# The axis of rotation must go through the origin, or be told with `RotatingFrame(x0=...)`. Shrinking spheres find the densest place; the
# mean velocity of what is inside is the motion of the galaxy.

# %%
centre, radius = np.median(pos.to_value(u.kpc), axis=0), 20.0
while radius > 1.0:
    inside = np.linalg.norm(pos.to_value(u.kpc) - centre, axis=1) < radius
    if inside.sum() < 500:
        break
    centre, radius = pos.to_value(u.kpc)[inside].mean(axis=0), 0.8 * radius
drift = vel.value[np.linalg.norm(pos.to_value(u.kpc) - centre, axis=1) < 5].mean(axis=0)
print("centre", centre.round(2), "kpc, motion", drift.round(1), "km/s (put in: 40, -12, 3; 150, 30, -80)")

# %% [markdown]
# ## 3 Orientation
#
# z along the angular momentum of the disc. Then the disc turns counter-clockwise, and a bar that turns with it has $\Omega_z > 0$.

# %%
x, v = pos.to_value(u.kpc) - centre, vel.value - drift
spin = np.cross(x, v).mean(axis=0)
axis = spin / np.linalg.norm(spin)
first = np.cross([0.0, 1.0, 0.0], axis)
first /= np.linalg.norm(first)
matrix = np.stack([first, np.cross(axis, first), axis])  # rows are the new axes: a rotation, never a mirror
assert np.linalg.det(matrix) > 0.99
x, v = x @ matrix.T, v @ matrix.T
tracers = dg.Tracers.from_phase_space(x * u.kpc, v * u.km / u.s)
print("inclination found:", np.degrees(np.arccos(axis[2])).round(1), "deg (put in: 35)")

# %% [markdown]
# ## 4 A file
#
# Any table with x, y, z, vx, vy, vz and units will do, or HDF5 or `.npz` with `pos` and `vel` in kpc and km/s. If the simulation knows its
# pattern speed and forces, store them under the names below in the `.npz`, and every report will compare with them.

# %%
folder = Path(tempfile.mkdtemp())
where = np.random.default_rng(1).uniform(-2, 2, (400, 3)) * [1, 1, 0.3]
body = (where @ matrix + centre) @ tilt.as_matrix() - tilt.inv().apply(place)  # the same places in the mock's own axes
acceleration = tilt.apply(mock.acceleration(body)) @ matrix.T
np.savez(folder / "snapshot.npz", pos=x, vel=v, Omega_bar=mock.omega, truth_pos=where, truth_acc=acceleration)

# %% [markdown]
# ## 5 The run
#
# The volume should end where the stars still are many. `deeppot run snapshot.toml` does what the next cell does.

# %%
reach = float(np.quantile(np.hypot(x[:, 0], x[:, 1]), 0.9))
height = float(np.quantile(np.abs(x[:, 2]), 0.95))
config = make_config(
    {
        "catalogue": {"path": str(folder / "snapshot.npz")},
        "volume": {"kind": "cylinder", "r_out": reach, "half_height": height},
        "distribution": {"preset": "quick", "options": {"steps": 30, "width": 32} if SMALL else {}},
        "potential": {"preset": "quick", "options": {"steps": 20} if SMALL else {}},
        "run": {"quick": True},
    }
)
print(config.to_toml())
result = run(config, folder / "run")
print(f"Omega = {result.summary['omega']['value'][2]:.1f} +- {result.summary['omega']['error'][2]:.1f}, truth {mock.omega}")
print(sorted(path.name for path in result.folder.iterdir()))

# %% [markdown]
# `report.html` in the run folder is one file that can be mailed. Its numbers can be had in Python too, and the model is an ordinary one:

# %%
model = dg.load(result.folder)
truth = dg.read_truth(folder / "snapshot.npz")
points = dg.GradientSample.load(result.folder / "gradients.h5")
d = dx.diagnose(points, model, truth)
with plots.styled():
    figure = Figure(figsize=(10.0, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    edges = np.linspace(-reach, reach, 61)
    plots.stellar_density(left, dx.surface_density(x[:, 0], x[:, 1], edges, edges))
    plots.landmarks(plots.face_on(left), bar=d.bar, corotation=d.corotation)
    plots.acceleration_scatter(right, d.forces)
show(figure, "06_snapshot")
