"""What learning from spikes returns: circuits, the course of the score, and how it ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from mnnbio.circuit import Circuit
from mnnbio.learning.targets import SpikeTargets
from mnnbio.results import save, versions

Status = Literal["converged", "passes used up", "ran away", "infeasible", "stopped"]

UNITS = {
    "F": ("1", "harmonic mean of precision and recall"),
    "precision": ("1", "share of the network's spikes that are matched"),
    "recall": ("1", "share of the target's spikes that are matched"),
    "van_rossum": ("1", "van Rossum distance, not squared"),
    "rate": ("Hz", "mean rate of the neurons"),
    "unmatched_own": ("1", "number of the network's spikes without a partner"),
    "unmatched_target": ("1", "number of the target's spikes without a partner"),
    "window": ("ms", "window within which spikes are paired"),
    "learning_rate": ("1", "learning rate in units of the first"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """A network that has learned, or has tried to learn, spike trains.

    Attributes
    ----------
    circuit, best : Circuit
        With the weights after the last pass, and with those of the greatest F, among the passes that were scored.
    history : Dataset
        Over ``pass``: F, precision, recall, rate (Hz), unmatched spikes, window (ms), learning rate; van Rossum
        distance every so many passes, NaN between. Other rules may leave variables out.
    status : {"converged", "passes used up", "ran away", "infeasible", "stopped"}
        "converged": every spike is matched; "ran away": the network fired too much, so learning was stopped and
        `circuit` holds the last weights with which it did not; "infeasible": no weights do what was asked, `message`
        says of which neurons; "stopped": the progress function asked to end.
    message : str
        The status in a sentence.
    rule : str
        Name of the rule.
    target : SpikeTargets
    spikes, best_spikes : SpikeTargets
        What `circuit` and `best` fire.
    rho : float
        Ratio of the standard deviations of recurrent and external input to the membrane under `best`, NaN where it is
        not defined, as for neurons that are not LIF; see `membrane_ratio`.
    scores : mapping of str to float
        Numbers at the end: F of last and best, their chance level and so on.
    details : mapping of str to Any
        What a rule adds: numbers or arrays.
    """

    circuit: Circuit
    best: Circuit
    history: xr.Dataset
    status: Status
    message: str
    rule: str
    target: SpikeTargets
    spikes: SpikeTargets
    best_spikes: SpikeTargets
    rho: float
    scores: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passes(self) -> int:
        """Number of passes made."""
        return int(self.history.sizes.get("pass", 0))

    @property
    def best_f(self) -> float:
        """Greatest F of the passes."""
        return float(np.nanmax(self.history["F"])) if self.passes else float("nan")

    @property
    def last_f(self) -> float:
        """Mean F of the last 100 passes; where learning has converged, that of the last one, which would stay."""
        last = self.history["F"][-1 if self.status == "converged" else -100 :]
        return float(last.mean()) if self.passes else float("nan")

    def summary(self) -> str:
        """Return the outcome in a few lines."""
        lines = [
            f"{self.rule}: {self.status} after {self.passes} passes. {self.message}",
            f"F: best {self.best_f:.3f}, "
            + ("last" if self.status == "converged" else f"mean of the last {min(self.passes, 100)} passes")
            + f" {self.last_f:.3f}",
            f"ρ = {self.rho:.2f} (recurrent over external input to the membrane, standard deviations)",
            f"target {self.target.n_spikes} spikes, best {self.best_spikes.n_spikes}, last {self.spikes.n_spikes}",
        ]
        lines += [f"{name}: {value:.4g}" for name, value in self.scores.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return f"Learned({self.rule}: {self.status}, {self.passes} passes, best F {self.best_f:.3f}, ρ {self.rho:.2f})"

    def to_datatree(self) -> xr.DataTree:
        """Return the outcome as a result: history, trains of target, last and best, circuits as JSON."""
        attrs = {
            "status": self.status,
            "message": self.message,
            "rule": self.rule,
            "rho": float(self.rho),
            "circuit": self.circuit.to_json(),
            "best_circuit": self.best.to_json(),
            **{f"score_{name}": float(value) for name, value in self.scores.items()},
            **versions(),
        }
        return xr.DataTree.from_dict(
            {
                "/": xr.Dataset(attrs=attrs),
                "/history": self.history,
                "/target": self.target.to_dataset(),
                "/spikes": self.spikes.to_dataset(),
                "/best_spikes": self.best_spikes.to_dataset(),
            }
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the outcome to a netCDF file, `mnnbio.load` reads it."""
        save(self.to_datatree(), path)


def make_history(values: Mapping[str, Any]) -> xr.Dataset:
    """Return numbers per pass, each of one entry per pass, as a dataset with units.

    Parameters
    ----------
    values : mapping of str to array_like, shape (pass,)
        Those of `UNITS` get their unit.
    """
    columns = {}
    for name, value in values.items():
        unit, meaning = UNITS.get(name, ("1", name.replace("_", " ")))
        columns[name] = ("pass", np.asarray(value, dtype=np.float64), {"units": unit, "long_name": meaning})
    length = len(next(iter(columns.values()))[1]) if columns else 0
    return xr.Dataset(columns, coords={"pass": np.arange(length)})
