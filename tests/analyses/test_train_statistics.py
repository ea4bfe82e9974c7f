"""Spike statistics against Elephant, closed forms and plain loops; what they say of bad input."""

import neo
import numpy as np
import pytest
import quantities as pq
import xarray as xr
from elephant import conversion, kernels, spectral, spike_train_correlation, spike_train_dissimilarity, sta, statistics
from scipy import integrate, optimize, stats

import mnnbio.analyses as a
from mnnbio.results import counts, neuron_coords, ragged

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def trains_of(rows, *, neurons: int, duration: float, dt: float | None = None):
    """Return trains (trial, neuron), times in ms, as the dataset that results hold."""
    sizes = np.array([len(row) for row in rows]).reshape(-1, neurons)
    first = (neurons + 1) // 2
    coords = {**neuron_coords({"E": first, "I": neurons - first}), "trial": np.arange(len(sizes))}
    times = 1e-3 * np.concatenate([np.asarray(row, dtype=float) for row in rows])
    more = {} if dt is None else {"dt": 1e-3 * dt}
    return ragged(times, sizes, ("trial", "neuron"), coords, duration=1e-3 * duration, warmup=0.0, **more)


def poisson(n: int, duration: float, rate: float, seed: int) -> list[np.ndarray]:
    """Return times, ms, on a grid of 0.1 ms between the edges of bins, so that rounding plays no part."""
    rng = np.random.default_rng(seed)
    return [
        np.unique(np.floor(10 * rng.uniform(0, duration, rng.poisson(rate * duration / 1e3)))) / 10 + 0.05
        for _ in range(n)
    ]


DURATION, NEURONS = 2000.0, 8
ROWS = poisson(NEURONS, DURATION, 20, 1)
TRAINS = trains_of(ROWS, neurons=NEURONS, duration=DURATION)
NEO = [neo.SpikeTrain(row, units="ms", t_stop=DURATION) for row in ROWS]
# Of Elephant's own code: an argument that has no effect any more.
pytestmark = pytest.mark.filterwarnings(
    "ignore::quantities.QuantitiesDeprecationWarning", "ignore:.*:UserWarning:elephant"
)


@pytest.fixture
def binned() -> list[conversion.BinnedSpikeTrain]:
    return [conversion.BinnedSpikeTrain(train, bin_size=5 * pq.ms) for train in NEO]


def test_intervals_as_in_elephant():
    s = a.spike_statistics(TRAINS, windows=[DURATION], min_intervals=2, refractory=3.0)
    for k, train in enumerate(NEO):
        own = statistics.isi(train)
        assert float(s["rate"][k]) == pytest.approx(float(statistics.mean_firing_rate(train).rescale("Hz")), rel=1e-10)
        assert float(s["cv2"][k]) == pytest.approx(float(statistics.cv2(own)), rel=1e-10)
        assert float(s["lv"][k]) == pytest.approx(float(statistics.lv(own)), rel=1e-10)
        assert float(s["lvr"][k]) == pytest.approx(float(statistics.lvr(own, R=3 * pq.ms)), rel=1e-10)
        # Elephant divides by n, not n − 1.
        n = len(own)
        assert float(s["cv"][k]) == pytest.approx(float(statistics.cv(own)) * np.sqrt(n / (n - 1)), rel=1e-10)


def test_lv_and_lvr_of_dead_time():
    # Intervals of a dead time R and an exponential part: with S, the sum of two exponential parts, the contrast of the two
    # is even, so that LV = E[S²/(S + 2R)²], and LvR is 1 up to the square of R.
    rng = np.random.default_rng(4)
    dead, tau = 5.0, 20.0
    times = np.cumsum(dead + rng.exponential(tau, (40, 1500)), axis=1)
    s = a.spike_statistics([row[row < 30000] for row in times], duration=30000.0, windows=[], refractory=dead)

    def expected(more: float) -> float:
        return integrate.quad(
            lambda x: (
                x * tau**-2 * np.exp(-x / tau) * (x / (x + 2 * dead)) ** 2 * (1 + more * 4 * dead / (x + 2 * dead))
            ),
            0,
            1000,
        )[0]

    for name, more in (("lv", 0.0), ("lvr", 1.0)):
        se = float(np.sqrt((s[f"{name}_se"] ** 2).mean() / 40))
        assert float(s[name].mean()) == pytest.approx(expected(more), abs=4 * se)


