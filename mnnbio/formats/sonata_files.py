"""Networks and spikes in files of SONATA, the format of large-scale networks in HDF5."""

from __future__ import annotations

import csv
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Drive,
    GaussianDrive,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    Source,
    SpikeSource,
    require_circuit,
)
from mnnbio.formats.packages import LeftOutWarning, package
from mnnbio.formats.recorded_data import Array, Presented, arranged, labelled, seconds, seconds_of
from mnnbio.machine import written_aside
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

_MAGIC, _VERSION = 0x0A7A, (0, 1)
_UNITS = {"milliseconds": "ms", "millisecond": "ms", "ms": "ms", "seconds": "s", "second": "s", "s": "s"}
_DELTA, _EXPONENTIAL = "nest:iaf_psc_delta", "nest:iaf_psc_exp"
_CAPACITANCE = 1.0  # pF, of neurons that have none of their own
# What the models are in NEST where a file does not say: its defaults.
_DEFAULTS = {"tau_m": 10.0, "C_m": 250.0, "t_ref": 2.0, "E_L": -70.0, "V_reset": -70.0, "V_th": -55.0, "I_e": 0.0}
_SYNAPTIC = {"tau_syn_ex": 2.0, "tau_syn_in": 2.0}
_CHARGE = "charge_mV"  # attribute of edges: the weight as it is in a circuit
_OWN = {"tau_m": "tau_m", "v_th": "V_th", "v_reset": "V_reset", "t_ref": "t_ref", "v_rest": "E_L"}


def to_sonata(circuit: Circuit, folder: str | os.PathLike[str]) -> Path:
    """Write the populations and the realised synapses of a circuit as a SONATA network.

    Neurons are ``nest:iaf_psc_delta``, or ``nest:iaf_psc_exp`` of capacitance 1 pF where synapses are exponential, with
    parameters in ``components``; sources are virtual nodes, spikes of a `SpikeSource` in ``inputs``. Every projection
    is a population of edges with ``syn_weight`` in mV (delta) or pA, and ``delay`` in ms.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses.
    folder : path-like
        Where the files are written.

    Returns
    -------
    Path
        The file ``circuit_config.json``, which `from_sonata` reads.

    Raises
    ------
    PackageMissing
        If h5py is not installed.
    TypeError
        If neurons or synapses have no counterpart.
    ValueError
        If a population has synapses of more time constants than one for excitation and one for inhibition.

    Warns
    -----
    LeftOutWarning
        If the circuit has drives or a readout, which a SONATA network does not hold.
    """
    h5py = package("h5py", "`to_sonata`")
    require_circuit(circuit)
    left = [str(drive) for drive in circuit.drives] + [f"readout {name!r}" for name in circuit.readouts]
    if left:
        warnings.warn(
            f"a SONATA network holds populations and synapses: {', '.join(left)} left out; keep the circuit with "
            "`circuit.to_json()`",
            LeftOutWarning,
            stacklevel=2,
        )
    synaptic = {population.name: _time_constants(circuit, population.name) for population in circuit.neurons}
    places = {p.name: _neuron_parameters(p, synaptic[p.name]) for p in circuit.neurons}
    edges = [(number, _edges(circuit, own)) for number, own in enumerate(circuit.projections)]
    root = Path(folder)
    networks: dict[str, list[dict[str, str]]] = {"nodes": [], "edges": []}
    for number, part in enumerate(circuit.populations):
        networks["nodes"].append(_write_nodes(h5py, root, part, number, places.get(part.name)))
    for number, own in edges:
        projection = circuit.projections[number]
        networks["edges"].append(_write_edges(h5py, root, circuit, projection, number, own))
    config = {
        "manifest": {"$BASE_DIR": ".", "$NETWORK": "$BASE_DIR/network", "$COMPONENTS": "$BASE_DIR/components"},
        "components": {"point_neuron_models_dir": "$COMPONENTS"},
        "networks": networks,
    }
    with written_aside(root / "circuit_config.json") as aside:
        aside.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return root / "circuit_config.json"


