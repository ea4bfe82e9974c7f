"""Which part of the package may import which, and that importing the package is cheap."""

import ast
import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLACES = {"mnnbio.analyses": ROOT / "analyses", "mnnbio.circuits": ROOT / "circuits", "mnnbio": ROOT / "mnnbio"}

# What every room may import, as in the design; units, values and machine are open to all.
OPEN = {"units", "values", "machine"}
MAY_IMPORT: dict[str, set[str]] = {
    "units": set(),
    "values": set(),
    "machine": set(),
    "neurons": set(),
    "synapses": set(),
    "circuit": {"neurons", "synapses"},
    "moments": {"neurons"},
    "theory": {"circuit", "neurons", "synapses", "moments", "results"},
    "spikes": {"circuit", "neurons", "synapses", "results"},
    "formats": {"circuit", "neurons", "synapses", "spikes", "results"},
    "nn": {"neurons", "moments"},
    "training": {"neurons", "nn"},
    "exporting": {"nn", "training", "circuit", "neurons", "synapses"},
    "results": set(),
    "circuits": {"circuit", "neurons", "synapses", "theory"},
    "analyses": {"results"},
    "validation": {"circuit", "neurons", "synapses", "theory", "moments", "nn", "spikes", "results", "analyses"},
    "learning": {"circuit", "neurons", "synapses", "theory", "spikes", "training", "results", "analyses"},
}
MAY_IMPORT["workflow"] = set(MAY_IMPORT)
# Heavy or optional packages, and the rooms that may use them. Equations of a user's own are read by Brian2.
HOMES = {
    "brian2": {"formats", "machine", "neurons", "spikes", "units"},
    "torch": {"exporting", "learning", "moments", "nn", "theory", "training", "validation"},
    "safetensors": {"training"},
    "sklearn": {"learning", "training"},
    "pandas": {"formats", "training"},
    "xarray": {"analyses", "formats", "learning", "results", "spikes", "theory", "validation", "workflow"},
    "netCDF4": {"results"},
    "matplotlib": {"analyses", "circuit", "validation"},
    "jinja2": {"analyses"},
    "yaml": {"workflow"},
    "pydantic": {"workflow"},
    "dask": {"spikes", "workflow"},
    "distributed": {"spikes", "workflow"},
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
    return parts[1] if len(parts) > 1 else None


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


def at_import(module: str, path: Path) -> set[str]:
    """Return the modules of the package that are imported when a module is."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnnbio."):
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in MODULES else str(node.module) for name in names}
    return found - {module}


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
            assert other in {own} | OPEN | MAY_IMPORT[own], f"{module} (room {own}) may not import {name}"
        home = HOMES.get(name.split(".")[0])
        assert home is None or own in home, f"{module} (room {own}) may not import {name}"


@pytest.mark.parametrize("module", MODULES)
def test_other_rooms_are_entered_by_their_door(module):
    for name in imports(module, MODULES[module]):
        if name.startswith("mnnbio.") and room(name) != room(module):
            assert name.count(".") == 1, f"{module} reaches into {name}: import it from mnnbio.{room(name)}"


def test_no_two_files_of_different_rooms_have_one_name():
    names = [module.split(".")[-1] for module, path in MODULES.items() if path.name != "__init__.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_two_files_of_tests_have_one_name():
    """Without packages, pytest imports them by their names alone."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_modules_import_each_other_one_way():
    """No circle, apart from imports inside functions and those for types alone."""
    graph = {module: at_import(module, path) for module, path in MODULES.items()}
    waiting = set(graph)
    while waiting:
        free = {module for module in waiting if not graph[module] & waiting}
        assert free, f"these import each other in a circle: {sorted(waiting)}"
        waiting -= free


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
                inside = next(parent for parent in path.parents if (parent / "__init__.py").is_file())
                owner = ".".join([package, *inside.relative_to(folder).parts])
                assert any(path.match(pattern) for pattern in patterns.get(owner, [])), f"{path} is not installed"


@pytest.mark.parametrize("module", ["mnnbio", "mnnbio.workflow.cli", "mnnbio.circuit"])
def test_importing_is_light(module):
    heavy = ["torch", "brian2", "xarray", "sklearn", "matplotlib", "pandas"]
    code = f"import {module}, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_analyses_needs_neither_torch_nor_brian2():
    code = "import mnnbio.analyses, mnnbio.results, sys; print([n for n in ('torch', 'brian2') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
