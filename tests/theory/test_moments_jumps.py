"""Jumps of finite size: displacements against ladder heights in closed form, rates against the exact first passage."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.integrate import quad
from scipy.special import erfcx

from mnnbio import LIFParameters
from mnnbio.moments import first_passage
from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import NeuronTensors
from mnnbio.moments.first_passage import StepInput
from mnnbio.moments.overshoot import jump_factors
from mnnbio.theory.jumps import Jumps, asymmetry_delay, joint_exponent, jump_displacement, private_exponent
from mnnbio.theory.renewal import EDGES, TrainInput, effective_input

DT = 0.1


@pytest.mark.parametrize("rate", [0.1, 2.0, 30.0])
@pytest.mark.parametrize(
    ("exponent", "variance", "expected"),
    [
        # Ladder heights of jumps of one size are uniform up to it: E[H²]/2E[H] = 1/3, of which κ₃/6κ₂ = 1/6.
        (lambda t: np.expm1(1j * t) - 1j * t, 1.0, 1 / 6),
        # No jump leads upwards: the threshold is crept over, and the two parts cancel.
        (lambda t: np.expm1(-1j * t) + 1j * t, 1.0, 1 / 6),
        # Exponential jumps overshoot by their mean, κ₃/6κ₂ = 1/2; of both signs κ₃ = 0.
        (lambda t: 1 / (1 - 1j * t) - 1 - 1j * t, 2.0, 1 / 2),
        (lambda t: 0.5 / (1 - 1j * t) + 0.5 / (1 + 1j * t) - 1, 2.0, 1.0),
        (lambda t: -0.5 * t**2 + 0j, 1.0, 0.0),
    ],
    ids=["one size", "inhibition", "exponential", "both signs", "Gaussian"],
)
def test_displacement_follows_from_ladder_heights(exponent, variance, expected, rate):
    found = jump_displacement(lambda theta: rate * exponent(theta), np.array([rate * variance]))
    assert found == pytest.approx(expected, abs=2e-3)


def test_steps_displace_by_what_jumps_add_to_them():
    """Many small jumps a step are Gaussian; rare large ones overshoot as in continuous time."""

    def both_signs(rate, size):
        return lambda t: rate * (0.5 / (1 - 1j * t * size) + 0.5 / (1 + 1j * t * size) - 1)

    assert jump_displacement(both_signs(1e4, 0.01), np.array([2.0]), DT) == pytest.approx(0.0, abs=1e-2)
    variance = np.array([2 * 0.02 * 3.0**2])
    gaussian = 0.5826 * np.sqrt(variance * 1e-2)
    assert jump_displacement(both_signs(0.02, 3.0), variance, 1e-2) + gaussian == pytest.approx(3.0, rel=2e-2)


@pytest.mark.parametrize("weights", [[[0.5, -1.0, 0.0], [0.5, 0.5, -1.0]], np.linspace(-1, 1, 24).reshape(2, 12)])
@pytest.mark.parametrize("store", [np.asarray, sparse.csr_array])
def test_exponent_is_that_of_compound_poisson_processes(weights, store):
    weights = np.array(weights)
    rate, theta = np.linspace(0.01, 0.05, weights.shape[1]), np.array([0.3, 2.0])
    jumps = Jumps(store(weights))
    expected = [
        sum(r * (np.exp(1j * t * w) - 1) for w, r in zip(row, rate, strict=True))
        for row, t in zip(weights, theta, strict=True)
    ]
    np.testing.assert_allclose(jumps.exponent(theta, rate), expected, rtol=1e-12)
    np.testing.assert_allclose(jumps.squared @ rate, weights**2 @ rate, rtol=1e-12)


def test_no_synapses_have_no_exponent():
    assert not Jumps(np.zeros((2, 3))).exponent(np.ones(2), np.ones(3)).any()


@pytest.mark.parametrize(("mean", "std", "v_th"), [(0.7, 1.0, 20.0), (1.2, 2.0, 18.0)])
def test_asymmetry_delay_solves_the_backward_equation(mean, std, v_th):
    """``τ⁻¹(T₁''/2 - xT₁') = -ε T₀'''`` in units of σ√τ, integrated twice by quadrature."""
    tau, reset, third = 20.0, 0.0, 0.4
    scale = std * np.sqrt(tau)
    lower, upper = (reset - mean * tau) / scale, (v_th - mean * tau) / scale

    def second(x):  # g''
        g = np.sqrt(np.pi) / 2 * erfcx(-x)
        return 2 * g + 2 * x * (1 + 2 * x * g)

    def inner(x):  # of q' = 2xq + g''
        return quad(lambda u: np.exp((x - u) * (x + u)) * second(u), x - 8, x, points=[x - 3, x - 1])[0]

    expected = -4 * tau**2 * third / 6 / scale**3 * quad(inner, lower, upper)[0]
    lif = NeuronTensors(*(torch.tensor([v], dtype=torch.float64) for v in (tau, v_th, reset, 5.0)))
    found = asymmetry_delay(np.array([mean]), np.array([std**2]), np.array([third]), lif)
    assert found == pytest.approx(expected, rel=1e-6)


def predicted(mean, noise, weights, rates):
    """Return the rate of one neuron by the first-order theory of jumps, and by the diffusion alone; 1/ms."""
    lif = LIFParameters()
    factor = float(jump_factors(lif, DT).mean)
    w = factor * np.asarray(weights)[None]
    current, variance, third = (
        np.array([v]) for v in (mean + w[0] @ rates, noise**2 + w[0] ** 2 @ rates, w[0] ** 3 @ rates)
    )
    jumps = Jumps(w)
    exponent = joint_exponent([lambda t: jumps.exponent(t, rates)], w @ rates, np.array([noise**2]))
    flat = np.zeros((len(EDGES) - 1, 1))
    found = [
        effective_input(TrainInput(current, variance, k3, flat, psi), lif, DT)
        for k3, psi in ((third, exponent), (0 * third, lambda t: -variance * t**2 / 2 + 0j))
    ]
    mean_input = torch.from_numpy(current)
    return [moment_activation(mean_input, torch.from_numpy(f.std), f.lif).rate.item() for f in found]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "noise", "weights", "rates"),
    [
        (0.3, 0.2, [0.1, -0.5], [8.0, 0.4]),
        (0.0, 0.5, [1.0, -1.0], [1.3, 0.4]),
        (0.0, 0.2, [2.0, -2.0, 1.0], [0.6, 0.25, 0.3]),
        (0.6, 0.7, [3.0, -3.0], [0.3, 0.2]),
        (0.3, 0.0, [0.1, -0.5], [8.0, 0.4]),
    ],
)
def test_jumps_are_met_where_the_diffusion_is_not(mean, noise, weights, rates):
    """From 6 to 22 Hz, jumps up to 3 mV."""
    rates = np.array(rates)
    values = (torch.tensor(v, dtype=torch.float64) for v in (mean, noise, weights, rates * DT))
    step = StepInput(*values, torch.zeros(len(rates), dtype=torch.bool))
    exact = first_passage(step, LIFParameters(), DT).rate.item()
    jumps, diffusion = (abs(value / exact - 1) for value in predicted(mean, noise, weights, rates))
    assert diffusion > 0.01
    assert jumps < min(0.012, diffusion / 3)


def test_private_trains_are_poisson():
    theta, size, rate = np.array([0.1, 1.0]), np.array([0.5, -2.0]), np.array([1.0, 0.2])
    np.testing.assert_allclose(private_exponent(theta, size, rate), rate * (np.exp(1j * theta * size) - 1), rtol=1e-12)