class _Parameters(NamedTuple):
    """Parameters of neurons under the names of NEST: of all, and of each one."""

    template: str
    shared: dict[str, float]
    own: dict[str, Array]


def _time_constants(circuit: Circuit, name: str) -> tuple[float, float]:
    """Return the time constants of excitatory and inhibitory synapses onto a population, ms; 0 of delta synapses."""
    found: dict[bool, set[float]] = {True: set(), False: set()}
    for projection in circuit.projections:
        if projection.target != name:
            continue
        if projection.synapse is not None or projection.plasticity is not None:
            kind = type(projection.plasticity[0] if projection.plasticity else projection.synapse).__name__
            raise TypeError(
                f"{projection} has {kind} synapses: SONATA's point neurons have static delta or exponential ones here"
            )
        matrix = circuit.matrix(projection)
        values = matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix
        weights = values if isinstance(values, np.ndarray) else values.data
        for positive in (True, False):
            if ((weights > 0) if positive else (weights < 0)).any():
                found[positive].add(projection.tau_syn)
    together = found[True] | found[False]
    if any(len(own) > 1 for own in found.values()) or (0.0 in together and len(together) > 1):
        raise ValueError(
            f"{name!r} has synapses of time constants {', '.join(f'{tau:g}' for tau in sorted(together))} ms: neurons "
            "of NEST's iaf models have one for excitation and one for inhibition, and delta synapses alone"
        )
    excitatory, inhibitory = (next(iter(found[sign]), max(together, default=0.0)) for sign in (True, False))
    return excitatory, inhibitory


def _neuron_parameters(population: Population, synaptic: tuple[float, float]) -> _Parameters:
    neuron = population.neuron
    if not isinstance(neuron, LIFParameters):
        raise TypeError(
            f"the neurons of {population.name!r} are {type(neuron).__name__}: `to_sonata` writes leaky "
            "integrate-and-fire neurons (LIFParameters)"
        )
    values: dict[str, Any] = {theirs: getattr(neuron, ours) for ours, theirs in _OWN.items()}
    values["E_L"] = 0.0 if neuron.v_rest is None else neuron.v_rest
    if neuron.initial:
        values["V_m"] = neuron.initial["v"]
    if synaptic[0] > 0:
        values |= {"C_m": _CAPACITANCE, "tau_syn_ex": synaptic[0], "tau_syn_in": synaptic[1]}
    values["I_e"] = 0.0
    own = {name: np.asarray(value) for name, value in values.items() if isinstance(value, np.ndarray)}
    shared = {name: float(value) for name, value in values.items() if name not in own}
    return _Parameters(_EXPONENTIAL if synaptic[0] > 0 else _DELTA, shared, own)


def _edges(circuit: Circuit, projection: Projection) -> dict[str, npt.NDArray[Any]]:
    """Return target, source, weight (mV) and delay (ms) of every synapse."""
    matrix, delays = circuit.matrix(projection), circuit.delays(projection)
    values = matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix
    if isinstance(values, np.ndarray):
        target, source = np.nonzero(values)
        weight = values[target, source]
        delay = delays if isinstance(delays, float) else delays[target, source]
    else:
        target = np.repeat(np.arange(values.shape[0]), np.diff(values.indptr))
        source, weight, delay = values.indices, values.data, delays
    return {"target": target, "source": source, "weight": weight, "delay": np.broadcast_to(delay, weight.shape)}


