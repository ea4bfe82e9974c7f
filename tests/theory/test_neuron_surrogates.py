"""The second order neuron by neuron: closed forms, agreement with populations, and covariances of realised weights."""

import numpy as np
import pytest

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    PoissonSource,
    Population,
    Projection,
    predict,
)
from mnnbio.theory import Surrogates
from mnnbio.theory.neuron_surrogates import _own_noise

DT = 0.1
LIF = LIFParameters(v_reset=10.0, t_ref=2.0)
SHORT = Surrogates(pairs=8, duration=3200.0, input="gaussian")
OPTIONS = {"dt": DT, "closure": "self_consistent", "surrogates": SHORT}


def loop(weight: float = 0.1, g: float = 6.0, p: float = 0.1) -> Circuit:
    rng = np.random.default_rng(1)
    lif = {n: LIFParameters(v_reset=10.0, t_ref=2.0, v_th=rng.normal(20, 0.7, s)) for n, s in (("E", 120), ("I", 30))}
    return Circuit(
        [Population("E", 120, lif["E"]), Population("I", 30, lif["I"])],
        [
            Projection(a, b, weight=weight if a == "E" else -g * weight, connectivity=Bernoulli(p), delay=1.5)
            for a in "EI" for b in "EI"
        ],
        [GaussianDrive(name, mean=1.0, std=1.2) for name in "EI"],
        seed=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def weak():
    return predict(loop(0.03), window=100.0, **OPTIONS), predict(loop(0.03), dt=DT, window=100.0)


def test_neurons_of_their_own_mean_strength_and_threshold_are_those_of_closed_forms():
    rng = np.random.default_rng(0)
    lif = LIFParameters(v_th=rng.uniform(17, 22, 40), v_reset=rng.uniform(5, 10, 40), t_ref=2.0)
    drive = GaussianDrive("A", mean=rng.uniform(0.7, 1.1, 40), std=rng.uniform(0.8, 1.6, 40))
    circuit = Circuit([Population("A", 40, lif)], [], [drive])
    found, known = predict(circuit, **OPTIONS), predict(circuit, dt=DT)
    error = found.rate - known.rate
    # 16 records of 3.28 s; the noise is the same for all neurons.
    assert (np.abs(error) < 3 * np.sqrt(known.rate / (16 * 3.28)) + 0.01 * known.rate).all()
    assert abs((error / known.rate).mean()) < 0.01
    assert set(known.variables) - {"covariance"} <= set(found.variables)


def test_time_constants_that_differ_are_corrected_by_closed_forms():
    rng = np.random.default_rng(0)
    lif = LIFParameters(tau_m=rng.uniform(15, 25, 40), v_reset=10.0, t_ref=rng.uniform(1, 4, 40).round(1))
    circuit = Circuit([Population("A", 40, lif)], [], [GaussianDrive("A", mean=1.0, std=1.2)])
    found, known = predict(circuit, **OPTIONS), predict(circuit, dt=DT)
    assert (np.abs(found.rate - known.rate) < 5 * found.rate_se + 0.015 * known.rate).all()


def test_layers_behind_poisson_trains_are_the_diffusion_theory():
    rng = np.random.default_rng(3)
    weights = rng.normal(0.02, 0.05, (30, 400))
    circuit = Circuit(
        [PoissonSource("input", 400, rates=0.03), Population("A", 30, LIF)],
        [Projection("input", "A", weights=weights)],
        [GaussianDrive("A", mean=0.65, std=0.9)],
    )
    found, known = predict(circuit, window=100.0, **OPTIONS), predict(circuit, dt=DT, window=100.0)
    # Single inputs of 0.05 mV are a diffusion within 1 %.
    assert (np.abs(found.rate - known.rate) < 5 * found.rate_se + 0.015 * known.rate).all()
    # Covariances of shared trains: gains of both theories are within 5 %.
    upper = np.triu_indices(30, 1)
    mine, theirs = found.covariance.values[upper], known.covariance.values[upper]
    assert np.corrcoef(mine, theirs)[0, 1] > 0.99
    assert (mine @ theirs) / (theirs @ theirs) == pytest.approx(1, abs=0.15)
    np.testing.assert_allclose(found.mean_input, known.mean_input, rtol=1e-6)


def test_weak_coupling_is_what_the_present_theory_says(weak):
    found, known = weak
    assert (np.abs(found.rate - known.rate) < 5 * found.rate_se + 0.01 * known.rate).all()
    mine, theirs = found.covariance.values, known.covariance.values
    upper = np.triu_indices(len(mine), 1)
    assert np.corrcoef(mine[upper], theirs[upper])[0, 1] > 0.98
    assert set(known.variables) <= set(found.variables)
    for name in known.variables:
        assert found[name].dims == known[name].dims, name


def test_covariances_are_symmetric_and_sum_to_those_of_populations(weak):
    found, _ = weak
    matrix = found.covariance.values
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(matrix), found.variance)
    members = (found.population.values[:, None] == found.group.values).astype(float)
    np.testing.assert_allclose(members.T @ matrix @ members, found.population_covariance, rtol=1e-9)
    counted = found.count_covariance.values
    np.testing.assert_allclose(np.diag(counted), found.count_variance)
    assert np.linalg.eigvalsh(counted).min() > 0


