"""Perceptron and tempotron on clamped input: single corrections by hand, and networks that learn."""

import numpy as np
import pytest

from mnnbio import Circuit, LIFParameters, Population, Projection
from mnnbio.learning import FrozenNetwork
from mnnbio.learning.clamped_rules import (
    ClampedPerceptron,
    ClampedRule,
    ClampedTempotron,
    perceptron_epoch,
    tempotron_epoch,
)

N, STEPS, DT = 10, 600, 0.5

EXTERNAL = np.array([19.0, 21.0, 22.0, 18.0, 19.5])
RESPONSE = np.array([[0.5, 0.0], [0.2, 0.1], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0]])
FIRES = np.array([False, False, False, True, False])
OPTIONS = {"v_th": 20.0, "margin": 0.0, "rate": 4.0}  # the strongest step has |K|² = 4, so a correction is K itself


def test_perceptron_corrects_every_error_in_turn():
    found = perceptron_epoch(np.zeros(2), EXTERNAL, RESPONSE, FIRES, signs=np.zeros(2), **OPTIONS)
    # Step 1: 21 mV, then -(0.2, 0.1); step 2: 22 - 0.2 mV, then -(0, 2); step 3: 18 - 0.2 mV, then +(1, 0).
    np.testing.assert_allclose(found.weights, [0.8, -2.1])
    assert found.errors == 3


def test_perceptron_stops_at_zero_weights_of_known_sign():
    found = perceptron_epoch(np.full(2, 0.1), EXTERNAL, RESPONSE, FIRES, signs=np.ones(2), **OPTIONS)
    np.testing.assert_allclose(found.weights, [1.0, 0.0])


def test_tempotron_corrects_maxima_and_missed_spikes():
    found = tempotron_epoch(np.zeros(2), EXTERNAL, RESPONSE, FIRES, signs=np.zeros(2), **OPTIONS)
    # The stretch before the spike is highest in step 2; that after it stays below; the spike in step 3 is missed.
    np.testing.assert_allclose(found.weights, [1.0, -2.0])
    assert found.errors == 2


def test_tempotron_does_not_take_a_spike_for_an_error():
    fires = np.array([False, False, False, False, True])
    found = tempotron_epoch(np.zeros(2), np.array([1.0, 2, 3, 4, 25.0]), RESPONSE, fires, signs=np.zeros(2), **OPTIONS)
    assert found.errors == 0
    np.testing.assert_array_equal(found.weights, 0)


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(1)

    def circuit():
        weights = np.abs(rng.normal(0, 2, (N, N)))
        weights[:, 8:] *= -4
        np.fill_diagonal(weights, 0)
        return Circuit(
            [Population("n", N, LIFParameters(t_ref=2.0))],
            [Projection("n", "n", weights=weights, delay=1.0, tau_syn=5.0)],
        )

    currents = 0.95 + rng.standard_normal((STEPS, N))
    with FrozenNetwork(circuit(), currents, dt=DT, codegen="runtime") as reference:
        target = reference.spikes(reference.run())
    with FrozenNetwork(circuit(), currents, dt=DT, codegen="runtime") as network:
        yield network, target


@pytest.mark.parametrize("rule", [ClampedPerceptron(epochs=400), ClampedTempotron(epochs=2000, score_every=2000)])
def test_rule_learns_to_fire_the_target(case, rule):
    network, target = case
    assert target.n_spikes > 20
    found = rule.fit(target, network)
    (projection,) = found.circuit.projections
    assert (projection.weights * network.signs >= 0).all()
    assert found.scores["F_clamped"] >= 0.95
    if found.status == "converged":
        assert found.best_f == 1.0
        assert found.message == "No neuron makes an error on clamped input."
        np.testing.assert_array_equal(found.details["errors"], 0)


def test_progress_stops_and_errors_are_told(case):
    network, target = case
    told = []
    rule = ClampedPerceptron(epochs=3, score_every=1, rate=0.01)
    found = rule.fit(target, network, progress=lambda done, f: told.append((done, f)) or True)
    assert found.status == "stopped"
    assert told == [(1, found.best_f)]
    assert "still make errors on clamped input: allow more `epochs`" in found.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be ≥ 1"),
        ({"score_every": 0}, "`score_every` must be ≥ 1"),
        ({"rate": 0.0}, "`rate` must be > 0 mV"),
        ({"margin": -1.0}, "`margin` must be ≥ 0 mV"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ClampedPerceptron(**options)


def test_rule_without_an_epoch_has_no_name():
    with pytest.raises(NotImplementedError):
        _ = ClampedRule().name
