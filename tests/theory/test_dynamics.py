"""Spectra, oscillations and time courses: closed forms, published frequencies, and each other."""

import numpy as np
import pytest
import torch
from brian2 import Hz, mV

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    Normal,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Steps,
    Uniform,
    predict,
    predict_oscillations,
    predict_spectra,
    predict_time_course,
)
from mnnbio.circuits import brunel
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.transfer import transfer_function
from mnnbio.theory.densities import Densities
from mnnbio.theory.inputs import mean_phase

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
FREQUENCIES = np.array([0.0, 0.01, 0.05, 0.2])


def lone(mean=0.9, std=1.0, size=50, **drive):
    return Circuit([Population("E", size, LIF)], drives=[GaussianDrive("E", mean=mean, std=std, **drive)])


def test_an_unconnected_population_has_the_spectrum_of_its_trains():
    found = predict_spectra(lone(), FREQUENCIES)
    expected = transfer_function(FREQUENCIES, 0.9, 1.0, LIF).spectrum
    np.testing.assert_allclose(found["power"].sel(population="E"), 1e3 * expected / 50, rtol=1e-9)
    np.testing.assert_allclose(found["frequency"], 1e3 * FREQUENCIES)
    np.testing.assert_allclose(
        found["power"][0], predict(lone(), resolution="population")["population_covariance"][0] / 2500
    )


def test_noise_that_neurons_share_is_filtered_by_their_response():
    shared = np.full((50, 1), 0.3)
    found = predict_spectra(lone(std=np.sqrt(0.91), factor=shared), FREQUENCIES)["power"].values[:, 0]
    answer = transfer_function(FREQUENCIES, 0.9, 1.0, LIF)
    transmitted = abs(answer.mean) ** 2 * 0.09
    np.testing.assert_allclose(found, 1e3 * (transmitted + (answer.spectrum - transmitted) / 50), rtol=1e-9)


def test_delays_turn_the_phase():
    """A follows the source, B follows A with a delay: the cross-spectrum has the phase of B's response and delay."""
    lead, lag = 5000, 0.05

    def chain(delay):
        return Circuit(
            [Population("A", lead, LIF), Population("B", 100, LIF)],
            [Projection("A", "B", weight=0.05, connectivity=FixedIndegree(500), delay=delay)],
            [GaussianDrive(name, mean=0.7, std=1.0) for name in ("A", "B")],
        )

    at_once, late = (predict_spectra(chain(delay), [lag]).isel(frequency=0) for delay in (0.0, 4.0))
    both = [complex(s["cross_real"][0, 1].item(), s["cross_imag"][0, 1].item()) for s in (at_once, late)]
    assert np.angle(both[1] / both[0]) == pytest.approx(-2 * np.pi * lag * 4.0, rel=1e-9)
    np.testing.assert_allclose(late["coherence"], at_once["coherence"], rtol=1e-9)
    assert (late["coherence"] <= 1 + 1e-12).all()


def test_two_readers_of_a_source_are_coherent():
    circuit = Circuit(
        [PoissonSource("input", 200, rates=0.05)] + [Population(name, 100, LIF) for name in ("A", "B")],
        [Projection("input", name, weight=0.1, connectivity=FixedIndegree(100)) for name in ("A", "B")],
        [GaussianDrive(name, mean=0.4, std=1.0) for name in ("A", "B")],
    )
    found = predict_spectra(circuit, [0.0, 0.02])
    exact = predict(circuit, closure="poisson", resolution="population")["population_covariance"] / 1e4
    np.testing.assert_allclose(found["cross_real"][0], exact, rtol=1e-9)
    assert (found["coherence"][:, 0, 1] > 0.1).all()


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (1.5, lambda w: np.exp(-1.5 * w)),
        (Uniform(1.0, 2.0), lambda w: (np.exp(-w) - np.exp(-2 * w)) / w),
        (Normal(3.0, 0.5, low=0.5), lambda w: np.exp(-3 * w + w**2 / 8)),
    ],
)
def test_delays_count_by_their_characteristic_function(delay, expected):
    omega = 2j * np.pi * np.array([0.02, 0.1])
    found = mean_phase(Projection("A", "B", weight=1.0, connectivity=FixedIndegree(1), delay=delay), omega)
    np.testing.assert_allclose(found, expected(omega), atol=0.02)


