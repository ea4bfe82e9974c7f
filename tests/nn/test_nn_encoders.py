import pytest
import torch

from mnnbio.nn.encoders import GaussianEncoder, PoissonEncoder, encoder_from_config

f64 = torch.float64


def test_poisson_rates_are_proportional_and_as_variable_as_their_mean():
    encoder = PoissonEncoder(2, max_rate=0.5, scale=[1.0, 4.0], dtype=f64)
    rates = encoder(torch.tensor([[1.0, 2.0]], dtype=f64))
    torch.testing.assert_close(rates.mean, torch.tensor([[0.5, 0.25]], dtype=f64))
    torch.testing.assert_close(rates.variance, rates.mean)


def test_on_off_channels_carry_both_signs():
    encoder = PoissonEncoder(2, max_rate=2.0, on_off=True, shift=1.0, dtype=f64)
    rates = encoder(torch.tensor([3.0, -1.0], dtype=f64)).mean
    torch.testing.assert_close(rates, torch.tensor([4.0, 0.0, 0.0, 4.0], dtype=f64))
    assert encoder.out_features == 4


def test_gaussian_currents_have_independent_noise():
    encoder = GaussianEncoder(2, std=0.5, shift=[1.0, 0.0], scale=2.0, dtype=f64)
    current = encoder(torch.tensor([[3.0, -1.0]], dtype=f64))
    torch.testing.assert_close(current.mean, torch.tensor([[1.0, -0.5]], dtype=f64))
    torch.testing.assert_close(current.covariance.to_dense(), 0.25 * torch.eye(2, dtype=f64)[None])


@pytest.mark.parametrize(
    "encoder",
    [PoissonEncoder(3, 2.0, True, shift=[1.0, 2.0, 3.0], scale=4.0), GaussianEncoder(3, 0.5, shift=1.0, scale=2.0)],
)
def test_configuration_and_state_restore_an_encoder(encoder):
    again = encoder_from_config(encoder.config())
    again.load_state_dict(encoder.state_dict())
    features = torch.randn(4, 3)
    torch.testing.assert_close(again(features).mean, encoder(features).mean)
    torch.testing.assert_close(again(features).variance, encoder(features).variance)


def test_negative_rates_are_errors():
    encoder = PoissonEncoder(2)
    with pytest.raises(ValueError, match=r"rates must be ≥ 0, got the value -3 at index \(1, 0\).*on_off=True"):
        encoder(torch.tensor([[0.0, 1.0], [-3.0, 1.0]]))


@pytest.mark.parametrize("encoder", [PoissonEncoder(2), GaussianEncoder(2)])
@pytest.mark.parametrize("shape", [(3,), (4, 1), ()])
def test_wrong_number_of_features(encoder, shape):
    with pytest.raises(ValueError, match=r"expected 2 features, got an input of shape"):
        encoder(torch.ones(shape))


def test_errors():
    with pytest.raises(ValueError, match="`max_rate` must be > 0 spikes/ms, got 0"):
        PoissonEncoder(2, max_rate=0)
    with pytest.raises(ValueError, match="`std` must be ≥ 0"):
        GaussianEncoder(2, std=-1.0)
    with pytest.raises(ValueError, match=r"`scale` must be > 0, got 0.0"):
        GaussianEncoder(2, scale=[1.0, 0.0])
    with pytest.raises(ValueError, match=r"`shift` must be a number or one value per feature \(2\), got shape \(3,\)"):
        GaussianEncoder(2, shift=[1.0, 0.0, 2.0])
    with pytest.raises(ValueError, match="`in_features` must be an integer ≥ 1, got 0"):
        PoissonEncoder(0)
    with pytest.raises(ValueError, match=r"Invalid encoder kind 'bernoulli'. Must be one of \['common_noise', "):
        encoder_from_config({"kind": "bernoulli"})
