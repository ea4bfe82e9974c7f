"""Run of a ready-made circuit, into a run folder: simulated, predicted, compared and reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
import yaml

from mnnbio.circuit import Circuit
from mnnbio.neurons import LIFParameters
from mnnbio.results import neuron_coords
from mnnbio.workflow.fingerprint import fingerprint, of_code
from mnnbio.workflow.pipeline import (
    Journal,
    ReportFailed,
    Theory,
    n_synapses,
    remarked,
    report_on,
    require_affordable,
    verdict_of,
    with_theory,
)
from mnnbio.workflow.run_config import CircuitOptions, require_steps
from mnnbio.workflow.run_folder import KEY, RunFolder, key_of, write_text

# Neurons up to which covariances of all pairs are estimated and predicted by default.
FEW_NEURONS = 1000
# Recurrent neurons without a closed form up to which each is predicted; of more, which take minutes, populations are.
FEW_INTEGRATED = 300
# Populations up to which spectra are predicted, and how many frequencies of them, up to HIGHEST (1/ms).
MANY_POPULATIONS = 10
FREQUENCIES, HIGHEST = 80, 0.5
# Groups that a simulation alone has not.
_DERIVED = ("prediction", "comparison", "dynamics")


@dataclass
class CircuitRun:
    """Use of a run folder for one circuit.

    Parameters
    ----------
    name : str
        Of the circuit.
    circuit : Circuit
    settings : CircuitOptions
    folder : RunFolder
    options : mapping
        Parameters that the circuit was made with, kept in config.yaml.
    say : callable
        Tells the user a line.
    progress : bool
        Whether to show progress bars.
    """

    name: str
    circuit: Circuit
    settings: CircuitOptions
    folder: RunFolder
    options: Mapping[str, Any]
    say: Callable[[str], None]
    progress: bool = True
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.say, self.folder.note)

    def __call__(self, line: str) -> xr.DataTree:
        """Do everything, and return the result; `line` is the command, for the log.

        Raises
        ------
        NotEnoughMemory
            If the circuit does not fit into the memory that is free; nothing is left behind.
        ReportFailed
            If the report cannot be written; the result is there.
        """
        self._require_affordable()
        with self.folder.opened():
            self.folder.note(line)
            return self._run()

    def _run(self) -> xr.DataTree:
        from mnnbio.analyses import compare, dynamics
        from mnnbio.results import save

        kept = {"circuit": {"name": self.name, **self.options}, "simulation": self.settings.to_dict()}
        tree = self._simulated()
        write_text(self.folder.config, yaml.safe_dump(kept, sort_keys=False))
        journal = self.journal
        with journal.stage("predict", "self-consistent rates, variances and covariances"):
            tree = with_theory(tree, self._theories(), compare, journal)
        with journal.stage("analyse", "state, spectra, synchrony, irregularity, balance"):
            measured = journal.attempt("analysis of the dynamics", lambda: dynamics(tree, self.circuit))
            if measured is not None:
                tree = tree.assign({"dynamics": measured.assign(self._predict_dynamics(measured))})
        tree = remarked(tree, journal.remarks)
        save(tree, self.folder.result)
        with journal.stage("report", "figures and text"):
            title = f"Circuit {self.name}"
            if not report_on(tree, self.folder.report, journal, title=title, circuit=self.circuit):
                raise ReportFailed(f"{journal.remarks[-1]} {self.folder.result} is whole; the same command tries again")
        return tree

    def _theories(self) -> list[Theory]:
        """Return ways to predict: with covariances where they are wanted, else without; or populations alone."""
        from mnnbio.theory import predict

        def populations() -> xr.Dataset:
            settings = self.settings
            means = predict(
                self.circuit, dt=settings.dt, window=settings.window, covariance=False, resolution="population"
            )
            remark = f"Predicted are means of populations: {integrated} single neurons without a closed form take long."
            self.journal.tell(f"           note: {remark}")
            self.journal.remarks.append(remark)
            return _of_neurons(means, self.circuit)

        integrated = sum(p.size for p in self.circuit.neurons if not isinstance(p.neuron, LIFParameters))
        if self.circuit.is_recurrent and integrated > FEW_INTEGRATED:
            return [Theory("prediction", populations)]

        def theory(covariance: bool) -> Theory:
            def make() -> xr.Dataset:
                settings = self.settings
                return predict(self.circuit, dt=settings.dt, window=settings.window, covariance=covariance)

            return Theory("prediction of covariances" if covariance else "prediction", make)

        return [theory(covariance) for covariance in ([True, False] if self._covariance else [False])]

    def _predict_dynamics(self, measured: xr.DataTree) -> dict[str, xr.DataTree]:
        """Return predicted spectra and oscillations of a circuit with one stimulus, as groups.

        Those that fail are remarked.
        """
        from mnnbio.theory import predict_oscillations, predict_spectra

        if self.circuit.n_stimuli is not None or len(self.circuit.neurons) > MANY_POPULATIONS:
            return {}
        measured_at = measured["spectra/frequency"].to_numpy()
        highest = min(measured_at[-1], 1e3 * HIGHEST)
        frequencies = 1e-3 * np.geomspace(measured_at[0], highest, FREQUENCIES)
        wanted: dict[str, Callable[[], xr.Dataset]] = {
            "predicted oscillations": lambda: predict_oscillations(self.circuit, dt=self.settings.dt),
            "predicted spectra": lambda: predict_spectra(self.circuit, frequencies, dt=self.settings.dt),
        }
        found = {name: self.journal.attempt(name, make) for name, make in wanted.items()}
        return {name.replace(" ", "_"): xr.DataTree(made) for name, made in found.items() if made is not None}

    def _simulated(self) -> xr.DataTree:
        """Return the simulation: the one that the folder holds, if it is of the same circuit, options and code."""
        from mnnbio.results import load, save
        from mnnbio.spikes import simulate

        settings = self.settings
        what = f"{settings.trials} × {settings.duration:g} ms"
        key = fingerprint(self.circuit.hash(), of_code("mnnbio.spikes"), settings.to_dict(), self._covariance)
        if self.folder.result.exists():
            stored = load(self.folder.result)
            if key_of(stored) == key:
                self.journal.tell(f"{'simulate':<10} reused: {what}")
                return stored.drop_nodes([name for name in _DERIVED if name in stored.children])
        with self.journal.stage("simulate", what):
            tree = simulate(
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
            tree.attrs[KEY] = key
            save(tree, self.folder.result)
        return tree

    @property
    def _covariance(self) -> bool:
        wanted = self.settings.covariance
        return self.circuit.n_neurons <= FEW_NEURONS if wanted is None else wanted

    def _require_affordable(self) -> None:
        settings, shown = self.settings, self.circuit.n_stimuli or 1
        require_steps("simulation", settings.warmup + settings.duration, shown * settings.trials, settings.dt)
        require_affordable(
            neurons=self.circuit.n_neurons,
            synapses=n_synapses(self.circuit),
            presentations=shown * settings.trials,
            remedy="Choose a smaller --scale.",
        )


def summary(tree: xr.DataTree) -> str:
    """Return the verdict, the rates of all populations, predicted and simulated, and the state, as text."""
    from mnnbio.analyses import state_sentence

    verdict = verdict_of(tree)
    lines = [verdict, ""] if verdict else []
    lines += [f"{'population':<14}{'predicted (Hz)':>16}{'simulated (Hz)':>20}{'difference':>13}"]
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
    if "dynamics" in tree.children:
        lines += ["", state_sentence(tree.children["dynamics"])]
    return "\n".join(lines)


def _of_neurons(means: xr.Dataset, circuit: Circuit) -> xr.Dataset:
    """Return a prediction of populations as one of neurons, all of a population alike."""
    coords = neuron_coords({p.name: p.size for p in circuit.neurons})
    chosen = xr.DataArray(coords["population"][1], dims="neuron")
    return means.sel(population=chosen).assign_coords(coords)
