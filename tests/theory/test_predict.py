"""Predictions of circuits against closed forms and against the same circuit described otherwise."""

import numpy as np
import pytest
import torch
from brian2 import ms, mV

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
    predict,
)
from mnnbio.moments.activation import moment_activation
from mnnbio.theory.propagation import propagate
from mnnbio.theory.validity import CorrelationWarning, FiniteWeightWarning

# Networks with random weights need not be fit for spikes.
pytestmark = [
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning"),
    pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.CorrelationWarning"),
]

RNG = np.random.default_rng(5)
LIF = LIFParameters(tau_m=12.0, v_th=15.0, v_reset=3.0, t_ref=2.0)
RATES = RNG.uniform(0.3, 1.0, (3, 40))
W = 0.08 * RNG.normal(size=(9, 40))


def one_layer(**options):
    return Circuit(
        [PoissonSource("input", 40, RATES), Population("hidden", 9, LIF)],
        [Projection("input", "hidden", weights=W)],
        [GaussianDrive("hidden", mean=1.2, std=0.4)],
        **options,
    )


def test_one_layer_equals_the_formulas():
    mean = torch.from_numpy(RATES @ W.T + 1.2)
    std = torch.from_numpy(np.sqrt(RATES @ (W**2).T + 0.16))
    rate, variance, gain = moment_activation(mean, std, LIF)
    prediction = predict(one_layer())
    np.testing.assert_allclose(prediction["rate"], 1e3 * rate, rtol=1e-12)
    np.testing.assert_allclose(prediction["variance"], 1e3 * variance, rtol=1e-12)
    np.testing.assert_allclose(prediction["fano"], variance / rate, rtol=1e-12)
    np.testing.assert_allclose(prediction["mean_input"], 1e3 * mean, rtol=1e-12)
    np.testing.assert_allclose(prediction["std_input"], np.sqrt(1e3) * std, rtol=1e-12)
    for s in range(3):
        expected = gain[s].numpy()[:, None] * (W * RATES[s]) @ W.T * gain[s].numpy()
        np.fill_diagonal(expected, variance[s].numpy())
        np.testing.assert_allclose(prediction["covariance"][s], 1e3 * expected, rtol=1e-10, atol=1e-12)
    assert prediction["rate"].attrs["units"] == "Hz"


def test_without_covariance_the_rest_is_the_same():
    small, whole = predict(one_layer(), covariance=False), predict(one_layer())
    assert "covariance" not in small
    np.testing.assert_allclose(small["rate"], whole["rate"], rtol=1e-13)
    np.testing.assert_allclose(small["variance"], whole["variance"], rtol=1e-13)


def deep(split, skip=True):
    """Input → A → B with input → B, where A is one population or two."""
    rng = np.random.default_rng(1)
    into_a, a_to_b, skipping = (
        0.08 * rng.normal(size=(8, 40)),
        0.4 * rng.normal(size=(5, 8)),
        0.08 * rng.normal(size=(5, 40)),
    )
    lif_b = LIFParameters(tau_m=rng.uniform(10, 20, 5))
    names = {"A": slice(0, 8)} if not split else {"A1": slice(0, 3), "A2": slice(3, 8)}
    populations = [PoissonSource("input", 40, RATES), Population("B", 5, lif_b)]
    projections = [Projection("input", "B", weights=skipping)] if skip else []
    drives = [GaussianDrive("B", mean=1.0)]
    for name, part in names.items():
        populations.append(Population(name, part.stop - part.start, LIF))
        projections.append(Projection("input", name, weights=into_a[part]))
        projections.append(Projection(name, "B", weights=a_to_b[:, part]))
        drives.append(GaussianDrive(name, mean=1.2, std=0.3))
    return Circuit(populations, projections, drives)


@pytest.mark.parametrize("closure", ["moments", "poisson"])
def test_splitting_a_population_changes_nothing(closure):
    """Correlations between populations count as those within one, and so does a connection that skips a layer."""
    whole, parts = predict(deep(False), closure=closure), predict(deep(True), closure=closure)
    xr_order = [whole["population"].values.tolist().count(n) for n in ("B", "A")]
    assert xr_order == [5, 8]
    for name in ("rate", "variance", "covariance"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-10, atol=1e-13)


