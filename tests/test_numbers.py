"""Numbers that must not depend on how they are computed: threads, pieces, precision; and those that do, with their bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

import deeppot_galactic as dg
from deeppot_galactic.distribution import base
from deeppot_galactic.mocks import Plummer
from deeppot_galactic.training import threads

VOLUME = dg.Ball([0, 0, 0] * u.kpc, 3 * u.kpc)
TRAINING: dict[str, Any] = {"preset": "quick", "steps": 80, "batch": 512, "width": 32, "validate_every": 20}
RADAM = {"optimiser": "radam", "rate": 3e-3}


@pytest.fixture(scope="module")
def stars() -> dg.Tracers:
    return Plummer().tracers(6000)


@pytest.fixture(scope="module")
def fitted(stars: dg.Tracers) -> dg.Distribution:
    with threads(1):
        return dg.fit_distribution(stars, VOLUME, **TRAINING, **RADAM)


def worst(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference relative to the largest value."""
    return float(np.abs(mine - theirs).max() / np.abs(theirs).max())


def test_scores_do_not_depend_on_threads_or_pieces(fitted: dg.Distribution, stars: dg.Tracers, monkeypatch: pytest.MonkeyPatch) -> None:
    x = stars.within(VOLUME).phase_space[:3000]
    with threads(1):
        ln_f, score = fitted.evaluate(x)
    with threads(2):
        more = fitted.evaluate(x)
    monkeypatch.setattr(base, "ROWS", 101)
    pieces = fitted.evaluate(x)
    single = fitted.evaluate(x[7])
    for other in (more, pieces):
        assert worst(other[0], ln_f) < 1e-6
        assert worst(other[1], score) < 3e-6
    np.testing.assert_allclose(single[1][0], score[7], rtol=1e-4, atol=1e-6 * np.abs(score).max())


FLOW = {"steps": 40, "batch": 256, "width": 32, "depth": 2, "solver_steps": 4, "warmup": 5, "validate_every": 20}
SHELLS = dg.Cylinder(shells=(0, 1, 3) * u.kpc, half_height=2 * u.kpc)
ESTIMATORS: dict[str, tuple[dg.Volume, dict[str, Any]]] = {
    "score matching": (VOLUME, TRAINING | RADAM),
    "flow matching": (VOLUME, {"preset": "flow-matching"} | FLOW),
    "likelihood": (VOLUME, {"preset": "paper-small"} | FLOW | {"steps": 20}),
    "ensemble": (VOLUME, {"members": 2} | TRAINING | RADAM | {"steps": 40}),
    "shells": (SHELLS, TRAINING | RADAM | {"steps": 40}),
}
SINGLE = {"ln_f": 1e-6, "score": 1e-5}
"""Largest difference of float32 from float64 relative to the largest value; measured and stated in docs/accuracy.md."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_precision_threads_and_pieces_of_every_estimator(name: str, stars: dg.Tracers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation on float64 networks, on two threads and in pieces of 101 rows against float32 on one thread in one piece."""
    volume, options = ESTIMATORS[name]
    with threads(1):
        df = dg.fit_distribution(stars, volume, **options)
        x = stars.within(volume).phase_space[:1500]
        ln_f, score = df.evaluate(x)
    found = {}
    with threads(2):
        found["threads"] = df.evaluate(x)
    with threads(1), monkeypatch.context() as patch:
        patch.setattr(base, "ROWS", 101)
        found["pieces"] = df.evaluate(x)
        found["double"] = df.to(dtype="float64").evaluate(x)
    differences = {way: (worst(other[0], ln_f), worst(other[1], score)) for way, other in found.items()}
    print(name, differences)
    for way, (of_ln_f, of_score) in differences.items():
        assert of_ln_f < SINGLE["ln_f"], way
        assert of_score < SINGLE["score"], way
    assert differences["double"][1] > 0.0


