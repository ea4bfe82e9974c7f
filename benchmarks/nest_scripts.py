"""Ready circuits as NEST scripts: rates of the two simulators, the realised synapses being the same.

    python benchmarks/nest_scripts.py [--seconds 4] [--window 250]

Brunel's network, CUBA and the network of adaptive exponential neurons with conductances, scaled down, are simulated
here and, by the script of `to_nest_script`, in NEST (pip install nest-simulator). Printed are the mean rates of each
population in windows, their difference in standard errors, and the time on the clock of each side, building and
starting included. CUBA has no noise: the spikes that both have are counted too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mnnbio import simulate
from mnnbio.circuits import adex_network, brunel, cuba
from mnnbio.formats import to_nest_script

DT, WARMUP = 0.1, 300.0
CIRCUITS = {
    "brunel": lambda: brunel(g=5, nu_ext_ratio=2, scale=0.1),
    "cuba": lambda: cuba(scale=0.5),
    "adex": lambda: adex_network(scale=0.2),
}
PRINT = """
import json
first = {name: population[0].global_id for name, population in populations.items()}
events = {name: recorder.events for name, recorder in recorders.items()}
with open("spikes.json", "w") as file:
    json.dump({n: [(own["senders"] - first[n]).tolist(), own["times"].tolist()] for n, own in events.items()}, file)
"""


def in_nest(circuit, duration):
    with tempfile.TemporaryDirectory() as folder:
        script = to_nest_script(circuit, DT, duration, warmup=WARMUP) + PRINT
        (Path(folder) / "script.py").write_text(script)
        subprocess.run([sys.executable, "script.py"], cwd=folder, check=True, capture_output=True)
        spikes = json.loads((Path(folder) / "spikes.json").read_text())
    return {
        name: (np.array(i), np.rint((np.array(t) - WARMUP) / DT).astype(int) - 1) for name, (i, t) in spikes.items()
    }


def here(circuit, duration):
    spikes = simulate(circuit, duration, warmup=WARMUP, dt=DT, seed=1, covariance=False)["spikes"]
    size = spikes["row_size"].values[0]
    owner = np.repeat(np.arange(len(size)), size)
    steps = np.rint(spikes["spike_time"].values * 1e3 / DT - 0.5).astype(int)
    found = {}
    for name in dict.fromkeys(spikes["population"].values.tolist()):
        mine = (spikes["population"].values[owner] == name) & (steps >= 0)
        found[name] = spikes["index"].values[owner][mine], steps[mine]
    return found


def rates(steps, size, duration, window):
    counts = np.histogram((steps + 0.5) * DT, np.arange(0, duration + window / 2, window))[0]
    own = counts / size / (window * 1e-3)
    return own.mean(), own.std(ddof=1) / np.sqrt(len(own))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--window", type=float, default=250.0, help="ms")
    options = parser.parse_args()
    duration = 1e3 * options.seconds
    print("circuit population neurons   here (Hz)        NEST (Hz)        difference/se   time here, NEST (s)")
    for name, make in CIRCUITS.items():
        circuit = make()
        start = time.perf_counter()
        ours = here(circuit, duration)
        middle = time.perf_counter()
        theirs = in_nest(circuit, duration)
        end = time.perf_counter()
        for population in circuit.neurons:
            sides = [
                rates(one[population.name][1], population.size, duration, options.window) for one in (ours, theirs)
            ]
            error = np.hypot(sides[0][1], sides[1][1])
            z = (sides[0][0] - sides[1][0]) / error if error else 0.0
            shown = "   ".join(f"{mean:8.3f} ± {se:.3f}" for mean, se in sides)
            print(
                f"{name:8s}{population.name:10s}{population.size:8d}   {shown}   {z:+6.2f}"
                f"          {middle - start:6.1f} {end - middle:6.1f}"
            )
            if name == "cuba":
                pairs = [
                    set(zip(*(part.tolist() for part in one[population.name]), strict=True)) for one in (ours, theirs)
                ]
                print(f"        {len(pairs[0] & pairs[1])} of {len(pairs[0])} spikes are the same")


if __name__ == "__main__":
    main()
