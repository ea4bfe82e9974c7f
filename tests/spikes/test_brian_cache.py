"""The cache of compiled programs, with scripts in place of programs; nothing is compiled except where marked."""

import contextlib
import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, build
from mnnbio.machine import CacheWarning, FileError
from mnnbio.spikes import building, compiling
from mnnbio.spikes.compiling import BuildFailed, CompilerNotFound, require_compiler
from mnnbio.spikes.program_cache import ProgramCache, cache_size
from mnnbio.spikes.program_files import SimulationFailed
from mnnbio.workflow.cli import main

KEY, OTHER = "a" * 32, "b" * 32
DAY = 86_400.0


def script(path, status=0):
    """A file that stands for a program; it starts with that exit status."""
    path.write_text(f"#!/bin/sh\nexit {status}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cache(tmp_path):
    return ProgramCache(tmp_path / "programs")


@pytest.fixture
def program(tmp_path):
    return script(tmp_path / "program")


def small(weight=0.5):
    return Circuit(
        [PoissonSource("in", 3, rates=[1.0, 2.0, 3.0]), Population("n", 2, LIFParameters())],
        [Projection("in", "n", weights=np.full((2, 3), weight))],
        [GaussianDrive("n", mean=1.0, std=1.0)],
    )


def test_a_program_that_is_kept_can_be_taken_and_started(cache, program, tmp_path):
    taken = tmp_path / "taken"
    assert not cache.take(KEY, taken)
    cache.keep(KEY, program, {"circuit": "a circuit"})
    assert cache.take(KEY, taken)
    assert taken.read_bytes() == program.read_bytes()
    assert subprocess.run([taken]).returncode == 0
    assert not cache.take(OTHER, taken)
    (entry,) = cache.entries()
    assert (entry.key, entry.circuit) == (KEY, "a circuit")
    assert sorted(path.name for path in (cache.folder / KEY).iterdir()) == ["main", "manifest.json"]


def test_who_comes_second_leaves_the_program_that_is_there(cache, program, tmp_path):
    cache.keep(KEY, program, {"circuit": "first"})
    cache.keep(KEY, script(tmp_path / "late", 1), {"circuit": "second"})
    assert [entry.circuit for entry in cache.entries()] == ["first"]
    assert list(cache.folder.glob(".*-*")) == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "main").write_bytes(b""), "its contents have changed"),
        (lambda folder: (folder / "main").unlink(), "it is incomplete"),
        (lambda folder: (folder / "manifest.json").unlink(), "it is incomplete"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "property name"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), "sha256"),
    ],
    ids=["changed", "no program", "no manifest", "broken manifest", "empty manifest"],
)
def test_a_damaged_program_is_noted_and_removed(cache, program, tmp_path, caplog, damage, reason):
    cache.keep(KEY, program, {"circuit": "a circuit"})
    damage(cache.folder / KEY)
    with caplog.at_level(logging.WARNING, "mnnbio"):
        assert not cache.take(KEY, tmp_path / "taken")
    assert "is damaged and is built anew" in caplog.text
    assert reason in caplog.text
    assert list(cache.folder.iterdir()) == []
    assert not (tmp_path / "taken").exists()
    cache.keep(KEY, program, {"circuit": "a circuit"})
    assert cache.take(KEY, tmp_path / "taken")


def test_a_program_that_does_not_start_here_is_not_used(cache, tmp_path, caplog):
    cache.keep(KEY, script(tmp_path / "program", 3), {"circuit": "a circuit"})
    with caplog.at_level(logging.WARNING, "mnnbio"):
        assert not cache.take(KEY, tmp_path / "taken")
    assert "returned non-zero exit status 3" in caplog.text


