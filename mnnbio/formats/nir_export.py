"""Circuits as graphs of NIR, the neuromorphic intermediate representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import (
    Circuit,
    GaussianDrive,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    Readout,
    check_time_step,
    delay_steps,
    require_circuit,
    time_step,
)
from mnnbio.formats.nest_script import one_stimulus
from mnnbio.formats.packages import package
from mnnbio.formats.point_models import PointModel, point_model
from mnnbio.formats.recorded_data import LAYOUT
from mnnbio.machine import require_memory
from mnnbio.neurons import LIFParameters
from mnnbio.synapses import Exponential

Array = npt.NDArray[np.float64]

_WHERE = "to_nir"
UNITS = "time s, voltage mV, t_ref s, noise_std mV/sqrt(ms)"


class Shape(NamedTuple):
    """What tells a projection apart from its weights, as metadata of its node."""

    number: int
    tau_syn: float
    delay: float
    sparse: bool


def to_nir(circuit: Circuit, dt: Any = 0.1, *, stimulus: int = 0) -> Any:
    """Return a circuit as a `nir.NIRGraph`, which `nir.write` stores.

    A population is an LIF node, or a CubaLIF node where its synapses are exponential; a projection an Affine or Linear
    node with its realised weights in mV, behind a Delay node where it has a delay; a source an Input node; a readout an
    Affine node before an Output. Times are in s and voltages in mV. A spike is a pulse of height 1 that lasts a step,
    as snnTorch has it: ``r = tau/dt``, so that it moves the membrane by its weight; constant input is the bias of an
    Affine node, mV a step, or, where no projection arrives, a shift of ``v_leak``. Refractoriness and noise, which NIR
    does not have, are metadata of the nodes (``t_ref``, ``noise_std``), and the description of the circuit is one of
    the graph, so that `from_nir` gives it back bit by bit.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons, trained or hand-made.
    dt : float or Quantity
        Time step for which the graph is meant, ms.
    stimulus : int
        Which stimulus drives it.

    Raises
    ------
    PackageMissing
        If NIR is not installed.
    TypeError, ValueError
        If something has no counterpart in NIR, which is named: other neurons and synapses, delays that differ among the
        synapses of a source.
    NotEnoughMemory
        If the weights, which NIR has in full, would not fit into memory.
    """
    nir = package("nir", "`to_nir`")
    require_circuit(circuit)
    step = time_step(dt)
    circuit = one_stimulus(circuit, stimulus)
    check_time_step(circuit, step)
    return _Graph(nir, circuit, step).graph()


def _skeleton(circuit: Circuit) -> str:
    """Return the description of a circuit without its projections, whose weights the nodes hold."""
    return circuit.with_parts(projections=()).to_json()


class _Graph:
    """A graph while it is made."""

    def __init__(self, nir: Any, circuit: Circuit, dt: float) -> None:
        self.nir, self.circuit, self.dt = nir, circuit, dt
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []
        self.models: dict[str, PointModel] = {}
        for population in circuit.neurons:
            if not isinstance(population.neuron, LIFParameters):
                raise TypeError(
                    f"the neurons of {population.name!r} are {type(population.neuron).__name__}: NIR has leaky "
                    "integrate-and-fire neurons (LIFParameters)"
                )
            self.models[population.name] = self.model(population)

    def model(self, population: Population) -> PointModel:
        """Return the counterpart of a population."""
        # Noise and Poisson trains of drives stand in the metadata, whatever they are.
        own = [drive.steps(self.dt) for drive in self.circuit.drives if drive.target == population.name]
        given = [(steps.mean, steps.std) for steps in own if steps.mean is not None]
        means = [GaussianDrive(population.name, mean, 0.0 if std is None else std) for mean, std in given]
        plain = self.circuit.with_parts(drives=means)
        found = point_model(plain, population, self.dt, _WHERE)
        found.require_constant(population.name, _WHERE)
        if found.kind not in ("delta", "exponential") or len(found.synapses) > 1:
            listed = ", ".join(map(str, found.synapses))
            raise ValueError(
                f"{population.name!r} has the synapses {listed}: NIR has delta synapses (LIF), or exponential ones of "
                "one time constant (CubaLIF)"
            )
        return found

    def graph(self) -> Any:
        """Return the graph."""
        for source in self.circuit.sources:
            marks: dict[str, Any] = {"kind": source.kind}
            if isinstance(source, PoissonSource) and isinstance(source.rates, np.ndarray):
                marks["rate"] = source.rates * 1e3  # Hz
            self.add(source.name, self.nir.Input({"input": np.array([source.size])}, metadata=marks))
        for population in self.circuit.neurons:
            self.add(population.name, self.neurons(population))
        biased: set[str] = set()
        for number, projection in enumerate(self.circuit.projections):
            self.projection(number, projection, first=projection.target not in biased)
            biased.add(projection.target)
        for name, readout in self.circuit.readouts.items():
            self.readout(name, readout)
        read = {source for readout in self.circuit.readouts.values() for source in readout.sources}
        sources = {projection.source for projection in self.circuit.projections}
        ends = [p for p in self.circuit.neurons if p.name not in sources | read]
        for population in ends or ([] if read else self.circuit.neurons):
            self.output(f"{population.name}_output", population.name, population.size)
        metadata = {LAYOUT: _skeleton(self.circuit), "dt": self.dt * 1e-3, "units": UNITS}
        return self.nir.NIRGraph(self.nodes, self.edges, metadata=metadata)

    def add(self, name: str, node: Any, *before: str) -> str:
        """Add a node with edges from others."""
        found = next(own for own in (name, *(f"{name}_{k}" for k in range(1, 10**6))) if own not in self.nodes)
        self.nodes[found] = node
        self.edges += [(one, found) for one in before]
        return found

    def readout(self, name: str, readout: Readout) -> None:
        """Add a readout; what it reads of several populations adds up at its node."""
        weights, before = readout.weights.copy(), readout.sources
        if len(before) > 1:
            sizes = [self.circuit.population(source).size for source in before]
            blocks = zip(before, np.split(weights, np.cumsum(sizes)[:-1], axis=1), strict=True)
            before = tuple(
                self.add(f"{name}_{source}", self.nir.Linear(part.copy()), source) for source, part in blocks
            )
            weights = np.eye(len(readout.bias))
        affine = self.nir.Affine(weights, readout.bias.copy(), metadata={"kind": "readout"})
        self.output(f"{name}_output", self.add(name, affine, *before), len(readout.bias))

    def output(self, name: str, source: str, size: int) -> None:
        """Add an output."""
        self.add(name, self.nir.Output({"output": np.array([size])}), source)

    def neurons(self, population: Population) -> Any:
        """Return the node of a population."""
        neuron, model, size = population.neuron, self.models[population.name], population.size
        assert isinstance(neuron, LIFParameters)

        def full(value: Any) -> Array:
            return np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), size))

        tau = full(neuron.tau_m)
        leak = full(model.values["E_L"])
        if not any(projection.target == population.name for projection in self.circuit.projections):
            leak = leak + tau * full(model.current)
        marks: dict[str, Any] = {"t_ref": full(neuron.t_ref) * 1e-3, "start": full(model.values["v"])}
        if np.any(model.noise):
            marks["noise_std"] = full(_noise_std(self.circuit, population.name, self.dt))
        values = {
            "r": tau / self.dt,
            "v_leak": leak,
            "v_threshold": full(neuron.v_th),
            "v_reset": full(neuron.v_reset),
            "metadata": marks,
        }
        if model.kind == "exponential":
            (synapse,) = model.synapses
            assert isinstance(synapse, Exponential)
            own = full(float(synapse.tau_syn) * 1e-3)
            return self.nir.CubaLIF(tau_syn=own, tau_mem=tau * 1e-3, w_in=np.ones(size), **values)
        return self.nir.LIF(tau=tau * 1e-3, **values)

    def projection(self, number: int, projection: Projection, *, first: bool) -> None:
        """Add the nodes of a projection."""
        matrix = self.circuit.matrix(projection)
        shape = (self.circuit.population(projection.target).size, self.circuit.population(projection.source).size)
        require_memory(
            8.0 * shape[0] * shape[1], f"the weights of {projection}", "NIR has them in full: make it smaller"
        )
        dense = matrix.to_dense() if isinstance(matrix, ModeMatrix) else matrix
        weights = dense.toarray() if isinstance(dense, sparse.csr_array) else np.array(dense)
        steps = delay_steps(self.circuit, projection, self.dt)
        if np.ptp(steps):
            raise ValueError(
                f"the delays of {projection} differ among its synapses, NIR's Delay is one of each source: give one "
                "`delay`"
            )
        own = Shape(
            number,
            projection.tau_syn,
            float(np.ravel(self.circuit.delays(projection))[0]) if len(steps) else 0.0,
            isinstance(dense, sparse.csr_array),
        )
        before = projection.source
        if own.delay > 0:
            delay = self.nir.Delay(np.full(shape[1], own.delay * 1e-3))
            before = self.add(f"{projection.source}_to_{projection.target}_delay", delay, before)
        marks = {**own._asdict(), "sparse": int(own.sparse)}
        current = self.models[projection.target].current
        if first and np.any(current):
            bias = np.array(np.broadcast_to(np.asarray(current) * self.dt, shape[0]))
            node = self.nir.Affine(weights, bias, metadata=marks)
        else:
            node = self.nir.Linear(weights, metadata=marks)
        name = self.add(f"{projection.source}_to_{projection.target}", node, before)
        self.edges.append((name, projection.target))


def _noise_std(circuit: Circuit, name: str, dt: float) -> Any:
    """Return the standard deviation of the independent Gaussian noise into a population, mV/√ms."""
    found: Any = 0.0
    for drive in circuit.drives:
        if drive.target == name and (std := drive.steps(dt).std) is not None:
            found = found + np.asarray(std) ** 2
    return np.sqrt(found)


def marks_of(node: Any) -> Mapping[str, Any]:
    """Return the metadata of a node."""
    return node.metadata if isinstance(node.metadata, dict) else {}
