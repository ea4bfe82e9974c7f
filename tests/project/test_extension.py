"""Parts of a user's own: one class in one file, nothing registered, and it works everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import xarray as xr

from mnnbio import (
    Circuit,
    DistanceDependent,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    build,
    load,
    predict,
    predict_spectra,
    save,
    simulate,
)
from mnnbio.circuit import Connectivity, Drive, InputCumulants, InputSteps, JumpTrain, Profile, StepCode
from mnnbio.neurons import NeuronDynamics, NeuronModel
from mnnbio.spikes import Recording, Reduction
from mnnbio.synapses import PlasticityRule, SynapseCode, SynapseModel, SynapseSteps
from mnnbio.theory import Answer, answer
from mnnbio.units import in_unit
from mnnbio.values import Distribution, Moments, TimeCourse

K = 4.0  # standard errors
LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=0.0, t_ref=2.0)


@dataclass(frozen=True)
class Chain(Connectivity):
    """A synfire chain: each neuron to the next."""

    def sample(self, n_target, n_source, rng, *, autapses):
        return np.arange(1, n_target, dtype=np.int32), np.arange(n_target - 1, dtype=np.int32)

    def mean_indegree(self, n_target, n_source, *, autapses):
        return (n_target - 1) / n_target


@dataclass(frozen=True, repr=False)
class TwoValues(Distribution):
    """Two values, equally likely."""

    one: Any
    other: Any

    VALUES: ClassVar[tuple[str, ...]] = ("one", "other")

    def __post_init__(self):
        self._settle()

    def sample(self, size, rng):
        return np.where(rng.random(size) < 0.5, self.one, self.other)

    def moments(self):
        return Moments((self.one + self.other) / 2, abs(self.one - self.other) / 2)

    @property
    def lowest(self):
        return min(self.one, self.other)

    def __mul__(self, factor):
        return TwoValues(self.one * factor, self.other * factor, unit=self.unit)


@dataclass(frozen=True, eq=False, repr=False)
class Pulse(TimeCourse):
    """A value while a pulse lasts, else 0."""

    start: float
    stop: float
    height: Any

    VALUES: ClassVar[tuple[str, ...]] = ("height",)

    def __post_init__(self):
        self._settle()

    def at(self, times):
        inside = (np.asarray(times) >= self.start) & (np.asarray(times) < self.stop)
        return np.where(inside, self.height, 0.0)

    def time_average(self):
        return np.asarray(0.0)

    def lowest(self):
        return np.asarray(min(0.0, self.height))

    def highest(self):
        return np.asarray(max(0.0, self.height))


@dataclass(frozen=True)
class Triangle(Profile):
    """Linearly falling to 0 at a distance."""

    reach: float

    def at(self, distance):
        return np.maximum(1 - distance / self.reach, 0.0)


@dataclass(frozen=True, eq=False)
class Balanced(Drive):
    """Excitatory and inhibitory Poisson trains of one rate."""

    rate: Any = 0.0
    weight: float = 1.0

    INPUTS: ClassVar = {"rate": 1}

    def __post_init__(self):
        object.__setattr__(self, "rate", np.asarray(in_unit(self.rate, "1/ms", "rate")))

    def _trains(self):
        return JumpTrain(self.weight, self.rate), JumpTrain(-self.weight, self.rate)

    def cumulants(self, dt):
        return InputCumulants(jumps=self._trains())

    def steps(self, dt):
        return InputSteps(jumps=self._trains())


@dataclass(frozen=True, eq=False)
class NoisyCurrent(Drive):
    """White noise given in Brian2's language: a current that is added step by step."""

    mean: float = 0.0
    std: float = 0.0

    def cumulants(self, dt):
        return InputCumulants(mean=np.asarray(self.mean), variance=np.asarray(self.std**2))

    def steps(self, dt):
        size = {"drift": self.mean * dt * 1e-3, "size": self.std * np.sqrt(dt) * 1e-3}
        return InputSteps(code=(StepCode("drift + size*z", size, {"drift": "volt", "size": "volt"}, normal=("z",)),))


@dataclass(frozen=True)
class Quadratic(NeuronModel):
    """A quadratic integrate-and-fire neuron, as Latham et al. (2000)."""

    tau_m: Any = 10.0
    v_th: float = 30.0

    def dynamics(self, dt):
        return NeuronDynamics(
            equations="dv/dt = (v**2/(10*mV) - v)/tau_m : volt\ntau_m : second (constant)\nv_th : volt (constant)",
            threshold="v > v_th",
            reset="v = -5*mV",
            method="euler",
            values={"tau_m": np.asarray(self.tau_m) * 1e-3, "v_th": self.v_th * 1e-3},
            start={"v": 0.0},
            receives={"v": "volt"},
            order="threshold_first",
        )


