"""Style of figures: sizes of a journal column, one type size, colours that everyone can tell apart."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from mnnbio.machine import written_aside

P = ParamSpec("P")
T = TypeVar("T")
Colors = Mapping[str, str] | Sequence[str] | None

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


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Draw with the package's style, leaving Matplotlib's settings and the style of axes that are given."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        if kwargs.get("ax") is not None:
            return draw(*args, **kwargs)
        installed = {font.name for font in font_manager.fontManager.ttflist}
        family = next((name for name in _SANS if name in installed), "sans-serif")
        style: Any = {**_STYLE, "font.family": family}
        with matplotlib.rc_context(style):
            return draw(*args, **kwargs)

    return wrapper


def lettered(draw: Callable[P, Panels]) -> Callable[P, Panels]:
    """Mark the panels of a new figure a, b, c, after all else is drawn; axes that are given, or a lone one, are not."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Panels:
        panels = draw(*args, **kwargs)
        if kwargs.get("ax") is None and len(panels) > 1:
            for letter, axes in zip("abcdefgh", panels, strict=False):
                axes.set_title(letter, loc="left", fontweight="bold", fontsize=8, pad=4)
        return panels

    return wrapper


class Panels(tuple[Axes, ...]):
    """Axes of one figure, in which something was drawn, from the first to the last; a notebook shows the figure."""

    __slots__ = ()

    @property
    def figure(self) -> Figure:
        """The figure of the axes."""
        figure = self[0].get_figure(root=True)
        assert figure is not None  # drawn axes are never removed
        return figure

    def _repr_png_(self) -> bytes:
        return render(self.figure, "png", dpi=150)


def panels_in(
    ax: Axes | Sequence[Axes] | None, rows: int, columns: int, size: tuple[float, float], **options: Any
) -> Panels:
    """Return the axes to draw in: those given, or those of a new figure.

    Parameters
    ----------
    ax : Axes, sequence of Axes or None
        Axes that the user gave.
    rows, columns : int
        Panels that are drawn.
    size : tuple of float
        Width and height of a new figure, mm.
    **options
        Of `Figure.subplots`.

    Raises
    ------
    ValueError, TypeError
        If the axes given are of another number, or are none.
    """
    if ax is None:
        return Panels(new_figure(*size).subplots(rows, columns, squeeze=False, **options).ravel().tolist())
    given = Panels([ax] if isinstance(ax, Axes) else np.ravel(np.asarray(ax, dtype=object)).tolist())
    if not all(isinstance(one, Axes) for one in given):
        kinds = ", ".join(sorted({type(one).__name__ for one in given}))
        raise TypeError(f"`ax` must be Matplotlib axes, one or a sequence, got {kinds}")
    if len(given) != rows * columns:
        raise ValueError(f"`ax` must be {rows * columns} axes, one for each panel, got {len(given)}")
    return given


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in mm."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=(width / 25.4, height / 25.4), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def colours(populations: Sequence[str], colors: Colors = None) -> dict[str, str]:
    """Return the colour of each population: the one chosen, else that of its place in the circuit.

    Parameters
    ----------
    populations : sequence of str
    colors : mapping of str to str, or sequence of str, optional
        Colours by the name of the population, or in the order of the circuit.

    Raises
    ------
    ValueError
        If a colour is of no population, or a sequence is too short.
    """
    usual = {name: PALETTE[k % len(PALETTE)] for k, name in enumerate(populations)}
    if colors is None:
        return usual
    if isinstance(colors, str):
        raise TypeError(f"`colors` must be a mapping by population, or a sequence of colours, got {colors!r}")
    if not isinstance(colors, Mapping):
        if len(colors) < len(populations):
            raise ValueError(
                f"`colors` must have one colour for each of {len(populations)} populations, got {len(colors)}"
            )
        return dict(zip(populations, colors, strict=False))
    _require_known(list(colors), populations, "colors")
    return usual | dict(colors)


def palette_of(
    owner: Sequence[str], populations: Sequence[str] | str | None = None, colors: Colors = None
) -> dict[str, str]:
    """Return the colours of the populations to draw, each as in a figure of all.

    Parameters
    ----------
    owner : sequence of str
        Populations, or the population of each neuron, in the order of the circuit.
    populations, colors
        What the user chose, as for `chosen` and `colours`.
    """
    every = list(dict.fromkeys(owner))
    usual = colours(every, colors)
    return {name: usual[name] for name in chosen(populations, every)}


def chosen(populations: Sequence[str] | str | None, known: Sequence[str]) -> list[str]:
    """Return which populations to draw: those asked for, by default all.

    Raises
    ------
    ValueError
        If there is no such population.
    """
    if populations is None:
        return list(known)
    wanted = [populations] if isinstance(populations, str) else list(populations)
    _require_known(wanted, known, "populations")
    return wanted


def _require_known(names: Sequence[str], known: Sequence[str], argument: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"`{argument}` names {unknown[0]!r}, there are {', '.join(map(str, known)) or 'none'}")


def plain_log(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers, such as 0.5 and 20, at few places."""
    low, high = (max(float(edge), 1e-300) for edge in axis.get_view_interval())
    steps = (1.0,) if high > 300 * low else (1.0, 2.0, 5.0)
    exponents = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    places = np.outer(10.0**exponents, steps)
    seen = ((places >= low) & (places <= high)).sum()
    axis.set_major_locator(LogLocator(subs=steps) if seen >= 2 else MaxNLocator(3))
    axis.set_major_formatter(FuncFormatter(_plain))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: float | None = None) -> str:
    if 1e-4 <= value < 1e6:
        return np.format_float_positional(value, precision=6, trim="-")
    return f"{value:g}"


def sparse_ticks(axes: Axes, *, x: int = 4, y: int = 4) -> None:
    """Leave about `x` and `y` intervals between ticks, at round numbers."""
    axes.xaxis.set_major_locator(MaxNLocator(x, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(y, steps=[1, 2, 2.5, 5, 10]))


def render(figure: Figure, form: str, *, dpi: float = 300) -> bytes:
    """Return a figure as an ``svg``, ``pdf`` or ``png`` file, without dates, so that it is reproducible."""
    buffer = io.BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}[form]
    with matplotlib.rc_context({"svg.hashsalt": "mnnbio", "svg.fonttype": "path", "pdf.fonttype": 42}):
        figure.savefig(buffer, format=form, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def figure_of(drawn: Figure | Axes | Panels) -> Figure:
    """Return the figure of what a plotting function returns."""
    if isinstance(drawn, Axes):
        return Panels([drawn]).figure
    return drawn.figure if isinstance(drawn, Panels) else drawn


def save_figure(
    figure: Figure | Axes | Panels, stem: str | os.PathLike[str], forms: Sequence[str] = ("png", "svg", "pdf")
) -> dict[str, Path]:
    """Write a figure in several formats, each replaced as a whole.

    Parameters
    ----------
    figure : Figure, Axes or Panels
        The figure, or the axes that a plotting function returns.
    stem : path-like
        Path without suffix.
    forms : sequence of str
        Formats, each of which becomes a suffix.

    Returns
    -------
    dict
        The path of each format.
    """
    figure = figure_of(figure)
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
