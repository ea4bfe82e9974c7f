"""The parts of a circuit: populations, projections between them, and what drives them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit.connectivity import Connectivity
from mnnbio.neurons import LIFParameters
from mnnbio.units import Unit, in_unit, require
from mnnbio.values import Distribution, TimeCourse

Array = npt.NDArray[np.float64]


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
                self, name, _frozen(in_unit(getattr(self, name), "mV" if name == "scores" else "1", name))
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
class PoissonSource:
    """A population of independent Poisson spike trains.

    Parameters
    ----------
    name : str
        Name, unique in the circuit.
    size : int
        Number of trains.
    rates : array_like, Quantity or TimeCourse
        Rates, spikes/ms: a number, (size,), or (stimulus, size) for several stimuli; ≥ 0. Rates that change in time are
        a `Steps`, `Ramp`, `Oscillation` or `Samples`.
    """

    name: str
    size: int
    rates: Any

    def __post_init__(self) -> None:
        _check_name(self.name, self.size)
        name = f"rates of {self.name!r}"
        if isinstance(self.rates, TimeCourse):
            rates: Array | TimeCourse = _input(self.rates, "1/ms", name, least=0.0)
            _check_shape(rates.shape, name, self.size)
        else:
            rates = _per_neuron(self.rates, "1/ms", name, self.size)
            require(rates >= 0, name, "≥ 0 spikes/ms", rates, where="index")
        object.__setattr__(self, "rates", rates)


@dataclass(frozen=True, eq=False)
class Population:
    """A population of leaky integrate-and-fire neurons.

    Parameters
    ----------
    name : str
        Name, unique in the circuit.
    size : int
        Number of neurons.
    lif : LIFParameters
        Neuron parameters, single numbers or one value per neuron.
    """

    name: str
    size: int
    lif: LIFParameters

    def __post_init__(self) -> None:
        _check_name(self.name, self.size)
        if not isinstance(self.lif, LIFParameters):
            raise TypeError(f"`lif` of {self.name!r} must be LIFParameters, got {type(self.lif).__name__}")
        if self.lif.size not in (None, self.size):
            raise ValueError(
                f"`lif` of {self.name!r} describes {self.lif.size} neurons, the population has {self.size}"
            )


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one population to another, delta or exponential.

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
    """

    source: str
    target: str
    weights: Any = None
    weight: Any = None
    connectivity: Connectivity | None = None
    delay: Any = 0.0
    autapses: bool = False
    tau_syn: Any = 0.0

    def __post_init__(self) -> None:
        if (self.weights is None) == (self.weight is None):
            raise ValueError(f"{self}: give either `weights` (a matrix), or `weight` and `connectivity`")
        if (self.weight is None) != (self.connectivity is None):
            raise ValueError(f"{self}: `weight` and `connectivity` go together")
        if self.weight is not None:
            if not isinstance(self.connectivity, Connectivity):
                raise TypeError(
                    f"`connectivity` of {self} must be a rule such as FixedIndegree(100), got {self.connectivity!r}"
                )
            object.__setattr__(self, "weight", _number_or_distribution(self.weight, "mV", f"weight of {self}"))
        elif not isinstance(self.weights, ModeMatrix):
            if np.ndim(self.delay) and sparse.issparse(self.weights) and not _is_canonical(self.weights):
                raise ValueError(
                    f"weights of {self} must be a csr_array with sorted indices and without duplicates where every "
                    "synapse has a delay of its own, so that their order is plain. Call `sum_duplicates()` first"
                )
            object.__setattr__(self, "weights", _matrix(self.weights, f"weights of {self}"))
        object.__setattr__(self, "delay", self._checked_delay())
        object.__setattr__(self, "tau_syn", _synaptic_time(self.tau_syn, str(self)))

    def _checked_delay(self) -> float | Array | Distribution:
        name = f"delay of {self}"
        if np.ndim(self.delay) == 0:
            delay = _number_or_distribution(self.delay, "ms", name)
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
        delays = _frozen(in_unit(self.delay, "ms", name))
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
class GaussianDrive:
    """Gaussian white-noise current into every neuron of a population.

    Parameters
    ----------
    target : str
        Name of the population.
    mean : array_like, Quantity or TimeCourse
        Mean, mV/ms: a number, (n,) or (stimulus, n), or a course in time of such values.
    std : array_like, Quantity or TimeCourse
        Standard deviation of the noise that is independent between neurons, mV/√ms; as for `mean`.
    factor : array_like or Quantity, optional
        Loadings of noise sources shared by the neurons, mV/√ms: (n, k) or (stimulus, n, k); they add
        ``factor @ factorᵀ`` to the covariance of the currents.
    """

    target: str
    mean: Any = 0.0
    std: Any = 0.0
    factor: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", _input(self.mean, "mV/ms", f"mean of {self}"))
        object.__setattr__(self, "std", _input(self.std, "mV/sqrt(ms)", f"std of {self}", least=0.0))
        if self.factor is not None:
            object.__setattr__(self, "factor", _frozen(in_unit(self.factor, "mV/sqrt(ms)", f"factor of {self}")))

    def __str__(self) -> str:
        return f"Gaussian drive of {self.target!r}"


