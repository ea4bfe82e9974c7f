"""Configuration of a run that learns from spikes: its sections, their defaults, and the file."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import pydantic

from mnnbio.workflow.options import ConfigError, Number, Options, option
from mnnbio.workflow.run_config import Sections, Tree, made_sections

PSPM_RUN = "pspm"
LEARN_RUNS = (PSPM_RUN,)


class ReferenceOptions(Options):
    """The network whose spikes are to be learned, and its frozen current."""

    SECTION: ClassVar[str] = "reference"

    name: Literal["pspm"] = option(PSPM_RUN, "task", flag="reference")
    neurons: int = option(50, "neurons, four fifths of them excitatory", at_least=5)
    rho: Number = option(0.6, "recurrent over external input to the membrane, standard deviations", above=0)
    rate: Number = option(10.0, "mean rate to which the current is tuned", unit="Hz", above=0)
    duration: Number = option(1000.0, "length of the record", unit="ms", above=0)
    dt: Number = option(0.5, "time step", unit="ms", above=0)
    seed: int = option(0, "seed of weights and currents", flag="reference_seed", at_least=0, below=2**32)


class LearningOptions(Options):
    """The rule that learns, from other weights of the same kind."""

    SECTION: ClassVar[str] = "learning"

    passes: int = option(2000, "runs of the network", at_least=1)
    errors: Literal["first", "all"] = option(
        "first", "errors a neuron learns from: up to its first, or all as published"
    )
    credit: Literal["psp", "pool"] = option("psp", "share of a source in an error: its potential, or all that fired")
    learning_rate: Number | None = option(
        None, "greatest change of a weight by one error; none: a share of the median weight", unit="mV", above=0
    )
    homeostatic_rate: Number = option(0.0, "strength of the scaling towards the target's counts", at_least=0, below=1)
    window: Number = option(4.0, "longest distance of a pair of spikes", unit="ms", above=0)
    pool: Number = option(20.0, "credit pool: time before an error", unit="ms", above=0)
    anneal: Literal["linear", "constant", "error"] = option("linear", "how the rates fall")
    random_synapses: bool = option(False, "the control: changes go to random synapses")
    seed: int = option(0, "seed of the changes", at_least=0, below=2**32)


class JudgingOptions(Options):
    """What the learned network is judged by."""

    SECTION: ClassVar[str] = "judging"

    held_out: int = option(3, "currents that were not learned", at_least=0)
    shifts: int = option(50, "sets of shifted trains, for the level of chance", at_least=2)
    noise: Number = option(0.01, "relative noise of nearly true weights, beside which a learner is judged", at_least=0)
    draws: int = option(10, "draws of that noise", at_least=1)
    codegen: Literal["cpp_standalone", "runtime"] = option(
        "cpp_standalone", "generated C++ (needs a compiler), or NumPy, slow"
    )


class LearnConfig(Options):
    """Every option of a run that learns from spikes."""

    reference: ReferenceOptions = pydantic.Field(default_factory=ReferenceOptions)
    learning: LearningOptions = pydantic.Field(default_factory=LearningOptions)
    judging: JudgingOptions = pydantic.Field(default_factory=JudgingOptions)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        dt, window, length = self.reference.dt, self.learning.window, self.reference.duration
        if window < dt:
            raise ConfigError(f"learning.window must be ≥ reference.dt = {dt:g} ms, got {window:g} ms")
        if abs(length / dt - round(length / dt)) > 1e-6:
            raise ConfigError(f"reference.duration must be whole steps of reference.dt = {dt:g} ms, got {length:g} ms")
        return self


LEARN_SECTIONS: Sections = {kind.SECTION: kind for kind in (ReferenceOptions, LearningOptions, JudgingOptions)}


def make_learn_config(*layers: Tree) -> LearnConfig:
    """Return the configuration that layers of options make; later layers win.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value does not fit.
    """
    return LearnConfig(**made_sections(LEARN_SECTIONS, *layers))
