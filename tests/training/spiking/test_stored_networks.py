"""Spiking and rate networks come back from disk as they were."""

import numpy as np
import pytest
import torch

from mnnbio.training.checkpoint import write_file
from mnnbio.training.spiking.networks import RateNetwork, SpikingNetwork
from mnnbio.training.spiking.steps import SpikeFilter, SpikingNeuron
from mnnbio.training.spiking.stored_networks import KIND, NETWORK_FILE, load_network, save_network

SIGNS = np.where(np.arange(10) < 8, 1, -1)
SPARSE = np.random.default_rng(0).random((10, 2)) < 0.5


@pytest.mark.parametrize(
    "network",
    [
        SpikingNetwork.random(3, 10, 2, modes=2),
        SpikingNetwork.random(3, 10, 2, modes=2, constraints={"signs": SIGNS, "mask_in": SPARSE}, readout="maximum"),
        SpikingNetwork.random(3, 10, 2, modes=None, constraints={"mask": np.eye(10)}, dt=1.0, slope=10.0, truncate=7),
        SpikingNetwork.random(
            3,
            10,
            2,
            modes=1,
            neuron=SpikingNeuron(tau_m=np.linspace(5, 20, 10), v_reset=-0.5, reset="at once"),
            filter=SpikeFilter(kind="single"),
            learn=["v_th", "tau_decay"],
        ).double(),
        RateNetwork.random(3, 10, 2, modes=2, tau_m=15.0, reads="potentials"),
    ],
)
def test_a_network_comes_back(network, tmp_path):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(30, 4, 3, generator=torch.Generator().manual_seed(2))
    path = save_network(network, tmp_path)
    assert path == tmp_path / NETWORK_FILE
    for where in (tmp_path, path):
        again = load_network(where)
        assert type(again) is type(network)
        assert {n: p.dtype for n, p in again.state_dict().items()} == {
            n: p.dtype for n, p in network.state_dict().items()
        }
        assert torch.equal(again(inputs), network(inputs))


def test_what_is_no_network_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_network(tmp_path / "nothing.safetensors")
    path = tmp_path / "other.safetensors"
    write_file(path, "model", {"a": torch.zeros(2)}, {})
    with pytest.raises(ValueError, match="does not hold a recurrent network of mnnbio"):
        load_network(path)
    write_file(path, KIND, {"a": torch.zeros(2)}, {"network": "spiking", "weights": "full", "settings": {}})
    with pytest.raises(ValueError, match="do not fit its settings"):
        load_network(path)
