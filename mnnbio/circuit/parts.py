"""Parts of a circuit: populations, projections between them, readouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse

from mnnbio.circuit.connectivity import Connectivity
from mnnbio.circuit.part_values import Array, frozen, number_or_distribution, synaptic_time
from mnnbio.circuit.sources import check_name
from mnnbio.neurons import LIFParameters, NeuronModel
from mnnbio.synapses import Delta, Exponential, PlasticityRule, SynapseModel
from mnnbio.units import Unit, in_unit, require
from mnnbio.values import STORED_IF_GIVEN, Distribution


@dataclass(frozen=True, eq=False)
class ModeMatrix:
    """Weights factored into modes, ``W = input_modes · diag(scores) · output_modesᵀ`` (Lin & Huang).

    Parameters
    ----------
    input_modes : array_like, shape (n_target, n_modes)
        Direction in which each mode drives the target population.
    scores : array_like, shape (n_modes,), mV
        Strength of each mode.
    output_modes : array_like, shape (n_source, n_modes)
        Direction of the source population's activity that each mode reads.
    """

    input_modes: Any
    scores: Any
    output_modes: Any

    def __post_init__(self) -> None:
        for name in ("input_modes", "scores", "output_modes"):
            object.__setattr__(
                self, name, frozen(in_unit(getattr(self, name), "mV" if name == "scores" else "1", name))
            )
        modes = self.scores.shape
        if len(modes) != 1 or self.input_modes.shape[1:] != modes or self.output_modes.shape[1:] != modes:
            raise ValueError(
                "modes must have shapes (n_target, n_modes), (n_modes,), (n_source, n_modes), got "
                f"{self.input_modes.shape}, {self.scores.shape}, {self.output_modes.shape}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of targets and of sources."""
        return len(self.input_modes), len(self.output_modes)

    def to_dense(self) -> Array:
        """Return the matrix itself, (n_target, n_source), mV."""
        return (self.input_modes * self.scores) @ self.output_modes.T


Matrix: TypeAlias = Array | sparse.csr_array | ModeMatrix


