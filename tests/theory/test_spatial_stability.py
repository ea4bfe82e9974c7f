"""Waves in circuits on rings: the characteristic equation of LIF neurons, the whole circuit, the fitted rate model."""

import numpy as np
import pytest

from mnnbio import (
    Circuit,
    DistanceDependent,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    OneToOne,
    Population,
    Projection,
    predict,
    predict_oscillations,
)
from mnnbio.circuit import BoxProfile, Ring, Sheet
from mnnbio.moments import transfer_function
from mnnbio.theory import spatial_stability

pytestmark = pytest.mark.filterwarnings(
    "ignore::mnnbio.theory.validity.FiniteWeightWarning", "ignore::mnnbio.theory.validity.LinearResponseWarning"
)

LIF = LIFParameters(tau_m=5.0, v_th=15.0, v_reset=0.0, t_ref=0.5)
REACH = {"E": 0.2, "I": 0.07}
WEIGHT = {"E": 0.18, "I": -1.0}
DEGREE = {"E": 400, "I": 100}


RING = Ring(1.0)


def on_a_ring(space=RING, rule=DistanceDependent, **options):
    def connectivity(source):
        if rule is FixedIndegree:
            return FixedIndegree(DEGREE[source])
        return DistanceDependent(BoxProfile(REACH[source]), indegree=DEGREE[source], space=space, **options)

    return Circuit(
        [Population("E", 4000, LIF), Population("I", 1000, LIF)],
        [
            Projection(a, b, weight=WEIGHT[a], connectivity=connectivity(a), delay=1.5, autapses=True)
            for a in "EI"
            for b in "EI"
        ],
        [GaussianDrive(name, mean=2.8, std=4.0) for name in "EI"],
    )


def test_waves_of_lif_neurons_solve_their_characteristic_equation():
    circuit = on_a_ring()
    found = spatial_stability(circuit, response="mean")
    assert found.attrs["pattern"] == "wave"
    assert found.attrs["stability"] == "unstable"
    state = predict(circuit, resolution="population", closure="poisson", covariance=False)
    np.testing.assert_allclose(found["rate"], state["rate"], rtol=1e-7)
    k = found["wave_number"].values
    for n in (2, 3, 4):
        s = complex(found["eigenvalue_real"][n], found["eigenvalue_imag"][n]) * 1e-3
        shares = {name: np.sin(k[n] * REACH[name]) / (k[n] * REACH[name]) for name in "EI"}
        total = 0.0
        for name in "EI":  # equal rows
            rows = [averaged(circuit, state, s, target) for target in "EI"]
            total = total + rows["EI".index(name)] * DEGREE[name] * WEIGHT[name] * shares[name] * np.exp(-1.5 * s)
        assert abs(total - 1) < 1e-10


def averaged(circuit, state, s, target):
    """The response of the mean rate of a population whose neurons differ by their in-degrees."""
    from mnnbio.theory.population_theory import population_start, population_system, solve

    system = population_system(circuit, None)
    found = solve(system, "poisson", None, population_start(circuit, None))
    own = system.nodes.owner == "EI".index(target)
    frequency = np.array([s / (2j * np.pi)])
    responses = transfer_function(frequency, found.node_mean[own], found.node_std[own], LIF).mean[0]
    return responses @ system.nodes.weight[own]


@pytest.mark.slow
def test_wave_number_zero_has_the_oscillation_of_the_whole_circuit():
    circuit = on_a_ring()
    found = spatial_stability(circuit)
    whole = predict_oscillations(circuit)
    assert found["eigenvalue_real"][0].item() == pytest.approx(whole["growth"][0].item(), rel=1e-6)
    frequency = found["eigenvalue_imag"][0].item() / (2 * np.pi)
    assert frequency == pytest.approx(whole["frequency"][0].item(), rel=1e-6)


@pytest.mark.slow
def test_the_rate_model_has_about_the_waves_of_the_neurons():
    lif, rate = (spatial_stability(on_a_ring(), response="mean", model=model) for model in ("lif", "rate"))
    assert rate.attrs["pattern"] == lif.attrs["pattern"] == "wave"
    assert rate.attrs["critical_wave_number"] == lif.attrs["critical_wave_number"]
    assert rate.attrs["critical_frequency"] == pytest.approx(lif.attrs["critical_frequency"], rel=0.02)
    # The filter misses a few percent of the response, which at a loop gain of 1 are some of 1/(τ + d), 350 per second.
    np.testing.assert_allclose(rate["eigenvalue_real"][2:5], lif["eigenvalue_real"][2:5], atol=175)


def test_connections_without_places_carry_wave_number_zero_alone():
    circuit = on_a_ring()
    mixed = circuit.with_parts(
        projections=[
            Projection(p.source, p.target, weight=p.weight, connectivity=FixedIndegree(DEGREE[p.source]), delay=1.5)
            if p.source == "I"
            else p
            for p in circuit.projections
        ]
    )
    found = spatial_stability(mixed, model="rate")
    assert (found["spatial_transform"].sel(population_j="I")[1:] == 0).all()
    assert (found["spatial_transform"].sel(population_j="I")[0] == 1).all()
    same = mixed.with_parts(projections=[*mixed.projections, Projection("E", "E", weight=0.1, connectivity=OneToOne())])
    assert spatial_stability(same, model="rate").attrs["pattern"]


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match="a Ring or a Torus, got a Sheet"):
        spatial_stability(on_a_ring(space=Sheet()))
    with pytest.raises(ValueError, match="no projection among the neurons depends on distance"):
        spatial_stability(on_a_ring(rule=FixedIndegree))
    placed = on_a_ring()
    rule = DistanceDependent(BoxProfile(0.1), p=0.1, source_positions=np.linspace(0, 1, 4000))
    other = Projection("E", "E", weight=0.1, connectivity=rule)
    with pytest.raises(ValueError, match="positions of their own; waves need neurons that lie regularly"):
        spatial_stability(placed.with_parts(projections=[other]))
    wide = Projection("E", "E", weight=0.1, connectivity=DistanceDependent(BoxProfile(0.1), p=0.1, space=Ring(2.0)))
    with pytest.raises(ValueError, match="all projections must be in one space"):
        spatial_stability(placed.with_parts(projections=[*placed.projections, wide]))
    with pytest.raises(ValueError, match="explicit weights, which say nothing of places"):
        spatial_stability(placed.with_parts(projections=[Projection("I", "I", weights=np.zeros((1000, 1000)))]))
    with pytest.raises(ValueError, match="`wave_numbers` must be ascending numbers ≥ 0"):
        spatial_stability(placed, [1.0, 0.5])
