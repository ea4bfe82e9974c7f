"""Results that the tests of formats write and read, simulated once."""

from functools import cache

import numpy as np

from mnnbio import Circuit, Counts, LIFParameters, PoissonSource, Population, Projection, Readout, States, simulate


@cache
def spikes_and_voltages():
    """Two stimuli, three trials, spikes of two populations and voltages of one; some neurons never fire."""
    lif = LIFParameters(v_rest=-65.0, v_th=-50.0, v_reset=-60.0)
    weights = np.linspace(0.0, 1.2, 60).reshape(3, 20)
    circuit = Circuit(
        [
            PoissonSource("input", 20, rates=[[0.1] * 20, [0.2] * 20]),
            Population("E", 3, lif),
            Population("I", 2, LIFParameters()),
        ],
        [Projection("input", "E", weights=weights), Projection("input", "I", weights=weights[[0, 2]])],
        readout=Readout("E", np.ones((2, 3)), np.zeros(2)),
    )
    record = {"E": ["spikes", States("v", neurons=[2, 0], every=0.5)], "I": "spikes"}
    return simulate(circuit, 300, trials=3, warmup=100, window=100, seed=1, codegen="runtime", record=record)


@cache
def one_stimulus():
    """One stimulus, without its dimension, and without matrices."""
    circuit = Circuit(
        [PoissonSource("input", 10, rates=0.3), Population("E", 4, LIFParameters())],
        [Projection("input", "E", weights=np.full((4, 10), 0.6))],
    )
    return simulate(circuit, 200, trials=2, seed=2, codegen="runtime", covariance=False)


@cache
def binned_counts():
    """Counts in bins and no spikes."""
    circuit = Circuit(
        [PoissonSource("input", 10, rates=0.3), Population("E", 4, LIFParameters())],
        [Projection("input", "E", weights=np.full((4, 10), 0.6))],
    )
    return simulate(circuit, 200, trials=5, seed=2, window=20, codegen="runtime", record=Counts(bin=10))


@cache
def population_counts():
    """Counts of whole populations, from which no estimate of neurons can be made."""
    circuit = Circuit(
        [PoissonSource("input", 10, rates=0.3), Population("E", 4, LIFParameters())],
        [Projection("input", "E", weights=np.full((4, 10), 0.6))],
    )
    return simulate(circuit, 200, trials=5, seed=2, codegen="runtime", record=Counts(bin=10, per="population"))


ALL = {
    "spikes and voltages": spikes_and_voltages,
    "one stimulus": one_stimulus,
    "counts": binned_counts,
    "population counts": population_counts,
}