def _write_nodes(
    h5py: Any, root: Path, part: Source | Population, number: int, parameters: _Parameters | None
) -> dict[str, str]:
    stem = f"nodes_{number}"
    row: dict[str, Any] = {"node_type_id": number, "model_type": "virtual"}
    if parameters is not None:
        row |= {"model_type": "point_neuron", "model_template": parameters.template, "dynamics_params": f"{stem}.json"}
        with written_aside(root / "components" / f"{stem}.json") as aside:
            aside.write_text(json.dumps(parameters.shared, indent=2), encoding="utf-8")
    _write_table(root / "network" / f"{stem}_types.csv", [row])
    with written_aside(root / "network" / f"{stem}.h5") as aside, h5py.File(aside, "w") as file:
        _mark(file)
        group = file.create_group(f"nodes/{part.name}")
        every = np.arange(part.size, dtype=np.uint64)
        group["node_id"], group["node_group_index"] = every, every
        group["node_type_id"] = np.full(part.size, number, dtype=np.uint64)
        group["node_group_id"] = np.zeros(part.size, dtype=np.uint64)
        own = group.create_group("0")
        if parameters is not None:
            for name, values in parameters.own.items():
                own[f"dynamics_params/{name}"] = values
        if isinstance(part, PoissonSource):
            if not isinstance(part.rates, np.ndarray) or part.rates.ndim > 1:
                raise ValueError(
                    f"the rates of {part.name!r} differ between stimuli or change in time, nodes have one rate: take "
                    "`circuit.select(stimulus)` or `circuit.at_time(time)`"
                )
            own["rate"] = part.rates * 1e3
    if isinstance(part, SpikeSource):
        if part.stops is not None:
            raise ValueError(f"the spikes of {part.name!r} differ between stimuli: take `circuit.select(stimulus)`")
        _write_spikes(h5py, root / "inputs" / f"{stem}.h5", part)
    return {"nodes_file": f"$NETWORK/{stem}.h5", "node_types_file": f"$NETWORK/{stem}_types.csv"}


def _write_spikes(h5py: Any, path: Path, source: SpikeSource) -> None:
    order = np.argsort(source.times, kind="stable")
    with written_aside(path) as aside, h5py.File(aside, "w") as file:
        _mark(file)
        group = file.create_group(f"spikes/{source.name}")
        group["timestamps"], group["node_ids"] = source.times[order], source.indices[order].astype(np.uint64)
        group["timestamps"].attrs["units"] = "milliseconds"


def _write_edges(
    h5py: Any, root: Path, circuit: Circuit, projection: Projection, number: int, edges: Mapping[str, npt.NDArray[Any]]
) -> dict[str, str]:
    stem = f"edges_{number}"
    _write_table(root / "network" / f"{stem}_types.csv", [{"edge_type_id": number, "model_template": "static_synapse"}])
    count = len(edges["weight"])
    with written_aside(root / "network" / f"{stem}.h5") as aside, h5py.File(aside, "w") as file:
        _mark(file)
        group = file.create_group(f"edges/{projection.source}_to_{projection.target}_{number}")
        for name in ("source", "target"):
            group[f"{name}_node_id"] = edges[name].astype(np.uint64)
            group[f"{name}_node_id"].attrs["node_population"] = getattr(projection, name)
        group["edge_type_id"] = np.full(count, number, dtype=np.uint64)
        group["edge_group_id"] = np.zeros(count, dtype=np.uint64)
        group["edge_group_index"] = np.arange(count, dtype=np.uint64)
        own = group.create_group("0")
        own["delay"] = edges["delay"]
        own["syn_weight"] = edges["weight"] if projection.tau_syn == 0 else edges["weight"] / projection.tau_syn
        if projection.tau_syn > 0:
            own[_CHARGE] = edges["weight"]
    return {"edges_file": f"$NETWORK/{stem}.h5", "edge_types_file": f"$NETWORK/{stem}_types.csv"}


def _mark(file: Any) -> None:
    file.attrs["magic"], file.attrs["version"] = np.uint32(_MAGIC), np.array(_VERSION, dtype=np.uint32)


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=" ")
        table.writeheader()
        table.writerows(rows)