def test_fano_as_in_elephant():
    rows = poisson(3 * 30, 500.0, 20, 5)
    own = trains_of(rows, neurons=3, duration=500.0)
    s = a.spike_statistics(own, windows=[500.0])
    for k in range(3):
        theirs = statistics.fanofactor([neo.SpikeTrain(row, units="ms", t_stop=500) for row in rows[k::3]])
        assert float(s["fano"][0, k]) == pytest.approx(theirs * 30 / 29, rel=1e-10)  # n − 1 here, n there


def test_errors_of_intervals_are_the_spread_of_estimates():
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.gamma(2.0, 10.0, (400, 400)), axis=1)
    s = a.spike_statistics([row[row < 4000] for row in times], duration=4000.0, windows=[])
    for name in ("rate", "cv", "cv2", "lv", "lvr"):
        spread = float(s[name].std(ddof=1))
        # The standard deviation of 400 values is known to 1/sqrt(800); errors themselves vary, and the rate has ten pieces.
        assert float(np.sqrt((s[f"{name}_se"] ** 2).mean())) == pytest.approx(spread, rel=5 / np.sqrt(800)), name


def test_psth_as_in_elephant():
    found = a.psth(TRAINS, 50.0)
    for k, name in enumerate(("E", "I")):
        own = NEO[:4] if name == "E" else NEO[4:]
        theirs = statistics.time_histogram(own, bin_size=50 * pq.ms, output="rate").rescale("Hz").magnitude.ravel()
        np.testing.assert_allclose(found["rate"].sel(population=name), theirs, **EXACT)
        count = found["count"][:, k].to_numpy()
        # Garwood's interval: the smallest and the largest mean that the count is not surprising for.
        low = 1e3 * found["rate_low"][:, k].to_numpy() * 0.05 * 4 / 1e3
        high = found["rate_high"][:, k].to_numpy() * 0.05 * 4
        np.testing.assert_allclose(stats.poisson.sf(count - 1, low)[count > 0], 0.025, rtol=1e-8)
        np.testing.assert_allclose(stats.poisson.cdf(count, high), 0.025, rtol=1e-8)


def test_psth_interval_from_trials():
    rows = poisson(20, 400.0, 50, 2)
    found = a.psth(trains_of(rows, neurons=1, duration=400.0), 100.0, resolution="neuron")
    table = np.array([np.histogram(row, np.arange(0, 401, 100))[0] for row in rows]) / 0.1
    low, high = stats.t.interval(0.95, 19, table.mean(0), stats.sem(table))
    np.testing.assert_allclose(found["rate_low"][:, 0], low, **EXACT)
    np.testing.assert_allclose(found["rate_high"][:, 0], high, **EXACT)


def test_psth_around_events_is_that_of_cut_trials():
    events = [300.0, 900.0, 1500.0]
    found = a.psth(TRAINS, 20.0, events=events, before=100.0, after=200.0, resolution="neuron")
    for k, row in enumerate(ROWS):
        expected = sum(np.histogram(row - e, np.arange(-100, 201, 20))[0] for e in events) / (3 * 0.02)
        np.testing.assert_allclose(found["rate"][:, k], expected, **EXACT)
    assert float(found["time"][0]) == pytest.approx(-0.09)
    with pytest.raises(ValueError, match="must hold 100 ms before and 200 ms after"):
        a.psth(TRAINS, 20.0, events=[50.0], before=100.0, after=200.0)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_kernel_rate_as_in_elephant(kernel):
    found = a.kernel_rate(TRAINS, 20.0, bin=1.0, kernel=kernel)
    own = {"gaussian": kernels.GaussianKernel, "exponential": kernels.ExponentialKernel}[kernel](sigma=20 * pq.ms)
    theirs = statistics.instantaneous_rate(NEO, sampling_period=1 * pq.ms, kernel=own, cutoff=5.0, center_kernel=False)
    # An exponential kernel is 1/τ and not half of it at 0 in both.
    np.testing.assert_allclose(found["rate"], theirs.rescale("Hz").magnitude, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "alpha", "boxcar"])
