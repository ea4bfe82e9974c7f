"""Accuracies of moment and spiking networks."""

import base64
import json
import zlib

import numpy as np
import pytest
import synthetic
import xarray as xr

from mnnbio.analyses.circuit_text import stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.decisions import accuracy_against_time, classification


@pytest.fixture(scope="module")
def made():
    return synthetic.make({"hidden": 10}, stimuli=30, trials=60, duration=0.1, outputs=8, seed=5)


def by_hand(correct: np.ndarray) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a prediction that always chooses 0 and spikes that do so where `correct` (stimulus, trial)."""
    prediction = xr.Dataset({"readout": (("stimulus", "output"), np.tile([1.0, 0.0], (len(correct), 1)))})
    decision = np.stack([correct, ~correct], axis=-1).astype(float)
    return prediction, xr.Dataset({"readout": (("stimulus", "trial", "output"), decision)})


def test_accuracies_by_hand():
    prediction, simulation = by_hand(np.array([[True, True], [True, False], [False, False], [True, True]]))
    c = classification(prediction, simulation, [0, 0, 0, 1])
    assert float(c["moment_accuracy"]) == 0.75
    assert float(c["spiking_accuracy"]) == (1 + 0.5 + 0 + 0) / 4
    assert float(c["agreement"]) == (1 + 0.5 + 0 + 1) / 4
    assert float(c["accuracy_difference"]) == -(0.5 + 1) / 4
    assert float(c["spiking_accuracy_se"]) == pytest.approx(np.std([1, 0.5, 0, 0], ddof=1) / 2)
    assert float(c["accuracy_difference_se"]) == pytest.approx(np.std([0, -0.5, -1, 0], ddof=1) / 2)
    assert int(c["n_stimuli"]) == 4


def test_trials_of_one_stimulus_are_not_independent_samples():
    correct = np.repeat(np.array([[True], [False]] * 10), 100, axis=1)
    prediction, simulation = by_hand(correct)
    se = float(classification(prediction, simulation, [0] * 20)["spiking_accuracy_se"])
    assert se == pytest.approx(0.5 * np.sqrt(20 / 19) / np.sqrt(20))


def test_agreement_needs_no_labels(made):
    c = classification(made.prediction, made.simulation)
    assert "moment_accuracy" not in c
    assert 0.25 < float(c["agreement"]) < 1
    labelled = compare(made.prediction, made.simulation, labels=made.labels, permutations=9)
    assert float(labelled["moment_accuracy"]) == 1.0  # the labels are what the true rates decide
    assert float(labelled["spiking_accuracy"]) == pytest.approx(float(c["agreement"]))


def test_predicted_covariance_implies_the_spiking_accuracy(made):
    # Ten Poisson neurons of one to four spikes are not quite Gaussian: their accuracy differs by 0.01 to 0.03.
    c = classification(made.prediction, made.simulation, made.labels)
    assert float(c["spiking_accuracy_predicted"]) == pytest.approx(float(c["spiking_accuracy"]), abs=0.04)
    assert float(c["agreement_predicted"]) == float(c["spiking_accuracy_predicted"])
    assert float(c["spiking_accuracy"]) < 0.95
    other = made.prediction.assign_attrs(window=0.05)
    assert "agreement_predicted" not in classification(other, made.simulation)


def test_no_stimuli_no_decisions():
    prediction, simulation = by_hand(np.array([[True, True]]))
    assert not classification(prediction.isel(stimulus=0), simulation.isel(stimulus=0))
    with pytest.raises(ValueError, match="`labels` need a `stimulus` dimension"):
        classification(prediction.isel(stimulus=0), simulation.isel(stimulus=0), [0])


def test_accuracy_grows_with_time_to_the_stored_decisions(made):
    readout = stored_readout(made.simulation)
    times = [5.0, 20.0, 100.0]
    curve = accuracy_against_time(made.simulation, readout, made.labels, times)
    whole = classification(made.prediction, made.simulation, made.labels)
    assert float(curve["accuracy"][-1]) == pytest.approx(float(whole["spiking_accuracy"]))
    assert float(curve["accuracy_se"][-1]) == pytest.approx(float(whole["spiking_accuracy_se"]))
    assert (np.diff(curve["accuracy"]) > 0).all()
    np.testing.assert_allclose(curve["spikes"][:-1] / curve["spikes"][-1], [0.05, 0.2], rtol=0.1)
    assert curve["time"].attrs["units"] == "s"


def test_stored_readout_is_the_circuits(made):
    readout = stored_readout(made.simulation)
    np.testing.assert_array_equal(readout.weights, made.circuit.readout.weights)
    np.testing.assert_array_equal(readout.bias, made.circuit.readout.bias)
    assert readout.labels == made.circuit.readout.labels
    assert readout.source == "hidden"
    assert stored_readout(synthetic.make({"a": 2}, trials=2, seed=0).simulation) is None
    assert stored_readout(xr.Dataset()) is None


def packed(content: bytes, shape: list[int], dtype: str = "<f8") -> dict[str, object]:
    return {"array": base64.b64encode(zlib.compress(content)).decode(), "dtype": dtype, "shape": shape}


@pytest.mark.parametrize(
    "weights",
    [
        packed(bytes(10**8), [1, 2]),  # unpacks to far more than it says
        packed(bytes(8), [1, 2]),
        packed(bytes(16), [1, -2]),
        packed(bytes(16), [1, 2], "no type"),
        {"array": "no base64", "dtype": "<f8", "shape": [1, 2]},
        {"array": base64.b64encode(b"no zlib").decode(), "dtype": "<f8", "shape": [1, 2]},
        {"shape": [1, 2]},
    ],
    ids=["bomb", "short", "negative", "type", "base64", "zlib", "missing"],
)
def test_damaged_arrays_of_a_circuit_are_refused(weights):
    readout = {"source": "E", "weights": weights, "bias": packed(bytes(8), [1]), "labels": None}
    result = xr.Dataset({"circuit": json.dumps({"populations": [], "readout": readout})})
    with pytest.raises(ValueError, match=r"an array of the stored circuit does not decode .* the file is damaged"):
        stored_readout(result)


def test_several_readouts_are_none_to_choose_from():
    one = {"source": "E", "weights": packed(bytes(16), [1, 2]), "bias": packed(bytes(8), [1]), "labels": ["a"]}
    found = stored_readout(xr.Dataset({"circuit": json.dumps({"readout": [one]})}))
    assert found.weights.shape == (1, 2)
    assert stored_readout(xr.Dataset({"circuit": json.dumps({"readout": [one, one]})})) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], r"one value for each of the 4 stimuli, got shape \(3,\)"),
        ([0, 1, 0, 2], "must be positions 0 to 1"),
        ([0.0, 1.0, 0.0, 1.0], "must be positions 0 to 1"),
    ],
)
def test_wrong_labels_raise(labels, message):
    prediction, simulation = by_hand(np.ones((4, 2), dtype=bool))
    with pytest.raises(ValueError, match=message):
        classification(prediction, simulation, labels)


def test_labels_of_other_stimuli_or_outputs_raise(made):
    with pytest.raises(ValueError, match="`labels` has 'cat', the readout has the outputs class 0, class 1"):
        classification(made.prediction, made.simulation, ["cat"] * 30)
    shifted = xr.DataArray(made.labels, dims="stimulus", coords={"stimulus": np.arange(1, 31)})
    with pytest.raises(ValueError, match="`labels` are of other stimuli: 1 at position 0, the readout has 0"):
        classification(made.prediction, made.simulation, shifted)
    with pytest.raises(ValueError, match="the simulation has no variable `readout`"):
        classification(made.prediction, made.simulation["simulation"].to_dataset().drop_vars("readout"))


def test_accuracy_against_time_says_what_is_missing(made):
    readout = stored_readout(made.simulation)
    spikes = made.simulation["spikes"].to_dataset()
    with pytest.raises(ValueError, match=r"10 neurons of 'hidden', spikes of 4 are stored: record the whole"):
        accuracy_against_time(spikes.isel(neuron=slice(4)), readout, made.labels, [100.0])
    with pytest.raises(ValueError, match=r"at most the duration, 100 ms, got \[200.0\]"):
        accuracy_against_time(spikes, readout, made.labels, [200.0])
    with pytest.raises(ValueError, match="needs a `stimulus` dimension"):
        accuracy_against_time(spikes.isel(stimulus=0), readout, made.labels, [100.0])
