"""Command-line options, from the fields of sections and from the signatures of the functions that make circuits."""

from __future__ import annotations

import argparse
import difflib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from mnnbio.workflow.options import ConfigError, Field, Options, Value, brief, fields_of
from mnnbio.workflow.run_config import PRESETS, Tree


class Parser(argparse.ArgumentParser):
    """A parser that names the nearest valid option, and takes no abbreviated ones.

    Attributes
    ----------
    prepare : callable, optional
        Adds what takes long to find; called with the parser when it is first used.
    instead : callable, optional
        Returns the parser for words that mean something with options of its own, None for all others.
    """

    prepare: Callable[[Parser], None] | None = None
    instead: Callable[[Sequence[str]], Parser | None] | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments, once everything is prepared."""
        if self.prepare is not None:
            prepare, self.prepare = self.prepare, None
            prepare(self)
        other = None if self.instead is None else self.instead(list(args or ()))
        if other is not None:
            return other.parse_known_args(args, namespace)
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


def add_options(
    parser: argparse.ArgumentParser,
    kinds: Iterable[type[Options]],
    *,
    without: Iterable[str] = (),
    presets: Mapping[str, Tree] = PRESETS,
) -> None:
    """Add the options of some sections to a parser, a group each.

    Parameters
    ----------
    parser : ArgumentParser
    kinds : iterable of type
        Sections.
    without : iterable of str
        Full names of fields to leave out.
    presets : mapping
        Defaults that differ, by name of the preset.
    """
    for kind in kinds:
        group = parser.add_argument_group(kind.SECTION, (kind.__doc__ or "").strip())
        for field in fields_of(kind):
            if field.where not in without:
                _add(group, field, presets)


def layer_of(namespace: argparse.Namespace) -> Tree:
    """Return the options given on the command line, by section."""
    layer: dict[str, dict[str, Any]] = {}
    for where, value in vars(namespace).items():
        section, dot, name = where.partition(".")
        if dot:
            layer.setdefault(section, {})[name] = value
    return layer


def _add(group: argparse._ArgumentGroup, field: Field, presets: Mapping[str, Tree]) -> None:
    text = f"{field.help} (default: {_defaults(field, presets)})".replace("%", "%%")
    common: dict[str, Any] = {"dest": field.where, "default": argparse.SUPPRESS, "help": text}
    if field.base is bool:
        group.add_argument(field.flag, action=argparse.BooleanOptionalAction, **common)
        return
    metavar = "{" + ",".join(field.choices) + "}" if field.choices else _metavar(field)
    group.add_argument(field.flag, type=_reader(field), metavar=metavar, **common)


def path_argument(text: str) -> Path:
    """Return the path that a word of the command line means.

    Raises
    ------
    ArgumentTypeError
        If no system has files of such a name.
    """
    path = Path(text)
    try:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # whoever uses it says so
            os.stat(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise argparse.ArgumentTypeError(f"cannot be a path ({reason}): {brief(text, 60)}; choose another") from error
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got nothing")
    return path


def _reader(field: Field) -> Callable[[str], Value]:
    def read(text: str) -> Value:
        try:
            return field.from_text(text)
        except ConfigError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _metavar(field: Field) -> str:
    return field.metavar or {int: "N", float: "X", str: "NAME"}.get(field.base, "N,N,...")


def _defaults(field: Field, presets: Mapping[str, Tree]) -> str:
    """Return the default, and those of presets that differ."""
    special = {
        preset: options[field.section][field.name]
        for preset, options in presets.items()
        if field.name in options.get(field.section, {})
    }
    return "; ".join([shown(field.default), *(f"{preset}: {shown(value)}" for preset, value in special.items())])


def progress_wanted(namespace: argparse.Namespace) -> bool:
    """Return whether to show progress bars: on a terminal, unless it was said not to."""
    return not namespace.no_progress and sys.stderr.isatty()


def whole_argument(text: str) -> int:
    """Return the whole number ≥ 1 that a word of the command line means."""
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"must be a whole number ≥ 1, got {brief(text)}")
    return int(text)


def shown(value: Value) -> str:
    """Return a value as the command line shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


Builder = Callable[..., Any]  # that returns a circuit
PREFIX = "circuit."


