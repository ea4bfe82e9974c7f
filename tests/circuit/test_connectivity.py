"""Connectivity rules: what they promise, and the statistics of their draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
    distinct_in_rows,
    each_with_probability,
    some_cells,
)

K = 4.0  # standard errors


def draw(rule, n_target, n_source, seed=0, *, autapses=True):
    return rule.sample(n_target, n_source, np.random.default_rng(seed), autapses=autapses)


def check_pairs(pairs, n_target, n_source, *, autapses=True, multapses=False):
    target, source = pairs
    assert target.dtype == source.dtype == np.int32
    cells = target.astype(np.int64) * n_source + source
    assert (np.diff(cells) >= multapses).all() or (multapses and (np.diff(cells) >= 0).all())
    if not multapses:
        assert (np.diff(cells) > 0).all()  # sorted by target, then source, and distinct
    assert ((target >= 0) & (target < n_target) & (source >= 0) & (source < n_source)).all()
    assert autapses or (target != source).all()


sizes = st.integers(1, 12)


@given(sizes, sizes, st.integers(0, 2**31), st.booleans(), st.booleans(), st.data())
def test_degrees_and_numbers_are_exact(n_target, n_source, seed, autapses, multapses, data):
    if not autapses:
        n_source = n_target
    sources, targets = n_source - (not autapses), n_target - (not autapses)
    most = 20 if multapses and sources else None
    options = {"autapses": autapses, "multapses": multapses}

    n = data.draw(st.integers(0, most or sources))
    pairs = draw(FixedIndegree(n, multapses), n_target, n_source, seed, autapses=autapses)
    assert np.bincount(pairs[0], minlength=n_target).tolist() == [n] * n_target
    check_pairs(pairs, n_target, n_source, **options)

    n = data.draw(st.integers(0, most or targets))
    pairs = draw(FixedOutdegree(n, multapses), n_target, n_source, seed, autapses=autapses)
    assert np.bincount(pairs[1], minlength=n_source).tolist() == [n] * n_source
    check_pairs(pairs, n_target, n_source, **options)

    n = data.draw(st.integers(0, most or n_target * sources))
    pairs = draw(FixedTotalNumber(n, multapses), n_target, n_source, seed, autapses=autapses)
    assert len(pairs[0]) == n
    check_pairs(pairs, n_target, n_source, **options)

    pairs = draw(AllToAll(), n_target, n_source, autapses=autapses)
    assert len(pairs[0]) == n_target * sources
    check_pairs(pairs, n_target, n_source, autapses=autapses)
    for p in (0.0, 0.5, 1.0):
        pairs = draw(Bernoulli(p), n_target, n_source, seed, autapses=autapses)
        check_pairs(pairs, n_target, n_source, autapses=autapses)
        assert p == 0.5 or len(pairs[0]) == p * n_target * sources


@pytest.mark.parametrize("p", [0.02, 0.1, 0.7])
def test_bernoulli_connects_with_its_probability(p):
    n = 400
    target, source = draw(Bernoulli(p), n, n, 1, autapses=False)
    available = n * (n - 1)
    assert abs(len(target) - p * available) < K * np.sqrt(available * p * (1 - p))
    for index in (target, source):  # in- and out-degrees are binomial: a chi-square statistic near its mean
        counts = np.bincount(index, minlength=n)
        chi2 = ((counts - p * (n - 1)) ** 2 / ((n - 1) * p * (1 - p))).sum()
        assert abs(chi2 - n) < K * np.sqrt(2 * n)


@pytest.mark.parametrize(("count", "n"), [(2, 5), (3, 5), (1, 4)])
def test_every_set_of_partners_is_equally_likely(count, n):
    # All "n choose count" sets have one probability: compare their frequencies by a chi-square test.
    drawn = distinct_in_rows(40_000, count, n, np.random.default_rng(2))
    _, frequency = np.unique(drawn, axis=0, return_counts=True)
    assert len(frequency) == round(stats.binom(n, 0.5).pmf(count) * 2**n)
    assert stats.chisquare(frequency).pvalue > 1e-4


def test_partners_do_not_depend_on_the_own_index():
    # Without autapses every other neuron is equally likely, on either side of the diagonal.
    n, draws = 5, 8_000
    target, source = zip(
        *(draw(FixedIndegree(2), n, n, seed, autapses=False) for seed in range(draws // 4)), strict=True
    )
    counts = np.zeros((n, n))
    np.add.at(counts, (np.concatenate(target), np.concatenate(source)), 1)
    off_diagonal = counts[~np.eye(n, dtype=bool)]
    assert (np.diag(counts) == 0).all()
    assert stats.chisquare(off_diagonal).pvalue > 1e-4


def test_total_number_draws_pairs_independently():
    # Potjans & Diesmann (2014): with replacement, so the synapses of a pair are binomial.
    n, total = 100, 20_000
    target, source = draw(FixedTotalNumber(total), n, n, 3)
    per_pair = np.bincount(target.astype(np.int64) * n + source, minlength=n * n)
    observed = np.bincount(np.minimum(per_pair, 6), minlength=7)
    law = stats.binom(total, 1 / n**2).pmf(np.arange(7))
    law[6] = 1 - law[:6].sum()
    assert stats.chisquare(observed, law * n**2).pvalue > 1e-4


def test_large_draws_pass_through_several_blocks():
    # More numbers than are worked on at a time; degrees stay exact and all sources equally likely.
    target, source = draw(FixedIndegree(900), 6000, 5000, 4)
    check_pairs((target, source), 6000, 5000)
    counts = np.bincount(source, minlength=5000)
    chi2 = ((counts - counts.mean()) ** 2 / (counts.mean() * (1 - 0.18))).sum()
    assert abs(chi2 - 5000) < K * np.sqrt(2 * 5000)


def test_rare_connections():
    rng = np.random.default_rng(5)
    assert len(each_with_probability(10**9, 1e-18, rng)) == 0
    found = [len(each_with_probability(10**6, 3e-6, rng)) for _ in range(1000)]
    assert abs(np.mean(found) - 3.0) < K * np.sqrt(3.0 / 1000)
    assert some_cells(10, 10, rng, repeated=False).tolist() == list(range(10))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (AllToAll(), 19.0),
        (OneToOne(), 1.0),
        (Bernoulli(0.3), 5.7),
        (FixedIndegree(4), 4.0),
        (FixedOutdegree(4), 4.0),
        (FixedTotalNumber(50), 2.5),
    ],
)
def test_mean_indegree(rule, expected):
    assert rule.mean_indegree(20, 20, autapses=False) == pytest.approx(expected)
    found = np.mean([len(draw(rule, 20, 20, seed, autapses=False)[0]) / 20 for seed in range(200)])
    assert abs(found - expected) < K * np.sqrt(0.3 * 0.7 * 19 / 20 / 200)


@pytest.mark.parametrize(
    ("rule", "sizes", "autapses", "message"),
    [
        (FixedIndegree(3), (3, 3), False, "in-degree 3 is larger than the 2 available sources"),
        (FixedIndegree(1, multapses=True), (1, 1), False, "in-degree 1 is larger than the 0 available sources"),
        (FixedOutdegree(4), (3, 3), True, "out-degree 4 is larger than the 3 available targets"),
        (
            FixedTotalNumber(7, multapses=False),
            (3, 3),
            False,
            "number of synapses 7 is larger than the 6 available pairs",
        ),
        (OneToOne(), (3, 2), True, "OneToOne needs populations of one size, got 2 sources and 3 targets"),
        (Bernoulli(0.1), (3, 2), False, "connections within one population, got 2 sources and 3 targets"),
    ],
)
def test_rules_that_do_not_fit_raise(rule, sizes, autapses, message):
    with pytest.raises(ValueError, match=message):
        draw(rule, *sizes, autapses=autapses)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Bernoulli(1.2), ValueError, r"probability in \[0, 1\], got 1.2"),
        (lambda: Bernoulli(-0.1), ValueError, r"probability in \[0, 1\], got -0.1"),
        (lambda: Bernoulli(np.nan), ValueError, "`p` must be finite, got nan"),
        (lambda: Bernoulli([0.1, 0.2]), ValueError, "must be a probability"),
        (lambda: Bernoulli("often"), TypeError, "`p` must be numeric"),
        (lambda: FixedOutdegree(-1), ValueError, "a degree must be a number ≥ 0, got -1"),
        (lambda: FixedTotalNumber(True), ValueError, "a number of synapses must be a whole number ≥ 0, got True"),
    ],
)
def test_bad_rules_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("rule", [FixedIndegree(2.5), FixedIndegree(3.2, multapses=True), FixedOutdegree(2.5)])
def test_a_degree_that_is_no_whole_number_is_a_mean(rule):
    n = 4000
    targets, sources = rule.sample(n, n, np.random.default_rng(0), autapses=False)
    fixed, other = (targets, sources) if isinstance(rule, FixedIndegree) else (sources, targets)
    degrees = np.bincount(fixed, minlength=n)
    assert set(degrees) == {int(rule.n), int(rule.n) + 1}
    rest = rule.n % 1
    assert abs(degrees.mean() - rule.n) < 4 * np.sqrt(rest * (1 - rest) / n)
    assert (targets != sources).all()
    spread = rule.degree_spread(n, n, autapses=False)
    for number, found in zip(
        spread if fixed is targets else spread[::-1], (degrees, np.bincount(other, minlength=n)), strict=True
    ):
        # The relative standard error of a variance is at most √(2/n) times two here.
        assert abs(found.var() / found.mean() - number) < 4 * 2 * np.sqrt(2 / n) * max(number, 0.1)
    pairs = targets.astype(np.int64) * n + sources
    assert getattr(rule, "multapses", False) or len(np.unique(pairs)) == len(pairs)


@pytest.mark.parametrize("n", [-1, np.inf, np.nan, "3", True])
def test_a_degree_is_a_number(n):
    with pytest.raises(ValueError, match="a degree must be a number ≥ 0"):
        FixedIndegree(n)
