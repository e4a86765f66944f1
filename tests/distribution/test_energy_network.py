"""The hand-written derivatives against autograd in float64, features included."""

from __future__ import annotations

import pytest
import torch

from deeppot_galactic.distribution import energy_network
from deeppot_galactic.distribution.energy_network import EnergyNetwork
from deeppot_galactic.distribution.features import DiscFeatures, Features, PlainFeatures
from deeppot_galactic.errors import StoreError

FEATURES = {"plain": PlainFeatures(), "scaled": PlainFeatures([2.0, 0.5, 1.0, 1.5, 0.7, 3.0]), "disc": DiscFeatures(a=1.7, b=0.8)}


def network(name: str, depth: int = 3) -> EnergyNetwork:
    generator = torch.Generator().manual_seed(0)
    net = EnergyNetwork(width=16, depth=depth, features=FEATURES[name], generator=generator).double()
    with torch.no_grad():
        net.out.copy_(torch.randn(16, generator=generator))
    return net


def points(n: int = 40) -> torch.Tensor:
    y = torch.randn(n, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y[0] = 0.0
    return y


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize("stretch", [0.02, 1.0, 8.0])
def test_features_pushed_forward(name, stretch):
    features, y = FEATURES[name], points()
    y[:, :2] *= stretch
    out = features.pushed_forward(y)
    direct = torch.cat([features.values(y)[0], features.values(y)[1][:, None]], 1)
    assert out.shape == (8, len(y), features.size + 1)
    assert torch.allclose(out[0], direct)
    for k in range(features.size + 1):
        rows = y.clone().requires_grad_(True)
        values, base = features.values(rows)
        column = base if k == features.size else values[:, k]
        (gradient,) = torch.autograd.grad(column.sum(), rows, create_graph=True)
        assert torch.allclose(out[1:7, :, k].T, gradient, atol=1e-9)
        laplacian = torch.zeros(len(y), dtype=torch.float64)
        if gradient.requires_grad:
            for i in range(6):
                (row,) = torch.autograd.grad(gradient[:, i].sum(), rows, retain_graph=True, allow_unused=True)
                laplacian += 0.0 if row is None else row[:, i]
        # the series of the stretch is short: relative accuracy 1e-7 near the axis
        assert torch.allclose(out[7, :, k], laplacian, rtol=1e-6, atol=1e-6)


def test_disc_features_turn_with_the_disc():
    """u_R, u_phi, rho and the base do not change under a rotation about z, the others do."""
    y = points()
    c, s = torch.cos(torch.tensor(0.7, dtype=torch.float64)), torch.sin(torch.tensor(0.7, dtype=torch.float64))
    turned = y.clone()
    for k in (0, 3):
        turned[:, k], turned[:, k + 1] = c * y[:, k] - s * y[:, k + 1], s * y[:, k] + c * y[:, k + 1]
    (before, base), (after, turned_base) = FEATURES["disc"].values(y), FEATURES["disc"].values(turned)
    assert torch.allclose(before[:, 6:9], after[:, 6:9])
    assert torch.allclose(base, turned_base)
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_disc_base_is_the_standard_normal_of_the_stretched_plane():
    """exp(base) integrates over the plane to 2 pi b^2: the determinant of the stretch is 1 / (a^2 + Q)."""
    features = FEATURES["disc"]
    radius = torch.linspace(0.0, 400.0, 400_001, dtype=torch.float64)
    y = torch.zeros(len(radius), 6, dtype=torch.float64)
    y[:, 0] = radius
    density = torch.exp(features.values(y)[1])
    assert float(torch.trapezoid(2 * torch.pi * radius * density, radius)) == pytest.approx(2 * torch.pi * features.b**2, rel=1e-3)


def test_features_survive_json():
    for features in FEATURES.values():
        assert torch.equal(Features.from_dict(features.to_dict()).values(points())[0], features.values(points())[0])
    with pytest.raises(StoreError, match="fourier"):
        Features.from_dict({"kind": "fourier"})


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize("depth", [1, 3])
def test_score_and_laplacian_against_autograd(name, depth):
    net, y = network(name, depth), points().requires_grad_(True)
    (score,) = torch.autograd.grad(net(y).sum(), y, create_graph=True)
    laplacian = sum(torch.autograd.grad(score[:, i].sum(), y, retain_graph=True)[0][:, i] for i in range(6))
    ours, ours_laplacian = net.score_and_laplacian(y.detach())
    assert torch.allclose(ours, score, atol=1e-11)
    assert torch.allclose(ours_laplacian, laplacian, atol=1e-9)


@pytest.mark.parametrize("name", list(FEATURES))
def test_gradient_of_the_objective_against_autograd(name, monkeypatch):
    monkeypatch.setattr(energy_network, "CHUNK", 13)
    net, y = network(name), points()
    generator = torch.Generator().manual_seed(2)
    weight = torch.rand(len(y), generator=generator, dtype=torch.float64)
    slope = torch.randn(len(y), 3, generator=generator, dtype=torch.float64)
    loss = net.objective(y, weight, slope)
    loss.backward()
    ours = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    s, laplacian = net.score_and_laplacian(y)
    direct = (weight * (0.5 * (s * s).sum(1) + laplacian) + (slope * s[:, :3]).sum(1)).mean()
    direct.backward()
    assert loss.item() == pytest.approx(direct.item(), abs=1e-12)
    for found, parameter in zip(ours, net.parameters(), strict=True):
        assert torch.allclose(found, parameter.grad, atol=1e-11)
    with torch.no_grad():
        assert float(net.objective(y, weight, slope)) == pytest.approx(direct.item(), rel=1e-6)


def test_starts_as_a_standard_normal():
    net = EnergyNetwork(features=PlainFeatures(), width=8, depth=2, generator=torch.Generator().manual_seed(0))
    y = torch.randn(30, 6)
    assert torch.allclose(net(y), -0.5 * (y * y).sum(1))