def test_a_skipping_connection_sees_the_correlation_of_what_it_joins():
    """The variance of the summed input, from the covariance of A with the input, by hand."""
    prediction = predict(deep(False))
    circuit = deep(False)
    skip, into_a, a_to_b = (circuit.matrix(p) for p in circuit.projections)
    mean_a = torch.from_numpy(RATES @ into_a.T + 1.2)
    std_a = torch.from_numpy(np.sqrt(RATES @ (into_a**2).T + 0.09))
    _, variance, gain = moment_activation(mean_a, std_a, LIF)
    for s in range(3):
        g = gain[s].numpy()[:, None]
        linear = np.vstack([np.eye(40), g * into_a])  # the trains' common part; A's own noise is added below
        joint = (linear * RATES[s]) @ linear.T
        joint[np.arange(40, 48), np.arange(40, 48)] = variance[s]
        weights = np.hstack([skip, a_to_b])
        expected = np.sqrt(np.diag(weights @ joint @ weights.T))
        np.testing.assert_allclose(prediction["std_input"][s, :5] / np.sqrt(1e3), expected, rtol=1e-10)


def test_the_closures_differ_by_the_fano_factor():
    moments, poisson = predict(deep(False, skip=False)), predict(deep(False, skip=False), closure="poisson")
    first, second = moments["population"] == "A", moments["population"] == "B"
    np.testing.assert_array_equal(moments["rate"][:, first], poisson["rate"][:, first])
    np.testing.assert_array_equal(moments["variance"][:, first], poisson["variance"][:, first])
    assert (moments["fano"][:, first] < 1).all()
    assert (moments["std_input"][:, second] < poisson["std_input"][:, second]).all()


def test_the_closure_follows_the_use():
    """In continuous time a circuit is a trained network; with a time step it is a simulation."""
    circuit = deep(False)
    assert predict(circuit).attrs["closure"] == "moments"
    assert predict(circuit, dt=0.1).attrs["closure"] == "poisson"
    assert predict(circuit, dt=0.1, closure="moments").attrs["closure"] == "moments"


def test_drives_equal_the_sources_they_stand_for():
    """A private Poisson drive is a Poisson source projecting one to one; shared noise adds its outer product."""
    rate, weight = 0.8, 0.3
    private = Circuit([Population("E", 4, LIF)], drives=[PoissonDrive("E", rate, weight), GaussianDrive("E", 1.1, 0.2)])
    source = Circuit(
        [PoissonSource("input", 4, rate), Population("E", 4, LIF)],
        [Projection("input", "E", weights=weight * np.eye(4))],
        [GaussianDrive("E", 1.1, 0.2)],
    )
    for name in ("rate", "variance", "covariance"):
        np.testing.assert_allclose(predict(private)[name], predict(source)[name], rtol=1e-12)
    # In steps, a source fires at most once and a drive any number of times: r(1 − r dt) against r.
    stepped = [predict(circuit, dt=0.5)["std_input"] ** 2 / 1e3 - 0.04 for circuit in (private, source)]
    np.testing.assert_allclose(stepped[1] / stepped[0], 1 - rate * 0.5, rtol=1e-12)
    factor = RNG.normal(size=(4, 2))
    shared = predict(Circuit([Population("E", 4, LIF)], drives=[GaussianDrive("E", 1.1, 0.2, factor=factor)]))
    total = factor @ factor.T + 0.04 * np.eye(4)
    np.testing.assert_allclose(shared["std_input"] / np.sqrt(1e3), np.sqrt(np.diag(total)), rtol=1e-12)
    gain = moment_activation(
        torch.tensor(1.1, dtype=torch.float64), torch.from_numpy(np.sqrt(np.diag(total))), LIF
    ).gain.numpy()
    off = ~np.eye(4, dtype=bool)
    expected = 1e3 * gain[:, None] * total * gain
    np.testing.assert_allclose(shared["covariance"].values[off], expected[off], rtol=1e-10)


def test_weights_of_every_kind_give_the_same():
    from scipy import sparse

    modes = ModeMatrix(RNG.normal(size=(9, 2)), [0.02, 0.03], RNG.normal(size=(40, 2)))
    results = []
    for weights in (modes, modes.to_dense(), sparse.csr_array(modes.to_dense())):
        circuit = Circuit(
            [PoissonSource("input", 40, RATES), Population("hidden", 9, LIF)],
            [Projection("input", "hidden", weights=weights)],
            [GaussianDrive("hidden", mean=1.2)],
        )
        results.append(predict(circuit))
    for other in results[1:]:
        np.testing.assert_allclose(other["covariance"], results[0]["covariance"], rtol=1e-10, atol=1e-13)


def test_two_projections_between_the_same_populations_add_up():
    both = Circuit(
        [PoissonSource("input", 40, RATES), Population("hidden", 9, LIF)],
        [
            Projection("input", "hidden", weights=0.25 * W),
            Projection("input", "hidden", weights=0.75 * W, delay=2 * ms),
        ],
        [GaussianDrive("hidden", mean=1.2, std=0.4)],
    )
    np.testing.assert_allclose(predict(both)["rate"], predict(one_layer())["rate"], rtol=1e-12)


