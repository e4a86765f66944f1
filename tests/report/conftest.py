"""A rotating Gaussian bar, stationary by construction: the oracle for every diagnostic.

With Phi = (a^2 x^2 + b^2 y^2 + c^2 z^2) / 2 and f proportional to exp(-E_J / s^2), E_J = v^2/2 + Phi - Omega (x v_y - y v_x):

    x ~ N(0, s^2 / (a^2 - Omega^2)), y ~ N(0, s^2 / (b^2 - Omega^2)), z ~ N(0, s^2 / c^2), v | x ~ N(Omega x x, s^2),
    d ln f/dt = 0 in the rotating frame, Omega (b^2 - a^2) x y / s^2 in the lab, rho = (a^2 + b^2 + c^2) / (4 pi G).
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from deeppot_galactic.catalogue.volumes import Ball, Cylinder
from deeppot_galactic.units import ACCELERATION, ANGULAR_SPEED, DENSITY, POTENTIAL, G

SIGMA, OMEGA = 60.0, 30.0
FREQUENCIES = np.array([34.0, 50.0, 150.0])


class HarmonicModel:
    """Quantity in, Quantity out, like a fitted potential; ``error`` scales the forces to imitate an imperfect fit."""

    def __init__(self, volume: Any, error: float = 0.0, omega: float = OMEGA) -> None:
        self.volume, self.scale = volume, 1.0 + error
        self.omega = np.array([0.0, 0.0, omega]) * ANGULAR_SPEED
        self.omega_error = np.array([0.0, 0.0, 0.4]) * ANGULAR_SPEED
        self.frame = SimpleNamespace(x0=None, v0=None)

    def potential(self, pos: Any) -> Any:
        x = pos.to_value(u.kpc)
        return self.scale * 0.5 * np.sum((FREQUENCIES * x) ** 2, axis=1) * POTENTIAL

    def acceleration(self, pos: Any) -> Any:
        return -self.scale * FREQUENCIES**2 * pos.to_value(u.kpc) * ACCELERATION

    def density(self, pos: Any) -> Any:
        return np.full(len(pos), self.scale * np.sum(FREQUENCIES**2) / (4 * np.pi * G)) * DENSITY

    def in_training_volume(self, pos: Any) -> Any:
        return self.volume.contains(pos.to_value(u.kpc))


def draw(n: int, volume: Any, seed: int = 0) -> SimpleNamespace:
    """A `GradientSample` look-alike with exact scores."""
    rng = np.random.default_rng(seed)
    spread = SIGMA / np.sqrt(FREQUENCIES**2 - np.array([OMEGA**2, OMEGA**2, 0.0]))
    position = rng.normal(size=(8 * n, 3)) * spread
    position = position[volume.contains(position)][:n]
    stream = OMEGA * np.column_stack([-position[:, 1], position[:, 0], np.zeros(len(position))])
    velocity = stream + SIGMA * rng.normal(size=(len(position), 3))
    x, y = position[:, 0], position[:, 1]
    turn = OMEGA * np.column_stack([velocity[:, 1], -velocity[:, 0], np.zeros(len(x))])
    score_x = -(FREQUENCIES**2 * position - turn) / SIGMA**2
    score_v = -(velocity - OMEGA * np.column_stack([-y, x, np.zeros(len(x))])) / SIGMA**2
    points, score = np.hstack([position, velocity]), np.hstack([score_x, score_v])
    return SimpleNamespace(
        points=points, score=score, log_density=np.zeros(len(points)), weights=None, volume=volume, meta={"source": "stars"}
    )


def truth_of(model: HarmonicModel, n: int = 600, seed: int = 1) -> SimpleNamespace:
    """A `Truth` look-alike for an exact ``model``."""
    volume = model.volume
    positions = volume.center + np.random.default_rng(seed).uniform(-1, 1, (n, 3)) * [
        volume.size,
        volume.size,
        getattr(volume, "half_height", volume.size),
    ]
    reach = volume.size + float(np.max(np.abs(volume.center)))
    grid = np.linspace(-reach, reach, 33)
    first, second = np.meshgrid(grid, grid, indexing="ij")
    plane = np.column_stack([first.ravel(), second.ravel(), np.zeros(first.size)]) * u.kpc
    radii = np.linspace(0.2, volume.size, 30)
    speed = radii * np.sqrt(0.5 * (FREQUENCIES[0] ** 2 + FREQUENCIES[1] ** 2))
    return SimpleNamespace(
        omega=OMEGA, omega_error=0.1, bar_angle=0.0, bar_length=None, corotation=None, positions=positions,
        accelerations=model.acceleration(positions * u.kpc).value, potential=model.potential(positions * u.kpc).value,
        density=model.density(positions * u.kpc).value, grid_x=grid, grid_acceleration=model.acceleration(plane).value.reshape(33, 33, 3),
        grid_density=model.density(plane).value.reshape(33, 33), vc_R=radii, vc=speed, A2_R=None, A2=None, A2_phase=None,
    )  # fmt: skip


def history(steps: int, *, final: float, best: int | None = None) -> dict[str, Any]:
    """A training history as `History.to_dict` writes it."""
    at = np.arange(1, 61) * steps // 60
    train = final + 8 * np.exp(-6 * at / steps)
    validation: list[float | None] = [
        None if k % 2 == 0 else float(v + 0.3 * (a / steps) ** 2) for k, (v, a) in enumerate(zip(train, at, strict=True))
    ]
    rate = [float(r) for r in 1e-3 * np.minimum(1, at / (0.1 * steps)) * 0.5 * (1 + np.cos(np.pi * at / steps))]
    return {"steps": at.tolist(), "train_loss": train.tolist(), "validation_loss": validation, "rate": rate,
            "outcome": "finished", "best_step": int(best or at[-8]), "skipped": 0}  # fmt: skip


CONFIG = """[run]
preset = "fast"
seed = 0

