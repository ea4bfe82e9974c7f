"""The blocks of docs/extending.md run as files of a user's own, one module each."""

import importlib.util
import re
import sys
import warnings
from pathlib import Path

import matplotlib
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTIONS = {
    part.split("\n")[0]: part.split("```python\n")[1].split("```")[0]
    for part in PAGE.split("\n## ")[1:]
    if "```python" in part
}
ROWS = {  # of the table in the design, and the section that shows each
    *("Connectivity", "Distribution", "Course in time", "Profile of distance", "Drive", "Neuron", "Synapse"),
    *("Neuron by equations", "Synapse by equations", "Plasticity rule"),
    *("Recording", "Theory by type", "Analysis, figure"),
}


@pytest.fixture
def own_module(tmp_path):
    """A function that imports code as a module of the user's; it is forgotten afterwards."""
    made = []

    def load(name, code):
        path = tmp_path / f"{name}.py"
        path.write_text(code, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        made.append(name)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in made:
        del sys.modules[name]


def test_every_row_of_the_design_has_its_section():
    assert set(SECTIONS) >= ROWS
    assert PAGE.count("```python") == len(SECTIONS)


def test_classes_are_short():
    for title, code in SECTIONS.items():
        bodies = re.findall(r"^(?:@dataclass.*\n)?(?:class|def) .*?(?=^\S)", code, flags=re.MULTILINE | re.DOTALL)
        assert bodies, title
        assert max(len(body.strip().splitlines()) for body in bodies) <= 30, title


@pytest.mark.slow
@pytest.mark.parametrize("title", SECTIONS)
def test_the_blocks_run(title, own_module):
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="matplotlib")
        own_module("own_" + re.sub(r"\W", "_", title.lower()), SECTIONS[title])
