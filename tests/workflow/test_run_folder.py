import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mnnbio.machine import FileError
from mnnbio.workflow.fingerprint import fingerprint, of_arrays, of_code, of_file
from mnnbio.workflow.run_folder import RunFolder, RunFolderError, read_json, write_json, write_text


def test_a_second_process_is_kept_out(tmp_path):
    folder = RunFolder(tmp_path / "run")
    code = (
        "import sys; from mnnbio.workflow.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).opened(): print('open', flush=True); sys.stdin.readline()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "open\n"
    with pytest.raises(RunFolderError, match="in use by another mnnbio"), folder.opened():
        pass
    other.kill()  # the lock goes with the process
    other.communicate()
    with folder.opened():
        pass


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunFolderError, match="cannot write to the run folder"), RunFolder(tmp_path / place).opened():
        pass


def test_leftovers_of_a_killed_process_are_swept(tmp_path):
    folder = RunFolder(tmp_path)
    folder.checkpoint.mkdir()
    leftovers = [tmp_path / ".result-x1.part.nc", folder.checkpoint / ".model.safetensors.123"]
    for path in [*leftovers, folder.result]:
        path.write_text("half")
    with folder.opened():
        assert not any(path.exists() for path in leftovers)
        assert folder.result.exists()


def test_the_log_has_the_time_of_every_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.note("one\ntwo")
    folder.note("three")
    lines = folder.log.read_text().splitlines()
    assert [line.split("  ", 1)[1] for line in lines] == ["one", "two", "three"]
    assert all(line[:2] == "20" and line[10] == "T" for line in lines)


def test_json_that_is_missing_or_broken_is_empty(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) == {}
    for text in ("", "{", "[1]"):
        path.write_text(text)
        assert read_json(path) == {}
    write_json(path, {"key": "ü"})
    assert read_json(path) == json.loads(path.read_text()) == {"key": "ü"}


def test_text_that_cannot_be_written_leaves_the_old(tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    write_text(path, "old")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(FileError, match="No space left"):
        write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["config.yaml"]
    assert path.read_text() == "old"


def test_fingerprints_tell_contents_apart(tmp_path):
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})
    x = np.arange(6.0)
    assert of_arrays(x) == of_arrays(x.copy())
    assert len({of_arrays(x), of_arrays(x.reshape(2, 3)), of_arrays(x.astype("f4")), of_arrays(x + 1)}) == 4
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = of_file(path)
    path.write_bytes(b"two")
    assert of_file(path) != first


def test_code_has_a_fingerprint_of_every_file():
    assert of_code("mnnbio.workflow") != of_code("mnnbio.neurons.lif")
    assert of_code("mnnbio.workflow", "mnnbio.neurons.lif") == of_code("mnnbio.workflow", "mnnbio.neurons.lif")
    with pytest.raises(ModuleNotFoundError, match=r"mnnbio\.nowhere"):
        of_code("mnnbio.nowhere")
