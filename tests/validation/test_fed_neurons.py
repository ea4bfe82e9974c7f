"""Neurons on a bench fire spike for spike as in a circuit; predicted circuits of other neurons against spikes."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    CurrentDrive,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    predict,
    predict_spectra,
    simulate,
)
from mnnbio.neurons import EIF, AdEx, ConductanceLIF
from mnnbio.synapses import Alpha, Conductance, Delta, Exponential
from mnnbio.theory import Surrogates, predict_second_order
from mnnbio.validation import neuron_bench

DT, RECORD, WARM = 0.1, 250.0, 1000.0  # ms; the bench warms up with repetitions of the record
SHORT = Surrogates(pairs=8, duration=3200.0)
EXCITE, INHIBIT = Conductance(5.0, reversal=0.0, name="e"), Conductance(10.0, reversal=-80.0, name="i")


@pytest.mark.parametrize(
    ("neuron", "synapse", "weight"),
    [
        (LIFParameters(v_reset=10.0, t_ref=2.0), Delta(), 2.0),
        (LIFParameters(tau_m=np.array([15.0, 20.0, 25.0])), Exponential(5.0), 2.0),
        (AdEx(b=20.0), Alpha(2.0), 4.0),
        (ConductanceLIF(), EXCITE, 2.0),
    ],
)
def test_a_bench_fires_as_a_circuit_does(neuron, synapse, weight):
    """What is fed in a step is what spikes of a source bring in it; noise and jumps of drives are the same."""
    rng, size, steps = np.random.default_rng(0), 3, round(RECORD / DT)
    arrived = (rng.random((size, steps)) < 0.04).astype(np.float32)
    drives = [GaussianDrive("A", mean=0.3, std=0.5), PoissonDrive("A", rate=0.5, weight=weight / 4, synapse=synapse)]
    one = Circuit([Population("A", size, neuron)], drives=drives)
    with neuron_bench(one, [np.arange(size)], [[synapse]], DT, codegen="runtime") as bench:
        (fired,) = bench([[weight * arrived]], steps, 7)
    index, step = np.nonzero(arrived)
    times = np.concatenate([(step + 0.5) * DT + k * RECORD for k in range(-round(WARM / RECORD), 1)])
    source = SpikeSource("silent0", times, np.tile(index, round(WARM / RECORD) + 1), size)
    known = Circuit(
        [source, Population("A", size, neuron)],
        [Projection("silent0", "A", weights=weight * np.eye(size), synapse=synapse)],
        drives,
    )
    found = simulate(known, RECORD, warmup=WARM, dt=DT, seed=7, codegen="runtime", covariance=False)["spikes"]
    place = np.floor(found.spike_time.values * 1e3 / DT).astype(int)
    expected = np.zeros((size, steps), np.uint8)
    row = np.repeat(np.arange(size), found.row_size.values[0])
    expected[row[place >= 0], place[place >= 0]] = 1
    assert expected.sum() > 5
    np.testing.assert_array_equal(fired, expected)


def adaptive() -> Circuit:
    sizes, neurons = {"E": 400, "I": 100}, {"E": AdEx(b=40.0), "I": AdEx(a=0.0, b=0.0)}
    return Circuit(
        [Population(name, sizes[name], neurons[name]) for name in "EI"],
        [
            Projection(a, b, weight=w, tau_syn=tau, connectivity=FixedIndegree(n), delay=1.5)
            for a, w, tau, n in (("E", 0.6, 5.0, 40), ("I", -3.0, 8.0, 10)) for b in "EI"
        ],
        [PoissonDrive(name, rate=5.0, weight=0.6, tau_syn=5.0) for name in "EI"],
        seed=2,
    )  # fmt: skip


def counted(circuit: Circuit, seconds: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return rates (Hz) and Fano factors of counts in 100 ms of the populations, and their errors, from trials of 4 s."""
    rows = []
    for trial in range(seconds // 4):
        found = simulate(circuit, 4000.0, warmup=500.0, dt=DT, seed=trial, window=100.0, covariance=False)["simulation"]
        rate, variance = found["rate"].values, found["count_variance"].values
        own = circuit.slices().values()
        rows.append([[rate[p].mean(), variance[p].mean() / (rate[p].mean() * 0.1)] for p in own if p.stop <= len(rate)])
    table = np.array(rows)
    mean, error = table.mean(0), table.std(0, ddof=1) / np.sqrt(len(table))
    return tuple({"rate": v[:, 0], "fano": v[:, 1]} for v in (mean, error))


@pytest.mark.slow
def test_adaptive_neurons_fire_as_predicted():
    """Four standard errors beside 2 % of rates, and 5 % of Fano factors."""
    options = {"dt": DT, "closure": "self_consistent", "surrogates": SHORT}
    found = predict(adaptive(), window=100.0, resolution="population", **options)
    known, error = counted(adaptive(), 20)
    rate, fano = found.rate.values, found.count_fano.values
    assert (abs(rate - known["rate"]) < 4 * np.hypot(found.rate_se, error["rate"]) + 0.02 * rate).all()
    assert (abs(fano - known["fano"]) < 4 * np.hypot(found.count_fano_se, error["fano"]) + 0.05 * fano).all()
    assert found.attrs["status"] == "converged"
    assert found.attrs["input"] == "synapses"
    assert "mean_input" not in found
    # Spectra are those of the same state: a train's power over the size, beside what pairs add.
    spectra = predict_spectra(adaptive(), [0.5 / 100, 2.0], **options)
    assert spectra.attrs["stability_with_delays"] == "stable"
    fast = spectra.power.values[1] * np.array([400, 100])
    np.testing.assert_allclose(fast, rate, rtol=0.05)
    cross = spectra.cross_real + 1j * spectra.cross_imag
    np.testing.assert_allclose(cross.values, cross.values.conj().transpose(0, 2, 1))


@pytest.mark.slow
def test_leaky_neurons_are_those_of_their_own_route():
    lif = LIFParameters(v_reset=10.0, t_ref=2.0)
    circuit = Circuit(
        [Population("E", 400, lif), Population("I", 100, lif)],
        [
            Projection(a, b, weight=w, tau_syn=2.0, connectivity=FixedIndegree(n), delay=1.5)
            for a, w, n in (("E", 0.15, 40), ("I", -0.9, 10)) for b in "EI"
        ],
        [GaussianDrive(name, mean=1.1, std=1.0) for name in "EI"],
        seed=1,
    )  # fmt: skip
    one, other = (
        predict_second_order(circuit, dt=DT, window=100.0, surrogates=Surrogates(pairs=8, duration=3200.0, input=kind))
        for kind in ("synapses", None)
    )
    error = np.hypot(one.rate_se, other.rate_se)
    assert (abs(one.rate - other.rate) < 4 * error + 0.01 * other.rate).all()
    error = np.hypot(one.count_fano_se, other.count_fano_se)
    assert (abs(one.count_fano - other.count_fano) < 4 * error + 0.05 * other.count_fano).all()
    largest = float(abs(other.count_covariance).max())
    off = abs(one.count_covariance - other.count_covariance)
    assert (off < 4 * np.hypot(one.count_covariance_se, other.count_covariance_se) + 0.15 * largest).all()


@pytest.mark.slow
def test_neurons_that_receive_sources_and_currents():
    """Feed-forward: no loops, shared trains; without any projection, no covariance."""
    neuron = EIF()
    drives = [GaussianDrive("A", mean=0.45, std=0.6), CurrentDrive("A", np.full(60, 20.0))]
    alone = Circuit([Population("A", 60, neuron)], drives=drives)
    found = predict_second_order(alone, dt=DT, window=100.0, surrogates=SHORT)
    known, error = counted(alone, 12)
    assert abs(found.rate - known["rate"])[0] < 4 * np.hypot(found.rate_se, error["rate"])[0] + 0.01 * known["rate"][0]
    assert found.count_covariance.item() == 0
    read = Circuit(
        [PoissonSource("in", 1000, rates=0.01), *alone.populations],
        [Projection("in", "A", weight=0.4, tau_syn=3.0, connectivity=FixedIndegree(100))],
        drives,
    )
    found = predict_second_order(read, dt=DT, window=100.0, surrogates=SHORT)
    known, error = counted(read, 12)
    off = abs(found.rate - known["rate"])[0]
    assert off < 4 * np.hypot(found.rate_se, error["rate"])[0] + 0.02 * known["rate"][0]
    assert found.count_covariance.item() > 0


def conducting() -> Circuit:
    """The circuit "COBA" of ``benchmarks/other_neurons.py``."""
    sizes, weights, synapses = {"E": 1600, "I": 400}, {"E": 0.5, "I": 5.0}, {"E": EXCITE, "I": INHIBIT}
    return Circuit(
        [Population(name, size, ConductanceLIF()) for name, size in sizes.items()],
        [
            Projection(a, b, weight=weights[a], synapse=synapses[a], connectivity=FixedIndegree(n), delay=1.5)
            for a, n in (("E", 100), ("I", 25)) for b in "EI"
        ],
        [PoissonDrive(name, rate=2.0, weight=0.6, synapse=EXCITE) for name in "EI"],
        seed=12,
    )  # fmt: skip


def exponential() -> Circuit:
    """The circuit "AdEx" of ``benchmarks/other_neurons.py``."""
    sizes, neurons = {"E": 800, "I": 200}, {"E": AdEx(), "I": AdEx(a=0.0, b=0.0)}
    return Circuit(
        [Population(name, sizes[name], neurons[name]) for name in "EI"],
        [
            Projection(a, b, weight=w, tau_syn=tau, connectivity=FixedIndegree(n), delay=1.5)
            for a, w, tau, n in (("E", 0.8, 5.0, 100), ("I", -4.0, 8.0, 25)) for b in "EI"
        ],
        [PoissonDrive(name, rate=5.0, weight=0.6, tau_syn=5.0) for name in "EI"],
        seed=11,
    )  # fmt: skip


@pytest.mark.reproduce
@pytest.mark.parametrize("make", [exponential, conducting])
def test_rates_within_three_and_fano_factors_within_ten_percent(make):
    found = predict_second_order(make(), dt=DT, window=100.0)  # a warning would be an error
    known, _ = counted(make(), 40)
    np.testing.assert_allclose(found.rate, known["rate"], rtol=0.03)
    np.testing.assert_allclose(found.count_fano, known["fano"], rtol=0.10)
