"""The theory of one neuron at a time, with errors of known size added: self-consistent rates of a corrected theory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.circuit import Circuit
from mnnbio.moments import NotConverged, count_variance, fixed_point, interval_skewness
from mnnbio.theory import Received, Response, external_input, respond, wire

Array = npt.NDArray[np.float64]


class Given(NamedTuple):
    """What the neurons answer to given rates of all that they receive."""

    rate: Array  # 1/ms
    fano: Array  # of counts in the window, of long windows where there is none
    count_variance: Array  # of counts in the window, per time (1/ms) where there is none


@dataclass(frozen=True, eq=False)
class LocalTheory:
    """Theory of the neurons of a circuit that has one stimulus, trains taken for Poisson trains and for a diffusion.

    Parameters
    ----------
    circuit : Circuit
    dt : float, optional
        Time step, ms; None for continuous time.
    window : float, optional
        Counting window, ms; None for long windows.
    """

    circuit: Circuit
    dt: float | None
    window: float | None

    @cached_property
    def _wired(self) -> tuple[Any, Any]:
        wired = wire(self.circuit, self.dt)
        return wired, external_input(self.circuit, wired, self.dt)

    def _input(self, rate: Array, *, white: bool) -> tuple[Array, Received]:
        wired, external = self._wired
        inner = wired.recurrent.received(rate)
        variance, colored = inner.variance + external.received.variance, inner.colored + external.received.colored
        return wired.recurrent.dot(rate) + external.mean, Received(variance, 0 * colored if white else colored)

    def _respond(self, rate: Array, *, white: bool = False) -> tuple[Array, Array, Response]:
        mean, received = self._input(rate, white=white)
        return mean, np.sqrt(received.variance), respond(mean, received, self._wired[0].neurons, self.dt)

    def given(self, rate: Array, *, white: bool = False) -> Given:
        """Return what neurons that receive trains of given rates (1/ms) answer; `white`: without synaptic filters."""
        mean, std, found = self._respond(rate, white=white)
        firing = found.rate > 0
        fano = np.where(firing, found.variance / np.where(firing, found.rate, 1.0), 1.0)
        if self.window is None:
            return Given(found.rate, fano, found.variance)
        assert found.lif is not None  # of leaky integrate-and-fire neurons
        skewness = interval_skewness(torch.from_numpy(mean), torch.from_numpy(std), found.lif)
        rates, fanos = torch.from_numpy(np.array(found.rate)), torch.from_numpy(fano)
        count = count_variance(rates, fanos, skewness, self.window, found.lif.t_ref).numpy()
        expected = found.rate * self.window
        return Given(found.rate, np.where(firing, count / np.where(firing, expected, 1.0), 1.0), count)

    def rates(self, added: Array, start: Array) -> Array:
        """Return the self-consistent rates (1/ms) of neurons that fire `added` (1/ms) more than the theory says.

        Raises
        ------
        NotConverged
            If there is none near `start`.
        """

        def step(rate: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(np.maximum(self._respond(rate.numpy())[2].rate + added, 0.0))

        found = fixed_point(step, torch.from_numpy(np.array(start, dtype=np.float64)), max_iterations=500)
        if found.status != "converged":
            raise NotConverged(
                "no self-consistent rates of the corrected theory were found: they still change by "
                f"{found.residual:.2g} of the highest rate a step. The circuit is close to an instability: take weaker "
                "weights"
            )
        return np.asarray(found.value.numpy())
