"""The page on formats: its examples run, one after the other, and say what the page says."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
NEEDED = ("neo", "pynwb", "pynapple", "h5py", "nir")


@pytest.mark.slow
@pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason=f"needs {', '.join(NEEDED)}: pip install .[neo,nwb,…]"
)
@pytest.mark.filterwarnings("ignore")
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = {}
    said = []
    for number, block in enumerate(BLOCKS, 1):
        exec(compile(block, f"docs/formats.md, block {number}", "exec"), page)
        said.append(capsys.readouterr().out)
    assert len(said) == 9
    (low, wrong, p_wrong), (right, fits, p_fits) = (
        [float(number) for number in line.split()] for line in said[4].splitlines()
    )
    assert (low, right) == (1.0, 1.05)
    assert wrong > 3
    assert p_wrong < 1e-6
    assert fits < 1.5
    assert p_fits > 1e-3
    compile((tmp_path / "network_nest.py").read_text(), "network_nest.py", "exec")
    assert said[6].strip() == "True"
    assert said[8].strip() == "True"
