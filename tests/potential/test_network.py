"""The potential network: hand-forwarded derivatives against autograd, NumPy against torch, storage."""

import numpy as np
import pytest
import torch

from deeppot_galactic.errors import FitError
from deeppot_galactic.potential.analytic import NFW, MiyamotoNagai, Plummer, Sum
from deeppot_galactic.potential.network import PotentialNetwork
from deeppot_galactic.potential.network_potential import NetworkPotential
from deeppot_galactic.potential.trainable_base import TrainableBase

NETWORKS = {
    "disc": {"inputs": "disc", "scales": (3.0, 0.0, 0.3)},
    "plain": {"inputs": "plain", "scales": (4.0, 4.0, 0.5), "center": (8.0, 1.0, 0.0)},
    "turned": {"inputs": "disc", "scales": (3.0, 0.0, 0.3), "images": [[1, 1, 1], [-1, -1, 1]]},
    "reflected": {"inputs": "plain", "scales": (4.0, 4.0, 0.5), "images": [[1, 1, 1], [1, 1, -1]]},
}


@pytest.fixture(params=NETWORKS)
def network(request):
    generator = torch.Generator().manual_seed(3)
    return PotentialNetwork(width=16, depth=3, output_scale=1e4, generator=generator, zero_output=False, **NETWORKS[request.param]).double()


def points(n=30):
    return np.random.default_rng(0).uniform([-9, -9, -1.5], [9, 9, 1.5], (n, 3))


def test_gradient_and_laplacian_are_those_of_autograd(network):
    x = torch.tensor(points(), requires_grad=True)
    phi, gradient, laplacian = network(x)
    (auto,) = torch.autograd.grad(phi.sum(), x, create_graph=True)
    torch.testing.assert_close(gradient, auto, rtol=1e-10, atol=1e-9)
    trace = sum(torch.autograd.grad(auto[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(3))
    torch.testing.assert_close(laplacian, trace, rtol=1e-9, atol=1e-8)


def test_numpy_evaluates_the_same_function_and_its_hessian(network):
    x = points()
    base = NFW(1e11, 10.0)
    potential = network.to_numpy(base)
    phi, gradient, hessian = potential.evaluate(x, 2)
    expected = [t.detach().numpy() for t in network(torch.tensor(x))]
    of_base = base.evaluate(x, 2)
    np.testing.assert_allclose(phi - of_base[0], expected[0], rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(gradient - of_base[1], expected[1], rtol=1e-9, atol=1e-8)
    np.testing.assert_allclose(np.trace(hessian - of_base[2], axis1=1, axis2=2), expected[2], rtol=1e-8, atol=1e-7)
    h = 1e-5
    for axis in range(3):
        step = np.eye(3)[axis] * h
        difference = (potential.evaluate(x + step, 1)[1] - potential.evaluate(x - step, 1)[1]) / (2 * h)
        np.testing.assert_allclose(difference, hessian[:, :, axis], atol=1e-5 * np.abs(hessian).max())


def test_disc_inputs_make_phi_even_in_z():
    network = PotentialNetwork(width=8, depth=2, generator=torch.Generator().manual_seed(0), zero_output=False, **NETWORKS["disc"]).double()
    x = torch.tensor(points())
    torch.testing.assert_close(network(x)[0], network(x * torch.tensor([1.0, 1.0, -1.0]))[0])


@pytest.mark.parametrize(("name", "signs"), [("turned", [-1.0, -1.0, 1.0]), ("reflected", [1.0, 1.0, -1.0])])
def test_images_make_phi_exactly_symmetric(name, signs):
    network = PotentialNetwork(width=8, depth=2, generator=torch.Generator().manual_seed(0), zero_output=False, **NETWORKS[name]).double()
    x, signs = torch.tensor(points()), torch.tensor(signs)
    for here, there, factor in zip(network(x), network(x * signs), (1.0, signs, 1.0), strict=True):
        torch.testing.assert_close(here, there * factor)
    other = torch.tensor([-1.0, 1.0, 1.0])
    assert not torch.allclose(network(x)[0], network(x * other)[0])


def test_trainable_base_is_the_analytic_one_and_moves_along_its_parameters():
    start = Sum([MiyamotoNagai(6e10, 3.0, 0.3), NFW(5e11, 16.0)])
    base = TrainableBase(start)
    x = points()
    _, gradient, hessian = start.evaluate(x, 2)
    found = base(torch.tensor(x))
    np.testing.assert_allclose(found[0].detach(), gradient, rtol=1e-9)
    np.testing.assert_allclose(found[1].detach(), np.trace(hessian, axis1=1, axis2=2), rtol=1e-9)
    with torch.no_grad():
        base.shift += torch.tensor([0.5, -1.0, 1.0, 0.3, 2.0])
    moved = base.to_numpy()
    np.testing.assert_allclose(moved.parameters() - start.parameters(), 0.1 * base.shift.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(base(torch.tensor(x))[0].detach(), moved.evaluate(x, 1)[1], rtol=1e-9)
    with pytest.raises(FitError, match="Plummer"):
        TrainableBase(Plummer(1e10, 1.0))


def test_storage(network):
    potential = network.to_numpy(None)
    again = NetworkPotential.from_arrays(*potential.to_arrays())
    np.testing.assert_array_equal(again.evaluate(points(), 2)[2], potential.evaluate(points(), 2)[2])
