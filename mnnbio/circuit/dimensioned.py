"""Descriptions of values whose unit is that of the place where they are used."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from mnnbio.lif import Unit, common_unit, in_unit


@dataclass(frozen=True, kw_only=True, eq=False)
class Dimensioned:
    """Values in a working unit: that of the quantities they were given as, or, for plain numbers, of their use.

    Parameters
    ----------
    unit : str, optional
        Working unit, such as "mV"; None until plain numbers are used somewhere.
    """

    unit: Unit | None = None

    VALUES: ClassVar[tuple[str, ...]] = ()  # names of the fields that carry the unit

    def _settle(self) -> None:
        """Replace the values by plain numbers and arrays, and note the unit of quantities."""
        given = {name: getattr(self, name) for name in self.VALUES if getattr(self, name) is not None}
        unit = self.unit or common_unit(given, type(self).__name__)
        object.__setattr__(self, "unit", unit)
        for name, value in given.items():
            number = in_unit(value, unit or "1", f"{name} of {type(self).__name__}")
            if isinstance(number, np.ndarray):
                number.setflags(write=False)
            object.__setattr__(self, name, number)

    def used_as(self, unit: Unit, name: str) -> Self:
        """Return the same values, known to be in `unit`.

        Raises
        ------
        ValueError
            If they were given in another unit.
        """
        if self.unit not in (None, unit):
            raise ValueError(f"`{name}` must be in {unit}, got {type(self).__name__} in {self.unit}")
        return replace(self, unit=unit)

    def __repr__(self) -> str:
        listed = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "unit")
        text = ", ".join(f"{name}={_brief(value)}" for name, value in listed if value is not None)
        return f"{type(self).__name__}({text})" + (f" in {self.unit}" if self.unit else "")


def _brief(value: Any) -> str:
    return f"array{value.shape}" if isinstance(value, np.ndarray) else f"{value:g}"