def test_in_a_window_shorter_than_the_refractory_period_there_is_at_most_one_spike():
    populations = [
        Population("E", 2, LIFParameters(v_reset=15.0, t_ref=[5.0, 5.4])),
        Population("I", 1, LIFParameters(v_reset=15.0, t_ref=6.0)),
    ]
    drives = [GaussianDrive(name, mean=0.0, std=5.0) for name in ("E", "I")]
    prediction = predict(Circuit(populations, drives=drives), window=4.9)
    assert (prediction["fano"] > 1.5).all()
    expected = prediction["rate"] * 4.9e-3
    np.testing.assert_allclose(prediction["count_variance"], expected * (1 - expected), rtol=1e-12)


def test_a_window_adds_count_statistics():
    prediction = predict(one_layer(readout=Readout("hidden", RNG.normal(size=(2, 9)), [0.0, 1.0])), window=100 * ms)
    expected = prediction["rate"] * 0.1
    long_window = prediction["variance"] * 0.1
    # Long windows: the constant term is small against the growing one.
    longer = predict(one_layer(), window=100_000 * ms)
    np.testing.assert_allclose(longer["count_variance"], longer["variance"] * 100, rtol=2e-2)
    np.testing.assert_allclose(prediction["count_fano"], prediction["count_variance"] / expected, rtol=1e-12)
    off = ~np.eye(9, dtype=bool)
    np.testing.assert_allclose(
        prediction["count_covariance"].values[:, off], 0.1 * prediction["covariance"].values[:, off], rtol=1e-12
    )
    np.testing.assert_array_equal(
        np.diagonal(prediction["count_covariance"], axis1=1, axis2=2), prediction["count_variance"]
    )
    assert (prediction["count_variance"] > long_window * 0.5).all()
    assert prediction["readout_covariance"].attrs["units"] == "1"


def test_the_time_step_vanishes_in_the_limit():
    """The effect of a step goes as √dt: a hundredth of the step has a tenth of it."""
    exact = predict(one_layer())["rate"]
    coarse, fine = (abs(predict(one_layer(), dt=dt)["rate"] / exact - 1) for dt in (0.1, 0.001))
    assert coarse.max() > 0.005
    np.testing.assert_allclose(fine / coarse, 0.1, rtol=0.4)  # other effects go as dt


def test_many_stimuli_are_cut_into_pieces(monkeypatch):
    import sys

    whole = predict(one_layer(), window=50.0)
    predict(one_layer())
    monkeypatch.setattr(sys.modules["mnnbio.theory.predict"], "CHUNK", 1)
    pieces = predict(one_layer(), window=50.0)
    for name in whole.data_vars:
        np.testing.assert_allclose(pieces[name], whole[name], rtol=1e-9)
    assert pieces["stimulus"].values.tolist() == [0, 1, 2]


def test_silent_neurons_are_poisson():
    silent = predict(Circuit([Population("E", 1, LIF)], drives=[GaussianDrive("E", mean=-1.0)]), window=100.0)
    assert silent["rate"].item() == 0
    assert silent["fano"].item() == 1
    assert silent["count_fano"].item() == 1


def test_large_weights_are_named():
    circuit = Circuit([Population("E", 3, LIF)], drives=[PoissonDrive("E", 0.2, 4 * mV)])
    with pytest.warns(FiniteWeightWarning, match="the weights into 'E' are not small"):
        predict(circuit)


def test_strong_correlations_are_named():
    def pair(correlation):
        shared, own = np.sqrt([correlation, 1 - correlation])
        return Circuit([Population("E", 2, LIF)], drives=[GaussianDrive("E", 1.2, own, factor=[[shared], [shared]])])

    with pytest.warns(
        CorrelationWarning, match="neurons 0 and 1 of 'E' have a correlation of up to 0.80, and 100.0% of all"
    ):
        predict(pair(0.8))
    predict(pair(0.6))
    predict(pair(0.8), covariance=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"closure": "guess"}, "Invalid value 'guess' for `closure`"),
        ({"dt": 0.0}, "`dt` must be > 0 ms, got 0.0"),
        ({"window": [1.0, 2.0]}, "`window` must be a single time > 0 ms"),
        ({"dt": 1 * mV}, "`dt` must be in ms, got a quantity of another dimension"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        predict(one_layer(), **options)


def test_moments_pass_forward_only():
    recurrent = Circuit([Population("E", 2, LIF)], [Projection("E", "E", weights=np.ones((2, 2)))])
    with pytest.raises(ValueError, match="is recurrent"):
        propagate(recurrent, dt=None, closure="moments", theory="diffusion", covariance=True)
