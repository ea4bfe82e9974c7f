import numpy as np
import pytest
import xarray as xr
from brian2 import ms, second
from scipy import stats

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, Readout, simulate
from mnnbio.results.files import load, save
from mnnbio.results.ragged import counts, spike_trains
from mnnbio.spikes.compiling import CompilerNotFound
from mnnbio.spikes.processes import SimulationTimeout


def layered(n_stimuli=2):
    rng = np.random.default_rng(0)
    rates = rng.uniform(0, 1, (n_stimuli, 3) if n_stimuli else 3)
    return Circuit(
        [
            PoissonSource("input", 3, rates=rates),
            Population("first", 4, LIFParameters(t_ref=1.0)),
            Population("second", 2, LIFParameters(t_ref=1.0)),
        ],
        [
            Projection("input", "first", weights=rng.uniform(1, 3, (4, 3))),
            Projection("first", "second", weights=rng.uniform(8, 12, (2, 4))),
        ],
        readout=Readout("second", [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.0, 0.5, -1.0], labels=["a", "b", "c"]),
    )


@pytest.fixture(scope="module")
def result():
    return simulate(
        layered(), 100 * ms, trials=6, warmup=20 * ms, dt=0.1 * ms, seed=3, window=25 * ms, codegen="runtime"
    )


def test_root_says_how_the_numbers_were_made(result):
    expected = {"duration": 0.1, "warmup": 0.02, "dt": 1e-4, "window": 0.025}
    assert {name: result.attrs[name] for name in expected} == pytest.approx(expected)
    assert (result.attrs["trials"], result.attrs["seed"], result.attrs["codegen"]) == (6, 3, "runtime")
    assert result.attrs["circuit_hash"] == layered().hash()
    assert {"mnnbio_version", "brian2_version", "numpy_version"} <= set(result.attrs)
    assert Circuit.from_json(str(result["circuit"].values)).hash() == layered().hash()


def test_groups_have_the_dimensions_and_labels_of_the_schema(result):
    simulation, spikes = result["simulation"], result["spikes"]
    for name in ("rate", "variance", "fano", "count_variance", "count_fano"):
        assert simulation[name].dims == simulation[f"{name}_se"].dims == ("stimulus", "neuron")
    for name in ("covariance", "count_covariance"):
        assert simulation[name].dims == simulation[f"{name}_se"].dims == ("stimulus", "neuron", "neuron_j")
    assert simulation["readout"].dims == ("stimulus", "trial", "output")
    assert simulation["output"].values.tolist() == ["a", "b", "c"]
    assert all("units" in v.attrs and "long_name" in v.attrs for v in simulation.data_vars.values())
    assert spikes["row_size"].dims == ("stimulus", "trial", "neuron")
    assert spikes["row_size"].attrs["sample_dimension"] == "spike"
    for group in (simulation, spikes):
        assert group["population"].values.tolist() == ["first"] * 4 + ["second"] * 2
        assert group["index"].values.tolist() == [0, 1, 2, 3, 0, 1]
    assert simulation["population_j"].values.tolist() == simulation["population"].values.tolist()


def test_statistics_are_those_of_the_spikes(result):
    spikes, simulation = result["spikes"].to_dataset(), result["simulation"].to_dataset()
    trains = list(spike_trains(spikes))
    table = np.array([np.sum(train >= 0) for train in trains]).reshape(2, 6, 6)  # stimulus, trial, neuron
    np.testing.assert_allclose(simulation["rate"], table.mean(1) / 0.1)
    np.testing.assert_allclose(simulation["variance"], table.var(1, ddof=1) / 0.1)
    np.testing.assert_allclose(simulation["covariance"][0], np.cov(table[0].T) / 0.1, atol=1e-12)
    np.testing.assert_allclose(simulation["fano"], simulation["variance"] / simulation["rate"])
    edges = [0, 0.025, 0.05, 0.075, 0.1]
    windows = np.array([np.histogram(train, edges)[0] for train in trains]).reshape(2, 6, 6, 4)
    windows = windows.transpose(0, 1, 3, 2).reshape(2, 24, 6)
    np.testing.assert_allclose(simulation["count_variance"], windows.var(1, ddof=1))
    np.testing.assert_allclose(simulation["count_covariance"][1], np.cov(windows[1].T), atol=1e-12)
    assert simulation["count_variance"].attrs["n_samples"] == 24


def test_readout_is_linear_in_the_rate_of_every_trial(result):
    readout = layered().readout
    spikes = result["spikes"].to_dataset()
    rates = counts(spikes).isel(window=0, neuron=slice(4, 6)).values / 100.0  # spikes/ms
    np.testing.assert_allclose(result["simulation/readout"], rates @ readout.weights.T + readout.bias)


def test_spikes_of_the_warm_up_are_kept_at_negative_times(result):
    time = result["spikes/spike_time"].values
    assert -0.02 < time.min() < 0 < time.max() < 0.1
    assert np.allclose((time * 1e4) % 1, 0.5)


def test_results_survive_a_file(result, tmp_path):
    save(result, tmp_path / "result.nc")
    loaded = load(tmp_path / "result.nc")
    assert set(result.attrs.items()) <= set(loaded.attrs.items())
    for group in ("simulation", "spikes"):
        xr.testing.assert_identical(loaded[group].to_dataset(inherit=False), result[group].to_dataset(inherit=False))


