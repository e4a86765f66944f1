"""One table of whitenings through all invariants: inverse, Jacobian and its log determinant by finite differences, the axis, JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.polynomial.chebyshev import chebval

from deeppot_galactic.distribution.disc_whitening import DiscWhitening
from deeppot_galactic.distribution.sphere_whitening import SphereWhitening
from deeppot_galactic.distribution.whitening import AffineWhitening, Whitening, chebyshev
from deeppot_galactic.errors import FitError, StoreError
from deeppot_galactic.mocks.plummer import Plummer

from .conftest import disc_stars


def near_the_sun(n: int) -> np.ndarray:
    x = disc_stars(12 * n)
    return x[np.hypot(x[:, 0] - 6.0, x[:, 1]) < 2.5][:n]


CASES = {
    "affine": lambda: (AffineWhitening.fit(disc_stars(4000)), disc_stars(200, 5)),
    "disc": lambda: (DiscWhitening.fit(disc_stars(4000)), disc_stars(200, 5)),
    "disc-physical": lambda: (DiscWhitening.fit(disc_stars(4000), planar="physical"), disc_stars(200, 5)),
    "disc-weighted": lambda: (DiscWhitening.fit(disc_stars(4000), np.linspace(0.1, 2, 4000)), disc_stars(200, 5)),
    "disc-linear": lambda: (DiscWhitening.fit(near_the_sun(3000), planar="linear", degree=3), near_the_sun(200)),
    "disc-local": lambda: (DiscWhitening.fit(near_the_sun(3000), planar="local", degree=3), near_the_sun(200)),
    "sphere": lambda: (
        SphereWhitening.fit(Plummer().sample(4000, np.random.default_rng(0)), centre=np.array([0.1, 0.0, 0.0])),
        Plummer().sample(200, np.random.default_rng(1)),
    ),
}


@pytest.fixture(params=list(CASES))
def case(request) -> tuple[Whitening, torch.Tensor]:
    whitening, x = CASES[request.param]()
    return whitening, torch.from_numpy(x)


def test_inverse(case):
    whitening, x = case
    y, _ = whitening.forward(x)
    assert torch.allclose(whitening.inverse(y), x, rtol=1e-9, atol=1e-8)


def test_jacobian_by_finite_differences(case):
    whitening, x = case
    steps = torch.tensor([1e-5, 1e-5, 1e-5, 1e-3, 1e-3, 1e-3], dtype=torch.float64)
    columns = []
    for i in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[i] = steps[i]
        columns.append((whitening.forward(x + shift)[0] - whitening.forward(x - shift)[0]) / (2 * steps[i]))
    jacobian = torch.stack(columns, 2)
    _, log_det = whitening.forward(x)
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], log_det, rtol=1e-6, atol=1e-5)
    assert torch.allclose(whitening.position_jacobian(x), jacobian[:, :3, :3], rtol=1e-5, atol=1e-7)
    assert float(jacobian[:, :3, 3:].abs().max()) == 0.0  # y_pos is a function of the position alone


def test_whitened_stars_are_standard(case):
    whitening, x = case
    y, _ = whitening.whiten(x)
    if whitening.kind == "disc" and bool(whitening.parameters["linear"]):
        y = y[:, 2:]  # (x, y) may be in physical lengths
    assert float(y.mean(0).abs().max()) < 0.35
    assert 0.6 < float(y.std(0).min()) < float(y.std(0).max()) < 1.5


def test_json(case):
    whitening, x = case
    again = Whitening.from_dict(json.loads(json.dumps(whitening.to_dict())))
    for a, b in zip(whitening.forward(x), again.forward(x), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["disc", "disc-physical", "sphere"])
def test_smooth_at_the_centre(name):
    """Second derivatives of y and of ln |J| along a line through the axis have no kink and no NaN."""
    whitening, _ = CASES[name]()
    t = torch.linspace(-0.02, 0.02, 401, dtype=torch.float64)
    line = torch.stack([t, 0.5 * t, 0 * t, 30 + 0 * t, -80 + 0 * t, 10 + 0 * t], 1).requires_grad_(True)
    y, log_det = whitening.forward(line)
    for value in (*y.unbind(1), log_det):
        (first,) = torch.autograd.grad(value.sum(), line, create_graph=True)
        (second,) = torch.autograd.grad(first[:, 0].sum(), line, retain_graph=True, allow_unused=True)
        assert torch.isfinite(first).all()
        assert torch.isfinite(second).all()
        bend = second[:, 0]
        assert float((bend[1:] - bend[:-1]).abs().max()) < 1e-2 * (1.0 + float(bend.abs().max()))


def test_vertical_scale_and_anisotropy_follow_the_disc():
    """Every annulus of the whitened disc is standard: heights, streaming and both planar dispersions."""
    x = disc_stars(60_000)
    whitening = DiscWhitening.fit(x)
    y = whitening.whiten(torch.from_numpy(x))[0].numpy()
    radius = np.hypot(x[:, 0], x[:, 1])
    rho = np.hypot(y[:, 0], y[:, 1])
    v_r = (y[:, 0] * y[:, 3] + y[:, 1] * y[:, 4]) / rho
    v_phi = (y[:, 0] * y[:, 4] - y[:, 1] * y[:, 3]) / rho
    for low, high in ((0.5, 2), (2, 4), (4, 7), (7, 12)):
        rows = (radius > low) & (radius < high)
        for values in (v_r, v_phi, y[:, 5], y[:, 2]):
            assert 0.85 < values[rows].std() < 1.15
        assert abs(v_phi[rows].mean()) < 0.1


def test_profiles_stay_tame_beyond_the_data():
    whitening = DiscWhitening.fit(disc_stars(4000))
    far = torch.tensor([[1000.0, 0, 50, 10, 200, 5], [1e-12, 0, 0, 0, 0, 0]], dtype=torch.float64)
    y, log_det = whitening.forward(far)
    assert torch.isfinite(y).all()
    assert torch.isfinite(log_det).all()
    assert float(y.abs().max()) < 1e4


def test_chebyshev_against_numpy():
    w = np.linspace(-1.2, 1.2, 50)
    coefficients = np.array([0.3, -1.0, 0.2, 0.7, -0.1])
    ours = chebyshev(torch.from_numpy(w), torch.from_numpy(coefficients)).numpy()
    assert np.allclose(ours, chebval(w, coefficients), atol=1e-12)


def test_constant_dimension_is_named():
    x = disc_stars(1000)
    x[:, 5] = 3.0
    for fit in (AffineWhitening.fit, DiscWhitening.fit):
        with pytest.raises(FitError, match="vz"):
            fit(x)


def test_unknown_kind():
    with pytest.raises(StoreError, match="cubic"):
        Whitening.from_dict({"kind": "cubic"})
