"""Pictures of the gallery: every ready-made circuit, simulated and predicted (`make figures`, some minutes)."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnnbio import States, predict, simulate
from mnnbio.analyses import current_balance, spike_statistics
from mnnbio.circuit import Circuit
from mnnbio.circuits import (
    adex_network,
    balanced,
    brunel,
    clustered,
    coba,
    cobahh,
    cuba,
    inhibition_stabilised,
    memory_neurons,
    microcircuit,
    ring,
    tsodyks_markram1998,
    vogels2011,
)

HERE = Path(__file__).parent
STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
BLUE, ORANGE, GREEN, INK = "#0072B2", "#D55E00", "#009E73", "#222222"
COLOURS = {"E": BLUE, "I": ORANGE}


def run(circuit: Circuit, duration: float, warmup: float = 200.0, *, dt: float = 0.1, trials: int = 1) -> xr.DataTree:
    """Simulate a circuit, without matrices of all pairs."""
    return simulate(circuit, duration, warmup=warmup, dt=dt, trials=trials, seed=1, covariance=False)


def theory(circuit: Circuit, resolution: str | None = None) -> xr.Dataset:
    """Predict a circuit; what warnings say stands in the text of the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if resolution == "population":
            return predict(circuit, dt=0.1, resolution="population", covariance=False)
        return predict(circuit, dt=0.1, covariance=False)


def of(data: xr.DataArray, population: str) -> np.ndarray:
    """Return the values of a population."""
    return data.isel(neuron=data["population"].to_numpy() == population).to_numpy()


def raster(axes: Axes, result: xr.DataTree, span: float, neurons: int = 100, first: int | None = None) -> None:
    """Draw the spikes of the first trial for `span` ms: of evenly chosen neurons, of all or of the `first` ones."""
    spikes = result["spikes"].to_dataset()
    rows = spikes["row_size"].isel(trial=0)
    rows = rows.isel(stimulus=0) if "stimulus" in rows.dims else rows
    sizes, names = rows.to_numpy().ravel(), spikes["population"].to_numpy()
    ends = np.cumsum(sizes)
    time = 1e3 * spikes["spike_time"].to_numpy()
    for place, neuron in enumerate(np.unique(np.linspace(0, (first or len(names)) - 1, neurons).astype(int))):
        own = time[ends[neuron] - sizes[neuron] : ends[neuron]]
        own = own[(own >= 0) & (own < span)]
        axes.plot(own, np.full(len(own), place), "|", ms=2.2, mew=0.6, color=COLOURS[str(names[neuron])[-1]])
    axes.set(xlim=(0, span), yticks=[], xlabel="time (ms)")


def draw_brunel() -> Figure:
    """Draw the four states of Fig. 8, at a fifth of the neurons with all their inputs."""
    figure, panels = plt.subplots(1, 4, figsize=(8, 2.1))
    for axes, (name, g, nu) in zip(panels, [("A", 3, 2), ("B", 6, 4), ("C", 5, 2), ("D", 4.5, 0.9)], strict=True):
        circuit = brunel(g, nu, scale=0.2, indegree_scale=1)
        result = run(circuit, 400)
        raster(axes, result, 60 if name in "AB" else 200)
        simulated = of(result["simulation/rate"], "E").mean()
        predicted = theory(circuit, "population")["rate"].sel(population="E").item()
        axes.set_title(f"{name}: {simulated:.1f} Hz, predicted {predicted:.1f}")
    panels[0].set_ylabel("neurons")
    return figure


def draw_balanced() -> Figure:
    """Draw how the currents of neurons cancel, and how widely their rates differ."""
    circuit = balanced(scale=0.5)
    rate = run(circuit, 3000)["simulation"].to_dataset()
    predicted = theory(circuit)["rate"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.3))
    currents = current_balance(rate, circuit)
    for name, colour in COLOURS.items():
        left.plot(
            of(currents["excitation"], name) / 1e3,
            -of(currents["inhibition"], name) / 1e3,
            ".",
            ms=1,
            color=colour,
            label=name,
        )
        edges = np.linspace(0, 40, 41)
        middle.hist(of(rate["rate"], name), edges, histtype="step", color=colour)
        middle.hist(of(predicted, name), edges, histtype="step", color=colour, ls=":")
        right.plot(of(predicted, name), of(rate["rate"], name), ".", ms=1, color=colour)
    left.axline((8, 8), slope=1, color=INK, lw=0.6)
    left.set(
        xlim=(4, 10),
        ylim=(4, 11),
        xlabel="excitatory current (mV/ms)",
        ylabel="inhibitory (mV/ms)",
        title="excitation is cancelled",
    )
    left.legend(markerscale=6)
    middle.set(xlabel="rate (Hz)", ylabel="neurons", title="rates (dotted: predicted)")
    right.axline((1, 1), slope=1, color=INK, lw=0.6)
    right.set(xlabel="predicted rate (Hz)", ylabel="simulated rate (Hz)", title="neuron by neuron")
    return figure


