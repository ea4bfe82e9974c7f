"""Subjects of sweeps: functions that make circuits, and stored circuits whose parameters are named by path.

A path is such as ``drives.hidden.mean`` or ``populations.E.tau_m``.
"""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from mnnbio.circuit import (
    Circuit,
    GaussianDrive,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Source,
)
from mnnbio.neurons import LIFParameters
from mnnbio.workflow.fingerprint import fingerprint, of_code, of_file
from mnnbio.workflow.options import ConfigError, brief, require_known

if TYPE_CHECKING:
    import xarray as xr

    from mnnbio.circuit import Circuit
    from mnnbio.workflow.sweep_config import SweepConfig

_LIF = [field.name for field in dataclasses.fields(LIFParameters) if field.name != "initial"]  # a value each
_DRIVES: dict[str, type[GaussianDrive | PoissonDrive]] = {
    "mean": GaussianDrive,
    "std": GaussianDrive,
    "rate": PoissonDrive,
    "weight": PoissonDrive,
    "tau_syn": PoissonDrive,
}


def paths_of(circuit: Circuit) -> list[str]:
    """Return the paths of everything in a circuit that a sweep may change.

    ================================== ==================================================================
    ``seed``                           of the connectivity
    ``sources.NAME.rates``             one rate for all trains, spikes/ms
    ``sources.NAME.scale``             factor of the rates
    ``populations.NAME.tau_m`` …       a neuron parameter, the same for all neurons
    ``drives.NAME.mean``, ``.std``     of the Gaussian drive of a population, the same for all neurons
    ``drives.NAME.rate`` …             ``rate``, ``weight`` or ``tau_syn`` of its Poisson drive
    ``projections.SOURCE.TARGET.scale``  factor of the weights
    ``….delay``, ``….tau_syn``         of a projection
    ``….weight``                       of a projection whose synapses a rule makes
    ================================== ==================================================================
    """
    found = ["seed"]
    for population in circuit.populations:
        if isinstance(population, PoissonSource):
            found += [f"sources.{population.name}.{name}" for name in ("rates", "scale")]
        elif isinstance(population, Population) and isinstance(population.neuron, LIFParameters):
            found += [f"populations.{population.name}.{name}" for name in _LIF]
    for drive in circuit.drives:
        found += [f"drives.{drive.target}.{name}" for name, kind in _DRIVES.items() if isinstance(drive, kind)]
    for projection in circuit.projections:
        names = ["scale", "delay", "tau_syn", *(["weight"] if projection.weights is None else [])]
        found += [f"projections.{projection.source}.{projection.target}.{name}" for name in names]
    return found


def edited(circuit: Circuit, changes: Mapping[str, Any]) -> Circuit:
    """Return a circuit with some of its parameters changed.

    Parameters
    ----------
    circuit : Circuit
    changes : mapping
        Values by path, in the working units (ms, mV, spikes/ms).

    Raises
    ------
    ConfigError
        If a path is unknown, or means more than one part of the circuit.
    ValueError
        If a value does not fit.
    """
    known = paths_of(circuit)
    require_known(changes, known, "parameter of the circuit")
    for path in changes:
        if known.count(path) > 1:
            raise ConfigError(f"{path!r} is not unique: the circuit has {known.count(path)} such parts")
    for path, value in changes.items():
        kind, _, rest = path.partition(".")
        name, _, field = rest.rpartition(".")
        if kind == "seed":
            circuit = dataclasses.replace(circuit, seed=value)
        elif kind == "drives":
            circuit = dataclasses.replace(circuit, drives=[_drive(d, name, field, value) for d in circuit.drives])
        elif kind == "projections":
            changed = [_projection(p, name, field, value) for p in circuit.projections]
            circuit = dataclasses.replace(circuit, projections=changed)
        else:
            circuit = dataclasses.replace(circuit, populations=_populations(circuit.populations, name, field, value))
    return circuit


def _populations(
    populations: Sequence[Source | Population], name: str, field: str, value: Any
) -> list[Source | Population]:
    def change(population: Source | Population) -> Source | Population:
        if population.name != name:
            return population
        if isinstance(population, PoissonSource):
            rates = _scaled(population.rates, value, f"rates of {name!r}") if field == "scale" else value
            return dataclasses.replace(population, rates=rates)
        if not isinstance(population, Population):
            return population
        return dataclasses.replace(population, neuron=dataclasses.replace(population.lif, **{field: value}))

    return [change(population) for population in populations]


