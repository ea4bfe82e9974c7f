"""The notebooks run from top to bottom, with settings small enough for a test."""

from pathlib import Path

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
}


def test_every_notebook_is_tested():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_notebooks_are_stored_without_outputs(name):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_notebooks_run(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    settings = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(settings) == 1
    settings[0].source += SMALL[name]
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