@pytest.mark.parametrize(
    ("g", "ratio", "frequency", "oscillates"), [(6, 4, 180, True), (5, 2, 130, False), (4.5, 0.9, 28, True)]
)
def test_oscillations_of_brunel_2000(g, ratio, frequency, oscillates):
    """Figure 8 B oscillates near 180 Hz, C does not, D is just beyond the onset of a slow oscillation."""
    found = predict_oscillations(brunel(g=g, nu_ext_ratio=ratio))
    assert found.attrs["oscillates"] == oscillates
    first = found.isel(oscillation=0)
    assert (first["loop_gain"] > 1) == oscillates
    assert (first["growth"] > 0) == oscillates
    for name in ("frequency", "onset_frequency"):
        assert float(first[name]) == pytest.approx(frequency, rel=0.15)


def test_at_the_onset_the_growth_vanishes():
    """The root of the response crosses the imaginary axis where the loop gain crosses 1."""
    found = [predict_oscillations(brunel(g=g, nu_ext_ratio=4)).isel(oscillation=0) for g in (5.2, 5.6, 6.0)]
    gains, growth = ([float(f[name]) for f in found] for name in ("loop_gain", "growth"))
    assert gains == sorted(gains)
    assert [g > 1 for g in gains] == [g > 0 for g in growth]


@pytest.mark.slow
def test_the_slow_oscillation_of_brunel_2000_d_in_time():
    """Paper: 22 Hz and a rate of 5.5 Hz; it is the fluctuations of 12,500 neurons that shift it from 28 Hz, 6.5 Hz."""
    times = np.arange(0.0, 2200.0, 0.5)
    circuit = brunel(g=4.5, nu_ext_ratio=0.9)
    course = predict_time_course(circuit, times, initial="rest", dt=0.1, step=0.1, cells=200, fluctuations=1)
    rate = course["rate"].sel(population="E").values[400:]
    assert rate.mean() == pytest.approx(5.5, rel=0.2)
    power = abs(np.fft.rfft(rate - rate.mean())) ** 2
    smooth = np.convolve(power, np.ones(7) / 7, mode="same")
    frequency = np.fft.rfftfreq(len(rate), 0.5e-3)
    band = (frequency > 5) & (frequency < 100)
    assert frequency[band][smooth[band].argmax()] == pytest.approx(22, rel=0.15)


def test_the_fast_oscillation_of_brunel_2000_b_in_time():
    course = predict_time_course(
        brunel(g=6, nu_ext_ratio=4), np.arange(0.0, 120.0, 0.25), initial="rest", step=0.1, cells=200
    )
    rate = course["rate"].sel(population="E").values[160:]
    peaks = np.flatnonzero((rate[1:-1] > rate[:-2]) & (rate[1:-1] >= rate[2:]) & (rate[1:-1] > rate.mean()))
    assert 1e3 / (0.25 * np.diff(peaks).mean()) == pytest.approx(180, rel=0.15)
    np.testing.assert_allclose(course["rate"].sel(population="E"), course["rate"].sel(population="I"), rtol=1e-6)


def test_a_stationary_state_stays():
    circuit = brunel(g=5, nu_ext_ratio=2)
    expected = predict(circuit, resolution="population", closure="poisson")["rate"]
    course = predict_time_course(circuit, np.linspace(0, 30, 7))["rate"]
    np.testing.assert_allclose(course, np.tile(expected, (7, 1)), rtol=2e-3)
    assert course.dims == ("time", "population")


@pytest.mark.slow
def test_a_step_leads_from_state_to_state():
    course = Steps([0.0, 20.0], [0.7, 0.9])
    circuit = Circuit(
        [Population("E", 400, LIF)],
        [Projection("E", "E", weight=-0.1, connectivity=FixedIndegree(40), delay=1.5, tau_syn=2.0)],
        [GaussianDrive("E", mean=course, std=1.0), PoissonDrive("E", rate=0.5, weight=0.1)],
    )
    found = predict_time_course(circuit, [0.0, 10.0, 20.0, 25.0, 250.0], initial="stationary")["rate"].values[:, 0]
    before, after = (
        predict(circuit.at_time(t), resolution="population", closure="poisson")["rate"].item() for t in (0.0, 100.0)
    )
    np.testing.assert_allclose(found[:3], before, rtol=5e-3)
    assert before < found[3] < 1.3 * after
    np.testing.assert_allclose(found[4], after, rtol=0.01)


