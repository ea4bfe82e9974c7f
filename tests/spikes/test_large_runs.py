"""A fifth of the largest network and of the longest run that must work: what is recorded stays small."""

import resource

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    CountMoments,
    Counts,
    FixedIndegree,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    build,
)

SIZES, INPUTS = {"E": 2000, "I": 500}, {"E": 1000, "I": 250}
DURATION = 8000.0  # ms: 2·10⁸ neuron-steps


def brunel():
    """Brunel (2000), Fig. 8 C, with a fifth of the neurons and all inputs of each: 3.1 million synapses."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    return Circuit(
        [Population(name, size, lif) for name, size in SIZES.items()],
        [
            Projection(source, target, weight=weight, connectivity=FixedIndegree(INPUTS[source]), delay=1.5)
            for source, weight in (("E", 0.1), ("I", -0.5))
            for target in "EI"
        ],
        [PoissonDrive(target, 20.0, 0.1) for target in "EI"],
    )


@pytest.mark.slow
@pytest.mark.standalone
def test_a_large_network_runs_long_without_filling_memory():
    calls = []
    record = {"E": CountMoments(window=100.0), "I": Counts(bin=1.0, per="population")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with build(brunel(), dt=0.1, record=record) as program:
        recording = program.run(DURATION, warmup=100.0, seed=1, report=lambda *call: calls.append(call))
        # The synapses, once as a matrix and once as a plan, and what is recorded: no spikes.
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert sum(INPUTS.values()) * sum(SIZES.values()) == 3_125_000
    assert grown < 400e6
    assert recording.step.size == 0
    assert recording.moments.number.tolist() == [80]
    rates = {
        "E": recording.moments.total.mean() / DURATION * 1e3,
        "I": recording.counts.count.sum() / SIZES["I"] / DURATION * 1e3,
    }
    assert rates["E"] == pytest.approx(37.7, rel=0.15)  # published for five times the neurons, which correlate less
    assert rates["I"] == pytest.approx(rates["E"], rel=0.02)  # both get the same inputs
    np.testing.assert_array_equal(recording.moments.powers[0, 0], recording.moments.total[0, 0])
    # The progress within this one presentation is told.
    done = [call[0] for call in calls]
    assert len(done) > 3
    assert done == sorted(done)
    assert calls[-1] == (81_000, 81_000)
