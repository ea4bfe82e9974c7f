"""Renewal trains as input: spectra in closed form, coloured noise and whole circuits against hand-written simulations."""

import numpy as np
import pytest
import torch
from scipy import sparse

from mnnbio import Circuit, GaussianDrive, LIFParameters, PoissonDrive, PoissonSource, Population, Projection, predict
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.overshoot import discrete_lif
from mnnbio.theory.renewal import EDGES, TrainInput, effective_input, regrid, renewal_deficit
from mnnbio.theory.stationary import stationary_state
from mnnbio.theory.wiring import Connection, Received, Wiring

DT, TAU = 0.1, 20.0
FREQUENCY = (EDGES[1:] + EDGES[:-1]) / 2 / TAU
WIDTH = np.diff(EDGES) / TAU


def deficit(rate, fano, skewness, t_ref=0.0):
    return renewal_deficit(*(np.array([v]) for v in (rate, fano, skewness)), t_ref, TAU)[:, 0]


def test_poisson_trains_lack_nothing():
    np.testing.assert_allclose(deficit(0.03, 1.0, 2.0), 0.0, atol=1e-6)
    assert not deficit(0.0, 1.0, 2.0).any()


def test_spectrum_of_a_poisson_process_with_dead_time():
    """``ρ = e^{-iωd} λ/(λ + iω)``, and with it ``rate (1 - |ρ|²)/|1 - ρ|²``."""
    dead, hazard = 5.0, 0.03
    rate = 1 / (dead + 1 / hazard)
    fano = (rate / hazard) ** 2
    omega = 2 * np.pi * FREQUENCY
    rho = np.exp(-1j * omega * dead) * hazard / (hazard + 1j * omega)
    expected = rate * ((1 - abs(rho) ** 2) / abs(1 - rho) ** 2 - 1)
    found = deficit(rate, fano, 2 * (rate / hazard) ** 3, dead)
    slow = FREQUENCY * TAU < 3
    np.testing.assert_allclose(found[slow], expected[slow], atol=0.02 * rate)
    assert (found * 2 * WIDTH).sum() == pytest.approx(-(rate**2), rel=0.1)  # of the correlation function at no lag


@pytest.mark.parametrize("fano", [0.05, 0.3, 0.8])
def test_slow_fluctuations_are_those_of_counts(fano):
    rate = 0.04
    assert deficit(rate, fano, 2 * fano**1.5 * fano**0.5, 2.0)[0] == pytest.approx(
        (fano - 1) * rate, rel=0.02, abs=1e-4
    )


def test_clockwork_has_lines():
    """A line in the cell of the rate holds its power, ``2 rate²`` with both signs, the cells around nothing."""
    rate = 0.05
    found = deficit(rate, 0.0, 0.0) + rate
    line = np.searchsorted(EDGES, rate * TAU)
    power = (found * 2 * WIDTH)[line - 12 : line + 12]
    assert power.sum() == pytest.approx(2 * rate**2, rel=0.05)
    assert power[:4].max() < 0.03 * power.sum()


def test_regridding_keeps_what_cells_hold():
    values = np.stack([deficit(0.03, 0.2, 0.05, 2.0)] * 3, axis=1)
    assert regrid(values, TAU, TAU) is values
    found = regrid(values, TAU, [20.0, 10.0, 16.0])
    np.testing.assert_allclose(found[:, 0], values[:, 0], rtol=1e-9)
    for column, tau in ((1, 10.0), (2, 16.0)):
        width = np.diff(EDGES) / tau
        up_to = np.interp(0.1, EDGES / tau, np.concatenate([[0], np.cumsum(found[:, column] * width)]))
        expected = np.interp(0.1, EDGES / TAU, np.concatenate([[0], np.cumsum(values[:, column] * WIDTH)]))
        assert up_to == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("dt", [None, DT])
def test_white_noise_remains_what_it_is(dt):
    """Silent, noise-driven, regular and noiseless neurons."""
    mean, variance = np.array([-1.0, 0.7, 1.5, 1.5, 0.5]), np.array([0.2, 1.0, 1.0, 0.0, 0.0])
    flat = np.zeros((len(EDGES) - 1, 5))
    received = TrainInput(
        mean, variance, np.zeros(5), flat, lambda t: -np.where(variance > 0, variance, 1.0) * t**2 / 2 + 0j
    )
    found = effective_input(received, LIFParameters(), dt)
    inputs = torch.from_numpy(mean), torch.from_numpy(np.sqrt(variance))
    lif = LIFParameters() if dt is None else discrete_lif(*inputs, LIFParameters(), dt)
    expected = moment_activation(*inputs, lif).rate
    rate = moment_activation(inputs[0], torch.from_numpy(found.std), found.lif).rate
    np.testing.assert_allclose(rate, expected, rtol=2e-4, atol=1e-12)


def test_no_noise_at_all():
    nothing = np.zeros(1)
    received = TrainInput(np.array([1.5]), nothing, nothing, np.zeros((len(EDGES) - 1, 1)), lambda t: 0j * t)
    assert effective_input(received, LIFParameters()).std == 0


