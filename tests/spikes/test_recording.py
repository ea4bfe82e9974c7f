"""What is recorded instead of spikes gives the numbers that the spikes give."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brian2 import ms, second

from mnnbio import (
    Circuit,
    CountMoments,
    Counts,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    Readout,
    build,
    load,
    save,
    simulate,
)
from mnnbio.results.ragged import counts
from mnnbio.spikes.program_files import Job, SimulationFailed, read_blocks, write_plan_file
from mnnbio.spikes.recorded import Recording
from mnnbio.spikes.recording import Channel, recorded_kinds
from mnnbio.spikes.runs import Run
from mnnbio.spikes.timing import Times

TIMES = {"duration": 90.0, "trials": 5, "warmup": 10.0}


def circuit(n_stimuli=2):
    rng = np.random.default_rng(0)
    rates = rng.uniform(0.5, 1, (n_stimuli, 3) if n_stimuli else 3)
    return Circuit(
        [
            PoissonSource("input", 3, rates=rates),
            Population("first", 4, LIFParameters(t_ref=1.0)),
            Population("second", 3, LIFParameters(t_ref=1.0)),
        ],
        [
            Projection("input", "first", weights=rng.uniform(2, 4, (4, 3))),
            Projection("first", "second", weights=rng.uniform(6, 12, (3, 4)), delay=0.5),
        ],
        readout=Readout("second", rng.normal(size=(2, 3)), [0.0, 0.5]),
    )


@pytest.fixture(
    scope="module", params=["runtime", pytest.param("cpp_standalone", marks=[pytest.mark.slow, pytest.mark.standalone])]
)
def codegen(request):
    """One compiled program serves all kinds of recording."""
    return request.param


@pytest.fixture(scope="module")
def spikes(codegen):
    return simulated(codegen, window=20.0)


def simulated(codegen, n_stimuli=2, **options):
    return simulate(circuit(n_stimuli), **TIMES, seed=1, codegen=codegen, **options)


def assert_same(found, expected, *, names=None):
    assert set(found.data_vars) == set(expected.data_vars if names is None else names)
    for name in found.data_vars:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)
        assert found[name].dims == expected[name].dims
        assert found[name].attrs == expected[name].attrs
    for name, coordinate in expected.coords.items():
        xr.testing.assert_identical(found.coords[name].variable, coordinate.variable)
    assert found.attrs == expected.attrs


def test_moments_give_the_statistics_of_the_spikes(codegen, spikes):
    result = simulated(codegen, record=CountMoments(window=20 * ms, covariance=True))
    assert set(result.children) == {"simulation"}
    assert_same(result["simulation"].to_dataset(), spikes["simulation"].to_dataset())
    assert result.attrs["window"] == 0.02


def test_moments_without_covariance_and_stimuli_give_the_same_too(codegen):
    expected = simulated(codegen, None, window=20.0, covariance=False)["simulation"].to_dataset()
    assert_same(simulated(codegen, None, record=CountMoments(window=20.0))["simulation"].to_dataset(), expected)


def test_counts_are_those_of_the_spikes_and_give_their_statistics(codegen, spikes):
    result = simulated(codegen, record=Counts(bin=5 * ms), window=10.0)
    table = result["counts/count"]
    assert table.dims == ("stimulus", "trial", "time", "neuron")
    assert table.dtype.kind == "i"
    expected = counts(spikes["spikes"].to_dataset(), 5.0)
    np.testing.assert_array_equal(table, expected)
    np.testing.assert_allclose(table["time"], np.arange(18) * 0.005)
    assert table["population"].values.tolist() == ["first"] * 4 + ["second"] * 3
    ten = simulated(codegen, window=10.0)["simulation"].to_dataset()
    assert_same(result["simulation"].to_dataset(), ten)


def test_counts_of_populations_are_sums_of_those_of_neurons(codegen, spikes):
    result = simulated(codegen, record=Counts(bin=3.0, per="population"))
    table = counts(spikes["spikes"].to_dataset(), 3.0)
    summed = np.stack([table[..., :4].sum("neuron"), table[..., 4:].sum("neuron")], axis=-1)
    assert result["counts/count"].dims == ("stimulus", "trial", "time", "population")
    np.testing.assert_array_equal(result["counts/count"], summed)
    assert result["counts/population"].values.tolist() == ["first", "second"]
    rate = result["simulation/rate"]
    assert rate.dims == ("stimulus", "population")
    trials = summed.sum(axis=2) / 0.09 / [4, 3]
    np.testing.assert_allclose(rate, trials.mean(axis=1))
    np.testing.assert_allclose(result["simulation/rate_se"], trials.std(axis=1, ddof=1) / np.sqrt(5))


def test_populations_can_be_recorded_in_different_ways(codegen, spikes):
    kinds = {"first": "spikes", "second": CountMoments(window=20.0)}
    result = simulated(codegen, record=kinds)
    expected = spikes["simulation"].to_dataset()
    names = [name for name in expected.data_vars if "neuron_j" not in expected[name].dims]
    found = result["simulation"].to_dataset()
    assert set(found.data_vars) == set(names)
    for name in names:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, err_msg=name)
    assert result["spikes/neuron"].values.tolist() == [0, 1, 2, 3]
    others = simulated(
        codegen, record={"second": Counts(bin=30.0, per="population"), "first": CountMoments(window=20.0)}
    )
    assert others["simulation/neuron"].values.tolist() == [0, 1, 2, 3]
    assert others["counts/population"].values.tolist() == ["second"]


def test_results_of_all_kinds_survive_a_file(tmp_path):
    result = simulated("runtime", record={"first": Counts(bin=5.0), "second": CountMoments(window=10.0)})
    save(result, tmp_path / "result.nc")
    loaded = load(tmp_path / "result.nc")
    for group in ("simulation", "counts"):
        xr.testing.assert_identical(loaded[group].to_dataset(inherit=False), result[group].to_dataset(inherit=False))


@pytest.mark.slow
@pytest.mark.standalone
def test_long_recordings_come_in_blocks_and_layout_does_not_matter():
    """More spikes and bins than a buffer of the program holds, with and without replicas, in one process and two."""
    network = Circuit(
        [Population("a", 90, LIFParameters(t_ref=0.2)), Population("b", 7, LIFParameters(t_ref=0.2))],
        drives=[GaussianDrive(name, mean=100.0, std=20.0) for name in "ab"],
    )
    options = {"trials": 3, "warmup": 3.0, "seed": 4}
    with build(network, record="a") as program:
        trains = program.run(600.0, **options)
    assert trains.row_size.sum(axis=2).min() > 2**16
    table = CountMoments(window=0.5, covariance=True)
    found = []
    for replicas in (1, 2):
        for processes in (1, 2):
            with build(
                network, record={"a": table, "b": Counts(bin=0.2, per="population")}, replicas=replicas
            ) as program:
                found.append(program.run(600.0, processes=processes, **options))
            with build(network, record="a", replicas=replicas) as program:
                again = program.run(600.0, processes=processes, **options)
                assert np.array_equal(again.step, trains.step)
                assert np.array_equal(again.row_size, trains.row_size)
    for other in found[1:]:
        assert np.array_equal(other.counts.count, found[0].counts.count)
        for name in ("number", "powers", "products", "total", "stretch"):
            assert np.array_equal(getattr(other.moments, name), getattr(found[0].moments, name))
    assert found[0].counts.count.shape == (1, 3, 3000, 1)
    row = np.repeat(np.arange(270), trains.row_size.ravel())
    kept = trains.step >= 0
    windows = np.bincount(row[kept] * 1200 + trains.step[kept] // 5, minlength=270 * 1200).reshape(3, 90, 1200)
    flat = windows.transpose(1, 0, 2).reshape(90, -1)
    for power in range(4):
        assert np.array_equal(found[0].moments.powers[0, power], (flat ** (power + 1)).sum(axis=1))
    for number, (p, q) in enumerate([(1, 1), (2, 1), (2, 2)]):
        assert np.array_equal(found[0].moments.products[0, number], flat**p @ (flat**q).T)


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_said(tmp_path):
    network = circuit(None)
    with build(network) as program:
        run = Run.of(network, {"first": "spikes"}, Times.of(100.0, 0.0, 0.1), 0.1, 0, 1)
        write_plan_file(tmp_path / "plan.bin", run.job(program.replicas))
        command = ["./main", "--plan", tmp_path / "plan.bin", "--spikes", "/dev/full"]
        done = subprocess.run(command, cwd=program.folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "cannot write /dev/full; is the disk full?" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "record",
    [None, {"first": Counts(bin=5.0), "second": CountMoments(window=20.0, covariance=True)}, CountMoments(window=20.0)],
)
@pytest.mark.parametrize("cuts", [[3], [1, 2, 7]])
def test_shares_are_merged_into_the_undivided_run(record, cuts):
    pairs = np.random.default_rng(3).permutation([(s, t) for s in range(2) for t in range(5)])
    with build(circuit(), codegen="runtime", record=record) as program:
        whole = program.run(40.0, trials=5, warmup=5.0, seed=1)
        shares = [program.run(40.0, 5, 5.0, seed=1, presentations=share) for share in np.split(pairs, cuts)]
    assert_same_recording(Recording.merge(shares), whole)
    some = Recording.merge(shares[1:])  # a larger share, to be merged later
    assert some.shape == (10 - cuts[0],)
    assert_same_recording(Recording.merge([some, shares[0]]), whole)


def assert_same_recording(one, other):
    assert (one.presentations is None) == (other.presentations is None)
    for name in ("step", "row_size"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    if other.counts is not None:
        assert np.array_equal(one.counts.count, other.counts.count)
    if other.moments is not None:
        for name in ("number", "powers", "total", "stretch"):
            assert np.array_equal(getattr(one.moments, name), getattr(other.moments, name))
        if other.moments.products is not None:
            assert np.array_equal(one.moments.products, other.moments.products)


def test_recordings_of_other_runs_are_not_merged():
    with build(circuit(), codegen="runtime", record=CountMoments(window=2.0)) as program:
        one, other, late = (
            program.run(4.0, trials=2, seed=seed, presentations=[pair])
            for seed, pair in ((1, (0, 0)), (2, (1, 0)), (1, (1, 1)))
        )
    with pytest.raises(ValueError, match="must be of the same run: seed 1 and 2"):
        Recording.merge([one, other])
    with pytest.raises(ValueError, match=r"in one recording only, got stimulus and trial \(0, 0\) twice"):
        Recording.merge([one, late, one])
    with pytest.raises(ValueError, match="at least one recording to merge, got none"):
        Recording.merge([])
    with pytest.raises(ValueError, match="same run: counts None and"):
        Recording.merge(
            [late, replace(one, counts=type("Table", (), {"populations": {}, "bin": 1.0, "per": "neuron"}))]
        )


def test_kinds_are_what_was_asked_for_in_the_order_of_the_circuit():
    sizes = {"a": 1, "b": 2, "c": 3}
    moments = CountMoments(window=0.1 * second)
    assert recorded_kinds(sizes, None) == dict.fromkeys("abc", "spikes")
    assert recorded_kinds(sizes, "b") == {"b": "spikes"}
    assert list(recorded_kinds(sizes, {"c": moments, "a": "spikes"}).items()) == [("a", "spikes"), ("c", moments)]
    assert recorded_kinds(sizes, moments) == dict.fromkeys("abc", CountMoments(window=100.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Counts(bin=0.0), "`bin` must be a time > 0 ms, got 0.0"),
        (lambda: CountMoments(window=-1 * ms), "`window` must be a time > 0 ms, got -1"),
        (lambda: CountMoments(window=np.ones(2)), "`window` must be a time > 0 ms"),
        (lambda: Counts(bin=1.0, per="spike"), "Invalid value 'spike' for `per`. Must be one of"),
        (lambda: recorded_kinds({"a": 1}, {"a": "counts"}), "Invalid value 'counts' for `record` of 'a'"),
        (lambda: recorded_kinds({"a": 1}, {"b": "spikes"}), r"must name populations of neurons \(a\), got \['b'\]"),
        (
            lambda: recorded_kinds({"a": 1, "b": 1}, {"a": Counts(bin=1.0), "b": Counts(bin=2.0)}),
            r"all `Counts` of a recording must be the same.* got Counts\(bin=1.0, per='neuron'\) and Counts",
        ),
        (lambda: simulated("runtime", record=Counts(bin=7.0)), "`bin` must divide `duration`, 90 ms, got 7 ms"),
        (lambda: simulated("runtime", record=Counts(bin=0.25)), "`dt` must divide `bin`"),
        (
            lambda: simulated("runtime", record=CountMoments(window=99.0)),
            "`window` must be at most `duration`, 90 ms, got 99 ms",
        ),
        (
            lambda: simulated("runtime", record=CountMoments(window=10.0), window=20.0),
            "`window` must be that of the recorded moments, 10 ms, got 20 ms",
        ),
        (
            lambda: simulated("runtime", record=Counts(bin=9.0), window=10.0),
            "`window` must be a multiple of the recorded `bin`, 9 ms, got 10 ms",
        ),
    ],
)
def test_what_cannot_be_recorded_is_an_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_program_says_that_a_window_is_longer_than_the_duration():
    with (
        build(circuit(), codegen="runtime", record=CountMoments(window=50.0)) as program,
        pytest.raises(ValueError, match="`window` must be at most `duration`, 40 ms, got 50 ms"),
    ):
        program.run(40.0)


def test_a_share_is_not_a_result():
    from mnnbio.spikes.description import labelled_result

    with build(circuit(), codegen="runtime") as program:
        share = program.run(4.0, presentations=[(1, 0)])
    with pytest.raises(
        ValueError, match=r"must have all trials of 2 stimuli, got a share of 1 presentations\. Merge it"
    ):
        labelled_result(circuit(), share, window=4.0, codegen="runtime")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], "is incomplete: it ends in batch 1 of 2"),
        ([-1, 0, 0, 3], "is incomplete: it ends in batch 2 of 2"),
        ([5, 0], "is incomplete: it ends in batch 1 of 2"),
        ([-1, 0, -1, 0, 7], "holds more than the 2 batches of its plan"),
    ],
)
def test_a_file_that_is_not_whole_is_an_error(numbers, message, tmp_path):
    job = Job(n_steps=3, warmup_steps=0, channels=[Channel("a", 2, 0)], batches=np.zeros((2, 1, 2), np.int64))
    np.array(numbers, np.int64).tofile(tmp_path / "spikes.bin")
    with pytest.raises(SimulationFailed, match=message):
        list(read_blocks(tmp_path / "spikes.bin", job))
    with pytest.raises(SimulationFailed, match="is missing: the program has not run"):
        list(read_blocks(tmp_path / "other.bin", job))


@pytest.mark.slow
def test_the_page_about_recording_can_be_run(capsys):
    text = (Path(__file__).parents[2] / "docs" / "recording.md").read_text(encoding="utf-8")
    exec(compile(text.split("```python\n")[1].split("```")[0], "docs/recording.md", "exec"), {})
    assert "'neuron': 40" in capsys.readouterr().out


def test_moments_of_a_silent_population_are_those_of_zeros():
    circuit = Circuit(
        [Population("a", 2, LIFParameters()), Population("b", 1, LIFParameters())], [], [GaussianDrive("b", 2.0)]
    )
    result = simulate(circuit, 100, trials=2, record=CountMoments(window=20), codegen="runtime", seed=1)["simulation"]
    assert result["rate"].to_numpy()[:2].tolist() == [0.0, 0.0]
    assert result["rate"].to_numpy()[2] > 10
    assert result["count_variance"].attrs["n_samples"] == 10
    spikes = simulate(circuit, 100, trials=2, window=20, codegen="runtime", seed=1)["simulation"]
    np.testing.assert_allclose(result["rate"], spikes["rate"], atol=1e-12)
