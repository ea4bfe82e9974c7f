"""Samplers: functions that say how neurons of a type answer Gaussian input of any spectrum, by simulating them.

The theory knows no simulator. Leaky integrate-and-fire neurons are sampled by `mnnbio.moments.lif_surrogate`; what can
simulate others registers itself for their type, as `mnnbio.validation` does for all models of neurons when it is
imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt

from mnnbio.moments import Surrogate, lif_surrogate
from mnnbio.neurons import LIFParameters, NeuronModel


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


def register_sampler(neuron_type: type, function: Sampler) -> None:
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
    for kind in type(neuron).__mro__:
        if kind in _samplers:
            return _samplers[kind]
    raise TypeError(
        f"no sampler is registered for neurons of the type {type(neuron).__name__}: `import mnnbio.validation`, whose "
        "`neuron_surrogate` simulates any model of neurons, or register one of your own with "
        "`mnnbio.theory.register_sampler`"
    )
