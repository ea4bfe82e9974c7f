"""Parts that programs have in common: kept by what they depend on; a makefile that copies stands for a compiler."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, build
from mnnbio.machine import cache_folder
from mnnbio.spikes import common_parts, compiling
from mnnbio.spikes.common_parts import compile_with_parts
from mnnbio.spikes.compiling import BuildFailed, compile_project

GCC, CLANG = "g++ 12.2", "Apple clang version 15"
PARTS = ["network.o", "prelude.h.gch", "presentations.o", "synapses_classes.o"]
MAKEFILE = """SRCS = {circuit}
OPTIMISATIONS = {options}
main: main.o presentations.o network.o synapses_classes.o
\tcat prelude.h.gch $^ > main
main.o presentations.o network.o synapses_classes.o: prelude.h.gch
prelude.h.gch: prelude.h
%.h.gch: %.h
\techo $@ >> built; cp $< $@
%.o: %.cpp
\techo $@ >> built; cp $< $@
"""


@pytest.fixture(autouse=True)
def no_compiler_needed(monkeypatch):
    monkeypatch.setattr(compiling, "require_compiler", lambda: None)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "a cache" / "parts"


@pytest.fixture
def project(tmp_path):
    """Write a project whose program is the texts of its files, in the order in which they are linked."""

    def write(circuit, options="-O3", network="network;"):
        folder = tmp_path / f"project {len(list(tmp_path.iterdir()))}"
        (folder / "brianlib").mkdir(parents=True)
        texts = {"prelude.h": "prelude;", "main.cpp": f"{circuit};", "presentations.cpp": "loop;"}
        texts |= {"network.cpp": network, "synapses_classes.cpp": "", "objects.h": circuit, "brianlib/clocks.h": ""}
        texts["makefile"] = MAKEFILE.format(circuit=circuit, options=options)
        for name, text in texts.items():
            (folder / name).write_text(text)
        return folder

    return write


def built(folder):
    """What was built in a project, and what its program is."""
    log = folder / "built"
    return sorted(log.read_text().split()) if log.exists() else [], (folder / "main").read_text()


def test_parts_are_built_by_the_first_project_alone(project, cache):
    first, second = project("one"), project("two")
    for folder in (first, second):
        compile_with_parts(folder, GCC, cache)
    assert built(first) == (sorted(["main.o", *PARTS]), "prelude;one;loop;network;")
    assert built(second) == (["main.o"], "prelude;two;loop;network;")
    (kept,) = (folder for folder in cache.iterdir() if folder.is_dir())
    assert sorted(path.name for path in kept.iterdir()) == sorted(["manifest.json", *PARTS])
    for folder in (cache, kept):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_project_is_independent_of_the_cache_afterwards(project, cache):
    compile_with_parts(project("one"), GCC, cache)
    folder = project("two")
    compile_with_parts(folder, GCC, cache)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    (folder / "prelude.h").write_text("another;")
    compile_project(folder)
    assert (folder / "main").read_text() == "another;two;loop;network;"
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changed", "compiler", "variables"),
    [
        ({"options": "-O2"}, GCC, {}),
        ({"network": "faster;"}, GCC, {}),
        ({}, "g++ 13.1", {}),
        ({}, GCC, {"CXX": "g++ -m32"}),
        ({}, GCC, {"CXXFLAGS": "-g"}),
        ({}, GCC, {"MAKEFLAGS": "-e"}),
    ],
    ids=["flags", "sources", "compiler", "CXX", "CXXFLAGS", "MAKEFLAGS"],
)
def test_whatever_parts_depend_on_has_them_built_anew(project, cache, monkeypatch, changed, compiler, variables):
    compile_with_parts(project("one"), GCC, cache)
    other = project("two", **changed)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    compile_with_parts(other, compiler, cache)
    assert built(other)[0] == sorted(["main.o", *PARTS])
    assert built(other)[1] == f"prelude;two;loop;{changed.get('network', 'network;')}"


def test_another_processor_has_parts_built_anew(project, cache, monkeypatch):
    compile_with_parts(project("one"), GCC, cache)
    monkeypatch.setattr(common_parts, "processor", lambda: "with other instructions")
    other = project("two")
    compile_with_parts(other, GCC, cache)
    assert "presentations.o" in built(other)[0]


def test_clang_compiles_headers_in_every_project(project, cache):
    first, second = project("one"), project("two")
    for folder in (first, second):
        compile_with_parts(folder, CLANG, cache)
    assert built(second) == (["main.o", "prelude.h.gch"], "prelude;two;loop;network;")


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: (kept / "network.o").write_text("half"),
        lambda kept: (kept / "prelude.h.gch").write_text(""),
        lambda kept: (kept / "presentations.o").unlink(),
        lambda kept: (kept / "manifest.json").unlink(),
        lambda kept: (kept / "manifest.json").write_text("[]"),
        lambda kept: (kept / "manifest.json").write_text("{}"),
    ],
    ids=["changed object", "empty headers", "no object", "no manifest", "broken manifest", "empty manifest"],
)
def test_damaged_parts_are_noted_and_built_anew(project, cache, caplog, damage):
    compile_with_parts(project("one"), GCC, cache)
    (kept,) = (folder for folder in cache.iterdir() if folder.is_dir())
    damage(kept)
    second, third = project("two"), project("three")
    with caplog.at_level(logging.WARNING, "mnnbio"):
        compile_with_parts(second, GCC, cache)
    assert "are damaged and are built anew" in caplog.text
    assert built(second) == (sorted(["main.o", *PARTS]), "prelude;two;loop;network;")
    compile_with_parts(third, GCC, cache)
    assert built(third) == (["main.o"], "prelude;three;loop;network;")


def test_projects_that_build_at_once_build_the_parts_once(project, cache):
    projects = [project(f"number {k}") for k in range(4)]
    threads = [threading.Thread(target=compile_with_parts, args=(folder, GCC, cache)) for folder in projects]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(built(folder)[0]) for folder in projects) == [1, 1, 1, 1 + len(PARTS)]
    assert [built(folder)[1] for folder in projects] == [f"prelude;number {k};loop;network;" for k in range(4)]


def test_a_process_that_is_killed_while_it_builds_parts_is_in_nobodys_way(project, cache):
    folder = project("one")
    (folder / "makefile").write_text((folder / "makefile").read_text().replace("cp $< $@", "sleep 600"))
    code = (
        "import sys; from pathlib import Path; from mnnbio.spikes import compiling, common_parts\n"
        "compiling.require_compiler = lambda: None\n"
        "common_parts.compile_with_parts(Path(sys.argv[1]), 'g++ 12.2', Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder, cache]) as process:
        while not (folder / "built").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    other = project("two")
    compile_with_parts(other, GCC, cache)
    assert built(other)[1] == "prelude;two;loop;network;"


def test_a_compiler_that_fails_leaves_no_parts(project, cache):
    folder = project("one")
    (folder / "makefile").write_text(
        (folder / "makefile").read_text().replace("cp $< $@", "echo error: no >&2; exit 1")
    )
    with pytest.raises(BuildFailed, match="the compiler says:\nerror: no"):
        compile_with_parts(folder, GCC, cache)
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_where_nothing_can_be_kept_every_project_builds_its_parts(project, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    in_the_way = project("one")
    compile_with_parts(in_the_way, GCC, tmp_path / "file" / "parts")
    assert built(in_the_way)[1] == "prelude;one;loop;network;"
    others = tmp_path / "others"
    (others / "parts").mkdir(parents=True)
    others.chmod(0o777)  # what is there may be anybody's
    public = project("two")
    compile_with_parts(public, GCC, others / "parts")
    assert built(public)[1] == "prelude;two;loop;network;"
    assert list((others / "parts").iterdir()) == []


def test_a_full_disk_keeps_nothing(project, cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    folder = project("one")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        compile_with_parts(folder, GCC, cache)
    assert built(folder)[1] == "prelude;one;loop;network;"
    assert [path for path in cache.iterdir() if path.is_dir()] == []


def test_the_four_last_used_parts_are_kept(project, cache):
    for k in range(6):
        compile_with_parts(project("one", options=f"-D{k}"), GCC, cache)
        for age, folder in enumerate(sorted(cache.iterdir(), key=lambda path: -path.stat().st_mtime)):
            os.utime(folder, (time.time() - 60 * (age + 1),) * 2)
        if k == 3:
            compile_with_parts(project("two", options="-D0"), GCC, cache)  # used again
    assert len([folder for folder in cache.iterdir() if folder.is_dir()]) == 4
    again = project("three", options="-D0")
    compile_with_parts(again, GCC, cache)
    assert built(again)[0] == ["main.o"]


def circuit():
    size = 3
    return Circuit(
        [PoissonSource("in", 3, rates=[0.2, 0.4, 0.6]), Population("n", size, LIFParameters(v_th=12.0))],
        [
            Projection("in", "n", weights=np.arange(3.0 * size).reshape(size, 3) / size),
            Projection("n", "n", weights=np.full((size, size), 0.3), delay=1.5),
        ],
        [GaussianDrive("n", mean=0.5, std=0.4)],
    )


@pytest.mark.slow
@pytest.mark.standalone
def test_a_program_with_kept_parts_gives_the_spikes_of_one_without():
    loops, spikes = [], []
    for cached in (True, False):
        with build(circuit(), cache=cached) as program:
            loops.append((program.folder / "presentations.o").read_bytes())
            run = program.run(200.0, trials=2, seed=1)
            spikes.append((run.row_size.tolist(), run.step.tolist()))
    assert loops[0] in [path.read_bytes() for path in cache_folder().glob("parts/*/presentations.o")]
    assert loops[0] == loops[1]
    assert spikes[0] == spikes[1]
    assert len(spikes[0][1]) > 20