def from_sonata(
    config: str | os.PathLike[str],
    *,
    rates: Mapping[str, Any] | None = None,
    spikes: Mapping[str, str | os.PathLike[str]] | None = None,
    seed: int = 0,
) -> Circuit:
    """Return the circuit of a SONATA network of point neurons.

    Parameters
    ----------
    config : path-like
        The circuit configuration, JSON.
    rates : mapping of str to float, array_like or Quantity, optional
        Rates of virtual populations, spikes/ms, which become a `PoissonSource`; by default their own ``rate``, Hz.
    spikes : mapping of str to path-like, optional
        SONATA files with the spikes of virtual populations, which become a `SpikeSource`; by default those in
        ``inputs`` that `to_sonata` wrote.
    seed : int
        Of the circuit.

    Returns
    -------
    Circuit
        A population for each population of nodes: ``nest:iaf_psc_delta`` and ``nest:iaf_psc_exp`` as `LIFParameters`,
        whose constant currents become drives. Projections have sparse weights in mV and a delay for each synapse, one
        for all where they are equal; a further synapse of a pair is a further projection.

    Raises
    ------
    PackageMissing
        If h5py is not installed.
    FileNotFoundError
        If a file is missing.
    ValueError
        If a model has no counterpart, a parameter is missing, or nothing says when a virtual population fires.
    """
    h5py = package("h5py", "`from_sonata`")
    reader = _Reader(h5py, Path(config), dict(rates or {}), dict(spikes or {}))
    populations = list(reader.populations())
    projections = [projection for own in reader.entries("edges") for projection in reader.projections(own)]
    known = {p.name for p in populations}
    for kind, given in (("rates", reader.rates), ("spikes", reader.spikes)):
        if unknown := sorted(set(given) - known):
            raise ValueError(
                f"`{kind}` name {unknown[0]!r}; the network has the populations {', '.join(sorted(known))}"
            )
    return Circuit(populations, projections, list(reader.drives), seed=seed)


