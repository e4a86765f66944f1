"""SOAP: equal to Adam in the eigenbasis, fast where Adam is slow, invariant under rotations of the inputs."""

from __future__ import annotations

import torch

from deeppot_galactic.training.soap import SOAP


def ill_conditioned(optimiser_of, steps: int) -> float:
    """Least squares with correlated inputs of very different size, mixed by a rotation."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    x = torch.randn(500, 8, generator=generator) * torch.logspace(0, -1.5, 8) @ mixing
    truth = torch.randn(4, 8, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(4, 8))
    optimiser = optimiser_of([weight])
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.1 * (1 - step / steps)
        optimiser.zero_grad()
        (((x @ (weight - truth).T) ** 2).mean() * 10).backward()
        optimiser.step()
    return float(((x @ (weight.detach() - truth).T) ** 2).mean())


def test_faster_than_adam_on_mixed_scales():
    soap = ill_conditioned(lambda p: SOAP(p, lr=0.1), 150)
    adam = ill_conditioned(lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.95, 0.95)), 150)
    assert soap < 0.2 * adam


def test_vectors_get_adam():
    start = torch.tensor([1.0, -2.0, 3.0])
    paths = []
    for make in (lambda p: SOAP(p, lr=0.05, betas=(0.9, 0.99)), lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.99))):
        parameter = torch.nn.Parameter(start.clone())
        optimiser = make([parameter])
        for _ in range(30):
            optimiser.zero_grad()
            (parameter**4).sum().backward()
            optimiser.step()
        paths.append(parameter.detach())
    assert torch.allclose(paths[0], paths[1], atol=1e-5)


def test_weight_decay_is_decoupled():
    parameter = torch.nn.Parameter(torch.ones(2, 3))
    optimiser = SOAP([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(2, 3)
    optimiser.step()
    assert torch.allclose(parameter.detach(), torch.full((2, 3), 0.95))


def test_bases_stay_orthogonal_and_find_the_eigenvectors():
    generator = torch.Generator().manual_seed(1)
    parameter = torch.nn.Parameter(torch.zeros(6, 5))
    optimiser = SOAP([parameter], lr=1e-3, refresh=2)
    mixing = torch.linalg.qr(torch.randn(6, 6, generator=generator))[0]
    for _ in range(400):
        parameter.grad = mixing @ (torch.logspace(0, -1.5, 6)[:, None] * torch.randn(6, 5, generator=generator))
        optimiser.step()
    basis = optimiser.state[parameter]["q_left"]
    assert torch.allclose(basis.T @ basis, torch.eye(6), atol=1e-5)
    assert float((basis.T @ mixing).abs().diagonal().min()) > 0.7
