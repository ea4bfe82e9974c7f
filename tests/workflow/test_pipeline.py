"""One pipeline: what fails beside a simulation is a remark, and the simulation stays; what failed is tried again."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

import mnnbio.theory
from mnnbio import open_sweep, run_sweep
from mnnbio.machine import FileError
from mnnbio.results import ResultFileError, load
from mnnbio.workflow.cli import main
from mnnbio.workflow.completion import completion_script
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.pipeline import (
    Theory,
    labelled,
    remarked,
    remarks_of,
    report_on,
    silent_journal,
    with_theory,
)
from mnnbio.workflow.run_folder import RunFolder

SIMULATION = {"codegen": "runtime", "duration": 40, "warmup": 0, "window": 20, "dt": 0.5}


@pytest.fixture
def simulation() -> xr.DataTree:
    rate = xr.Dataset(
        {"rate": (("stimulus", "neuron"), np.ones((2, 3)))},
        coords={"sample": ("stimulus", [4, 7]), "neuron": np.arange(3)},
    )
    return xr.DataTree.from_dict({"/simulation": rate})


def no_state() -> xr.Dataset:
    raise RuntimeError("no `state` was\nfound.")


def broken(*_: object, **__: object) -> xr.Dataset:
    raise KeyError("oops")


def predicted() -> xr.Dataset:
    return xr.Dataset({"rate": (("stimulus", "neuron"), np.zeros((2, 3)))})


def difference(prediction: xr.Dataset, tree: xr.DataTree) -> xr.Dataset:
    return xr.Dataset({"error": tree["simulation/rate"] - prediction["rate"]})


# The pieces.


def test_a_prediction_and_its_comparison_are_labelled_as_the_simulation(simulation):
    journal = silent_journal()
    tree = with_theory(simulation, [Theory("prediction", predicted)], difference, journal)
    assert journal.remarks == []
    assert tree["prediction/sample"].values.tolist() == [4, 7]
    np.testing.assert_array_equal(tree["comparison/error"], 1.0)
    assert list(simulation.children) == ["simulation"]


def test_a_failing_prediction_is_a_remark_and_the_next_one_is_tried(simulation):
    journal = silent_journal()
    ways = [Theory("prediction of covariances", no_state), Theory("prediction", predicted)]
    tree = with_theory(simulation, ways, difference, journal)
    assert journal.remarks == ["There is no prediction of covariances: no state was found."]
    assert {"simulation", "prediction", "comparison"} == set(tree.children)


def test_a_failing_comparison_leaves_prediction_and_simulation(simulation):
    journal = silent_journal()
    tree = with_theory(simulation, [Theory("prediction", predicted)], broken, journal)
    assert journal.remarks == ["There is no comparison: KeyError: 'oops'."]
    assert {"simulation", "prediction"} == set(tree.children)


def test_what_there_was_of_an_earlier_prediction_goes(simulation):
    first = with_theory(simulation, [Theory("prediction", predicted)], difference, silent_journal())
    again = with_theory(first, [Theory("prediction", no_state)], difference, silent_journal())
    assert list(again.children) == ["simulation"]


def test_remarks_are_kept_with_the_result(simulation, tmp_path):
    from mnnbio.results import save

    save(remarked(simulation, ["There is no prediction: é."]), tmp_path / "a.nc")
    assert remarks_of(load(tmp_path / "a.nc")) == ["There is no prediction: é."]
    assert remarks_of(remarked(load(tmp_path / "a.nc"), [])) == []


def test_a_failing_report_is_a_remark(simulation, tmp_path, monkeypatch):
    journal = silent_journal()
    monkeypatch.setattr("mnnbio.analyses.report", broken)
    assert not report_on(simulation, tmp_path / "report.html", journal)
    assert journal.remarks == ["There is no report: KeyError: 'oops'."]


def test_an_interrupt_is_no_remark(simulation):
    def interrupted() -> xr.Dataset:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_theory(simulation, [Theory("prediction", interrupted)], difference, silent_journal())


def test_warnings_become_notes_the_first_of_a_kind_said():
    journal = silent_journal()
    said, logged = [], []
    journal.say, journal.log = said.append, logged.append
    with journal.listening():
        for text in ("one", "two", "one"):
            warnings.warn(text, UserWarning, stacklevel=1)
    assert journal.notes == ["UserWarning: one", "UserWarning: two"]
    assert (len(said), len(logged)) == (1, 3)


def test_all_groups_with_stimuli_are_labelled(simulation):
    tree = simulation.assign({"spikes": xr.DataTree(xr.Dataset({"n": ("stimulus", [1, 2])}))})
    labels = xr.Dataset(coords={"target": ("stimulus", ["a", "b"])})
    found = labelled(tree, labels)
    assert all(found[f"{name}/target"].values.tolist() == ["a", "b"] for name in ("simulation", "spikes"))


# Sweeps.


def config(**options: object) -> dict[str, object]:
    return {
        "circuit": "brunel",
        "parameters": {"scale": 0.01},
        "grid": {"g": [5, 6]},
        "simulation": SIMULATION,
    } | options


def sweep(out: Path, **options: object):
    said: list[str] = []
    return run_sweep(config(**options), out, workers=0, say=said.append), said


@pytest.mark.slow
def test_a_sweep_keeps_a_simulation_whose_prediction_fails_and_tries_only_that_again(tmp_path, monkeypatch):
    out = tmp_path / "out"
    circuits_predict = mnnbio.theory.predict  # to find their rates at threshold

    def fails_for_sweeps(*arguments: object, **options: object) -> xr.Dataset:
        return no_state() if "window" in options else circuits_predict(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("mnnbio.theory.predict", fails_for_sweeps)
        summary, said = sweep(out, predict=True)
    assert (summary.done, summary.failed, summary.reused) == (2, 0, 0)
    assert summary.remarked["g=5"] == ["There is no prediction: no state was found."]
    assert "note: g=5: There is no prediction: no state was found." in said
    manifest = json.loads((out / "manifest.json").read_text())["points"].values()
    assert [record["remarks"] for record in manifest] == [["There is no prediction: no state was found."]] * 2
    before = {path.name: load(path) for path in (out / "points").glob("*.nc")}
    assert all("prediction" not in tree.children for tree in before.values())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("simulated again")

    with monkeypatch.context() as patch:
        patch.setattr("mnnbio.spikes.simulate", never)
        summary, _ = sweep(out, predict=True)
        assert (summary.done, summary.failed, summary.reused, summary.remarked) == (2, 0, 0, {})
    for name, tree in before.items():
        found = load(out / "points" / name)
        assert {"prediction", "comparison"} <= set(found.children)
        assert remarks_of(found) == []
        for group in ("simulation", "spikes"):
            xr.testing.assert_identical(found[group].to_dataset(), tree[group].to_dataset())
    assert sweep(out, predict=True)[0].reused == 2


@pytest.mark.slow
def test_spikes_are_recorded_where_the_configuration_says_so_and_damage_is_found(tmp_path):
    out = tmp_path / "out"
    summary, said = sweep(out, record="spikes")
    assert (summary.done, summary.failed) == (2, 0), said
    first, second = sorted((out / "points").glob("*.nc"))
    whole = load(first)
    assert whole["spikes/spike_time"].size > 0
    content = first.read_bytes()
    first.write_bytes(content[:3000] + bytes(len(content) - 3000))  # of the same size
    with pytest.raises(ResultFileError):
        open_sweep(out)["simulation/rate"].compute()
    kept = second.read_bytes()
    summary, said = sweep(out, record="spikes")
    assert (summary.done, summary.reused) == (1, 1)
    assert said == ["1 results were damaged and are removed", "1 of 2 points are done already"]
    xr.testing.assert_identical(load(first)["simulation"].to_dataset(), whole["simulation"].to_dataset())
    assert second.read_bytes() == kept
    assert open_sweep(out)["simulation/rate"].compute().notnull().all()


@pytest.mark.slow
def test_code_of_others_is_run_only_where_it_is_allowed(tmp_path, capsys):
    (tmp_path / "build.py").write_text(
        f"import pathlib\npathlib.Path({str(tmp_path / 'RUN')!r}).touch()\ndef make(g=1.0):\n    return None\n"
    )
    path = tmp_path / "sweep.yaml"
    for circuit in ("build.py:make", "subprocess:getoutput", "mnnbio.circuits:brunel"):
        path.write_text(yaml.safe_dump({"circuit": circuit, "grid": {"g": [1]}}))
        assert main(["sweep", str(path), "--out", str(tmp_path / "out")]) == 2
        assert f"{circuit!r} is code that the sweep would run with your rights" in capsys.readouterr().err
    path.write_text(yaml.safe_dump({"circuit": "build.py:make", "grid": {"g": [1]}}))
    with pytest.raises(ConfigError, match="allow_code=True"):
        run_sweep(path, tmp_path / "out", workers=0)
    assert not (tmp_path / "RUN").exists()
    assert main(["sweep", str(path), "--out", str(tmp_path / "out"), "--allow-code", "--workers", "1"]) == 1
    assert (tmp_path / "RUN").exists()


# Folders and interrupts.


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_at_the_log_names_it_and_a_remedy(tmp_path):
    folder = RunFolder(tmp_path)
    folder.log.symlink_to("/dev/full")
    with pytest.raises(FileError, match=r"cannot write .*log\.txt: No space left on device\. Check .*free space"):
        folder.note("a line")


def test_an_interrupt_before_the_first_step_names_no_folder(tmp_path, capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mnnbio.training.load_task", interrupted)
    assert main(["run", "digits", "--out", str(tmp_path / "run"), "--codegen", "runtime"]) == 130
    assert capsys.readouterr().err == "\nmnnbio: interrupted.\n"
    assert not (tmp_path / "run").exists()


# The shell.


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_complete_every_command(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("simulate", "brunel", "nu-ext-ratio", "cpp_standalone", "allow-code"):
        assert word in script


def test_bash_completes_commands_options_and_choices(tmp_path):
    from mnnbio.workflow.cli import _parser

    script = tmp_path / "mnnbio.bash"
    script.write_text(completion_script(_parser(), "bash"))

    def completed(*words: str) -> list[str]:
        given = " ".join(f"'{word}'" for word in words)
        code = f"source {script}; COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _mnnbio; echo ${{COMPREPLY[@]}}"
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert completed("mnnbio", "ru") == ["run"]
    assert completed("mnnbio", "run", "--epo") == ["--epochs"]
    assert completed("mnnbio", "run", "digits", "--codegen", "") == ["cpp_standalone", "runtime"]
    assert completed("mnnbio", "circuit", "brun") == ["brunel"]
    assert "--nu-ext-ratio" in completed("mnnbio", "circuit", "brunel", "--nu")
    assert completed("mnnbio", "cache", "cl") == ["clear"]


def test_the_command_is_light():
    code = "import mnnbio.workflow.cli, sys; print([m for m in ('torch', 'brian2', 'xarray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"
