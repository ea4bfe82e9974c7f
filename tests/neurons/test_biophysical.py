"""Ready neuron models against plain Brian2 scripts with the published equations."""

import numpy as np
import plain_scripts
import pytest

from mnnbio import Circuit, CurrentDrive, GaussianDrive, Population, simulate
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, HodgkinHuxley, Izhikevich

DT = 0.1  # ms


def spike_steps(result, name="cells", duration=1000.0):
    """Return the steps of the spikes of every neuron of a population."""
    spikes = result["spikes"]
    ends = np.cumsum(spikes["row_size"].values.ravel())
    rows = np.split(spikes["spike_time"].values, ends[:-1])
    names = spikes["population"].values
    assert len(rows) == len(names)
    return [np.rint(row * 1e3 / DT - 0.5).astype(int) for row, own in zip(rows, names, strict=True) if own == name]


def assert_same_spikes(found, expected, at_least=1):
    assert len(found) == len(expected)
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"neuron {k}")
    assert sum(map(len, expected)) >= at_least


# Neurons, script, currents (pA; mV/ms for Izhikevich neurons)
READY = {
    "QIF": (QIF(), plain_scripts.qif(), [0.0, 50.0, 100.0, 200.0, 400.0]),
    "EIF": (EIF(), plain_scripts.eif(), [0.0, 80.0, 120.0, 200.0, 400.0]),
    "AdEx": (AdEx(), plain_scripts.adex(), [0.0, 500.0, 700.0, 1000.0, 1500.0]),
    "Izhikevich": (Izhikevich(), plain_scripts.izhikevich(), [0.0, 4.0, 6.0, 10.0, 20.0]),
    "ConductanceLIF": (ConductanceLIF(), plain_scripts.conductance_lif(), [0.0, 99.0, 101.0, 200.0, 400.0]),
    "adapting threshold": (
        ConductanceLIF(theta_plus=0.5, tau_theta=200.0),
        plain_scripts.conductance_lif(0.5),
        [0.0, 99.0, 101.0, 200.0, 400.0],
    ),
    "HodgkinHuxley": (HodgkinHuxley(), plain_scripts.hodgkin_huxley(), [0.0, 50.0, 100.0, 200.0, 500.0]),
}


def drive(name, kind, inputs):
    return GaussianDrive(name, mean=inputs, std=0.0) if kind == "Izhikevich" else CurrentDrive(name, inputs)


@pytest.mark.parametrize("duration", [200.0, pytest.param(1000.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", READY)
def test_spikes_are_those_of_a_plain_script(kind, duration):
    neuron, script, inputs = READY[kind]
    circuit = Circuit([Population("cells", len(inputs), neuron)], drives=[drive("cells", kind, inputs)])
    result = simulate(circuit, duration, dt=DT, seed=1, codegen="runtime")
    expected, _ = script.run(inputs, duration)
    assert_same_spikes(spike_steps(result), expected, at_least=5)
