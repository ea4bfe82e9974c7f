"""Configuration of a sweep: circuit, values of parameters, recordings and options; and its points."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import pydantic
from pydantic import BeforeValidator

from mnnbio.spikes import CountMoments, Counts, Kind, Record
from mnnbio.workflow.fingerprint import fingerprint
from mnnbio.workflow.options import ConfigError, Number, Options, brief, fields_of, option, read_yaml, require_known
from mnnbio.workflow.run_config import Codegen, require_steps

# Points that a sweep may have: each is a file.
MOST_POINTS = 1_000_000

Scalar = int | float | str | bool
Grid = dict[str, tuple[Scalar, ...]]
Rows = tuple[dict[str, Scalar], ...]


def grid_of(value: Any) -> Grid:
    """Return the values of every parameter of a grid."""
    return {name: _values(values, f"grid.{name}") for name, values in mapping(value, "grid").items()}


def rows_of(value: Any) -> Rows:
    """Return the sets of parameters of a list, all with the same names in the same order."""
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(f"list must be a list of parameter sets, got {brief(value)}")
    entries = [mapping(entry, f"list[{number}]") for number, entry in enumerate(value)]
    names = list(entries[0])
    for number, entry in enumerate(entries):
        if set(entry) != set(names) or not names:
            wanted = f"the same parameters as list[0], {names}" if names else "at least one parameter"
            raise ConfigError(f"list[{number}] must name {wanted}, got {list(entry)}")
    rows = tuple(
        {name: scalar(entry[name], f"list[{number}].{name}") for name in names} for number, entry in enumerate(entries)
    )
    if len({tuple(_identity(value) for value in row.values()) for row in rows}) < len(rows):
        raise ConfigError("list must hold each set of parameters once")
    return rows


def require_few(number: float, where: str) -> None:
    """Raise a `ConfigError` if there are more points than a sweep may have."""
    if number > MOST_POINTS:
        raise ConfigError(
            f"{where} has {number:.3g} points, a sweep at most {MOST_POINTS:,}, for each is a file; name fewer values"
        )


def plain(value: Scalar) -> Scalar:
    """Return a value as it is told from others: 1 and 1.0 are one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def scalar(value: Any, where: str) -> Scalar:
    """Return a finite number, text or a truth value."""
    if isinstance(value, str) and "e" in value.lower():
        try:
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        except ValueError:
            return str(value)
    if not isinstance(value, int | float | str) or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigError(f"{where} must be a finite number, text, true or false, got {brief(value)}")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return names and values, none where nothing is given."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where} must hold names and values, got {brief(value)}")
    return {str(name): entry for name, entry in value.items()}


def text(value: Any, where: str) -> str | None:
    """Return text, or None where nothing is given."""
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(f"{where} must be text, got {brief(value)}")
    return value


