"""The ladder of surrogates: what neurons fire as their input is made simpler, step by step, down to the theory."""

from __future__ import annotations

import html
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from mnnbio.circuit import Circuit, require_circuit
from mnnbio.results import array, neuron_coords, versions
from mnnbio.units import in_unit
from mnnbio.validation.local_theory import LocalTheory
from mnnbio.validation.replay import Codegen, Replay, Rung

Array = npt.NDArray[np.float64]

AUDIBLE = 1.0  # Hz, from which on relative changes are taken
STEPS = {
    "replayed": "none, other random numbers",
    "independent": "correlations between trains removed",
    "shuffled": "intervals shuffled",
    "poisson": "Poisson trains of the same rates",
    "noise": "noise instead of jumps",
    "white": "white noise, without synaptic filters",
    "theory": "theory instead of simulating that",
}


class SurrogateLadder(xr.Dataset):
    """A dataset that prints as the table of what each step changes; `to_dataset` gives the plain one."""

    __slots__ = ()

    def to_dataset(self) -> xr.Dataset:
        """Return the same variables as a plain dataset."""
        return xr.Dataset(self.data_vars, coords=self.coords, attrs=self.attrs)

    def __repr__(self) -> str:
        return ladder_table(self) if {"rate", "rung"} <= set(self.variables) else super().__repr__()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def surrogate_ladder(
    circuit: Circuit,
    simulation: xr.DataTree,
    *,
    window: Any = 100.0,
    seed: int = 0,
    codegen: Codegen = "cpp_standalone",
) -> SurrogateLadder:
    """Return what the neurons of a circuit fire as the trains that they receive are made simpler step by step.

    Parameters
    ----------
    circuit : Circuit
        Of leaky integrate-and-fire neurons with delta or exponential synapses.
    simulation : DataTree
        Of the circuit, with the spikes of all neurons.
    window : float or Quantity
        Window in which spikes are counted, ms.
    seed : int
        Of the surrogates.
    codegen : {"cpp_standalone", "runtime"}
        As of `simulate`.

    Returns
    -------
    SurrogateLadder
        A dataset that prints as a table: median change of the rates above 1 Hz, median and upper decile of the size of
        the changes, and root mean square over all neurons. Over (rung, [stimulus,] neuron) ``rate`` and ``count_fano``;
        ``rate_se`` over the trials, NaN of a single one. The rungs:

        - ``simulated``: the circuit itself;
        - ``replayed``: each neuron with the trains that it received and other random numbers of its own;
        - ``independent``: every train shifted in time on its own;
        - ``shuffled``: intervals in another order;
        - ``poisson``: Poisson trains of the same rates;
        - ``noise``: noise of the same mean and variance, through the same filters;
        - ``white``: without the filters, where there are any;
        - ``theory``: of white noise in the same time steps.

    Raises
    ------
    TypeError
        If the circuit has neurons or synapses without surrogates.
    ValueError
        If the simulation is of another circuit or has no spikes.
    """
    require_circuit(circuit)
    replay = Replay(circuit, simulation, float(in_unit(window, "ms", "window")), seed, codegen)
    rungs: list[Rung] = ["replayed", "independent", "shuffled", "poisson"] if replay.sending else ["replayed"]
    rungs += ["noise"] if replay.jumping else []
    rungs += ["white"] if replay.filtered else []
    tables = {"simulated": replay.simulated()} | {rung: replay.counts(rung) for rung in rungs}
    rate, error, fano = [], [], []
    for table in tables.values():
        trials = table.mean(2) / replay.window
        rate.append(trials.mean(1))
        n = trials.shape[1]
        error.append(trials.std(1, ddof=1) / np.sqrt(n) if n > 1 else np.full_like(rate[-1], np.nan))
        samples = table.reshape(len(table), -1, table.shape[-1])
        mean = samples.mean(1)
        fano.append(np.where(mean > 0, samples.var(1, ddof=1) / np.where(mean > 0, mean, 1.0), 1.0))
    found = [
        LocalTheory(c, replay.dt, replay.window).given(r, white=True)
        for c, r in zip(replay.single, replay.rate, strict=True)
    ]
    rate.append(np.array([f.rate for f in found]))
    error.append(np.zeros_like(rate[-1]))
    fano.append(np.array([f.fano for f in found]))
    several = circuit.n_stimuli is not None
    over = ("rung", *(("stimulus",) if several else ()), "neuron")

    def labelled(name: str, values: list[Array], unit: float = 1.0) -> xr.DataArray:
        stacked = unit * np.array(values)
        return array(name, over, stacked if several else stacked[:, 0])

    parts = [labelled("rate", rate, 1e3), labelled("rate_se", error, 1e3), labelled("count_fano", fano)]
    coords: dict[str, Any] = {"rung": [*tables, "theory"], **neuron_coords({p.name: p.size for p in circuit.neurons})}
    if several:
        coords["stimulus"] = np.arange(replay.stimuli)
    attrs = {"seed": seed, "window": 1e-3 * replay.window, "dt": 1e-3 * replay.dt, "circuit_hash": circuit.hash()}
    return SurrogateLadder({p.name: p for p in parts}, coords=coords, attrs=attrs | versions())


def ladder_table(ladder: xr.Dataset) -> str:
    """Return a ladder as a table of text: what each step changes in the rates, one below the other."""
    lines = [f"{'step':40}{'median':>9}{'size':>9}{'90 %':>9}{'r.m.s. (Hz)':>13}"]
    rungs = [str(r) for r in ladder["rung"].values]
    for before, after in pairwise(rungs):
        old, new = (ladder["rate"].sel(rung=rung).values.ravel() for rung in (before, after))
        square = float(np.sqrt(((new - old) ** 2).mean()))
        firing = old > AUDIBLE
        relative = new[firing] / old[firing] - 1
        if firing.any():
            sizes = np.quantile(abs(relative), [0.5, 0.9])
            said = f"{np.median(relative):+9.1%}{sizes[0]:9.1%}{sizes[1]:9.1%}"
        else:
            said = f"{'silent':>27}"
        lines.append(f"{STEPS[after]:40}{said}{square:13.2f}")
    return "\n".join(lines)
