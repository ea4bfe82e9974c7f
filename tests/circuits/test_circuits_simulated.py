"""Ready circuits as spikes: the effects that their papers are known for, and their predictions."""

import warnings

import numpy as np
import pytest
import xarray as xr

from mnnbio import predict, simulate
from mnnbio.analyses.balance import current_balance
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.states import network_state
from mnnbio.circuit.circuit import Circuit
from mnnbio.circuits import balanced, brunel, clustered, inhibition_stabilised, microcircuit, ring
from mnnbio.results.ragged import counts

pytestmark = [pytest.mark.slow, pytest.mark.standalone]


def run(circuit: Circuit, duration: float, warmup: float = 200.0) -> xr.DataTree:
    return simulate(circuit, duration, warmup=warmup, dt=0.1, seed=1, covariance=False, window=100)


def predicted(circuit: Circuit, **options) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of finite weights, which small networks have
        return predict(circuit, dt=0.1, window=100, covariance=False, **options)


def mean_rates(data: xr.Dataset | xr.DataTree) -> dict[str, np.ndarray]:
    names = data["population"].to_numpy()
    return {str(name): data["rate"].to_numpy()[..., names == name].mean(axis=-1) for name in np.unique(names)}


def test_a_small_brunel_network_fires_as_predicted():
    # Panel C of Fig. 8 with all inputs of its neurons, 1000 and 250; theory of the paper 37.95 Hz, its simulation 37.7.
    circuit = brunel(5, 2, scale=0.2, indegree_scale=1)
    rates, theory = mean_rates(run(circuit, 300)["simulation"]), mean_rates(predicted(circuit))
    for name in "EI":
        assert rates[name] == pytest.approx(theory[name], rel=0.12)  # pairs share half of their inputs
        assert theory[name] == pytest.approx(37.95, rel=0.03)  # the time step costs 2 %


def test_the_fast_oscillation_of_panel_b_survives_fewer_neurons():
    state = network_state(run(brunel(6, 4, scale=0.2, indegree_scale=1), 300))
    assert str(state["state"].item()) == "synchronous irregular"
    assert float(state["frequency_peak"]) == pytest.approx(180, rel=0.15)  # as the paper says of Fig. 8 B


def test_more_drive_to_inhibition_lowers_its_rate():
    circuit = inhibition_stabilised([0.0, 1.0], scale=0.3, indegree_scale=1)
    simulation = run(circuit, 1000)["simulation"].to_dataset()
    rates, theory = mean_rates(simulation), mean_rates(predicted(circuit))
    for name in "EI":
        mine = simulation["population"].to_numpy() == name
        error = np.sqrt((simulation["rate_se"].to_numpy()[:, mine] ** 2).mean() / mine.sum())
        assert rates[name][1] < rates[name][0] - 10 * error
        assert theory[name][1] < theory[name][0]


def test_rates_of_a_balanced_network_differ_between_neurons_as_predicted():
    circuit = balanced(scale=0.5)
    prediction, simulation = predicted(circuit), run(circuit, 3000)
    assert float(compare(prediction, simulation)["rate_r"]) > 0.9
    assert np.median(current_balance(simulation["simulation"].to_dataset(), circuit)["cancelled"]) > 0.8
    assert float(spike_statistics(simulation)["cv"].mean()) > 0.8


def test_the_ring_sharpens_its_input_at_any_contrast():
    circuit = ring(contrast=[0.8, 1.2], scale=0.5)
    rate = run(circuit, 500)["simulation/rate"]
    assert np.corrcoef(rate[1], predicted(circuit)["rate"][1])[0, 1] > 0.9
    excitatory = rate.isel(neuron=rate["population"].to_numpy() == "E").to_numpy()
    angle = np.deg2rad(180 * (np.arange(excitatory.shape[1]) + 0.5) / excitatory.shape[1])
    vector = (excitatory * np.exp(2j * angle)).sum(axis=1) / excitatory.sum(axis=1)
    np.testing.assert_allclose(np.rad2deg(np.angle(vector)) / 2 % 180, 90, atol=5)
    tuned = 1 - 0.2 + 0.2 * np.cos(2 * angle - np.pi)
    assert (np.abs(vector) > 5 * np.abs((tuned * np.exp(2j * angle)).sum() / tuned.sum())).all()
    assert abs(np.diff(np.abs(vector))) < 0.1


def test_clusters_switch_between_low_and_high_rates():
    # The paper's Fig. 1: with clusters their rates wander, without they are steady.
    wandering = {}
    for ratio in (1.0, 2.5):
        simulation = run(clustered(ratio, scale=0.5), 2000, 500)
        table = counts(simulation["spikes"].to_dataset(), 100.0).isel(trial=0, neuron=slice(2000)).to_numpy()
        wandering[ratio] = (table.reshape(20, 50, 40).mean(axis=-1) / 0.1).std(axis=0).mean()
    assert wandering[2.5] > 1.8 * wandering[1.0]


def test_the_small_microcircuit_orders_its_rates_as_the_full_one():
    circuit = microcircuit(scale=0.05)
    rates, theory = mean_rates(run(circuit, 1000)["simulation"]), mean_rates(predicted(circuit))
    assert min(rates, key=lambda name: rates[name]) in ("L23E", "L6E")  # the two near 1 Hz in the paper
    for name in ("L4E", "L4I", "L5E", "L5I", "L6I"):
        assert rates[name] == pytest.approx(theory[name], rel=0.25), name