def test_a_folder_without_programs_does_not_spoil_the_cache(cache, program, tmp_path, monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    cache.keep(KEY, program, {"circuit": "a circuit"})
    monkeypatch.setattr(subprocess, "run", forbidden)
    with pytest.raises(SimulationFailed, match=r"may not be started .* set TMPDIR to a folder from which"):
        cache.take(KEY, tmp_path / "taken")
    assert len(cache.entries()) == 1


def test_the_least_recently_used_programs_go_first(cache, program, tmp_path):
    keys = [f"{k:032x}" for k in range(4)]
    for k, key in enumerate(keys[:3]):
        cache.keep(key, program, {"circuit": key})
        age(cache, key, (3 - k) * DAY)
    assert cache.take(keys[0], tmp_path / "taken")  # from now on the last used
    cache.most_bytes = 3 * cache.entries()[0].size
    cache.keep(keys[3], program, {"circuit": keys[3]})
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[2], keys[3]}
    cache.most_bytes = 1
    cache.keep(keys[1], program, {"circuit": keys[1]})
    assert [entry.key for entry in cache.entries()] == [keys[1]]


def age(cache, key, seconds):
    """Let a program have been used so long ago."""
    then = time.time() - seconds
    for path in (cache.folder / key / "manifest.json", cache.folder / key):
        os.utime(path, (then, then))


def test_clearing_by_age_and_what_interrupted_processes_left(cache, program):
    for key, days in ((KEY, 10), (OTHER, 1)):
        cache.keep(key, program, {"circuit": key})
        age(cache, key, days * DAY)
    left = cache.folder / f".{KEY}-xyz"
    left.mkdir()
    (left / "main").write_bytes(b"half a program")
    assert [entry.key for entry in cache.clear(5 * DAY)] == [KEY]
    assert left.exists()  # somebody may be at it
    os.utime(left, (time.time() - DAY,) * 2)
    assert [entry.key for entry in cache.clear()] == [OTHER]
    assert list(cache.folder.iterdir()) == []


def full(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_nothing_half_written(cache, program, monkeypatch):
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*No space left on device\. Check the folder's .* free space"):
        cache.keep(KEY, program, {"circuit": "a circuit"})
    assert list(cache.folder.iterdir()) == []


def test_a_full_folder_for_temporary_files_costs_no_program(cache, program, tmp_path, monkeypatch):
    cache.keep(KEY, program, {"circuit": "a circuit"})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(FileError, match=r"No space left on device\. .*, or set TMPDIR to another folder"):
            cache.take(KEY, tmp_path / "taken")
    assert cache.take(KEY, tmp_path / "taken")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.EAGAIN])
def test_a_machine_that_cannot_start_anything_costs_no_program(cache, program, tmp_path, monkeypatch, number):
    def forbidden(*_, **__):
        raise OSError(number, os.strerror(number))

    cache.keep(KEY, program, {"circuit": "a circuit"})
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", forbidden)
        with pytest.raises(FileError, match=f"cannot start the program .*{os.strerror(number)}"):
            cache.take(KEY, tmp_path / "taken")
        patch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(subprocess.TimeoutExpired("main", 30)))
        with pytest.raises(SimulationFailed, match="does not start within 30 s"):
            cache.take(KEY, tmp_path / "taken")
    assert cache.take(KEY, tmp_path / "taken")


@pytest.mark.parametrize("place", ["", "programs", f"programs/{KEY}"])
def test_a_cache_that_others_can_write_is_passed_over_and_said(monkeypatch, tmp_path, builds, place, caplog):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path))
    with build(small()):
        pass
    (entry,) = ProgramCache.of_user().entries()
    folder = tmp_path / place.replace(KEY, entry.key)
    folder.chmod(0o777)
    said = pytest.warns(CacheWarning, match=r"can be written by others \(mode 0777\)")
    of_one = place == f"programs/{KEY}"  # it is replaced
    with contextlib.nullcontext() if of_one else said, build(small()):
        pass
    assert len(builds) == 2
    assert not of_one or "can be written by others (mode 0777)" in caplog.text
    if not of_one:
        folder.chmod(0o700)
    with build(small()):
        pass
    assert len(builds) == 2


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_folders_of_the_cache_are_private_whatever_the_umask(tmp_path, program, mask):
    before = os.umask(mask)
    try:
        cache = ProgramCache(tmp_path / "mnnbio" / "programs")
        cache.keep(KEY, program, {"circuit": "a circuit"})
    finally:
        os.umask(before)
    for folder in (cache.folder.parent, cache.folder, cache.folder / KEY):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_pipe_in_place_of_a_lock_does_not_hang(cache):
    cache.folder.mkdir(mode=0o700)
    os.mkfifo(cache.folder / f".lock-{KEY[:2]}")
    with cache.locked(KEY):
        pass