def _drive(drive: Any, target: str, field: str, value: Any) -> Any:
    if drive.target != target or not isinstance(drive, _DRIVES[field]):
        return drive
    return dataclasses.replace(drive, **{field: value})


def _projection(projection: Projection, pair: str, field: str, value: Any) -> Projection:
    if f"{projection.source}.{projection.target}" != pair:
        return projection
    if field != "scale":
        return dataclasses.replace(projection, **{field: value})
    weights = projection.weights
    if weights is None:
        return dataclasses.replace(projection, weight=_scaled(projection.weight, value, f"weight of {projection}"))
    if isinstance(weights, ModeMatrix):
        return dataclasses.replace(projection, weights=dataclasses.replace(weights, scores=weights.scores * value))
    return dataclasses.replace(projection, weights=weights * value)


def _scaled(what: Any, factor: Any, name: str) -> Any:
    """Return numbers times a factor."""
    if not isinstance(what, int | float | np.ndarray):
        raise ValueError(f"only numbers can be scaled, {name} is {what!r}")
    return what * factor


# Options that a sweep may vary beside the parameters of the circuit.
SIMULATION = ("duration", "warmup", "dt", "window", "trials")


class Subject(ABC):
    """Maker of the circuit of every point; it travels to the workers."""

    @abstractmethod
    def require(self, names: Iterable[str]) -> None:
        """Raise a `ConfigError` unless the circuit has all these parameters."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Return whether the circuit has a parameter."""

    @abstractmethod
    def circuit(self, parameters: Mapping[str, Any]) -> Circuit:
        """Return the circuit with these parameters."""

    @property
    @abstractmethod
    def code(self) -> str:
        """Fingerprint of what makes the circuits: where it has changed, circuits may have."""

    @property
    def stimuli(self) -> xr.Dataset | None:
        """Coordinates of the stimuli, if they have any."""
        return None


@dataclasses.dataclass(frozen=True)
class Builder(Subject):
    """A function that returns a circuit.

    Parameters
    ----------
    reference : str
        A function of `mnnbio.circuits`, or ``package.module:function``, or the name of a file and a function.
    source : str, optional
        The text of the file; it is taken along, so that no worker needs the file.
    """

    reference: str
    source: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reference, self.source)  # without the function: it is made anew where it is needed

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function.

        Raises
        ------
        ConfigError
            If there is none.
        """
        module_name, _, name = self.reference.rpartition(":")
        module = self._module(module_name or "mnnbio.circuits")
        public = [n for n in getattr(module, "__all__", vars(module)) if callable(getattr(module, n, None))]
        require_known([name], public, f"function of {module_name or 'mnnbio.circuits'}:")
        function: Callable[..., Any] = getattr(module, name)
        return function

    def _module(self, name: str) -> ModuleType:
        if self.source is not None:
            module = ModuleType(Path(name).stem)
            module.__file__ = name
            try:
                exec(compile(self.source, name, "exec"), vars(module))
            except Exception as error:
                raise ConfigError(f"circuit: {name} does not run: {type(error).__name__}: {error}") from error
            return module
        try:
            return import_module(name)
        except ImportError as error:
            raise ConfigError(
                f"circuit: no module {name!r} ({error}); write {name}.py:function for a file beside the configuration"
            ) from error

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters

    def has(self, name: str) -> bool:
        """Return whether the function takes a parameter of that name."""
        return name in self._parameters

    def require(self, names: Iterable[str]) -> None:
        """Raise a `ConfigError` unless the function takes these parameters, and needs no others."""
        names, parameters = list(names), self._parameters
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
            require_known(names, [*parameters, *SIMULATION], f"parameter of {self.reference!r} or of the simulation")
        variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
        for name, parameter in parameters.items():
            if parameter.default is parameter.empty and parameter.kind not in variadic and name not in names:
                raise ConfigError(
                    f"{self.reference!r} needs the parameter {name!r}; name it in parameters, grid or list"
                )

    def circuit(self, parameters: Mapping[str, Any]) -> Circuit:
        """Return the circuit with these parameters."""
        from mnnbio.circuit import Circuit

        made = self.function(**parameters)
        if not isinstance(made, Circuit):
            raise TypeError(f"{self.reference!r} must return a Circuit, got {type(made).__name__}")
        return made

    @property
    def code(self) -> str:
        """Fingerprint of the code of the function's module, and of what it imports of this package."""
        if self.source is not None:
            return fingerprint(self.source)
        module = self.function.__module__
        return of_code(module) if module.startswith("mnnbio.") else of_file(Path(inspect.getfile(self.function)))


