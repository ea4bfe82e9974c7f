"""Measure spike statistics beside Elephant's: every statistic that both have, 1,000 neurons for 100 s.

Each line gives the seconds of the processor of one call here (the better of three) and of Elephant on the same trains,
from neo.SpikeTrain objects that exist already, as ours exist as a dataset; and the ratio. Errors and intervals are part
of our time, but for kernel rates and matrices of all pairs, where they are a computation of the same size and optional.
Elephant is measured on a part where the whole would take hours: a part of the neurons for statistics of single trains,
scaled by their number, and a part of the pairs for those of pairs, scaled by the number of pairs. What was scaled is
said. Both run in one thread.

    python benchmarks/spike_statistics.py            # all
    python benchmarks/spike_statistics.py spectra    # lines whose name contains the word
"""

import argparse
import itertools
import os
import time
import warnings
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import neo
import numpy as np
import quantities as pq
import xarray as xr
from elephant import conversion, kernels, spectral, spike_train_correlation, spike_train_dissimilarity, sta, statistics
from elephant import spike_train_surrogates as es

import mnnbio.analyses as a
from mnnbio.results import neuron_coords, ragged

NEURONS, DURATION, RATE = 1000, 100.0, 5.0  # s, Hz


def data() -> tuple[xr.Dataset, list[neo.SpikeTrain]]:
    """Return Poisson trains of rates that vary from neuron to neuron, for both packages."""
    rng = np.random.default_rng(0)
    rates = rng.gamma(4, RATE / 4, NEURONS)
    rows = [np.sort(rng.uniform(0, DURATION, rng.poisson(rate * DURATION))) for rate in rates]
    sizes = np.array([[len(row) for row in rows]])
    coords = {**neuron_coords({"E": 800, "I": 200}), "trial": [0]}
    ours = ragged(np.concatenate(rows), sizes, ("trial", "neuron"), coords, duration=DURATION, warmup=0.0)
    return ours, [neo.SpikeTrain(1e3 * row, units="ms", t_stop=1e3 * DURATION) for row in rows]


def seconds(call: Callable[[], object], times: int = 1) -> float:
    """Return the least time of the processor that a call takes: other work on the machine does not count."""
    best = np.inf
    for _ in range(times):
        begin = time.process_time()
        call()
        best = min(best, time.process_time() - begin)
    return float(best)


