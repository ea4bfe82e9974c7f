"""The choice of a layout; that it changes no spike is tested where programs run."""

import numpy as np
import pytest

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonSource, Population, Projection
from mnnbio.spikes import layout
from mnnbio.spikes.planner import plan_circuit


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
    monkeypatch.setattr(layout, "available_memory", lambda: memory)
    assert layout.choose_processes(plan(circuit()), 8) == expected


def test_synapses_are_shared_by_processes_unless_their_delays_differ():
    own, shared = layout.program_memory(plan(circuit()))
    assert shared == 78_400 * (4 + 8)
    others, same = layout.program_memory(plan(circuit(delay=np.full((100, 784), 1.0) + np.arange(784) % 3)))
    assert same == shared
    assert others == own + 78_400 * 12


def test_available_memory_is_that_of_the_system_or_of_the_group(monkeypatch, tmp_path):
    whole = layout.available_memory()
    assert whole is None or 0 < whole < 1e15
    for name, number in (("max", 3_000_000), ("current", 1_000_000)):
        (tmp_path / name).write_text(str(number))
    monkeypatch.setattr(layout, "_MEMORY_LIMITS", (str(tmp_path / "max"),))
    monkeypatch.setattr(layout, "_MEMORY_IN_USE", (str(tmp_path / "current"),))
    assert layout.available_memory() == 2_000_000
    (tmp_path / "max").write_text("max\n")
    assert layout.available_memory() == pytest.approx(whole, rel=0.9)
