"""The page on learning from spikes: its examples run, and name what there is."""

import re
from pathlib import Path

import pytest

import mnnbio.learning

PAGE = (Path(__file__).parents[2] / "docs" / "learning.md").read_text(encoding="utf-8")


def test_rules_of_the_page_can_be_made():
    named = re.findall(r"`(\w+)\(([^`]*)\)`", PAGE.partition("## Rules")[2].partition("##")[0])
    assert len(named) >= 9
    for name, options in named:
        made = getattr(mnnbio.learning, name)
        assert callable(made)
        if "…" not in options and name != "published_task":
            made(**eval(f"dict({options})"))  # the page's own options


@pytest.mark.slow
@pytest.mark.standalone
def test_the_examples_run(capsys):
    names = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)):
        exec(compile(block, f"docs/learning.md, block {number + 1}", "exec"), names)
    assert "ρ" in capsys.readouterr().out
    assert names["circuit"].n_neurons == 20