def test_without_a_compiler_a_program_in_the_cache_starts(monkeypatch, tmp_path, builds):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path))
    for options in ("-O2", "-O1"):
        monkeypatch.setenv("CXXFLAGS", options)
        with build(small()):
            pass
    assert len(builds) == 2
    monkeypatch.setenv("CXX", "no-such-compiler")
    with build(small(2.0)) as program:
        assert (program.folder / "main").exists()
    with pytest.raises(CompilerNotFound, match="no-such-compiler"), build(small(), dt=0.2):
        pass
    with pytest.raises(CompilerNotFound, match="no-such-compiler"), build(small(), cache=False):
        pass
    assert len(builds) == 2


def test_a_compiler_that_does_not_answer_is_said(monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nexec sleep 60\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setattr(compiling, "_LONGEST_ANSWER", 0.5)
    with pytest.raises(BuildFailed, match=r"does not answer `.*compiler --version` within 0\.5 s: .* variable CXX"):
        compiling.compiler_version()


def test_clearing_removes_kernels_too(cache, program, tmp_path):
    cache.keep(KEY, program, {"circuit": "a circuit"})
    for name in ("moments-1.so", "moments-1.so.sha256", "building-2.so"):
        (tmp_path / name).touch()
    (tmp_path / "building-3").mkdir()
    (tmp_path / "parts" / KEY).mkdir(parents=True)
    (tmp_path / "mine.txt").touch()
    cache.clear(older_than=60.0)
    assert (tmp_path / "moments-1.so").exists()
    cache.clear()
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "parts", "program", "programs"}
    assert list((tmp_path / "parts").iterdir()) == []


def test_a_lock_makes_others_wait(cache):
    order = []

    def second():
        with cache.locked(KEY):
            order.append("second")

    with cache.locked(KEY):
        thread = threading.Thread(target=second)
        thread.start()
        with cache.locked(OTHER):  # another key does not wait
            time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_process_that_is_killed_while_building_is_in_nobodys_way(cache, program, tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from mnnbio.spikes.program_cache import ProgramCache\n"
        "cache = ProgramCache(Path(sys.argv[1]))\n"
        "with cache.locked(sys.argv[2]):\n"
        "    (cache.folder / f'.{sys.argv[2]}-x').mkdir()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, cache.folder, KEY]).returncode == -signal.SIGKILL
    assert not cache.take(KEY, tmp_path / "taken")
    with cache.locked(KEY):
        cache.keep(KEY, program, {"circuit": "a circuit"})
    assert cache.take(KEY, tmp_path / "taken")


def test_how_large_the_cache_is(monkeypatch):
    for text, size in (("", 10**9), ("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), ("10kB", 10_000), ("77", 77)):
        monkeypatch.setenv("MNNBIO_CACHE_SIZE", text)
        assert cache_size() == size
    monkeypatch.setenv("MNNBIO_CACHE_SIZE", "lots")
    with pytest.raises(
        ValueError, match="MNNBIO_CACHE_SIZE must be a number of bytes or end in kB, MB or GB, got 'lots'"
    ):
        cache_size()


@pytest.fixture
def builds(monkeypatch):
    """Count builds, which make a script instead of a program."""
    made = []

    def make(planned, folder, _):
        require_compiler()
        made.append(planned.circuit)
        folder.mkdir(exist_ok=True)
        script(folder / "main")

    monkeypatch.setattr(building, "_build", make)
    return made


def test_one_structure_is_built_once(monkeypatch, tmp_path, builds):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path))
    for weight in (0.5, 0.0, 3.0):
        with build(small(weight)):
            pass
    assert len(builds) == 1
    with build(small(), dt=0.2):
        pass
    assert len(builds) == 2
    with build(small(), cache=False):
        pass
    with build(small(), build_dir=tmp_path / "own"):
        pass
    assert len(builds) == 4
    assert len(ProgramCache(tmp_path / "programs").entries()) == 2


def test_a_cache_that_cannot_be_written_is_a_warning(monkeypatch, tmp_path, builds):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "file"))
    with (
        pytest.warns(
            CacheWarning, match="cannot be kept in .*built in a temporary folder.*MNNBIO_CACHE_DIR=FOLDER"
        ) as seen,
        build(small()) as program,
    ):
        assert (program.folder / "main").exists()
    assert seen[0].filename == __file__
    assert len(builds) == 1


