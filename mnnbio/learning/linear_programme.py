"""Weights that make given spikes and no others, neuron by neuron, by linear programming."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from mnnbio.circuit import Circuit
from mnnbio.learning.clamped import ClampedNeurons
from mnnbio.learning.free_run import entered, free_run, matched, outcome_of
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork
from mnnbio.learning.outcome import Learned, Status
from mnnbio.learning.targets import require_window
from mnnbio.machine import check_choice
from mnnbio.units import in_unit, require

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]

LEAST_MARGIN = 1e-5  # mV; what the solver's tolerance of 1e-7 leaves no doubt about
Slack = Literal["where infeasible", "always", "never"]

CUT_TOLERANCE = 1e-6  # mV by which a step may miss its margin
ROUNDS = 200


class NeuronWeights(NamedTuple):
    """Solution of the programme of one neuron.

    Attributes
    ----------
    weights : ndarray, shape (n,)
        mV.
    margin : float
        mV; least distance from threshold, on the side asked for. Not positive where the programme is infeasible.
    slack : float
        mV; sum by which steps miss the margin, 0 where the programme is feasible.
    conflict : ndarray of int64, shape (step,)
        Steps of which no weights do what is asked together; empty where the programme is feasible.
    rows, rounds : int
        Constraints that were needed, and programmes solved.
    """

    weights: Array
    margin: float
    slack: float
    conflict: Int64
    rows: int
    rounds: int


@dataclass(frozen=True, kw_only=True)
class LinearProgramme:
    """Learn spike trains by one linear programme per neuron, on input clamped to the target.

    With every neuron's spikes given, a neuron's potential is affine in its incoming weights (`ClampedNeurons`): it
    fires what is asked of it if ``V(k) ≥ v_th`` at its target spikes and ``V(k) < v_th`` in every other step in which
    it is not held. These are linear inequalities, and the weights are those that keep the greatest distance from
    threshold, up to `margin`. If all neurons' programmes are feasible, the network fires the target exactly, on its own
    too. Where one is not, which is proved by steps that contradict each other, the sum of the distances by which steps
    miss the margin is least instead. Only steps that matter enter: those that the last solution misses are added until
    there are none.

    Weights that miss their own target a little make other neurons' input another one, and the network drifts away from
    it. So where programmes are infeasible, what each neuron fires on clamped input replaces its target, and the
    programmes are solved again, in up to `rounds` rounds: trains at which this ends can be fired exactly. The score
    stays that against the given target, and the best round is kept as ``best``.

    Parameters
    ----------
    margin : float or Quantity
        Largest distance from threshold that is sought, mV; > 0.
    slack : {"where infeasible", "always", "never"}
        Which neurons get the weights that miss the margin least, at the cost `norm` of weights, instead of those of
        greatest margin: those whose programme is infeasible, all, as suits trains with noise in their times, or none;
        then a neuron whose programme is infeasible keeps its own weights.
    signs : bool
        Whether weights keep the sign that those of their source have in the circuit.
    bound : float or Quantity, optional
        Largest magnitude of a weight, mV; by default there is none.
    norm : float
        Cost of a mV of a weight's magnitude in mV of margin (or slack); ≥ 0. A small one chooses the smallest of
        equally good weights, a large one makes them few.
    tolerance : float or Quantity
        Time before a target spike within which the potential may cross already, ms. 0 for trains that are exact.
    rounds : int
        How often infeasible trains are replaced at most; ≥ 1.
    window : float or Quantity
        Longest distance of spikes that match, ms, in the score.

    Raises
    ------
    ValueError
        If a value is out of its range.

    Examples
    --------
    >>> LinearProgramme(margin=0.5).slack
    'where infeasible'
    """

    margin: Any = 0.3
    slack: Slack = "where infeasible"
    signs: bool = True
    bound: Any = None
    norm: float = 3e-3
    tolerance: Any = 0.0
    rounds: int = 10
    window: Any = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin", in_unit(self.margin, "mV", "margin"))
        object.__setattr__(self, "tolerance", in_unit(self.tolerance, "ms", "tolerance"))
        object.__setattr__(self, "window", in_unit(self.window, "ms", "window"))
        if self.bound is not None:
            object.__setattr__(self, "bound", in_unit(self.bound, "mV", "bound"))
            require(np.asarray(self.bound) > 0, "bound", "> 0 mV", self.bound)
        require(np.asarray(self.margin) >= LEAST_MARGIN, "margin", f"≥ {LEAST_MARGIN:g} mV", self.margin)
        require(np.asarray(self.norm) >= 0, "norm", "≥ 0", self.norm)
        check_choice("slack", self.slack, ["where infeasible", "always", "never"])
        require(np.asarray(self.rounds) >= 1, "rounds", "≥ 1", self.rounds)
        require(np.asarray(self.tolerance) >= 0, "tolerance", "≥ 0 ms", self.tolerance)

    def fit(
        self,
        target: Any,
        circuit: Circuit | FrozenNetwork,
        currents: Any = None,
        *,
        dt: Any = 0.1,
        codegen: Codegen = "cpp_standalone",
    ) -> Learned:
        """Return the network with the weights of the programmes, and what it fires on its own.

        Parameters
        ----------
        target : SpikeTargets, DataTree, Circuit or array_like
            Trains of all neurons, as `read_targets` takes them.
        circuit : Circuit or FrozenNetwork
            Of LIF neurons with delta or exponential synapses. Synapses whose weights are 0 stay 0. A network is used
            within its ``with`` block, with its own currents and step.
        currents : array_like, Quantity or Samples, shape (step, n), optional
            As of `FrozenNetwork`.
        dt : float or Quantity
            Time step, ms.
        codegen : {"cpp_standalone", "runtime"}

        Returns
        -------
        Learned
            ``status`` is "infeasible" if a neuron's programme is, "converged" if the network matches every spike.
            ``history`` has one pass a round. ``scores`` have ``F_clamped``, of spikes on input clamped to the target.
            ``details`` hold per neuron ``margin`` (mV), ``slack`` (mV, of the given target), ``rows``, and
            ``conflicts``: steps of the given target, by neuron, that contradict each other.
        """
        with entered(circuit, currents, dt, codegen) as network:
            targets = network.targets(target)
            window = require_window(self.window, network.dt)
            signs = network.signs if self.signs else np.zeros(network.size)
            asked, runs, rounds = targets, [], []
            for _ in range(self.rounds):
                neurons = ClampedNeurons.of(network, asked)
                found = [
                    self.solve(neurons, neuron, network.connections[neuron], signs, network.weights[neuron])
                    for neuron in range(network.size)
                ]
                runs.append(free_run(network, np.array([own.weights for own in found]), targets, window))
                rounds.append(found)
                first = rounds[0]
                fired = [neurons.fired(neuron, own.weights) for neuron, own in enumerate(found)]
                if all(np.array_equal(*pair) for pair in zip(fired, asked.steps, strict=True)):
                    break
                asked = replace(asked, steps=fired)
            best = int(np.argmax([run.F for run in runs]))
            neurons = ClampedNeurons.of(network, targets)
            clamped = [neurons.fired(neuron, own.weights) for neuron, own in enumerate(first)]
            conflicts = {k: own.conflict for k, own in enumerate(first) if own.conflict.size}
            status: Status = "converged"
            message = "Every neuron's programme is feasible."
            if conflicts:
                status, message = "infeasible", _conflicts_told(conflicts, neurons)
            elif runs[best].F < 1:
                status, message = "passes used up", "The programmes were solved with slack or a tolerance."
            kept = rounds[best]
            return outcome_of(
                "linear programme",
                network,
                targets,
                runs,
                status,
                message,
                scores={
                    "F_clamped": matched(clamped, targets, window)[0],
                    "least_margin": min(own.margin for own in kept),
                    "slack": sum(own.slack for own in first),
                },
                details={
                    "margin": np.array([own.margin for own in kept]),
                    "slack": np.array([own.slack for own in first]),
                    "rows": np.array([own.rows for own in kept]),
                    "solved": np.array([own.rounds for own in kept]),
                    "conflicts": conflicts,
                },
            )

    def solve(
        self, neurons: ClampedNeurons, neuron: int, connected: Bool, signs: Array, initial: Array
    ) -> NeuronWeights:
        """Solve the programme of one neuron.

        Parameters
        ----------
        neurons : ClampedNeurons
        neuron : int
        connected : ndarray of bool, shape (n,)
            Sources it has synapses from.
        signs : ndarray, shape (n,)
            1, -1, or 0 for sources whose weights may have any sign.
        initial : ndarray, shape (n,)
            Weights it keeps if its programme is infeasible and there is no slack, mV.
        """
        programme = _Programme(self, neurons, neuron, connected, signs)
        margin, conflict = programme.greatest_margin()
        missed = 0.0
        if self.slack == "always" or (self.slack == "where infeasible" and conflict.size):
            missed = programme.least_slack()
        elif conflict.size:
            programme.weights = initial.copy()
        return NeuronWeights(programme.weights, margin, missed, conflict, len(programme.steps), programme.rounds)


class _Programme:
    """Constraints of one neuron, which grow by the steps that a solution misses.

    Magnitudes p ≥ 0 stand for weights: one a source of known sign, one for either sign of the others.
    """

    def __init__(
        self, options: LinearProgramme, neurons: ClampedNeurons, neuron: int, connected: Bool, signs: Array
    ) -> None:
        self.options, self.neurons, self.neuron = options, neurons, neuron
        sources = np.flatnonzero(connected)
        own = signs[sources]
        self.sources = np.concatenate([sources[own >= 0], sources[own <= 0]])
        self.signs = np.concatenate([np.ones((own >= 0).sum()), -np.ones((own <= 0).sum())])
        self.external = neurons.external(neuron)
        fires = np.zeros(neurons.n_steps, dtype=bool)
        fires[neurons.targets.steps[neuron]] = True
        asked = np.zeros(neurons.n_steps, dtype=bool)
        asked[neurons.live(neuron)] = True
        early = round(options.tolerance / neurons.dt)
        for spike in neurons.targets.steps[neuron]:
            asked[max(spike - early, 0) : spike] = False
        self.sides = np.where(fires, 1.0, -1.0)  # of the threshold
        self.asked = asked
        self.rounds = 0
        self.weights = np.zeros(neurons.size)
        self.steps = np.zeros(0, dtype=np.int64)
        self._matrix = np.zeros((0, len(self.sources)))
        self._limits = np.zeros(0)
        # Target spikes, the steps before them, and where the potential is highest between them without any synapse.
        spikes = np.flatnonzero(fires)
        before = spikes[spikes > 0] - 1
        highest = [
            first + int(np.argmax(part))
            for first, part in zip(np.r_[0, spikes + 1], np.split(self.external, spikes + 1), strict=True)
            if part.size
        ]
        self._add(np.unique(np.concatenate([spikes, before[asked[before]], highest]).astype(np.int64)))

    def _add(self, steps: Int64) -> None:
        steps = np.setdiff1d(steps[self.asked[steps]], self.steps)
        side = self.sides[steps]
        response = self.neurons.response(self.neuron, steps)[:, self.sources] * self.signs
        self.steps = np.concatenate([self.steps, steps])
        self._matrix = np.concatenate([self._matrix, -side[:, None] * response])
        self._limits = np.concatenate([self._limits, side * (self.external[steps] - self.neurons.v_th[self.neuron])])

    def _distances(self) -> Array:
        """Return how far the potential is on the side of threshold that is asked for, mV, in every step."""
        return self.sides * (self.neurons.potential(self.neuron, self.weights) - self.neurons.v_th[self.neuron])

    def _missed(self, least: float, known: Bool | None = None) -> Int64:
        """Return the worst step of every stretch of steps that miss a distance."""
        distances = np.where(self.asked, self._distances(), np.inf)
        if known is not None:
            distances = np.where(known, np.inf, distances)
        missed = np.flatnonzero(distances < least - CUT_TOLERANCE)
        if not missed.size:
            return missed
        stretches = np.split(missed, np.flatnonzero(np.diff(missed) > 1) + 1)
        return np.array([part[np.argmin(distances[part])] for part in stretches], dtype=np.int64)

    def _solved(self, costs: Array, matrix: Any, limits: Array, bounds: list[tuple[float | None, float | None]]) -> Any:
        self.rounds += 1
        if self.rounds > ROUNDS:
            raise RuntimeError(
                f"the programme of neuron {self.neuron} is not solved after {ROUNDS} rounds: give a larger `norm` or "
                "a `bound` of the weights"
            )
        found = optimize.linprog(costs, A_ub=matrix, b_ub=limits, bounds=bounds, method="highs")
        if found.status != 0:
            raise RuntimeError(f"HiGHS did not solve the programme of neuron {self.neuron}: {found.message}")
        self.weights = np.zeros(self.neurons.size)
        np.add.at(self.weights, self.sources, self.signs * found.x[: len(self.sources)])
        return found

    def _magnitudes(self) -> list[tuple[float | None, float | None]]:
        return [(0.0, self.options.bound)] * len(self.sources)

    def greatest_margin(self) -> tuple[float, Int64]:
        """Set the weights of greatest margin; return it and the steps that contradict each other if it is not > 0."""
        options = self.options
        bounds: list[tuple[float | None, float | None]] = [*self._magnitudes(), (None, options.margin)]
        cost = options.norm
        while True:
            matrix = np.c_[self._matrix, np.ones(len(self.steps))]
            costs = np.r_[np.full(len(self.sources), cost), -1.0]
            found = self._solved(costs, matrix, self._limits, bounds)
            margin = float(found.x[-1])
            if margin < LEAST_MARGIN and cost > 0:
                cost = 0.0  # margin is not to be missed for the sake of small weights
                continue
            if margin < LEAST_MARGIN:
                return margin, np.sort(self.steps[np.abs(found.ineqlin.marginals) > 1e-9])
            missed = self._missed(margin)
            if not missed.size:
                return margin, np.zeros(0, dtype=np.int64)
            self._add(missed)

    def least_slack(self) -> float:
        """Set the weights that miss the margin by the least sum over all steps; return the sum, mV."""
        options = self.options
        while True:
            rows = len(self.steps)
            matrix = sparse.hstack([sparse.csr_array(self._matrix), -sparse.eye_array(rows)], format="csr")
            costs = np.r_[np.full(len(self.sources), options.norm), np.ones(rows)]
            bounds: list[tuple[float | None, float | None]] = [*self._magnitudes(), *[(0.0, None)] * rows]
            found = self._solved(costs, matrix, self._limits - options.margin, bounds)
            known = np.zeros(self.neurons.n_steps, dtype=bool)
            known[self.steps] = True
            missed = self._missed(options.margin, known)
            if not missed.size:
                return float(found.x[len(self.sources) :].sum())
            self._add(missed)


def _conflicts_told(conflicts: dict[int, Int64], neurons: ClampedNeurons) -> str:
    neuron, steps = next(iter(conflicts.items()))
    fires = np.isin(steps, neurons.targets.steps[neuron])
    asked, quiet = (
        ", ".join(f"{step * neurons.dt:g} ms" for step in chosen[:3]) + (", …" if len(chosen) > 3 else "")
        for chosen in (steps[fires], steps[~fires])
    )
    told = f"cannot fire at {asked}" if asked else f"cannot be silent at {quiet}"
    if asked and quiet:
        told = f"cannot both fire at {asked} and be silent at {quiet}"
    listed = ", ".join(map(str, list(conflicts)[:10])) + (", …" if len(conflicts) > 10 else "")
    return (
        f"No weights make {len(conflicts)} of {neurons.size} neurons ({listed}) fire as asked. Neuron {neuron}, "
        f"for one, {told}: allow slack, a tolerance or weights of either sign."
    )
