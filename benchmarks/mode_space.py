"""Spiking networks in mode space beside the same networks with a matrix of neurons by neurons, in generated C++.

    python benchmarks/mode_space.py [--neurons 2000] [--modes 3] [--steps 4000] [--rounds 10]

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
from contextlib import ExitStack
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


class Form:
    """A form of the network: its program, what that holds, and what its runs have taken."""

    def __init__(self, circuit: Circuit, folder: Path, open_programs: ExitStack) -> None:
        plans = plan_circuit(circuit, dt=DT, replicas=1), Plan(dt=DT, replicas=1)
        self.bytes = sum(program_memory(plans[0])) - sum(program_memory(plans[1]))
        self.program = open_programs.enter_context(build(circuit, dt=DT, replicas=1, build_dir=folder))
        self.files = sum(file.stat().st_size for file in (folder / "inputs").iterdir())
        self.took: dict[int, list[float]] = {}
        self.spikes = 0

    def run(self, steps: int) -> None:
        """Run so many steps and note their processor time, s."""
        before = processor_time()
        recording = self.program.run(steps * DT, seed=0, processes=1)
        self.took.setdefault(steps, []).append(processor_time() - before)
        self.spikes = int(recording.row_size.sum())

    def step(self) -> float:
        """Return the time of a step, s."""
        short, long = sorted(self.took)
        return (min(self.took[long]) - min(self.took[short])) / (long - short)


def processor_time() -> float:
    """Return the processor time of all programs that have ended, s."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure networks in mode space beside explicit ones.")
    parser.add_argument("--neurons", type=int, default=2000)
    parser.add_argument("--modes", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    n, p, steps = options.neurons, options.modes, options.steps
    with tempfile.TemporaryDirectory() as folder, ExitStack() as programs:
        forms = {name: Form(circuit_of(name, n, p, steps), Path(folder, name), programs) for name in FORMS}
        for _ in range(options.rounds):  # by turns, so that both meet the same machine
            for number in (steps // 10, steps):
                for form in forms.values():
                    form.run(number)
    for name, form in forms.items():
        rate = form.spikes / (n * steps * DT * 1e-3)
        print(
            f"{name:>6}: {form.bytes / 1e6:8.3f} MB held, {form.files / 1e6:8.3f} MB of files, "
            f"{form.step() * 1e6:7.1f} µs a step, {form.spikes} spikes at {rate:.1f} Hz"
        )
    modes, matrix = forms.values()
    print(
        f"N = {n}, P = {p}: the matrix takes {matrix.bytes / modes.bytes:.0f} times the bytes, "
        f"{matrix.files / modes.files:.0f} times the files, {matrix.step() / modes.step():.1f} times the time of a step"
    )
    if modes.spikes != matrix.spikes:
        raise SystemExit("the two forms fire differently")


if __name__ == "__main__":
    main()
