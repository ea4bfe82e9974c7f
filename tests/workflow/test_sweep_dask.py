"""Sweeps on Dask workers: the same results, and nothing lost or done twice where workers and drivers are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
import xarray as xr
import yaml
from distributed import Client, LocalCluster

from mnnbio import open_sweep, run_sweep
from mnnbio.results.files import load
from mnnbio.spikes.sharing import SchedulerError
from mnnbio.workflow.sweep_data import SweepWarning
from mnnbio.workflow.sweep_driver import remote_client

COMMAND = [sys.executable, "-c", "import sys; from mnnbio.workflow.cli import main; sys.exit(main())", "sweep"]
# The folder of the sweep is the place where the processes tell what they do.
BUILDER = """
import os
import signal
import time
from pathlib import Path
from mnnbio import Circuit, GaussianDrive, LIFParameters, Population

def one(mean, here, slow=0.0, deadly="never"):
    with open(f"{here}/log", "a") as log:
        log.write(f"{mean} {os.getpid()}\\n")
    time.sleep(slow)
    if mean == 3 and (deadly == "always" or deadly == "once" and not Path(here, "died").exists()):
        Path(here, "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Circuit([Population("E", 1, LIFParameters())], drives=[GaussianDrive("E", mean=mean, std=1.0)])
"""
RUNTIME = {"codegen": "runtime", "duration": 20, "warmup": 0, "dt": 0.5}

pytestmark = pytest.mark.slow


def write(folder: Path, means: list[float], simulation: dict[str, object] = RUNTIME, **parameters: object) -> Path:
    (folder / "build.py").write_text(BUILDER)
    path = folder / "sweep.yaml"
    fixed = {"here": str(folder), **parameters}
    content = {"circuit": "build.py:one", "parameters": fixed, "grid": {"mean": means}, "simulation": simulation}
    path.write_text(yaml.safe_dump(content))
    return path


def calls(folder: Path) -> Counter[float]:
    return Counter(float(line.split()[0]) for line in (folder / "log").read_text().splitlines())


def spikes(out: Path) -> dict[str, xr.Dataset]:
    return {path.name: load(path)["spikes"].to_dataset() for path in out.glob("points/[!.]*.nc")}


def assert_same_spikes(one: Path, other: Path) -> None:
    first, second = spikes(one), spikes(other)
    assert first.keys() == second.keys()
    for name, dataset in first.items():
        xr.testing.assert_identical(dataset, second[name])


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        yield client


def test_workers_give_what_this_process_gives(tmp_path, client):
    config = write(tmp_path, [1, 2])
    assert run_sweep(config, tmp_path / "here", workers=0, allow_code=True).done == 2
    assert run_sweep(config, tmp_path / "there", client=client, allow_code=True).done == 2
    assert_same_spikes(tmp_path / "here", tmp_path / "there")
    assert len({line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}) > 1


def test_what_a_killed_worker_was_doing_is_done_again(tmp_path, client):
    summary = run_sweep(
        write(tmp_path, [1, 2, 3, 4, 5], deadly="once"), tmp_path / "out", client=client, allow_code=True
    )
    assert (summary.done, summary.failed) == (5, 0)
    assert (tmp_path / "died").exists()
    assert calls(tmp_path) == Counter({1: 1, 2: 1, 3: 2, 4: 1, 5: 1})
    assert len(open_sweep(tmp_path / "out")["simulation/rate"].compute()) == 5


def test_a_point_that_kills_its_workers_fails_and_the_others_go_on(tmp_path, client):
    summary = run_sweep(write(tmp_path, [1, 3, 5], deadly="always"), tmp_path / "out", client=client, allow_code=True)
    assert (summary.done, summary.failed) == (2, 1)
    assert "KilledWorker: each worker that ran it died" in summary.failures["mean=3"]
    with pytest.warns(SweepWarning, match=r"1 of 3 points have no result \(1 failed\)"):
        open_sweep(tmp_path / "out")


def below(process: int) -> list[int]:
    """Return the processes that a process has started, and those that these have."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    children = [int(child) for child in found.stdout.split()]
    return children + [grandchild for child in children for grandchild in below(child)]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait(condition, seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_driver_that_ends_is_continued(tmp_path, how):
    config, out = write(tmp_path, [1, 2, 3, 4, 5, 6], slow=0.4), tmp_path / "out"
    command = [*COMMAND, str(config), "--out", str(out), "--allow-code", "--workers", "2"]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait(lambda: len(list(out.glob("points/[!.]*.nc"))) >= 2)
    workers = below(driver.pid)
    driver.send_signal(how)
    said = driver.communicate()[0]
    wait(lambda: not any(map(alive, workers)))  # nobody goes on without a driver
    if how == signal.SIGINT:
        assert driver.returncode == 130
        assert f"What is done is kept; continue with: mnnbio sweep {config} --out {out} --allow-code" in said
        return
    finished = {path.name: path.read_bytes() for path in out.glob("points/[!.]*.nc")}
    assert 2 <= len(finished) < 6
    (out / "points/.0123-abcd.part.nc").touch()  # as a process leaves it that is killed while it writes
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{len(finished)} of 6 points are done already" in again.stdout
    assert finished.items() <= {path.name: path.read_bytes() for path in out.glob("points/[!.]*.nc")}.items()
    assert len(open_sweep(out)["simulation/rate"].compute()) == 6
    assert len(list(out.glob("points/.*"))) == 0
    manifest = json.loads((out / "manifest.json").read_text())["points"]
    seen = calls(tmp_path)
    assert all(seen[record["parameters"]["mean"]] == 1 for key, record in manifest.items() if f"{key}.nc" in finished)
    assert seen.total() <= 6 + 2  # what was in flight, one on each worker


@pytest.mark.standalone
def test_sweeps_share_a_cache_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "cache"))
    simulation = RUNTIME | {"codegen": "cpp_standalone"}
    sweeps = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        config = write(tmp_path / name, [1, 2], simulation)
        command = [*COMMAND, str(config), "--out", str(tmp_path / name / "out"), "--allow-code", "--workers", "2"]
        sweeps.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for process in sweeps:
        said, _ = process.communicate()
        assert process.returncode == 0, said
    config = write(tmp_path / "a", [1, 2], simulation)
    run_sweep(config, tmp_path / "here", workers=0, allow_code=True)
    assert_same_spikes(tmp_path / "a/out", tmp_path / "here")
    rates = [open_sweep(tmp_path / name / "out")["simulation/rate"].values.tolist() for name in ("a", "b")]
    assert rates[0] == rates[1]


def test_a_scheduler_that_does_not_answer_is_named(tmp_path):
    with (
        pytest.raises(SchedulerError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9 within 0.5 s .*Check the"),
        remote_client("tcp://127.0.0.1:9", patience=0.5),
    ):
        pass
    with (
        pytest.raises(SchedulerError, match=r"no scheduler file .*none.json"),
        remote_client(str(tmp_path / "none.json")),
    ):
        pass


def test_a_scheduler_that_goes_away_is_named(tmp_path):
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50)

    def close_at_work() -> None:
        wait((tmp_path / "log").exists)
        cluster.close()

    with cluster, remote_client(cluster.scheduler_address) as client:
        threading.Thread(target=close_at_work).start()
        with pytest.raises(SchedulerError, match="the scheduler was lost"):
            run_sweep(write(tmp_path, [1, 2, 3], slow=2.0), tmp_path / "out", client=client, allow_code=True)


def test_a_scheduler_file_is_read(tmp_path, client):
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": client.scheduler.address}))
    with remote_client(str(path)) as other:
        assert other.scheduler.address == client.scheduler.address
    assert os.environ.get("DASK_SCHEDULER_ADDRESS") is None
