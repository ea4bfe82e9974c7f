"""Files of the published project: what is loaded, what is refused, and the published values where the files are."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from mnnbio.training import read_idx
from mnnbio.training.spiking import (
    CollapsedTaskWarning,
    ManyModesWarning,
    RateNetwork,
    SpikeFilter,
    SpikingNetwork,
    UntoldFilterWarning,
    check_smnn,
    load_smnn,
)
from mnnbio.training.spiking.tasks import context_switch, decisions


def tensors(size=12, inputs=4, outputs=1, modes=2, **others):
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "Win": (size, inputs),
        "pin": (size, modes),
        "l": (modes,),
        "pout": (size, modes),
        "Wout": (outputs, size),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | others


def stored(path, content):
    torch.save(content, path / "H_12_P_2_0.pth")
    return path / "H_12_P_2_0.pth"


@pytest.mark.parametrize("kind", ["single", "double"])
@pytest.mark.parametrize(("outputs", "readout", "scale"), [(1, "trace", "steps"), (10, "maximum", "rates")])
def test_spiking_networks_are_loaded(tmp_path, kind, outputs, readout, scale):
    content = tensors(outputs=outputs)
    network = load_smnn(stored(tmp_path, content), filter=kind)
    assert isinstance(network, SpikingNetwork)
    assert (network.readout, network.filter.kind, network.filter.scale) == (readout, kind, scale)
    assert (network.dt, network.neuron.clock) == (2.0, "single")
    for name, own in {"Win": network.weight_in, "Wout": network.weight_out}.items():
        assert torch.equal(own, content[name])
    torch.testing.assert_close(network.recurrent.matrix(), (content["l"] * content["pin"]) @ content["pout"].T)
    assert network(torch.randn(20, 3, 4)).shape == ((20, 3, 1) if outputs == 1 else (3, 10))


def test_rate_networks_thresholds_and_own_filters_are_loaded(tmp_path):
    path = stored(tmp_path, tensors(vthr=torch.tensor(0.5)))
    assert isinstance(load_smnn(path, "rate", reads="potentials"), RateNetwork)
    network = load_smnn(path, SpikeFilter(tau_decay=50), clock="steps")
    assert (network.neuron.v_th, network.neuron.clock, network.filter.tau_decay) == (0.5, "steps", 50)


def test_more_modes_than_neurons_are_a_warning(tmp_path):
    with pytest.warns(ManyModesWarning, match="15 modes of 12 neurons"):
        load_smnn(stored(tmp_path, tensors(modes=15)), "rate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"l": torch.ones(12, 1)}, "a score for each of its 12 neurons"),
        ({"sigmoid_tau_d": torch.ones(12, 1)}, "`sigmoid_tau_d`: how they enter the equations is not published"),
        ({"pin": torch.ones(11, 2)}, r"contradict each other.*pin \(11, 2\)"),
        ({"Wout": torch.ones(1, 11)}, r"contradict each other.*Wout \(1, 11\)"),
        ({"l": torch.ones(3)}, "contradict each other"),
        ({"l": torch.tensor([1.0, 0.0])}, "`scores` must not be 0, got 0 for mode 1"),
        ({"l": torch.tensor([1.0, torch.nan])}, "`scores` must be finite"),
        ({"bias": torch.ones(12)}, "it also has bias, of which nothing is known"),
        ({"vthr": torch.ones(12)}, "`vthr`.* must be one number"),
        ({"pout": [1, 2]}, "must hold a dictionary of tensors"),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_smnn(stored(tmp_path, tensors() | changes), "double")


def test_filter_is_required(tmp_path):
    path = stored(tmp_path, tensors())
    with pytest.raises(ValueError, match="`filter` is needed"):
        load_smnn(path)
    with pytest.raises(ValueError, match="Invalid value 'triple' for `filter`"):
        load_smnn(path, "triple")


def test_missing_parts_and_missing_files_are_told(tmp_path):
    content = tensors()
    del content["pout"]
    with pytest.raises(ValueError, match="it lacks pout"):
        load_smnn(stored(tmp_path, content), "single")
    with pytest.raises(FileNotFoundError, match="no file"):
        load_smnn(tmp_path / "none.pth", "single")


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_files_is_not_executed(tmp_path, capsys):
    with pytest.raises(ValueError, match="holds more than tensors and is not read for safety"):
        load_smnn(stored(tmp_path, {"Win": Evil()}), "single")
    assert capsys.readouterr().out == ""
    (tmp_path / "damaged.pth").write_bytes(b"no file of tensors")
    with pytest.raises(ValueError, match="damaged"):
        load_smnn(tmp_path / "damaged.pth", "single")


def test_collapsed_tasks_are_a_warning(tmp_path):
    """A network that answers 0 has an error of one half, in half of the time."""
    network = load_smnn(stored(tmp_path, tensors(Wout=torch.zeros(1, 12))), "double")
    with pytest.warns(CollapsedTaskWarning, match="mean squared error of 0.5 "):
        found = check_smnn(network, "context", trials=20)
    assert (found.error, found.standard_error, found.right) == (0.5, 0.0, 0.0)


def test_digits_do_not_tell_filters_apart(tmp_path):
    network = load_smnn(stored(tmp_path, tensors(outputs=10, inputs=9)), "single")
    with pytest.warns(UntoldFilterWarning, match="digits do not tell which filter"):
        assert check_smnn(network, "digits").right is None
    with pytest.warns(UntoldFilterWarning):
        found = check_smnn(network, "digits", images=torch.rand(8, 9), labels=torch.arange(8))
    assert 0 <= found.right <= 1
    with pytest.raises(ValueError, match="Invalid value 'other' for `task`"):
        check_smnn(network, "other")


# The published values: means of 100 trials or 1000 images with other seeds, by the published classes.

FOLDER, MNIST = os.environ.get("MNNBIO_SMNN_DIR"), os.environ.get("MNNBIO_MNIST_DIR")
published = pytest.mark.skipif(not FOLDER, reason="MNNBIO_SMNN_DIR names no folder with the published parameters")
digits = pytest.mark.skipif(not (FOLDER and MNIST), reason="MNNBIO_SMNN_DIR and MNNBIO_MNIST_DIR are not both set")


class Published(NamedTuple):
    file: str
    filter: str
    error: float
    right: float
    rate: float


CONTEXT = [
    Published("context_N100_P3_0_double", "double", 0.0221, 1.00, 20.0),
    Published("context_N100_P3_0_double", "single", 0.352, 0.96, 17.0),
    Published("context_N100_P3_single", "single", 0.0363, 1.00, 25.6),
    Published("context_N100_P3_single", "double", 1.55, 0.76, 29.7),
    Published("context_N100_P3_3_older", "single", 0.444, 0.55, 21.2),
    Published("context_N100_P3_3_older", "double", 0.271, 0.84, 23.0),
    Published("context_N100_P3_switch_double", "double", 0.0287, 1.00, 23.1),
]


def share_error(share, number):
    """Standard error of a share; that of one wrong where there is none."""
    return max(share * (1 - share) / number, 1 / number**2) ** 0.5


@published
@pytest.mark.parametrize("row", CONTEXT, ids=lambda row: f"{row.file}-{row.filter}")
def test_published_values_of_contextual_integration(row):
    network = load_smnn(Path(FOLDER) / f"{row.file}.pth", row.filter)
    trials = 300
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = check_smnn(network, "context", trials=trials, seed=11)
    assert bool(told) == (row.error > 0.15)
    of_both = (1 + trials / 100) ** 0.5  # the published value is a mean of 100 trials
    assert abs(found.error - row.error) < 3 * of_both * found.standard_error + 5e-4
    assert abs(found.right - row.right) <= 3 * of_both * share_error(found.right, trials) + 0.005
    assert abs(found.rate - row.rate) < 1


@published
def test_published_values_of_switch_trials():
    network = load_smnn(Path(FOLDER) / "context_N100_P3_switch_double.pth", "double")
    trials = context_switch(300, seed=12)
    with torch.no_grad():
        activity = network.run(trials.inputs)
    right = (decisions(activity.outputs) == trials.decisions).double().mean().item()
    error = (activity.outputs - trials.targets).double().square().mean((0, 2))
    # A published batch changes as a whole, so this one is of one hundred trials of one kind, as ours.
    assert abs(right - 0.54) < 3 * 2 * share_error(right, 300)
    assert abs(error.mean().item() - 0.651) < 3 * 2 * error.std().item() / 300**0.5
    assert abs(activity.spikes.mean().item() * 500 - 23.0) < 1


@published
def test_published_files_that_cannot_be_run():
    with pytest.raises(ValueError, match="sigmoid_tau_d"):
        load_smnn(Path(FOLDER) / "context_N300_P3_0_learned_decay.pth", "double")
    with pytest.raises(ValueError, match="a score for each of its 100 neurons"):
        load_smnn(Path(FOLDER) / "mnist_N100_P3_3_neuron_scores.pth", "double")


@digits
@pytest.mark.parametrize(
    ("file", "filter", "published"),
    [
        ("mnist_N100_P3_0_double", "double", 0.958),
        ("mnist_N100_P3_0_double", "single", 0.958),
        ("mnist_rate_N100_P3_0", "rate", 0.956),
    ],
)
@pytest.mark.filterwarnings("ignore::mnnbio.training.spiking.UntoldFilterWarning")
def test_published_accuracies_of_digits(file, filter, published):
    images = torch.from_numpy(read_idx(Path(MNIST) / "t10k-images-idx3-ubyte.gz")[:1000].reshape(1000, -1) / 255.0)
    labels = torch.from_numpy(read_idx(Path(MNIST) / "t10k-labels-idx1-ubyte.gz")[:1000].astype(int))
    network = load_smnn(Path(FOLDER) / f"{file}.pth", filter)
    found = check_smnn(network, "digits", images=images.float(), labels=labels, seed=13)
    assert abs(found.right - published) < 3 * 2**0.5 * share_error(published, 1000)