def lines(ours: xr.Dataset, theirs: list[neo.SpikeTrain]) -> dict[str, tuple[Callable, Callable, float, str]]:
    """Return for each name our call, Elephant's, how much smaller its part is, and what the part is."""
    part, few, pairs = theirs[:100], list(range(20)), 190.0
    scale_part, scale_pairs = NEURONS / 100, NEURONS * (NEURONS - 1) / 2 / pairs
    of_pairs = "190 of 499,500 pairs"
    some = list(itertools.combinations(few, 2))
    first = np.array(some)
    binned_few = [conversion.BinnedSpikeTrain(theirs[k], bin_size=1 * pq.ms) for k in few]
    rates = a.population_rates(ours, 1.0)
    population = neo.AnalogSignal(
        rates[0].to_numpy(), units="Hz", sampling_rate=1 * pq.kHz
    )  # of both populations, (time, signal)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=100_000)
    trace = xr.DataArray(noise, dims="time", coords={"time": 1e-3 * np.arange(len(noise))})
    signal = neo.AnalogSignal(noise, units="mV", sampling_rate=1 * pq.kHz)
    window = 20 * pq.ms

    def all_intervals() -> None:
        for train in theirs:
            statistics.mean_firing_rate(train)
            own = statistics.isi(train)
            statistics.cv(own), statistics.cv2(own), statistics.lv(own), statistics.lvr(own)

    def fano(train: neo.SpikeTrain) -> float:
        counts = conversion.BinnedSpikeTrain(train, bin_size=100 * pq.ms).to_array()[0]
        return counts.var() / counts.mean()

    def of_neurons(signals: list[neo.SpikeTrain]) -> np.ndarray:
        return conversion.BinnedSpikeTrain(signals, bin_size=1 * pq.ms).to_array() / 1e-3

    def coherence(method: Callable, number: int, **options: object) -> None:
        table = of_neurons([theirs[k] for k in few])
        for i, j in some[:number]:
            method(table[i], table[j], fs=1e3, **options)

    def trials() -> None:
        for train in part:
            es.trial_shifting([train], dither=50 * pq.ms, n_surrogates=1)

    def only_intervals() -> xr.Dataset:
        return a.spike_statistics(ours, windows=[])

    subset = ours_of(ours, few)
    return {
        "intervals: rate, CV, CV2, LV, LvR together": (only_intervals, all_intervals, 1, ""),
        "rate": (only_intervals, lambda: [statistics.mean_firing_rate(t) for t in theirs], 1, ""),
        "CV": (only_intervals, lambda: [statistics.cv(statistics.isi(t)) for t in theirs], 1, ""),
        "CV2": (only_intervals, lambda: [statistics.cv2(statistics.isi(t)) for t in theirs], 1, ""),
        "LV": (only_intervals, lambda: [statistics.lv(statistics.isi(t)) for t in theirs], 1, ""),
        "LvR": (only_intervals, lambda: [statistics.lvr(statistics.isi(t)) for t in theirs], 1, ""),
        "Fano factor of 100 ms, and intervals": (
            lambda: a.spike_statistics(ours, windows=100.0), lambda: [fano(t) for t in theirs], 1, "without intervals",
        ),
        "peristimulus histogram, 10 ms": (
            lambda: a.psth(ours, 10.0),
            lambda: [statistics.time_histogram(t, 10 * pq.ms, output="rate") for t in (theirs[:800], theirs[800:])],
            1, "",
        ),
        "kernel rates of neurons, every 1 ms": (
            lambda: a.kernel_rate(ours, 20.0, bin=1.0, errors=False),
            lambda: statistics.instantaneous_rate(part, 1 * pq.ms, kernels.GaussianKernel(20 * pq.ms)),
            scale_part, "100 neurons",
        ),
        "best width of the kernel": (
            lambda: a.optimal_bandwidth(ours),
            lambda: [statistics.optimal_kernel_bandwidth(t.magnitude) for t in part], scale_part, "100 neurons",
        ),
        "covariances of counts, 5 ms": (
            lambda: a.count_correlations(ours, 5.0),
            lambda: spike_train_correlation.covariance(conversion.BinnedSpikeTrain(theirs, bin_size=5 * pq.ms)), 1, "",
        ),
        "correlation coefficients of counts, 5 ms": (
            lambda: a.count_correlations(ours, 5.0),
            lambda: spike_train_correlation.correlation_coefficient(
                conversion.BinnedSpikeTrain(theirs, bin_size=5 * pq.ms)
            ), 1, "",
        ),
        "cross-correlograms of pairs, ±50 ms": (
            lambda: a.cross_correlogram(ours, first, bin=1.0, max_lag=50.0),
            lambda: [
                spike_train_correlation.cross_correlation_histogram(binned_few[i], binned_few[j], window=[-50, 50])
                for i, j in some
            ], 1, "190 pairs in both",
        ),
        "correlation time": (
            lambda: a.correlation_time(ours, bin=1.0, max_lag=100.0),
            lambda: [spike_train_correlation.spike_train_timescale(b, 100 * pq.ms) for b in binned_few],
            NEURONS / 20, "20 neurons",
        ),
        "spike time tiling of all pairs": (
            lambda: a.spike_time_tiling(ours, 5.0, blocks=0),
            lambda: [spike_train_correlation.spike_time_tiling_coefficient(theirs[i], theirs[j]) for i, j in some],
            scale_pairs, of_pairs,
        ),
        "van Rossum distance of all pairs": (
            lambda: a.distance_matrix(ours, "van_rossum", tau=10.0, blocks=0),
            lambda: spike_train_dissimilarity.van_rossum_distance(part, 10 * pq.ms),
            (NEURONS / 100) ** 2, "4,950 of 499,500 pairs",
        ),
        "Victor-Purpura distance of all pairs": (
            lambda: a.distance_matrix(ours, "victor_purpura", cost=0.1, blocks=0),
            lambda: spike_train_dissimilarity.victor_purpura_distance([theirs[k] for k in few], 0.1 / pq.ms),
            scale_pairs, of_pairs,
        ),
        "Welch spectra of neurons": (
            lambda: a.welch_spectra(ours, 250.0, resolution="neuron"),
            lambda: spectral.welch_psd(of_neurons(part), fs=1e3, len_segment=250), scale_part, "100 neurons",
        ),
        "Welch spectra of populations": (
            lambda: a.welch_spectra(rates, 250.0, cross=False),
            lambda: spectral.welch_psd(population, len_segment=250), 1, "of given rates",
        ),
        "multitaper spectra of neurons, 1 s": (
            lambda: a.multitaper_spectra(ours, segment=1000.0, resolution="neuron"),
            lambda: spectral.segmented_multitaper_psd(
                of_neurons(part), len_segment=1000, overlap=0.0, fs=1e3
            ), scale_part, "100 neurons",
        ),
        "Welch coherence of pairs": (
            lambda: a.welch_spectra(subset, 250.0, resolution="neuron"),
            lambda: coherence(spectral.welch_coherence, 190, len_segment=250), 1, "190 pairs in both",
        ),
        "multitaper coherence of pairs, 1 s": (
            lambda: a.multitaper_spectra(subset, segment=1000.0, resolution="neuron"),
            lambda: coherence(spectral.multitaper_coherence, 5, len_segment=1000, overlap=0.0), 38, "of them 5 there",
        ),
        "spike-triggered average of a signal": (
            lambda: a.spike_triggered_average(ours, trace, before=50, after=50),
            lambda: [sta.spike_triggered_average(signal, t, (-50 * pq.ms, 50 * pq.ms)) for t in theirs[:2]],
            NEURONS / 2, "2 neurons",
        ),
        "surrogates: dither": (
            lambda: a.surrogate_trains(ours, "dither"), lambda: [es.dither_spikes(t, window) for t in theirs], 1, "",
        ),
        "surrogates: jitter": (
            lambda: a.surrogate_trains(ours, "jitter"), lambda: [es.jitter_spikes(t, window) for t in theirs], 1, "",
        ),
        "surrogates: shuffled intervals": (
            lambda: a.surrogate_trains(ours, "shuffle"), lambda: [es.shuffle_isis(t) for t in theirs], 1, "",
        ),
        "surrogates: shift": (
            lambda: a.surrogate_trains(ours, "shift"), trials, scale_part, "100 neurons",
        ),
        "surrogates: random times": (
            lambda: a.surrogate_trains(ours, "poisson"), lambda: [es.randomise_spikes(t) for t in theirs], 1, "",
        ),
    }  # fmt: skip


