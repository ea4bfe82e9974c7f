"""The pages on decoding and on reports: their examples run, and name what there is."""

import re
from pathlib import Path

import numpy as np
import pytest

import mnnbio.analyses

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "decoding.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    exec(compile(block.replace("2 * second, trials=40", "0.5 * second, trials=15"), "docs/decoding.md", "exec"), names)
    assert np.isfinite(names["discriminability"](names["prediction"])["d_prime"]).all()
    names |= {"result": names["simulation"], "a": names["prediction"], "b": names["simulation"]}
    page = (DOCS / "reports.md").read_text(encoding="utf-8").replace('population="E"', 'population="read"')
    page = page.replace("[10.0, 20.0]", "[0.0, 20.0]")
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, "docs/reports.md", "exec"), names)
    assert (tmp_path / "page.html").is_file()
    assert (tmp_path / "both.html").is_file()


@pytest.mark.parametrize("page", ["decoding", "reports"])
def test_the_pages_name_what_there_is(page):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(plot_\w+|choice_probabilities|compare_decoding)`", text))
    assert named
    assert named <= set(mnnbio.analyses.__all__)