@pytest.mark.slow
def test_single_neurons_average_to_their_populations():
    circuit = loop(0.2)
    found = predict(circuit, window=100.0, **OPTIONS)
    drawn = circuit.with_parts(
        projections=[Projection(p.source, p.target, weights=circuit.matrix(p), delay=1.5) for p in circuit.projections]
    )
    whole = predict(drawn, window=100.0, resolution="population", **OPTIONS)
    rate = found.rate.groupby("population").mean()
    # Twelve neurons stand for a population in the one, every neuron for itself in the other.
    assert (np.abs(rate - whole.rate) < 4 * whole.rate_se + 0.03 * whole.rate).all()
    same = found.count_covariance.values[:120, :120]
    mean = (same.sum() - np.trace(same)) / (120 * 119)
    assert mean == pytest.approx(whole.count_covariance.values[0, 0], rel=0.25)


@pytest.mark.slow
def test_circuits_of_many_neurons_have_covariances_of_sums_alone(monkeypatch):
    from mnnbio.theory import neuron_surrogates as module

    small = predict(loop(0.05), **OPTIONS)
    monkeypatch.setattr(module, "DENSE", 100)
    large = predict(loop(0.05), **OPTIONS)
    assert "covariance" not in large
    np.testing.assert_allclose(large.population_covariance, small.population_covariance, rtol=0.06)


@pytest.mark.slow
def test_windows_of_many_neurons_follow_from_the_populations(monkeypatch):
    from mnnbio.theory import neuron_surrogates as module

    few = predict(loop(0.2), window=100.0, **OPTIONS)
    monkeypatch.setattr(module, "WINDOWED", 100)
    many = predict(loop(0.2), window=100.0, **OPTIONS)
    one, other = (found.count_covariance.values[:120, :120] for found in (few, many))
    upper = np.triu_indices(120, 1)
    assert np.corrcoef(one[upper], other[upper])[0, 1] > 0.9
    assert other[upper].mean() == pytest.approx(one[upper].mean(), rel=0.25)


def test_in_degrees_of_each_neuron_count():
    circuit = Circuit(
        [PoissonSource("input", 200, rates=0.05), Population("A", 20, LIF)],
        [Projection("input", "A", weights=np.outer(np.linspace(0.05, 0.12, 20), np.ones(200)))],
        [GaussianDrive("A", mean=0.2, std=0.5)],
    )
    found = predict(circuit, covariance=False, **OPTIONS)
    assert (np.diff(found.rate) > 0).all()
    assert "covariance" not in found


def test_own_noise_is_found_by_repetition_and_by_elimination():
    rng = np.random.default_rng(0)
    for strength in (0.02, 0.9):
        squared = np.eye(20) + strength * rng.random((20, 20))
        noise = rng.random(20)
        np.testing.assert_allclose(_own_noise(squared, squared @ noise), noise, rtol=1e-6)


def test_no_step_is_refused():
    circuit = Circuit([Population("A", 5, LIF)], [Projection("A", "A", weight=-0.1, connectivity=FixedIndegree(2))], [])
    with pytest.raises(ValueError, match="simulates neurons in time steps: give `dt`"):
        predict(circuit, closure="self_consistent")
