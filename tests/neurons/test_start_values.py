"""Values from which neurons start, as a number, one per neuron, or a distribution."""

import numpy as np
import pytest
from brian2 import mV, pA
from test_biophysical import assert_same_spikes, spike_steps

from mnnbio import (
    Circuit,
    CurrentDrive,
    EquationNeuron,
    GaussianDrive,
    LIFParameters,
    Normal,
    Population,
    States,
    Uniform,
    build,
    simulate,
)
from mnnbio.neurons import AdEx, ConductanceLIF, DiscreteLIF, HodgkinHuxley, Izhikevich

DT = 0.1  # ms


def circuit_of(neuron, n=3, **parts):
    return Circuit([Population("cells", n, neuron)], **parts)


def first_values(circuit, *names, codegen="runtime"):
    """Return the values of variables, by neuron, as every presentation starts, (trial, neuron), in working units."""
    record = {"cells": ["spikes", States(*names, every=DT)]}
    result = simulate(circuit, 5 * DT, trials=2, dt=DT, seed=1, codegen=codegen, record=record, covariance=False)
    states = result["states/cells"]
    return [states[name].transpose("trial", "time", ...).values[:, 0] for name in names]


START = {
    "number": ({"v": -55.0}, [-55.0] * 3),
    "array": ({"v": [-70.0, -60.0, -55.0]}, [-70.0, -60.0, -55.0]),
    "quantity": ({"v": -0.06 * 1000 * mV}, [-60.0] * 3),
}


@pytest.mark.parametrize(
    ("kind", "given"),
    [(kind, given) for kind in (LIFParameters, AdEx, ConductanceLIF, Izhikevich) for given in START]
    + [pytest.param(HodgkinHuxley, "array", marks=pytest.mark.slow)],
)
def test_start_values_are_numbers_or_arrays(kind, given):
    initial, expected = START[given]
    options = {"v_rest": -65.0, "v_th": -50.0} if kind is LIFParameters else {}
    circuit = circuit_of(kind(**options, initial=initial))
    (v,) = first_values(circuit, "v")
    np.testing.assert_allclose(v, [expected] * 2, rtol=1e-12)


def test_start_values_of_other_variables():
    w, v = first_values(circuit_of(AdEx(initial={"w": [10.0, 20.0, 30.0] * pA})), "w", "v")
    np.testing.assert_allclose(w, [[10.0, 20.0, 30.0]] * 2, rtol=1e-12)
    np.testing.assert_allclose(v, -70.6, rtol=1e-12)
    current, v = first_values(circuit_of(DiscreteLIF(t_ref=0.0, initial={"I": 0.5, "v": [0.1, 0.2, 0.3]})), "I", "v")
    np.testing.assert_allclose(current, 0.5, rtol=1e-12)
    np.testing.assert_allclose(v, [[0.1, 0.2, 0.3]] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    "neuron",
    [
        LIFParameters(initial={"v": Uniform(0.0, 20.0)}),
        ConductanceLIF(initial={"v": Uniform(-60.0, -50.0)}),
        EquationNeuron(equations="dv/dt = -v/(20*ms) : volt", threshold="v > 1*volt", initial={"v": Normal(5.0, 1.0)}),
    ],
    ids=["LIF", "ConductanceLIF", "equations"],
)
def test_distributions_of_start_values_are_drawn_once(neuron):
    circuit, same, other = (circuit_of(neuron, 40, seed=seed) for seed in (2, 2, 9))
    drawn = circuit.neurons[0].neuron.initial["v"]
    assert len(np.unique(drawn)) == 40
    np.testing.assert_array_equal(drawn, same.neurons[0].neuron.initial["v"])
    assert circuit.hash() == same.hash() != other.hash()
    again = Circuit.from_json(circuit.to_json())
    assert again.hash() == circuit.hash()
    (v,) = first_values(again, "v")
    np.testing.assert_allclose(v, [drawn] * 2, rtol=1e-12)  # in both trials


def test_lif_neurons_decay_from_their_start_values():
    # v(t) = v(0) exp(-t/tau_m) without input
    result = simulate(
        circuit_of(LIFParameters(tau_m=20.0, initial={"v": [5.0, 10.0, 19.0]})),
        20.0,
        dt=DT,
        seed=1,
        codegen="runtime",
        record={"cells": ["spikes", States("v", every=5.0)]},
    )
    v = result["states/cells"]["v"].values.reshape(4, 3)
    np.testing.assert_allclose(v, np.exp(-np.arange(0, 20, 5.0) / 20)[:, None] * [5.0, 10.0, 19.0], rtol=1e-12)


def test_absolute_and_relative_start_values_of_lif_neurons_are_the_same():
    drive = GaussianDrive("cells", mean=1.0, std=0.8)
    relative = LIFParameters(initial={"v": [0.0, 10.0, 19.0]})
    absolute = LIFParameters(v_rest=-65.0, v_th=-45.0, initial={"v": [-65.0, -55.0, -46.0]})
    one, other = (
        spike_steps(simulate(circuit_of(neuron, drives=[drive]), 100.0, dt=DT, seed=1, codegen="runtime"))
        for neuron in (relative, absolute)
    )
    assert_same_spikes(one, other, at_least=3)
    assert one[2][0] < one[0][0]


def test_start_values_are_in_the_hash_only_where_they_are_given():
    plain, given = circuit_of(LIFParameters()), circuit_of(LIFParameters(initial={"v": 3.0}))
    assert plain.hash() != given.hash()
    assert "initial" not in plain.to_json()
    assert Circuit.from_json(given.to_json()).neurons[0].neuron == given.neurons[0].neuron
    assert circuit_of(LIFParameters(initial={})).hash() == plain.hash()


def test_every_presentation_starts_anew():
    circuit = circuit_of(AdEx(initial={"v": [-70.0, -60.0, -51.0]}), drives=[CurrentDrive("cells", 800.0)])
    for replicas in (1, 2):
        with build(circuit, dt=DT, codegen="runtime", replicas=replicas) as program:
            recording = program.run(50.0, trials=3, seed=1)
        assert (recording.row_size == recording.row_size[:, :1]).all()
        assert recording.row_size.sum() >= 9
        parts = np.split(recording.step, 3)
        np.testing.assert_array_equal(parts[0], parts[1])
        np.testing.assert_array_equal(parts[0], parts[2])


@pytest.mark.slow
@pytest.mark.standalone
def test_a_compiled_program_starts_from_the_same_values():
    circuit = circuit_of(AdEx(initial={"v": [-70.0, -60.0, -55.0], "w": 12.0}))
    for ours, python in zip(
        first_values(circuit, "v", "w", codegen="cpp_standalone"), first_values(circuit, "v", "w"), strict=True
    ):
        np.testing.assert_array_equal(ours, python)
