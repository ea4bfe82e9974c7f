"""Sums of states of moments."""

import pytest
import torch

from mnnbio.moments import Dense, Diagonal
from mnnbio.nn import MomentLinear, Moments, add_independent

f64 = torch.float64


def state(seed, batch=(3,), size=4):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(*batch, size, size, dtype=f64, generator=generator)
    return Moments(torch.randn(*batch, size, dtype=f64, generator=generator), Dense(factor @ factor.mT))


def test_means_and_covariances_of_independent_states_add_up():
    states = [state(0), state(1), state(2)]
    total = add_independent(*states)
    torch.testing.assert_close(total.mean, sum(one.mean for one in states))
    torch.testing.assert_close(total.covariance.to_dense(), sum(one.covariance.to_dense() for one in states))


def test_the_sum_of_samples_of_independent_states_has_these_moments():
    # 4 standard errors of the covariance of 40,000 samples, fixed seed.
    first, second, n = state(3, ()), state(4, ()), 40_000
    generator = torch.Generator().manual_seed(0)
    roots = [torch.linalg.cholesky(one.covariance.to_dense()) for one in (first, second)]
    samples = sum(
        one.mean + torch.randn(n, 4, dtype=f64, generator=generator) @ root.T
        for one, root in zip((first, second), roots, strict=True)
    )
    total = add_independent(first, second)
    matrix = total.covariance.to_dense()
    variance = torch.diagonal(matrix)
    error = ((variance[:, None] * variance + matrix**2) / n).sqrt()
    assert bool(((torch.cov(samples.T) - matrix).abs() < 4 * error).all())
    assert bool(((samples.mean(0) - total.mean).abs() < 4 * (variance / n).sqrt()).all())


def test_a_sum_goes_through_layers_and_has_gradients():
    first, second = state(5), Moments(torch.ones(4, dtype=f64), Diagonal(torch.full((4,), 2.0, dtype=f64)))
    first.mean.requires_grad_()
    layer = MomentLinear(4, 2, dtype=f64, generator=torch.Generator().manual_seed(0))
    out = layer(add_independent(first, second))
    matrix = layer.weight @ (first.covariance.to_dense() + 2 * torch.eye(4, dtype=f64)) @ layer.weight.T
    torch.testing.assert_close(out.covariance.to_dense(), matrix)
    out.mean.sum().backward()
    torch.testing.assert_close(first.mean.grad, layer.weight.detach().sum(0).expand(3, 4))


def test_independent_variances_stay_a_diagonal():
    one = Moments(torch.ones(3), Diagonal(torch.tensor([1.0, 2.0, 3.0])))
    total = add_independent(one, one)
    assert isinstance(total.covariance, Diagonal)
    torch.testing.assert_close(total.variance, torch.tensor([2.0, 4.0, 6.0]))


@pytest.mark.parametrize("add", [lambda h, k: h + k, lambda h, k: sum([h, k]), lambda h, k: h + k.mean])
def test_plus_names_the_function_that_adds(add):
    with pytest.raises(TypeError, match=r"`mnnbio.nn.add_independent\(a, b\)` adds states known to have nothing"):
        add(state(0), state(1))


@pytest.mark.parametrize("multiply", [lambda h: 2 * h, lambda h: h * 2])
def test_times_does_not_repeat_the_tuple(multiply):
    with pytest.raises(TypeError, match="is not multiplied by an operator: `MomentLinear` applies weights"):
        multiply(state(0))


def test_what_cannot_be_added():
    with pytest.raises(TypeError, match="`add_independent` takes `Moments`, got Tensor"):
        add_independent(state(0), torch.ones(4))
    with pytest.raises(ValueError, match=r"adds states of one number of variables, got \[4, 5\]"):
        add_independent(state(0), state(1, size=5))
