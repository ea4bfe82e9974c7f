"""Common input of the neurons of a population: how large and how asymmetric the volleys of a finite circuit make it.

Linear response takes what neurons share for small and Gaussian. Independent trains that pass the membrane and the
circuit's loops are the least that makes it neither: with h_b(t) the response of the membrane potential to one spike of
population b, loops included, the common input has the cumulants ``κ_n = Σ_b N_b r_b ∫ h_b(t)^n dt`` (Campbell).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.theory.collective import Collective, Wires, interpolated
from mnnbio.theory.population_theory import System, average
from mnnbio.theory.self_consistent import SpectralState

Array = npt.NDArray[np.float64]

STEPS, STEP = 4096, 0.25  # of the responses in time, ms


class Volleys(NamedTuple):
    """Common input of each population as the membrane potential sees it."""

    share: Array  # of the variance of the free potential
    skewness: Array
    kurtosis: Array  # excess


def volleys(system: System, state: SpectralState, wired: Wires, found: Collective) -> Volleys:
    """Return how large and how asymmetric the common input of each population is.

    Parameters
    ----------
    system : System
    state : SpectralState
    wired : Wires
        Of the frequencies of the state.
    found : Collective
        At these frequencies.
    """
    f = grid()
    tau = average(system, system.nodes.neurons.values(lambda neuron: getattr(neuron, "tau_m", None), np.nan))
    membrane = 1 / (1 / tau[:, None] + 2j * np.pi * f)
    # Sender's spike → mean activity → loops → sum of weights, (frequency, row, sender).
    through = interpolated(f, state.frequency, (wired.total @ found.kernel).transpose(1, 2, 0))
    skewness, kurtosis = asymmetry(membrane.T[:, :, None] * through.transpose(2, 0, 1), system.sizes, state.rate)
    passed = np.abs(interpolated(state.frequency, f, membrane)) ** 2
    everything = np.stack([np.interp(state.frequency, state.records, row) for row in state.power])
    common, whole = (np.trapezoid(power * passed, state.frequency) for power in (found.shared, everything))
    return Volleys(common / np.where(whole > 0, whole, np.inf), skewness, kurtosis)


def asymmetry(through: npt.NDArray[np.complex128], sizes: Array, rate: Array) -> tuple[Array, Array]:
    """Return skewness and excess kurtosis of what independent trains give to whole populations.

    Parameters
    ----------
    through : ndarray, shape (frequency, row, sender)
        Transform of what a spike in the mean activity of a sender brings, on `grid()`.
    sizes, rate : ndarray, shape (population,)
        Of the senders; 1/ms.
    """
    response = np.fft.irfft(through / sizes, STEPS, axis=0) / STEP
    flow = sizes * rate
    second, third, fourth = (np.einsum("tab,b->a", response**n, flow) * STEP for n in (2, 3, 4))
    known = np.where(second > 0, second, np.inf)
    return third / known**1.5, fourth / known**2


def grid() -> Array:
    """Return the frequencies of the responses in time, 1/ms."""
    return np.asarray(np.fft.rfftfreq(STEPS, STEP), dtype=np.float64)
