"""Balance of excitation and inhibition: the currents that neurons receive."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from mnnbio.analyses.binned_counts import binned_counts

Array = npt.NDArray[np.float64]


class Wired(Protocol):
    """What the analyses need of a circuit: `mnnbio.Circuit` is one."""

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


def current_balance(rates: xr.DataArray | xr.Dataset, circuit: Wired) -> xr.Dataset:
    r"""Return the mean excitatory and inhibitory current of every neuron.

    The current through synapses of weights w from neurons of rates r is :math:`\sum_j w_j r_j`, whatever the synaptic
    time constant; that of a Gaussian drive is its mean. Each goes to the side of its sign.

    Parameters
    ----------
    rates : DataArray or Dataset
        Rates, Hz, over ([stimulus,] neuron), or a dataset with `rate` (and `rate_se`), predicted or simulated, of all
        neurons of the circuit.
    circuit : Circuit
        The circuit that they are of.

    Returns
    -------
    Dataset
        Over ([stimulus,] neuron), in mV/s: ``excitation`` and ``inhibition`` (≥ 0 and ≤ 0), with their errors
        ``<name>_se`` where `rates` has errors, and the sum, ``net``; ``cancelled``, the part
        :math:`1 - |E + I|/(E + |I|)` of the currents that cancels: 0 without inhibition, 1 in perfect balance.

    Raises
    ------
    ValueError
        If the rates are not of this circuit's neurons.
    """
    values, errors = _rate(rates)
    _require_neurons(values, circuit)
    names = values["population"].to_numpy()
    lead = [str(d) for d in values.dims if d != "neuron"]
    rate = 1e-3 * values.transpose(*lead, "neuron").to_numpy()
    se = None if errors is None else 1e-3 * errors.transpose(*lead, "neuron").to_numpy()
    sides = {"excitation": np.zeros_like(rate), "inhibition": np.zeros_like(rate)}
    variance = {name: np.zeros_like(rate) for name in sides}
    of_source = {source.name: np.asarray(source.rates) for source in circuit.sources}
    for projection in circuit.projections:
        target, mine = names == projection.target, names == projection.source
        for side, matrix in _signed(circuit.matrix(projection)).items():
            source = of_source.get(projection.source, rate[..., mine])
            sides[side][..., target] += _times(matrix, source)
            if se is not None and projection.source not in of_source:
                variance[side][..., target] += _times(matrix.power(2), se[..., mine] ** 2)
    for drive in circuit.drives:
        mean = drive.mean if hasattr(drive, "mean") else drive.rate * drive.weight
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


def current_correlation(
    result: xr.DataTree | xr.Dataset, circuit: Wired, bin: float = 5e-3, *, neurons: int = 100
) -> xr.Dataset:
    """Correlate the recurrent excitation and inhibition of neurons over time.

    Parameters
    ----------
    result : DataTree or Dataset
        A result with ``/spikes`` or counts of all neurons.
    circuit : Circuit
        The circuit that was simulated.
    bin : float
        Length of the bins in which currents are averaged, s. Delays and synaptic time constants are to be short
        against it: they are left out.
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
    table = binned_counts(result, bin)
    if "neuron" not in table.dims:
        raise ValueError("currents need counts of single neurons, these are of populations")
    _require_neurons(table, circuit)
    names = table["population"].to_numpy()
    lead = [str(d) for d in table.dims if d not in ("trial", "time", "neuron")]
    counts = table.transpose(*lead, "trial", "time", "neuron").to_numpy() / (1e3 * bin)
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
    attrs = {"units": "1", "long_name": "correlation of excitation and inhibition over time", "bin": bin}
    return xr.Dataset({"correlation": ((*lead, "neuron"), value, attrs)}, coords=coords)


def _rate(rates: xr.DataArray | xr.Dataset) -> tuple[xr.DataArray, xr.DataArray | None]:
    if isinstance(rates, xr.DataArray):
        return rates, None
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
