"""PSPM: a recurrent network learns to fire given spike trains by changing weights where spikes are wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork, Passed
from mnnbio.learning.membrane_input import membrane_ratio, relative_potentials
from mnnbio.learning.outcome import Learned, Status, make_history
from mnnbio.learning.pspm_rule import (
    Amounts,
    Errors,
    Pairing,
    at_random_synapses,
    find_errors,
    homeostatic_factors,
    keep_signs,
    local_update,
    pool_credit,
    scaled_weights,
    shifted_weights,
    until_first,
)
from mnnbio.learning.scores import chance_f, spike_distance
from mnnbio.learning.targets import SpikeTargets, require_window
from mnnbio.learning.teacher import teacher_forced
from mnnbio.machine import check_choice, require_integer, written_aside
from mnnbio.units import flag, in_unit, real_number

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Progress = Callable[[int, float], bool | None]

_COLUMNS = (
    "F", "precision", "recall", "van_rossum", "rate", "unmatched_own", "unmatched_target", "window", "learning_rate",
    "teacher_forced",
)  # fmt: skip


class CheckpointError(ValueError):
    """A checkpoint cannot be read, or is one of another fit."""


@dataclass(frozen=True)
class ShrinkingWindow:
    """A window that shrinks as learning goes on: from `first` to `last`, by `by` every so many passes, ms."""

    first: Any
    last: Any
    by: Any
    every: int

    def __post_init__(self) -> None:
        for name in ("first", "last", "by"):
            object.__setattr__(self, name, float(in_unit(getattr(self, name), "ms", name)))
        require_integer("every", self.every, 1)
        if not self.first >= self.last or not self.by > 0:
            raise ValueError(
                f"a window must shrink: `first` ≥ `last` and `by` > 0, got {self.first:g}, {self.last:g}, {self.by:g}"
            )

    def at(self, number: int) -> float:
        """Return the window of a pass, ms."""
        return float(max(self.first - self.by * (number // self.every), self.last))


@dataclass(frozen=True, kw_only=True)
class PSPM:
    """Pre-synaptic pool modification: weights onto a neuron change where its spikes are wrong.

    In every pass the network runs once under its frozen current. Spikes are paired with those of the target within a
    window. For every spike too many, the sources that may have caused it lose weight; for every one that is missing
    they gain. Inhibitory weights change in the same direction. In addition, all weights onto a neuron are moved towards
    the target's number of spikes.

    Parameters
    ----------
    passes : int
        Runs of the network.
    errors : {"first", "all"}
        Whether a neuron learns from its errors up to the first one plus the window, or from all as published.
    credit : {"psp", "pool"}
        Whether a source changes by its postsynaptic potential at the error, in units of its peak, or, as published, by
        all the same if it fired within `pool` before. "psp" needs LIF neurons.
    window : float, Quantity or ShrinkingWindow
        Longest distance of a pair, ms.
    narrowest : float or Quantity, optional
        Once every spike is matched within the window, a pass learns from those that are not within the widest narrower
        window that leaves errors, down to this one, ms, so that spikes come closer; by default the window itself.
    pool : float or Quantity
        Length of the pool, ms.
    learning_rate : float or Quantity, optional
        Greatest change of a weight by one error, mV; by default half the median magnitude of the weights for
        ``errors="first"``, a tenth for "all"; 0: homeostasis only.
    homeostatic_rate : float or Quantity
        Strength of homeostasis: without a dimension for "scaling", mV for "shifting"; 0: local only.
    homeostasis : {"scaling", "shifting"}
        Whether weights are scaled (see `scaled_weights`), or all moved by one amount for a missing spike, as published.
    anneal : {"linear", "constant", "error"}
        Whether both rates fall linearly to 0 over the passes, stay, or go as 1 - F.
    pairing : {"most", "least shift"}
        See `find_errors`.
    amounts : {"uniform", "integers", "equal"}
        Random share of the rate by which a weight changes, see `local_update`.
    signs_stay : bool
        Whether weights are cut at 0 where they would change their sign.
    random_synapses : bool
        The control: the local changes go to synapses drawn at random.
    teacher_passes : int
        First passes, in which neurons receive the target's spikes instead of those of the others.
    runaway : float
        The network runs away when it fires more than so many times the target's spikes: learning stops, and the last
        weights with which it did not are kept.
    stop_when_matched : bool
        Whether learning ends when every spike is matched, after which nothing would change.
    distance_every : int
        Passes between two van Rossum distances; 0: none.
    seed : int

    Raises
    ------
    ValueError, TypeError
        If an option is out of range.

    References
    ----------
    B. Bagley, B. Bordelon, B. Moseley, R. Wessel (2020), Pre-synaptic pool modification (PSPM): a supervised learning
    procedure for recurrent spiking neural networks, PLOS ONE 15(2), e0229083. ``errors="first"`` and ``credit="psp"``
    are not theirs.

    Examples
    --------
    ``PSPM(passes=2000).fit(target, circuit, currents, dt=0.5)``
    """

    passes: int = 2000
    errors: Literal["first", "all"] = "first"
    credit: Literal["psp", "pool"] = "psp"
    window: Any = 4.0
    narrowest: Any = None
    pool: Any = 20.0
    learning_rate: Any = None
    homeostatic_rate: Any = 0.0
    homeostasis: Literal["scaling", "shifting"] = "scaling"
    anneal: Literal["linear", "constant", "error"] = "linear"
    pairing: Pairing = "most"
    amounts: Amounts = "uniform"
    signs_stay: bool = True
    random_synapses: bool = False
    teacher_passes: int = 0
    runaway: float = 10.0
    stop_when_matched: bool = True
    distance_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        require_integer("passes", self.passes, 1)
        require_integer("teacher_passes", self.teacher_passes, 0, self.passes)
        require_integer("distance_every", self.distance_every, 0)
        require_integer("seed", self.seed, 0)
        check_choice("errors", self.errors, ["first", "all"])
        check_choice("credit", self.credit, ["psp", "pool"])
        check_choice("homeostasis", self.homeostasis, ["scaling", "shifting"])
        check_choice("anneal", self.anneal, ["linear", "constant", "error"])
        check_choice("pairing", self.pairing, get_args(Pairing))
        check_choice("amounts", self.amounts, get_args(Amounts))
        for name in ("signs_stay", "random_synapses", "stop_when_matched"):
            object.__setattr__(self, name, flag(getattr(self, name), name))
        if not isinstance(self.window, ShrinkingWindow):
            object.__setattr__(self, "window", float(in_unit(self.window, "ms", "window")))
        if self.narrowest is not None:
            object.__setattr__(self, "narrowest", float(in_unit(self.narrowest, "ms", "narrowest")))
            if not self.narrowest <= self.last_window:
                raise ValueError(
                    f"`narrowest` must be at most the window, {self.last_window:g} ms, got {self.narrowest:g} ms"
                )
        object.__setattr__(self, "pool", float(in_unit(self.pool, "ms", "pool")))
        if self.learning_rate is not None:
            object.__setattr__(self, "learning_rate", float(in_unit(self.learning_rate, "mV", "learning_rate")))
        unit: Literal["1", "mV"] = "1" if self.homeostasis == "scaling" else "mV"
        object.__setattr__(self, "homeostatic_rate", float(in_unit(self.homeostatic_rate, unit, "homeostatic_rate")))
        for name in ("learning_rate", "homeostatic_rate", "pool"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise ValueError(f"`{name}` must be ≥ 0, got {value:g}")
        if self.homeostasis == "scaling" and not self.homeostatic_rate < 1:
            raise ValueError(f"`homeostatic_rate` must be < 1 for scaling, got {self.homeostatic_rate:g}")
        if not real_number(self.runaway, "runaway") > 1:
            raise ValueError(f"`runaway` must be > 1 times the target's spikes, got {self.runaway:g}")

    @property
    def last_window(self) -> float:
        """Window of the last pass, ms."""
        return float(self.window.last if isinstance(self.window, ShrinkingWindow) else self.window)

    def fit(
        self,
        target: Any,
        circuit: Circuit | FrozenNetwork,
        currents: Any = None,
        *,
        drives: Any = None,
        dt: Any = 0.1,
        duration: Any = None,
        codegen: Codegen = "cpp_standalone",
        connections: npt.ArrayLike | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int = 100,
        progress: Progress | None = None,
    ) -> Learned:
        """Change a network's recurrent weights until it fires the target's spikes.

        Parameters
        ----------
        target : SpikeTargets, DataTree, Dataset, Circuit or array_like
            As of `read_targets`.
        circuit : Circuit or FrozenNetwork
            The learner with the weights that it starts from; or a network within its ``with`` block, which is not built
            again, and says all of `currents` to `codegen`.
        currents, drives, dt, duration, codegen
            As of `FrozenNetwork`.
        connections : array_like of bool, shape (n, n), optional
            Synapses that may change; by default those of `FrozenNetwork.connections`.
        checkpoint : path-like, optional
            File to which the state is written every `checkpoint_every` passes. Where it is there already, the fit goes
            on from it, with the numbers that it would have had without a break.
        checkpoint_every : int
        progress : callable, optional
            Called with the passes done and F after every pass; learning stops if it returns True.

        Raises
        ------
        ValueError
            As `read_targets` and `FrozenNetwork` do, or if `connections` do not fit.
        CheckpointError
            If the file is of another fit, or damaged.
        TypeError
            If ``credit="psp"`` and the neurons are not LIF.
        """
        require_integer("checkpoint_every", checkpoint_every, 1)
        if isinstance(circuit, FrozenNetwork):
            if currents is not None or drives is not None or duration is not None:
                raise ValueError("give `currents`, `drives` and `duration` to the FrozenNetwork, not to `fit`")
            opened: Any = nullcontext(circuit)
            network = circuit
        else:
            network = FrozenNetwork(circuit, currents, drives=drives, dt=dt, duration=duration, codegen=codegen)
            opened = network
        require_window(self.last_window, network.dt)
        if self.narrowest is not None:
            require_window(self.narrowest, network.dt)
        if self.credit == "psp":
            network.require_lif("credit='psp'")
        trains = network.targets(target)
        mask = network.connections if connections is None else np.asarray(connections, dtype=bool)
        if mask.shape != network.weights.shape:
            raise ValueError(f"`connections` must have shape {network.weights.shape}, got {mask.shape}")
        with opened:
            fit = _Fit(self, network, trains, mask)
            path = None if checkpoint is None else Path(checkpoint)
            if path is not None and path.exists():
                fit.load(path)
            status = fit.go(path, checkpoint_every, progress)
            return fit.outcome(status)


class _Fit:
    """State of a fit: weights, history and random numbers, from pass to pass."""

    def __init__(self, rule: PSPM, network: FrozenNetwork, target: SpikeTargets, connections: Bool) -> None:
        self.rule, self.network, self.target, self.connections = rule, network, target, connections
        self.has_target = np.asarray(target.has_target)
        neuron, step = target.flat
        self.wanted = Passed(neuron, step, target.counts)
        self.weights = network.weights.copy()
        self.good, self.best, self.best_score = self.weights, self.weights, (-1.0, -1.0)
        self.last_window = max(int(rule.last_window / network.dt + 1e-9), 1)
        self.narrowest = self.last_window if rule.narrowest is None else max(int(rule.narrowest / network.dt + 1e-9), 1)
        self.rng = np.random.default_rng(rule.seed)
        self.done, self.columns = 0, {name: list[float]() for name in _COLUMNS}
        own = network.signs
        self.signs = np.where(own != 0, own, np.sign(network.weights)) if rule.signs_stay else np.zeros(())
        self.rate = self._learning_rate()
        self.pool = round(rule.pool / network.dt)
        self.delay = network.delay_steps_of_any
        share = max(int(self.has_target.sum()), 1) / network.size
        self.most_spikes = rule.runaway * max(int(target.counts[self.has_target].sum()), 1) / share

    def _learning_rate(self) -> float:
        if self.rule.learning_rate is not None:
            return float(self.rule.learning_rate)
        sizes = np.abs(self.network.weights[self.network.weights != 0])
        if not sizes.size:
            raise ValueError("`learning_rate` must be given, mV, where all weights start at 0")
        return float(np.median(sizes)) * (0.5 if self.rule.errors == "first" else 0.1)

    def go(self, path: Path | None, every: int, progress: Progress | None) -> Status:
        """Make the passes that are left; return how it ended."""
        with self._teacher() as teacher:
            while self.done < self.rule.passes:
                forced = self.done < self.rule.teacher_passes
                passed = (teacher if forced and teacher is not None else self.network).run(self.weights)
                if len(passed.step) > self.most_spikes:
                    self.weights = self.good
                    self._save(path)
                    return "ran away"
                self.good = self.weights
                errors, window = self._score(passed, forced)
                f = self.columns["F"][-1]
                # Passes under windows that shrink are compared within the last one.
                comparable = f if window <= self.last_window else self._errors(passed, self.last_window).f
                while not len(errors.step) and window > self.narrowest:
                    window -= 1
                    errors = self._errors(passed, window)
                score = comparable, errors.f - window
                if not forced and score > self.best_score:
                    self.best, self.best_score = self.weights, score
                matched = not len(errors.step) and not forced
                self.weights = self._updated(passed, errors, window, forced)
                self.done += 1
                stop = progress is not None and bool(progress(self.done, f))
                if stop or self.done % every == 0 or self.done == self.rule.passes:
                    self._save(path)
                if matched and self.rule.stop_when_matched and window <= self.last_window:
                    return "converged"
                if stop:
                    return "stopped"
        return "passes used up"

    @contextmanager
    def _teacher(self) -> Iterator[Any]:
        if self.done >= self.rule.teacher_passes:
            yield None
            return
        with teacher_forced(self.network, self.target) as teacher:
            yield teacher

    def _errors(self, passed: Passed, window: int) -> Errors:
        return find_errors(passed, self.wanted, window, self.has_target, self.rule.pairing)

    def _score(self, passed: Passed, forced: bool) -> tuple[Errors, int]:
        """Note the scores of a pass; return its errors and the window, steps."""
        rule, dt = self.rule, self.network.dt
        length = rule.window.at(self.done) if isinstance(rule.window, ShrinkingWindow) else rule.window
        window = max(int(length / dt + 1e-9), 1)
        errors = self._errors(passed, window)
        distance = float("nan")
        if rule.distance_every and self.done % rule.distance_every == 0:
            distance = spike_distance(self.network, passed, self.wanted)
        row = {
            "F": errors.f,
            "precision": errors.precision,
            "recall": errors.recall,
            "van_rossum": distance,
            "rate": 1e3 * len(passed.step) / (self.network.size * self.network.duration),
            "unmatched_own": errors.unmatched_own,
            "unmatched_target": errors.unmatched_target,
            "window": window * dt,
            "learning_rate": self._annealed(errors.f),
            "teacher_forced": float(forced),
        }
        for name, value in row.items():
            self.columns[name].append(float(value))
        return errors, window

    def _annealed(self, f: float) -> float:
        if self.rule.anneal == "constant":
            return 1.0
        return 1.0 - f if self.rule.anneal == "error" else 1.0 - self.done / self.rule.passes

    def _updated(self, passed: Passed, errors: Errors, window: int, forced: bool) -> Array:
        """Return the weights after a pass."""
        rule, size = self.rule, self.network.size
        share = self.columns["learning_rate"][-1]
        weights = self.weights
        if rule.errors == "first":
            errors = until_first(errors, window, size)
        if self.rate and len(errors.step):
            before = self.wanted if forced else passed
            change = local_update(errors, self._credit(before, errors), size, self.rng, rule.amounts)
            change *= self.connections
            if rule.random_synapses:
                change = at_random_synapses(change, self.connections, self.rng)
            weights = weights + self.rate * share * change
        if rule.homeostatic_rate:
            own = np.where(self.has_target, passed.counts, self.wanted.counts)
            if rule.homeostasis == "scaling":
                factors = homeostatic_factors(own, self.wanted.counts)
                weights = scaled_weights(weights, factors * self.has_target, rule.homeostatic_rate * share)
            else:
                step = shifted_weights(own, self.wanted.counts, rule.homeostatic_rate * share)
                weights = weights + step * self.has_target[:, None] * self.connections
        return keep_signs(weights, self.signs) if rule.signs_stay else weights

    def _credit(self, before: Passed, errors: Errors) -> Array:
        if self.rule.credit == "pool":
            return pool_credit(before, errors.step, self.pool, self.delay, self.network.n_steps)
        tau_m = self.network.tau_m
        found = np.empty((len(errors.step), self.network.size))
        for tau in np.unique(tau_m):
            chosen = tau_m[errors.neuron] == tau
            if chosen.any():
                found[chosen] = relative_potentials(self.network, before, float(tau))[errors.step[chosen]]
        return found

    def outcome(self, status: Status) -> Learned:
        """Return what was learned; the last and the best weights are run once more."""
        network, rule = self.network, self.rule
        last = network.run(self.weights)
        if len(last.step) > self.most_spikes and status != "ran away":
            status, self.weights = "ran away", self.good
        if status == "ran away":
            last = network.run(self.weights)
        best = network.run(self.best)
        window = self.last_window

        def score(passed: Passed) -> float:
            return self._errors(passed, window).f

        scores = {
            "last F": score(last),
            "best F": score(best),
            "naive F": score(network.run()),
            "zero-weight F": score(network.run(np.zeros_like(self.weights))),
            "chance F": chance_f(self.wanted, window, network.n_steps, rule.seed),
        }
        frozen = network.is_lif and network.has_currents
        return Learned(
            circuit=network.with_weights(self.weights),
            best=network.with_weights(self.best),
            history=make_history(self.columns),
            status=status,
            message=self._message(status),
            rule="PSPM",
            target=self.target,
            spikes=network.spikes(last),
            best_spikes=network.spikes(best),
            rho=membrane_ratio(network, self.best, best) if frozen else float("nan"),
            scores=scores,
            details={"weights": self.weights, "best_weights": self.best, "learning_rate": self.rate},
        )

    def _message(self, status: Status) -> str:
        if status == "ran away":
            return (
                f"The network fired more than {self.rule.runaway:g} times the target's spikes in pass {self.done}; the "
                "weights before are kept. Lower `learning_rate`, or raise `runaway`"
            )
        return {
            "converged": f"Every spike is matched within {self.narrowest * self.network.dt:g} ms",
            "stopped": "`progress` ended it",
            "passes used up": "Some spikes are not matched: more passes may help",
        }[status]

    # Checkpoints

    def _fingerprint(self) -> str:
        options = {f.name: getattr(self.rule, f.name) for f in dataclasses.fields(self.rule)}
        if self.rule.anneal != "linear":
            options.pop("passes")  # more of them only go on
        digest = hashlib.sha256(repr(sorted(options.items())).encode())
        digest.update(self.network.circuit.hash().encode())
        digest.update(repr((self.network.dt, self.network.n_steps)).encode())
        for array in (*self.target.flat, self.has_target, self.connections):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _save(self, path: Path | None) -> None:
        if path is None:
            return
        state = {"random": self.rng.bit_generator.state, "done": self.done, "best_score": self.best_score}
        with written_aside(path) as aside, aside.open("wb") as file:
            arrays: dict[str, Any] = {f"history_{name}": np.array(values) for name, values in self.columns.items()}
            arrays |= {"weights": self.weights, "good": self.good, "best": self.best}
            arrays |= {"fingerprint": np.array(self._fingerprint()), "state": np.array(json.dumps(state))}
            np.savez_compressed(file, **arrays)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CheckpointError
            If it is of another fit, or damaged.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = {name: stored[name] for name in stored.files}
            state = json.loads(str(found["state"]))
            columns = {name: found[f"history_{name}"].tolist() for name in _COLUMNS}
            arrays = found["weights"], found["good"], found["best"]
            fingerprint = str(found["fingerprint"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CheckpointError(f"{path} is not a complete checkpoint ({error}): remove it to begin anew") from error
        if fingerprint != self._fingerprint():
            raise CheckpointError(
                f"{path} is the checkpoint of another fit (other options, target, circuit or currents): name another "
                "file, or remove it to begin anew"
            )
        self.weights, self.good, self.best = arrays
        first, second = state["best_score"]
        self.columns, self.done, self.best_score = columns, int(state["done"]), (float(first), float(second))
        self.rng.bit_generator.state = state["random"]