@dataclass
class _Reader:
    """A network while it is read."""

    h5py: Any
    config: Path
    rates: dict[str, Any]
    spikes: dict[str, str | os.PathLike[str]]
    values: dict[str, dict[str, Any]] = field(default_factory=dict)  # parameters of neurons, by population
    sizes: dict[str, int] = field(default_factory=dict)
    drives: list[Drive] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.config.is_file():
            raise FileNotFoundError(f"no circuit configuration {self.config}")
        content = json.loads(self.config.read_text(encoding="utf-8"))
        if "networks" not in content:
            raise ValueError(
                f"{self.config} is no circuit configuration of SONATA: it has no entry `networks`, only "
                f"{', '.join(content)}. A simulation configuration names it as `network`"
            )
        self.manifest = dict(content.get("manifest", {}))
        self.content = content

    def path(self, text: str) -> Path:
        """Return a path of the configuration with the variables of its manifest replaced."""
        for _ in range(len(self.manifest) + 1):
            for name, value in self.manifest.items():
                key = name if name.startswith("$") else f"${name}"
                text = text.replace(key, value).replace(f"${{{key[1:]}}}", value)
        found = self.config.parent / text
        if not found.exists():
            raise FileNotFoundError(f"{self.config} names {found}, which is not there")
        return found

    def entries(self, kind: str) -> list[dict[str, str]]:
        """Return the files of nodes or edges."""
        return list(self.content["networks"].get(kind, []))

    def types(self, entry: Mapping[str, Any], kind: str) -> dict[int, dict[str, str]]:
        """Return the table of types of a file."""
        name = entry.get(f"{kind}_types_file")
        if not name:
            return {}
        with self.path(name).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter=" "))
        given = ({key: value for key, value in row.items() if value not in (None, "", "NULL")} for row in rows)
        return {int(row[f"{kind[:-1] if kind.endswith('s') else kind}_type_id"]): row for row in given}

    def populations(self) -> Iterator[Source | Population]:
        """Yield the populations of all nodes."""
        for entry in self.entries("nodes"):
            types = self.types(entry, "node")
            with self.h5py.File(self.path(entry["nodes_file"]), "r") as file:
                for name, group in file["nodes"].items():
                    yield self.population(name, group, types)

    def population(self, name: str, group: Any, types: Mapping[int, Mapping[str, str]]) -> Source | Population:
        """Return one population."""
        type_of = np.asarray(group["node_type_id"][:], dtype=np.int64)
        size = self.sizes[name] = len(type_of)
        rows = {int(k): dict(types.get(int(k), {})) for k in np.unique(type_of)}
        kinds = {row.get("model_type", "missing") for row in rows.values()}
        if kinds == {"virtual"}:
            return self.source(name, group, size)
        if not kinds <= {"point_neuron", "point_process"}:
            raise ValueError(
                f"the nodes {name!r} are of model_type {', '.join(sorted(kinds))}: point neurons or virtual nodes have "
                "a counterpart, one of the two in a population"
            )
        templates = {row.get("model_template", "missing") for row in rows.values()}
        if len(templates) != 1 or not templates <= {_DELTA, _EXPONENTIAL}:
            raise ValueError(
                f"the nodes {name!r} are of model_template {', '.join(sorted(templates))}: {_DELTA} or {_EXPONENTIAL} "
                "has a counterpart, one of the two in a population"
            )
        (template,) = templates
        values = self._values(name, group, type_of, rows, template)
        self.values[name] = values
        if np.any(values["I_e"]):
            self.drives.append(GaussianDrive(name, mean=_one_or_all(values["I_e"] / values["C_m"])))
        given = {ours: _one_or_all(values[theirs]) for ours, theirs in _OWN.items()}
        if not np.any(values["E_L"]):
            given["v_rest"] = None
        start = values.get("V_m")
        initial = {} if start is None else {"initial": {"v": _one_or_all(start)}}
        return Population(name, size, LIFParameters(**given, **initial))

    def _values(
        self,
        name: str,
        group: Any,
        type_of: npt.NDArray[np.int64],
        rows: Mapping[int, Mapping[str, str]],
        template: str,
    ) -> dict[str, Any]:
        """Return the parameters of every neuron."""
        known = _DEFAULTS | _SYNAPTIC if template == _EXPONENTIAL else dict(_DEFAULTS)
        values: dict[str, Any] = {key: np.full(len(type_of), value) for key, value in known.items()}
        values["template"] = template
        for number, row in rows.items():
            given = {key: float(row[key]) for key in (*known, "V_m") if key in row}
            if "dynamics_params" in row:
                folder = self.content.get("components", {}).get("point_neuron_models_dir", ".")
                given |= json.loads(self.path(f"{folder}/{row['dynamics_params']}").read_text(encoding="utf-8"))
            for key, value in given.items():
                if key not in known and key != "V_m":
                    raise ValueError(f"{name!r}: the parameter {key!r} of {template} has no counterpart, got {value!r}")
                values.setdefault(key, values["E_L"].copy())[type_of == number] = value
        index = np.asarray(group["node_group_index"][:], dtype=np.int64)
        owner = np.asarray(group["node_group_id"][:], dtype=np.int64)
        for number in np.unique(owner).tolist():
            own = group.get(f"{number}/dynamics_params", {})
            for key in own:
                if key not in known and key != "V_m":
                    raise ValueError(f"{name!r}: the parameter {key!r} of {template} has no counterpart")
                mine = owner == number
                values.setdefault(key, values["E_L"].copy())[mine] = own[key][:][index[mine]]
        return values

    def source(self, name: str, group: Any, size: int) -> Source:
        """Return virtual nodes."""
        if name in self.rates:
            return PoissonSource(name, size, self.rates[name])
        files = [self.spikes[name]] if name in self.spikes else sorted((self.config.parent / "inputs").glob("*.h5"))
        for path in files:
            with self.h5py.File(path, "r") as file:
                if name in file.get("spikes", {}):
                    own = file["spikes"][name]
                    scale = seconds_of(_unit(own, None), f"the spikes of {name!r}") * 1e3
                    times = np.asarray(own["timestamps"][:], dtype=np.float64)
                    return SpikeSource(
                        name, times if scale == 1 else times * scale, own["node_ids"][:].astype(int), size
                    )
        rate = group.get("0/rate")
        if rate is not None:
            return PoissonSource(name, size, rate[:] / 1e3)
        raise ValueError(
            f"nothing says when the virtual nodes {name!r} fire: give `rates={{{name!r}: …}}` (spikes/ms, or a "
            f"quantity), or `spikes={{{name!r}: path}}`"
        )

    def projections(self, entry: Mapping[str, Any]) -> Iterator[Projection]:
        """Yield the projections of a file of edges."""
        types = self.types(entry, "edge")
        with self.h5py.File(self.path(entry["edges_file"]), "r") as file:
            for name, group in file["edges"].items():
                yield from self._of_edges(name, group, types)

    def _of_edges(self, name: str, group: Any, types: Mapping[int, Mapping[str, str]]) -> Iterator[Projection]:
        ends = {}
        for end in ("source", "target"):
            label = group[f"{end}_node_id"].attrs["node_population"]
            ends[end] = label.decode() if isinstance(label, bytes) else str(label)
            if ends[end] not in self.sizes:
                raise ValueError(f"the edges {name!r} name the {end} {ends[end]!r}, of which the network has no nodes")
        target, source = (np.asarray(group[f"{end}_node_id"][:], dtype=np.int64) for end in ("target", "source"))
        type_of = np.asarray(group["edge_type_id"][:], dtype=np.int64)
        for number in np.unique(type_of).tolist():
            model = types.get(number, {}).get("model_template", "static_synapse")
            if model.removeprefix("nest:") != "static_synapse":
                raise ValueError(f"the edges {name!r} are {model}: static_synapse alone has a counterpart")
        column = _Column(name, group, type_of, types)
        weight, delay = column.values("syn_weight", None), column.values("delay", None)
        weight = weight * column.values("nsyns", 1.0)
        values = self.values.get(ends["target"])
        if values is None:
            raise ValueError(f"the edges {name!r} end at virtual nodes, {ends['target']!r}")
        tau = np.zeros(len(weight))
        if values["template"] == _EXPONENTIAL:
            constants = np.where(weight >= 0, values["tau_syn_ex"][target], values["tau_syn_in"][target])
            tau, weight = constants, weight * constants / values["C_m"][target]
            if column.has(_CHARGE):
                weight = column.values(_CHARGE, None)
        shape = (self.sizes[ends["target"]], self.sizes[ends["source"]])
        for one in np.unique(tau).tolist():
            mine = np.flatnonzero(tau == one)
            order = mine[np.lexsort((delay[mine], source[mine], target[mine]))]
            pair = target[order] * shape[1] + source[order]
            first = np.searchsorted(pair, pair)  # place of the first synapse of the pair
            for rank in range(int((np.arange(len(pair)) - first).max(initial=0)) + 1):
                chosen = order[np.arange(len(pair)) - first == rank]
                ends_of_rows = np.cumsum(np.bincount(target[chosen], minlength=shape[0]))
                parts = weight[chosen], source[chosen], np.concatenate([[0], ends_of_rows])
                matrix = sparse.csr_array(parts, shape=shape)
                matrix.has_canonical_format = True
                own = delay[chosen]
                same = not len(own) or bool((own == own[0]).all())
                yield Projection(
                    ends["source"],
                    ends["target"],
                    weights=matrix,
                    delay=(float(own[0]) if len(own) else 0.0) if same else own,
                    tau_syn=one,
                )


