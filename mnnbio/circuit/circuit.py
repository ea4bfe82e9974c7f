"""Description of a spiking circuit: what theory and simulation both read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mnnbio.circuit.drives import Drive
from mnnbio.circuit.part_values import Array
from mnnbio.circuit.parts import Matrix, ModeMatrix, Population, Projection, Readout
from mnnbio.circuit.realisation import Realised, realise
from mnnbio.circuit.sources import PoissonSource, Source, SpikeSource, with_inputs
from mnnbio.machine import require_memory
from mnnbio.units import in_unit
from mnnbio.values import Distribution, TimeCourse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnnbio.circuit.realisation import Sign

Part = TypeVar("Part")

_NEURONS = 3  # what random numbers are for, beside the three purposes of a projection
_BYTES_PER_SYNAPSE = 24  # while they are drawn: row, column, weight, and the sorted copies


@dataclass(frozen=True, eq=False)
class Circuit:
    """Populations, the projections between them, and what drives them.

    Parameters
    ----------
    populations : iterable of PoissonSource, SpikeSource and Population
        Parameters of neurons that are distributions are drawn, and hold one value per neuron from then on.
    projections : iterable of Projection
    drives : iterable of Drive
    readout : Readout or sequence of Readout, optional
        Several are told apart by their names, by default ``readout_<source>``.
    seed : int
        Seed of the connectivity: the same circuit always has the same synapses.

    Raises
    ------
    ValueError
        If a name is unknown or used twice, or a shape does not fit.

    Examples
    --------
    >>> circuit = Circuit(
    ...     populations=[PoissonSource("input", 2, rates=[0.5, 1.0]), Population("hidden", 3, LIFParameters())],
    ...     projections=[Projection("input", "hidden", weights=np.ones((3, 2)))],
    ... )
    >>> circuit
    Circuit(input: 2 Poisson trains, hidden: 3 LIF neurons; input → hidden)
    """

    populations: Sequence[Source | Population]
    projections: Sequence[Projection] = ()
    drives: Sequence[Drive] = ()
    readout: Readout | Sequence[Readout] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kinds in (
            ("populations", (Source, Population)),
            ("projections", (Projection,)),
            ("drives", (Drive,)),
        ):
            object.__setattr__(self, name, _parts(getattr(self, name), kinds, name))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer) or self.seed < 0:
            raise ValueError(f"`seed` must be a whole number ≥ 0, got {self.seed!r}")
        object.__setattr__(self, "populations", tuple(self._drawn_neurons()))
        names = [population.name for population in self.populations]
        if not self.neurons:
            raise ValueError("a circuit needs at least one Population of neurons")
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"population names must be unique, got {', '.join(repeated)} more than once")
        for projection in self.projections:
            self._check_projection(projection)
        for drive in self.drives:
            self._check_drive(drive)
        object.__setattr__(self, "readout", _readout(self.readout))
        for name, readout in self.readouts.items():
            size = sum(self._neurons_named(source, f"the readout {name!r}").size for source in readout.sources)
            if readout.weights.shape[1] != size:
                raise ValueError(
                    f"the readout {name!r} has weights for {readout.weights.shape[1]} neurons, "
                    f"{readout.source!r} has {size}"
                )
        counts = set(self._stimulus_counts())
        if len(counts) > 1:
            raise ValueError(f"sources and drives must agree on the number of stimuli, got {sorted(counts)}")
        if counts == {0}:
            raise ValueError("sources and drives must have one stimulus or more, got none: an axis of stimuli is empty")
        object.__setattr__(self, "_n_stimuli", counts.pop() if counts else None)
        object.__setattr__(self, "_drawn", {})
        object.__setattr__(self, "_hash", None)

    def _drawn_neurons(self) -> Iterable[Source | Population]:
        """Yield the populations with values drawn where parameters of neurons are distributions."""
        for number, population in enumerate(self.populations):
            if isinstance(population, Population):
                rng = np.random.default_rng([self.seed, number, _NEURONS])
                neuron = population.neuron.drawn(population.size, rng)
                yield population if neuron is population.neuron else replace(population, neuron=neuron)
            else:
                yield population

    def __repr__(self) -> str:
        parts = ", ".join(f"{p.name}: {p.size} {p.kind}" for p in self.populations)
        arrows = ", ".join(f"{p.source} → {p.target}" for p in self.projections)
        return f"Circuit({parts}; {arrows})" if arrows else f"Circuit({parts})"

    @property
    def neurons(self) -> tuple[Population, ...]:
        """The populations of LIF neurons, in order."""
        return tuple(p for p in self.populations if isinstance(p, Population))

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of spikes, in order."""
        return tuple(p for p in self.populations if isinstance(p, Source))

    @property
    def readouts(self) -> dict[str, Readout]:
        """The readouts by name: ``"readout"`` where there is one without a name of its own."""
        if self.readout is None:
            return {}
        if isinstance(self.readout, Readout):
            return {self.readout.name or "readout": self.readout}
        return {_readout_name(readout): readout for readout in self.readout}

    @property
    def n_neurons(self) -> int:
        """Number of LIF neurons."""
        return sum(p.size for p in self.neurons)

    @property
    def n_stimuli(self) -> int | None:
        """Number of stimuli, None if nothing in the circuit depends on a stimulus."""
        return self._n_stimuli  # type: ignore[attr-defined]

    @property
    def changes_in_time(self) -> bool:
        """Whether some source or drive follows a time course."""
        return any(isinstance(value, TimeCourse) for value, _ in self._inputs())

    @property
    def has_exponential_synapses(self) -> bool:
        """Whether some projection or drive has a synaptic time constant."""
        return any(p.tau_syn > 0 for p in self.projections) or any(
            train.tau_syn > 0 for drive in self.drives for train in drive.steps(1.0).jumps
        )

    @property
    def layers(self) -> tuple[Population, ...] | None:
        """The LIF populations ordered so that every projection goes forward, None in a recurrent circuit."""
        waiting, ordered = list(self.neurons), []
        while waiting:
            pending = {p.name for p in waiting}
            free = [p for p in waiting if not any(j.target == p.name and j.source in pending for j in self.projections)]
            if not free:
                return None
            ordered += free
            waiting = [p for p in waiting if p not in free]
        return tuple(ordered)

    @property
    def is_recurrent(self) -> bool:
        """Whether some population of neurons influences itself."""
        return self.layers is None

    def population(self, name: str) -> Source | Population:
        """Return the population of that name."""
        for population in self.populations:
            if population.name == name:
                return population
        raise ValueError(f"no population {name!r}; the circuit has {', '.join(p.name for p in self.populations)}")

    def slices(self) -> dict[str, slice]:
        """Return where each LIF population stands in an array over all neurons."""
        stops = np.cumsum([p.size for p in self.neurons]).tolist()
        return {p.name: slice(stop - p.size, stop) for p, stop in zip(self.neurons, stops, strict=True)}

    def matrix(self, projection: Projection) -> Matrix:
        """Return the realised weights of one of the circuit's projections, (n_target, n_source), mV.

        Several synapses of one pair are summed into one entry, unless each has a delay of its own.
        """
        return self._realised(projection).matrix

    def delays(self, projection: Projection) -> float | Array:
        """Return the delays of one of the circuit's projections, ms.

        One for all synapses, or one per synapse: in the shape of a dense `matrix`, or in the order of its ``data``.
        """
        return projection.delay if isinstance(projection.delay, float) else self._realised(projection).delays

    def dense(self, projection: Projection) -> Array:
        """Return the realised weights of one of the circuit's projections as a full array, (n_target, n_source), mV."""
        matrix = self.matrix(projection)
        if isinstance(matrix, ModeMatrix):
            return matrix.to_dense()
        return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()

    def select(self, stimuli: int | slice | Iterable[int]) -> Circuit:
        """Return the circuit with some of its stimuli only; an integer gives one without the stimulus dimension."""
        if self.n_stimuli is None:
            raise ValueError("the circuit has no stimulus dimension to select from")
        index = stimuli if isinstance(stimuli, int | slice) else np.asarray(list(stimuli), dtype=int)

        def pick(value: Any, neuron_axes: int) -> Any:
            if len(np.shape(value)) <= neuron_axes:
                return value
            return value.select(index) if isinstance(value, TimeCourse) else value[index]

        chosen = self._with_inputs(pick)
        if not any(isinstance(p, SpikeSource) for p in self.populations):
            return chosen
        populations = [p.select(index) if isinstance(p, SpikeSource) else p for p in chosen.populations]
        return chosen.with_parts(populations=populations)

    def with_parts(
        self,
        *,
        populations: Iterable[Source | Population] | None = None,
        projections: Iterable[Projection] | None = None,
        drives: Iterable[Drive] | None = None,
    ) -> Circuit:
        """Return the circuit with other parts of a kind; projections that stay keep the synapses that were drawn."""
        given: dict[str, Any] = {"populations": populations, "projections": projections, "drives": drives}
        changed = replace(self, **{name: parts for name, parts in given.items() if parts is not None})
        sizes = [{p.name: p.size for p in circuit.populations} for circuit in (self, changed)]
        if sizes[0] == sizes[1]:
            pairs = enumerate(zip(self.projections, changed.projections, strict=False))
            stay = {number for number, (own, new) in pairs if own is new}
            drawn: dict[int, Realised] = self._drawn  # type: ignore[attr-defined]
            object.__setattr__(changed, "_drawn", {number: drawn[number] for number in stay & set(drawn)})
        return changed

    def with_weights(self, result: Any, *, stimulus: int = -1, trial: int = -1) -> Circuit:
        """Return the circuit with the weights that plastic projections had at the end of a presentation.

        Parameters
        ----------
        result : DataTree
            As `simulate` returned it for this circuit, or one of the same projections.
        stimulus, trial : int
            Which presentation; by default the last one. `stimulus` has no meaning where there are none.

        Raises
        ------
        ValueError
            If the result holds no weights, or they are not those of the circuit's projections.
        """
        from mnnbio.circuit.learned import learned_projections

        return self.with_parts(projections=learned_projections(self.projections, result, stimulus, trial))

    def at_time(self, time: Any) -> Circuit:
        """Return the circuit whose inputs stay as they are at a time, ms."""
        moment = in_unit(time, "ms", "time")
        if not isinstance(moment, float):
            raise ValueError(f"`time` must be a single time, ms, got an array of shape {moment.shape}")
        return self._with_inputs(lambda value, _: value.at([moment])[0] if isinstance(value, TimeCourse) else value)

    def averaged(self) -> Circuit:
        """Return the circuit whose inputs have their averages over a long time."""
        return self._with_inputs(lambda value, _: value.time_average() if isinstance(value, TimeCourse) else value)

    def check_dale(self, signs: Mapping[str, Sign] | None = None) -> None:
        """Check Dale's law on the realised weights: all synapses of a neuron, over all projections, have one sign.

        Parameters
        ----------
        signs : mapping of str to {"excitatory", "inhibitory"}, optional
            Which sign the weights of a population must have; by default each neuron may have either.

        Raises
        ------
        ValueError
            If a neuron (or a train of a source) breaks the law; the message names it.
        """
        from mnnbio.circuit.realisation import check_dale

        check_dale(self, signs)

    def describe(self) -> str:
        """Return the tables of Nordlie, Gewaltig & Plesser (2009) for the circuit, as Markdown that reads as text.

        References
        ----------
        E. Nordlie, M.-O. Gewaltig, H. E. Plesser (2009), Towards reproducible descriptions of neuronal network models,
        PLoS Computational Biology 5(8), e1000456.
        """
        from mnnbio.circuit.nordlie import describe

        return describe(self)

    def plot(self) -> Figure:
        """Return a diagram of the circuit: populations, projections by sign and pattern, drives."""
        from mnnbio.circuit.drawing import plot

        return plot(self)

    def to_json(self) -> str:
        """Return the circuit as JSON; `from_json` gives it back without loss."""
        from mnnbio.circuit.serialisation import dumps

        return dumps(self)

    @staticmethod
    def from_json(text: str) -> Circuit:
        """Return the circuit that `to_json` wrote."""
        from mnnbio.circuit.serialisation import loads

        return loads(text, Circuit)

    def hash(self) -> str:
        """Return a fingerprint of the whole description, sixteen hexadecimal digits; it is made once and kept.

        Raises
        ------
        TypeError
            If the circuit cannot be stored: a part of the user's own with values must be a dataclass.
        """
        if self._hash is None:  # type: ignore[attr-defined]
            from mnnbio.circuit.serialisation import fingerprint

            object.__setattr__(self, "_hash", fingerprint(self))
        return str(self._hash)  # type: ignore[attr-defined]

    def _inputs(self) -> Iterable[tuple[Any, int]]:
        """Yield every input (array or time course) and the number of its axes without stimuli, at one time."""
        for source in self.sources:
            if isinstance(source, PoissonSource):
                yield source.rates, 1
        for drive in self.drives:
            yield from ((getattr(drive, name), axes) for name, axes in drive.given_inputs().items())

    def _with_inputs(self, change: Callable[[Any, int], Any]) -> Circuit:
        """Return the circuit with every input changed; the synapses stay."""
        populations = [with_inputs(p, change) if isinstance(p, Source) else p for p in self.populations]
        drives = []
        for drive in self.drives:
            changed_inputs = {n: change(getattr(drive, n), axes) for n, axes in drive.given_inputs().items()}
            drives.append(replace(drive, **changed_inputs))
        changed = replace(self, populations=populations, drives=drives)
        object.__setattr__(changed, "_drawn", self._drawn)  # type: ignore[attr-defined]
        return changed

    def _realised(self, projection: Projection) -> Realised:
        if projection.connectivity is None and not isinstance(projection.delay, Distribution):
            return Realised(projection.weights, projection.delay)
        number = next((k for k, own in enumerate(self.projections) if own is projection), None)
        if number is None:
            raise ValueError(f"{projection} is not one of this circuit's own; take it from `circuit.projections`")
        drawn: dict[int, Realised] = self._drawn  # type: ignore[attr-defined]
        if number not in drawn:
            target, source = self.population(projection.target), self.population(projection.source)
            within = source is target
            self._require_memory(projection)
            drawn[number] = realise(projection, target.size, source.size, self.seed, number, within=within)
        return drawn[number]

    def n_synapses(self, projection: Projection) -> float:
        """Return the number of synapses of a projection, of a rule the expected one; none is drawn."""
        target, source = self.population(projection.target), self.population(projection.source)
        if projection.connectivity is None:
            return float(target.size * source.size)
        autapses = projection.autapses or source is not target
        return target.size * projection.connectivity.mean_indegree(target.size, source.size, autapses=autapses)

    def _require_memory(self, projection: Projection) -> None:
        number = self.n_synapses(projection)
        require_memory(
            number * _BYTES_PER_SYNAPSE,
            f"the {number:.2g} synapses of {projection}",
            "Make the circuit smaller, or predict it with resolution='population', which draws none",
        )

    def _neurons_named(self, name: str, what: str) -> Population:
        population = self.population(name)
        if not isinstance(population, Population):
            raise ValueError(f"{what} needs a population of neurons, {name!r} is a source: {population.kind}")
        return population

    def _check_projection(self, projection: Projection) -> None:
        target = self._neurons_named(projection.target, f"the target of {projection}")
        source = self.population(projection.source)
        if projection.weights is not None and projection.weights.shape != (target.size, source.size):
            raise ValueError(
                f"weights of {projection} must have shape (n_target, n_source) = ({target.size}, {source.size}), "
                f"got {projection.weights.shape}"
            )
        if projection.connectivity is not None:
            autapses = projection.autapses or source is not target
            try:
                projection.connectivity.check(target.size, source.size, autapses=autapses)
            except ValueError as error:
                raise ValueError(f"{projection}: {error}") from error

    def _check_drive(self, drive: Drive) -> None:
        drive.check_size(self._neurons_named(drive.target, str(drive)).size)

    def _stimulus_counts(self) -> Iterable[int]:
        yield from (np.shape(value)[0] for value, axes in self._inputs() if len(np.shape(value)) > axes)
        yield from (p.n_stimuli for p in self.sources if isinstance(p, SpikeSource) and p.n_stimuli is not None)


