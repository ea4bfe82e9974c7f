"""Predictions of recurrent circuits: limits, equivalent descriptions, reductions, and what cannot be predicted."""

import sys
import warnings

import numpy as np
import pytest
import torch
from brian2 import Hz, ms, mV
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    CorrelationWarning,
    FixedIndegree,
    FixedOutdegree,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    Normal,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    fixed_points,
    predict,
)
from mnnbio.circuits import brunel
from mnnbio.moments.fixed_point import NotConverged
from mnnbio.moments.fokker_planck import fokker_planck
from mnnbio.theory.recurrence import recurrent_prediction
from mnnbio.theory.validity import FiniteWeightWarning, LinearResponseWarning

pytestmark = pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)
RNG = np.random.default_rng(8)


def balanced(n=200, rule=None, weight=0.3, g=5.0, rates=(1.0, 2.0), seed=2, **drive):
    """A recurrent circuit with a shared source, two stimuli, and noise of its own."""
    rule = Bernoulli(0.2) if rule is None else rule
    sizes = {"E": n * 4 // 5, "I": n // 5}
    signs = {"E": weight, "I": -g * weight}
    return Circuit(
        [PoissonSource("input", 20, rates=np.outer(rates, np.full(20, 0.5)))]
        + [Population(name, size, LIF) for name, size in sizes.items()],
        [Projection(a, b, weight=signs[a], connectivity=rule, delay=1.5) for a in sizes for b in sizes]
        + [Projection("input", "E", weight=0.1, connectivity=Bernoulli(0.5))],
        [GaussianDrive(name, **({"mean": 0.7, "std": 1.0} | drive)) for name in sizes],
        seed=seed,
    )


def bistable():
    return Circuit(
        [Population("E", 2000, LIF)],
        [Projection("E", "E", weight=0.2, connectivity=FixedIndegree(200))],
        [GaussianDrive("E", mean=0.7, std=0.4)],
    )


def test_a_feed_forward_circuit_has_the_same_moments_on_both_ways():
    circuit = Circuit(
        [PoissonSource("input", 30, RNG.uniform(0.2, 1.0, 30)), Population("A", 6, LIF), Population("B", 4, LIF)],
        [
            Projection("input", "A", weights=0.15 * RNG.normal(size=(6, 30))),
            Projection("input", "B", weights=0.15 * RNG.normal(size=(4, 30))),
        ],
        [
            GaussianDrive("A", 1.0, 0.5, factor=0.3 * RNG.normal(size=(6, 2))),
            GaussianDrive("B", 1.1, 0.5),
            PoissonDrive("B", 0.4, 0.2),
        ],
    )
    options = {"dt": 0.1, "window": 100.0, "closure": "poisson"}
    layers = predict(circuit, **options)
    with torch.no_grad():
        loops = recurrent_prediction(circuit, **options, covariance=True, start=None, unconverged="raise")
    for name in layers.data_vars:
        np.testing.assert_allclose(loops[name], layers[name], rtol=1e-9, atol=1e-12)
    assert loops.attrs["largest_real"] == 0


def test_alike_neurons_are_one_population():
    """With fixed in-degrees every neuron receives the same, so both resolutions have the same rates."""
    circuit = brunel(g=5, nu_ext_ratio=2, scale=0.1)
    neurons = predict(circuit, dt=0.1, covariance=False)
    populations = predict(circuit, dt=0.1, resolution="population")
    for name in ("rate", "variance", "fano", "mean_input", "std_input"):
        for population in ("E", "I"):
            own = neurons[name].values[neurons["population"].values == population]
            np.testing.assert_allclose(own, populations[name].sel(population=population), rtol=1e-6)
    assert populations.attrs["status"] == neurons.attrs["status"] == "converged"
    assert populations["rate"].attrs["units"] == "Hz"


def heterogeneous(rules, weights, seed=0):
    sizes = {"E": 1600, "I": 400}
    return Circuit(
        [Population(name, size, LIF) for name, size in sizes.items()],
        [Projection(a, b, weight=weights[a], connectivity=rules(sizes[b])) for a in sizes for b in sizes],
        [GaussianDrive(name, mean=0.9, std=1.0, factor=np.full((n, 1), 0.2)) for name, n in sizes.items()],
        seed=seed,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rules", "weights"),
    [
        (lambda targets: Bernoulli(0.1), {"E": 0.1, "I": -0.5}),
        (lambda targets: FixedOutdegree(targets // 10), {"E": 0.1, "I": -0.5}),
        (lambda targets: Bernoulli(0.1), {"E": Normal(0.1, 0.05), "I": Normal(-0.5, 0.25)}),
    ],
    ids=["bernoulli", "outdegree", "weights"],
)
def test_populations_average_over_neurons_that_differ(rules, weights):
    """The reduction knows degrees and weights by their distributions alone; one sample of them has its own mean."""
    reduced = predict(heterogeneous(rules, weights), closure="poisson", resolution="population")
    samples = [predict(heterogeneous(rules, weights, seed), closure="poisson", covariance=False) for seed in range(5)]
    for name in ("rate", "variance"):
        means = np.array([s[name].groupby("population").mean().sel(population=["E", "I"]) for s in samples])
        error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
        assert (abs(reduced[name] - means.mean(axis=0)) < 4 * error + 0.01 * means.mean(axis=0)).all()
    whole = predict(heterogeneous(rules, weights), closure="poisson")
    np.testing.assert_allclose(reduced["population_covariance"], whole["population_covariance"], rtol=0.1)
    np.testing.assert_allclose(reduced.attrs["spectral_radius"], whole.attrs["spectral_radius"], rtol=0.15)
    block = whole["covariance"].values[:1600, :1600]
    pairs = (block.sum() - np.trace(block)) / 1600 / 1599
    np.testing.assert_allclose(reduced["pair_covariance"][0, 0], pairs, rtol=0.1)


def test_stimuli_are_predicted_one_by_one():
    circuit = balanced(n=60)
    both = predict(circuit, dt=0.1, window=100.0)
    assert both["rate"].dims == ("stimulus", "neuron")
    assert both["covariance"].dims == ("stimulus", "neuron", "neuron_j")
    assert both["group"].values.tolist() == ["E", "I"]
    assert both.attrs["stability"] == "stable"
    for k in range(2):
        one = predict(circuit.select(k), dt=0.1, window=100.0)
        for name in one.data_vars:
            np.testing.assert_allclose(both[name].isel(stimulus=k), one[name], rtol=1e-9)
        assert both.attrs["iterations"] >= one.attrs["iterations"]
    reduced = predict(circuit, resolution="population", window=100.0)
    assert reduced["population_covariance"].dims == ("stimulus", "population", "population_j")
    assert "count_fano" in reduced


def test_covariances_sum_up():
    prediction = predict(balanced(n=60).select(0))
    matrix = prediction["covariance"].values
    np.testing.assert_allclose(np.diag(matrix), prediction["variance"], rtol=1e-9)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-9, atol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > 0
    np.testing.assert_allclose(prediction["population_covariance"][0, 1], matrix[:48, 48:].sum(), rtol=1e-9)


def test_weights_of_every_kind_give_the_same():
    modes = ModeMatrix(RNG.normal(size=(30, 2)), [0.05, -0.08], RNG.normal(size=(30, 2)))
    results = []
    for weights in (modes, modes.to_dense(), sparse.csr_array(modes.to_dense())):
        circuit = Circuit(
            [Population("E", 30, LIF)], [Projection("E", "E", weights=weights)], [GaussianDrive("E", 1, 1)]
        )
        results.append(predict(circuit))
    for other in results[1:]:
        for name in ("rate", "variance", "covariance", "population_covariance"):
            np.testing.assert_allclose(other[name], results[0][name], rtol=1e-7, atol=1e-9)
    activity = modes.output_modes.T
    np.testing.assert_allclose(results[0]["mode_mean"], activity @ results[1]["rate"].values, rtol=1e-9)
    expected = activity @ results[1]["covariance"].values @ activity.T
    np.testing.assert_allclose(results[0]["mode_covariance"], expected, rtol=1e-7)


def test_large_circuits_have_no_full_matrix(monkeypatch):
    modes = ModeMatrix(RNG.normal(size=(30, 2)), [0.05, -0.08], RNG.normal(size=(30, 2)))
    circuit = Circuit([Population("E", 30, LIF)], [Projection("E", "E", weights=modes)], [GaussianDrive("E", 1, 1)])
    sparsely = balanced(n=200).select(0)
    whole, summed = predict(circuit), predict(sparsely)
    monkeypatch.setattr(sys.modules["mnnbio.theory.recurrence"], "DENSE", 20)
    low, projected = predict(circuit), predict(sparsely)
    assert "covariance" not in low
    factor = low["covariance_factor"].values
    matrix = np.diag(low["covariance_diagonal"].values) + factor @ low["covariance_core"].values @ factor.T
    np.testing.assert_allclose(matrix, whole["covariance"], rtol=1e-9, atol=1e-9)
    assert "covariance" not in projected
    np.testing.assert_allclose(projected["population_covariance"], summed["population_covariance"], rtol=0.1)


def test_exponential_synapses_shift_the_threshold():
    """Many small jumps, against the Fokker-Planck equation of what they amount to."""
    rate, weight = 10.0, 0.095
    lif = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=15.0, t_ref=0.0)
    circuit = Circuit([Population("E", 1, lif)], drives=[PoissonDrive("E", rate, weight, tau_syn=0.5)])
    expected = fokker_planck(rate * weight, rate**0.5 * weight, lif, 0.5).rate
    for resolution in ("neuron", "population"):
        np.testing.assert_allclose(predict(circuit, resolution=resolution)["rate"], 1e3 * expected, rtol=2e-3)


def test_several_states_are_found_and_told_apart():
    found = fixed_points(bistable())
    assert found.sizes == {"fixed_point": 3, "population": 1}
    assert found["stable"].values.tolist() == [1, 0, 1]
    assert found.attrs["unconverged"] == 0
    low, middle, high = found["rate"].values[:, 0]
    assert low < 1 < middle < 10 < 300 < high
    for rate in (low, high):
        again = predict(bistable(), resolution="population", start=rate * Hz, covariance=False)
        np.testing.assert_allclose(again["rate"], rate, rtol=1e-6)
    # A state of the populations is one of the neurons.
    neurons = predict(bistable(), start={"E": high * Hz}, covariance=False)
    np.testing.assert_allclose(neurons["rate"], high, rtol=1e-6)


def test_covariances_around_an_unstable_state_are_refused():
    with pytest.raises(ValueError, match="fluctuations grow around this state"):
        predict(bistable(), resolution="population", start=5 * Hz)
    rates = predict(bistable(), resolution="population", start=5 * Hz, covariance=False)
    assert rates.attrs["stability"] == "unstable"


def test_amplification_is_named():
    def chain(weight):
        return Circuit(
            [Population("E", 500, LIF)],
            [Projection("E", "E", weight=weight, connectivity=FixedIndegree(100))],
            [GaussianDrive("E", mean=0.5, std=2.0)],
        )

    with pytest.warns(LinearResponseWarning, match=r"an eigenvalue with the real part 0\.82, close to 1"):
        predict(chain(0.15), resolution="population")
    predict(chain(0.1), resolution="population")


def test_large_jumps_are_named():
    with pytest.warns(FiniteWeightWarning, match="the weights into 'E' are not small"):
        predict(balanced(n=60, weight=2.0, mean=2.0).select(0))


def test_a_search_without_result_raises_or_reports(monkeypatch):
    from mnnbio.theory import recurrence

    cut = recurrence.stationary_state
    monkeypatch.setattr(recurrence, "stationary_state", lambda *a, **k: cut(*a, **k, max_iterations=2))
    with pytest.raises(NotConverged, match="no self-consistent state was found: after 2 iterations"):
        predict(balanced().select(0), covariance=False)
    reported = predict(balanced().select(0), covariance=False, unconverged="report")
    assert reported.attrs["status"] == "not converged"
    assert reported.attrs["residual"] > 1e-9
    with pytest.raises(NotConverged, match="none of 1 starts led to a self-consistent state"):
        fixed_points(balanced().select(0), starts=[0.1], resolution="neuron")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": "area"}, "Invalid value 'area' for `resolution`"),
        ({"unconverged": "ignore"}, "Invalid value 'ignore' for `unconverged`"),
        ({"theory": "first_passage", "dt": 0.1}, "theory='first_passage' is for feed-forward circuits"),
        ({"start": -0.1}, "`start` must be a rate ≥ 0 spikes/ms"),
        ({"start": {"X": 0.1}}, "`start` names 'X'; the circuit has the populations E, I"),
        ({"start": {"E": [0.1, 0.2]}}, "or 160 of them"),
        ({"start": 5 * mV}, "`start` must be in 1/ms"),
        ({"dt": -1 * ms}, "`dt` must be > 0 ms"),
    ],
)
@pytest.mark.parametrize("resolution", ["neuron", "population"])
def test_invalid_options_raise(options, message, resolution):
    with pytest.raises(ValueError, match=message):
        predict(balanced(), **({"resolution": resolution} | options))


