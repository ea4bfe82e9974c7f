"""Tests of the theory of one neuron at a time: without errors added it is the theory of the whole circuit."""

import numpy as np
import pytest

from mnnbio import Circuit, LIFParameters, PoissonSource, Population, Projection, predict
from mnnbio.validation.local_theory import LocalTheory

DT = 0.1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("window", [50.0, None])
@pytest.mark.parametrize("tau_syn", [0.0, 5.0, 50.0])
def test_it_is_the_prediction_of_neurons_that_receive_trains_of_known_rates(tau_syn, window):
    weights = np.random.default_rng(1).normal(1.3, 1.0, (3, 40))
    circuit = Circuit(
        [PoissonSource("in", 40, rates=0.02), Population("a", 3, LIFParameters(v_reset=0.0))],
        [Projection("in", "a", weights=weights, tau_syn=tau_syn)],
    )
    prediction = predict(circuit, dt=DT, window=window, closure="poisson")
    found = LocalTheory(circuit, DT, window).given(prediction.rate.values * 1e-3)
    expected = prediction.variance * 1e-3 if window is None else prediction.count_variance
    np.testing.assert_allclose(found.rate * 1e3, prediction.rate, rtol=1e-9)
    np.testing.assert_allclose(found.count_variance, expected, rtol=1e-9)
