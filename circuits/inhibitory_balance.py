"""Inhibition that learns to balance excitation, and hides memories that a cue recalls: Vogels et al. (2011)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from mnnbio.circuit import Bernoulli, Circuit, CurrentDrive, Drive, PoissonDrive, Population, Projection
from mnnbio.circuits.keeping_indegrees import scaled_rule, scaled_size, scaled_sizes
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import Conductance, inhibitory_plasticity
from mnnbio.units import in_unit
from mnnbio.values import Steps, Uniform

SIZES = {"E": 8_000, "I": 2_000}
PROBABILITY = 0.02
# Time constants (ms) and reversal potentials (mV) of synapses; the greatest weight that is learnt, nS.
TAU, REVERSAL, W_MAX = {"E": 5.0, "I": 10.0}, {"E": 0.0, "I": -80.0}, 300.0
BACKGROUND = 200.0  # pA: 20 mV, to 10 mV above threshold
# Two memories of 28 × 28 neurons that share 8 × 8; a quarter of one is cued.
MEMORY, SHARED, CUED = 784, 64, 196
CUE_RATE = 0.05 * 1_000 * 0.1  # spikes/ms: of 1,000 Poisson trains of 100 Hz a cued neuron receives 5 %


def memory_neurons(scale: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the neurons of E that form the first and the second memory of `vogels2011`, and those that are cued.

    Parameters
    ----------
    scale : float
        Factor of the numbers of neurons, as of `vogels2011`.

    Returns
    -------
    tuple of ndarray of int
        Indices within E, in increasing order. Neurons that are cued belong to the first memory alone.
    """
    size, shared, cued = (scaled_size(number, scale) for number in (MEMORY, SHARED, CUED))
    return np.arange(size), np.arange(size - shared, 2 * size - shared), np.arange(cued)


