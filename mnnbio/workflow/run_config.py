"""The configuration of a run: sections of options, their defaults, and the YAML file that holds them all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pydantic
import yaml

from mnnbio.workflow.options import (
    ConfigError,
    Field,
    Number,
    Options,
    Sizes,
    Value,
    brief,
    fields_of,
    option,
    read_yaml,
    require_known,
)

# Steps that all presentations of a simulation may have together; at a microsecond each they take eleven days.
MOST_STEPS = 1e12
Codegen = Literal["cpp_standalone", "runtime"]


class DataOptions(Options):
    """What is learned."""

    SECTION: ClassVar[str] = "data"

    name: Literal["digits", "mnist", "table"] = option("digits", "data set", flag="data")
    data_dir: str | None = option(None, "folder with the IDX files of MNIST, gzipped or not", metavar="DIR")
    file: str | None = option(None, "table: a .csv or .npz file", metavar="FILE")
    target: str | None = option(None, "table: the column to predict", metavar="COLUMN")
    kind: Literal["classification", "regression"] | None = option(None, "table: the task; by default from the target")
    test_fraction: Number = option(0.25, "table: share of the rows kept for testing", above=0, below=1)
    split_seed: int = option(0, "table: seed of the split", at_least=0, below=2**32)

    def located(self) -> DataOptions:
        """Return the data with absolute paths.

        Raises
        ------
        ConfigError
            If it is not said where they are.
        """
        if self.name == "table" and not (self.file and self.target):
            raise ConfigError("a table needs a file and a column to predict: mnnbio run table FILE --target COLUMN ...")
        if self.name == "mnist" and not self.data_dir:
            raise ConfigError("mnist needs the folder with its four IDX files: mnnbio run mnist --data-dir DIR ...")
        return self.changed(data_dir=absolute(self.data_dir), file=absolute(self.file))


class ModelOptions(Options):
    """The network: encoder, hidden layers of leaky integrate-and-fire neurons, linear readout."""

    SECTION: ClassVar[str] = "model"

    name: Literal["moment", "spiking"] = option(
        "moment", "a moment network, or one trained directly as spikes (section spiking)", flag="model"
    )
    hidden: Sizes = option((100,), "neurons in each hidden layer, such as 100 or 200,100")
    encoding: Literal["auto", "poisson", "on_off", "gaussian"] = option(
        "auto", "features as Poisson trains, as pairs of on and off trains, or as currents"
    )
    scaling: Literal["feature", "global", "none"] = option("global", "scale features one by one, by one factor, or not")
    max_rate: Number = option(1.0, "Poisson rate at full intensity", unit="spikes/ms", above=0)
    noise: bool = option(True, "whether neurons learn independent input noise")
    closure: Literal["moments", "poisson"] = option(
        "moments",
        "variance with which a train drives the next hidden layer: of counts, or its rate",
        flag="model_closure",
    )
    tau_m: Number = option(20.0, "membrane time constant", unit="ms", above=0)
    v_th: Number = option(20.0, "firing threshold, from rest", unit="mV")
    v_reset: Number = option(0.0, "reset potential, from rest", unit="mV")
    t_ref: Number = option(5.0, "refractory period", unit="ms", at_least=0)

    @pydantic.model_validator(mode="after")
    def _reset_below_threshold(self) -> Self:
        if self.v_reset >= self.v_th:
            raise ConfigError(f"model.v_reset must be below model.v_th = {self.v_th:g} mV, got {self.v_reset:g} mV")
        return self


class SpikingOptions(Options):
    """Networks trained directly as spikes (--model spiking)."""

    SECTION: ClassVar[str] = "spiking"

    unit: Literal["lif", "graded"] = option("lif", "integrate-and-fire neurons, or the graded units of pynmsnn")
    inputs: Literal["current", "flicker", "poisson", "latency"] = option(
        "current", "features as constant or flickering currents, as Poisson trains, or as one spike each"
    )
    readout: Literal["auto", "count", "membrane", "first_spike"] = option("auto", "what is read of each spike train")
    max_rate: Number = option(
        0.5, "poisson: rate at full intensity", flag="spiking_max_rate", unit="spikes/ms", above=0
    )
    shown: Number = option(100.0, "time for which a sample is shown", unit="ms", above=0)
    dt: Number = option(2.0, "time step", flag="spiking_dt", unit="ms", above=0)


class TrainingOptions(Options):
    """How the moment network is trained."""

    SECTION: ClassVar[str] = "training"

    epochs: int = option(60, "at most so many passes over the training data", at_least=1)
    batch_size: int = option(64, "samples per step", at_least=2)
    learning_rate: Number = option(0.01, "peak learning rate of AdamW", above=0)
    schedule: Literal["one_cycle", "cosine", "constant"] = option("one_cycle", "course of the learning rate")
    weight_decay: Number = option(0.01, "decay of the weights", at_least=0)
    loss: Literal[
        "auto",
        "cross_entropy",
        "sampled_cross_entropy",
        "fidelity_entropy",
        "decision_entropy",
        "earth_movers",
        "sampled_angle",
        "mean_squared_error",
        "gaussian_likelihood",
    ] = option("auto", "loss; auto: cross-entropy, or mean squared error for a regression")
    label_smoothing: Number = option(0.1, "of losses that compare classes", at_least=0, below=1)
    window: Number = option(
        100.0, "decision time that losses with noise assume", flag="loss_window", unit="ms", above=0
    )
    validation_fraction: Number = option(0.1, "share of the training data that picks the epoch", at_least=0, below=1)
    patience: int | None = option(20, "epochs without improvement before stopping; none: never stop early", at_least=1)
    dtype: Literal["float32", "float64"] = option("float32", "precision of the training")
    device: str = option("cpu", "where to train, as torch names it")
    seed: int = option(0, "seed of weights, validation split and order", at_least=0, below=2**32)


class SpikeOptions(Options):
    """What both simulations share."""

    SECTION: ClassVar[str] = "simulation"

    dt: Number = option(0.1, "time step", unit="ms", above=0)
    codegen: Codegen = option("cpp_standalone", "generated C++ (needs a compiler), or NumPy, slow")
    theory: Literal["diffusion", "first_passage"] = option(
        "diffusion",
        "prediction of the statistics; first_passage: exact for large weights, 50 ms per neuron and sample",
    )
    closure: Literal["auto", "moments", "poisson", "renewal"] = option(
        "auto",
        "how a predicted train drives the next layer: by its rate (auto, poisson), its count variance, or as a renewal "
        "train of finite jumps",
    )
    seed: int = option(1, "seed of the spikes", flag="simulation_seed", at_least=0, below=2**63)


class DecisionOptions(Options):
    """Simulation of many test samples, each decided from spike counts."""

    SECTION: ClassVar[str] = "decisions"

    stimuli: int | None = option(None, "test samples; none: all of them", flag="decision_stimuli", at_least=1)
    trials: int = option(8, "trials of each", flag="decision_trials", at_least=1)
    window: Number = option(100.0, "decision time", flag="decision_window", unit="ms", above=0)
    warmup: Number = option(100.0, "time before the counting starts", flag="decision_warmup", unit="ms", at_least=0)


class StatisticsOptions(Options):
    """Simulation of a few test samples at length, for rates, variances and covariances."""

    SECTION: ClassVar[str] = "statistics"

    stimuli: int = option(8, "test samples", at_least=1)
    trials: int = option(50, "trials of each", at_least=1)
    duration: Number = option(2000.0, "length of a trial", unit="ms", above=0)
    warmup: Number = option(200.0, "time before the counting starts", unit="ms", at_least=0)
    window: Number = option(100.0, "counting window", unit="ms", above=0)


class Config(Options):
    """Every option of a run."""

    data: DataOptions = pydantic.Field(default_factory=DataOptions)
    model: ModelOptions = pydantic.Field(default_factory=ModelOptions)
    spiking: SpikingOptions = pydantic.Field(default_factory=SpikingOptions)
    training: TrainingOptions = pydantic.Field(default_factory=TrainingOptions)
    simulation: SpikeOptions = pydantic.Field(default_factory=SpikeOptions)
    decisions: DecisionOptions = pydantic.Field(default_factory=DecisionOptions)
    statistics: StatisticsOptions = pydantic.Field(default_factory=StatisticsOptions)

    @pydantic.model_validator(mode="after")
    def _times_fit(self) -> Self:
        dt, few, many = self.simulation.dt, self.statistics, self.decisions
        require_steps("statistics", few.warmup + few.duration, few.trials * few.stimuli, dt)
        require_steps("decisions", many.warmup + many.window, many.trials * (many.stimuli or 1), dt)
        times = {
            "model.t_ref": self.model.t_ref,
            "decisions.window": self.decisions.window,
            "decisions.warmup": self.decisions.warmup,
            "statistics.duration": self.statistics.duration,
            "statistics.warmup": self.statistics.warmup,
            "statistics.window": self.statistics.window,
        }
        for where, time in times.items():
            _require_multiple(time, where, self.simulation.dt, "simulation.dt")
        _require_multiple(self.statistics.duration, "statistics.duration", self.statistics.window, "statistics.window")
        if self.model.max_rate * self.simulation.dt > 1:
            raise ConfigError(
                f"an input fires at most once a step: model.max_rate · simulation.dt must be ≤ 1, got "
                f"{self.model.max_rate:g} spikes/ms · {self.simulation.dt:g} ms"
            )
        return self


class CircuitOptions(Options):
    """Simulation and prediction of a ready-made circuit."""

    SECTION: ClassVar[str] = "simulation"
    duration: Number = option(1000.0, "time recorded in a trial", unit="ms", above=0)
    trials: int = option(2, "trials", at_least=1)
    warmup: Number = option(300.0, "time simulated before the recording starts", unit="ms", at_least=0)
    dt: Number = option(0.1, "time step", unit="ms", above=0)
    window: Number = option(100.0, "counting window of variances and covariances", unit="ms", above=0)
    seed: int = option(0, "seed of the spikes", at_least=0, below=2**63)
    codegen: Codegen = option("cpp_standalone", "generated C++ (needs a compiler), or NumPy, slow")
    covariance: bool | None = option(None, "covariances of all pairs of neurons; none: up to 1000 neurons")

    @pydantic.model_validator(mode="after")
    def _steps_are_few(self) -> Self:
        require_steps("simulation", self.warmup + self.duration, self.trials, self.dt)
        return self


# What differs from the defaults above, which are those of the digits.
PRESETS: dict[str, dict[str, dict[str, Value]]] = {
    "digits": {},
    "mnist": {
        "training": {"epochs": 15, "batch_size": 128},
        "decisions": {"stimuli": 1000, "trials": 1},
    },
    "table": {"model": {"scaling": "feature"}},
}


SECTIONS: dict[str, type[Options]] = {
    kind.SECTION: kind
    for kind in (
        DataOptions,
        ModelOptions,
        SpikingOptions,
        TrainingOptions,
        SpikeOptions,
        DecisionOptions,
        StatisticsOptions,
    )
}


Sections = Mapping[str, type[Options]]
Tree = Mapping[str, Mapping[str, Any]]


def all_fields(sections: Sections = SECTIONS) -> Iterator[Field]:
    """Yield every option there is."""
    for kind in sections.values():
        yield from fields_of(kind)


def make_config(*layers: Tree) -> Config:
    """Return the configuration of a preset, changed by layers of options; later layers win.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    name = next((layer["data"]["name"] for layer in reversed(layers) if "name" in layer.get("data", {})), "digits")
    return Config(**made_sections(SECTIONS, PRESETS.get(name, {}), *layers))


