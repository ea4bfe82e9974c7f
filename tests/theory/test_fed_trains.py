"""Trains that neurons receive apart from their circuit: counts, moments, what is refused; responses and loops."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import brentq

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    SpikeSource,
    predict,
    predict_oscillations,
    predict_spectra,
)
from mnnbio.moments import spectral_bands
from mnnbio.neurons import AdEx, ConductanceLIF, Izhikevich
from mnnbio.synapses import STDP, Alpha, Conductance, Exponential, GapJunction
from mnnbio.theory import Surrogates, predict_second_order, register_bench
from mnnbio.theory import samplers as registry
from mnnbio.theory.fed_populations import smooth
from mnnbio.theory.fed_state import growing_modes, is_fed
from mnnbio.theory.fed_trains import arrivals, differ, link, pool, representatives, white_given

DT, STEPS = 0.1, 4096
EXCITE = Conductance(5.0, reversal=0.0)


def circuit(neuron=None, **synapses):
    given = {"weight": 0.5, "connectivity": FixedIndegree(20), **synapses}
    return Circuit(
        [Population("A", 100, neuron or AdEx())],
        [Projection("A", "A", **given)],
        [GaussianDrive("A", mean=1.0, std=1.0)],
        seed=1,
    )


def linked(one: Circuit, records: int = 40):
    chosen = np.arange(records)
    return link(one, one.projections[0], {"A": 0}, chosen, np.random.default_rng(0))


def trains(number: int, chance: float) -> np.ndarray:
    return (np.random.default_rng(1).random((number, STEPS)) < chance).astype(np.uint8)


def test_every_spike_of_every_train_arrives_once():
    spikes = np.zeros((6, STEPS), np.uint8)
    spikes[:, ::512] = 1  # eight in each, wherever it is shifted to
    given = arrivals(linked(circuit()), pool(spikes), (0, 0, 0))
    np.testing.assert_allclose(given.sum(1), 20 * 8 * 0.5)


def test_shifted_trains_have_the_moments_of_independent_ones():
    """Poisson trains: mean and variance of the sum are Σw r and Σw² r (1 - r); five standard errors."""
    chance = 0.02
    given = arrivals(linked(circuit()), pool(trains(60, chance)), (0, 0, 0))
    samples = given.size
    mean, variance = 20 * 0.5 * chance, 20 * 0.25 * chance * (1 - chance)
    # The pool itself is a sample of 60 trains, which all neurons share.
    of_pool = 20 * 0.5 * np.sqrt(chance / (60 * STEPS))
    assert abs(given.mean() - mean) < 5 * np.hypot(of_pool, np.sqrt(variance / samples))
    assert given.var() == pytest.approx(variance, rel=0.05)
    assert abs(np.corrcoef(given[:2])[0, 1]) < 5 / np.sqrt(STEPS)


def test_a_part_of_the_trains_is_in_the_whole():
    given = pool(trains(30, 0.02))
    whole, part = (arrivals(linked(circuit()), given, (3, 1, 0), part=p) for p in (False, True))
    assert (whole - part >= -1e-6).all()
    assert part.mean() == pytest.approx(whole.mean() / 5, rel=0.1)


def test_numbers_of_synapses_are_those_of_the_rule():
    drawn = linked(circuit(connectivity=Bernoulli(0.2)), 400)
    degrees = np.bincount(drawn.record, minlength=400)
    assert degrees.mean() == pytest.approx(0.2 * 99, abs=0.1)  # quantiles, not draws
    assert degrees.var() == pytest.approx(0.2 * 0.8 * 99, rel=0.1)
    assert (np.bincount(linked(circuit()).record) == 20).all()
    assert differ(circuit(connectivity=Bernoulli(0.2)))
    assert not differ(circuit())


def test_explicit_weights_are_those_of_the_neurons_that_stand():
    weights = np.random.default_rng(0).normal(size=(100, 100))
    one = circuit(weight=None, connectivity=None, weights=weights)
    chosen = representatives(one, one.neurons[0], 30, np.random.default_rng(1))
    assert len(set(chosen.tolist())) == 30
    found = link(one, one.projections[0], {"A": 0}, chosen, np.random.default_rng(2))
    sums = np.bincount(found.record, found.weight)
    np.testing.assert_allclose(sums, weights[chosen].sum(1))
    # The best of many sets is closer to all than a random one is.
    assert abs(sums.mean() - weights.sum(1).mean()) < weights.sum(1).std() / np.sqrt(30)


def test_noise_and_means_scale_with_the_rates():
    given = white_given((linked(circuit()),), np.array([1e-3]), 40, STEPS, 0)
    for rate in (1e-3, 4e-3):
        brought = given.feed(0, np.array([rate]))
        assert brought.mean() == pytest.approx(20 * 0.5 * rate, abs=5 * np.sqrt(20 * 0.25 * rate / brought.size))
        assert brought.var() == pytest.approx(20 * 0.25 * rate, rel=0.02)


def test_a_known_response_is_recovered_from_noisy_bands():
    """A delayed low-pass of 8 ms, with noise like that of counts: within the noise that is left."""
    bands = spectral_bands(131072, DT, factor=1.15, linear=5.0, width=5.0)

    def response(f):
        return np.exp(-2j * np.pi * f * 1.0) / (1 + 2j * np.pi * f * 8.0)

    rng, size = np.random.default_rng(0), len(bands.frequency)
    noise = (rng.normal(size=size) + 1j * rng.normal(size=size)) * 0.2 / np.sqrt(bands.number)
    f = np.array([0.0, 0.002, 0.01, 0.05, 0.1])
    fitted = smooth(bands, response(bands.frequency) + noise, 1.0)
    found = fitted(f)
    np.testing.assert_allclose(found, response(f), atol=0.04)
    # A multiple of the same, through a filter of 5 ms more.
    filtered = 3 * response(bands.frequency) / (1 + 2j * np.pi * bands.frequency * 5.0)
    other = smooth(bands, filtered + 3 * noise, 3.0, fitted)
    np.testing.assert_allclose(other(f), 3 * response(f) / (1 + 2j * np.pi * f * 5.0), atol=0.12)
    assert abs(found[0] - 1) < 0.01


@pytest.mark.parametrize(("factor", "expected"), [(0.9, 0), (1.1, 2)])
def test_delayed_inhibition_oscillates_where_its_closed_form_says(factor, expected):
    """``1 + k e^{-iωd}/(1 + iωτ) = 0`` first where ``ωd + arctan(ωτ) = π``, ``k² = 1 + ω²τ²``."""
    delay, tau = 3.0, 10.0
    omega = brentq(lambda w: w * delay + np.arctan(w * tau) - np.pi, 1e-3, np.pi / delay)
    strength = factor * np.sqrt(1 + (omega * tau) ** 2)
    s = 2j * np.pi * np.arange(0, 0.5, 2e-4)
    assert growing_modes((-strength * np.exp(-s * delay) / (1 + s * tau))[:, None, None]) == expected
    assert growing_modes((factor / (1 + s * tau))[:, None, None]) == expected // 2


def test_who_is_simulated_by_the_engine():
    lif, default = LIFParameters(), Surrogates()
    assert not is_fed(circuit(lif), default)
    assert not is_fed(circuit(lif, tau_syn=5.0), default)
    assert is_fed(circuit(lif), Surrogates(input="synapses"))
    assert is_fed(circuit(lif, synapse=Alpha(2.0)), default)
    assert is_fed(circuit(), default)
    assert is_fed(circuit(ConductanceLIF(), synapse=Exponential(5.0, unit="pA")), default)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (circuit(plasticity=STDP(w_max=1.0)), r"projection 'A' → 'A' has synapses that change \(STDP\)"),
        (circuit(synapse=GapJunction()), "GapJunction synapses, which do more than add what arrives"),
        (
            circuit().with_parts(drives=[GaussianDrive("A", std=1.0, factor=np.ones((100, 1)))]),
            "has noise that neurons share .* Give a PoissonSource",
        ),
        (
            Circuit(
                [Population("A", 10, AdEx()), SpikeSource("s", [1.0], [0], 1)],
                [Projection("s", "A", weights=np.ones((10, 1)))],
            ),
            "no theory for the source 's', a SpikeSource",
        ),
    ],
)
def test_what_cannot_be_received_is_refused_by_name(given, message):
    with pytest.raises(TypeError, match=message):
        predict_second_order(given, dt=DT)


def test_what_cannot_be_asked_is_refused():
    options = {"dt": DT, "closure": "self_consistent"}
    with pytest.raises(TypeError, match="give resolution='population'"):
        predict(circuit(), **options)
    with pytest.raises(ValueError, match="give `dt`"):
        predict(circuit(), closure="self_consistent", resolution="population")
    with pytest.raises(TypeError, match="`predict_spectra` has the resonances of others"):
        predict_oscillations(circuit(), **options)
    with pytest.raises(ValueError, match="leave out `response`"):
        predict_spectra(circuit(), [0.01], response="mean", **options)
    with pytest.raises(ValueError, match=r"Invalid value .currents. for `input`"):
        Surrogates(input="currents")


def test_other_closures_name_this_one():
    with pytest.raises(TypeError, match="closure='self_consistent', resolution='population' simulates such neurons"):
        predict(circuit(Izhikevich()), dt=DT, closure="poisson")


def test_benches_are_loaded_when_they_are_needed():
    code = "from mnnbio.theory.samplers import bench_maker; print(bench_maker().__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mnnbio.validation.fed_neurons"


def test_a_bench_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_makers", [])
    with pytest.raises(TypeError, match=r"must be called like `mnnbio\.theory\.BenchMaker`"):
        register_bench(3)
    own = SimpleNamespace()
    register_bench(lambda *given: own)
    assert registry.bench_maker()(None, None, None, None) is own


def test_poisson_drives_through_shared_synapses_count_as_received():
    """What drives bring through synapses of the circuit is their Campbell variance times the squared response."""
    from mnnbio.theory.fed_populations import FedAnswers, FedPopulations

    one = circuit(ConductanceLIF(), synapse=EXCITE)
    one = one.with_parts(drives=[PoissonDrive("A", rate=2.0, weight=0.6, synapse=EXCITE)])
    fed = FedPopulations(one, DT, Surrogates(pairs=4, duration=400.0))
    shape = len(fed.bands.frequency)
    answers = FedAnswers(np.ones((1, shape)), np.full((1, shape), 0.3 + 0.4j))
    np.testing.assert_allclose(fed.from_drives(answers), 0.6**2 * 2.0 * 0.25)