def simulate(lif, steps, n, kick, seed, warmup=2000):
    """Return rates (n,), spikes/ms, of neurons that get `kick(step, spikes)` (n,) mV a step on top of their leak."""
    decay = np.exp(-DT / lif["tau_m"])
    hold = round(lif["t_ref"] / DT)
    v = np.random.default_rng(seed).uniform(0, lif["v_th"] * 0.9, n)
    rest, count, spikes = np.zeros(n, dtype=int), np.zeros(n), np.zeros(n, dtype=bool)
    for step in range(steps):
        free = rest == 0
        v = np.where(free, v * decay + kick(step, spikes), v)
        rest = np.maximum(rest - 1, 0)
        spikes = free & (v > lif["v_th"])
        v[spikes], rest[spikes] = 0.0, hold
        if step >= warmup:
            count += spikes
    return count / ((steps - warmup) * DT)


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "variance"), [(0.85, 1.0), (1.15, 1.5)])
def test_noise_without_slow_parts(mean, variance):
    """White noise less a part of its own past, ``S = σ² |1 - b/(1 + iωτ)|²``: two thirds of the slow power are missing."""
    lif = {"tau_m": TAU, "v_th": 20.0, "v_reset": 0.0, "t_ref": 5.0}
    n, b, tau = 1000, 0.42, 15.0
    generator = np.random.default_rng(3)
    gain = TAU * -np.expm1(-DT / TAU)
    slow = np.zeros(n)

    def kick(step, spikes):
        nonlocal slow
        noise = np.sqrt(variance / DT) * generator.standard_normal(n)
        slow = slow + DT / tau * (noise - slow)
        return gain * (mean + noise - b * slow)

    rates = simulate(lif, 16000, n, kick, seed=4)
    omega = 2 * np.pi * FREQUENCY
    missing = variance * (abs(1 - b / (1 + 1j * omega * tau)) ** 2 - 1)
    step_variance = variance * gain**2 / DT * 2 / (TAU * -np.expm1(-2 * DT / TAU))
    received = TrainInput(
        np.array([mean]),
        np.array([step_variance]),
        np.zeros(1),
        missing[:, None],
        lambda t: -step_variance * t**2 / 2 + 0j,
    )
    found = effective_input(received, LIFParameters(), DT)
    rate = moment_activation(
        torch.tensor([mean], dtype=torch.float64), torch.from_numpy(found.std), found.lif
    ).rate.item()
    error = rates.std(ddof=1) / np.sqrt(n)
    white = moment_activation(
        torch.tensor([mean], dtype=torch.float64),
        torch.tensor([variance**0.5], dtype=torch.float64),
        LIFParameters(),
    ).rate.item()
    assert abs(rate - rates.mean()) < 4 * error + 0.01 * rates.mean()
    assert abs(white - rates.mean()) > 8 * error  # else nothing is shown


def layered():
    """Return two layers, the first of which fires regularly, the second through weights of several mV."""
    generator = np.random.default_rng(0)
    weights = generator.normal(0.0, 4.0, (20, 30))
    weights -= weights.mean(1, keepdims=True)
    return Circuit(
        [Population("first", 30, LIFParameters()), Population("second", 20, LIFParameters())],
        [Projection("first", "second", weights=weights)],
        [GaussianDrive("first", mean=1.3, std=0.6), GaussianDrive("second", mean=np.linspace(0.3, 1.4, 20), std=0.7)],
    )


def error(prediction, rates):
    """Return the root mean square error of the second layer's rates, spikes/ms."""
    return np.sqrt(np.mean((prediction["rate"].values[30:] * 1e-3 - rates) ** 2))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_regular_trains_through_strong_weights():
    """Closures by one number for the variance have a much larger error."""
    circuit = layered()
    copies, steps = 25, 40000
    weights = circuit.matrix(circuit.projections[0])
    decay = np.exp(-DT / TAU)
    noise = np.sqrt((1 - decay**2) * TAU / 2)
    means = np.concatenate([np.full(30, 1.3), np.linspace(0.3, 1.4, 20)])[:, None] * TAU * (1 - decay)
    stds = np.concatenate([np.full(30, 0.6), np.full(20, 0.7)])[:, None] * noise
    generator = np.random.default_rng(5)

    def kick(step, spikes):
        own = means + stds * generator.standard_normal((50, copies))
        # Spikes of one step arrive with the next, which changes nothing but the delay.
        own[30:] += weights @ spikes.reshape(50, copies)[:30]
        return own.ravel()

    rates = simulate({"tau_m": TAU, "v_th": 20.0, "t_ref": 5.0}, steps, 50 * copies, kick, seed=6)
    rates = rates.reshape(50, copies).mean(1)[30:]
    errors = {c: error(predict(circuit, dt=DT, closure=c), rates) for c in ("moments", "poisson", "renewal")}
    assert errors["renewal"] < 0.08 * rates.mean()
    assert min(errors["moments"], errors["poisson"]) > 1.5 * errors["renewal"]


