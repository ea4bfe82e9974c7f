import pytest
import torch

from mnnbio.moments.covariance import Diagonal
from mnnbio.moments.maps import Convolution, Pooling, is_worthwhile, transform, variance_by_windows, window_side

f64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def positive(*shape, seed=0):
    return torch.rand(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed)) + 0.5


CHAINS = {  # image, first kernel, stride, padding, pooling window, second kernel, stride, padding
    "pooled": ((1, 12, 14), (3, 1, 3, 3), 1, 1, 2, (4, 3, 3, 3), 1, 1),
    "not pooled": ((2, 7, 9), (3, 2, 3, 3), 1, 1, None, (2, 3, 3, 3), 1, 1),
    "edges left by pooling": ((1, 11, 13), (2, 1, 3, 3), 1, 1, 3, (2, 2, 2, 2), 1, 0),
    "strides": ((1, 13, 12), (2, 1, 3, 3), 2, 1, 2, (3, 2, 2, 2), 2, 1),
    "uneven kernels, without margin": ((1, 10, 9), (2, 1, 2, 3), 1, 0, None, (3, 2, 3, 2), 2, 0),
    "wide margins": ((1, 6, 6), (2, 1, 3, 3), 1, 2, 2, (2, 2, 3, 3), 1, 2),
}


def make(name):
    image, shape_1, stride_1, padding_1, window, shape_2, stride_2, padding_2 = CHAINS[name]
    inner = Convolution(normal(*shape_1, seed=1), image, stride_1, padding_1)
    pool = None if window is None else Pooling(inner.out_image, window, inner.kernel, 1 / window**2)
    outer = Convolution(
        normal(*shape_2, seed=2), inner.out_image if pool is None else pool.out_image, stride_2, padding_2
    )
    return inner, pool, outer


@pytest.mark.parametrize("name", CHAINS)
def test_variances_are_those_of_the_matrices(name):
    inner, pool, outer = make(name)
    gain, variance = positive(2, inner.rows, seed=3), positive(2, inner.columns, seed=4)
    w = outer.to_dense() if pool is None else outer.to_dense() @ pool.to_dense()
    total = w @ (gain[..., None] * inner.to_dense())
    expected = (total**2 @ variance[..., None])[..., 0]
    found = variance_by_windows(outer, pool, gain, inner, variance)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    alone = variance_by_windows(outer, pool, gain[0], inner, variance)  # one gain for all samples
    torch.testing.assert_close(alone[0], expected[0], rtol=1e-12, atol=1e-12)


def test_gradients_are_exact():
    inner, pool, outer = make("pooled")

    def loss(first, second, gain, variance):
        return variance_by_windows(
            Convolution(second, outer.image, 1, 1), pool, gain, Convolution(first, inner.image, 1, 1), variance
        )

    inputs = (inner.kernel, outer.kernel, positive(2, inner.rows), positive(2, inner.columns, seed=4))
    inputs = tuple(part.clone().requires_grad_() for part in inputs)
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("active", [False, True], ids=["bare", "behind neurons"])
def test_covariances_of_large_images_use_windows(window, active):
    first = Convolution(normal(2, 1, 3, 3, seed=1), (1, 20, 20), 1, 1)
    pool = None if window is None else Pooling(first.out_image, window, first.kernel)
    second = Convolution(normal(3, 2, 3, 3, seed=2), first.out_image if pool is None else pool.out_image, 1, 1)
    assert is_worthwhile(second, pool, first)
    covariance = transform(Diagonal(positive(2, 400)), first)
    if active:
        covariance = covariance.scale(positive(2, first.rows)).with_diagonal(99 * positive(2, first.rows, seed=5))
    dense = covariance.to_dense()
    matrix = second.to_dense() if pool is None else second.to_dense() @ pool.to_dense()
    expected = ((matrix @ dense) * matrix).sum(-1)
    found = transform(covariance if pool is None else transform(covariance, pool), second)
    torch.testing.assert_close(found.diagonal(), expected, rtol=1e-11, atol=1e-11)


def test_the_window():
    inner, pool, outer = make("pooled")
    assert window_side(outer, pool, inner) == (8, 8)
    assert not is_worthwhile(outer, pool, inner)