def draw_inhibition_stabilised() -> Figure:
    """Draw the paradoxical effect, predicted and simulated."""
    drive = np.linspace(0, 1, 5)
    circuit = inhibition_stabilised(drive, scale=0.3, indegree_scale=1)
    rate, predicted = run(circuit, 1000)["simulation/rate"], theory(circuit, "population")["rate"]
    figure, axes = plt.subplots(figsize=(3.4, 2.5))
    for name, colour in COLOURS.items():
        axes.plot(drive, predicted.sel(population=name), color=colour)
        axes.plot(drive, of(rate, name).mean(axis=-1), "o", ms=4, color=colour, label=name)
    axes.set(xlabel="additional drive to I", ylabel="rate (Hz)", title="dots simulated, lines predicted")
    axes.legend()
    return figure


def draw_clustered() -> Figure:
    """Draw a network without and with clusters."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), sharey=True)
    for axes, ratio in zip(panels, (1.0, 2.5), strict=True):
        raster(axes, run(clustered(ratio, scale=0.5), 1500, 500), 1500, neurons=400, first=400)
        axes.set_title("no clusters" if ratio == 1 else "50 clusters (ten of them shown)")
    panels[0].set_ylabel("neurons")
    return figure


def draw_ring() -> Figure:
    """Draw tuning at two contrasts, and that of the input."""
    contrast = (0.8, 1.2)
    circuit = ring(contrast=contrast, scale=0.5)
    rate, predicted = run(circuit, 2000)["simulation/rate"], theory(circuit)["rate"]
    figure, axes = plt.subplots(figsize=(4, 2.5))
    for k, colour in enumerate((GREEN, BLUE)):
        simulated, expected = of(rate, "E")[k], of(predicted, "E")[k]
        angle = 180 * (np.arange(len(simulated)) + 0.5) / len(simulated)
        axes.plot(angle, simulated, ".", ms=2, color=colour, alpha=0.6)
        axes.plot(
            angle,
            np.convolve(np.pad(expected, 10, "wrap"), np.ones(21) / 21, "valid"),
            color=colour,
            label=f"contrast {contrast[k]}",
        )
    tuned = 1 - 0.2 + 0.2 * np.cos(2 * np.deg2rad(angle - 90))
    axes.plot(angle, of(rate, "E")[1].max() / 3 * tuned, color=INK, lw=0.8, ls="--", label="input, scaled")
    axes.set(
        xlabel="preferred orientation (°)",
        ylabel="rate (Hz)",
        xticks=[0, 45, 90, 135, 180],
        title="dots simulated, lines predicted",
    )
    axes.legend(loc="upper right")
    return figure


def draw_microcircuit() -> Figure:
    """Draw the rates of eight populations: published, predicted, simulated at a tenth of the neurons."""
    published = dict(
        zip(
            ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I"),
            (0.97, 2.87, 4.75, 5.40, 8.14, 9.08, 0.99, 7.52),
            strict=True,
        )
    )
    circuit = microcircuit(scale=0.1, indegree_scale=0.3)
    result = run(circuit, 1000)
    predicted = theory(microcircuit(), "population")["rate"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), width_ratios=[1.2, 1])
    place = np.arange(8)
    left.bar(place - 0.27, list(published.values()), 0.27, color="#bbbbbb", label="published simulation")
    left.bar(
        place,
        [predicted.sel(population=name).item() for name in published],
        0.27,
        color=INK,
        label="predicted, full network",
    )
    left.bar(
        place + 0.27,
        [of(result["simulation/rate"], name).mean() for name in published],
        0.27,
        color=BLUE,
        label="simulated, a tenth",
    )
    left.set_xticks(place, list(published), rotation=45)
    left.set_ylabel("rate (Hz)")
    left.legend()
    raster(right, result, 300, neurons=220)
    right.set_ylabel("neurons, L2/3 to L6")
    return figure


def watched(circuit: Circuit, duration: float, *variables: str) -> xr.DataTree:
    """Simulate a circuit, with variables of the first neurons of E every 0.5 ms."""
    record = {name: ["spikes"] for name in COLOURS}
    record["E"].append(States(*variables, neurons=[0, 1, 2], every=0.5))
    return simulate(circuit, duration, warmup=200, dt=0.1, seed=1, covariance=False, record=record)


def traces(axes: Axes, result: xr.DataTree, name: str, span: float) -> None:
    """Draw a variable of the watched neurons, one above the other's end."""
    values = result["states/E"][name].isel(trial=0, missing_dims="ignore")
    time = 1e3 * values["time"].to_numpy()
    chosen = (time >= 0) & (time < span)
    for k, colour in enumerate((BLUE, GREEN, INK)):
        axes.plot(time[chosen], values.isel(neuron=k).to_numpy()[chosen], color=colour, lw=0.6)
    axes.set(xlim=(0, span), xlabel="time (ms)")


