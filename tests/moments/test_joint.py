"""Joint covariances against the covariance matrix of everything together."""

import pytest
import torch

from mnnbio.moments import Convolution, Dense, Diagonal, Joint, Pooling, added, joined, transform

D = torch.float64
RNG = torch.Generator().manual_seed(0)


def rand(*shape):
    return torch.rand(shape, generator=RNG, dtype=D)


def test_layers_that_share_a_start_have_the_covariance_of_the_whole():
    """The oracle: one linear system of all variables, its covariance taken as a matrix."""
    start = Joint.of(Diagonal(rand(3, 4)))
    w, v, gain, variance = rand(5, 4), rand(2, 9), rand(3, 5), 1 + rand(3, 5)
    middle = start.linear(w).scale(gain).with_diagonal(variance)
    both = joined([start, middle])
    end = both.linear(v)
    matrix = torch.zeros(3, 9, 9, dtype=D)
    through = gain[..., :, None] * w
    source = torch.diag_embed(start.diagonal())
    matrix[:, :4, :4] = source
    matrix[:, 4:, :4] = through @ source
    matrix[:, :4, 4:] = matrix[:, 4:, :4].mT
    matrix[:, 4:, 4:] = through @ source @ through.mT
    matrix[:, 4:, 4:].diagonal(dim1=-2, dim2=-1).copy_(variance)
    torch.testing.assert_close(both.to_dense(), matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end.to_dense(), v @ matrix @ v.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end.diagonal(), (v @ matrix @ v.T).diagonal(dim1=-2, dim2=-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both.between(end), matrix @ v.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both.quadratic(v), v @ matrix @ v.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both.quadratic_diagonal(v), end.diagonal(), rtol=1e-12, atol=1e-12)


def test_sums_of_dependent_states():
    c = rand(4, 4)
    start = Joint.of(Dense(c @ c.T))
    w = rand(4, 4)
    total = added([start, start.linear(w)])
    one = torch.eye(4, dtype=D) + w
    torch.testing.assert_close(total.to_dense(), one @ (c @ c.T) @ one.T, rtol=1e-12, atol=1e-12)
    doubled = added([start, start])
    torch.testing.assert_close(doubled.diagonal(), 4 * start.diagonal())


@pytest.mark.parametrize("map", [
    Convolution(torch.rand(2, 1, 3, 3, generator=RNG, dtype=D), (1, 4, 4), 1, 1),
    Pooling((1, 4, 4), 2, torch.empty(0, dtype=D), 0.25),
], ids=["convolution", "pooling"])  # fmt: skip
def test_images(map):
    c = rand(16, 16)
    start = Joint.of(Dense(c @ c.T))
    found = transform(start, map)
    assert isinstance(found, Joint)
    full = map.to_dense()
    torch.testing.assert_close(found.to_dense(), full @ c @ c.T @ full.T, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.between(start), full @ c @ c.T, rtol=1e-12, atol=1e-12)


def test_modes_keep_track():
    start = Joint.of(Diagonal(rand(6)))
    inputs, scores, outputs = rand(5, 2), rand(2), rand(6, 2)
    w = (inputs * scores) @ outputs.T
    found = start.linear_modes(inputs, scores, outputs)
    torch.testing.assert_close(found.between(start), w @ start.to_dense(), rtol=1e-12, atol=1e-12)


def test_gradients_reach_the_weights():
    w = rand(3, 3).requires_grad_()

    def loss(weight):
        start = Joint.of(Diagonal(torch.ones(3, dtype=D)))
        return added([start, start.linear(weight).with_diagonal(torch.ones(3, dtype=D))]).to_dense().sum()

    assert torch.autograd.gradcheck(loss, (w,))
