"""The page on moment-neural-network: its example runs, and it names every class and function of theirs."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from_moment_neural_network.md").read_text(encoding="utf-8")
STORED = json.loads((ROOT / "tests" / "data" / "moment_neural_network.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", STORED["names"])
def test_every_public_name_is_in_the_table(file):
    table = PAGE.partition("## Every class and function")[2]
    named = set(re.findall(r"`(\w+)`", table))
    assert not set(STORED["names"][file]) - named


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning")
def test_the_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    (block,) = [block for block in blocks if "GratingEncoder" in block]
    names = {}
    exec(compile(block, "docs/from_moment_neural_network.md", "exec"), names)
    errors = names["direction_errors"](names["read_outputs"](names["model"], names["result"]), names["shown"])
    assert errors.shape == (2,)
