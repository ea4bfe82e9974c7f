import numpy as np
import pytest
import torch

from mnnbio.moments.covariance import Dense, Diagonal
from mnnbio.nn.linear import ModeLinear, MomentLinear, SparseLinear
from mnnbio.nn.norm import MomentDropout
from mnnbio.nn.spiking_layers import GaussianBackground, PoissonBackground, background_from_config
from mnnbio.nn.state import Moments


def random_moments(n, batch=5, seed=0):
    """Return moments with a full covariance."""
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(batch, n, n, generator=g, dtype=torch.float64)
    mean = torch.randn(batch, n, generator=g, dtype=torch.float64)
    return Moments(mean, Dense(root @ root.mT))


def test_linear_equals_moments_of_weighted_sums():
    # Oracle: sample moments are exactly linear, so transform the samples and take their moments.
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(40, 4)) @ rng.normal(size=(4, 4))
    layer = MomentLinear(4, 3, bias=True, dtype=torch.float64)
    torch.nn.init.normal_(layer.bias)
    moments = Moments(torch.tensor(samples.mean(0)), Dense(torch.tensor(np.cov(samples.T))))
    out = layer(moments)
    transformed = samples @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    np.testing.assert_allclose(out.mean.detach(), transformed.mean(0), rtol=1e-12)
    np.testing.assert_allclose(out.covariance.to_dense().detach(), np.cov(transformed.T), rtol=1e-12)
    np.testing.assert_allclose(out.variance.detach(), transformed.var(0, ddof=1), rtol=1e-12)


def test_diagonal_input_is_not_expanded():
    layer = MomentLinear(1000, 3)
    variance = torch.rand(7, 1000)
    out = layer(Moments(variance, Diagonal(variance)))
    torch.testing.assert_close(out.variance, variance @ layer.weight.T**2)
    assert out.covariance.to_dense().shape == (7, 3, 3)


