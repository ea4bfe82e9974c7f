"""Ready neuron models against plain Brian2 scripts with the published equations."""

import numpy as np
import plain_scripts
import pytest

from mnnbio import (
    Circuit,
    CurrentDrive,
    EquationNeuron,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    SpikeSource,
    States,
    simulate,
)
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, DiscreteLIF, HodgkinHuxley, Izhikevich
from mnnbio.synapses import Into

DT = 0.1  # ms


def spike_steps(result, name="cells", dt=DT):
    """Return the steps of the spikes of every neuron of a population."""
    spikes = result["spikes"]
    ends = np.cumsum(spikes["row_size"].values.ravel())
    rows = np.split(spikes["spike_time"].values, ends[:-1])
    names = np.broadcast_to(spikes["population"].values, spikes["row_size"].shape).ravel()  # of every trial
    assert len(rows) == len(names)
    return [np.rint(row * 1e3 / dt - 0.5).astype(int) for row, own in zip(rows, names, strict=True) if own == name]


def assert_same_spikes(found, expected, at_least=1):
    assert len(found) == len(expected)
    for k, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"neuron {k}")
    assert sum(map(len, expected)) >= at_least


# Neurons, script, currents (pA; mV/ms for Izhikevich neurons)
READY = {
    "QIF": (QIF(), plain_scripts.qif(), [0.0, 50.0, 100.0, 200.0, 400.0]),
    "EIF": (EIF(), plain_scripts.eif(), [0.0, 80.0, 120.0, 200.0, 400.0]),
    "AdEx": (AdEx(), plain_scripts.adex(), [0.0, 500.0, 700.0, 1000.0, 1500.0]),
    "Izhikevich": (Izhikevich(), plain_scripts.izhikevich(), [0.0, 4.0, 6.0, 10.0, 20.0]),
    "ConductanceLIF": (ConductanceLIF(), plain_scripts.conductance_lif(), [0.0, 99.0, 101.0, 200.0, 400.0]),
    "adapting threshold": (
        ConductanceLIF(theta_plus=0.5, tau_theta=200.0),
        plain_scripts.conductance_lif(0.5),
        [0.0, 99.0, 101.0, 200.0, 400.0],
    ),
    "HodgkinHuxley": (HodgkinHuxley(), plain_scripts.hodgkin_huxley(), [0.0, 50.0, 100.0, 200.0, 500.0]),
}


def drive(name, kind, inputs):
    return GaussianDrive(name, mean=inputs, std=0.0) if kind == "Izhikevich" else CurrentDrive(name, inputs)


@pytest.mark.parametrize(
    ("kind", "duration"),
    [(kind, 100.0) for kind in READY if kind != "HodgkinHuxley"]
    + [pytest.param(kind, 1000.0, marks=pytest.mark.slow) for kind in READY],
)
def test_spikes_are_those_of_a_plain_script(kind, duration):
    neuron, script, inputs = READY[kind]
    circuit = Circuit([Population("cells", len(inputs), neuron)], drives=[drive("cells", kind, inputs)])
    result = simulate(circuit, duration, dt=DT, seed=1, codegen="runtime")
    expected, _ = script.run(inputs, duration)
    assert_same_spikes(spike_steps(result), expected, at_least=5)


# R. Naud, N. Marcille, C. Clopath, W. Gerstner (2008), Firing patterns in the adaptive exponential integrate-and-fire
# model, Biol. Cybern. 99, 335, table 1: C, g_L, E_L, a, tau_w, b, v_reset and the current; v_t = -50 mV, delta_t = 2 mV.
PATTERNS = {
    "tonic spiking": (200, 10, -70, 2, 30, 0, -58, 500),
    "adaptation": (200, 12, -70, 2, 300, 60, -58, 500),
    "initial burst": (130, 18, -58, 4, 150, 120, -50, 400),
    "regular bursting": (200, 10, -58, 2, 120, 100, -46, 210),
    "delayed accelerating": (200, 12, -70, -10, 300, 0, -58, 300),
    "delayed regular bursting": (100, 10, -65, -10, 90, 30, -47, 110),
    "transient spiking": (100, 10, -65, 10, 90, 100, -47, 180),
    "irregular spiking": (100, 12, -60, -11, 130, 30, -48, 160),
}


def test_adex_neurons_show_the_published_firing_patterns():
    rows = list(PATTERNS.values())
    C, g_L, E_L, a, tau_w, b, v_reset, current = np.array(rows, dtype=float).T
    neuron = AdEx(C=C, g_L=g_L, E_L=E_L, v_t=-50.0, delta_t=2.0, a=a, tau_w=tau_w, b=b, v_reset=v_reset, v_th=0.0)
    circuit = Circuit([Population("cells", len(rows), neuron)], drives=[CurrentDrive("cells", current)])
    found = spike_steps(simulate(circuit, 600.0, dt=DT, seed=1, codegen="runtime"))
    expected, _ = plain_scripts.adex_patterns([row[:-1] for row in rows]).run(current, 600.0)
    regular = [name != "irregular spiking" for name in PATTERNS]
    assert_same_spikes(
        [steps for steps, keep in zip(found, regular, strict=True) if keep],
        [steps for steps, keep in zip(expected, regular, strict=True) if keep],
    )
    # Irregular spiking is chaotic: rounding shows after some spikes.
    np.testing.assert_array_equal(found[-1][:12], expected[-1][:12])
    assert len(found[-1]) == len(expected[-1])
    first = {name: steps[0] * DT for name, steps in zip(PATTERNS, found, strict=True)}
    gaps = {name: np.diff(steps) * DT for name, steps in zip(PATTERNS, found, strict=True)}
    assert np.ptp(gaps["tonic spiking"][10:]) < 0.15
    assert gaps["adaptation"][-1] > 5 * gaps["adaptation"][0]
    assert (np.diff(gaps["adaptation"]) > -0.15).all()
    assert (gaps["initial burst"][:2] < 10).all()
    assert (gaps["initial burst"][2:] > 50).all()
    assert set(gaps["regular bursting"] > 100) == set(gaps["delayed regular bursting"] > 50) == {False, True}
    assert first["delayed regular bursting"] > 50
    assert first["delayed accelerating"] > gaps["delayed accelerating"][0] > 1.9 * gaps["delayed accelerating"][-1]
    assert (np.diff(gaps["delayed accelerating"]) < 0.15).all()
    assert len(gaps["transient spiking"]) < 3
    assert first["transient spiking"] < 50
    assert gaps["irregular spiking"][20:].std() > 0.3 * gaps["irregular spiking"][20:].mean()


