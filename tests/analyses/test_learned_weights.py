"""Recovery of weights, on matrices whose relation is known."""

import itertools

import numpy as np
import pytest
from brian2 import ms, mV, uvolt
from scipy import sparse

from mnnbio.analyses import weight_recovery


def matrices(n=40, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.1, 1, (n, n)) * np.where(np.arange(n) < 0.8 * n, 1, -4)
    true[rng.random((n, n)) < 0.3] = 0
    return true, rng


def test_equal_weights_are_recovered():
    true, _ = matrices()
    found = weight_recovery(true, true)
    np.testing.assert_allclose(found.correlation.sel(sign=["excitatory", "inhibitory", "all"]), 1)
    assert (found.sign_agreement == 1).all()
    assert (found.mean_absolute_difference == 0).all()
    assert found.spectral_distance == pytest.approx(0, abs=1e-9)
    assert found.number.values.tolist() == [(true > 0).sum(), (true < 0).sum(), (true == 0).sum(), true.size]
    assert found.note.sel(sign="absent") == "equal weights"
    assert np.isnan(found.correlation.sel(sign="absent"))


def test_noise_of_known_size_gives_the_known_correlation():
    n = 300
    rng = np.random.default_rng(1)
    true = np.abs(rng.normal(size=(n, n))) + 1
    spread = true.std()
    found = weight_recovery(true + rng.normal(0, spread, (n, n)), true)
    assert abs(float(found.correlation.sel(sign="excitatory")) - np.sqrt(0.5)) < 4 * 0.5 / n
    flipped = weight_recovery(-true, true)
    assert flipped.sign_agreement.sel(sign="all") == 0
    assert flipped.correlation.sel(sign="all") == pytest.approx(-1)
    assert flipped.mean_absolute_difference.sel(sign="all") == pytest.approx(2 * true.mean())


def test_signs_of_classes_do_not_count_as_recovery():
    true, rng = matrices()
    learned = rng.permuted(true[:, :32], axis=None), rng.permuted(true[:, 32:], axis=None)
    found = weight_recovery(np.concatenate(learned, axis=1), true)
    assert found.correlation.sel(sign="all") > 0.5
    assert (np.abs(found.correlation.sel(sign=["excitatory", "inhibitory"])) < 0.2).all()


def test_spectra_are_paired_at_the_least_distance():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(5, 5)), rng.normal(size=(5, 5))
    found = weight_recovery(a, b)
    x, y = np.linalg.eigvals(a), np.linalg.eigvals(b)
    least = min(np.abs(x - y[list(order)]).mean() for order in itertools.permutations(range(5)))
    assert found.spectral_distance == pytest.approx(least)
    np.testing.assert_allclose(found.spectral_radius, [np.abs(x).max(), np.abs(y).max()])
    mixed = rng.normal(size=(5, 5))
    similar = mixed @ b @ np.linalg.inv(mixed)
    assert weight_recovery(similar, b).spectral_distance == pytest.approx(0, abs=1e-7)


def test_units_sparse_matrices_and_the_diagonal():
    true, rng = matrices()
    learned = true + rng.normal(size=true.shape)
    expected = weight_recovery(learned, true)
    for given in (learned * mV, 1000 * learned * uvolt, sparse.csr_array(learned)):
        np.testing.assert_allclose(weight_recovery(given, true).correlation, expected.correlation)
    off = ~np.eye(40, dtype=bool)
    without = weight_recovery(learned, true, autapses=False)
    assert without.number.sel(sign="all") == off.sum()
    assert without.correlation.sel(sign="all") == pytest.approx(np.corrcoef(learned[off], true[off])[0, 1])


def test_unknown_weights_are_counted():
    true, rng = matrices()
    learned = true + rng.normal(size=true.shape)
    learned[0] = np.nan
    found = weight_recovery(learned, true)
    assert found.unknown.sel(sign="all") == 40
    assert found.correlation.sel(sign="all") == pytest.approx(np.corrcoef(learned[1:].ravel(), true[1:].ravel())[0, 1])
    assert found.spectrum_note == "unknown weights"
    assert "spectral_radius" not in found
    assert weight_recovery(np.ones((2, 3)), np.ones((2, 3))).spectrum_note == "not square"
    assert weight_recovery(np.ones((2, 2)), np.ones((2, 2))).note.values.tolist() == [
        "equal weights", "no weights", "no weights", "equal weights",
    ]  # fmt: skip


def test_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 2\) and \(3, 3\)"):
        weight_recovery(np.ones((2, 2)), np.ones((3, 3)))
    with pytest.raises(ValueError, match="`true` must not be NaN, got 1"):
        weight_recovery(np.ones((1, 2)), [[1, np.nan]])
    with pytest.raises(ValueError, match="got infinite weights"):
        weight_recovery([[np.inf]], [[1]])
    with pytest.raises(ValueError, match=r"over \(target, source\), got shape \(3,\)"):
        weight_recovery(np.ones(3), np.ones(3))
    with pytest.raises(TypeError, match="matrix of numbers"):
        weight_recovery([["a"]], [[1]])
    with pytest.raises(ValueError, match="of square matrices"):
        weight_recovery(np.ones((1, 2)), np.ones((1, 2)), autapses=False)
    with pytest.raises(ValueError, match="must be in mV"):
        weight_recovery(np.ones((2, 2)) * ms, np.ones((2, 2)))
