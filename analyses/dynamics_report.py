"""The sections of a report on a circuit: its diagram and tables, and the dynamics that were measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from mnnbio.analyses import dynamics_plots as plots
from mnnbio.analyses.illustration import Illustration


class Described(Protocol):
    """What a report needs of a circuit: `mnnbio.Circuit` is one."""

    def describe(self) -> str:
        """Return tables in Markdown."""
        ...

    def plot(self) -> Figure:
        """Return a diagram."""
        ...


class Table(NamedTuple):
    """A table of text."""

    title: str
    head: list[str]
    rows: list[list[str]]


def circuit_tables(markdown: str) -> list[Table]:
    """Return the tables of a Markdown text in which each follows a heading ``## title``."""
    tables: list[Table] = []
    title, head = "", None
    rows: list[list[str]] = []
    for line in [*markdown.splitlines(), "##"]:
        if line.startswith("##"):
            if head is not None:
                tables.append(Table(title, head, rows))
            title, head, rows = line.strip("# "), None, []
        elif line.startswith("|"):
            cells = [cell.strip().replace("\\|", "|") for cell in line.strip().replace("\\|", "\0").split("|")[1:-1]]
            cells = [cell.replace("\0", "|") for cell in cells]
            if head is None:
                head = cells
            elif set("".join(cells)) - set("-: "):
                rows.append(cells)
    return tables


def circuit_illustration(circuit: Described) -> Illustration:
    """Return the diagram of a circuit."""
    text = "Populations, projections between them and drives. The tables at the end of this page describe them."
    return Illustration("circuit", "Circuit", circuit.plot(), text)


def dynamics_illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield the figures of a result's group ``dynamics``, each with its caption."""
    groups = tree["dynamics"].children
    simulated = tree["simulation"].to_dataset()
    if "stimulus" in simulated["rate"].dims:
        prediction = tree["prediction"].to_dataset() if "prediction" in tree.children else None
        text = "Mean rates of populations for each stimulus: spikes with standard errors of neurons' means"
        text += ", and prediction (lines)." if prediction is not None else "."
        figure = plots.plot_stimuli(simulated, prediction)
        yield Illustration("stimuli", "Rates by stimulus", figure, text)
    first = " The first stimulus." if "stimulus" in groups["rates"].dims else ""
    rates = groups["rates"].to_dataset()["population_rate"]
    bin = 1e3 * float(rates.attrs["bin"])
    text = f"Rate of each population in bins of {bin:g} ms, first trial; dashed: mean of the time shown.{first}"
    yield Illustration("population_rates", "Population rates", plots.plot_population_rates(rates), text)
    predicted = groups["predicted_spectra"].to_dataset() if "predicted_spectra" in groups else None
    spectra = groups["spectra"].to_dataset()
    text = "a, power spectra of population rates (two-sided; bands: one standard error)"
    text += ", and their prediction by linear response (dashed)" if predicted is not None else ""
    text += f". b, coherence with the first population; dotted: the mean of {spectra.attrs['segments']} segments of "
    text += f"independent rates.{first}"
    figure = plots.plot_spectra(spectra, predicted)
    yield Illustration("spectra", "Spectra of population rates", figure, text)
    text = (
        "a, firing rates, and b, coefficients of variation of interspike intervals over the neurons of each population"
    )
    text += ", all stimuli together" if first else ""
    text += f"; dotted: a Poisson process. {_synchrony_text(groups['synchrony'].to_dataset())}"
    yield Illustration("intervals", "Irregularity", plots.plot_intervals(groups["intervals"].to_dataset()), text)
    if "currents" in groups:
        currents = groups["currents"].to_dataset()
        share = float(np.nanmedian(currents["cancelled"]))
        text = "a, mean inhibitory against excitatory current of every neuron, drives included; line: perfect balance. "
        text += f"b, the part 1 − |E + I|/(E + |I|) of the currents that cancels, {share:.0%} in the median."
        yield Illustration("currents", "Balance of currents", plots.plot_currents(currents), text)


def _synchrony_text(synchrony: xr.Dataset) -> str:
    """Say how synchronous each population is."""
    shown = synchrony.isel(stimulus=0) if "stimulus" in synchrony.dims else synchrony
    parts = [
        f"{name}: χ = {float(one['chi']):.3f} ± {float(one['chi_se']):.2g}, "
        f"mean pairwise correlation {float(one['mean_correlation']):.3f} ± {float(one['mean_correlation_se']):.2g}"
        for name, one in ((name, shown.sel(population=name)) for name in shown["population"].to_numpy().tolist())
    ]
    first = " for the first stimulus" if "stimulus" in synchrony.dims else ""
    return f"Synchrony of counts in {1e3 * synchrony.attrs['bin']:g} ms{first}: {'; '.join(parts)}."
