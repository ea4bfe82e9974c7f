import math

import numpy as np
import pytest
import torch

from mnnbio.moments.covariance import Diagonal
from mnnbio.nn.correlated_inputs import CommonNoiseEncoder, FeatureMapEncoder, GratingEncoder
from mnnbio.nn.encoders import PoissonEncoder, encoder_from_config
from mnnbio.nn.mlp import MomentMLP

f64 = torch.float64


def test_covariances_of_a_grating_are_averages_over_its_waves():
    """Rates as courses in time, averaged over a whole period: window times their covariance, and Poisson variance."""
    encoder = GratingEncoder(12, frequency=2.0, window=3.0, luminance_share=0.4, arrangement="random", dtype=f64)
    features = torch.tensor([[0.7, 0.1], [-2.0, 0.15]], dtype=f64)
    found = encoder(features)
    times = torch.arange(16, dtype=f64) * (2 * math.pi / 2.0 / 16)  # of sines, exact
    rates = encoder.rates(features, times).numpy()
    for k in range(2):
        np.testing.assert_allclose(rates[:, k].mean(0), found.mean[k], rtol=1e-12)
        expected = 3.0 * np.cov(rates[:, k].T, bias=True) + np.diag(found.mean[k])
        np.testing.assert_allclose(found.covariance.to_dense()[k], expected, rtol=1e-10, atol=1e-12)


def test_a_detector_of_change_fires_more_where_luminance_falls():
    encoder = GratingEncoder(2, arrangement="random", dtype=f64)
    encoder.x[1], encoder.y[1] = encoder.x[0], encoder.y[0]
    features, times = torch.tensor([1.0, 0.1], dtype=f64), torch.linspace(0, 1, 2001, dtype=f64)
    luminance, change = encoder.rates(features, times).T.numpy()
    slope = np.gradient(luminance, times.numpy(), edge_order=2)
    np.testing.assert_allclose(1 - slope, change, atol=1e-6)


def test_means_do_not_tell_directions():
    mean = GratingEncoder(40)(torch.tensor([[0.3, 0.1], [2.0, 0.02]])).mean
    assert torch.equal(mean[0], mean[1])


def test_texture_of_feature_maps():
    maps = torch.rand(2, 3, 5, 4, dtype=f64)
    full = FeatureMapEncoder((3, 5, 4))(maps.flatten(-3))
    alone = FeatureMapEncoder((3, 5, 4), correlations=False)(maps.flatten(-3))
    assert isinstance(alone.covariance, Diagonal)
    torch.testing.assert_close(alone.variance, full.variance)
    shuffled = maps.flatten(-2)[..., torch.randperm(20)].flatten(-2)  # places have no order
    torch.testing.assert_close(FeatureMapEncoder((3, 5, 4))(shuffled).covariance.to_dense(), full.covariance.to_dense())


@pytest.mark.parametrize(
    "encoder",
    [
        FeatureMapEncoder((2, 2, 1), poisson=False, correlations=False),
        GratingEncoder(20, arrangement="random", gain=2.0, window=3.0, seed=5),
        CommonNoiseEncoder(3, 0.5, 0.2),
        PoissonEncoder(3, noise_std=0.5),
    ],
    ids=lambda encoder: type(encoder).__name__,
)
def test_networks_hold_them_and_are_built_again(encoder):
    again = encoder_from_config(encoder.config())
    features = torch.rand(4, encoder.in_features)
    torch.testing.assert_close(again(features).mean, encoder(features).mean)
    torch.testing.assert_close(again(features).covariance.to_dense(), encoder(features).covariance.to_dense())
    assert again.clipped(features) is features
    model = MomentMLP((encoder.out_features, 4, 2), encoder=encoder, seed=0).eval()
    copy = MomentMLP.from_config(model.config()).eval()
    copy.load_state_dict(model.state_dict())
    torch.testing.assert_close(copy(features).mean, model(features).mean)


def test_errors():
    with pytest.raises(
        ValueError, match=r"`image` must be \(channels, height, width\) with at least two .* \(3, 1, 1\)"
    ):
        FeatureMapEncoder((3, 1, 1))
    with pytest.raises(ValueError, match=r"`image` must be \(channels, height, width\)"):
        FeatureMapEncoder((3, 2))
    with pytest.raises(ValueError, match="must be ≥ 0, got -1: take the maps after a rectification, or poisson=False"):
        FeatureMapEncoder((1, 1, 2))(-torch.ones(2))
    with pytest.raises(ValueError, match=r"expected 4 features, got an input of shape \(5,\)"):
        FeatureMapEncoder((2, 1, 2))(torch.ones(5))
    with pytest.raises(TypeError, match=r"features must be a tensor of real numbers, got \[0\.0, 0\.1\]"):
        GratingEncoder(20)([0.0, 0.1])
    with pytest.raises(ValueError, match=r"Invalid value 'square' for `arrangement`. Must be one of"):
        GratingEncoder(20, "square")
    with pytest.raises(ValueError, match="`rate` must be > 0, got 0"):
        GratingEncoder(20, rate=0)
    with pytest.raises(ValueError, match="`window` must be > 0, got inf"):
        GratingEncoder(20, window=math.inf)
    with pytest.raises(ValueError, match=r"`luminance_share` must be in \[0, 1\], got 1.5"):
        GratingEncoder(20, luminance_share=1.5)
    with pytest.raises(ValueError, match="a hexagonal grid needs more inputs for a place in the disc, got 1"):
        GratingEncoder(1)
    with pytest.raises(ValueError, match="`max_rate` must be > 0 1/ms, got 0"):
        CommonNoiseEncoder(3, 0)
    with pytest.raises(ValueError, match="features must be ≥ 0, as variances are, got -1"):
        CommonNoiseEncoder(1)(-torch.ones(1))
    for kind in (CommonNoiseEncoder, PoissonEncoder):
        with pytest.raises(ValueError, match=r"`noise_std` must be ≥ 0 1/√ms, got -0.5"):
            kind(3, noise_std=-0.5)
