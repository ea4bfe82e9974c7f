"""The command `mnnbio cache`: what compiled programs are kept, and how to be rid of them."""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mnnbio.run.arguments import Parser

if TYPE_CHECKING:
    from mnnbio.brian.cache import Entry

DESCRIPTION = """\
Compiled programs are kept, so that a circuit of known structure starts at once, with whatever weights and rates.

  mnnbio cache                             where they are, how large, and when each was last used
  mnnbio cache clear                       remove all
  mnnbio cache clear --older-than 30       remove those that have not been used for 30 days

They are in $MNNBIO_CACHE_DIR, else $XDG_CACHE_HOME/mnnbio, else ~/.cache/mnnbio, and take at most $MNNBIO_CACHE_SIZE
(such as 500MB; by default 1GB), beyond which the least recently used are removed."""

_DAY = 86_400.0  # s


def add(command: Callable[..., Parser]) -> None:
    """Add the command to the parser."""
    one = command("cache", _cache, "show or clear the cache of compiled programs", DESCRIPTION)
    one.add_argument("action", nargs="?", choices=["show", "clear"], default="show", help="default: show")
    one.add_argument("--older-than", metavar="DAYS", type=_days, help="clear: only what was not used for so long")


def _cache(arguments: argparse.Namespace) -> None:
    """Show or clear the cache."""
    from mnnbio.brian.cache import ProgramCache

    if arguments.action == "show" and arguments.older_than is not None:
        raise ValueError("--older-than says what to clear: mnnbio cache clear --older-than DAYS")
    cache = ProgramCache.of_user()
    if arguments.action == "clear":
        gone = cache.clear((arguments.older_than or 0.0) * _DAY)
        print(f"removed {_total(gone)} from {cache.folder}")
        return
    entries = cache.entries()
    print(f"{cache.folder}: {_total(entries)} (at most {_size(cache.most_bytes)})")
    for entry in entries:
        used = _age(time.time() - entry.used)
        print(_fitting(f"  {entry.key[:8]}  {_size(entry.size):>8}  used {used:<12}  {entry.circuit}"))


def _fitting(line: str) -> str:
    """Return a line, cut to the width of the terminal."""
    width = shutil.get_terminal_size((120, 24)).columns
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"must be a number of days ≥ 0, got {text!r}")
    return days


def _total(entries: Sequence[Entry]) -> str:
    programs = "program" if len(entries) == 1 else "programs"
    return f"{len(entries)} {programs}, {_size(sum(entry.size for entry in entries))}"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"


def _age(seconds: float) -> str:
    for unit, length in (("day", _DAY), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= length:
            number = int(seconds / length)
            return f"{number} {unit}{'s' * (number > 1)} ago"
    return "just now"
