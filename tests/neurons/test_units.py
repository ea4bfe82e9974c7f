"""Numbers, arrays, tensors and quantities at the package's boundary: what is taken, and what is refused."""

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
import xarray as xr
from brian2 import Hz, ms, mV, second, volt
from scipy import sparse

from mnnbio.circuit import PoissonSource, Projection
from mnnbio.neurons import LIFParameters
from mnnbio.units import common_unit, in_unit, is_quantity, shown
from mnnbio.values import Normal

EMPTY = "must be numeric, in ms or as a quantity, got"


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.tensor(3), 3.0),
        (torch.tensor([1.5, 2.0]), [1.5, 2.0]),
        (torch.tensor([1.5, 2.0], requires_grad=True), [1.5, 2.0]),
        (torch.tensor([1.5, 2.0], dtype=torch.bfloat16), [1.5, 2.0]),
        (torch.arange(4).reshape(2, 2).T, [[0.0, 2.0], [1.0, 3.0]]),
        (torch.nn.Parameter(torch.tensor([0.1], dtype=torch.float64)), [0.1]),
        ([torch.tensor(1.0, requires_grad=True), 2], [1.0, 2.0]),
    ],
    ids=str,
)
def test_tensors_are_taken_like_arrays(tensor, expected):
    np.testing.assert_array_equal(in_unit(tensor, "ms", "x"), expected)


def test_tensors_are_copied():
    given = torch.ones(2, dtype=torch.float64)
    taken = in_unit(given, "ms", "x")
    given[0] = 5.0
    np.testing.assert_array_equal(taken, [1.0, 1.0])


def test_parts_of_a_circuit_take_tensors():
    weights = torch.tensor([[0.5, -1.0], [0.0, 2.0]])
    np.testing.assert_array_equal(Projection("a", "b", weights=weights).weights, weights.numpy())
    np.testing.assert_array_equal(PoissonSource("a", 2, rates=torch.tensor([0.25, 0.5])).rates, [0.25, 0.5])
    lif = LIFParameters(tau_m=torch.tensor([10.0, 20.0]), t_ref=torch.tensor(2.0))
    assert lif == LIFParameters(tau_m=[10.0, 20.0], t_ref=2.0)
    assert Normal(torch.tensor(1.5), 0.5).mean == 1.5


def test_a_quantity_is_told_by_its_dimension_not_by_an_attribute_of_that_name():
    class Lookalike(float):
        dim = 3

    assert is_quantity(5 * ms)
    assert is_quantity(ms)
    assert is_quantity(np.ones(2) * mV)
    assert not is_quantity(torch.ones(2))
    assert not is_quantity(Lookalike(2.0))
    assert in_unit(Lookalike(2.0), "ms", "x") == 2.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([5 * ms, 2 * second], [5.0, 2000.0]),
        ((5 * ms, 0), [5.0, 0.0]),
        ([[1 * ms, 2 * ms], [3 * ms, 0.004 * second]], [[1.0, 2.0], [3.0, 4.0]]),
        ([[1, 2] * ms, [3, 4] * second], [[1.0, 2.0], [3000.0, 4000.0]]),
    ],
)
def test_quantities_in_a_list_keep_their_units(values, expected):
    np.testing.assert_allclose(in_unit(values, "ms", "x"), expected, rtol=1e-14)


@pytest.mark.parametrize("number", [3, np.float32(3), np.int8(3), Fraction(3), Decimal(3), np.array(3)])
def test_real_numbers_of_every_kind_are_taken(number):
    assert in_unit(number, "ms", "x") == 3.0


