"""Recurrent circuits as spikes against their predictions: rates, covariances, spectra and the response to a step.

``benchmarks/recurrent_covariances.py`` measures the covariances ten times longer.
"""

from dataclasses import replace

import numpy as np
import pytest
from brian2 import ms, second

from mnnbio import (
    Bernoulli,
    Circuit,
    Counts,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    Steps,
    predict,
    predict_spectra,
    predict_time_course,
    simulate,
)
from mnnbio.analyses.binned_counts import population_rates
from mnnbio.analyses.spectra import population_spectra
from mnnbio.theory.inputs import external_input, wire
from mnnbio.theory.stationary import stationary_state

pytestmark = [
    pytest.mark.slow,
    pytest.mark.standalone,
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
]

SIZES = {"E": 320, "I": 80}
PLACES = {"E": slice(0, 320), "I": slice(320, 400)}
PAIRS = [("E", "E"), ("E", "I"), ("I", "I")]
# weight (mV), connection probability, mean (mV/ms) and standard deviation (mV/√ms) of the drive
STATES = {"low": (0.1, 0.2, 0.95, 1.0), "320/80": (0.4, 0.1, 0.9, 1.6), "middle": (0.2, 0.4, 1.05, 1.0)}
WINDOW, TRIALS = 1.0, 16


def circuit(state):
    weight, p, mean, std = STATES[state]
    lif = LIFParameters(v_reset=0.0, t_ref=5.0)
    signs = {"E": weight, "I": -5 * weight}
    return Circuit(
        [Population(name, size, lif) for name, size in SIZES.items()],
        [Projection(a, b, weight=signs[a], connectivity=Bernoulli(p), delay=1.5) for a in SIZES for b in SIZES],
        [GaussianDrive(name, mean=mean, std=std) for name in SIZES],
        seed=3,
    )


def blocks(covariance):
    """Return the mean over different neurons, and the sum, of every block of a covariance."""
    found = {}
    for a, b in PAIRS:
        block = covariance[PLACES[a], PLACES[b]]
        pairs = block.size - len(block) * (a == b)
        found[a, b] = np.array([(block.sum() - (np.trace(block) if a == b else 0.0)) / pairs, block.sum()])
    return found


@pytest.fixture(scope="module", params=STATES)
def compared(request):
    """Name, circuit, simulation, prediction, and (mean, error) of the blocks of the simulated covariance."""
    net = circuit(request.param)
    result = simulate(net, 20 * second, TRIALS, 0.5 * second, 0.1 * ms, seed=7, record=Counts(bin=5 * ms))
    counts = result["counts/count"].transpose("trial", "time", "neuron").values.astype(np.float64)
    table = counts.reshape(TRIALS, -1, round(WINDOW / 5e-3), 400).sum(2)
    samples = [blocks(np.cov(trial.T) / WINDOW) for trial in table]
    estimates = {
        pair: (np.mean([s[pair] for s in samples], 0), np.std([s[pair] for s in samples], 0, ddof=1) / TRIALS**0.5)
        for pair in PAIRS
    }
    return request.param, net, result, predict(net, dt=0.1), estimates, counts.mean((0, 1)) / 5e-3


def test_rates(compared):
    _, _, _, prediction, _, rates = compared
    own = prediction["rate"].values
    assert np.corrcoef(own, rates)[0, 1] > 0.98
    for place in PLACES.values():
        assert own[place].mean() == pytest.approx(rates[place].mean(), rel=0.03)


def test_covariance_of_summed_activity(compared):
    """Within 10 % of the simulation, and what chance leaves of it."""
    _, _, _, prediction, estimates, _ = compared
    value, error = (v[1] for v in estimates["E", "E"])
    predicted = prediction["population_covariance"].values[0, 0]
    assert abs(predicted - value) < 0.1 * value + 3 * error
    np.testing.assert_allclose(predicted, blocks(prediction["covariance"].values)["E", "E"][1], rtol=1e-9)


@pytest.mark.parametrize("compared", ["320/80"], indirect=True)
def test_mean_covariances_of_pairs_and_the_rule_that_fails(compared):
    """Within 15 % of the E-E value; iterating the feed-forward rule gives E-I and I-I the sign of E-E."""
    _, net, _, prediction, estimates, _ = compared
    scale = estimates["E", "E"][0][0]
    predicted, wrong = blocks(prediction["covariance"].values), blocks(iterated(net))
    for pair in PAIRS:
        value, error = (v[0] for v in estimates[pair])
        assert abs(predicted[pair][0] - value) < 0.15 * scale + 2 * error
    for pair in PAIRS[1:]:
        value, error = (v[0] for v in estimates[pair])
        assert abs(wrong[pair][0] - value) > 0.5 * scale + 4 * error


