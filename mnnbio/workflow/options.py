"""Sections of options: pydantic models from which the command line, YAML files and help come, and their errors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

import pydantic
import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

Value = int | float | str | bool | tuple[int, ...] | None

_STRICT = ConfigDict(strict=True, frozen=True, extra="forbid")
_LONGEST = 100  # characters of a value in a message


class ConfigError(ValueError):
    """A configuration that cannot be used: what was expected, what came, and where."""


def _number(value: Any) -> Any:
    """Return the number that text spells: YAML 1.1 takes 1e-3 for text, a number must have a dot there."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, int) else value


# A finite number, and whole numbers ≥ 1, of which one may stand alone.
Number = Annotated[float, BeforeValidator(_number)]
Sizes = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=1)], ...], pydantic.Field(min_length=1), BeforeValidator(_as_tuple)
]


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
    shown: dict[str, Any] = {"flag": flag, "unit": unit, "metavar": metavar}
    bounds = {"ge": at_least, "gt": above, "lt": below}
    rules: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    if isinstance(default, float) or unit:
        rules["allow_inf_nan"] = False
    return pydantic.Field(default, description=help, json_schema_extra=shown, **rules)


class Options(pydantic.BaseModel):
    """A section of options: frozen, and checked when it is built, with errors that name the option.

    Attributes
    ----------
    SECTION : str
        Name of the section, as in files and messages; empty for the outermost.
    NAMED : str
        Word for its fields in messages, where it is the outermost.
    """

    model_config = _STRICT
    SECTION: ClassVar[str] = ""
    NAMED: ClassVar[str] = "section"

    def __init__(self, **values: Any) -> None:
        _require_options(type(self), values)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_explained(type(self), error, values)) from None

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values, checked."""
        own = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(own | values))

    def to_dict(self) -> dict[str, Any]:
        """Return the options as nested dictionaries."""
        return self.model_dump()


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field as the command line and the YAML file see it."""

    section: str
    name: str
    info: FieldInfo

    @property
    def where(self) -> str:
        """Full name, as in error messages."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def default(self) -> Any:
        """Value where nothing else is said."""
        return self.info.default

    @property
    def help(self) -> str:
        """One line for the user."""
        return self.info.description or ""

    @property
    def unit(self) -> str | None:
        """Unit of the number."""
        return self._extra("unit")

    @property
    def metavar(self) -> str | None:
        """Placeholder of the value in the help, where one is chosen."""
        return self._extra("metavar") or self.unit

    @property
    def flag(self) -> str:
        """Name of the command-line option, dashes included."""
        return "--" + (self._extra("flag") or self.name).replace("_", "-")

    @property
    def optional(self) -> bool:
        """Whether the field may be None."""
        return NoneType in _members(self.info.annotation)

    @property
    def base(self) -> Any:
        """The type apart from None."""
        kind = next(kind for kind in _members(self.info.annotation) if kind is not NoneType)
        return get_args(kind)[0] if get_origin(kind) is Annotated else kind

    @property
    def choices(self) -> tuple[str, ...]:
        """The names it may take; empty unless it is a choice."""
        return get_args(self.base) if get_origin(self.base) is Literal else ()

    @property
    def expected(self) -> str:
        """Words for what a value must be."""
        if self.choices:
            words = f"one of {list(self.choices)}"
        elif get_origin(self.base) is tuple:
            words = "a list of whole numbers ≥ 1"
        else:
            names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
            bounds = [
                f"{sign} {getattr(constraint, name):g}"
                for constraint in self.info.metadata
                for sign, name in (("≥", "ge"), (">", "gt"), ("<", "lt"))
                if hasattr(constraint, name)
            ]
            words = " ".join([names[self.base], " and ".join(bounds)]).strip()
            words += f" ({self.unit})" if self.unit else ""
        return f"{words}, or null" if self.optional else words

    def check(self, value: Any) -> Value:
        """Return the value in the field's type.

        Raises
        ------
        ConfigError
            If it does not fit.
        """
        try:
            checked: Value = self._adapter.validate_python(value)
        except ValidationError:
            raise self.misfit(value) from None
        return checked

    def misfit(self, value: Any) -> ConfigError:
        """Return the error of a value that does not fit."""
        return ConfigError(f"{self.where} must be {self.expected}, got {brief(value)}{_nearest(value, self.choices)}")

    def from_text(self, text: str) -> Value:
        """Return the value that a word of the command line means."""
        if self.optional and text.lower() in ("none", "null"):
            return None
        if self.base is int:
            return self.check(_whole(text))
        if get_origin(self.base) is tuple:
            return self.check([_whole(part) for part in text.replace(",", " ").split()] or text)
        return self.check(text)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        rules = self.info.metadata
        kind: Any = Annotated[(self.info.annotation, *rules)] if rules else self.info.annotation
        return TypeAdapter(kind, config=ConfigDict(strict=True))

    def _extra(self, name: str) -> str | None:
        extra = self.info.json_schema_extra
        found = extra.get(name) if isinstance(extra, dict) else None
        return None if found is None else str(found)


@cache
def fields_of(kind: type[Options]) -> tuple[Field, ...]:
    """Return the fields of a section."""
    return tuple(Field(section=kind.SECTION, name=name, info=info) for name, info in kind.model_fields.items())


def require_known(names: Iterable[Any], valid: Iterable[str], what: str) -> None:
    """Raise a `ConfigError` that names the first unknown name and the nearest valid one."""
    valid = list(valid)
    for name in names:
        if name not in valid:
            hint = _nearest(name, valid) or f"; must be one of {brief(valid, 600)}"
            raise ConfigError(f"unknown {what} {brief(name)}{hint}")


def read_yaml(path: Any) -> Any:
    """Return the content of a YAML file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ConfigError
        If it is not YAML, or names something twice.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {brief_text(str(error), 400)}") from error


class _Loader(yaml.SafeLoader):
    """Loader of YAML in which a key stands once: of two, YAML itself keeps the last and says nothing."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping."""
        seen: list[Any] = []
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key.value!r} stands twice in one section", key.start_mark
                    )
                seen.append(key.value)
        return super().construct_mapping(node, deep)


def brief(value: Any, most: int = _LONGEST) -> str:
    """Return a value for a message: on one line, and cut where it is long."""
    return brief_text(repr(value), most)


def brief_text(text: str, most: int) -> str:
    """Return text on one line, cut where it is long."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"


def _require_options(kind: type[Options], values: Mapping[str, Any]) -> None:
    what = f"option in {kind.SECTION!r}:" if kind.SECTION else kind.NAMED
    require_known(values, [field.info.alias or field.name for field in fields_of(kind)], what)


def _explained(kind: type[Options], error: ValidationError, values: Mapping[str, Any]) -> str:
    """Return what is wrong with the first option that does not fit."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, ValueError):
        return str(cause)
    (field,) = (field for field in fields_of(kind) if first["loc"][0] in (field.name, field.info.alias))
    return str(field.misfit(values[str(first["loc"][0])]))


def _nearest(name: Any, valid: Iterable[str]) -> str:
    """Return a question after the valid name closest to a misspelt one, empty if none is close."""
    close = difflib.get_close_matches(str(name)[:_LONGEST], list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _whole(text: str) -> int | str:
    """Return the whole number that text spells, or the text itself."""
    try:
        return int(text)
    except ValueError:
        return text
