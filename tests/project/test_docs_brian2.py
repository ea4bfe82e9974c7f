"""The page for users of Brian2: its scripts run, and the network that is moved fires as it did."""

import re
from pathlib import Path

import brian2
import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "from_brian2.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def brian2_as_it_was():
    before = brian2.prefs.codegen.target
    yield
    brian2.prefs.codegen.target = before
    brian2.start_scope()


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.usefixtures("brian2_as_it_was")
def test_the_network_that_is_moved_fires_as_it_did(capsys):
    page = {}
    for number in (0, 1, 2):
        exec(compile(BLOCKS[number], f"docs/from_brian2.md, block {number + 1}", "exec"), page)
    theirs, ours = np.array(page["theirs"]), np.array(page["ours"])
    # Three networks each, whose rates in one second scatter: the difference of means in standard errors.
    error = np.sqrt(theirs.var(ddof=1) / 3 + ours.var(ddof=1) / 3 + 2 * 0.15**2 / 3)
    assert abs(theirs.mean() - ours.mean()) < 4 * error
    assert error < 0.5
    assert theirs.mean() == pytest.approx(5.6, abs=0.6)  # what the page says
    assert "mnnbio" in capsys.readouterr().out


@pytest.mark.slow
def test_the_other_examples_run(capsys):
    assert len(BLOCKS) == 4
    exec(compile(BLOCKS[3], "docs/from_brian2.md, block 4", "exec"), {})
    before, during, after = [float(rate) for rate in re.findall(r"[\d.]+", capsys.readouterr().out)]
    assert during > 3 * max(before, after)


def test_conversions():
    # A spike that makes ge jump by we moves v by we · taue/taum if nothing leaks: the integral of ge/taum.
    taum, taue, we = 20.0, 5.0, 1.62
    time = np.linspace(0, 40 * taue, 200_001)
    assert np.trapezoid(we * np.exp(-time / taue) / taum, time) == pytest.approx(we * taue / taum, rel=1e-6)
    assert 1e3 / np.sqrt(1e3) == pytest.approx(31.6, abs=0.05)  # 1 V/√s in mV/√ms
