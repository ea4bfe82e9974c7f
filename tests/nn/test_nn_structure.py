"""What is never formed: a covariance that nobody asks for, a matrix where a few modes or a diagonal say it all."""

import pytest
import torch

from mnnbio.moments.covariance import Dense, Diagonal, LowRank, Mapped
from mnnbio.neurons.lif import LIFParameters
from mnnbio.nn.linear import ModeLinear, MomentLinear
from mnnbio.nn.losses import cross_entropy, gaussian_likelihood
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.norm import MomentBatchNorm1d
from mnnbio.nn.spiking_layers import MomentActivation
from mnnbio.nn.state import Moments

f64 = torch.float64
KINDS = (Dense, Diagonal, LowRank, Mapped)


@pytest.fixture
def forbid(monkeypatch):
    """Return a function that makes methods of all covariances raise."""

    def refuse(*names):
        def refused(self, *args):
            raise AssertionError(f"{type(self).__name__} was evaluated")

        for kind in KINDS:
            for name in names:
                monkeypatch.setattr(kind, name, refused)

    return refuse


@pytest.mark.parametrize("options", [{}, {"learn": ("tau_m",)}, {"dropout": 0.5}, {"in_degree": 5}])
def test_a_loss_on_the_mean_of_one_hidden_layer_forms_no_covariance(forbid, options):
    model = MomentMLP((20, 30, 4), seed=0, **options)
    forbid("to_dense", "quadratic", "sample")
    x = torch.rand(8, 20)
    cross_entropy(model(x), torch.zeros(8, dtype=torch.int64)).backward()


def test_a_diagonal_input_is_never_expanded(monkeypatch):
    model = MomentMLP((20, 30, 30, 4), seed=0)
    monkeypatch.setattr(Diagonal, "to_dense", None)
    moments = model(torch.rand(8, 20))
    gaussian_likelihood(moments, torch.zeros(8, dtype=torch.int64), 50.0).backward()
    moments.covariance.to_dense()


def test_nothing_of_the_size_of_the_input_covariance_is_held():
    features = 2000
    model = MomentMLP((features, 10, 4), seed=0)
    sizes = held(lambda: gaussian_likelihood(model(torch.rand(3, features)), torch.tensor([0, 1, 2]), 50.0).backward())
    assert max(sizes) <= 3 * 4 * features  # batch · outputs · features, not features²


def mode_network(size, modes, outputs, layers=2):
    """Hidden layers of mode-factored weights, and a readout."""
    g = torch.Generator().manual_seed(0)
    hidden = []
    for _ in range(layers):
        hidden += [
            ModeLinear(size, size, modes, generator=g, dtype=f64),
            MomentBatchNorm1d(size, dtype=f64),
            MomentActivation(LIFParameters()),
        ]
    return hidden, MomentLinear(size, outputs, weight_scale=20.0, generator=g, dtype=f64)


def run(hidden, readout, rates, *, dense):
    """Return the readouts' covariance and the gradients of its sum of squares."""
    moments = Moments(rates, Diagonal(rates))
    for layer in hidden:
        if dense and isinstance(layer, ModeLinear):
            W = layer.weight
            moments = Moments(moments.mean @ W.T, Dense(W @ moments.covariance.to_dense() @ W.T))
        else:
            moments = layer(moments)
    covariance = readout.weight @ moments.covariance.to_dense() @ readout.weight.T if dense else None
    if covariance is None:
        covariance = readout(moments).covariance.to_dense()
    parameters = [parameter for layer in (*hidden, readout) for parameter in layer.parameters()]
    return covariance.detach(), *torch.autograd.grad(covariance.square().sum(), parameters)


def test_mode_networks_equal_full_matrices():
    hidden, readout = mode_network(300, 16, 10)
    rates = torch.rand(8, 300, dtype=f64, generator=torch.Generator().manual_seed(1))
    for modes, full in zip(
        run(hidden, readout, rates, dense=False), run(hidden, readout, rates, dense=True), strict=True
    ):
        assert float((modes - full).abs().max() / full.abs().max()) < 1e-10


def test_mode_networks_hold_neither_squares_nor_batches_of_modes():
    size, modes, batch = 3000, 16, 8
    hidden, readout = mode_network(size, modes, 10)
    rates = torch.rand(batch, size, dtype=f64, generator=torch.Generator().manual_seed(1))
    assert max(held(lambda: run(hidden, readout, rates, dense=False))) <= modes * size


def test_rank_is_that_of_the_modes_through_layers():
    hidden, _ = mode_network(50, 4, 1)
    rates = torch.rand(2, 50, dtype=f64)
    moments = Moments(rates, Diagonal(rates))
    for layer in hidden:
        moments = layer(moments)
        assert isinstance(moments.covariance, LowRank)
        assert moments.covariance.base.shape[-1] == 4


def held(function):
    """Return the numbers of elements of all tensors that are kept for the way back."""
    sizes = []

    def pack(tensor):
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sizes
