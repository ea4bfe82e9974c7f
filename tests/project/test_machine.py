"""What the machine gives every room: private folders, files written as a whole, locks, free memory, compilers."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mnnbio import machine
from mnnbio.machine import (
    FileError,
    NotEnoughMemory,
    UnsafeFolder,
    cache_folder,
    check_choice,
    file_error,
    folder_written_aside,
    free_memory,
    locked,
    private_folder,
    require_integer,
    require_memory,
    run_tool,
    written_aside,
)

ROOT = os.geteuid() == 0


def test_where_compiled_code_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MNNBIO_CACHE_DIR", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("MNNBIO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "mnnbio"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the specification
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "mnnbio"


@contextlib.contextmanager
def umask(mask):
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
def test_private_folders_are_private_whatever_the_umask(tmp_path, mask):
    with umask(mask):
        folder = private_folder(tmp_path / "cache")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert private_folder(folder) == folder


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_refused(tmp_path, mode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    with pytest.raises(UnsafeFolder, match=rf"cache can be written by others \(mode {mode:04o}\).*chmod go-w"):
        private_folder(tmp_path / "cache")


@pytest.mark.skipif(not ROOT, reason="only root can give folders away")
def test_a_folder_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "cache").mkdir(mode=0o755)
    os.chown(tmp_path / "cache", 12345, 12345)
    with pytest.raises(UnsafeFolder, match=r"belongs to another user \(number 12345\).* Set MNNBIO_CACHE_DIR"):
        private_folder(tmp_path / "cache")


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(FileError, match=r"cannot make the folder .*file.*Check the folder's permissions"):
            private_folder(path)


def fail_after_writing(path):
    path.write_text("half")
    raise ZeroDivisionError


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "text.txt"
    with umask(0o027), written_aside(path) as aside:
        assert aside.parent == path.parent
        aside.write_text("old")
    assert path.stat().st_mode & 0o777 == 0o640  # as any new file
    with pytest.raises(ZeroDivisionError), written_aside(path) as aside:
        fail_after_writing(aside)
    full = FileError, r"cannot write .*text.txt: No space left on device\. .*free space; what was there .* unchanged"
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(full[0], match=full[1]) as error, written_aside(path) as aside:
        aside.write_text("new")
    assert error.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == ["text.txt"]


def test_a_folder_is_put_in_place_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "folder"
    with pytest.raises(ZeroDivisionError), folder_written_aside(path) as aside:
        fail_after_writing(aside / "text.txt")
    assert os.listdir(path.parent) == []
    with folder_written_aside(path) as aside:
        (aside / "text.txt").write_text("whole")
    with pytest.raises(FileError, match=r"cannot write .*folder"), folder_written_aside(path) as aside:
        (aside / "text.txt").write_text("second")
    assert (path / "text.txt").read_text() == "whole"
    assert os.listdir(path.parent) == ["folder"]


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EMFILE, "ulimit -n 1024"), (errno.ENAMETOOLONG, "shorter name"), (errno.EACCES, "permissions and free")],
)
def test_errors_of_the_system_come_with_a_remedy(number, remedy):
    error = file_error("cannot write a.txt", OSError(number, os.strerror(number)))
    assert str(error).startswith(f"cannot write a.txt: {os.strerror(number)}. ")
    assert remedy in str(error)
    assert error.errno == number


def test_a_name_that_is_too_long_is_said(tmp_path):
    with (
        pytest.raises(FileError, match=r"File name too long\. Choose a shorter name"),
        written_aside(tmp_path / ("x" * 300) / "a.nc"),
    ):
        pass


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with locked(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
        with pytest.raises(BlockingIOError), locked(tmp_path / "lock", wait=False):
            pass
    with locked(tmp_path / "lock", wait=False):
        pass


def test_locks_neither_follow_links_nor_wait_for_pipes(tmp_path):
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OSError, match=name), locked(tmp_path / name):
            pass


def test_too_little_memory_is_said_with_sizes_and_a_remedy(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 2e9)
    require_memory(1.9e9, "the synapses", "Take fewer")
    with pytest.raises(NotEnoughMemory, match=r"the synapses take 3 GB of memory, 2 GB are free\. Take fewer"):
        require_memory(3e9, "the synapses", "Take fewer")
    monkeypatch.setattr(machine, "free_memory", lambda: None)
    require_memory(1e30, "the synapses", "Take fewer")


def test_free_memory_is_that_of_the_machine_or_of_the_group(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    whole = free_memory()
    assert whole is None or 0 < whole < 1e15
    for name, text in (("max", "3000000"), ("current", "1500000"), ("stat", "anon 7\ninactive_file 500000\n")):
        (tmp_path / f"memory.{name}").write_text(text)
    assert free_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == pytest.approx(whole, rel=0.9)
    (tmp_path / "memory").mkdir()  # version 1
    for name, number in (("limit_in_bytes", 5_000_000), ("usage_in_bytes", 1_000_000)):
        (tmp_path / "memory" / f"memory.{name}").write_text(str(number))
    assert free_memory() == 4_000_000


def test_free_memory_keeps_to_the_limit_of_addresses():
    code = "from mnnbio.machine import free_memory; print(free_memory())"
    limit = 2 * 10**9
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )  # fmt: skip
    assert 0 < float(done.stdout) < limit


def test_tools_run_in_their_folder_and_keep_their_temporary_files_there(tmp_path):
    done = run_tool(["sh", "-c", 'pwd; echo "$TMPDIR"; echo no >&2; exit 3'], tmp_path, time_limit=10)
    where, temporary = done.stdout.splitlines()
    assert (done.returncode, where, done.stderr) == (3, str(tmp_path), "no\n")
    assert Path(temporary).parent == tmp_path
    assert os.listdir(tmp_path) == []


def gone(pid, within=10.0):
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading
            return True
        time.sleep(0.05)
    return False


def written(path, within=10.0):
    end = time.monotonic() + within
    while time.monotonic() < end and not (path.exists() and path.read_text().endswith("\n")):
        time.sleep(0.02)
    return int(path.read_text())


# As make, which starts compilers that start others.
HANGING = ["sh", "-c", "sh -c 'echo $$ > started; sleep 600; true'; true"]


def test_a_tool_that_hangs_is_ended_with_what_it_has_started(tmp_path):
    with pytest.raises(subprocess.TimeoutExpired):
        run_tool(HANGING, tmp_path, time_limit=1.0)
    assert gone(written(tmp_path / "started"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_tool_does_not_outlive_us_however_we_end(tmp_path, how):
    code = f"from mnnbio.machine import run_tool; from pathlib import Path; run_tool({HANGING!r}, Path({str(tmp_path)!r}), time_limit=600)"
    with subprocess.Popen([sys.executable, "-c", code]) as ours:
        started = written(tmp_path / "started")
        assert not gone(started, within=0.2)
        ours.send_signal(how)
        ours.wait()
    assert gone(started)


@pytest.mark.parametrize("value", ["c", None, 1, ["a"], np.zeros(3)])
def test_unknown_choices_are_listed(value):
    check_choice("kind", "a", ("a", "b"))
    with pytest.raises(ValueError, match=r"Invalid value .* for `kind`\. Must be one of \['a', 'b'\]"):
        check_choice("kind", value, ("a", "b"))


@pytest.mark.parametrize("value", [0, 11, 1.0, "2", True, None, np.float64(3.0)])
def test_integers_are_checked(value):
    for fine in (1, 10, np.int64(5)):
        require_integer("trials", fine, 1, 10)
    with pytest.raises(ValueError, match=r"`trials` must be an integer ≥ 1 and ≤ 10, got"):
        require_integer("trials", value, 1, 10)