def recurrent(**changes):
    generator = np.random.default_rng(1)
    signs = np.where(np.arange(50) < 40, 1.0, -5.0)
    weights = sparse.csr_array((generator.random((50, 50)) < 0.2) * signs * 0.4)
    parameters = {"tau_m": np.where(np.arange(50) < 40, 20.0, 15.0)} | changes
    return Circuit(
        [PoissonSource("input", 6, rates=np.full(6, 0.05)), Population("cells", 50, LIFParameters(**parameters))],
        [
            Projection("cells", "cells", weights=weights, delay=1.5),
            Projection("input", "cells", weights=generator.normal(0.5, 0.3, (50, 6))),
        ],
        [GaussianDrive("cells", mean=0.6, std=0.5), PoissonDrive("cells", rate=0.8, weight=0.5)],
    )


@pytest.mark.slow
def test_recurrent_circuit():
    """All kinds of input, two membrane time constants; one copy a column, simulated with one step of delay."""
    circuit = recurrent()
    copies, steps = 25, 30000
    weights, source = (circuit.matrix(p) for p in circuit.projections)
    tau = np.where(np.arange(50) < 40, 20.0, 15.0)[:, None]
    decay = np.exp(-DT / tau)
    generator = np.random.default_rng(8)

    def kick(step, spikes):
        own = 0.6 * tau * (1 - decay) + 0.5 * np.sqrt((1 - decay**2) * tau / 2) * generator.standard_normal(
            (50, copies)
        )
        own += 0.5 * generator.poisson(0.8 * DT, (50, copies))
        own += source @ (generator.random((6, copies)) < 0.05 * DT)
        return (own + weights @ spikes.reshape(50, copies)).ravel()

    lif = {"tau_m": np.repeat(tau[:, 0], copies), "v_th": 20.0, "t_ref": 5.0}
    simulated = simulate(lif, steps, 50 * copies, kick, seed=9).reshape(50, copies)
    rates, errors = simulated.mean(1), simulated.std(1, ddof=1) / np.sqrt(copies)
    found = predict(circuit, dt=DT, closure="renewal", covariance=False)
    assert found.attrs["status"] == "converged"
    assert found.attrs["closure"] == "renewal"
    difference = found["rate"].values * 1e-3 - rates
    assert abs(difference.mean()) < 0.01 * rates.mean() + 4 * np.sqrt((errors**2).mean() / 50)
    assert np.median(abs(difference) / rates) < 0.03


def test_layers_and_fixed_points_agree():
    """Two layers, said as one population with weights from the first half to the second."""
    circuit = layered()
    weights = np.zeros((50, 50))
    weights[30:, :30] = circuit.matrix(circuit.projections[0])
    weights[0, 0] = 1e-12  # makes it recurrent
    mean, std = (
        np.concatenate([np.broadcast_to(getattr(d, n), k) for d, k in zip(circuit.drives, (30, 20), strict=True)])
        for n in ("mean", "std")
    )
    joined = Circuit(
        [Population("all", 50, LIFParameters())],
        [Projection("all", "all", weights=weights)],
        [GaussianDrive("all", mean=mean, std=std)],
    )
    one = predict(circuit, dt=DT, closure="renewal", covariance=False)
    other = predict(joined, dt=DT, closure="renewal", covariance=False)
    for name in ("rate", "variance", "std_input"):
        np.testing.assert_allclose(one[name].values, other[name].values, rtol=1e-6)


def test_what_the_closure_is_not_for():
    message = "closure='renewal' is for theory='diffusion' and for circuits with delta synapses"
    with pytest.raises(ValueError, match=message):
        predict(layered(), dt=DT, closure="renewal", theory="first_passage")
    with pytest.raises(ValueError, match=message):
        predict(layered(), closure="renewal", resolution="population")
    slow = Circuit(
        [Population("a", 2, LIFParameters())],
        [Projection("a", "a", weights=np.ones((2, 2)), tau_syn=2.0)],
        [GaussianDrive("a", mean=1.0, std=1.0)],
    )
    with pytest.raises(ValueError, match=message):
        predict(slow, closure="renewal")


def test_a_state_needs_its_trains():
    wiring = Wiring((2, 2), [Connection(slice(0, 2), slice(0, 2), np.ones((2, 2)))])
    with pytest.raises(ValueError, match="closure='renewal' needs `trains`"):
        stationary_state(wiring, np.ones(2), Received(np.ones(2)), LIFParameters(), closure="renewal")


def test_covariances_and_counts_come_with_it():
    """All correlations of the second layer are passed on by the first; a current is never correlated beyond 1."""
    found = predict(layered(), dt=DT, window=100.0, closure="renewal")
    covariance = found["covariance"].values
    np.testing.assert_allclose(covariance, covariance.T, atol=1e-12)
    np.testing.assert_allclose(np.diagonal(covariance), found["variance"].values, rtol=1e-9)
    scale = np.sqrt(np.diagonal(covariance))
    assert (abs(covariance) <= np.outer(scale, scale) * (1 + 1e-9)).all()
    assert (found["count_variance"].values > 0).all()
