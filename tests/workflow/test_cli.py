"""The command, run in this process with tiny settings, and everything that can be wrong with what it is given."""

import gzip
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from command_line import Done, run
from safetensors.numpy import load_file
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score

from mnnbio.workflow.run_config import all_fields, make_config, read_layer

SMALL = [
    "--hidden", "10", "--epochs", "2", "--codegen", "runtime", "--dt", "0.5", "--decision-stimuli", "10", "--decision-trials", "2",
    "--decision-window", "50", "--decision-warmup", "0", "--stimuli", "2", "--trials", "2", "--duration", "100", "--warmup", "50",
    "--window", "50", "--no-progress",
]  # fmt: skip


def fails(code: int, message: str, *arguments: object) -> Done:
    done = run(*arguments)
    assert (done.code, message in done.err) == (code, True), done
    assert "Traceback" not in done.err
    return done


@pytest.fixture(scope="module", autouse=True)
def no_figures():
    """Leave the drawing out: it takes most of the time of a small run, and has tests of its own."""
    import mnnbio.analyses.html_report as module

    def write(tree, path, **_):
        path.write_text("report")
        (path.parent / "figures").mkdir(exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "report", write)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = run("run", "digits", "--out", folder, *SMALL)
    assert done.code == 0, done
    return folder, done


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """Return a finished run folder to play with."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture
def table(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    rows = [f"{a:.4f},{b:.4f},{'yes' if a > b else 'no'},{a - 2 * b:.4f}" for a, b in x]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["a,b,class,value", *rows]))
    return path


# What a run leaves.


def test_a_run_ends_with_its_figures_and_paths(finished):
    folder, done = finished
    assert "moment network: accuracy, all test samples" in done.out
    assert "spiking network: accuracy, 10 samples × 2 trials, decided in 50 ms" in done.out
    assert "rates, predicted and simulated: Pearson r" in done.out
    assert str(folder / "result.nc") in done.out
    assert str(folder / "report.html") in done.out
    assert {path.name for path in folder.iterdir() if path.name[0] != "."} == {
        "config.yaml", "checkpoint", "result.nc", "report.html", "figures", "log.txt",
    }  # fmt: skip


def test_the_log_tells_what_was_done_and_when(finished):
    folder, done = finished
    log = (folder / "log.txt").read_text()
    assert "mnnbio run digits" in log.splitlines()[0]
    for line in done.out.splitlines():
        assert line in log
    assert log.count("done in") == 6


def test_the_result_opens_with_plain_xarray(finished):
    with xr.open_datatree(finished[0] / "result.nc") as tree:
        for group in ("prediction", "simulation", "spikes", "comparison"):
            assert {f"/{group}", f"/decisions/{group}"} <= set(tree.groups)
        assert tree["simulation/rate"].dims == ("stimulus", "neuron")
        assert tree["simulation/rate"].attrs["units"] == "Hz"
        assert tree["decisions/simulation/readout"].shape == (10, 2, 10)
        assert tree["training/train_loss"].sizes == {"epoch": 2}


def test_stimuli_are_labelled_with_the_test_samples_they_are(finished):
    from mnnbio.training.data import load_task

    task = load_task("digits")
    with xr.open_datatree(finished[0] / "result.nc") as tree:
        decisions = tree["decisions/simulation"]
        targets = task.y_test[decisions["sample"].values]
        assert decisions["target"].values.tolist() == [str(digit) for digit in targets]
        assert len(set(decisions["target"].values)) == 10  # spread over the classes


def test_scores_are_those_of_the_stored_outputs(finished):
    with xr.open_datatree(finished[0] / "result.nc") as tree:
        target = tree["decisions/simulation/target"].values.astype(int)
        moment = tree["decisions/prediction/readout"].values.argmax(axis=-1)
        spiking = tree["decisions/simulation/readout"].values.argmax(axis=-1)
        comparison = tree["decisions/comparison"]
        assert comparison["moment_accuracy"].item() == np.mean(moment == target)
        assert comparison["spiking_accuracy"].item() == pytest.approx(np.mean(spiking == target[:, None]))


def test_the_configuration_holds_every_option(finished):
    config = make_config(read_layer(finished[0] / "config.yaml"))
    assert (config.model.hidden, config.training.epochs, config.simulation.dt) == ((10,), 2, 0.5)


# Again, and with other options.


def test_a_second_run_reuses_everything(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("log.txt", ".lock")}
    done = run("run", "--out", folder, "--no-progress")
    assert done.code == 0
    assert [line.split()[1] for line in done.out.splitlines()[:6]] == ["reused:"] * 6
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name not in ("log.txt", ".lock")}
    assert after == before


@pytest.mark.slow
def test_only_what_depends_on_a_changed_option_is_done_again(folder):
    done = run("simulate", folder, "--decision-trials", "3", "--no-progress")
    lines = done.out.splitlines()
    assert lines[0] == "option     decisions.trials: 2 → 3"
    assert lines[1].startswith("simulate   decisions: 10 samples × 3 trials")
    assert lines[2].startswith("simulate   reused: statistics")
    lines = run("compare", folder).out.splitlines()
    assert lines[:2] == ["compare    decisions: theory and spikes", "compare    reused: statistics"]
    lines = run("compare", folder, "--closure", "moments").out.splitlines()
    assert lines[0] == "option     simulation.closure: auto → moments"
    assert lines[1:3] == ["compare    reused: decisions", "compare    statistics: theory and spikes"]


@pytest.mark.slow
def test_parts_one_after_another_equal_a_run(finished, tmp_path):
    folder = tmp_path / "parts"
    of_training = SMALL[: SMALL.index("--codegen")]
    of_simulation = SMALL[SMALL.index("--codegen") :]
    assert run("train", folder, "--data", "digits", "--no-progress", *of_training).code == 0
    fails(2, "holds no simulation of the decisions; simulate first: mnnbio simulate", "compare", folder)
    assert run("simulate", folder, *of_simulation).code == 0
    fails(2, "holds no comparison of the decisions; compare first: mnnbio compare", "report", folder)
    done = run("compare", folder)
    assert done.code == 0
    assert done.out.split("\n\n")[1] == finished[1].out.split("\n\n")[1]
    ours, theirs = (load_file(path / "checkpoint/model.safetensors") for path in (folder, finished[0]))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_options_of_a_file_lose_against_the_command_line(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("training: {epochs: 7, batch_size: 32}\nmodel: {hidden: 5}\n")
    done = run("config", "digits", "--config", path, "--epochs", "9")
    (tmp_path / "all.yaml").write_text(done.out)
    config = make_config(read_layer(tmp_path / "all.yaml"))
    assert (config.training.epochs, config.training.batch_size, config.model.hidden) == (9, 32, (5,))


@pytest.mark.slow
def test_an_interrupted_run_continues(finished, tmp_path, monkeypatch):
    import mnnbio.workflow.trained_run as step

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(step, "circuit_of", interrupted)
        done = run("run", "digits", "--out", folder, *SMALL)
    assert done.code == 130
    assert f"What is done is kept; continue with: mnnbio run --out {folder}" in done.err
    done = run("run", "--out", folder, "--no-progress")
    assert done.code == 0
    assert done.out.startswith("train      reused")
    assert done.out.split("\n\n")[1] == finished[1].out.split("\n\n")[1]


@pytest.mark.slow
def test_a_table_of_values_gives_r2(table, tmp_path):
    done = run("run", "table", table, "--target", "value", "--out", tmp_path / "run", *SMALL)
    assert done.code == 0, done
    assert "moment network: R², 10 samples" in done.out
    with xr.open_datatree(tmp_path / "run/result.nc") as tree:
        target = tree["decisions/simulation/target"].values
        comparison = tree["decisions/comparison"]
        moment = tree["decisions/prediction/readout"].values[:, 0]
        spiking = tree["decisions/simulation/readout"].values[:, :, 0]
        assert comparison["moment_r2"].item() == pytest.approx(r2_score(target, moment))
        expected = np.mean([r2_score(target, spiking[:, k]) for k in range(2)])
        assert comparison["spiking_r2"].item() == pytest.approx(expected)


# Help.


def test_help_has_examples_and_every_option_with_its_default():
    done = run("--help")
    assert done.code == 0
    for command in ("run", "train", "simulate", "compare", "report", "cpp", "read", "config"):
        assert f"mnnbio {command}" in done.out or f"\n    {command} " in done.out
    done = run("run", "--help")
    for field in all_fields():
        if field.where not in ("data.name", "data.file"):
            assert field.flag in done.out
    assert "(default:" in done.out


def test_the_configuration_of_every_data_set_can_be_printed():
    for name in ("digits", "mnist", "table"):
        done = run("config", name)
        assert done.code == 0
        assert f"name: {name}" in done.out


# Wrong usage: exit code 2, nothing left behind.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "digit", "--out", "X"], "unknown data set 'digit'; did you mean 'digits'?"),
        (["run", "--out", "X"], "which data? X holds no run yet"),
        (["run", "digits"], "the following arguments are required: --out"),
        (["run", "digits", "--out", "X", "--epoch", "5"], "unknown argument '--epoch'; did you mean '--epochs'?"),
        (["run", "digits", "--out", "X", "--epochs", "five"], "training.epochs must be a whole number ≥ 1, got 'five'"),
        (["run", "digits", "file.csv", "--out", "X"], "only a table is read from a file"),
        (["run", "table", "--out", "X"], "a table needs a file and a column to predict"),
        (["run", "mnist", "--out", "X"], "mnist needs the folder with its four IDX files"),
        (["run", "digits", "--out", "X", "--config", "none.yaml"], "no configuration file none.yaml"),
        (["run", "digits", "--out", "X", "--dt", "0.3"], "simulation.dt must divide model.t_ref = 5 ms, got 0.3 ms"),
        (["run", "digits", "--out", "X", "--window", "70"], "statistics.window must divide statistics.duration"),
        (["train", "X"], "name one of ['digits', 'mnist', 'table'], such as --data digits"),
        (["simulate", "X"], "X holds no run; start one: mnnbio run digits --out X"),
        (["report", "X"], "X holds no run"),
        (["read", "X"], "X does not hold a C++ project"),
        (["runn"], "invalid choice: 'runn'"),
        ([], "required: COMMAND"),
    ],
)
def test_wrong_usage_leaves_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    fails(2, message, *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_in_a_file_names_the_file_and_the_nearest(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("training: {lerning_rate: 0.1}")
    message = f"{path}: unknown option in 'training': 'lerning_rate'; did you mean 'learning_rate'?"
    fails(2, message, "run", "digits", "--out", tmp_path / "run", "--config", path)
    assert not (tmp_path / "run").exists()


def test_another_data_set_needs_another_folder(folder):
    fails(
        2,
        "holds a run of digits, not of table; choose another folder",
        "run",
        "table",
        "f.csv",
        "--target",
        "y",
        "--out",
        folder,
    )


# Bad data.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,y\n1,0\n,1\n2,0\n3,1\n", "missing value in row 2, column 'a'"),
        ("a,y\n1,0\ninf,1\n2,0\n3,1\n", "infinite value in row 2, column 'a'"),
        ("a,y\n1,0\n2,0\n3,0\n", "must have at least two classes, got only"),
        ("a,y\n", "has no rows"),
        ("a,z\n1,0\n", "has no column 'y'"),
    ],
)
def test_bad_tables_leave_nothing(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    fails(2, message, "run", "table", path, "--target", "y", "--out", tmp_path / "run", "--codegen", "runtime")
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_negative_rates_are_refused_before_the_training(table, tmp_path):
    arguments = ["run", "table", table, "--target", "class", "--out", tmp_path / "run", "--encoding", "poisson", *SMALL]
    fails(2, "Negative values in data: encoding='poisson' needs features ≥ 0", *arguments)
    assert not (tmp_path / "run/checkpoint/training.safetensors").exists()
    assert not (tmp_path / "run/result.nc").exists()
    assert run("train", tmp_path / "run", "--encoding", "on_off", "--no-progress").code == 0


def test_another_number_of_features_is_refused(folder, table):
    """A network of 64 features in a run of a table of two."""
    model = (folder / "checkpoint/model.safetensors").read_bytes()
    other = table.parent / "other"
    assert (
        run("train", other, "--data", "table", "--file", table, "--target", "class", *SMALL[:4], "--no-progress").code
        == 0
    )
    (other / "checkpoint/model.safetensors").write_bytes(model)
    fails(2, "is of another architecture", "simulate", other, "--codegen", "runtime")


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def mnist(tmp_path) -> Path:
    """Return a folder in the form of MNIST, with the digits of scikit-learn in the middle of larger images."""
    images, labels = load_digits(return_X_y=True)
    large = np.zeros((len(images), 28, 28))
    large[:, 10:18, 10:18] = 15.9 * images.reshape(-1, 8, 8)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, rows in (("train", slice(0, 200)), ("t10k", slice(200, 260))):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", large[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels[rows])
    return folder


def test_mnist_is_read_from_a_folder(mnist, tmp_path):
    done = run(
        "train",
        tmp_path / "run",
        "--data",
        "mnist",
        "--data-dir",
        mnist,
        "--hidden",
        "5",
        "--epochs",
        "1",
        "--no-progress",
    )
    assert done.code == 0, done
    assert "mnist: 200 training samples, 60 test samples" in done.out


def test_missing_and_damaged_idx_files_are_named(mnist, tmp_path):
    arguments = ["run", "mnist", "--data-dir", mnist, "--out", tmp_path / "run", "--codegen", "runtime"]
    path = mnist / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    path.write_bytes(content[:1000])
    fails(2, f"{path} is a damaged gzip file", *arguments)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x03" + b"\0" * 3))
    fails(2, f"{path} is truncated", *arguments)
    path.write_bytes(b"<html>")
    fails(2, f"{path} is not an IDX file", *arguments)
    path.unlink()
    fails(2, "neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz is in", *arguments)
    assert not (tmp_path / "run").exists()


# Bad state of the run folder.


def test_a_truncated_result_is_named(folder):
    path = folder / "result.nc"
    path.write_bytes(path.read_bytes()[:5000])
    fails(1, f"cannot read {path}: not a complete netCDF-4 file", "run", "--out", folder)


def test_a_foreign_result_is_named(folder):
    xr.Dataset({"x": 1}).to_netcdf(folder / "result.nc")
    fails(1, "is a netCDF file of something else", "compare", folder)


def test_a_checkpoint_of_another_run_is_named(folder):
    record = folder / "checkpoint/run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "done": False}))
    shutil.copy(folder / "checkpoint/model.safetensors", folder / "checkpoint/training.safetensors")
    fails(2, "does not hold a training state of mnnbio", "run", "--out", folder, "--no-progress")


def test_a_missing_network_says_how_to_get_one(folder):
    (folder / "checkpoint/model.safetensors").unlink()
    fails(2, f"holds no trained network; train one first: mnnbio train {folder}", "simulate", folder)


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_no_permission_is_said_before_the_training(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    fails(1, "cannot write to the run folder", "run", "digits", "--out", tmp_path / place, *SMALL)


@pytest.mark.slow
def test_a_full_disk_at_saving_leaves_what_was_there(folder, monkeypatch):
    content = (folder / "result.nc").read_bytes()

    def full(self, path, **_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.DataTree, "to_netcdf", full)
        arguments = ["simulate", folder, "--decision-trials", "3", "--no-progress"]
        fails(1, "No space left on device. Check the folder's permissions and free space", *arguments)
    assert (folder / "result.nc").read_bytes() == content
    assert not list(folder.glob(".*part*"))
    assert run("simulate", folder, "--no-progress").code == 0


def test_a_missing_compiler_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    done = fails(1, "needs a C++ compiler and make", "run", "digits", "--out", tmp_path / "run")
    assert "--codegen runtime" in done.err
    assert not (tmp_path / "run").exists()


def test_an_unexpected_error_is_a_line_and_a_traceback_in_the_log(folder, monkeypatch):
    import mnnbio.workflow.trained_run as step

    def broken(*_):
        raise KeyError("oops")

    monkeypatch.setattr(step, "train", broken)
    fails(1, f"unexpected KeyError: 'oops' ({folder / 'log.txt'} says where)", "train", folder)
    assert "Traceback" in (folder / "log.txt").read_text()
    assert "Traceback" in run("train", folder, "--debug").err
