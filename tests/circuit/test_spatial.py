"""Connections by distance."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial import distance

from mnnbio.circuit.spatial import (
    BoxProfile,
    DistanceDependent,
    ExponentialProfile,
    GaussianProfile,
    Ring,
    Sheet,
    Torus,
)

K = 4.0  # standard errors


def draw(rule, n_target, n_source, seed=0, *, autapses=True):
    return rule.sample(n_target, n_source, np.random.default_rng(seed), autapses=autapses)


def brute_force_distances(space, one, other):
    """Least distance to any of the other's images."""
    periods = {Ring: [1.0], Torus: [2.0, 1.0], Sheet: []}[type(space)]
    shifts = itertools.product(*([-p, 0.0, p] for p in periods)) if periods else [np.zeros(2)]
    images = [other + np.array(shift) for shift in shifts]
    return np.min([distance.cdist(one, image) for image in images], axis=0)


@pytest.mark.parametrize("space", [Ring(1.0), Torus(2.0, 1.0), Sheet(2.0, 1.0)], ids=lambda s: type(s).__name__)
def test_distances_are_the_shortest(space):
    rng = np.random.default_rng(0)
    size = [2.0, 1.0] if space.dimension == 2 else [1.0]
    one, other = (rng.uniform(0, size, (n, space.dimension)) for n in (40, 30))
    np.testing.assert_allclose(space.distances(one, other), brute_force_distances(space, one, other), atol=1e-12)


@given(st.integers(1, 300), st.sampled_from([(1.0, 1.0), (3.0, 1.0), (1.0, 5.0)]))
def test_positions_fill_the_space_evenly(n, size):
    ring = Ring(4.0).positions(n)[:, 0]
    np.testing.assert_allclose(np.diff(ring), 4.0 / n)
    for space in (Torus(*size), Sheet(*size)):
        places = space.positions(n)
        assert places.shape == (n, 2)
        assert ((places > 0) & (places < size)).all()
        np.testing.assert_allclose(places.mean(0), np.array(size) / 2, atol=0.5 * max(size) / np.sqrt(n))
        if n > 1:
            assert distance.pdist(places).min() > 0.4 * np.sqrt(size[0] * size[1] / n)


def test_a_square_number_gives_a_square_lattice():
    places = Torus(1.0, 1.0).positions(9)
    np.testing.assert_allclose(np.unique(places[:, 0]), [1 / 6, 0.5, 5 / 6])
    np.testing.assert_allclose(np.unique(places[:, 1]), [1 / 6, 0.5, 5 / 6])


def test_a_box_on_a_ring_connects_the_neighbours():
    target, source = draw(DistanceDependent(BoxProfile(0.2), p=1.0), 10, 10, autapses=False)
    found = {(t, (s - t) % 10) for t, s in zip(target.tolist(), source.tolist(), strict=True)}
    assert found == {(t, k) for t in range(10) for k in (1, 2, 8, 9)}


@pytest.mark.parametrize(
    ("profile", "law"),
    [
        (GaussianProfile(0.1), lambda d: np.exp(-(d**2) / 0.02)),
        (ExponentialProfile(0.1), lambda d: np.exp(-d / 0.1)),
        (BoxProfile(0.1), lambda d: (d <= 0.1) * 1.0),
    ],
)
def test_probability_follows_the_profile(profile, law):
    n_target, n_source, p = 300, 400, 0.6
    space = Torus(2.0, 1.0)
    rule = DistanceDependent(profile, p=p, space=space)
    target, source = draw(rule, n_target, n_source, 3)
    away = brute_force_distances(space, space.positions(n_target), space.positions(n_source))
    expected = p * law(away)
    connected = np.zeros(away.shape, bool)
    connected[target, source] = True
    assert connected.sum() == len(target)
    edges = np.array([0.0, 0.05, 0.1, 0.15, 0.25, 0.5, 2.0])
    for low, high in itertools.pairwise(edges):
        inside = (away >= low) & (away < high)
        spread = np.sqrt((expected * (1 - expected))[inside].sum())
        assert abs(connected[inside].sum() - expected[inside].sum()) <= K * spread
    assert rule.mean_indegree(n_target, n_source, autapses=True) == pytest.approx(expected.sum() / n_target)


