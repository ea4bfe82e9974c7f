"""The choice of a layout; that it changes no spike is tested where programs run."""

import time

import numpy as np
import pytest
from scipy import sparse

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonSource,
    Population,
    Projection,
    build,
    load,
    machine,
    save,
    simulate,
)
from mnnbio.circuit import AllToAll, Bernoulli
from mnnbio.machine import NotEnoughMemory
from mnnbio.spikes import layout
from mnnbio.spikes.planner import plan_circuit
from mnnbio.values import Uniform


def circuit(n=100, n_sources=784, delay=1.0):
    rng = np.random.default_rng(0)
    return Circuit(
        [PoissonSource("in", n_sources, np.full(n_sources, 0.01)), Population("n", n, LIFParameters())],
        [Projection("in", "n", weights=rng.normal(size=(n, n_sources)), delay=delay)],
        [GaussianDrive("n", mean=1.0, std=1.0)],
    )


def plan(own):
    return plan_circuit(own, dt=0.1, replicas=1)


def test_small_circuits_run_side_by_side_and_large_ones_alone():
    chosen = [layout.choose_replicas(circuit(n, n)) for n in (1, 10, 50, 1000)]
    assert chosen == sorted(chosen, reverse=True)
    assert chosen[0] > 10
    assert chosen[-1] == layout.choose_replicas(circuit()) == 1
    assert layout.choose_replicas_in_python(circuit(1, 1)) == 100
    assert layout.choose_replicas_in_python(circuit(30_000, 1)) == 1


@pytest.mark.parametrize(("free", "expected"), [(1e12, 8), (5.5, 5), (1.01, 1), (1e-9, 1), (None, 8)])
def test_processes_are_as_many_as_have_their_memory(free, expected, monkeypatch):
    own, shared = layout.program_memory(plan(circuit()))
    memory = None if free is None else (shared + free * own) / 0.8
    monkeypatch.setattr(layout, "free_memory", lambda: memory)
    assert layout.choose_processes(plan(circuit()), 8) == expected


def test_synapses_are_shared_by_processes_unless_their_delays_differ():
    own, shared = layout.program_memory(plan(circuit()))
    assert shared == 78_400 * (4 + 8)
    others, same = layout.program_memory(plan(circuit(delay=np.full((100, 784), 1.0) + np.arange(784) % 3)))
    assert same == shared
    assert others == own + 78_400 * 12


def rule(size, connectivity, **options):
    neurons = Population("a", size, LIFParameters())
    return Circuit([neurons], [Projection("a", "a", weight=0.1, connectivity=connectivity, **options)])


TOO_MANY = {
    "a rule": lambda: rule(200_000, Bernoulli(0.5), delay=1.0),
    "delays that are drawn": lambda: rule(200_000, Bernoulli(0.5), delay=Uniform(1.0, 2.0)),
    "all": lambda: rule(100_000, AllToAll()),
}


@pytest.mark.parametrize("make", TOO_MANY.values(), ids=TOO_MANY)
@pytest.mark.parametrize("how", ["runtime", "cpp_standalone"])
def test_synapses_that_do_not_fit_are_refused_before_any_is_drawn(make, how, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 64e9)
    start = time.perf_counter()
    with pytest.raises(
        NotEnoughMemory, match=r"the [12]e\+10 synapses .* take \d+ GB of memory, 64 GB are free\. Simu"
    ):
        simulate(make(), 1.0, codegen=how)
    with pytest.raises(NotEnoughMemory, match="synapses of the circuit"), build(make(), codegen=how):
        pass
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("how", ["runtime", "cpp_standalone"])
def test_trials_that_do_not_fit_are_refused_before_the_compiler_starts(how, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 64e9)
    start = time.perf_counter()
    with pytest.raises(NotEnoughMemory, match=r"1e\+09 presentations of 100 neurons take 700 GB .* fewer `trials`"):
        simulate(circuit(), 1.0, trials=10**9, codegen=how)
    assert time.perf_counter() - start < 2.0


def test_modes_and_sparse_weights_count_what_they_hold(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 1e6)
    n = 2000
    neurons = [Population("a", n, LIFParameters())]
    layout.require_room(
        Circuit(neurons, [Projection("a", "a", weights=ModeMatrix(np.ones((n, 2)), [1, 2], np.ones((n, 2))))])
    )
    layout.require_room(Circuit(neurons, [Projection("a", "a", weights=sparse.eye_array(n, format="csr"))]))
    with pytest.raises(NotEnoughMemory, match=r"the 4e\+06 synapses"):
        layout.require_room(Circuit(neurons, [Projection("a", "a", weights=np.ones((n, n)))]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": 1e15}, "`duration` must take at most"),
        ({"duration": 1.0, "warmup": 1e15}, "`warmup` must take at most"),
        ({"duration": 1.0, "dt": 1e-300}, "`duration` must take at most"),
        (
            {"duration": 1.0, "seed": 2**64},
            "`seed` must be an integer ≥ 0 and ≤ 18446744073709551615, got 184467440737",
        ),
    ],
)
def test_what_can_never_be_run_is_refused_at_once(options, message):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        simulate(circuit(), codegen="runtime", **options)
    assert time.perf_counter() - start < 2.0


def test_the_largest_seed_can_be_stored(tmp_path):
    result = simulate(circuit(3, 2), 5.0, seed=2**64 - 1, codegen="runtime")
    save(result, tmp_path / "result.nc")
    assert int(load(tmp_path / "result.nc").attrs["seed"]) == 2**64 - 1
