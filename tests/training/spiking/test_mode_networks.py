"""Networks of few modes, of full matrices and of rate neurons: weights, constraints, what is learned, bad input."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch

from mnnbio.training.spiking import (
    FullWeights,
    ManyModesWarning,
    ModeWeights,
    RateNetwork,
    SpikeFilter,
    SpikingNetwork,
    SpikingNeuron,
)


def trained(network, steps=5):
    """The same network after a few steps of training on noise, with large gradients."""
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        optimiser.zero_grad()
        outputs = network(3 * torch.randn(30, 4, network.weight_in.shape[1], generator=generator))
        (outputs - 1).square().sum().backward()
        optimiser.step()
    return network


def test_modes_and_their_matrix_give_the_same_network():
    network = SpikingNetwork.random(4, 30, 2, modes=3, seed=2).double()
    with torch.no_grad():
        network.recurrent.raw_scores *= 10
    full = SpikingNetwork(network.weight_in, FullWeights(network.recurrent.matrix()), network.weight_out)
    x = 3 * torch.randn(60, 4, 4, dtype=torch.float64)
    a, b = network.run(x), full.run(x)
    assert a.spikes.mean() > 0.01
    assert torch.equal(a.spikes, b.spikes)
    torch.testing.assert_close(a.outputs, b.outputs, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(x), a.outputs, rtol=0, atol=1e-13)


def test_relabelled_neurons_are_the_same_network():
    network = SpikingNetwork.random(3, 20, 1, modes=2, seed=4).double()
    order = torch.randperm(20)
    weights = network.recurrent
    moved = SpikingNetwork(
        network.weight_in[order],
        ModeWeights(weights.modes_in[order], weights.scores, weights.modes_out[order]),
        network.weight_out[:, order],
    )
    x = 3 * torch.randn(50, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(moved(x), network(x), rtol=0, atol=1e-12)


def test_sizes_of_random_weights_are_the_published_ones():
    """Standard deviations 1/√n_in, 1/√P, 1/√N and 1/√n_out, within four standard errors."""
    network = SpikingNetwork.random(50, 400, 20, modes=100, seed=0)
    weights = network.recurrent
    sizes = [(50, network.weight_in), (100, weights.modes_in), (100, weights.modes_out), (400, weights.scores)]
    for number, tensor in [*sizes, (20, network.weight_out)]:
        error = 1 / math.sqrt(2 * tensor.numel())
        assert tensor.std().item() * number**0.5 == pytest.approx(1, abs=4 * error)
    again = SpikingNetwork.random(50, 400, 20, modes=100, seed=0)
    assert torch.equal(again.weight_in, network.weight_in)
    assert not torch.equal(SpikingNetwork.random(50, 400, 20, modes=100, seed=1).weight_in, network.weight_in)


def test_number_of_parameters():
    network = SpikingNetwork.random(4, 100, 1, modes=3)
    assert sum(parameter.numel() for parameter in network.recurrent.parameters()) == 2 * 100 * 3 + 3


SIGNS = [1] * 15 + [-1] * 5


@pytest.mark.parametrize("modes", [2, None])
def test_signs_of_neurons_are_kept_while_training(modes):
    network = trained(SpikingNetwork.random(4, 20, 1, modes=modes, seed=1, constraints={"signs": SIGNS}))
    matrix = network.recurrent.matrix().detach()
    assert (matrix[:, :15] >= 0).all()
    assert (matrix[:, 15:] <= 0).all()
    assert matrix.abs().min(dim=0).values.max() > 0


@pytest.mark.parametrize("modes", [2, None])
def test_weights_that_are_not_there_stay_away(modes):
    generator = np.random.default_rng(0)
    names = ("mask",) if modes is None else ("mask_in", "mask_out")
    masks = {name: generator.random((20, modes or 20)) < 0.5 for name in names}
    network = SpikingNetwork.random(4, 20, 1, modes=modes, seed=1, constraints=masks)
    before = network.recurrent.matrix().detach().clone()
    weights = trained(network).recurrent
    for name, mask in masks.items():
        tensor = weights.weight if modes is None else getattr(weights, name.replace("mask", "modes"))
        assert (tensor[~torch.as_tensor(mask)] == 0).all()
    assert not torch.allclose(weights.matrix(), before)


@pytest.mark.parametrize("name", ["tau_m", "tau_syn", "tau_decay", "tau_rise", "v_th"])
def test_constants_are_learned_and_stay_positive(name):
    network = trained(SpikingNetwork.random(4, 20, 1, modes=2, seed=1, learn=name), steps=20)
    owner, given = (
        (network.filter, SpikeFilter()) if hasattr(network.filter, name) else (network.neuron, SpikingNeuron())
    )
    start = getattr(given, name)
    value = getattr(owner, name)
    assert value.shape == (20,)
    assert (value > 0).all()
    assert not np.allclose(value, start)


def test_networks_are_copied_and_stored_as_others():
    network = SpikingNetwork.random(4, 20, 1, modes=2, seed=1, learn=["tau_m"], constraints={"signs": SIGNS})
    x = 3 * torch.randn(20, 2, 4)
    assert torch.equal(copy.deepcopy(network)(x), network(x))
    other = SpikingNetwork.random(4, 20, 1, modes=2, seed=9, learn=["tau_m"], constraints={"signs": SIGNS})
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(x), network(x))


@pytest.mark.parametrize("modes", [2, None])
@pytest.mark.parametrize("reads", ["rates", "potentials"])
@pytest.mark.parametrize("readout", ["trace", "maximum"])
def test_rate_networks_against_a_loop(modes, reads, readout):
    network = RateNetwork.random(3, 8, 2, modes=modes, seed=5, reads=reads, readout=readout, tau_m=12).double()
    x = torch.randn(25, 2, 3, dtype=torch.float64)
    weight_in, matrix, weight_out = (
        tensor.detach().numpy() for tensor in (network.weight_in, network.recurrent.matrix(), network.weight_out)
    )
    keep, u, course = math.exp(-2 / 12), np.zeros((2, 8)), []
    for given in x.numpy():
        u = keep * u + (1 - keep) * (given @ weight_in.T + np.tanh(u) @ matrix.T)
        course.append(u)
    read = np.array(course) if reads == "potentials" else np.tanh(course)
    expected = (read.max(0) if readout == "maximum" else read) @ weight_out.T
    np.testing.assert_allclose(network(x).detach(), expected, atol=1e-12)
    np.testing.assert_allclose(network.run(x).filtered.detach(), np.tanh(course), atol=1e-12)


def ones(*shape):
    return np.ones(shape)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((ones(5, 2), [1.0, 0.0], ones(5, 2)), "`scores` must not be 0, got 0 for mode 1: leave the mode out"),
        ((ones(5, 2), [1.0, np.nan], ones(5, 2)), "`scores` must be finite"),
        ((ones(5, 2), torch.tensor([1.0, torch.nan]), ones(5, 2)), r"`scores` must be finite, got nan at \(1,\)"),
        ((ones(5, 2), ones(5), ones(5, 2)), "one score per neuron scales neurons, not modes"),
        ((ones(5, 2), ones(5, 1), ones(5, 2)), "one score per neuron scales neurons, not modes"),
        ((ones(5, 2), ones(3), ones(5, 2)), r"`scores` must have the shape \(P,\) = \(2,\), got \(3,\)"),
        ((ones(5, 2), ones(2), ones(4, 2)), r"must both have the shape \(N, P\), got \(5, 2\) and \(4, 2\)"),
    ],
)
def test_bad_modes_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        ModeWeights(*weights)


def test_more_modes_than_neurons_are_a_warning():
    with pytest.warns(ManyModesWarning, match="6 modes of 5 neurons"):
        ModeWeights.random(5, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModeWeights.random(5, 5)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"signs": [1, 1, 0]}, "`signs` must be 3 numbers that are 1 or −1"),
        ({"signs": [1, 1]}, "`signs` must be 3 numbers that are 1 or −1"),
        ({"mask": ones(2, 3)}, r"`mask` must have the shape \(3, 3\), got \(2, 3\)"),
    ],
)
def test_bad_constraints_are_refused(constraints, message):
    with pytest.raises(ValueError, match=message):
        FullWeights(ones(3, 3), **constraints)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": 0}, "`dt` must be > 0 ms"),
        ({"dt": 3.0}, "`dt` must divide `t_ref`"),
        ({"readout": "mean"}, "Invalid value 'mean' for `readout`"),
        ({"learn": ["tau"]}, "Invalid value 'tau' for `learn`"),
        ({"learn": ["tau_rise"], "filter": SpikeFilter(kind="single")}, "a single filter has no `tau_rise`"),
        ({"slope": 0}, "`slope` must be > 0"),
        ({"truncate": 0}, "`truncate` must be"),
        ({"neuron": SpikingNeuron(tau_m=[20.0, 30.0])}, "`tau_m` has 2 values, the network 5 neurons"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpikingNetwork.random(3, 5, 1, modes=2, **options)


def test_weights_that_do_not_fit_are_refused():
    recurrent = ModeWeights.random(5, 2)
    with pytest.raises(ValueError, match=r"`weight_in` must have the shape \(N, n_in\) with N = 5"):
        SpikingNetwork(ones(4, 3), recurrent, ones(1, 5))
    with pytest.raises(ValueError, match=r"`weight_out` must have the shape \(n_out, N\) with N = 5"):
        RateNetwork(ones(5, 3), recurrent, ones(1, 4))
    with pytest.raises(TypeError, match="`recurrent` must be ModeWeights or FullWeights"):
        SpikingNetwork(ones(5, 3), ones(5, 5), ones(1, 5))
    with pytest.raises(ValueError, match=r"`weight` must have the shape \(N, N\), got \(5, 4\)"):
        FullWeights(ones(5, 4))


@pytest.mark.parametrize("kind", [SpikingNetwork, RateNetwork])
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(10, 2, 4), r"must have the shape \(T, B, 3\).*got \(10, 2, 4\)"),
        (torch.ones(10, 3), "must have the shape"),
        (torch.ones(0, 2, 3), "must have the shape"),
        (torch.full((10, 2, 3), torch.nan), "must be finite, got NaN or infinity in step 0"),
    ],
)
def test_bad_inputs_are_refused(kind, inputs, message):
    with pytest.raises(ValueError, match=message):
        kind.random(3, 5, 1, modes=2)(inputs)


def test_inputs_are_tensors():
    with pytest.raises(TypeError, match="`inputs` must be a tensor"):
        SpikingNetwork.random(3, 5, 1, modes=2)([[1.0]])
