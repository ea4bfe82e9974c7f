import pytest
import torch

from mnnbio.moments.covariance import Dense, Diagonal
from mnnbio.nn.convolution import MomentConv2d
from mnnbio.nn.norm import MomentBatchNorm2d
from mnnbio.nn.state import Moments

f64 = torch.float64


def image_moments(shape, batch=(3,), dense=False, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = shape[0] * shape[1] * shape[2]
    mean, variance = (torch.rand(*batch, n, dtype=f64, generator=g) for _ in range(2))
    if not dense:
        return Moments(mean, Diagonal(variance))
    factor = torch.randn(*batch, n, 2, dtype=f64, generator=g)
    return Moments(mean, Dense(torch.diag_embed(variance) + factor @ factor.mT))


@pytest.mark.parametrize("dense", [False, True], ids=["independent input", "correlated input"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding"), [(3, 1, None), (3, 1, 0), (2, 1, None), (3, 2, 1), (5, 3, 2)]
)
def test_moments_are_those_of_the_matrix(kernel_size, stride, padding, dense):
    shape = (2, 6, 5)
    layer = MomentConv2d(shape, 3, kernel_size, stride, padding, dtype=f64)
    moments = image_moments(shape, dense=dense)
    # The matrix by torch's own convolution of every unit image.
    reference = torch.nn.Conv2d(2, 3, kernel_size, stride, layer.padding, bias=False, dtype=f64)
    reference.weight = layer.weight
    units = torch.eye(60, dtype=f64).reshape(60, *shape)
    images = reference(units)
    matrix = images.flatten(1).mT
    out = layer(moments)
    assert tuple(layer.out_image) == tuple(images.shape[1:])
    dense_in = moments.covariance.to_dense()
    tolerance = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(out.mean, moments.mean @ matrix.mT, **tolerance)
    torch.testing.assert_close(out.covariance.to_dense(), matrix @ dense_in @ matrix.mT, **tolerance)
    torch.testing.assert_close(layer(moments).variance, ((matrix @ dense_in) * matrix).sum(-1), **tolerance)


@pytest.mark.slow
def test_gradients_are_exact():
    layer = MomentConv2d((1, 4, 4), 2, 3, dtype=f64)
    moments = image_moments((1, 4, 4), (2,))

    def loss(weight):
        out = torch.func.functional_call(layer, {"weight": weight}, (moments,))
        return out.mean, out.variance, out.covariance.to_dense()

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (weight,))
    assert torch.autograd.gradgradcheck(loss, (weight,), fast_mode=True)


def test_weights_start_within_their_bound_and_follow_the_generator():
    first, second = (
        MomentConv2d((4, 8, 8), 8, 3, weight_scale=2.0, generator=torch.Generator().manual_seed(1)) for _ in range(2)
    )
    assert torch.equal(first.weight, second.weight)
    assert 1.9 / 6 < first.weight.abs().max() <= 2 / 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": (1, 0, 3)}, r"`image` must be at least 1, got \(1, 0, 3\)"),
        ({"out_channels": 0}, "`out_channels` must be at least 1, got 0"),
        ({"kernel_size": 0}, "`kernel_size` must be at least 1, got 0"),
        ({"stride": 0}, "`stride` must be at least 1, got 0"),
        ({"padding": -1}, "`padding` must be at least 0, got -1"),
        ({"kernel_size": 9, "padding": 0}, "a window of 9 pixels does not fit into an image side of 8 pixels"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        MomentConv2d(**{"image": (1, 8, 8), "out_channels": 2, "kernel_size": 3, **options})


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"expected flattened images of shape \(1, 8, 8\), 64 values, got .* \(3, 63\)"
    ):
        MomentConv2d((1, 8, 8), 2, 3)(image_moments((1, 9, 7)))


class TestBatchNorm2d:
    @pytest.mark.parametrize("training", [True, False])
    def test_mean_equals_torch(self, training):
        norm = MomentBatchNorm2d((3, 4, 5), initial_weight=0.7, initial_bias=0.3, dtype=f64).train(training)
        reference = torch.nn.BatchNorm2d(3, dtype=f64).train(training)
        torch.nn.init.constant_(reference.weight, 0.7)
        torch.nn.init.constant_(reference.bias, 0.3)
        for seed in range(3):
            moments = image_moments((3, 4, 5), seed=seed)
            torch.testing.assert_close(
                norm(moments).mean, reference(moments.mean.reshape(-1, 3, 4, 5)).flatten(1), rtol=1e-10, atol=1e-12
            )
        torch.testing.assert_close(norm.running_mean, reference.running_mean)
        torch.testing.assert_close(norm.running_var, reference.running_var)

    @pytest.mark.parametrize("noise", [True, False])
    def test_fold(self, noise):
        convolution = MomentConv2d((1, 4, 4), 2, 3, dtype=f64)
        norm = MomentBatchNorm2d(convolution.out_image, noise=noise, initial_noise=0.4, dtype=f64)
        norm(convolution(image_moments((1, 4, 4))))
        norm.eval()
        moments = image_moments((1, 4, 4), seed=5)
        out = norm(convolution(moments))
        kernel, current, noise_std = norm.fold(convolution.weight)
        matrix = convolution.map(kernel).to_dense()
        torch.testing.assert_close(out.mean, moments.mean @ matrix.mT + current, rtol=1e-10, atol=1e-12)
        expected = matrix @ moments.covariance.to_dense() @ matrix.mT + torch.diag(noise_std**2)
        torch.testing.assert_close(out.covariance.to_dense(), expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(noise_std, torch.full((32,), 0.4 if noise else 0.0, dtype=f64))

    def test_bad_input(self):
        norm = MomentBatchNorm2d((2, 4, 4))
        with pytest.raises(ValueError, match=r"expected currents of 32 neurons, got the shape \(3, 16\)"):
            norm(image_moments((1, 4, 4)))
        with pytest.raises(ValueError, match=r"`weight` must have shape \(2, in_channels, height, width\), got \(3, 1"):
            norm.fold(torch.ones(3, 1, 3, 3))
        with pytest.raises(ValueError, match=r"needs at least 2 samples in training mode, got a batch of shape \(1, 2"):
            MomentBatchNorm2d((2, 1, 1))(image_moments((2, 1, 1), (1,)))