@pytest.mark.slow
def test_same_seed_same_result_and_seeds_differ(result):
    options = {"trials": 6, "warmup": 20, "window": 25, "codegen": "runtime"}
    again = simulate(layered(), 100, seed=3, **options)
    xr.testing.assert_identical(again.to_dataset(), result.to_dataset())
    xr.testing.assert_identical(again["simulation"].to_dataset(), result["simulation"].to_dataset())
    other = simulate(layered(), 100, seed=4, **options)
    assert not np.array_equal(other["spikes/row_size"], result["spikes/row_size"])


def test_one_stimulus_alone_gives_what_it_gives_among_others(result):
    options = {"trials": 6, "warmup": 20, "window": 25, "seed": 3, "codegen": "runtime"}
    alone = simulate(layered().select(0), 100, **options)["simulation"].to_dataset()
    assert "stimulus" not in alone.dims
    xr.testing.assert_identical(alone, result["simulation"].to_dataset().isel(stimulus=0, drop=True))


def test_many_stimuli_are_statistically_one_by_one(result):
    # The second stimulus alone gets other noise: same distribution of counts, other spikes.
    alone = simulate(layered().select(1), 100, trials=40, warmup=20, seed=8, codegen="runtime")
    together = counts(result["spikes"].to_dataset()).isel(stimulus=1, window=0)
    p = stats.ttest_ind(counts(alone["spikes"].to_dataset()).isel(window=0).values, together.values, axis=0).pvalue
    assert p.min() > 1e-4


def test_recorded_populations_keep_their_labels():
    some = simulate(layered(), 20, seed=0, codegen="runtime", record=["second"])
    assert some["simulation/neuron"].values.tolist() == [4, 5]
    assert some["spikes/neuron"].values.tolist() == [4, 5]
    assert "readout" in some["simulation"]
    others = simulate(layered(), 20, seed=0, codegen="runtime", record="first")
    assert "readout" not in others["simulation"]


def test_one_trial_determines_rates_only():
    single = simulate(layered(None), 50, seed=0, codegen="runtime")["simulation"].to_dataset()
    assert single["rate"].dims == ("neuron",)
    assert np.isfinite(single["rate"]).all()
    assert np.isnan(single["rate_se"]).all()
    assert np.isnan(single["count_variance"]).all()
    assert not {"variance", "fano", "covariance", "count_covariance"} & set(single)


def test_covariances_can_be_left_out():
    plain = simulate(layered(None), 20, trials=3, seed=0, codegen="runtime", covariance=False)
    assert not {"covariance", "count_covariance", "neuron_j"} & set(plain["simulation"].variables)


@pytest.mark.slow
def test_the_error_of_a_rate_uses_windows_long_enough_to_be_independent():
    # A regular neuron: counts of short windows vary far more than the mean rate does.
    circuit = Circuit([Population("n", 40, LIFParameters())], drives=[GaussianDrive("n", mean=1.6, std=0.3)])
    simulation = simulate(circuit, 1600, warmup=200, dt=0.5, seed=1, window=10, codegen="runtime")["simulation"]
    spread = float(simulation["rate"].std(ddof=1))
    assert 0.4 < float(np.sqrt((simulation["rate_se"] ** 2).mean())) / spread < 2.5
    assert simulation["rate"].attrs["n_samples"] == 16


def test_a_progress_bar_can_be_shown(capsys):
    simulate(layered(None), 5, seed=0, codegen="runtime", progress=True)
    assert "simulate: 100%" in capsys.readouterr().err


def test_a_simulation_keeps_to_its_time():
    with pytest.raises(SimulationTimeout, match=r"longer than `timeout`, 0.2 s, and was stopped"):
        simulate(layered(), 1e6, codegen="runtime", timeout=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 200}, "`window` must be > 0 ms and at most `duration`, 100 ms, got 200 ms"),
        ({"window": 0.25}, "`dt` must divide `window`"),
        ({"window": 1 * second}, "`window` must be > 0 ms and at most"),
        ({"dt": 0.3}, r"`dt` must divide `duration`.* Try dt = 0.2 ms"),
        ({"trials": 0}, "`trials` must be an integer ≥ 1"),
        ({"seed": -3}, "`seed` must be an integer ≥ 0"),
        ({"processes": 0}, "`processes` must be an integer ≥ 1"),
        ({"record": "hidden"}, "`record` must name populations of neurons"),
        ({"codegen": "C++"}, "Invalid value 'C\\+\\+' for `codegen`"),
        ({"dt": 2.0}, "must be at most one spike a step"),
        ({"timeout": -1.0}, "`timeout` must be a time > 0 s, got -1.0"),
        ({"timeout": "soon"}, "`timeout` must be a time > 0 s, got 'soon'"),
    ],
)
def test_wrong_arguments_are_errors_before_the_compiler_starts(options, message, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # a compiler that were needed would be missed
    with pytest.raises(ValueError, match=message):
        simulate(layered(), 100, **options)


def test_a_missing_compiler_is_an_error_with_the_way_out(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CompilerNotFound, match='codegen="runtime"'):
        simulate(layered(), 100)


@pytest.mark.slow
@pytest.mark.standalone
def test_cpp_gives_the_same_result(result, tmp_path):
    compiled = simulate(
        layered(), 100, trials=6, warmup=20, seed=3, window=25, processes=2, build_dir=tmp_path / "project"
    )
    xr.testing.assert_identical(compiled["spikes"].to_dataset(), result["spikes"].to_dataset())
    xr.testing.assert_identical(compiled["simulation"].to_dataset(), result["simulation"].to_dataset())
    assert (tmp_path / "project" / "main.cpp").exists()
