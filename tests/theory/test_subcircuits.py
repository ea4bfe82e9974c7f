"""Spectra of parts of a circuit: against matrices written out by hand, and limits."""

import numpy as np
import pytest

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    Population,
    Projection,
    predict,
    predict_oscillations,
    predict_spectra,
)
from mnnbio.circuits import microcircuit
from mnnbio.moments import transfer_function
from mnnbio.theory import predict_subcircuit_spectra

pytestmark = pytest.mark.filterwarnings(
    "ignore::mnnbio.theory.validity.FiniteWeightWarning", "ignore::mnnbio.theory.validity.LinearResponseWarning"
)

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
NAMES = "ABI"
SIZES = {"A": 1000, "B": 800, "I": 500}
DEGREE = {"A": 80, "B": 60, "I": 50}
WEIGHT = {"A": 0.15, "B": 0.1, "I": -0.6}
DELAY = {"A": 1.5, "B": 1.0, "I": 0.8}
FREQUENCIES = np.array([0.0, 0.005, 0.02, 0.06, 0.1, 0.2])


def three(rule=FixedIndegree):
    return Circuit(
        [Population(name, SIZES[name], LIF) for name in NAMES],
        [
            Projection(a, b, weight=WEIGHT[a], connectivity=rule(DEGREE[a]), delay=DELAY[a], autapses=True)
            for a in NAMES
            for b in NAMES
        ],
        [GaussianDrive(name, mean=1.0 + 0.1 * k, std=1.2) for k, name in enumerate(NAMES)],
    )


def by_hand(stay):
    """C = K D K† of in-degrees that are fixed: neurons and sources are drawn at random, so out-degrees vary a little."""
    state = predict(three(), resolution="population", closure="poisson", covariance=False)
    K, J, N = (np.array([table[name] for name in NAMES], float) for table in (DEGREE, WEIGHT, SIZES))
    answers = [
        transfer_function(FREQUENCIES, mean * 1e-3, std * 1e-3**0.5, LIF)
        for mean, std in zip(state["mean_input"].values, state["std_input"].values, strict=True)
    ]
    to_mean, to_variance, spectrum = (
        np.stack([getattr(answer, name) for answer in answers], axis=1) for name in ("mean", "variance", "spectrum")
    )
    kept = np.array([[(a, b) in stay for a in NAMES] for b in NAMES], float)
    phase = np.exp(-2j * np.pi * FREQUENCIES[:, None] * np.array([DELAY[name] for name in NAMES]))
    M = (to_mean[:, :, None] * K * J + to_variance[:, :, None] * K * J**2) * phase[:, None, :] * kept
    # Of what a neuron receives, the population receives as a whole K²J²/N per source: out-degrees vary like p(1 - p).
    common = kept * K**2 * J**2 / N
    received = np.einsum("ab,fb->fa", common * N[:, None], spectrum) / N
    D = (N * spectrum - N * np.abs(to_mean) ** 2 * received) / N**2
    inverse = np.linalg.inv(np.eye(3) - M)
    return np.einsum("fab,fb,fcb->fac", inverse, D, inverse.conj()) * 1e3


@pytest.mark.parametrize(
    ("chosen", "stay"),
    [
        ({"populations": ["A", "I"]}, {(a, b) for a in "AI" for b in "AI"}),
        ({"connections": [("A", "I"), ("I", "A")]}, {("A", "I"), ("I", "A")}),
        ({"without": [("I", "I"), ("B", "A")]}, {(a, b) for a in NAMES for b in NAMES} - {("I", "I"), ("B", "A")}),
    ],
)
def test_the_spectra_are_those_of_the_connections_that_stay(chosen, stay):
    found = predict_subcircuit_spectra(three(), FREQUENCIES, **chosen)
    places = [NAMES.index(name) for name in found["population"].values]
    expected = by_hand(stay)[:, places][:, :, places]
    np.testing.assert_allclose(found["power"], np.einsum("faa->fa", expected).real, rtol=1e-6)
    np.testing.assert_allclose(found["cross_real"], expected.real, rtol=1e-5, atol=1e-6 * expected.real.max())
    np.testing.assert_allclose(found["cross_imag"], -expected.imag, rtol=1e-5, atol=1e-6 * expected.real.max())
    assert found.attrs["connections"] == sorted(f"{a}->{b}" for a, b in stay)


def test_the_whole_circuit_is_a_part_of_itself():
    circuit = three(rule=lambda n: Bernoulli(n / 1000))
    whole = predict_spectra(circuit, FREQUENCIES)
    for found in (
        predict_subcircuit_spectra(circuit, FREQUENCIES, populations=list(NAMES)),
        predict_subcircuit_spectra(circuit, FREQUENCIES, without=[]),
    ):
        for name in ("power", "cross_real", "cross_imag", "coherence"):
            np.testing.assert_allclose(found[name], whole[name], rtol=1e-12, atol=1e-15)


def test_populations_without_connections_are_independent_trains():
    """The spectrum of a mean of N independent trains is theirs over N."""
    found = predict_subcircuit_spectra(three(), FREQUENCIES, connections=[])
    state = predict(three(), resolution="population", closure="poisson", covariance=False)
    mean, std = state["mean_input"].values * 1e-3, state["std_input"].values * 1e-3**0.5
    trains = transfer_function(FREQUENCIES, mean, std, LIF).spectrum
    np.testing.assert_allclose(found["power"], trains / np.array(list(SIZES.values())) * 1e3, rtol=1e-6)
    np.testing.assert_allclose(found["cross_real"].sel(population="A", population_j="B"), 0, atol=1e-15)


@pytest.mark.slow
@pytest.mark.reproduce
def test_the_gamma_of_the_microcircuit_ends_without_the_connection_from_layer_2_3_to_inhibition_in_4():
    """Bos et al. (2016), Fig. 9 B; inhibition of layer 6 has no part in it."""
    circuit = microcircuit()
    assert predict_oscillations(circuit).attrs["oscillates"]
    found = predict_subcircuit_spectra(circuit, [0.0847], without=[("L23E", "L4I")])
    assert found.attrs["stability_with_delays"] == "stable"
    with pytest.raises(ValueError, match="it oscillates at"):
        predict_subcircuit_spectra(circuit, [0.0847], without=[("L6I", "L6I")])
    reported = predict_subcircuit_spectra(circuit, [0.0847], without=[("L6I", "L6I")], unstable="report")
    assert reported.attrs["stability_with_delays"] == "unstable"
    with pytest.raises(ValueError, match=r"the connections that stay are unstable without the others.*[34]\.\d\d ≥ 1"):
        predict_subcircuit_spectra(circuit, [0.0847], without=[("L4I", "L4E")])


def test_what_is_wrong_is_said():
    circuit = three()
    with pytest.raises(ValueError, match=r"give one of `populations`, `connections` and `without`.* got none"):
        predict_subcircuit_spectra(circuit, [0.1])
    with pytest.raises(ValueError, match="got `populations` and `without`"):
        predict_subcircuit_spectra(circuit, [0.1], populations="A", without=[("A", "A")])
    with pytest.raises(ValueError, match=r"`populations` must be some of A, B, I, got \['X'\]"):
        predict_subcircuit_spectra(circuit, [0.1], populations=["X"])
    with pytest.raises(ValueError, match=r"`without` must be pairs of source and target.*got \('A', 'X'\)"):
        predict_subcircuit_spectra(circuit, [0.1], without=[("A", "X")])
    with pytest.raises(ValueError, match="`frequencies` must be a list of frequencies ≥ 0"):
        predict_subcircuit_spectra(circuit, [-0.1], populations="A")
