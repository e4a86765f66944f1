# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4 The pattern speed in seconds
#
# Stars are conserved. With $b = h(R)\,e^{-2i\varphi}$, a smooth window $h$ in radius, a pattern that turns at $\Omega$ and grows at the
# rate $\gamma$ obeys
#
# $$ \gamma - 2 i \Omega = \frac{\sum \mathbf{v}\cdot\nabla b}{\sum b}, $$
#
# sums over the stars. No potential, no distribution function, no learning: one pass through the catalogue.

# %%
import time
import warnings

import astropy.units as u
import numpy as np
from helpers import SMALL, show, some
from matplotlib.figure import Figure

import deeppot_galactic as dg
from deeppot_galactic.errors import AxisymmetryWarning
from deeppot_galactic.report import plots

tracers = dg.read_tracers(dg.demo_path())
if SMALL:
    tracers = some(tracers, 30_000)
truth = dg.read_truth(dg.demo_path())
volume = dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
begin = time.perf_counter()
speed = dg.pattern_speed(tracers, volume)
print(f"{len(tracers)} stars, {time.perf_counter() - begin:.2f} s")
print(f"Omega = {speed.value:.2f} +- {speed.error.value:.2f}  (truth {truth.omega:.2f})")
print(f"statistical {speed.statistical.value:.2f}, systematic {speed.systematic.value:.2f}; growth {speed.growth_rate:.2f}")

# %% [markdown]
# ## Ring by ring
#
# A rigid bar has one $\Omega$. Spiral arms have others, so each ring is measured separately; those in which the phase of the m = 2 pattern
# stays the same make the bar. The scatter between them is the systematic part of the error, which is usually the larger one: a quoted error
# that only counts stars would be far too small.

# %%
rings = [
    {
        "R_lo": row["R_lo"].value,
        "R_hi": row["R_hi"].value,
        "omega": row["omega"].value,
        "error": row["error"].value if "error" in speed.by_radius.colnames else np.nan,
        "in_pattern": bool(row["in_pattern"]),
    }
    for row in speed.by_radius
]
with plots.styled():
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    ax = figure.subplots()
    plots.pattern_speed_profile(ax, rings, weak=(speed.value.value, speed.error.value), truth=truth)
show(figure, "04_rings")

# %% [markdown]
# ## When there is no bar
#
# An axisymmetric disc turns into itself at any pattern speed: then $\Omega$ means nothing. Turn every star by a random angle about the
# axis, velocity and all, and the bar is gone. The package says so instead of giving a number that looks like one.

# %%
turn = np.random.default_rng(0).uniform(0, 2 * np.pi, len(tracers))
c, s = np.cos(turn), np.sin(turn)
w = tracers.phase_space.copy()
for k in (0, 3):
    w[:, k], w[:, k + 1] = c * w[:, k] - s * w[:, k + 1], s * w[:, k] + c * w[:, k + 1]
with warnings.catch_warnings(record=True) as noticed:
    warnings.simplefilter("always", AxisymmetryWarning)
    nothing = dg.pattern_speed(dg.Tracers(w), volume)
print("detected:", nothing.detected)
print(noticed[0].message if noticed else "no warning")

# %% [markdown]
# ## From a ball around the Sun
#
# Most real samples do not cover a disc. In a ball beside the centre there are no rings, but smooth polynomials that vanish at its edge do
# the same; growth cannot be told from rotation there, nor the bar from a spiral arm that turns otherwise, for which the error holds 12 % of
# the speed.

# %%
angle = truth.bar_angle - np.radians(20)
centre = 8 * np.array([np.cos(angle), np.sin(angle), 0]) * u.kpc
with warnings.catch_warnings():
    warnings.simplefilter("ignore", AxisymmetryWarning)  # it may well not be detected in so small a part
    for radius in (4, 2) if not SMALL else (4,):
        local = dg.pattern_speed(tracers, dg.Ball(centre, radius * u.kpc))
        print(f"{radius} kpc: Omega = {local.value:.1f} +- {local.error.value:.1f}, detected: {local.detected}")

# %% [markdown]
# ## How many stars does it take?
#
# The statistical error falls as the square root of the number of stars; the systematic one does not.

# %%
numbers = np.array([2000, 8000, 30_000] if SMALL else [4000, 16_000, 64_000, 131_072])
with warnings.catch_warnings():
    warnings.simplefilter("ignore", AxisymmetryWarning)
    results = [dg.pattern_speed(some(tracers, n, seed=1), volume, n_bootstrap=20 if SMALL else 100) for n in numbers]
with plots.styled():
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    ax.errorbar(numbers, [r.value.value for r in results], [r.error.value for r in results], fmt="o", color="#0072b2")
    ax.axhline(truth.omega, color="#1b2733", linestyle="--", label="truth")
    ax.set(xscale="log", xlabel="number of stars", ylabel="Ω [km s⁻¹ kpc⁻¹]")
    ax.legend()
show(figure, "04_numbers")

# %% [markdown]
# On the command line: `deeppot pattern-speed stars.fits --r-out 12`, with `--json` for scripts.
