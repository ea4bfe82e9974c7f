import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    build,
)
from mnnbio.spikes import compiling as compiler
from mnnbio.spikes.compiling import BuildFailed, CompilerNotFound, require_compiler
from mnnbio.spikes.planner import Planned, plan_circuit
from mnnbio.spikes.program import CompiledProgram
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.spikes.session import BrianBusyError, brian_session


def everything(n_stimuli=3):
    """A circuit with every kind of part, several stimuli, delays and recurrence."""
    rng = np.random.default_rng(0)
    return Circuit(
        [
            PoissonSource("input", 20, rates=rng.uniform(0, 0.5, (n_stimuli, 20))),
            Population("hidden", 10, LIFParameters(v_th=rng.uniform(15, 20, 10))),
            Population("out", 4, LIFParameters(tau_m=10.0, t_ref=2.0)),
        ],
        [
            Projection("input", "hidden", weights=rng.normal(0.4, 0.3, (10, 20))),
            Projection("hidden", "out", weights=rng.uniform(1, 6, (4, 10)), delay=1.0),
            Projection("out", "hidden", ModeMatrix(rng.normal(size=(10, 2)), [0.5, -0.3], rng.normal(size=(4, 2)))),
        ],
        [
            GaussianDrive(
                "hidden",
                mean=rng.uniform(0.2, 1.2, 10),
                std=rng.uniform(0.1, 1, (n_stimuli, 10)),
                factor=rng.normal(0, 0.2, (10, 2)),
            ),
            PoissonDrive("out", 0.3, 0.5),
        ],
    )


def small():
    return Circuit([Population("n", 2, LIFParameters())], drives=[GaussianDrive("n", mean=4.0, std=1.0)])


@pytest.fixture(scope="module")
def compiled():
    with build(everything()) as program:
        yield program


def same(one, other):
    return np.array_equal(one.row_size, other.row_size) and np.array_equal(one.step, other.step)


def test_spikes_are_sorted_and_counted():
    with build(everything(), codegen="runtime") as program:
        trains = program.run(60.0, trials=2, warmup=10.0, seed=1)
    assert trains.row_size.shape == (3, 2, 14)
    assert trains.row_size.sum() == len(trains.step) > 200
    assert -100 <= trains.step.min() < 0 < trains.step.max() < 600
    for train in np.split(trains.step, np.cumsum(trains.row_size.ravel())[:-1]):
        assert np.all(np.diff(train) > 0)
    np.testing.assert_allclose(trains.time, (trains.step + 0.5) * 1e-4, rtol=1e-15)


@pytest.mark.slow
def test_seeds_repeat_and_differ_and_layout_does_not_matter():
    spikes = {}
    for replicas in (1, 4):
        with build(small(), codegen="runtime", replicas=replicas) as program:
            spikes[replicas] = program.run(25.0, trials=5, seed=1)
            again, other = program.run(25.0, trials=5, seed=1), program.run(25.0, trials=5, seed=2)
        assert same(spikes[replicas], again)
        assert not same(spikes[replicas], other)
    assert same(spikes[1], spikes[4])


def test_without_a_seed_every_run_is_new_and_can_be_repeated():
    with build(small(), codegen="runtime") as program:
        one, other = program.run(50.0), program.run(50.0)
        again = program.run(50.0, seed=one.seed)
    assert one.seed != other.seed
    assert same(one, again)


def test_recording_some_populations_leaves_the_others_out():
    with build(everything(), codegen="runtime", record=["out"]) as program:
        some = program.run(40.0, seed=1)
    with build(everything(), codegen="runtime") as program:
        everyone = program.run(40.0, seed=1)
    assert dict(some.populations) == {"out": 4}
    assert np.array_equal(some.row_size, everyone.row_size[..., 10:])


@pytest.mark.slow
def test_some_presentations_give_the_spikes_that_they_give_among_all():
    pairs = np.array([[2, 1], [0, 0], [1, 2]])
    with build(everything(), codegen="runtime", replicas=4) as program:
        everyone = program.run(40.0, trials=3, warmup=5.0, seed=7)
        some = program.run(40.0, warmup=5.0, seed=7, presentations=pairs)
    assert np.array_equal(some.presentations, pairs)
    assert np.array_equal(some.row_size, everyone.row_size[pairs[:, 0], pairs[:, 1]])
    stops = np.cumsum(everyone.row_size.sum(axis=2).ravel()).reshape(3, 3)
    parts = [everyone.step[stops[s, t] - everyone.row_size[s, t].sum() : stops[s, t]] for s, t in pairs]
    assert np.array_equal(some.step, np.concatenate(parts))
    assert all(map(len, parts))


