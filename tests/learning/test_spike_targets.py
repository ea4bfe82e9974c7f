"""Spike trains on time steps: what they are read from, and what is refused."""

import numpy as np
import pytest
import xarray as xr
from brian2 import ms, mV, second

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, simulate
from mnnbio.learning import SpikeTargets, read_targets, require_window

SIZES = {"E": 2, "I": 1}
TIMES = [np.array([1.2, 7.0]), np.array([3.4]), None]


def read(target, **changes):
    return read_targets(target, SIZES, **({"dt": 0.5, "duration": 10.0} | changes))


def test_times_become_steps_and_come_back():
    found = read(TIMES)
    assert [train.tolist() for train in found.steps] == [[2, 14], [6], []]
    assert found.has_target.tolist() == [True, True, False]
    assert (found.n_spikes, found.n_steps, found.duration) == (3, 20, 10.0)
    assert found.rate == pytest.approx(3 / 3 / 10 * 1e3)
    assert np.array_equal(np.argwhere(found.raster), [[2, 0], [6, 1], [14, 0]])
    neuron, step = found.flat
    again = SpikeTargets.from_flat(neuron[::-1], step[::-1], dt=0.5, n_steps=20, populations=SIZES)
    assert [train.tolist() for train in again.steps] == [[2, 14], [6], []]
    assert [train.tolist() for train in read(found.raster).steps] == [[2, 14], [6], []]
    assert read(found) is found
    assert "1 neurons without a target" in repr(found)


def test_times_may_be_quantities():
    found = read([np.array([1.2, 7.0]) * ms, [0.0034] * second, None], dt=0.5 * ms, duration=10 * ms)
    assert [train.tolist() for train in found.steps] == [[2, 14], [6], []]


def test_trains_of_a_dataset_are_those_that_were_written():
    found = read(read(TIMES).to_dataset())
    assert [train.tolist() for train in found.steps] == [[2, 14], [6], []]
    assert found.has_target.tolist() == [True, True, False]


@pytest.fixture(scope="module")
def circuit():
    lif = LIFParameters(tau_m=10 * ms, v_th=10 * mV, v_reset=0 * mV, t_ref=1 * ms)
    return Circuit(
        populations=[Population("E", 2, lif), Population("I", 1, lif)],
        drives=[GaussianDrive("E", mean=[1.5, 1.2]), GaussianDrive("I", mean=2.0)],
    )


def test_a_result_and_its_circuit_give_the_same_trains(circuit):
    result = simulate(circuit, 100, trials=1, dt=0.5, seed=1)
    one, other = read(result, duration=100.0), read(circuit, duration=100.0)
    assert one.n_spikes > 5
    assert all(np.array_equal(a, b) for a, b in zip(one.steps, other.steps, strict=True))
    # Populations are put in the order of the network.
    turned = read_targets(result, {"I": 1, "E": 2}, dt=0.5, duration=100.0)
    assert [len(train) for train in turned.steps] == [len(one.steps[k]) for k in (2, 0, 1)]
    with pytest.raises(ValueError, match=r"one presentation, got .*'trial': 2"):
        read(simulate(circuit, 100, trials=2, dt=0.5, seed=1), duration=100.0)
    with pytest.raises(ValueError, match=r"in steps of 0.5 ms, the network runs in steps of 0.25 ms"):
        read(result, duration=100.0, dt=0.25)
    with pytest.raises(ValueError, match=r"as long as the run, 50 ms, got 100 ms"):
        read(result, duration=50.0)
    with pytest.raises(ValueError, match="no population 'other', it has E, I"):
        read_targets(result, {"other": 3}, dt=0.5, duration=100.0)
    with pytest.raises(ValueError, match="target circuit has no population 'other'"):
        read_targets(circuit, {"other": 3}, dt=0.5, duration=100.0)


def test_a_circuit_of_several_stimuli_is_refused():
    circuit = Circuit(
        populations=[
            PoissonSource("x", 1, rates=[[0.1], [0.2]]),
            Population("E", 2, LIFParameters()),
            Population("I", 1, LIFParameters()),
        ]
    )
    with pytest.raises(ValueError, match="one stimulus, got 2"):
        read(circuit)


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ([[], [], None], {}, "holds no spikes"),
        ([None, None, None], {}, "holds no spikes"),
        ([[1.0], [2.0]], {}, r"one train per neuron of the network, 3 \(E: 2, I: 1\), got 2"),
        (np.zeros((20, 4), bool), {}, "one train per neuron of the network, 3"),
        (np.zeros((19, 3), bool), {}, r"as long as the run, 10 ms, got 9.5 ms"),
        (np.zeros(20, bool), {}, r"shape \(step, neuron\)"),
        ([[1.0], [11.0], None], {}, r"spikes of neuron 1 must lie within the record, 0 to 10 ms, got one at 11 ms"),
        ([[-1.0], [1.0], None], {}, "spikes of neuron 0 must lie within the record"),
        ([[1.0, 1.2], [2.0], None], {}, "at most one a step of 0.5 ms"),
        (
            [[1.0, 3.0], [2.0], None],
            {"t_ref": 2.0},
            r"neuron 0 lie closer than its refractory period of 2 ms, at 1 and",
        ),
        ([[[1.0]], [2.0], None], {}, "must be one flat array"),
        (TIMES, {"window": 0.4}, r"`window` must be one time of at least a step, 0.5 ms, got 0.4"),
        (xr.Dataset({"a": 1}), {}, "needs `spike_time` and `row_size`"),
        (xr.DataTree(), {}, "the result holds no spikes"),
    ],
)
def test_wrong_targets_are_refused(target, changes, message):
    with pytest.raises(ValueError, match=message):
        read(target, **changes)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match=r"`target` must be a result of `simulate`.*got int"):
        read(3)
    with pytest.raises(TypeError, match="got str"):
        read("spikes")


def test_spikes_a_step_beyond_the_refractory_period_are_fine():
    assert read([[1.0, 3.5], [2.0], None], t_ref=2.0).n_spikes == 3


def test_trains_of_other_networks_are_refused():
    trains = SpikeTargets(steps=[[1], [2], [3]], dt=0.5, n_steps=20, populations={"n": 3})
    with pytest.raises(ValueError, match="must have the neurons of the network, E: 2, I: 1, got n: 3"):
        read(trains)
    with pytest.raises(ValueError, match=r"steps of 0.5 ms, the network runs in steps of 1 ms"):
        read_targets(trains, {"n": 3}, dt=1.0, duration=20.0)
    with pytest.raises(ValueError, match="as many as the neurons, 3"):
        SpikeTargets(steps=[[1]], dt=0.5, n_steps=20, populations=SIZES)
    with pytest.raises(ValueError, match="`has_target` must have one entry per neuron"):
        SpikeTargets(steps=[[1], [2], [3]], dt=0.5, n_steps=20, populations=SIZES, has_target=[True])


def test_a_window_of_a_step_is_enough():
    assert require_window(0.5 * ms, 0.5) == 0.5
    with pytest.raises(ValueError, match="at least a step"):
        require_window([1.0, 2.0], 0.5)
