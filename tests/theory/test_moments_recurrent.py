"""Self-consistent states and linear response against published rates, matrix equations and each other."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import linalg, sparse

from mnnbio import LIFParameters
from mnnbio.moments.covariance import LowRank
from mnnbio.moments.fixed_point import NotConverged
from mnnbio.theory import linear_response
from mnnbio.theory.stationary import array_fixed_point, stationary_state
from mnnbio.theory.wired_response import projected_response, stability
from mnnbio.theory.wiring import Connection, Modes, Received, Wiring

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "lif_networks.json").read_text())["brunel2000"]
RNG = np.random.default_rng(11)


def wiring(matrix, **options):
    n = matrix.left.shape[0] if isinstance(matrix, Modes) else matrix.shape[0]
    return Wiring((n, n), [Connection(slice(0, n), slice(0, n), matrix, **options)])


def brunel_state(g, ratio, **options):
    """Forty neurons that receive the same sum of weights, and of squared weights, as Brunel's 12,500."""
    n, j, c_e, tau_m, v_th = 40, 0.1, 1000, PUBLISHED["tau_m_ms"], PUBLISHED["v_th_mV"]
    total, squares = j * c_e * (1 - g / 4), j**2 * c_e * (1 + g**2 / 4)
    row = total / n + np.sqrt(squares / n - (total / n) ** 2) * np.resize([1, -1], n)
    lif = LIFParameters(tau_m=tau_m, v_th=v_th, v_reset=PUBLISHED["v_reset_mV"], t_ref=PUBLISHED["t_ref_ms"])
    mean = ratio * v_th / tau_m
    external = Received(np.full(n, mean * j))
    return stationary_state(wiring(np.tile(row, (n, 1))), np.full(n, mean), external, lif, **options)


@pytest.mark.parametrize("start", [None, 0.02, 0.4])
@pytest.mark.parametrize(("g", "ratio", "theory"), [row[1:4] for row in PUBLISHED["points"]])
def test_rates_of_brunel_2000(g, ratio, theory, start):
    """Figure 8 has the diffusion theory beside simulations; 'poisson' is its closure."""
    begin = None if start is None else np.full(40, start)
    state = brunel_state(g, ratio, closure="poisson", start=begin)
    assert state.status == "converged"
    np.testing.assert_allclose(1e3 * state.rate, theory, rtol=1e-3)
    np.testing.assert_array_equal(state.rate, state.rate[0])


def test_the_other_closure_has_other_rates():
    state = brunel_state(5, 2, closure="moments")
    np.testing.assert_allclose(1e3 * state.rate, 34.66, rtol=1e-3)


def test_an_iteration_that_is_cut_short_says_so():
    state = brunel_state(5, 2, closure="poisson", max_iterations=3)
    assert state.status == "not converged"
    assert state.iterations == 3
    assert state.residual > 1e-9


def test_fixed_points_of_maps_of_arrays():
    found = array_fixed_point(np.cos, np.ones(1))
    assert found.status == "converged"
    np.testing.assert_allclose(found.value, 0.7390851332151607, rtol=1e-9)


def loops(n, radius=0.6):
    return radius / np.sqrt(n) * RNG.normal(size=(n, n))


def lagged_sum(W, D):
    """Sum over all lags of the covariances of ``x_t = W x_{t-1} + ξ_t``, Cov ξ = D, from its Lyapunov equation."""
    C0 = linalg.solve_discrete_lyapunov(W, D)
    forward = np.linalg.solve(np.eye(len(W)) - W, W @ C0)
    return C0 + forward + forward.T


def test_linear_response_adds_up_all_lags():
    n = 30
    W, gain = loops(n), RNG.uniform(0.5, 1.5, n)
    variance = RNG.uniform(1.0, 2.0, n)
    C = linear_response(wiring(W), gain, variance).to_dense().numpy()
    np.testing.assert_allclose(np.diag(C), variance, rtol=1e-10)
    K = np.linalg.inv(np.eye(n) - gain[:, None] * W)
    own = np.linalg.inv(K) @ C @ np.linalg.inv(K).T
    np.testing.assert_allclose(own - np.diag(np.diag(own)), 0, atol=1e-12)
    np.testing.assert_allclose(C, lagged_sum(gain[:, None] * W, np.diag(np.diag(own))), rtol=1e-8, atol=1e-12)


def test_shared_noise_adds_up_too():
    n = 12
    W, gain, loadings = loops(n), RNG.uniform(0.5, 1.0, n), 0.3 * RNG.normal(size=(n, 2))
    C = linear_response(wiring(W), gain, np.ones(n), loadings).to_dense().numpy()
    K = np.linalg.inv(np.eye(n) - gain[:, None] * W)
    shared = gain[:, None] * (loadings @ loadings.T) * gain
    own = np.linalg.inv(K) @ C @ np.linalg.inv(K).T - shared
    np.testing.assert_allclose(own - np.diag(np.diag(own)), 0, atol=1e-12)
    np.testing.assert_allclose(np.diag(C), 1, rtol=1e-10)


