"""The published setting of PSPM: 400 neurons in steps of 3 ms, a reference of the same kind, 150 passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from mnnbio.circuit import Circuit, Population, Projection
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork, Passed
from mnnbio.learning.pspm import PSPM, ShrinkingWindow
from mnnbio.learning.spike_tasks import SpikeTask
from mnnbio.learning.targets import SpikeTargets
from mnnbio.machine import check_choice, require_integer
from mnnbio.neurons import EquationNeuron

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Ensemble = Literal["uniform", "gaussian", "sparse", "half"]

DT = 3.0  # ms
LEAK = 0.09  # part of the distance to the input that the membrane goes in a step
V_TH = 30.0  # mV
LARGEST = 1.5  # mV, of the weights
CURRENT, CURRENT_SPREAD = 25.0, 10.0  # mV, of the input R I of every neuron and step
INHIBITORY = 0.2  # part of the sources


def published_pspm(**changes: Any) -> PSPM:
    """Return the published procedure; any option of `PSPM` may be changed.

    All errors, pairing by dynamic programming within a window that shrinks from 14 to 5 steps, by one every 15 passes;
    the sources that fired in the 15 steps before an error change by 0.8 µV times a whole number from 0 to 9; every
    weight onto a neuron moves by 5·10⁻¹¹ V a missing spike. The rates are those of W; weights of circuits are 0.09 W.

    References
    ----------
    B. Bagley, B. Bordelon, B. Moseley, R. Wessel (2020), PLOS ONE 15(2), e0229083, Methods, and its public code.
    """
    rule = PSPM(
        passes=150,
        errors="all",
        credit="pool",
        window=ShrinkingWindow(14 * DT, 5 * DT, DT, 15),
        pool=14 * DT,  # from the last spike that could act on
        learning_rate=LEAK * 8e-4,
        homeostatic_rate=LEAK * 5e-8,
        homeostasis="shifting",
        anneal="constant",
        pairing="least shift",
        amounts="integers",
        stop_when_matched=False,
        distance_every=10,
    )
    return replace(rule, **changes)


def published_network(weights: npt.ArrayLike) -> Circuit:
    """Return a network of the published neurons, all-to-all, autapses included.

    A spike is decided at the start of a step from v > 30 mV and acts in the same step:
    ``v ← v + 0.09 (-v + Σ_j W_ij s_j + R I)``; a neuron that spikes is set to 0 and takes the step's input without
    leak. The weights of the circuit are what a spike moves v by, 0.09 W. Here a step ends with the decision, so that
    spikes stand one step before the published ones and act, with a delay of a step, in the same update.

    Parameters
    ----------
    weights : array_like, shape (n, n)
        W, mV, target × source.
    """
    matrix = np.asarray(weights, dtype=np.float64)
    neuron = EquationNeuron(
        equations="dv/dt = -v/tau_m + I : volt",
        threshold="v > v_th",
        reset="v = 0*volt",
        method="euler",
        parameters={"tau_m": DT / LEAK * 1e-3, "v_th": V_TH * 1e-3},
        units={"tau_m": "second", "v_th": "volt"},
        current="I",
        current_unit="volt/second",
        order="synapses_first",
    )
    return Circuit(
        populations=[Population("neurons", len(matrix), neuron)],
        projections=[Projection("neurons", "neurons", weights=LEAK * matrix, delay=DT)],
    )


def published_currents(voltage: npt.ArrayLike) -> Array:
    """Return inputs R I, mV, (step, n), as currents in mV/ms, which move the membrane by 0.09 R I in a step."""
    return np.asarray(np.asarray(voltage, dtype=np.float64) * LEAK / DT)


def published_task(
    seed: int,
    *,
    n: int = 400,
    n_steps: int = 5000,
    ensemble: Ensemble = "uniform",
    held_out: int = 0,
    codegen: Codegen = "cpp_standalone",
) -> SpikeTask:
    """Return a reference and a learner of the published setting, with the same inhibitory fifth of the sources.

    Parameters
    ----------
    seed : int
    n, n_steps : int
        Neurons, at least 5, and steps of 3 ms.
    ensemble : {"uniform", "gaussian", "sparse", "half"}
        Magnitudes of the weights: uniform up to 1.5 mV; Gaussian about 0.75 mV with a deviation of 0.25 mV, cut at 0;
        uniform, half of the synapses missing; or uniform, the learner's up to half the range.
    held_out : int
        Number of other currents.
    codegen : {"cpp_standalone", "runtime"}
    """
    require_integer("seed", seed, 0)
    require_integer("n", n, 5)
    require_integer("n_steps", n_steps, 1)
    require_integer("held_out", held_out, 0)
    check_choice("ensemble", ensemble, ["uniform", "gaussian", "sparse", "half"])
    rng = np.random.default_rng(seed)
    inhibitory = rng.permutation(n) < round(INHIBITORY * n)
    reference, learner = (_weights(n, inhibitory, ensemble, rng) for _ in range(2))
    if ensemble == "half":
        learner = learner / 2
    currents = [published_currents(rng.normal(CURRENT, CURRENT_SPREAD, (n_steps, n))) for _ in range(1 + held_out)]
    with FrozenNetwork(published_network(reference), currents[0], dt=DT, codegen=codegen) as network:
        passed = [network.run(currents=current) for current in currents]
        spikes = [network.spikes(one) for one in passed]
        ratio = published_ratio(network, network.weights, passed[0])
    return SpikeTask(
        reference=published_network(reference),
        learner=published_network(learner),
        currents=currents[0],
        target=spikes[0],
        held_out=currents[1:],
        held_out_targets=spikes[1:],
        dt=DT,
        rho=ratio,
    )


def published_ratio(network: FrozenNetwork, weights: npt.ArrayLike, passed: Passed) -> float:
    """Return ρ of these neurons under weights of the circuit, mV, (n, n): see `membrane_ratio`."""
    fired = np.zeros((network.n_steps, network.size))
    fired[passed.step, passed.neuron] = 1.0
    inside = lfilter([1.0], [1.0, LEAK - 1.0], fired @ np.asarray(weights, dtype=np.float64).T, axis=0)
    steps = network.currents * DT
    outside = lfilter([1.0], [1.0, LEAK - 1.0], steps - steps.mean(axis=0), axis=0)
    return float(np.sqrt(inside.var(axis=0).sum() / outside.var(axis=0).sum()))


def recorded_task(target: SpikeTargets, seed: int) -> SpikeTask:
    """Return a learner of the published setting for trains that no such network fired, in steps of 3 ms.

    The learner's weights are N(0.4, 0.4²) mV; there is no inhibition, so what is drawn below 0 starts at 0. There is no
    reference: `SpikeTask.reference` is the learner, ρ is NaN. `recorded_pspm` has the rates.

    Parameters
    ----------
    target : SpikeTargets
        Such as recorded trains, or those of `probabilistic_target`; 500 neurons and 10,000 steps as published.
    seed : int

    Raises
    ------
    ValueError
        If its steps are not 3 ms.
    """
    if abs(target.dt - DT) > 1e-9:
        raise ValueError(f"the published setting has steps of {DT:g} ms, got a target in steps of {target.dt:g} ms")
    rng = np.random.default_rng(seed)
    weights = np.clip(rng.normal(0.4, 0.4, (target.size, target.size)), 0.0, None)
    learner = published_network(weights)
    currents = published_currents(rng.normal(CURRENT, CURRENT_SPREAD, (target.n_steps, target.size)))
    named = replace(target, populations={"neurons": target.size})
    return SpikeTask(
        reference=learner, learner=learner, currents=currents, target=named, held_out=[], held_out_targets=[], dt=DT,
        rho=float("nan"),
    )  # fmt: skip


def recorded_pspm(**changes: Any) -> PSPM:
    """Return the published procedure with the rates for recorded trains: 0.01 µV, and 10⁻⁹ V a missing spike."""
    return published_pspm(**({"learning_rate": LEAK * 1e-5, "homeostatic_rate": LEAK * 1e-6} | changes))


def probabilistic_target(
    seed: int, *, n: int = 500, n_steps: int = 10_000, spread: float = 2.0, escape: float = 0.1
) -> SpikeTargets:
    """Return the spikes of a reference whose neurons fire with a probability that grows with their potential.

    The network is that of `published_task`; instead of a threshold a neuron fires in a step with probability
    ``min(1, escape · exp((v - 30 mV)/spread))`` (escape noise: Gerstner & Kistler 2002,
    Spiking Neuron Models, sec. 5.3).
    The paper states no such function, so spread, mV, and escape are ours.
    """
    require_integer("seed", seed, 0)
    require_integer("n", n, 5)
    require_integer("n_steps", n_steps, 1)
    rng = np.random.default_rng(seed)
    weights = _weights(n, rng.permutation(n) < round(INHIBITORY * n), "uniform", rng)
    v, fired = np.zeros(n), np.zeros((n_steps, n), dtype=bool)
    for step in range(n_steps):
        spikes = rng.random(n) < escape * np.exp(np.minimum((v - V_TH) / spread, 5.0))
        fired[step] = spikes
        given = rng.normal(CURRENT, CURRENT_SPREAD, n) + weights[:, spikes].sum(axis=1)
        v = np.where(spikes, 0.0, (1 - LEAK) * v) + LEAK * given
    return SpikeTargets.from_raster(fired, DT, {"neurons": n})


def _weights(n: int, inhibitory: Bool, ensemble: Ensemble, rng: np.random.Generator) -> Array:
    if ensemble == "gaussian":
        sizes = np.clip(rng.normal(LARGEST / 2, LARGEST / 6, (n, n)), 0.0, None)
    else:
        sizes = rng.uniform(0.0, LARGEST, (n, n))
    if ensemble == "sparse":
        sizes *= rng.random((n, n)) < 0.5
    return np.where(inhibitory, -sizes, sizes)
