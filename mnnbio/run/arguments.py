"""Command-line options made from the configuration's fields."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from mnnbio.run.config import PRESETS, Tree, sections
from mnnbio.run.options import ConfigError, Field, Value, fields_of


class Parser(argparse.ArgumentParser):
    """A parser that names the nearest valid option, and takes no abbreviated ones.

    Attributes
    ----------
    prepare : callable, optional
        Adds what takes long to find; called with the parser when it is first used.
    """

    prepare: Callable[[Parser], None] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, once everything is prepared."""
        if self.prepare is not None:
            prepare, self.prepare = self.prepare, None
            prepare(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and end with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message}\nSee {self.prog} --help\n")

    def unknown(self, arguments: Iterable[str]) -> NoReturn:
        """End because of arguments that are not known."""
        known = [flag for action in self._actions for flag in action.option_strings]
        first = next(iter(arguments))
        close = difflib.get_close_matches(first.partition("=")[0], known, n=1, cutoff=0.5)
        self.error(f"unknown argument {first!r}" + (f"; did you mean {close[0]!r}?" if close else ""))


def add_options(parser: argparse.ArgumentParser, names: Iterable[str], *, without: Iterable[str] = ()) -> None:
    """Add the options of some sections of the configuration to a parser, a group each.

    Parameters
    ----------
    parser : ArgumentParser
    names : iterable of str
        Sections.
    without : iterable of str
        Full names of fields to leave out.
    """
    for name in names:
        kind = sections()[name]
        group = parser.add_argument_group(name, (kind.__doc__ or "").strip())
        for field in fields_of(name, kind):
            if field.where not in without:
                _add(group, field)


def layer_of(namespace: argparse.Namespace) -> Tree:
    """Return the options given on the command line, by section."""
    layer: dict[str, dict[str, Any]] = {}
    for where, value in vars(namespace).items():
        section, dot, name = where.partition(".")
        if dot:
            layer.setdefault(section, {})[name] = value
    return layer


def _add(group: argparse._ArgumentGroup, field: Field) -> None:
    text = f"{field.metadata['help']} (default: {_defaults(field)})".replace("%", "%%")
    common: dict[str, Any] = {"dest": field.where, "default": argparse.SUPPRESS, "help": text}
    if field.base is bool:
        group.add_argument(field.flag, action=argparse.BooleanOptionalAction, **common)
        return
    metavar = "{" + ",".join(field.choices) + "}" if field.choices else _metavar(field)
    group.add_argument(field.flag, type=_reader(field), metavar=metavar, **common)


def _reader(field: Field) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            return field.from_text(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _metavar(field: Field) -> str:
    unit = field.metadata["metavar"] or field.metadata["unit"]
    return str(unit) if unit else {int: "N", float: "X", str: "NAME"}.get(field.base, "N,N,...")


def _defaults(field: Field) -> str:
    """Return the default, and those of presets that differ."""
    special = {
        preset: options[field.section][field.name]
        for preset, options in PRESETS.items()
        if field.name in options.get(field.section, {})
    }
    return "; ".join([shown(field.default), *(f"{preset}: {shown(value)}" for preset, value in special.items())])


def shown(value: Value) -> str:
    """Return a value as the command line shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
