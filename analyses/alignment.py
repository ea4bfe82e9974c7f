"""Rules of which prediction may be compared with which simulation."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from mnnbio.analyses.circuit_text import result_of, slowest_membrane

WARMUP_IN_TIME_CONSTANTS = 5.0
FEW_SAMPLES = 30

_LABELS = ("population", "index")


class ComparisonWarning(UserWarning):
    """A comparison that can be made, but says less than it seems to."""


class WarmupWarning(ComparisonWarning):
    """The simulation was recorded before it forgot its initial state."""


class TimeStepWarning(ComparisonWarning):
    """The prediction is of another time step than the simulation's, or of continuous time."""


class WindowWarning(ComparisonWarning):
    """The prediction has no counting window, so the windowed counts have nothing to be compared with."""


class FewSamplesWarning(ComparisonWarning):
    """Standard errors come from so few samples that single z values have heavy tails."""


class MissingValuesWarning(ComparisonWarning):
    """Some neurons have no prediction, or were not measured: what is said is of the others."""


class Aligned(NamedTuple):
    """A prediction and a simulation of the same circuit, with the same labels."""

    prediction: xr.Dataset
    simulation: xr.Dataset
    attrs: dict[str, Any]
    """The simulation's attributes, those of those of the whole result included."""


def align(prediction: xr.Dataset | xr.DataTree, simulation: xr.Dataset | xr.DataTree) -> Aligned:
    """Return the two sides of a comparison, or say why they cannot be compared.

    Parameters
    ----------
    prediction : Dataset or DataTree
        A prediction, as `predict` returns it, or a tree with the group ``/prediction``.
    simulation : Dataset or DataTree
        A simulation, as `simulate` returns it, or the group ``/simulation`` of it.

    Returns
    -------
    Aligned
        The two datasets, and what is known of the simulation.

    Raises
    ------
    ValueError
        If a group or a label is missing, labels differ or stand in another order, the two come from different
        circuits, or their windows differ; or if all rates of one side are NaN.

    Warns
    -----
    WarmupWarning, TimeStepWarning, WindowWarning, FewSamplesWarning, MissingValuesWarning
        See the classes.
    """
    predicted = group(prediction, "prediction")
    simulated = group(simulation, "simulation")
    attrs = {**(result_of(simulation).attrs if isinstance(simulation, xr.DataTree) else {}), **simulated.attrs}
    _require_labels(predicted, simulated)
    _require_circuit(predicted, attrs)
    _require_times(predicted, attrs)
    _check_warmup(simulation, attrs)
    _check_values(predicted, simulated)
    samples = attrs.get("n_samples")
    if samples is not None and samples < FEW_SAMPLES:
        warnings.warn(
            f"standard errors come from {samples} samples of each neuron (at least {FEW_SAMPLES} are good): single z "
            "values have heavy tails, and those of counts below about ten spikes are skewed; trust values pooled over "
            "stimuli, or simulate more trials",
            FewSamplesWarning,
            stacklevel=3,
        )
    return Aligned(predicted, simulated, attrs)


def group(data: xr.Dataset | xr.DataTree, name: str) -> xr.Dataset:
    """Return the dataset of a group of a result, or the dataset itself.

    Raises
    ------
    ValueError
        If the tree has no such group.
    TypeError
        If `data` is neither a Dataset nor a DataTree.
    """
    if isinstance(data, xr.Dataset):
        return data
    if not isinstance(data, xr.DataTree):
        raise TypeError(f"the {name} must be an xarray Dataset or DataTree, got {type(data).__name__}")
    if name in data.children:
        return data[name].to_dataset()
    if data.name == name:
        return data.to_dataset()
    raise ValueError(f"the result has no group /{name}; it has {', '.join(data.groups) or 'none'}")


def _require_labels(predicted: xr.Dataset, simulated: xr.Dataset) -> None:
    """Raise unless both sides have the same dimensions with the same labels in the same order."""
    for dim in ("stimulus", "neuron", "neuron_j", "output"):
        if (dim in predicted.dims) != (dim in simulated.dims):
            if dim in ("neuron_j", "output"):  # one side has no covariance or readout: nothing to align
                continue
            side, other = ("prediction", "simulation") if dim in predicted.dims else ("simulation", "prediction")
            raise ValueError(f"the {side} has the dimension `{dim}`, the {other} has not")
        if dim not in predicted.dims:
            continue
        if predicted.sizes[dim] != simulated.sizes[dim]:
            raise ValueError(
                f"`{dim}` has {predicted.sizes[dim]} labels in the prediction and {simulated.sizes[dim]} in the "
                "simulation: select the same ones in both"
            )
        suffix = "_j" if dim == "neuron_j" else ""
        coordinates = [dim, *(f"{label}{suffix}" for label in _LABELS)] if dim.startswith("neuron") else [dim]
        if dim == "stimulus":
            # Stimuli without labels are numbered: labels on one side only would go unheeded otherwise.
            _require_equal(dim, predicted[dim].to_numpy(), simulated[dim].to_numpy())
            continue
        for coordinate in coordinates:
            if coordinate in predicted.coords and coordinate in simulated.coords:
                _require_equal(coordinate, predicted[coordinate].to_numpy(), simulated[coordinate].to_numpy())


