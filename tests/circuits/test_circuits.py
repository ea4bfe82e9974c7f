"""Ready circuits: their parameters against the papers, and scaling against what it promises to keep."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from brian2 import Hz, ms, mV
from hypothesis import given, settings
from hypothesis import strategies as st

from mnnbio import predict
from mnnbio.circuit import GaussianDrive, PoissonDrive, PoissonSource, Population, Projection
from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.connectivity import AllToAll, Bernoulli, FixedIndegree, FixedTotalNumber
from mnnbio.circuits import balanced, brunel, clustered, downscaled, inhibition_stabilised, microcircuit, ring
from mnnbio.circuits.cortical_microcircuit import FULL_RATES, POPULATIONS
from mnnbio.neurons.lif import LIFParameters
from mnnbio.values import Normal

SMALL = {
    "brunel": lambda seed: brunel(scale=0.13, indegree_scale=1.0, seed=seed),
    "balanced": lambda seed: balanced(scale=0.05, seed=seed),
    "inhibition_stabilised": lambda seed: inhibition_stabilised(scale=0.2, indegree_scale=1.0, seed=seed),
    "clustered": lambda seed: clustered(scale=0.1, seed=seed),
    "ring": lambda seed: ring(scale=0.1, seed=seed),
    "microcircuit": lambda seed: microcircuit(scale=0.01, seed=seed),
}


def degrees(circuit: Circuit, source: str, target: str) -> np.ndarray:
    (projection,) = [p for p in circuit.projections if (p.source, p.target) == (source, target)]
    return np.diff(circuit.matrix(projection).indptr)


def input_moments(circuit: Circuit, rates: dict[str, float]) -> dict[str, np.ndarray]:
    """Return mean and variance of the input current of each population by Campbell's theorem, written out."""
    found = {p.name: np.zeros(2) for p in circuit.neurons}
    for projection in circuit.projections:
        target, source = circuit.population(projection.target), circuit.population(projection.source)
        autapses = projection.autapses or source is not target
        k = projection.connectivity.mean_indegree(target.size, source.size, autapses=autapses)
        mean, std = projection.weight if isinstance(projection.weight, tuple) else (projection.weight, 0.0)
        if isinstance(projection.weight, Normal):
            mean, std = projection.weight.moments()
        found[projection.target] += k * rates[projection.source] * np.array([mean, mean**2 + std**2])
    for drive in circuit.drives:
        if isinstance(drive, PoissonDrive):
            found[drive.target] += float(drive.rate) * np.array([drive.weight, drive.weight**2])
        else:
            found[drive.target] += [float(drive.mean), float(drive.std) ** 2]
    return found


@pytest.mark.parametrize("name", SMALL)
def test_circuits_survive_json_and_are_fixed_by_their_seed(name):
    one, same, other = (SMALL[name](seed) for seed in (1, 1, 2))
    assert one.is_recurrent
    assert one.hash() == same.hash() != other.hash()
    assert Circuit.from_json(one.to_json()).hash() == one.hash()
    first = one.projections[0]
    assert (one.dense(first) == same.dense(same.projections[0])).all()
    assert (one.dense(first) != other.dense(other.projections[0])).any()


@pytest.mark.parametrize("name", SMALL)
def test_circuits_obey_dales_law(name):
    circuit = SMALL[name](0)
    for projection in circuit.projections:
        weights = circuit.dense(projection)
        excites = projection.source.endswith("E")
        assert ((weights >= 0) if excites else (weights <= 0)).all(), projection


# Brunel (2000).


def test_brunel_has_the_parameters_of_figure_8():
    circuit = brunel(g=6, nu_ext_ratio=4)
    assert {p.name: p.size for p in circuit.neurons} == {"E": 10_000, "I": 2_500}
    for p in circuit.projections:
        assert (p.weight, p.connectivity.n) == {"E": (0.1, 1000), "I": (pytest.approx(-0.6), 250)}[p.source]
        assert (p.delay, p.tau_syn, p.autapses) == (1.5, 0.0, False)
    for drive in circuit.drives:
        # ν_thr is the rate that brings the mean potential, τ C_E J ν, to threshold; here it is four times that.
        assert 20.0 * drive.rate * drive.weight == pytest.approx(4 * 20.0)
    assert {tuple(p.lif.to_dict().values()) for p in circuit.neurons} == {(20.0, 20.0, 10.0, 2.0)}


