"""Configuration of a run of a spiking network of few modes: its sections, their defaults, and the file."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import pydantic

from mnnbio.workflow.options import ConfigError, Number, Options, Value, option
from mnnbio.workflow.run_config import Sections, Tree, absolute, made_sections

DIGITS, CONTEXT = "modes-digits", "modes-context"
MODE_RUNS = (DIGITS, CONTEXT)
LOSSES = {DIGITS: ("cross_entropy", "softmax_twice"), CONTEXT: ("mean_squared_error", "root_of_sum")}


class TaskOptions(Options):
    """What is learned: digits as spikes, or contextual integration."""

    SECTION: ClassVar[str] = "task"

    name: Literal["modes-digits", "modes-context"] = option("modes-digits", "task", flag="task")
    steps: int = option(50, "length of a presentation or trial, in time steps", at_least=4)
    data_dir: str | None = option(
        None, "digits: folder with the IDX files of MNIST; none: the digits of scikit-learn", metavar="DIR"
    )
    onset: Number | None = option(
        None, "context: silence before the stimulus; none: a tenth of the trial", unit="ms", at_least=0
    )
    stimulus: Number | None = option(
        None, "context: length of the stimulus; none: four tenths of the trial", unit="ms", above=0
    )
    offset: Number = option(0.5, "context: mean of a stimulus, up to its sign", above=0)
    noise: Number = option(1.0, "context: standard deviation of the noise of a stimulus in a step", at_least=0)
    switching: Number = option(
        0.0, "context: share of the training trials in which the context changes after the stimulus", at_least=0
    )
    last: Number | None = option(
        None, "context: time left when it changes; none: four tenths of the trial", unit="ms", above=0
    )

    @pydantic.model_validator(mode="after")
    def _is_a_share(self) -> Self:
        if self.switching > 1:
            raise ConfigError(f"task.switching must be a share in [0, 1], got {self.switching:g}")
        return self


class NetworkOptions(Options):
    """The spiking network: recurrent weights of few modes, discrete-time neurons, filtered spikes."""

    SECTION: ClassVar[str] = "network"

    neurons: int = option(100, "recurrent neurons", at_least=1)
    modes: int | None = option(3, "modes of the recurrent weights; none: a full matrix", at_least=1)
    dt: Number = option(2.0, "time step", unit="ms", above=0)
    tau_m: Number = option(20.0, "membrane time constant", unit="ms", above=0)
    tau_syn: Number = option(10.0, "time constant of the synaptic current", unit="ms", above=0)
    v_th: Number = option(1.0, "firing threshold", unit="mV", above=0)
    t_ref: Number = option(10.0, "refractory period, whole steps", unit="ms", at_least=0)
    reset: Literal["late", "at once"] = option("late", "reset one step after the spike, as published, or with it")
    filter: Literal["double", "single"] = option("double", "exponential filter of spikes")
    filter_scale: Literal["steps", "rates"] = option("rates", "size of a double filter: that of one or the other task")
    tau_decay: Number = option(30.0, "decay of filtered spikes", unit="ms", above=0)
    tau_rise: Number = option(2.0, "their rise, of a double filter", unit="ms", above=0)
    slope: Number = option(25.0, "slope of the surrogate gradient", unit="1/mV", above=0)


class FittingOptions(Options):
    """How the network is trained, by Adam and surrogate gradients."""

    SECTION: ClassVar[str] = "training"

    steps: int = option(600, "steps of the optimiser", flag="training_steps", at_least=1)
    batch_size: int = option(64, "trials in a step", at_least=1)
    repeats: int = option(1, "steps in a row on the same trials", at_least=1)
    learning_rate: Number = option(0.01, "peak learning rate", above=0)
    schedule: Literal["one_cycle", "cosine", "constant"] = option("one_cycle", "course of the learning rate")
    loss: Literal["cross_entropy", "softmax_twice", "mean_squared_error", "root_of_sum"] = option(
        "cross_entropy", "loss; of classes one of the first two, of contextual integration one of the others"
    )
    max_norm: Number | None = option(20.0, "longest gradient, beyond which it is scaled down; none: any", above=0)
    label_smoothing: Number = option(0.0, "of the cross-entropy", at_least=0, below=1)
    evaluate_every: int = option(100, "steps between two evaluations", at_least=1)
    seed: int = option(0, "seed of weights and trials", at_least=0, below=2**63)


class TrialOptions(Options):
    """What the trained network is shown."""

    SECTION: ClassVar[str] = "test"

    trials: int | None = option(None, "trials; none: all test images", flag="test_trials", at_least=1)
    examples: int = option(4, "trials that are drawn", at_least=1)
    seed: int = option(1, "seed of spikes and trials", flag="test_seed", at_least=0, below=2**63 - 3)


class ModeConfig(Options):
    """Every option of a run of a spiking network of few modes."""

    task: TaskOptions = pydantic.Field(default_factory=TaskOptions)
    network: NetworkOptions = pydantic.Field(default_factory=NetworkOptions)
    training: FittingOptions = pydantic.Field(default_factory=FittingOptions)
    test: TrialOptions = pydantic.Field(default_factory=TrialOptions)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        losses = LOSSES[self.task.name]
        if self.training.loss not in losses:
            raise ConfigError(
                f"training.loss of {self.task.name} must be one of {list(losses)}, got {self.training.loss!r}"
            )
        if self.task.name == CONTEXT and self.test.trials is None:
            raise ConfigError(f"test.trials of {CONTEXT} must be a whole number ≥ 1, got null")
        for name in ("onset", "stimulus", "last", "t_ref"):
            owner = self.network if name == "t_ref" else self.task
            time, dt = getattr(owner, name), self.network.dt
            if time is not None and abs(time / dt - round(time / dt)) > 1e-6:
                raise ConfigError(
                    f"{owner.SECTION}.{name} must be whole steps of network.dt = {dt:g} ms, got {time:g} ms"
                )
        return self


# What differs from the defaults above, which are those of the digits of scikit-learn.
MODE_PRESETS: dict[str, dict[str, dict[str, Value]]] = {
    DIGITS: {},
    CONTEXT: {
        "task": {"steps": 500},
        "network": {"filter_scale": "steps"},
        "training": {"steps": 1500, "batch_size": 32, "loss": "root_of_sum"},
        "test": {"trials": 1000},
    },
}
MODE_SECTIONS: Sections = {kind.SECTION: kind for kind in (TaskOptions, NetworkOptions, FittingOptions, TrialOptions)}


def make_mode_config(*layers: Tree) -> ModeConfig:
    """Return the configuration of a preset, changed by layers of options; later layers win.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    name = next((layer["task"]["name"] for layer in reversed(layers) if "name" in layer.get("task", {})), DIGITS)
    config = ModeConfig(**made_sections(MODE_SECTIONS, MODE_PRESETS.get(name, {}), *layers))
    return config.changed(task=config.task.changed(data_dir=absolute(config.task.data_dir)))
