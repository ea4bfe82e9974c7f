"""Report of a result: one HTML file that needs nothing else, and the figures as files of their own."""

from __future__ import annotations

import base64
import os
import warnings
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jinja2
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from mnnbio.analyses import captions, dynamics_plots, plots, spike_plots, weights
from mnnbio.analyses.alignment import ComparisonWarning, align
from mnnbio.analyses.binned_counts import recorded
from mnnbio.analyses.circuit_text import circuit_description, stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.decisions import accuracy_against_time
from mnnbio.analyses.dynamics import oscillation_sentence, state_sentence
from mnnbio.analyses.figure_style import Illustration, figure_of, save_figure
from mnnbio.analyses.table_plots import table_illustrations
from mnnbio.machine import written_aside
from mnnbio.results import rounded_to_steps

_MOST_PROJECTIONS = 4  # whose weights are drawn


def report(
    tree: xr.DataTree,
    path: str | os.PathLike[str],
    *,
    title: str = "Moments and spikes",
    circuit: Described | None = None,
    remarks: Sequence[str] = (),
) -> Path:
    """Write a self-contained HTML report of a result.

    Sections appear for what the result has: ``/training`` gives the training curve, ``/inputs`` examples of the stimuli
    (see `mnnbio.results.example_inputs`), ``/spikes`` the raster and, with a readout and
    known classes, accuracy against decision time; decisions with known classes the confusion matrices; ``/comparison``
    (or ``/prediction`` and ``/simulation``) the rest, ``/dynamics`` (see `dynamics`) population rates, spectra,
    irregularity and balance, ``/weights`` those of plastic projections. Decisions and inputs are taken from the result
    in the group ``/decisions`` if there is one. The figures are also written to ``figures/`` beside the report, as PNG,
    SVG and PDF.

    Parameters
    ----------
    tree : DataTree
        The result.
    path : path-like
        The HTML file. It is replaced as a whole once it is complete.
    title : str
        Heading of the report.
    circuit : Circuit, optional
        The circuit, for its diagram and its tables.
    remarks : sequence of str
        Sentences on what limits the result, shown at the beginning.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If there is nothing to report on.
    FileError
        If the files cannot be written.
    """
    path = Path(path)
    notes = _notes(tree)
    comparison = _comparison(tree)
    decider = tree.children.get("decisions", tree)
    decisions = _comparison(decider) if decider is not tree else comparison
    illustrations = list(_illustrations(tree, comparison, decider, decisions))
    if circuit is not None and illustrations:
        illustrations.insert(0, circuit_illustration(circuit))
    if not illustrations:
        raise ValueError(f"nothing to report on: the result has the groups {', '.join(tree.groups)}")
    return write_page(
        path,
        illustrations,
        title=title,
        findings=[*_states(tree), *_findings(comparison, decisions)],
        layers=[] if comparison is None else _layers(comparison),
        pooled=comparison is not None and captions.prefix(comparison, "rate") != "rate",
        min_rate=None if comparison is None else f"{comparison.attrs['min_rate']:g}",
        notes=[*remarks, *notes],
        tables=[] if circuit is None else circuit_tables(circuit.describe()),
        provenance=_provenance(tree),
    )


def write_page(path: Path, illustrations: Sequence[Illustration], *, title: str, **parts: Any) -> Path:
    """Write a self-contained page with figures, which also go to files of their own, and return its path.

    Parameters
    ----------
    path : Path
        The HTML file, replaced as a whole once it is complete.
    illustrations : sequence of Illustration
    title : str
    **parts
        What the page has besides, by the names of its template: `findings` and `provenance`, pairs of text; `notes`,
        sentences; `layers` and `tables`.
    """
    shown = []
    for item in illustrations:
        files = save_figure(item.figure, path.parent / "figures" / item.key)
        code = base64.b64encode(files["svg"].read_bytes()).decode()
        # Type of a printed column is small on a screen.
        width = 1.3 * item.figure.get_size_inches()[0]
        shown.append({**item._asdict(), "source": f"data:image/svg+xml;base64,{code}", "width": f"{width:.2f}in"})
    template = resources.files("mnnbio.analyses").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    usual: dict[str, Any] = {"findings": [], "notes": [], "layers": [], "tables": [], "provenance": []}
    page = environment.from_string(template).render({**usual, **parts, "title": title, "illustrations": shown})
    with written_aside(path) as aside:
        aside.write_text(page, encoding="utf-8")
    return path


