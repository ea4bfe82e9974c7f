"""A recurrent layer: its state, its gradients, and the circuit that it becomes."""

import numpy as np
import pytest
import torch
from torch import nn

from mnnbio import LIFParameters, NotConverged, export, predict
from mnnbio.moments import Dense, Diagonal
from mnnbio.nn import GaussianBackground, MomentLinear, MomentRecurrent, Moments, PoissonEncoder

D = torch.float64
SIGNS = [1] * 6 + [-1] * 2
X = np.random.default_rng(0).uniform(0.1, 1, (3, 5))


def currents(n=8, batch=(2,)):
    generator = torch.Generator().manual_seed(3)
    mean = 0.9 + 0.1 * torch.rand(*batch, n, generator=generator, dtype=D)
    return mean, torch.full((*batch, n), 0.6, dtype=D)


class Net(nn.Module):
    def __init__(self, closure, **options):
        super().__init__()
        self.encoder, self.linear = PoissonEncoder(5, dtype=D), MomentLinear(5, 8, bias=True, dtype=D)
        self.noise, self.recurrent = GaussianBackground(0.8, 0.9), MomentRecurrent(8, closure=closure, **options)
        self.out = MomentLinear(8, 3, bias=True, dtype=D)

    def forward(self, features):
        return self.out(self.recurrent(self.noise(self.linear(self.encoder(features)))))


@pytest.mark.parametrize("closure", ["poisson", "moments"])
@pytest.mark.parametrize(
    "options", [{"signs": SIGNS}, {"learn": ("tau_m", "v_th"), "mask": np.tri(8)}], ids=["dale", "mask"]
)
def test_the_circuit_predicts_what_the_layer_computes(closure, options):
    torch.manual_seed(1)
    module = Net(closure, **options).eval()
    prediction = predict(export(module, X), closure=closure)
    with torch.no_grad():
        output = module(torch.from_numpy(X))
    np.testing.assert_allclose(prediction["readout"], output.mean, rtol=1e-7, atol=1e-8)
    expected = output.covariance.to_dense().detach().numpy()
    np.testing.assert_allclose(
        prediction["readout_covariance"] * 1e3, expected, rtol=1e-7, atol=1e-8 * abs(expected).max()
    )


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_in_steps_it_is_the_prediction_for_a_simulation():
    class Driven(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = MomentRecurrent(8, LIFParameters(t_ref=2.0), signs=SIGNS, dt=0.1)

    from mnnbio import Circuit, GaussianDrive, Population, Projection

    torch.manual_seed(1)
    layer = Driven().recurrent
    mean, variance = currents(batch=())
    circuit = Circuit(
        [Population("a", 8, LIFParameters(t_ref=2.0))],
        [Projection("a", "a", weights=layer.weight.detach().numpy())],
        [GaussianDrive("a", mean=mean.numpy(), std=variance.sqrt().numpy())],
    )
    prediction = predict(circuit, dt=0.1, closure="poisson")
    with torch.no_grad():
        output = layer(Moments(mean, Diagonal(variance)))
    np.testing.assert_allclose(prediction["rate"] * 1e-3, output.mean, rtol=1e-7)
    np.testing.assert_allclose(prediction["covariance"] * 1e-3, output.covariance.to_dense(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("closure", ["poisson", "moments"])
@pytest.mark.parametrize("shared", [False, True])
def test_gradients_are_those_of_the_solution(closure, shared):
    mean, variance = currents()
    layer = MomentRecurrent(8, closure=closure, signs=SIGNS, generator=torch.Generator().manual_seed(1))

    def solve(raw, mean, variance):
        own = MomentRecurrent(8, closure=closure, signs=SIGNS)
        del own.raw
        own.raw = raw
        covariance = Dense(torch.diag_embed(variance) + 0.1) if shared else Diagonal(variance)
        output = own(Moments(mean, covariance))
        return output.mean, output.covariance.to_dense()

    inputs = [value.clone().requires_grad_() for value in (layer.raw.detach(), mean, variance)]
    assert torch.autograd.gradcheck(solve, inputs, eps=1e-5, atol=1e-8, rtol=1e-5)


def test_neurons_alone_can_be_trained():
    layer = MomentRecurrent(8, signs=SIGNS, learn=("v_th",), train_weights=False)
    mean, variance = currents()
    layer.rates(Moments(mean, Diagonal(variance))).sum().backward()
    assert layer.raw.grad is None
    assert layer.activation.raw["v_th"].grad.abs().min() > 0


def test_dales_law_and_connections_survive_training():
    mask = np.random.default_rng(2).random((8, 8)) < 0.5
    layer = MomentRecurrent(8, signs=SIGNS, mask=mask)
    state = Moments(currents()[0], Diagonal(currents()[1]))
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.3)
    target = torch.linspace(0.005, 0.02, 8, dtype=D)
    start = float((layer.rates(state).detach() - target).square().sum())
    for _ in range(40):
        loss = 1e4 * (layer.rates(state) - target).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    weight = layer.weight.detach()
    assert float(loss.detach()) < 1e4 * start
    assert bool((weight[:, :6] >= 0).all())
    assert bool((weight[:, 6:] <= 0).all())
    assert bool((weight[~torch.as_tensor(mask)] == 0).all())


def test_what_cannot_be():
    state = Moments(torch.full((4,), 1.2, dtype=D), Diagonal(torch.full((4,), 0.5, dtype=D)))
    ring = np.ones((4, 4)) - np.eye(4)
    with pytest.raises(ValueError, match=r"the state is unstable, .* real part 1\.2 .* train rates first"):
        MomentRecurrent(4)._require_stable(torch.from_numpy(ring), torch.full((4,), 0.4, dtype=D))
    with pytest.raises(ValueError, match="expected currents of 5 neurons"):
        MomentRecurrent(5)(state)
    with pytest.raises(ValueError, match=r"`weights` must be 0 where `mask` has no connection, got 1 at \(0, 1\)"):
        MomentRecurrent(4, weights=ring, mask=np.eye(4))
    with pytest.raises(ValueError, match=r"`weights` must have the sign of their source, got 1 at \(0, 3\)"):
        MomentRecurrent(4, weights=ring, signs=[1, 1, 1, -1])
    with pytest.raises(ValueError, match=r"`signs` must be \+1 or -1 for each of 4 neurons"):
        MomentRecurrent(4, signs=[1, 1, 0, -1])
    with pytest.raises(ValueError, match=r"`mask` must have shape \(4, 4\), got \(3, 3\)"):
        MomentRecurrent(4, mask=np.ones((3, 3)))
    assert issubclass(NotConverged, ArithmeticError)
