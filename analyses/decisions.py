"""Decisions of the moment network and of its spikes, and how often they are right."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.analyses.alignment import group
from mnnbio.analyses.binned_counts import recorded
from mnnbio.analyses.circuit_text import result_of
from mnnbio.results import counts, whole_steps
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

_DRAWS = 2000


class Readout(Protocol):
    """Decision variable ``weights @ rate + bias``, rate in spikes/ms: a circuit's readout, or anything like it."""

    @property
    def source(self) -> str | tuple[str, ...]:
        """Population that is read out, or several, whose neurons follow one another in the weights."""

    @property
    def weights(self) -> Array:
        """Shape (output, neuron)."""

    @property
    def bias(self) -> Array:
        """Shape (output,)."""


def classification(
    prediction: xr.Dataset | xr.DataTree,
    simulation: xr.Dataset | xr.DataTree,
    labels: npt.ArrayLike | xr.DataArray | None = None,
    *,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the decisions of the moment network with those of the spiking network.

    A decision is the output with the largest decision variable. The stimulus is the sampling unit: trials of one
    stimulus are averaged first, and standard errors are over stimuli.

    Parameters
    ----------
    prediction, simulation : Dataset or DataTree
        As for `compare`; both with ``readout``, over ([stimulus,] output) and ([stimulus,] trial, output).
    labels : array_like or DataArray (stimulus,), optional
        True class of each stimulus: a label of the coordinate `output`, or its position where there is none. Labels of
        a DataArray must have the prediction's `stimulus` coordinate.
    seed : int
        Seed of the samples from the predicted distribution of the decision variables.

    Returns
    -------
    Dataset
        ``moment_decision`` (stimulus), ``spiking_decision`` (stimulus, trial): positions along `output`;
        ``agreement`` (share of trials in which the spikes decide as the moments), ``agreement_se``. With labels also
        ``moment_accuracy``, ``spiking_accuracy``, ``accuracy_difference`` (spiking − moment; paired) and their ``_se``,
        ``n_stimuli`` and ``true_class`` (stimulus). If the prediction has ``readout_covariance`` for the duration of
        the decisions, also ``agreement_predicted`` and ``spiking_accuracy_predicted``: what decision variables of the
        predicted mean and covariance, taken as Gaussian, would do.

    Raises
    ------
    ValueError
        If a readout is missing, there are no stimuli, or a label is of no output.
    """
    predicted, simulated = group(prediction, "prediction"), group(simulation, "simulation")
    for side, data in (("prediction", predicted), ("simulation", simulated)):
        if "readout" not in data:
            raise ValueError(f"the {side} has no variable `readout`: the circuit needs a readout")
    if "stimulus" not in predicted["readout"].dims or "stimulus" not in simulated["readout"].dims:
        if labels is not None:
            raise ValueError("`labels` need a `stimulus` dimension, the readout has none")
        return xr.Dataset()
    moment = predicted["readout"].transpose("stimulus", "output").to_numpy().argmax(axis=1)
    spiking = simulated["readout"].transpose("stimulus", "trial", "output").to_numpy().argmax(axis=2)
    coords = {name: c for name, c in predicted["readout"].coords.items() if c.dims == ("stimulus",)}
    out = xr.Dataset(coords=coords)
    output = "position along `output`"
    out["moment_decision"] = ("stimulus", moment, _attrs(f"decision of the moment network, {output}"))
    out["spiking_decision"] = (("stimulus", "trial"), spiking, _attrs(f"decision of the spiking network, {output}"))
    agreement = (spiking == moment[:, None]).mean(axis=1)
    _add_mean(out, "agreement", agreement, "share of trials in which spikes decide as the moments")
    share = _predicted_choices(predicted, simulation, seed)
    if share is not None:
        value = float(np.take_along_axis(share, moment[:, None], axis=1).mean())
        out["agreement_predicted"] = ((), value, _attrs("agreement that the predicted covariance implies"))
    if labels is not None:
        truth = _positions(labels, predicted["readout"])
        right, spikes_right = (moment == truth).astype(float), (spiking == truth[:, None]).mean(axis=1)
        out["true_class"] = ("stimulus", truth, _attrs(f"true class, {output}"))
        _add_mean(out, "moment_accuracy", right, "accuracy of the moment network")
        _add_mean(out, "spiking_accuracy", spikes_right, "accuracy of the spiking network, mean over trials")
        _add_mean(out, "accuracy_difference", spikes_right - right, "spiking − moment accuracy, paired by stimulus")
        if share is not None:
            value = float(np.take_along_axis(share, truth[:, None], axis=1).mean())
            text = "spiking accuracy that the predicted covariance implies"
            out["spiking_accuracy_predicted"] = ((), value, _attrs(text))
        out["n_stimuli"] = ((), len(truth), _attrs("number of stimuli"))
    return out


def accuracy_against_time(
    result: xr.DataTree | xr.Dataset, readout: Readout, labels: npt.ArrayLike | xr.DataArray, times: Any
) -> xr.Dataset:
    """Return the accuracy of decisions from the spikes up to each time.

    The decision variable at time t is ``weights @ counts(0, t) / t + bias``, from the end of the warm-up on.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes``, or that group.
    readout : Readout
        Source population, weights (output, neuron) for rates in spikes/ms, bias (output,).
    labels : array_like or DataArray (stimulus,)
        True class of each stimulus, a position along the outputs; or a label of the readout, if it has `labels`.
    times : sequence of float, or Quantity
        Decision times, ms, each a whole number of steps; > 0 and at most the recorded duration.

    Returns
    -------
    Dataset
        Over ``time`` (s): ``accuracy``, ``accuracy_se`` (over stimuli) and ``spikes`` (mean number of spikes of the
        source population in a trial up to then).

    Raises
    ------
    ValueError
        If the source population was not recorded in full, there are no stimuli, or a time or label is out of range.
    """
    found_in = recorded(result)
    spikes = found_in.data
    if "row_size" not in spikes:
        raise ValueError("accuracy against time needs spike trains, the result has counts only")
    names = (readout.source,) if isinstance(readout.source, str) else readout.source
    owner = spikes["population"].to_numpy()
    source = np.concatenate([np.flatnonzero(owner == name) for name in names])
    weights, bias = np.asarray(readout.weights), np.asarray(readout.bias)
    if len(source) != weights.shape[1]:
        raise ValueError(
            f"the readout has weights for {weights.shape[1]} neurons of {readout.source!r}, spikes of {len(source)} "
            "are stored: record the whole population"
        )
    if "stimulus" not in spikes["row_size"].dims:
        raise ValueError("accuracy needs a `stimulus` dimension, the spike trains have none")
    outputs: dict[str, tuple[str, object]] = {}
    if getattr(readout, "labels", None) is not None:
        outputs["output"] = ("output", list(readout.labels))  # type: ignore[attr-defined]
    template = xr.DataArray(
        np.zeros((spikes.sizes["stimulus"], len(bias))),
        dims=("stimulus", "output"),
        coords={**outputs, **{k: c for k, c in spikes["row_size"].coords.items() if c.dims == ("stimulus",)}},
    )
    truth = _positions(labels, template)
    duration = 1e3 * float(spikes.attrs["duration"])
    at = np.atleast_1d(in_unit(times, "ms", "times"))
    if at.ndim != 1 or not len(at) or not ((at > 0) & (at <= duration * (1 + 1e-9))).all():
        raise ValueError(f"`times` must be > 0 ms and at most the duration, {duration:g} ms, got {at.tolist()}")
    if found_in.step is not None:
        for time in at.tolist():
            whole_steps(time, found_in.step, "times")
    rows = []
    for time in at.tolist():
        upto = counts(spikes, stop=time).isel(window=0, neuron=source)
        total = upto.transpose("stimulus", "trial", "neuron").to_numpy()
        decision = (total / time @ weights.T + bias).argmax(axis=2)
        right = (decision == truth[:, None]).mean(axis=1)
        rows.append((right.mean(), _standard_error(right), total.sum(axis=2).mean()))
    accuracy, error, spent = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    return xr.Dataset(
        {
            "accuracy": ("time", accuracy, _attrs("accuracy of the spiking network, mean over stimuli and trials")),
            "accuracy_se": ("time", error, _attrs("standard error of the accuracy, over stimuli")),
            "spikes": ("time", spent, _attrs(f"mean number of spikes of {' and '.join(names)} in a trial")),
        },
        coords={"time": ("time", 1e-3 * at, {"long_name": "decision time after the warm-up", "units": "s"})},
        attrs={"n_stimuli": len(truth), "n_outputs": len(bias)},
    )


def _positions(labels: npt.ArrayLike | xr.DataArray, readout: xr.DataArray) -> npt.NDArray[np.int64]:
    """Return the true classes as positions along the output."""
    values = np.asarray(labels)
    n = readout.sizes["stimulus"]
    if values.shape != (n,):
        raise ValueError(f"`labels` must have one value for each of the {n} stimuli, got shape {values.shape}")
    if isinstance(labels, xr.DataArray) and "stimulus" in labels.coords and "stimulus" in readout.coords:
        differ = np.flatnonzero(labels["stimulus"].to_numpy() != readout["stimulus"].to_numpy())
        if len(differ):
            k = int(differ[0])
            theirs, ours = labels["stimulus"].to_numpy().tolist()[k], readout["stimulus"].to_numpy().tolist()[k]
            raise ValueError(f"`labels` are of other stimuli: {theirs!r} at position {k}, the readout has {ours!r}")
    if "output" in readout.coords:
        names = readout["output"].to_numpy()
        # Class labels may be numbers in the data and text in the circuit.
        positions = {str(name): k for k, name in enumerate(names.tolist())}
        unknown = sorted({str(v) for v in values.tolist()} - set(positions))
        if unknown:
            raise ValueError(f"`labels` has {unknown[0]!r}, the readout has the outputs {', '.join(positions)}")
        return np.array([positions[str(v)] for v in values.tolist()], dtype=np.int64)
    if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= readout.sizes["output"]:
        raise ValueError(f"`labels` must be positions 0 to {readout.sizes['output'] - 1} along `output`, got {values}")
    return values.astype(np.int64)


def _predicted_choices(predicted: xr.Dataset, simulation: xr.Dataset | xr.DataTree, seed: int) -> Array | None:
    """Return how often Gaussian decision variables choose each output (stimulus, output), None where unknown."""
    attrs = result_of(simulation).attrs if isinstance(simulation, xr.DataTree) else simulation.attrs
    window, duration = predicted.attrs.get("window"), attrs.get("duration")
    if "readout_covariance" not in predicted or window is None or duration is None:
        return None
    if not np.isclose(window, duration):  # the covariance is that of shorter counts than those decided from
        return None
    mean = predicted["readout"].transpose("stimulus", "output").to_numpy()
    covariance = predicted["readout_covariance"].transpose("stimulus", "output", "output_j").to_numpy()
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]  # rounding leaves eigenvalues of -1e-20
    noise = np.random.default_rng(seed).standard_normal((_DRAWS, mean.shape[1]))
    choice = (mean[:, None, :] + noise @ root.transpose(0, 2, 1)).argmax(axis=2)
    return np.stack([(choice == k).mean(axis=1) for k in range(mean.shape[1])], axis=1)


def _attrs(long_name: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1"}


def _standard_error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _add_mean(out: xr.Dataset, name: str, values: Array, long_name: str) -> None:
    """Add the mean over stimuli and its standard error."""
    out[name] = ((), float(values.mean()), _attrs(long_name))
    out[f"{name}_se"] = ((), _standard_error(values), _attrs(f"standard error of the {long_name}, over stimuli"))
