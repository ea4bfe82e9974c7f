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


class Slow(NamedTuple):
    """What slow noise of the input brings to the trains, each of shape (stimulus, n)."""

    variance: Tensor  # the part of the variance, 1/ms
    time: Tensor  # with which the correlation of that noise decays, ms


class Counted(NamedTuple):
    """Statistics of counts in a window that a theory knows by itself."""

    variance: Tensor  # (stimulus, n)
    covariance: Tensor | None = None  # (stimulus, n, n); the diagonal does not matter


def statistics(
    output: Output,
    t_ref: Tensor,
    window: float | None,
    dims: tuple[str, ...] = ("stimulus", "neuron"),
    slow: Slow | None = None,
    *,
    counts: Counted | None = None,
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
    count = windowed_variance(rate, fano, output.skewness, window, t_ref, slow) if counts is None else counts.variance
    expected = torch.where(spiking, rate * window, 1.0)
    found += [
        array("count_variance", dims, count, window=window * 1e-3),
        array("count_fano", dims, torch.where(spiking, count / expected, 1.0)),
    ]
    return found, count


def windowed_variance(
    rate: Tensor,
    fano: Tensor,
    skewness: Tensor,
    window: float,
    t_ref: Tensor,
    slow: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return the variance of counts in a window: of a renewal train, and of the rate that slow noise modulates.

    Parameters
    ----------
    rate, fano, skewness : Tensor, shape (…, n)
        As of `mnnbio.moments.count_variance`; the Fano factor is that of long windows, slow noise included.
    window : float
        ms.
    t_ref : Tensor, shape (n,)
        Refractory periods, ms.
    slow : pair of Tensor, optional
        The part of the variance that slow noise of the input brings, 1/ms, and the time with which the correlation of
        that noise decays, ms.
    """
    if slow is None:
        return count_variance(rate, fano, skewness, window, t_ref)
    variance, time = slow
    own = torch.where(rate > 0, fano - variance / torch.where(rate > 0, rate, 1.0), fano)
    some = time > 0
    x = torch.where(some, window / torch.where(some, time, 1.0), 1e300)
    # Of the power at frequency zero, what a window sees of noise whose correlation decays with tau.
    share = 1 + torch.expm1(-x) / x
    return count_variance(rate, own, skewness, window, t_ref) + variance * window * share


def _refractory(population: Population) -> npt.NDArray[np.float64]:
    """Return the refractory periods of neurons, ms; 0 where a model states none."""
    return np.broadcast_to(np.asarray(getattr(population.neuron, "t_ref", 0.0), dtype=np.float64), population.size)


def label_neurons(
    circuit: Circuit,
    output: Output,
    matrix: Tensor | None,
    window: float | None,
    slow: Slow | None = None,
    *,
    counts: Counted | None = None,
) -> xr.Dataset:
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
    slow : Slow, optional
    counts : Counted, optional
        Statistics of counts in the window; by default those of renewal trains with the long-window covariances.
    """
    over_pairs = ("stimulus", "neuron", "neuron_j")
    t_ref = np.concatenate([_refractory(population) for population in circuit.neurons])
    found, count = statistics(output, torch.from_numpy(t_ref), window, slow=slow, counts=counts)
    if matrix is not None:
        found.append(array("covariance", over_pairs, matrix * 1e3))
        if window is not None and count is not None:
            matrix = matrix * window if counts is None or counts.covariance is None else counts.covariance.clone()
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
