"""Results whose truth is known: Poisson spike trains with shared spikes, in the schema of the package."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from mnnbio.circuit import Circuit, GaussianDrive, Population, Readout
from mnnbio.neurons import LIFParameters
from mnnbio.results import (
    array,
    counts,
    estimate_covariance,
    estimate_fano,
    estimate_mean,
    estimate_variance,
    neuron_coords,
    ragged,
    versions,
)

WINDOW, DURATION, WARMUP, DT = 0.1, 2.0, 0.2, 1e-4


class Synthetic(NamedTuple):
    prediction: xr.Dataset
    simulation: xr.DataTree
    circuit: Circuit
    labels: np.ndarray  # (stimulus,) name of the output with the largest true decision variable, or empty


def make(
    sizes: dict[str, int] | None = None,
    *,
    stimuli: int = 0,
    trials: int = 10,
    duration: float = DURATION,
    window: float = WINDOW,
    shared: float = 0.0,
    rates: np.ndarray | None = None,
    outputs: int = 0,
    gain: float = 1.0,
    seed: int = 0,
) -> Synthetic:
    """Make Poisson trains of known rates; in every population each third neuron shares spikes at `shared` Hz.

    Two neurons that share have count covariance `shared` per time; rates given must be at least `shared`. `gain`
    multiplies the predicted rates and is wrong unless 1.
    """
    sizes = sizes or {"hidden": 12, "output": 8}
    rng = np.random.default_rng(seed)
    n, blocks = sum(sizes.values()), max(stimuli, 1)
    if rates is None:
        rates = shared + rng.uniform(5, 40, (blocks, n))
    rates = np.broadcast_to(rates, (blocks, n))
    coords = neuron_coords(sizes)
    member = (coords["index"][1] % 3 == 0) & (coords["population"][1] != "")
    group = np.where(member, np.searchsorted(list(sizes), coords["population"][1], sorter=np.argsort(list(sizes))), -1)

    times, row_size = [], np.zeros((blocks, trials, n), dtype=int)
    for b in range(blocks):
        for k in range(trials):
            common = {
                g: rng.uniform(-WARMUP, duration, rng.poisson(shared * (duration + WARMUP))) for g in set(group) - {-1}
            }
            for i in range(n):
                own_rate = rates[b, i] - (shared if group[i] >= 0 else 0.0)
                own = rng.uniform(-WARMUP, duration, rng.poisson(own_rate * (duration + WARMUP)))
                train = np.concatenate([own, common[group[i]]]) if group[i] >= 0 else own
                times.append(np.sort(train))
                row_size[b, k, i] = len(train)

    lead = ("stimulus",) if stimuli else ()
    pick = (lambda x: x) if stimuli else (lambda x: x[0])
    trial_coords = {**coords, "trial": ("trial", np.arange(trials))}
    if stimuli:
        trial_coords["stimulus"] = ("stimulus", np.arange(stimuli))
    spikes = ragged(
        np.concatenate(times),
        pick(row_size),
        (*lead, "trial", "neuron"),
        trial_coords,
        duration=duration,
        warmup=WARMUP,
    )

    readout, labels = None, np.zeros(0, dtype=int)
    if outputs:
        source = next(iter(sizes))
        weights = rng.normal(size=(outputs, sizes[source])) * 20
        readout = Readout(source, weights, rng.normal(size=outputs) * 0.01, [f"class {c}" for c in range(outputs)])
    circuit = Circuit(
        populations=[Population(name, size, LIFParameters()) for name, size in sizes.items()],
        drives=[GaussianDrive(name, mean=1.0, std=1.0) for name in sizes],
        readout=readout,
    )

    prediction = _predict(rates * gain, group, shared, sizes, window, lead, pick)
    simulation = _estimate(spikes, sizes, window, lead, trials, duration)
    if readout is not None:
        source_rates = rates[:, : sizes[readout.source]]
        mean = source_rates / 1e3 @ readout.weights.T + readout.bias
        labels = np.array(readout.labels)[mean.argmax(axis=1)]
        output = {"output": ("output", list(readout.labels))}
        prediction = prediction.assign_coords(output).assign(readout=array("readout", (*lead, "output"), pick(mean)))
        source_covariance = prediction["count_covariance"].to_numpy()[
            ..., : len(source_rates[0]), : len(source_rates[0])
        ]
        value = readout.weights @ source_covariance @ readout.weights.T / (1e3 * window) ** 2
        prediction["readout_covariance"] = array("readout_covariance", (*lead, "output", "output_j"), value)
        total = counts(spikes).isel(window=0, neuron=slice(0, sizes[readout.source])).to_numpy()
        simulation = simulation.assign_coords(output).assign(
            readout=array(
                "readout", (*lead, "trial", "output"), total / (1e3 * duration) @ readout.weights.T + readout.bias
            )
        )
    prediction.attrs = {
        "dt": DT, "window": window, "closure": "moments", "theory": "diffusion", "circuit_hash": circuit.hash()
    }  # fmt: skip
    tree = xr.DataTree.from_dict(
        {
            "/": xr.Dataset({"circuit": ((), circuit.to_json())}),
            "/simulation": simulation,
            "/spikes": spikes,
        }
    )
    tree.attrs = {
        "duration": duration, "warmup": WARMUP, "dt": DT, "window": window, "trials": trials, "seed": seed,
        "codegen": "cpp_standalone", "circuit_hash": circuit.hash(), **versions(),
    }  # fmt: skip
    return Synthetic(prediction, tree, circuit, labels)


def _predict(rates, group, shared, sizes, window, lead, pick) -> xr.Dataset:
    together = (group[:, None] == group[None, :]) & (group[:, None] >= 0)
    covariance = np.where(together, shared, 0.0) + np.zeros((len(rates), 1, 1))
    i = np.arange(rates.shape[1])
    covariance[:, i, i] = rates
    vector, matrix = (*lead, "neuron"), (*lead, "neuron", "neuron_j")
    values = {
        "rate": (vector, rates),
        "variance": (vector, rates),
        "fano": (vector, np.where(rates > 0, 1.0, np.nan)),
        "covariance": (matrix, covariance),
        "count_variance": (vector, rates * window),
        "count_fano": (vector, np.where(rates > 0, 1.0, np.nan)),
        "count_covariance": (matrix, covariance * window),
    }
    coords = neuron_coords(sizes, second=True)
    if lead:
        coords["stimulus"] = ("stimulus", np.arange(len(rates)))
    return xr.Dataset({name: array(name, dims, pick(v)) for name, (dims, v) in values.items()}, coords=coords)


def _estimate(spikes, sizes, window, lead, trials, duration) -> xr.Dataset:
    def samples(length: float) -> np.ndarray:
        table = counts(spikes, 1e3 * length).transpose("trial", "window", *lead, "neuron").to_numpy()
        return table.reshape(-1, *table.shape[2:]).astype(float)

    vector, matrix = (*lead, "neuron"), (*lead, "neuron", "neuron_j")
    short, long = samples(window), samples(duration)
    out = {}
    for name, dims, estimate, scale in (
        ("rate", vector, estimate_mean(short), 1 / window),
        ("count_variance", vector, estimate_variance(short), 1.0),
        ("count_fano", vector, estimate_fano(short), 1.0),
        ("count_covariance", matrix, estimate_covariance(short), 1.0),
    ):
        out[name] = array(name, dims, estimate.value * scale)
        out[f"{name}_se"] = array(f"{name}_se", dims, estimate.se * scale)
    if trials >= 2:
        for name, dims, estimate, scale in (
            ("variance", vector, estimate_variance(long), 1 / duration),
            ("fano", vector, estimate_fano(long), 1.0),
            ("covariance", matrix, estimate_covariance(long), 1 / duration),
        ):
            out[name] = array(name, dims, estimate.value * scale, window=duration)
            out[f"{name}_se"] = array(f"{name}_se", dims, estimate.se * scale, n_samples=len(long))
    coords = neuron_coords(sizes, second=True)
    if lead:
        coords["stimulus"] = spikes["stimulus"]
    return xr.Dataset(out, coords=coords, attrs={"n_samples": len(short)})