def test_model_b_has_inhibitory_neurons_of_their_own():
    circuit = brunel(5, 2, "B", g_inhibitory=4, weight_inhibitory=0.2 * mV, nu_ext_ratio_inhibitory=1)
    assert [p.lif.tau_m for p in circuit.neurons] == [20.0, 10.0]
    weights = {(p.source, p.target): p.weight for p in circuit.projections}
    assert weights == pytest.approx({("E", "E"): 0.1, ("I", "E"): -0.5, ("E", "I"): 0.2, ("I", "I"): -0.8})
    drives = {d.target: (float(d.rate), d.weight) for d in circuit.drives}
    assert drives == {"E": (pytest.approx(20.0), 0.1), "I": (pytest.approx(10.0), 0.2)}


def test_small_brunel_networks_have_their_indegrees():
    circuit = brunel(scale=0.3, indegree_scale=1)
    assert set(degrees(circuit, "E", "E")) == {1000}
    assert set(degrees(circuit, "I", "E")) == {250}
    assert circuit.population("E").size == 3000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "C"}, r"Invalid value 'C' for `model`. Must be one of \['A', 'B'\]"),
        ({"g_inhibitory": 4.0}, "in model A both kinds of neurons are alike, got `g_inhibitory`; choose model 'B'"),
        ({"weight": -0.1}, "weights from E must be > 0 mV, got -0.1 onto E"),
        ({"g": -1}, "`g` and `nu_ext_ratio` must be ≥ 0, got -1 and 2 for E"),
        ({"scale": 0.05, "indegree_scale": 1}, "needs 1000 of 499 sources: choose a larger `scale` or a smaller"),
        ({"scale": 0}, "`scale` must be a number > 0, got 0"),
        ({"weight": 1 * ms}, "`weight` must be in mV"),
    ],
)
def test_bad_brunel_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        brunel(**options)


# Scaling (van Albada et al. 2015).


@settings(max_examples=25)
@given(scale=st.floats(0.05, 2), k=st.floats(0.02, 1), e=st.floats(0.001, 0.1), i=st.floats(0.001, 0.1))
def test_downscaling_keeps_mean_and_variance_of_the_input(scale, k, e, i):
    lif = LIFParameters()
    full = Circuit(
        [Population("E", 4000, lif), Population("I", 1000, lif)],
        [
            Projection("E", "E", weight=0.1, connectivity=FixedIndegree(200)),
            Projection("I", "E", weight=Normal(-0.4, 0.04, high=0.0), connectivity=Bernoulli(0.05)),
            Projection("E", "I", weight=0.15, connectivity=FixedTotalNumber(300_000)),
            Projection("I", "I", weight=-0.4, connectivity=FixedIndegree(50)),
        ],
        [PoissonDrive("E", rate=8.0, weight=0.2), GaussianDrive("I", mean=0.8, std=0.5)],
    )
    rates = {"E": e, "I": i}
    try:
        small = downscaled(full, scale, k, rates)
    except ValueError as error:
        assert "choose a larger `scale`" in str(error)  # noqa: PT017 - draws that do not fit
        return
    before, after = input_moments(full, rates), input_moments(small, rates)
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9)


def test_the_rates_of_the_full_network_come_from_theory():
    small = brunel(scale=0.1)
    given = downscaled(brunel(), 0.1, rates={"E": 37.949 * Hz, "I": 37.949 * Hz})
    for one, other in zip(small.drives, given.drives, strict=True):
        if isinstance(one, GaussianDrive):
            assert float(one.mean) == pytest.approx(float(other.mean), rel=1e-3)


def test_a_network_that_keeps_its_indegrees_needs_no_rates():
    small = brunel(scale=0.5, indegree_scale=1)
    assert all(isinstance(drive, PoissonDrive) for drive in small.drives)
    assert {p.weight for p in small.projections} == {0.1, -0.5}


def two(**changes) -> Circuit:
    parts = {
        "populations": [Population("E", 10, LIFParameters())],
        "projections": [Projection("E", "E", weight=0.1, connectivity=FixedIndegree(5))],
    }
    return Circuit(**(parts | changes))