def test_a_fixed_indegree_draws_sources_one_after_the_other():
    # Three sources with tendencies 1, e^-1, e^-2, two chosen: the probability of every pair in closed form.
    rule = DistanceDependent(
        ExponentialProfile(1.0), indegree=2, space=Sheet(9.0, 9.0),
        target_positions=np.zeros((6000, 2)), source_positions=[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]],
    )  # fmt: skip
    target, source = draw(rule, 6000, 3, 1)
    assert (np.bincount(target) == 2).all()
    left_out = 3 - source.reshape(-1, 2).sum(1)
    weight = np.exp([0.0, -1.0, -2.0])
    share = weight / weight.sum()
    pair = [
        share[i] * share[j] / (1 - share[i]) + share[j] * share[i] / (1 - share[j]) for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    assert stats.chisquare(np.bincount(left_out, minlength=3), 6000 * np.array(pair)).pvalue > 1e-4


def test_a_fixed_indegree_without_autapses():
    target, source = draw(DistanceDependent(GaussianProfile(0.05), indegree=5), 100, 100, autapses=False)
    assert (np.bincount(target, minlength=100) == 5).all()
    assert (target != source).all()
    assert (np.diff(target.astype(int) * 100 + source) > 0).all()
    assert len(draw(DistanceDependent(GaussianProfile(0.05), indegree=0), 5, 5)[0]) == 0


def test_large_populations_pass_through_several_blocks():
    target, source = draw(DistanceDependent(BoxProfile(0.001), p=1.0), 3000, 2000)
    assert len(np.unique(target.astype(np.int64) * 2000 + source)) == len(target)
    away = np.abs((target + 0.5) / 3000 - (source + 0.5) / 2000)
    assert (np.minimum(away, 1 - away) <= 0.001 + 1e-9).all()
    assert (np.diff(target) >= 0).all()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: GaussianProfile(0.0), ValueError, "`sigma` must be a length > 0, got 0"),
        (lambda: ExponentialProfile(-1.0), ValueError, "`length` must be a length > 0, got -1"),
        (lambda: BoxProfile([1.0]), ValueError, "`radius` must be a length > 0"),
        (lambda: Torus(1.0, np.nan), ValueError, "`height` must be finite"),
        (lambda: DistanceDependent(GaussianProfile(1.0)), ValueError, "either `p` or `indegree`"),
        (lambda: DistanceDependent(GaussianProfile(1.0), p=0.1, indegree=3), ValueError, "either `p` or `indegree`"),
        (lambda: DistanceDependent(GaussianProfile(1.0), p=1.1), ValueError, r"probability in \[0, 1\], got 1.1"),
        (lambda: DistanceDependent(GaussianProfile(1.0), indegree=-1), ValueError, "`indegree` must be a whole number"),
        (lambda: DistanceDependent(0.1, p=0.1), TypeError, "`profile` must be a GaussianProfile"),
        (
            lambda: DistanceDependent(BoxProfile(1.0), p=0.1, space=Torus(), target_positions=[1.0, 2.0]),
            ValueError,
            r"`target_positions` must have shape \(n, 2\) on a Torus, got \(2,\)",
        ),
        (
            lambda: draw(DistanceDependent(BoxProfile(1.0), p=0.1, source_positions=[0.1, 0.2]), 3, 3),
            ValueError,
            "`source_positions` must have one row per neuron, 3, got 2",
        ),
        (
            lambda: draw(DistanceDependent(BoxProfile(1.0), indegree=3), 3, 3, autapses=False),
            ValueError,
            "in-degree 3 is larger than the 2 available sources",
        ),
        (
            lambda: draw(DistanceDependent(BoxProfile(0.1), indegree=4), 10, 10),
            ValueError,
            "in-degree 4 is larger than the 3 sources within reach of target 0",
        ),
    ],
)
def test_bad_rules_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()
