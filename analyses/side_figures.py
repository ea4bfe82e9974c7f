"""Figures for a report on a result of one side, predicted or simulated, and of what stimuli do to either."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import xarray as xr

from mnnbio.analyses import captions, decoding_plots, dynamics_plots, result_plots
from mnnbio.analyses.alignment import ComparisonWarning
from mnnbio.analyses.decoding import compare_decoding
from mnnbio.analyses.figure_style import Illustration, figure_of
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.stimulus_information import discriminability

# Stimuli up to which curves are drawn, and decoders told apart.
_MOST_STIMULI, _MOST_CHOICES = 40, 12


def side_illustrations(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield the figures of a prediction or a simulation alone, or of both where they cannot be compared.

    Parameters
    ----------
    tree : DataTree
    """
    sides = {name: tree[name].to_dataset() for name in ("prediction", "simulation") if name in tree.children}
    if any("rate" in data and "neuron" in data["rate"].dims for data in sides.values()):
        text = "Share of neurons that fire less than a rate, by population"
        text += "; all stimuli together." if any("stimulus" in data.sizes for data in sides.values()) else "."
        yield Illustration("rates", "Firing rates", figure_of(result_plots.plot_rate_distribution(tree)), text)
    for side, data in sides.items():
        if any(name in data for name in ("count_covariance", "covariance")) and data.sizes["neuron"] > 1:
            stimuli = " (mean over stimuli)" if "stimulus" in data.sizes else ""
            text = f"Covariance matrix{stimuli} without its diagonal, ordered by population."
            key = "covariance" if len(sides) == 1 else f"covariance_{side}"
            figure = figure_of(result_plots.plot_covariance_matrices(data))
            yield Illustration(key, "Covariances", figure, text)
        for kind, along in (("courses", "time"), ("spectra", "frequency")):
            curves = data[[name for name in data.data_vars if result_plots.is_course(str(name), data[name], along)]]
            if curves.data_vars:
                text = ", ".join(str(curves[name].attrs.get("long_name", name)) for name in list(curves)[:2])
                figure = figure_of(result_plots.plot_courses(curves))
                title = "Courses in time" if along == "time" else "Spectra"
                yield Illustration(kind, title, figure, f"{text[0].upper()}{text[1:]}.")


def interval_illustration(tree: xr.DataTree) -> Iterator[Illustration]:
    """Yield how regular the spike trains of a result are, where it has spikes of labelled neurons."""
    if "spikes" not in tree.children or "population" not in tree["spikes"].coords:
        return
    intervals = spike_statistics(tree, windows=())
    if not np.isfinite(intervals["cv"]).any():
        return
    text = "a, firing rates, and b, coefficients of variation of interspike intervals over the neurons of each "
    text += "population"
    text += ", all stimuli together" if "stimulus" in intervals.dims else ""
    figure = figure_of(dynamics_plots.plot_intervals(intervals))
    yield Illustration("intervals", "Irregularity", figure, f"{text}; dotted: a Poisson process.")


def stimulus_illustrations(tree: xr.DataTree, notes: list[str]) -> Iterator[Illustration]:
    """Yield tuning curves, where stimuli have labels of their own, and how well they are told apart.

    Parameters
    ----------
    tree : DataTree
    notes : list of str
        Why there is no decoding is added to it, where there could be.
    """
    sides = [tree[name].to_dataset() if name in tree.children else None for name in ("prediction", "simulation")]
    known = [side for side in sides if side is not None and "rate" in side and "neuron" in side["rate"].dims]
    if not known or "stimulus" not in known[0]["rate"].dims:
        return
    number = known[0].sizes["stimulus"]
    labels = known[0]["stimulus"].to_numpy()
    if 2 < number <= _MOST_STIMULI and not (labels.dtype.kind in "iu" and (labels == np.arange(number)).all()):
        prediction, simulation = (side if side is not None and "rate" in side else None for side in sides)
        text = (
            "Rates of the neurons that stimuli modulate most: predicted (lines), simulated (points; bars: one standard "
        )
        text += "error)."
        figure = figure_of(decoding_plots.plot_tuning_curves(prediction, simulation))
        yield Illustration("tuning", "Tuning curves", figure, text)
    if 2 <= number <= _MOST_CHOICES and len(known) == 2 and "spikes" in tree.children:
        yield from _decoding(tree, notes)
        yield from _discriminability(*(side for side in sides if side is not None))


def _discriminability(prediction: xr.Dataset, simulation: xr.Dataset) -> Iterator[Illustration]:
    """Yield d′ of neighbouring stimuli, predicted, and simulated where there are enough counts for so many neurons."""
    if "count_covariance" not in prediction:
        return
    try:
        predicted = discriminability(prediction)
    except ValueError:  # such as a covariance that is not positive definite: `_decoding` says so
        return
    gain = captions.number(predicted["covariance_gain"].median())
    text = (
        "Discriminability d′ of each stimulus and the next by a linear decoder, predicted with and without covariances"
    )
    text += f"; in the median covariances multiply its square by {gain}. "
    try:
        simulated = discriminability(simulation)
        text += "Points: simulated, corrected for finite data, with 95 % intervals."
    except ValueError as error:
        simulated = None
        text += f"There is no simulated value: {str(error).partition(':')[0].replace('`', '')}."
    figure = figure_of(decoding_plots.plot_discriminability(predicted, simulated))
    yield Illustration("discriminability", "Discriminability of stimuli", figure, text)


def _decoding(tree: xr.DataTree, notes: list[str]) -> Iterator[Illustration]:
    """Yield the accuracy of linear decoders of stimuli, where moments and spikes suffice."""
    recorded = tree["spikes"].sizes["neuron"] == tree["prediction"].sizes.get("neuron")
    if not recorded or "count_covariance" not in tree["prediction"] or tree["spikes"].sizes["trial"] < 5:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ComparisonWarning)
        try:
            decoding = compare_decoding(tree, tree)
        except ValueError as error:  # such as silent neurons
            notes.append(f"Stimuli are not decoded: {str(error).replace('`', '').rstrip('.')}.")
            return
    window, z = 1e3 * decoding.attrs["window"], float(decoding["mean_accuracy_z"])
    text = (
        f"How often a linear decoder finds the stimulus from {window:g} ms: a, each stimulus, predicted by moments "
        "against the same decoder on spikes (one standard error); b, their means, and that of a decoder fitted to "
        f"spikes (cross-validated). {captions.number(decoding['mean_accuracy_predicted'])} is predicted and "
        f"{captions.number(decoding['mean_accuracy_spikes'])} measured"
    )
    text += f", {captions.number(abs(z), 2)} standard errors apart." if np.isfinite(z) else "."
    yield Illustration("decoding", "Decoding of stimuli", figure_of(decoding_plots.plot_decoding(decoding)), text)
