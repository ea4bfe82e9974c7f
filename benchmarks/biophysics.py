"""Time and memory of biophysical networks, against plain Brian2 scripts of the same networks run beside them.

    python benchmarks/biophysics.py [NAME ...] [--seconds 10] [--rounds 3] [--seed 1] [--statistics]

COBA, CUBA and COBAHH of Brette et al. (2007), and 4,000 AdEx neurons after Zerlaut et al. (2018). The reference is
what a user of Brian2 would write for its C++ standalone device, compiled with the same flags, one thread. Both have the
same synapses and start values; their spikes are compared one by one up to the first that differs, which is early in the
AdEx network, whose input is random, and in CUBA, where the threshold is tested at another point of a step. Both are
compiled beforehand, each run is a process of its own, rounds alternate, and the shortest of each counts. The time is
that of running the program and reading its spikes; the memory is the program's peak.

With `--statistics` COBA and CUBA, or the networks named, run once for each of several seeds, and their mean rate,
interval variability and synchrony are compared: the difference is the mean over seeds of the paired differences, its
standard error their standard deviation over the root of their number; with five seeds one such ratio in 25 exceeds 3 by
chance. Variability is the coefficient of variation of intervals,
the mean over neurons of ten spikes or more; synchrony is the variance of the summed spike count in windows of 5 ms over
the sum of the variances of single neurons, 1 where neurons are independent. The first 200 ms are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

from ei_network import WATCH

NAMES = ("coba", "cuba", "adex", "cobahh")

# What both scripts share: the circuit, and how they measure themselves.
COMMON = (
    WATCH
    + """
from dataclasses import replace
import numpy as np
from mnnbio import SpikeSource, build
from mnnbio import circuits
options = json.loads(sys.argv[1])
name, T = options["name"], 1e3 * options["seconds"]
make = {"adex": lambda seed: circuits.adex_network(scale=0.4, seed=seed)}.get(name) or getattr(circuits, name)
circuit = make(seed=options["seed"])
rng = np.random.default_rng(options["seed"])
kick_times = np.sort(rng.choice(500, 100, replace=False)) * 0.1 + 0.01
kick_indices = rng.integers(0, 20, 100)
if name in ("coba", "cobahh"):
    kick = SpikeSource("kick", kick_times, kick_indices, size=20)
    circuit = replace(circuit, populations=[kick, *circuit.neurons])
start = {p.name: rng.uniform(-65 if name == "adex" else -60, -50, p.size) for p in circuit.neurons}
drawn = [
    replace(p, neuron=replace(p.neuron, initial={"v": start[p.name]})) for p in circuit.neurons
]
circuit = replace(circuit, populations=[*circuit.sources, *drawn])
n, n_exc = circuit.n_neurons, circuit.population("E").size
def measured(run):
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    step, neuron = run()
    seconds = time.perf_counter() - began
    over.set()
    watcher.join()
    order = np.lexsort((neuron, step))
    step, neuron = step[order], neuron[order]
    np.savez(options["spikes"], step=step, neuron=neuron)
    late = step * 0.1 >= 200
    by = np.lexsort((step[late], neuron[late]))
    who, when = neuron[late][by], step[late][by]
    gaps, same = np.diff(when), np.diff(who) == 0
    cvs = []
    for one in np.unique(who):
        mine = np.diff(when[who == one]) if (who == one).sum() > 9 else []
        if len(mine):
            cvs.append(mine.std() / mine.mean())
    rate = late.sum() / n / (T - 200) * 1e3
    window = step[late] // 50 - 40
    counts = np.bincount(neuron[late] * int(T / 5 - 40) + window, minlength=n * int(T / 5 - 40)).reshape(n, -1)
    synchrony = counts.sum(axis=0).var() / counts.var(axis=1).sum()
    found = {"rate": rate, "cv": float(np.mean(cvs or [np.nan])), "synchrony": float(synchrony)}
    print(json.dumps({"seconds": seconds, "program": peak[0], **found}))
"""
)
OURS = """
with build(circuit, dt=0.1, replicas=1, record=["E", "I"]) as program:
    def run():
        recording = program.run(T, seed=options["seed"], processes=1)
        size = recording.row_size.reshape(-1)
        return np.asarray(recording.step), np.repeat(np.arange(len(size)) % n, size)
    measured(run)
