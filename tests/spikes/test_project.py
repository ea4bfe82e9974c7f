import json
import shutil
import subprocess

import numpy as np
import pytest
import xarray as xr

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection, Readout, simulate
from mnnbio.spikes.cpp_project import ProjectError, read_project, write_project
from mnnbio.spikes.program_files import SimulationFailed


def circuit():
    return Circuit(
        [PoissonSource("in", 3, rates=np.full((2, 3), 0.4)), Population("n", 2, LIFParameters(t_ref=1.0))],
        [Projection("in", "n", weights=np.full((2, 3), 2.0))],
        [GaussianDrive("n", mean=[[0.5, 0.7], [0.9, 1.1]], std=0.5)],
        readout=Readout("n", [[1.0, -1.0]], [0.0]),
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project") / "network"
    return write_project(circuit(), folder, duration=200, trials=3, warmup=10, seed=5, window=50)


def test_a_project_is_complete_and_knows_no_path_of_this_machine(project, tmp_path):
    manifest = json.loads((project / "manifest.json").read_text())
    assert (manifest["seed"], manifest["trials"], manifest["dt"]) == (5, 3, 0.1)
    assert "make && ./main" in (project / "README.txt").read_text()
    assert "-I/" not in (project / "makefile").read_text().replace('"', "")
    assert [path.name for path in project.parent.iterdir()] == ["network"]


def test_reading_before_running_says_so(project):
    with pytest.raises(SimulationFailed, match="the program has not run"):
        read_project(project)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ProjectError, match="is not empty"):
        write_project(circuit(), tmp_path, duration=10)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("options", [{"duration": 10.05}, {"duration": 10, "dt": 5.0}, {"duration": 10, "window": 20}])
def test_wrong_arguments_leave_no_folder(options, tmp_path):
    with pytest.raises(ValueError, match="must"):
        write_project(circuit(), tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "{", '{"format": "other"}', "{}", '{"format": "mnnbio C++ project 2"}'])
def test_folders_of_something_else_are_errors(content, tmp_path):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ProjectError, match=r"does not hold a C\+\+ project|of format 'other'"):
        read_project(tmp_path)


@pytest.mark.slow
@pytest.mark.standalone
def test_a_project_builds_with_make_runs_without_python_and_gives_the_same_result(project, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(project, folder)
    subprocess.run(["make", "-j2"], cwd=folder, check=True, capture_output=True)
    said = subprocess.run(["./main"], cwd=folder, check=True, capture_output=True, text=True, env={})
    assert "spikes are in spikes.bin" in said.stdout
    read = read_project(folder)
    direct = simulate(circuit(), 200, trials=3, warmup=10, seed=5, window=50, codegen="runtime")
    for group in ("spikes", "simulation"):
        xr.testing.assert_identical(read[group].to_dataset(), direct[group].to_dataset())
    assert {**read.attrs, "codegen": "runtime"} == direct.attrs
    complete = (folder / "spikes.bin").read_bytes()
    (folder / "spikes.bin").write_bytes(complete[:-4])
    with pytest.raises(SimulationFailed, match="incomplete"):
        read_project(folder)
    (folder / "spikes.bin").write_bytes(complete + b"more")
    with pytest.raises(SimulationFailed, match="of another run"):
        read_project(folder)
