"""Networks of spiking units for tables: encodings, neurons, readouts and graded units, against plain loops."""

import math

import numpy as np
import pytest
import torch

from mnnbio.nn import FeatureMapEncoder, GaussianEncoder, PoissonEncoder
from mnnbio.training import load_model, save_model
from mnnbio.training.spiking import GradedTableNetwork, GradedUnit, SpikingNeuron, SpikingTableNetwork
from mnnbio.training.spiking.encodings import StepEncoder, channel_encoder, latency_steps
from mnnbio.training.spiking.feedforward import layer_course, read_spikes
from mnnbio.training.spiking.graded import graded_course
from mnnbio.training.spiking.steps import SpikeFilter, step_constants
from mnnbio.training.spiking.table_network import Timing

RNG = np.random.default_rng(8)


def test_latencies_fall_with_intensity():
    spikes = latency_steps(torch.tensor([[1.0, 0.5, 0.0, 2.0, 0.01]]), 11)[:, 0]
    assert spikes.sum(0).tolist() == [1, 1, 0, 1, 1]
    assert spikes.argmax(0)[[0, 1, 3, 4]].tolist() == [0, 5, 0, 10]


def test_flicker_is_uniform_and_poisson_spikes_have_their_probability():
    features = torch.tensor([[2.0, -1.0], [0.5, 3.0]], dtype=torch.float64)
    flicker = StepEncoder(GaussianEncoder(2, dtype=torch.float64), "flicker", 4000, 2.0, 0).train()
    factor = flicker(features) / features
    assert factor.min() >= 0
    assert factor.max() < 1
    # Standard error of the mean of 16,000 uniform numbers: 0.289/126.
    assert abs(factor.mean() - 0.5) < 4 * 0.289 / 126
    poisson = StepEncoder(PoissonEncoder(2, 0.25, True, dtype=torch.float64), "poisson", 20_000, 2.0, 0).train()
    share = poisson(0.5 * features).mean(1).mean(0)
    expected = poisson.mean(0.5 * features).mean(0)
    # Intensities of 1, −0.5, 0.25 and 1.5 times 0.25 spikes/ms in steps of 2 ms.
    np.testing.assert_allclose(expected, [(0.5 + 0.125) / 2, 0.75 / 2, 0.0, 0.25 / 2])
    np.testing.assert_allclose(share, expected, atol=4 * 0.5 / math.sqrt(40_000))


def test_random_numbers_are_new_in_training_and_one_draw_in_evaluation():
    encoder = StepEncoder(GaussianEncoder(3), "flicker", 5, 2.0, 4)
    x = torch.ones(4, 3)
    encoder.train()
    first, second = encoder(x), encoder(x)
    assert not torch.equal(first, second)
    assert not torch.equal(first[:, 0], first[:, 1])
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))
    assert torch.equal(encoder(x)[:, 1:2], encoder(x[1:2]))
    fresh = StepEncoder(GaussianEncoder(3), "flicker", 5, 2.0, 4).train()
    assert torch.equal(fresh(x), first)
    assert int(encoder.draws) == 2


def test_channels_are_pairs_where_features_are_negative():
    x = RNG.normal(size=(20, 3))
    assert channel_encoder(x, "poisson", "feature", 0.5).out_features == 6
    assert channel_encoder(np.abs(x), "latency", "feature", 0.5).out_features == 3
    assert channel_encoder(x, "current", "feature", 0.5).out_features == 3


def plain_layer(arriving, weight, bias, neuron, dt):
    """The published order of a step, neuron by neuron."""
    steps, trials, _ = arriving.shape
    spikes, voltages = np.zeros((2, steps, trials, len(weight)))
    fade, keep = math.exp(-dt / neuron.tau_syn), math.exp(-dt / neuron.tau_m)
    hold = round(neuron.t_ref / dt)
    for b in range(trials):
        for n in range(len(weight)):
            current = v = s = 0.0
            last = -(10**9)
            for t in range(steps):
                current = fade * current + weight[n] @ arriving[t, b] + bias[n]
                if neuron.reset == "at once" and s:
                    v = neuron.v_reset
                v = keep * v + (1 - keep) * current
                if (neuron.reset == "late" and s) or t <= last + hold:
                    v = 0.0
                s = float(v > neuron.v_th)
                last = t if s else last
                spikes[t, b, n], voltages[t, b, n] = s, v
    return spikes, voltages


