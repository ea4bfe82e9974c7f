import pytest
import torch
from test_nn_linear import random_moments

from mnnbio.moments.covariance import Dense, Diagonal, LowRank
from mnnbio.nn.covariance_readout import CovarianceReadout
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.state import Moments

f64 = torch.float64
READS = ["covariance", "mean_and_covariance", "second_moments"]


@pytest.mark.parametrize("reads", READS)
def test_a_quadratic_form_of_the_moments(reads):
    """Against the sum over pairs as it is written down."""
    moments, readout = random_moments(3), CovarianceReadout(3, 2, reads, dtype=f64)
    mean, matrix, weight = moments.mean, moments.covariance.to_dense(), readout.weight
    if reads == "second_moments":
        matrix = matrix + mean[..., :, None] * mean[..., None, :]
    pairs = [(i, j) for i in range(3) for j in range(i, 3)]
    start = 3 if reads == "mean_and_covariance" else 0
    expected = sum(weight[:, start + k] * matrix[..., i, j, None] for k, (i, j) in enumerate(pairs))
    if start:
        expected = expected + mean @ weight[:, :3].T
    torch.testing.assert_close(readout(moments).mean, expected)


def test_every_form_of_a_covariance_will_do():
    mean, own, factor = torch.rand(2, 4, dtype=f64), torch.rand(2, 4, dtype=f64), torch.rand(2, 4, 2, dtype=f64)
    readout = CovarianceReadout(4, 2, dtype=f64)
    low = LowRank(own, factor)
    torch.testing.assert_close(
        readout(Moments(mean, low)).mean, readout(Moments(mean, Dense(own.diag_embed() + factor @ factor.mT))).mean
    )
    alone = readout(Moments(mean, Diagonal(own))).mean
    torch.testing.assert_close(alone, readout(Moments(mean, Dense(own.diag_embed()))).mean)
    # One covariance for a batch of means.
    shared = readout(Moments(mean, Dense(own[0].diag_embed()))).mean
    torch.testing.assert_close(shared[0], alone[0])


@pytest.mark.parametrize("reads", READS)
def test_gradients(reads):
    readout = CovarianceReadout(3, 2, reads, dtype=f64)

    def outputs(mean, root, weight, bias):
        readout.weight.data, readout.bias.data = weight, bias
        return torch.func.functional_call(
            readout, {"weight": weight, "bias": bias}, (Moments(mean, Dense(root @ root.mT)),)
        ).mean

    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(shape, dtype=f64, generator=generator) for shape in ((2, 3), (2, 3, 3))]
    inputs = [value.requires_grad_() for value in (*drawn, readout.weight.detach().clone(), readout.bias.detach() + 1)]
    assert torch.autograd.gradcheck(outputs, inputs)


@pytest.mark.parametrize("reads", READS)
def test_gradients_through_a_network_of_neurons(reads):
    model = MomentMLP((3, 4, 3, 2), reads=reads, seed=1, dtype=f64).eval()
    features = torch.rand(2, 3, dtype=f64, generator=torch.Generator().manual_seed(1))
    names = [name for name, value in model.named_parameters() if value.requires_grad]

    def outputs(*values):
        return torch.func.functional_call(model, dict(zip(names, values, strict=True)), (features,)).mean

    values = [value.detach().clone().requires_grad_() for _, value in model.named_parameters()]
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)


def test_correlations_are_told_apart_where_rates_are_equal():
    mean, matrix = torch.ones(2, dtype=f64), torch.eye(2, dtype=f64)
    readout = CovarianceReadout(2, 1, "covariance", bias=False, dtype=f64)
    with torch.no_grad():
        readout.weight.copy_(torch.tensor([[0.0, 1.0, 0.0]]))
    assert readout(Moments(mean, Dense(matrix))).mean.item() == 0
    assert readout(Moments(mean, Dense(matrix + 0.3 - 0.3 * torch.eye(2)))).mean.item() == pytest.approx(0.3)


def test_a_network_that_reads_covariances_is_stored_as_such():
    model = MomentMLP((3, 4, 2), reads="covariance", total_variance=True, seed=0)
    again = MomentMLP.from_config(model.config())
    again.load_state_dict(model.state_dict())
    features = torch.rand(5, 3)
    torch.testing.assert_close(again.eval()(features).mean, model.eval()(features).mean)
    assert again.readout.reads == "covariance"
    assert again.blocks[0].norm.total_variance
    # Configurations from before there was a choice.
    older = {
        name: value for name, value in MomentMLP((3, 4, 2)).config().items() if name not in ("reads", "total_variance")
    }
    assert MomentMLP.from_config(older).reads == "mean"


def test_errors():
    with pytest.raises(ValueError, match=r"Invalid value 'variance' for `reads`. Must be one of"):
        CovarianceReadout(3, 2, "variance")
    with pytest.raises(ValueError, match="`in_features` must be an integer ≥ 1, got 0"):
        CovarianceReadout(0, 2)
    with pytest.raises(ValueError, match="`out_features` must be an integer ≥ 1, got 0"):
        CovarianceReadout(2, 0)
    with pytest.raises(ValueError, match=r"expected the moments of 3 neurons, got the shape \(5, 4\)"):
        CovarianceReadout(3, 2)(random_moments(4))
    with pytest.raises(ValueError, match="Invalid value 'variance' for `reads`"):
        MomentMLP((3, 4, 2), reads="variance")
    with pytest.raises(ValueError, match="statistics have no noise: give readout_noise=False with reads='covariance'"):
        MomentMLP((3, 4, 2), reads="covariance", readout_noise=True)