def test_inputs_may_become_different():
    """Neurons that are alike at first and then are not: the population follows the average of their answers."""
    ends = np.array([0.7, 1.1])
    circuit = Circuit(
        [Population("E", 2, LIF)], drives=[GaussianDrive("E", mean=Steps([0.0, 10.0], [[0.9, 0.9], ends]), std=1.0)]
    )
    found = predict_time_course(circuit, [0.0, 10.0, 150.0])["rate"].values[:, 0]
    exact = [moment_activation(*torch.tensor([[m], [1.0]], dtype=torch.float64), LIF).rate.item() for m in (0.9, *ends)]
    np.testing.assert_allclose(found, 1e3 * np.array([exact[0], exact[0], np.mean(exact[1:])]), rtol=5e-3)


def test_densities_follow_small_modulations_as_the_transfer_function():
    mean, std, frequency, step, size = np.array([0.8, 1.1]), np.array([1.0, 0.5]), 0.1, 0.05, 0.01
    groups = Densities(LIF, mean, std, step, cells=600)
    groups.start_stationary(mean, std)
    exact = moment_activation(torch.from_numpy(mean), torch.from_numpy(std), LIF).rate
    np.testing.assert_allclose(groups.rate, exact, rtol=1e-3)
    ends = step * np.arange(1, 4001)
    rates = np.array([groups.advance(mean + size * np.cos(2 * np.pi * frequency * (t - step / 2)), std) for t in ends])
    kept = ends > 100 + 1e-9
    wave = np.exp(-2j * np.pi * frequency * (ends[kept] - step / 2))[:, None]
    answer = 2 * ((rates[kept] - rates[kept].mean(0)) * wave).mean(0) / size
    np.testing.assert_allclose(answer, transfer_function([frequency], mean, std, LIF).mean[0], rtol=0.02)


def test_neurons_are_neither_made_nor_lost():
    groups = Densities(LIF, np.array([0.9]), np.array([1.0]), 0.1, cells=300)
    groups.start_at(0.0)
    flow = [float(groups.advance(np.array([0.9]), np.array([1.0]))[0]) for _ in range(3000)]
    inside = float((groups._density[0] * groups._h[:, None]).sum())
    assert inside + 0.1 * sum(flow[-20:]) == pytest.approx(1, abs=1e-9)


@pytest.mark.slow
def test_finite_groups_have_the_spectrum_of_renewal_trains():
    """Eight groups of a hundred neurons: their activity has the spectrum that a train has in closed form."""
    mean, std, step, segment, segments, groups = 0.9, 1.0, 0.2, 1000, 6, 8
    inputs = np.full(groups, mean), np.full(groups, std)
    found = Densities(LIF, *inputs, step, 200, np.full(groups, 100.0), np.random.default_rng(3))
    found.start_stationary(*inputs)
    rates = np.array([found.advance(*inputs) for _ in range(segment * segments)]).reshape(segments, segment, groups)
    f = np.fft.rfftfreq(segment, step)
    power = abs(np.fft.rfft(rates - rates.mean((0, 1)), axis=1)) ** 2 * step / segment
    closed = transfer_function(f, mean, std, LIF).spectrum.real.ravel() / 100
    for low, high in ((0.004, 0.03), (0.03, 0.1), (0.1, 0.5)):  # 1/ms
        band = (f >= low) & (f < high)
        ratio = power[:, band].mean() / closed[band].mean()
        assert abs(ratio - 1) < 4 / np.sqrt(segments * groups * band.sum()) + 0.01
    assert rates.mean() == pytest.approx(closed[-1] * 100, rel=0.01)