@pytest.mark.parametrize("reset", ["late", "at once"])
def test_a_layer_does_the_steps_of_a_plain_loop(reset):
    neuron = SpikingNeuron(reset=reset, t_ref=4, v_reset=-0.1 if reset == "at once" else 0)
    arriving, weight, bias = RNG.normal(size=(60, 3, 4)), RNG.normal(0, 0.3, size=(5, 4)), np.full(5, 0.2)
    constants = step_constants(neuron, SpikeFilter(), 2.0, dtype=torch.float64)
    found = layer_course(*map(torch.from_numpy, (arriving, weight, bias)), constants, reset)
    spikes, voltages = plain_layer(arriving, weight, bias, neuron, 2.0)
    assert spikes.sum() > 30
    np.testing.assert_array_equal(found.spikes, spikes)
    np.testing.assert_allclose(found.voltages, voltages, atol=1e-12)


def test_compiled_and_plain_layers_have_the_same_gradients(monkeypatch):
    neuron = SpikingNeuron(t_ref=4)
    constants = step_constants(neuron, SpikeFilter(), 2.0, dtype=torch.float64)
    tensors = [torch.tensor(a) for a in (RNG.normal(size=(30, 3, 4)), RNG.normal(0, 0.3, (5, 4)), np.full(5, 0.2))]
    weights = torch.tensor(RNG.normal(size=(30, 3, 5)))

    def gradients():
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        (layer_course(*leaves, constants).spikes * weights).sum().backward()
        return [leaf.grad for leaf in leaves]

    compiled = gradients()
    monkeypatch.setattr("mnnbio.training.spiking.feedforward.fused_sequence", lambda *_: None)
    for mine, plain in zip(compiled, gradients(), strict=True):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(mine, plain, rtol=1e-9, atol=1e-12)


def test_readouts_of_spikes():
    spikes = torch.zeros(10, 1, 3, dtype=torch.float64)
    spikes[[2, 7], 0, 0] = 1
    spikes[4, 0, 1] = 1
    times = Timing(2.0, 10, 4)
    np.testing.assert_allclose(read_spikes(spikes, "count", times)[0], [1 / 12, 1 / 12, 0])
    np.testing.assert_allclose(read_spikes(spikes, "first_spike", times)[0], [3 / 6, 6 / 6, 0])
    keep, trace, mean = math.exp(-2 / 20), np.zeros(3), np.zeros(3)
    for t, now in enumerate(spikes[:, 0].numpy()):
        trace = keep * trace + (1 - keep) * now
        mean += trace if t >= 4 else 0
    np.testing.assert_allclose(read_spikes(spikes, "membrane", times)[0], mean / (6 * 2.0), rtol=1e-12)


def test_first_spikes_have_the_gradient_of_their_polynomial():
    """Value of the first spike: Σ_t left_t s_t Π_{t' < t} (1 − s_t'), differentiated by autograd."""
    times = Timing(1.0, 6, 1)
    given = torch.tensor((RNG.random((6, 4, 5)) < 0.3).astype(float))
    given[:, 0, 0] = 0
    weight = torch.tensor(RNG.normal(size=(4, 5)))
    mine = given.clone().requires_grad_()
    (read_spikes(mine, "first_spike", times) * weight).sum().backward()
    plain = given.clone().requires_grad_()
    value, still = 0.0, torch.ones(4, 5, dtype=torch.float64)
    for t in range(1, 6):
        value = value + (6 - t) / 5 * plain[t] * still
        still = still * (1 - plain[t])
    torch.testing.assert_close(read_spikes(given, "first_spike", times), value.detach())
    (value * weight).sum().backward()
    torch.testing.assert_close(mine.grad, plain.grad)


def test_graded_units_do_what_is_published():
    """State and output of the step before; the state loses output and penalty where there is output."""
    unit = GradedUnit(decay=0.8, threshold=0.7, penalty=1.2)
    arriving = RNG.normal(0.4, 1, size=(12, 2, 3))
    found = graded_course(torch.tensor(arriving), unit)
    state = output = np.zeros((2, 3))
    for t in range(12):
        np.testing.assert_allclose(found.voltages[t], state, atol=1e-13)
        np.testing.assert_allclose(found.spikes[t], output, atol=1e-13)
        level = arriving[t] + 0.8 * state
        output = np.maximum(level - 0.7, 0)
        state = level - np.where(output > 0, 1.2 + output, 0)
    assert (found.spikes > 0).any()


