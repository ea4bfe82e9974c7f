"""The description of a circuit and what it refuses."""

import numpy as np
import pytest
from brian2 import Hz, ms, mV
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
from mnnbio.connectivity import AllToAll, FixedIndegree

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
        (lambda: Circuit([LIF]), TypeError, "`populations` must hold PoissonSource or Population, got LIFParameters"),
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