def builders(module: ModuleType) -> dict[str, Builder]:
    """Return the public functions of a module all of whose parameters have defaults, by name."""
    functions = {name: getattr(module, name) for name in module.__all__}
    return {
        name: function
        for name, function in functions.items()
        if all(p.default is not p.empty for p in inspect.signature(function).parameters.values())
    }


def add_builder_options(parser: Parser, function: Builder) -> None:
    """Add an option for every parameter of a function that makes a circuit.

    ``nu_ext_ratio`` becomes ``--nu-ext-ratio``; the first word, ``--nu``, will do for a parameter that may be given by
    position, if it is no other option.
    """
    group = parser.add_argument_group("circuit")
    hints, texts = get_type_hints(function), documented(function)
    taken = {flag for action in parser._actions for flag in action.option_strings}
    parameters = inspect.signature(function).parameters
    taken |= {_flag(name) for name in parameters}
    for name, parameter in parameters.items():
        flags = [_flag(name)]
        short = _flag(name.partition("_")[0])
        if parameter.kind is not parameter.KEYWORD_ONLY and short not in taken:
            flags.append(short)
            taken.add(short)
        text = f"{texts.get(name, name)} (default: {_shown(parameter.default)})".replace("%", "%%")
        hint = hints.get(name, Any)
        choices = get_args(hint) if get_origin(hint) is Literal else None
        group.add_argument(
            *flags,
            dest=PREFIX + name,
            default=argparse.SUPPRESS,
            type=str if choices else _builder_reader(hint, parameter.default),
            choices=choices,
            metavar=None if choices else "X,X,..." if isinstance(parameter.default, tuple) else "X",
            help=text,
        )


def builder_arguments(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that were given for the parameters of a function that makes a circuit."""
    given: Mapping[str, Any] = vars(namespace)
    return {name.removeprefix(PREFIX): value for name, value in given.items() if name.startswith(PREFIX)}


def summary(function: Builder) -> str:
    """Return the first line of a function's docstring, as what it makes."""
    return _plain((inspect.getdoc(function) or "").partition("\n")[0]).rstrip(".")


def description(function: Builder) -> str:
    """Return a function's docstring up to its parameters, as text for a terminal."""
    text = _plain((inspect.getdoc(function) or "").partition("\nParameters\n")[0].rstrip())
    return text[:1].upper() + text[1:].replace("%", "%%")


def documented(function: Builder) -> dict[str, str]:
    """Return the descriptions of parameters in a numpydoc docstring."""
    text = (inspect.getdoc(function) or "").partition("\nParameters\n")[2]
    texts: dict[str, list[str]] = {}
    names: list[str] = []
    for line in text.splitlines()[1:]:
        if re.fullmatch(r"\w+(, \w+)*( : .*)?", line):
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
            texts |= {name: [] for name in names}
        elif line.startswith("    ") or not line:
            for name in names:
                texts[name].append(line.strip())
        else:
            break  # the next section
    return {name: _plain(" ".join(lines)).strip() for name, lines in texts.items()}


def _plain(text: str) -> str:
    """Return text without the marks of reStructuredText, and without the verb a docstring begins with."""
    return re.sub(r":math:`([^`]*)`|\\ :sub:`([^`]*)`|`", r"\1\2", re.sub(r"^Return (an? |the )?", "", text))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" for v in value)
    return value if isinstance(value, str) else f"{value:g}"


def _builder_reader(hint: Any, default: Any) -> Callable[[str], Any]:
    """Return what turns text into a value: whole numbers, numbers, or several with commas."""
    if isinstance(default, tuple):
        whole = all(isinstance(value, int) for value in default)
        number = len(default) if get_origin(hint) is tuple else None
        return lambda text: _numbers(text, whole, number)
    return lambda text: _number(text, hint is int)


def _number(text: str, whole: bool) -> float | int:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        kind = "a whole number" if whole else "a number"
        raise argparse.ArgumentTypeError(f"must be {kind}, got {brief(text)}") from None


def _numbers(text: str, whole: bool, number: int | None) -> tuple[float, ...]:
    values = tuple(_number(part, whole) for part in text.split(","))
    if number is not None and len(values) != number:
        raise argparse.ArgumentTypeError(f"must be {number} numbers with commas, got {brief(text)}")
    return values
