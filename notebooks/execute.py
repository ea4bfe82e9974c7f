"""Execute the notebooks in place, so that they are read with their figures (`make notebooks`).

What was executed is stored beside the outputs, so that outputs of other code are told from those that are shown.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
# The place of a warning says where this machine keeps its files; Brian2 has warnings logged, and names the logger.
PLACE = re.compile(r"^(?:WARNING +)?[/<]\S*?(?:\.py|>):\d+: (?=\w+: )", re.MULTILINE)
REST = re.compile(r"\n  \S.*(?=\n|$)|\n \[py\.warnings\]")


def fingerprint(notebook: Any) -> str:
    """Return a hash of all code of a notebook."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def execute(notebook: Any, folder: str) -> None:
    """Run a notebook in a folder, and clean what it says of times and places."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # progress bars as text are what is stored
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                output.text = REST.sub("", PLACE.sub("", output.text))
            output.get("data", {}).pop("image/svg+xml", None)
            output.get("metadata", {}).clear()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "executed": fingerprint(notebook),
        }
    )


def main(names: list[str]) -> None:
    """Execute the notebooks of these names, or all."""
    for path in sorted(HERE.glob("*.ipynb")):
        if names and path.stem not in names:
            continue
        began = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, folder)
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