def iterated(net):
    """Return the fixed point of ``C → A W C Wᵀ A`` off the diagonal and the variance on it, Hz."""
    wired = wire(net, 0.1)
    external = external_input(net, wired, 0.1)
    state = stationary_state(
        wired.recurrent, external.mean, external.received, wired.neurons, closure="poisson", dt=0.1
    )
    effective = state.gain[:, None] * wired.recurrent.to_dense()
    covariance = np.diag(state.variance)
    for _ in range(100):
        covariance = effective @ covariance @ effective.T
        np.fill_diagonal(covariance, state.variance)
    return 1e3 * covariance


def test_spectra_of_population_activity(compared):
    """Power in bands of 20 Hz; the stronger the loops, the more the resonance exceeds linear response."""
    name, net, result, _, _, _ = compared
    tolerance = {"low": 0.2, "320/80": 0.2, "middle": 0.45}[name]
    estimate = population_spectra(population_rates(result, bin=5.0), segment=500.0)
    predicted = predict_spectra(net, estimate["frequency"].values * 1e-3, dt=0.1)
    for low, high in ((2, 20), (20, 40), (40, 60)):
        band = (estimate["frequency"] > low) & (estimate["frequency"] <= high)
        ratio = predicted["power"].where(band).mean("frequency") / estimate["power"].where(band).mean("frequency")
        np.testing.assert_allclose(ratio, 1, atol=tolerance)


def test_rates_with_exponential_synapses():
    lif = LIFParameters(v_reset=10.0, t_ref=2.0)
    weights = {"E": 0.2, "I": -1.0}
    degrees = {"E": FixedIndegree(80), "I": FixedIndegree(20)}
    net = Circuit(
        [Population("E", 800, lif), Population("I", 200, lif)],
        [
            Projection(a, b, weight=weights[a], connectivity=degrees[a], delay=1.5, tau_syn=0.5)
            for a in weights
            for b in weights
        ],
        [PoissonDrive(name, rate=10.0, weight=0.1, tau_syn=0.5) for name in weights],
    )
    result = simulate(net, 1 * second, 2, 0.2 * second, 0.1 * ms, seed=1, record=Counts(bin=1 * second))
    rate = result["counts/count"].mean().item()
    predicted = predict(net, dt=0.1, resolution="population")["rate"]
    np.testing.assert_allclose(predicted, rate, rtol=0.02)
    delta = [replace(projection, tau_syn=0.0) for projection in net.projections]
    drives = [replace(drive, tau_syn=0.0) for drive in net.drives]
    without = predict(Circuit(net.populations, delta, drives), dt=0.1, resolution="population")["rate"]
    assert (without > 1.1 * rate).all()


def test_the_response_to_a_step():
    lif = LIFParameters(v_reset=10.0, t_ref=2.0)
    signs = {"E": 0.2, "I": -1.0}
    mean = Steps([0.0, 50.0], [0.85, 1.1])
    net = Circuit(
        [Population("E", 1600, lif), Population("I", 400, lif)],
        [
            Projection(a, b, weight=signs[a], connectivity=FixedIndegree(80 if a == "E" else 20), delay=1.5)
            for a in signs
            for b in signs
        ],
        [GaussianDrive("E", mean=mean, std=1.0), GaussianDrive("I", mean=0.85, std=1.0)],
    )
    result = simulate(net, 100.0, 30, 100.0, 0.1, seed=5, record=Counts(bin=5.0, per="population"))
    rates = population_rates(result, bin=5.0).transpose("trial", "time", "population").values
    times = np.arange(0.0, 100.5, 0.5)
    course = predict_time_course(net, times, dt=0.1, step=0.1, cells=250)["rate"].values
    predicted = course[:-1].reshape(20, 10, 2).mean(1)
    error = rates.std(0, ddof=1) / np.sqrt(len(rates))
    assert (abs(predicted - rates.mean(0)) < 4 * error + 0.05 * rates.mean(0)).all()
    assert predicted[11:, 0].mean() > 1.5 * predicted[:9, 0].mean()
