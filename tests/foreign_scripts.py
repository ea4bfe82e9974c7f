"""Scripts for other simulators, run in a process of their own, and spikes of both sides on one clock."""

import json
import subprocess
import sys

import numpy as np

PRINT = {
    "nest": """
import json
found = {n: [r.events["senders"].tolist(), r.events["times"].tolist()] for n, r in recorders.items()}
first = {n: populations[n][0].global_id for n in populations}
print("SPIKES" + json.dumps({n: [[k - first[n] for k in found[n][0]], found[n][1]] for n in found}))
""",
    "pynn": """
import json
trains = {n: p.get_data("spikes", clear=False).segments[0].spiketrains for n, p in populations.items()}
found = {n: [[k, float(t)] for k, one in enumerate(own) for t in one.rescale("ms").magnitude] for n, own in trains.items()}
print("SPIKES" + json.dumps({n: [[k for k, _ in own], [t for _, t in own]] for n, own in found.items()}))
""",
}


def foreign_spikes(script, folder, kind):
    """Return neuron and time stamp, ms, of all spikes by population."""
    path = folder / "script.py"
    path.write_text(script + PRINT[kind], encoding="utf-8")
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("SPIKES"))
    return {name: tuple(map(np.asarray, own)) for name, own in json.loads(line.removeprefix("SPIKES")).items()}


def our_steps(result, name, dt):
    """Return (neuron, step) of the spikes of a population, in order; step 0 is the first after the warm-up."""
    spikes = result["spikes"]
    size = spikes["row_size"].values[0]
    owner = np.repeat(np.arange(len(size)), size)
    mine = spikes["population"].values[owner] == name
    steps = np.rint(spikes["spike_time"].values * 1e3 / dt - 0.5).astype(int)
    return sorted(zip(spikes["index"].values[owner][mine].tolist(), steps[mine].tolist(), strict=True))


def their_steps(found, dt, warmup=0.0):
    """Return the same of another simulator, whose time stamps are the ends of steps."""
    index, times = found
    steps = np.rint((np.asarray(times, dtype=float) - warmup) / dt).astype(int) - 1
    return sorted(zip(np.asarray(index, dtype=int).tolist(), steps.tolist(), strict=True))


def window_rates(steps, size, dt, duration, window):
    """Return the mean rate of a population in adjacent windows, Hz."""
    times = (np.array([step for _, step in steps], dtype=float) + 0.5) * dt
    edges = np.arange(0.0, duration + window / 2, window)
    return np.histogram(times[times >= 0], edges)[0] / size / (window * 1e-3)


def difference(ours, theirs):
    """Return the difference of two means in standard errors."""
    error = np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    return abs(ours.mean() - theirs.mean()) / error
