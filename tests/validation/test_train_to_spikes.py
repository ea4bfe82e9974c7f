"""Recurrent layers trained until their spikes have given rates, judged by spikes of other seeds."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    NotConverged,
    Population,
    Projection,
    export,
    predict,
    simulate,
)
from mnnbio.moments import Dense, Diagonal
from mnnbio.nn import GaussianBackground, MomentLinear, MomentRecurrent, Moments, PairTarget, PoissonEncoder
from mnnbio.validation import UnmetTargetsWarning, train_to_spikes

D = torch.float64
LIF = LIFParameters(t_ref=2.0)
MEAN, STD = 0.75, 1.2


def network(n, excitatory, seed=1, **options):
    rng = np.random.default_rng(seed)
    mask = rng.random((n, n)) < 0.5
    np.fill_diagonal(mask, False)
    signs = np.where(np.arange(n) < excitatory, 1.0, -1.0)
    weights = mask * rng.uniform(0.1, 0.3, (n, n)) * np.where(signs > 0, 1.0, -4.0)
    layer = MomentRecurrent(n, LIF, weights=weights, mask=mask, signs=signs, dt=0.1, **options)
    mean = torch.full((n,), MEAN, dtype=D)
    return layer, Moments(mean, Diagonal(torch.full_like(mean, STD**2)))


def mean_of_pairs(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)].mean()


@pytest.mark.slow
def test_rates_of_single_neurons_and_a_mean_covariance_are_met_in_spikes():
    """60 neurons with Dale's law: 2 % of rates and 15 % of the covariance, up to four standard errors."""
    n, excitatory = 60, 48
    layer, currents = network(n, excitatory)
    mask = layer.mask.numpy()
    with torch.no_grad():
        start = mean_of_pairs(layer(currents).covariance.to_dense().numpy()[:excitatory, :excitatory])
    target = 0.01 * np.exp(0.2 * np.random.default_rng(2).standard_normal(n))
    wanted = 1.3 * start
    group = range(excitatory)
    trained = train_to_spikes(layer, currents, target, [PairTarget(group, group, wanted)], duration=2e6)
    assert trained.met
    assert "targets met in stage" in repr(trained)

    runs = [
        simulate(trained.circuit, 100_000, trials=2, warmup=500, seed=100 + k, window=500)["simulation"]
        for k in range(8)
    ]
    rates = np.array([run["rate"].values for run in runs]) * 1e-3
    relative = rates.mean(0) / target - 1
    squares = (rates.std(0, ddof=1) / np.sqrt(len(runs)) / target) ** 2
    assert (relative**2).mean() <= 0.02**2 + squares.mean() * (1 + 4 * np.sqrt(2 / n))
    means = (rates / target).mean(1) - 1
    assert abs(means.mean()) <= 0.02 + 4 * means.std(ddof=1) / np.sqrt(len(runs))
    blocks = [mean_of_pairs(run["count_covariance"].values[:excitatory, :excitatory]) / 500 for run in runs]
    assert abs(np.mean(blocks) / wanted - 1) <= 0.15 + 4 * np.std(blocks, ddof=1) / np.sqrt(len(runs)) / wanted

    weight = layer.weight.detach().numpy()
    assert (weight[:, :excitatory] >= 0).all()
    assert (weight[:, excitatory:] <= 0).all()
    assert (weight[~mask] == 0).all()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.linear = PoissonEncoder(5, dtype=D), MomentLinear(5, 8, dtype=D)
        self.noise = GaussianBackground(0.8, 1.0)
        self.recurrent = MomentRecurrent(8, LIF, signs=[1] * 6 + [-1] * 2, dt=0.1, learn=("v_th",))
        self.out = MomentLinear(8, 2, dtype=D)

    def currents(self, features):
        return self.noise(self.linear(self.encoder(features)))

    def forward(self, features):
        return self.out(self.recurrent(self.currents(features)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.validation.UnmetTargetsWarning")  # whether they are met is not the question
def test_an_exported_circuit_is_what_is_simulated():
    torch.manual_seed(1)
    module = Net().eval()
    features = np.random.default_rng(0).uniform(0.1, 1, (2, 5))
    with torch.no_grad():
        currents = module.currents(torch.from_numpy(features[0]))
    rates = np.full(8, np.nan)
    rates[[0, 3, 6]] = 0.02, 0.03, 0.025
    circuit = export(module, features).select(0)
    found = train_to_spikes(
        module.recurrent,
        Moments(currents.mean, Diagonal(currents.variance)),
        rates,
        circuit=circuit,
        population="recurrent",
        duration=20_000,
        corrections=1,
    )
    weights = found.circuit.projections[-1].weights
    np.testing.assert_allclose(weights.toarray(), module.recurrent.weight.detach().numpy())
    assert np.isnan(found.stages.target_rate.values[0, 1])
    # The circuit that is returned is that of the module as it is now.
    again = export(module, features).select(0)
    np.testing.assert_allclose(
        predict(found.circuit, covariance=False)["rate"], predict(again, covariance=False)["rate"], rtol=1e-9
    )


def test_targets_that_spikes_do_not_meet_are_said():
    layer, currents = network(10, 8)
    with torch.no_grad():
        rates = layer.rates(currents)
    with pytest.warns(UnmetTargetsWarning) as caught:
        found = train_to_spikes(layer, currents, rates, corrections=0, duration=4_000, trials=2, tolerance=1e-4)
    first, second = (str(own.message) for own in caught if own.category is UnmetTargetsWarning)
    assert "targets are not met in spikes after 1 stages, the best of which has rates off by" in first
    assert "4 s of spikes do not tell whether targets are met" in second
    assert not found.met
    assert found.stages.sizes["stage"] == 1
    counted = found.stages.rate.values[0] * 4  # Hz times s: numbers of spikes
    np.testing.assert_allclose(counted, np.rint(counted), atol=1e-9)


def by_hand(layer, **options):
    names = options.get("names", ["a"])
    return Circuit(
        [Population(name, options.get("size", layer.features), LIF) for name in names],
        [Projection("a", "a", weights=sparse.csr_array(np.ones((layer.features,) * 2) - np.eye(layer.features)))]
        if options.get("connected", True)
        else [],
        [GaussianDrive("a", mean=options.get("mean", MEAN), std=STD)],
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["a", "b"]}, r"`population` must say which of \['a', 'b'\] the layer is"),
        ({"connected": False}, "'a' must have one projection of explicit weights onto itself, got 0"),
        ({"connected": False, "size": 4}, "'a' has 4 neurons, and the layer 10"),
        ({"mean": np.full((3, 10), MEAN)}, "training is for one stimulus"),
    ],
)
def test_circuits_that_do_not_fit(options, message):
    layer, currents = network(10, 8)
    with pytest.raises(ValueError, match=message):
        train_to_spikes(layer, currents, np.full(10, 0.01), circuit=by_hand(layer, **options))


def test_what_cannot_be_asked_for():
    layer, currents = network(10, 8)
    rates = np.full(10, 0.01)
    with pytest.raises(ValueError, match=r"`population` must be one of \['a'\], got 'E'"):
        train_to_spikes(layer, currents, rates, circuit=by_hand(layer), population="E")
    with pytest.raises(ValueError, match="`tolerance` must be > 0, got 0"):
        train_to_spikes(layer, currents, rates, tolerance=0)
    with pytest.raises(ValueError, match="`duration` must hold two windows of 500 ms in each of 4 trials, got 3000 ms"):
        train_to_spikes(layer, currents, rates, duration=3000)
    with pytest.raises(ValueError, match="a target covariance must not be 0"):
        train_to_spikes(layer, currents, rates, [PairTarget([0], [1], 0.0)])
    shared = Moments(currents.mean, Dense(torch.eye(10, dtype=D)))
    with pytest.raises(ValueError, match="currents that neurons share need a `circuit`"):
        train_to_spikes(layer, shared, rates)
    rates[4] = 0.6
    with pytest.raises(NotConverged, match="neuron 4 fires at"):
        train_to_spikes(layer, currents, rates)
