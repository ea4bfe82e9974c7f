"""Responses of surrogate neurons to mean and variance of their input, measured in the input that they have.

At the lowest frequencies they are differences on the same noise, which are far more precise than cross-spectra. How
responses depend on frequency follows from sinusoids on the same noise and from cross-spectra, by smooth functions
(`mnnbio.theory.smooth_responses`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mnnbio.moments import (
    Bands,
    NeuronTensors,
    discrete_lif,
    synaptic_filter,
    transfer_function,
    variance_responses,
)
from mnnbio.theory.collective import Answers, averaged, form, interpolated
from mnnbio.theory.population_surrogates import GROUPS, Circle, Currents, Spikes, groups, transformed
from mnnbio.theory.shifted_trains import TrainInput, Way
from mnnbio.theory.smooth_responses import causal, fitted_ratio, relative_errors, sine_responses, sines, slow

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

CHANGE = 0.05  # relative change of a rate from which its slopes are taken
STILL = 0.008  # 1/ms, up to which the response to the variance counts as that at zero frequency
FASTEST = 300.0  # 2πf tau_m up to which the closed forms are computed
PRECISE = 5.0  # factor by which responses at the lowest frequencies are more precise than those to sinusoids
DEGREE = 8  # of the response to the mean over that in white noise
TRAINS_DEGREE = 4  # of it in input of trains over that in Gaussian input
JUMPS_DEGREE = 4  # of the response to jumps over that to the mean
FITTED = 0.5  # 1/ms, up to which responses to jumps are smooth


def gaussian_answers(
    circle: Circle, rate: Array, mean: Array, power: Array, noise: list[Complex], spikes: list[Spikes]
) -> list[Answers]:
    """Return the answers of the neurons to Gaussian input, by each group of records.

    At the lowest frequencies responses are differences on the same noise, which are far more precise than
    cross-spectra.
    """
    stand, f, size = circle.stand, circle.bands.frequency, len(circle.system.sizes)
    crossed = np.empty((len(spikes), GROUPS, len(circle.between.frequency)), complex)
    slopes = np.zeros((len(spikes), GROUPS, len(circle.tau_syn), len(circle.wide.frequency)), complex)
    for k, (own, trains) in enumerate(zip(noise, spikes, strict=True)):
        place, owner = groups(len(trains)), stand.owner[k]
        spectrum = power[owner] + (circle.louder[k] - 1) * circle.given.outside[owner]
        above, below = np.zeros((2, GROUPS, len(circle.frequency)), np.complex64)
        for at, train in enumerate(trains):
            x = own[at % len(own)] * np.float32(1 if at < len(own) else -1)
            fired = transformed(train)
            above[place[at]] += fired * x.conj()
            below[place[at]] += np.abs(x) ** 2
            if circle.coupled:
                found = variance_responses(
                    x.astype(complex), fired.astype(complex), spectrum, circle.dt, circle.tau_syn
                )
                slopes[k, place[at]] += found / (place == place[at]).sum()
        for g in range(GROUPS):
            crossed[k, g] = _ratio(circle.between, above[g], below[g].real, circle.dt)
    gain, slope = (stand.average(values) for values in (crossed, slopes))  # (population, group, …)
    currents = circle.currents(noise)
    step = _step(rate, gain[:, :, 0].real.mean(1))
    gain_still = _slope(circle, (mean + step[stand.owner], mean - step[stand.owner]), (currents, currents), step)
    slope_still = np.empty((GROUPS, size, len(circle.tau_syn)))
    for kind, tau in enumerate(circle.tau_syn if circle.coupled else ()):
        passed = circle.filters[tau]
        extra = 2 * CHANGE * (power @ passed) / (passed @ passed)
        both = [power + sign * np.minimum(extra[:, None] * passed, 0.5 * power) for sign in (1, -1)]
        louder, quieter = (circle.currents(circle.noise(p, [len(own) for own in noise])) for p in both)
        slope_still[:, :, kind] = _slope(circle, (mean, mean), (louder, quieter), extra)
    smooth = _smooth_gains(circle, rate, mean, power, currents, gain_still, gain)
    wide = np.concatenate([[0.0], circle.wide.frequency])
    spectra, parts, white = circle.train_spectra(spikes), [], white_slopes(circle, mean, power)
    for g, to_mean in enumerate(smooth):
        to_variance = np.zeros((size, len(circle.tau_syn), size, len(f)), complex)
        for kind, tau in enumerate(circle.tau_syn if circle.coupled else ()):
            still = slope_still[g][:, kind]
            if tau > 0:
                own = np.concatenate([still[:, None], slope[:, g, kind]], axis=1)
                own[:, wide < STILL] = still[:, None]
                found = interpolated(f, wide, own)
            else:
                shapes = form(to_mean)
                found = np.stack(
                    [_fitted(circle, white[row], still[row], slope[row, g, kind], shapes[row]) for row in range(size)]
                )
            to_variance[:, kind] = found[:, None]
        parts.append(Answers(spectra[g], to_mean, to_variance))
    return parts


def _smooth_gains(
    circle: Circle, rate: Array, mean: Array, power: Array, currents: Currents, still: Array, crossed: Complex
) -> Complex:
    """Return the responses to the mean on the bands, (group, population, band): smooth over those in white noise."""
    places = np.concatenate([[0.0], sines(circle), circle.between.frequency])
    white = white_responses(circle, mean, power, _within(circle, places))[0]
    count = len(sines(circle)) + 1
    sine = sine_responses(circle, rate, mean, currents, white[:, 1:count])
    found = white_responses(circle, mean, power, _within(circle, circle.bands.frequency))[0] * np.ones((GROUPS, 1, 1))
    known, wanted = causal(places, DEGREE), causal(circle.bands.frequency, DEGREE)
    for row, own in enumerate(white):
        by_sines, by_bands = relative_errors(circle, rate[row], own[count:], circle.between.average(power[row]))
        error = np.concatenate([[by_sines / PRECISE], np.full(count - 1, by_sines), by_bands])
        for g in range(GROUPS):
            measured = np.concatenate([[still[g, row]], sine[g, row], crossed[row, g]])
            ratio = measured / np.where(own != 0, own, np.inf)
            found[g, row] *= fitted_ratio(known, ratio, error, wanted)
    return np.asarray(found)


def _within(circle: Circle, frequency: Array) -> Array:
    """Return frequencies, those above which there is no closed form lowered to it."""
    return np.minimum(frequency, FASTEST / (2 * np.pi * circle.stand.lif.tau_m.numpy().max()))


def _ratio(bands: Bands, above: Complex, below: Array, dt: float) -> Complex:
    """Return a response in bands from the cross-spectrum of spikes and input and the power of the input; 0 without."""
    power = bands.average(below)
    return np.asarray(bands.average(above) / np.where(power > 0, power, np.inf) / dt)


def white_slopes(circle: Circle, mean: Array, power: Array) -> Complex:
    """Return the responses to the variance that neurons have in white noise, (population, band)."""
    return white_responses(circle, mean, power, _within(circle, circle.bands.frequency))[1]


def white_responses(circle: Circle, mean: Array, power: Array, frequency: npt.NDArray[Any]) -> tuple[Complex, Complex]:
    """Return the responses to mean and variance that neurons have in white noise, (population, frequency) each.

    Its strength is what the membrane sees of their input.

    Parameters
    ----------
    circle : Circle
    mean : ndarray, shape (neuron,)
        Of the input of the neurons that stand, mV/ms.
    power : ndarray, shape (population, frequency)
        Spectrum of it on the frequencies of the records, mV²/ms.
    frequency : ndarray
        1/ms; may be complex.
    """
    stand, dt = circle.stand, circle.dt
    own = power[stand.owner] + (circle.louder - 1)[:, None] * circle.given.outside[stand.owner]
    passed = 1 / (stand.lif.tau_m.numpy()[:, None] ** -2 + (2 * np.pi * circle.frequency) ** 2)
    std = np.sqrt((own * passed).sum(1) / passed.sum(1))
    noisy = std > 0
    found = np.ones((2, len(std), len(frequency)), complex)
    found[1] = 0
    if noisy.any():
        own_lif = NeuronTensors(*(value[torch.from_numpy(noisy)] for value in stand.lif))
        lif = discrete_lif(torch.from_numpy(mean[noisy]), torch.from_numpy(std[noisy]), own_lif, dt)
        answers = transfer_function(frequency, mean[noisy], std[noisy], lif)
        found[0, noisy], found[1, noisy] = np.asarray(answers.mean).T, np.asarray(answers.variance).T
    return np.asarray(stand.average(found[0])), np.asarray(stand.average(found[1]))


def _fitted(circle: Circle, white: Complex, still: float, measured: Complex, shape: Complex) -> Complex:
    """Return the response to the variance of white noise on the bands, smooth in frequency.

    Measured ones are noisy where they hardly decay. They are fitted by that in white noise times a straight line over
    the logarithm of the frequency; at the lowest ones they become the difference `still`.
    """
    f = circle.bands.frequency
    line = np.stack([np.ones_like(f), np.log(np.maximum(f, STILL))])
    basis = white * line - white[0].real * line[:, :1] * shape
    used = circle.wide.frequency >= STILL
    at, known, weight = circle.wide.frequency[used], still * shape, np.sqrt(circle.wide.number[used])
    columns = interpolated(at, f, basis) * weight
    target = (measured[used] - interpolated(at, f, known)) * weight
    parts = np.concatenate([columns.real, columns.imag], axis=1), np.concatenate([target.real, target.imag])
    values, *_ = np.linalg.lstsq(parts[0].T, parts[1], rcond=None)
    return np.asarray(known + values @ basis)


def train_answers(
    circle: Circle,
    rate: Array,
    mean: Array,
    given: TrainInput,
    currents: Currents,
    spikes: list[Spikes],
    parts: list[Answers],
) -> list[Answers]:
    """Return the answers in one generation, by each group of records.

    The response to the mean is that in Gaussian input times a smooth function. What a sender's jumps bring beyond it
    follows from some of its trains more or fewer, and from the cross-spectra of spikes and what each sender gave: all
    orders of the jumps count.
    """
    stand, size, f = circle.stand, len(circle.system.sizes), circle.bands.frequency
    before = averaged(parts)
    step = _step(rate, before.gain[:, 0].real)
    still = _slope(circle, (mean + step[stand.owner], mean - step[stand.owner]), (currents, currents), step)
    sine = sine_responses(circle, rate, mean, currents, interpolated(sines(circle), f, before.gain))
    slopes = np.zeros((GROUPS, size, size))
    for column in range(size):
        taken = np.array([given.taken(int(stand.kind[row]), column, rate[column]) for row in range(size)])
        if taken.any():
            fluctuating = given.part(column)
            more = [c + np.roll(p, circle.steps // 2, axis=1) for c, p in zip(currents, fluctuating, strict=True)]
            fewer = [c - p for c, p in zip(currents, fluctuating, strict=True)]
            slopes[:, :, column] = _slope(circle, (mean, mean), (more, fewer), np.where(taken > 0, taken, np.inf))
    ways = [way for way in circle.senders.inside if len(way.jumps) == 1]
    crossed = {way: _crossed(circle, given, spikes, way) for way in ways if stand.kind[way.row] == way.row}
    spectra, made = circle.train_spectra(spikes), []
    for g, part in enumerate(parts):
        gain = _in_trains(circle, part.gain, still[g], sine[g])
        to_variance, shapes = part.to_variance.copy(), form(gain)
        for way in circle.senders.inside:
            kind, slope, row = circle.tau_syn.index(way.tau_syn), slopes[g, way.row, way.column], way.row
            same = next(
                (w for w in crossed if w[:2] == (stand.kind[row], way.column) and w.tau_syn == way.tau_syn), None
            )
            if same is None:
                known = part.to_variance[row, kind, way.column]
                to_variance[row, kind, way.column] = known + (slope - known[0].real) * shapes[row]
            else:
                weight = same.jumps[0].weight
                whole = _to_jumps(circle, gain[row], slope * weight, crossed[same][g])
                filtered = synaptic_filter(f, way.tau_syn, circle.dt)
                to_variance[row, kind, way.column] = (whole - gain[row]) * filtered / weight
        made.append(Answers(spectra[g], gain, to_variance))
    return made


def _in_trains(circle: Circle, gain: Complex, still: Array, sine: Complex) -> Complex:
    """Return the responses to the mean in input of trains, (population, band), from those in Gaussian input."""
    f, places = circle.bands.frequency, np.concatenate([[0.0], sines(circle)])
    error, found = np.concatenate([[1 / PRECISE], np.ones(len(places) - 1)]), gain.copy()
    known, wanted = causal(places, TRAINS_DEGREE), causal(f, TRAINS_DEGREE)
    for row, own in enumerate(interpolated(places, f, gain)):
        ratio = np.concatenate([[still[row]], sine[row]]) / np.where(own != 0, own, np.inf)
        found[row] = gain[row] * fitted_ratio(known, ratio, error, wanted)
    return found


def _to_jumps(circle: Circle, gain: Complex, still: float, crossed: Complex) -> Complex:
    """Return the response to a sender's jumps over their weight on the bands.

    Up to some frequency it is that to the mean times a smooth function; at the lowest ones it is more by `still`.
    """
    f, places = circle.bands.frequency, circle.between.frequency
    used, all_places = places <= FITTED, np.concatenate([[0.0], places[places <= FITTED]])
    own = interpolated(all_places, f, gain)
    ratio = np.concatenate([[gain[0] + still], crossed[used]]) / np.where(own != 0, own, np.inf)
    error = 1 / np.sqrt(circle.between.number[used]) / np.maximum(np.abs(own[1:]), 1e-12)
    error = np.concatenate([[error.min() / PRECISE], error])
    functions = slow(all_places, JUMPS_DEGREE), slow(f, JUMPS_DEGREE)
    smooth = gain * fitted_ratio(functions[0], ratio, error, functions[1], real=False)
    return np.where(f <= FITTED, smooth, interpolated(f, places, crossed))


def _crossed(circle: Circle, given: TrainInput, spikes: list[Spikes], way: Way) -> Complex:
    """Return the response to one sender's jumps over their weight, by cross-spectra with what it gave, (group, band).

    What trains share is in the input as a filter of the sum of all of them (`TrainInput.factors`).
    """
    stand, bands = circle.stand, circle.between
    found = np.zeros((len(spikes), GROUPS, len(bands.frequency)), complex)
    at = given.senders.inside.index(way)
    for k in np.flatnonzero(stand.owner == way.row):
        place = groups(len(spikes[k]))
        above, below = np.zeros((2, GROUPS, len(circle.frequency)), np.complex64)
        for record, train in enumerate(spikes[k]):
            x = transformed(given.component(int(k), record, at))
            above[place[record]] += transformed(train) * x.conj()
            below[place[record]] += np.abs(x) ** 2
        for g in range(GROUPS):
            found[k, g] = _ratio(bands, above[g], below[g].real, circle.dt)
    passed = np.sqrt(interpolated(bands.frequency, circle.bands.frequency, circle.shared[way.row]))
    return np.asarray(stand.average(found)[way.row] / passed)


def _step(rate: Array, gain: Array) -> Array:
    """Return the steps of mean inputs that change rates by a small part, mV/ms."""
    return CHANGE * np.maximum(rate, 1e-6) / np.maximum(np.abs(gain), 1e-6)


def _slope(circle: Circle, means: tuple[Array, Array], currents: tuple[Currents, Currents], step: Array) -> Array:
    """Return the change of rates between two inputs over twice a step, (group, population); 0 without one."""
    above, below = (circle.group_rates(circle.fire(m, c)) for m, c in zip(means, currents, strict=True))
    return (above - below) / (2 * np.where(step > 0, step, np.inf))