def test_layers_follow_the_feed_forward_rule():
    """Off the diagonal A W C Wᵀ A, on it the variance, layer after layer."""
    first, second, gain = 5, 4, RNG.uniform(0.5, 1.0, 9)
    block = RNG.normal(size=(second, first)) / 3
    W = np.zeros((9, 9))
    W[first:, :first] = block
    variance = RNG.uniform(1, 2, 9)
    C = linear_response(wiring(W), gain, variance).to_dense().numpy()
    np.testing.assert_allclose(C[:first, :first], np.diag(variance[:first]), atol=1e-14)
    between = gain[first:, None] * block * variance[:first]
    np.testing.assert_allclose(C[first:, :first], between, rtol=1e-12)
    expected = between @ (gain[first:, None] * block).T
    np.fill_diagonal(expected, variance[first:])
    np.testing.assert_allclose(C[first:, first:], expected, rtol=1e-12)


def test_modes_give_the_same_at_low_rank():
    n = 40
    modes = Modes(RNG.normal(size=(n, 3)), np.array([0.02, -0.03, 0.01]), RNG.normal(size=(n, 3)))
    dense = modes.left * modes.scores @ modes.right.T
    gain, variance, loadings = RNG.uniform(0.2, 0.8, n), RNG.uniform(1, 2, n), 0.1 * RNG.normal(size=(n, 2))
    low = linear_response(wiring(modes), gain, variance, loadings)
    assert isinstance(low, LowRank)
    assert low.base.shape == (n, 8)
    full = linear_response(wiring(dense), gain, variance, loadings).to_dense()
    np.testing.assert_allclose(low.to_dense(), full, rtol=1e-8, atol=1e-12)
    one, other = (stability(wiring(w), gain) for w in (modes, dense))
    np.testing.assert_allclose(one.spectral_radius, other.spectral_radius, rtol=1e-9)


def test_products_are_those_of_the_matrix():
    n, m = 7, 5
    full = RNG.normal(size=(n, m)) * (RNG.uniform(size=(n, m)) < 0.5)
    modes = Modes(RNG.normal(size=(n, 2)), np.array([1.0, -2.0]), RNG.normal(size=(m, 2)))
    scale, x, y = RNG.uniform(0.9, 1.1, n), RNG.uniform(size=m), RNG.normal(size=(n, 2))
    for weights in (full, sparse.csr_array(full), modes):
        part = Connection(slice(1, 1 + n), slice(2, 2 + m), weights, scale, tau_s=4.0)
        whole = Wiring((n + 2, m + 3), [part])
        W = whole.to_dense()
        padded = np.concatenate([[9, 9], x, [9]])
        rows = np.concatenate([np.ones((1, 2)), y, np.ones((1, 2))])
        np.testing.assert_allclose(whole.dot(padded), W @ padded, rtol=1e-12)
        np.testing.assert_allclose(whole.transposed_dot(rows), W.T @ rows, rtol=1e-12)
        np.testing.assert_allclose(whole.received(padded).variance, W**2 @ padded, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(whole.received(padded).filtered.parts[4.0], W**2 @ padded, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(whole.third(padded), W**3 @ padded, rtol=1e-12, atol=1e-14)


def sparse_loops(n=500, degree=50):
    kept = RNG.uniform(size=(n, n)) < degree / n
    signs = np.where(np.arange(n) < 0.8 * n, 1.0, -4.5)
    return sparse.csr_array(0.03 * kept * signs)


def test_sums_need_no_matrix():
    W, n = sparse_loops(), 500
    gain, variance = RNG.uniform(0.8, 1.2, n), RNG.uniform(0.5, 1.0, n)
    groups = np.zeros((n, 2))
    groups[:400, 0] = groups[400:, 1] = 1
    columns = slice(0, 20)
    loadings = Wiring((n, 20), [Connection(slice(0, n), columns, 0.1 * RNG.normal(size=(n, 20)))])
    for shared in (None, loadings):
        whole = linear_response(wiring(W), gain, variance, None if shared is None else shared.to_dense())
        summed = projected_response(wiring(W), gain, variance, groups, shared)
        np.testing.assert_allclose(summed, groups.T @ whole.to_dense().numpy() @ groups, rtol=0.05)


def test_leading_eigenvalues_need_no_matrix():
    W = sparse_loops(n=700)
    gain = np.full(700, 0.9)
    values = np.linalg.eigvals(0.9 * W.toarray())
    found = stability(wiring(W), gain)
    np.testing.assert_allclose(found.spectral_radius, abs(values).max(), rtol=0.02)
    np.testing.assert_allclose(found.largest_real, values.real.max(), rtol=0.1)
    excited = stability(wiring(abs(W)), gain)
    np.testing.assert_allclose(excited.largest_real, np.linalg.eigvals(0.9 * abs(W.toarray())).real.max(), rtol=0.01)


def test_without_a_solution_there_is_no_covariance():
    n = 20
    W = np.full((n, n), 1 / n)
    with pytest.raises(NotConverged, match="the equations of linear response did not converge"):
        projected_response(wiring(W), np.ones(n), np.ones(n), np.eye(n)[:, :1])