@dataclass(frozen=True)
class AlphaCurrent(SynapseModel):
    """An alpha-shaped current, whose charge is the weight."""

    tau: float = 5.0

    def spike(self, weight):
        return weight / self.tau**2 * 1e3  # mV/ms² = 1e3 V/s²

    def steps(self, target, name, dt):
        a, b, h = 1 / np.asarray(target.tau_m), 1 / self.tau, dt
        # V' = -aV + y, y' = -by + x, x' = -bx, exactly over a step.
        c = a - b
        px = (np.exp(-b * h) * (c * h - 1) + np.exp(-a * h)) / c**2
        py = (np.exp(-b * h) - np.exp(-a * h)) / c
        return SynapseSteps(
            adds_to=f"x{name}",
            unit="volt/second**2",
            declarations=(
                f"x{name} : volt/second**2\ny{name} : volt/second\nfade{name} : 1 (constant)\n"
                f"px{name} : second**2 (constant)\npy{name} : second (constant)\nh{name} : second (constant)\n"
            ),
            values={
                f"fade{name}": np.exp(-b * h),
                f"px{name}": px * 1e-6,
                f"py{name}": py * 1e-3,
                f"h{name}": h * 1e-3,
            },
            start={f"x{name}": 0.0, f"y{name}": 0.0},
            updates={f"y{name}": f"fade{name}*(y{name} + h{name}*x{name})", f"x{name}": f"fade{name}*x{name}"},
            term=f"px{name}*x{name} + py{name}*y{name}",
        )


@dataclass(frozen=True)
class Perfect(NeuronModel):
    """A perfect integrator, whose intervals are inverse Gaussian."""

    v_th: float = 10.0

    def dynamics(self, dt):
        return NeuronDynamics(
            equations="dv/dt = 0*volt/second : volt\nv_th : volt (constant)",
            threshold="v >= v_th",
            reset="v -= v_th",
            method="euler",
            values={"v_th": self.v_th * 1e-3},
            start={"v": 0.0},
            receives={"v": "volt"},
        )


@answer.register
def _(neuron: Perfect, mean, std, dt):
    fano = std**2 / (mean * neuron.v_th)
    rate = mean / neuron.v_th
    return Answer(rate, rate * fano, torch.full_like(rate, 1 / neuron.v_th), 3 * fano**2)


@dataclass(frozen=True)
class Latency(Reduction):
    """Time of the first spike of every neuron, to a millisecond."""

    GROUP: ClassVar = "latencies"
    VARIABLES: ClassVar = {"latency": ("neuron",), "active": ()}
    ATTRS: ClassVar = {"latency": {"units": "s", "long_name": "time of the first spike"}}

    def bin_length(self):
        return "bin", 1.0

    def start(self, size, n_bins):
        return np.full(size, np.nan)

    def add(self, state, first, counts):
        found = np.where(counts.any(axis=0), (first + counts.argmax(axis=0)) * 1e-3, np.nan)
        return np.where(np.isnan(state), found, state)

    def result(self, state):
        return {"latency": state, "active": np.sum(~np.isnan(state))}


def with_rule(rule: Connectivity) -> Circuit:
    return Circuit(
        [Population("E", 20, LIF)],
        [Projection("E", "E", weight=0.3, connectivity=rule, delay=1.0)],
        [GaussianDrive("E", mean=1.1, std=0.5)],
    )


def with_drive(drive: Drive, n: int = 20) -> Circuit:
    return Circuit([Population("E", n, LIF)], [], [GaussianDrive("E", mean=0.9, std=0.2), drive])