def test_kernels_have_area_one_and_their_standard_deviation(kernel):
    one = a.kernel_rate([[5000.0]], 50.0, bin=0.5, kernel=kernel, cutoff=12.0, duration=10000.0)
    rate, time = one["rate"][:, 0].to_numpy(), one["time"].to_numpy()
    area = rate.sum() * 0.5e-3
    assert area == pytest.approx(1, rel=0.006)  # the edge of a jump belongs to one side
    mean = (rate * time).sum() / rate.sum()
    assert np.sqrt((rate * (time - mean) ** 2).sum() / rate.sum()) == pytest.approx(0.05, rel=0.01)


def test_kernel_rate_is_a_sum_of_kernels_with_poisson_errors_and_whole_edges():
    found = a.kernel_rate([[10.0, 500.0, 510.0]], 20.0, bin=1.0, duration=1000.0, edge_correction=True)
    time = np.arange(1000) + 0.5
    values = np.exp(-0.5 * ((time[:, None] - np.array([10.5, 500.5, 510.5])) / 20) ** 2) / (np.sqrt(2 * np.pi) * 20e-3)
    values[np.abs(time[:, None] - np.array([10.5, 500.5, 510.5])) > 100.5] = 0
    inner = slice(200, 800)
    np.testing.assert_allclose(found["rate"][inner, 0], values.sum(1)[inner], **EXACT)
    np.testing.assert_allclose(found["rate_se"][inner, 0], np.sqrt((values**2).sum(1))[inner], **EXACT)
    flat = a.kernel_rate([np.arange(0.5, 1000)], 50.0, bin=1.0, duration=1000.0, edge_correction=True)
    np.testing.assert_allclose(flat["rate"], 1000, rtol=1e-6)  # what lies beyond the cutoff


def test_long_kernels_by_transforms_are_the_same_sums():
    rows = poisson(2, 1000.0, 3000, 3)
    found = a.kernel_rate(rows, 60.0, bin=1.0, duration=1000.0)
    number = np.stack([np.histogram(row, np.arange(1001))[0] for row in rows])
    lags = np.arange(-300, 301)
    values = np.exp(-0.5 * (lags / 60) ** 2) / (np.sqrt(2 * np.pi) * 0.06)
    expected = np.stack([np.convolve(n, values, "full")[300:1300] for n in number], axis=1)
    np.testing.assert_allclose(found["rate"], expected, rtol=1e-10, atol=1e-8)