def test_progress_ends_at_the_total():
    calls = []
    with build(small(), codegen="runtime", replicas=2) as program:
        program.run(10.0, trials=5, seed=0, report=lambda done, total: calls.append((done, total)))
    assert calls == [(100, 300), (200, 300), (300, 300)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"codegen": "cython"},
            r"Invalid value 'cython' for `codegen`. Must be one of \['cpp_standalone', 'runtime'\]",
        ),
        ({"record": ["hidden"]}, r"`record` must name populations of neurons \(n\), got \['hidden'\]"),
        ({"record": []}, r"`record` must name populations of neurons \(n\), got \[\]"),
        ({"replicas": 0}, "`replicas` must be an integer ≥ 1, got 0"),
        ({"dt": -1.0}, "`dt` must be > 0 ms"),
    ],
)
def test_wrong_options_are_errors_before_anything_is_built(options, message):
    with pytest.raises(ValueError, match=message), build(small(), **{"codegen": "runtime", **options}):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 0}, "`trials` must be an integer ≥ 1, got 0"),
        ({"trials": 1.5}, "`trials` must be an integer ≥ 1, got 1.5"),
        ({"seed": -1}, "`seed` must be an integer ≥ 0 and ≤ 18446744073709551615, got -1"),
        ({"processes": 0}, "`processes` must be an integer ≥ 1, got 0"),
        ({"warmup": 0.05}, "`dt` must divide `warmup`"),
        (
            {"presentations": [0, 1]},
            r"`presentations` must hold \(stimulus, trial\) pairs, .*, got shape \(2,\) of int64",
        ),
        ({"presentations": [[0.0, 1.0]]}, r"got shape \(1, 2\) of float64"),
        ({"presentations": [[0, 0], [1, 0]]}, r"must hold stimuli 0 … 0 and trials ≥ 0, got \(1, 0\) at 1"),
        ({"presentations": [[0, 3], [0, 3]]}, r"every \(stimulus, trial\) pair once"),
    ],
)
def test_wrong_runs_are_errors(options, message):
    with build(small(), codegen="runtime") as program, pytest.raises(ValueError, match=message):
        program.run(10.0, **options)


def test_global_state_is_set_back_after_success_and_failure():
    from brian2 import get_device, prefs
    from brian2.devices.device import RuntimeDevice

    prefs["codegen.target"] = "auto"
    include = list(prefs["codegen.cpp.include_dirs"])
    with build(small(), codegen="runtime") as program:
        program.run(1.0)
    with pytest.raises(RuntimeError, match="inside"), brian_session("cpp_standalone"):
        raise RuntimeError("inside")
    assert isinstance(get_device(), RuntimeDevice)
    assert prefs["codegen.target"] == "auto"
    assert prefs["codegen.cpp.include_dirs"] == include


def test_sessions_do_not_nest():
    with (
        brian_session("runtime"),
        pytest.raises(BrianBusyError, match="another `build` or `simulate` is using it"),
        build(small(), codegen="runtime") as program,
    ):
        program.run(1.0)


def test_a_device_that_the_script_has_set_is_not_touched():
    from brian2 import get_device, set_device
    from brian2.devices.device import reset_device

    set_device("cpp_standalone", build_on_run=False)
    try:
        with (
            pytest.raises(BrianBusyError, match="set to CPPStandaloneDevice by your script"),
            brian_session("runtime"),
        ):
            pass
    finally:
        get_device().reinit()
        reset_device()


def test_a_missing_compiler_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CompilerNotFound, match=r'g\+\+ and make not found.*build-essential.*codegen="runtime"'):
        require_compiler()
    with pytest.raises(CompilerNotFound), build(small()):
        pass


def test_a_failing_compiler_shows_its_message_and_the_folder(tmp_path, monkeypatch):
    (tmp_path / "makefile").write_text("main:\n\t@echo 'main.cpp:3: error: no such thing' >&2; exit 1\n")
    monkeypatch.setattr(compiler, "require_compiler", lambda: None)
    with pytest.raises(BuildFailed, match=rf"(?s){tmp_path} failed.*no such thing"):
        compiler.compile_project(tmp_path)


