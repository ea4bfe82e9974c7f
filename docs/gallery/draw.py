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

from mnnbio import predict, simulate
from mnnbio.analyses import current_balance
from mnnbio.circuit import Circuit
from mnnbio.circuits import balanced, brunel, clustered, inhibition_stabilised, microcircuit, ring

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


DRAWN: dict[str, Callable[[], Figure]] = {
    "brunel": draw_brunel,
    "balanced": draw_balanced,
    "inhibition_stabilised": draw_inhibition_stabilised,
    "clustered": draw_clustered,
    "ring": draw_ring,
    "microcircuit": draw_microcircuit,
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
