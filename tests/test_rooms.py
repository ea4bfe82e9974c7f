"""Which part of the package may import which, and that importing the package is cheap."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = {"mnnbio.analyses": ROOT / "analyses", "mnnbio.circuits": ROOT / "circuits", "mnnbio": ROOT / "mnnbio"}

# Modules that make up a room under another name.
PARTS = {"commands": "cli", "simulation": "simulate", "theory": "predict"}
EVERYTHING = {
    "analyses", "brian", "circuit", "circuits", "cli", "export", "lif", "moments", "nn", "predict", "results", "run",
    "simulate", "sweep", "training",
}  # fmt: skip
MAY_IMPORT = {
    "lif": set(),
    "machine": set(),
    "circuit": {"lif"},
    "moments": {"lif", "machine"},
    "nn": {"lif", "moments"},
    "training": {"lif", "nn"},
    "export": {"circuit", "lif", "nn"},
    "predict": {"circuit", "lif", "moments", "results"},
    "brian": {"circuit", "lif", "machine"},
    "simulate": {"brian", "circuit", "lif", "results"},
    "results": set(),
    "circuits": {"circuit", "lif", "predict"},
    "analyses": {"results"},
    "run": EVERYTHING - {"cli", "sweep"},
    "sweep": EVERYTHING - {"cli"},
    "cli": EVERYTHING,
}
# Heavy or optional packages, and the rooms that may use them. Units at the boundary need Brian2 in `lif`.
HOMES = {
    "brian2": {"brian", "lif"},
    "torch": {"export", "moments", "nn", "predict", "training"},
    "safetensors": {"training"},
    "sklearn": {"training"},
    "pandas": {"training"},
    "xarray": {"analyses", "predict", "results", "run", "simulate", "sweep"},
    "netCDF4": {"results"},
    "matplotlib": {"analyses", "circuit"},
    "jinja2": {"analyses"},
    "yaml": {"run", "sweep"},
    "dask": {"simulate", "sweep"},
    "distributed": {"simulate", "sweep"},
}


def sources() -> Iterator[tuple[str, Path]]:
    """Yield every module's name and file."""
    for package, folder in PLACES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(parts).removesuffix(".__init__"), path


def room(module: str) -> str | None:
    """Return the room of a module of the package, None for the package itself."""
    parts = module.split(".")
    return PARTS.get(parts[1], parts[1]) if len(parts) > 1 else None


def imports(module: str, path: Path) -> Iterator[str]:
    """Yield the full names of all modules that a file imports, inside functions too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parent, *filter(None, [node.module])])
            yield from (f"mnnbio.{alias.name}" for alias in node.names) if base == "mnnbio" else [base]


MODULES = dict(sources())


def test_every_module_belongs_to_a_room():
    assert {room(module) for module in MODULES} - {None} <= set(MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    own = room(module)
    if own is None:
        return
    for name in imports(module, MODULES[module]):
        if name.split(".")[0] == "mnnbio":
            other = room(name)
            assert other == own or other in MAY_IMPORT[own], f"{module} (room {own}) may not import {name}"
        home = HOMES.get(name.split(".")[0])
        assert home is None or own in home, f"{module} (room {own}) may not import {name}"


def test_a_forbidden_import_would_be_found(tmp_path):
    path = tmp_path / "schema.py"
    path.write_text(
        "def f():\n    from .. import nn\n    import torch\n    from ..moments import x\n    from mnnbio import predict\n"
    )
    assert list(imports("mnnbio.results.schema", path)) == ["mnnbio.nn", "torch", "mnnbio.moments", "mnnbio.predict"]


def test_setup_lists_every_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert set(setup["options"]["packages"].split()) == packages


def test_setup_includes_every_data_file():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    patterns = {package: setting.split() for package, setting in setup["options.package_data"].items()}
    for package, folder in PLACES.items():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                owner = ".".join([package, *path.relative_to(folder).parts[:-1]])
                assert any(path.match(pattern) for pattern in patterns.get(owner, [])), f"{path} is not installed"


@pytest.mark.parametrize("module", ["mnnbio", "mnnbio.cli", "mnnbio.circuit"])
def test_importing_is_light(module):
    heavy = ["torch", "brian2", "xarray", "sklearn", "matplotlib", "pandas"]
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_analyses_needs_neither_torch_nor_brian2():
    code = "import mnnbio.analyses, mnnbio.results, sys; print([n for n in ('torch', 'brian2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