@dataclass(frozen=True, eq=False)
class Population:
    """A population of neurons.

    Parameters
    ----------
    name : str
        Name, unique in the circuit.
    size : int
        Number of neurons.
    neuron : NeuronModel
        The neurons, such as `LIFParameters`: parameters are single numbers or one value per neuron.
    """

    name: str
    size: int
    neuron: NeuronModel

    def __post_init__(self) -> None:
        check_name(self.name, self.size)
        if not isinstance(self.neuron, NeuronModel):
            raise TypeError(
                f"the neurons of {self.name!r} must be a NeuronModel such as LIFParameters(), got {self.neuron!r}"
            )
        if self.neuron.size not in (None, self.size):
            raise ValueError(
                f"the neurons of {self.name!r} are described for {self.neuron.size}, the population has {self.size}"
            )

    @property
    def kind(self) -> str:
        """What the elements are, for tables and texts."""
        return "LIF neurons" if isinstance(self.neuron, LIFParameters) else f"{type(self.neuron).__name__} neurons"

    @property
    def lif(self) -> LIFParameters:
        """The parameters of leaky integrate-and-fire neurons, voltages measured from rest.

        Raises
        ------
        TypeError
            If the neurons are others.
        """
        if not isinstance(self.neuron, LIFParameters):
            raise TypeError(
                f"the neurons of {self.name!r} are {type(self.neuron).__name__}, not leaky integrate-and-fire neurons "
                "(LIFParameters): there is no theory for them"
            )
        return self.neuron.from_rest()


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one population to another.

    Either `weights` gives every synapse, or `weight` and `connectivity` give a rule that the circuit realises once.

    Parameters
    ----------
    source, target : str
        Names of the populations.
    weights : array_like, scipy.sparse array or ModeMatrix, shape (n_target, n_source), optional
        Charge of one spike as a change of the membrane potential, mV: the jump at a delta synapse.
    weight : float, Quantity or Distribution, optional
        Charge of one spike, mV: the same for all synapses of the rule, or a distribution.
    connectivity : Connectivity, optional
        Who is connected to whom, such as ``FixedIndegree(100)``.
    delay : float, Quantity, Distribution or array_like
        Transmission delay, ms; ≥ 0. One for all synapses, a distribution, or, with explicit weights, one per synapse:
        in the shape of dense weights, or in the order of ``weights.data`` of a sparse array.
    autapses : bool
        Whether a rule within one population may connect a neuron to itself.
    tau_syn : float or Quantity
        Synaptic time constant, ms; 0 for delta synapses. With ``tau_syn > 0`` a spike adds ``weight/tau_syn`` (mV/ms)
        to a current that decays with `tau_syn`, so the charge is that of the delta synapse.
    synapse : SynapseModel, optional
        Another model of the synapses; weights are in its working unit. By default delta synapses, or exponential ones
        where `tau_syn` is given.
    plasticity : PlasticityRule or sequence of PlasticityRule, optional
        Rules by which the synapses change while the network runs, such as ``STDP(w_max=1.0)``; `weights` are those with
        which every presentation starts.
    """

    source: str
    target: str
    weights: Any = None
    weight: Any = None
    connectivity: Connectivity | None = None
    delay: Any = 0.0
    autapses: bool = False
    tau_syn: Any = 0.0
    synapse: SynapseModel | None = None
    plasticity: Any = field(default=None, metadata=STORED_IF_GIVEN)

    def __post_init__(self) -> None:
        if (self.weights is None) == (self.weight is None):
            raise ValueError(f"{self}: give either `weights` (a matrix), or `weight` and `connectivity`")
        self._settle_synapse()
        if (self.weight is None) != (self.connectivity is None):
            raise ValueError(f"{self}: `weight` and `connectivity` go together")
        if self.weight is not None:
            if not isinstance(self.connectivity, Connectivity):
                raise TypeError(
                    f"`connectivity` of {self} must be a rule such as FixedIndegree(100), got {self.connectivity!r}"
                )
            object.__setattr__(
                self, "weight", number_or_distribution(self.weight, self.synapse_model.UNIT, f"weight of {self}")
            )
        elif not isinstance(self.weights, ModeMatrix):
            if np.ndim(self.delay) and sparse.issparse(self.weights) and not _is_canonical(self.weights):
                raise ValueError(
                    f"weights of {self} must be a csr_array with sorted indices and without duplicates where every "
                    "synapse has a delay of its own, so that their order is plain. Call `sum_duplicates()` first"
                )
            object.__setattr__(self, "weights", _matrix(self.weights, self.synapse_model.UNIT, f"weights of {self}"))
        object.__setattr__(self, "delay", self._checked_delay())
        self._settle_plasticity()

    def _settle_plasticity(self) -> None:
        """Note the rules as a tuple, their greatest weights in the unit of the weights."""
        given = self.plasticity
        if given is None:
            return
        rules = (given,) if isinstance(given, PlasticityRule) else given
        if not isinstance(rules, list | tuple) or not all(isinstance(rule, PlasticityRule) for rule in rules):
            raise TypeError(
                f"`plasticity` of {self} must be a rule such as STDP(w_max=1.0), or a list of rules, got {given!r}"
            )
        if isinstance(self.weights, ModeMatrix):
            raise ValueError(
                f"`plasticity` of {self} changes single synapses, and its weights are factored into modes: give "
                "`weights.to_dense()`"
            )
        settled = tuple(rule.in_weight_unit(self.synapse_model.UNIT, str(self)) for rule in rules)
        object.__setattr__(self, "plasticity", settled or None)

    def _settle_synapse(self) -> None:
        """Note delta and exponential synapses as `tau_syn` alone, so that either may be changed."""
        object.__setattr__(self, "tau_syn", synaptic_time(self.tau_syn, str(self)))
        if self.synapse is None:
            return
        if not isinstance(self.synapse, SynapseModel):
            raise TypeError(
                f"`synapse` of {self} must be a SynapseModel such as Exponential(5.0), got {self.synapse!r}"
            )
        if self.tau_syn > 0:
            raise ValueError(f"give either `tau_syn` or `synapse` of {self}, got both")
        if isinstance(self.synapse, Exponential) and self.synapse.unit == "mV":
            object.__setattr__(self, "tau_syn", self.synapse.tau_syn)
            object.__setattr__(self, "synapse", None)
        elif isinstance(self.synapse, Delta):
            object.__setattr__(self, "synapse", None)

    @property
    def synapse_model(self) -> SynapseModel:
        """The model of the synapses."""
        if self.synapse is not None:
            return self.synapse
        return Exponential(self.tau_syn) if self.tau_syn > 0 else Delta()

    def _checked_delay(self) -> float | Array | Distribution:
        name = f"delay of {self}"
        if np.ndim(self.delay) == 0:
            delay = number_or_distribution(self.delay, "ms", name)
            if isinstance(delay, Distribution):
                if isinstance(self.weights, ModeMatrix):
                    raise ValueError(
                        f"`{name}` must be a single number where weights are factored into modes, got {delay!r}"
                    )
                if delay.lowest < 0:
                    raise ValueError(
                        f"`{name}` must be ≥ 0 ms, {delay!r} reaches below. Give `low`, the shortest delay"
                    )
            else:
                require(delay >= 0, name, "≥ 0 ms", delay)
            return delay
        delays = frozen(in_unit(self.delay, "ms", name))
        weights = self.weights
        if not isinstance(weights, np.ndarray | sparse.csr_array):
            raise ValueError(f"`{name}` can be one per synapse only with explicit dense or sparse weights")
        shape = weights.shape if isinstance(weights, np.ndarray) else weights.data.shape
        if delays.shape != shape:
            raise ValueError(
                f"`{name}` must be a number or have one entry per weight, shape {shape}, got {delays.shape}"
            )
        require(delays >= 0, name, "≥ 0 ms", delays, where="index")
        return delays

    def __str__(self) -> str:
        return f"projection {self.source!r} → {self.target!r}"


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear readout of spike counts: decision variable ``weights @ rate + bias``.

    Parameters
    ----------
    source : str, or sequence of str
        Name of the population that is read; or of several, whose neurons follow one another in the weights.
    weights : array_like, shape (n_output, n_source)
        Weights, per spike/ms.
    bias : array_like, shape (n_output,)
        Offsets.
    labels : sequence of str, optional
        Names of the outputs.
    name : str, optional
        Name of the decision variables in results, an identifier; by default ``readout``.
    """

    source: str | tuple[str, ...]
    weights: Any
    bias: Any
    labels: tuple[str, ...] | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            names = tuple(self.source)
            if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"a readout reads populations by their names, each once, got {names!r}")
            object.__setattr__(self, "source", names[0] if len(names) == 1 else names)
        weights = frozen(in_unit(self.weights, "1", "readout weights"))
        bias = frozen(in_unit(self.bias, "1", "readout bias"))
        if weights.ndim != 2 or bias.shape != weights.shape[:1]:
            raise ValueError(
                f"readout weights and bias must have shapes (n_output, n_source) and (n_output,), "
                f"got {weights.shape} and {bias.shape}"
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "bias", bias)
        if self.name is not None and not (isinstance(self.name, str) and self.name.isidentifier()):
            raise ValueError(f"the name of a readout must be an identifier, got {self.name!r}")
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
            if len(self.labels) != len(bias):
                raise ValueError(f"the readout has {len(bias)} outputs and {len(self.labels)} labels")

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the populations that are read."""
        return (self.source,) if isinstance(self.source, str) else self.source


def output_dim(name: str) -> str:
    """Return the dimension of the outputs of a readout in results."""
    return "output" if name == "readout" else f"{name}_output"


def _is_canonical(matrix: Any) -> bool:
    return matrix.format == "csr" and bool(matrix.has_canonical_format)


def _matrix(value: Any, unit: Unit, name: str) -> Array | sparse.csr_array:
    if sparse.issparse(value):
        matrix = sparse.csr_array(value, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        in_unit(matrix.data, unit, name)
        return matrix
    dense = np.asarray(in_unit(value, unit, name))
    if dense.ndim != 2:
        raise ValueError(f"{name} must be a matrix of shape (n_target, n_source), got shape {dense.shape}")
    return frozen(dense)
