"""Competition of inputs by spike-timing-dependent plasticity, at the size and with the learning rate of its paper.

Minutes on two cores; ``make reproduce`` runs it.
"""

import numpy as np
import pytest
from competing_inputs import W_MAX, assert_bimodal, competing

from mnnbio import simulate

pytestmark = [pytest.mark.reproduce, pytest.mark.slow, pytest.mark.standalone]

RATES = [10.0, 20.0, 40.0]  # Hz


def test_weights_of_song_et_al_become_bimodal_and_regulate_the_rate():
    options = {"dt": 0.1, "seed": 1, "covariance": False, "trials": 1}
    start = np.full((1, 1000), W_MAX)
    result = simulate(competing(RATES, start, A_plus=0.005), 200e3, warmup=800e3, **options)
    weights = result["weights/excitation_to_neuron"]["weight"].values[:, 0]
    for own in weights:
        assert_bimodal(own)
    # Input four times as strong changes the rate by less than a factor of two; with the weights that were learnt at 10 Hz
    # it would change it more than three times as much.
    learned = result["simulation/rate"].values[:, 0]
    regulated = learned.max() / learned.min()
    assert regulated < 2
    fixed = simulate(competing(RATES, weights[:1]), 20e3, warmup=1e3, **options)["simulation/rate"].values[:, 0]
    assert fixed[-1] / fixed[0] > 3 * regulated
    # Stronger input leaves fewer strong synapses.
    strong = (weights > 0.5 * W_MAX).mean(axis=1)
    assert (np.diff(strong) < 0).all()