def test_optimal_bandwidth_minimises_the_cost():
    rng = np.random.default_rng(0)
    # Bursts of 30 ms: a width between the bursts' and the record's is best.
    slow = np.sort(np.concatenate([c + 30 * rng.normal(size=12) for c in np.arange(200, 4000, 400)]))
    fast = np.sort(np.concatenate([c + 0.5 * rng.normal(size=12) for c in np.arange(200, 4000, 400)]))
    rows = [np.clip(row, 0, 3999) for row in (slow, fast)]
    found = a.optimal_bandwidth(rows, duration=4000.0)

    def cost(width: float, row: np.ndarray) -> float:
        lag = np.abs(row[:, None] - row)
        wide = np.exp(-(lag**2) / (4 * width**2)) / (2 * np.sqrt(np.pi) * width)
        narrow = np.exp(-(lag**2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width)
        return wide.sum() - 2 * (narrow.sum() - np.trace(narrow))

    for k, row in enumerate(rows):
        best = optimize.minimize_scalar(
            lambda w, row=row: cost(np.exp(w), row), bounds=np.log([0.1, 500]), method="bounded"
        )
        own = 1e3 * float(found["bandwidth"][k])
        assert own == pytest.approx(np.exp(best.x), rel=0.03)
        assert cost(own, row) == pytest.approx(best.fun, rel=1e-3)
    # Few even spikes: nothing but their number is known, and the longest width of all is best, if the cost says so.
    even = np.arange(180.0, 4000, 330)
    flags = a.optimal_bandwidth([even, slow.clip(0, 3999), [1.0]], duration=4000.0)
    for k, row in enumerate((even, rows[0])):
        widths = np.geomspace(30, 1000, 200)
        assert bool(flags["at_limit"][k]) == (np.argmin([cost(w, row) for w in widths]) == 199)
    assert flags["few_spikes"].to_numpy().tolist() == [False, False, True]


def test_cross_correlograms_as_in_elephant(binned):
    found = a.cross_correlogram(TRAINS, [[0, 1], [3, 5], [2, 2]], bin=5.0, max_lag=100.0)
    for k, (i, j) in enumerate([(0, 1), (3, 5), (2, 2)]):
        for name, options in (("count", {}), ("correlation", {"cross_correlation_coefficient": True})):
            theirs, _ = spike_train_correlation.cross_correlation_histogram(
                binned[i], binned[j], window=[-20, 20], **options
            )
            np.testing.assert_allclose(found[name][k], theirs.magnitude.ravel(), **EXACT)
        bordered, _ = spike_train_correlation.cross_correlation_histogram(
            binned[i], binned[j], window=[-20, 20], border_correction=True
        )
        np.testing.assert_allclose(
            found["rate"][k], bordered.magnitude.ravel() / (len(ROWS[i]) * 5e-3), rtol=1e-10, atol=1e-10
        )
    expected = found["expected"].to_numpy()
    np.testing.assert_array_equal(found["low"], stats.poisson.ppf(0.025, expected))
    np.testing.assert_array_equal(found["high"], stats.poisson.ppf(0.975, expected))


def test_correlograms_add_over_trials_and_shift_them():
    rows = poisson(6, 300.0, 60, 8)
    found = a.cross_correlogram(trains_of(rows, neurons=2, duration=300.0), bin=2.0, max_lag=20.0)
    for name, move in (("count", 0), ("shift_predictor", 1)):
        total = np.zeros(21)
        for r in range(3):
            x, y = (np.floor(row / 2) for row in (rows[2 * r], rows[2 * ((r + move) % 3) + 1]))
            total += np.histogram((y - x[:, None]).ravel(), np.arange(-10.5, 11))[0]
        np.testing.assert_array_equal(found[name][0], total)


def test_correlation_time_as_in_elephant(binned):
    found = a.correlation_time(TRAINS, bin=5.0, max_lag=100.0)
    for k, one in enumerate(binned):
        theirs = float(spike_train_correlation.spike_train_timescale(one, 100 * pq.ms))
        assert 1e3 * float(found["correlation_time"][k]) == pytest.approx(theirs, rel=1e-9)
    flags = a.correlation_time([[5.0], [5.0, 6.0, 7.0, 20.0]], bin=1.0, max_lag=10.0, duration=100.0)
    assert flags["undefined"].to_numpy().tolist() == [True, False]


def test_covariance_functions_are_means_of_products():
    own = trains_of(poisson(12, 400.0, 80, 9), neurons=4, duration=400.0)
    found = a.covariance_functions(own, bin=4.0, max_lag=20.0, blocks=2)
    each = a.covariance_functions(own, bin=4.0, max_lag=20.0, blocks=2, resolution="neuron")
    table = counts(own, 4.0).to_numpy()  # (trial, window, neuron)
    rates = np.stack([table[..., :2].mean(-1), table[..., 2:].mean(-1)], axis=-1) / 4e-3
    for k, lag in enumerate(range(-5, 6)):
        low, high = max(0, -lag), 100 - max(0, lag)
        d = rates - rates.mean(axis=(0, 1))
        expected = np.einsum("rta,rtb->ab", d[:, low:high], d[:, low + lag : high + lag]) / (3 * (100 - abs(lag)))
        np.testing.assert_allclose(found["covariance"][k], expected, rtol=1e-10, atol=1e-8)
        d = table / 4e-3 - (table / 4e-3).mean(axis=(0, 1))
        expected = (d[:, low:high] * d[:, low + lag : high + lag]).sum(axis=(0, 1)) / (3 * (100 - abs(lag)))
        np.testing.assert_allclose(each["covariance"][k], expected, rtol=1e-10, atol=1e-7)


def test_tiling_as_in_elephant_and_in_a_plain_loop():
    # Elephant adds a hundred-thousandth of the time itself to the window: no such case in a short record.
    one, two = [1.3, 7.56, 15.87, 28.23, 30.9, 34.2, 38.2, 43.2], [1.02, 2.71, 18.82, 28.46, 28.79, 43.6]
    found = a.spike_time_tiling([one, two], 5.0, duration=50.0)
    pair = [neo.SpikeTrain(row, units="ms", t_stop=50) for row in (one, two)]
    theirs = spike_train_correlation.spike_time_tiling_coefficient(*pair, dt=5 * pq.ms)
    assert float(found["tiling"][0, 1]) == pytest.approx(theirs, rel=1e-12)
    assert theirs == pytest.approx(0.4958601655933762, rel=1e-12)  # of its documentation

    def covered(row: np.ndarray) -> float:
        total, reached = 0.0, 0.0
        for time in row:
            low, high = max(time - 5, reached), min(time + 5, DURATION)
            total, reached = total + max(high - low, 0), high
        return total / DURATION

    every = a.spike_time_tiling(TRAINS, 5.0)
    for i in range(3):
        for j in range(i):
            p = [np.mean([np.abs(t - y).min() <= 5 for t in x]) for x, y in ((ROWS[i], ROWS[j]), (ROWS[j], ROWS[i]))]
            t = [covered(ROWS[j]), covered(ROWS[i])]
            expected = 0.5 * sum((p - t) / (1 - p * t) for p, t in zip(p, t, strict=True))
            assert float(every["tiling"][i, j]) == pytest.approx(expected, rel=1e-10)
    assert (every["tiling_se"].to_numpy()[np.triu_indices(NEURONS, 1)] > 0).all()


def test_errors_of_pair_statistics_are_the_spread_of_estimates():
    rows = poisson(60, 3000.0, 30, 12)
    for name, found in (
        ("tiling", a.spike_time_tiling(rows, 5.0, duration=3000.0)),
        ("distance", a.distance_matrix(rows, "isi", duration=3000.0)),
        ("distance", a.distance_matrix(rows, "spike", duration=3000.0)),
    ):
        upper = np.triu_indices(60, 1)
        spread = found[name].to_numpy()[upper].std()
        # Pairs share neurons: some 60 independent values, and pieces of which there are ten.
        assert np.sqrt((found[f"{name}_se"].to_numpy()[upper] ** 2).mean()) == pytest.approx(spread, rel=0.35), name


def test_covariance_and_correlation_as_in_elephant():
    binned = conversion.BinnedSpikeTrain(NEO, bin_size=20 * pq.ms)  # all trains
    found = a.count_correlations(TRAINS, 20.0)
    np.testing.assert_allclose(found["covariance"], spike_train_correlation.covariance(binned), **EXACT)
    np.testing.assert_allclose(found["correlation"], spike_train_correlation.correlation_coefficient(binned), **EXACT)
    rows = poisson(12, 400.0, 80, 9)
    trials = a.count_correlations(trains_of(rows, neurons=4, duration=400.0), 4.0)
    table = counts(trains_of(rows, neurons=4, duration=400.0), 4.0).to_numpy().reshape(-1, 4)
    np.testing.assert_allclose(trials["covariance"], np.cov(table.T), **EXACT)


def test_spectra_and_coherence_as_in_elephant():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4000))
    x[1, 5:] += 0.8 * x[0, :-5]
    x -= x.mean(axis=1, keepdims=True)
    signals = xr.DataArray(x, dims=("neuron", "time"), coords={"time": 1e-3 * np.arange(4000)}, attrs={"units": "mV"})
    found = a.welch_spectra(signals, 500.0)
    _, theirs = spectral.welch_psd(x, fs=1000.0, len_segment=500)
    np.testing.assert_allclose(2 * found["power"][:-1].T, theirs[:, 1:-1], rtol=1e-10)  # one side there, two here
    _, coherence, phase = spectral.welch_coherence(*x, fs=1000.0, len_segment=500)
    np.testing.assert_allclose(found["coherence"][:, 0, 1], coherence[1:], rtol=1e-9)
    np.testing.assert_allclose(found["phase"][:, 0, 1], -phase[1:], atol=1e-9)
    # The second follows by 5 ms.
    low = slice(4, 30)
    slope = np.polyfit(found["frequency"][low], np.unwrap(found["phase"][low, 0, 1]), 1)[0]
    assert slope == pytest.approx(2 * np.pi * 0.005, rel=0.1)
    assert found["power"].attrs["units"] == "mV^2/Hz"
    multi = a.multitaper_spectra(signals)
    _, theirs = spectral.multitaper_psd(x, fs=1000.0)
    # Its tapers have an energy that is short of 1 by some 1e-4.
    np.testing.assert_allclose(2 * multi["power"].T, theirs[:, 1:], rtol=1e-3)
    _, coherence, _ = spectral.multitaper_coherence(*x, fs=1000.0)
    np.testing.assert_allclose(multi["coherence"][:, 0, 1], coherence[1:], atol=2e-3)  # complex64 there


