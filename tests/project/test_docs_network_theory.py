"""The examples of the page on networks beyond rates run as they stand, and say what the page says."""

import re
from pathlib import Path

import numpy as np
import pytest

PAGE = (Path(__file__).parents[2] / "docs/network_theory.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.LinearResponseWarning")
def test_the_examples_run():
    names = {}
    for number, example in enumerate(EXAMPLES):
        exec(compile(example, f"example {number + 1} of the page", "exec"), names)
    # The page: 0.85 to 1.02 times the published input; the pattern that the comment says.
    rates = np.array([0.971, 2.868, 4.746, 5.396, 8.142, 9.078, 0.991, 7.523]) * 1e-3
    factors = names["external_rates"](names["microcircuit"](), rates, dt=0.1).rates["external_factor"]
    assert 0.845 < factors.min() < factors.max() < 1.02
    field = names["neural_field_stability"](
        [[3.0, -4.5], [3.0, -4.5]], 2.0, 1.5, [names["BoxProfile"](0.2), names["BoxProfile"](0.07)]
    )
    assert field.attrs["pattern"] == "wave"


def test_every_function_has_an_example():
    for name in (
        "oscillation_sensitivity",
        "predict_subcircuit_spectra",
        "external_rates",
        "fit_transfer_function",
        "neural_field_stability",
        "spatial_stability",
        "covariance_width",
        "radius_from_width",
    ):
        assert any(f"{name}(" in example for example in EXAMPLES), name
