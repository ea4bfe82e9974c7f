import pytest
import torch
from test_nn_activation import Forbidden
from test_nn_linear import random_moments

from mnnbio.nn.encoders import MeanDecoder, WindowDecoder
from mnnbio.nn.state import Moments


def test_mean_is_read_without_a_covariance():
    mean = torch.ones(3, 4)
    assert MeanDecoder()(Moments(mean, Forbidden())) is mean


def test_average_over_a_window_has_the_covariance_over_its_length():
    moments = random_moments(3)
    out = WindowDecoder(50.0)(moments)
    assert torch.equal(out.mean, moments.mean)
    torch.testing.assert_close(out.covariance.to_dense(), moments.covariance.to_dense() / 50)
    torch.testing.assert_close(out.variance, moments.variance / 50)


def test_errors():
    with pytest.raises(ValueError, match="`window` must be > 0 ms, got -5"):
        WindowDecoder(-5)
