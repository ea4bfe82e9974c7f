"""Surrogates of any neuron model: spike for spike those of leaky neurons, and weak noise against threshold integration."""

import numpy as np
import pytest
import torch

from mnnbio import EquationNeuron, LIFParameters, Normal
from mnnbio.moments import lif_surrogate
from mnnbio.neurons import EIF, AdEx, NeuronModel
from mnnbio.theory import answer, register_sampler, sampler_of
from mnnbio.validation import filtered_spectrum, neuron_surrogate

DT = 0.1


def equal(one, other):
    for name, mine, theirs in zip(one._fields, one, other, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-15, err_msg=name)


def test_leaky_neurons_are_those_of_the_compiled_surrogate():
    """Same input, same spikes: two programs for one neuron."""
    spectrum = np.stack([filtered_spectrum(1.5, tau, DT, 1500.0) for tau in (5.0, 0.0)])
    lif = LIFParameters(v_th=np.array([20.0, 18.0]), t_ref=2.0)
    given = [0.9, 1.1], spectrum, lif, DT
    equal(
        neuron_surrogate(*given, pairs=3, seed=4, tau_syn=(0.0, 5.0)),
        lif_surrogate(*given, pairs=3, seed=4, tau_syn=(0.0, 5.0)),
    )


@pytest.mark.parametrize("b", [0.0, 4.0])
def test_adaptive_neurons_in_weak_noise_fire_at_their_known_rate(b):
    """Far above threshold; the theory knows the mean of the adaptation: 1 % beside 4 standard errors."""
    neuron = AdEx(a=0.0, b=b, tau_w=100.0)
    mean, std = 3.0, 0.5
    known = answer(neuron, torch.tensor([[mean]], dtype=torch.float64), torch.tensor([[std]], dtype=torch.float64), DT)
    found = neuron_surrogate([mean], filtered_spectrum(std, 0.0, DT, 3000.0), neuron, DT, pairs=6)
    rate = known.rate.item()
    assert rate > 0.01
    assert abs(found.rate[0] - rate) < 4 * found.rate_error[0] + 0.01 * rate
    # A slow change of the mean: the mean of the lowest band, below 1 Hz, whose period is longer than adaptation.
    if b == 0:
        slow = found.frequency < 5e-3
        gain = found.response[0, slow].real.mean()
        error = np.sqrt((found.response_error[0, slow] ** 2).sum()) / slow.sum()
        assert abs(gain - known.gain.item()) < 4 * error + 0.05 * known.gain.item()


def test_neurons_of_own_equations_are_sampled():
    own = EquationNeuron(
        equations="dv/dt = -v/(20*ms) + I : volt (unless refractory)",
        threshold="v >= 20*mV",
        reset="v = 0*mV",
        refractory=2.0,
        method="exact",
        current="I",
        current_unit="volt/second",
        order="synapses_first",
    )
    spectrum = filtered_spectrum(1.0, 2.0, DT, 1500.0)
    found = sampler_of(own)([1.1], spectrum, own, DT, pairs=2)
    leaky = lif_surrogate([1.1], spectrum, LIFParameters(t_ref=2.0), DT, pairs=2)
    # Brian2 counts the refractory step otherwise: one step of some 400 an interval.
    np.testing.assert_allclose(found.rate, leaky.rate, rtol=0.02)
    np.testing.assert_allclose(found.interval_cv2, leaky.interval_cv2, rtol=0.1, atol=0.01)


def test_samplers_are_found_by_the_type():
    assert sampler_of(LIFParameters()) is lif_surrogate
    assert sampler_of(EIF()) is neuron_surrogate

    class Own(EIF):
        pass

    def mine(*_, **__):
        raise NotImplementedError

    assert sampler_of(Own()) is neuron_surrogate
    register_sampler(Own, mine)
    assert sampler_of(Own()) is mine
    with pytest.raises(TypeError, match="`neuron_type` must be a subclass of NeuronModel, got 3"):
        register_sampler(3, mine)
    with pytest.raises(TypeError, match="`function` must be called like"):
        register_sampler(Own, 3)
    with pytest.raises(TypeError, match="no sampler is registered for neurons of the type object"):
        sampler_of(object())
    assert issubclass(Own, NeuronModel)


def test_bad_input_is_refused():
    spectrum = filtered_spectrum(1.0, 0.0, DT, 100.0)
    with pytest.raises(TypeError, match="`neuron` must be a neuron model"):
        neuron_surrogate([1.0], spectrum, "AdEx", DT)
    with pytest.raises(ValueError, match=r"`spectrum` must be ≥ 0 mV²/ms, got -1"):
        neuron_surrogate([1.0], -spectrum, EIF(), DT)
    with pytest.raises(ValueError, match=r"`mean` must be \(neuron,\) and `spectrum` \(neuron, frequency\)"):
        neuron_surrogate([1.0, 2.0], np.stack([spectrum] * 3), EIF(), DT)
    with pytest.raises(ValueError, match="describes 2 neurons and `mean` has 1"):
        neuron_surrogate([1.0], spectrum, EIF(v_t=np.array([-50.0, -51.0])), DT)
    with pytest.raises(ValueError, match="`v_t` of EIF is a distribution"):
        neuron_surrogate([1.0], spectrum, EIF(v_t=Normal(-50.0, 1.0)), DT)
    with pytest.raises(ValueError, match="`dt` must be > 0 ms and `warmup` ≥ 0 ms, got 0"):
        neuron_surrogate([1.0], spectrum, EIF(), 0.0)
    with pytest.raises(ValueError, match="pairs"):
        neuron_surrogate([1.0], spectrum, EIF(), DT, pairs=0)
    with pytest.raises(ValueError, match="`duration` must be > 0, got 0"):
        filtered_spectrum(1.0, 0.0, DT, 0.0)
