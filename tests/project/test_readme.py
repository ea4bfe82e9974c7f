"""The examples in the README run as they stand."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from mnnbio import simulate
from mnnbio.circuits import brunel

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) == 8


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number, capsys):
    names = {
        "circuit": brunel(g=5, nu_ext_ratio=2, scale=0.1),
        "brunel": brunel,
        "simulate": simulate,
    }  # of examples before
    shortened = EXAMPLES[number].replace("steps=1500", "steps=3").replace("passes=500", "passes=5")  # a minute
    exec(compile(shortened, f"README example {number + 1}", "exec"), names)
    assert capsys.readouterr().out


def test_it_is_short_and_names_what_exists():
    assert len(README.splitlines()) < 250
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
    paths = re.findall(r"`((?:mnnbio|analyses|circuits|notebooks|benchmarks|docs|tests)/[\w./]*)`", README)
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_pages_name_what_exists(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    made = ("tutorials/", "contributing.md", "changelog.md", "index.md", "api/")  # when the site is built
    assert not [link for link in links if not link.startswith(made) and not (page.parent / link).exists()]
    paths = re.findall(r"`(?:python )?((?:mnnbio|analyses|circuits|notebooks|benchmarks|docs|tests)/[\w./]*)[` ]", text)
    assert not [path for path in paths if not (ROOT / path).exists()]
    for name in re.findall(r"`(mnnbio(?:\.\w+)+)`", text):
        module, attribute = name.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), attribute) or importlib.util.find_spec(name), name
