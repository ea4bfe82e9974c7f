import pytest
import torch

from mnnbio.nn.cnn import MomentCNN
from mnnbio.nn.encoders import GaussianEncoder
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.twins import ann_twin

f64 = torch.float64


def kinds(twin):
    return [type(layer).__name__ for layer in twin]


def test_twin_of_a_dense_network():
    model = MomentMLP((6, 5, 4, 3), encoder=GaussianEncoder(6, shift=0.5, scale=2.0), dropout=0.2, dtype=f64)
    twin = ann_twin(model, seed=0).eval()
    assert kinds(twin) == ["EncodedMean", *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2, "Linear"]
    x = torch.rand(7, 6, dtype=f64)
    # A network of weights and rectifiers at the start of its normalisation, written out.
    y = (x - 0.5) / 2
    for layer in (twin[1], twin[5]):
        y = (y @ layer.weight.T / (1 + 1e-5) ** 0.5).clamp(min=0)
    torch.testing.assert_close(twin(x), y @ twin[-1].weight.T + twin[-1].bias)


@pytest.mark.parametrize(("pooling", "factor"), [("average", 1), ("sum", 4)])
def test_twin_of_a_convolutional_network(pooling, factor):
    model = MomentCNN((2, 6, 6), (3, 4), 5, hidden=(7,), pool=(2, 1), pooling=pooling, dtype=f64)
    twin = ann_twin(model, seed=0).eval()
    layer = ["BatchNorm2d", "ReLU"]
    assert kinds(twin) == [
        "EncodedMean", "Unflatten", "Conv2d", *layer, "AvgPool2d", "Conv2d", *layer,
        "Flatten", "Linear", "BatchNorm1d", "ReLU", "Linear",
    ]  # fmt: skip
    assert twin(torch.rand(2, 72, dtype=f64)).shape == (2, 5)
    torch.testing.assert_close(twin[5](torch.ones(1, 3, 6, 6)), factor * torch.ones(1, 3, 3, 3))


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_weights_are_as_many(hidden):
    for model in (MomentCNN((1, 6, 6), (3,), 5, hidden=hidden), MomentMLP((6, 5, 5))):
        own = sorted(p.numel() for name, p in model.named_parameters() if "raw_noise" not in name)
        assert own == sorted(p.numel() for p in ann_twin(model).parameters())


def test_seed_decides_the_weights_and_nothing_else():
    model = MomentMLP((4, 6, 3))
    before = torch.get_rng_state()
    first, second, other = (ann_twin(model, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[1].weight, second[1].weight)
    assert not torch.equal(first[1].weight, other[1].weight)


def test_a_twin_learns():
    x = torch.rand(200, 36, generator=torch.Generator().manual_seed(0))
    y = (x[:, :18].sum(1) > x[:, 18:].sum(1)).long()
    twin = ann_twin(MomentCNN((1, 6, 6), (4,), 2), seed=0)
    optimiser = torch.optim.Adam(twin.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(twin(x), y).backward()
        optimiser.step()
    assert (twin.eval()(x).argmax(1) == y).float().mean() > 0.9


def test_layers_of_fixed_in_degree_have_no_twin():
    with pytest.raises(ValueError, match="a layer of fixed in-degree has no twin"):
        ann_twin(MomentMLP((4, 6, 3), in_degree=2))
