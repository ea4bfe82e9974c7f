import pytest
import torch
from test_nn_linear import random_moments

from mnnbio.moments.covariance import Dense, Diagonal, Sum
from mnnbio.nn.mlp import MomentMLP
from mnnbio.nn.twins import MomentEnsemble

f64 = torch.float64


def members(*sizes):
    return [MomentMLP(size, seed=seed, dtype=f64).eval() for seed, size in enumerate(sizes)]


def test_average_of_independent_members():
    models = members((5, 7, 3), (5, 4, 4, 3), (5, 6, 3))
    x = torch.rand(4, 5, dtype=f64, generator=torch.Generator().manual_seed(0))
    out = MomentEnsemble(models)(x)
    outputs = [model(x) for model in models]
    torch.testing.assert_close(out.mean, sum(moments.mean for moments in outputs) / 3)
    expected = sum(moments.covariance.to_dense() for moments in outputs) / 9
    torch.testing.assert_close(out.covariance.to_dense(), expected)
    torch.testing.assert_close(out.variance, expected.diagonal(dim1=-2, dim2=-1))


def test_ensemble_of_one_is_its_member():
    (model,) = members((5, 7, 3))
    x = torch.rand(4, 5, dtype=f64)
    out = MomentEnsemble([model])(x)
    torch.testing.assert_close(out.mean, model(x).mean)
    torch.testing.assert_close(out.variance, model(x).variance)


def test_all_members_are_trained():
    ensemble = MomentEnsemble(members((5, 7, 3), (5, 7, 3)))
    out = ensemble.train()(torch.rand(4, 5, dtype=f64))
    (out.mean.square().sum() + out.variance.sum()).backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in ensemble.parameters())


def test_sum_behaves_as_its_matrix():
    moments, g = random_moments(4, batch=2), torch.Generator().manual_seed(0)
    own, gain, new = (torch.rand(2, 4, dtype=f64, generator=g) for _ in range(3))
    weight = torch.randn(3, 4, dtype=f64, generator=g)
    total = Sum([moments.covariance, Diagonal(own)])
    matrix = moments.covariance.to_dense() + torch.diag_embed(own)
    for ours, plain in (
        (total, Dense(matrix)),
        (total.scale(gain), Dense(matrix).scale(gain)),
        (total.add_diagonal(new), Dense(matrix).add_diagonal(new)),
        (total.with_diagonal(new), Dense(matrix).with_diagonal(new)),
        (total.linear(weight), Dense(matrix).linear(weight)),
    ):
        torch.testing.assert_close(ours.to_dense(), plain.to_dense())
        torch.testing.assert_close(ours.diagonal(), plain.diagonal())
    torch.testing.assert_close(total.quadratic(weight), weight @ matrix @ weight.T)
    assert total.size == 4


def test_errors():
    with pytest.raises(ValueError, match="an ensemble needs at least one member"):
        MomentEnsemble([])
    with pytest.raises(ValueError, match=r"outputs of one shape, got \[\(4, 3\), \(4, 2\)\]"):
        MomentEnsemble(members((5, 7, 3), (5, 7, 2)))(torch.rand(4, 5, dtype=f64))
    with pytest.raises(ValueError, match=r"covariances of one size, got sizes \[2, 3\]"):
        Sum([Diagonal(torch.ones(2)), Diagonal(torch.ones(3))])
    with pytest.raises(ValueError, match=r"covariances of one size, got sizes \[\]"):
        Sum([])
