"""Predicted statistics of neurons in the labelled schema: times in ms become seconds, 1/ms becomes Hz."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from mnnbio.circuit import Circuit, Population, Readout, output_dim
from mnnbio.moments import count_variance
from mnnbio.results import array, neuron_coords


def step_attributes(dt: float | None) -> dict[str, float | str]:
    """Return the attributes of a prediction that say which time step (ms) it is for, the same in all."""
    if dt is None:
        note = "of continuous time; give `dt`, that of a simulation, to predict it as it runs"
        return {"dt": "continuous", "dt_note": note}
    return {"dt": dt * 1e-3, "dt_note": f"of a simulation in steps of {dt:g} ms"}


class Output(NamedTuple):
    """Statistics of neurons, each of shape (stimulus, n), in ms and mV."""

    mean_input: Tensor
    std_input: Tensor
    rate: Tensor
    variance: Tensor
    skewness: Tensor


def statistics(
    output: Output, t_ref: Tensor, window: float | None, dims: tuple[str, ...] = ("stimulus", "neuron")
) -> tuple[list[xr.DataArray], Tensor | None]:
    """Return the labelled statistics of single trains, and the variance of their counts in the window (ms), if any."""
    rate, variance = output.rate, output.variance
    spiking = rate > 0
    # A silent neuron is the limit of a Poisson process of vanishing rate.
    fano = torch.where(spiking, variance / torch.where(spiking, rate, 1.0), 1.0)
    found = [
        array("rate", dims, rate * 1e3),
        array("variance", dims, variance * 1e3),
        array("fano", dims, fano),
        array("mean_input", dims, output.mean_input * 1e3),
        array("std_input", dims, output.std_input * 1e3**0.5),
    ]
    if window is None:
        return found, None
    count = count_variance(rate, fano, output.skewness, window, t_ref)
    expected = torch.where(spiking, rate * window, 1.0)
    found += [
        array("count_variance", dims, count, window=window * 1e-3),
        array("count_fano", dims, torch.where(spiking, count / expected, 1.0)),
    ]
    return found, count


def _refractory(population: Population) -> npt.NDArray[np.float64]:
    """Return the refractory periods of neurons, ms; 0 where a model states none."""
    return np.broadcast_to(np.asarray(getattr(population.neuron, "t_ref", 0.0), dtype=np.float64), population.size)


def label_neurons(circuit: Circuit, output: Output, matrix: Tensor | None, window: float | None) -> xr.Dataset:
    """Return the statistics of all neurons of a circuit.

    Parameters
    ----------
    circuit : Circuit
    output : Output
        Of all neurons, in order.
    matrix : Tensor, shape (stimulus, n, n), optional
        Covariance per time, 1/ms.
    window : float, optional
        Counting window, ms.
    """
    over_pairs = ("stimulus", "neuron", "neuron_j")
    t_ref = np.concatenate([_refractory(population) for population in circuit.neurons])
    found, count = statistics(output, torch.from_numpy(t_ref), window)
    if matrix is not None:
        found.append(array("covariance", over_pairs, matrix * 1e3))
        if window is not None and count is not None:
            matrix = matrix * window
            matrix.diagonal(dim1=-2, dim2=-1).copy_(count)
            found.append(array("count_covariance", over_pairs, matrix, window=window * 1e-3))
    for name, readout in circuit.readouts.items():
        found += _read_out(circuit, name, readout, output.rate, matrix, window)
    coords: dict[str, Any] = dict(neuron_coords({p.name: p.size for p in circuit.neurons}, second=matrix is not None))
    for name, readout in circuit.readouts.items():
        if readout.labels is not None:
            dims = [output_dim(name), *([f"{output_dim(name)}_j"] if matrix is not None else [])]
            coords |= {dim: (dim, np.array(readout.labels)) for dim in dims}
    return xr.Dataset({variable.name: variable for variable in found}, coords=coords)


def _read_out(
    circuit: Circuit, name: str, readout: Readout, rate: Tensor, matrix: Tensor | None, window: float | None
) -> list[xr.DataArray]:
    """Return mean and covariance of the decision variable, the latter over one window or per time (s)."""
    places = circuit.slices()
    place = np.concatenate([np.arange(places[name].start, places[name].stop) for name in readout.sources])
    weights = torch.from_numpy(np.array(readout.weights))
    decision = rate[:, place] @ weights.T + torch.from_numpy(np.array(readout.bias))
    output = output_dim(name)
    found = [array("readout", ("stimulus", output), decision).rename(name)]
    if matrix is not None:
        noise = weights @ matrix[:, place[:, None], place] @ weights.T
        values = noise * 1e-3 if window is None else noise / window**2
        covariance = array("readout_covariance", ("stimulus", output, f"{output}_j"), values)
        if window is None:
            covariance.attrs |= {
                "units": "s",
                "long_name": "long-window covariance of the decision variable, times time",
            }
        found.append(covariance.rename(f"{name}_covariance"))
    return found
