"""Predict, simulate, compare and report a circuit, into a run folder."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
import yaml

from mnnbio.circuit import Circuit
from mnnbio.workflow.run_folder import RunFolder, write_text
from mnnbio.workflow.run_session import warnings_as_notes

# Neurons up to which covariances of all pairs are estimated and predicted by default.
FEW_NEURONS = 1000
# Populations up to which spectra are predicted, and how many frequencies of them, up to HIGHEST (1/ms).
MANY_POPULATIONS = 10
FREQUENCIES, HIGHEST = 80, 0.5
# Memory that a synapse takes at the most: drawn with row and column, stored by row, copied by source for the program.
BYTES_PER_SYNAPSE = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a circuit is simulated and predicted; times in ms."""

    duration: float = 1000.0
    trials: int = 2
    warmup: float = 300.0
    dt: float = 0.1
    window: float = 100.0
    seed: int = 0
    codegen: Literal["cpp_standalone", "runtime"] = "cpp_standalone"
    covariance: bool | None = None
    """None: up to `FEW_NEURONS` neurons."""


@dataclass
class CircuitRun:
    """One run of a circuit.

    Parameters
    ----------
    name : str
        Of the circuit.
    circuit : Circuit
    settings : Settings
    folder : RunFolder
    options : mapping
        What the circuit was made of, kept in config.yaml.
    say : callable
        Tells the user a line.
    progress : bool
        Whether to show progress bars.
    """

    name: str
    circuit: Circuit
    settings: Settings
    folder: RunFolder
    options: Mapping[str, Any]
    say: Callable[[str], None]
    progress: bool = True

    def __call__(self, line: str) -> xr.DataTree:
        """Do everything, and return the result; `line` is the command, for the log."""
        require_memory(self.circuit)
        with self.folder.opened():
            self._note(line)
            try:
                return self._run()
            except Exception as error:
                self._note("".join(traceback.format_exception(error)))
                raise

    def _run(self) -> xr.DataTree:
        from mnnbio.analyses import compare, dynamics, report
        from mnnbio.results import save

        kept = {"circuit": {"name": self.name, **self.options}, "simulation": asdict(self.settings)}
        write_text(self.folder.config, yaml.safe_dump(kept, sort_keys=False))
        remarks: list[str] = []
        with self._step("predict", "self-consistent rates, variances and covariances"):
            prediction = self._predict(remarks)
        with self._step("simulate", f"{self.settings.trials} × {self.settings.duration:g} ms"):
            tree = self._simulate()
        with self._step("analyse", "state, spectra, synchrony, irregularity, balance"):
            measured = dynamics(tree, self.circuit)
            tree = tree.assign({"dynamics": measured.assign(self._predict_dynamics(measured, remarks))})
            if prediction is not None:
                tree = tree.assign({"prediction": xr.DataTree(prediction)})
                tree = tree.assign({"comparison": xr.DataTree(compare(prediction, tree))})
            save(tree, self.folder.result)
        with self._step("report", "figures and text"):
            report(tree, self.folder.report, title=f"Circuit {self.name}", circuit=self.circuit, remarks=remarks)
        return tree

    def _predict(self, remarks: list[str]) -> xr.Dataset | None:
        """Return the prediction, None where the theory finds none, which is then remarked."""
        from mnnbio.theory import predict

        for covariance in [True, False] if self._covariance else [False]:
            try:
                return predict(self.circuit, dt=self.settings.dt, window=self.settings.window, covariance=covariance)
            except (ValueError, RuntimeError, ArithmeticError) as error:
                missing = "prediction of covariances" if covariance else "prediction"
                remarks.append(_remark(f"There is no {missing}: {error}"))
                self._tell(f"{'':<10} note: {remarks[-1]}")
        return None

    def _predict_dynamics(self, measured: xr.DataTree, remarks: list[str]) -> dict[str, xr.DataTree]:
        """Return predicted spectra and oscillations of a circuit with one stimulus, as groups.

        What there is not is remarked.
        """
        from mnnbio.theory import predict_oscillations, predict_spectra

        if self.circuit.n_stimuli is not None or len(self.circuit.neurons) > MANY_POPULATIONS:
            return {}
        measured_at = measured["spectra/frequency"].to_numpy()
        highest = min(measured_at[-1], 1e3 * HIGHEST)
        frequencies = 1e-3 * np.geomspace(measured_at[0], highest, FREQUENCIES)
        found: dict[str, xr.DataTree] = {}
        for name, make in (
            ("predicted_oscillations", lambda: predict_oscillations(self.circuit, dt=self.settings.dt)),
            ("predicted_spectra", lambda: predict_spectra(self.circuit, frequencies, dt=self.settings.dt)),
        ):
            try:
                found[name] = xr.DataTree(make())
            except (ValueError, RuntimeError, ArithmeticError) as error:
                remarks.append(_remark(f"There are no {name.replace('_', ' ')}: {error}"))
                self._tell(f"{'':<10} note: {remarks[-1]}")
        return found

    def _simulate(self) -> xr.DataTree:
        from mnnbio.spikes import simulate

        settings = self.settings
        return simulate(
            self.circuit,
            settings.duration,
            settings.trials,
            settings.warmup,
            settings.dt,
            settings.seed,
            settings.window,
            codegen=settings.codegen,
            covariance=self._covariance,
            progress=self.progress,
        )

    @property
    def _covariance(self) -> bool:
        wanted = self.settings.covariance
        return self.circuit.n_neurons <= FEW_NEURONS if wanted is None else wanted

    @contextmanager
    def _step(self, name: str, what: str) -> Iterator[None]:
        """Say what is begun and how long it took."""
        self._tell(f"{name:<10} {what}")
        start = time.perf_counter()
        with warnings_as_notes(self._tell, self._note):
            yield
        self._tell(f"{'':<10} {time.perf_counter() - start:.1f} s")

    def _tell(self, text: str) -> None:
        self.say(text)
        self._note(text)

    def _note(self, text: str) -> None:
        self.folder.note(text)


