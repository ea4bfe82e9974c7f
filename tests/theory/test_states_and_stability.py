"""The states of circuits that have several, and what is called unstable, by predict, spectra and oscillations."""

import warnings

import numpy as np
import pytest

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    fixed_points,
    predict,
    predict_oscillations,
    predict_spectra,
)
from mnnbio.circuits import microcircuit
from mnnbio.theory import LinearResponseWarning
from mnnbio.theory.loop_modes import _roots
from mnnbio.theory.oscillations import highest_known

pytestmark = pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)


def winner_takes_all():
    """Two excitatory populations and the inhibition that they share: either silences the other."""
    weight, rule = 0.15, Bernoulli(0.2)
    inhibitory = LIFParameters(tau_m=10.0, v_th=20.0, v_reset=10.0, t_ref=1.0)
    between = {
        (s, t): weight * (1.9 if s == t else 0.1) if t != "I" else 1.5 * weight for s in "AB" for t in ("A", "B", "I")
    }
    between |= {("I", t): -8 * weight for t in "ABI"}
    return Circuit(
        [Population("A", 400, LIF), Population("B", 400, LIF), Population("I", 200, inhibitory)],
        [
            Projection(s, t, weight=w, connectivity=rule, delay=1.0 if s == "I" else 1.5)
            for (s, t), w in between.items()
        ],
        [PoissonDrive(t, rate=1.6, weight=0.5) for t in "AB"] + [PoissonDrive("I", rate=2.7, weight=0.5)],
    )


@pytest.fixture(scope="module")
def states():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fixed_points(winner_takes_all(), dt=0.1)


def test_a_symmetric_circuit_has_states_that_break_its_symmetry(states):
    """Simulated from uneven starts: 35.8, 0.1 and 10.3 Hz, and the mirror image."""
    rates = states["rate"].values
    assert len(rates) == 3
    np.testing.assert_allclose(rates[0, 0], rates[0, 1], rtol=1e-6)
    np.testing.assert_allclose(sorted(rates[1:, 0]), [0.1, 35.8], atol=0.06)
    np.testing.assert_allclose(rates[1, [1, 0, 2]], rates[2], rtol=1e-4)
    np.testing.assert_allclose(rates[1:, 2], 10.3, atol=0.06)
    assert states["stable"].values.tolist() == [0.0, 1.0, 1.0]
    assert states["stable_with_delays"][0] == 0.0


@pytest.mark.slow
def test_the_search_is_deterministic(states):
    again = fixed_points(winner_takes_all(), dt=0.1)
    np.testing.assert_array_equal(again["rate"], states["rate"])


@pytest.mark.slow
def test_unstable_directions_lead_on_from_the_symmetric_state():
    """A symmetric start alone."""
    found = fixed_points(winner_takes_all(), [0.02], dt=0.1)
    assert found.sizes["fixed_point"] == 3
    assert found.attrs["starts"] > 1


@pytest.mark.slow
def test_neurons_have_the_states_of_their_populations():
    small = winner_takes_all()
    found = fixed_points(small, dt=0.1, resolution="neuron", starts=[0.02, {"A": 0.1, "B": 0.01, "I": 0.03}])
    means = found["rate"].groupby("population").mean().values
    assert len(means) >= 2
    assert means[:, 0].max() == pytest.approx(35.8, rel=0.15)
    assert np.isnan(found["stable_with_delays"]).all()


def test_results_say_what_stability_covers(states):
    assert "without delays" in states["stable"].attrs["covers"]
    assert "delays" in states["stable_with_delays"].attrs["covers"]
    attrs = predict(winner_takes_all(), resolution="population", covariance=False).attrs
    assert attrs["stability_covers"].startswith("static")


def inhibitory(delay=2.0, weight=-0.4):
    """Inhibition after a delay: stable without it, and oscillating with it."""
    return Circuit(
        [Population("I", 1000, LIF)],
        [Projection("I", "I", weight=weight, connectivity=FixedIndegree(100), delay=delay)],
        [GaussianDrive("I", mean=2.0, std=0.3)],
    )


@pytest.mark.slow
def test_states_that_only_delays_destabilise_are_told_apart():
    found = fixed_points(inhibitory(), dt=0.1)
    assert found["stable"].values.tolist() == [1.0]
    assert found["stable_with_delays"].values.tolist() == [0.0]
    assert predict_oscillations(inhibitory(), dt=0.1).attrs["oscillates"] == 1
    quiet = fixed_points(inhibitory(weight=-0.02), dt=0.1)
    assert quiet["stable_with_delays"].values.tolist() == [1.0]


