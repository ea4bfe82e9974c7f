"""The page on fits: its example runs and finds what it looks for."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "fit_a_circuit.md").read_text(encoding="utf-8")


def run(number):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    names = {}
    for block in blocks[number] if isinstance(number, slice) else [blocks[number]]:
        exec(compile(block, "docs/fit_a_circuit.md", "exec"), names)
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
    trained = run(3)["trained"]
    assert trained.met
    assert "targets met in stage" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_the_example_of_spikes_recovers_parameters():
    """Data of the same kind of circuit, with g = 6 and a drive of 2, up to four standard errors and the draw."""
    found = run(slice(0, 2))["found"]
    for name, value in {"g": 6.0, "nu": 2.0}.items():
        assert abs(found.values[name] - value) < 4 * found.errors[name] + 0.02 * value


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_the_example_of_a_posterior_runs_where_sbi_is_installed():
    pytest.importorskip("sbi")
    samples = run(2)["samples"]
    assert samples.shape == (1000, 2)
