import pytest
import torch

from mnnbio.moments.covariance import Dense, Diagonal, LowRank
from mnnbio.moments.maps import Convolution, Pooling, Transformed, transform

f64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed))


def positive(*shape, seed=0):
    return torch.rand(*shape, dtype=f64, generator=torch.Generator().manual_seed(seed)) + 0.5


def by_loops(kernel, image, stride, padding):
    """The matrix of a convolution, element by element from its definition."""
    channels, height, width = image
    out, _, k_y, k_x = kernel.shape
    n_y, n_x = (height + 2 * padding - k_y) // stride + 1, (width + 2 * padding - k_x) // stride + 1
    matrix = torch.zeros(out, n_y, n_x, channels, height, width, dtype=f64)
    for y in range(n_y):
        for x in range(n_x):
            for i in range(k_y):
                for j in range(k_x):
                    row, column = y * stride + i - padding, x * stride + j - padding
                    if 0 <= row < height and 0 <= column < width:
                        matrix[:, y, x, :, row, column] = kernel[:, :, i, j]
    return matrix.reshape(out * n_y * n_x, -1)


def pooling_by_loops(image, window, weight):
    channels, height, width = image
    matrix = torch.zeros(channels, height // window, width // window, channels, height, width, dtype=f64)
    for c in range(channels):
        for y in range(height // window * window):
            for x in range(width // window * window):
                matrix[c, y // window, x // window, c, y, x] = weight
    return matrix.reshape(-1, channels * height * width)


MAPS = {
    "3×3": ((2, 4, 5), (3, 2, 3, 3), 1, 1),
    "without margin": ((2, 4, 5), (3, 2, 3, 3), 1, 0),
    "stride": ((2, 5, 6), (3, 2, 2, 3), 2, 1),
    "1×1": ((2, 3, 3), (4, 2, 1, 1), 1, 0),
    "average of 2×2": ((2, 4, 6), 2, 0.25),
    "sum, edges left": ((2, 5, 7), 3, 1.0),
}


def make(name):
    """Return a map and its matrix."""
    image, *rest = MAPS[name]
    if len(rest) == 2:
        return Pooling(image, rest[0], torch.empty(0, dtype=f64), rest[1]), pooling_by_loops(image, *rest)
    kernel = normal(*rest[0], seed=3)
    return Convolution(kernel, image, *rest[1:]), by_loops(kernel, image, *rest[1:])


def covariances(n):
    """Return one covariance of every kind, and its matrix."""
    d, f = positive(3, n), normal(3, n, 2)
    core = normal(2, 2)
    core = core @ core.mT
    return {
        "diagonal": (Diagonal(d), torch.diag_embed(d)),
        "low rank": (LowRank(d, f), torch.diag_embed(d) + f @ f.mT),
        "low rank with core": (LowRank(d, f, core), torch.diag_embed(d) + f @ core @ f.mT),
        "dense": (Dense(torch.diag_embed(d) + f @ f.mT), torch.diag_embed(d) + f @ f.mT),
    }


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_their_matrices(name):
    linear_map, matrix = make(name)
    assert (linear_map.rows, linear_map.columns) == tuple(matrix.shape)
    x, y = normal(2, 3, linear_map.columns), normal(2, 3, linear_map.rows)
    torch.testing.assert_close(linear_map.apply(x), x @ matrix.mT)
    torch.testing.assert_close(linear_map.transpose(y), y @ matrix)
    torch.testing.assert_close(linear_map.apply_squared(x), x @ (matrix**2).mT)
    torch.testing.assert_close(linear_map.to_dense(), matrix)
    assert linear_map.disjoint == bool(((matrix != 0).sum(0) <= 1).all())


@pytest.mark.parametrize("kind", ["diagonal", "low rank", "low rank with core", "dense"])
@pytest.mark.parametrize("name", MAPS)
def test_covariances_through_maps(name, kind):
    linear_map, matrix = make(name)
    covariance, dense = covariances(linear_map.columns)[kind]
    found, expected = transform(covariance, linear_map), matrix @ dense @ matrix.mT
    tolerance = {"rtol": 1e-11, "atol": 1e-11}
    torch.testing.assert_close(found.diagonal(), expected.diagonal(dim1=-2, dim2=-1), **tolerance)
    torch.testing.assert_close(found.to_dense(), expected, **tolerance)
    gain, added, variance = (positive(3, found.size, seed=seed) for seed in (4, 5, 6))
    scaled = gain[..., :, None] * expected * gain[..., None, :] + torch.diag_embed(added)
    found = transform(covariance, linear_map).scale(gain).add_diagonal(added)
    for rows in (2, found.size + 1):
        w = normal(rows, found.size, seed=rows)
        torch.testing.assert_close(found.quadratic(w), w @ scaled @ w.mT, **tolerance)
        torch.testing.assert_close(found.linear(w).diagonal(), (w @ scaled @ w.mT).diagonal(dim1=-2, dim2=-1))
    replaced = scaled - torch.diag_embed(scaled.diagonal(dim1=-2, dim2=-1)) + torch.diag_embed(variance)
    if not isinstance(found, Diagonal):
        torch.testing.assert_close(found.with_diagonal(variance).to_dense(), replaced, **tolerance)
        torch.testing.assert_close(found.with_diagonal(variance).diagonal(), variance, **tolerance)


class Network:
    """Convolution, activation, pooling, convolution, activation, dense: as a lazy covariance and as matrices."""

    def __init__(self):
        self.kernels = normal(4, 1, 3, 3, seed=1), normal(3, 4, 3, 3, seed=2)
        self.variance = positive(2, 36)
        self.gains = positive(2, 4 * 36, seed=3), positive(2, 3 * 9, seed=4)
        self.variances = 9 * positive(2, 4 * 36, seed=5), 99 * positive(2, 3 * 9, seed=6)

    @staticmethod
    def lazy(variance, first, second, gain_1, variance_1, gain_2, variance_2):
        pooling = Pooling((4, 6, 6), 2, variance, 0.25)
        c = transform(Diagonal(variance), Convolution(first, (1, 6, 6), 1, 1)).scale(gain_1).with_diagonal(variance_1)
        c = transform(transform(c, pooling), Convolution(second, (4, 3, 3), 1, 1))
        return c.scale(gain_2).with_diagonal(variance_2)

    def arguments(self):
        parts = zip(self.gains, self.variances, strict=True)
        return (self.variance, *self.kernels, *(part for pair in parts for part in pair))

    def dense(self):
        def activated(matrix, gain, variance):
            matrix = gain[..., :, None] * matrix * gain[..., None, :]
            return matrix - torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1)) + torch.diag_embed(variance)

        w = by_loops(self.kernels[0], (1, 6, 6), 1, 1)
        c = activated(w @ torch.diag_embed(self.variance) @ w.mT, self.gains[0], self.variances[0])
        w = by_loops(self.kernels[1], (4, 3, 3), 1, 1) @ pooling_by_loops((4, 6, 6), 2, 0.25)
        return activated(w @ c @ w.mT, self.gains[1], self.variances[1])


@pytest.mark.parametrize("rows", [2, 40])
def test_a_chain_equals_dense_matrices(rows):
    network = Network()
    dense, w = network.dense(), normal(rows, 27, seed=9)
    tolerance = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(network.lazy(*network.arguments()).to_dense(), dense, **tolerance)
    lazy = network.lazy(*network.arguments()).linear(w)
    torch.testing.assert_close(lazy.diagonal(), (w @ dense @ w.mT).diagonal(dim1=-2, dim2=-1), **tolerance)
    lazy = network.lazy(*network.arguments()).linear(w)
    torch.testing.assert_close(lazy.to_dense(), w @ dense @ w.mT, **tolerance)


def test_a_few_rows_never_form_the_matrix():
    """The covariance of 3 readouts of 262,144 neurons, whose full matrix would take 550 GB."""
    kernel = normal(4, 1, 5, 5)
    layer = transform(Diagonal(positive(1, 256 * 256)), Convolution(kernel, (1, 256, 256), 1, 2))
    layer = layer.scale(positive(1, layer.size)).with_diagonal(positive(1, layer.size))
    assert layer.linear(normal(3, layer.size)).to_dense().shape == (1, 3, 3)


def test_gradients_are_exact():
    network = Network()

    def loss(first, second, gain, variance):
        parts = list(network.arguments())
        parts[1:5] = first, second, gain, variance
        return network.lazy(*parts).linear(w).to_dense()

    w = normal(2, 27, seed=9)
    kernels, gain, variance = network.kernels, network.gains[0], network.variances[0]
    inputs = [part.clone().requires_grad_() for part in (*kernels, gain, variance)]
    assert torch.autograd.gradcheck(loss, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss, inputs, fast_mode=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Convolution(torch.ones(2, 3, 3, 3), (1, 8, 8)),
            r"shape \(out_channels, 1, height, width\) .* got \(2",
        ),
        (lambda: Convolution(torch.ones(2, 1, 5, 5), (1, 4, 8)), "a window of 5 pixels does not fit .* of 4 pixels"),
        (lambda: Pooling((1, 8, 3), 4, torch.ones(1)), "a window of 4 pixels does not fit into an image side of 3"),
        (
            lambda: Transformed(Pooling((1, 8, 8), 2, torch.ones(1)), Diagonal(torch.ones(63))),
            "the map takes 64 variables, the covariance has 63",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
