"""The description of a circuit and what it refuses."""

import time
from dataclasses import replace

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from scipy import sparse, stats

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
from mnnbio.circuit.connectivity import AllToAll, FixedIndegree, FixedTotalNumber
from mnnbio.values import Normal, Oscillation, Ramp, Samples, Steps, Uniform

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
        ({"projections": [Projection("E", "S", weights=np.ones((3, 2)))]}, "'S' is a source: Poisson trains"),
        (
            {"projections": [Projection("S", "E", weights=np.ones((3, 2)))]},
            r"\(n_target, n_source\) = \(2, 3\), got \(3, 2\)",
        ),
        (
            {"drives": [GaussianDrive("E", mean=np.ones(3))]},
            r"mean of Gaussian drive of 'E' must have shape .* n = 2, got \(3,\)",
        ),
        ({"drives": [GaussianDrive("E", factor=np.ones((3, 1)))]}, r"factor of Gaussian drive"),
        ({"drives": [GaussianDrive("S")]}, "'S' is a source: Poisson trains"),
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
        (lambda: Population(" ", 2, LIF), ValueError, "must be text of at most 100 characters, got ' '"),
        (lambda: Population("a\nb", 2, LIF), ValueError, "must be text of at most 100 characters"),
        (lambda: Population("E" * 101, 2, LIF), ValueError, "must be text of at most 100 characters"),
        (lambda: Population("E", True, LIF), ValueError, "whole number ≥ 1, got True"),
        (lambda: Population("E", 0, LIF), ValueError, "whole number ≥ 1, got 0"),
        (lambda: Population("E", 2, {"tau_m": 20}), TypeError, "must be a NeuronModel such as LIFParameters"),
        (
            lambda: Population("E", 2, LIFParameters(tau_m=[1.0, 2.0, 3.0])),
            ValueError,
            "are described for 3, the population has 2",
        ),
        (lambda: Projection("S", "E"), ValueError, "either `weights`"),
        (lambda: Projection("S", "E", weight=1.0), ValueError, "go together"),
        (lambda: Projection("S", "E", weights=np.ones(3)), ValueError, "must be a matrix"),
        (lambda: Projection("S", "E", weights=[[np.nan]]), ValueError, "must be finite"),
        (lambda: Projection("S", "E", sparse.csr_array([[np.nan]])), ValueError, "must be finite, got nan at index 0"),
        (lambda: Projection("S", "E", weight=np.nan, connectivity=AllToAll()), ValueError, "must be finite, got nan"),
        (lambda: Projection("S", "E", [[1.0]], delay=np.inf), ValueError, "must be finite, got inf"),
        (lambda: Projection("S", "E", weights=[[1.0]], delay=-1.0), ValueError, "≥ 0 ms, got -1"),
        (lambda: Projection("S", "E", weight=[1.0], connectivity=AllToAll()), ValueError, "single number in mV"),
        (lambda: GaussianDrive("E", std=[0.1, -1.0]), ValueError, "≥ 0 mV/√ms, got -1.0 at index 1"),
        (lambda: PoissonDrive("E", rate=-1.0, weight=1.0), ValueError, "≥ 0 spikes/ms"),
        (
            lambda: PoissonDrive("E", 1.0, 1.0, tau_syn=-1.0),
            ValueError,
            "tau_syn of Poisson drive of 'E'` must be ≥ 0 ms",
        ),
        (lambda: Projection("S", "E", [[1.0]], tau_syn=[1.0]), ValueError, "single number in ms"),
        (lambda: Projection("S", "E", [[1.0]], tau_syn=1 * mV), ValueError, "another dimension"),
        (lambda: Readout("E", np.ones((2, 3)), [0.0]), ValueError, "readout weights and bias"),
        (lambda: Readout("E", np.ones((2, 3)), [0.0, 0.0], labels=["a"]), ValueError, "2 outputs and 1 labels"),
        (lambda: ModeMatrix(np.ones((3, 2)), [1.0], np.ones((2, 1))), ValueError, "modes must have shapes"),
        (
            lambda: Circuit([LIF]),
            TypeError,
            "`populations` must hold PoissonSource, SpikeSource or Population, got LIFParameters",
        ),
    ],
)
def test_bad_parts_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()


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


# Distributions, delays, multapses


def sampled(seed=1, **options):
    populations = [Population("E", 60, LIF), Population("I", 40, LIF)]
    circuit = Circuit(populations, [Projection("E", "I", connectivity=FixedIndegree(20), **options)], seed=seed)
    return circuit, circuit.projections[0]


