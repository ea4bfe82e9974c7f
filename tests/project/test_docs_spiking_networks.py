"""The page on spiking networks: its examples run, one after another."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "spiking_networks.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_examples_run(capsys):
    names = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)):
        exec(compile(block, f"docs/spiking_networks.md, block {number + 1}", "exec"), names)
    scores = capsys.readouterr().out.split()[-2:]
    assert all(float(score) > 0.8 for score in scores)
