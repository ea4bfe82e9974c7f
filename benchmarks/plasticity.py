"""Time and memory of a million plastic synapses, against a plain Brian2 script of the same network run beside it.

    python benchmarks/plasticity.py [--seconds 10] [--rounds 3] [--size 1000] [--seed 1]

As many sources as neurons, all to all: given spikes, 5 Hz a source, through conductances with a delay of 1 ms that
change by pair-based plasticity (Song et al. 2000). The reference is what a user of Brian2 would write for its C++
standalone device, compiled with the same flags, one thread. Both have the same spikes of sources and the same weights
at the start; spikes of the neurons and weights at the end are compared. Both are compiled beforehand, each run is a
process of its own, rounds alternate, and the shortest of each counts. The time is that of running the program and
reading spikes and weights, that of one core, which hardly depends on what else runs, stands beside it; the memory is
the program's peak.
"""

from __future__ import annotations

import argparse
import tempfile

from biophysics import agreement, measure
from ei_network import WATCH

# What both scripts share: sources, weights, and how they measure themselves.
COMMON = (
    WATCH
    + """
import numpy as np
options = json.loads(sys.argv[1])
n, T = options["size"], 1e3 * options["seconds"]
rng = np.random.default_rng(options["seed"])
cells = np.arange(1, int(T / 0.1))
steps = [np.sort(rng.choice(cells, int(5e-3 * T), replace=False)) for _ in range(n)]
who, when = np.repeat(np.arange(n), int(5e-3 * T)), np.concatenate(steps) * 0.1
weights = rng.uniform(0, 0.2, (n, n)) * 1000 / n  # nS, (target, source)
w_max = 0.2 * 1000 / n
def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
def measured(run):
    watcher = threading.Thread(target=watch)
    watcher.start()
    began, before = time.perf_counter(), used()
    fired, neuron, learned = run()
    seconds, core = time.perf_counter() - began, used() - before
    over.set()
    watcher.join()
    order = np.lexsort((neuron, fired))
    np.savez(options["found"], step=fired[order], neuron=neuron[order], weights=learned)
    print(json.dumps({"seconds": seconds, "core": core, "program": peak[0], "rate": len(fired) / n / T * 1e3}))
"""
)
OURS = """
from mnnbio import Circuit, Population, Projection, SpikeSource, build
from mnnbio.neurons import ConductanceLIF
from mnnbio.synapses import STDP, Conductance
circuit = Circuit(
    [SpikeSource("in", when, who, size=n), Population("E", n, ConductanceLIF())],
    [
        Projection(
            "in", "E", weights=weights, delay=1.0, synapse=Conductance(5.0, 0.0), plasticity=STDP(w_max=w_max)
        )
    ],
)
with build(circuit, dt=0.1, replicas=1, record={"E": "spikes"}) as program:
    def run():
        recording = program.run(T, seed=options["seed"], processes=1)
        size = recording.row_size.reshape(-1)
        learned = recording.states[0].values.reshape(-1)
        return np.asarray(recording.step), np.repeat(np.arange(len(size)), size), learned
    measured(run)
"""
BRIAN = """
from brian2 import *
set_device("cpp_standalone", build_on_run=False)
prefs.devices.cpp_standalone.openmp_threads = 0
defaultclock.dt = 0.1*ms
sources = SpikeGeneratorGroup(n, who, when*ms)
group = NeuronGroup(n, '''dv/dt = (10*nS*(-60*mV - v) + g*(0*mV - v))/(200*pF) : volt (unless refractory)
dg/dt = -g/(5*ms) : siemens''', threshold="v > -50*mV", reset="v = -60*mV", refractory=5*ms, method="exponential_euler")
group.v = -60*mV
synapses = Synapses(sources, group, '''w : siemens
dapre/dt = -apre/(20*ms) : 1 (event-driven)
dapost/dt = -apost/(20*ms) : 1 (event-driven)''', on_pre='''g_post += w
w = clip(w - 0.0105*w_most*apost, 0*nS, w_most)
apre += 1''', on_post='''w = clip(w + 0.01*w_most*apre, 0*nS, w_most)
apost += 1''', namespace={"w_most": w_max*nS}, delay={"pre": 1*ms})
synapses.connect()
synapses.w = weights.T.ravel()*nS
spikes = SpikeMonitor(group)
net = Network(sources, group, synapses, spikes)
net.run(T*ms, namespace={})
device.build(directory=options["folder"], compile=True, run=False, with_output=False)
def run():
    device.run(options["folder"], results_directory="results", with_output=False, run_args=[])
    return np.rint(np.asarray(spikes.t_) / 1e-4).astype(int), np.asarray(spikes.i), np.asarray(synapses.w_)
measured(run)
"""


def agreement_of_both(ours: str, theirs: str) -> str:
    """Return how far spikes and weights of the two are the same."""
    import numpy as np

    a, b = np.load(ours)["weights"], np.load(theirs)["weights"]
    return f"{agreement(ours, theirs)}, weights differ by {np.abs(a - b).max() / b.max():.1e} of the largest"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare plastic synapses with a plain Brian2 script.")
    parser.add_argument("--seconds", type=float, default=10.0, help="biological time (default: 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", type=int, default=1000, help="sources and neurons (default: 1000 of each)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found: dict[str, list[dict]] = {"script": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        own = {"seconds": options.seconds, "size": options.size, "seed": options.seed, "folder": f"{folder}/project"}
        for _ in range(options.rounds):
            for who, script in zip(found, (BRIAN, OURS), strict=True):
                found[who].append(measure(COMMON + script, own | {"found": f"{folder}/{who}.npz"}))
        same = agreement_of_both(f"{folder}/ours.npz", f"{folder}/script.npz")
    keys = ("seconds", "core", "program")
    least = {who: {key: min(one[key] for one in all_) for key in keys} for who, all_ in found.items()}
    for who, all_ in found.items():
        ratio = {key: least[who][key] / least["script"][key] for key in least[who]}
        print(
            f"{who:>6}: {least[who]['seconds']:6.2f} s ({ratio['seconds']:.2f}×), of one core "
            f"{least[who]['core']:6.2f} s ({ratio['core']:.2f}×), "
            f"{least[who]['program'] / 1e6:6.1f} MB ({ratio['program']:.2f}×), {all_[0]['rate']:.2f} Hz"
        )
    print(f"{'':>8}{same}", flush=True)


if __name__ == "__main__":
    main()
