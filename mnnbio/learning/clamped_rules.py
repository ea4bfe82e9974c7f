"""Rules that correct a neuron's weights at its errors on clamped input: the perceptron's and the tempotron's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.learning.clamped import ClampedNeurons
from mnnbio.learning.free_run import FreeRun, entered, free_run, matched, outcome_of
from mnnbio.learning.frozen_network import Codegen, FrozenNetwork
from mnnbio.learning.outcome import Learned, Status
from mnnbio.learning.pspm_rule import keep_signs
from mnnbio.learning.targets import require_window
from mnnbio.units import in_unit, require

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
Report = Callable[[int, float], bool | None]


class EpochErrors(NamedTuple):
    """Weights of a neuron after an epoch, and how many errors it made in it."""

    weights: Array
    errors: int


def perceptron_epoch(
    weights: Array,
    external: Array,
    response: Array,
    fires: Bool,
    *,
    v_th: float,
    margin: float,
    rate: float,
    signs: Array,
) -> EpochErrors:
    """Correct weights at every step in which a neuron is on the wrong side of threshold, one after the other.

    ``Δw = ± rate K(k) / max|K|²`` at a step k at which ``V(k) < v_th + margin`` though it is to fire (+), or ``V(k) ≥
    v_th - margin`` though it is not (-): the perceptron rule of the inequalities of a clamped neuron.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        mV.
    external, response, fires : ndarray, shape (step,), (step, n), (step,)
        Of `AffinePotential`.
    v_th, margin : float
        mV.
    rate : float
        mV of potential by which the strongest step is corrected.
    signs : ndarray, shape (n,)
        1 or -1 where a weight must keep this sign, else 0: it ends at 0 instead of changing it.

    References
    ----------
    F. Rosenblatt (1958), The perceptron, Psychological Review 65; on clamped input R.-M. Memmesheimer et al. (2014),
    Learning precisely timed spikes, Neuron 82, 925-938 ("finite precision" and "high threshold" learning).
    """
    weights = weights.copy()
    side = np.where(fires, 1.0, -1.0)
    gain = rate / max(float(np.square(response).sum(axis=1).max()), 1e-300)
    distance = side * (external + response @ weights - v_th)
    step, errors = 0, 0
    while True:
        wrong = np.flatnonzero(distance[step:] < margin)
        if not wrong.size:
            return EpochErrors(weights, errors)
        step += int(wrong[0])
        changed = keep_signs(weights + gain * side[step] * response[step], signs)
        later = slice(step + 1, None)
        distance[later] += side[later] * (response[later] @ (changed - weights))
        weights, step, errors = changed, step + 1, errors + 1


def tempotron_epoch(
    weights: Array,
    external: Array,
    response: Array,
    fires: Bool,
    *,
    v_th: float,
    margin: float,
    rate: float,
    signs: Array,
) -> EpochErrors:
    """Correct weights where the potential is highest in every stretch between target spikes, and at missed spikes.

    A stretch that crosses threshold has one error, at its maximum ``k*``, where ``Δw = -rate K(k*) / max|K|²``; a
    target spike that does not cross has one, with the opposite sign. All errors of an epoch are corrected together.
    Parameters are those of `perceptron_epoch`.

    References
    ----------
    R. Gütig, H. Sompolinsky (2006), The tempotron: a neuron that learns spike timing-based decisions, Nature
    Neuroscience 9, 420-428, eq. 3: weights change by the potential that each source leaves at the maximum.
    """
    distance = external + response @ weights - v_th
    places = np.flatnonzero(fires)
    missed = places[distance[places] < margin]
    extra = []
    for first, part in zip(np.r_[0, places + 1], np.split(distance, places + 1), strict=True):
        quiet = part[:-1] if first + len(part) <= places.max(initial=-1) + 1 else part  # its last step is a spike
        if quiet.size and quiet.max() >= -margin:
            extra.append(first + int(np.argmax(quiet)))
    change = response[missed].sum(axis=0) - response[extra].sum(axis=0)
    gain = rate / max(float(np.square(response).sum(axis=1).max()), 1e-300)
    return EpochErrors(keep_signs(weights + gain * change, signs), len(missed) + len(extra))


@dataclass(frozen=True, kw_only=True)
class ClampedRule:
    """Learn spike trains neuron by neuron, by correcting errors on input clamped to the target.

    Parameters
    ----------
    epochs : int
        How often each neuron goes through its train at most; ≥ 1.
    rate : float or Quantity
        Size of a correction, mV: how far the step that weights act on most is moved; > 0. It falls linearly to a tenth.
    margin : float or Quantity
        Distance from threshold that is asked for, mV; ≥ 0.
    signs : bool
        Whether weights keep the sign that those of their source have in the circuit.
    score_every : int
        Epochs between free runs of the network, which are scored; ≥ 1.
    window : float or Quantity
        Longest distance of spikes that match, ms, in the score.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    epochs: int = 300
    rate: Any = 1.0
    margin: Any = 0.05
    signs: bool = True
    score_every: int = 50
    window: Any = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", in_unit(self.rate, "mV", "rate"))
        object.__setattr__(self, "margin", in_unit(self.margin, "mV", "margin"))
        object.__setattr__(self, "window", in_unit(self.window, "ms", "window"))
        require(np.asarray(self.epochs) >= 1, "epochs", "≥ 1", self.epochs)
        require(np.asarray(self.score_every) >= 1, "score_every", "≥ 1", self.score_every)
        require(np.asarray(self.rate) > 0, "rate", "> 0 mV", self.rate)
        require(np.asarray(self.margin) >= 0, "margin", "≥ 0 mV", self.margin)

    @property
    def name(self) -> str:
        """Name of the rule in results."""
        raise NotImplementedError

    def epoch(
        self, weights: Array, external: Array, response: Array, fires: Bool, *, v_th: float, rate: float, signs: Array
    ) -> EpochErrors:
        """Return the weights of a neuron after a block of steps; see `perceptron_epoch`."""
        raise NotImplementedError

    def fit(
        self,
        target: Any,
        circuit: Circuit | FrozenNetwork,
        currents: Any = None,
        *,
        dt: Any = 0.1,
        codegen: Codegen = "cpp_standalone",
        progress: Report | None = None,
    ) -> Learned:
        """Return the network with the weights learned, and what it fires on its own.

        Parameters
        ----------
        target, circuit, currents, dt, codegen
            As of `LinearProgramme.fit`; learning starts from the circuit's weights.
        progress : callable, optional
            Called with the epochs done and F after every free run; learning stops if it returns True.

        Returns
        -------
        Learned
            ``history`` has one pass per free run, with the `epoch` and the `errors` on clamped input in it; ``details``
            hold per neuron ``errors`` of its last epoch.
        """
        with entered(circuit, currents, dt, codegen) as network:
            targets = network.targets(target)
            window = require_window(self.window, network.dt)
            neurons = ClampedNeurons.of(network, targets)
            signs = network.signs if self.signs else np.zeros(network.size)
            weights = keep_signs(network.weights, signs)
            errors = np.full(network.size, -1)
            runs: list[FreeRun] = []
            course: dict[str, list[float]] = {"epoch": [], "errors": []}
            status: Status = "passes used up"
            for first in range(0, self.epochs, self.score_every):
                last = min(first + self.score_every, self.epochs)
                for neuron in np.flatnonzero(errors != 0):
                    weights[neuron], errors[neuron] = self._trained(
                        neurons, int(neuron), weights[neuron], network.connections[neuron], signs, range(first, last)
                    )
                runs.append(free_run(network, weights.copy(), targets, window))
                course["epoch"].append(last)
                course["errors"].append(float(errors.sum()))
                if not errors.any():
                    status = "converged"
                    break
                if progress is not None and progress(last, runs[-1].F):
                    status = "stopped"
                    break
            faulty = np.flatnonzero(errors)
            message = "No neuron makes an error on clamped input."
            if faulty.size:
                listed = ", ".join(map(str, faulty[:10])) + (", …" if len(faulty) > 10 else "")
                message = (
                    f"{len(faulty)} of {network.size} neurons ({listed}) still make errors on clamped input: allow "
                    "more `epochs`, or ask LinearProgramme whether they can be avoided."
                )
            clamped = [neurons.fired(neuron, weights[neuron]) for neuron in range(network.size)]
            return outcome_of(
                self.name,
                network,
                targets,
                runs,
                status,
                message,
                scores={"F_clamped": matched(clamped, targets, window)[0]},
                details={"errors": errors},
                columns=course,
            )

    def _trained(
        self, neurons: ClampedNeurons, neuron: int, weights: Array, connected: Bool, signs: Array, epochs: range
    ) -> tuple[Array, int]:
        """Return the weights of a neuron after some epochs, and the errors of the last, 0 where it makes none."""
        sources = np.flatnonzero(connected)
        found, own = weights.copy(), weights[sources]
        errors = 0
        for epoch in epochs:
            rate = self.rate * (1 - 0.9 * epoch / self.epochs)
            errors = 0
            for part in neurons.blocks(neuron):
                own, wrong = self.epoch(
                    own,
                    part.external,
                    part.response[:, sources],
                    part.fires,
                    v_th=float(neurons.v_th[neuron]),
                    rate=rate,
                    signs=signs[sources],
                )
                errors += wrong
            if not errors:
                break
        found[sources] = own
        return found, errors


