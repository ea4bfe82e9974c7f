"""The notebooks are stored as they were executed, and run from top to bottom with settings small enough for a test."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SMALL = {
    "01_from_training_to_spikes": """
epochs = 5
codegen = "runtime"
n_decisions, n_trials = 20, 1
n_stimuli, n_long_trials, seconds = 2, 2, 0.4
""",
    "02_brunel_phase_diagram": """
g_values, nu_values = [3, 5], [2]
scale = indegree_scale = 0.05
milliseconds, warmup, long_milliseconds = 150, 50, 150
codegen, workers = "runtime", 0
""",
    "03_covariances_in_a_recurrent_circuit": """
n_excitatory, n_inhibitory = 80, 20
seconds, warmup, trials, window = 0.4, 0.1, 2, 20
codegen, couplings = "runtime", [0.2]
""",
    "04_beyond_lif": """
n_excitatory, n_inhibitory = 80, 20
milliseconds, warmup, trials = 200, 50, 1
codegen = "runtime"
""",
    "05_modes": """
n_neurons, training_steps, batch = 20, 2, 4
steps, n_trials = 100, 16
n_lif, milliseconds, lif_trials, window = 60, 2000, 2, 200
codegen = "runtime"
""",
    "06_do_spikes_determine_weights": """
n_neurons, milliseconds = 15, 500
passes, lengths = 5, [300]
""",
    "07_is_the_theory_right": """
n_excitatory, n_inhibitory = 40, 10
seconds, trials, layer_trials = 0.2, 6, 40
codegen = "runtime"
""",
}

execute = SimpleNamespace(**runpy.run_path(str(NOTEBOOKS / "execute.py")))


def read(name):
    return nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)


def images(notebook):
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [output for output in outputs if "image/png" in output.get("data", {})]


def test_every_notebook_is_tested():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_notebooks_are_stored_as_executed(name):
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.output_type == "error"]
    assert images(notebook)
    assert notebook.metadata["executed"] == execute.fingerprint(notebook), f"{name} has changed: make notebooks"
    assert (NOTEBOOKS / f"{name}.ipynb").stat().st_size < 1_500_000


TEXTS = ("text/plain", "text/markdown", "text/html")
ABSOLUTE = re.compile(r"(?<![\w.:/<])/(?:[\w.-]+/)+")  # a path from the root; not of a URL, nor a closing tag


@pytest.mark.parametrize("name", SMALL)
def test_outputs_do_not_say_where_they_were_made(name):
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert not [place for place in ("/home/", "/tmp/", "site-packages", "/Users/") if place in text]
    for cell in read(name).cells:
        said = [cell.source, *(out.get("text", "") for out in cell.get("outputs", ()))]
        said += [str(out.get("data", {}).get(kind, "")) for out in cell.get("outputs", ()) for kind in TEXTS]
        assert not [found for part in said for found in ABSOLUTE.findall(part)]


def test_outputs_of_other_code_are_told():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    before = execute.fingerprint(notebook)
    notebook.cells.append(nbformat.v4.new_markdown_cell("text does not count"))
    assert execute.fingerprint(notebook) == before
    notebook.cells[0].source = "1 + 2"
    assert execute.fingerprint(notebook) != before


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["warnings", "warnings, brian2"])  # Brian2 has warnings logged
def test_a_notebook_is_cleaned_of_places(imported, tmp_path):
    code = f"import {imported}\nwarnings.warn('too large')\n1 + 1"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    execute.execute(notebook, str(tmp_path))
    (stream, result) = notebook.cells[0].outputs
    assert stream.text == "UserWarning: too large\n"
    assert result.data["text/plain"] == "2"
    assert notebook.metadata["executed"] == execute.fingerprint(notebook)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_notebooks_run(name, tmp_path):
    notebook = read(name)
    settings = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(settings) == 1
    settings[0].source += SMALL[name]
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert images(notebook)