class _Column(NamedTuple):
    """Attributes of edges, from their groups or their types."""

    name: str
    group: Any
    type_of: npt.NDArray[np.int64]
    types: Mapping[int, Mapping[str, str]]

    def has(self, attribute: str) -> bool:
        """Return whether the edges have an attribute of each one."""
        return f"0/{attribute}" in self.group

    def values(self, attribute: str, default: float | None) -> Array:
        """Return an attribute of every edge."""
        found = np.full(len(self.type_of), np.nan if default is None else default)
        for number in np.unique(self.type_of).tolist():
            if attribute in self.types.get(number, {}):
                found[self.type_of == number] = float(self.types[number][attribute])
        owner = np.asarray(self.group["edge_group_id"][:], dtype=np.int64)
        index = np.asarray(self.group["edge_group_index"][:], dtype=np.int64)
        for number in np.unique(owner).tolist():
            own = self.group.get(f"{number}/{attribute}")
            if own is not None:
                found[owner == number] = own[:][index[owner == number]]
        if np.isnan(found).any():
            k = int(np.argmax(np.isnan(found)))
            raise ValueError(
                f"the edges {self.name!r} have no `{attribute}`, first at edge {k}, of their own or of their type"
            )
        return found


def _one_or_all(values: Any) -> Any:
    array = np.asarray(values, dtype=np.float64)
    return float(array[0]) if len(array) and (array == array[0]).all() else array