def discrete_loop(spikes, weights, n_steps, *, dt, tau_m, tau_syn, v_th, hold, late=True):
    """The update of a spiking mode-based network: current, potential, spike, in this order.

    ``U ← [i > last + hold] (l_m U + (1 - l_m) I) (1 - s)`` with s of the step before; with ``late=False`` the potential
    is 0 at the end of the step of the spike instead.
    """
    l_s, l_m = np.exp(-dt / np.asarray(tau_syn)), np.exp(-dt / np.asarray(tau_m))
    n = len(weights)
    current, U, s, last = np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, -(10**6))
    potential, fired = np.zeros((n_steps, n)), np.zeros((n_steps, n), dtype=bool)
    for i in range(n_steps):
        current = l_s * current + weights @ spikes[i]
        U = (i > last + hold) * (l_m * U + (1 - l_m) * current) * (1 - s if late else 1)
        s = (v_th < U).astype(float)
        last = np.where(s > 0, i, last)
        U = U if late else U * (1 - s)
        potential[i], fired[i] = U, s > 0
    return [np.flatnonzero(fired[:, k]) for k in range(n)], potential


@pytest.mark.parametrize("reset", ["late", "at once"])
@pytest.mark.parametrize("t_ref", [0.0, 10.0])
def test_discrete_neurons_take_the_steps_of_the_published_loop(reset, t_ref):
    dt, n_steps, rng = 2.0, 500, np.random.default_rng(7)
    tau_m = np.array([20.0, 15.0, 30.0, 20.0])
    spikes = (rng.random((n_steps, 20)) < 0.3).astype(float)
    weights = rng.normal(0.3, 0.3, (4, 20))
    steps, elements = np.nonzero(spikes)
    circuit = Circuit(
        [
            SpikeSource("input", steps * dt, elements, size=20),
            Population("cells", 4, DiscreteLIF(tau_m=tau_m, t_ref=t_ref, reset=reset)),
        ],
        projections=[Projection("input", "cells", weights=weights, synapse=Into("I", "mV"))],
    )
    record = {"cells": ["spikes", States("v", every=dt)]}
    result = simulate(circuit, n_steps * dt, dt=dt, seed=1, codegen="runtime", record=record)
    given = {"dt": dt, "tau_m": tau_m, "tau_syn": 10.0, "v_th": 1.0, "hold": round(t_ref / dt)}
    expected, potential = discrete_loop(spikes, weights, n_steps, **given, late=reset == "late")
    assert_same_spikes(spike_steps(result, dt=dt), expected, at_least=60)
    v = result["states/cells"]["v"]
    # A sample is what the step before has left.
    np.testing.assert_allclose(v.values.reshape(n_steps, 4)[1:], potential[:-1], atol=1e-9)


def all_kinds():
    """Return one circuit with neurons of every kind, and what stands in it."""
    populations = [Population(kind.replace(" ", "_"), 5, READY[kind][0]) for kind in READY]
    drives = [drive(kind.replace(" ", "_"), kind, READY[kind][2]) for kind in READY]
    noisy = EquationNeuron(
        equations="dv/dt = (mu - v)/tau + sigma*sqrt(2/tau)*xi : volt (unless refractory)",
        threshold="v > 15*mV and rand() < 0.9",
        reset="v = 2*mV*randn()",
        refractory=2.0,
        parameters={"mu": 0.012, "tau": 0.01, "sigma": 0.004},
        units={"mu": "volt", "tau": "second", "sigma": "volt"},
    )
    times = np.arange(0.0, 1000.0, 7.0)
    populations += [
        Population("LIF", 5, LIFParameters(initial={"v": [0.0, 5.0, 10.0, 15.0, 19.0]})),
        Population("equations", 5, noisy),
        SpikeSource("input", times, np.arange(len(times)) % 3),
        Population("discrete", 5, DiscreteLIF(t_ref=2.0)),
    ]
    drives += [
        GaussianDrive("LIF", mean=1.1, std=0.5),
        PoissonDrive("equations", rate=0.2, weight=0.5),
        GaussianDrive("AdEx", mean=0.1, std=0.3),
    ]
    weights = np.random.default_rng(3).normal(60.0, 10.0, (5, 3))
    projections = [Projection("input", "discrete", weights=weights, synapse=Into("I", "mV"))]
    return Circuit(populations, projections=projections, drives=drives)


@pytest.mark.slow
@pytest.mark.standalone
def test_all_kinds_in_one_compiled_circuit_fire_as_in_python():
    circuit = all_kinds()
    options = {"duration": 1000.0, "dt": DT, "seed": 4, "covariance": False}
    compiled = simulate(circuit, **options, codegen="cpp_standalone")
    python = simulate(circuit, **options, codegen="runtime")
    for name in (population.name for population in circuit.neurons):
        assert_same_spikes(spike_steps(compiled, name), spike_steps(python, name), at_least=5)