def test_the_potential_network_in_single_precision_is_one_in_double_within_rounding() -> None:
    """Phi, forces and Laplacian of the preset's network, and its stationarity loss with its gradient, in float32 against float64."""
    from deeppot_galactic.potential.network import PotentialNetwork

    network = PotentialNetwork(width=128, depth=3, zero_output=False, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1000, 3, generator=generator, dtype=torch.float64) * torch.tensor([4.0, 4.0, 0.5], dtype=torch.float64)
    kick = torch.randn(1000, 3, generator=generator, dtype=torch.float64)
    found = []
    for kind in (torch.float32, torch.float64):
        model = network.to(kind)
        model.zero_grad()
        values = model(x.to(kind))
        ((values[1] * kick.to(kind)).sum(1).square().mean() + values[2].square().mean()).backward()
        gradient = torch.cat([p.grad.reshape(-1).double() for p in model.parameters() if p.grad is not None])
        found.append([value.detach().double().numpy() for value in values] + [gradient.numpy()])
    differences = [worst(mine, theirs) for mine, theirs in zip(*found, strict=True)]
    print("potential", differences)
    assert max(differences[:2]) < 5e-6
    assert max(differences[2:]) < 5e-6


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(fitted: dg.Distribution, stars: dg.Tracers) -> None:
    x = stars.within(VOLUME).phase_space[:200]
    with threads(1):
        again = dg.fit_distribution(stars, VOLUME, **TRAINING, **RADAM)
        other = dg.fit_distribution(stars, VOLUME, seed=1, **TRAINING, **RADAM)
        for mine, theirs in zip(again.evaluate(x), fitted.evaluate(x), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert worst(other.evaluate(x)[1], fitted.evaluate(x)[1]) > 1e-3


def test_a_training_does_not_depend_on_threads_beyond_rounding(fitted: dg.Distribution, stars: dg.Tracers) -> None:
    """With an optimiser that does not amplify rounding (see `training.soap` for the one that does)."""
    with threads(2):
        other = dg.fit_distribution(stars, VOLUME, **TRAINING, **RADAM)
    np.testing.assert_allclose(other.history.validation_loss, fitted.history.validation_loss, rtol=1e-3, atol=1e-4)
    x = stars.within(VOLUME).phase_space[:500]
    assert worst(other.evaluate(x)[1], fitted.evaluate(x)[1]) < 5e-3


def test_a_training_in_single_precision_is_one_in_double_within_rounding() -> None:
    """The hand-written objective and its gradient in float32 against float64, at the size of the preset."""
    from deeppot_galactic.distribution.energy_network import EnergyNetwork
    from deeppot_galactic.distribution.features import PlainFeatures

    network = EnergyNetwork(features=PlainFeatures([1.0] * 6), width=128, depth=3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.out.copy_(0.1 * torch.randn(network.out.shape, generator=torch.Generator().manual_seed(1)))
    y = torch.randn(1024, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = []
    for kind in (torch.float32, torch.float64):
        model = network.to(kind)
        model.zero_grad()
        loss = model.objective(y.to(kind), torch.ones(1024, dtype=kind), torch.zeros(1024, 3, dtype=kind))
        loss.backward()
        gradient = torch.cat([p.grad.reshape(-1).double() for p in model.parameters() if p.grad is not None])
        found.append((float(loss.detach()), gradient.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert float((found[0][1] - found[1][1]).norm() / found[1][1].norm()) < 1e-5


def test_the_pattern_speed_does_not_depend_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from deeppot_galactic.potential import moments

    stars, volume = dg.read_tracers(dg.demo_path()), dg.Cylinder(r_out=16 * u.kpc, half_height=2 * u.kpc)
    few = stars.select(np.arange(0, len(stars), 20))
    forms = []
    for chunk in (2048, 333):
        monkeypatch.setattr(moments.WeakForm._chunks, "__defaults__", (chunk,))
        forms.append(moments.WeakForm(few.phase_space, volume).equations(moments.test_basis(volume, len(few))))
    for name in ("constant", "rotation", "response"):
        mine, theirs = (getattr(form, name) for form in forms)
        assert worst(mine, theirs) < 1e-10, name


SOLUTIONS = """
import json, sys, warnings
import astropy.units as u
import numpy as np
import torch
import deeppot_galactic as dg
from deeppot_galactic.distribution.gradients import GradientSample
from deeppot_galactic.mocks import ErgodicBar

warnings.simplefilter("ignore")
torch.set_num_threads(int(sys.argv[1]))
mock, volume = ErgodicBar(), dg.Ball([1.5, 0, 0] * u.kpc, 2.5 * u.kpc)
stars = dg.Tracers(mock.sample(3000, np.random.default_rng(0))).within(volume)
x = stars.phase_space[np.isfinite(mock.score(stars.phase_space)).all(axis=1)]
points = GradientSample(x, mock.log_density(x), mock.score(x), volume=volume, meta={"n_stars": len(x)})
places = volume.sample(50, np.random.default_rng(1)) * u.kpc
found = {"pattern": dg.pattern_speed(stars, volume).value.value.tolist()}
for method in ("weak", "linear"):
    model = dg.fit_potential(points, method=method)
    found[method] = [float(model.omega[2].value), *model.acceleration(places).value.ravel().tolist()]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_linear_solutions_do_not_depend_on_threads_beyond_rounding() -> None:
    """Pattern speed, weak form and scores on a basis, with BLAS and torch on one thread and on two, in processes of their own."""
    results = []
    for number in ("1", "2"):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": number,
            "OPENBLAS_NUM_THREADS": number,
            "PYTHONPATH": str(Path(__file__).parents[1]),
        }
        done = subprocess.run([sys.executable, "-c", SOLUTIONS, number], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        results.append({name: np.array(values) for name, values in json.loads(done.stdout).items()})
    one, two = results
    differences = {name: worst(np.atleast_1d(two[name]), np.atleast_1d(one[name])) for name in one}
    print(differences)
    assert differences["pattern"] < 1e-6
    assert differences["weak"] < 1e-5  # its covariances are products in float32
    assert differences["linear"] < 1e-5


class _TF32(TorchFunctionMode):
    """Matrix products as a card does them in TF32: factors with ten bits of mantissa, sums in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0

    @staticmethod
    def rounded(x: torch.Tensor) -> torch.Tensor:
        bits = x.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("matmul", "linear", "addmm", "mm", "bmm", "__matmul__"):
            self.products += 1
            args = tuple(self.rounded(a) if isinstance(a, torch.Tensor) and a.dtype == torch.float32 else a for a in args)
        return func(*args, **(kwargs or {}))


def test_scores_do_not_suffer_from_tf32(stars: dg.Tracers) -> None:
    """Emulated: median and largest change of the scores of a trained network, relative to their median size."""
    df: Any = dg.fit_distribution(stars, VOLUME, **TRAINING)
    x = torch.tensor(stars.within(VOLUME).phase_space[:2000])
    y = df.whitening.forward(x)[0].float()
    with torch.no_grad():
        exact = df.network.score_and_laplacian(y)[0]
        with _TF32() as mode:
            rounded = df.network.score_and_laplacian(y)[0]
    assert mode.products >= 3
    change = (rounded - exact).norm(dim=1) / exact.norm(dim=1).median()
    assert 0 < float(change.median()) < 1e-3
    assert float(change.max()) < 1e-2


def test_tf32_is_asked_for_while_a_run_trains_and_not_after() -> None:
    from deeppot_galactic.training.precision import matmul_precision

    before = torch.get_float32_matmul_precision()
    with matmul_precision("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
    with matmul_precision("single"):
        assert torch.get_float32_matmul_precision() == before
    assert torch.get_float32_matmul_precision() == before


def test_soap_gives_the_same_bits_with_any_number_of_threads(stars: dg.Tracers) -> None:
    """It amplifies rounding, and therefore trains on one thread whatever is allowed."""
    fits = []
    for number in (1, 2):
        with threads(number):
            df = dg.fit_distribution(stars, VOLUME, **TRAINING)
            assert torch.get_num_threads() == number
        with threads(1):
            fits.append(df.evaluate(stars.within(VOLUME).phase_space[:500])[1])
    np.testing.assert_array_equal(fits[0], fits[1])