def test_the_command_shows_and_clears(monkeypatch, tmp_path, capsys, program):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("MNNBIO_CACHE_SIZE", "2GB")
    monkeypatch.setenv("COLUMNS", "120")
    cache = ProgramCache(tmp_path / "programs")
    for key, days in ((KEY, 40), (OTHER, 1)):
        cache.keep(key, program, {"circuit": f"circuit of {days}"})
        age(cache, key, days * DAY + 60)
    assert main(["cache"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{tmp_path}/programs: 2 programs, ")
    assert first.endswith("(at most 2 GB)")
    assert [line.split()[0] for line in lines] == [OTHER[:8], KEY[:8]]
    assert "used 1 day ago" in lines[0]
    assert lines[1].endswith("used 40 days ago   circuit of 40")
    monkeypatch.setenv("COLUMNS", "50")
    assert main(["cache", "show"]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith(" circuit …")
    assert main(["cache", "clear", "--older-than", "30"]) == 0
    assert capsys.readouterr().out.startswith("removed 1 program, ")
    assert [entry.key for entry in cache.entries()] == [OTHER]
    assert main(["cache", "show", "--older-than", "30"]) == 2
    assert "--older-than says what to clear" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["cache", "clear", "--older-than", "soon"])
    assert "must be a number of days ≥ 0, got 'soon'" in capsys.readouterr().err
    assert main(["cache", "clear"]) == 0
    assert cache.entries() == []


SCRIPT = """
import hashlib, sys
import numpy as np
from mnnbio.circuit import Circuit, GaussianDrive, PoissonSource, Population, Projection
from mnnbio.neurons.lif import LIFParameters
from mnnbio.spikes import build
weights = np.random.default_rng(int(sys.argv[1])).uniform(0, 3, (4, 6)) * (np.arange(6) < int(sys.argv[2]))
circuit = Circuit(
    [PoissonSource("in", 6, rates=np.full(6, 0.3)), Population("n", 4, LIFParameters(v_th=15.0 + np.arange(4)))],
    [Projection("in", "n", weights=weights), Projection("n", "n", weights=np.full((4, 4), 0.3), delay=1.0)],
    [GaussianDrive("n", mean=0.5, std=0.4)],
)
with build(circuit, codegen=sys.argv[3]) as program:
    trains = program.run(200.0, trials=2, seed=1)
print(hashlib.sha256(trains.row_size.tobytes() + trains.step.tobytes()).hexdigest(), trains.row_size.sum())
if "once" in sys.argv:
    assert "brian2" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.standalone
def test_processes_that_build_at_once_build_once_and_later_ones_not_at_all(tmp_path):
    environment = os.environ | {"MNNBIO_CACHE_DIR": str(tmp_path)}

    def start(*arguments):
        command = [sys.executable, "-c", SCRIPT, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(process):
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return out

    one, other = (finish(process) for process in [start("0", "6", "cpp_standalone"), start("0", "6", "cpp_standalone")])
    (entry,) = ProgramCache(tmp_path / "programs").entries()
    manifest = json.loads((tmp_path / "programs" / entry.key / "manifest.json").read_text())
    assert entry.circuit == "Circuit(in: 6 Poisson trains, n: 4 LIF neurons; in → n, n → n)"
    assert {"made", "mnnbio", "brian2", "compiler"} < set(manifest)
    assert one == other
    assert int(one.split()[1]) > 50
    # Another process, other weights and fewer synapses: the same program, without Brian2; and Python says the same.
    arguments = ("1", "4")
    assert finish(start(*arguments, "cpp_standalone", "once")) == finish(start(*arguments, "runtime")) != one
    assert [entry.key for entry in ProgramCache(tmp_path / "programs").entries()] == [entry.key]