def made_sections(sections: Sections, *layers: Tree) -> dict[str, Any]:
    """Return sections with the options of layers; later layers win.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    merged: dict[str, dict[str, Any]] = {section: {} for section in sections}
    for layer in layers:
        require_known(layer, merged, "section")
        for section, values in layer.items():
            _require_options(sections[section], values)
            merged[section] |= values
    return {section: kind(**merged[section]) for section, kind in sections.items()}


def read_layer(path: Path, sections: Sections = SECTIONS) -> dict[str, dict[str, Any]]:
    """Return the options that a YAML file holds.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ConfigError
        If it is not YAML, or not a list of sections with known options.
    """
    content = read_yaml(path)
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold sections ({', '.join(sections)}), got {brief(content)}")
    try:
        require_known(content, sections, "section")
        for section, values in content.items():
            if values is not None and not isinstance(values, dict):
                raise ConfigError(f"section {section!r} must hold options, got {brief(values)}")
            _require_options(sections[section], values or {})
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return {section: values or {} for section, values in content.items()}


def to_yaml(config: Options, sections: Sections = SECTIONS) -> str:
    """Return the configuration as YAML, every option with its meaning beside it."""
    values = config.to_dict()
    lines = []
    for section, kind in sections.items():
        lines.append(f"{section}:  # {(kind.__doc__ or '').rstrip('.')}")
        for field in fields_of(kind):
            value = values[section][field.name]
            unit = f", {field.unit}" if field.unit else ""
            lines.append(f"  {field.name}: {_yaml_value(value)}  # {field.help}{unit}")
    return "\n".join(lines) + "\n"


def _yaml_value(value: Value) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()  # the end mark that a lone scalar gets


def differences(old: Options, new: Options, sections: Sections = SECTIONS) -> dict[str, tuple[Value, Value]]:
    """Return the options that differ, by full name, with both values."""
    before, after = old.to_dict(), new.to_dict()
    return {
        field.where: (before[field.section][field.name], after[field.section][field.name])
        for field in all_fields(sections)
        if before[field.section][field.name] != after[field.section][field.name]
    }


def _require_options(kind: type[Options], values: Mapping[str, Any]) -> None:
    require_known(values, [field.name for field in fields_of(kind)], f"option in {kind.SECTION!r}:")


def absolute(path: str | None) -> str | None:
    """Return a path as an absolute one."""
    return None if path is None else str(Path(path).expanduser().resolve())


def _require_multiple(time: float, where: str, step: float, step_name: str) -> None:
    """Raise unless a time is a whole number of steps, up to rounding."""
    number = time / step  # few enough, see `require_steps`
    if abs(number - round(number)) > 1e-6 * max(1.0, number):
        raise ConfigError(
            f"{step_name} must divide {where} = {time:g} ms, got {step:g} ms; choose another of the two, "
            f"such as {where} = {max(1, round(number)) * step:g} ms"
        )


def require_steps(where: str, length: float, presentations: int, dt: float) -> None:
    """Raise a `ConfigError` if a simulation has more time steps than any machine comes to the end of.

    Parameters
    ----------
    where : str
        Section of the options.
    length : float
        Warm-up and duration of one presentation, ms.
    presentations : int
        Stimuli × trials.
    dt : float
        Time step, ms.
    """
    presentations = min(presentations, 10**30)  # beyond, a float would overflow
    steps = math.inf if length / dt > MOST_STEPS else presentations * (length / dt)
    if steps > MOST_STEPS:
        raise ConfigError(
            f"{where} has {presentations:.3g} presentations of {length:g} ms in steps of {dt:g} ms, more than "
            f"{MOST_STEPS:.0e} steps; choose a shorter duration, fewer trials or a longer dt"
        )
