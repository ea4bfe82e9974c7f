import numpy as np
import pytest
import torch
from test_nn_linear import random_moments

from mnnbio.moments.activation import moment_activation
from mnnbio.moments.covariance import Covariance, Dense, Diagonal
from mnnbio.neurons.lif import LIFParameters
from mnnbio.nn.spiking_layers import MomentActivation, standard_deviation
from mnnbio.nn.state import Moments

f64 = torch.float64
ALL = ("tau_m", "v_th", "v_reset", "t_ref")


def moved(layer, seed=0, size=0.3):
    """Return the layer with random raw parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for raw in layer.raw.values():
            raw += size * torch.randn(raw.shape, generator=generator, dtype=raw.dtype)
    return layer


def test_covariance_follows_linear_response():
    lif = LIFParameters()
    moments = random_moments(4)
    out = MomentActivation(lif)(moments)
    rate, variance, gain = moment_activation(moments.mean, moments.variance.sqrt(), lif)
    torch.testing.assert_close(out.mean, rate, rtol=1e-12, atol=0)
    dense = out.covariance.to_dense()
    for i in range(4):
        for j in range(4):
            expected = variance[:, i] if i == j else gain[:, i] * gain[:, j] * moments.covariance.to_dense()[:, i, j]
            torch.testing.assert_close(dense[:, i, j], expected)


def test_each_neuron_has_its_own_parameters():
    lif = LIFParameters(tau_m=[10.0, 20.0], v_th=[15.0, 20.0])
    mean, variance = torch.ones(3, 2, dtype=f64), torch.ones(3, 2, dtype=f64)
    together = MomentActivation(lif)(Moments(mean, Diagonal(variance))).mean
    for k, alone in enumerate((LIFParameters(tau_m=10.0, v_th=15.0), LIFParameters())):
        rate = moment_activation(mean[:, k], variance[:, k].sqrt(), alone).rate
        torch.testing.assert_close(together[:, k], rate)


def test_fixed_neurons_are_exact_whatever_the_precision():
    lif = LIFParameters(tau_m=[10.1, 20.0], t_ref=5.1)
    layer = MomentActivation(lif).float().double()
    assert layer.lif() == lif
    assert not layer.state_dict()


@pytest.mark.parametrize("learn", [("tau_m",), ("v_th",), ("v_reset",), ("t_ref",), ALL])
def test_learned_neurons_start_where_they_should(learn):
    lif = LIFParameters(tau_m=[10.0, 20.0, 15.0], v_reset=3.0, t_ref=2.0)
    layer = MomentActivation(lif, learn=learn, dtype=f64)
    assert [raw.shape for raw in layer.raw.values()] == [(3,)] * len(learn)
    for name, value in layer.lif().items():
        np.testing.assert_allclose(np.broadcast_to(value, 3), np.broadcast_to(getattr(lif, name), 3), rtol=1e-15)
    moments = random_moments(3)
    torch.testing.assert_close(layer(moments).mean, MomentActivation(lif)(moments).mean, rtol=1e-13, atol=0)


@pytest.mark.filterwarnings("ignore::mnnbio.neurons.AbsoluteVoltageWarning")
def test_learned_neurons_stay_valid_for_any_raw_value():
    for seed in range(20):
        layer = moved(MomentActivation(LIFParameters(v_reset=-3.0), 5, learn=ALL, dtype=f64), seed, size=3.0)
        layer.lif()  # LIFParameters checks the ranges
        moments = layer(random_moments(5))
        assert bool(torch.isfinite(moments.mean).all())


def test_gradients_of_learned_neurons():
    layer = moved(MomentActivation(LIFParameters(v_reset=5.0, t_ref=2.0), 3, learn=ALL, dtype=f64))
    moments = random_moments(3, batch=2)

    def outputs(*raw):
        new = dict(zip((f"raw.{name}" for name in layer.raw), raw, strict=True))
        out = torch.func.functional_call(layer, new, (moments,))
        return out.mean, out.covariance.to_dense()

    raw = [value.detach().clone().requires_grad_() for value in layer.raw.values()]
    assert torch.autograd.gradcheck(outputs, raw)


def test_neurons_that_start_alike_stay_alike_without_a_size():
    layer = MomentActivation(LIFParameters(), learn=["v_th"], dtype=f64)
    layer(random_moments(3)).mean.sum().backward()
    assert layer.raw["v_th"].grad.shape == ()
    moved(layer)
    assert isinstance(layer.lif().v_th, float)


def test_training_finds_the_neurons():
    true = LIFParameters(tau_m=[12.0, 25.0], v_th=[18.0, 22.0])
    generator = torch.Generator().manual_seed(0)
    mean = 2 * torch.rand(200, 2, dtype=f64, generator=generator)
    moments = Moments(mean, Diagonal(1 + torch.rand(200, 2, dtype=f64, generator=generator)))
    target = MomentActivation(true)(moments)
    layer = MomentActivation(LIFParameters(), 2, learn=("tau_m", "v_th"), dtype=f64)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = 1e4 * (layer(moments).mean - target.mean).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    found = layer.lif()
    np.testing.assert_allclose(found.tau_m, true.tau_m, rtol=1e-3)
    np.testing.assert_allclose(found.v_th, true.v_th, rtol=1e-3)


def test_uncorrelated_neurons_pass_on_variances():
    moments = random_moments(4)
    full, out = (
        MomentActivation(LIFParameters())(moments),
        MomentActivation(LIFParameters(), correlations="variance")(moments),
    )
    assert torch.equal(out.mean, full.mean)
    torch.testing.assert_close(out.covariance.to_dense(), torch.diag_embed(full.variance))


class Forbidden(Covariance):
    """A covariance that nobody may look at."""

    size = 4

    def forbidden(self, *_):
        raise AssertionError("the covariance was evaluated")

    diagonal = to_dense = scale = with_diagonal = add_diagonal = quadratic = quadratic_diagonal = forbidden


@pytest.mark.parametrize("std", [0.0, 1.5])
def test_constant_currents_need_the_mean_alone(std):
    mean = torch.linspace(0, 3, 4, dtype=f64)
    out = MomentActivation(LIFParameters(), correlations="none", fixed_std=std)(Moments(mean, Forbidden()))
    if std == 0:  # 1/(t_ref − tau_m ln((mean tau_m − v_th)/(mean tau_m − v_reset))) above threshold
        V = 20.0 * mean.numpy()
        expected = [1 / (5 - 20 * np.log((v - 20) / v)) if v > 20 else 0.0 for v in V]
    else:
        expected = moment_activation(mean, torch.full_like(mean, std), LIFParameters()).rate
    np.testing.assert_allclose(out.mean, expected, rtol=1e-12)
    assert not out.variance.any()


def test_standard_deviation_has_a_finite_gradient_at_zero():
    variance = torch.tensor([0.0, 4.0], dtype=f64, requires_grad=True)
    root = standard_deviation(variance)
    root.sum().backward()
    torch.testing.assert_close(root.detach(), torch.tensor([0.0, 2.0], dtype=f64))
    torch.testing.assert_close(variance.grad, torch.tensor([0.0, 0.25], dtype=f64))


def test_negative_variances_are_errors():
    variance = torch.ones(2, 3, dtype=f64)
    variance[1, 2] = -0.5
    with pytest.raises(ValueError, match=r"must be ≥ 0 mV²/ms, got -0.5 at index \(1, 2\)"):
        MomentActivation(LIFParameters())(Moments(torch.ones(2, 3, dtype=f64), Diagonal(variance)))
    variance[1, 2] = -1e-17  # what rounding may leave of zero
    assert bool(torch.isfinite(MomentActivation(LIFParameters())(Moments(variance, Diagonal(variance))).mean).all())


def test_integer_moments_are_errors():
    with pytest.raises(TypeError, match=r"`mean` must be a floating-point tensor, got dtype torch.int64"):
        MomentActivation(LIFParameters())(Moments(torch.ones(2, 3, dtype=torch.int64), Diagonal(torch.ones(2, 3))))


def test_works_under_vmap():
    moments = random_moments(3)

    def rates(mean, matrix):
        return MomentActivation(LIFParameters())(Moments(mean, Dense(matrix))).mean

    found = torch.func.vmap(rates)(moments.mean, moments.covariance.to_dense())
    torch.testing.assert_close(found, MomentActivation(LIFParameters())(moments).mean)


def test_errors():
    lif = LIFParameters()
    with pytest.raises(ValueError, match=r"Invalid value 'g_leak' for `learn`. Must be one of \['tau_m', 'v_th'"):
        MomentActivation(lif, learn=("g_leak",))
    with pytest.raises(ValueError, match="`t_ref` can be learned only from a start above 0 ms"):
        MomentActivation(LIFParameters(t_ref=0.0), learn=("t_ref",))
    with pytest.raises(ValueError, match=r"Invalid value 'some' for `correlations`. Must be one of \['full', 'none'"):
        MomentActivation(lif, correlations="some")
    with pytest.raises(ValueError, match="`fixed_std` must be ≥ 0 mV/√ms, got -1"):
        MomentActivation(lif, correlations="none", fixed_std=-1)
    with pytest.raises(ValueError, match=r"correlations='none' only, got 2\.0 with 'full'"):
        MomentActivation(lif, fixed_std=2)
    with pytest.raises(ValueError, match="`lif` describes 2 neurons, the layer has 3"):
        MomentActivation(LIFParameters(tau_m=[10.0, 20.0]), 3)
