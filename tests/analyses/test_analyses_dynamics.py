"""Population rates, spectra, synchrony, responses and states of trains whose truth is known."""

import json

import numpy as np
import pytest
import xarray as xr
from scipy import signal

from mnnbio.analyses import binned_counts
from mnnbio.analyses.binned_counts import population_rates
from mnnbio.analyses.responses import step_response
from mnnbio.analyses.spectra import oscillation, population_spectra
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.states import network_state, synchrony
from mnnbio.results import neuron_coords, ragged

STEP = 1e-3  # s
MS = 1.0


def from_counts(table: np.ndarray, sizes: dict[str, int], *, warmup: float = 0.0) -> xr.Dataset:
    """Return trains with table[..., trial, time, neuron] spikes spread evenly over each step of 1 ms."""
    moved = np.moveaxis(table, -1, -2)
    number = moved.ravel()
    place = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    step = np.broadcast_to(np.arange(table.shape[-2]), moved.shape).ravel()
    times = STEP * (np.repeat(step, number) + (place + 0.5) / np.repeat(number, number)) - warmup
    dims = ("stimulus", "trial", "neuron")[-(table.ndim - 1) :]
    coords = {**neuron_coords(sizes), "trial": ("trial", np.arange(table.shape[-3]))}
    return ragged(
        times, moved.sum(axis=-1), dims, coords, duration=table.shape[-2] * STEP - warmup, warmup=warmup,
    )  # fmt: skip


