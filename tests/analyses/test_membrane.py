"""Statistics of membrane potentials: Ornstein-Uhlenbeck processes with closed forms, and input that is refused."""

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt
from scipy import signal

from mnnbio.analyses import ComparisonWarning, compare_membrane, membrane_statistics, plot_voltages
from mnnbio.results import neuron_coords, ragged

TAU, REST = 20.0, -60.0  # ms, mV
MU, SIGMA = 300.0, 25.0  # mV/s, mV/√s
MEAN, STD = REST + MU * TAU * 1e-3, SIGMA * np.sqrt(TAU * 1e-3 / 2)
K = 4.0  # standard errors


def group(values, *, step=0.5, index=None, dims=("trial", "time", "neuron"), units="mV", name="v"):
    """Return a group of states of samples `step` ms apart."""
    array = xr.DataArray(values, dims=dims, attrs={"units": units})
    index = np.arange(array.sizes["neuron"]) if index is None else index
    coords = {"time": 1e-3 * step * np.arange(array.sizes["time"]), "index": ("neuron", index)}
    return xr.Dataset({name: array.assign_coords(coords)})


def ornstein_uhlenbeck(*shape, step=0.5, seed=0):
    """Return stationary samples (..., time, neuron) of the free membrane, exact for any step."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(shape)
    decay = np.exp(-step / TAU)
    noise[..., 1:, :] *= np.sqrt(1 - decay**2)
    x = signal.lfilter([1.0], [1.0, -decay], noise, axis=-2)
    return MEAN + STD * x


def trains(times, trials=1, population="E"):
    """Return spike trains: `times`, s, by (trial, neuron)."""
    number = max(neuron for _, neuron in times) + 1
    rows = [np.asarray(times.get((t, n), [])) for t in range(trials) for n in range(number)]
    sizes = np.array([len(row) for row in rows]).reshape(trials, number)
    coords = {**neuron_coords({population: number}), "trial": ("trial", np.arange(trials))}
    return ragged(np.concatenate(rows), sizes, ("trial", "neuron"), coords, duration=100.0, warmup=0.1)


def prediction(number=3, **changes):
    data = {
        "mean_input": ("neuron", np.full(number, MU), {"units": "mV/s"}),
        "std_input": ("neuron", np.full(number, SIGMA), {"units": "mV/s^0.5"}),
    }
    return xr.Dataset(data | changes, coords=neuron_coords({"E": number}))


@pytest.mark.parametrize(("trials", "samples"), [(1, 20_000), (30, 2_000)])
def test_statistics_of_an_ornstein_uhlenbeck_process(trials, samples):
    n = 40
    if trials == 1:
        s = membrane_statistics(group(ornstein_uhlenbeck(trials, samples, n)))
    else:
        s = membrane_statistics(group(ornstein_uhlenbeck(trials, samples, n, seed=1)))
    assert s.attrs["trials"] * s.attrs["blocks"] >= 20
    for name, truth in (("mean", MEAN), ("std", STD), ("correlation_time", 1e-3 * TAU)):
        values, se = s[name].to_numpy(), s[f"{name}_se"].to_numpy()
        spread = values.std(ddof=1)
        assert abs(values.mean() - truth) < K * spread / np.sqrt(n), name
        # The error found from one neuron's parts is the spread between neurons, to the precision of 40 of them.
        assert abs(spread / np.sqrt((se**2).mean()) - 1) < K / np.sqrt(2 * n), name
    assert s["mean"].attrs["units"] == "mV"
    assert s["correlation_time"].attrs["units"] == "s"
    assert (s["kept"] == 1).all()


def test_the_error_of_the_correlation_time_is_its_spread_among_250_processes():
    n = 250
    s = membrane_statistics(group(ornstein_uhlenbeck(1, 5000, n, step=2.0, seed=11), step=2.0))
    values, se = (s[name].to_numpy() for name in ("correlation_time", "correlation_time_se"))
    # The sum of 2 ms steps with the half of the first one is the integral by the trapezoidal rule, up to infinity.
    decay = np.exp(-2.0 / TAU)
    truth = 2e-3 * (0.5 + decay / (1 - decay))
    spread = values.std(ddof=1)
    assert abs(values.mean() / truth - 1) < 0.007 + K * spread / truth / np.sqrt(n)  # the window leaves out exp(-5)
    assert abs(spread / np.sqrt((se**2).mean()) - 1) < K / np.sqrt(2 * n)


def test_an_oscillation_has_a_positive_correlation_time():
    t = np.arange(20_000) * 0.5
    rng = np.random.default_rng(12)
    wave = np.cos(2 * np.pi * t / 25.0 + rng.uniform(0, 2 * np.pi, (1, 4, 1))).transpose(0, 2, 1)
    s = membrane_statistics(group(wave + 0.1 * rng.standard_normal(wave.shape)))
    assert (s["correlation_time"] > 0).all()
    assert (s["correlation_time"] < 25e-3 / 4).all()  # less than the integral over a quarter of the period


def test_errors_of_the_mean_are_the_closed_form():
    time, n = 10.0, 40
    s = membrane_statistics(group(ornstein_uhlenbeck(1, 20_000, n, seed=2)))
    exact = STD * np.sqrt(2e-3 * TAU / time)
    assert np.sqrt(float((s["mean_se"] ** 2).mean())) == pytest.approx(exact, rel=K / np.sqrt(2 * 19 * n) + 0.03)
    # Var(x²) = 2 σ⁴ with half the correlation time: the error of the standard deviation is σ sqrt(τ/2T).
    exact = STD * np.sqrt(1e-3 * TAU / (2 * time))
    assert np.sqrt(float((s["std_se"] ** 2).mean())) == pytest.approx(exact, rel=0.15)


def test_statistics_of_white_noise_and_of_a_constant():
    rng = np.random.default_rng(3)
    s = membrane_statistics(group(rng.standard_normal((4, 5000, 6)), step=1.0))
    # Without correlations the integral is half a sample and three lags by chance.
    assert (abs(s["correlation_time"] - 0.5e-3) < K * np.sqrt(3 / 20_000) * 1e-3).all()
    s = membrane_statistics(group(np.full((4, 100, 2), -60.1)))
    assert (s["mean"] == -60.1).all()
    assert (s["std"] == 0).all()
    assert (s["mean_se"] == 0).all()
    assert s["correlation_time"].isnull().all()


def test_stimuli_are_kept_apart_and_order_of_dimensions_does_not_matter():
    values = ornstein_uhlenbeck(2, 3, 8000, 2, seed=4)
    dims = ("stimulus", "trial", "time", "neuron")
    both = membrane_statistics(group(values, dims=dims))
    turned = group(values, dims=dims)
    turned["v"] = turned["v"].transpose("neuron", "time", "trial", "stimulus")
    xr.testing.assert_allclose(both, membrane_statistics(turned))
    for k in range(2):
        xr.testing.assert_allclose(both.isel(stimulus=k), membrane_statistics(group(values[k])))


def test_samples_after_spikes_are_left_out():
    values = np.zeros((1, 1000, 2))
    values[0, 101:111, 1] = 50.0  # 5 ms after the spike at 50 ms; the sample of the spike itself stays
    states = group(values, index=[7, 2])
    spikes = trains({(0, 2): [-0.001, 0.05], (0, 8): []})
    s = membrane_statistics(states, hold=5.0, spikes=spikes, population="E")
    assert s["std"].to_numpy().tolist() == [0.0, 0.0]
    assert s["mean"].to_numpy().tolist() == [0.0, 0.0]
    # The spike 1 ms before the end of the warm-up takes the samples from 0 to 4 ms as well.
    np.testing.assert_allclose(s["kept"], [1.0, 1 - (10 + 9) / 1000])
    assert float(membrane_statistics(states, hold=4.5, spikes=spikes, population="E")["mean"][1]) > 0
    from brian2 import ms

    xr.testing.assert_equal(s, membrane_statistics(states, hold=5 * ms, spikes=spikes, population="E"))


def test_gaps_do_not_bias_the_correlation_time():
    n, rng = 40, np.random.default_rng(5)
    values = ornstein_uhlenbeck(1, 20_000, n, seed=6)
    spikes = trains({(0, k): np.sort(rng.uniform(0, 10, 200)) for k in range(n)})  # independent of the voltage
    s = membrane_statistics(group(values), hold=20.0, spikes=spikes, population="E")
    assert (s["kept"] < 0.8).all()
    for name, truth in (("mean", MEAN), ("std", STD), ("correlation_time", 1e-3 * TAU)):
        values = s[name].to_numpy()
        assert abs(values.mean() - truth) < K * values.std(ddof=1) / np.sqrt(n), name


def test_nothing_kept_is_nan():
    s = membrane_statistics(
        group(np.random.default_rng(0).standard_normal((1, 100, 1))), hold=1e3, spikes=trains({(0, 0): [-0.01]}),
        population="E",
    )  # fmt: skip
    assert np.isnan(s["mean"]).all()
    assert np.isnan(s["std_se"]).all()
    assert (s["kept"] == 0).all()


def test_a_result_gives_population_and_spikes():
    values = ornstein_uhlenbeck(1, 20_000, 2, seed=7)
    spikes = trains({(0, 0): [0.1], (0, 1): [0.5]})
    tree = xr.DataTree.from_dict({"spikes": spikes, "states/E": group(values), "states/I": group(values[..., :1])})
    expected = membrane_statistics(group(values), hold=5.0, spikes=spikes, population="E")
    for s in (
        membrane_statistics(tree, hold=5.0, population="E"),
        membrane_statistics(tree["states/E"], hold=5.0),
        membrane_statistics(tree["states"], hold=5.0, population="E"),
    ):
        xr.testing.assert_identical(s, expected.assign_attrs(population="E"))
    with pytest.raises(ValueError, match="give `population`: there are those of E, I"):
        membrane_statistics(tree)
    with pytest.raises(ValueError, match="no states of 'X' were recorded: there are those of E, I"):
        membrane_statistics(tree, population="X")
    with pytest.raises(ValueError, match="`population` is 'I', these are the states of 'E'"):
        membrane_statistics(tree["states/E"], population="I")
    with pytest.raises(ValueError, match="no population 'I', there are E"):
        membrane_statistics(tree, hold=5.0, population="I")
    with pytest.raises(ValueError, match="the result has no states"):
        membrane_statistics(xr.DataTree.from_dict({"spikes": spikes}))


def test_variables_with_neurons_of_their_own():
    states = group(ornstein_uhlenbeck(2, 20_000, 2, seed=8))
    other = group(ornstein_uhlenbeck(2, 10_000, 1, seed=9, step=1.0), step=1.0, index=[5], units="nS", name="g_e")
    states["g_e"] = other["g_e"].rename(time="time_g_e", neuron="neuron_g_e", index="index_g_e")
    s = membrane_statistics(states, "g_e")
    xr.testing.assert_identical(s, membrane_statistics(other, "g_e"))
    assert s["index"].to_numpy().tolist() == [5]
    assert s["mean"].attrs["units"] == "nS"


def test_comparison_with_the_free_membrane():
    n = 40
    s = membrane_statistics(group(ornstein_uhlenbeck(1, 20_000, n, seed=10)))
    c = compare_membrane(s, prediction(n), tau_m=TAU, v_rest=REST, population="E")
    assert np.allclose(c["mean_predicted"], MEAN)
    assert np.allclose(c["std_predicted"], STD)
    assert np.allclose(c["correlation_time_predicted"], 1e-3 * TAU)
    for name in ("mean", "std", "correlation_time"):
        z = c[f"{name}_z"].to_numpy()
        np.testing.assert_allclose(z * c[f"{name}_se"], c[f"{name}_difference"])
        assert abs(z.mean()) < K / np.sqrt(n) + 0.3
        assert z.std() < 1 + K / np.sqrt(2 * n)
    wrong = compare_membrane(s, prediction(n), tau_m=1.5 * TAU, v_rest=REST, population="E")
    assert (abs(wrong["mean_z"]) > 5).all()
    each = compare_membrane(s, prediction(n), tau_m=np.full(n, TAU), v_rest=np.full(n, REST), population="E")
    xr.testing.assert_identical(each, c)


def test_comparison_takes_the_neurons_that_were_recorded():
    index = [2, 0]
    s = membrane_statistics(group(ornstein_uhlenbeck(1, 20_000, 2), index=index))
    p = prediction(3, mean_input=("neuron", [100.0, 200.0, 300.0], {"units": "mV/s"}))
    c = compare_membrane(s, p, tau_m=[10.0, 20.0, 30.0], population="E")
    np.testing.assert_allclose(c["mean_predicted"], [9.0, 1.0])
    stimuli = xr.concat([p, 2 * p.assign(std_input=p["std_input"])], "stimulus")
    with pytest.raises(ValueError, match="the prediction has 2 stimuli, the statistics have none"):
        compare_membrane(s, stimuli, tau_m=TAU, population="E")


def test_comparison_refuses_what_does_not_fit():
    s = membrane_statistics(group(ornstein_uhlenbeck(1, 20_000, 2)))
    for text, change in (
        ("`tau_m` must be > 0 ms, got 0 ms", {"tau_m": 0.0}),
        ("`tau_m` must be one number or 3", {"tau_m": [1.0, 2.0]}),
        ("`v_rest` must be finite", {"v_rest": np.nan}),
        ("give `population`", {"population": None}),
        ("no population 'X', there are E", {"population": "X"}),
        ("neuron 1 of 'E' is not among the 1", {"prediction": prediction(1)}),
        ("no 'std_input'", {"prediction": prediction().drop_vars("std_input")}),
        ("must be in mV/s, it is in pA", {"prediction": prediction(mean_input=("neuron", [1.0] * 3, {"units": "pA"}))}),
        ("what `membrane_statistics` returns", {"statistics": s.drop_vars("std")}),
        ("are of a variable in nS", {"statistics": membrane_statistics(group(np.eye(1000)[None, :, :2], units="nS"))}),
    ):
        given = {"statistics": s, "prediction": prediction(), "tau_m": TAU, "population": "E"} | change
        with pytest.raises(ValueError, match=text):
            compare_membrane(given.pop("statistics"), given.pop("prediction"), **given)


def test_statistics_refuse_bad_input():
    good = group(ornstein_uhlenbeck(2, 1000, 2))
    broken = good.copy(deep=True)
    broken["v"][1, 4, 1] = np.nan
    uneven = good.assign_coords(time=np.geomspace(1, 2, 1000))
    spikes = trains({(0, 0): [0.1], (1, 1): [0.2]}, trials=2)
    for text, states, options in (
        ("no state 'w' was recorded, there are v", good, {"variable": "w"}),
        ("1 are not, the first at neuron 1, trial 1, 2 ms", broken, {}),
        ("1 samples a trial are too few", good.isel(time=[0]), {}),
        ("'v' has no samples", good.isel(time=[]), {}),
        ("it has no 'trial'", good.isel(trial=0), {}),
        ("it has no 'index'", good.drop_vars("index"), {}),
        ("must be evenly spaced", uneven, {}),
        ("`hold` must be a time ≥ 0 ms", good, {"hold": -1.0}),
        ("the spikes are unknown", good, {"hold": 5.0}),
        ("give `population`", good, {"hold": 5.0, "spikes": spikes}),
        ("no population 'I', there are E", good, {"hold": 5.0, "spikes": spikes, "population": "I"}),
        ("spikes are over", good.isel(trial=[0]), {"hold": 5.0, "spikes": spikes, "population": "E"}),
        ("`blocks` must be an integer ≥ 1", good, {"blocks": 0}),
        ("two parts or more", good.isel(trial=[0]), {"blocks": 1}),
    ):
        with pytest.raises(ValueError, match=text):
            membrane_statistics(states, **options)
    with pytest.raises(TypeError, match="`states` must be a group"):
        membrane_statistics(np.zeros(3))


def test_short_parts_are_told():
    with pytest.warns(ComparisonWarning, match="shorter than 10 correlation times"):
        membrane_statistics(group(ornstein_uhlenbeck(1, 2000, 3)))


def test_voltages_are_drawn_with_their_spikes():
    states = group(ornstein_uhlenbeck(2, 1000, 3), index=[4, 0, 1])
    spikes = trains({(1, 4): [0.01, 0.05, 0.4], (1, 0): []}, trials=2)
    panels = plot_voltages(states, spikes, "E", trial=1, neurons=2, threshold=-50.0)
    assert len(panels) == 2
    line = panels[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), 0.5 * np.arange(601))
    np.testing.assert_allclose(line.get_ydata(), states["v"].to_numpy()[1, :601, 0])
    marks = [[segment[0][0] for segment in axes.collections[0].get_segments()] for axes in panels]
    np.testing.assert_allclose(marks[0], [10.0, 50.0])
    assert marks[1] == []
    assert panels[0].get_ylabel() == "v (mV)"
    assert panels[1].get_xlabel() == "Time after warm-up (ms)"
    low, high = panels[0].get_ylim()
    assert low < -50.0 < high
    (axes,) = plot_voltages(states, neurons=1, ax=plt.figure().subplots(), start=100, duration=50)
    assert axes.get_xlim() == (100.0, 150.0)
    assert not axes.collections
    plt.close("all")


def test_voltages_refuse_what_is_not_there():
    states = group(ornstein_uhlenbeck(2, 100, 3))
    spikes = trains({(0, 2): [0.01], (1, 0): []}, trials=2)
    for text, options in (
        ("`trial` must be from 0 to 1, got 2", {"trial": 2}),
        ("`stimulus` must be from 0 to 0, got 1", {"stimulus": 1}),
        ("`duration` must be a time > 0", {"duration": 0}),
        ("fewer than two samples from 900 ms", {"start": 900}),
        ("`neurons` must be an integer ≥ 1", {"neurons": 0}),
        ("no state 'w'", {"variable": "w"}),
        ("no population 'I', there are E", {"spikes": spikes, "population": "I"}),
        ("give `population`", {"spikes": spikes}),
        ("`ax` must be 3 axes", {"ax": plt.figure().subplots()}),
    ):
        with pytest.raises(ValueError, match=text):
            plot_voltages(states, **options)
    plt.close("all")