@pytest.mark.slow
@pytest.mark.standalone
def test_cpp_and_python_agree_on_every_spike(compiled):
    with build(everything(), codegen="runtime") as program:
        expected = program.run(150.0, trials=2, warmup=10.0, seed=4)
    assert same(compiled.run(150.0, trials=2, warmup=10.0, seed=4), expected)


@pytest.mark.slow
@pytest.mark.standalone
def test_one_compiled_program_runs_any_time_and_number_of_trials(compiled):
    long, short = compiled.run(200.0, trials=3, seed=1), compiled.run(50.0, trials=2, seed=1)
    rows = np.repeat(np.arange(long.row_size.size), long.row_size.ravel())
    kept = (long.step < 500) & (np.unravel_index(rows, long.row_size.shape)[1] < 2)
    assert np.array_equal(long.step[kept], short.step)


@pytest.mark.slow
@pytest.mark.standalone
def test_spikes_do_not_depend_on_processes_or_replicas(compiled):
    expected = compiled.run(100.0, trials=5, seed=2, processes=1)
    assert same(compiled.run(100.0, trials=5, seed=2, processes=4), expected)
    with build(everything(), replicas=4) as program:
        assert same(program.run(100.0, trials=5, seed=2), expected)


@pytest.mark.slow
@pytest.mark.standalone
def test_noise_of_different_seeds_is_independent(compiled):
    one, other = (compiled.run(50.0, trials=200, seed=seed).row_size[0].astype(float) for seed in (1, 2))
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(one.T, other.T, strict=True) if a.std() and b.std()]
    assert abs(np.mean(correlation)) < 4 / np.sqrt(200 * len(correlation))


@pytest.mark.slow
@pytest.mark.standalone
def test_a_run_leaves_nothing_behind(compiled):
    before = sorted(compiled.folder.iterdir())
    calls = []
    compiled.run(50.0, trials=4, seed=1, processes=2, report=lambda done, total: calls.append((done, total)))
    assert sorted(compiled.folder.iterdir()) == before
    assert calls[-1] == (calls[-1][1],) * 2


@pytest.mark.slow
@pytest.mark.standalone
def test_a_program_that_fails_says_why(compiled, tmp_path):
    circuit, replicas = compiled.circuit, compiled.replicas + 1
    plan = plan_circuit(circuit, dt=0.1, replicas=replicas)
    broken = CompiledProgram(Planned(circuit, plan), compiled.kinds, compiled.folder)
    with pytest.raises(SimulationFailed, match=r"ended with status 1: error: .*is not a plan for this program"):
        broken.run(10.0)
    result = subprocess.run([compiled.folder / "main", "--plans", "x"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "unknown option --plans" in result.stderr
    result = subprocess.run([compiled.folder / "main"], cwd=compiled.folder, capture_output=True, text=True)
    assert "cannot open plan.bin" in result.stderr


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ending_python_stops_the_processes_and_an_interrupt_removes_the_folder(how, tmp_path):
    script = tmp_path / "long.py"
    script.write_text(
        "from mnnbio import *\n"
        "c = Circuit([Population('n', 2000, LIFParameters())], drives=[GaussianDrive('n', mean=1.5, std=0.5)])\n"
        "with build(c) as program:\n"
        "    program.run(1e6, trials=2, report=lambda done, total: print('running', flush=True))\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "running\n"
    assert len(programs_below(tmp_path)) == min(2, compiler.available_cores())
    process.send_signal(how)
    assert process.wait(timeout=20) != 0
    process.stdout.close()
    deadline = time.monotonic() + 10.0
    while programs_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert programs_below(tmp_path) == []
    assert how == signal.SIGKILL or list(tmp_path.glob("mnnbio_*")) == []


@pytest.mark.slow
@pytest.mark.standalone
def test_a_build_that_fails_keeps_its_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BuildFailed, match="building the C\\+\\+ project in") as error, build(small()):
        pass
    (folder,) = tmp_path.glob("mnnbio_*")
    assert str(folder) in str(error.value)
    assert (folder / "main.cpp").exists()


def test_two_threads_cannot_use_brian_at_once():
    failures = []

    def run():
        try:
            with build(small(), codegen="runtime") as program:
                program.run(1.0)
        except BrianBusyError as error:
            failures.append(error)

    with brian_session("runtime"):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert len(failures) == 1


def programs_below(folder: Path) -> list[int]:
    """Process numbers of the programs that run from a folder."""
    time.sleep(0.2)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "exe")).is_relative_to(folder):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def interrupt_once(there):
    """Send Ctrl-C as soon as a condition holds."""

    def send():
        deadline = time.monotonic() + 60.0
        while not there() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send, daemon=True).start()