def _readout(given: Any) -> Readout | tuple[Readout, ...] | None:
    """Return one readout or several as they are kept.

    Raises
    ------
    TypeError
        If something is no readout.
    ValueError
        If two have one name.
    """
    readouts = _parts([given] if isinstance(given, Readout) else given or (), (Readout,), "readout")
    if len(readouts) < 2:
        return readouts[0] if readouts else None
    names = [_readout_name(readout) for readout in readouts]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"readouts must have names of their own, got {', '.join(repeated)} twice. Give them a `name`")
    return readouts


def _readout_name(readout: Readout) -> str:
    """Return the name of one of several readouts, one that can stand in files."""
    return readout.name or re.sub(r"\W", "_", f"readout_{'_'.join(readout.sources)}")


def _parts(items: Iterable[Part], kinds: tuple[type, ...], name: str) -> tuple[Part, ...]:
    try:
        parts = tuple(items)
    except TypeError:
        wanted = " and ".join(_named(kind) for kind in kinds)
        raise TypeError(f"`{name}` must be a sequence of {wanted}, got {type(items).__name__}") from None
    for part in parts:
        if not isinstance(part, kinds):
            wanted = " or ".join(_named(kind) for kind in kinds)
            raise TypeError(f"`{name}` must hold {wanted}, got {type(part).__name__}")
    return parts


def _named(kind: type) -> str:
    """Return the name of a kind of part, of an abstract one those that there are."""
    return "PoissonSource, SpikeSource" if kind is Source else kind.__name__


def require_circuit(circuit: Any) -> None:
    """Raise a `TypeError` unless `circuit` is a `Circuit`."""
    if not isinstance(circuit, Circuit):
        raise TypeError(
            f"`circuit` must be a Circuit, got {type(circuit).__name__}. `export` makes one of a trained model"
        )
