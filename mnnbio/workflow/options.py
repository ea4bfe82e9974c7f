"""Fields of a configuration: what each may hold, how text becomes a value, and what is said when it does not fit."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

Value = int | float | str | bool | tuple[int, ...] | None


class ConfigError(ValueError):
    """A configuration that cannot be used: what was expected, what came, and where."""


def option(
    default: Value,
    help: str,
    *,
    flag: str | None = None,
    unit: str | None = None,
    metavar: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare a field of a section.

    Parameters
    ----------
    default : int, float, str, bool, tuple of int or None
        Its value where nothing else is said.
    help : str
        One line for the user.
    flag : str, optional
        Name of the command-line option, without dashes; by default the name of the field.
    unit : str, optional
        Unit of the number.
    metavar : str, optional
        Placeholder of the value in the help; by default the unit, or the kind of value.
    at_least, above, below : float, optional
        Bounds of a number: ≥, >, <.
    """
    metadata = {
        "help": help,
        "flag": flag,
        "unit": unit,
        "metavar": metavar,
        "at_least": at_least,
        "above": above,
        "below": below,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
    """A field as the command line and the YAML file see it."""

    section: str
    name: str
    kind: Any
    default: Any
    metadata: Mapping[str, Any]

    @property
    def where(self) -> str:
        """Full name, as in error messages."""
        return f"{self.section}.{self.name}"

    @property
    def flag(self) -> str:
        """Name of the command-line option, dashes included."""
        return "--" + (self.metadata["flag"] or self.name).replace("_", "-")

    @property
    def optional(self) -> bool:
        """Whether the field may be None."""
        return NoneType in _members(self.kind)

    @property
    def base(self) -> Any:
        """The type apart from None."""
        return next(kind for kind in _members(self.kind) if kind is not NoneType)

    @property
    def choices(self) -> tuple[str, ...]:
        """The names it may take; empty unless it is a choice."""
        return get_args(self.base) if get_origin(self.base) is Literal else ()

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        if self.choices:
            words = f"one of {list(self.choices)}"
        elif get_origin(self.base) is tuple:
            words = "a list of whole numbers ≥ 1"
        else:
            names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
            bounds = (("≥", "at_least"), (">", "above"), ("<", "below"))
            limits = [f"{sign} {self.metadata[key]:g}" for sign, key in bounds if self.metadata[key] is not None]
            words = " ".join([names[self.base], " and ".join(limits)]).strip()
            words += f" ({self.metadata['unit']})" if self.metadata["unit"] else ""
        return f"{words}, or null" if self.optional else words

    def check(self, value: Any) -> Value:
        """Return the value in the field's type.

        Raises
        ------
        ConfigError
            If it does not fit.
        """
        if value is None and self.optional:
            return None
        converted = _converted(value, self.base)
        if converted is None or not self._within(converted):
            raise ConfigError(f"{self.where} must be {self.expected}, got {value!r}{_nearest(value, self.choices)}")
        return converted

    def from_text(self, text: str) -> Value:
        """Return the value that text on the command line means."""
        if self.optional and text.lower() in ("none", "null"):
            return None
        if self.base is int:
            return self.check(_number(text, int))
        if get_origin(self.base) is tuple:
            return self.check([_number(part, int) for part in text.replace(",", " ").split()])
        return self.check(text)

    def _within(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if isinstance(value, tuple):
            return len(value) > 0 and min(value) >= 1
        if isinstance(value, bool | str):
            return True
        low, above, below = (self.metadata[key] for key in ("at_least", "above", "below"))
        return (
            math.isfinite(value)
            and (low is None or value >= low)
            and (above is None or value > above)
            and (below is None or value < below)
        )


class Section:
    """A section of a configuration, named as its class: a dataclass that checks its values when it is built."""

    def __post_init__(self) -> None:
        for field in fields_of(type(self).__name__.lower(), type(self)):
            object.__setattr__(self, field.name, field.check(getattr(self, field.name)))


def fields_of(section: str, kind: type) -> list[Field]:
    """Return the fields of a section, which is a dataclass whose fields are made by `option`."""
    hints = get_type_hints(kind)
    return [
        Field(section=section, name=f.name, kind=hints[f.name], default=f.default, metadata=f.metadata)
        for f in dataclasses.fields(kind)
    ]


def require_known(names: Iterable[str], valid: Iterable[str], what: str) -> None:
    """Raise a `ConfigError` that names the first unknown name and the nearest valid one."""
    valid = list(valid)
    for name in names:
        if name not in valid:
            hint = _nearest(name, valid) or f"; must be one of {valid}"
            raise ConfigError(f"unknown {what} {name!r}{hint}")


def _nearest(name: Any, valid: Iterable[str]) -> str:
    """Return a question after the valid name closest to a misspelt one, empty if none is close."""
    close = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _converted(value: Any, base: Any) -> Value:
    """Return the value in a base type, None if it is of another."""
    if base is bool:
        return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return None
    if base is int:
        return value if isinstance(value, int) else None
    if base is float:
        # YAML 1.1 reads 1e-3 as text: a number must have a dot there.
        number = _number(value, float) if isinstance(value, str) else value
        return float(number) if isinstance(number, int | float) else None
    if get_origin(base) is tuple:
        entries = value if isinstance(value, list | tuple) else [value]
        whole = all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries)
        return tuple(entries) if whole else None
    return value if isinstance(value, str) else None


def _number(text: str, kind: type[int] | type[float]) -> int | float | str:
    """Return the number that text spells, or the text itself."""
    try:
        return kind(text)
    except ValueError:
        return text
