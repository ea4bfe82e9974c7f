import numpy as np
import pytest
import torch
from test_nn_linear import random_moments

from mnnbio.moments.covariance import Diagonal
from mnnbio.nn.linear import MomentLinear
from mnnbio.nn.norm import MomentBatchNorm1d
from mnnbio.nn.state import Moments

f64 = torch.float64


def trained_norm(features=4, noise=True, seed=0):
    """Return a normalisation that has seen data and whose parameters are all different."""
    norm = MomentBatchNorm1d(features, noise=noise, dtype=f64)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(features, generator=g, dtype=f64))
    for k in range(3):
        norm(random_moments(features, batch=20, seed=k))
    return norm


def test_mean_matches_batch_normalisation_of_torch():
    norm, reference = MomentBatchNorm1d(4, dtype=f64), torch.nn.BatchNorm1d(4, dtype=f64)
    torch.nn.init.ones_(reference.bias)
    for k in range(3):
        moments = random_moments(4, batch=20, seed=k)
        torch.testing.assert_close(norm(moments).mean, reference(moments.mean))
    torch.testing.assert_close(norm.running_mean, reference.running_mean)
    torch.testing.assert_close(norm.running_var, reference.running_var)
    torch.testing.assert_close(norm.eval()(moments).mean, reference.eval()(moments.mean))


def test_covariance_is_scaled_like_the_mean_and_gains_the_noise():
    moments = random_moments(4, batch=20)
    norm = trained_norm()
    out = norm(moments)
    scale = norm.weight / (moments.mean.var(0, correction=0) + norm.eps).sqrt()
    expected = scale[:, None] * moments.covariance.to_dense() * scale + torch.diag(norm.noise_std**2)
    torch.testing.assert_close(out.covariance.to_dense(), expected)


def test_rescaling_the_input_changes_nothing():
    # Independent of the unit of the current, apart from eps.
    moments = random_moments(4, batch=20)
    norm = MomentBatchNorm1d(4, eps=1e-30, dtype=f64)
    scaled = Moments(7 * moments.mean, moments.covariance.scale(torch.full((4,), 7.0, dtype=f64)))
    torch.testing.assert_close(norm(scaled).mean, norm(moments).mean)
    torch.testing.assert_close(norm(scaled).variance, norm(moments).variance)


@pytest.mark.parametrize("noise", [True, False])
def test_fold_is_the_layer_in_evaluation_mode(noise):
    linear, norm = MomentLinear(6, 4, dtype=f64), trained_norm(noise=noise).eval()
    moments = random_moments(6)
    weight, bias, noise_std = norm.fold(linear.weight)
    out = norm(linear(moments))
    torch.testing.assert_close(moments.mean @ weight.T + bias, out.mean)
    expected = weight @ moments.covariance.to_dense() @ weight.T + torch.diag(noise_std**2)
    torch.testing.assert_close(expected, out.covariance.to_dense())
    assert not weight.requires_grad
    assert bool((noise_std > 0).all()) is noise


def test_noise_is_positive_and_starts_as_asked():
    norm = MomentBatchNorm1d(3, initial_noise=0.7, dtype=f64)
    np.testing.assert_allclose(norm.noise_std.detach(), 0.7, rtol=1e-12)
    torch.nn.init.constant_(norm.raw_noise, -30.0)
    assert bool((norm.noise_std > 0).all())
    assert MomentBatchNorm1d(3, noise=False).noise_std is None


def test_statistics_are_taken_over_all_batch_dimensions():
    mean = torch.randn(3, 5, 4, dtype=f64)
    flat, nested = (MomentBatchNorm1d(4, dtype=f64) for _ in range(2))
    out = nested(Moments(mean, Diagonal(mean**2))).mean
    torch.testing.assert_close(
        out.reshape(15, 4), flat(Moments(mean.reshape(15, 4), Diagonal(mean.reshape(15, 4) ** 2))).mean
    )


def test_errors():
    with pytest.raises(ValueError, match="at least 2 samples in training mode, got a batch of shape"):
        MomentBatchNorm1d(4, dtype=f64)(random_moments(4, batch=1))
    with pytest.raises(ValueError, match=r"`weight` must have shape \(4, in_features\), got \(5, 4\)"):
        MomentBatchNorm1d(4).fold(torch.zeros(5, 4))
    with pytest.raises(ValueError, match=r"`momentum` must be in \(0, 1\], got 0"):
        MomentBatchNorm1d(4, momentum=0)
    with pytest.raises(ValueError, match="`eps` must be > 0"):
        MomentBatchNorm1d(4, eps=0)
    with pytest.raises(ValueError, match=r"`initial_noise` must be > 0 mV/√ms, got -1\.0; noise=False leaves it out"):
        MomentBatchNorm1d(4, initial_noise=-1.0)
