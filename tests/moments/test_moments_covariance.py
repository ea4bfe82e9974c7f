import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mnnbio.moments.covariance import Dense, Diagonal, LowRank, Mapped
from mnnbio.moments.orthant import cholesky, semidefinite_root

N, P = 6, 2
KINDS = ("diagonal", "low rank", "low rank with core", "dense", "mapped", "mapped with gain", "mapped twice")


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positive(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.5


def make(kind, batch=(3,), seed=0):
    """Return a covariance of N variables and the same as a matrix, built from first principles."""
    d, f, w = positive(*batch, N, seed=seed), normal(*batch, N, P, seed=seed + 1), normal(N, N + 2, seed=seed + 2)
    if kind == "diagonal":
        return Diagonal(d), torch.diag_embed(d)
    if kind == "low rank":
        return LowRank(d, f), torch.diag_embed(d) + f @ f.mT
    core = normal(*batch, P, P, seed=seed + 3)
    core = core @ core.mT
    if kind == "low rank with core":
        return LowRank(d, f, core), torch.diag_embed(d) + f @ core @ f.mT
    if kind == "dense":
        return Dense(torch.diag_embed(d) + f @ f.mT), torch.diag_embed(d) + f @ f.mT
    v = positive(*batch, N + 2, seed=seed + 4)
    product = w @ torch.diag_embed(v) @ w.mT
    if kind == "mapped":
        return Diagonal(v).linear(w), product
    gain, extra = positive(*batch, N, seed=seed + 5), positive(*batch, N, seed=seed + 6)
    scaled = gain[..., :, None] * product * gain[..., None, :] + torch.diag_embed(extra)
    mapped = Diagonal(v).linear(w).scale(gain).add_diagonal(extra)
    if kind == "mapped with gain":
        return mapped, scaled
    second = normal(N, N, seed=seed + 7)
    return mapped.linear(second), second @ scaled @ second.mT


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS)
class TestKinds:
    def test_is_the_matrix(self, kind, batch):
        covariance, matrix = make(kind, batch)
        assert covariance.size == N
        torch.testing.assert_close(covariance.diagonal(), matrix.diagonal(dim1=-2, dim2=-1))
        torch.testing.assert_close(covariance.to_dense(), matrix)

    def test_maps(self, kind, batch):
        covariance, matrix = make(kind, batch)
        gain, variance = positive(*batch, N, seed=20), 9 * positive(*batch, N, seed=21)
        scaled = gain[..., :, None] * matrix * gain[..., None, :]
        replaced = scaled - torch.diag_embed(scaled.diagonal(dim1=-2, dim2=-1)) + torch.diag_embed(variance)
        activated = covariance.scale(gain).with_diagonal(variance)
        torch.testing.assert_close(covariance.scale(gain).to_dense(), scaled)
        torch.testing.assert_close(activated.diagonal(), variance)
        torch.testing.assert_close(activated.to_dense(), torch.diag_embed(variance) if kind == "diagonal" else replaced)
        torch.testing.assert_close(covariance.add_diagonal(variance).to_dense(), matrix + torch.diag_embed(variance))
        target = torch.diag_embed(variance) if kind == "diagonal" else replaced
        for rows in (2, N + 3):
            w = normal(rows, N, seed=rows)
            mapped = activated.linear(w)
            torch.testing.assert_close(mapped.diagonal(), (w @ target @ w.mT).diagonal(dim1=-2, dim2=-1))
            torch.testing.assert_close(mapped.to_dense(), w @ target @ w.mT)

    def test_modes(self, kind, batch):
        covariance, matrix = make(kind, batch)
        arriving, scores, reading = normal(9, P, seed=30), normal(P, seed=31), normal(N, P, seed=32)
        w = arriving @ torch.diag(scores) @ reading.mT
        found = covariance.linear_modes(arriving, scores, reading)
        assert isinstance(found, LowRank)
        assert found.factor.shape[-1] == P
        torch.testing.assert_close(found.to_dense(), w @ matrix @ w.mT)

    def test_solve_and_logdet(self, kind, batch):
        covariance, matrix = make(kind, batch)
        right = normal(*batch, N, 2, seed=40)
        torch.testing.assert_close(covariance.solve(right), torch.linalg.solve(matrix, right), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(covariance.logdet(), torch.logdet(matrix), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_covariance(kind):
    """Element by element within 4.5 standard errors, (C_ii C_jj + C_ij²)/n being the variance of the estimate."""
    n = 40_000
    covariance, matrix = make(kind, (2,))
    found = covariance.sample(n, torch.Generator().manual_seed(1))
    assert found.shape == (n, 2, N)
    variance = matrix.diagonal(dim1=-2, dim2=-1)
    error = ((variance[..., :, None] * variance[..., None, :] + matrix**2) / n).sqrt()
    assert ((torch.einsum("sbi,sbj->bij", found, found) / n - matrix).abs() < 4.5 * error).all()
    again = covariance.sample(n, torch.Generator().manual_seed(1))
    assert (again == found).all()


def test_low_rank_with_a_negative_remainder():
    """Replacing the diagonal by a smaller one leaves a matrix that is positive definite all the same."""
    factor = torch.ones(N, 1, dtype=torch.float64)
    variance = torch.tensor([0.9, 5, 5, 5, 5, 5], dtype=torch.float64)
    covariance = LowRank(torch.zeros(N, dtype=torch.float64), factor).scale(variance.new_full((N,), 0.97))
    covariance = covariance.with_diagonal(variance)
    matrix = torch.full((N, N), 0.97**2, dtype=torch.float64).fill_diagonal_(0) + torch.diag(variance)
    assert covariance.remainder[0] < 0
    right = normal(N, 1)
    torch.testing.assert_close(covariance.solve(right), torch.linalg.solve(matrix, right))
    torch.testing.assert_close(covariance.logdet(), torch.logdet(matrix))
    assert covariance.sample(10).shape == (10, N)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_stays_positive_semidefinite_and_follows_permutations(seed, kind):
    covariance, _ = make(kind, (), seed)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    permuted = covariance.linear(torch.eye(N, dtype=torch.float64)[order]).to_dense()
    dense = covariance.to_dense()
    torch.testing.assert_close(permuted, dense[order][:, order])
    torch.testing.assert_close(dense, dense.mT)
    assert torch.linalg.eigvalsh(dense)[0] > -1e-12 * dense.diagonal().max()


def test_a_diagonal_input_is_never_expanded():
    """The variances of 4 neurons with 200,000 inputs: their covariance would take 320 GB."""
    variance = torch.ones(2, 200_000, dtype=torch.float64)
    weight = torch.full((4, 200_000), 0.5, dtype=torch.float64)
    covariance = Diagonal(variance).linear(weight).scale(torch.ones(2, 4, dtype=torch.float64))
    torch.testing.assert_close(covariance.diagonal(), torch.full((2, 4), 5e4, dtype=torch.float64))
    torch.testing.assert_close(covariance.to_dense(), torch.full((2, 4, 4), 5e4, dtype=torch.float64))


def test_modes_of_a_large_layer_stay_of_low_rank():
    n, modes = 100_000, 3
    reading, readout = normal(n, modes, seed=1) / n**0.5, normal(5, n, seed=2)
    covariance = Diagonal(positive(n)).linear_modes(reading, torch.ones(modes, dtype=torch.float64), reading)
    covariance = covariance.scale(positive(n, seed=3)).with_diagonal(positive(n, seed=4))
    assert covariance.linear(readout).to_dense().shape == (5, 5)


def test_gradients_reach_every_part():
    def loss(v, w, gain, variance, readout):
        return Diagonal(v).linear(w).scale(gain).with_diagonal(variance).linear(readout).to_dense()

    inputs = (positive(2, 4), normal(3, 4), positive(2, 3), positive(2, 3, seed=2), normal(2, 3, seed=3))
    inputs = tuple(x.requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(loss, inputs)
    assert torch.autograd.gradgradcheck(loss, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_sound_covariances_pass_the_check(kind):
    make(kind)[0].check()


def test_roots():
    matrix = make("dense", (2,))[1]
    torch.testing.assert_close(cholesky(matrix) @ cholesky(matrix).mT, matrix)
    flat = torch.ones(3, 3, dtype=torch.float64)
    root = semidefinite_root(flat)
    torch.testing.assert_close(root @ root.mT, flat)


SQUARE = torch.eye(3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Diagonal(torch.tensor(1.0)), r"`variance` must have the shape \(..., neuron\), got a scalar"),
        (lambda: Dense(torch.ones(3, 2)), r"`matrix` must have the shape \(..., neuron, neuron\), got \(3, 2\)"),
        (lambda: LowRank(torch.ones(3), torch.ones(2, 1)), r"`diagonal` and `base` must have .* \(3,\) and \(2, 1\)"),
        (lambda: LowRank(torch.ones(3), torch.ones(3, 2), SQUARE), r"`core` must end in the shape \(2, 2\), got"),
        (lambda: Dense(SQUARE).scale(torch.ones(2)), r"`gain` must have the shape \(..., 3\), got \(2,\)"),
        (lambda: Dense(SQUARE).with_diagonal(torch.ones(2)), r"`variance` must have the shape \(..., 3\), got \(2,\)"),
        (lambda: Dense(SQUARE).linear(torch.ones(2, 4)), r"`weight` must have the shape \(..., row, 3\), got \(2, 4\)"),
        (lambda: Mapped(torch.ones(2, 4), Dense(SQUARE)), r"`weight` must have the shape \(..., row, 3\), got"),
        (
            lambda: Dense(SQUARE).linear_modes(torch.ones(5, 2), torch.ones(2), torch.ones(4, 2)),
            r"`output_modes` must have the shape \(3, mode\), got \(4, 2\)",
        ),
        (
            lambda: Dense(SQUARE).linear_modes(torch.ones(5, 2), torch.ones(3), torch.ones(3, 2)),
            r"one number of modes as their last axis, got 2, 3 and 2",
        ),
        (lambda: Dense(torch.ones(3, 3).triu()).check(), r"must be symmetric, an element differs from its mirror by 1"),
        (lambda: Dense(SQUARE - 1).check(), r"must be positive semidefinite, its smallest eigenvalue is -2"),
        (lambda: Dense(-SQUARE).logdet(), r"must be positive definite, its smallest eigenvalue is -1"),
        (lambda: Dense(-SQUARE).sample(1), r"must be positive semidefinite, its smallest eigenvalue is -1"),
        (lambda: Diagonal(-torch.ones(2)).sample(1), r"must be positive semidefinite, its smallest eigenvalue is -1"),
        (lambda: Diagonal(torch.zeros(2)).solve(torch.ones(2, 1)), r"must be positive definite, .* eigenvalue is 0"),
        (lambda: Diagonal(torch.zeros(2)).logdet(), r"must be positive definite, its smallest eigenvalue is 0"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