def test_multitaper_power_is_the_mean_over_tapers():
    from scipy import signal

    rng = np.random.default_rng(1)
    x = rng.normal(size=500)
    found = a.multitaper_spectra(xr.DataArray(x, dims="time", coords={"time": 2e-3 * np.arange(500)}), 3.0)
    tapers = signal.windows.dpss(500, 3.0, 5, sym=False)
    expected = np.mean([np.abs(np.fft.rfft((x - x.mean()) * w)) ** 2 * 2e-3 / (w**2).sum() for w in tapers], axis=0)[1:]
    np.testing.assert_allclose(found["power"][:, 0], expected, rtol=1e-10)


@pytest.mark.parametrize("method", ["welch", "multitaper"])
def test_intervals_of_spectra_hold_their_level(method):
    rng = np.random.default_rng(3)
    x = xr.DataArray(rng.normal(size=(300, 512)), dims=("neuron", "time"), coords={"time": 1e-3 * np.arange(512)})
    if method == "welch":
        found = a.welch_spectra(x, 64.0, cross=False)
        pair = a.welch_spectra(x[:20], 64.0)
    else:
        found = a.multitaper_spectra(x, cross=False)
        pair = a.multitaper_spectra(x[:20])
    inner = slice(2, -2) if method == "welch" else slice(8, -8)
    inside = ((found["power_low"] < 1e-3) & (found["power_high"] > 1e-3))[inner].to_numpy()
    # Frequencies within the width of a taper go together.
    n = inside.size / (8 if method == "multitaper" else 2)
    assert inside.mean() == pytest.approx(0.95, abs=0.01 + 4 * np.sqrt(0.95 * 0.05 / n))
    upper = np.triu_indices(20, 1)
    beyond = (pair["coherence"][inner].to_numpy()[:, upper[0], upper[1]] > pair.attrs["coherence_threshold"]).mean()
    assert beyond == pytest.approx(0.05, abs=0.025)


