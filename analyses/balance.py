"""Balance of excitation and inhibition: the currents that neurons receive."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from mnnbio.analyses.binned_counts import binned_counts, recorded
from mnnbio.results import single_time
from mnnbio.values import TimeCourse

Array = npt.NDArray[np.float64]

_CORRELATION_BIN = 5.0  # ms
_FINEST, _MOST = 0.1, 10**6  # ms, number: instants at which a course in time is averaged


class Wired(Protocol):
    """Populations and synapses of a circuit, as the analyses read them: a `mnnbio.Circuit`."""

    @property
    def neurons(self) -> Any:
        """The populations of neurons."""
        ...

    @property
    def sources(self) -> Any:
        """The Poisson sources."""
        ...

    @property
    def projections(self) -> Any:
        """The projections."""
        ...

    @property
    def drives(self) -> Any:
        """The drives."""
        ...

    def matrix(self, projection: Any) -> Any:
        """Return the realised weights of a projection."""
        ...


def current_balance(rates: xr.DataArray | xr.Dataset, circuit: Wired, *, duration: Any = None) -> xr.Dataset:
    r"""Return the mean excitatory and inhibitory current of every neuron.

    The current through synapses of weights w from neurons of rates r is :math:`\sum_j w_j r_j`, whatever the synaptic
    time constant; that of a drive is the mean of its cumulants: its continuous current, and weight times rate of its
    jumps. Each goes to the side of its sign. Drives and sources that change in time are averaged over the recording.

    Parameters
    ----------
    rates : DataArray or Dataset
        Rates, Hz, over ([stimulus,] neuron), or a dataset with `rate` (and `rate_se`), predicted or simulated, of all
        neurons of the circuit.
    circuit : Circuit
        The circuit that they are of.
    duration : float or Quantity, optional
        Time from the end of the warm-up over which inputs that change are averaged, ms. Default: the recorded one, if
        the dataset has it as its attribute (s), else a long time (`TimeCourse.time_average`).

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron), in mV/s: ``excitation`` and ``inhibition`` (≥ 0 and ≤ 0), with their errors
        ``<name>_se`` where `rates` has errors, and the sum, ``net``; ``cancelled``, the part
        :math:`1 - |E + I|/(E + |I|)` of the currents that cancels: 0 without inhibition, 1 in perfect balance.

    Raises
    ------
    ValueError
        If the rates are not of this circuit's neurons, or not finite, or do not tell the currents: of conductances,
        currents in pA and synapses that change.
    """
    if (reason := why_no_currents(circuit)) is not None:
        raise ValueError(f"currents follow from rates where weights are in mV and stay as they are: {reason}")
    values, errors = _rate(rates)
    time = single_time(duration, "duration") if duration is not None else 1e3 * float(rates.attrs.get("duration", 0.0))
    if time < 0 or (duration is not None and time == 0):
        raise ValueError(f"`duration` must be a time > 0 ms, got {time:g} ms")
    _require_neurons(values, circuit)
    names = values["population"].to_numpy()
    lead = [str(d) for d in values.dims if d != "neuron"]
    rate = 1e-3 * values.transpose(*lead, "neuron").to_numpy()
    se = None if errors is None else 1e-3 * errors.transpose(*lead, "neuron").to_numpy()
    sides = {"excitation": np.zeros_like(rate), "inhibition": np.zeros_like(rate)}
    variance = {name: np.zeros_like(rate) for name in sides}
    of_source = {
        source.name: np.atleast_1d(_average(source.rates, time)) + np.zeros(source.size) for source in circuit.sources
    }
    for projection in circuit.projections:
        target, mine = names == projection.target, names == projection.source
        for side, matrix in _signed(circuit.matrix(projection)).items():
            source = of_source.get(projection.source, rate[..., mine])
            sides[side][..., target] += _times(matrix, source)
            if se is not None and projection.source not in of_source:
                variance[side][..., target] += _times(matrix.power(2), se[..., mine] ** 2)
    for drive in circuit.drives:
        mean = _drive_current(drive, time)
        for side, part in (("excitation", np.maximum(mean, 0.0)), ("inhibition", np.minimum(mean, 0.0))):
            sides[side][..., names == drive.target] += part
    dims = (*lead, "neuron")
    data = {name: (dims, 1e3 * value, _attrs(f"{name} received")) for name, value in sides.items()}
    if se is not None:
        for name, value in variance.items():
            data[f"{name}_se"] = (dims, 1e3 * np.sqrt(value), _attrs(f"standard error of the {name}"))
    net, total = sides["excitation"] + sides["inhibition"], sides["excitation"] - sides["inhibition"]
    data["net"] = (dims, 1e3 * net, _attrs("mean current"))
    left = np.divide(np.abs(net), total, out=np.full(net.shape, np.nan), where=total > 0)
    data["cancelled"] = (dims, 1 - left, {"units": "1", "long_name": "part of the currents that cancels"})
    return xr.Dataset(data, coords=values.coords)


def why_no_currents(circuit: Wired) -> str | None:
    """Return why rates do not tell the currents of a circuit in mV/ms, or None where they do."""
    for projection in circuit.projections:
        if (unit := projection.synapse_model.UNIT) != "mV":
            return f"weights of {projection} are in {unit}"
        if projection.plasticity:
            return f"synapses of {projection} change"
    for drive in circuit.drives:
        synapse = getattr(drive, "synapse", None)
        if "current" in drive.INPUTS or (synapse is not None and synapse.UNIT != "mV"):
            return f"the {drive} is not in mV"
    return None


def current_correlation(
    result: xr.DataTree | xr.Dataset, circuit: Wired, bin: Any = None, *, neurons: int = 100
) -> xr.Dataset:
    """Correlate the recurrent excitation and inhibition of neurons over time.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or counts of all neurons.
    circuit : Circuit
        The circuit that was simulated.
    bin : float or Quantity, optional
        Length of the bins in which currents are averaged, ms: a whole number of steps. Delays and synaptic time
        constants are to be short against it: they are left out. Default: the one nearest to 5 ms.
    neurons : int
        Number of neurons of each population, evenly chosen.

    Returns
    -------
    Dataset
        ``correlation`` over ([stimulus,] neuron), over the time of all trials, of excitation with the size of
        inhibition: 1 where inhibition follows excitation. NaN for neurons that lack one of them.

    Raises
    ------
    ValueError
        If counts are of populations, or of other neurons.
    """
    width = recorded(result).bin(bin, _CORRELATION_BIN)
    table = binned_counts(result, width)
    if "neuron" not in table.dims:
        raise ValueError("currents need counts of single neurons, these are of populations")
    _require_neurons(table, circuit)
    names = table["population"].to_numpy()
    lead = [str(d) for d in table.dims if d not in ("trial", "time", "neuron")]
    counts = table.transpose(*lead, "trial", "time", "neuron").to_numpy() / width
    chosen = np.concatenate([_spread(np.flatnonzero(names == name), neurons) for name in dict.fromkeys(names.tolist())])
    current = {side: np.zeros((*counts.shape[:-1], len(chosen))) for side in ("excitation", "inhibition")}
    sources = {source.name for source in circuit.sources}
    for projection in circuit.projections:
        if projection.source in sources:
            continue
        mine = names[chosen] == projection.target
        rows = chosen[mine] - np.flatnonzero(names == projection.target)[0]
        for side, matrix in _signed(circuit.matrix(projection)).items():
            current[side][..., mine] += _times(matrix[rows], counts[..., names == projection.source])
    together = [np.moveaxis(c, -1, len(lead)).reshape(*c.shape[: len(lead)], len(chosen), -1) for c in current.values()]
    e, i = (c - c.mean(axis=-1, keepdims=True) for c in together)
    scale = np.sqrt((e**2).sum(axis=-1) * (i**2).sum(axis=-1))
    value = np.divide(-(e * i).sum(axis=-1), scale, out=np.full(scale.shape, np.nan), where=scale > 0)
    picked = table.isel(neuron=chosen)
    coords = {name: c for name, c in picked.coords.items() if set(c.dims) <= {*lead, "neuron"}}
    attrs = {"units": "1", "long_name": "correlation of excitation and inhibition over time", "bin": 1e-3 * width}
    return xr.Dataset({"correlation": ((*lead, "neuron"), value, attrs)}, coords=coords)


def _average(value: Any, duration: float) -> Array:
    """Return a value, or the average of a course over `duration`, ms from the end of the warm-up; 0: a long time."""
    if not isinstance(value, TimeCourse):
        return np.asarray(value, dtype=np.float64)
    if not duration:
        return np.asarray(value.time_average())
    number = int(min(max(np.ceil(duration / _FINEST - 1e-9), 1), _MOST))
    middles = (np.arange(number) + 0.5) * (duration / number)
    total = np.zeros(value.shape)
    for some in np.array_split(middles, -(-number * max(int(np.prod(value.shape)), 1) // _MOST)):
        total = total + value.at(some).sum(axis=0)
    return np.asarray(total / number)


def _drive_current(drive: Any, duration: float) -> Array:
    """Return the mean current of a drive, mV/ms."""
    courses = {
        name: _average(value, duration)
        for name, value in ((name, getattr(drive, name)) for name in drive.INPUTS)
        if isinstance(value, TimeCourse)
    }
    cumulants = (replace(drive, **courses) if courses else drive).cumulants(None)
    return np.asarray(cumulants.mean + sum(jump.weight * np.asarray(jump.rate) for jump in cumulants.jumps))


def _rate(rates: xr.DataArray | xr.Dataset) -> tuple[xr.DataArray, xr.DataArray | None]:
    if isinstance(rates, xr.DataArray):
        return rates, None
    if not isinstance(rates, xr.Dataset):
        raise TypeError(f"expected rates, a DataArray or Dataset, got {type(rates).__name__}")
    if "rate" not in rates:
        raise ValueError(f"expected a variable `rate`, got {', '.join(map(str, rates.data_vars)) or 'none'}")
    return rates["rate"], rates.get("rate_se")


def _require_neurons(values: xr.DataArray, circuit: Wired) -> None:
    """Raise unless values over neurons are of all neurons of the circuit, in its order."""
    names = [name for p in circuit.neurons for name in [p.name] * p.size]
    if (
        "neuron" not in values.dims
        or "population" not in values.coords
        or values["population"].to_numpy().tolist() != names
    ):
        sizes = ", ".join(f"{p.name}: {p.size}" for p in circuit.neurons)
        raise ValueError(f"expected values over all neurons of the circuit ({sizes}), got {dict(values.sizes)}")
    if not np.isfinite(values.to_numpy()).all():
        raise ValueError(f"`{values.name}` must be finite, got NaN or infinite values")


def _signed(matrix: Any) -> dict[str, sparse.csr_array]:
    """Return the positive and the negative weights of a projection."""
    full = sparse.csr_array(matrix.to_dense() if hasattr(matrix, "to_dense") else matrix)
    return {"excitation": full.maximum(0), "inhibition": full.minimum(0)}


def _times(matrix: sparse.csr_array, values: Array) -> Array:
    """Return matrix · values along the last axis of values, whatever stands before it."""
    flat = values.reshape(-1, values.shape[-1])
    return (matrix @ flat.T).T.reshape(*values.shape[:-1], matrix.shape[0])


def _spread(places: npt.NDArray[np.int64], number: int) -> npt.NDArray[np.int64]:
    return places[np.unique(np.linspace(0, len(places) - 1, min(number, len(places))).astype(int))]


def _attrs(text: str) -> dict[str, str]:
    return {"units": "mV/s", "long_name": text}
