"""LIF parameters and units at the boundary."""

import numpy as np
import pytest
from brian2 import Hz, amp, ms, mV, nS, second, volt

from mnnbio.neurons.lif import LIFParameters
from mnnbio.units import in_unit


@pytest.mark.parametrize(
    ("quantity", "unit", "value"),
    [
        (0.02 * second, "ms", 20.0),
        (15 * mV, "mV", 15.0),
        (500 * Hz, "1/ms", 0.5),
        (2 * mV / ms, "mV/ms", 2.0),
        (3 * mV / ms**0.5, "mV/sqrt(ms)", 3.0),
        (4 * mV**2 / ms, "mV^2/ms", 4.0),
    ],
)
def test_quantities_arrive_in_working_units(quantity, unit, value):
    assert in_unit(quantity, unit, "x") == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(in_unit(np.ones(3) * quantity, unit, "x"), value, rtol=1e-14)
    assert in_unit(value, unit, "x") == value


@pytest.mark.parametrize("wrong", [20 * mV, 3 * amp, 2 * nS, 1 * volt * second])
def test_a_quantity_of_another_dimension_raises(wrong):
    with pytest.raises(ValueError, match=r"`tau_m` must be in ms, got a quantity of another dimension"):
        LIFParameters(tau_m=wrong)


def test_values_that_are_no_numbers_raise():
    with pytest.raises(TypeError, match=r"`v_th` must be numeric, in mV"):
        LIFParameters(v_th="high")
    with pytest.raises(ValueError, match=r"`t_ref` must be finite, got nan"):
        LIFParameters(t_ref=float("nan"))
    with pytest.raises(ValueError, match=r"`tau_m` must be finite, got inf at index 1"):
        LIFParameters(tau_m=[10.0, np.inf])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tau_m": 0}, r"`tau_m` must be > 0 ms, got 0"),
        ({"tau_m": [10.0, -1.0]}, r"`tau_m` must be > 0 ms, got -1.0 at neuron 1"),
        ({"t_ref": -2.0}, r"`t_ref` must be ≥ 0 ms, got -2"),
        ({"v_reset": 20.0}, r"`v_reset` must be below `v_th`, got 20"),
        ({"v_th": [20.0, 5.0], "v_reset": 10.0}, r"`v_reset` must be below `v_th`, got 10.0 at neuron 1"),
        ({"tau_m": np.ones((2, 2))}, r"one value per neuron, got an array of shape \(2, 2\)"),
        ({"tau_m": [1.0, 2.0], "t_ref": [1.0, 2.0, 3.0]}, r"must have one length"),
    ],
)
def test_values_outside_their_range_raise(wrong, message):
    with pytest.raises(ValueError, match=message):
        LIFParameters(**wrong)


def test_parameters_are_frozen_and_compare_by_value():
    lif = LIFParameters(tau_m=[10.0, 20.0])
    assert lif == LIFParameters(tau_m=np.array([0.01, 0.02]) * second)
    assert hash(lif) == hash(LIFParameters(tau_m=[10.0, 20.0]))
    assert lif != LIFParameters(tau_m=[10.0, 21.0])
    assert lif.size == 2
    assert LIFParameters().size is None
    with pytest.raises(ValueError, match="read-only"):
        lif.tau_m[0] = 5.0
    assert LIFParameters(**lif.to_dict()) == lif