def test_true_and_false_are_numbers_only_where_there_is_no_unit():
    np.testing.assert_array_equal(in_unit(np.array([True, False]), "1", "stimulus"), [1.0, 0.0])
    np.testing.assert_array_equal(in_unit(torch.tensor([True, False]), "1", "stimulus"), [1.0, 0.0])


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (1j, TypeError, r"`x` must be real, got 1j"),
        (np.array([1.0, 2j]), TypeError, r"`x` must be real, got array of complex128, shape \(2,\)"),
        (np.array([1 + 0j]), TypeError, "must be real"),
        (np.array([1.0, 2j], dtype=object), TypeError, "must be real"),
        (torch.tensor([1j]), TypeError, r"must be real, got tensor of complex64, shape \(1,\)"),
        (np.array([1 + 1j]) * ms, TypeError, "must be real"),
        ([1 * ms, 2j], TypeError, r"`x\[1\]` must be real, got 2j"),
        (True, TypeError, "must be a number in ms, got true and false"),
        (np.array([[True]]), TypeError, "must be a number in ms, got true and false"),
        (torch.tensor([True]), TypeError, "must be a number in ms, got true and false"),
        ("5", TypeError, rf"{EMPTY} '5'"),
        (["5", "6"], TypeError, rf"{EMPTY} \['5', '6'\]"),
        (np.array(["5", 3], dtype=object), TypeError, rf"{EMPTY} array of object, shape \(2,\)"),
        (b"5", TypeError, EMPTY),
        (None, TypeError, rf"{EMPTY} None"),
        ([1.0, None], TypeError, EMPTY),
        ({"a": 1}, TypeError, EMPTY),
        ([1, [2]], TypeError, EMPTY),
        ([[1 * ms], [1 * ms, 2 * ms]], TypeError, "in rows of one length"),
        (np.timedelta64(5, "ms"), TypeError, EMPTY),
        (datetime.timedelta(seconds=1), TypeError, EMPTY),
        (sparse.eye_array(3), TypeError, EMPTY),
        (torch.eye(2).to_sparse(), TypeError, EMPTY),
        (xr.DataArray([5.0], attrs={"units": "Hz"}), TypeError, "got values of xarray in Hz: convert them"),
        (10**400, ValueError, "must be finite, got 1000"),
        ([np.nan], ValueError, "must be finite, got nan at index 0"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), ValueError, "must not have masked values, got 1"),
        ([5 * ms, 5 * volt], ValueError, r"`x\[1\]` must be in ms, got a quantity of another dimension: 5. \* volt"),
        (np.ones((30, 30)) * volt, ValueError, "a quantity of another dimension"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_real_number_in_the_unit_is_refused_in_one_line(value, kind, message):
    with pytest.raises(kind, match=message) as caught:
        in_unit(value, "ms", "x")
    assert len(str(caught.value).splitlines()) == 1


def test_labelled_arrays_are_taken_without_a_unit_or_in_the_right_one():
    assert in_unit(xr.DataArray([5.0]), "ms", "x") == [5.0]
    assert in_unit(xr.DataArray([5.0], attrs={"units": "ms"}), "ms", "x") == [5.0]


def test_the_common_unit_is_found_in_lists_and_beside_tensors():
    assert common_unit({"a": [5 * mV, 0 * mV], "b": 0}, "Steps") == "mV"
    assert common_unit({"a": torch.tensor([1.0]), "b": torch.zeros(2)}, "Steps") is None
    assert common_unit({"a": 5 * Hz, "b": torch.zeros(2)}, "Steps") == "1/ms"
    with pytest.raises(ValueError, match="values of Steps must have one unit, got `a` mV, `b` a plain number"):
        common_unit({"a": [5 * mV], "b": torch.ones(2)}, "Steps")
    with pytest.raises(ValueError, match=r"values of a of Steps must have one unit"):
        common_unit({"a": [5 * mV, 3 * ms]}, "Steps")


def test_what_is_shown_in_messages_is_one_short_line():
    for value in (np.ones((30, 30)), torch.ones(3, 3), list(range(10**6)), "a\nb" * 100, np.ones((30, 3)) * mV):
        text = shown(value)
        assert "\n" not in text
        assert len(text) <= 80
