"""The trains of a recurrent circuit as renewal processes: what each neuron receives, given the statistics of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.moments.drive import Neuron
from mnnbio.moments.jumps import Exponent, Jumps, joint_exponent
from mnnbio.moments.renewal import TrainInput, regrid, renewal_deficit
from mnnbio.moments.sensitivity import EDGES
from mnnbio.moments.wiring import Connection, Wiring

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ExternalJumps:
    """Jumps from outside a circuit: independent Poisson trains; arrays of shape (n,)."""

    parts: Sequence[Exponent]  # one per source or drive, θ to exponent
    mean: Array  # mV/ms
    variance: Array  # mV²/ms
    third: Array  # mV³/ms


@dataclass(frozen=True, eq=False)
class RecurrentTrains:
    """Weights and neurons of a circuit, prepared for finding what the neurons receive.

    Parameters
    ----------
    wiring : Wiring
        Weights among the neurons, of delta synapses.
    external : ExternalJumps
    lif : LIFParameters or alike
        Of all neurons.
    """

    wiring: Wiring
    external: ExternalJumps
    lif: Neuron

    @cached_property
    def _jumps(self) -> list[tuple[Connection, Jumps]]:
        return [(c, Jumps(_scaled(c))) for c in self.wiring.connections]

    def received(self, mean: Array, variance: Array, rate: Array, fano: Array, skewness: Array) -> TrainInput:
        """Return the input of all neurons.

        Parameters
        ----------
        mean, variance : ndarray, shape (n,)
            Of the whole input, every train taken for a Poisson process, mV/ms and mV²/ms.
        rate, fano, skewness : ndarray, shape (n,)
            Statistics of the trains, the rate in 1/ms.
        """
        n = len(mean)
        tau_m = np.broadcast_to(np.asarray(self.lif.tau_m, dtype=np.float64), n)
        longest = float(tau_m.max())
        of_trains = renewal_deficit(rate, fano, skewness, self.lif.t_ref, longest)
        deficit = np.zeros((len(EDGES) - 1, n))
        for c, jumps in self._jumps:
            deficit[:, c.rows] += (jumps.squared @ of_trains[:, c.columns].T).T
        fluctuating = self.wiring.received(rate).variance + self.external.variance
        exponent = joint_exponent(
            [*self.external.parts, partial(self.exponent, rate=rate)],
            self.wiring.dot(rate) + self.external.mean,
            np.maximum(variance - fluctuating, 0.0),
        )
        third = self.wiring.third(rate) + self.external.third
        return TrainInput(mean, variance, third, regrid(deficit, longest, tau_m), exponent)

    def exponent(self, theta: Array, rate: Array) -> npt.NDArray[np.complex128]:
        """Return ψ of all trains, their mean left in, shape (n,); see `Jumps.exponent`."""
        total = np.zeros(len(theta), dtype=complex)
        for c, jumps in self._jumps:
            total[c.rows] += jumps.exponent(theta[c.rows], rate[c.columns])
        return total


def _scaled(connection: Connection) -> Array | sparse.csr_array:
    """Return the weights of a block as what they count for in their targets, mV."""
    weights = connection.powers(1)
    if isinstance(weights, np.ndarray):
        return np.reshape(connection.scale, (-1, 1)) * weights
    scale = np.broadcast_to(connection.scale, weights.shape[0])
    data = weights.data * np.repeat(scale, np.diff(weights.indptr))
    return sparse.csr_array((data, weights.indices, weights.indptr), shape=weights.shape)
