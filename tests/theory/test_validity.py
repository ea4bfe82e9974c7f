"""Checks that every prediction passes: warnings with their numbers, and refusals before anything is computed."""

import warnings

import numpy as np
import pytest

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    Normal,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Samples,
    fixed_points,
    predict,
    predict_oscillations,
    predict_spectra,
    predict_time_course,
)
from mnnbio.machine import NotEnoughMemory
from mnnbio.theory import FiniteWeightWarning, LinearResponseWarning, SlowSynapseWarning

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)

PREDICTIONS = {
    "neuron": lambda c, dt: predict(c, dt=dt, covariance=False),
    "population": lambda c, dt: predict(c, dt=dt, resolution="population"),
    "spectra": lambda c, dt: predict_spectra(c, [0.01], dt=dt),
    "oscillations": lambda c, dt: predict_oscillations(c, dt=dt, highest=0.05),
    "time course": lambda c, dt: predict_time_course(c, [0.0, 1.0], dt=dt),
    "fixed points": lambda c, dt: fixed_points(c, [0.0], dt=dt),
    "fixed points of neurons": lambda c, dt: fixed_points(c, [0.0], dt=dt, resolution="neuron"),
}
everywhere = pytest.mark.parametrize("make", PREDICTIONS.values(), ids=PREDICTIONS)


def network(tau_syn=0.0, weight=0.03, **options):
    """Fifty neurons that inhibit each other."""
    drive = PoissonDrive("E", rate=0.9 / weight, weight=weight, tau_syn=tau_syn)
    loop = Projection("E", "E", weight=-weight, connectivity=FixedIndegree(5), delay=options.get("delay", 1.5))
    return Circuit([Population("E", 50, LIF)], [loop], [drive])


