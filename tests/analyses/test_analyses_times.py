"""Times are numbers in ms or quantities in every analysis, and bins are whole numbers of steps."""

import numpy as np
import pytest
import synthetic
import xarray as xr
from brian2 import Hz, kHz, ms, second

from mnnbio.analyses import (
    accuracy_against_time,
    binned_counts,
    compare,
    current_correlation,
    dynamics,
    network_state,
    oscillation,
    population_covariances,
    population_rates,
    population_spectra,
    spike_statistics,
    step_response,
    stored_readout,
    synchrony,
)
from mnnbio.results import neuron_coords, ragged

DT = 0.4  # ms; 1 ms is no whole number of these steps


def stepped(dt: float = DT, *, rate: float = 0.02, n: int = 200, steps: int = 10000, trials: int = 2) -> xr.Dataset:
    """Return Bernoulli trains, one number a step, of `rate` spikes/ms: nothing in them oscillates."""
    table = np.random.default_rng(1).random((trials, n, steps)) < rate * dt
    sizes = table.sum(axis=-1)
    times = 1e-3 * dt * np.nonzero(table)[2]
    coords = {"trial": range(trials), **neuron_coords({"a": n})}
    return ragged(
        times, sizes, ("trial", "neuron"), coords, duration=1e-3 * steps * dt, warmup=0.0, dt=1e-3 * dt
    )  # fmt: skip


@pytest.fixture(scope="module")
def trains() -> xr.Dataset:
    return stepped()


@pytest.fixture(scope="module")
def made() -> synthetic.Synthetic:
    return synthetic.make({"hidden": 6, "output": 3}, stimuli=3, trials=4, duration=1.0, outputs=2, seed=1)


# Each analysis: what it is asked with numbers in ms, and with quantities.
BOTH = {
    "binned_counts": (lambda r, c: binned_counts(r, 10), lambda r, c: binned_counts(r, 10 * ms)),
    "start": (lambda r, c: binned_counts(r, 10, start=-50), lambda r, c: binned_counts(r, 10, start=-0.05 * second)),
    "stop": (lambda r, c: binned_counts(r, 10, stop=500), lambda r, c: binned_counts(r, 10, stop=0.5 * second)),
    "population_rates": (lambda r, c: population_rates(r, 5), lambda r, c: population_rates(r, 0.005 * second)),
    "spectra": (
        lambda r, c: population_spectra(population_rates(r, 5), 100),
        lambda r, c: population_spectra(population_rates(r, 5), 0.1 * second),
    ),
    "oscillation": (
        lambda r, c: oscillation(population_spectra(population_rates(r)), 0.01, 0.2),
        lambda r, c: oscillation(population_spectra(population_rates(r)), 10 * Hz, 0.2 * kHz),
    ),
    "synchrony": (lambda r, c: synchrony(r, 10), lambda r, c: synchrony(r, 10 * ms)),
    "network_state": (
        lambda r, c: network_state(r, bin=2, segment=200),
        lambda r, c: network_state(r, bin=2 * ms, segment=0.2 * second),
    ),
    "covariances": (
        lambda r, c: population_covariances(r, 20),
        lambda r, c: population_covariances(r, 20 * ms),
    ),
    "statistics": (
        lambda r, c: spike_statistics(r, windows=[50, 100]),
        lambda r, c: spike_statistics(r, windows=[50, 100] * ms),
    ),
    "one window": (lambda r, c: spike_statistics(r, windows=50), lambda r, c: spike_statistics(r, windows=50 * ms)),
    "response": (
        lambda r, c: step_response(population_rates(r, 5), 300, before=50, after=100, settled=50),
        lambda r, c: step_response(
            population_rates(r, 5), 0.3 * second, before=50 * ms, after=100 * ms, settled=0.05 * second
        ),
    ),
    "correlation": (
        lambda r, c: current_correlation(r, c, 10),
        lambda r, c: current_correlation(r, c, 10 * ms),
    ),
}


@pytest.mark.parametrize("name", BOTH)
def test_numbers_are_ms_and_quantities_do_as_well(made, name):
    number, quantity = (analyse(made.simulation, made.circuit) for analyse in BOTH[name])
    xr.testing.assert_allclose(number, quantity)
    assert number.attrs.keys() == quantity.attrs.keys()
    for value in quantity.attrs.values():
        assert not hasattr(value, "dim"), "attributes are plain, so that a file can hold them"


def test_decision_times_and_rates_too(made):
    readout = stored_readout(made.simulation)
    number = accuracy_against_time(made.simulation, readout, made.labels, [50, 100])
    xr.testing.assert_identical(number, accuracy_against_time(made.simulation, readout, made.labels, [50, 100] * ms))
    np.testing.assert_allclose(number["time"], [0.05, 0.1])
    least = [compare(made.prediction, made.simulation, permutations=9, min_rate=rate) for rate in (0.01, 10 * Hz)]
    assert int(least[0]["rate_relative_count"]) == int(least[1]["rate_relative_count"])
    assert least[1].attrs["min_rate"] == pytest.approx(10.0)  # Hz, as results are labelled


