"""Pages of reports: what they consist of, and the HTML files, of one result or of several side by side."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from mnnbio.analyses.figure_style import Illustration, save_figure
from mnnbio.machine import written_aside

Pairs = Sequence[tuple[str, str]]

# Type of a printed column is small on a screen.
_ENLARGED = 1.3
_HALF_PAGE = 6.4  # in


class Table(NamedTuple):
    """A table of text."""

    title: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a report says and shows of one result.

    Parameters
    ----------
    title : str
    verdict : sequence of str
        Sentences shown first.
    findings : sequence of tuple of str
        Headline sentences, each after its subject.
    notes : sequence of str
        Sentences on what limits the result.
    layers : sequence of dict
        Rows of the table of populations of a comparison.
    illustrations : sequence of Illustration
    tables : sequence of Table
        Tables of the circuit.
    lists : sequence of Table
        Other tables, shown before the figures.
    provenance : sequence of tuple of str
        How the numbers were made.
    key_figures : mapping of str to str
        The few numbers by which results are compared.
    pooled : bool
        Whether rates are means over stimuli.
    min_rate : str, optional
        Rate above which relative errors are taken, Hz.
    """

    title: str
    verdict: Sequence[str] = ()
    findings: Pairs = ()
    notes: Sequence[str] = ()
    layers: Sequence[dict[str, str]] = ()
    illustrations: Sequence[Illustration] = ()
    tables: Sequence[Table] = ()
    lists: Sequence[Table] = ()
    provenance: Pairs = ()
    key_figures: Mapping[str, str] = field(default_factory=dict)
    pooled: bool = False
    min_rate: str | None = None


def write_page(path: Path, page: Page) -> Path:
    """Write a self-contained page with figures, which also go to files of their own, and return its path.

    Parameters
    ----------
    path : Path
        The HTML file, replaced as a whole once it is complete. Figures go to ``figures/`` beside a ``report.html``, to
        ``<name>_figures/`` beside any other page.
    page : Page

    Raises
    ------
    FileError
        If the files cannot be written.
    """
    shown = [_embedded(item, _figures(path) / item.key) for item in page.illustrations]
    return _write(path, "report.html", page=page, title=page.title, illustrations=shown)


def write_side_by_side(path: Path, title: str, pages: Mapping[str, Page]) -> Path:
    """Write one self-contained page of several results: verdicts, a table of key figures, figures side by side.

    Parameters
    ----------
    path : Path
        As for `write_page`.
    title : str
    pages : mapping of str to Page
        By the names of the results.

    Raises
    ------
    FileError
        If the files cannot be written.
    """
    sections: dict[str, dict[str, Any]] = {}
    for k, (name, page) in enumerate(pages.items()):
        for item in page.illustrations:
            section = sections.setdefault(item.key, {"key": item.key, "title": item.title, "columns": [], "least": 0.0})
            stem = _figures(path) / f"{item.key}_{k + 1}"
            section["columns"].append({"name": name, **_embedded(item, stem)})
            # Columns are as wide as the widest figure, up to half a page, so that type stays legible.
            section["least"] = max(section["least"], min(_ENLARGED * item.figure.get_size_inches()[0], _HALF_PAGE))
    figures = _common(page.key_figures for page in pages.values())
    provenance = _common(dict(page.provenance) for page in pages.values())
    return _write(
        path, "side_by_side.html", title=title, pages=pages, sections=list(sections.values()), figures=figures,
        provenance=provenance,
    )  # fmt: skip


def _common(columns: Iterable[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Return rows of a table from the columns: every label once, a dash where a column lacks it."""
    every = list(columns)
    labels = dict.fromkeys(label for column in every for label in column)
    return [(label, [column.get(label, "–") for column in every]) for label in labels]


def _figures(path: Path) -> Path:
    return path.parent / ("figures" if path.name == "report.html" else f"{path.stem}_figures")


def _embedded(item: Illustration, stem: Path) -> dict[str, Any]:
    """Write the files of a figure, and return it as the templates need it."""
    files = save_figure(item.figure, stem)
    code = base64.b64encode(files["svg"].read_bytes()).decode()
    width = _ENLARGED * item.figure.get_size_inches()[0]
    return {**item._asdict(), "source": f"data:image/svg+xml;base64,{code}", "width": f"{width:.2f}in"}


def _write(path: Path, template: str, **values: Any) -> Path:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=jinja2.FunctionLoader(_template),
    )  # fmt: skip
    text = environment.get_template(template).render(values)
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")
    return path


def _template(name: str) -> str:
    return resources.files("mnnbio.analyses").joinpath(name).read_text(encoding="utf-8")
