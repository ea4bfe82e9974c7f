"""What the moment theory says about a circuit."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from mnnbio.circuit import Circuit, Readout
from mnnbio.lif import in_unit
from mnnbio.moments import count_variance
from mnnbio.propagation import CircuitMoments, Closure, Theory, propagate
from mnnbio.results import array, neuron_coords, versions

# Covariance blocks of this many numbers are held at a time: 0.2 GB in float64.
CHUNK = 25_000_000


def predict(
    circuit: Circuit,
    *,
    dt: Any = None,
    window: Any = None,
    closure: Closure | None = None,
    theory: Theory = "diffusion",
    covariance: bool = True,
) -> xr.Dataset:
    """Return the statistics of a circuit's spike trains that the moment theory predicts.

    Parameters
    ----------
    circuit : Circuit
        Feed-forward: no population may influence itself.
    dt : float or Quantity, optional
        Time step of the simulation to be predicted, ms. A threshold that is tested every `dt` is overshot, inputs come
        at most once per step, and jumps arrive at the end of a step: the prediction accounts for all three. By default,
        continuous time.
    window : float or Quantity, optional
        Counting window, ms. Adds the statistics of spike counts in the window, and makes the readout's covariance that
        of a decision over one window. By default, long-window statistics only.
    closure : {"moments", "poisson"}, optional
        Variance of the presynaptic trains that drives the next neuron: their long-window count variance per time, as
        moment networks are trained, or their rate, as the membrane sees a train that is regular over longer times than
        its own. By default "moments" in continuous time, which is what a network computes, and "poisson" with a time
        step, which is closer to what simulated neurons do.
    theory : {"diffusion", "first_passage"}
        Inputs as Gaussian white noise; or Poisson jumps of their true size in steps of `dt`, exact for neurons that
        receive Poisson and Gaussian input, at the cost of some 50 ms per neuron and stimulus. Spikes of other neurons
        count as such jumps under the closure "poisson", as noise under "moments".
    covariance : bool
        Whether to give the covariance matrices of all neurons.

    Returns
    -------
    Dataset
        `rate`, `variance`, `fano`, `mean_input`, `std_input` over ``([stimulus,] neuron)``; `covariance` over
        ``([stimulus,] neuron, neuron_j)``; with a window `count_variance`, `count_fano`, `count_covariance`; with a
        readout `readout` over ``([stimulus,] output)`` and `readout_covariance`. In Hz and seconds.

    Raises
    ------
    ValueError
        If an option is invalid, or the circuit is recurrent.

    Warns
    -----
    FiniteWeightWarning
        If single jumps of the membrane potential are too large for a diffusion.
    CorrelationWarning
        If currents are too correlated for the covariance of spike trains to follow linearly.

    References
    ----------
    Y. Qi et al. (2025), Learning and inference with correlated neural variability, PNAS Nexus 4(10), pgaf284, for the
    moments. D. R. Cox (1962), Renewal Theory, sec. 4.5, for counts in a window.
    """
    if circuit.has_exponential_synapses:
        raise ValueError("the prediction knows delta synapses only, got `tau_syn` > 0. Set it to 0")
    if circuit.changes_in_time:
        raise ValueError(
            "the prediction is of a stationary state, got an input that changes in time. Try `circuit.at_time(...)` or "
            "`circuit.averaged()`"
        )
    if closure is None:
        closure = "moments" if dt is None else "poisson"
    if closure not in ("moments", "poisson"):
        raise ValueError(f"Invalid value {closure!r} for `closure`. Must be one of ['moments', 'poisson']")
    if theory not in ("diffusion", "first_passage"):
        raise ValueError(f"Invalid value {theory!r} for `theory`. Must be one of ['diffusion', 'first_passage']")
    if theory == "first_passage" and dt is None:
        raise ValueError("theory='first_passage' describes discrete time and needs `dt`")
    step = None if dt is None else _positive(dt, "dt")
    span = None if window is None else _positive(window, "window")
    single = circuit.n_stimuli is None
    number = 1 if single else int(circuit.n_stimuli or 0)
    size = sum(p.size for p in circuit.populations)
    at_once = max(1, CHUNK // size**2)
    parts = []
    for start in range(0, number, at_once):
        chunk = circuit if single else circuit.select(slice(start, start + at_once))
        with torch.no_grad():
            moments = propagate(chunk, dt=step, closure=closure, theory=theory, covariance=covariance)
            parts.append(_dataset(circuit, moments, span, covariance))
    result = parts[0] if len(parts) == 1 else xr.concat(parts, "stimulus")
    result = result.isel(stimulus=0) if single else result.assign_coords(stimulus=np.arange(number))
    return result.assign_attrs(
        group="prediction",
        theory=theory,
        closure=closure,
        dt="continuous" if step is None else step * 1e-3,
        window="long" if span is None else span * 1e-3,
        circuit_hash=circuit.hash(),
        **versions(),
    )


def _positive(value: Any, name: str) -> float:
    number = in_unit(value, "ms", name)
    if not isinstance(number, float) or number <= 0:
        raise ValueError(f"`{name}` must be a single time > 0 ms, got {value}")
    return number


def _dataset(circuit: Circuit, moments: CircuitMoments, window: float | None, covariance: bool) -> xr.Dataset:
    """Return the labelled results of one chunk of stimuli; times in ms become seconds, 1/ms becomes Hz."""
    names = [p.name for p in circuit.neurons]
    stimuli = max(len(value) for output in moments.outputs.values() for value in output)

    def joined(field: str) -> torch.Tensor:
        return torch.cat([getattr(moments.outputs[name], field).expand(stimuli, -1) for name in names], dim=-1)

    rate, variance = joined("rate"), joined("variance")
    spiking = rate > 0
    # A silent neuron is the limit of a Poisson process of vanishing rate.
    fano = torch.where(spiking, variance / torch.where(spiking, rate, 1.0), 1.0)
    over_neurons, over_pairs = ("stimulus", "neuron"), ("stimulus", "neuron", "neuron_j")
    found = [
        array("rate", over_neurons, rate * 1e3),
        array("variance", over_neurons, variance * 1e3),
        array("fano", over_neurons, fano),
        array("mean_input", over_neurons, joined("mean_input") * 1e3),
        array("std_input", over_neurons, joined("std_input") * 1e3**0.5),
    ]
    matrix = None
    if covariance:
        matrix = torch.zeros(stimuli, circuit.n_neurons, circuit.n_neurons, dtype=torch.float64)
        places = circuit.slices()
        for (row, column), block in moments.covariance.items():
            matrix[:, places[row], places[column]] = block
        found.append(array("covariance", over_pairs, matrix * 1e3))
    if window is not None:
        t_ref = np.concatenate([np.broadcast_to(p.lif.t_ref, p.size) for p in circuit.neurons])
        count = count_variance(rate, fano, joined("skewness"), window, torch.from_numpy(t_ref))
        expected = rate * window
        found += [
            array("count_variance", over_neurons, count, window=window * 1e-3),
            array("count_fano", over_neurons, torch.where(spiking, count / torch.where(spiking, expected, 1.0), 1.0)),
        ]
        if matrix is not None:
            matrix = matrix * window
            matrix.diagonal(dim1=-2, dim2=-1).copy_(count)
            found.append(array("count_covariance", over_pairs, matrix, window=window * 1e-3))
    if circuit.readout is not None:
        found += _read_out(circuit, circuit.readout, rate, matrix, window)
    coords: dict[str, Any] = dict(neuron_coords({p.name: p.size for p in circuit.neurons}, second=covariance))
    if circuit.readout is not None and circuit.readout.labels is not None:
        coords["output"] = ("output", np.array(circuit.readout.labels))
        if covariance:
            coords["output_j"] = ("output_j", np.array(circuit.readout.labels))
    return xr.Dataset({variable.name: variable for variable in found}, coords=coords)


def _read_out(
    circuit: Circuit, readout: Readout, rate: torch.Tensor, matrix: torch.Tensor | None, window: float | None
) -> list[xr.DataArray]:
    """Return mean and covariance of the decision variable, the latter over one window or per time (s)."""
    place = circuit.slices()[readout.source]
    weights = torch.from_numpy(np.array(readout.weights))
    decision = rate[:, place] @ weights.T + torch.from_numpy(np.array(readout.bias))
    found = [array("readout", ("stimulus", "output"), decision)]
    if matrix is not None:
        noise = weights @ matrix[:, place, place] @ weights.T
        values = noise * 1e-3 if window is None else noise / window**2
        covariance = array("readout_covariance", ("stimulus", "output", "output_j"), values)
        if window is None:
            covariance.attrs |= {
                "units": "s",
                "long_name": "long-window covariance of the decision variable, times time",
            }
        found.append(covariance)
    return found