def test_initial_weights_depend_on_the_seed_alone():
    first, second = (MomentLinear(6, 2, weight_scale=3.0, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)
    assert first.weight.abs().max() <= 3 / 6**0.5
    assert first.bias is None


def test_modes_equal_the_matrix_they_stand_for():
    factored = ModeLinear(6, 5, modes=2, dtype=torch.float64)
    full = MomentLinear(6, 5, dtype=torch.float64)
    full.weight = torch.nn.Parameter(factored.weight.detach())
    moments = random_moments(6)
    torch.testing.assert_close(factored(moments).mean, full(moments).mean)
    dense = factored(moments).covariance.to_dense()
    torch.testing.assert_close(dense, full(moments).covariance.to_dense())
    assert torch.linalg.matrix_rank(dense[0]) == 2


def test_modes_start_with_the_variance_of_full_weights():
    # Uniform within ±1/√n has variance 1/(3 n). Entries share factors, so the tolerance is loose.
    weight = ModeLinear(300, 200, modes=20, generator=torch.Generator().manual_seed(0)).weight
    assert weight.var().item() == pytest.approx(1 / (3 * 300), rel=0.1)


@pytest.mark.parametrize("modes", [0, 6])
def test_mode_number_out_of_range(modes):
    with pytest.raises(ValueError, match=f"`modes` must be between 1 and .* = 5, got {modes}"):
        ModeLinear(8, 5, modes=modes)


def test_rescaled_outputs():
    layer = MomentLinear(4, 2, bias=True, dtype=torch.float64)
    moments = random_moments(4)
    mean, variance = layer(moments).mean.detach(), layer(moments).variance.detach()
    scale, shift = torch.tensor([2.0, -3.0], dtype=torch.float64), torch.tensor([1.0, 5.0], dtype=torch.float64)
    layer.rescale_outputs(scale, shift)
    after = layer(moments)
    torch.testing.assert_close(after.mean, scale * mean + shift)
    torch.testing.assert_close(after.variance, scale**2 * variance)
    with pytest.raises(ValueError, match="bias=True"):
        MomentLinear(2, 2).rescale_outputs(scale, shift)


def test_a_fluctuating_bias_adds_independent_noise():
    layer = MomentLinear(4, 2, bias=True, bias_std=0.7, dtype=torch.float64)
    moments = random_moments(4)
    without = layer.weight @ moments.covariance.to_dense() @ layer.weight.T
    expected = without + 0.49 * torch.eye(2, dtype=torch.float64)
    torch.testing.assert_close(layer(moments).covariance.to_dense(), expected)
    layer(moments).variance.sum().backward()
    # d(softplus²) = 2 softplus · logistic
    slope = 2 * 0.7 * torch.sigmoid(layer.raw_bias_std.detach())
    torch.testing.assert_close(layer.raw_bias_std.grad, 5 * slope)
    with pytest.raises(ValueError, match="`bias_std` must be > 0, got 0; None leaves the noise out"):
        MomentLinear(4, 2, bias_std=0)


def test_rescaled_outputs_keep_their_share_of_noise():
    layer = MomentLinear(4, 2, bias=True, bias_std=0.7, dtype=torch.float64)
    moments = random_moments(4)
    variance = layer(moments).variance.detach()
    scale = torch.tensor([2.0, -3.0], dtype=torch.float64)
    layer.rescale_outputs(scale, torch.zeros(2))
    torch.testing.assert_close(layer(moments).variance, scale**2 * variance)


def test_fixed_in_degree_weights_equal_their_matrix():
    layer = SparseLinear(10, 6, 3, bias=True, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert ((layer.weight != 0).sum(-1) == 3).all()
    assert layer.values.abs().max() <= 3**-0.5
    moments = random_moments(10)
    weight = layer.weight.detach()
    torch.testing.assert_close(layer(moments).mean, moments.mean @ weight.T)
    torch.testing.assert_close(layer(moments).covariance.to_dense(), weight @ moments.covariance.to_dense() @ weight.T)


def test_training_makes_no_synapses():
    layer = SparseLinear(10, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments, before = random_moments(10), layer.weight.detach()
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        out = layer(moments)
        (out.mean.square().sum() + out.variance.sum()).backward()
        optimiser.step()
    after = layer.weight.detach()
    assert ((after != 0) == (before != 0)).all()
    assert (after != before).sum() == 18


def test_state_holds_the_places_of_synapses():
    first, other = (SparseLinear(10, 6, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(first.sources, other.sources)
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.weight, other.weight)


@pytest.mark.parametrize("in_degree", [0, 9])
def test_in_degree_out_of_range(in_degree):
    with pytest.raises(ValueError, match=f"`in_degree` must be between 1 and in_features = 8, got {in_degree}"):
        SparseLinear(8, 5, in_degree)


def test_dropout_masks_mean_and_covariance_together():
    moments = random_moments(6, batch=50)
    dropout = MomentDropout(0.25, seed=1)
    out = dropout(moments)
    mask = out.mean / moments.mean
    torch.testing.assert_close(mask[mask != 0], torch.full_like(mask[mask != 0], 4 / 3))
    expected = mask[:, :, None] * moments.covariance.to_dense() * mask[:, None, :]
    torch.testing.assert_close(out.covariance.to_dense(), expected)
    # 300 draws of probability 1/4: 4 standard errors
    assert abs((mask == 0).double().mean() - 0.25) < 4 * (0.25 * 0.75 / 300) ** 0.5


def test_dropout_draws_new_masks_and_repeats_them_from_its_state():
    moments = random_moments(20)
    first, again = MomentDropout(0.5, seed=1), MomentDropout(0.5, seed=1)
    one, two = first(moments).mean, first(moments).mean
    assert not torch.equal(one, two)
    torch.testing.assert_close(again(moments).mean, one)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    three = first(moments).mean
    again.load_state_dict(state)
    assert torch.equal(again(moments).mean, three)


def test_dropout_does_nothing_in_evaluation_mode():
    moments = random_moments(6)
    assert MomentDropout(0.5).eval()(moments) is moments
    assert MomentDropout(0.0)(moments) is moments
    with pytest.raises(ValueError, match=r"`p` must be in \[0, 1\), got 1"):
        MomentDropout(1)


@pytest.mark.parametrize(
    ("background", "mean", "variance"),
    [(PoissonBackground(2.0, -0.3), -0.6, 0.18), (GaussianBackground(0.5, 0.2), 0.2, 0.25)],
)
def test_background_adds_independent_input(background, mean, variance):
    moments = random_moments(4)
    for out in (background(moments), background_from_config(background.config())(moments)):
        torch.testing.assert_close(out.mean, moments.mean + mean)
        expected = moments.covariance.to_dense() + variance * torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(out.covariance.to_dense(), expected)


def test_background_errors():
    with pytest.raises(ValueError, match="`rate` must be ≥ 0 spikes/ms, got -1"):
        PoissonBackground(-1, 0.1)
    with pytest.raises(ValueError, match="`weight` must be finite, in mV, got inf"):
        PoissonBackground(1, float("inf"))
    with pytest.raises(ValueError, match="`std` must be ≥ 0 mV/√ms, got -1"):
        GaussianBackground(-1)
    with pytest.raises(ValueError, match="`mean` must be finite, in mV/ms, got nan"):
        GaussianBackground(1, float("nan"))
    with pytest.raises(ValueError, match="Invalid background kind 'shot'"):
        background_from_config({"kind": "shot"})