@dataclass(frozen=True, eq=False)
class PoissonDrive:
    """Poisson input of its own for every neuron of a population.

    Parameters
    ----------
    target : str
        Name of the population.
    rate : array_like, Quantity or TimeCourse
        Rate of the input, spikes/ms: a number, (n,) or (stimulus, n), or a course in time of such values; ≥ 0.
    weight : float or Quantity
        Charge of one input spike as a change of the membrane potential, mV: the jump at a delta synapse.
    tau_syn : float or Quantity
        Synaptic time constant, ms; 0 for delta synapses. As in `Projection`.
    """

    target: str
    rate: Any
    weight: Any
    tau_syn: Any = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", _input(self.rate, "1/ms", f"rate of {self}", least=0.0))
        object.__setattr__(self, "weight", _number(self.weight, "mV", f"weight of {self}"))
        object.__setattr__(self, "tau_syn", _synaptic_time(self.tau_syn, str(self)))

    def __str__(self) -> str:
        return f"Poisson drive of {self.target!r}"


Drive: TypeAlias = GaussianDrive | PoissonDrive


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear readout of spike counts: decision variable ``weights @ rate + bias``.

    Parameters
    ----------
    source : str
        Name of the population that is read.
    weights : array_like, shape (n_output, n_source)
        Weights, per spike/ms.
    bias : array_like, shape (n_output,)
        Offsets.
    labels : sequence of str, optional
        Names of the outputs.
    """

    source: str
    weights: Any
    bias: Any
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        weights = _frozen(in_unit(self.weights, "1", "readout weights"))
        bias = _frozen(in_unit(self.bias, "1", "readout bias"))
        if weights.ndim != 2 or bias.shape != weights.shape[:1]:
            raise ValueError(
                f"readout weights and bias must have shapes (n_output, n_source) and (n_output,), "
                f"got {weights.shape} and {bias.shape}"
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "bias", bias)
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
            if len(self.labels) != len(bias):
                raise ValueError(f"the readout has {len(bias)} outputs and {len(self.labels)} labels")


def _check_name(name: str, size: int) -> None:
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"a population's name must be a Python identifier, got {name!r}")
    if not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"the size of {name!r} must be a whole number ≥ 1, got {size!r}")


def _frozen(value: float | Array) -> Array:
    array = np.asarray(value, dtype=np.float64)
    array.setflags(write=False)
    return array


def _number(value: Any, unit: Unit, name: str) -> float:
    number = in_unit(value, unit, name)
    if not isinstance(number, float):
        raise ValueError(f"{name} must be a single number in {unit}, got an array of shape {number.shape}")
    return number


def _synaptic_time(value: Any, name: str) -> float:
    tau_syn = _number(value, "ms", f"tau_syn of {name}")
    require(tau_syn >= 0, f"tau_syn of {name}", "≥ 0 ms", tau_syn)
    return tau_syn


def _number_or_distribution(value: Any, unit: Unit, name: str) -> float | Distribution:
    return value.used_as(unit, name) if isinstance(value, Distribution) else _number(value, unit, name)


_SHOWN: dict[Unit, str] = {"1/ms": "spikes/ms", "mV/sqrt(ms)": "mV/√ms"}


def _input(value: Any, unit: Unit, name: str, *, least: float = -np.inf) -> Any:
    """Return an input as a frozen array or a time course in its unit, checked to be at least `least`."""
    if isinstance(value, TimeCourse):
        checked: Any = value.used_as(unit, name)
        lowest = checked.lowest()
    else:
        checked = lowest = _frozen(in_unit(value, unit, name))
    require(lowest >= least, name, f"≥ {least:g} {_SHOWN.get(unit, unit)}", lowest, where="index")
    return checked


def _check_shape(shape: tuple[int, ...], name: str, size: int) -> None:
    if len(shape) > 2 or (shape and shape[-1] != size):
        raise ValueError(f"{name} must be a number or have shape ({size},) or (stimulus, {size}), got {shape}")


def _per_neuron(value: Any, unit: Unit, name: str, size: int) -> Array:
    """Return the value with its neuron axis in full, (size,) or (stimulus, size)."""
    array = np.asarray(in_unit(value, unit, name))
    _check_shape(array.shape, name, size)
    return _frozen(np.full(size, float(array)) if array.ndim == 0 else array)


def _is_canonical(matrix: Any) -> bool:
    return matrix.format == "csr" and bool(matrix.has_canonical_format)


def _matrix(value: Any, name: str) -> Array | sparse.csr_array:
    if sparse.issparse(value):
        matrix = sparse.csr_array(value, dtype=np.float64, copy=True)
        matrix.sum_duplicates()
        in_unit(matrix.data, "mV", name)
        return matrix
    dense = np.asarray(in_unit(value, "mV", name))
    if dense.ndim != 2:
        raise ValueError(f"{name} must be a matrix of shape (n_target, n_source), got shape {dense.shape}")
    return _frozen(dense)
