"""Docstrings as the site shows them: what numpydoc writes in reStructuredText, as Markdown.

Formulas become MathML, which browsers draw by themselves; simple tables become tables; numbered references lose markup.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe
from latex2mathml.converter import convert as mathml


class Rst(griffe.Extension):
    """Extension of mkdocstrings that rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """Return a docstring with its formulas, tables and references in Markdown."""
    text = re.sub(r"^( *)\.\. math:: *(\S.*)?\n((?:\n*\1 +\S.*(?:\n|$))*)", _block, text, flags=re.MULTILINE)
    text = re.sub(r":math:`([^`]+)`", lambda found: _formula(found[1]), text)
    # At the beginning of a line Markdown would take an element for a paragraph of its own: a word joiner goes before.
    text = re.sub(r'^( *)(<math[^>]*display="inline")', r"\1&#8288;\2", text, flags=re.MULTILINE)
    text = re.sub(r"\\? ?:sub:`([^`]+)`", r"<sub>\1</sub>", text)
    text = re.sub(r"^( *)((?:=+ +)+=+)\n(.*)\n\1\2\n((?:.+\n)+?)\1\2$", _table, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)\.\. \[(\d+)\] ", r"\1[\2] ", text, flags=re.MULTILINE)
    return re.sub(r"\[(\d+)\]_", r"[\1]", text)


def _formula(latex: str, display: str = "inline") -> str:
    return mathml(" ".join(latex.split()), display=display)


def _block(found: re.Match[str]) -> str:
    latex = " ".join(filter(None, [found[2], textwrap.dedent(found[3]).strip()]))
    return f"{found[1]}{_formula(latex, 'block')}\n\n"


def _table(found: re.Match[str]) -> str:
    indent, rule = found[1], found[2]
    columns = [match.span() for match in re.finditer("=+", rule)]
    stops = [start for start, _ in columns[1:]] + [None]

    def row(line: str) -> str:
        cells = line[len(indent) :]
        parts = (cells[start:stop].strip() for (start, _), stop in zip(columns, stops, strict=True))
        return f"{indent}| {' | '.join(parts)} |"

    body = [row(line) for line in found[4].splitlines()]
    return "\n".join([row(found[3]), indent + "|" + "---|" * len(columns), *body])
