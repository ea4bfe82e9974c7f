"""Synapses from fast to slow against the membrane: rates and counts of simulated neurons, and limits of the prediction."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import Conductance
from mnnbio.theory import SlowSynapseWarning

pytestmark = [
    pytest.mark.filterwarnings("error::mnnbio.theory.validity.SlowSynapseWarning"),
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
]
LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=0.0, t_ref=5.0)
SIZE = 60


def noisy(name, mean, weight, tau_syn):
    """Jumps of either sign, 50 a ms each: noise of the standard deviation ten times their size."""
    jumps = [PoissonDrive(name, 50.0, sign * weight, tau_syn=tau_syn) for sign in (1, -1)]
    return [GaussianDrive(name, mean=mean), *jumps]


CASES = {
    **{f"rare {tau}": (0.8, 0.15, (tau,)) for tau in (0.5, 20.0)},
    **{f"tonic {tau}": (1.3, 0.1, (tau,)) for tau in (50.0, 1000.0)},
    "two": (0.8, 0.12, (2.0, 100.0)),
}


@pytest.fixture(scope="module")
def simulated():
    drives = []
    for name, (mean, weight, times) in CASES.items():
        for k, tau in enumerate(times):
            drives += noisy(name, mean if k == 0 else 0.0, weight, tau)
    # Jumps of 0.7 mV, the mean above threshold; and 0.1 mV beside white noise.
    names = [*CASES, "jumps", "beside white"]
    drives.append(PoissonDrive("jumps", 2.0, 0.7, tau_syn=5.0))
    drives += [*noisy("beside white", 0.8, 0.12, 100.0), GaussianDrive("beside white", mean=0.0, std=0.6)]
    circuit = Circuit([Population(name, SIZE, LIF) for name in names], [], drives)
    found = simulate(circuit, 8000.0, warmup=2000.0, dt=0.1, seed=5, window=100.0, covariance=False)
    return circuit, found["simulation"]


@pytest.mark.slow
def test_rates_are_within_two_percent_of_simulations(simulated):
    """Beside 3 standard errors of the mean of all neurons; Fano factors of counts in 100 ms within 15 %."""
    circuit, found = simulated
    expected = predict(circuit, dt=0.1, window=100.0, resolution="population", covariance=False)
    rates = found["rate"].values.reshape(-1, SIZE)
    mean, error = rates.mean(1), rates.std(1, ddof=1) / SIZE**0.5
    assert (mean > 1).all()
    np.testing.assert_array_less(np.abs(expected["rate"].values - mean), 0.02 * mean + 3 * error)
    counts = found["count_variance"].values.reshape(-1, SIZE).mean(1) / (mean * 0.1)
    np.testing.assert_allclose(expected["count_fano"], counts, rtol=0.15)


@pytest.mark.parametrize("resolution", ["neuron", "population"])
def test_slow_synapses_above_threshold_leave_the_rate_of_the_mean(resolution):
    still = predict(Circuit([Population("E", 1, LIF)], drives=[GaussianDrive("E", mean=1.4)]))["rate"].item()
    for tau, within in ((1000.0, 1e-3), (10_000.0, 3e-4)):
        circuit = Circuit([Population("E", 1, LIF)], drives=[PoissonDrive("E", 2.0, 0.7, tau_syn=tau)])
        for dt in (None, 0.1):
            found = predict(circuit, dt=dt, resolution=resolution, covariance=False)["rate"].item()
            late = 0.0 if dt is None else dt / 2  # half a step until the threshold is tested
            assert found == pytest.approx(1e3 / (1e3 / still + late), rel=within)


def test_rates_do_not_jump_where_synapses_become_white():
    def rate(tau):
        circuit = Circuit([Population("E", 1, LIF)], drives=noisy("E", 0.9, 0.1, tau))
        return [predict(circuit, dt=dt, covariance=False)["rate"].item() for dt in (None, 0.1)]

    white = np.array(rate(0.0))
    for tau in (1e-6, 1e-4):
        # In steps of 0.1 ms, jumps that come at once have 0.5 % more variance than those of currents.
        np.testing.assert_array_less(np.abs(rate(tau) / white - 1), [3 * (tau / 20) ** 0.5, 5e-3])


def test_a_loop_of_slow_synapses_has_one_state_at_both_resolutions():
    loop = Projection("E", "E", weight=-0.05, connectivity=FixedIndegree(20), tau_syn=30.0, delay=1.0)
    circuit = Circuit([Population("E", 60, LIF)], [loop], noisy("E", 0.9, 0.1, 30.0))
    neurons = predict(circuit, dt=0.1, window=100.0)
    populations = predict(circuit, dt=0.1, window=100.0, resolution="population")
    np.testing.assert_allclose(neurons["rate"].mean(), populations["rate"][0], rtol=1e-6)
    np.testing.assert_allclose(neurons["count_fano"].mean(), populations["count_fano"][0], rtol=1e-6)


def test_slow_conductances_do_not_warn_of_leaky_neurons():
    opened = PoissonDrive("E", 100.0, 0.1, synapse=Conductance(10.0, 0.0))
    predict(Circuit([Population("E", 1, ConductanceLIF())], drives=[opened]), dt=0.1)
    assert issubclass(SlowSynapseWarning, UserWarning)