@pytest.mark.slow
def test_finite_populations_share_what_a_source_sends():
    """Cross-spectrum of two populations that read one source of few trains, against linear response."""
    circuit = Circuit(
        [PoissonSource("input", 200, rates=0.05)] + [Population(name, 100, LIF) for name in ("A", "B")],
        [Projection("input", name, weight=0.1, connectivity=FixedIndegree(100), delay=1.5) for name in ("A", "B")],
        [GaussianDrive(name, mean=0.4, std=1.0) for name in ("A", "B")],
    )
    segment, segments = 400, 20  # ms
    times = np.arange(0.0, segment * segments + 0.5)
    rates = predict_time_course(circuit, times, step=0.2, cells=100, fluctuations=2)["rate"].values[1:]
    parts = np.fft.rfft((rates - rates.mean(0)).reshape(segments, segment, 2), axis=1)
    cross = (parts[..., 0] * parts[..., 1].conj()).real * 1e-3 / segment
    f = np.fft.rfftfreq(segment, 1.0)
    closed = predict_spectra(circuit, f[1:])["cross_real"].values[:, 0, 1]
    band = (f >= 0.002) & (f < 0.02)
    each = cross[:, band].mean(1)
    error = each.std(ddof=1) / np.sqrt(segments)
    assert abs(each.mean() - closed[band[1:]].mean()) < 4 * error
    assert each.mean() > 4 * error


def test_finite_populations_repeat_and_grow_infinite():
    circuit, times = brunel(g=5, nu_ext_ratio=2, scale=0.1), np.arange(0.0, 21.0)
    options = {"step": 0.2, "cells": 150, "dt": 0.1}
    one, again, other = (predict_time_course(circuit, times, fluctuations=k, **options)["rate"] for k in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    lone_ = [predict_time_course(lone(size=size), times, fluctuations=1, **options)["rate"] for size in (10**2, 10**10)]
    infinite = predict_time_course(lone(), times, **options)["rate"]
    np.testing.assert_allclose(lone_[1], infinite, rtol=1e-2)
    assert lone_[0].std() > 100 * lone_[1].std()


def two_stimuli():
    return lone(mean=np.array([[0.8], [0.9]]) * np.ones(50))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predict_spectra(lone(), [-1.0]), "`frequencies` must be a list of frequencies ≥ 0"),
        (lambda: predict_spectra(lone(), [5] * mV), "`frequencies` must be in 1/ms"),
        (lambda: predict_spectra(two_stimuli(), [0.1]), "spectra are of one stationary state"),
        (lambda: predict_spectra(lone(), [0.1], closure="best"), "Invalid value 'best' for `closure`"),
        (lambda: predict_spectra(lone(), [0.1], dt=0.0), "`dt` must be > 0 ms"),
        (lambda: predict_spectra(brunel(g=6, nu_ext_ratio=4), [0.1]), "it oscillates at 190 Hz"),
        (lambda: predict_oscillations(lone(), highest=0.0), "`highest` must be a frequency > 0"),
        (lambda: predict_time_course(lone(), [1.0]), "`times` must be two or more ascending times"),
        (lambda: predict_time_course(lone(), [1.0, 0.0]), "`times` must be two or more ascending times"),
        (lambda: predict_time_course(lone(), [0.0, 1.0], initial="hot"), "Invalid value 'hot' for `initial`"),
        (lambda: predict_time_course(lone(), [0.0, 1.0], step=-1.0), "`step` must be a single time > 0 ms"),
        (lambda: predict_time_course(lone(), [0.0, 1.0], fluctuations=-1), "`fluctuations` must be an integer ≥ 0"),
        (lambda: predict_time_course(two_stimuli(), [0.0, 1.0]), "a time course is of one stimulus, got 2"),
    ],
)
def test_invalid_requests_raise(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_frequencies_and_times_may_be_quantities():
    found = predict_spectra(lone(), [20, 40] * Hz, start=10 * Hz)
    np.testing.assert_allclose(found["frequency"], [20, 40])


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_inhibition_that_drives_potentials_off_the_grid_is_reported():
    circuit = Circuit(
        [Population("E", 100, LIF)],
        [Projection("E", "E", weight=-5.0, connectivity=FixedIndegree(50), delay=5.0)],
        [GaussianDrive("E", mean=2.0, std=0.5)],
    )
    with pytest.raises(ValueError, match="membrane potentials leave the grid"):
        predict_time_course(circuit, [0.0, 60.0], initial="rest")
