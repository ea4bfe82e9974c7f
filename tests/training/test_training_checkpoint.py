import os

import pytest
import torch
from safetensors.torch import save_file

from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.encoders import GaussianEncoder
from mnnbio.nn.mlp import MomentMLP
from mnnbio.training import checkpoint as checkpoint_module
from mnnbio.training.checkpoint import load_model, save_model


def network(sizes=(4, 6, 2), seed=0):
    return MomentMLP(sizes, encoder=GaussianEncoder(4, shift=0.3), seed=seed, dtype=torch.float64)


def test_a_saved_network_comes_back_whole(tmp_path):
    model = network()
    model(torch.randn(10, 4, dtype=torch.float64))
    path = save_model(model, tmp_path / "new" / "folder")
    again = load_model(tmp_path / "new" / "folder")
    assert again.config() == model.config()
    assert not again.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert os.listdir(path.parent) == ["model.safetensors"]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    save_model(network(seed=1), tmp_path)

    def disk_full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_model(network(seed=2), tmp_path)
    monkeypatch.undo()
    assert torch.equal(load_model(tmp_path).readout.weight, network(seed=1).readout.weight)
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*model.safetensors"):
        load_model(tmp_path)


def test_truncated(tmp_path):
    path = save_model(network(), tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
        load_model(tmp_path)


def test_foreign(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not hold a model of mnnbio: its format is None"):
        load_model(tmp_path)


def test_weights_of_another_shape(tmp_path):
    model = network()
    checkpoint_module.write_file(
        tmp_path / "model.safetensors", "model", model.state_dict(), network((4, 7, 2)).config()
    )
    with pytest.raises(ValueError, match="do not fit its configuration"):
        load_model(tmp_path)


def test_a_convolutional_network_comes_back_whole(tmp_path):
    model = MomentCNN((1, 6, 6), (2, 3), 4, hidden=(5,), pool=(2, 1), pooling="sum", seed=0, dtype=torch.float64)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert isinstance(again, MomentCNN)
    assert again.config() == model.config()
    x = torch.rand(2, 36, dtype=torch.float64)
    assert torch.equal(again(x).mean, model.eval()(x).mean)


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(
        TypeError,
        match=r"must be one of \['GradedTableNetwork', 'MomentCNN', 'MomentMLP', 'SpikingTableNetwork'\], got Linear",
    ):
        save_model(torch.nn.Linear(2, 2), tmp_path)
    model = network()
    checkpoint_module.write_file(
        tmp_path / "model.safetensors", "model", model.state_dict(), model.config() | {"network": "Transformer"}
    )
    with pytest.raises(
        ValueError, match=r"a network of the kind 'Transformer', which is none of \['GradedTableNetwork'"
    ):
        load_model(tmp_path)
