"""Time and memory of an excitatory-inhibitory network, against a plain Brian2 script of the same network run beside it.

    python benchmarks/ei_network.py [--neurons 4000] [--duration 2000] [--rounds 3]

Four excitatory neurons for each inhibitory one, connected with probability 0.1 by delta synapses with a delay, driven
by Poisson input (Brunel 2000, model A; g = 5, external input twice the threshold rate). The reference is what a user of
Brian2 would write for its C++ standalone device: `NeuronGroup`, `PoissonInput`, `Synapses.connect(p=0.1)`,
`SpikeMonitor`. Both are compiled beforehand; each run is a process of its own, rounds alternate, and the shortest of
each counts. The time is that of running the program and reading its spikes; that of one core stands beside it. The
memory is the peak of the C++ program, and of the Python process around it with the network made and built. The two
draw other synapses, and with them the rate changes: over seeds from 46 to 58 Hz, as `predict` says of each of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile

# A program's peak of memory is asked of the system while it runs.
WATCH = """
import json, os, pathlib, resource, sys, threading, time
peak, over = [0], threading.Event()
def watch():
    while not over.wait(0.005):
        for task in pathlib.Path("/proc/self/task").iterdir():
            try:
                for child in (task / "children").read_text().split():
                    status = pathlib.Path("/proc", child, "status").read_text()
                    if "main" in status.splitlines()[0]:
                        peak[0] = max(peak[0], int(status.split("VmHWM:")[1].split()[0]) * 1024)
            except (OSError, IndexError):
                pass
"""
# What both scripts share: how they measure themselves.
MEASURE = (
    WATCH
    + """
options = json.loads(sys.argv[1])
def cores():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def measured(run):
    watcher = threading.Thread(target=watch)
    watcher.start()
    start, used = time.perf_counter(), cores()
    rate = run()
    seconds, used = time.perf_counter() - start, cores() - used
    over.set()
    watcher.join()
    python = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "cores": used, "program": peak[0], "python": python, "rate": rate}))
n = options["neurons"]
n_exc, J, g, p = n * 4 // 5, 0.2, 5.0, 0.1
rate = 2 * 20 / (J * 20)  # spikes/ms of all external trains of a neuron
"""
)
OURS = """
from mnnbio import Bernoulli, Circuit, LIFParameters, PoissonDrive, Population, Projection, build
lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
circuit = Circuit(
    [Population("E", n_exc, lif), Population("I", n - n_exc, lif)],
    [
        Projection(source, target, weight=weight, connectivity=Bernoulli(p), delay=1.5)
        for source, weight in (("E", J), ("I", -g * J))
        for target in "EI"
    ],
    [PoissonDrive(target, rate, J) for target in "EI"],
)
with build(circuit, dt=0.1) as program:
    def run():
        recording = program.run(options["duration"], seed=1, processes=1)
        return len(recording.step) / n / options["duration"] * 1e3
    measured(run)
"""
BRIAN = """
from brian2 import *
set_device("cpp_standalone", build_on_run=False)
defaultclock.dt = 0.1*ms
neurons = NeuronGroup(
    n, "dv/dt = -v/(20*ms) : volt (unless refractory)", threshold="v > 20*mV", reset="v = 10*mV",
    refractory=2*ms, method="exact",
)
n_ext = int(p * n_exc)
external = PoissonInput(neurons, "v", n_ext, rate / n_ext / ms, J*mV)
excitatory = Synapses(neurons[:n_exc], neurons, on_pre=f"v_post += {J}*mV", delay=1.5*ms)
excitatory.connect(p=p)
inhibitory = Synapses(neurons[n_exc:], neurons, on_pre=f"v_post -= {g*J}*mV", delay=1.5*ms)
inhibitory.connect(p=p)
spikes = SpikeMonitor(neurons)
run(options["duration"]*ms)
device.build(directory=options["folder"], compile=True, run=False)
def simulate():
    device.run(options["folder"], results_directory="results", with_output=False, run_args=[])
    return spikes.num_spikes / n / options["duration"] * 1e3
measured(simulate)
"""


def measure(script: str, options: dict) -> dict:
    """Return what a script says of itself."""
    command = [sys.executable, "-c", MEASURE + script, json.dumps(options)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare an E/I network with a plain Brian2 script.")
    parser.add_argument("--neurons", type=int, default=4000)
    parser.add_argument("--duration", type=float, default=2000.0, help="ms")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found: dict[str, list[dict]] = {"Brian2 script": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for name, script in zip(found, (BRIAN, OURS), strict=True):
                found[name].append(measure(script, {**vars(options), "folder": folder}))
    reference = {
        key: min(one[key] for one in found["Brian2 script"]) for key in ("seconds", "cores", "program", "python")
    }
    for name, all_ in found.items():
        best = {key: min(one[key] for one in all_) for key in reference}
        ratio = {key: best[key] / reference[key] for key in reference}
        print(
            f"{name:>13}: {best['seconds']:6.2f} s ({ratio['seconds']:.2f}×), {best['cores']:6.2f} s of a core "
            f"({ratio['cores']:.2f}×), program {best['program'] / 1e6:6.1f} MB ({ratio['program']:.2f}×), Python "
            f"{best['python'] / 1e6:6.1f} MB ({ratio['python']:.2f}×), {all_[0]['rate']:.1f} Hz"
        )


if __name__ == "__main__":
    main()
