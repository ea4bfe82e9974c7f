import numpy as np
import pytest
import torch

from mnnbio.moments import Dense, Diagonal
from mnnbio.nn import ModeLinear, MomentLinear, Moments


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