"""
BRIAN = """
from brian2 import *
set_device("cpp_standalone", build_on_run=False)
prefs.devices.cpp_standalone.openmp_threads = 0
defaultclock.dt = 0.1*ms
DECAY = "dge/dt = -ge/tau_e : siemens\\ndgi/dt = -gi/tau_i : siemens\\n"
SYN = "ge*(0*mV - v) + gi*(-80*mV - v)"
names = {"tau_e": 5*ms, "tau_i": (5 if name == "adex" else 10)*ms}
reset, refractory, threshold = "v = -60*mV", 5*ms, "v > -50*mV"
if name == "cuba":
    model = '''dv/dt = (ge + gi - (v + 49*mV))/(20*ms) : volt (unless refractory)
    dge/dt = -ge/tau_e : volt
    dgi/dt = -gi/tau_i : volt'''
    method = "exact"
elif name == "coba":
    model = f"dv/dt = (10*nS*(-60*mV - v) + {SYN})/(200*pF) : volt (unless refractory)\\n{DECAY}"
    method = "exponential_euler"
elif name == "adex":
    model = f'''dv/dt = (gL*(EL - v) + gL*D*exp((v - VT)/D) - w + {SYN})/Cm : volt (unless refractory)
    dw/dt = (a*(v - EL) - w)/tauw : amp
    D : volt (constant)
    a : siemens (constant)
    b : amp (constant)
    {DECAY}'''
    names.update(gL=10*nS, EL=-65*mV, VT=-50*mV, Cm=150*pF, tauw=500*ms)
    method, threshold, reset = "euler", "v > VT + 5*D", "v = EL; w += b"
else:
    model = f'''dv/dt = (gl*(El - v) - g_na*(m*m*m)*h*(v - ENa) - g_kd*(n*n*n*n)*(v - EK) + {SYN})/Cm : volt
    dm/dt = alpha_m*(1 - m) - beta_m*m : 1
    dn/dt = alpha_n*(1 - n) - beta_n*n : 1
    dh/dt = alpha_h*(1 - h) - beta_h*h : 1
    alpha_m = 0.32*4/exprel((13*mV - v + VT)/(4*mV))/ms : Hz
    beta_m = 0.28*5/exprel((v - VT - 40*mV)/(5*mV))/ms : Hz
    alpha_h = 0.128*exp((17*mV - v + VT)/(18*mV))/ms : Hz
    beta_h = 4./(1 + exp((40*mV - v + VT)/(5*mV)))/ms : Hz
    alpha_n = 0.032*5/exprel((15*mV - v + VT)/(5*mV))/ms : Hz
    beta_n = .5*exp((10*mV - v + VT)/(40*mV))/ms : Hz
    {DECAY}'''
    names.update(gl=10*nS, El=-60*mV, g_na=20000*nS, ENa=50*mV, g_kd=6000*nS, EK=-90*mV, VT=-63*mV, Cm=200*pF)
    method, threshold, reset, refractory = "exponential_euler", "v > -20*mV", "", 3*ms
group = NeuronGroup(n, model, threshold=threshold, reset=reset, refractory=refractory, method=method, namespace=names)
group.v = np.concatenate([start["E"], start["I"]]) * mV
if name == "adex":
    exc = np.arange(n) < n_exc
    group.D, group.a, group.b = np.where(exc, 2, 0.5)*mV, np.where(exc, 4, 0)*nS, np.where(exc, 20, 0)*pA
    external = PoissonInput(group, "ge", 400, 4*Hz, 1*nS)
if name == "cobahh":
    group.m, group.n, group.h = (drawn[0].neuron.rest()[gate] for gate in "mnh")
weights = {"coba": (6*nS, 67*nS), "cobahh": (6*nS, 67*nS), "cuba": (1.62*mV, -9*mV), "adex": (1*nS, 5*nS)}[name]
made = []
from scipy import sparse
first = {"E": 0, "I": n_exc}
def coordinates(source):
    rows, columns = [], []
    for p in circuit.projections:
        if p.source == source:
            c = sparse.coo_array(circuit.matrix(p))
            rows.append(c.row + first[p.target])
            columns.append(c.col)
    return np.concatenate(rows), np.concatenate(columns)
pairs = [("E", "ge", weights[0]), ("I", "gi", weights[1])]
if name in ("coba", "cobahh"):
    pairs.append(("kick", "ge", 100*nS))
    step = np.floor(kick_times / 0.1)
    kicks = SpikeGeneratorGroup(20, kick_indices, step*0.1*ms)
