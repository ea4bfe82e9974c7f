"""Targets of recurrent layers: derivatives by autograd, the smallest change by brute force, and what cannot be met."""

import numpy as np
import pytest
import torch

from mnnbio import LIFParameters, NotConverged
from mnnbio.moments import Dense, Diagonal
from mnnbio.nn import MomentRecurrent, Moments, PairTarget, reach_targets

D = torch.float64
N = 10
SIGNS = [1] * 7 + [-1] * 3
E = range(7)


def small(closure="poisson", **options):
    options = {"signs": SIGNS, "dt": 0.1} | options
    generator = torch.Generator().manual_seed(4)
    layer = MomentRecurrent(N, LIFParameters(t_ref=2.0), closure=closure, generator=generator, **options)
    mean = 0.9 + 0.1 * torch.rand(N, generator=generator, dtype=D)
    return layer, Moments(mean, Diagonal(torch.full((N,), 1.0, dtype=D)))


def jacobian(layer, values):
    """Row by row, parameters of each neuron together: (value, neuron, own parameter)."""
    rows = []
    for value in values:
        parts = torch.autograd.grad(value, layer.trained(), retain_graph=True)
        rows.append(torch.cat([part.reshape(N, -1) for part in parts], 1))
    return torch.stack(rows)


@pytest.mark.parametrize("closure", ["poisson", "moments"])
@pytest.mark.parametrize("options", [{}, {"learn": ("v_th",)}, {"signs": None}, {"learn": ("tau_m",), "dt": None}])
def test_slopes_are_those_of_autograd(closure, options):
    layer, currents = small(closure, **options)
    slopes = layer.slopes(currents)
    expected = jacobian(layer, layer.rates(currents))
    found = torch.einsum("ikj,kjp->ijp", slopes.loops, slopes.own)
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-12)


def test_neurons_alone_can_be_what_changes():
    layer, currents = small(learn=("v_th",), train_weights=False)
    weights = layer.weight.detach().clone()
    target = torch.linspace(0.008, 0.02, N, dtype=D)
    reach_targets(layer, currents, target)
    torch.testing.assert_close(layer.rates(currents).detach(), target, rtol=1e-6, atol=0)
    torch.testing.assert_close(layer.weight.detach(), weights, rtol=0, atol=0)


@pytest.mark.parametrize("closure", ["poisson", "moments"])
def test_a_small_step_is_the_shortest_one(closure):
    """Against the least-norm solution of the whole linear system, with derivatives by autograd."""
    layer, currents = small(closure, signs=None)  # weights are the parameters themselves
    state = layer(currents)
    matrix = state.covariance.to_dense()[:7, :7]
    mean = matrix[~torch.eye(7, dtype=torch.bool)].mean()
    step = 1e-5
    rates, wanted = state.mean.detach() * (1 + step), float(mean.detach()) * (1 - step)
    slopes = jacobian(layer, [*state.mean, mean]).flatten(1)
    change = torch.cat([rates - state.mean.detach(), torch.tensor([wanted], dtype=D) - mean.detach()])
    shortest = torch.linalg.pinv(slopes / change.abs()[:, None]) @ change.sign()
    before = layer.raw.detach().clone()
    reach_targets(layer, currents, rates, [PairTarget(E, E, wanted)], tolerance=1e-8)
    moved = (layer.raw.detach() - before).flatten()
    torch.testing.assert_close(moved, shortest, rtol=1e-3, atol=1e-3 * float(shortest.abs().max()))


def test_rates_and_covariances_are_met_within_connections_and_dales_law():
    mask = np.random.default_rng(5).random((N, N)) < 0.7
    layer, currents = small(mask=mask)
    start = layer(currents)
    rates = start.mean.detach().numpy() * np.linspace(0.8, 1.2, N)
    free = 3
    rates[free] = np.nan
    covariance = start.covariance.to_dense().detach().numpy()
    wanted = [
        PairTarget(E, E, 1.3 * covariance[:7, :7][~np.eye(7, dtype=bool)].mean()),
        PairTarget(E, [7, 8, 9], 0.8 * covariance[:7, 7:].mean()),
    ]
    reach_targets(layer, currents, rates, wanted)
    with torch.no_grad():
        found = layer(currents)
    known = np.isfinite(rates)
    np.testing.assert_allclose(found.mean.numpy()[known], rates[known], rtol=1e-6)
    matrix = found.covariance.to_dense().numpy()
    assert matrix[:7, :7][~np.eye(7, dtype=bool)].mean() == pytest.approx(wanted[0].covariance, rel=1e-6)
    assert matrix[:7, 7:].mean() == pytest.approx(wanted[1].covariance, rel=1e-6)
    weight = layer.weight.detach()
    assert bool((weight[~torch.as_tensor(mask)] == 0).all())
    assert bool((weight[:, :7] >= 0).all())
    assert bool((weight[:, 7:] <= 0).all())


def test_targets_out_of_reach_leave_the_layer_alone():
    layer, currents = small()
    before = layer.raw.detach().clone()
    rates = np.full(N, np.nan)
    rates[2] = 0.6  # the refractory period allows 0.5 spikes/ms
    with pytest.raises(NotConverged, match=r"no small change .* neuron 2 fires at .* instead of 600 Hz"):
        reach_targets(layer, currents, rates, steps=5)
    torch.testing.assert_close(layer.raw.detach(), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rates", "pairs", "message"),
    [
        ([0.01] * 9, [], r"`rates` must be one per neuron, shape \(10,\), got \(9,\)"),
        ([0.01] * 9 + [0.0], [], "`rates` must be > 0 1/ms or NaN, got 0 for neuron 9"),
        ([np.nan] * 10, [], "there must be a target at least"),
        (
            [0.01] * 10,
            [PairTarget([0, 12], [1], 1e-5)],
            "`first` of a pair target must be different neurons from 0 to 9",
        ),
        ([0.01] * 10, [PairTarget([0], [1, 1], 1e-5)], "`second` of a pair target must be different neurons"),
        ([0.01] * 10, [PairTarget([0.5], [1], 1e-5)], "`first` of a pair target must be indices of neurons"),
        ([0.01] * 10, [PairTarget([0], [0], 1e-5)], "a pair target needs two neurons at least"),
    ],
)
def test_what_is_no_target(rates, pairs, message):
    layer, currents = small()
    with pytest.raises(ValueError, match=message):
        reach_targets(layer, currents, rates, pairs)


def test_what_cannot_be_trained():
    layer, currents = small(train_weights=False)
    with pytest.raises(ValueError, match="nothing is trained in this layer"):
        reach_targets(layer, currents, [0.01] * N)
    layer, _ = small()
    batch = Moments(currents.mean.expand(2, N), Dense(torch.eye(N, dtype=D).expand(2, N, N)))
    with pytest.raises(ValueError, match=r"expected currents of one input, shape \(10,\), got \(2, 10\)"):
        layer.slopes(batch)