@dataclass(frozen=True, kw_only=True)
class ClampedPerceptron(ClampedRule):
    """Learn spike trains by the perceptron rule on input clamped to the target, see `ClampedRule`.

    Every step on the wrong side of threshold is an error, corrected at once (`perceptron_epoch`). Where weights without
    errors exist, it finds them in a finite number of corrections; otherwise it goes on until `epochs` are used up.

    References
    ----------
    R.-M. Memmesheimer, R. Rubin, B. P. Ölveczky, H. Sompolinsky (2014), Learning precisely timed spikes, Neuron 82,
    925-938.
    """

    @property
    def name(self) -> str:
        """Name of the rule in results."""
        return "perceptron on clamped input"

    def epoch(
        self, weights: Array, external: Array, response: Array, fires: Bool, *, v_th: float, rate: float, signs: Array
    ) -> EpochErrors:
        """Return the weights after a block of steps, by `perceptron_epoch`."""
        return perceptron_epoch(
            weights, external, response, fires, v_th=v_th, margin=self.margin, rate=rate, signs=signs
        )


@dataclass(frozen=True, kw_only=True)
class ClampedTempotron(ClampedRule):
    """Learn spike trains by the tempotron rule on input clamped to the target, see `ClampedRule`.

    Each stretch between target spikes has at most one error, where the potential is highest, and each target spike one
    (`tempotron_epoch`).

    References
    ----------
    R. Gütig, H. Sompolinsky (2006), The tempotron: a neuron that learns spike timing-based decisions, Nature
    Neuroscience 9, 420-428, eq. 3.
    """

    @property
    def name(self) -> str:
        """Name of the rule in results."""
        return "tempotron on clamped input"

    def epoch(
        self, weights: Array, external: Array, response: Array, fires: Bool, *, v_th: float, rate: float, signs: Array
    ) -> EpochErrors:
        """Return the weights after a block of steps, by `tempotron_epoch`."""
        return tempotron_epoch(
            weights, external, response, fires, v_th=v_th, margin=self.margin, rate=rate, signs=signs
        )
