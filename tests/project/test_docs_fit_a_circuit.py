"""The page on fits: its example runs and finds what it looks for."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "fit_a_circuit.md").read_text(encoding="utf-8")


def run(number):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    exec(compile(blocks[number], "docs/fit_a_circuit.md", "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_the_example_runs(capsys):
    names = run(0)
    assert "rate[E]" in capsys.readouterr().out
    np.testing.assert_allclose(names["found"].predicted, [30.0, 0.55], rtol=1e-3)
    assert not names["found"].at_bounds


@pytest.mark.slow
def test_the_example_of_training_meets_its_targets(capsys):
    trained = run(1)["trained"]
    assert trained.met
    assert "targets met in stage" in capsys.readouterr().out
