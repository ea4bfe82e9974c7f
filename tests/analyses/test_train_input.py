"""What spike statistics do with unusual and bad input, with plain trains, quantities, files and parts of a record."""

import re
from pathlib import Path

import numpy as np
import pytest
import synthetic
import xarray as xr
from brian2 import Hz, ms, second
from test_train_statistics import trains_of

import mnnbio.analyses as a
from mnnbio.analyses.figure_style import figure_of
from mnnbio.analyses.train_table import table_blocks, train_table
from mnnbio.results import load, save

RNG = np.random.default_rng(0)
ROWS = [np.sort(RNG.uniform(0, 1000, 40)) for _ in range(4)]
SIGNAL = xr.DataArray(np.sin(np.arange(1000.0)), dims="time", coords={"time": 1e-3 * np.arange(1000)})

# Every statistic of trains, called as simply as possible, and one of its variables.
CALLS = {
    "spike_statistics": (lambda t, **o: a.spike_statistics(t, **o), "rate"),
    "psth": (lambda t, **o: a.psth(t, 100.0, **o), "rate"),
    "kernel_rate": (lambda t, **o: a.kernel_rate(t, 20.0, bin=5.0, **o), "rate"),
    "kernel_rate, auto": (lambda t, **o: a.kernel_rate(t, bin=5.0, **o), "rate"),
    "optimal_bandwidth": (lambda t, **o: a.optimal_bandwidth(t, blocks=3, **o), "bandwidth"),
    "cross_correlogram": (lambda t, **o: a.cross_correlogram(t, bin=5.0, **o), "count"),
    "covariance_functions": (lambda t, **o: a.covariance_functions(t, bin=5.0, max_lag=20.0, **o), "covariance"),
    "correlation_time": (lambda t, **o: a.correlation_time(t, bin=5.0, max_lag=20.0, **o), "correlation_time"),
    "spike_time_tiling": (lambda t, **o: a.spike_time_tiling(t, **o), "tiling"),
    "count_correlations": (lambda t, **o: a.count_correlations(t, 20.0, **o), "correlation"),
    "welch_spectra": (lambda t, **o: a.welch_spectra(t, 100.0, **o), "power"),
    "multitaper_spectra": (lambda t, **o: a.multitaper_spectra(t, **o), "power"),
    "spike_triggered_average": (lambda t, **o: a.spike_triggered_average(t, SIGNAL, **o), "average"),
    "spike_triggered_rate": (lambda t, **o: a.spike_triggered_rate(t, 5.0, **o), "average"),
    "isi": (lambda t, **o: a.distance_matrix(t, "isi", **o), "distance"),
    "spike": (lambda t, **o: a.distance_matrix(t, "spike", **o), "distance"),
    "van_rossum": (lambda t, **o: a.distance_matrix(t, "van_rossum", tau=10.0, **o), "distance"),
    "victor_purpura": (lambda t, **o: a.distance_matrix(t, "victor_purpura", cost=0.1, **o), "distance"),
    "lempel_ziv_complexity": (lambda t, **o: a.lempel_ziv_complexity(t, **o), "relative"),
    "surrogate_trains": (lambda t, **o: a.surrogate_trains(t, **o), "row_size"),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_spikes_one_neuron_one_trial_are_an_answer(name):
    call, variable = CALLS[name]
    silent = call([[], [], ROWS[0]], duration=1000.0)
    assert variable in silent
    if name != "surrogate_trains":
        assert silent.attrs["silent_neurons"] == 2
    alone = call([ROWS[0]], duration=1000.0)
    assert variable in alone
    assert variable in call(trains_of(ROWS[:2], neurons=1, duration=1000.0))


@pytest.mark.parametrize("name", CALLS)
def test_bad_trains_are_refused(name):
    call, _ = CALLS[name]
    for rows, message in (
        ([[3.0, 1.0]], "must ascend within a train, got 3 before 1 in neuron 0: sort each train"),
        ([[1.0, np.nan]], "must be finite, got nan"),
        ([[1.0, 1200.0]], "spikes must lie between 0 and the duration, 1000 ms"),
    ):
        with pytest.raises(ValueError, match=message):
            call(rows, duration=1000.0)
    with pytest.raises(ValueError, match="need `duration`, the length of the record"):
        call(ROWS)
    with pytest.raises(ValueError, match="must lie in the record, 0 ms to 1000 ms, got 0 ms to 2000 ms"):
        call(ROWS, duration=1000.0, stop=2000.0)
    with pytest.raises(TypeError, match="expected a result, an xarray DataTree or Dataset, got NoneType"):
        call(None)


@pytest.mark.parametrize("name", CALLS)
def test_quantities_and_parts_of_a_record(name):
    call, variable = CALLS[name]
    plain = call(ROWS, duration=1000.0)[variable]
    quantities = call([row * ms for row in ROWS], duration=1 * second)[variable]
    np.testing.assert_allclose(quantities, plain, rtol=1e-6, atol=1e-9)
    if name == "spike_triggered_average":
        return  # of a signal of the whole record
    part = call(ROWS, duration=1000.0, start=200.0, stop=800 * ms)[variable]
    moved = [row[(row >= 200) & (row < 800)] - 200 for row in ROWS]
    np.testing.assert_allclose(part, call(moved, duration=600.0)[variable], rtol=1e-6, atol=1e-6)


def test_duplicate_spikes_are_counted():
    found = a.spike_statistics([[1.0, 1.0, 1.0, 5.0], [1.0, 2.0]], duration=10.0)
    assert found.attrs["duplicate_spikes"] == 2
    assert a.spike_time_tiling([[1.0, 1.0], [2.0]], duration=10.0).attrs["duplicate_spikes"] == 1


def test_few_intervals_are_flagged():
    found = a.spike_statistics([[1.0, 2.0], ROWS[0]], duration=1000.0)
    assert found["few_intervals"].to_numpy().tolist() == [True, False]
    assert np.isnan(found["cv"]).to_numpy().tolist() == [True, False]


BAD = {
    "bin longer than the record": (lambda: a.psth(ROWS, 2000.0, duration=1000.0), "must fit into the record, 1000 ms"),
    "bin of 0": (lambda: a.psth(ROWS, 0.0, duration=1000.0), "`bin` must be a time > 0 ms"),
    "level": (lambda: a.psth(ROWS, duration=1000.0, level=95), "between 0 and 1, such as 0.95, got 95"),
    "trials of one": (lambda: a.psth(ROWS, duration=1000.0, interval="trials"), 'give `interval="poisson"`'),
    "no events": (lambda: a.psth(ROWS, duration=1000.0, events=[]), "one or more finite times"),
    "narrow kernel": (lambda: a.kernel_rate(ROWS, 0.1, duration=1000.0), "at least half a bin of 1 ms, got 0.1 ms"),
    "kernel": (lambda: a.kernel_rate(ROWS, 5.0, kernel="square", duration=1000.0), "kernel"),
    "lag": (lambda: a.cross_correlogram(ROWS, max_lag=1000.0, duration=1000.0), "shorter than the record, 1000 ms"),
    "pairs": (lambda: a.cross_correlogram(ROWS, [[0, 9]], duration=1000.0), "places of the 4 neurons, got 0 to 9"),
    "pairs of three": (lambda: a.cross_correlogram(ROWS, [[0, 1, 2]], duration=1000.0), r"of shape \(pair, 2\)"),
    "short pieces": (
        lambda: a.covariance_functions(ROWS, max_lag=200.0, duration=1000.0),
        "holds 100 bins, the longest lag is 200",
    ),
    "window": (lambda: a.spike_time_tiling(ROWS, 0.0, duration=1000.0), "`window` must be a time > 0 ms and within"),
    "segment": (lambda: a.welch_spectra(ROWS, 2000.0, duration=1000.0), "longer than the record, 1000 ms, got 2000"),
    "short segment": (lambda: a.welch_spectra(ROWS, 4.0, duration=1000.0), "8 samples of 1 ms or more, got 4 ms"),
    "overlap": (lambda: a.welch_spectra(ROWS, overlap=1.0, duration=1000.0), "from 0 to below 1"),
    "tapers": (lambda: a.multitaper_spectra(ROWS, 2.0, tapers=9, duration=1000.0), "`tapers`"),
    "signal with NaN": (lambda: a.welch_spectra(SIGNAL.where(SIGNAL > 0)), "must be finite"),
    "signal of another dimension": (
        lambda: a.spike_triggered_average(ROWS, SIGNAL.expand_dims("mode"), duration=1000.0), "the dimension 'mode'"
    ),
    "too many neurons of a signal": (
        lambda: a.spike_triggered_average(ROWS, SIGNAL.expand_dims(neuron=9), duration=1000.0), "must have the 4 of `neuron`"
    ),
    "long surroundings": (
        lambda: a.spike_triggered_average(ROWS, SIGNAL, before=900, after=900, duration=1000.0), "fit into the signal, 1000"
    ),
    "no tau": (lambda: a.distance_matrix(ROWS, "van_rossum", duration=1000.0), "needs `tau`"),
    "no cost": (lambda: a.distance_matrix(ROWS, "victor_purpura", duration=1000.0), "needs `cost`"),
    "outside the record": (lambda: a.isi_distance([1.0], [20.0], 10.0), "between 0 and the duration, 10 ms"),
    "surplus duration": (
        lambda: a.psth(trains_of(ROWS, neurons=4, duration=1000.0), duration=5.0), "`duration` is of plain trains"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_options_say_what_is_wrong(case):
    call, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert len(str(caught.value).splitlines()) <= 4


def test_no_neurons_have_statistics_too():
    for found in (
        a.spike_statistics([], duration=10.0, windows=[]),
        a.spike_time_tiling([], 1.0, duration=10.0),
        a.distance_matrix([], "isi", duration=10.0),
        a.kernel_rate([], 2.0, bin=1.0, duration=10.0),
    ):
        assert found.sizes["neuron"] == 0


def test_costs_take_quantities():
    plain = a.distance_matrix(ROWS, "victor_purpura", cost=0.1, duration=1000.0)
    quantity = a.distance_matrix(ROWS, "victor_purpura", cost=100 * Hz, duration=1000.0)
    np.testing.assert_allclose(quantity["distance"], plain["distance"])


def test_files_are_read_some_neurons_at_a_time(tmp_path):
    rng = np.random.default_rng(4)
    rows = [np.sort(rng.uniform(0, 500, rng.integers(0, 60))) for _ in range(3 * 20)]
    spikes = trains_of(rows, neurons=20, duration=500.0)
    save(xr.DataTree.from_dict({"/spikes": spikes}), tmp_path / "result.nc")
    opened = load(tmp_path / "result.nc", chunks="auto")
    assert opened["spikes"]["spike_time"].chunks is not None
    whole = train_table(spikes)
    parts = list(table_blocks(opened, most=200))
    assert len(parts) > 3
    assert sum(part.neurons for part in parts) == 20
    for one, begin in zip(parts, np.cumsum([0, *(part.neurons for part in parts)]), strict=False):
        own = whole.select(np.arange(begin, begin + one.neurons))
        np.testing.assert_array_equal(one.times, own.times)
        np.testing.assert_array_equal(one.start, own.start)
        np.testing.assert_array_equal(one.coords["population"], own.coords["population"])
    a.spike_statistics(opened)
    opened.close()


def test_statistics_of_blocks_are_those_of_the_whole(monkeypatch):
    from mnnbio.analyses import spike_trains, train_table

    spikes = trains_of([np.sort(RNG.uniform(0, 1000, 30)) for _ in range(60)], neurons=20, duration=1000.0)
    whole = a.spike_statistics(spikes)
    monkeypatch.setattr(spike_trains, "table_blocks", lambda *o, **k: train_table.table_blocks(*o, **k, most=200))
    parts = a.spike_statistics(spikes)
    xr.testing.assert_allclose(parts, whole)
    assert parts.attrs == whole.attrs


def test_figures_draw_what_statistics_return():
    own = trains_of([np.sort(RNG.uniform(0, 400, 60)) for _ in range(6 * 8)], neurons=8, duration=400.0)
    axes = a.plot_rate_estimate(a.psth(own, 20.0))
    assert axes.get_xlim() == (0, 400)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["E", "I"]
    assert len(a.plot_rate_estimate(a.kernel_rate(own, 20.0), neurons=[0, 3]).lines) == 2
    correlogram = a.cross_correlogram(own, [[0, 5], [1, 2]], bin=2.0, max_lag=20.0)
    axes = a.plot_cross_correlogram(correlogram, 1)
    assert axes.get_xlabel() == "Spike of neuron 2 after neuron 1 (ms)"
    assert len(axes.patches[0].get_path().vertices) > 2 * 21
    distribution = a.correlation_distribution(own, 10.0, blocks=4, predicted=np.zeros((8, 8)))
    axes = a.plot_correlation_histogram(distribution, "E", "I")
    assert len(axes.lines) == 3  # the estimate, the prediction, and 0
    axes = a.plot_power_spectra(a.multitaper_spectra(own), populations="I")
    assert axes.get_xscale() == "log"
    assert len(axes.lines) == 1
    assert len(a.plot_rate_histogram(a.spike_statistics(own)).patches) == 4
    given = figure_of(axes).add_subplot()
    assert a.plot_rate_estimate(a.psth(own, 20.0), ax=given) is given
    with pytest.raises(TypeError, match="expected what `cross_correlogram` returns"):
        a.plot_cross_correlogram([1, 2])
    with pytest.raises(ValueError, match="a position among the 2 there are, got 2"):
        a.plot_cross_correlogram(correlogram, 2)
    with pytest.raises(ValueError, match="without 'power'"):
        a.plot_power_spectra(correlogram)
    with pytest.raises(ValueError, match="there is no population 'X', there are E, I"):
        a.plot_correlation_histogram(distribution, "X")


def test_the_page_of_statistics_runs_and_names_what_exists(capsys):
    text = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    exec(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1), {})
    assert "lvr" in capsys.readouterr().out
    table = text.split("## What there is")[1].split("Jackknife and bootstrap")[0]
    named = [cell for row in table.splitlines()[6:] if row.startswith("|") for cell in [row.split("|")[2]]]
    functions = {name for cell in named for name in re.findall(r"`(\w+)", cell)}
    assert len(functions) > 25
    assert all(callable(getattr(a, name)) for name in functions)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "spike_triggered_average"])