def _remark(text: str) -> str:
    """Return a message as a sentence for readers of a report."""
    return text.replace("`", "").rstrip(".") + "."


def require_memory(circuit: Circuit) -> None:
    """Raise a `ValueError` if the synapses of a circuit do not fit into the memory that is free."""
    number = n_synapses(circuit)
    need, free = number * BYTES_PER_SYNAPSE, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > free:
        raise ValueError(
            f"the circuit has {number:.2g} synapses, which take about {need / 1e9:.2g} GB; {free / 1e9:.2g} GB are "
            f"free. Choose a smaller --scale, such as {np.sqrt(0.5 * free / need):.1g} of this one"
        )


def n_synapses(circuit: Circuit) -> float:
    """Return the expected number of synapses of a circuit, without drawing them."""
    total = 0.0
    for projection in circuit.projections:
        target, source = circuit.population(projection.target), circuit.population(projection.source)
        if projection.connectivity is None:
            total += target.size * source.size
        else:
            autapses = projection.autapses or source is not target
            degree = projection.connectivity.mean_indegree(target.size, source.size, autapses=autapses)
            total += target.size * degree
    return total


def summary(tree: xr.DataTree) -> str:
    """Return the rates of all populations, predicted and simulated, and the state, as text."""
    from mnnbio.analyses import state_sentence

    lines = [f"{'population':<14}{'predicted (Hz)':>16}{'simulated (Hz)':>20}{'difference':>13}"]
    simulated = tree["simulation"].to_dataset()
    predicted = tree["prediction/rate"] if "prediction" in tree.children else None
    populations = simulated["population"].to_numpy()
    for name in dict.fromkeys(populations.tolist()):
        mine = np.flatnonzero(populations == name)
        rate = simulated["rate"].isel(neuron=mine)
        values, theory = np.atleast_1d(rate.mean("neuron")), None
        if predicted is not None:
            theory = np.atleast_1d(predicted.isel(neuron=mine).mean("neuron"))
        for k, value in enumerate(values):
            label = name if len(values) == 1 else f"{name}, stimulus {k}"
            left = "–" if theory is None else f"{theory[k]:.3f}"
            right = "–" if theory is None or not theory[k] else f"{100 * (value / theory[k] - 1):+.1f} %"
            lines.append(f"{label:<14}{left:>16}{value:>20.3f}{right:>13}")
    return "\n".join([*lines, "", state_sentence(tree.children["dynamics"])])
