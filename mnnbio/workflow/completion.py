"""Scripts that complete commands, options and choices in a shell, made from the parser."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import Literal, NamedTuple

from mnnbio.workflow.arguments import Parser

Shell = Literal["bash", "zsh", "fish"]


class Completed(NamedTuple):
    """Words that may follow some commands.

    Attributes
    ----------
    path : tuple of str
        The commands, such as ("circuit", "brunel").
    commands : dict of str
        Commands that may follow, each with its help.
    options : list of tuple
        Options: flags, choices and help; without flags for the words that stand alone.
    """

    path: tuple[str, ...]
    commands: dict[str, str]
    options: list[tuple[tuple[str, ...], tuple[str, ...], str]]


def completion_script(parser: Parser, shell: Shell) -> str:
    """Return a script that completes the words of a command.

    Parameters
    ----------
    parser : Parser
    shell : {"bash", "zsh", "fish"}
    """
    found = list(_walk(parser, ()))
    if shell == "fish":
        return _fish(found)
    script = _bash(found)
    return script if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{script}"


def _walk(parser: Parser, path: tuple[str, ...]) -> Iterator[Completed]:
    """Yield what may follow each command."""
    if parser.prepare is not None:
        prepare, parser.prepare = parser.prepare, None
        prepare(parser)
    commands: dict[str, str] = {}
    options = []
    below: dict[str, Parser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            commands = {str(choice.dest): choice.help or "" for choice in action._choices_actions}
            below = dict(action.choices)
        else:
            help = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
            choices = tuple(map(str, action.choices or ()))
            braced = isinstance(action.metavar, str) and action.metavar.startswith("{")
            if braced:
                choices = tuple(str(action.metavar).strip("{}").split(","))
            options.append((tuple(action.option_strings), choices, help.replace("%%", "%")))
    yield Completed(path, commands, options)
    for name, child in below.items():
        yield from _walk(child, (*path, name))


def _bash(found: list[Completed]) -> str:
    """Return the script of bash: words by the commands that stand on the line, choices by the option before."""
    words, choices = [], []
    for path, commands, options in found:
        alone = [choice for flags, offered, _ in options if not flags for choice in offered]
        offered = [*commands, *alone, *(flag for flags, _, _ in options for flag in flags)]
        words.append(f"    {shlex.quote(' '.join(path))}) words={shlex.quote(' '.join(offered))} ;;")
        choices += [
            f"    {shlex.quote(' '.join([*path, flag]))}) words={shlex.quote(' '.join(given))} ;;"
            for flags, given, _ in options
            for flag in flags
            if given
        ]
    known = shlex.quote(f" {' '.join(' '.join(path).replace(' ', '/') for path, _, _ in found if path)} ")
    return f"""\
_mnnbio() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} path="" words="" word
  local known={known}
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    local longer="${{path:+$path/}}$word"
    [[ $known == *" $longer "* ]] && path=$longer
  done
  path=${{path//\\// }}
  case "${{path:+$path }}$before" in
{chr(10).join(choices)}
  esac
  if [[ -z $words ]]; then
    case "$path" in
{chr(10).join(words)}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _mnnbio mnnbio
"""


def _fish(found: list[Completed]) -> str:
    """Return the script of fish."""
    lines = []
    for path, commands, options in found:
        condition = "__fish_use_subcommand"
        if path:
            seen = [f"__fish_seen_subcommand_from {name}" for name in path]
            condition = "; and ".join(seen)
        start = f"complete -c mnnbio -n {shlex.quote(condition)}"
        lines += [f"{start} -f -a {name} -d {shlex.quote(help)}" for name, help in commands.items()]
        for flags, choices, help in options:
            names = "".join(f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in flags)
            given = f" -x -a {shlex.quote(' '.join(choices))}" if choices else ""
            if names or given:
                lines.append(f"{start}{names}{given} -d {shlex.quote(help)}")
    return "\n".join(lines) + "\n"