def test_results_are_in_seconds_and_hertz(made):
    rates = population_rates(made.simulation, 5)
    assert rates.attrs["bin"] == pytest.approx(0.005)
    assert rates["time"].attrs["units"] == "s"
    assert float(rates["time"][-1]) == pytest.approx(0.9975)
    assert spike_statistics(made.simulation, windows=50)["window"].to_numpy().tolist() == [0.05]


# Bins.

CUT = {
    "binned_counts": lambda t, b: binned_counts(t, b),
    "population_rates": lambda t, b: population_rates(t, b),
    "synchrony": lambda t, b: synchrony(t, b),
    "network_state": lambda t, b: network_state(t, bin=b),
    "covariances": lambda t, b: population_covariances(t, b),
    "statistics": lambda t, b: spike_statistics(t, windows=b),
    "dynamics": lambda t, b: dynamics(xr.DataTree.from_dict({"/spikes": t}), bin=b),
}


@pytest.mark.parametrize("name", CUT)
def test_bins_that_are_no_whole_number_of_steps_are_refused(trains, name):
    with pytest.raises(ValueError, match=r"dt = 0.4 ms, got 1 ms, 2.5 steps, which would give false rhythms: take 0.8"):
        CUT[name](trains, 1.0)
    with pytest.raises(ValueError, match=r"at least one step, dt = 0.4 ms, got 0.001 ms: times are numbers in ms"):
        CUT[name](trains, 0.001)  # a bin in seconds, of before


def test_default_bins_are_whole_numbers_of_steps(trains):
    tree = xr.DataTree.from_dict({"/spikes": trains})
    measured = dynamics(tree)
    assert population_rates(trains).attrs["bin"] == pytest.approx(0.8e-3)
    assert measured["synchrony"].attrs["bin"] == pytest.approx(4.8e-3)
    assert measured["state"].attrs["bin"] == pytest.approx(0.8e-3)
    assert population_covariances(trains).attrs["window"] == pytest.approx(0.1)
    coarse = stepped(20.0, rate=0.01, steps=500)
    assert population_rates(coarse).attrs["bin"] == pytest.approx(0.02)  # one step at least
    assert population_rates(stepped(0.3)).attrs["bin"] == pytest.approx(0.9e-3)


def test_independent_steps_have_no_rhythm(trains):
    found = oscillation(population_spectra(population_rates(trains)), low=100 * Hz)
    assert float(found["prominence"][0]) < 3  # a bin of 1 ms, 2 or 3 steps in turn, would give 43 at 500 Hz
    # Bernoulli numbers of 1,000 steps in 0.8 ms bins: Fano factor 1 - r dt of the summed count.
    fano = synchrony(trains, 0.8)
    assert abs(float(fano["population_fano"][0]) - (1 - 0.02 * DT)) < 4 * float(fano["population_fano_se"][0])


def test_the_step_of_a_result_is_found_at_its_root(made):
    with pytest.raises(ValueError, match=r"dt = 0.1 ms, got 0.25 ms, 2.5 steps"):
        population_rates(made.simulation, 0.25)
    with pytest.raises(ValueError, match=r"dt = 0.1 ms, got 0.25 ms, 2.5 steps"):
        population_rates(made.simulation["spikes"], 0.25)


def test_trains_without_a_step_take_any_bin(trains):
    del (free := trains.copy()).attrs["dt"]
    assert binned_counts(free, 1.0).sizes["time"] == 4000


def test_decisions_are_taken_at_whole_steps(made):
    with pytest.raises(ValueError, match=r"`times` must be a whole number of steps, dt = 0.1 ms, got 50.05 ms"):
        accuracy_against_time(made.simulation, stored_readout(made.simulation), made.labels, [50.05])


def test_stored_bins_are_the_steps_of_counts(trains):
    table = binned_counts(trains, 4.0)
    stored = xr.Dataset({"count": table.assign_coords(time=table["time"] - 0.002)})
    np.testing.assert_array_equal(binned_counts(stored, 8.0), binned_counts(trains, 8.0))
    np.testing.assert_array_equal(binned_counts(stored, 8.0, stop=400), binned_counts(trains, 8.0, stop=400))
    assert population_rates(stored).attrs["bin"] == pytest.approx(0.004)  # the nearest to 1 ms that there is
    with pytest.raises(ValueError, match=r"the stored bin = 4 ms, got 6 ms, 1.5 steps"):
        binned_counts(stored, 6.0)


def test_time_that_was_not_recorded_is_not_silence(made):
    with pytest.raises(ValueError, match="the recording lasts from -200 ms to 1000 ms, -300 ms to 1000 ms are asked"):
        binned_counts(made.simulation, 10, start=-300)
    with pytest.raises(ValueError, match="the recording lasts from -200 ms to 1000 ms, 0 ms to 2000 ms are asked for"):
        binned_counts(made.simulation, 10, stop=2000)
