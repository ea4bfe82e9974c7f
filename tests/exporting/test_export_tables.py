"""Networks that learned a table as spikes give the same spikes, and the same answers, in Brian2."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris

from mnnbio import export, simulate
from mnnbio.exporting import read_outputs, read_spikes
from mnnbio.training import SpikingClassifier, SpikingRegressor

IRIS = load_iris(return_X_y=True)


def simulated(model, x):
    network = model.model_
    circuit = export(model, x)
    duration = network.timing.steps * network.dt
    return simulate(circuit, duration=duration, dt=network.dt, seed=1, codegen="cpp_standalone")


def spikes_of(model, x):
    network = model.model_
    with torch.no_grad():
        return network.run(network.inputs(torch.tensor(x)))[-1].spikes


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize(
    ("encoding", "readout", "hidden"),
    [
        ("current", "count", (20,)),
        ("flicker", "membrane", (15, 10)),
        ("poisson", "count", (15, 10)),
        ("latency", "first_spike", (20,)),
    ],
)
def test_all_samples_spike_and_are_decided_alike(encoding, readout, hidden):
    x, y = IRIS
    model = SpikingClassifier(
        hidden, encoding=encoding, readout=readout, batch_size=32, epochs=4, duration=60, random_state=1
    ).fit(x, y)
    result = simulated(model, x)
    mine = spikes_of(model, x)
    assert 0.005 < mine.mean() < 0.2
    assert torch.equal(read_spikes(model.model_, result), mine)
    outputs = read_outputs(model.model_, result).numpy()
    assert (model.classes_[outputs.argmax(axis=1)] == model.predict(x)).all()
    np.testing.assert_allclose(model.outputs_of_spikes(mine), outputs)
    if readout == "count":
        np.testing.assert_allclose(result["simulation/readout"].isel(trial=0), outputs, atol=1e-9)


@pytest.mark.slow
@pytest.mark.standalone
def test_values_are_read_alike():
    x, y = load_diabetes(return_X_y=True)
    model = SpikingRegressor((20,), epochs=3, duration=60, random_state=1).fit(x, y)
    result = simulated(model, x[:60])
    np.testing.assert_allclose(read_outputs(model.model_, result).numpy()[:, 0], model.predict(x[:60]), rtol=1e-10)


def test_graded_units_are_refused_by_name():
    x, y = IRIS
    model = SpikingClassifier((4,), unit="graded", epochs=1, duration=10, random_state=0).fit(x, y)
    with pytest.raises(TypeError, match="GradedTableNetwork: graded units send sizes"):
        export(model, x)


def test_what_does_not_fit_is_refused():
    x, y = IRIS
    model = SpikingClassifier((4,), epochs=1, duration=10, random_state=0).fit(x, y)
    with pytest.raises(ValueError, match=r"`stimulus` must have shape \(4,\) or \(stimulus, 4\), got \(3,\)"):
        export(model, x[0, :3])
    with pytest.raises(ValueError, match="must be finite"):
        export(model, np.full(4, np.nan))
    with pytest.raises(ValueError, match="leave them out"):
        export(model, x, neurons="lif")
    with pytest.raises(ValueError, match="is in training"):
        export(model.model_.train(), x)
