"""Runs that learn from spikes: their result against runs of one's own, continuation, report, bad options."""

import json

import numpy as np
import pytest
import xarray as xr
import yaml

from mnnbio import Circuit
from mnnbio.analyses import learning_report, spike_match
from mnnbio.learning import PSPM, spike_task
from mnnbio.workflow.cli import main
from mnnbio.workflow.learn_commands import LEARN_RUN
from mnnbio.workflow.learn_config import LEARN_SECTIONS, make_learn_config
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.run_config import to_yaml

pytestmark = [pytest.mark.slow, pytest.mark.standalone]

SMALL = [
    "run", "pspm", "--neurons", "20", "--duration", "400", "--passes", "12", "--held-out", "1", "--draws", "2",
    "--shifts", "5", "--no-progress",
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "pspm"
    assert main([*SMALL, "--out", str(folder)]) == 0
    return folder


def test_a_run_keeps_what_the_rule_learns(finished):
    task = spike_task(0, n=20, duration=400.0, held_out=1)
    learned = PSPM(passes=12).fit(task.target, task.learner, task.currents, dt=task.dt)
    with xr.open_datatree(finished / "result.nc") as tree:
        np.testing.assert_array_equal(tree["history/F"], learned.history["F"])
        assert tree.attrs["status"] == learned.status
        scores = tree["scores"].to_dataset()
        own = spike_match(learned.best_spikes.times, task.target.times, 4.0)
        assert float(scores["f_score"].sel(network="best")) == float(own["total_f_score"])
        # The true weights give the target, under this current and the others.
        assert float(scores["f_score"].sel(network="true")) == 1.0
        assert float(tree["held_out/f_score"].sel(network="true")[0]) == 1.0
        weight = tree["weights/weight"]
        np.testing.assert_array_equal(weight.sel(network="best"), learned.details["best_weights"])
        np.testing.assert_array_equal(weight.sel(network="true"), task.network(task.reference).weights)
        assert tree.attrs["rho"] == pytest.approx(learned.rho)
        assert {"true", "best", "naive"} == set(tree["moments/network"].values)
        assert float(tree["moments/rate_r"].sel(network="true")) == pytest.approx(1.0)
        assert Circuit.from_json(tree.attrs["circuit"]).n_neurons == 20


def test_what_is_done_is_kept_and_what_changes_is_done_anew(finished, capsys):
    assert main(["run", "--out", str(finished), "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert "learn      reused" in said
    assert "report     reused" in said
    assert main(["run", "--out", str(finished), "--shifts", "6", "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert "judging.shifts: 5 → 6" in said
    assert "12 passes (continued)" in said  # from its checkpoint, where all passes are done
    with xr.open_datatree(finished / "result.nc") as tree:
        assert json.loads(tree.attrs["options"])["judging"]["shifts"] == 6


def test_the_report_says_how_far_spikes_and_weights_agree(finished):
    page = (finished / "report.html").read_text()
    for title in ("Learning", "Scores", "Spikes of the learned network", "Weights", "Moments"):
        assert f"<h2>{title}</h2>" in page
    for word in ("Strength of recurrence", "without recurrence", "shifted trains", "Other currents"):
        assert word in page
    assert "http" not in page.split("<body>")[1].replace("http://www.w3.org", "")


def test_a_network_that_ran_away_at_once_has_a_report(finished, tmp_path):
    with xr.open_datatree(finished / "result.nc") as tree:
        tree = tree.load()
    tree["history"] = xr.DataTree(tree["history"].to_dataset().isel({"pass": slice(0)}))
    tree.attrs |= {"status": "ran away", "message": "The network fired too much"}
    page = learning_report(tree, tmp_path / "report.html").read_text()
    assert "<h2>Learning</h2>" not in page
    assert "Ran away: The network fired too much." in page


def test_a_report_needs_a_result_of_learning(tmp_path):
    with pytest.raises(ValueError, match=r"no group 'history'.*mnnbio run pspm"):
        learning_report(xr.DataTree(), tmp_path / "report.html")


def test_a_run_is_known_by_its_task_or_its_folder(finished):
    assert LEARN_RUN.parser(["pspm", "--out", "x"]) is not None
    assert LEARN_RUN.parser([f"--out={finished}"]) is not None
    assert LEARN_RUN.parser(["digits", "--out", "pspm"]) is None


def test_a_configuration_file_says_every_option():
    text = to_yaml(make_learn_config(), LEARN_SECTIONS)
    assert make_learn_config(yaml.safe_load(text)) == make_learn_config()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning": {"window": 0.2}}, r"learning.window must be ≥ reference.dt = 0.5 ms, got 0.2 ms"),
        ({"reference": {"duration": 100.3}}, r"reference.duration must be whole steps of reference.dt"),
        ({"learning": {"errors": "some"}}, r"learning.errors must be one of"),
        ({"reference": {"neurons": 3}}, r"reference.neurons must be"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make_learn_config(options)


def test_a_folder_of_another_kind_is_refused(finished, tmp_path, capsys):
    assert main(["run", "modes-digits", "--out", str(finished)]) == 2
    assert "a run of another kind" in capsys.readouterr().err
    assert main(["train", str(finished)]) == 2
    assert (
        "holds a network that learns from spikes, whose steps are done by: mnnbio run --out" in capsys.readouterr().err
    )
