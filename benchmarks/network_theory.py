"""Draw what the theory of networks says beyond rates: sensitivities, spectra of parts, waves, widths of covariances.

    python benchmarks/network_theory.py [--figure docs/network_theory.png]

A: which connections make the oscillation at 64 Hz of the cortical microcircuit as Bos, Diesmann & Helias (2016)
changed it, and B the power of 4I in all of it, in the circuit of the eleven connections that they name, and without the
one from 2/3E to 4I. C: growth of waves of the ring network of Senk et al. (2020), by the neurons' response and by the
fitted rate model. D: covariances of pairs in a network of 1,250 neurons as realised, and the normal distribution of the
width that the rules of connectivity tell. Numbers of `docs/network_theory.md` are printed.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes

from mnnbio import (
    Circuit,
    DistanceDependent,
    FixedIndegree,
    FixedTotalNumber,
    GaussianDrive,
    LIFParameters,
    Normal,
    PoissonDrive,
    Population,
    Projection,
    predict,
    predict_oscillations,
    predict_spectra,
)
from mnnbio.circuit import BoxProfile, Ring
from mnnbio.circuits import microcircuit
from mnnbio.moments import effective_lif, moment_activation
from mnnbio.theory import (
    covariance_width,
    external_rates,
    fit_transfer_function,
    oscillation_sensitivity,
    predict_subcircuit_spectra,
    spatial_stability,
)

BLUE, ORANGE, INK = "#0072B2", "#D55E00", "#222222"
RATES = (0.971, 2.868, 4.746, 5.396, 8.142, 9.078, 0.991, 7.523)  # Hz, published for the microcircuit
UPPER = [(a, b) for a in ("L23E", "L23I") for b in ("L23E", "L23I")]
MIDDLE = [(a, b) for a in ("L4E", "L4I") for b in ("L4E", "L4I")]
BETWEEN = [("L4E", "L23E"), ("L4I", "L23E"), ("L23E", "L4I")]


def as_bos_et_al() -> Circuit:
    """Return the microcircuit with their changes."""
    projections = []
    for p in microcircuit().projections:
        delay = 1.5 if p.source.endswith("E") else 0.75
        changed = replace(p, delay=Normal(delay, delay, low=0.0))
        if (p.source, p.target) == ("L4I", "L4E"):
            changed = replace(changed, connectivity=FixedTotalNumber(675 * 21_915))
        projections.append(changed)
    drives = [replace(d, rate=1780 * 8e-3) if d.target == "L4E" else d for d in microcircuit().drives]
    return microcircuit().with_parts(projections=projections, drives=drives)


def ring(g: float) -> tuple[Circuit, float]:
    """Return the network of Senk et al. (2020) at a mean of 10 mV and a deviation of 10 mV, and its rate, 1/ms."""
    lif = LIFParameters(tau_m=5.0, v_th=15.0, v_reset=0.0, t_ref=0.0)
    charge, reach, degree = 87.8 * 0.5 / 250, {"E": 0.2, "I": 0.07}, {"E": 400, "I": 100}
    weights = {"E": charge, "I": -g * charge}
    circuit = Circuit(
        [Population("E", 4000, lif), Population("I", 1000, lif)],
        [
            Projection(
                a,
                b,
                weight=weights[a],
                connectivity=DistanceDependent(BoxProfile(reach[a]), indegree=degree[a], space=Ring(1.0)),
                delay=1.5,
                tau_syn=0.5,
            )
            for a in "EI"
            for b in "EI"
        ],
        [PoissonDrive(b, rate=10.0, weight=weights[a], tau_syn=0.5) for b in "EI" for a in "EI"],
    )
    mean, std = (torch.tensor(x, dtype=torch.float64) for x in (10 / 5.0, 10 / 5.0**0.5))
    rate = float(moment_activation(mean, std, effective_lif(mean, std, lif, None, 0.5)).rate)
    return external_rates(circuit, rate, std_input=float(std)).circuit, rate


def random_network(seed: int = 0) -> Circuit:
    """Return 1,000 excitatory and 250 inhibitory neurons with fixed in-degrees."""
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
    return Circuit(
        [Population("E", 1000, lif), Population("I", 250, lif)],
        [
            Projection(a, b, weight=w, connectivity=FixedIndegree(n), delay=1.5)
            for a, w, n in (("E", 0.3, 100), ("I", -1.5, 25))
            for b in "EI"
        ],
        [GaussianDrive(name, mean=1.2, std=1.0) for name in "EI"],
        seed=seed,
    )


def draw_sensitivity(axes: Axes, circuit: Circuit) -> None:
    """Draw which connections change the amplitude of the oscillation at 64 Hz."""
    modes = predict_oscillations(circuit, response="mean")["frequency"].values
    print("modes of the microcircuit as Bos et al. changed it (Hz):", modes.round(1))
    found = oscillation_sensitivity(circuit, mode=int(np.abs(modes - 64).argmin()), response="mean")
    table, names = found["sensitivity_amplitude"], [name.removeprefix("L") for name in found["population"].values]
    image = axes.imshow(table, cmap="RdBu_r", vmin=-0.6, vmax=0.6)
    axes.set(xticks=range(8), yticks=range(8), xticklabels=names, yticklabels=names, xlabel="source", ylabel="target")
    axes.tick_params(labelsize=6)
    axes.set_title(f"A  sensitivity at {found.attrs['frequency']:.1f} Hz, towards 1")
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
    for change in ("frequency_change", "growth_change"):
        print(
            f"{change} per percent, 4I from 4I:", float(found[change].sel(population="L4I", population_j="L4I")) / 100
        )


def draw_parts(axes: Axes, circuit: Circuit) -> None:
    """Draw the spectrum of 4I in the circuit and in parts of it."""
    f = np.arange(1.0, 121.0) * 1e-3
    options = {"response": "mean", "unstable": "report"}
    part = predict_subcircuit_spectra(circuit, f, connections=[*UPPER, *MIDDLE, *BETWEEN], **options)
    without = predict_subcircuit_spectra(circuit, f, without=[("L23E", "L4I")], **options)
    whole = predict_spectra(circuit, f, **options)
    for spectra, label, colour, style in (
        (whole, "all", INK, "-"),
        (part, "eleven connections", BLUE, "--"),
        (without, "without 2/3E→4I", ORANGE, "-"),
    ):
        power = spectra["power"].sel(population="L4I")
        axes.semilogy(power["frequency"], power, color=colour, ls=style, label=label, lw=1)
        peak = power.sel(frequency=slice(30, 120))
        print(
            f"power of 4I, {label}: peak at {float(peak.frequency[int(peak.argmax())])} Hz, {float(peak.max()):.3g} Hz"
        )
    axes.set(xlabel="frequency (Hz)", ylabel="power (Hz)", xlim=(0, 120))
    axes.set_title("B  spectrum of 4I, whole and parts")
    axes.legend(fontsize=6)


def draw_waves(axes: Axes) -> None:
    """Draw the growth of waves over their wave number."""
    circuit, rate = ring(5.0)
    fit = fit_transfer_function(circuit, start=rate, response="mean", delay="projection")
    tau = 1e3 * fit["time_constant"].values[0, 0]
    print("rate model: gains", fit["gain"].values[0].round(3), "time constant (ms)", tau.round(3))
    print("its error", fit["fit_error"].values[0, 0].round(4), "rate (Hz)", round(1e3 * rate, 2))
    for model, colour, label in (("lif", INK, "LIF"), ("rate", BLUE, "rate model")):
        found = spatial_stability(circuit, np.linspace(0, 80, 161), model=model, start=rate, response="mean")
        axes.plot(found["wave_number"], found["eigenvalue_real"], color=colour, lw=1, label=label)
        print(
            model, {key: value for key, value in found.attrs.items() if key.startswith("critical") or key == "pattern"}
        )
    axes.axhline(0, color=INK, lw=0.5)
    axes.set(xlabel="wave number (1/mm)", ylabel="growth (1/s)", ylim=(-700, 200))
    axes.set_title("C  waves on a ring")
    axes.legend(fontsize=6)


def draw_width(axes: Axes) -> None:
    """Draw the distribution of covariances."""
    circuit = random_network()
    rules, drawn = (covariance_width(circuit, resolution=kind) for kind in ("population", "neuron"))
    for name in ("pair_covariance", "pair_covariance_std"):
        print(name, "rules", rules[name].values.round(5).tolist(), "drawn", drawn[name].values.round(5).tolist())
    print("radius", rules.attrs["random_radius"])
    matrix = predict(circuit, closure="poisson")["covariance"].values[:1000, :1000]
    values = matrix[~np.eye(1000, dtype=bool)]
    mean, std = (float(rules[name][0, 0]) for name in ("pair_covariance", "pair_covariance_std"))
    x = np.linspace(mean - 4 * std, mean + 4 * std, 201)
    axes.hist(values, np.linspace(x[0], x[-1], 101), density=True, color=BLUE, alpha=0.5, label="realised")
    density = np.exp(-(((x - mean) / std) ** 2) / 2) / std / np.sqrt(2 * np.pi)
    axes.plot(x, density, color=INK, lw=1, label="from the rules")
    axes.set(xlabel="covariance of two E neurons (Hz)", yticks=[])
    axes.set_title("D  covariances of pairs")
    axes.legend(fontsize=6)


def main() -> None:
    """Print the numbers and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", type=Path, help="where to draw the figure")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = external_rates(microcircuit(), 1e-3 * np.array(RATES), dt=0.1)
    print("microcircuit: external rates over the published", found.rates["external_factor"].values.round(3))
    style = {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"}
    with plt.rc_context({**style, "axes.titlesize": 8, "legend.frameon": False}):
        figure, panels = plt.subplots(2, 2, figsize=(8, 5.2), layout="constrained")
        circuit = as_bos_et_al()
        draw_sensitivity(panels[0, 0], circuit)
        draw_parts(panels[0, 1], circuit)
        draw_waves(panels[1, 0])
        draw_width(panels[1, 1])
        if options.figure:
            figure.savefig(options.figure, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