def test_stimuli_stay_apart(name):
    # What a result of two stimuli says of one is what a result of that stimulus alone says.
    call, variable = CALLS[name]
    made = synthetic.make({"E": 3, "I": 2}, stimuli=2, trials=3, duration=1.0, seed=2)
    both = call(made.simulation)[variable]
    spikes = made.simulation["spikes"].to_dataset()
    edges = np.concatenate([[0], np.cumsum(spikes["row_size"].transpose("stimulus", "trial", "neuron").values.ravel())])
    own = spikes["row_size"].isel(stimulus=1)
    alone = xr.Dataset(
        {"spike_time": spikes["spike_time"][int(edges[15]) :], "row_size": own.drop_vars("stimulus", errors="ignore")},
        attrs=spikes.attrs,
    )
    if name in ("surrogate_trains", "lempel_ziv_complexity"):  # other random numbers
        assert both.sizes["stimulus"] == 2
        return
    found = call(alone)[variable]
    np.testing.assert_allclose(both.isel(stimulus=1), found, rtol=1e-9, atol=1e-9)


def test_shared_dimensions_and_distributions_pool_stimuli():
    made = synthetic.make({"E": 4, "I": 3}, stimuli=2, trials=3, duration=2.0, seed=3)
    assert a.shared_dimensionality(made.simulation, 20.0, resamples=3).sizes["neuron"] == 7
    found = a.correlation_distribution(made.simulation, 20.0, blocks=5)
    assert found["pairs"].to_numpy().tolist() == [[6, 12], [12, 3]]
