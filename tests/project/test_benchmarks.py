"""The scripts in benchmarks/ import what exists, and say what they measure."""

import ast
import importlib
import importlib.util
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_what_they_import_exists(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "mnnbio":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                assert hasattr(module, alias.name) or importlib.util.find_spec(full), full
