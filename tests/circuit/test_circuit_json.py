"""Circuits as JSON: nothing is lost, and damage is found."""

import base64
import json
import sys
import zlib
from dataclasses import dataclass, fields

import numpy as np
import pytest
from hypothesis import given, settings
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
from mnnbio.circuit.connectivity import (
    AllToAll,
    Bernoulli,
    Connectivity,
    FixedIndegree,
    FixedOutdegree,
    FixedTotalNumber,
    OneToOne,
)
from mnnbio.circuit.spatial import (
    BoxProfile,
    DistanceDependent,
    ExponentialProfile,
    GaussianProfile,
    Ring,
    Sheet,
    Torus,
)
from mnnbio.values import LogNormal, Normal, Oscillation, Ramp, Samples, Steps, Uniform

N = 4  # neurons of every population
numbers = st.floats(0.05, 3.0)
signed = st.floats(-2.0, 2.0)


def arrays(elements, shape):
    return st.lists(elements, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda values: np.array(values).reshape(shape)
    )


per_neuron = st.one_of(numbers, arrays(numbers, (N,)), arrays(numbers, (2, N)))
courses = st.one_of(
    st.builds(lambda v: Steps([0.0, 5.0], v), st.one_of(arrays(numbers, (2,)), arrays(numbers, (2, 2, N)))),
    st.builds(lambda a, b: Ramp(1.0, 2.0, a, b), per_neuron, per_neuron),
    st.builds(lambda m, f: Oscillation(m, 0.01, f, 0.3), per_neuron, numbers),
    st.builds(lambda v, dt: Samples(v, dt), arrays(numbers, (3, N)), numbers),
)
weights = st.one_of(
    arrays(signed, (N, N)),
    arrays(signed, (N, N)).map(sparse.csr_array),
    st.builds(ModeMatrix, arrays(signed, (N, 2)), arrays(signed, (2,)), arrays(signed, (N, 2))),
)
distributions = st.one_of(
    st.builds(lambda m, s: Normal(m, s, low=0.01), numbers, numbers),
    st.builds(LogNormal, numbers, numbers),
    st.builds(lambda low, width: Uniform(low, low + width), numbers, numbers),
)
profiles = st.one_of(*(st.builds(kind, numbers) for kind in (GaussianProfile, ExponentialProfile, BoxProfile)))
spaces = st.one_of(st.builds(Ring, numbers), st.builds(Torus, numbers, numbers), st.builds(Sheet, numbers, numbers))
rules = st.one_of(
    st.just(AllToAll()),
    st.just(OneToOne()),
    st.builds(Bernoulli, st.floats(0, 1)),
    st.builds(FixedIndegree, st.integers(0, 3), st.booleans()),
    st.builds(FixedOutdegree, st.integers(0, 3), st.booleans()),
    st.builds(FixedTotalNumber, st.integers(0, 9), st.booleans()),
    st.builds(lambda f, p, s: DistanceDependent(f, p=p, space=s), profiles, st.floats(0, 1), spaces),
    st.builds(lambda f, x: DistanceDependent(f, p=0.5, target_positions=x), profiles, arrays(numbers, (N,))),
)
projections = st.one_of(
    st.builds(lambda w, d: Projection("in", "E", weights=w, delay=d), weights, numbers),
    st.builds(lambda w, d: Projection("E", "E", weights=w, delay=d), arrays(signed, (N, N)), arrays(numbers, (N, N))),
    st.builds(
        lambda w, rule, d, a, t: Projection("E", "E", weight=w, connectivity=rule, delay=d, autapses=a, tau_syn=t),
        st.one_of(signed, distributions),
        rules,
        st.one_of(numbers, distributions),
        st.booleans(),
        numbers,
    ),
)
drives = st.one_of(
    st.builds(lambda m, s, f: GaussianDrive("E", m, s, f), per_neuron, per_neuron, arrays(signed, (N, 3)) | st.none()),
    st.builds(lambda r, w, t: PoissonDrive("E", r, w, t), per_neuron, signed, numbers),
)
circuits = st.builds(
    lambda r, tau, p, d, seed: Circuit(
        [PoissonSource("in", N, r), Population("E", N, LIFParameters(tau_m=tau))], p, d, seed=seed
    ),
    per_neuron,
    st.one_of(numbers, arrays(numbers, (N,))),
    st.lists(projections, max_size=3),
    st.lists(drives, max_size=2),
    st.integers(0, 2**31),
)