def in_words(result: xr.DataTree) -> str:
    """Return rates and the variation of intervals, and print them with the time that they are of."""
    rate, cv = result["simulation/rate"], spike_statistics(result)["cv"]
    text = ", ".join(f"{name} {of(rate, name).mean():.1f} Hz" for name in dict.fromkeys(rate["population"].to_numpy()))
    print(f"{text}, CV {np.nanmean(cv):.2f}, {float(result['simulation'].attrs['duration']):g} s, seed 1")
    return f"{text}; CV of intervals {np.nanmean(cv):.2f}"


def draw_benchmark(circuit: Circuit, duration: float) -> Figure:
    """Draw spikes and membrane potentials of a benchmark."""
    result = watched(circuit, duration, "v")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4))
    raster(left, result, 500)
    left.set(ylabel="neurons", title=in_words(result))
    traces(right, result, "v", 500)
    right.set(ylabel="membrane potential (mV)", title="three neurons of E")
    return figure


def draw_coba() -> Figure:
    """Draw benchmark 1."""
    return draw_benchmark(coba(seed=1), 5000)


def draw_cuba() -> Figure:
    """Draw benchmark 2: spikes, and rates beside their prediction."""
    circuit = cuba(seed=1)
    result, predicted = run(circuit, 5000), theory(circuit)["rate"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4))
    raster(left, result, 500)
    left.set(ylabel="neurons", title=in_words(result))
    for name, colour in COLOURS.items():
        right.plot(of(predicted, name), of(result["simulation/rate"], name), ".", ms=1, color=colour, label=name)
    right.axline((1, 1), slope=1, color=INK, lw=0.6)
    right.set(xlabel="predicted rate (Hz)", ylabel="simulated rate (Hz)", title="neuron by neuron")
    right.legend(markerscale=6)
    return figure


def draw_cobahh() -> Figure:
    """Draw benchmark 3."""
    return draw_benchmark(cobahh(seed=1), 2000)


def draw_adex_network() -> Figure:
    """Draw spikes, potentials and adaptation currents of the AdEx network, half of it with all inputs."""
    circuit = adex_network(scale=0.5, seed=1)
    result = watched(circuit, 5000, "v", "w")
    predicted = theory(circuit, "population")["rate"]
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.4))
    raster(left, result, 500)
    words = ", ".join(f"{name} {predicted.sel(population=name).item():.1f}" for name in COLOURS)
    print(f"predicted {words} Hz")
    left.set(ylabel="neurons", title=in_words(result).partition(";")[0])
    for axes, name, text in ((middle, "v", "membrane potential (mV)"), (right, "w", "adaptation current (pA)")):
        traces(axes, result, name, 500)
        axes.set(ylabel=text, title="three neurons of E" if name == "v" else "")
    return figure


