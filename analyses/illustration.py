"""A figure of a report, with what stands above and below it."""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.figure import Figure


class Illustration(NamedTuple):
    """A figure with its title and caption; `key` names its files."""

    key: str
    title: str
    figure: Figure
    caption: str