def test_predictions_agree_on_what_is_unstable():
    alike = {"spectral_radius", "largest_real", "stability"}
    mean = predict(inhibitory(), dt=0.1, resolution="population").attrs
    oscillations = predict_oscillations(inhibitory(), dt=0.1).attrs
    spectra = predict_spectra(inhibitory(), [0.01], dt=0.1, unstable="report").attrs
    for name in alike:
        assert mean[name] == oscillations[name] == spectra[name]
    assert oscillations["stability_with_delays"] == spectra["stability_with_delays"] == "unstable"
    assert oscillations["unstable_frequency"] == spectra["unstable_frequency"]


def test_a_state_that_is_unstable_without_delays_has_no_spectra_either():
    circuit = winner_takes_all()
    for make in (
        lambda: predict(circuit, dt=0.1, resolution="population", start=0.02),
        lambda: predict_spectra(circuit, [0.01], dt=0.1, start=0.02),
    ):
        with pytest.raises(ValueError, match="fluctuations grow around this state"):
            make()


@pytest.mark.slow
def test_the_response_to_the_mean_alone_leaves_the_microcircuit_stable():
    """As in the published theory, whose oscillations below 100 Hz are damped; the response to the variance adds to it."""
    circuit = microcircuit()
    with pytest.raises(ValueError, match=r"it oscillates at 84\.7 Hz .*response='mean'.*unstable='report'"):
        predict_spectra(circuit, [0.08])
    with pytest.warns(LinearResponseWarning, match="348 Hz grows in linear response. It does not count"):
        found = predict_spectra(circuit, [0.08], response="mean")
    assert found.attrs["stability_with_delays"] == "stable"
    assert found.attrs["response"] == "mean"
    reported = predict_spectra(circuit, [0.08], unstable="report")
    assert reported.attrs["stability_with_delays"] == "unstable"
    assert reported.attrs["unstable_frequency"] == pytest.approx(84.74, abs=0.01)


def test_the_response_to_the_mean_is_that_of_a_circuit_whose_variance_does_not_count():
    """At weak loops ``K = (I - M)^{-1}`` differs by the response to the variance only."""
    both = predict_spectra(inhibitory(weight=-0.05), [0.0], dt=0.1)
    mean = predict_spectra(inhibitory(weight=-0.05), [0.0], dt=0.1, response="mean")
    covariance = predict(inhibitory(weight=-0.05), dt=0.1, resolution="population")["population_covariance"]
    # At frequency 0 and with the mean alone, the long-window covariance of `predict`, but for the spectrum's own noise.
    assert float(mean["power"][0, 0]) == pytest.approx(float(covariance[0, 0]) / 1000**2, rel=0.05)
    assert float(both["power"][0, 0]) != float(mean["power"][0, 0])


def test_the_response_is_known_up_to_the_time_constant_of_the_fastest_synapses():
    assert highest_known(inhibitory()) == np.inf
    assert highest_known(microcircuit()) == pytest.approx(1 / (2 * np.pi * 0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response": "variance"}, "Invalid value 'variance' for `response`"),
        ({"unstable": "ignore"}, "Invalid value 'ignore' for `unstable`"),
    ],
)
def test_invalid_options_of_spectra_raise(options, message):
    with pytest.raises(ValueError, match=message):
        predict_spectra(inhibitory(), [0.01], **options)


def test_roots_are_found_by_following_an_eigenvalue():
    """``g e^{-s} = 1`` at ``s = ln g + 2πik``, and a second eigenvalue beside it that never is 1."""
    gain = 1.3

    def loops(s):
        return np.stack([gain * np.exp(-s), 0.2 + 0 * s], axis=1)

    found = _roots(loops, np.array([1.0, 2.0]), np.array([gain, gain]))
    np.testing.assert_allclose(found, np.log(gain) + 2j * np.pi * np.array([1, 2]), rtol=1e-9)


@pytest.mark.parametrize("name", ["fixed_point", "resolution"])
def test_fixed_points_refuse_what_they_cannot_find(name):
    options = {"fixed_point": {"closure": "renewal"}, "resolution": {"resolution": "layer"}}[name]
    with pytest.raises(ValueError, match=r"closure='renewal' is for|Invalid value 'layer' for `resolution`"):
        fixed_points(inhibitory(), **options)
