"""Graphs of NIR as circuits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    Drive,
    GaussianDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
    Source,
    SpikeSource,
    time_step,
)
from mnnbio.formats.nir_export import marks_of, to_nir
from mnnbio.formats.nir_maps import LinearMap, convolution, dense_map, pooling
from mnnbio.formats.packages import LeftOutWarning, package
from mnnbio.formats.recorded_data import LAYOUT
from mnnbio.neurons import LIFParameters
from mnnbio.units import in_unit

Array = npt.NDArray[np.float64]

_NO_LEAK = 1e7  # ms: in 100 ms a membrane of this time constant loses one part in 100,000
_NO_MEMORY = 1 / 40  # of a step: e^-40 of a potential is left after one
_SPIKING = ("LIF", "CubaLIF", "IF", "Threshold")
_PASSING = ("Output", "Identity")


class _Term(NamedTuple):
    """What a node gives, as a linear map of the spikes of another."""

    source: str
    matrix: sparse.csr_array
    delay: float  # ms


@dataclass
class _Signal:
    """Analog signal between nodes: maps of spikes, and a constant."""

    terms: list[_Term]
    offset: Array
    shape: tuple[int, ...]

    def through(self, own: LinearMap) -> _Signal:
        """Return the signal behind a linear layer."""
        terms = [_Term(term.source, own.matrix @ term.matrix, term.delay) for term in self.terms]
        return _Signal(terms, own.matrix @ self.offset + own.offset, own.shape)


def from_nir(
    graph: Any,
    dt: Any = None,
    *,
    inputs: Mapping[str, Any] | Any = None,
    t_ref: Any = 0.0,
    seed: int = 0,
) -> Circuit:
    """Return the circuit of a NIR graph.

    LIF, CubaLIF, IF and Threshold nodes are populations of leaky integrate-and-fire neurons; chains of Linear, Affine,
    Scale, Conv2d, SumPool2d, AvgPool2d, Flatten and Delay nodes between them are projections, recurrent ones too, and
    their offsets constant drives; an LI node before an Output, or linear nodes there, is a readout. IF neurons get a
    membrane time constant of 10,000 s; Threshold nodes one that leaves nothing from step to step.

    Parameters
    ----------
    graph : nir.NIRGraph or path-like
        What `to_nir` made comes back as it was, bit by bit, unless nodes were changed.
    dt : float or Quantity, optional
        Time step, ms. A spike is a pulse of height 1 that lasts a step, as snnTorch and Norse have it, so that it moves
        the membrane by ``weight · r · dt/tau``; for a graph whose spikes are Dirac pulses in s, give ``1 * second``. It
        may be left out where the graph says it.
    inputs : mapping of str to Source, float, array_like or Quantity, or one of these, optional
        What each Input node is: rates of Poisson trains, spikes/ms, or a `SpikeSource` of that name. It may be left out
        where the graph says it.
    t_ref : float or Quantity
        Refractory period of neurons that have none in their metadata, ms.
    seed : int
        Of the circuit.

    Returns
    -------
    Circuit
        Populations have the names of their nodes, voltages the numbers of the graph, in mV.

    Raises
    ------
    PackageMissing
        If NIR is not installed.
    FileNotFoundError
        If there is no such file.
    ValueError
        If a node has no counterpart, which is named with its type, or `dt` or `inputs` are needed.

    References
    ----------
    J. E. Pedersen et al. (2024), Neuromorphic intermediate representation: a unified instruction set for interoperable
    brain-inspired computing, Nature Communications 15, 8122.
    """
    nir = package("nir", "`from_nir`")
    if isinstance(graph, str | os.PathLike):
        if not os.path.exists(graph):
            raise FileNotFoundError(f"no NIR file {graph}")
        graph = nir.read(graph)
    if not isinstance(graph, nir.NIRGraph):
        raise TypeError(f"`graph` must be a nir.NIRGraph or the path of one, got {type(graph).__name__}")
    marks = marks_of(graph)
    if dt is None:
        if "dt" not in marks:
            raise ValueError(
                "`dt` must be given, ms: the graph does not say how long a step is, in which a spike is a pulse of "
                "height 1. For Dirac pulses in s give `1 * second`"
            )
        step = float(np.round(float(np.asarray(marks["dt"])) * 1e3, 9))
    else:
        step = time_step(dt)
    if LAYOUT in marks:
        stored = _as_written(graph, _text(marks[LAYOUT]), step)
        if stored is not None:
            return stored
        warnings.warn(
            "nodes of the graph have changed since `to_nir` made it: the circuit is made of what they say, without "
            "Poisson drives, shared noise and given spikes",
            LeftOutWarning,
            stacklevel=2,
        )
    reader = _Reader(*_flat(graph, ""), step, _inputs(inputs), float(in_unit(t_ref, "ms", "t_ref")))
    return reader.circuit(seed)


def _text(value: Any) -> str:
    plain = value.item() if isinstance(value, np.ndarray) else value
    return plain.decode() if isinstance(plain, bytes) else str(plain)


def _as_written(graph: Any, description: str, dt: float) -> Circuit | None:
    """Return the circuit that a graph was made from, None where its nodes are not those of it any more."""
    bare = Circuit.from_json(description)
    found: dict[int, Projection] = {}
    for name, node in graph.nodes.items():
        marks = marks_of(node)
        if "number" not in marks or type(node).__name__ not in ("Linear", "Affine"):
            continue
        before = next((a for a, b in graph.edges if b == name), "")
        if type(graph.nodes.get(before)).__name__ == "Delay":
            before = next((a for a, b in graph.edges if b == before), "")
        after = next((b for a, b in graph.edges if a == name), "")
        weights = np.asarray(node.weight, dtype=np.float64)
        found[int(marks["number"])] = Projection(
            before,
            after,
            weights=sparse.csr_array(weights) if bool(marks["sparse"]) else weights,
            delay=float(marks["delay"]),
            tau_syn=float(marks["tau_syn"]),
        )
    try:
        circuit = replace(bare, projections=[found[k] for k in sorted(found)])
    except ValueError:  # nodes of other sizes or names
        return None
    again = to_nir(circuit, dt)
    if set(again.nodes) != set(graph.nodes) or set(again.edges) != set(map(tuple, graph.edges)):
        return None
    same = (_same(again.nodes[name], graph.nodes[name]) for name in again.nodes)
    return circuit if all(same) else None


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    values = {key: value for key, value in vars(one).items() if isinstance(value, np.ndarray)}
    return all(np.array_equal(value, np.asarray(getattr(other, key))) for key, value in values.items())


def _flat(graph: Any, prefix: str) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return nodes and edges of a graph with those of the graphs in it, whose inputs and outputs pass signals on."""
    nodes: dict[str, Any] = {}
    edges: list[tuple[str, str]] = []
    entry: dict[str, list[str]] = {}
    leave: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        full = f"{prefix}{name}"
        if type(node).__name__ == "NIRGraph":
            inner, own = _flat(node, f"{full}.")
            nodes |= inner
            edges += own
            entry[full] = [f"{full}.{key}" for key in node.inputs]
            leave[full] = [f"{full}.{key}" for key in node.outputs]
        else:
            nodes[full] = node
    for a, b in graph.edges:
        one, other = f"{prefix}{a}", f"{prefix}{b}"
        edges += [(i, j) for i in leave.get(one, [one]) for j in entry.get(other, [other])]
    return nodes, list(dict.fromkeys(edges))


