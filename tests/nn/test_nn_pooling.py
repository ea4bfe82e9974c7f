import pytest
import torch

from mnnbio.moments.covariance import Dense, Diagonal
from mnnbio.nn.convolution import MomentAvgPool2d, MomentSumPool2d
from mnnbio.nn.state import Moments

f64 = torch.float64


@pytest.mark.parametrize("dense", [False, True], ids=["independent trains", "correlated trains"])
@pytest.mark.parametrize(("kind", "factor"), [(MomentAvgPool2d, 1.0), (MomentSumPool2d, 4.0)])
def test_moments_are_those_of_the_pooled_trains(kind, factor, dense):
    g = torch.Generator().manual_seed(0)
    mean, variance, shared = (torch.rand(3, 2 * 4 * 5, dtype=f64, generator=g) for _ in range(3))
    matrix = torch.diag_embed(variance) + shared[..., :, None] * shared[..., None, :]
    pool = kind((2, 4, 5), 2)
    # torch's own pooling of every unit image; the last column of pixels fills no window.
    units = torch.eye(40, dtype=f64).reshape(40, 2, 4, 5)
    w = factor * torch.nn.functional.avg_pool2d(units, 2).flatten(1).mT
    out = pool(Moments(mean, Dense(matrix) if dense else Diagonal(variance)))
    assert tuple(pool.out_image) == (2, 2, 2)
    torch.testing.assert_close(out.mean, mean @ w.mT)
    expected = w @ (matrix if dense else torch.diag_embed(variance)) @ w.mT
    torch.testing.assert_close(out.covariance.to_dense(), expected)
    torch.testing.assert_close(out.variance, expected.diagonal(dim1=-2, dim2=-1))


def test_independent_trains_stay_independent():
    moments = Moments(torch.ones(2, 16), Diagonal(torch.ones(2, 16)))
    assert isinstance(MomentSumPool2d((1, 4, 4), 2)(moments).covariance, Diagonal)


def test_bad_input():
    with pytest.raises(ValueError, match="`window` must be at least 1, got 0"):
        MomentAvgPool2d((1, 4, 4), 0)
    with pytest.raises(ValueError, match="a window of 5 pixels does not fit into an image side of 4 pixels"):
        MomentSumPool2d((1, 4, 4), 5)
    with pytest.raises(
        ValueError, match=r"expected flattened images of shape \(1, 4, 4\), 16 values, got .* \(2, 15\)"
    ):
        MomentAvgPool2d((1, 4, 4), 2)(Moments(torch.ones(2, 15), Diagonal(torch.ones(2, 15))))