def test_graded_networks_sum_the_states_of_their_last_layer():
    network = GradedTableNetwork((3, 4, 2), GaussianEncoder(3), encoding="current", duration=12, settle=4, seed=1)
    x = torch.randn(5, 3)
    last = network.run(network.inputs(x))[-1].voltages
    torch.testing.assert_close(network(x).mean, last[2:].sum(0))
    head = GradedTableNetwork((3, 4, 1), GaussianEncoder(3), head=(6, 5), encoding="current", duration=12)
    assert [tuple(layer.weight.shape) for layer in head.dense] == [(6, 4), (5, 6)]
    assert head(x).mean.shape == (5, 1)


@pytest.mark.parametrize("kind", ["spiking", "graded"])
def test_networks_are_kept_on_disk(kind, tmp_path):
    encoder = PoissonEncoder(3, 0.25, True, shift=0.3, scale=[1.0, 2.0, 3.0])
    if kind == "spiking":
        network = SpikingTableNetwork(
            (6, 5, 4, 2), encoder, encoding="poisson", neuron=SpikingNeuron(tau_m=15), readout="membrane", seed=3
        )
    else:
        network = GradedTableNetwork((6, 5, 2), encoder, encoding="latency", unit=GradedUnit(penalty=2.0), head=(3,))
    x = torch.randn(4, 3)
    network.start_from(x)
    network.eval()
    save_model(network, tmp_path)
    assert torch.equal(load_model(tmp_path)(x).mean, network(x).mean)


def test_currents_begin_around_the_threshold():
    x = torch.tensor(RNG.normal(size=(400, 4)))
    network = SpikingTableNetwork(
        (4, 30, 2), channel_encoder(x.numpy(), "current", "feature", 0.5), dtype=torch.float64
    )
    network.start_from(x)
    current = (network.step_encoder.mean(x) @ network.weights[0].T + network.biases[0]) / network.sensitive
    np.testing.assert_allclose(current.detach().mean(0), 1, rtol=1e-9)
    np.testing.assert_allclose(current.detach().std(0, correction=0), 1, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: SpikingTableNetwork((3, 2), GaussianEncoder(3)),
            "`sizes` must be channels, hidden layers and outputs",
        ),
        (lambda: SpikingTableNetwork((4, 2, 2), GaussianEncoder(3)), "`sizes` must begin with the 3 channels"),
        (lambda: SpikingTableNetwork((3, 2, 2), GaussianEncoder(3), encoding="poisson"), "needs a PoissonEncoder"),
        (
            lambda: SpikingTableNetwork((2, 2, 2), FeatureMapEncoder((2, 1, 2))),
            "needs a GaussianEncoder, got a Feature",
        ),
        (
            lambda: SpikingTableNetwork((3, 2, 2), PoissonEncoder(3, 0.1, noise_std=0.2), encoding="poisson"),
            r"inputs of single steps have no Gaussian noise: noise_std must be 0, got 0\.2",
        ),
        (lambda: SpikingTableNetwork((3, 2, 2), PoissonEncoder(3), encoding="poisson"), "`max_rate` must be ≤ 1/dt"),
        (lambda: SpikingTableNetwork((3, 2, 2), GaussianEncoder(3), settle=100), "longer than `settle`"),
        (lambda: SpikingTableNetwork((3, 2, 2), GaussianEncoder(3), duration=3.0), "`dt` must divide `duration`"),
        (lambda: SpikingTableNetwork((3, 2, 2), GaussianEncoder(3), readout="rate"), "readout"),
        (
            lambda: SpikingTableNetwork((3, 2, 2), GaussianEncoder(3), neuron=SpikingNeuron(tau_m=[10.0, 20.0])),
            "`tau_m` must be one number for all layers",
        ),
        (lambda: GradedUnit(decay=1.5), r"`decay` must be in \[0, 1\]"),
        (lambda: GradedUnit(penalty=-1), "`penalty` must be ≥ 0"),
    ],
)
def test_networks_that_cannot_be_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