def interrupt_and_wait():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60.0)


HANGING = "main:\n\tsh -c 'echo $$$$ > started; sleep 600; true'\n"


def test_an_interrupt_ends_the_compiler_and_what_it_has_started(tmp_path, monkeypatch):
    (tmp_path / "makefile").write_text(HANGING)
    monkeypatch.setattr(compiler, "require_compiler", lambda: None)
    interrupt_once(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
    with pytest.raises(KeyboardInterrupt):
        compiler.compile_project(tmp_path)
    started = int((tmp_path / "started").read_text())
    deadline = time.monotonic() + 10.0
    while is_running(started) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(started)


def test_a_compiler_that_hangs_is_ended_and_said(tmp_path, monkeypatch):
    (tmp_path / "makefile").write_text(HANGING)
    monkeypatch.setattr(compiler, "require_compiler", lambda: None)
    monkeypatch.setenv("MNNBIO_COMPILER_TIMEOUT", "1.5")
    with pytest.raises(BuildFailed, match=r"took longer than 1\.5 s and was stopped.*MNNBIO_COMPILER_TIMEOUT"):
        compiler.compile_project(tmp_path)
    for text in ("soon", "0", "-1", "nan"):
        monkeypatch.setenv("MNNBIO_COMPILER_TIMEOUT", text)
        with pytest.raises(ValueError, match=f"MNNBIO_COMPILER_TIMEOUT must be a time > 0 s, got '{text}'"):
            compiler.time_limit()


def test_a_compiler_without_space_is_said_with_the_way_out(tmp_path, monkeypatch):
    text = "cc1plus: fatal error: error writing to cc1.s: No space left on device"
    (tmp_path / "makefile").write_text(f"main:\n\t@echo '{text}' >&2; exit 1\n")
    monkeypatch.setattr(compiler, "require_compiler", lambda: None)
    with pytest.raises(BuildFailed, match=r"No space left[^.]*\nFree some space, or set TMPDIR to a folder"):
        compiler.compile_project(tmp_path)


def test_an_interrupt_ends_a_run_in_python_which_gives_no_result():
    said = []
    with build(small(), codegen="runtime") as program:
        whole = program.run(20.0, seed=1)
        interrupt_once(lambda: said)
        with pytest.raises(KeyboardInterrupt):
            program.run(1e7, seed=1, report=lambda done, total: said.append(done))
        assert np.array_equal(program.run(20.0, seed=1).step, whole.step)  # nothing of it is left
    with pytest.raises(KeyboardInterrupt):  # outside a run as ever
        interrupt_and_wait()


def test_a_run_that_brian_stops_is_no_result():
    from brian2 import stop

    with build(small(), codegen="runtime") as program, pytest.raises(SimulationFailed, match=r"stopped after \d+ of"):
        program.run(1e6, seed=1, report=lambda done, total: stop())


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [True, False])
def test_brian_leaves_interrupts_as_they_were_and_no_files(tmp_path, ignored):
    code = (
        "import os, signal, sys\n"
        "from mnnbio import Circuit, GaussianDrive, LIFParameters, Population, simulate\n"
        "c = Circuit([Population('n', 2, LIFParameters())], drives=[GaussianDrive('n', mean=1.5, std=0.5)])\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "simulate(c, 1.0, seed=1, codegen='runtime')\n"
        "assert before != signal.SIG_IGN or signal.getsignal(signal.SIGINT) == before\n"
        "assert os.listdir(os.environ['TMPDIR']) == []\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "print('not interrupted')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )  # fmt: skip
    assert done.stdout == ("not interrupted\n" if ignored else "")
    assert (done.returncode == 0) == ignored, done.stderr


def is_running(number: int) -> bool:
    """Whether a process runs, and is not just waiting to be forgotten."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
