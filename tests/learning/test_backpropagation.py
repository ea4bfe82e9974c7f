"""Back-propagation through time: the simulation's spikes, PyTorch's gradients, and networks that learn."""

import numpy as np
import pytest
import torch

from mnnbio import Circuit, LIFParameters, Population, Projection
from mnnbio.learning import FrozenNetwork
from mnnbio.learning.backpropagation import (
    BackPropagation,
    run_differentiably,
    run_with_gradient,
    step_numbers,
    train_distance,
)
from mnnbio.neurons import Izhikevich

N, STEPS, DT = 10, 600, 0.5


def circuit(seed, tau_syn=5.0, t_ref=2.0):
    rng = np.random.default_rng(seed)
    weights = np.abs(rng.normal(0, 2, (N, N)))
    weights[:, 8:] *= -4
    np.fill_diagonal(weights, 0)
    lif = LIFParameters(t_ref=t_ref, tau_m=np.linspace(15, 25, N), v_reset=1.0, initial={"v": 2.0})
    populations = [Population("E", 8, lif_part(lif, slice(0, 8))), Population("I", 2, lif_part(lif, slice(8, N)))]
    parts = {"E": slice(0, 8), "I": slice(8, N)}
    projections = [
        Projection(
            source,
            target,
            weights=weights[parts[target], parts[source]].copy(),
            delay=1.0 if source == "E" else 2.0,
            tau_syn=tau_syn if source == "E" else 2 * tau_syn,
        )
        for source in "EI"
        for target in "EI"
    ]
    return Circuit(populations, projections)


def lif_part(lif, part):
    return LIFParameters(t_ref=lif.t_ref, tau_m=lif.tau_m[part], v_reset=lif.v_reset, initial={"v": 2.0})


CURRENTS = 0.95 + np.random.default_rng(0).standard_normal((STEPS, N))


def given(network, numbers):
    return torch.from_numpy((1 - numbers.keep.numpy()) * network.tau_m * network.currents)


@pytest.fixture(scope="module", params=[(5.0, 2.0), (0.0, 0.0)], ids=["exponential", "delta"])
def network(request):
    with FrozenNetwork(circuit(1, *request.param), CURRENTS, dt=DT, codegen="runtime") as network:
        yield network


@pytest.mark.parametrize("run", [run_differentiably, run_with_gradient])
def test_spikes_are_those_of_the_simulation(network, run):
    numbers = step_numbers(network)
    found = run(torch.from_numpy(network.weights), given(network, numbers), numbers, 10.0)
    simulated = network.spikes(network.run())
    assert simulated.n_spikes > 20
    np.testing.assert_array_equal(found.numpy() > 0, simulated.raster)


def test_gradient_is_that_of_autograd(network):
    numbers = step_numbers(network)
    target = torch.from_numpy(np.random.default_rng(2).random((STEPS, N)) < 0.01).double()
    gradients = []
    for run in (run_differentiably, run_with_gradient):
        weights = torch.from_numpy(network.weights.copy()).requires_grad_()
        train_distance(run(weights, given(network, numbers), numbers, 10.0), target, 0.9, 0.1).backward()
        gradients.append(weights.grad.numpy())
    assert np.abs(gradients[0]).max() > 0
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-9, atol=1e-12 * np.abs(gradients[0]).max())


def test_distance_of_single_spikes():
    """Two spikes d apart have the distance 2 (1 - keep^d), a lone one 1: van Rossum (2001), eq. 4."""
    keep, late = 0.9, 7
    own, target = torch.zeros(100, 1, dtype=torch.float64), torch.zeros(100, 1, dtype=torch.float64)
    own[20], target[20 + late] = 1.0, 1.0
    assert float(train_distance(own, target, keep, 5.0)) == pytest.approx(2 * (1 - keep**late))
    assert float(train_distance(0 * own, target, keep, 0.0)) == pytest.approx(1.0)
    assert float(train_distance(0 * own, target, keep, 5.0)) == pytest.approx(6.0)
    target[20 + late], own[20], target[99], own[98] = 0.0, 0.0, 1.0, 1.0
    assert float(train_distance(own, target, keep, 0.0)) == pytest.approx(2 * (1 - keep))


def test_learns_and_keeps_signs_and_best(network):
    if not network.tau_syn.any():
        pytest.skip("one kind of synapse is enough")
    with FrozenNetwork(circuit(2), CURRENTS, dt=DT, codegen="runtime") as reference:
        target = reference.spikes(reference.run())
    told = []
    found = BackPropagation(passes=80, rate=0.2).fit(target, network, progress=lambda *now: told.append(now))
    history = found.history
    assert len(told) == found.passes <= 80
    assert found.best_f == max(f for _, f in told)
    assert found.best_f > history["F"].values[0] + 0.1
    assert history["loss"].values[-20:].mean() < 0.9 * history["loss"].values[0]
    weights = np.zeros((N, N))
    slices = found.best.slices()
    for projection in found.best.projections:
        weights[slices[projection.target], slices[projection.source]] = projection.weights
    assert (weights * network.signs >= 0).all()
    assert (weights[~network.connections] == 0).all()
    assert found.scores["best F"] == pytest.approx(found.best_f)  # the simulation fires what PyTorch said


def test_progress_stops(network):
    target = network.spikes(network.run())
    moved = [train[1:] for train in target.times]
    found = BackPropagation(passes=5).fit(moved, network, progress=lambda done, f: True)
    assert (found.status, found.passes) == ("stopped", 1)
    own = BackPropagation(passes=5).fit(target, network)
    assert (own.status, own.passes, own.best_f) == ("converged", 1, 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "`passes` must be ≥ 1"),
        ({"rate": 0.0}, "`rate` must be > 0 mV"),
        ({"tau": 0.0}, "`tau` must be > 0 ms"),
        ({"rate_cost": -1.0}, "`rate_cost` must be ≥ 0"),
        ({"slope": 0.0}, "`slope` must be > 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        BackPropagation(**options)


def test_other_neurons_are_refused():
    other = Circuit(
        [Population("n", 3, Izhikevich())], [Projection("n", "n", weights=np.ones((3, 3)) * 0.1, delay=1.0)]
    )
    network = FrozenNetwork(other, np.zeros((10, 3)), dt=DT)
    with pytest.raises(TypeError, match="back-propagation needs leaky integrate-and-fire neurons"):
        step_numbers(network)
