"""How figures look: sizes of a journal column, one type size, colours that everyone can tell apart.

A figure of a report, with what stands above and below it.
"""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec

import matplotlib
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from mnnbio.results import written_aside

P = ParamSpec("P")

SINGLE_COLUMN, DOUBLE_COLUMN = 85.0, 174.0  # mm
INK, MUTED, FAINT = "#222222", "#767676", "#d9d9d9"
# Okabe & Ito (2008), without yellow (faint on white) and black (kept for predictions).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

_STYLE: dict[str, Any] = {
    "font.size": 7,
    "axes.labelsize": 7,
    "axes.titlesize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.0,
    "mathtext.default": "regular",
    "figure.dpi": 100,
}
_SANS = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the package's style, leaving Matplotlib's settings as they were."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        installed = {font.name for font in font_manager.fontManager.ttflist}
        family = next((name for name in _SANS if name in installed), "sans-serif")
        style: Any = {**_STYLE, "font.family": family}
        with matplotlib.rc_context(style):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in mm."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=(width / 25.4, height / 25.4), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def colours(populations: Sequence[str]) -> dict[str, str]:
    """Return the colour of each population, by its place in the circuit."""
    return {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(populations)}


def sparse_ticks(axes: Axes, *, x: int = 4, y: int = 4) -> None:
    """Leave about `x` and `y` intervals between ticks, at round numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(x, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(y, steps=[1, 2, 2.5, 5, 10]))


def letter_panels(panels: Sequence[Axes]) -> None:
    """Mark panels a, b, c."""
    for letter, axes in zip("abcdefgh", panels, strict=False):
        axes.set_title(letter, loc="left", fontweight="bold", fontsize=8, pad=4)


def render(figure: Figure, form: str) -> bytes:
    """Return a figure as an ``svg``, ``pdf`` or ``png`` file, without dates, so that it is reproducible."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
    with matplotlib.rc_context({"svg.hashsalt": "mnnbio", "svg.fonttype": "path", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=form, dpi=300, metadata=metadata)
    return buffer.getvalue()


def save_figure(
    figure: Figure, stem: str | os.PathLike[str], forms: Sequence[str] = ("png", "svg", "pdf")
) -> dict[str, Path]:
    """Write a figure in several formats, each replaced as a whole.

    Parameters
    ----------
    figure : Figure
        The figure.
    stem : path-like
        Path without suffix.
    forms : sequence of str
        Formats, each of which becomes a suffix.

    Returns
    -------
    dict
        The path of each format.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found: it need not be computed again for every format
    paths = {}
    for form in forms:
        path = Path(f"{os.fspath(stem)}.{form}")
        with written_aside(path) as aside:
            aside.write_bytes(render(figure, form))
        paths[form] = path
    return paths


class Illustration(NamedTuple):
    """A figure with its title and caption; `key` names its files."""

    key: str
    title: str
    figure: Figure
    caption: str
