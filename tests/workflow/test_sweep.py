"""Sweeps in this process: what is done, what is done again, what a folder holds, and how it is opened."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from mnnbio import open_sweep, run_sweep, simulate
from mnnbio.results.files import ResultFileError, load, read_variable
from mnnbio.workflow.cli import main
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.pipeline import silent_journal
from mnnbio.workflow.run_folder import RunFolderError
from mnnbio.workflow.sweep_config import make_sweep, points_of
from mnnbio.workflow.sweep_data import SweepWarning
from mnnbio.workflow.sweep_folder import SweepFolder, SweepFolderError
from mnnbio.workflow.sweep_subjects import subject_of
from mnnbio.workflow.sweep_work import Work, do_point, result_of

BUILDER = """
import numpy as np
from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection

def pair(mean=1.0, std=1.0, size=2, shape="E"):
    if mean > 5:
        raise ValueError("the mean is too large")
    populations = [Population(shape, size, LIFParameters()), Population("I", 1, LIFParameters())]
    return Circuit(populations, drives=[GaussianDrive(shape, mean=mean, std=std), GaussianDrive("I", mean=mean)])
"""
SIMULATION = {"codegen": "runtime", "duration": 60, "warmup": 0, "window": 30, "dt": 0.5}
CONFIG = {"circuit": "build.py:pair", "trials": 2, "seed": 3, "simulation": SIMULATION}
GRID = {"mean": [2, 1.2], "std": [0.5, 1]}


def write(folder: Path, name: str = "sweep.yaml", **options: object) -> Path:
    (folder / "build.py").write_text(BUILDER)
    path = folder / name
    path.write_text(yaml.safe_dump(CONFIG | {"grid": GRID} | options))
    return path


def run(config: Path, out: Path, **options: object):
    said: list[str] = []
    return run_sweep(config, out, workers=0, say=said.append, allow_code=True, **options), said


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("points/[!.]*.nc")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """Return a folder with a configuration and its finished sweep, `out`."""
    folder = tmp_path_factory.mktemp("sweep")
    summary, said = run(write(folder), folder / "out")
    assert (summary.done, summary.failed, summary.reused, said) == (4, 0, 0, [])
    return folder


@pytest.fixture
def again(swept, tmp_path) -> Path:
    """Return a copy to play with."""
    return Path(shutil.copytree(swept, tmp_path / "copy"))


@pytest.fixture
def counted(monkeypatch) -> list[dict]:
    """Return the parameters of points as they are done, by a stand-in that takes no time."""
    done = []

    def quick(work: Work, point, journal, simulation):
        done.append(point.parameters)
        circuit = work.subject.circuit(point.parameters)
        rate = np.full(circuit.n_neurons, float(point.parameters["mean"]))
        simulation = xr.Dataset({"rate": ("neuron", rate)}, coords={"neuron": np.arange(len(rate))})
        root = xr.Dataset(attrs={"circuit_hash": circuit.hash()})
        return xr.DataTree.from_dict({"/": root, "/simulation": simulation})

    monkeypatch.setattr("mnnbio.workflow.sweep_work.result_of", quick)
    return done


# What is done.


def test_a_point_holds_what_simulate_gives(swept):
    config = make_sweep(CONFIG | {"grid": GRID}, swept)
    subject = subject_of(config, allow_code=True)
    for point in points_of(config)[:2]:
        times = {name: SIMULATION[name] for name in ("duration", "warmup", "window", "dt")}
        expected = simulate(
            subject.circuit(point.parameters), trials=2, seed=point.seed, codegen="runtime", covariance=False, **times
        )
        found = load(swept / "out" / point.file)
        for group in ("simulation", "spikes"):
            xr.testing.assert_identical(found[group].to_dataset(), expected[group].to_dataset())
        assert json.loads(found.attrs["sweep_point"])["parameters"] == point.parameters


def test_the_manifest_says_everything_of_every_point(swept):
    manifest = json.loads((swept / "out/manifest.json").read_text())
    assert manifest["config"]["circuit"] == "build.py:pair"
    assert len(manifest["points"]) == 4
    for key, record in manifest["points"].items():
        assert (record["status"], record["file"], record["warnings"]) == ("done", f"points/{key}.nc", [])
        assert record["sha256"] == hashlib.sha256((swept / "out" / record["file"]).read_bytes()).hexdigest()
        assert record["circuit_hash"] == load(swept / "out" / record["file"]).attrs["circuit_hash"]
        assert record["seconds"] > 0


def test_the_same_sweep_gives_the_same_results_elsewhere(swept, tmp_path):
    config = make_sweep(CONFIG | {"grid": {"mean": [1.2], "std": [1]}}, swept)
    work = Work(config, subject_of(config, allow_code=True), "", "", "", 1)
    (point,) = points_of(config)
    xr.testing.assert_identical(
        load(swept / "out" / point.file)["spikes"].to_dataset(),
        result_of(work, point, silent_journal())["spikes"].to_dataset(),
    )


@pytest.mark.slow
def test_predictions_and_comparisons_stand_beside_simulations(tmp_path):
    options = {**SIMULATION, "warmup": 100, "duration": 300, "covariance": True}
    config = write(tmp_path, grid={"mean": [1.2]}, simulation=options, predict=True, record=["I"], trials=12)
    summary, said = run(config, tmp_path / "out")
    assert summary.failed == 0, said
    tree = open_sweep(tmp_path / "out")
    assert tree["prediction/rate"].sel(mean=1.2).shape == (1,)
    difference = tree["simulation/rate"] - tree["prediction/rate"]
    np.testing.assert_allclose(tree["comparison/rate_error"], difference)
    assert "count_covariance" in tree["prediction"]


@pytest.mark.slow
def test_populations_may_be_predicted_and_counted(tmp_path):
    config = write(
        tmp_path,
        grid={"mean": [1.5]},
        simulation={**SIMULATION, "warmup": 100, "duration": 300},
        predict={"resolution": "population"},
        record={"counts": {"bin": 30, "per": "population"}},
    )
    summary, said = run(config, tmp_path / "out")
    assert summary.failed == 0, said
    tree = open_sweep(tmp_path / "out")
    assert tree["prediction/rate"].dims == tree["simulation/rate"].dims == ("mean", "population")
    assert tree["counts/count"].sizes["time"] == 10
    assert "comparison" not in tree.children


def test_another_device_is_handed_through(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "brian2cuda", None)
    config = write(tmp_path, grid={"mean": [1]}, simulation={**SIMULATION, "device": "cuda_standalone"})
    summary, _ = run(config, tmp_path / "out")
    assert "DeviceUnavailable: device='cuda_standalone' needs the package brian2cuda" in summary.failures["mean=1"]


def test_failures_are_recorded_and_the_others_go_on(tmp_path, counted):
    config = write(tmp_path, grid={"mean": [9, 1]})
    for _ in range(2):
        summary, said = run(config, tmp_path / "out")
        assert (summary.failed, summary.failures) == (1, {"mean=9": "ValueError: the mean is too large"})
        assert "failed: mean=9: ValueError: the mean is too large" in said
    records = json.loads((tmp_path / "out/manifest.json").read_text())["points"].values()
    (failed,) = (record for record in records if record["status"] == "failed")
    assert "build.py" in failed["traceback"]
    assert counted == [{"mean": 9}, {"mean": 1}, {"mean": 9}]  # again, and only that


@pytest.mark.slow
def test_warnings_are_told_once_a_kind_and_kept(tmp_path):
    config = write(tmp_path, grid={"mean": [1, 2]}, predict=True)
    _, said = run(config, tmp_path / "out")
    assert sorted(line.split(": ")[2] for line in said) == ["FewSamplesWarning", "WarmupWarning"]
    records = json.loads((tmp_path / "out/manifest.json").read_text())["points"].values()
    assert all(len(record["warnings"]) == 2 for record in records)


# What is done again.


def test_nothing_is_done_twice(again, counted):
    before = contents(again / "out")
    summary, said = run(again / "sweep.yaml", again / "out")
    assert (summary.done, summary.reused, counted) == (0, 4, [])
    assert said == ["4 of 4 points are done already"]
    assert contents(again / "out") == before


def test_only_what_is_missing_is_done(again, counted):
    first, second = sorted((again / "out/points").iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])
    run(again / "sweep.yaml", again / "out")
    assert len(counted) == 2


def test_results_that_the_manifest_does_not_know_yet_count(again, counted):
    path = again / "out/manifest.json"
    manifest = json.loads(path.read_text())
    for record in manifest["points"].values():
        record["status"] = "waiting"
    path.write_text(json.dumps(manifest))
    assert run(again / "sweep.yaml", again / "out")[0].reused == 4
    assert counted == []


def test_values_may_be_added_and_earlier_points_stay(again, counted):
    before = contents(again / "out")
    config = write(again, grid={"mean": [1.2, 3], "std": [1]})
    _, said = run(config, again / "out")
    assert counted == [{"mean": 3, "std": 1}]
    assert said == [
        "1 of 2 points are done already",
        "3 more points are in the folder that the configuration does not name; they stay",
    ]
    assert before.items() <= contents(again / "out").items()
    with pytest.warns(SweepWarning, match="left out, for their dimensions differ"):
        tree = open_sweep(again / "out")
    assert tree["status"].sizes == {"mean": 3, "std": 2}
    assert tree["status"].sel(mean=3).values.tolist() == ["absent", "done"]


def test_a_changed_circuit_is_simulated_again(again, counted):
    path = again / "build.py"
    path.write_text(BUILDER.replace("drives=[", "seed=1 if mean > 1.5 else 0, drives=["))
    run(again / "sweep.yaml", again / "out")
    assert [parameters["mean"] for parameters in counted] == [2, 2]


def test_code_that_changes_no_circuit_changes_nothing(again, counted):
    path = again / "build.py"
    path.write_text(BUILDER + "\n# a comment\n")
    assert run(again / "sweep.yaml", again / "out")[0].reused == 4


@pytest.mark.parametrize(
    ("options", "change"),
    [
        ({"seed": 4}, "seed: 3 → 4"),
        ({"simulation": {**SIMULATION, "dt": 0.25}}, r"simulation.dt: 0.5 → 0.25"),
        ({"grid": {"mean": [1]}}, r"grid: \['mean', 'std'\] → \['mean'\]"),
        ({"predict": True}, r"predict.closure: None → auto"),
        ({"parameters": {"size": 3}}, r"parameters.size: None → 3"),
    ],
)
def test_a_folder_keeps_to_its_sweep(again, counted, options, change):
    before = contents(again / "out")
    with pytest.raises(ConfigError, match=rf"out holds another sweep \({change}.*choose another folder"):
        run(write(again, **options), again / "out")
    assert contents(again / "out") == before


# Folders.


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("x")
    with pytest.raises(SweepFolderError, match=r"holds no sweep but thesis.tex; choose a new or an empty folder"):
        run(write(tmp_path), tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["thesis.tex"]


def test_a_damaged_manifest_is_named(again):
    (again / "out/manifest.json").write_text("{")
    with pytest.raises(SweepFolderError, match=r"cannot read .*manifest\.json"):
        run(again / "sweep.yaml", again / "out")
    (again / "out/manifest.json").write_text('{"format": 99}')
    with pytest.raises(SweepFolderError, match=r"must be the manifest of a sweep, format 2, found 99"):
        open_sweep(again / "out")


def test_two_drivers_do_not_share_a_folder(again, counted):
    def second(text):
        with pytest.raises(RunFolderError, match=r"the sweep folder .* is in use by another mnnbio"):
            run(again / "sweep.yaml", again / "out")

    run_sweep(again / "sweep.yaml", again / "out", workers=0, say=second, allow_code=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(RunFolderError, match="cannot write to the sweep folder"):
        run(write(tmp_path), tmp_path / "out")


def test_the_number_of_workers_is_checked(tmp_path):
    with pytest.raises(ValueError, match="`workers` must be an integer ≥ 0, got -1"):
        run_sweep(write(tmp_path), tmp_path / "out", workers=-1)


def test_a_worker_that_does_not_see_the_folder_sends_its_result(again, tmp_path):
    config = make_sweep(CONFIG | {"grid": {"mean": [1.2], "std": [1]}}, again)
    (point,) = points_of(config)
    work = Work(config, subject_of(config, allow_code=True), str(tmp_path / "elsewhere"), "token", version("mnnbio"), 1)
    folder = SweepFolder(again / "out")
    with folder.opened(make_sweep(CONFIG | {"grid": GRID}, again)):
        outcome = do_point(dataclasses.replace(work, token=folder.token), point)
        expected = load(again / "out" / point.file)
        (again / "out" / point.file).unlink()
        folder.put(point, outcome)
    assert not (tmp_path / "elsewhere").exists()
    found = load(again / "out" / point.file)
    for group in expected.groups:
        xr.testing.assert_identical(
            found[group].to_dataset(), expected[group].to_dataset().assign_attrs(found[group].attrs)
        )
    assert (
        json.loads((again / "out/manifest.json").read_text())["points"][point.key]["sha256"]
        == hashlib.sha256(outcome.content).hexdigest()
    )


def test_a_result_that_was_written_is_not_made_again(again, counted):
    config = make_sweep(CONFIG | {"grid": GRID}, again)
    manifest = json.loads((again / "out/manifest.json").read_text())
    work = Work(
        config, subject_of(config, allow_code=True), str(again / "out"), manifest["sweep"], version("mnnbio"), 1
    )
    for point in points_of(config):
        assert do_point(work, point).record == manifest["points"][point.key]
    assert counted == []


def test_workers_must_have_the_same_version(again):
    config = make_sweep(CONFIG | {"grid": {"mean": [1.2], "std": [1]}}, again)
    outcome = do_point(Work(config, subject_of(config, allow_code=True), "", "", "0.0.0", 1), points_of(config)[0])
    assert outcome.record["status"] == "failed"
    assert "has mnnbio" in outcome.record["message"]
    assert "the work is led by 0.0.0; install the same" in outcome.record["message"]


# Opening.


@pytest.mark.slow
def test_a_sweep_and_its_points_are_reported(again, capsys):
    page = again / "page.html"
    assert main(["report", str(again / "out"), "--out", str(page)]) == 0
    text = page.read_text()
    assert "4 of 4 are done" in text
    assert re.findall(r'<section id="(\w+)">', text) == ["sweep_E", "sweep_I"]
    assert "<td>1.2</td><td>0.5</td><td>done</td>" in text
    assert "Nothing is compared" in text
    points = sorted((again / "out/points").glob("*.nc"))
    assert main(["report", str(points[0]), f"other={points[1]}", "--out", str(page)]) == 0
    names = re.search(r"<thead><tr><th></th><th>(.*?)</th><th>(.*?)</th>", page.read_text()).groups()
    assert names[0].startswith("mean = ")
    assert names[1] == "other"
    points[2].unlink()
    assert main(["report", str(again / "out")]) == 0
    assert "1 of 4 points have no result (1 missing)." in (again / "out/report.html").read_text()


def test_the_tree_has_a_dimension_for_every_parameter(swept):
    tree = open_sweep(swept / "out")
    rate = tree["simulation/rate"]
    assert rate.dims == ("mean", "std", "neuron")
    assert rate["mean"].values.tolist() == [1.2, 2]
    assert rate.attrs["units"] == "Hz"
    assert rate.chunks is not None
    for record in json.loads((swept / "out/manifest.json").read_text())["points"].values():
        stored = load(swept / "out" / record["file"])["simulation"].to_dataset()
        found = tree["simulation"].to_dataset().sel(record["parameters"]).drop_vars(["mean", "std"])
        xr.testing.assert_equal(found.compute(), stored.drop_attrs())


def test_a_list_gives_points_with_their_parameters(tmp_path, counted):
    config = write(tmp_path, list=[{"std": 1, "shape": "A"}, {"std": 2, "shape": "B"}], grid={"mean": [1, 2]})
    run(config, tmp_path / "out")
    tree = open_sweep(tmp_path / "out")
    assert tree["simulation/rate"].dims == ("point", "mean", "neuron")
    assert tree["shape"].dims == ("point",)
    assert tree["shape"].values.tolist() == ["A", "B"]
    np.testing.assert_array_equal(tree["simulation/rate"].isel(neuron=0), [[1, 2], [1, 2]])


def test_the_seed_of_the_connectivity_is_a_parameter_like_others(tmp_path, counted):
    (tmp_path / "seeded.py").write_text(BUILDER.replace("def pair(", "def seeded(seed=1, "))
    run(write(tmp_path, circuit="seeded.py:seeded", grid={"mean": [1], "seed": [4, 5]}), tmp_path / "out")
    tree = open_sweep(tmp_path / "out")
    assert tree["simulation/rate"].sel(seed=5).shape == (1, 3)
    assert np.unique(tree["spike_seed"]).size == 2


def test_a_parameter_with_the_name_of_a_result_is_renamed(tmp_path, counted):
    (tmp_path / "named.py").write_text(BUILDER.replace("def pair(", "def named(rate=1, ") + "\npair = named\n")
    config = write(tmp_path, circuit="named.py:pair", grid={"mean": [1], "rate": [1, 2]})
    run(config, tmp_path / "out")
    assert open_sweep(tmp_path / "out")["simulation/rate"].dims == ("mean", "parameter_rate", "neuron")


def test_points_without_a_result_are_nan_and_named(tmp_path, counted):
    run(write(tmp_path, grid={"mean": [1, 9, 2]}), tmp_path / "out")
    next((tmp_path / "out/points").iterdir()).unlink()
    with pytest.warns(SweepWarning, match=r"2 of 3 points have no result \(1 failed, 1 missing\); they are NaN"):
        tree = open_sweep(tmp_path / "out")
    assert np.isnan(tree["simulation/rate"].isel(neuron=0)).values.sum() == 2
    assert sorted(tree["status"].values.tolist()) == ["done", "failed", "missing"]


def test_points_of_different_sizes_fit_together_as_populations(tmp_path):
    config = write(tmp_path, grid={"size": [2, 4]}, parameters={"mean": 1.5})
    run(config, tmp_path / "out")
    with pytest.warns(SweepWarning, match=r"simulation/rate \(neuron\).*resolution='population'"):
        assert "rate" not in open_sweep(tmp_path / "out").get("simulation", {})
    tree = open_sweep(tmp_path / "out", resolution="population")["simulation"]
    for size, point in enumerate(sorted((tmp_path / "out/points").iterdir())):
        stored = load(point)["simulation"].to_dataset()
        size = stored.sizes["neuron"] - 1
        means = stored["rate"].groupby("population").mean()
        found = tree["rate"].sel(size=size)
        np.testing.assert_allclose(found.sel(population=["E", "I"]), means.sel(population=["E", "I"]))
        error = np.sqrt(np.square(stored["rate_se"][:-1]).sum()) / size
        np.testing.assert_allclose(tree["rate_se"].sel(size=size, population="E"), error)


def test_a_result_of_another_sweep_is_an_error(again, tmp_path):
    other = next((again / "out/points").iterdir())
    (tmp_path / "other").mkdir()
    run(write(tmp_path, grid={"mean": [1.2], "std": [1]}), tmp_path / "other")
    shutil.copy(other, tmp_path / "other/points/0123456789abcdef.nc")
    with pytest.raises(
        SweepFolderError, match=r"0123456789abcdef\.nc is not a result of the sweep in .*of another sweep"
    ):
        open_sweep(tmp_path / "other")


def test_a_result_of_another_circuit_is_an_error(again):
    path = again / "out/manifest.json"
    manifest = json.loads(path.read_text())
    next(iter(manifest["points"].values()))["circuit_hash"] = "0" * 16
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        SweepFolderError, match=r"is of another circuit \(.*\) than the manifest says \(0000000000000000\)"
    ):
        open_sweep(again / "out")


def test_a_damaged_result_is_named(again):
    path = next((again / "out/points").iterdir())
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ResultFileError, match=f"cannot read .*{path.name}: not a complete netCDF-4 file"):
        open_sweep(again / "out")


def test_single_variables_are_read(swept):
    path = next((swept / "out/points").iterdir())
    np.testing.assert_array_equal(read_variable(path, "simulation", "rate"), load(path)["simulation/rate"])
    with pytest.raises(ResultFileError, match=r"cannot read simulation/none of .*\.nc"):
        read_variable(path, "simulation", "none")


def test_there_must_be_a_sweep_to_open(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no sweep: there is no manifest.json"):
        open_sweep(tmp_path)
    with pytest.raises(ValueError, match="Invalid value 'mode' for `resolution`"):
        open_sweep(tmp_path, resolution="mode")


# A stored circuit.


@pytest.mark.slow
def test_a_stored_circuit_is_swept_by_paths(tmp_path, swept):
    config = make_sweep(CONFIG | {"grid": GRID}, swept)
    circuit = subject_of(config, allow_code=True).circuit({"mean": 1.0})
    (tmp_path / "circuit.json").write_text(circuit.to_json())
    grid = {"drives.E.mean": [0.5, 2.0], "trials": [1, 2]}
    summary, said = run(write(tmp_path, circuit="circuit.json", grid=grid), tmp_path / "out")
    assert summary.failed == 0, said
    tree = open_sweep(tmp_path / "out")
    rate = tree["simulation/rate"]
    assert tree["simulation/variance"].isnull().any(dim=["drives.E.mean", "neuron"]).values.tolist() == [True, False]
    assert rate.dims == ("drives.E.mean", "trials", "neuron")
    assert (rate.sel({"drives.E.mean": 2.0}) > rate.sel({"drives.E.mean": 0.5})).isel(neuron=0).all()


@pytest.mark.slow
def test_the_network_of_a_run_is_swept_with_its_samples(tmp_path):
    config = write(tmp_path, circuit=None, run="digits", grid={"projections.input.hidden.scale": [1, 2]})
    train = ["train", str(tmp_path / "digits"), "--data", "digits", "--hidden", "5", "--epochs", "1", "--no-progress"]
    assert main(train) == 0
    path = tmp_path / "digits/config.yaml"
    content = yaml.safe_load(path.read_text())
    content["statistics"]["stimuli"] = 2
    path.write_text(yaml.safe_dump(content))
    summary, said = run(config, tmp_path / "out")
    assert summary.failed == 0, said
    rate = open_sweep(tmp_path / "out")["simulation/rate"]
    assert rate.dims == ("projections.input.hidden.scale", "stimulus", "neuron")
    assert rate.sizes["stimulus"] == rate["sample"].size == rate["target"].size == 2


# The command.


def test_the_command_names_bad_input(tmp_path, capsys):
    config = write(tmp_path, circuit="build.py:pears")
    assert main(["sweep", str(config), "--out", str(tmp_path / "out"), "--allow-code"]) == 2
    assert "unknown function of build.py: 'pears'; did you mean 'pair'?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_says_how_many_points_failed(swept, tmp_path, capsys, monkeypatch):
    from mnnbio.workflow import sweep_driver

    outcome = sweep_driver.Summary(done=3, failed=1, reused=2, failures={"mean=9": "ValueError"}, remarked={})
    monkeypatch.setattr(sweep_driver, "run_sweep", lambda *_, **__: outcome)
    assert main(["sweep", "sweep.yaml", "--out", "out"]) == 1
    said = capsys.readouterr()
    assert said.out == "3 points done now, 2 before: out\n"
    assert "1 of 6 points failed; out/manifest.json says why, and the same command tries them again" in said.err


def test_an_interrupted_command_says_how_to_continue(tmp_path, capsys, monkeypatch):
    from mnnbio.workflow import sweep_driver

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_driver, "run_sweep", interrupted)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "sweep.yaml", "--out", "out"]) == 130
    assert capsys.readouterr().err == "\nmnnbio: interrupted.\n"  # nothing was begun
    (tmp_path / "out").mkdir()
    (tmp_path / "out/manifest.json").touch()
    assert main(["sweep", "sweep.yaml", "--out", "out"]) == 130
    assert "What is done is kept; continue with: mnnbio sweep sweep.yaml --out out" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "two"])
def test_the_number_of_processes_is_checked(number, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "sweep.yaml", "--out", "out", "--workers", number])
    assert f"must be a whole number ≥ 1, got '{number}'" in capsys.readouterr().err
