import numpy as np
import torch
from test_nn_linear import random_moments

from mnnbio.lif import LIFParameters
from mnnbio.moments import Diagonal, moment_activation
from mnnbio.nn import MomentActivation, Moments
from mnnbio.nn.activation import square_root

f64 = torch.float64


def test_covariance_follows_linear_response():
    lif = LIFParameters()
    moments = random_moments(4)
    out = MomentActivation(lif, dtype=f64)(moments)
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
    together = MomentActivation(lif, dtype=f64)(Moments(mean, Diagonal(variance))).mean
    for k, alone in enumerate((LIFParameters(tau_m=10.0, v_th=15.0), LIFParameters())):
        rate = moment_activation(mean[:, k], variance[:, k].sqrt(), alone).rate
        torch.testing.assert_close(together[:, k], rate)


def test_parameters_are_buffers_of_their_own():
    lif = LIFParameters(tau_m=[10.0, 20.0])
    layer = MomentActivation(lif, dtype=f64)
    assert set(layer.state_dict()) == {"tau_m", "v_th", "v_reset", "t_ref"}
    layer.tau_m += 1
    np.testing.assert_array_equal(lif.tau_m, [10.0, 20.0])


def test_square_root_has_a_finite_gradient_at_zero():
    variance = torch.tensor([0.0, 4.0], dtype=f64, requires_grad=True)
    root = square_root(variance)
    root.sum().backward()
    torch.testing.assert_close(root.detach(), torch.tensor([0.0, 2.0], dtype=f64))
    torch.testing.assert_close(variance.grad, torch.tensor([0.0, 0.25], dtype=f64))