for source, variable, weight in pairs:
    row, column = coordinates(source)
    begin = kicks if source == "kick" else group[:n_exc] if source == "E" else group[n_exc:]
    synapses = Synapses(begin, group, on_pre=f"{variable}_post += weight", namespace={"weight": weight}, delay=0.1*ms)
    synapses.connect(i=column, j=row)
    made.append(synapses)
spikes = SpikeMonitor(group)
net = Network(group, spikes, *made)
if name == "adex":
    net.add(external)
if name in ("coba", "cobahh"):
    net.add(kicks)
net.run(T*ms, namespace={})
device.build(directory=options["folder"], compile=True, run=False, with_output=False)
def simulate():
    device.run(options["folder"], results_directory="results", with_output=False, run_args=[])
    return np.rint(np.asarray(spikes.t_) / 1e-4).astype(int), np.asarray(spikes.i)
measured(simulate)
"""


def measure(script: str, options: dict) -> dict:
    """Return what a script says of itself."""
    command = [sys.executable, "-c", script, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def agreement(one: str, other: str) -> str:
    """Return until when two trains are the same."""
    import numpy as np

    a, b = np.load(one), np.load(other)
    k = min(len(a["step"]), len(b["step"]))
    differ = np.flatnonzero((a["step"][:k] != b["step"][:k]) | (a["neuron"][:k] != b["neuron"][:k]))
    if not len(differ) and len(a["step"]) == len(b["step"]):
        return f"all {k} spikes equal"
    same = differ[0] if len(differ) else k
    return f"first {same} of {len(b['step'])} spikes equal"


def compare_times(name: str, seconds: float, rounds: int, seed: int) -> None:
    """Print time and memory of ours and the script's, the least of several rounds, and until when spikes agree."""
    found: dict[str, list[dict]] = {"script": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        own = {"name": name, "seconds": seconds, "seed": seed, "folder": f"{folder}/project"}
        for _ in range(rounds):
            for who, script in zip(found, (BRIAN, OURS), strict=True):
                found[who].append(measure(COMMON + script, own | {"spikes": f"{folder}/{who}.npz"}))
        same = agreement(f"{folder}/ours.npz", f"{folder}/script.npz")
    least = {who: {key: min(one[key] for one in all_) for key in ("seconds", "program")} for who, all_ in found.items()}
    for who, all_ in found.items():
        ratio = {key: least[who][key] / least["script"][key] for key in least[who]}
        print(
            f"{name:>7} {who:>6}: {least[who]['seconds']:6.2f} s ({ratio['seconds']:.2f}×), "
            f"{least[who]['program'] / 1e6:6.1f} MB ({ratio['program']:.2f}×), {all_[0]['rate']:.2f} Hz, "
            f"CV {all_[0]['cv']:.3f}"
        )
    print(f"{'':>7} {same}", flush=True)


def compare_statistics(name: str, seconds: float, seeds: range) -> None:
    """Print rate, interval variability and synchrony of ours and the script's, over seeds, and how far they differ."""
    found: dict[str, list[dict]] = {"script": [], "ours": []}
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            own = {"name": name, "seconds": seconds, "seed": seed, "folder": f"{folder}/project"}
            for who, script in zip(found, (BRIAN, OURS), strict=True):
                found[who].append(measure(COMMON + script, own | {"spikes": f"{folder}/{who}.npz"}))
    for key, label in (("rate", "rate (Hz)"), ("cv", "CV of intervals"), ("synchrony", "synchrony")):
        theirs, ours = ([one[key] for one in found[who]] for who in found)
        difference = [a - b for a, b in zip(ours, theirs, strict=True)]
        mean, se = statistics.mean(difference), statistics.stdev(difference) / len(seeds) ** 0.5
        apart = f"{mean / se:+.2f} standard errors" if se else "no difference" if not mean else "no spread"
        print(
            f"{name:>7} {label:>15}: ours {statistics.mean(ours):.4f}, script {statistics.mean(theirs):.4f}, "
            f"difference {mean:+.5f} ± {se:.5f} ({apart})",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare biophysical networks with plain Brian2 scripts.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="biological time (default: 10)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--statistics", action="store_true", help="compare rate, variability and synchrony instead")
    parser.add_argument("--seeds", type=int, default=5, help="of --statistics, from --seed on (default: 5)")
    options = parser.parse_args()
    if options.statistics:
        for name in options.names or ("coba", "cuba"):
            compare_statistics(name, options.seconds, range(options.seed, options.seed + options.seeds))
        return
    for name in options.names or NAMES:
        compare_times(name, options.seconds, options.rounds, options.seed)


if __name__ == "__main__":
    main()
