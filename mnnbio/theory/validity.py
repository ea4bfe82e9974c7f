"""Warnings of where the theory of a circuit is doubtful, each with the number that it is about."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

from mnnbio.circuit import Circuit, ModeMatrix, Population, Source, check_time_step, time_step
from mnnbio.neurons import AdEx, ConductanceLIF, LIFParameters
from mnnbio.theory.answers import membrane_time
from mnnbio.theory.inputs import check_parts, drive_input, drives_into
from mnnbio.theory.transmission import filter_time
from mnnbio.theory.wired_response import Stability
from mnnbio.values import Distribution

# The diffusion approximation is called doubtful where the asymmetry of jumps may change rates by more than this
# fraction, in neurons that fire at all (spikes/ms).
TOLERATED_CHANGE = 0.05
LOWEST_RATE = 1e-4

# Correlation of two currents above which the linear rule misses the covariance of the trains. With shared noise of
# correlation 0.5, 0.7 and 0.9 simulated count covariances are 1.07-1.09, 1.10-1.12 and 1.13-1.32 times the rule's.
TOLERATED_CORRELATION = 0.7

# Real part of an eigenvalue of A W above which fluctuations are amplified, at least 25-fold in power, by what linear
# response takes from the state without them. Simulated covariances of summed activity are met within 6 % at spectral
# radii up to 0.26 and within 20 % at 0.4 (docs/recurrent.md).
TOLERATED_EIGENVALUE = 0.8

# Stationary rates of leaky neurons are right for synapses of any time constant. Their responses to modulations are
# those of the neuron that white noise drives to the same rate: ratio tau_syn/tau_m, and by how much its gain is too
# small, from below to above threshold (`mnnbio.moments.effective_lif`, `mnnbio.moments.colored_activation`).
SLOW_RATIO = 0.2
SLOW_ERRORS = ((0.05, 0.03), (0.25, 0.1), (2.5, 0.47))

# The same for exponential, quadratic and adaptive neurons, whose potential is smooth at the onset of a spike: the part
# of the rate that is off, too high in exponential neurons and too low in quadratic ones.
SLOW_RATIO_SOFT = 0.1
SLOW_ERRORS_SOFT = ((0.05, 0.04), (0.1, 0.06), (0.25, 0.1), (0.5, 0.13))

# Adaptation by its mean: in neurons with given input the rate is too low by some 5 % times the relative change of the
# rate that the adaptation of one spike makes at once, ``gain b/(C rate)``. Measured for ratios up to 2.4
# (`benchmarks/threshold_integration.py`). In recurrent circuits the error of the input may outweigh it, of either sign.
ADAPTATION_ERROR = 0.05
TOLERATED_ADAPTATION = 1.0

# Part of the variance of the free potential that a population has in common from which collective volleys are no small
# Gaussian fluctuations any more: it is 0.07 in the state "middle" of benchmarks/recurrent_covariances.py, whose
# covariances are met, 0.14 in "high" and 0.22 in "highest", where parts are missing, 0.03 to 0.08 in sparse circuits.
TOLERATED_COMMON = 0.1

# Fano factor in long windows above which neurons burst; slow synapses alone bring 1 to 3.
TOLERATED_FANO = 5.0
# Standard deviation of the summed activity's rate over its mean: with more, Gaussian fluctuations of a rate would be
# below zero a tenth of the time. At 0.8 power at twice the resonance is 3 times larger, at 0.7 it is met within 12 %.
TOLERATED_SWING = 0.75

# Numbers in mV and ms that no neuron receives: their squares and cubes would leave the range of arithmetic.
# Standard deviation among neurons of the variance of their input, over its mean. With 0.14 rates are 7 % off, those of
# the same circuit with fixed in-degrees by less than 1 %; with 0.1 they are 1.5 % off.
TOLERATED_DISORDER = 0.12

LARGEST = 1e30

Array = npt.NDArray[np.float64]


class FiniteWeightWarning(UserWarning):
    """Single jumps of the membrane potential are too large to be treated as a diffusion."""


class CorrelationWarning(UserWarning):
    """Input currents are too strongly correlated for the linear rule of covariances."""


class LinearResponseWarning(UserWarning):
    """A recurrent circuit is close to an instability, where fluctuations are not small."""


class SlowSynapseWarning(UserWarning):
    """Synapses are slow against the membrane, where responses of leaky neurons and rates of others are off."""


class AdaptationWarning(UserWarning):
    """Adaptation grows by so much at a spike that its mean does not stand for it."""


class CollectiveActivityWarning(UserWarning):
    """Neurons share volleys that are too large and too asymmetric for linear response."""


class DisorderWarning(UserWarning):
    """The neurons of a population receive inputs whose variances differ too much for one spectrum."""


class SamplingWarning(UserWarning):
    """Too few surrogate neurons were simulated for the accuracy asked for."""


class Fluctuations(NamedTuple):
    """State of the neurons of a population, as the checks of validity see it; tensors (stimulus, neuron)."""

    population: Population
    named: bool  # whether the neurons are those of the circuit, which have a number
    std: Tensor  # of the input, mV/√ms
    third: Tensor  # of its jumps, mV³/ms
    rate: Tensor  # 1/ms
    gain: Tensor  # 1/mV
    tau_m: Tensor  # ms, with mean conductances


def checked_step(circuit: Circuit, dt: Any, *, drawn: bool) -> float | None:
    """Return the time step in ms, None for continuous time, after checking that a simulation could run with it.

    Parameters
    ----------
    circuit : Circuit
    dt : float or Quantity, optional
    drawn : bool
        Whether delays that are drawn from a distribution are looked at, which draws the synapses.

    Raises
    ------
    ValueError
        As `simulate` does: if `dt` does not divide a refractory period or a delay, or a rate is too high for it.
    """
    if dt is None:
        return None
    step = time_step(dt)
    known = circuit
    if not drawn and any(isinstance(p.delay, Distribution) for p in circuit.projections):
        known = circuit.with_parts(
            projections=[p for p in circuit.projections if not isinstance(p.delay, Distribution)]
        )
    check_time_step(known, step)
    return step


def check_predictable(circuit: Circuit, *, any_neuron: bool = False) -> None:
    """Check that there is a theory for all parts, and that no weight or drive is too large for powers of it.

    Raises
    ------
    TypeError
        If there is no theory for a part; the message names it.
    ValueError
        If one exceeds 10³⁰ in mV and ms; the message names it.
    """
    check_parts(circuit, any_neuron=any_neuron)
    for projection in circuit.projections:
        _require_moderate(_largest(projection), f"weights of {projection}", "mV")
    for drive in circuit.drives:
        given = drive_input(circuit, drive, None)
        _require_moderate(_most(given.mean), f"the mean of {drive}", "mV/ms")
        _require_moderate(_most(given.variance), f"the variance of {drive}", "mV²/ms")
        for jumps in (*given.jumps, *given.openings):
            _require_moderate(abs(jumps.weight), f"the weight of {drive}", "mV")
            _require_moderate(_most(jumps.rate), f"the rate of {drive}", "spikes/ms")


def slow_ratio(circuit: Circuit, population: Population, tau_m: Tensor | None = None) -> float:
    """Return the largest ratio of a synaptic time constant to a membrane's among what a population receives.

    Parameters
    ----------
    circuit : Circuit
    population : Population
    tau_m : Tensor, optional
        Membrane time constants with the mean conductances, ms; by default without.
    """
    times = [
        filter_time(p.synapse_model) for p in circuit.projections if p.target == population.name and _largest(p) > 0
    ]
    for given in drives_into(circuit, population, None):
        times += [jumps.tau_syn for jumps in (*given.jumps, *given.openings)]
    own = membrane_time(population.neuron) if tau_m is None else tau_m.numpy()
    return 0.0 if own is None else max(times, default=0.0) / float(np.min(own))


def check_validity(
    circuit: Circuit,
    states: Iterable[Fluctuations] = (),
    *,
    diffusion: bool = True,
    responses: bool = True,
    eigenvalues: Stability | None = None,
) -> None:
    """Warn of everything that makes a prediction doubtful; each prediction passes through here.

    Parameters
    ----------
    circuit : Circuit
    states : iterable of Fluctuations
        Neurons of the populations.
    diffusion : bool
        Whether jumps are treated as a diffusion.
    responses : bool
        Whether neurons are asked how they respond to modulations, and not only for their stationary state.
    eigenvalues : Stability, optional
        Of the effective weights, where a linear response is predicted.

    Warns
    -----
    SlowSynapseWarning, FiniteWeightWarning, LinearResponseWarning, AdaptationWarning
    """
    states = list(states)
    warn_of_slow_synapses(circuit, {state.population.name: state.tau_m for state in states}, responses=responses)
    for state in states:
        if diffusion and bool((state.rate > LOWEST_RATE).any()):
            warn_of_finite_weights(state)
        if isinstance(state.population.neuron, AdEx):
            warn_of_strong_adaptation(circuit, state)
    if eigenvalues is not None:
        warn_of_amplification(eigenvalues)


def warn_of_slow_synapses(circuit: Circuit, tau_m: Mapping[str, Tensor], *, responses: bool = True) -> None:
    """Warn where synapses are slow against the membrane, with the size of the error to be expected.

    Of leaky neurons only where `responses` are asked for: their stationary states are right.
    """
    ratios = {p.name: slow_ratio(circuit, p, tau_m.get(p.name)) for p in circuit.neurons}
    soft = {p.name for p in circuit.neurons if not isinstance(p.neuron, LIFParameters | ConductanceLIF)}
    leaky = set(ratios) - soft if responses else set()
    for names, limit in ((leaky, SLOW_RATIO), (soft, SLOW_RATIO_SOFT)):
        slow = {name: ratio for name, ratio in ratios.items() if name in names and ratio >= limit}
        if not slow:
            continue
        name = max(slow, key=lambda n: slow[n])
        known, errors = zip(*(SLOW_ERRORS if limit == SLOW_RATIO else SLOW_ERRORS_SOFT), strict=True)
        error = float(np.interp(np.log(slow[name]), np.log(known), errors))
        size = f"{error:.0%}" if slow[name] <= known[-1] else f"more than {errors[-1]:.0%}"
        expected = (
            "and responses to modulations are those for small ratios. Expect them too small by up to about "
            f"{size} (interpolated between measured 3 % at 0.05, 10 % at 0.25 and 47 % at 2.5); rates are right"
            if limit == SLOW_RATIO
            else "and the theory is an expansion for small ratios. Expect rates off by up to about "
            f"{size} where fluctuations make neurons fire (interpolated between measured 4 % at 0.05, 10 % at 0.25 and "
            "13 % at 0.5; exponential neurons fire less, quadratic ones more)"
        )
        others = f"; likewise in {len(slow) - 1} other populations" if len(slow) > 1 else ""
        warn_user(
            f"synapses of {name!r} are slow: tau_syn/tau_m is {slow[name]:.2g}, {expected}{others}", SlowSynapseWarning
        )


def warn_of_finite_weights(state: Fluctuations) -> None:
    """Warn where the asymmetry of the jumps is felt at threshold.

    The mean size of the jumps that carry the variance, ``ΣrJ³/(3 Σ)``, is the scale by which a threshold is overshot or
    missed; displacing it by so much changes the rate by ``gain/(tau_m rate)`` times it.
    """
    std, third, rate, gain = state.std, state.third, state.rate, state.gain
    displacement = (third / torch.where(std > 0, 3 * std**2, torch.inf)).abs()
    firing = rate > LOWEST_RATE
    change = torch.where(firing, displacement * gain / (state.tau_m * torch.where(firing, rate, 1.0)), 0.0)
    worst = change.amax(0)
    if bool((worst > TOLERATED_CHANGE).any()):
        place = int(worst.argmax())
        affected = (change > TOLERATED_CHANGE).double().mean().item()
        remedy = (
            ": with a time step, theory='first_passage' is exact in feed-forward circuits, and closure='renewal' takes "
            "jumps of their true size in all with delta synapses"
            if isinstance(state.population.neuron, LIFParameters)
            else ""
        )
        share = f" in neuron {place}, and of more than {TOLERATED_CHANGE:.0%} in {affected:.1%} of all cases"
        warn_user(
            f"the weights into {state.population.name!r} are not small: single jumps act like a threshold displaced by "
            f"up to {displacement[:, place].max().item():.2g} mV, a change of rate of {worst.max().item():.0%}"
            f"{share if state.named else ''}. A diffusion may be off by as much there{remedy}",
            FiniteWeightWarning,
        )


def warn_of_strong_adaptation(circuit: Circuit, state: Fluctuations) -> None:
    """Warn where a spike brings so much adaptation that its mean does not stand for it.

    The sign of the error is known for neurons whose input is given, not where it comes from neurons of the circuit.
    """
    neuron, rate = state.population.neuron, state.rate.numpy()
    assert isinstance(neuron, AdEx)
    own = (np.asarray(getattr(neuron, name), dtype=np.float64) for name in ("b", "tau_w", "C"))
    b, tau_w, C = (v if v.ndim == 0 or len(v) == rate.shape[-1] else v.mean() for v in own)
    # Without feedback the gain would be g, with gain = g/(1 + g b tau_w/C).
    left = 1 - state.gain.numpy() * b * tau_w / C
    firing = (rate > LOWEST_RATE) & (left > 0)
    change = np.where(firing, state.gain.numpy() * b / C / np.where(firing, left * rate, 1.0), 0.0)
    worst = float(change.max(initial=0.0))
    if worst > TOLERATED_ADAPTATION:
        name = state.population.name
        given = all(isinstance(circuit.population(p.source), Source) for p in circuit.projections if p.target == name)
        size = f"{min(worst * ADAPTATION_ERROR, 0.5):.0%}"
        measured = "(measured: 2 to 4 % at 0.6, 8 % at 1.7, 13 % at 2.4)"
        expected = (
            f"Expect rates too low by about {size} there {measured}"
            if given
            else f"With given input, rates come out too low by about {size} {measured}; here neurons feed it, whose "
            "errors add to its own, so that rates may be off by more and in either direction: simulate to know"
        )
        warn_user(
            f"the adaptation that one spike brings changes the rate of {name!r} by a factor of up to {worst:.1f} at "
            f"once, and the theory knows its mean alone. {expected}",
            AdaptationWarning,
        )


def warn_of_correlations(population: Population, between: Tensor, std: Tensor, rate: Tensor) -> None:
    """Warn where two firing neurons receive currents whose correlation is too large for linear response."""
    scale = torch.where((std > 0) & (rate > LOWEST_RATE), 1 / torch.where(std > 0, std, 1.0), 0.0)
    correlation = (scale[..., :, None] * between * scale[..., None, :]).abs().triu(diagonal=1)
    largest = correlation.amax(0)
    if bool((largest > TOLERATED_CORRELATION).any()):
        one, other = divmod(int(largest.argmax()), population.size)
        share = (correlation > TOLERATED_CORRELATION).any(0).double().sum().item() / max(
            1, largest.numel() - len(largest)
        )
        warn_user(
            f"the currents into neurons {one} and {other} of {population.name!r} have a correlation of up to "
            f"{largest.max().item():.2f}, and {2 * share:.1%} of all pairs one above {TOLERATED_CORRELATION}; the "
            "covariances of their spike trains are larger than the linear rule predicts, by 10 % at 0.7 and up to 30 % "
            "at 0.9",
            CorrelationWarning,
        )


def warn_of_amplification(eigenvalues: Stability) -> None:
    """Warn where an eigenvalue is so close to 1 that linear response breaks down."""
    if eigenvalues.largest_real > TOLERATED_EIGENVALUE:
        warn_user(
            "the effective weights of the circuit have an eigenvalue with the real part "
            f"{eigenvalues.largest_real:.2f}, close to 1, where linear response diverges. Its covariances are "
            f"amplified up to {(1 - eigenvalues.largest_real) ** -2:.0f} times, more than those of finite fluctuations",
            LinearResponseWarning,
        )


def warn_of_collective_activity(
    names: list[str], share: Array, skewness: Array, kurtosis: Array, eigenvalues: Stability
) -> None:
    """Warn where the neurons of a population have so much input in common that linear response misses its volleys.

    Parameters
    ----------
    names : list of str
        Populations.
    share, skewness, kurtosis : ndarray, shape (population,)
        Of their common input; see `mnnbio.theory.volleys`.
    eigenvalues : Stability
        Of the response of the rates to each other.
    """
    worst = int(np.argmax(share))
    if share[worst] > TOLERATED_COMMON:
        warn_user(
            f"neurons of {names[worst]!r} have {share[worst]:.0%} of the variance of their input in common, of "
            f"skewness {skewness[worst]:.2g} and excess kurtosis {kurtosis[worst]:.2g} or more, at a collective loop "
            f"gain of {eigenvalues.spectral_radius:.2g}. Such volleys are no small Gaussian fluctuations: covariances "
            "come out too small by a tenth to a third. Simulate, or take larger and sparser populations",
            CollectiveActivityWarning,
        )


def warn_of_bursts(names: list[str], fano: Array) -> None:
    """Warn where single trains have counts that vary more than those of any renewal process of a steady input.

    Parameters
    ----------
    names : list of str
        Populations.
    fano : ndarray, shape (population,)
        Of counts in long windows.
    """
    worst = int(np.argmax(fano))
    if fano[worst] > TOLERATED_FANO:
        warn_user(
            f"trains of {names[worst]!r} have a Fano factor of {fano[worst]:.2g} in long windows: they fire in bursts, "
            "or switch between states, which one stationary state with small fluctuations does not describe. See with "
            "`fixed_points` which states there are, or simulate",
            CollectiveActivityWarning,
        )


def warn_of_disorder(names: list[str], spread: Array) -> None:
    """Warn where the variances of the input differ among the neurons of a population.

    Parameters
    ----------
    names : list of str
        Populations.
    spread : ndarray, shape (population,)
        Standard deviation of the variances over their mean.
    """
    worst = int(np.argmax(spread))
    if spread[worst] > TOLERATED_DISORDER:
        warn_user(
            f"the variance of the input differs by {spread[worst]:.0%} among the neurons of {names[worst]!r}, by their "
            "numbers of synapses, while one spectrum stands for all: at 14 % rates are 7 % off, and the power at a "
            "resonance by up to 70 %. Simulate, or take more and weaker synapses, or the same number for each neuron "
            "(`FixedIndegree`)",
            DisorderWarning,
        )


def warn_of_swings(names: list[str], swing: Array, frequency: Array) -> None:
    """Warn where the activity of a population swings so much that its rate cannot be a linear response.

    Parameters
    ----------
    names : list of str
        Populations.
    swing : ndarray, shape (population,)
        Standard deviation of what the neurons of each have in common, over their rate.
    frequency : ndarray, shape (population,)
        At which each swings most, 1/ms.
    """
    worst = int(np.argmax(swing))
    if swing[worst] > TOLERATED_SWING:
        warn_user(
            f"the activity of {names[worst]!r} swings by {swing[worst]:.0%} of its mean, most at "
            f"{frequency[worst] * 1e3:.0f} Hz: rates do not fall below zero, so the peak of its power is lower than "
            "linear response predicts, and around twice that frequency its power is several times larger. "
            "Simulate, or take larger and sparser populations",
            CollectiveActivityWarning,
        )


def warn_of_few_samples(rate: Array, error: Array, pairs: int, accuracy: float | None) -> None:
    """Warn where standard errors of rates (population,) are above the relative accuracy asked for."""
    if accuracy is None:
        return
    relative = float(np.max(np.where(rate > 0, error / np.where(rate > 0, rate, 1.0), 0.0)))
    if relative > accuracy:
        warn_user(
            f"rates have a standard error of {relative:.2%}, above the accuracy of {accuracy:.2%} asked for, with "
            f"Surrogates(pairs={pairs}): about pairs={int(np.ceil(pairs * (relative / accuracy) ** 2))} would reach it",
            SamplingWarning,
        )


def warn_user(text: str, category: type[Warning]) -> None:
    """Warn at the line outside the package from which it was called."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "mnnbio":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def _largest(projection: Any) -> float:
    """Return the largest modulus of the weights of a projection, of their typical size where they are drawn, mV."""
    if projection.connectivity is not None:
        weight = projection.weight
        if not isinstance(weight, Distribution):
            return abs(weight)
        mean, std = weight.moments()
        return abs(mean) + std
    weights = projection.weights
    if isinstance(weights, ModeMatrix):
        return float(np.prod([_most(v) for v in (weights.input_modes, weights.scores, weights.output_modes)]))
    return _most(weights.data if sparse.issparse(weights) else weights)


def _most(values: Any) -> float:
    return float(np.max(np.abs(values), initial=0.0))


def _require_moderate(value: float, name: str, unit: str) -> None:
    if not value <= LARGEST:
        raise ValueError(
            f"{name} must be at most {LARGEST:g} {unit}, got {value:g}: nothing that large can be predicted"
        )
