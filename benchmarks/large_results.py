"""Time and peak memory of a stored result with 10⁷ spikes: open, summarise, plot.

    python benchmarks/large_results.py [--spikes 1e7] [--neurons 20000] [--keep FILE]

A file is written by `save` in a process of its own, so that its memory does not count; then another process opens it
(``load(path, chunks=…)`` leaves spikes on the disk), takes the statistics of every neuron's trains, and draws a raster
with rates of the first seconds, the distribution of rates and the population rates with their intervals. Each step's
seconds and the largest memory of that process are printed: under 10 s and 2 GB. ``--loaded`` reads the whole file into
memory first.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import xarray as xr


def make(path: Path, spikes: int, neurons: int) -> None:
    """Write a result of Poisson trains whose rates vary, 4 trials, on a grid of 0.1 ms."""
    from mnnbio.results import neuron_coords, ragged, save

    rng = np.random.default_rng(0)
    trials, rate = 4, 5.0
    duration = np.ceil(spikes / (neurons * trials * rate))
    number = rng.poisson(rng.gamma(4, rate / 4, neurons) * duration, (trials, neurons))
    times = rng.random(int(number.sum())) * duration
    times = np.floor(times * 1e4) / 1e4
    row = np.repeat(np.arange(number.size), number.ravel())
    times = times[np.lexsort((times, row))]
    coords = {**neuron_coords({"E": neurons * 4 // 5, "I": neurons - neurons * 4 // 5}), "trial": np.arange(trials)}
    spikes_group = ragged(times, number, ("trial", "neuron"), coords, duration=duration, warmup=0.0, dt=1e-4)
    tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs={"dt": 1e-4, "seed": 0}), "/spikes": spikes_group})
    save(tree, path)


def use(path: Path, loaded: bool) -> None:
    """Open, summarise and plot, and print what each step takes."""
    begin = last = time.perf_counter()

    def step(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        print(f"{name:44s} {now - last:6.2f} s   processor so far {time.process_time():6.2f} s   peak {peak():6.0f} MB")
        last = now

    import mnnbio.analyses as a
    from mnnbio.results import load

    step("import")
    result = load(path) if loaded else load(path, chunks="auto")
    step("open")
    summary = a.spike_statistics(result)
    number = int(summary["spike_count"].sum())
    step(f"statistics of {summary.sizes['neuron']} neurons, {number:.3g} spikes")
    with tempfile.TemporaryDirectory() as folder:
        panels = a.plot_raster(result, duration=1000.0)
        panels.figure.savefig(Path(folder) / "raster.png", dpi=150)
        step("raster with rates")
        axes = a.plot_rate_histogram(summary)
        axes.figure.savefig(Path(folder) / "rates.png", dpi=150)
        step("distribution of rates")
        axes = a.plot_rate_estimate(a.psth(result, 100.0))
        axes.figure.savefig(Path(folder) / "psth.png", dpi=150)
        step("population rates with intervals")
    total, memory = time.perf_counter() - begin, peak()
    print(f"{'together':44s} {total:6.2f} s   processor {time.process_time():13.2f} s   peak {memory:6.0f} MB")
    print(f"under 10 s and 2 GB: {'yes' if total < 10 and memory < 2000 else 'NO'}")


def peak() -> float:
    """Return the largest resident memory of this process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make a file and use it, each in a process of its own."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--spikes", type=float, default=1e7)
    parser.add_argument("--neurons", type=int, default=20_000)
    parser.add_argument("--loaded", action="store_true", help="read the whole file into memory first")
    parser.add_argument("--keep", type=Path, help="file that is made, or used if it is there")
    parser.add_argument("--step", choices=["make", "use"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "make":
        make(options.keep, int(options.spikes), options.neurons)
    elif options.step == "use":
        use(options.keep, options.loaded)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = options.keep or Path(folder) / "large.nc"
            common = [sys.executable, __file__, "--keep", str(path)]
            more = ["--spikes", str(options.spikes), "--neurons", str(options.neurons)]
            if not path.exists():
                subprocess.run([*common, "--step", "make", *more], check=True)
            print(f"{path.stat().st_size / 1e6:.0f} MB on disk")
            subprocess.run([*common, "--step", "use", *(["--loaded"] if options.loaded else [])], check=True)


if __name__ == "__main__":
    main()
