"""Runs of spiking networks of few modes: their options, continuation, result and report."""

import json

import numpy as np
import pytest
import xarray as xr
import yaml

from mnnbio.training import context_switch, contextual_integration, load_network
from mnnbio.workflow.cli import main
from mnnbio.workflow.mode_commands import MODE_RUN
from mnnbio.workflow.mode_config import MODE_PRESETS, MODE_SECTIONS, make_mode_config
from mnnbio.workflow.options import ConfigError
from mnnbio.workflow.run_config import all_fields, to_yaml

CONTEXT = [
    "run", "modes-context", "--neurons", "15", "--steps", "40", "--training-steps", "12", "--batch-size", "6",
    "--evaluate-every", "5", "--test-trials", "30", "--switching", "0.5", "--no-progress",
]  # fmt: skip
DIGITS = [
    "run", "modes-digits", "--neurons", "20", "--modes", "2", "--steps", "20", "--training-steps", "60",
    "--test-trials", "50", "--no-progress",
]  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "context"
    assert main([*CONTEXT, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*DIGITS, "--out", str(folder)]) == 0
    return folder


def test_a_contextual_run_keeps_what_the_network_does(context):
    network = load_network(context / "checkpoint")
    with xr.open_datatree(context / "result.nc") as tree:
        for group, trials in (
            ("test", contextual_integration(30, 40, seed=1)),
            ("switch", context_switch(30, 40, seed=2)),
        ):
            test = tree[group]
            outputs, targets = network(trials.inputs).detach().numpy(), trials.targets.numpy()
            np.testing.assert_allclose(test["score"], ((outputs - targets) ** 2).mean((1, 2)), rtol=1e-5)
            assert test.attrs["mse"] == pytest.approx(((outputs - targets) ** 2).mean(), rel=1e-5)
            decided = np.sign(outputs[30:].mean(0)[:, 0])
            np.testing.assert_array_equal(test["decision"], decided)
            assert test.attrs["right"] == np.mean(decided == targets[-1, :, 0])
        trials = contextual_integration(30, 40, seed=1)
        course = network.run(trials.inputs)
        modes = (course.filtered @ network.recurrent.modes_out).detach().numpy()
        examples, spikes = tree["examples"], tree["spikes"].to_dataset()
        shown = examples["number"].to_numpy()
        np.testing.assert_allclose(examples["mode_activity"], modes[:, shown], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(examples["target"], trials.targets.numpy()[:, shown, 0])
        np.testing.assert_array_equal(spikes["row_size"], course.spikes.detach().numpy()[:, shown].sum(0))
        condition = 2 * trials.context[-1].numpy() + (trials.targets[-1, :, 0].numpy() > 0)
        for k in set(condition.tolist()):
            mean = modes[:, condition == k].mean(1)
            np.testing.assert_allclose(tree["conditions/mode_activity"][k], mean, rtol=1e-3, atol=1e-5)
        assert tree["training"].sizes["step"] == 12
        np.testing.assert_array_equal(tree["training/evaluated"], [5, 10, 12])
        assert {"mse", "right", "right_switch"} <= set(tree["training"].data_vars)
        assert tree.attrs["parameters"] == 4 * 15 + 2 * 15 * 3 + 3 + 15


def test_a_contextual_report_shows_errors_examples_and_modes(context):
    page = (context / "report.html").read_text()
    for title in ("Training", "Error in time", "Example trials", "Trials with a change of context", "Outputs",
                  "Activity of the modes", "Trajectories in mode space", "How these numbers were made"):  # fmt: skip
        assert f"<h2>{title}</h2>" in page
    assert {path.suffix for path in (context / "figures").iterdir()} == {".png", ".svg", ".pdf"}
    assert "http" not in page.split("<body>")[1].replace("http://www.w3.org", "")


def test_a_run_of_digits(digits):
    with xr.open_datatree(digits / "result.nc") as tree:
        test = tree["test"]
        assert test.sizes["trial"] == 50
        assert test.attrs["accuracy"] == pytest.approx(float(test["score"][-1]))
        assert test.attrs["accuracy"] == np.mean(test["decision"].to_numpy() == test["target"].to_numpy())
        assert test.attrs["accuracy"] > 0.3  # a tenth by chance
        assert test.attrs["baseline"] > 0.9
        assert tree["conditions"].sizes["condition"] == 10
        assert tree["examples/image"].shape[1:] == (8, 8)
        assert json.loads(tree.attrs["options"])["network"]["modes"] == 2
    page = (digits / "report.html").read_text()
    for title in ("Accuracy in time", "Decisions by class", "Example trials", "Activity of the modes"):
        assert f"<h2>{title}</h2>" in page


def test_a_run_goes_on_from_its_folder(context, capsys):
    before = (context / "result.nc").read_bytes()
    assert main(["run", "--out", str(context), "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert said.count("reused:") == 3
    assert "decisions right, context changing" in said
    assert (context / "result.nc").read_bytes() == before


def test_what_depends_on_a_changed_option_is_done_again(context, capsys):
    assert main(["run", "--out", str(context), "--test-trials", "20", "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert "option     test.trials: 30 → 20" in said
    assert "train      reused" in said
    assert "test       20 trials" in said
    assert yaml.safe_load((context / "config.yaml").read_text())["test"]["trials"] == 20


def test_an_interrupted_training_is_continued(tmp_path, monkeypatch, capsys):
    from mnnbio.training.spiking import fitting

    monkeypatch.setattr(fitting, "SAVED_EVERY", -1.0)
    step = fitting._Run.step

    def stopping(self):
        if self.progress.step == 7:
            raise KeyboardInterrupt
        return step(self)

    arguments = [*CONTEXT, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(fitting._Run, "step", stopping)
    assert main(arguments) == 130
    assert "continue with: mnnbio run --out" in capsys.readouterr().err
    monkeypatch.setattr(fitting._Run, "step", step)
    assert main(["run", "--out", str(tmp_path / "run"), "--no-progress"]) == 0
    assert "(continued)" in capsys.readouterr().out
    with xr.open_datatree(tmp_path / "run/result.nc") as tree:
        assert tree["training"].sizes["step"] == 12


def test_options_survive_their_file():
    for name in MODE_PRESETS:
        config = make_mode_config({"task": {"name": name}})
        text = to_yaml(config, MODE_SECTIONS)
        assert make_mode_config(yaml.safe_load(text)) == config
        assert all(field.help in text for field in all_fields(MODE_SECTIONS))
    flags = [field.flag for field in all_fields(MODE_SECTIONS)]
    assert len(flags) == len(set(flags))


def test_words_that_mean_a_network_of_few_modes(context, tmp_path):
    assert MODE_RUN.parser(["modes-digits", "--out", "x"]) is not None
    assert MODE_RUN.parser(["--out", str(context)]) is not None
    assert MODE_RUN.parser([f"--out={context}"]) is not None
    assert MODE_RUN.parser(["--config", str(context / "config.yaml"), "--out", "x"]) is not None
    assert MODE_RUN.parser(["digits", "--out", "modes-digits"]) is None
    assert MODE_RUN.parser(["--out", str(tmp_path)]) is None


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"task": {"name": "modes-context"}, "training": {"loss": "cross_entropy"}}, "training.loss of modes-context"),
        ({"task": {"switching": 2.0}}, r"task.switching must be a share in \[0, 1\], got 2"),
        ({"network": {"t_ref": 5.0}}, "network.t_ref must be whole steps of network.dt = 2 ms, got 5 ms"),
        ({"task": {"name": "modes-context"}, "test": {"trials": None}}, "test.trials of modes-context"),
        ({"network": {"mode": 3}}, "did you mean 'modes'"),
        ({"model": {}}, "unknown section"),
    ],
)
def test_options_that_do_not_fit(layer, message):
    with pytest.raises(ConfigError, match=message):
        make_mode_config(layer)


def test_what_is_asked_for_in_vain(context, tmp_path, capsys):
    cases = [
        (["run", "modes-digts", "--out", str(tmp_path / "a")], "did you mean 'modes-digits'?"),
        (["run", "modes-digits", "--out", str(context)], "holds a run of modes-context, not of modes-digits"),
        (["compare", str(context)], "whose steps are done by: mnnbio run --out"),
        (["run", "modes-digits", "--data-dir", str(tmp_path / "none"), "--out", str(tmp_path / "b")], "no folder"),
        (["run", "modes-context", "--onset", "900", "--out", str(tmp_path / "c")], "must leave time for a response"),
    ]
    for arguments, message in cases:
        assert main(arguments) == 2, arguments
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
