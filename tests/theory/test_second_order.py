"""Self-consistent spectra and the second order: limits that have closed forms, properties, and spikes."""

import numpy as np
import pytest
import torch
from brian2 import ms

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    predict,
)
from mnnbio.moments import NotConverged, discrete_lif, moment_activation, transfer_function
from mnnbio.theory import predict_second_order
from mnnbio.theory import self_consistent as module

DT = 0.1
LIF = LIFParameters(v_reset=10.0, t_ref=2.0)


@pytest.fixture(autouse=True)
def short_records(monkeypatch):
    """Records of 3.3 s and 8 pairs: enough for what is tested here."""
    monkeypatch.setattr(module, "STEPS", 2**15)
    monkeypatch.setattr(module, "PAIRS", 8)


def coupled(weight: float = 0.1, g: float = 6.0, tau_syn: float = 0.0, delay: float = 1.5) -> Circuit:
    return Circuit(
        [Population("E", 400, LIF), Population("I", 100, LIF)],
        [
            Projection(
                a, b, weight=weight if a == "E" else -g * weight, connectivity=FixedIndegree(n), delay=delay,
                tau_syn=tau_syn,
            )
            for a, n in (("E", 40), ("I", 10)) for b in "EI"
        ],
        [GaussianDrive(name, mean=1.1, std=1.0) for name in "EI"],
        seed=1,
    )  # fmt: skip


def alone(size: int = 50) -> Circuit:
    return Circuit([Population("A", size, LIF)], [], [GaussianDrive("A", mean=0.9, std=1.2)])


def test_neurons_without_synapses_are_those_of_white_noise():
    found = predict_second_order(alone(), dt=DT, window=100.0)
    mean, std = (torch.tensor([value], dtype=torch.float64) for value in (0.9, 1.2))
    lif = discrete_lif(mean, std, LIF, DT)
    assert abs(found.rate.item() / 1e3 - moment_activation(mean, std, lif).rate.item()) < 3 * found.rate_se.item() / 1e3
    # Independent neurons: the power of their mean is that of one over their number, and no pair covaries.
    spectrum = transfer_function(found.frequency.values / 1e3, 0.9, 1.2, lif).spectrum
    slow = (found.frequency < 100).values
    ratio = found.power.values[slow, 0] * 50 / (spectrum[slow] * 1e3).ravel()
    assert abs(ratio.mean() - 1) < 0.05
    # The population as a whole receives nothing, and private noise is all there is.
    assert abs(found.count_covariance.item()) < 1e-9
    assert found.attrs["status"] == "converged"
    assert found.attrs["input"] == "gaussian"


@pytest.mark.slow
def test_shared_noise_makes_neurons_covary_by_their_gain(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 2**16)  # the gain's error is then 3 %, that of its square 6 %
    monkeypatch.setattr(module, "PAIRS", 24)
    drive = GaussianDrive("A", mean=0.9, std=1.2, factor=np.full((50, 1), 0.2))
    circuit = Circuit([Population("A", 50, LIF)], [], [drive])
    found = predict_second_order(circuit, dt=DT)
    mean, std = torch.tensor([0.9]).double(), torch.tensor([np.sqrt(1.2**2 + 0.2**2)]).double()
    gain = moment_activation(mean, std, discrete_lif(mean, std, LIF, DT)).gain.item()
    assert found.pair_covariance.item() == pytest.approx(gain**2 * 0.2**2 * 1e3, rel=0.18)


@pytest.mark.slow
def test_both_inputs_agree_where_jumps_are_small():
    gaussian, trains = (
        predict_second_order(coupled(), dt=DT, window=100.0, input=kind) for kind in ("gaussian", "trains")
    )
    error = np.hypot(gaussian.rate_se, trains.rate_se)
    assert (abs(gaussian.rate - trains.rate) < 4 * error + 0.01 * gaussian.rate).all()
    np.testing.assert_allclose(gaussian.count_fano, trains.count_fano, rtol=0.15)
    assert trains.attrs["input"] == "trains"


@pytest.mark.slow
def test_weak_coupling_is_what_the_present_theory_says():
    circuit = coupled(weight=0.02)
    found, present = predict_second_order(circuit, dt=DT), predict(circuit, dt=DT, resolution="population")
    assert (abs(found.rate - present.rate) < 4 * found.rate_se + 0.003 * present.rate).all()
    largest = abs(present.pair_covariance).max().item()
    assert abs(found.pair_covariance - present.pair_covariance).max().item() < 0.2 * largest


@pytest.mark.slow
def test_slow_synapses_and_neurons_that_differ_have_a_state():
    rng = np.random.default_rng(0)
    lif = LIFParameters(v_reset=0.0, v_th=rng.normal(20, 1.5, 100), t_ref=2.0)
    circuit = Circuit(
        [Population("A", 100, lif)],
        [Projection("A", "A", weight=-0.3, connectivity=Bernoulli(0.2), delay=1.5, tau_syn=5.0)],
        [PoissonDrive("A", rate=6.0, weight=0.2)],
    )
    found = predict_second_order(circuit, dt=DT, window=50 * ms)
    assert found.attrs["status"] == "converged"
    assert 1 < found.rate.item() < 60
    cross = found.cross_real + 1j * found.cross_imag
    np.testing.assert_allclose(cross.values[:, 0, 0], found.power.values[:, 0])


def test_cross_spectra_are_hermitian_and_positive():
    found = predict_second_order(coupled(), dt=DT, input="gaussian", unconverged="report")
    cross = found.cross_real.values + 1j * found.cross_imag.values
    np.testing.assert_allclose(cross, cross.conj().swapaxes(1, 2), atol=1e-12)
    assert np.linalg.eigvalsh(cross).min() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dt": None}, "surrogate neurons run in time steps"),
        ({"dt": DT, "window": 1e5}, "a quarter of a record"),
        ({"dt": DT, "input": "noise"}, "`input`"),
        ({"dt": DT, "unconverged": "ignore"}, "`unconverged`"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        predict_second_order(alone(), **options)


def test_several_stimuli_are_refused():
    circuit = Circuit([Population("A", 2, LIF)], [], [GaussianDrive("A", mean=np.ones((3, 2)), std=1.0)])
    with pytest.raises(ValueError, match="one stationary state"):
        predict_second_order(circuit, dt=DT)


def test_no_state_is_an_error_with_a_remedy(monkeypatch):
    monkeypatch.setattr(module, "GENERATIONS", 1)
    with pytest.raises(NotConverged, match="no self-consistent state"):
        predict_second_order(coupled(weight=0.3), dt=DT, input="gaussian")
    found = predict_second_order(coupled(weight=0.3), dt=DT, input="gaussian", unconverged="report")
    assert found.attrs["status"] == "not converged"