def vogels2011(
    rate: Any = 0.003,
    scale: float = 1.0,
    seed: int = 0,
    *,
    memory_gain: float = 5.0,
    recall: tuple[float, float] = (0.0, 0.0),
    weights: tuple[float, float] = (3.0, 30.0),
    eta: float = 0.1,
    weight: Any = 1e-6,
    delay: Any = 0.5,
) -> Circuit:
    r"""Return a network whose inhibitory synapses learn to balance its excitation, and which stores two memories.

    8,000 excitatory (E) and 2,000 inhibitory neurons (I) that a constant current lifts above threshold, connected with
    probability 2 %. Synapses from I to E begin at almost nothing, so that E fires as fast as it can; they obey the
    symmetric rule of the paper, which brings every neuron of E towards `rate`, and makes firing irregular; correlations
    between source and target count as coincidences, and leave the rate beside its target. Two sets of 784 neurons of E,
    which share 64, are memories: the synapses within each are `memory_gain` times as strong. Inhibition learns to
    cancel these too, until memories are almost as quiet as their surroundings; a cue to a quarter of one makes the rest
    of it fire as well, and when it ends the memory is quiet again.

    Every presentation learns from the beginning: give it a warm-up of 10 s and more, less with a `weight` near 25 nS,
    or go on from learnt weights, as the paper does, which strengthens memories in a network that is balanced already::

        balanced = simulate(vogels2011(memory_gain=1), 20_000)
        stored = simulate(vogels2011().with_weights(balanced), 20_000)
        recalled = simulate(vogels2011(recall=(1000, 2000)).with_weights(stored), 5000)

    `memory_neurons` says which neurons the memories are.

    What differs from the paper: there an hour passes between the steps, with a tenth of the default `eta`. Memories are
    consecutive neurons, not squares of a grid, which changes nothing, for synapses know no space. Cued neurons receive
    independent spikes, not a few each of 1,000 trains. Weights of 3 and 30 nS are those of the simulator that the
    authors used, in units of the leak conductance, and of later replications; a script in the archive of the model has
    a tenth of them.

    Parameters
    ----------
    rate : float or Quantity
        To which the rule brings E, spikes/ms.
    scale : float
        Factor of the numbers of neurons, memories included; the numbers of their synapses are kept.
    seed : int
        Seed of the connectivity.
    memory_gain : float
        Factor of the weights within memories; 1: there are none.
    recall : tuple of float
        Times from and until which the cue lasts, ms from the end of the warm-up: Poisson spikes at 5,000 Hz into every
        cued neuron, with the weights of E. Equal times: there is no cue.
    weights : tuple of float
        Of E, and of I to I, nS.
    eta : float
        Learning rate: change by a coincidence, nS.
    weight : float or Quantity
        Of the synapses from I to E at the beginning, nS.
    delay : float or Quantity
        Of all synapses, ms.

    References
    ----------
    T. P. Vogels, H. Sprekeler, F. Zenke, C. Clopath, W. Gerstner (2011), Inhibitory plasticity balances excitation and
    inhibition in sensory pathways and memory networks, Science 334, 1569-1573, fig. 4 and supplement. Rate, delay,
    sizes and gain of the memories, and the cue, as in the scripts for Auryn (F. Zenke), PyNN (V. Chaud, A. Davison, P.
    Gleeson) and NEST (A. Sinha) that repeat the figure.
    """
    if not 1 <= memory_gain < np.inf:
        raise ValueError(f"`memory_gain` must be a number ≥ 1, got {memory_gain!r}")
    start, stop = (float(in_unit(time, "ms", "recall")) for time in recall)
    if not start <= stop:
        raise ValueError(f"`recall` must be times from and until which the cue lasts, got {start:g} and {stop:g} ms")
    sizes, rule = scaled_sizes(SIZES, scale), scaled_rule(PROBABILITY, scale)
    excite, inhibit = (float(in_unit(value, "nS", "weights")) for value in weights)
    first, second, cued = memory_neurons(scale)
    synapses = {name: Conductance(TAU[name], reversal=REVERSAL[name], name=name.lower()) for name in SIZES}
    own: dict[tuple[str, str], dict[str, Any]] = {
        ("E", "E"): {"weights": _excitatory_weights(sizes["E"], rule, excite, memory_gain, (first, second), seed)},
        ("E", "I"): {"weight": excite, "connectivity": rule},
        ("I", "E"): {
            "weight": float(in_unit(weight, "nS", "weight")),
            "connectivity": rule,
            "plasticity": inhibitory_plasticity(rate=rate, eta=eta / W_MAX, tau=20.0, w_max=W_MAX),
        },
        ("I", "I"): {"weight": inhibit, "connectivity": rule},
    }
    drives: list[Drive] = [CurrentDrive(name, BACKGROUND) for name in SIZES]
    if start < stop:
        cue = np.zeros((3, sizes["E"]))
        cue[1, cued] = CUE_RATE
        course = Steps([start - 1e6, start, stop], cue)
        drives.append(PoissonDrive("E", rate=course, weight=excite, synapse=synapses["E"]))
    neuron = ConductanceLIF(E_L=-60.0, v_th=-50.0, v_reset=-60.0, t_ref=5.0, initial={"v": Uniform(-60.0, -50.0)})
    return Circuit(
        populations=[Population(name, size, neuron) for name, size in sizes.items()],
        projections=[
            Projection(source, target, **given, synapse=synapses[source], delay=delay)
            for (source, target), given in own.items()
        ],
        drives=drives,
        seed=seed,
    )


def _excitatory_weights(
    n: int,
    rule: Bernoulli,
    weight: float,
    gain: float,
    memories: tuple[npt.NDArray[np.intp], ...],
    seed: int,
) -> sparse.csr_array:
    """Return weights of random synapses, nS, those within memories `gain` times as strong."""
    target, source = rule.sample(n, n, np.random.default_rng([seed, 0, 0]), autapses=False)
    inside = np.zeros(len(target), dtype=bool)
    for memory in memories:
        member = np.isin(np.arange(n), memory)
        inside |= member[target] & member[source]
    return sparse.csr_array((np.where(inside, gain * weight, weight), (target, source)), shape=(n, n))
