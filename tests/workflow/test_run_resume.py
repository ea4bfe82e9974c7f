"""Runs that are killed and continued, and networks that go to C++ and back: the command in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file

COMMAND = [sys.executable, "-c", "import sys; from mnnbio.workflow.cli import main; sys.exit(main())"]
SMALL = [
    "--hidden", "10", "--epochs", "6", "--decision-stimuli", "20", "--decision-trials", "2", "--stimuli", "2", "--trials", "4",
    "--duration", "200", "--warmup", "100", "--no-progress",
]  # fmt: skip
RUNTIME = ["--codegen", "runtime", "--dt", "0.5"]


def mnnbio(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


def assert_same_results(one: Path, other: Path) -> None:
    weights = [load_file(folder / "checkpoint/model.safetensors") for folder in (one, other)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    with xr.open_datatree(one / "result.nc") as a, xr.open_datatree(other / "result.nc") as b:
        assert set(a.groups) == set(b.groups)
        for group in a.groups:
            xr.testing.assert_equal(a[group].to_dataset(), b[group].to_dataset())


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_results(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert mnnbio("run", "digits", "--out", whole, *SMALL, *RUNTIME).returncode == 0
    rng = np.random.default_rng(0)
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(
            [*COMMAND, "run", "digits", "--out", str(broken), *SMALL, *RUNTIME], stdout=subprocess.DEVNULL
        )
        try:
            # Later attempts get more time, so that a slow machine ends too.
            assert process.wait(rng.uniform(2, 6) * (1 + 0.2 * attempt)) == 0
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    else:
        pytest.fail("the run never came to its end")
    assert kills > 0
    assert_same_results(whole, broken)
    report = (broken / "report.html").read_text()
    assert all(
        f"<h2>{title}" in report for title in ("Training", "Accuracy against time", "Firing rates", "Covariances")
    )
    assert {path.suffix for path in (broken / "figures").iterdir()} == {".png", ".svg", ".pdf"}
    assert not [path for path in broken.rglob(".*") if path.name not in (".lock", ".report.json")]


@pytest.mark.slow
def test_ctrl_c_says_how_to_continue(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, "run", "digits", "--out", str(tmp_path / "run"), *SMALL[:-1], *RUNTIME, "--epochs", "1000"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    training = tmp_path / "run/checkpoint/training.safetensors"
    while not training.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert f"continue with: mnnbio run --out {tmp_path / 'run'}" in err
    assert "epoch 1/1000" not in err  # no progress bar where there is no terminal
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.standalone
def test_a_network_goes_to_cpp_and_back(tmp_path):
    run, project = tmp_path / "run", tmp_path / "project"
    done = mnnbio("run", "digits", "--out", run, *SMALL)
    assert done.returncode == 0, done.stderr
    for part in ("decisions", "statistics"):
        folder = project.with_name(part)
        done = mnnbio("cpp", run, "--out", folder, "--part", part)
        assert (done.returncode, "make && ./main" in done.stdout) == (0, True), done.stderr
        done = mnnbio("read", folder)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        subprocess.run("make && ./main", shell=True, cwd=folder, check=True, capture_output=True, env=environment)
        done = mnnbio("read", folder)
        assert done.returncode == 0, done.stderr
        with xr.open_datatree(folder / "result.nc") as read, xr.open_datatree(run / "result.nc") as stored:
            own = stored["decisions"] if part == "decisions" else stored
            for group in ("simulation", "spikes", "prediction", "comparison"):
                xr.testing.assert_equal(read[group].to_dataset(), own[group].to_dataset())
    assert mnnbio("cpp", run, "--out", run).returncode == 2  # not empty