def draw_vogels2011() -> Figure:
    """Draw how a cue recalls one of two memories, in three tenths of the network that has learnt for 20 s."""
    scale = 0.3
    result = run(vogels2011(scale=scale, seed=1, weight=20.0, recall=(1000, 2000)), 3000, 20_000)
    in_words(result)
    first, second, cued = memory_neurons(scale)
    excitatory = np.arange((result["simulation/population"] == "E").sum())
    sets = {
        "cued quarter of memory 1": (cued, GREEN),
        "rest of memory 1": (np.setdiff1d(first, [*cued, *second]), BLUE),
        "memory 2": (np.setdiff1d(second, first), ORANGE),
        "other neurons of E": (np.setdiff1d(excitatory, [*first, *second]), INK),
    }
    spikes = result["spikes"].to_dataset()
    who = np.repeat(np.arange(spikes["row_size"].size), spikes["row_size"].to_numpy().ravel())
    time = 1e3 * spikes["spike_time"].to_numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8))
    base, edges = 0, np.arange(0, 3001, 50)
    for label, (members, colour) in sets.items():
        for neuron in members[np.linspace(0, len(members) - 1, 25).astype(int)]:
            own = time[(who == neuron) & (time >= 0)]
            left.plot(own, np.full(len(own), base), "|", ms=2, mew=0.5, color=colour)
            base += 1
        inside = np.isin(who, members)
        rate = np.histogram(time[inside], edges)[0] / len(members) / 0.05
        right.stairs(rate, edges, color=colour, label=label)
        for low in (0, 1000, 2000):
            count = (inside & (time >= low) & (time < low + 1000)).sum()
            print(f"{label}, from {low} ms: {count / len(members):.1f} Hz")
    left.axvspan(1000, 2000, color="#eeeeee")
    left.set(xlim=(0, 3000), yticks=[], xlabel="time (ms)", ylabel="neurons", title="the cue lasts from 1 to 2 s")
    right.set(xlim=(0, 3000), xlabel="time (ms)", ylabel="rate (Hz)", yscale="symlog")
    right.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    right.legend(fontsize=6)
    return figure


def draw_tsodyks_markram1998() -> Figure:
    """Draw how depressing and facilitating synapses transmit a step of the rate, and the stationary rates of theory."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.3), sharey=True)
    for axes, kind in zip(panels, ("depressing", "facilitating"), strict=True):
        circuit = tsodyks_markram1998(kind, seed=1, switch=500.0)
        result = simulate(circuit, 1500, warmup=1500, dt=0.1, trials=4, seed=1, covariance=False, record="E")
        time = 1e3 * result["spikes/spike_time"].to_numpy()
        edges = np.arange(0, 1501, 20)
        neurons = result["simulation/rate"].size
        axes.stairs(np.histogram(time, edges)[0] / neurons / 4 / 0.02, edges, color=BLUE)
        for low, high in ((0, 500), (500, 1500)):
            expected = theory(circuit.at_time(low))["rate"].mean().item()
            axes.plot([low, high], [expected, expected], color=INK, lw=0.8, ls="--")
            late = (time >= high - 500) & (time < high)
            print(
                f"{kind}, {high - 500} to {high} ms: {late.sum() / neurons / 4 / 0.5:.1f} Hz, predicted {expected:.1f}"
            )
        axes.set(xlim=(0, 1500), xlabel="time (ms)", title=f"{kind}: inputs go from 10 to 40 Hz at 500 ms")
    panels[0].set_ylabel("rate (Hz)")
    return figure


DRAWN: dict[str, Callable[[], Figure]] = {
    "brunel": draw_brunel,
    "balanced": draw_balanced,
    "inhibition_stabilised": draw_inhibition_stabilised,
    "clustered": draw_clustered,
    "ring": draw_ring,
    "microcircuit": draw_microcircuit,
    "coba": draw_coba,
    "cuba": draw_cuba,
    "cobahh": draw_cobahh,
    "adex_network": draw_adex_network,
    "vogels2011": draw_vogels2011,
    "tsodyks_markram1998": draw_tsodyks_markram1998,
}


def main(names: list[str]) -> None:
    """Draw the pictures of these names, or all."""
    for name in names or DRAWN:
        with plt.rc_context(STYLE):
            figure = DRAWN[name]()
            figure.savefig(HERE / f"{name}.png", dpi=110, metadata={"Software": None})
        print(f"{name}.png: {(HERE / f'{name}.png').stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
