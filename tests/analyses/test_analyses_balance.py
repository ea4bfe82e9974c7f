"""Currents of excitation and inhibition against sums over synapses written out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from brian2 import second
from scipy import sparse

from mnnbio.analyses import binned_counts
from mnnbio.analyses.balance import current_balance, current_correlation
from mnnbio.circuit import (
    Circuit,
    CurrentDrive,
    Drive,
    GaussianDrive,
    InputCumulants,
    InputSteps,
    JumpTrain,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.neurons import ConductanceLIF, LIFParameters
from mnnbio.results import neuron_coords, ragged
from mnnbio.synapses import Conductance, Exponential, ShortTermPlasticity
from mnnbio.values import Oscillation, Ramp, Samples, Steps

RNG = np.random.default_rng(0)
MIXED = RNG.normal(0, 1, (4, 3))  # weights of both signs, from a source
RECURRENT = np.abs(RNG.normal(0, 1, (2, 4))) * (RNG.random((2, 4)) < 0.7)
MODES = ModeMatrix(RNG.normal(size=(4, 2)), [-0.5, 0.3], RNG.normal(size=(2, 2)))


@pytest.fixture
def circuit() -> Circuit:
    return Circuit(
        populations=[
            PoissonSource("input", 3, rates=[0.01, 0.02, 0.03]),
            Population("E", 4, LIFParameters()),
            Population("I", 2, LIFParameters()),
        ],
        projections=[
            Projection("input", "E", weights=MIXED),
            Projection("E", "I", weights=sparse.csr_array(RECURRENT)),
            Projection("I", "E", weights=MODES),
        ],
        drives=[GaussianDrive("E", mean=[0.5, -0.5, 0.0, 1.0]), PoissonDrive("I", rate=2.0, weight=-0.25)],
    )


def rates(values) -> xr.DataArray:
    return xr.DataArray(values, dims=["neuron"], coords=neuron_coords({"E": 4, "I": 2}), name="rate")


def test_currents_are_sums_over_synapses(circuit):
    r = np.array([5.0, 10.0, 15.0, 20.0, 30.0, 40.0])
    found = current_balance(rates(r), circuit)
    e, i = np.zeros(6), np.zeros(6)
    weights = {(k, "input"): MIXED[k] for k in range(4)} | {(k, "I"): MODES.to_dense()[k] for k in range(4)}
    weights |= {(4 + k, "E"): RECURRENT[k] for k in range(2)}
    source = {"input": [0.01, 0.02, 0.03], "E": r[:4] * 1e-3, "I": r[4:] * 1e-3}
    for (target, name), row in weights.items():
        for w, rate in zip(row, source[name], strict=True):
            if w > 0:
                e[target] += w * rate
            else:
                i[target] += w * rate
    e += [0.5, 0, 0, 1.0, 0, 0]
    i += [0, -0.5, 0, 0, -0.5, -0.5]
    np.testing.assert_allclose(found["excitation"], 1e3 * e)
    np.testing.assert_allclose(found["inhibition"], 1e3 * i)
    np.testing.assert_allclose(found["net"], 1e3 * (e + i))
    np.testing.assert_allclose(found["cancelled"], 1 - np.abs(e + i) / (e - i))


def test_inputs_that_change_are_averaged_over_the_recording():
    steps = Steps([0.0, 50.0], [1.0, 1.5])
    circuit = Circuit(
        populations=[
            PoissonSource("input", 3, rates=Steps([0.0, 150.0], [[0.01, 0.0, 0.02], [0.03, 0.0, 0.02]])),
            Population("E", 4, LIFParameters()),
            Population("I", 2, LIFParameters()),
        ],
        projections=[Projection("input", "E", weights=np.ones((4, 3)))],
        drives=[
            GaussianDrive("E", mean=steps, std=0.5),
            GaussianDrive("E", mean=Oscillation(-0.5, 0.3, 0.01), std=Ramp(0.0, 100.0, 0.1, 0.5)),
            PoissonDrive("I", rate=Samples(np.full(600, 2.0), 0.5), weight=-0.25),
        ],
    )
    # 50 of 300 ms at 1, 250 at 1.5; three whole periods; the source's rates 0.04 spikes/ms in the mean.
    for options in ({"duration": 300}, {"duration": 0.3 * second}):
        found = current_balance(rates(np.ones(6)), circuit, **options)
        np.testing.assert_allclose(found["excitation"][:4], 1e3 * (425 / 300 + 0.04), rtol=1e-9)
        np.testing.assert_allclose(found["inhibition"], [-500] * 4 + [-500] * 2, rtol=1e-9)
    with_time = xr.Dataset({"rate": rates(np.ones(6))}, attrs={"duration": 0.3})
    np.testing.assert_allclose(current_balance(with_time, circuit)["net"], found["net"])
    # Without a duration, a long time: the last of steps.
    np.testing.assert_allclose(current_balance(rates(np.ones(6)), circuit)["excitation"][0], 1e3 * (1.5 + 0.05))


def test_currents_of_stimuli_that_change():
    mean = Steps([0.0, 100.0], [[[1.0], [2.0]], [[3.0], [2.0]]])  # (time, stimulus, neuron)
    circuit = Circuit([Population("E", 1, LIFParameters())], drives=[GaussianDrive("E", mean=mean, std=1.0)])
    two = xr.DataArray(np.ones((2, 1)), dims=["stimulus", "neuron"], coords=neuron_coords({"E": 1}), name="rate")
    np.testing.assert_allclose(current_balance(two, circuit, duration=200)["excitation"][:, 0], [2000, 2000])


@dataclass(frozen=True, eq=False)
class Pulses(Drive):
    """Jumps of 2 mV at some rate, and a current: a drive of a user's own."""

    level: Any = 0.0

    INPUTS: ClassVar[Mapping[str, int]] = {"level": 1}

    def cumulants(self, dt):
        return InputCumulants(mean=self.level, jumps=(JumpTrain(-2.0, 0.1),))

    def steps(self, dt):
        return InputSteps(mean=self.level, jumps=(JumpTrain(-2.0, 0.1),))