[catalogue]
path = "stars.fits"

[volume]
kind = "cylinder"
r_out = "8 kpc"
half_height = "1.5 kpc"
"""


def summary() -> dict[str, Any]:
    """What the pipeline would write."""
    rings = [(1, 2, 29.6, 0.5, 0.2), (2, 3, 30.3, 0.4, -0.1), (3, 4, 30.1, 0.9, 0.4), (4, 6, 27.0, 3.0, 1.0)]
    return {
        "omega": {"value": [0.0, 0.0, OMEGA], "error": [0.0, 0.0, 0.4], "unit": "km/s/kpc"},
        "pattern_speed": {
            "value": 30.1, "error": 0.6, "statistical": 0.3, "systematic": 0.5, "growth_rate": 0.1,
            "growth_unit": "1/Gyr", "detected": True, "message": "",
            "by_radius": [dict(zip(("R_lo", "R_hi", "omega", "error", "growth_rate"), ring, strict=True)) for ring in rings],
        },
        "truth": {"omega": OMEGA, "omega_error": 0.1},
        "timings": {"catalogue": 1.2, "distribution": 241.0, "gradients": 3.1, "potential": 62.0, "report": 14.0},
        "peak_memory_mb": 1450.0, "versions": {"deeppot-galactic": "0.1.0", "torch": "2.13.0", "numpy": "2.4.0"},
        "seed": 0, "preset": {"distribution": "fast", "potential": "fast"}, "flags": [], "quick": False,
        "history": {"distribution": history(6000, final=-46.0), "potential": history(3000, final=2.0)},
    }  # fmt: skip


@pytest.fixture(scope="session")
def bar() -> SimpleNamespace:
    """Points with exact scores, the exact model and its truth."""
    volume = Cylinder(r_out=8 * u.kpc, half_height=1.5 * u.kpc)
    model = HarmonicModel(volume)
    makers = {
        "draw": draw,
        "make_model": HarmonicModel,
        "make_truth": truth_of,
        "make_ball": lambda center, radius: Ball(center * u.kpc, radius * u.kpc),
        "make_summary": summary,
        "make_folder": make_folder,
    }
    constants = {"omega": OMEGA, "sigma": SIGMA, "frequencies": FREQUENCIES}
    return SimpleNamespace(points=draw(60_000, volume), model=model, truth=truth_of(model), volume=volume, **makers, **constants)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The text files of a run folder (points, model and truth are handed over as objects)."""
    return make_folder(tmp_path)


def make_folder(parent: Path) -> Path:
    """The text files of a run."""
    folder = parent / "run"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps(summary()), encoding="utf-8")
    cuts = {"source": "stars.fits", "cuts": [{"name": "rows read", "count": 65000}, {"name": "inside the volume", "count": 60000}]}
    (folder / "catalogue.json").write_text(json.dumps(cuts), encoding="utf-8")
    return folder
