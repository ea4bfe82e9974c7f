"""The configuration of a sweep: what is run, over which parameters, and how."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from mnnbio.run.options import ConfigError, Section, fields_of, option, require_known
from mnnbio.sweep.recorded import record_of
from mnnbio.sweep.values import Grid, Rows, grid_of, mapping, rows_of, text, whole


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation(Section):
    """How every point is simulated."""

    duration: float = option(1000.0, "time recorded in a trial", unit="ms", above=0)
    warmup: float = option(200.0, "time before the recording starts", unit="ms", at_least=0)
    dt: float = option(0.1, "time step", unit="ms", above=0)
    window: float | None = option(None, "counting window; null: the whole duration", unit="ms", above=0)
    codegen: Literal["cpp_standalone", "runtime"] = option(
        "cpp_standalone", "generated C++ (needs a compiler), or NumPy, slow"
    )
    device: Literal["cuda_standalone", "genn"] | None = option(
        None, "another device of Brian2 instead, where brian2cuda or brian2genn is installed"
    )
    covariance: bool = option(False, "whether to estimate, and to predict, covariance matrices")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(Section):
    """How every point is predicted."""

    closure: Literal["auto", "moments", "poisson", "renewal"] = option("auto", "how a train drives others")
    theory: Literal["diffusion", "first_passage"] = option("diffusion", "theory of the single neuron")
    resolution: Literal["neuron", "population"] = option("neuron", "every neuron, or averages over populations")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """A sweep.

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
        Sets of parameters, swept one after another; with a grid, each with all of the grid.
    trials, seed : int
    simulation : Simulation
    predict : Predict, optional
        None: no prediction.
    record : str, list or dict, optional
        What is recorded, as `record_of` reads it.
    folder : Path
        Where files that the configuration names are looked for.
    """

    circuit: str | None = None
    run: str | None = None
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Grid = dataclasses.field(default_factory=dict)
    rows: Rows = ()
    trials: int = 1
    seed: int = 0
    simulation: Simulation = dataclasses.field(default_factory=Simulation)
    predict: Predict | None = None
    record: Any = None
    folder: Path = Path()

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
            "simulation": dataclasses.asdict(self.simulation),
            "record": self.record,
            "predict": None if self.predict is None else dataclasses.asdict(self.predict),
        }


_KEYS = ("circuit", "run", "parameters", "grid", "list", "trials", "seed", "simulation", "record", "predict")


def read_config(path: Path) -> SweepConfig:
    """Return the sweep that a YAML file describes.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ConfigError
        If it is not YAML, a name is unknown, or a value does not fit.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no configuration file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
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
        Where files that it names are looked for.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"a sweep must hold options ({', '.join(_KEYS)}), got {content!r}")
    require_known(content, _KEYS, "option of a sweep")
    circuit, run = (text(content.get(name), name) for name in ("circuit", "run"))
    if (circuit is None) == (run is None):
        raise ConfigError(
            "name what to run: `circuit:` a function of mnnbio.circuits, package.module:function, file.py:function or "
            f"file.json, or `run:` a run folder; got {'both' if circuit else 'neither'}"
        )
    grid, rows = grid_of(content.get("grid")), rows_of(content.get("list"))
    if not grid and not rows:
        raise ConfigError("name what to vary: `grid:` with values for each parameter, or `list:` of parameter sets")
    parameters, record = mapping(content.get("parameters"), "parameters"), content.get("record")
    record_of(record)  # what is wrong with it is said now
    try:
        json.dumps(parameters)
    except TypeError as error:
        raise ConfigError(f"parameters must hold numbers, text, lists and names with values: {error}") from error
    _require_distinct({"parameters": parameters, "grid": grid, "list": rows[0] if rows else {}})
    return SweepConfig(
        circuit=circuit,
        run=run,
        parameters=parameters,
        grid=grid,
        rows=rows,
        trials=whole(content.get("trials", 1), "trials", 1),
        seed=whole(content.get("seed", 0), "seed", 0),
        simulation=_section(Simulation, content.get("simulation"), "simulation"),
        predict=_predict(content.get("predict", False)),
        record=record,
        folder=folder,
    )


def _require_distinct(places: Mapping[str, Mapping[str, Any]]) -> None:
    seen: dict[str, str] = {}
    for place, names in places.items():
        for name in names:
            if name in seen:
                raise ConfigError(f"{name!r} stands in {seen[name]!r} and in {place!r}; name each parameter once")
            seen[name] = place


def _section(kind: type[Any], values: Any, name: str) -> Any:
    values = mapping(values, name)
    require_known(values, [field.name for field in fields_of(name, kind)], f"option in {name!r}:")
    return kind(**values)


def _predict(value: Any) -> Predict | None:
    if value is False or value is None:
        return None
    if value is not True and not isinstance(value, Mapping):
        raise ConfigError(f"predict must be true, false or options of the prediction, got {value!r}")
    prediction: Predict = _section(Predict, {} if value is True else value, "predict")
    return prediction
