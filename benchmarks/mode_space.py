"""Spiking networks in mode space beside the same networks with a matrix of neurons by neurons, in generated C++.

    python benchmarks/mode_space.py [--neurons 2000] [--modes 3] [--steps 4000]

A network of the published sizes (Lin & Huang 2024: P modes, 4 noisy input channels, double filter, steps of 2 ms) is
exported twice, factored and as a matrix; both give the same spikes. Printed are the bytes of what a program holds
(synapses, neurons, modes), those of the files that it reads, and the processor time of a step, with their ratios. The
time of a short run is taken off that of a long one, so that starting the program does not count; the least of several
runs is taken.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

import torch

from mnnbio import Circuit, build, export
from mnnbio.spikes.layout import program_memory
from mnnbio.spikes.plan import Plan
from mnnbio.spikes.planner import plan_circuit
from mnnbio.training import SpikingNetwork

DT = 2.0  # ms
FORMS = ("modes", "matrix")


def circuit_of(form: str, neurons: int, modes: int, steps: int) -> Circuit:
    """Return the exported network, shown a noisy stimulus of `steps` steps."""
    network = SpikingNetwork.random(4, neurons, 1, modes=modes, seed=1).double()
    noise = torch.randn((steps, 1, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return export(network, 0.5 + noise, weights=form)  # type: ignore[arg-type]


def measured(form: str, neurons: int, modes: int, steps: int) -> dict[str, float]:
    """Return what the program of a form holds and takes."""
    circuit = circuit_of(form, neurons, modes, steps)
    held = sum(program_memory(plan_circuit(circuit, dt=DT, replicas=1))) - sum(program_memory(Plan(dt=DT, replicas=1)))
    took: dict[int, list[float]] = {steps // 10: [], steps: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        build(circuit, dt=DT, replicas=1, build_dir=Path(folder, "program")) as program,
    ):
        for _ in range(7):
            for number, times in took.items():
                before = processor_time()
                recording = program.run(number * DT, seed=0, processes=1)
                times.append(processor_time() - before)
        files = sum(file.stat().st_size for file in Path(folder, "program", "inputs").iterdir())
    spikes = int(recording.row_size.sum())
    return {
        "bytes": held,
        "files": files,
        "step": (min(took[steps]) - min(took[steps // 10])) / (steps - steps // 10),
        "rate": spikes / (neurons * steps * DT * 1e-3),
        "spikes": spikes,
    }


def processor_time() -> float:
    """Return the processor time of all programs that have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure networks in mode space beside explicit ones.")
    parser.add_argument("--neurons", type=int, default=2000)
    parser.add_argument("--modes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    options = parser.parse_args()
    found = {}
    for form in FORMS:
        found[form] = own = measured(form, options.neurons, options.modes, options.steps)
        print(
            f"{form:>6}: {own['bytes'] / 1e6:8.3f} MB held, {own['files'] / 1e6:8.3f} MB of files, "
            f"{own['step'] * 1e6:7.1f} µs a step, {own['spikes']} spikes at {own['rate']:.1f} Hz"
        )
    ratio = {name: found["matrix"][name] / found["modes"][name] for name in ("bytes", "files", "step")}
    print(
        f"N = {options.neurons}, P = {options.modes}: the matrix takes {ratio['bytes']:.0f} times the bytes, ", end=""
    )
    print(f"{ratio['files']:.0f} times the files, {ratio['step']:.1f} times the time of a step")
    if found["matrix"]["spikes"] != found["modes"]["spikes"]:
        raise SystemExit("the two forms fire differently")


if __name__ == "__main__":
    main()