def test_poisson_spectrum_is_flat_and_of_the_rate():
    found = a.welch_spectra(TRAINS, 200.0)
    rates = a.psth(TRAINS, DURATION)["rate"][0]
    level = found["power"].mean("frequency") * 4 / rates
    assert (np.abs(level - 1) < 4 * np.sqrt(2 / (found.attrs["dof"] * 100))).all()
    each = a.welch_spectra(TRAINS, 200.0, resolution="neuron", cross=False)
    np.testing.assert_allclose(each["power"][:, :4].mean("neuron").sum() / 4, found["power"][:, 0].sum(), rtol=0.1)


def test_triggered_average_as_in_elephant():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, NEURONS)).cumsum(axis=0)
    theirs = sta.spike_triggered_average(
        neo.AnalogSignal(x, units="mV", sampling_rate=1 * pq.kHz), NEO, (-20 * pq.ms, 30 * pq.ms)
    )
    signal = xr.DataArray(x, dims=("time", "neuron"), coords={"time": 1e-3 * np.arange(2000)}, attrs={"units": "mV"})
    found = a.spike_triggered_average(TRAINS, signal, before=20, after=30)
    np.testing.assert_allclose(found["average"][:-1], theirs.magnitude, **EXACT)
    np.testing.assert_array_equal(found["unused"], theirs.annotations["unused_spikes"])
    shared = a.spike_triggered_average(TRAINS, signal[:, 0], before=20, after=30)
    np.testing.assert_allclose(shared["average"][:, 0], found["average"][:, 0], **EXACT)