def raised(make, circuit, dt=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make(circuit, dt)
    return caught


RESPONDING = ["spectra", "oscillations", "time course", "fixed points"]


@pytest.mark.parametrize("name", RESPONDING)
def test_slow_synapses_are_warned_of_where_responses_are_predicted(name):
    caught = [w for w in raised(PREDICTIONS[name], network(tau_syn=10.0)) if w.category is SlowSynapseWarning]
    assert len(caught) == 1
    assert "tau_syn/tau_m is 0.5" in str(caught[0].message)
    assert "too small by up to about 21%" in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("name", sorted(set(PREDICTIONS) - set(RESPONDING)))
def test_stationary_states_of_leaky_neurons_are_right_with_slow_synapses(name):
    assert not [w for w in raised(PREDICTIONS[name], network(tau_syn=200.0)) if w.category is SlowSynapseWarning]


@everywhere
def test_fast_synapses_are_not_warned_of(make):
    assert not [w for w in raised(make, network(tau_syn=3.9)) if w.category is SlowSynapseWarning]


@pytest.mark.parametrize(("tau", "size"), [(4.0, "9%"), (5.0, "10%"), (50.0, "47%"), (100.0, "more than 47%")])
def test_the_expected_error_is_between_the_measured_ones(tau, size):
    with pytest.warns(SlowSynapseWarning, match=rf"about {size} \("):
        predict_spectra(network(tau_syn=tau), [0.01])


def test_slow_synapses_of_projections_and_of_several_populations_count():
    circuit = Circuit(
        [PoissonSource("s", 5, 0.1), Population("a", 2, LIF), Population("b", 2, LIFParameters(tau_m=[10.0, 20.0]))],
        [Projection("s", "a", weights=np.full((2, 5), 0.1), tau_syn=5.0)],
        [PoissonDrive("b", 1.0, 0.1, tau_syn=5.0)],
    )
    with pytest.warns(SlowSynapseWarning, match=r"'b' are slow: tau_syn/tau_m is 0\.5.*in 1 other populations"):
        predict_time_course(circuit, [0.0, 1.0])


def test_synapses_without_weight_are_not_slow():
    circuit = Circuit(
        [PoissonSource("s", 5, 0.1), Population("a", 2, LIF)],
        [Projection("s", "a", weights=np.zeros((2, 5)), tau_syn=50.0)],
        [GaussianDrive("a", mean=1.0, std=0.5)],
    )
    predict(circuit)


@everywhere
def test_large_jumps_are_warned_of_in_every_prediction(make):
    caught = [w for w in raised(make, network(weight=1.0), 0.1) if w.category is FiniteWeightWarning]
    assert len(caught) == 1
    assert "the weights into 'E' are not small" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_neurons_and_populations_are_warned_of_the_same_change():
    """All neurons are alike, so the change of rate is one number; 1 % for what rounds in the realised weights."""
    texts = []
    for resolution in ("neuron", "population"):
        with pytest.warns(FiniteWeightWarning) as caught:
            predict(network(weight=1.0), dt=0.1, resolution=resolution)
        texts.append(str(caught[0].message).split("a change of rate of ")[1].split("%")[0])
    assert int(texts[0]) == pytest.approx(int(texts[1]), abs=1)


def excitatory(weight):
    return Circuit(
        [Population("E", 200, LIF)],
        [Projection("E", "E", weight=weight, connectivity=Bernoulli(0.2), delay=1.5)],
        [GaussianDrive("E", mean=0.7, std=1.2)],
    )


@pytest.mark.parametrize("make", [PREDICTIONS["population"], PREDICTIONS["spectra"]])
def test_strong_loops_are_warned_of(make):
    """Found by raising the weight until the leading eigenvalue is between 0.8 and 1."""
    for weight in np.arange(0.05, 0.6, 0.01):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = predict(excitatory(weight), resolution="population", covariance=False).attrs["largest_real"]
        if 0.8 < value < 1:
            break
    assert any(w.category is LinearResponseWarning for w in raised(make, excitatory(weight)))


@everywhere
@pytest.mark.parametrize(
    ("circuit", "dt", "message"),
    [
        (network(), 0.4, "`dt` must divide `delay of"),
        (network(), 1.5, "`dt` must divide `t_ref"),
        (network(), [0.1, 0.2], "`dt` must be a single number"),
        (network(), float("nan"), "`dt` must be"),
        (network(weight=1e155), 0.1, "must be at most 1e\\+30 mV"),
        (
            Circuit([Population("E", 2, LIF)], drives=[GaussianDrive("E", mean=1e300, std=0.1)]),
            0.1,
            "the mean of Gaussian drive of 'E' must be at most 1e\\+30 mV/ms, got 1e\\+300",
        ),
        (
            Circuit([Population("E", 2, LIF)], drives=[PoissonDrive("E", rate=2000.0, weight=0.001)]),
            0.1,
            "at most 100 spikes a step",
        ),
        (
            Circuit([PoissonSource("s", 2, 11.0), Population("E", 2, LIF)], [Projection("s", "E", np.ones((2, 2)))]),
            0.1,
            "at most one spike a step",
        ),
    ],
    ids=["delay", "t_ref", "two", "nan", "weight", "mean", "drive", "source"],
)
def test_what_a_simulation_refuses_is_not_predicted(make, circuit, dt, message):
    with pytest.raises(ValueError, match=message):
        make(circuit, dt)


def test_delays_that_are_drawn_are_looked_at_where_synapses_are():
    circuit = network(delay=Normal(0.3, 0.2, low=0.01))
    with pytest.raises(ValueError, match=r"must be at least one step of 0\.1 ms"):
        predict(circuit, dt=0.1)
    predict(circuit, dt=0.1, resolution="population")


@pytest.mark.slow
def test_what_does_not_fit_into_memory_is_refused_at_once():
    many = Population("E", 3_000_000, LIF)
    circuit = Circuit([many], [Projection("E", "E", weight=0.1, connectivity=Bernoulli(0.5), delay=1.0)])
    with pytest.raises(
        NotEnoughMemory, match=r"synapses of 3000000 neurons take 5\.4e\+04 GB .* resolution='population'"
    ):
        predict(circuit)
    with pytest.raises(NotEnoughMemory, match="covariances of 3000000 x 3000000 pairs"):
        predict(Circuit([many], drives=[GaussianDrive("E", mean=1.0, std=0.5)]))
    with pytest.raises(NotEnoughMemory, match="spectra of 1 populations at 1000000000 frequencies"):
        predict_spectra(network(), np.broadcast_to(0.01, 10**9))


@pytest.mark.parametrize("dt", [None, 0.1])
@everywhere
def test_every_prediction_says_which_simulation_it_is_of(make, dt):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attrs = make(network(), dt).attrs
    assert attrs["dt"] == ("continuous" if dt is None else pytest.approx(1e-4))
    assert attrs["dt_note"].startswith("of continuous time" if dt is None else "of a simulation in steps of 0.1 ms")


@pytest.mark.parametrize("resolution", ["neuron", "population"])
def test_stimuli_have_a_coordinate(resolution):
    circuit = Circuit([Population("E", 2, LIF)], drives=[GaussianDrive("E", mean=[[0.9, 1.0]], std=0.5)])
    assert predict(circuit, resolution=resolution)["stimulus"].values.tolist() == [0]


def test_time_courses_fail_before_they_integrate():
    circuit = Circuit([Population("E", 2, LIF)], drives=[GaussianDrive("E", mean=Samples([0.9] * 10, dt=1.0), std=0.5)])
    with pytest.raises(ValueError, match="Samples end at 10 ms, the value at 1000 ms was asked for"):
        predict_time_course(circuit, [0.0, 1000.0])
    for options, message in [
        ({"times": [0.0, 1e9]}, "takes 2e\\+10 steps of 0.05 ms, at most 1e\\+08 are integrated"),
        ({"times": [0.0, np.inf]}, "`times` must be finite"),
        ({"times": [0.0, 5.0], "cells": 0}, "`cells` must be an integer ≥ 10, got 0"),
        ({"times": [0.0, 5.0], "step": np.inf}, "`step` must be finite"),
        ({"times": [0.0, 5.0], "step": 0.0}, "`step` must be a single time > 0 ms"),
        ({"times": [0.0, 5.0], "fluctuations": -1}, "`fluctuations` must be an integer ≥ 0, got -1"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict_time_course(network(), **options)


def test_progress_is_quiet_where_standard_error_is_no_terminal(capfd):
    predict_time_course(network(), [0.0, 1.0], progress=True)
    assert capfd.readouterr().err == ""
