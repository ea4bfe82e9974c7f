"""Samplers and benches: functions that simulate neurons for the theory, which knows no simulator.

A sampler says how neurons of a type answer Gaussian input of any spectrum. Leaky integrate-and-fire neurons are sampled
by `mnnbio.moments.lif_surrogate`; what can simulate others registers itself for their type. A bench holds the neurons
of a circuit apart from it, and feeds their synapses with what is given in every step. `mnnbio.validation` registers
both, for all models of neurons, and is loaded when one is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.moments import Surrogate, lif_surrogate
from mnnbio.neurons import LIFParameters, NeuronModel
from mnnbio.synapses import SynapseModel

PROVIDER = "mnnbio.validation"  # registers functions for all that have none; by name, for theory knows no simulator


class Sampler(Protocol):
    """Function like `mnnbio.moments.lif_surrogate`, of neurons of another type."""

    def __call__(
        self,
        mean: npt.ArrayLike,
        spectrum: npt.ArrayLike,
        neuron: Any,
        dt: float,
        /,
        *,
        pairs: int = 24,
        seed: int = 0,
        tau_syn: Sequence[float] = (0.0,),
    ) -> Surrogate:
        """Return how neurons answer Gaussian input of given mean (mV/ms) and two-sided spectrum (mV²/ms)."""


_samplers: dict[type, Sampler] = {LIFParameters: lif_surrogate}


def register_sampler(neuron_type: type[Any], function: Sampler) -> None:
    """Register the function that samples neurons of a type and of those derived from it, in place of an earlier one.

    Parameters
    ----------
    neuron_type : type
        Subclass of `NeuronModel`.
    function : callable
        Called like `mnnbio.moments.lif_surrogate`.

    Raises
    ------
    TypeError
        If it is no type of neurons, or the function cannot be called.
    """
    if not (isinstance(neuron_type, type) and issubclass(neuron_type, NeuronModel)):
        raise TypeError(f"`neuron_type` must be a subclass of NeuronModel, got {neuron_type!r}")
    if not callable(function):
        raise TypeError(f"`function` must be called like `mnnbio.moments.lif_surrogate`, got {function!r}")
    _samplers[neuron_type] = function


def sampler_of(neuron: NeuronModel) -> Sampler:
    """Return the function that samples a neuron: that of its own type, or of the next one that it derives from.

    Raises
    ------
    TypeError
        If none is registered.
    """
    if NeuronModel not in _samplers:
        import_module(PROVIDER)
    for kind in type(neuron).__mro__:
        if kind in _samplers:
            return _samplers[kind]
    raise TypeError(
        f"no sampler is registered for neurons of the type {type(neuron).__name__}: register one with "
        "`mnnbio.theory.register_sampler`"
    )


class Bench(Protocol):
    """Neurons apart from their circuit, whose synapses are fed."""

    def __call__(self, feeds: Sequence[Sequence[npt.NDArray[np.float32]]], steps: int, seed: int) -> Any:
        """Return the spikes of each population, (neuron, step) of 0 and 1.

        Parameters
        ----------
        feeds : sequence of sequence of ndarray, shape (neuron, step)
            Of each population and each of its synapses: sum of the weights that arrive in a step, in their unit.
        steps : int
            Length of the record; before it, the neurons receive the end of it.
        seed : int
            Of what drives and equations draw.
        """


class BenchMaker(Protocol):
    """Function that makes a bench."""

    def __call__(
        self,
        circuit: Circuit,
        chosen: Sequence[npt.NDArray[np.int64]],
        synapses: Sequence[Sequence[SynapseModel]],
        dt: float,
        /,
    ) -> AbstractContextManager[Bench]:
        """Return a bench of some neurons of each population, which may repeat, with their drives and synapses."""


_makers: list[BenchMaker] = []


def register_bench(function: BenchMaker) -> None:
    """Register the function that makes benches, in place of an earlier one.

    Parameters
    ----------
    function : callable
        Called as `BenchMaker` says.

    Raises
    ------
    TypeError
        If it cannot be called.
    """
    if not callable(function):
        raise TypeError(f"`function` must be called like `mnnbio.theory.BenchMaker`, got {function!r}")
    _makers[:] = [function]


def bench_maker() -> BenchMaker:
    """Return the function that makes benches."""
    if not _makers:
        import_module(PROVIDER)
    return _makers[0]