def test_synapses_weights_and_delays_are_drawn_independently():
    plain, one = sampled(weight=0.5)
    varied, other = sampled(weight=Normal(0.5, 0.1), delay=Uniform(0.5, 2.0))
    matrix = varied.matrix(other)
    np.testing.assert_array_equal(plain.matrix(one).indices, matrix.indices)
    assert stats.kstest(matrix.data, stats.norm(0.5, 0.1).cdf).pvalue > 1e-4
    delays = varied.delays(other)
    assert delays.shape == matrix.data.shape
    assert stats.kstest(delays, stats.uniform(0.5, 1.5).cdf).pvalue > 1e-4
    assert abs(np.corrcoef(delays, matrix.data)[0, 1]) < 4 / np.sqrt(len(delays))
    again, same = sampled(weight=Normal(0.5, 0.1), delay=Uniform(0.5, 2.0))
    np.testing.assert_array_equal(again.delays(same), delays)
    fixed_weight, third = sampled(weight=0.5, delay=Uniform(0.5, 2.0))
    np.testing.assert_array_equal(fixed_weight.delays(third), delays)
    single, fourth = sampled(weight=0.5, delay=1.5 * ms)
    assert (plain.delays(one), single.delays(fourth)) == (0.0, 1.5)


def test_delays_with_explicit_weights():
    dense, values = np.arange(6.0).reshape(2, 3), np.linspace(1.0, 2.0, 6)
    matrix = sparse.csr_array(dense)
    populations = [PoissonSource("in", 3, 0.1), Population("E", 2, LIF)]
    for weights, delay in (
        (dense, values.reshape(2, 3)),
        (matrix, values[1:]),
        (dense, Uniform(0, 1)),
        (matrix, Uniform(0, 1)),
    ):
        circuit = Circuit(populations, [Projection("in", "E", weights=weights, delay=delay)])
        delays = circuit.delays(circuit.projections[0])
        assert delays.shape == (weights.shape if weights is dense else weights.data.shape)
        if isinstance(delay, np.ndarray):
            np.testing.assert_array_equal(delays, delay)
        else:
            assert len(np.unique(delays)) == delays.size


def test_synapses_of_one_pair_are_summed_unless_their_delays_differ():
    def multapses(delay):
        projection = Projection("E", "E", weight=0.5, connectivity=FixedTotalNumber(300), delay=delay)
        circuit = Circuit([Population("E", 10, LIF)], [projection])
        return circuit.matrix(projection), circuit.delays(projection)

    summed, one = multapses(1.0)
    separate, each = multapses(Uniform(1.0, 2.0))
    assert (summed.nnz, one) == (len(np.unique(summed.toarray().nonzero(), axis=1).T), 1.0)
    assert summed.nnz < 91 < 300 == separate.nnz == len(each)
    np.testing.assert_array_equal(summed.toarray(), separate.toarray())
    assert summed.sum() == 150.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: sampled(weight=0.5, delay=Normal(1.0, 0.5)),
            ValueError,
            "must be ≥ 0 ms, Normal.* reaches below. Give `low`",
        ),
        (lambda: sampled(weight=0.5, delay=[1.0, 2.0]), ValueError, "one per synapse only with explicit"),
        (lambda: sampled(weight=Normal(1 * ms, 1 * ms)), ValueError, "must be in mV, got Normal in ms"),
        (
            lambda: Projection("S", "E", np.ones((2, 2)), delay=[1.0, 2.0]),
            ValueError,
            r"one entry per weight, shape \(2, 2\)",
        ),
        (
            lambda: Projection("S", "E", np.ones((1, 2)), delay=[[1.0, -2.0]]),
            ValueError,
            r"≥ 0 ms, got -2.0 at index \(0, 1\)",
        ),
        (
            lambda: Projection("S", "E", sparse.coo_array(np.ones((1, 2))), delay=[1.0, 2.0]),
            ValueError,
            "must be a csr_array",
        ),
        (
            lambda: Projection("S", "E", ModeMatrix(np.ones((2, 1)), [1.0], np.ones((2, 1))), delay=Uniform(1.0, 2.0)),
            ValueError,
            "single number where weights are factored into modes",
        ),
        (lambda: Projection("S", "E", weight=1.0, connectivity=0.1), TypeError, "must be a rule such as FixedIndegree"),
        (
            lambda: Circuit(
                [Population("E", 5, LIF)], [Projection("E", "E", weight=1.0, connectivity=FixedIndegree(5))]
            ),
            ValueError,
            "projection 'E' → 'E': in-degree 5 is larger than the 4 available sources",
        ),
        (lambda: Circuit([Population("E", 5, LIF)], seed=-1), ValueError, "`seed` must be a whole number ≥ 0, got -1"),
        (
            lambda: sampled(weight=0.5)[0].matrix(sampled(weight=0.5)[1]),
            ValueError,
            "is not one of this circuit's own",
        ),
    ],
)
def test_bad_projections_raise(make, error, message):
    with pytest.raises(error, match=message):
        make()


# Inputs that change in time