def _unit(group: Any, given: str | None) -> str | None:
    """Return the unit of the times of a group of spikes."""
    stored = group["timestamps"].attrs.get("units")
    stored = stored.decode() if isinstance(stored, bytes) else stored
    if given is not None or stored is None:
        return given
    if stored not in _UNITS:
        raise ValueError(f"the timestamps are in {stored!r}; give `unit`, one of 's', 'ms', 'us', 'ns'")
    return _UNITS[stored]


def from_sonata_spikes(
    path: str | os.PathLike[str],
    *,
    duration: Any,
    unit: str | None = None,
    sizes: Mapping[str, int] | None = None,
    warmup: Any = 0.0,
    dt: Any = None,
    window: Any = None,
    covariance: bool = True,
) -> xr.DataTree:
    """Return the spikes of a SONATA file as a result, with rates, variances and their standard errors.

    Parameters
    ----------
    path : path-like
        A file with ``/spikes/<population>/timestamps`` and ``node_ids``.
    duration : float or Quantity
        Length of the recording after the warm-up, ms.
    unit : {"s", "ms", "us", "ns"}, optional
        Of the times; by default the attribute ``units`` of the file, and where it has none it is asked for.
    sizes : mapping of str to int, optional
        Sizes of the populations, which also chooses them; by default the greatest ``node_id`` and 1 of each.
    warmup : float or Quantity
        Time at the beginning that is not counted, ms; its spikes get negative times.
    dt : float or Quantity, optional
        Step of the simulation, ms.
    window : float or Quantity, optional
        Length of the windows of count variance and covariance, ms; default: the duration.
    covariance : bool
        Whether to estimate the covariance matrices.

    Raises
    ------
    PackageMissing
        If h5py is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If it holds no spikes, its times have no unit, or a node is out of range.
    """
    h5py = package("h5py", "`from_sonata_spikes`")
    if not os.path.exists(path):
        raise FileNotFoundError(f"no SONATA file {path}")
    before, length = seconds(warmup, "warmup"), float(in_unit(duration, "ms", "duration")) * 1e-3
    names: list[str] = []
    trains: list[Array] = []
    with h5py.File(path, "r") as file:
        if "spikes" not in file:
            raise ValueError(f"{path} holds no spikes, only {', '.join(file)}: SONATA has them in the group /spikes")
        groups = {"neurons": file["spikes"]} if "timestamps" in file["spikes"] else dict(file["spikes"].items())
        if unknown := sorted(set(sizes or {}) - set(groups)):
            raise ValueError(f"`sizes` name {unknown[0]!r}; {path} has spikes of {', '.join(groups)}")
        for name, group in groups.items():
            if sizes is not None and name not in sizes:
                continue
            times = np.asarray(group["timestamps"][:], dtype=np.float64)
            times = times * seconds_of(_unit(group, unit), f"the spikes of {name!r} in {path}")
            times = times - before if before else times
            nodes = np.asarray(group["node_ids"][:], dtype=np.int64)
            size = sizes[name] if sizes is not None else int(nodes.max(initial=-1)) + 1
            if nodes.max(initial=-1) >= size:
                raise ValueError(f"node_ids of {name!r} must be below its size, {size}, got {int(nodes.max())}")
            order = np.lexsort((times, nodes))
            trains += np.split(times[order], np.cumsum(np.bincount(nodes, minlength=size))[:-1]) if size else []
            names += [name] * size
    step = None if dt is None else seconds(dt, "dt")
    spikes = arranged([Presented(None, trains)], names, duration=length, warmup=before, dt=step)
    return labelled(spikes, {}, window=window, covariance=covariance)