def whole(value: Any, where: str, least: int) -> int:
    """Return a whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{where} must be a whole number ≥ {least}, got {brief(value)}")
    return value


def _values(value: Any, where: str) -> tuple[Scalar, ...]:
    """Return the values of a parameter: a list, or a number of values between two."""
    if isinstance(value, Mapping):
        return _spaced(value, where)
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(f"{where} must be a list of values, or {{start, stop, number}}, got {brief(value)}")
    values = tuple(scalar(entry, where) for entry in value)
    if len({_identity(entry) for entry in values}) < len(values):
        raise ConfigError(f"{where} must hold each value once, got {brief(list(values))}")
    if len({isinstance(entry, str) for entry in values}) > 1:
        raise ConfigError(f"{where} must hold numbers or text, not both, got {brief(list(values))}")
    return values


def _spaced(value: Mapping[str, Any], where: str) -> tuple[float, ...]:
    require_known(value, ("start", "stop", "number", "scale"), f"option in {where!r}:")
    if missing := [name for name in ("start", "stop", "number") if name not in value]:
        raise ConfigError(f"{where} must name start, stop and number; {missing[0]!r} is missing")
    start, stop = (scalar(value[name], f"{where}.{name}") for name in ("start", "stop"))
    number, scale = whole(value["number"], f"{where}.number", 2), value.get("scale", "linear")
    require_few(min(number, 10**30), where)
    if scale not in ("linear", "log"):
        raise ConfigError(f"{where}.scale must be 'linear' or 'log', got {scale!r}")
    if any(isinstance(end, str | bool) for end in (start, stop)) or start == stop:
        raise ConfigError(f"{where} must have two different numbers as start and stop, got {start!r} and {stop!r}")
    low, high = float(start), float(stop)
    if scale == "log":
        if min(low, high) <= 0:
            raise ConfigError(f"{where} must have start and stop > 0 on a log scale, got {start!r} and {stop!r}")
        low, high = math.log(low), math.log(high)
    steps = [low + (high - low) * k / (number - 1) for k in range(number)]
    # Twelve digits: what rounding adds is nobody's parameter, and would stand in every label.
    return tuple(float(f"{math.exp(step) if scale == 'log' else step:.12g}") for step in steps)


def _identity(value: Scalar) -> tuple[bool, Scalar]:
    return isinstance(value, bool), plain(value)  # Python takes True for 1


_KINDS: dict[str, type[Counts | CountMoments]] = {"counts": Counts, "moments": CountMoments}
_OPTIONS = {"counts": ("bin", "per"), "moments": ("window", "covariance")}


def record_of(value: Any) -> Record:
    """Return what to record.

    Parameters
    ----------
    value : str, list of str, dict or None
        Names of populations; ``spikes``, ``{counts: {bin: 10}}`` or ``{moments: {window: 100}}`` by population; or one
        such kind for all.

    Raises
    ------
    ConfigError
        If it is neither, or an option does not fit.
    """
    if value is None or value == "spikes":
        return None
    if isinstance(value, str) and value in _KINDS:
        raise ConfigError(f"record: {value} needs its options, such as {{{value}: {{{_OPTIONS[value][0]}: 50}}}}")
    if isinstance(value, Mapping):
        if set(value) & set(_KINDS):
            kind = _kind(value, "record")
            return None if isinstance(kind, str) else kind
        return {name: _kind(entry, f"record.{name}") for name, entry in mapping(value, "record").items()}
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"record must name populations, or kinds of recording, got {brief(value)}")
    return list(names)


def _kind(value: Any, where: str) -> Kind:
    if value == "spikes":
        return "spikes"
    if not isinstance(value, Mapping) or len(value) != 1:
        raise ConfigError(
            f"{where} must be spikes, {{counts: {{bin: ...}}}} or {{moments: {{window: ...}}}}, got {brief(value)}"
        )
    require_known(value, _KINDS, f"kind of recording in {where!r}:")
    ((name, options),) = value.items()
    options = mapping(options, f"{where}.{name}")
    require_known(options, _OPTIONS[name], f"option in '{where}.{name}':")
    try:
        return _KINDS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}.{name}: {error}") from error


class PointSimulation(Options):
    """Simulation of every point."""

    SECTION: ClassVar[str] = "simulation"
    duration: Number = option(1000.0, "time recorded in a trial", unit="ms", above=0)
    warmup: Number = option(200.0, "time before the recording starts", unit="ms", at_least=0)
    dt: Number = option(0.1, "time step", unit="ms", above=0)
    window: Number | None = option(None, "counting window; null: the whole duration", unit="ms", above=0)
    codegen: Codegen = option("cpp_standalone", "generated C++ (needs a compiler), or NumPy, slow")
    device: Literal["cuda_standalone", "genn"] | None = option(
        None, "another device of Brian2 instead, where brian2cuda or brian2genn is installed"
    )
    covariance: bool = option(False, "whether to estimate, and to predict, covariance matrices")


class PointPrediction(Options):
    """Prediction of every point."""

    SECTION: ClassVar[str] = "predict"
    closure: Literal["auto", "moments", "poisson", "renewal"] = option("auto", "how a train drives others")
    theory: Literal["diffusion", "first_passage"] = option("diffusion", "theory of the single neuron")
    resolution: Literal["neuron", "population"] = option("neuron", "every neuron, or averages over populations")


def _simulation_of(value: Any) -> PointSimulation:
    return value if isinstance(value, PointSimulation) else PointSimulation(**mapping(value, "simulation"))


def _prediction_of(value: Any) -> PointPrediction | None:
    if value is False or value is None:
        return None
    if isinstance(value, PointPrediction):
        return value
    if value is not True and not isinstance(value, Mapping):
        raise ConfigError(f"predict must be true, false or options of the prediction, got {brief(value)}")
    return PointPrediction(**({} if value is True else mapping(value, "predict")))


def _parameters_of(value: Any) -> dict[str, Any]:
    parameters = mapping(value, "parameters")
    try:
        json.dumps(parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"parameters must hold numbers, text, lists and names with values: {error}") from error
    return parameters


def _recorded(value: Any) -> Any:
    record_of(value)  # what is wrong with it is said now
    return value


def _rows(value: Any) -> Any:
    return rows_of(None if value == () else value)


class SweepConfig(Options):
    """Configuration of a sweep.

    Attributes
    ----------
    circuit : str, optional
        A function of `mnnbio.circuits`, ``package.module:function``, ``file.py:function``, or a circuit in a ``.json``
        file.
    run : str, optional
        A run folder, instead.
    parameters : dict
        Parameters that all points share.
    grid : dict
        Values of each parameter, whose product is swept.
    rows : tuple of dict
        Sets of parameters, swept one after another; with a grid, each with all of the grid. In files: ``list``.
    trials, seed : int
    simulation : PointSimulation
    predict : PointPrediction, optional
        None: no prediction.
    record : str, list or dict, optional
        What is recorded, as `record_of` reads it.
    """

    NAMED: ClassVar[str] = "option of a sweep"

    circuit: Annotated[str | None, BeforeValidator(lambda value: text(value, "circuit"))] = None
    run: Annotated[str | None, BeforeValidator(lambda value: text(value, "run"))] = None
    parameters: Annotated[dict[str, Any], BeforeValidator(_parameters_of)] = pydantic.Field(default_factory=dict)
    grid: Annotated[dict[str, Any], BeforeValidator(grid_of)] = pydantic.Field(default_factory=dict)
    rows: Annotated[tuple[Any, ...], BeforeValidator(_rows)] = pydantic.Field((), alias="list")
    trials: Annotated[int, BeforeValidator(lambda value: whole(value, "trials", 1))] = 1
    seed: Annotated[int, BeforeValidator(lambda value: whole(value, "seed", 0))] = 0
    simulation: Annotated[PointSimulation, BeforeValidator(_simulation_of)] = pydantic.Field(
        default_factory=PointSimulation
    )
    record: Annotated[Any, BeforeValidator(_recorded)] = None
    predict: Annotated[PointPrediction | None, BeforeValidator(_prediction_of)] = None
    _folder: Path = pydantic.PrivateAttr(default=Path())

    @property
    def folder(self) -> Path:
        """Folder in which files that the configuration names are looked for."""
        return self._folder

    def beside(self, folder: Path) -> SweepConfig:
        """Return the configuration, with files that it names looked for in a folder."""
        copy = self.model_copy()
        copy._folder = folder
        return copy

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.circuit is None) == (self.run is None):
            raise ConfigError(
                "name what to run: `circuit:` a function of mnnbio.circuits, package.module:function, "
                f"file.py:function or file.json, or `run:` a run folder; got {'both' if self.circuit else 'neither'}"
            )
        if not self.grid and not self.rows:
            raise ConfigError("name what to vary: `grid:` with values for each parameter, or `list:` of parameter sets")
        places = {"parameters": self.parameters, "grid": self.grid, "list": self.rows[0] if self.rows else {}}
        _require_distinct(places)
        require_few(max(1, len(self.rows)) * math.prod(float(len(values)) for values in self.grid.values()), "the grid")
        self._require_steps()
        return self

    def _require_steps(self) -> None:
        """Raise if a point has more time steps than come to an end, by what is said here of times and trials."""

        def extreme(name: str, default: float, most: bool) -> float:
            given = [self.parameters.get(name), *self.grid.get(name, ()), *(row.get(name) for row in self.rows)]
            numbers = [value for value in given if isinstance(value, int | float) and not isinstance(value, bool)]
            return (max if most else min)([default, *numbers])

        shared = self.simulation
        length = extreme("warmup", shared.warmup, True) + extreme("duration", shared.duration, True)
        dt, trials = extreme("dt", shared.dt, False), extreme("trials", min(self.trials, 10**30), True)
        if dt > 0 and trials >= 1:  # else the point fails, and says why
            require_steps("simulation", length, int(min(trials, 1e30)), dt)

    def fixed(self) -> dict[str, Any]:
        """Return everything but the values of the swept parameters, as JSON can hold it."""
        return {
            "circuit": self.circuit,
            "run": self.run,
            "parameters": dict(self.parameters),
            "list": list(self.rows[0]) if self.rows else [],
            "grid": list(self.grid),
            "trials": self.trials,
            "seed": self.seed,
            "simulation": self.simulation.to_dict(),
            "record": self.record,
            "predict": None if self.predict is None else self.predict.to_dict(),
        }


_KEYS = tuple(field.info.alias or field.name for field in fields_of(SweepConfig))


def read_config(path: Path) -> SweepConfig:
    """Return the sweep that a YAML file describes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ConfigError
        If it is not YAML, a name is unknown, or a value does not fit.
    """
    content = read_yaml(path)
    try:
        return make_sweep(content, path.parent)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def make_sweep(content: Any, folder: Path = Path()) -> SweepConfig:
    """Return the sweep that nested dictionaries describe, as they stand in the file.

    Parameters
    ----------
    content : mapping
    folder : Path
        Folder in which files that it names are looked for.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"a sweep must hold options ({', '.join(_KEYS)}), got {brief(content)}")
    require_known(content, _KEYS, SweepConfig.NAMED)
    return SweepConfig(**content).beside(folder)