def changing():
    rng = np.random.default_rng(0)
    return Circuit(
        [PoissonSource("in", 2, Steps([0.0, 50.0], rng.uniform(0, 1, (2, 3, 2)))), Population("E", 4, LIF)],
        [Projection("in", "E", weight=0.5, connectivity=FixedIndegree(1))],
        [
            GaussianDrive("E", mean=Ramp(0.0, 100.0, 0.0, [1.0, 2.0, 3.0, 4.0]), std=Oscillation(0.5, 0.2, 0.01)),
            PoissonDrive("E", rate=Samples([1.0, 2.0, 3.0] * 10, dt=10.0), weight=0.1),
        ],
    )


def test_inputs_that_change_in_time():
    circuit = changing()
    assert circuit.changes_in_time
    assert circuit.n_stimuli == 3
    one = circuit.select(2)
    np.testing.assert_array_equal(one.sources[0].rates.at([60.0]), circuit.sources[0].rates.at([60.0])[:, 2])
    held = circuit.at_time(75 * ms)
    assert not held.changes_in_time
    np.testing.assert_array_equal(held.sources[0].rates, circuit.sources[0].rates.values[1])
    np.testing.assert_allclose(held.drives[0].mean, [0.75, 1.5, 2.25, 3.0])
    np.testing.assert_allclose(held.drives[0].std, 0.5 - 0.2)
    assert held.drives[1].rate == 2.0
    mean = circuit.averaged()
    assert (mean.drives[0].std, mean.drives[1].rate) == (0.5, 2.0)
    # The synapses are those of the circuit, drawn once.
    assert held.matrix(held.projections[0]) is circuit.matrix(circuit.projections[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PoissonSource("S", 2, Oscillation(0.1, 0.2, 0.01)), "rates of 'S'` must be ≥ 0 spikes/ms, got -0.1"),
        (lambda: PoissonSource("S", 2, Steps([0.0], [[0.1] * 3])), r"shape \(2,\) or \(stimulus, 2\), got \(3,\)"),
        (lambda: PoissonDrive("E", Ramp(0, 1, 0.0, -1.0), 0.1), "rate of Poisson drive of 'E'` must be ≥ 0 spikes/ms"),
        (lambda: GaussianDrive("E", std=Steps([0.0, 1.0], [0.1, -1.0])), "must be ≥ 0 mV/√ms, got -1.0"),
        (lambda: GaussianDrive("E", mean=Steps([0.0], [5.0] * mV)), "must be in mV/ms, got Steps in mV"),
        (
            lambda: Circuit([Population("E", 2, LIF)], drives=[GaussianDrive("E", mean=Ramp(0, 1, [0.0] * 3, 1.0))]),
            r"mean of Gaussian drive of 'E' must have shape .* n = 2, got \(3,\)",
        ),
        (lambda: changing().at_time([1.0, 2.0]), "`time` must be a single time, ms, got an array"),
        (lambda: changing().at_time(1 * mV), "another dimension"),
    ],
)
def test_bad_time_courses_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_other_parts_leave_the_synapses_of_projections_that_stay():
    circuit = Circuit(
        [Population("a", 20, LIFParameters()), Population("b", 30, LIFParameters())],
        [Projection(source, "b", weight=0.1, connectivity=FixedIndegree(5)) for source in "ab"],
        seed=4,
    )
    matrices = [circuit.matrix(projection) for projection in circuit.projections]
    driven = circuit.with_parts(drives=[GaussianDrive("a", mean=1.0)])
    assert [driven.matrix(projection) for projection in driven.projections] == matrices
    assert len(driven.drives) == 1
    assert circuit.drives == ()
    stronger = circuit.with_parts(projections=[circuit.projections[0], replace(circuit.projections[1], weight=0.2)])
    assert stronger.matrix(stronger.projections[0]) is matrices[0]
    assert np.array_equal(stronger.dense(stronger.projections[1]), 2 * matrices[1].toarray())
    larger = circuit.with_parts(populations=[Population("a", 40, LIFParameters()), circuit.populations[1]])
    assert larger.matrix(larger.projections[0]).shape == (30, 40)


def test_more_synapses_than_fit_into_memory_are_refused_before_they_are_drawn():
    n = 10**6
    circuit = Circuit(
        [Population("E", n, LIFParameters())], [Projection("E", "E", weight=0.1, connectivity=FixedIndegree(10**5))]
    )
    start = time.perf_counter()
    with pytest.raises(MemoryError, match=r"the 1e\+11 synapses of projection 'E' → 'E'.*resolution='population'"):
        circuit.matrix(circuit.projections[0])
    assert time.perf_counter() - start < 1.0
    assert circuit.n_synapses(circuit.projections[0]) == 1e11


def test_a_drive_whose_noise_changes_in_time_is_described():
    circuit = Circuit([Population("E", 2, LIFParameters())], [], [GaussianDrive("E", std=Ramp(0.0, 10.0, 0.5, 1.0))])
    assert not circuit.has_exponential_synapses
    assert "from 0 to 10 ms linearly" in circuit.describe()
