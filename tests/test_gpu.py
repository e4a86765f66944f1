"""The same fits on a CUDA device: agreement with the CPU, resume, and the whole run with ``--device cuda``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
import torch

import deeppot_galactic as dg
from deeppot_galactic.demo import demo_config
from deeppot_galactic.mocks import Plummer
from deeppot_galactic.pipeline import run

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
VOLUME = dg.Ball([0, 0, 0] * u.kpc, 3 * u.kpc)


@pytest.mark.parametrize("preset", ["quick", "flow-matching"])
def test_scores_agree_with_the_cpu(preset: str) -> None:
    stars = Plummer().tracers(20_000)
    options = {"preset": preset, "steps": 100, "width": 64, "batch": 1024}
    df = dg.fit_distribution(stars, VOLUME, device="cuda", **options)
    x = stars.within(VOLUME).phase_space[:2000]
    here = df.to("cpu").evaluate(x)
    there = df.to("cuda").evaluate(x)
    for mine, theirs in zip(there, here, strict=True):
        assert np.abs(mine - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_trainings_follow_the_cpu() -> None:
    """The same losses within rounding, for an optimiser that does not amplify it."""
    stars = Plummer().tracers(20_000)
    options = {"preset": "quick", "steps": 100, "width": 64, "batch": 1024, "validate_every": 20, "optimiser": "radam", "rate": 3e-3}
    curves = [dg.fit_distribution(stars, VOLUME, device=device, **options).history.validation_loss for device in ("cpu", "cuda")]
    np.testing.assert_allclose(curves[1], curves[0], rtol=5e-3, atol=1e-3)


def test_an_interrupted_training_goes_on(tmp_path: Path) -> None:
    stars = Plummer().tracers(5000)
    options = {"preset": "quick", "steps": 60, "width": 32, "batch": 256, "validate_every": 10, "checkpoint_every": 10, "device": "cuda"}

    def stop(stage: str, done: int, total: int, values: dict[str, float]) -> None:
        if done >= 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dg.fit_distribution(stars, VOLUME, checkpoint=tmp_path / "c.safetensors", progress=stop, **options)
    assert (tmp_path / "c.safetensors").exists()
    resumed = dg.fit_distribution(stars, VOLUME, checkpoint=tmp_path / "c.safetensors", **options)
    assert resumed.history.steps[-1] == 60


def test_a_whole_run(tmp_path: Path) -> None:
    config = demo_config(quick=True).replace(run={"device": "cuda"})
    on_cpu = run(config.replace(run={"device": "cpu"}), tmp_path / "cpu").summary
    on_gpu = run(config, tmp_path / "cuda").summary
    assert on_gpu["device"] == "cuda"
    assert on_gpu["force_error"]["median"] == pytest.approx(on_cpu["force_error"]["median"], abs=0.03)
    assert on_gpu["omega"]["value"][2] == pytest.approx(on_cpu["omega"]["value"][2], abs=2.0)


def test_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "deeppot_galactic", "demo", "--quick", "--device", "cuda", "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scores_do_not_suffer_from_tf32() -> None:
    """A training with rounded products ends as well as one without, by the validation loss."""
    from deeppot_galactic.training.precision import matmul_precision

    stars = Plummer().tracers(50_000)
    best = []
    for kind in ("single", "tf32"):
        with matmul_precision(kind):
            history = dg.fit_distribution(stars, VOLUME, preset="fast", steps=600, device="cuda").history
        best.append(min(history.validation_loss))
    assert best[1] == pytest.approx(best[0], abs=0.03)