def _require_distinct(places: Mapping[str, Mapping[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for place, names in places.items():
        for name in names:
            if name in seen:
                raise ConfigError(f"{name!r} stands in {seen[name]!r} and in {place!r}; name each parameter once")
            seen[name] = place


class Point(NamedTuple):
    """One set of parameters.

    Attributes
    ----------
    key : str
        Fingerprint of everything that the point's result depends on, apart from the code.
    parameters : dict
        The swept parameters.
    seed : int
        Seed of the spikes. It follows from the sweep's seed and the point's parameters, so that points may be added
        without changing those that are there.
    """

    key: str
    parameters: dict[str, Scalar]
    seed: int

    @property
    def file(self) -> str:
        """Name of the result, relative to the sweep's folder."""
        return f"points/{self.key}.nc"

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.parameters.items())


def points_of(config: SweepConfig) -> list[Point]:
    """Return all points: each set of the list with each of the grid's product."""
    grid = [dict(zip(config.grid, values, strict=True)) for values in itertools.product(*config.grid.values())]
    return [point_of(config, row | values) for row in config.rows or ({},) for values in grid]


def point_of(config: SweepConfig, parameters: dict[str, Scalar]) -> Point:
    """Return the point with these parameters."""
    told: dict[str, Any] = {name: plain(value) for name, value in parameters.items()}
    seed = int(fingerprint(config.seed, told), 16) >> 16  # 48 bits
    return Point(fingerprint(config.fixed(), told), parameters, seed)
