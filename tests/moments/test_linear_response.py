"""Differentiable linear response and fixed points of tensors, against matrix equations and finite differences."""

import numpy as np
import pytest
import torch
from scipy import linalg

from mnnbio.moments import dense_response, fixed_point, low_rank_response, woodbury_own_noise

RNG = np.random.default_rng(31)


def tensor(*shape, scale=1.0, low=None, high=None):
    values = scale * RNG.normal(size=shape) if low is None else RNG.uniform(low, high, shape)
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def lagged_sum(W, D):
    """Sum over all lags of the covariances of ``x_t = W x_{t-1} + ξ_t``, Cov ξ = D, from its Lyapunov equation."""
    C0 = linalg.solve_discrete_lyapunov(W, D)
    forward = np.linalg.solve(np.eye(len(W)) - W, W @ C0)
    return C0 + forward + forward.T


def test_the_dense_response_adds_up_all_lags():
    n = 12
    W, gain, variance = tensor(n, n, scale=0.15), tensor(n, low=0.5, high=1.5), tensor(n, low=1.0, high=2.0)
    C = dense_response(W, gain, variance).to_dense().detach().numpy()
    np.testing.assert_allclose(np.diag(C), variance.detach(), rtol=1e-11)
    answered = (gain[:, None] * W).detach().numpy()
    inverse = np.eye(n) - answered
    own = np.diag(inverse @ C @ inverse.T)
    np.testing.assert_allclose(C, lagged_sum(answered, np.diag(own)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "rank"), [(30, 3), (7, 4)], ids=["pairs of modes", "few neurons"])
@pytest.mark.parametrize("shared", [False, True])
def test_the_low_rank_response_is_the_dense_one(n, rank, shared):
    left, scores, right = tensor(n, rank, scale=0.3), tensor(rank, scale=0.4), tensor(n, rank, scale=0.3)
    gain, variance = tensor(n, low=0.5, high=1.0), tensor(n, low=1.0, high=2.0)
    loadings = tensor(n, 2, scale=0.3) if shared else None
    expected = dense_response((left * scores) @ right.mT, gain, variance, loadings).to_dense()
    found = low_rank_response(left, scores, right, gain, variance, loadings)
    assert found.base.shape[-1] == 2 * rank + (2 if shared else 0)
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-11, atol=1e-13)


def test_many_batches_of_weights_at_once():
    W, gain, variance = tensor(3, 5, 5, scale=0.2), tensor(3, 5, low=0.5, high=1.0), tensor(3, 5, low=1.0, high=2.0)
    together = dense_response(W, gain, variance).to_dense()
    for k in range(3):
        torch.testing.assert_close(together[k], dense_response(W[k], gain[k], variance[k]).to_dense())


@pytest.mark.parametrize("shared", [False, True])
def test_gradients_of_the_dense_response(shared):
    inputs = [tensor(5, 5, scale=0.2), tensor(5, low=0.5, high=1.0), tensor(5, low=1.0, high=2.0)]
    inputs += [tensor(5, 2)] if shared else []
    assert torch.autograd.gradcheck(lambda *x: dense_response(*x).to_dense(), inputs)


@pytest.mark.parametrize(("n", "rank"), [(8, 2), (4, 3)], ids=["pairs of modes", "few neurons"])
def test_gradients_of_the_low_rank_response(n, rank):
    inputs = [tensor(n, rank, scale=0.3), tensor(rank, scale=0.4), tensor(n, rank, scale=0.3)]
    inputs += [tensor(n, low=0.5, high=1.0), tensor(n, low=1.0, high=2.0), tensor(n, 1)]
    assert torch.autograd.gradcheck(lambda *x: low_rank_response(*x).to_dense(), inputs)


def test_own_noise_solves_its_equation():
    F, right, target = tensor(40, 3, scale=0.2), tensor(40, 3, scale=0.2), tensor(40, low=1.0, high=2.0)
    own = woodbury_own_noise(F, right, target)
    K = torch.eye(40) + F @ right.mT
    torch.testing.assert_close((K * K) @ own, target, rtol=1e-12, atol=1e-12)


def test_a_fixed_point_of_a_steep_map():
    """A plain iteration jumps between 0 and 1."""
    found = fixed_point(lambda x: (1 - 50 * x).clamp(min=0), torch.zeros(3, dtype=torch.float64))
    assert found.status == "converged"
    torch.testing.assert_close(found.value, torch.full((3,), 1 / 51, dtype=torch.float64), rtol=1e-9, atol=0)


def test_a_fixed_point_keeps_no_graph_and_the_dtype():
    start = torch.ones(1, requires_grad=True)
    found = fixed_point(torch.cos, start, tolerance=1e-6)
    assert found.value.dtype == torch.float32
    assert not found.value.requires_grad
    assert float(found.value) == pytest.approx(0.7390851, rel=1e-5)