def test_triggered_rate_leaves_out_the_neuron_itself():
    rows = poisson(12, 600.0, 60, 6)
    own = trains_of(rows, neurons=6, duration=600.0)
    found = a.spike_triggered_rate(own, 5.0, before=20, after=30, blocks=3)
    table = counts(own, 5.0).transpose("trial", "neuron", "window").to_numpy()
    for n in range(6):
        for g, members in enumerate(([0, 1, 2], [3, 4, 5])):
            others = [m for m in members if m != n]
            rows = [
                table[t][others][:, b - 4 : b + 7].sum(axis=0)
                for t in range(2)
                for b in np.repeat(np.arange(120), table[t, n])
                if 4 <= b < 114
            ]
            np.testing.assert_allclose(found["average"][:, n, g], np.mean(rows, axis=0) / len(others) / 5e-3, **EXACT)


def test_triggered_voltage_of_recorded_states():
    time = 1e-3 * np.arange(300)
    rng = np.random.default_rng(2)
    v = rng.normal(size=(2, 300, 2))
    rows = [np.array([50.2, 120.7]), np.zeros(0), np.array([80.0]), np.array([10.0, 200.5, 290.0])]
    spikes = trains_of([*rows[:1], [30.0], *rows[1:2], *rows[2:3], [40.0], *rows[3:]], neurons=3, duration=300.0)
    states = xr.Dataset(
        {"v": (("trial", "time", "neuron"), v, {"units": "mV"})},
        coords={"time": time, "index": ("neuron", [0, 1]), "trial": [0, 1]},
    )
    # Neurons 0 and 1 of population E; the third train is of I.
    tree = xr.DataTree.from_dict({"/spikes": spikes, "/states/E": states})
    found = a.spike_triggered_voltage(tree, before=20, after=5)
    of = {k: spikes["spike_time"].to_numpy() for k in ("t",)}["t"]
    sizes = spikes["row_size"].to_numpy()
    edges = np.concatenate([[0], np.cumsum(sizes.ravel())])
    for n in range(2):
        pieces = [
            v[r, int(np.floor(1e3 * t + 1e-6)) - 20 : int(np.floor(1e3 * t + 1e-6)) + 6, n]
            for r in range(2)
            for t in of[edges[3 * r + n] : edges[3 * r + n + 1]]
            if 20 <= np.floor(1e3 * t + 1e-6) < 295
        ]
        np.testing.assert_allclose(found["average"][:, n], np.mean(pieces, axis=0), **EXACT)
    assert found["average"].attrs["units"] == "mV"


def test_distances_as_in_elephant():
    vr = spike_train_dissimilarity.van_rossum_distance(NEO, time_constant=20 * pq.ms)
    own = a.distance_matrix(TRAINS, "van_rossum", tau=20.0)
    np.testing.assert_allclose(own["distance"], vr / np.sqrt(2), rtol=1e-10, atol=1e-6)  # D² = 1/2 of one spike here
    for cost in (0.02, 0.2):
        vp = spike_train_dissimilarity.victor_purpura_distance(NEO, cost_factor=cost / pq.ms)
        np.testing.assert_allclose(a.distance_matrix(TRAINS, "victor_purpura", cost=cost)["distance"], vp, **EXACT)


