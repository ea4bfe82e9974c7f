"""Measurements of a circuit's dynamics, as groups of one tree, and sentences that say what they show."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.balance import Wired, current_balance, why_no_currents
from mnnbio.analyses.binned_counts import population_rates
from mnnbio.analyses.spectra import population_spectra
from mnnbio.analyses.spike_trains import spike_statistics
from mnnbio.analyses.states import network_state, synchrony


def dynamics(result: xr.DataTree, circuit: Wired | None = None, *, bin: Any = None, segment: Any = None) -> xr.DataTree:
    """Measure the dynamics of a simulated circuit.

    Parameters
    ----------
    result : DataTree
        A simulation, as `simulate` returns it, with the spikes of all populations.
    circuit : Circuit, optional
        The circuit; with it the balance of currents is measured, averaged over the recording where inputs change, if
        weights are in mV and stay as they are.
    bin : float or Quantity, optional
        Bin of population rates and spectra, ms: a whole number of steps. Default: the one nearest to 1 ms.
    segment : float or Quantity, optional
        Length of the segments of spectra, ms; see `population_spectra`.

    Returns
    -------
    DataTree
        Groups ``rates`` (`population_rates`), ``spectra`` (`population_spectra`), ``synchrony``, ``intervals``
        (`spike_statistics`), ``state`` (`network_state`), and ``currents`` (`current_balance`). To be kept in a result
        as its group ``dynamics``, where the report finds it.

    Raises
    ------
    ValueError
        If there are no spikes, or a trial is shorter than a segment.
    """
    if not isinstance(result, xr.DataTree):
        raise TypeError(f"expected what `simulate` returns, a DataTree, got {type(result).__name__}")
    group(result, "spikes")  # a result without spikes is named before anything is computed
    rates = population_rates(result, bin)
    groups = {
        "rates": rates.to_dataset(),
        "spectra": population_spectra(rates, segment),
        "synchrony": synchrony(result),
        "intervals": spike_statistics(result),
        "state": network_state(result, bin=bin, segment=segment),
    }
    if circuit is not None and why_no_currents(circuit) is None:
        groups["currents"] = current_balance(group(result, "simulation"), circuit)
    return xr.DataTree.from_dict({f"/{name}": dataset for name, dataset in groups.items()})


def state_sentence(tree: xr.DataTree) -> str:
    """Say in words in which state a circuit is, from the tree that `dynamics` returns."""
    state, intervals = tree["state"].to_dataset(), tree["intervals"].to_dataset()
    number = state.sizes.get("stimulus", 1)
    stimuli = state["stimulus"].to_numpy().tolist() if "stimulus" in state.coords else range(number)
    sentences = []
    for k, label in enumerate(stimuli):
        one = state.isel(stimulus=k) if "stimulus" in state.dims else state
        own = intervals.isel(stimulus=k) if "stimulus" in intervals.dims else intervals
        subject = f"With stimulus {label} the network" if "stimulus" in state.dims else "The network"
        sentences.append(f"{subject} is {one['state'].item()}{_numbers(one, own)}.")
    return " ".join(sentences)


def oscillation_sentence(tree: xr.DataTree) -> str | None:
    """Say which oscillation is predicted, from the tree that `dynamics` returns; None where nothing was predicted."""
    if "predicted_oscillations" not in tree.children:
        return None
    modes = tree["predicted_oscillations"].to_dataset()
    if not modes.sizes["oscillation"]:
        return "Linear response predicts no oscillation."
    first = modes.isel(oscillation=0)
    grows = float(first["growth"]) > 0
    kind = "grows" if grows else f"is damped within {-1e3 / float(first['growth']):.3g} ms"
    measured = tree["state"].to_dataset()
    seen = f"the strongest one in the spikes is at {float(measured['frequency_peak']):.3g} Hz"
    if float(measured["prominence"]) < PROMINENT:
        seen = "in the spikes none stands out"
    return f"Linear response predicts an oscillation at {float(first['frequency']):.3g} Hz that {kind}; {seen}."


def _numbers(state: xr.Dataset, intervals: xr.Dataset) -> str:
    """Return rate, irregularity and oscillation of one state, in brackets."""
    if str(state["state"].item()) == "silent":
        return ""
    cv = intervals["cv"]
    known = int(cv.notnull().sum())
    texts = [f"{float(state['rate']):.3g} Hz"]
    if known > 1:
        error = float(cv.std(ddof=1)) / np.sqrt(known)
        texts.append(f"CV of intervals {float(cv.mean()):.2f} ± {error:.2g}")
    if float(state["prominence"]) > PROMINENT:
        texts.append(f"the global activity oscillates most at {float(state['frequency_peak']):.3g} Hz")
    return f" ({', '.join(texts)})"


PROMINENT = 10.0
