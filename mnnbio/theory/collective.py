"""Collective fluctuations of populations: linear response in frequency, from how their neurons answer in the circuit.

With X the mean activity of populations, W(f) the sums of their weights with delays and filters, W²(f) those of the
squares, and V what independent sources from outside give to whole populations,

    X = K (n + B V u),  K = (I - B W(f) - B_v W²(f))⁻¹

B and B_v are the responses of a neuron's rate to mean and variance of its input. The noise n is what neurons add of
their own: the spectrum of a train without what is a linear answer to all that reaches the neuron, correlations
included. The answer to a train of jumps w is ``w B F + w² B_v``, F the filter of its synapses; to a sender's common
fluctuations it is the response in the loops. Trains with unequal numbers of targets keep their part of the noise.

References
----------
B. Lindner, B. Doiron, A. Longtin (2005), Phys. Rev. E 72, 061919. J. Trousdale, Y. Hu, E. Shea-Brown, K. Josić (2012),
PLoS Comput. Biol. 8, e1002408.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mnnbio.circuit import Circuit
from mnnbio.moments import synaptic_filter
from mnnbio.theory.inputs import mean_phase, received_sums
from mnnbio.theory.population_theory import System

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


Parts = TypeVar("Parts", bound=tuple[Any, ...])


class Wires(NamedTuple):
    """Sums of weights at some frequencies, each (frequency, row, sender)."""

    frequency: Array  # 1/ms
    total: Complex  # mV, with delays and filters
    squares: dict[float, Complex]  # by synaptic time constant: mV², with delays; their filters belong to the response
    filters: dict[float, Complex]  # of the synapses, (frequency,)
    private: dict[float, Array]  # sums of squares without those due to unequal numbers of targets, (row, sender), mV²
    jumps: dict[float, Array]  # typical weights, likewise, mV
    common: Complex  # amplitudes of what sources outside give to all neurons of a row, (frequency, row, source)
    given: Array  # the variance that the same sources give to a neuron, (frequency, row), mV²/ms
    sizes: Array


class Answers(NamedTuple):
    """How the neurons of populations answer at some frequencies."""

    spectrum: Array  # of a train, (population, frequency), 1/ms
    gain: Complex  # response to the mean input, (population, frequency), 1/mV
    to_variance: Complex  # to the variance that senders bring, (row, synaptic time constant, sender, frequency), 1/mV²


class Loops(NamedTuple):
    """What populations pass on to each other at some frequencies, (frequency, row, …)."""

    total: Complex  # into a row's input from a sender
    effective: Complex  # into its rate
    common: Complex  # amplitudes that sources outside bring into the input of all neurons of a row
    answered: Complex  # into their rates
    explained: Array  # what of the spectrum of a train is a linear answer to independent trains, 1/ms
    sizes: Array


class Collective(NamedTuple):
    """Cross-spectra of the mean activity of populations."""

    cross: Complex  # two-sided, (frequency, population, population), 1/ms
    effective: Complex  # response of a row's rate to a column's
    added: Array  # what correlations add to the spectrum of a neuron's input, (population, frequency), mV²/ms
    shared: Array  # spectrum of the input that all neurons of a population have in common, likewise
    kernel: Complex  # K
    largest_real: float  # part of the eigenvalues of the response at the first frequency


def wires(circuit: Circuit, system: System, frequency: npt.NDArray[Any], dt: float) -> Wires:
    """Return the sums of weights of a circuit at frequencies in 1/ms, which may be complex."""
    names, sources = system.names, [s.name for s in circuit.sources]
    omega, n = np.asarray(2j * np.pi * frequency, dtype=np.complex128), len(names)
    total = np.zeros((len(frequency), n, n), complex)
    squares: dict[float, Complex] = {}
    filters: dict[float, Complex] = {}
    private: dict[float, Array] = {}
    cubes: dict[float, Array] = {}
    common, given = np.zeros((len(frequency), n, len(sources)), complex), np.zeros((len(frequency), n))
    for projection in circuit.projections:
        row, tau = names.index(projection.target), float(projection.tau_syn)
        sums = received_sums(circuit, projection, dt)
        if sums.squares == 0:
            continue
        filtered = synaptic_filter(frequency, tau, dt)
        if projection.source in names:
            column, phase = names.index(projection.source), mean_phase(projection, omega)
            total[:, row, column] += sums.total * phase * filtered
            squares.setdefault(tau, np.zeros((len(frequency), n, n), complex))[:, row, column] += sums.squares * phase
            filters[tau] = filtered
            unequal = system.sizes[column] / system.sizes[row] * sums.column_variance
            private.setdefault(tau, np.zeros((n, n)))[row, column] += sums.squares - unequal
            cubes.setdefault(tau, np.zeros((n, n)))[row, column] += sums.cubes
        else:
            k = sources.index(projection.source)
            spread, size = system.source_spread[k], system.sources.sizes[k]
            common[:, row, k] += sums.total * filtered * np.sqrt(spread / size)
            seen = sums.squares - size / system.sizes[row] * sums.column_variance
            given[:, row] += seen * spread * np.abs(filtered) ** 2
    shared = np.broadcast_to(system.shared / system.sizes[:, None], (len(frequency), *system.shared.shape))
    given = given + system.shared_own
    outside = np.concatenate([common, shared], axis=2)
    jumps = {}
    for tau, known in squares.items():
        whole = np.abs(known[0])
        jumps[tau] = cubes[tau] / np.where(whole > 0, whole, 1.0)
    return Wires(frequency, total, squares, filters, private, jumps, outside, given, system.sizes)


def effective_loops(wired: Wires, gain: Complex, to_variance: Complex) -> Complex:
    """Return the response of a row's rate to a column's, (frequency, population, population)."""
    found = gain.T[:, :, None] * wired.total
    for kind, tau in enumerate(sorted(wired.squares)):
        found = found + to_variance[:, kind].transpose(2, 0, 1) * wired.squares[tau]
    return found


def _explained(wired: Wires, answers: Answers) -> Array:
    """Return what of the spectrum of a train is a linear answer to independent trains, (frequency, population)."""
    found = np.abs(answers.gain.T) ** 2 * wired.given
    for kind, tau in enumerate(sorted(wired.squares)):
        jump = answers.to_variance[:, kind].transpose(2, 0, 1) * wired.jumps[tau]
        response = answers.gain.T[:, :, None] * wired.filters[tau][:, None, None] + jump
        found = found + np.einsum("fab,ab,fb->fa", np.abs(response) ** 2, wired.private[tau], answers.spectrum.T)
    return np.asarray(found)


def averaged(parts: Sequence[Parts]) -> Parts:
    """Return the averages of named arrays, such as answers from groups of records."""
    return type(parts[0])(*(np.mean(values, axis=0) for values in zip(*parts, strict=True)))


def shared_factor(added: Array, received: Array, least: float) -> Array:
    """Return the factor that what trains share brings to spectra of input, at the least `least`."""
    return np.maximum(1 + added / np.where(received > 0, received, np.inf), least)


def form(response: Complex) -> Complex:
    """Return responses (population, frequency) over their value at the first frequency."""
    still = response[:, :1].real
    return response / np.where(still != 0, still, 1.0)


def collective(wired: Wires, answers: Answers) -> Collective:
    """Return the cross-spectra of populations whose neurons answer in a given way."""
    effective = effective_loops(wired, answers.gain, answers.to_variance)
    common = wired.common, answers.gain.T[:, :, None] * wired.common
    loops = Loops(wired.total, effective, *common, _explained(wired, answers), wired.sizes)
    return fluctuations_in(loops, answers.spectrum)


def fluctuations_in(loops: Loops, spectrum: Array) -> Collective:
    """Return the cross-spectra of populations around which activity goes, of trains of a spectrum (row, frequency)."""
    total, effective, sizes = loops.total, loops.effective, loops.sizes
    n, train = len(sizes), spectrum.T
    K = np.asarray(np.linalg.inv(np.eye(n) - effective), dtype=np.complex128)
    single = train[:, :, None] * (np.eye(n) / sizes)
    spread = K @ loops.answered
    outside = spread @ spread.conj().swapaxes(1, 2)
    # Of what neurons share with the sources, the circuit makes a part of their input as well.
    through = 2 * np.einsum("fab,fbk,fak->fa", total, spread, loops.common.conj()).real
    answered = 2 * np.einsum("fab,fbk,fak->fa", effective, spread, loops.answered.conj()).real
    # The input that correlations add depends on the noise of single neurons, and that on the input they receive.
    heard, around = np.abs(total @ K) ** 2, np.abs(effective @ K) ** 2
    fixed, told = (
        np.einsum("fab,fbc,fac->fa", by, outside - single, by.conj()).real + with_sources
        for by, with_sources in ((total, through), (effective, answered))
    )
    noise = train - loops.explained - told
    own = np.linalg.solve(np.eye(n) + around / sizes[:, None], (noise / sizes)[..., None])[..., 0]
    cross = (K * own[:, None, :]) @ K.conj().swapaxes(1, 2) + outside
    added = np.einsum("fab,fb->fa", heard, own) + fixed
    shared = np.einsum("fab,fbc,fac->fa", total, cross, total.conj()).real + through
    shared = shared + (np.abs(loops.common) ** 2).sum(-1)
    largest = float(np.linalg.eigvals(effective[0].real).real.max())
    return Collective(cross, effective, added.T, shared.T, K, largest)


def interpolated(frequency: npt.NDArray[Any], known: Array, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values (..., known), real or complex, at other frequencies, (..., frequency)."""
    flat = np.asarray(values).reshape(-1, len(known))

    def along(part: Array) -> Array:
        return np.stack([np.interp(frequency, known, row) for row in part])

    found = along(flat.real) + 1j * along(flat.imag) if np.iscomplexobj(flat) else along(np.asarray(flat, float))
    return found.reshape(*np.shape(values)[:-1], np.size(frequency))
