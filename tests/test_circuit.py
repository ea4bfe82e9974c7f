"""The description of a circuit, its connectivity and its JSON."""

import json

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.connectivity import AllToAll, Bernoulli, FixedIndegree, FixedOutdegree, OneToOne

LIF = LIFParameters()


def rich_circuit(seed=3):
    rng = np.random.default_rng(0)
    return Circuit(
        populations=[
            PoissonSource("input", 4, rates=rng.uniform(0, 1, (3, 4))),
            Population("E", 6, LIFParameters(tau_m=rng.uniform(10, 20, 6))),
            Population("I", 2, LIFParameters(v_reset=10.0)),
        ],
        projections=[
            Projection("input", "E", weights=rng.normal(size=(6, 4)) * mV),
            Projection("E", "E", weight=0.1, connectivity=FixedIndegree(2), delay=1.5 * ms, tau_syn=5 * ms),
            Projection("E", "I", weights=sparse.random_array((2, 6), density=0.5, rng=rng)),
            Projection("I", "E", weights=ModeMatrix(rng.normal(size=(6, 1)), [0.3], rng.normal(size=(2, 1)))),
            Projection("I", "I", weight=-0.5, connectivity=AllToAll(), autapses=True),
        ],
        drives=[
            GaussianDrive("E", mean=rng.normal(size=(3, 6)), std=0.5, factor=rng.normal(size=(6, 2))),
            PoissonDrive("I", rate=500 * Hz, weight=0.2 * mV, tau_syn=2.0),
        ],
        readout=Readout("E", rng.normal(size=(2, 6)), [0.1, 0.2], labels=("a", "b")),
        seed=seed,
    )


def test_json_gives_back_the_same_circuit():
    circuit = rich_circuit()
    again = Circuit.from_json(circuit.to_json())
    assert again.to_json() == circuit.to_json()
    assert again.hash() == circuit.hash() != rich_circuit(seed=4).hash()
    for one, other in zip(circuit.projections, again.projections, strict=True):
        for a, b in zip(_dense(circuit, one), _dense(again, other), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.sources[0].rates, circuit.sources[0].rates)
    assert again.neurons[0].lif == circuit.neurons[0].lif
    assert again.readout.labels == ("a", "b")
    assert again.projections[1].tau_syn == 5.0
    assert again.drives[1].tau_syn == 2.0


def _dense(circuit, projection):
    matrix = circuit.matrix(projection)
    if isinstance(matrix, ModeMatrix):
        return matrix.to_dense()
    return matrix.toarray() if sparse.issparse(matrix) else matrix


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not a circuit of format 1: found 'list'"),
        ('{"format": 99}', "found 99"),
        ('{"format": 1}', "the entry 'readout' is missing"),
    ],
)
def test_malformed_json_raises(text, message):
    with pytest.raises(ValueError, match=message):
        Circuit.from_json(text)


def test_damaged_parts_of_json_raise():
    data = json.loads(rich_circuit().to_json())
    for path, value, message in [
        (("populations", 0, "kind"), "Robot", "unknown kind of population 'Robot'"),
        (("drives", 0, "kind"), "Nothing", "unknown kind of drive 'Nothing'"),
        (("projections", 1, "connectivity", "rule"), "Guess", "unknown connectivity rule 'Guess'"),
        (("populations", 0, "rates", "array"), "AAAA", "an array does not decode"),
    ]:
        broken = json.loads(json.dumps(data))
        place = broken
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(ValueError, match=message):
            Circuit.from_json(json.dumps(broken))


def test_selecting_stimuli():
    circuit = rich_circuit()
    assert circuit.n_stimuli == 3
    some = circuit.select([2, 0])
    np.testing.assert_array_equal(some.sources[0].rates, circuit.sources[0].rates[[2, 0]])
    one = circuit.select(1)
    assert one.n_stimuli is None
    assert one.drives[0].mean.shape == (6,)
    with pytest.raises(ValueError, match="no stimulus dimension"):
        one.select(0)