@pytest.mark.parametrize(
    ("circuit", "rates", "message"),
    [
        (two(populations=[Population("E", 10, LIFParameters(tau_m=np.arange(1, 11.0)))]), None, "parameters per neuron"),
        (two(populations=[Population("E", 10, LIFParameters()), PoissonSource("x", 5, 0.1)]), None, "a Poisson source"),
        (two(projections=[Projection("E", "E", weight=0.1, connectivity=AllToAll())]), {"E": 0.1}, "has AllToAll"),
        (two(projections=[Projection("E", "E", weights=np.ones((10, 10)))]), {"E": 0.1}, "has explicit weights"),
        (two(), {"F": 0.1}, r"`rates` must be of populations of the circuit \(E\), got \['F'\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_is_refused(circuit, rates, message):
    with pytest.raises(ValueError, match=message):
        downscaled(circuit, 0.5, rates=rates)


# Van Vreeswijk & Sompolinsky (1996).


def test_balanced_weights_fall_with_the_root_of_the_indegree():
    one, four = balanced(indegree=250), balanced(indegree=1000)
    for p, q in zip(one.projections, four.projections, strict=True):
        assert p.weight == pytest.approx(2 * q.weight)
    assert degrees(one, "E", "I").mean() == pytest.approx(250, abs=4 * np.sqrt(250 / 4000))


@pytest.mark.parametrize(("rate", "r_0"), [(0.005, 0.005), (20 * Hz, 0.02)], ids=["number", "quantity"])
def test_balance_fixes_both_rates_at_that_of_the_drive(rate, r_0):
    # The mean input of each population vanishes for both rates = r_0, whatever the indegree.
    circuit = balanced(rate=rate)
    for mean, variance in input_moments(circuit, {"E": r_0, "I": r_0}).values():
        assert abs(mean) < 0.02 * variance  # autapses are missing: one input in N
        assert variance > 0


@pytest.mark.parametrize("options", [{"indegree": 5000}, {"indegree": 0}, {"scale": -1}])
def test_bad_balanced_networks_are_refused(options):
    with pytest.raises(ValueError, match=r"`indegree` must be between 1 and|`scale` must be a number > 0"):
        balanced(**options)


@pytest.mark.parametrize("indegree", [100, 400, 1600])
def test_balance_is_approached_as_the_indegree_grows(indegree):
    # Deviations from balance are of the order 1/√K.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of finite weights
        state = predict(
            balanced(indegree=indegree, sizes=(20_000, 20_000)), resolution="population", closure="poisson",
            covariance=False, start=0.01,
        )  # fmt: skip
    assert (np.abs(state["rate"] / 10.0 - 1) * np.sqrt(indegree) < 7).all()


# Inhibition-stabilised network.


def test_each_stimulus_adds_drive_to_the_inhibitory_neurons():
    circuit = inhibition_stabilised([0, 300] * Hz, scale=0.2, indegree_scale=1)
    assert circuit.n_stimuli == 2
    drive = circuit.drives[-1]
    assert (drive.target, drive.rate.shape) == ("I", (2, 200))
    np.testing.assert_allclose(drive.rate[:, 0], [0, 0.3])
    with pytest.raises(ValueError, match="`stimulus` must be a sequence of rates"):
        inhibition_stabilised([[0.0]], scale=0.2, indegree_scale=1)


# Litwin-Kumar & Doiron (2012).


def test_clusters_are_connected_more_often_and_more_strongly():
    circuit = clustered(scale=0.25)
    weights = circuit.dense(circuit.projections[0])
    n, cluster = 1000, 20
    assert weights.shape == (n, n)
    member = np.arange(n) // cluster
    same = (member[:, None] == member) & ~np.eye(n, dtype=bool)
    inner, outer = weights[same], weights[member[:, None] != member]
    # p_EE = 0.2 on average, R_EE = 2.5: the paper's p_out = 0.2 N / (cluster (R − 1) + N) = 0.1942.
    p = 0.2 * 50 / (1.5 + 50)
    for block, truth in ((inner, 2.5 * p), (outer, p)):
        assert (block > 0).mean() == pytest.approx(truth, abs=4 * np.sqrt(truth * (1 - truth) / block.size))
    np.testing.assert_allclose(inner[inner > 0], 1.9 * 0.024 * 20 / 0.25)
    np.testing.assert_allclose(outer[outer > 0], 0.024 * 20 / 0.25)
    assert not np.diag(weights).any()


def test_without_clusters_the_network_is_homogeneous():
    circuit = clustered(ratio=1, scale=0.1)
    assert len(set(circuit.projections[0].weights.data)) == 1


def test_drives_of_clustered_networks_are_drawn_in_their_range():
    for drive in clustered(scale=0.25).drives:
        tau, low, high = {"E": (15.0, 1.1, 1.2), "I": (10.0, 1.0, 1.05)}[drive.target]
        potential = drive.mean * tau / 20.0
        assert low <= potential.min() < low + 0.01 < high - 0.01 < potential.max() <= high


@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"scale": 0.01}, {"scale": np.nan}])
def test_bad_clustered_networks_are_refused(options):
    with pytest.raises(ValueError, match=r"`ratio` must be a number ≥ 1|`scale` must leave clusters"):
        clustered(**options)


