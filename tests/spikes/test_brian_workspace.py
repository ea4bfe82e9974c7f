"""Folders of programs: kept, removed, or removed by a later process."""

import os
import subprocess
import sys
import tempfile

import pytest

from mnnbio.machine import FileError
from mnnbio.spikes.compiling import BuildFailed, remove_abandoned, work_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_temporary_folder_goes_at_the_end(temporary):
    with work_folder(None) as folder:
        assert folder.parent == temporary
        (folder / "main").write_text("")
        remove_abandoned()  # as another process would
        assert (folder / "main").exists()
    with pytest.raises(KeyboardInterrupt), work_folder(None):
        raise KeyboardInterrupt
    assert list(temporary.iterdir()) == []


def test_a_folder_of_ones_own_stays(temporary):
    own = temporary / "own"
    own.mkdir()
    with work_folder(own) as folder:
        (folder / "main").write_text("")
    assert [path.name for path in own.iterdir()] == ["main"]


def test_a_failed_build_keeps_its_folder(temporary):
    def build(folder):
        (folder / "main.cpp").write_text("")
        raise BuildFailed("no")

    with pytest.raises(BuildFailed), work_folder(None) as folder:
        build(folder)
    remove_abandoned()
    assert [path.name for path in folder.iterdir()] == ["main.cpp"]


def test_what_a_killed_process_left_is_removed_by_the_next(temporary):
    code = (
        "import os, signal; from mnnbio.spikes.compiling import work_folder\n"
        "with work_folder(None) as folder: os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {"TMPDIR": str(temporary), "PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == -9
    assert len(list(temporary.iterdir())) == 1
    other = temporary / "mnnbio_other"
    other.mkdir()  # not known to be abandoned
    with work_folder(None) as folder:
        assert set(temporary.iterdir()) == {folder, other}


@pytest.mark.parametrize("what", ["pipe", "link"])
def test_what_others_put_in_the_way_is_passed_over(temporary, what):
    """In a folder for temporary files that all users share, a pipe as a lock would hang every run."""
    precious = temporary / "precious"
    precious.touch()
    (temporary / "mnnbio_x").mkdir()
    lock = temporary / "mnnbio_x" / ".in-use"
    os.mkfifo(lock) if what == "pipe" else lock.symlink_to(precious)
    with work_folder(None):
        pass
    assert {path.name for path in temporary.iterdir()} == {"precious", "mnnbio_x"}


def test_a_folder_for_temporary_files_that_cannot_be_written_is_said(temporary, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(FileError, match=r"No space left on device\. .*, or set TMPDIR to another"), work_folder(None):
        pass