def _inputs(given: Any) -> dict[str | None, Any]:
    if given is None:
        return {}
    return dict(given) if isinstance(given, Mapping) else {None: given}


@dataclass
class _Reader:
    """A graph while it is read."""

    nodes: dict[str, Any]
    edges: list[tuple[str, str]]
    dt: float
    inputs: dict[str | None, Any]
    t_ref: float
    open: list[str] = field(default_factory=list)  # nodes on the way back, to find circles
    known: dict[str, _Signal] = field(default_factory=dict)

    def circuit(self, seed: int) -> Circuit:
        """Return the circuit."""
        if unknown := [name for name in self.inputs if name is not None and self.kind(name) != "Input"]:
            listed = ", ".join(name for name in self.nodes if self.kind(name) == "Input")
            raise ValueError(f"`inputs` name {unknown[0]!r}; the graph has the Input nodes {listed or 'none'}")
        populations: list[Source | Population] = []
        projections: list[Projection] = []
        drives: list[Drive] = []
        for name in self.nodes:
            if self.kind(name) == "Input" and not self.before(name):
                populations.append(self.source(name))
            elif self.kind(name) in _SPIKING:
                signal = self.arriving(name)
                population, factor, tau_syn = self.neurons(name, signal)
                populations.append(population)
                projections += self.projections(name, signal, factor, tau_syn)
                drives += self.drives(name, signal, factor)
        readouts = [self.readout(name) for name in self.nodes if self.kind(name) == "Output"]
        return Circuit(populations, projections, drives, [own for own in readouts if own is not None], seed)

    def kind(self, name: str) -> str:
        """Return the type of a node."""
        return type(self.nodes[name]).__name__ if name in self.nodes else "missing"

    def before(self, name: str) -> list[str]:
        """Return the nodes from which edges come."""
        return [a for a, b in self.edges if b == name]

    def size(self, name: str) -> tuple[int, ...]:
        """Return the shape of the output of a node that fires."""
        node, kind = self.nodes[name], self.kind(name)
        if kind == "Input":
            return tuple(int(k) for k in np.ravel(node.input_type["input"]))
        values = (node.threshold,) if kind == "Threshold" else (node.v_threshold, node.r)
        found = max((np.shape(value) for value in values), key=lambda shape: int(np.prod(shape)))
        if int(np.prod(found)) > 1:
            return found
        # One number for all neurons: what arrives says how many they are.
        before = [self.nodes[one] for one in self.before(name)]
        return next(((len(one.weight),) for one in before if type(one).__name__ in ("Linear", "Affine")), found or (1,))

    def arriving(self, name: str) -> _Signal:
        """Return the sum of what arrives at a node."""
        before = self.before(name)
        if not before:
            shape = self.size(name) if self.kind(name) in _SPIKING else ()
            return _Signal([], np.zeros(int(np.prod(shape))), shape)
        signals = [self.leaving(one) for one in before]
        sizes = {len(signal.offset) for signal in signals}
        if len(sizes) > 1:
            raise ValueError(f"signals of sizes {', '.join(map(str, sorted(sizes)))} meet at the node {name!r}")
        terms = [term for signal in signals for term in signal.terms]
        return _Signal(terms, np.sum([signal.offset for signal in signals], axis=0), signals[0].shape)

    def leaving(self, name: str) -> _Signal:
        """Return what a node gives.

        Raises
        ------
        ValueError
            If it has no counterpart, or nodes that do not fire form a circle.
        """
        if name in self.known:
            return self.known[name]
        if name in self.open:
            raise ValueError(
                f"the nodes {' → '.join([*self.open[self.open.index(name) :], name])} form a circle without neurons, "
                "which has no counterpart"
            )
        kind = self.kind(name)
        if kind in _SPIKING or (kind == "Input" and not self.before(name)):
            shape = self.size(name)
            number = int(np.prod(shape))
            one = _Term(name, sparse.csr_array(sparse.eye_array(number)), 0.0)
            return _Signal([one], np.zeros(number), shape)
        self.open.append(name)
        self.known[name] = signal = self.passed(name, self.arriving(name))
        self.open.pop()
        return signal

    def passed(self, name: str, signal: _Signal) -> _Signal:
        """Return a signal behind a node that does not fire."""
        node, kind = self.nodes[name], self.kind(name)
        if kind in ("Linear", "Affine"):
            own = dense_map(node.weight, node.bias if kind == "Affine" else None)
        elif kind == "Scale":
            scale = np.broadcast_to(np.ravel(node.scale), len(signal.offset))
            own = LinearMap(sparse.csr_array(sparse.diags_array(scale)), np.zeros(len(scale)), signal.shape)
        elif kind == "Conv2d":
            shape = signal.shape
            if len(shape) != 3 and node.input_shape is not None:
                shape = (node.weight.shape[1] * int(node.groups), *np.ravel(node.input_shape).astype(int).tolist())
            own = convolution(
                node.weight,
                node.bias,
                self.image(name, shape),
                stride=node.stride,
                padding=_text(node.padding) if isinstance(node.padding, str | bytes) else node.padding,
                dilation=node.dilation,
                groups=int(node.groups),
            )
        elif kind in ("SumPool2d", "AvgPool2d"):
            shape = self.image(name, signal.shape)
            own = pooling(shape, node.kernel_size, node.stride, node.padding, mean=kind == "AvgPool2d")
        elif kind == "Flatten":
            return _Signal(signal.terms, signal.offset, (len(signal.offset),))
        elif kind == "Delay":
            return self.delayed(node, signal)
        elif kind in _PASSING or kind == "Input":
            return signal
        else:
            raise ValueError(
                f"the node {name!r} is of type {kind}, which has no counterpart here: LIF, CubaLIF, IF, Threshold, "
                "Linear, Affine, Scale, Conv2d, SumPool2d, AvgPool2d, Flatten and Delay have, and LI before an Output"
            )
        if own.matrix.shape[1] != len(signal.offset):
            raise ValueError(f"the node {name!r} takes {own.matrix.shape[1]} signals, {len(signal.offset)} arrive")
        return signal.through(own)

    def image(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of images; a `ValueError` where signals have another."""
        if len(shape) != 3:
            raise ValueError(
                f"the node {name!r} takes images of shape (channel, height, width), its input has the shape {shape}: "
                "give the Input node that shape, or Conv2d its `input_shape`"
            )
        return shape

    def delayed(self, node: Any, signal: _Signal) -> _Signal:
        """Return a signal later: rows of one delay together."""
        delays = np.round(np.broadcast_to(np.ravel(node.delay), len(signal.offset)) * 1e3, 9)
        terms = []
        for delay in np.unique(delays).tolist():
            mine = sparse.csr_array(sparse.diags_array((delays == delay).astype(np.float64)))
            terms += [_Term(term.source, mine @ term.matrix, term.delay + delay) for term in signal.terms]
        return _Signal(terms, signal.offset, signal.shape)

    def source(self, name: str) -> Source:
        """Return what an Input node is."""
        size = int(np.prod(self.size(name)))
        given = self.inputs.get(name, self.inputs.get(None))
        if isinstance(given, SpikeSource):
            if given.name != name or given.size != size:
                raise ValueError(
                    f"the source for {name!r} must have its name and {size} elements, got {given.name!r}, {given.size}"
                )
            return given
        if given is not None:
            return PoissonSource(name, size, given)
        rate = marks_of(self.nodes[name]).get("rate")
        if rate is None:
            raise ValueError(
                f"nothing says how the Input {name!r} fires: give `inputs`, rates of {size} Poisson trains in "
                "spikes/ms or quantities, or a SpikeSource"
            )
        return PoissonSource(name, size, np.ravel(rate) / 1e3)

    def neurons(self, name: str, signal: _Signal) -> tuple[Population, Array, float]:
        """Return a population, what a signal of 1 for a step moves it by (mV), and the synaptic time constant."""
        node, kind = self.nodes[name], self.kind(name)
        number = max(int(np.prod(self.size(name))), len(signal.offset))

        def full(value: Any, default: float = 0.0) -> Array:
            return np.broadcast_to(np.ravel(default if value is None else value).astype(np.float64), number)

        marks, tau_syn = marks_of(node), 0.0
        own = {"t_ref": _one(full(marks["t_ref"]) * 1e3) if "t_ref" in marks else self.t_ref}
        if isinstance(own["t_ref"], np.ndarray) or "t_ref" in marks:
            own["t_ref"] = _one(np.round(np.asarray(own["t_ref"]) * np.ones(number), 9))
        if kind == "Threshold":
            threshold = full(node.threshold)
            own |= {
                "tau_m": self.dt * _NO_MEMORY,
                "v_th": _one(np.nextafter(threshold, np.inf)),  # a Threshold fires above, our neurons from it on
                "v_reset": _one(np.minimum(threshold - 1, 0.0)),
            }
            return Population(name, number, LIFParameters(**own)), np.ones(number), tau_syn
        threshold, reset, r = full(node.v_threshold), full(node.v_reset), full(node.r)
        own |= {"v_th": _one(threshold), "v_reset": _one(reset)}
        if kind == "IF":
            own["tau_m"] = _NO_LEAK
            factor = r * self.dt * 1e-3
        else:
            tau = np.round(full(node.tau if kind == "LIF" else node.tau_mem) * 1e3, 12)
            own["tau_m"] = _one(tau)
            factor = r * self.dt / tau
            if np.any(full(node.v_leak)):
                own["v_rest"] = _one(full(node.v_leak))
        if kind == "CubaLIF":
            factor = factor * full(node.w_in)
            times = np.round(full(node.tau_syn) * 1e3, 12)
            if np.ptp(times):
                raise ValueError(
                    f"the CubaLIF neurons {name!r} have synapses of time constants {times.min():g} ms to "
                    f"{times.max():g} ms: those of a population have one. Split the node"
                )
            tau_syn = float(times[0])
        return Population(name, number, LIFParameters(**own)), factor, tau_syn

    def projections(self, name: str, signal: _Signal, factor: Array, tau_syn: float) -> Iterator[Projection]:
        """Yield the projections onto a population."""
        together: dict[tuple[str, float], sparse.csr_array] = {}
        for term in signal.terms:
            key = term.source, round(term.delay, 9)
            together[key] = together[key] + term.matrix if key in together else term.matrix
        for (source, delay), matrix in together.items():
            weights = sparse.csr_array(sparse.diags_array(factor) @ matrix)
            weights.eliminate_zeros()
            if not weights.nnz:
                continue
            full = weights.nnz > 0.5 * weights.shape[0] * weights.shape[1]
            yield Projection(source, name, weights=weights.toarray() if full else weights, delay=delay, tau_syn=tau_syn)

    def drives(self, name: str, signal: _Signal, factor: Array) -> Iterator[Drive]:
        """Yield the constant input and the noise of a population."""
        mean: Any = factor * signal.offset / self.dt
        if self.kind(name) == "Threshold":  # what is left after a step of the memoryless membrane
            mean = signal.offset / (self.dt * _NO_MEMORY)
        std = marks_of(self.nodes[name]).get("noise_std", 0.0)
        if np.any(mean) or np.any(std):
            yield GaussianDrive(name, mean=_one(mean), std=_one(np.broadcast_to(np.ravel(std), len(mean))))

    def readout(self, name: str) -> Readout | None:
        """Return what is read at an Output: linear in spikes a ms, None where it is spikes."""
        (before, *more) = self.before(name) or [""]
        if more:
            raise ValueError(f"several nodes end at the Output {name!r}: put a Linear node between")
        kind = self.kind(before)
        if not before or kind in _SPIKING or kind == "Input":
            return None
        node = self.nodes[before]
        signal = self.arriving(before) if kind == "LI" else self.leaving(before)
        number = len(signal.offset)
        gain, offset, duration = np.ones(number), np.zeros(number), self.dt
        if kind == "LI":
            gain = np.broadcast_to(np.ravel(node.r), number)
            offset = np.broadcast_to(np.ravel(node.v_leak), number)
        elif marks_of(node).get("kind") in ("readout", b"readout"):
            duration = 1.0  # of spikes/ms already
        sources = {term.source for term in signal.terms}
        if len(sources) != 1 or self.kind(next(iter(sources))) == "Input":
            raise ValueError(
                f"the Output {name!r} reads {', '.join(sorted(sources)) or 'nothing'}: a readout reads one population "
                "of neurons"
            )
        weights = np.sum([term.matrix.toarray() for term in signal.terms], axis=0)
        label = name if name.isidentifier() else None
        return Readout(
            next(iter(sources)), gain[:, None] * weights * duration, gain * signal.offset + offset, name=label
        )


def _one(values: Any) -> float | Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or (len(array) and (array == array.flat[0]).all()):
        return float(array.flat[0])
    return np.array(array)