def test_a_drive_of_a_users_own_counts_by_its_cumulants():
    circuit = Circuit([Population("E", 2, LIFParameters())], drives=[Pulses("E", Steps([0.0, 10.0], [0.5, 0.7]))])
    one = xr.DataArray(np.ones(2), dims=["neuron"], coords=neuron_coords({"E": 2}), name="rate")
    np.testing.assert_allclose(current_balance(one, circuit, duration=20)["excitation"], 400.0)
    np.testing.assert_allclose(current_balance(one, circuit, duration=20)["inhibition"], 0.0)


@pytest.mark.parametrize("duration", [0, -5, np.nan])
def test_no_time_to_average_over_is_refused(circuit, duration):
    with pytest.raises(ValueError, match="`duration` must be"):
        current_balance(rates(np.ones(6)), circuit, duration=duration)


def test_errors_of_currents_are_those_of_repetitions(circuit):
    rng = np.random.default_rng(1)
    mean, se = np.array([5.0, 10.0, 15.0, 20.0, 30.0, 40.0]), np.array([1.0, 2.0, 0.5, 1.0, 3.0, 2.0])
    sampled = xr.concat([rates(mean + se * rng.normal(size=6)) for _ in range(500)], "stimulus")
    spread = current_balance(sampled, circuit).std("stimulus")
    found = current_balance(xr.Dataset({"rate": rates(mean), "rate_se": rates(se)}), circuit)
    for name in ("excitation", "inhibition"):
        np.testing.assert_allclose(found[f"{name}_se"], spread[name], rtol=4 / np.sqrt(2 * 500), atol=1e-9)


def test_rates_of_another_circuit_are_refused(circuit):
    with pytest.raises(ValueError, match=r"all neurons of the circuit \(E: 4, I: 2\), got {'neuron': 4}"):
        current_balance(rates(np.ones(6)).isel(neuron=slice(4)), circuit)
    with pytest.raises(ValueError, match="expected a variable `rate`, got power"):
        current_balance(xr.Dataset({"power": 1.0}), circuit)


def test_inhibition_that_follows_excitation_is_correlated_with_it():
    n, steps = 40, 4000
    rng = np.random.default_rng(2)
    common = rng.gamma(4.0, 0.05, (1, steps, 1))
    table = rng.poisson(common, (1, steps, 2 * n))
    moved = np.moveaxis(table, -1, -2)
    number = moved.ravel()
    times = 5e-3 * (np.repeat(np.broadcast_to(np.arange(steps), moved.shape).ravel(), number) + 0.5)
    trains = ragged(
        times, moved.sum(axis=-1), ("trial", "neuron"), neuron_coords({"E": n, "I": n}), duration=steps * 5e-3
    )
    full = np.ones((n, n))
    circuit = Circuit(
        populations=[Population(name, n, LIFParameters()) for name in "EI"],
        projections=[
            Projection("E", "E", weights=full), Projection("E", "I", weights=full), Projection("I", "E", weights=-full)
        ],
    )  # fmt: skip
    found = current_correlation(trains, circuit, 5.0, neurons=3)
    # Sums of n Poisson counts with a common rate of variance v and mean m: correlation n v / (n v + m).
    v, m = 4 * 0.05**2, 4 * 0.05
    assert found.sizes["neuron"] == 6
    np.testing.assert_allclose(found["correlation"][:3], n * v / (n * v + m), atol=4 / np.sqrt(steps))
    assert found["correlation"][3:].isnull().all()  # nothing inhibits them
    counts = xr.Dataset({"count": binned_counts(trains, 5.0).sum("neuron").expand_dims(population=["E"], axis=-1)})
    with pytest.raises(ValueError, match="need counts of single neurons"):
        current_correlation(counts, circuit)


def test_one_course_of_all_trains_of_a_source():
    source = PoissonSource("input", 3, Steps([-10.0, 50.0], [0.2, 0.1]))
    circuit = Circuit([source, Population("E", 4, LIFParameters())], [Projection("input", "E", weights=MIXED)])
    rates = xr.DataArray(np.zeros(4), dims="neuron", coords=neuron_coords({"E": 4}), name="rate")
    found = current_balance(rates, circuit, duration=100.0)
    np.testing.assert_allclose(found["net"], 1e3 * MIXED.sum(axis=1) * 0.15)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"synapse": Conductance(5.0, reversal=0.0)}, "are in nS"),
        ({"synapse": Exponential(5.0, unit="pA")}, "are in pA"),
        ({"plasticity": ShortTermPlasticity(U=0.5, tau_rec=800.0)}, "change"),
        ({}, "is not in mV"),
    ],
)
def test_currents_that_rates_do_not_tell_are_refused(options, reason):
    circuit = Circuit(
        [PoissonSource("input", 3, 0.1), Population("E", 4, ConductanceLIF())],
        [Projection("input", "E", weights=np.abs(MIXED), **options)],
        [] if options else [CurrentDrive("E", 100.0)],
    )
    rates = xr.DataArray(np.zeros(4), dims="neuron", coords=neuron_coords({"E": 4}), name="rate")
    with pytest.raises(ValueError, match=reason):
        current_balance(rates, circuit)