def _require_equal(name: str, predicted: np.ndarray, simulated: np.ndarray) -> None:
    differ = np.flatnonzero(predicted != simulated)
    if len(differ) == 0:
        return
    k = int(differ[0])
    same_set = sorted(map(str, predicted.tolist())) == sorted(map(str, simulated.tolist()))
    remedy = "the order differs: reindex one of them" if same_set else "they are labels of different things"
    raise ValueError(
        f"`{name}` does not match at {len(differ)} of {len(predicted)} places, first at position {k}: "
        f"{predicted.tolist()[k]!r} in the prediction, {simulated.tolist()[k]!r} in the simulation; {remedy}"
    )


def _require_circuit(predicted: xr.Dataset, attrs: dict[str, Any]) -> None:
    ours, theirs = predicted.attrs.get("circuit_hash"), attrs.get("circuit_hash")
    if ours is not None and theirs is not None and ours != theirs:
        raise ValueError(
            f"prediction and simulation come from different circuits (hash {str(ours)[:12]} and {str(theirs)[:12]}): "
            "predict and simulate the same circuit object"
        )


def _require_times(predicted: xr.Dataset, attrs: dict[str, Any]) -> None:
    """Compare the time step and the counting window of both sides."""
    step, simulated_step = predicted.attrs.get("dt"), attrs.get("dt")
    if step is not None and simulated_step is not None:
        if isinstance(step, str):
            warnings.warn(
                f"the prediction is of continuous time, the simulation has dt = {1e3 * simulated_step:g} ms: a "
                "threshold tested in steps is overshot, which lowers rates; predict with the simulation's `dt`",
                TimeStepWarning,
                stacklevel=4,
            )
        elif not np.isclose(step, simulated_step, rtol=1e-6, atol=0.0):
            warnings.warn(
                f"the prediction is for dt = {1e3 * step:g} ms, the simulation ran with dt = {1e3 * simulated_step:g} "
                "ms: part of the difference is that of the steps; predict with the simulation's `dt`",
                TimeStepWarning,
                stacklevel=4,
            )
    window, simulated_window = predicted.attrs.get("window"), attrs.get("window")
    if simulated_window is None:
        return
    if window is None or "count_variance" not in predicted:
        warnings.warn(
            f"the prediction has no window, the simulation counted in windows of {1e3 * simulated_window:g} ms: count "
            "variances and covariances are not compared; predict with the simulation's `window`",
            WindowWarning,
            stacklevel=4,
        )
    elif not np.isclose(window, simulated_window, rtol=1e-6, atol=0.0):
        raise ValueError(
            f"the prediction is for windows of {1e3 * window:g} ms, the simulation counted in windows of "
            f"{1e3 * simulated_window:g} ms: predict with the simulation's `window`"
        )


def missing_values(predicted: xr.Dataset, simulated: xr.Dataset) -> list[str]:
    """Return sentences on rates and variances that are NaN or infinite, none where all are known."""
    found = []
    for side, data in (("prediction", predicted), ("simulation", simulated)):
        for name in ("rate", "count_variance", "variance"):
            if name not in data or "neuron" not in data[name].dims:
                continue
            values = data[name].transpose(..., "neuron").to_numpy()
            per_neuron = ~np.isfinite(values).reshape(-1, values.shape[-1]).all(axis=0)
            missing, total = int(per_neuron.sum()), len(per_neuron)
            if missing and not (side == "simulation" and name != "rate"):  # too few samples for a variance are no fault
                found.append(f"The {side} has no {name.replace('_', ' ')} of {missing} of {total} neurons.")
    return found


def _check_values(predicted: xr.Dataset, simulated: xr.Dataset) -> None:
    for side, data in (("prediction", predicted), ("simulation", simulated)):
        if "rate" in data and data["rate"].size and not np.isfinite(data["rate"]).any():
            raise ValueError(
                f"all rates of the {side} are NaN or infinite: there is nothing to compare. Look at its attributes "
                "(`status`, `residual`) and make it anew"
            )
    if sentences := missing_values(predicted, simulated):
        warnings.warn(
            f"{' '.join(sentences)} They are left out, and the verdict is on the others: look at how the values were "
            "made (attributes `status`, `residual`)",
            MissingValuesWarning,
            stacklevel=4,
        )


def _check_warmup(simulation: xr.Dataset | xr.DataTree, attrs: dict[str, Any]) -> None:
    warmup, tau_m = attrs.get("warmup"), slowest_membrane(simulation)
    if warmup is None or tau_m is None or warmup >= WARMUP_IN_TIME_CONSTANTS * tau_m:
        return
    warnings.warn(
        f"the warm-up of {1e3 * warmup:g} ms is {warmup / tau_m:.3g} membrane time constants "
        f"({1e3 * tau_m:g} ms; {WARMUP_IN_TIME_CONSTANTS:g} are good): the simulation still remembers its initial "
        "state, the prediction is of the stationary one; lengthen `warmup`",
        WarmupWarning,
        stacklevel=4,
    )