def ours_of(ours: xr.Dataset, neurons: list[int]) -> xr.Dataset:
    """Return the trains of the first neurons."""
    sizes = ours["row_size"].isel(neuron=neurons)
    return xr.Dataset({"spike_time": ours["spike_time"][: int(sizes.sum())], "row_size": sizes}, attrs=ours.attrs)


def main() -> None:
    """Print every ratio and their median."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("words", nargs="*", help="only lines whose name contains one of these")
    words = parser.parse_args().words
    warnings.simplefilter("ignore")
    ours, theirs = data()
    print(f"{NEURONS} neurons, {DURATION:g} s, {ours.sizes['spike']} spikes; seconds here and of Elephant")
    ratios = []
    for name, (mine, other, scale, note) in lines(ours, theirs).items():
        if words and not any(word in name for word in words):
            continue
        own = seconds(mine)
        if own < 1:  # once more, with loops that are compiled and memory that was used before
            own = min(own, seconds(mine, 3))
        whole = scale * seconds(other)
        ratios.append(whole / own)
        print(f"{name:45s} {own:9.4f} {whole:11.3f} {whole / own:9.1f} x  {note}", flush=True)
    if ratios:
        print(f"median of {len(ratios)} ratios: {np.median(ratios):.1f}; below 20: {sum(r < 20 for r in ratios)}")


if __name__ == "__main__":
    main()
