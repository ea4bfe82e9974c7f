"""Dependence of the rate on the noise's spectrum: against a hand-made Fokker-Planck solver, and the rate's derivatives."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.drive import NeuronTensors
from mnnbio.moments.transfer import first_passage_transform
from mnnbio.theory import renewal as module
from mnnbio.theory.renewal import EDGES, rate_sensitivity

REGIMES = [(0.7, 1.0), (1.0, 1.5), (1.3, 1.0), (0.3, 3.0)]
TAU, V_TH, V_RESET, T_REF = 20.0, 20.0, 3.0, 4.0


def neuron(**changes):
    values = {"tau_m": TAU, "v_th": V_TH, "v_reset": V_RESET, "t_ref": T_REF} | changes
    return NeuronTensors(*(torch.tensor([v], dtype=torch.float64) for v in values.values()))


def rate_at(mean, variance, lif):
    inputs = (torch.tensor([v], dtype=torch.float64) for v in (mean, variance**0.5))
    return moment_activation(*inputs, lif).rate.item()


def sensitivity_at(mean, std, lif):
    return rate_sensitivity(np.array([mean]), np.array([std]), lif, np.array([rate_at(mean, std**2, lif)]))


def fokker_planck(mean, std, frequencies, size=4000):
    """Return K(ω) of one neuron: the density's response to a modulation, then the rate's to their product's mean.

    Finite volumes; the current of every face is ``(mean - v/τ) P - (σ²/2) P'``, and P = 0 at threshold.
    """
    lowest = min(V_RESET, mean * TAU) - 5 * std * np.sqrt(TAU)
    h = (V_TH - lowest) / size
    face = lowest + h * np.arange(1, size + 1)
    drift, diffusion = mean - face / TAU, std**2 / 2
    up, down = drift / 2 + diffusion / h, drift / 2 - diffusion / h  # current = up P_left + down P_right
    left, right = np.arange(size - 1), np.arange(1, size)
    out = 2 * diffusion / h  # half a cell to the threshold
    rows = np.concatenate([left, right, left, right, [size - 1]])
    columns = np.concatenate([left, left, right, right, [size - 1]])
    values = np.concatenate([-up[:-1], up[:-1], -down[:-1], down[:-1], [-out]]) / h
    generator = sparse.csc_matrix((values, (rows, columns)))
    gradient = sparse.csc_matrix(  # of a current that is P at the faces, 0 at threshold
        (np.concatenate([np.full(size - 1, s) for s in (0.5, -0.5, 0.5, -0.5)]) / h,
         (np.concatenate([left, right, left, right]), np.concatenate([left, left, right, right]))),
        shape=(size, size),
    )  # fmt: skip
    place = (V_RESET - lowest) / h - 0.5
    reset = np.zeros(size)
    reset[int(place)], reset[int(place) + 1] = (1 - place % 1) / h, (place % 1) / h
    passage = splu(generator.T.tocsc()).solve(-np.ones(size))
    rate = 1 / (T_REF + passage @ reset * h)
    density = splu(generator).solve(-rate * reset)
    found = []
    for f in frequencies:
        omega = 2j * np.pi * f
        solver = splu((omega * sparse.identity(size) - generator).tocsc())
        pushed, injected = solver.solve(-(gradient @ density) + 0j), solver.solve(reset + 0j)
        back = np.exp(-omega * T_REF)
        modulated = pushed + injected * back * out * pushed[-1] / (1 - back * out * injected[-1])
        found.append((rate * h * passage @ (gradient @ modulated)).real)  # -rate ∫ T' P, by parts
    return np.array(found)


@pytest.mark.parametrize(("mean", "std"), REGIMES)
def test_sensitivity_is_that_of_the_fokker_planck_equation(mean, std):
    cells = np.array([0, 3, 12, 30, 70, 85])
    frequencies = (EDGES[cells] + EDGES[cells + 1]) / 2 / TAU
    expected = fokker_planck(mean, std, frequencies) * 2 * np.diff(EDGES)[cells] / TAU
    found = sensitivity_at(mean, std, neuron()).by_cell[cells, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * abs(expected).max())


@pytest.mark.parametrize(("mean", "std"), REGIMES)
def test_white_noise_changes_the_rate_by_its_derivative(mean, std):
    h = 1e-4
    derivative = (rate_at(mean, std**2 + h, neuron()) - rate_at(mean, std**2 - h, neuron())) / (2 * h)
    found = sensitivity_at(mean, std, neuron())
    assert found.white[0] == pytest.approx(derivative, rel=1e-5)
    assert abs(found.by_cell.sum() / derivative - 1) < 0.3  # what is left beyond the last cell falls like ω^-1/2


@pytest.mark.parametrize(("mean", "std"), REGIMES)
def test_slow_noise_changes_the_rate_by_its_curvature(mean, std):
    h = 1e-3
    rates = [rate_at(mean + k * h, std**2, neuron()) for k in (-1, 0, 1)]
    curvature = (rates[0] - 2 * rates[1] + rates[2]) / h**2
    assert sensitivity_at(mean, std, neuron()).by_cell[0, 0] / (2 * EDGES[1] / TAU) == pytest.approx(
        curvature / 2, rel=0.02, abs=0.02 * abs(curvature)
    )


def test_table_is_the_function_of_first_passages():
    x = np.array([-39.3, -7.013, -0.5, 1.9, 6.21])
    slope, logarithm = module._look_up(x)
    s = module._table().s
    exact = first_passage_transform(s, x[:-1, None], x[1:, None])
    np.testing.assert_allclose(slope[1:], exact.upper, rtol=1e-5)
    np.testing.assert_allclose(np.exp(logarithm[2:-1] - logarithm[3:]), exact.ratio[2:], rtol=1e-4)


def test_silent_and_noiseless_neurons_are_left_alone():
    for mean, std in ((-1.0, 0.3), (2.0, 0.05)):
        found = sensitivity_at(mean, std, neuron())
        assert not found.by_cell.any()
        assert not found.white.any()
