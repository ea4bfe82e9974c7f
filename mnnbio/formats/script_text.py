"""Numbers and arrays as code of a script: short ones readable, long ones compressed."""

from __future__ import annotations

import base64
import builtins
import keyword
import re
import textwrap
import zlib
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_SHOWN = 60  # numbers of an array that are written one by one
WIDTH = 110  # characters of a line of numbers

UNPACK = '''
def unpack(dtype, text):
    """Return an array from its compressed bytes."""
    return np.frombuffer(zlib.decompress(base64.b85decode("".join(text.split()))), dtype)
'''


def identifier(name: str, taken: Collection[str]) -> str:
    """Return a name that a variable of a script can have, neither taken nor one of Python's own."""
    plain = re.sub(r"\W", "_", name)
    plain = f"_{plain}" if plain[:1].isdigit() else plain
    wishes = (plain, *(f"{plain}_{k}" for k in range(1, 10**6)))
    return next(own for own in wishes if own not in taken and not keyword.iskeyword(own) and not hasattr(builtins, own))


class ScriptNames:
    """Variables of a script that is written: those of populations, and new ones.

    Parameters
    ----------
    populations : sequence of str
        Names of the populations and sources.
    reserved : collection of str
        What the script itself uses.
    """

    def __init__(self, populations: Sequence[str], reserved: Collection[str]) -> None:
        self.names: dict[str, str] = {}
        for name in populations:
            self.names[name] = identifier(name, {*reserved, *self.names.values()})
        self.taken = {*reserved, *self.names.values()}

    def variable(self, wish: str) -> str:
        """Return a new variable."""
        found = identifier(wish, self.taken)
        self.taken.add(found)
        return found


def import_or_say(statement: str, needed: str) -> list[str]:
    """Return the lines that import a package, or say what is needed and how it is installed."""
    return [
        "try:",
        f"    {statement}",
        "except ImportError as error:",
        f'    raise SystemExit(f"this script needs {needed} ({{error}})") from error',
    ]


def shortest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return whole numbers ≥ 0 in the narrowest type that holds them, which compresses best."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def number_code(value: Any, unit: str = "1") -> str:
    """Return a number as code, with its unit behind it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain!r}" if unit == "1" else f"{plain!r}*{unit}"


def array_code(values: npt.NDArray[Any], unit: str = "1", *, shared: bool = False) -> str:
    """Return an array as code, one number where `shared` and all are equal."""
    flat = values.ravel()
    if shared and len(flat) and (flat == flat[0]).all():
        return number_code(flat[0], unit)
    if values.size <= _MOST_SHOWN:
        code = f"np.array({values.tolist()!r})" if values.size else f'np.zeros({values.shape}, "{values.dtype.str}")'
        if len(code) > WIDTH:
            code = textwrap.fill(code, WIDTH, subsequent_indent="    ", break_long_words=False)
    else:
        packed = base64.b85encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()
        lines = "\n".join(f"    {packed[k : k + WIDTH]}" for k in range(0, len(packed), WIDTH))
        shape = f".reshape{values.shape}" if values.ndim > 1 else ""
        code = f'unpack("{values.dtype.str}", """\n{lines}\n    """){shape}'
    return code if unit == "1" else f"{code}*{unit if '/' not in unit else f'({unit})'}"