@dataclasses.dataclass(frozen=True)
class Stored(Subject):
    """A circuit as JSON, whose parameters are named by path.

    Parameters
    ----------
    text : str
        The JSON.
    stimuli : Dataset, optional
        Coordinates of its stimuli.
    """

    text: str
    labels: xr.Dataset | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.text, self.labels)

    @cached_property
    def base(self) -> Circuit:
        """The circuit as it is stored."""
        from mnnbio.circuit import Circuit

        return Circuit.from_json(self.text)

    @cached_property
    def _paths(self) -> list[str]:
        return paths_of(self.base)

    def has(self, name: str) -> bool:
        """Return whether the circuit has something of that path."""
        return name in self._paths

    def require(self, names: Iterable[str]) -> None:
        """Raise a `ConfigError` unless the circuit has everything that these paths name."""
        require_known(
            names, [*dict.fromkeys(self._paths), *SIMULATION], "parameter of the circuit or of the simulation"
        )

    def circuit(self, parameters: Mapping[str, Any]) -> Circuit:
        """Return the circuit with these parameters."""
        return edited(self.base, parameters)

    @property
    def code(self) -> str:
        """Fingerprint of the stored circuit."""
        return self.base.hash()

    @property
    def stimuli(self) -> xr.Dataset | None:
        """Coordinates of the stimuli, if they have any."""
        return self.labels


def subject_of(config: SweepConfig, *, allow_code: bool = False) -> Subject:
    """Return the subject of a sweep.

    Parameters
    ----------
    config : SweepConfig
    allow_code : bool
        Whether functions of other modules than `mnnbio.circuits`, and of files, may be called.

    Raises
    ------
    FileNotFoundError
        If a file that is named is not there.
    ConfigError
        If there is no such function, it may not be called, it lacks a parameter that is named, or a file is no circuit.
    """
    if config.run:
        subject: Subject = _of_run(config.folder / config.run)
    else:
        subject = _of_circuit(config.folder, str(config.circuit), allow_code)
    subject.require([*config.parameters, *(config.rows[0] if config.rows else ()), *config.grid])
    return subject


def _of_circuit(folder: Path, reference: str, allow_code: bool) -> Subject:
    if reference.endswith(".json"):
        path = folder / reference
        if not path.is_file():
            raise FileNotFoundError(f"circuit: no file {path}")
        stored = Stored(path.read_text(encoding="utf-8"))
        try:
            _ = stored.base
        except ValueError as error:
            raise ConfigError(f"circuit: {path} is {error}") from error
        return stored
    module, _, _ = reference.rpartition(":")
    if module and not allow_code:  # before anything of it is imported
        raise ConfigError(
            f"circuit: {brief(reference)} is code that the sweep would run with your rights; if you trust it, say "
            "--allow-code, in Python allow_code=True. Functions of mnnbio.circuits and .json files need no such word"
        )
    if not module.endswith(".py"):
        builder = Builder(reference)
    elif (folder / module).is_file():
        builder = Builder(reference, (folder / module).read_text(encoding="utf-8"))
    else:
        raise FileNotFoundError(f"circuit: no file {folder / module}")
    _ = builder.function
    return builder


def _of_run(path: Path) -> Stored:
    """Return the trained network of a run folder, shown the samples of its statistics."""
    from mnnbio.workflow.run_config import make_config, read_layer
    from mnnbio.workflow.run_folder import STATISTICS, RunFolder
    from mnnbio.workflow.trained_run import Session, circuit_of, planned_simulation, stimulus_coords, trained_network

    folder = RunFolder(path)
    if not folder.config.is_file():
        raise ConfigError(f"run: {path} holds no run; start one: mnnbio run digits --out {path}")
    session = Session(folder, make_config(read_layer(folder.config)), progress=False)
    planned = planned_simulation(session, STATISTICS)
    circuit = circuit_of(session, trained_network(session), planned)
    return Stored(circuit.to_json(), stimulus_coords(session, planned))