def _comparison(tree: xr.DataTree) -> xr.Dataset | None:
    if "comparison" in tree.children:
        return tree["comparison"].to_dataset()
    if {"prediction", "simulation"} <= set(tree.children):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ComparisonWarning)  # they stand in the report
            return compare(tree, tree)
    return None


def _notes(tree: xr.DataTree) -> list[str]:
    """Return what limits the comparison."""
    if not {"prediction", "simulation"} <= set(tree.children):
        return []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        align(tree, tree)
    messages = [str(w.message) for w in caught if issubclass(w.category, ComparisonWarning)]
    return [message[0].upper() + message[1:] + "." for message in messages]


def _states(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return in words the state of a circuit whose dynamics were measured."""
    if "dynamics" not in tree.children:
        return []
    measured = tree.children["dynamics"]
    oscillation = oscillation_sentence(measured)
    found = [("State", state_sentence(measured))]
    return found if oscillation is None else [*found, ("Oscillations", oscillation)]


def _findings(comparison: xr.Dataset | None, decisions: xr.Dataset | None) -> list[tuple[str, str]]:
    """Return the headline sentences, each with its subject."""
    found = []
    if comparison is not None:
        found.append(("Rates", captions.verdict(comparison, "rate")))
        if "count_variance_z" in comparison:
            ratio = comparison[f"{captions.prefix(comparison, 'count_variance')}_median_ratio"]
            text = f"The median ratio of simulated to predicted variance is {captions.number(ratio)}. "
            found.append(("Count variances", text + captions.verdict(comparison, "count_variance")))
        name = _matrix(comparison)
        if name is not None:
            found.append(("Covariances", captions.covariance_verdict(comparison, name)))
    verdict = None if decisions is None else captions.decision_verdict(decisions)
    return found if verdict is None else [("Decisions", verdict), *found]


def _matrix(comparison: xr.Dataset) -> str | None:
    """Return which covariance is shown, if any."""
    return next((name for name in ("count_covariance", "covariance") if f"{name}_r" in comparison), None)


def _layers(comparison: xr.Dataset) -> list[dict[str, str]]:
    """Return the rows of the summary table."""
    rate, variance = captions.prefix(comparison, "rate"), captions.prefix(comparison, "count_variance")
    rows = []
    for name in [None, *(comparison["layer"].to_numpy().tolist() if "layer" in comparison.coords else [])]:

        def of(variable: str, name: str | None = name) -> float:
            chosen = comparison.get(variable if name is None else f"layer_{variable}")
            return float("nan") if chosen is None else float(chosen if name is None else chosen.sel(layer=name))

        neurons = np.arange(comparison.sizes["neuron"])
        mine = neurons if name is None else neurons[comparison["population"].to_numpy() == name]
        rows.append(
            {
                "name": _subject(comparison) if name is None else str(name),
                "neurons": str(len(mine)),
                "predicted": captions.number(comparison[f"{rate}_predicted"].isel(neuron=mine).mean()),
                "simulated": captions.number(comparison[f"{rate}_simulated"].isel(neuron=mine).mean()),
                "error": captions.percent(of(f"{rate}_median_relative_error")),
                "sampling": captions.percent(of(f"{rate}_sampling_relative_error")),
                "r": captions.correlation(of(f"{rate}_r")),
                "z_rms": captions.number(of(f"{rate}_z_rms")),
                "within": captions.percent(of(f"{rate}_z_within_2")),
                "p": captions.probability(of(f"{rate}_p")).removeprefix("p = ").removeprefix("p "),
                "variance_ratio": captions.number(of(f"{variance}_median_ratio")),
            }
        )
    return rows[1:] + rows[:1] if len(rows) > 2 else rows[:1]


def _subject(comparison: xr.Dataset) -> str:
    """Return what all neurons are called: by their population, if it is the only one."""
    names = comparison["layer"].to_numpy().tolist() if "layer" in comparison.coords else []
    return str(names[0]) if len(names) == 1 else "all neurons"


def _illustrations(
    tree: xr.DataTree, comparison: xr.Dataset | None, decider: xr.DataTree, decisions: xr.Dataset | None
) -> Iterator[Illustration]:
    """Yield every figure that the result has data for, with its caption."""
    if "training" in tree.children:
        text = "Loss and score of the network."
        training = tree["training"].to_dataset()
        if "best_epoch" in training.attrs:
            text += " Dotted line: the epoch whose parameters were kept."
        yield Illustration("training", "Training", plots.plot_training(training).figure, text)
        yield from table_illustrations(tree.children["training"])
    yield from _input_illustration(decider)
    if decisions is not None and {"true_class", "moment_decision", "spiking_decision"} <= set(decisions):
        yield _confusion_illustration(decider, decisions)
    if decisions is not None and "true_class" in decisions and "spikes" in decider.children:
        yield from _accuracy_illustration(decider, decisions)
    if comparison is not None:
        yield from _comparison_illustrations(comparison)
    if "spikes" in tree.children and tree["spikes"].sizes["spike"]:
        text = (
            "Spikes at the beginning of one trial (top; one row a neuron, at most 150 evenly chosen) and population "
            "rates over all trials (bottom). Grey: warm-up, not analysed; rates should have settled where it ends."
        )
        yield Illustration("raster", "Spikes", spike_plots.plot_raster(tree).figure, text)
    if "dynamics" in tree.children:
        yield from dynamics_illustrations(tree)
    if "weights" in tree.children:
        yield from _weight_illustrations(tree)


def _weight_illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield the weights of the first plastic projections."""
    groups = [name for name, group in tree["weights"].children.items() if "weight" in group]
    for name in groups[:_MOST_PROJECTIONS]:
        own = tree["weights"][name]
        title = f"Weights of {own.attrs['source']} → {own.attrs['target']}"
        several = own.sizes.get("stimulus", 1) > 1
        text = f"at the end of {'the first stimulus, ' if several else ''}all trials"
        if "weight_course" in own:
            text = f"a, weights at the start of the recording and {text}. b, their mean and middle half in time."
        else:
            text = f"Weights {text}."
        if len(groups) > _MOST_PROJECTIONS:
            text += f" One of {len(groups)} plastic projections, of which {_MOST_PROJECTIONS} are shown."
        yield Illustration(f"weights_{name}", title, weights.plot_weights(tree, str(name)).figure, text)


def _comparison_illustrations(comparison: xr.Dataset) -> Iterator[Illustration]:
    pooled = captions.prefix(comparison, "rate") != "rate"
    one = "a neuron" if "stimulus" not in comparison.sizes else "a neuron and stimulus"
    points = f"One point {'a neuron, mean over stimuli' if pooled else one}; bars: one standard error"
    text = f"a, simulated against predicted rates; line: equality. b, their difference. {points}."
    verdict = captions.verdict(comparison, "rate")
    yield Illustration("rates", "Firing rates", plots.plot_rates(comparison).figure, f"{text} {verdict}")
    if "count_fano_z" in comparison:
        text = f"a, count variances. b, Fano factors. {points}."
        if pooled:
            text += " Fano factors are ratios of the mean variance and the mean count, without error bars."
        verdict = captions.verdict(comparison, "count_variance")
        figure = plots.plot_count_statistics(comparison).figure
        yield Illustration("count_statistics", "Variability", figure, f"{text} {verdict}")
    name = _matrix(comparison)
    if name is not None and comparison.sizes["neuron"] > 2:
        stimuli = " (means over stimuli)" if "stimulus" in comparison.sizes else ""
        text = f"a, b, predicted and simulated covariance matrices{stimuli} without their diagonals, one colour scale; "
        text += "lines divide populations. c, their elements against each other; line: equality."
        yield Illustration(
            "covariance",
            "Covariances",
            plots.plot_covariance(comparison).figure,
            f"{text} {captions.covariance_verdict(comparison, name)}",
        )
    text = "Differences of single neurons in units of their standard errors; line: standard normal distribution, which "
    text += "an exact prediction would follow. Root mean square (in brackets: for an exact prediction)"
    for name in ("rate", "count_variance"):
        if f"{name}_z" in comparison:
            key = captions.prefix(comparison, name)
            rms, exact = (captions.number(comparison[f"{key}_{summary}"]) for summary in ("z_rms", "z_rms_expected"))
            text += f"{':' if name == 'rate' else ','} {name.replace('_', ' ')} {rms} ({exact})"
    if "min_spikes" in comparison.attrs:
        text += f"; of estimates expected to rest on {comparison.attrs['min_spikes']:g} spikes or more"
    text += "."
    yield Illustration("z", "Differences in standard errors", plots.plot_z(comparison).figure, text)


def _input_illustration(decider: xr.DataTree) -> Iterator[Illustration]:
    """Yield examples of the stimuli, where the result has them."""
    if "inputs" not in decider.children or "input" not in decider["inputs"]:
        return
    inputs = decider["inputs"].to_dataset()
    shown = inputs["input"]
    titles = inputs["target"].to_numpy().tolist() if "target" in inputs.variables else None
    text = "The first stimuli"
    text += ", under the classes or values that they belong to" if titles is not None else ""
    text += "." if "row" in shown.dims else "; bars are features, from the first at the top."
    number = 8 if "row" in shown.dims else 4
    figure = plots.plot_inputs(shown, titles=titles, number=number).figure
    yield Illustration("inputs", "Example inputs", figure, text)


def _confusion_illustration(decider: xr.DataTree, decisions: xr.Dataset) -> Illustration:
    """Return the confusion matrices of both networks."""
    readout = stored_readout(decider)
    names = None if readout is None or readout.labels is None else list(readout.labels)
    text = (
        "Share of the stimuli of each class (rows) that are decided to be of each class (columns), in percent: a, by "
    )
    text += "the moment network; b, by its spikes, over all trials. Right decisions stand on the diagonal."
    figure = plots.plot_confusion(decisions, names=names).figure
    return Illustration("confusion", "Decisions by class", figure, text)


def _accuracy_illustration(decider: xr.DataTree, comparison: xr.Dataset) -> Iterator[Illustration]:
    readout, spikes = stored_readout(decider), decider["spikes"].to_dataset()
    if readout is None or np.isin(spikes["population"], readout.source).sum() != readout.weights.shape[1]:
        return
    labels = comparison["true_class"].to_numpy()
    names = labels if readout.labels is None else np.array(readout.labels)[labels]
    source = recorded(decider)
    times = 1e3 * float(spikes.attrs["duration"]) * np.linspace(0.05, 1, 20)
    times = np.unique([rounded_to_steps(time, source.step) for time in times.tolist()])
    curve = accuracy_against_time(decider, readout, names, times)
    spent = captions.number(curve["spikes"][-1])
    text = (
        "Accuracy of decisions from the spikes up to each time, counted from the end of the warm-up; band: one "
        f"standard error over stimuli. By the end the population that is read out has fired {spent} spikes in a trial. "
    )
    figure = figure_of(plots.plot_accuracy(curve, moment_accuracy=float(comparison["moment_accuracy"])))
    yield Illustration("accuracy", "Accuracy against time", figure, text + captions.accuracy_verdict(comparison))


def _provenance(tree: xr.DataTree) -> list[tuple[str, str]]:
    """Return how the numbers were made."""
    attrs: dict[Any, Any] = dict(tree.attrs)
    stimuli = tree["simulation"].sizes.get("stimulus") if "simulation" in tree.children else None
    entries: list[tuple[str, str]] = []
    for key, label, scale, unit in (
        ("duration", "Recorded duration of a trial", 1.0, "s"),
        ("warmup", "Warm-up before it", 1e3, "ms"),
        ("dt", "Time step", 1e3, "ms"),
        ("window", "Counting window", 1e3, "ms"),
        ("trials", "Trials", 1, ""),
        ("seed", "Seed", 1, ""),
    ):
        if key in attrs and not isinstance(attrs[key], str):
            entries.append((label, f"{attrs[key] * scale:g} {unit}".strip()))
    if stimuli is not None:
        entries.append(("Stimuli", str(stimuli)))
    if "decisions" in tree.children:
        entries.append(("Decisions", _presentations(tree.children["decisions"])))
    prediction = tree["prediction"].attrs if "prediction" in tree.children else {}
    for key, label in (("theory", "Theory"), ("closure", "Closure")):
        if key in prediction:
            entries.append((label, str(prediction[key])))
    if "codegen" in attrs:
        entries.append(("Spikes computed by", str(attrs["codegen"])))
    description = circuit_description(tree)
    if description is not None:
        sizes = ", ".join(f"{p['name']} ({p['size']})" for p in description.get("populations", ()))
        entries.append(("Circuit", sizes))
    if "circuit_hash" in attrs:
        entries.append(("Circuit hash", str(attrs["circuit_hash"])))
    versions = [f"{k.removesuffix('_version')} {v}" for k, v in attrs.items() if str(k).endswith("_version")]
    if versions:
        entries.append(("Versions", ", ".join(versions)))
    return entries


def _presentations(tree: xr.DataTree) -> str:
    """Return in words how the stimuli of a simulation were presented."""
    attrs = tree.attrs
    known = [f"{attrs['trials']} trials"] if "trials" in attrs else []
    if "simulation" in tree.children and "stimulus" in tree["simulation"].sizes:
        known.insert(0, f"{tree['simulation'].sizes['stimulus']} stimuli")
    known += [f"{1e3 * attrs['duration']:g} ms"] if "duration" in attrs else []
    text = " × ".join(known)
    text += f" after {1e3 * attrs['warmup']:g} ms" if "warmup" in attrs else ""
    return text + (f", seed {attrs['seed']}" if "seed" in attrs else "")


class Described(Protocol):
    """Description of a circuit as far as a report needs it: `mnnbio.Circuit` is one."""

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
        figure = figure_of(dynamics_plots.plot_stimuli(simulated, prediction))
        yield Illustration("stimuli", "Rates by stimulus", figure, text)
    first = " The first stimulus." if "stimulus" in groups["rates"].dims else ""
    rates = groups["rates"].to_dataset()["population_rate"]
    bin = 1e3 * float(rates.attrs["bin"])
    text = f"Rate of each population in bins of {bin:g} ms, first trial; dashed: mean of the time shown.{first}"
    yield Illustration("population_rates", "Population rates", dynamics_plots.plot_population_rates(rates).figure, text)
    predicted = groups["predicted_spectra"].to_dataset() if "predicted_spectra" in groups else None
    spectra = groups["spectra"].to_dataset()
    text = "a, power spectra of population rates (two-sided; bands: one standard error)"
    text += ", and their prediction by linear response (dashed)" if predicted is not None else ""
    text += f". b, coherence with the first population; dotted: the mean of {spectra.attrs['segments']} segments of "
    text += f"independent rates.{first}"
    figure = dynamics_plots.plot_spectra(spectra, predicted).figure
    yield Illustration("spectra", "Spectra of population rates", figure, text)
    text = (
        "a, firing rates, and b, coefficients of variation of interspike intervals over the neurons of each population"
    )
    text += ", all stimuli together" if first else ""
    text += f"; dotted: a Poisson process. {_synchrony_text(groups['synchrony'].to_dataset())}"
    yield Illustration(
        "intervals", "Irregularity", dynamics_plots.plot_intervals(groups["intervals"].to_dataset()).figure, text
    )
    if "currents" in groups:
        currents = groups["currents"].to_dataset()
        share = float(np.nanmedian(currents["cancelled"]))
        text = "a, mean inhibitory against excitatory current of every neuron, drives included; line: perfect balance. "
        text += f"b, the part 1 − |E + I|/(E + |I|) of the currents that cancels, {share:.0%} in the median."
        yield Illustration("currents", "Balance of currents", dynamics_plots.plot_currents(currents).figure, text)


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