# Ring.


def test_connections_of_the_ring_fall_with_the_difference_of_orientations():
    circuit = ring(scale=0.5)
    for projection in circuit.projections:
        target, source = np.nonzero(circuit.dense(projection))
        sizes = (circuit.population(projection.target).size, circuit.population(projection.source).size)
        difference = 180 * ((target + 0.5) / sizes[0] - (source + 0.5) / sizes[1])
        wrapped = (difference + 90) % 180 - 90
        width = {("E", "E"): 15.0, ("E", "I"): 30.0}.get((projection.source, projection.target), 45.0)
        grid = np.linspace(-90, 90, 2001)
        profile = np.exp(-(grid**2) / (2 * width**2))
        truth = np.sqrt((grid**2 * profile).sum() / profile.sum())
        # Drawing without replacement flattens the profile a little where it is nearly exhausted.
        assert np.std(wrapped) == pytest.approx(truth, rel=0.15), projection


def test_the_drive_of_the_ring_is_tuned():
    circuit = ring(contrast=[1.0, 2.0], tuning=0.2, orientation=45.0)
    rate = circuit.drives[0].rate
    assert rate.shape == (2, 2000)
    np.testing.assert_allclose(rate[1], 2 * rate[0])
    assert abs(180 * (rate[0].argmax() + 0.5) / 2000 - 45) < 0.1
    assert rate[0].min() / rate[0].max() == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize("options", [{"contrast": -1}, {"tuning": 0.7}, {"scale": 0}])
def test_bad_rings_are_refused(options):
    with pytest.raises(ValueError, match=r"`contrast` must be numbers ≥ 0|`tuning` must be between|`scale` must be"):
        ring(**options)


# Potjans & Diesmann (2014).


def test_the_microcircuit_has_the_published_size():
    circuit = microcircuit()
    assert circuit.n_neurons == 77_169
    synapses = sum(p.connectivity.n for p in circuit.projections)
    assert synapses == pytest.approx(0.3e9, rel=0.01)  # "about 0.3 billion"
    assert len(circuit.projections) == 55  # nine of 64 pairs are not connected


def test_a_synapse_of_the_microcircuit_has_the_published_current():
    # 87.8 pA through 250 pF with 0.5 ms: the charge of a jump by 87.8 · 0.5/250 mV.
    weights = {(p.source, p.target): p.weight for p in microcircuit().projections}
    assert weights["L4E", "L4E"].mean == pytest.approx(87.8 * 0.5 / 250, rel=1e-3)
    assert weights["L4E", "L23E"].mean == pytest.approx(2 * 87.8 * 0.5 / 250, rel=1e-3)
    assert weights["L4I", "L4E"].mean == pytest.approx(-4 * 87.8 * 0.5 / 250, rel=1e-3)


def test_synapses_of_the_microcircuit_connect_pairs_with_the_published_probability():
    circuit = microcircuit()
    p = next(p for p in circuit.projections if (p.source, p.target) == ("L5I", "L5E"))
    pairs = 4850 * 1065
    # Eq. 1: C = 1 − (1 − 1/pairs)^K.
    assert 1 - (1 - 1 / pairs) ** p.connectivity.n == pytest.approx(0.3726, abs=1e-6)


def test_scaling_the_microcircuit_keeps_the_input_of_the_full_one():
    rates = dict(zip(POPULATIONS, 1e-3 * np.array(FULL_RATES), strict=True))
    before, after = (input_moments(microcircuit(scale), rates) for scale in (1.0, 0.1))
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)


def test_delays_of_the_microcircuit_are_drawn():
    circuit = microcircuit(scale=0.02, shortest_delay=0.2)
    for projection in circuit.projections[:2]:
        delays = circuit.delays(projection)
        law = Normal(
            {"E": 1.5, "I": 0.75}[projection.source[-1]], {"E": 0.75, "I": 0.375}[projection.source[-1]], low=0.2
        )
        mean, std = law.moments()
        assert delays.min() >= 0.2
        assert delays.mean() == pytest.approx(mean, abs=4 * std / np.sqrt(delays.size))


def test_the_documented_example_runs(capsys):
    text = (Path(__file__).parents[2] / "docs" / "ready_circuits.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    found: dict = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of finite weights
        exec(example, found)
    assert float(found["state"]["rate"][0]) == pytest.approx(37.95, rel=1e-3)
    assert (np.diff(found["rates"].sel(population="I")) < 0).all()