def test_matrices_hold_the_distances_of_pairs():
    # Two ways to the same number: pairs of a matrix, and the functions for one train against its target.
    rossum = a.distance_matrix(TRAINS, "van_rossum", tau=7.0)["distance"].to_numpy()
    np.testing.assert_allclose(rossum[0, 1:], a.van_rossum_distance([ROWS[0]] * 7, ROWS[1:], 7.0), rtol=1e-9)
    twins = a.distance_matrix([ROWS[0], ROWS[0], ROWS[1]], "van_rossum", tau=7.0, duration=DURATION)
    assert float(twins["distance"][0, 1]) == 0
    for kind, one in (("isi", a.isi_distance), ("spike", a.kreuz_spike_distance)):
        matrix = a.distance_matrix(TRAINS, kind)["distance"].to_numpy()
        np.testing.assert_allclose(matrix[0, 1:], one([ROWS[0]] * 7, ROWS[1:], DURATION), rtol=1e-10)
        np.testing.assert_array_equal(np.diag(matrix), 0)
        assert (one(ROWS, ROWS, DURATION) == 0).all()


def test_isi_and_spike_distance_by_hand():
    # The example of pen and paper in the tests of PySpike (Mulansky, Kreuz 2016), with flat ends of the SPIKE-distance.
    one, two = [0.2, 0.4, 0.6, 0.7], [0.3, 0.45, 0.8, 0.9, 0.95]
    width = np.diff([0.0, 0.2, 0.3, 0.4, 0.45, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
    isi = [0.1 / 0.3, 0.1 / 0.3, 0.05 / 0.2, 0.05 / 0.2, 0.15 / 0.35, 0.25 / 0.35, 0.05 / 0.35, 0.2 / 0.3, 0.25 / 0.3]
    isi += [0.25 / 0.3]
    np.testing.assert_allclose(a.isi_distance(one, two, 1.0), width @ isi, rtol=1e-12)
    s1 = np.array([0.1, 0.1, 0.015 / 0.2, 0.05, 0.015 / 0.2, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1])
    s2 = np.array([0.1, 0.1, 0.1, 0.01 / 0.15, 0.05, 0.025 / 0.35, 0.03 / 0.35, 0.1, 0.1, 0.05, 0.05])
    x1 = np.array([0.2, 0.2, 0.2, 0.2, 0.2, 0.1, 0.3, 0.3, 0.3, 0.3])
    x2 = np.array([0.3, 0.3, 0.15, 0.15, 0.35, 0.35, 0.35, 0.1, 0.05, 0.05])
    mean = 0.5 * (s1[:-1] * x2 + s2[:-1] * x1 + s1[1:] * x2 + s2[1:] * x1) / (0.5 * (x1 + x2) ** 2)
    np.testing.assert_allclose(a.kreuz_spike_distance(one, two, 1.0), width @ mean, rtol=1e-12)
    assert a.isi_distance([], [], 10.0) == 0
    # One interval of 10 against two of 5: half of the larger everywhere.
    assert a.isi_distance([], [5.0], 10.0) == pytest.approx(0.5)


def test_lempel_ziv_words_by_hand_and_entropy():
    # 0.001.10.100.1000.101 of Kaspar and Schuster (1987).
    bits = np.array([int(c) for c in "0001101001000101"])
    found = a.lempel_ziv_complexity([np.flatnonzero(bits) + 0.5], 1.0, duration=16.0)
    assert float(found["words"][0]) == 6
    clock = a.lempel_ziv_complexity([np.arange(0.5, 2000, 2), np.zeros(0)], 1.0, duration=2000.0)
    assert clock["words"].to_numpy().tolist() == [3, 2]
    assert clock["constant"].to_numpy().tolist() == [False, True]
    assert float(clock["relative"][0]) < 0.02
    rng = np.random.default_rng(0)
    random = a.lempel_ziv_complexity([np.flatnonzero(rng.random(20000) < 0.5) + 0.5], 1.0, duration=20000.0)
    assert float(random["relative"][0]) == pytest.approx(1, abs=5 * float(random["relative_se"][0]))
    assert float(random["complexity"][0]) == pytest.approx(1, abs=0.1)  # entropy of a fair coin: slow to converge