def test_layers_are_found_whatever_the_order():
    def population(name):
        return Population(name, 2, LIF)

    def edge(source, target):
        return Projection(source, target, weights=np.ones((2, 2)))

    populations = [population("c"), population("a"), population("b")]
    forward = Circuit(populations, [edge("b", "c"), edge("a", "b"), edge("a", "c")])
    assert [p.name for p in forward.layers] == ["a", "b", "c"]
    assert not forward.is_recurrent
    assert Circuit(populations, [edge("a", "b"), edge("b", "a")]).is_recurrent
    assert Circuit(populations, [edge("a", "a")]).is_recurrent


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"populations": []}, "at least one Population"),
        ({"populations": [Population("E", 2, LIF), Population("E", 2, LIF)]}, "must be unique, got E more than once"),
        ({"projections": [Projection("X", "E", weights=np.ones((2, 2)))]}, "no population 'X'; the circuit has S, E"),
        ({"projections": [Projection("E", "S", weights=np.ones((3, 2)))]}, "'S' is a Poisson source"),
        (
            {"projections": [Projection("S", "E", weights=np.ones((3, 2)))]},
            r"\(n_target, n_source\) = \(2, 3\), got \(3, 2\)",
        ),
        (
            {"drives": [GaussianDrive("E", mean=np.ones(3))]},
            r"mean of Gaussian drive of 'E' must have shape .* n = 2, got \(3,\)",
        ),
        ({"drives": [GaussianDrive("E", factor=np.ones((3, 1)))]}, r"factor of Gaussian drive"),
        ({"drives": [GaussianDrive("S")]}, "'S' is a Poisson source"),
        ({"readout": Readout("E", np.ones((1, 5)), [0.0])}, "weights for 5 neurons, 'E' has 2"),
        (
            {
                "populations": [PoissonSource("S", 3, np.ones((4, 3))), Population("E", 2, LIF)],
                "drives": [GaussianDrive("E", mean=np.ones((5, 2)))],
            },
            r"agree on the number of stimuli, got \[4, 5\]",
        ),
    ],
)
def test_inconsistent_circuits_raise(parts, message):
    complete = {"populations": [PoissonSource("S", 3, 1.0), Population("E", 2, LIF)], **parts}
    with pytest.raises(ValueError, match=message):
        Circuit(**complete)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: PoissonSource("S", 2, [0.1, -0.2]),
            ValueError,
            r"rates of 'S'` must be ≥ 0 spikes/ms, got -0.2 at index 1",
        ),
        (lambda: PoissonSource("S", 2, [0.1] * 3), ValueError, r"shape \(2,\) or \(stimulus, 2\), got \(3,\)"),
        (lambda: PoissonSource("S", 2, 5 * mV), ValueError, "another dimension"),
        (lambda: Population("my cells", 2, LIF), ValueError, "Python identifier, got 'my cells'"),
        (lambda: Population("E", 0, LIF), ValueError, "whole number ≥ 1, got 0"),
        (lambda: Population("E", 2, {"tau_m": 20}), TypeError, "must be LIFParameters, got dict"),
        (lambda: Population("E", 2, LIFParameters(tau_m=[1.0, 2.0, 3.0])), ValueError, "describes 3 neurons"),
        (lambda: Projection("S", "E"), ValueError, "either `weights`"),
        (lambda: Projection("S", "E", weight=1.0), ValueError, "go together"),
        (lambda: Projection("S", "E", weights=np.ones(3)), ValueError, "must be a matrix"),
        (lambda: Projection("S", "E", weights=[[np.nan]]), ValueError, "must be finite"),
        (lambda: Projection("S", "E", weights=[[1.0]], delay=-1.0), ValueError, "≥ 0 ms, got -1"),
        (lambda: Projection("S", "E", weight=[1.0], connectivity=AllToAll()), ValueError, "single number in mV"),
        (lambda: GaussianDrive("E", std=[0.1, -1.0]), ValueError, "≥ 0 mV/√ms, got -1.0 at index 1"),
        (lambda: PoissonDrive("E", rate=-1.0, weight=1.0), ValueError, "≥ 0 spikes/ms"),
        (lambda: PoissonDrive("E", 1.0, 1.0, tau_syn=-1.0), ValueError, "tau_syn of Poisson drive of 'E'` must be ≥ 0 ms"),
        (lambda: Projection("S", "E", [[1.0]], tau_syn=[1.0]), ValueError, "single number in ms"),
        (lambda: Projection("S", "E", [[1.0]], tau_syn=1 * mV), ValueError, "another dimension"),
        (lambda: Readout("E", np.ones((2, 3)), [0.0]), ValueError, "readout weights and bias"),
        (lambda: Readout("E", np.ones((2, 3)), [0.0, 0.0], labels=["a"]), ValueError, "2 outputs and 1 labels"),
        (lambda: ModeMatrix(np.ones((3, 2)), [1.0], np.ones((2, 1))), ValueError, "modes must have shapes"),
        (lambda: Circuit([LIF]), TypeError, "`populations` must hold PoissonSource or Population, got LIFParameters"),
        (lambda: Bernoulli(1.2), ValueError, r"probability in \[0, 1\], got 1.2"),
        (lambda: FixedIndegree(2.5), ValueError, "whole number ≥ 0, got 2.5"),
    ],
)
def test_bad_parts_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31), st.booleans(), st.data())
def test_sampled_degrees(n_target, n_source, seed, autapses, data):
    usable_sources, usable_targets = n_source - (not autapses), n_target - (not autapses)
    rng = np.random.default_rng(seed)
    indegree = data.draw(st.integers(0, usable_sources))
    target, source = FixedIndegree(indegree).sample(n_target, n_source, rng, autapses=autapses)
    assert np.bincount(target, minlength=n_target).tolist() == [indegree] * n_target
    _check_pairs(target, source, n_target, n_source, autapses)
    outdegree = data.draw(st.integers(0, usable_targets))
    target, source = FixedOutdegree(outdegree).sample(n_target, n_source, rng, autapses=autapses)
    assert np.bincount(source, minlength=n_source).tolist() == [outdegree] * n_source
    _check_pairs(target, source, n_target, n_source, autapses)
    target, source = AllToAll().sample(n_target, n_source, rng, autapses=autapses)
    _check_pairs(target, source, n_target, n_source, autapses)
    assert len(target) == n_target * n_source - (0 if autapses else min(n_target, n_source))
    _check_pairs(*Bernoulli(0.5).sample(n_target, n_source, rng, autapses=autapses), n_target, n_source, autapses)