def poisson(rate, shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(np.broadcast_to(rate, shape) * STEP)


def modulated(amplitude: float, frequency: float, *, trials=4, steps=2000, n=50, rate=20.0, seed=0) -> np.ndarray:
    """Return Poisson counts whose common rate oscillates, with a phase of its own in every trial."""
    rng = np.random.default_rng(seed)
    t, phase = STEP * np.arange(steps), rng.uniform(0, 2 * np.pi, (trials, 1))
    common = rate * (1 + amplitude * np.cos(2 * np.pi * frequency * t + phase))
    return poisson(common[..., None], (trials, steps, n), seed + 1)


# Counts and population rates.


def test_rates_of_populations_are_means_over_their_neurons():
    table = poisson(30.0, (3, 200, 5))
    rates = population_rates(from_counts(table, {"a": 2, "b": 3}), 10.0)
    binned = table.reshape(3, 20, 10, 5).sum(axis=2) / 0.01
    np.testing.assert_allclose(rates.sel(population="a"), binned[..., :2].mean(axis=-1))
    np.testing.assert_allclose(rates.sel(population="b"), binned[..., 2:].mean(axis=-1))
    np.testing.assert_allclose(rates["time"], 0.005 + 0.01 * np.arange(20))
    assert (rates.attrs["units"], rates["size"].to_numpy().tolist()) == ("Hz", [2, 3])


def test_bins_can_begin_in_the_warmup():
    trains = from_counts(poisson(30.0, (1, 300, 2)), {"a": 2}, warmup=0.1)
    assert population_rates(trains, 10.0).sizes["time"] == 20
    assert population_rates(trains, 10.0, start=-100.0).sizes["time"] == 30


def test_stored_counts_are_summed():
    table = poisson(30.0, (2, 100, 4))
    direct = binned_counts(from_counts(table, {"a": 4}), 10.0)
    stored = xr.Dataset({"count": binned_counts(from_counts(table, {"a": 4}), 2.0)})
    stored = stored.assign_coords(time=stored["time"] - 0.001)  # stored counts carry the starts of their bins
    np.testing.assert_array_equal(binned_counts(stored, 10.0), direct)
    np.testing.assert_allclose(binned_counts(stored, 10.0)["time"], direct["time"])
    whole = xr.DataTree.from_dict({"/counts": stored})
    np.testing.assert_array_equal(population_rates(whole, 10.0), population_rates(from_counts(table, {"a": 4}), 10.0))
    with pytest.raises(ValueError, match=r"whole number of steps, the stored bin = 2 ms, got 3 ms, 1\.5 steps"):
        binned_counts(stored, 3.0)
    with pytest.raises(ValueError, match="a bin of 200 ms does not fit into the 100 ms counted"):
        binned_counts(stored, 200.0)


def test_counts_of_populations_are_rates_with_the_sizes_of_the_circuit():
    table = poisson(30.0, (2, 100, 4))
    summed = binned_counts(from_counts(table, {"a": 4}), 10.0).sum("neuron").expand_dims(population=["a"], axis=-1)
    summed = summed.assign_coords(time=summed["time"] - 0.005).assign_attrs(bin=0.01)
    counts = xr.Dataset({"count": summed})
    text = json.dumps({"populations": [{"name": "a", "size": 4}]})
    whole = xr.DataTree.from_dict({"/": xr.Dataset({"circuit": text}), "/counts": counts})
    direct = population_rates(from_counts(table, {"a": 4}), 20.0)
    np.testing.assert_allclose(population_rates(whole, 20.0), direct)
    with pytest.raises(ValueError, match="give the whole result"):
        population_rates(counts, 20.0)


def test_bad_bins_and_results_are_refused():
    with pytest.raises(ValueError, match="`bin` must be a time > 0 ms, got 0 ms"):
        binned_counts(from_counts(poisson(1.0, (1, 10, 1)), {"a": 1}), 0.0)
    with pytest.raises(ValueError, match="neither /spikes nor /counts; it has /, /prediction"):
        binned_counts(xr.DataTree.from_dict({"/prediction": xr.Dataset()}), 10.0)
    with pytest.raises(ValueError, match="expected spike trains or counts, got a dataset of rate"):
        binned_counts(xr.Dataset({"rate": 1.0}), 10.0)


# Spectra.


def test_spectra_are_those_of_scipy():
    rates = population_rates(from_counts(modulated(0.5, 40.0), {"a": 20, "b": 30}), MS)
    spectra = population_spectra(rates, 250.0)
    x = rates.to_numpy() - rates.mean(["trial", "time"]).to_numpy()
    options = {"fs": 1 / STEP, "nperseg": 250, "detrend": False, "return_onesided": False, "scaling": "density"}
    f, own = signal.welch(x[..., 0], axis=-1, **options)
    _, cross = signal.csd(x[..., 0], x[..., 1], axis=-1, **options)
    kept = slice(1, 125)
    np.testing.assert_allclose(spectra["frequency"][:-1], f[kept])
    np.testing.assert_allclose(spectra["power"].sel(population="a")[:-1], own.mean(axis=0)[kept], rtol=1e-10)
    pair = spectra.sel(population="a", population_j="b")
    np.testing.assert_allclose(pair["cross_real"][:-1], cross.mean(axis=0).real[kept], atol=1e-10)
    np.testing.assert_allclose(pair["cross_imag"][:-1], cross.mean(axis=0).imag[kept], atol=1e-10)


def test_the_spectrum_of_poisson_trains_is_flat_at_rate_over_number():
    n, rate = 20, 25.0
    spectra = population_spectra(population_rates(from_counts(poisson(rate, (20, 2000, n)), {"a": n}), MS), 200.0)
    z = ((spectra["power"] - rate / n) / spectra["power_se"]).to_numpy()
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert 0.8 < z.std() < 1.25  # the errors are of the right size, the overlap included


def test_an_oscillation_is_found_at_its_frequency():
    frequency, amplitude, n, rate = 43.0, 0.6, 50, 20.0
    trains = from_counts(modulated(amplitude, frequency, n=n, rate=rate), {"a": n})
    spectra = population_spectra(population_rates(trains, MS), 500.0)
    found = oscillation(spectra).sel(population="a")
    assert float(found["frequency_peak"]) == pytest.approx(frequency, abs=0.5)
    assert float(found["prominence"]) > 20
    # The area under the peak, both signs of the frequency, is the variance of the modulation.
    near = spectra["power"].sel(population="a", frequency=slice(frequency - 8, frequency + 8)) - rate / n
    variance = 2 * float(near.sum()) * 2.0
    assert variance == pytest.approx((amplitude * rate) ** 2 / 2, rel=0.1)


def test_a_common_modulation_is_coherent_and_a_delay_turns_the_phase():
    delay = 4
    table = modulated(0.8, 50.0, trials=8, n=80)
    table[..., 40:] = np.roll(table[..., 40:], delay, axis=-2)
    spectra = population_spectra(population_rates(from_counts(table, {"a": 40, "b": 40}), MS), 200.0)
    pair = spectra.sel(population="a", population_j="b", frequency=50.0)
    # A cosine of amplitude A in a Hann window of T has power A² T / 6, the Poisson noise of 40 trains 20/40 Hz.
    power = (0.8 * 20.0) ** 2 * 0.2 / 6
    assert float(pair["coherence"]) == pytest.approx((power / (power + 0.5)) ** 2, abs=0.05)
    phase = np.arctan2(pair["cross_imag"], pair["cross_real"])
    assert float(phase) == pytest.approx(-2 * np.pi * 50.0 * delay * STEP, abs=0.1)
    assert float(spectra["coherence"].sel(population="a", population_j="b", frequency=slice(200, 400)).mean()) < 0.1


def test_spectra_of_several_stimuli_are_separate():
    table = np.stack([poisson(rate, (3, 600, 10), 5) for rate in (10.0, 40.0)])
    spectra = population_spectra(population_rates(from_counts(table, {"a": 10}), MS), 200.0)
    alone = population_spectra(population_rates(from_counts(table[1], {"a": 10}), MS), 200.0)
    xr.testing.assert_allclose(spectra["power"].isel(stimulus=1).drop_vars("stimulus", errors="ignore"), alone["power"])


def test_bad_segments_are_refused():
    rates = population_rates(from_counts(poisson(10.0, (1, 100, 2)), {"a": 2}), MS)
    with pytest.raises(ValueError, match="must hold 8 bins of 1 ms or more, got 5 ms"):
        population_spectra(rates, 5.0)
    with pytest.raises(ValueError, match="longer than a trial, 100 ms, got 200 ms"):
        population_spectra(rates, 200.0)
    with pytest.raises(ValueError, match="fewer than five frequencies lie between 480 Hz"):
        oscillation(population_spectra(rates, 100.0), low=0.48)


# Synchrony.


def test_independent_poisson_trains_are_not_synchronous():
    n = 40
    s = synchrony(from_counts(poisson(20.0, (5, 2000, n)), {"a": n})).sel(population="a")
    for name, truth in (("mean_correlation", 0.0), ("population_fano", 1.0), ("excess_variance", 0.0)):
        assert abs(float(s[name]) - truth) < 4 * float(s[f"{name}_se"]), name
    assert float(s["chi"]) == pytest.approx(n**-0.5, abs=4 * float(s["chi_se"]))


def test_identical_trains_are_synchronous():
    table = np.repeat(poisson(20.0, (2, 1000, 1)), 7, axis=-1)
    s = synchrony(from_counts(table, {"a": 7})).sel(population="a")
    assert float(s["chi"]) == pytest.approx(1.0)
    assert float(s["mean_correlation"]) == pytest.approx(1.0)


def test_shared_spikes_give_their_share_as_correlation():
    share, n = 0.3, 30
    own, common = poisson(20.0 * (1 - share), (10, 2000, n)), poisson(20.0 * share, (10, 2000, 1), 9)
    s = synchrony(from_counts(own + common, {"a": n})).sel(population="a")
    assert abs(float(s["mean_correlation"]) - share) < 4 * float(s["mean_correlation_se"])
    assert abs(float(s["population_fano"]) - (1 + share * (n - 1))) < 4 * float(s["population_fano_se"])


def test_errors_of_synchrony_are_those_of_repetitions():
    values = [synchrony(from_counts(modulated(0.4, 10.0, n=20, steps=500, seed=10 * k), {"a": 20})) for k in range(60)]
    for name in ("chi", "population_fano", "excess_variance"):
        spread = np.std([float(v[name][0]) for v in values], ddof=1)
        typical = np.sqrt(np.mean([float(v[f"{name}_se"][0]) ** 2 for v in values]))
        assert 0.6 < typical / spread < 1.7, name


def test_synchrony_of_silence_is_nan():
    assert synchrony(from_counts(poisson(0.0, (1, 500, 3)), {"a": 3}))["chi"].isnull().all()


def test_synchrony_needs_neurons_and_bins():
    trains = from_counts(poisson(10.0, (1, 100, 2)), {"a": 2})
    with pytest.raises(ValueError, match="20 bins a trial are too few for 20 blocks"):
        synchrony(trains, blocks=20)
    rates = xr.Dataset({"count": binned_counts(trains, 5.0).sum("neuron").expand_dims(population=["a"], axis=-1)})
    rates["count"].attrs["bin"] = 0.005
    with pytest.raises(ValueError, match="needs counts of single neurons"):
        synchrony(rates)


# Intervals.


@pytest.mark.parametrize("shape", [1.0, 4.0])
def test_errors_of_interval_statistics_are_those_of_repetitions(shape):
    rng = np.random.default_rng(int(shape))
    rows = [np.cumsum(row) for row in rng.gamma(shape, 0.02 / shape, (300, 350))]
    rows = [row[row < 4.0] for row in rows]
    coords = neuron_coords({"a": 300})
    trains = ragged(np.concatenate(rows), [[len(r) for r in rows]], ("trial", "neuron"), coords, duration=4.0)
    s = spike_statistics(trains)
    for name in ("cv", "cv2", "lv"):
        ratio = float(np.sqrt((s[f"{name}_se"] ** 2).mean())) / float(s[name].std(ddof=1))
        assert ratio == pytest.approx(1.0, abs=0.16), name  # 4 standard errors of a spread of 300 values


# Responses.


def test_a_step_of_the_rate_is_measured():
    rate = np.where(np.arange(1000) < 500, 20.0, 50.0)
    rates = population_rates(from_counts(poisson(rate[:, None], (40, 1000, 30)), {"a": 30}), 5.0)
    r = step_response(rates, 500.0).sel(population="a")
    for name, truth in (("baseline", 20.0), ("steady", 50.0), ("change", 30.0)):
        assert abs(float(r[name]) - truth) < 4 * float(r[f"{name}_se"]), name
    assert float(r["response"].sel(time=slice(None, 0)).mean()) == pytest.approx(float(r["baseline"]))
    assert 25 < float(r["peak"]) < 45
    assert 0 < float(r["peak_time"]) < 0.2


def test_a_single_trial_has_no_error():
    rates = population_rates(from_counts(poisson(20.0, (1, 1000, 5)), {"a": 5}), 10.0)
    assert step_response(rates, 500.0)["change_se"].isnull().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": 50.0}, "cover -50 ms to 950 ms around the step, -100 ms to 200 ms are asked for"),
        ({"at": 500.0, "settled": 300.0}, "`settled` at most"),
        ({"at": 500.0, "settled": 3.0}, "must hold a bin of 10 ms, got 3 ms"),
    ],
)
def test_times_that_do_not_fit_are_refused(options, message):
    rates = population_rates(from_counts(poisson(20.0, (1, 1000, 5)), {"a": 5}), 10.0)
    with pytest.raises(ValueError, match=message):
        step_response(rates, **options)