def same(one, other):
    """Whether two descriptions are equal, field by field and bit by bit."""
    if sparse.issparse(one):
        return (
            sparse.issparse(other) and one.shape == other.shape
            and all(np.array_equal(getattr(one, k), getattr(other, k)) for k in ("data", "indices", "indptr"))
        )  # fmt: skip
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return type(one) is type(other) and one == other


@settings(max_examples=60, deadline=None)
@given(circuits)
def test_json_loses_nothing(circuit):
    again = Circuit.from_json(circuit.to_json())
    assert same(circuit, again)
    assert again.to_json() == circuit.to_json()
    assert again.hash() == circuit.hash()
    for one, other in zip(circuit.projections, again.projections, strict=True):
        assert np.array_equal(circuit.dense(one), again.dense(other))
        assert np.array_equal(circuit.delays(one), again.delays(other))


def simple():
    return Circuit(
        [PoissonSource("in", 2, [0.1, 0.2]), Population("E", 3, LIFParameters())],
        [
            Projection("in", "E", weight=0.3, connectivity=FixedIndegree(1)),
            Projection("E", "E", weights=sparse.csr_array(np.eye(3))),
        ],
        [GaussianDrive("E", 0.5, 0.1)],
        Readout("E", np.ones((2, 3)), [0.0, 0.0], labels=("a", "b")),
    )


