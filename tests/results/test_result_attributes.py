"""Attributes of result files: what netCDF has no type for comes back as it was."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from mnnbio.results import load, save

UTC = datetime.UTC
KEPT = [
    None,
    True,
    False,
    {"a": 1, "b": {"c": [1.5, None, "x"]}},
    {},
    [],
    ["a", None],
    [True, False],
    [{"a": 1}],
    datetime.date(2024, 2, 29),
    datetime.datetime(2024, 2, 29, 12, 30, 1, 5),
    datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC),
    {"made": datetime.date(2024, 2, 29)},
    "mnnbio-json:3",
    "text, µV",
    2**70,
    -3,
    2.5,
]


def tree(value):
    dataset = xr.Dataset(
        {"rate": ("neuron", [1.0, 2.0], {"value": value})}, attrs={"value": value, "group": "prediction"}
    )
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs={"value": value}), "/prediction": dataset})


@pytest.mark.parametrize("value", KEPT, ids=repr)
def test_values_come_back(tmp_path, value):
    given = tree(value)
    save(given, tmp_path / "r.nc")
    found = load(tmp_path / "r.nc")
    for attributes in (found.attrs, found["prediction"].attrs, found["prediction/rate"].attrs):
        assert attributes["value"] == value
        assert type(attributes["value"]) is type(value) or isinstance(attributes["value"], np.generic)
    assert given["prediction"].attrs["value"] == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.True_, True),
        (np.array([True, False]), [True, False]),
        (np.datetime64("2024-02-29T12:00"), datetime.datetime(2024, 2, 29, 12)),
        ((1, None), [1, None]),
        (np.array([1.5, 2.5]), [1.5, 2.5]),
    ],
)
def test_values_of_numpy_come_back_as_plain_ones(tmp_path, value, expected):
    save(tree(value), tmp_path / "r.nc")
    found = load(tmp_path / "r.nc").attrs["value"]
    assert (found.tolist() if isinstance(found, np.ndarray) else found) == expected


@pytest.mark.parametrize(
    "value",
    [Path("x"), 1j, {"a": {1, 2}}, object(), {(1, 2): 3}, np.array([1j])],
    ids=lambda value: type(value).__name__,
)
def test_what_a_file_cannot_hold_is_named_and_nothing_is_written(tmp_path, value):
    with pytest.raises(TypeError, match=r"attribute 'value' of .* that a file cannot hold .*: give text") as caught:
        save(tree(value), tmp_path / "r.nc")
    assert len(str(caught.value).splitlines()) <= 4
    assert not list(tmp_path.iterdir())


def test_other_tools_read_json(tmp_path):
    save(tree({"a": [1, 2]}), tmp_path / "r.nc")
    with xr.open_dataset(tmp_path / "r.nc", group="prediction") as plain:
        assert json.loads(plain.attrs["value"].removeprefix("mnnbio-json:")) == {"a": [1, 2]}