CIRCUITS = {
    "connectivity": lambda: with_rule(Chain()),
    "profile": lambda: with_rule(DistanceDependent(Triangle(0.3), p=0.5)),
    "distribution": lambda: Circuit(
        [Population("E", 20, LIF)],
        [Projection("E", "E", weight=TwoValues(0.1, 0.5), connectivity=Chain(), delay=TwoValues(1.0, 2.0))],
        [GaussianDrive("E", mean=1.1, std=0.5)],
    ),
    "drive": lambda: with_drive(Balanced("E", 0.5, 0.8)),
    "drive in Brian2's language": lambda: with_drive(NoisyCurrent("E", 0.1, 1.0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CIRCUITS)
def test_a_part_works_in_theory_json_files_and_python(name, tmp_path):
    circuit = CIRCUITS[name]()
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash()
    simulated = simulate(circuit, 500.0, trials=4, warmup=200.0, seed=1, codegen="runtime", covariance=False)
    save(simulated, tmp_path / "result.nc")
    stored = load(tmp_path / "result.nc")
    assert Circuit.from_json(str(stored["circuit"].item())).hash() == circuit.hash() == stored.attrs["circuit_hash"]
    rate, se = (simulated[f"simulation/{n}"].to_numpy() for n in ("rate", "rate_se"))
    for resolution in ("neuron", "population"):
        predicted = predict(circuit, dt=0.1, resolution=resolution, covariance=False)["rate"].to_numpy()
        # The theory of the tested circuits is good to some 5 %.
        error = np.sqrt((se**2).mean() / len(rate))
        assert abs(rate.mean() - predicted.mean()) < K * error + 0.05 * predicted.mean()
    assert predict_spectra(circuit, [0.01, 0.1], dt=0.1)["power"].notnull().all()
    assert type(circuit.drives[-1]).__name__ in circuit.describe() or name != "drive"
    circuit.plot()


def test_a_drive_is_predicted_as_the_parts_it_consists_of():
    own = predict(with_drive(Balanced("E", 0.5, 0.8)), dt=0.1)
    parts = Circuit(
        [Population("E", 20, LIF)],
        [],
        [GaussianDrive("E", mean=0.9, std=0.2), PoissonDrive("E", 0.5, 0.8), PoissonDrive("E", 0.5, -0.8)],
    )
    xr.testing.assert_allclose(own["rate"], predict(parts, dt=0.1)["rate"], rtol=1e-12)
    for options in ({"theory": "first_passage"}, {"closure": "renewal"}):
        one, other = (
            predict(c, dt=0.1, **options)["rate"] for c in (with_drive(Balanced("E", 0.5, 0.8), 1), one_of(parts))
        )
        np.testing.assert_allclose(one.to_numpy(), other.to_numpy()[:1], rtol=1e-12)


def one_of(circuit: Circuit) -> Circuit:
    return circuit.with_parts(populations=[Population("E", 1, LIF)])


def test_a_time_course_works_where_a_number_may_stand():
    circuit = Circuit(
        [PoissonSource("in", 5, rates=Pulse(20.0, 40.0, 0.5)), Population("E", 3, LIF)],
        [Projection("in", "E", weights=np.full((3, 5), 5.0))],
        [GaussianDrive("E", mean=Pulse(60.0, 100.0, 3.0))],
    )
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash()
    spikes = simulate(circuit, 120.0, seed=1, codegen="runtime")["spikes/spike_time"].to_numpy()
    during = ((spikes > 0.02) & (spikes < 0.045)) | ((spikes > 0.06) & (spikes < 0.105))
    assert during.all()
    assert during.sum() > 10
    assert predict(circuit.at_time(80.0), dt=0.1)["rate"].min() > predict(circuit.averaged(), dt=0.1)["rate"].max()


def quadratic() -> Circuit:
    return Circuit(
        [PoissonSource("in", 10, rates=0.2), Population("E", 4, Quadratic(tau_m=[8.0, 10.0, 12.0, 14.0]))],
        [
            Projection("in", "E", weights=np.full((4, 10), 1.5)),
            Projection("E", "E", weights=1.0 - np.eye(4), delay=1.0),
        ],
        [GaussianDrive("E", mean=0.3, std=0.3), PoissonDrive("E", rate=0.1, weight=0.5)],
    )


@pytest.mark.slow
def test_a_neuron_of_the_user_runs_and_is_refused_by_the_theory_by_name():
    circuit = quadratic()
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash()
    result = simulate(circuit, 500.0, trials=2, seed=1, codegen="runtime")
    assert (result["simulation/rate"] > 1.0).all()
    for resolution in ("neuron", "population"):
        with pytest.raises((TypeError, ValueError), match="Quadratic"):
            predict(circuit, dt=0.1, resolution=resolution)


def test_a_neuron_without_input_follows_its_equation():
    circuit = Circuit([Population("E", 1, Quadratic())], [], [GaussianDrive("E", mean=1.0)])
    steps = np.rint(simulate(circuit, 200.0, seed=1, codegen="runtime")["spikes/spike_time"].to_numpy() / 1e-4 - 0.5)
    v, expected = 0.0, []
    for step in range(2000):
        v += 0.1 * (v**2 / 10 - v) / 10  # mV, ms
        fired = v > 30
        v += 0.1  # input of 1 mV/ms arrives after the threshold test and before the reset
        if fired:
            expected.append(step)
            v = -5.0
    assert steps.tolist() == expected
    assert len(expected) > 3


@pytest.mark.slow
def test_a_theory_is_registered_for_a_type_of_neuron():
    n = 40
    circuit = Circuit(
        [PoissonSource("in", 30, rates=0.2), Population("E", n, Perfect())],
        [Projection("in", "E", weights=np.full((n, 30), 0.05))],
        [GaussianDrive("E", mean=0.4, std=0.6)],
    )
    predicted = predict(circuit, dt=0.1, window=100.0)
    simulated = simulate(circuit, 1000.0, trials=4, warmup=100.0, window=100.0, seed=1, codegen="runtime")["simulation"]
    mean, variance = 0.4 + 30 * 0.2 * 0.05, 0.36 + 30 * 0.2 * (1 - 0.02) * 0.05**2
    np.testing.assert_allclose(predicted["rate"], 1e3 * mean / 10, rtol=1e-12)
    np.testing.assert_allclose(predicted["fano"], variance / (mean * 10), rtol=1e-12)
    for name in ("rate", "fano"):
        error = float(np.sqrt((simulated[f"{name}_se"] ** 2).mean() / n))
        assert abs(float((simulated[name] - predicted[name]).mean())) < K * error
    averaged = predict(circuit, dt=0.1, window=100.0, resolution="population")
    for name in ("rate", "fano"):
        np.testing.assert_allclose(averaged[name], predicted[name].mean(), rtol=1e-12)
    for options in ({"closure": "renewal"}, {"dt": 0.1, "theory": "first_passage"}):
        with pytest.raises(TypeError, match="Perfect"):
            predict(circuit, **options)


def weighted(rate, variance):
    """A closure between the two limits."""
    return 0.6 * rate + 0.4 * variance


@pytest.mark.parametrize("resolution", ["neuron", "population"])
def test_a_closure_is_a_function(resolution):
    layers = Circuit(
        [Population(name, 5, LIF) for name in "ab"],
        [Projection("a", "b", weights=np.full((5, 5), 0.4))],
        [GaussianDrive("a", mean=1.2, std=0.5), GaussianDrive("b", mean=0.6, std=0.3)],
    )
    recurrent = with_rule(Chain())
    for circuit in (layers, recurrent):
        rates = {
            name: predict(circuit, dt=0.1, closure=closure, resolution=resolution, covariance=False)["rate"].to_numpy()
            for name, closure in {
                "poisson": "poisson",
                "moments": "moments",
                "rate": lambda rate, variance: rate,
                "variance": lambda rate, variance: variance,
                "between": weighted,
            }.items()
        }
        np.testing.assert_allclose(rates["rate"], rates["poisson"], rtol=1e-8)
        np.testing.assert_array_equal(rates["variance"], rates["moments"])
        low, high = np.sort([rates["poisson"], rates["moments"]], axis=0)
        assert (rates["between"] >= low - 1e-9).all()
        assert (rates["between"] <= high + 1e-9).all()
        assert predict(circuit, dt=0.1, closure=weighted, covariance=False).attrs["closure"] == "weighted"


def alpha_weights() -> np.ndarray:
    return np.kron(np.eye(3), np.full(3, 8.0))


def alpha(tau: float = 5.0) -> Circuit:
    return Circuit(
        [PoissonSource("in", 9, rates=0.1), Population("E", 3, LIF)],
        [Projection("in", "E", weights=alpha_weights(), synapse=AlphaCurrent(tau))],
    )


def test_a_synapse_of_the_user_runs_and_is_refused_by_the_theory_by_name():
    circuit = alpha()
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash()
    assert (simulate(circuit, 500.0, seed=1, codegen="runtime")["simulation/rate"] > 1.0).all()
    for resolution in ("neuron", "population"):
        with pytest.raises((TypeError, ValueError), match="AlphaCurrent"):
            predict(circuit, dt=0.1, resolution=resolution)


@pytest.mark.slow
def test_a_synapse_moves_the_membrane_by_its_charge():
    # A short alpha current is a delta synapse, a spike that arrives some steps later.
    short = simulate(alpha(0.05), 500.0, trials=8, seed=1, codegen="runtime")["simulation"]
    base = alpha()
    delta = base.with_parts(projections=[Projection("in", "E", weights=alpha_weights())])
    plain = simulate(delta, 500.0, trials=8, seed=1, codegen="runtime")["simulation"]
    error = np.hypot(short["rate_se"], plain["rate_se"])
    assert (abs(short["rate"] - plain["rate"]) < K * error).all()


@dataclass(frozen=True, kw_only=True)
class Habituation(PlasticityRule):
    """A spike of the source takes a fraction of the weight."""

    loss: float = 0.1

    def code(self, unit, spike):
        return SynapseCode(on_pre="w -= loss*w", values={"loss": self.loss}, units={"loss": "1"}, changes_weights=True)


def habituating(loss: float = 0.1) -> Circuit:
    times = np.arange(10.0, 110.0, 10.0)
    return Circuit(
        [SpikeSource("in", np.concatenate([times, times[:4]]), [0] * 10 + [1] * 4), Population("E", 3, LIF)],
        [Projection("in", "E", weights=np.array([[30.0, 2.0]] * 3), plasticity=Habituation(loss=loss))],
    )


def test_a_rule_of_the_user_changes_weights():
    circuit = habituating()
    assert Circuit.from_json(circuit.to_json()).hash() == circuit.hash() != habituating(0.2).hash()
    assert "Habituation" in circuit.describe()
    result = simulate(circuit, 120.0, trials=2, codegen="runtime")
    weights = result["weights/in_to_E"]["weight"].to_numpy()
    # Source 0 has fired ten times, source 1 four times; every trial starts from the weights of the circuit.
    np.testing.assert_allclose(
        np.sort(weights.reshape(2, 6), axis=-1), [[2 * 0.9**4] * 3 + [30 * 0.9**10] * 3] * 2, rtol=1e-12
    )
    # A spike is transmitted with the weight that it finds, into a leaky membrane.
    v, fired = 0.0, 0
    for k in range(10):
        v = v * np.exp(-10 / 20) + (30 + 2 * (k < 4)) * 0.9**k
        if v >= 20:
            v, fired = 0.0, fired + 1
    assert 0 < fired < 10
    np.testing.assert_allclose(result["simulation/rate"], fired / 0.12)
    noisy = circuit.with_parts(populations=[PoissonSource("in", 2, rates=0.1), *circuit.neurons])
    for resolution in ("neuron", "population"):
        with pytest.raises((TypeError, ValueError), match="Habituation"):
            predict(noisy, dt=0.1, resolution=resolution)


def two_populations() -> Circuit:
    return Circuit([Population("a", 4, LIF), Population("b", 3, LIF)], [], [GaussianDrive(n, 0.9, 1.0) for n in "ab"])


def latencies(trains: xr.Dataset) -> np.ndarray:
    ends = np.cumsum(trains["row_size"].to_numpy().ravel())
    rows = np.split(trains["spike_time"].to_numpy(), ends[:-1])
    return np.array([np.floor(row[row > 0][0] * 1e3) * 1e-3 if (row > 0).any() else np.nan for row in rows])


def test_a_recording_of_the_user_reduces_what_the_spikes_say(tmp_path):
    run = {"duration": 60.0, "trials": 3, "warmup": 10.0, "seed": 3, "codegen": "runtime"}
    reduced = simulate(two_populations(), record=Latency(), **run)
    spikes = simulate(two_populations(), **run)
    found = reduced["latencies/latency"]
    assert found.dims == ("trial", "neuron")
    assert found.attrs["units"] == "s"
    np.testing.assert_allclose(found.to_numpy().ravel(), latencies(spikes["spikes"].to_dataset()), atol=1e-12)
    assert (
        reduced["latencies/active"].dims == ("trial", "population") or "population" in reduced["latencies/active"].dims
    )
    save(reduced, tmp_path / "result.nc")
    xr.testing.assert_equal(load(tmp_path / "result.nc")["latencies/latency"], found)


@pytest.mark.slow
def test_shares_of_a_recording_of_the_user_are_merged():
    with build(two_populations(), record=Latency(), codegen="runtime") as program:
        whole = program.run(60.0, trials=3, seed=3)
        shares = [program.run(60.0, trials=3, seed=3, presentations=[[0, k]]) for k in (2, 0, 1)]
    merged = Recording.merge(shares).reduced["latencies"].values
    for name, values in whole.reduced["latencies"].values.items():
        np.testing.assert_array_equal(merged[name], values)


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize(
    "make",
    [quadratic, alpha, habituating, CIRCUITS["drive"], CIRCUITS["drive in Brian2's language"]],
    ids=lambda f: f.__name__,
)
def test_generated_code_gives_the_same_spikes(make):
    one, other = (
        simulate(make(), 300.0, trials=3, seed=2, codegen=codegen)["spikes"]
        for codegen in ("runtime", "cpp_standalone")
    )
    assert one["spike_time"].size > 20
    np.testing.assert_array_equal(one["row_size"], other["row_size"])
    np.testing.assert_array_equal(one["spike_time"], other["spike_time"])
