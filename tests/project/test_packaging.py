"""Archives hold what they need, an installed wheel works from anywhere, and type checkers see all of the package."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mnnbio

ROOT = Path(__file__).parents[2]
# What a checkout has and an archive is made from.
PARTS = (
    *("mnnbio", "analyses", "circuits", "tests", "docs", "notebooks", "benchmarks", ".editable", ".ci", ".github"),
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"),
    *("CONTRIBUTING.md", "Makefile", "constraints.txt", "mkdocs.yml"),
)
USER = """
import mnnbio
from mnnbio.analyses import compare
from mnnbio.circuits import brunel

circuit: mnnbio.Circuit = brunel(g=5)
rate: int = brunel(g=5)
version: int = mnnbio.__version__
reveal_type(compare)
"""


BUILD = """
import os, sys
from setuptools import build_meta
_, kind, source, out = sys.argv  # the builder takes sys.argv for itself
os.chdir(source)
getattr(build_meta, kind)(out)
"""


def build(kind, source, out):
    done = subprocess.run([sys.executable, "-c", BUILD, kind, source, out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A source archive built from a copy of this folder, and a wheel built from the archive."""
    folder = tmp_path_factory.mktemp("archives")
    source, out = folder / "source", folder / "out"
    source.mkdir()
    out.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in PARTS:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, source / name, symlinks=True, ignore=ignore)
        elif place.exists():
            shutil.copy(place, source / name)
    build("build_sdist", source, out)
    archive = next(out.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked", filter="data")
    build("build_wheel", next((folder / "unpacked").iterdir()), out)
    return source, next(out.glob("*.whl")), archive


def modules(folder):
    return {
        path for path in folder.rglob("*") if path.suffix in (".py", ".pyi", ".typed", ".h", ".cpp", ".npz", ".html")
    }


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(archives):
    source, wheel, _ = archives
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {f"mnnbio/{path.relative_to(source / 'mnnbio')}" for path in modules(source / "mnnbio")}
    for folder in ("analyses", "circuits"):
        expected |= {f"mnnbio/{folder}/{path.relative_to(source / folder)}" for path in modules(source / folder)}
    assert names == expected


@pytest.mark.slow
def test_the_source_archive_can_run_its_tests(archives):
    source, _, archive = archives
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for folder in ("mnnbio", "analyses", "circuits", "tests", "docs", "notebooks", "benchmarks", ".github", ".ci"):
        for path in (source / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(source)) in names, path
    assert {"Makefile", "constraints.txt", "mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "setup.cfg"} <= names


@pytest.mark.slow
def test_a_wheel_works_and_is_typed_from_anywhere(archives, tmp_path):
    _, wheel, _ = archives
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    (tmp_path / "user.py").write_text(USER)
    code = "import mnnbio.analyses, mnnbio.circuits; print(mnnbio.analyses.__file__, mnnbio.circuits.brunel().describe()[:2])"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tmp_path / "installed"))


@pytest.mark.slow
def test_type_checkers_see_an_editable_installation(tmp_path):
    (tmp_path / "user.py").write_text(USER)
    large = ("torch", "scipy", "pandas", "xarray", "dask", "numpy", "matplotlib")  # reading them takes most of the time
    skipped = "".join(f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in large)
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nignore_missing_imports = true\n{skipped}")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = [line.split("user.py:")[1] for line in done.stdout.splitlines() if line.startswith("user.py:")]
    assert [int(line.split(":")[0]) for line in lines] == [7, 8, 9]
    assert '"Circuit", variable has type "int"' in lines[0]
    assert '"str", variable has type "int"' in lines[1]
    assert 'Revealed type is "def (prediction' in lines[2]


def test_the_version_is_that_of_the_distribution():
    assert mnnbio.__version__ == importlib.metadata.version("mnnbio")
    assert "__version__" not in dir(mnnbio)  # which lists what is to be used
    setup, cite = (ROOT / "setup.cfg").read_text(), (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert (
        re.search(r"^version = (.*)$", setup, re.MULTILINE)[1] == re.search(r"^version: (.*)$", cite, re.MULTILINE)[1]
    )


def test_a_name_that_is_not_there_is_an_error_that_names_it():
    with pytest.raises(AttributeError, match="nowhere"):
        mnnbio.nowhere()


def test_every_warning_can_be_filtered_by_its_public_name():
    files = [path for room in ("mnnbio", "analyses", "circuits") for path in (ROOT / room).rglob("*.py")]
    warnings = [
        name for path in files for name in re.findall(r"^class (\w+)\(UserWarning\)", path.read_text(), re.MULTILINE)
    ]
    assert len(warnings) > 10
    for name in warnings:
        assert hasattr(mnnbio, name), f"name {name} in mnnbio/__init__.pyi, from the door of its room"
        assert issubclass(getattr(mnnbio, name), UserWarning)


def test_every_dependency_is_pinned():
    import configparser

    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = [setup["options"]["install_requires"], setup["options.extras_require"]["docs"]]
    listed += [setup["options.extras_require"]["test"], setup["options.extras_require"]["lint"]]
    needed = {
        re.split(r"[\s<>=\[;]", line)[0].lower().replace("_", "-")
        for text in listed
        for line in text.split("\n")
        if line
    }
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"^([\w-]+)==", pins, re.MULTILINE)}
    assert needed - pinned - {"mnnbio", "types-pyyaml", "types-tqdm"} == set()


def test_the_workflow_covers_the_pythons_that_are_promised():
    setup = (ROOT / "setup.cfg").read_text()
    promised = re.findall(r"Python :: (3\.\d+)", setup)
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert re.findall(r'"(3\.\d+)"', workflow) == promised
    targets = re.findall(r"^make (\w+)", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