def test_a_readout_survives():
    assert same(Circuit.from_json(simple().to_json()).readout, simple().readout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "not a circuit of format 3: found 'list'"),
        ("null", "found 'NoneType'"),
        ('{"format": 99}', "found 99"),
        ('{"format": 2}', "the entry 'populations' is missing"),
        ('{"format": 2, "format": 2}', "the entry 'format' stands twice"),
        ('{"format": 2, "seed": NaN}', "numbers must be finite, got NaN"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_malformed_json_raises(text, message):
    with pytest.raises(ValueError, match=message):
        Circuit.from_json(text)


DAMAGE = {
    "kind": (("populations", 0, "kind"), "Robot", r"populations\[0\] is of unknown kind 'Robot'"),
    "kind of a number": (("populations", 0, "kind"), 5, r"populations\[0\] has no `kind`"),
    "no kind": (("drives", 0), {"target": "E"}, r"drives\[0\] has no `kind`"),
    "rule": (("projections", 0, "connectivity", "kind"), "Guess", r"projections\[0\].connectivity is of unknown kind"),
    "array": (("populations", 0, "rates", "array"), "AAAA", r"populations\[0\].rates: an array does not decode"),
    "dtype": (("populations", 0, "rates", "dtype"), "|O", "dtype '|O' is not one of"),
    "shape": (("populations", 0, "rates", "shape"), [5], "an array does not decode"),
    "sparse": (("projections", 1, "weights", "shape"), [1, 1], "a sparse array does not decode"),
    "surplus": (("populations", 0, "colour"), "red", r"populations\[0\]: .*unexpected keyword argument 'colour'"),
    "value": (("projections", 0, "connectivity", "n"), -3, r"projections\[0\].connectivity: a degree must be"),
    "type": (("populations", 0, "size"), "two", "the size of 'in' must be a whole number"),
    "number for a list": (("populations",), 5, "malformed circuit: `populations` must be a sequence"),
    "wrong part": (
        ("populations", 1),
        {"kind": "AllToAll"},
        "must hold PoissonSource, SpikeSource or Population, got AllToAll",
    ),
    "entry": (("surprise",), 1, "unknown entry 'surprise'"),
    "seed": (("seed",), "x", "`seed` must be a whole number ≥ 0, got 'x'"),
    "population": (("projections", 0, "source"), "nobody", "no population 'nobody'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_json_raises(damage):
    path, value, message = DAMAGE[damage]
    broken = place = json.loads(simple().to_json())
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        Circuit.from_json(json.dumps(broken))


def test_every_missing_entry_is_named():
    for name in ("populations", "projections", "drives", "readout", "seed"):
        broken = json.loads(simple().to_json())
        del broken[name]
        with pytest.raises(ValueError, match=f"the entry '{name}' is missing"):
            Circuit.from_json(json.dumps(broken))


def test_only_text_is_read():
    with pytest.raises(TypeError, match="must be a string, got dict"):
        Circuit.from_json({"format": 2})


@dataclass(frozen=True)
class Diagonal(Connectivity):
    """A user's own rule."""

    def sample(self, n_target, n_source, rng, *, autapses):
        return np.arange(n_target)[::-1], np.arange(n_target)[::-1]

    def mean_indegree(self, n_target, n_source, *, autapses):
        return 1.0


def own_circuit() -> Circuit:
    return Circuit([Population("E", 3, LIFParameters())], [Projection("E", "E", weight=1.0, connectivity=Diagonal())])


def test_a_rule_of_the_user_is_stored_by_module_and_fingerprint():
    circuit = own_circuit()
    np.testing.assert_array_equal(circuit.dense(circuit.projections[0]), np.eye(3))
    stored = json.loads(circuit.to_json())["projections"][0]["connectivity"]
    assert stored["kind"] == f"{__name__}:Diagonal"
    assert len(stored["class"]) == 16
    again = Circuit.from_json(circuit.to_json())
    assert again.projections[0].connectivity == Diagonal()
    assert again.hash() == circuit.hash()


def test_a_class_that_is_not_imported_is_named_and_never_imported():
    text = own_circuit().to_json().replace(f"{__name__}:Diagonal", "antigravity:Diagonal")
    with pytest.raises(
        ValueError, match=r"of the module 'antigravity', which is not imported.*Import antigravity first"
    ):
        Circuit.from_json(text)
    assert "antigravity" not in sys.modules


def test_a_class_that_has_changed_is_refused():
    changed = json.loads(own_circuit().to_json())
    changed["projections"][0]["connectivity"]["class"] = "0" * 16
    with pytest.raises(ValueError, match="whose source has changed since the circuit was stored"):
        Circuit.from_json(json.dumps(changed))


def test_a_part_with_values_must_be_a_dataclass():
    class Loose(Connectivity):
        def __init__(self):
            self.n = 3

        sample, mean_indegree = Diagonal.sample, Diagonal.mean_indegree

    circuit = Circuit([Population("E", 3, LIFParameters())], [Projection("E", "E", weight=1.0, connectivity=Loose())])
    for use in (circuit.to_json, circuit.hash):
        with pytest.raises(TypeError, match=r"Loose has values \(n\) and must be a dataclass"):
            use()


def test_circuits_of_the_last_format_are_read():
    old = json.loads(simple().to_json())
    old["format"] = 2
    for part in old["populations"]:
        if "neuron" in part:
            part["lif"] = part.pop("neuron")
    assert Circuit.from_json(json.dumps(old)).hash() == simple().hash()


@pytest.mark.parametrize("shape", [[10**12], [-1], [True], ["3"]])
def test_an_array_cannot_claim_more_than_it_holds(shape):
    bomb = {"array": base64.b64encode(zlib.compress(bytes(10**6))).decode(), "dtype": "<f8", "shape": shape}
    text = json.loads(Circuit([PoissonSource("s", 2, rates=[0.1, 0.2]), Population("n", 1, LIFParameters())]).to_json())
    text["populations"][0]["rates"] = bomb
    with pytest.raises(ValueError, match="an array does not decode"):
        Circuit.from_json(json.dumps(text))


def test_no_more_is_decompressed_than_the_shape_needs():
    bomb = {"array": base64.b64encode(zlib.compress(bytes(10**8))).decode(), "dtype": "<f8", "shape": [2]}
    text = json.loads(Circuit([PoissonSource("s", 2, rates=[0.1, 0.2]), Population("n", 1, LIFParameters())]).to_json())
    text["populations"][0]["rates"] = bomb
    with pytest.raises(ValueError, match="more bytes than the 16 of shape"):
        Circuit.from_json(json.dumps(text))


def test_the_fingerprint_is_made_once(monkeypatch):
    circuit, calls = simple(), []
    monkeypatch.setattr("mnnbio.circuit.serialisation.fingerprint", lambda c: calls.append(c) or "a" * 16)
    assert circuit.hash() == circuit.hash() == "a" * 16
    assert len(calls) == 1
