"""The page on modules of a user's own: its example runs."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "modules.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
def test_the_example_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(compile(block, "docs/modules.md", "exec"), names)
    assert "first → second" in capsys.readouterr().out
    assert names["result"]["simulation"]["readout"].shape == (5, 2, 3)
    assert names["prediction"]["readout"].shape == (5, 3)
