"""Command `mnnbio report`: a page on results of any kind, from their files and folders."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnnbio.workflow.arguments import Parser, path_argument
from mnnbio.workflow.options import ConfigError, read_yaml
from mnnbio.workflow.run_folder import RunFolder

if TYPE_CHECKING:
    import xarray as xr

REPORT = """\
Write one self-contained page on results of any kind: run folders, circuit runs, sweeps and their points, and result
files of simulations, predictions and comparisons. The verdict comes first; several results are shown side by side.

  mnnbio report runs/digits                           into runs/digits/report.html
  mnnbio report simulation.nc --out page.html         a file that mnnbio.save wrote
  mnnbio report runs/a runs/b --out page.html         side by side, with a table of key figures
  mnnbio report weak=runs/a strong=runs/b --out page.html    under names of your own
  mnnbio report sweeps/brunel                         every point of a sweep

Figures are also written as PNG, SVG and PDF, into figures/ beside report.html, else into PAGE_figures/."""

_TITLES = {"circuit": "Circuit {}", "data": "Moments and spikes: {}"}


@dataclass(frozen=True)
class Source:
    """A result that is reported on.

    Attributes
    ----------
    name : str
        What it is called.
    path : Path
        File or folder.
    title : str or None
        Heading of a page of its own.
    tree : DataTree
    remarks : list of str
    """

    name: str
    path: Path
    title: str | None
    tree: xr.DataTree
    remarks: list[str]


def add_report(command: Callable[..., Parser], of_run: Callable[[argparse.Namespace], None]) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    command : callable
        Adds a command.
    of_run : callable
        Writes the report of the folder of a trained run, whose steps may have to be named first.
    """

    def do(arguments: argparse.Namespace) -> None:
        if _is_trained_run(arguments):
            arguments.folder = Path(arguments.results[0])
            of_run(arguments)
            return
        _report(arguments)

    one = command("report", do, "write a page on results of any kind, several side by side", REPORT)
    one.add_argument(
        "results",
        metavar="RESULT",
        nargs="+",
        help="a run folder, a sweep's folder, or a result file; NAME=RESULT names it",
    )
    text = "the page (default: in the folder, or beside the file)"
    one.add_argument("--out", metavar="PAGE", type=path_argument, help=text)
    one.add_argument("--title", metavar="TEXT", help="heading of the page")
    one.add_argument("--no-progress", action="store_true", help="no progress bars")


def _is_trained_run(arguments: argparse.Namespace) -> bool:
    """Return whether the page is the usual one of the folder of a trained network, which its steps keep up to date."""
    if len(arguments.results) != 1 or arguments.out is not None or arguments.title is not None:
        return False
    config = RunFolder(arguments.results[0]).config
    return "data" in _sections(config)


def _sections(config: Path) -> dict[str, Any]:
    """Return the sections of a configuration, empty where there is none that can be read."""
    try:
        content = read_yaml(config) if config.is_file() else None
    except (OSError, ConfigError):
        content = None
    return content if isinstance(content, dict) else {}


def _report(arguments: argparse.Namespace) -> None:
    """Write the page."""
    sources = [read_source(text) for text in arguments.results]
    out = arguments.out
    if out is None:
        if len(sources) > 1:
            raise ConfigError(f"{len(sources)} results need a page of their own: give --out PAGE.html")
        out = _default_page(sources[0].path)
    if out.is_dir():
        raise ConfigError(f"--out must be a file such as {out / 'report.html'}, {out} is a folder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # what limits a comparison stands on the page
        print(write_report(sources, out, title=arguments.title))


def _default_page(path: Path) -> Path:
    return path / "report.html" if path.is_dir() else path.with_name(f"{path.stem}_report.html")


def write_report(sources: Sequence[Source], page: Path, *, title: str | None = None) -> Path:
    """Write the page of one result or of several, and return its path."""
    from mnnbio.analyses import report, report_side_by_side

    page.parent.mkdir(parents=True, exist_ok=True)
    if len(sources) == 1:
        (one,) = sources
        return report(one.tree, page, title=title or one.title, remarks=one.remarks)
    results: dict[str, xr.DataTree] = {}
    remarks = {}
    for source in sources:
        name = source.name
        while name in results:  # folders of one name in different places
            name = f"{name} ({source.path})" if name == source.name else f"{name}*"
        results[name], remarks[name] = source.tree, source.remarks
    return report_side_by_side(results, page, title=title or "Results side by side", remarks=remarks)


def read_source(text: str) -> Source:
    """Return the result that an argument of the command names.

    Parameters
    ----------
    text : str
        Path of a run folder, a sweep's folder or a result file; or ``NAME=PATH``.

    Raises
    ------
    FileNotFoundError
        If there is nothing, or the folder holds no result.
    ResultFileError
        If a file is damaged, of something else, or of a later version.
    """
    name, found, rest = text.partition("=")
    named = bool(found) and not Path(text).exists()
    path = Path(rest if named else text)
    label = name if named else path.name or str(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} holds no run and is no result file: there is nothing. Give a run folder, a sweep's folder, or a "
            "file that mnnbio.save wrote"
        )
    if not path.is_dir():
        return _from_file(path, path, label if named else path.stem, None)
    if (path / "result.nc").is_file():
        sections = _sections(path / "config.yaml")
        titles = [text.format(sections[key]["name"]) for key, text in _TITLES.items() if _is_named(sections, key)]
        return _from_file(path / "result.nc", path, label, titles[0] if titles else None)
    if (path / "manifest.json").is_file():
        from mnnbio.workflow.sweep_data import open_sweep

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # points that are missing are counted on the page
            return Source(label, path, f"Sweep: {path.name}", open_sweep(path, resolution="population"), [])
    raise FileNotFoundError(
        f"{path} holds no run: neither result.nc nor manifest.json of a sweep is there. Its simulation may not be "
        f"done: mnnbio run --out {path} continues it"
    )


def _is_named(sections: dict[str, Any], key: str) -> bool:
    section = sections.get(key)
    return isinstance(section, dict) and "name" in section


def _from_file(file: Path, path: Path, label: str, title: str | None) -> Source:
    """Return the result of a file, named by its parameters if it is the point of a sweep."""
    from mnnbio.results import load
    from mnnbio.workflow.pipeline import remarks_of

    tree = load(file)
    point = tree.attrs.get("sweep_point")
    if point is not None:
        record = json.loads(point) if isinstance(point, str) else point
        parameters = ", ".join(f"{name} = {value}" for name, value in record.get("parameters", {}).items())
        if parameters:
            label, title = (parameters if label == file.stem else label), title or f"Point of a sweep: {parameters}"
    return Source(label, path, title, tree, remarks_of(tree))