# States.


def clocks(n: int, steps: int, period: int, *, together: bool) -> np.ndarray:
    phase = np.zeros(n, dtype=int) if together else np.random.default_rng(3).integers(0, period, n)
    return ((np.arange(steps)[:, None] + phase) % period == 0)[None].astype(int)


@pytest.mark.parametrize(
    ("table", "state"),
    [
        (clocks(200, 2000, 30, together=True), "synchronous regular"),
        (clocks(200, 2000, 30, together=False), "asynchronous regular"),
        (poisson(20.0, (2, 2000, 200)), "asynchronous irregular"),
        (modulated(0.9, 30.0, n=200), "synchronous irregular"),
        (poisson(0.0, (1, 1000, 10)), "silent"),
    ],
    ids=["SR", "AR", "AI", "SI", "silent"],
)
def test_states(table, state):
    found = network_state(from_counts(table, {"a": table.shape[-1]}))
    assert str(found["state"].item()) == state
    if state == "synchronous irregular":
        assert float(found["frequency_peak"]) == pytest.approx(30.0, abs=1.0)
        assert abs(float(found["excess_variance"]) - 0.9**2 / 2) < 0.05


def test_states_of_several_stimuli():
    table = np.stack([poisson(20.0, (2, 1000, 60)), modulated(0.9, 30.0, trials=2, steps=1000, n=60)])
    assert network_state(from_counts(table, {"a": 60}))["state"].to_numpy().tolist() == [
        "asynchronous irregular", "synchronous irregular",
    ]  # fmt: skip