def _check_pairs(target, source, n_target, n_source, autapses):
    pairs = set(zip(target.tolist(), source.tolist(), strict=True))
    assert len(pairs) == len(target)
    assert all(0 <= t < n_target and 0 <= s < n_source and (autapses or t != s) for t, s in pairs)


def test_bernoulli_connects_with_its_probability():
    n, p = 400, 0.1
    target, source = Bernoulli(p).sample(n, n, np.random.default_rng(1), autapses=False)
    available = n * (n - 1)
    assert abs(len(target) - p * available) < 4 * np.sqrt(available * p * (1 - p))
    # Every source is chosen equally often: a chi-square statistic within 4 standard deviations of its mean.
    counts = np.bincount(source, minlength=n)
    chi2 = ((counts - counts.mean()) ** 2 / (counts.mean() * (1 - p))).sum()
    assert abs(chi2 - n) < 4 * np.sqrt(2 * n)


def test_rules_that_do_not_fit_raise():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="in-degree 3 is larger than the 2 available sources"):
        FixedIndegree(3).sample(3, 3, rng, autapses=False)
    with pytest.raises(ValueError, match="out-degree 4 is larger than the 3 available targets"):
        FixedOutdegree(4).sample(3, 3, rng, autapses=True)
    with pytest.raises(ValueError, match="OneToOne needs populations of one size, got 2 sources and 3 targets"):
        OneToOne().sample(3, 2, rng, autapses=True)


def test_connectivity_is_sampled_once_per_circuit():
    circuit, same, other = rich_circuit(), rich_circuit(), rich_circuit(seed=4)
    one, two, three = (c.matrix(c.projections[1]).toarray() for c in (circuit, same, other))
    assert circuit.matrix(circuit.projections[1]) is circuit.matrix(circuit.projections[1])
    np.testing.assert_array_equal(one, two)
    assert (one != three).any()
    assert (np.diag(one) == 0).all()
    assert ((one > 0).sum(axis=1) == 2).all()


def test_self_connections_are_excluded_only_within_a_population():
    populations = [Population("A", 3, LIF), Population("B", 3, LIF)]
    projection = Projection("A", "B", weight=1.0, connectivity=AllToAll())
    circuit = Circuit(populations, [projection])
    np.testing.assert_array_equal(circuit.matrix(projection).toarray(), np.ones((3, 3)))