def test_fixed_points_need_one_stimulus_and_a_start():
    with pytest.raises(ValueError, match="fixed points are of one stationary input, got several stimuli"):
        fixed_points(balanced())
    with pytest.raises(ValueError, match="`starts` must hold one start or more"):
        fixed_points(bistable(), starts=[])


def test_the_reduction_never_draws_a_synapse(monkeypatch):
    monkeypatch.setattr(Circuit, "matrix", lambda *_: pytest.fail("a synapse was drawn"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prediction = predict(brunel(g=5, nu_ext_ratio=2), resolution="population", closure="poisson")
    np.testing.assert_allclose(prediction["rate"], 37.95, rtol=1e-3)


def test_shared_noise_that_correlates_currents_is_warned_of_in_recurrent_circuits_too():
    lif = LIFParameters()
    circuit = Circuit(
        [Population("E", 4, lif)],
        [Projection("E", "E", weights=np.full((4, 4), 0.05) - 0.05 * np.eye(4), delay=1.0)],
        [GaussianDrive("E", mean=0.9, std=0.3, factor=np.full((4, 1), 1.0))],
    )
    with pytest.warns(CorrelationWarning, match=r"neurons 0 and 1 of 'E' have a correlation of up to 0\.9"):
        predict(circuit, dt=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predict(circuit, dt=0.1, covariance=False)
