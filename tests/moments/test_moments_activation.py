import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erfcx

from mnnbio import LIFParameters
from mnnbio.moments import kernel as compiled
from mnnbio.moments.activation import fano_factor, interval_skewness, moment_activation
from mnnbio.moments.kernel import activation_backend

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "moment_activation.json").read_text())
# tau_m, v_th, v_reset, t_ref
NEURONS = [(20, 20, 0, 5), (20, 20, 10, 2), (10, 15, -10, 0), (35, 12, 3, 1), (5, 20, -3, 2.5), (20, 20, 19, 0)]


@pytest.fixture(scope="module", autouse=True, params=["compiled", "torch"])
def _route(request):
    """Run every test on either route."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNNBIO_KERNEL", request.param)
        compiled._load.cache_clear()
        if activation_backend().name != request.param:
            pytest.skip(activation_backend().detail)
        yield
    compiled._load.cache_clear()


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def neuron(values):
    return LIFParameters(**dict(zip(("tau_m", "v_th", "v_reset", "t_ref"), map(float, values), strict=True)))


def by_quadrature(mean, std, values):
    """Return rate, variance and gain from the defining integrals, by SciPy."""
    tau, v_th, v_reset, t_ref = values
    ub, lb = ((v / tau - mean) / (tau**-0.5 * std) for v in (v_th, v_reset))

    def integral(f, *cuts):
        pairs = pairwise(cuts)
        return sum(quad(f, a, b, epsabs=0, epsrel=1e-13, limit=200)[0] for a, b in pairs)

    def g(u):
        return np.pi**0.5 / 2 * erfcx(-u)

    def h(x):
        w = 1 / (1 + abs(x))
        return integral(lambda v: np.exp(v * (2 * x - v)) * g(x - v) ** 2, 0, w, 4 * w, max(60 * w, x + 9))

    middle = (ub + lb) / 2
    rate = 1 / (t_ref + 2 * tau * integral(g, lb, middle, ub))
    variance = 8 * tau**2 * rate**3 * integral(h, lb, middle, ub)
    return rate, variance, 2 * tau**1.5 / std * rate**2 * (g(ub) - g(lb))


def test_reference_points():
    points = f64(*REFERENCE["points"])
    lif = LIFParameters(**{name: REFERENCE[name] for name in ("tau_m", "v_th", "v_reset", "t_ref")})
    found = moment_activation(points[:, 0], points[:, 1], lif)
    assert points[:, 2].min() < 3e-10
    for value, column in zip(found, points.T[2:], strict=True):
        torch.testing.assert_close(value, column, rtol=1e-10, atol=0)


@pytest.mark.parametrize("values", NEURONS, ids=str)
@pytest.mark.parametrize(("mean", "std"), [(0.4, 3.0), (1.9, 0.7), (-2.0, 12.0), (5.0, 4.0)])
def test_quadrature_at_other_parameters(values, mean, std):
    found = moment_activation(f64(mean), f64(std), neuron(values))
    for value, expected in zip(found, by_quadrature(mean, std, values), strict=True):
        assert value.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
def test_rates_of_any_size():
    """Far below threshold ``rate → std⁻¹-scaled escape``: the leading asymptote of G, to its own relative error 1/ub²."""
    lif = LIFParameters()
    with mp.workdps(30):
        for std in (0.3, 0.187, 0.185):
            ub = mp.mpf(1) / (mp.sqrt(mp.mpf(1) / 20) * mp.mpf(std))
            G = mp.quad(lambda u: mp.sqrt(mp.pi) / 2 * mp.exp(u * u) * mp.erfc(-u), [0, ub - 2, ub - 0.5, ub])
            expected = 1 / (5 + 40 * G)
            found = moment_activation(f64(0.0), f64(std), lif)
            assert found.rate.item() == pytest.approx(float(expected), rel=1e-10)
            assert found.variance.item() == pytest.approx(float(expected), rel=1e-10)
    assert found.rate.item() < 1e-250


def test_below_the_smallest_number_all_is_zero_with_zero_gradient():
    mean, std = f64(0.0, -3.0, 0.5).requires_grad_(), f64(0.1, 1e-9, 1e-200).requires_grad_()
    found = moment_activation(mean, std, LIFParameters())
    for value in found:
        assert (value == 0).all()
    for gradient in torch.autograd.grad(sum(v.sum() for v in found), (mean, std)):
        assert (gradient == 0).all()


@pytest.mark.parametrize("values", NEURONS, ids=str)
def test_zero_noise_limits(values):
    lif = neuron(values)
    tau, v_th, v_reset, t_ref = values
    mean = (v_th / tau + f64(-0.4, 0.3, 1.5, 8.0)).requires_grad_()
    std = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    found = moment_activation(mean, std, lif)
    above = mean[1:]
    rate = 1 / (t_ref - tau * torch.log((above - v_th / tau) / (above - v_reset / tau)))
    gain = torch.autograd.grad(rate.sum(), above)[0]
    torch.testing.assert_close(found.rate[1:], rate, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.gain[1:], gain, rtol=1e-11, atol=0)
    assert (found.variance == 0).all()
    assert found.rate[0] == found.gain[0] == 0
    slopes = torch.autograd.grad(found.rate.sum(), (mean, std))
    torch.testing.assert_close(slopes[0], found.gain, rtol=1e-12, atol=0)
    assert (slopes[1] == 0).all()
    near = moment_activation(mean, std + 1e-7, lif)
    for a, b in zip(near, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_regimes_join_smoothly():
    """At ub = -5 the two formulas agree to rounding, value and gradient."""
    lif = LIFParameters(v_reset=5.0)
    edge = 5 / 20**0.5
    mean, std = f64(1 + edge), f64(1.0)
    inside = std * (1 - 1e-13)
    for a, b in zip(moment_activation(mean, inside, lif), moment_activation(mean, std * (1 + 1e-13), lif), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-12, atol=0)


PARAMETERS = f64(20.0, 20.0, 3.0, 5.0)
MIXED = (f64(0.5, 0.9, 3.0, -0.3, 1.6, 2.5), f64(1.0, 2.0, 5.0, 10.0, 0.3, 0.2))


def of_everything(mean, std, *parameters):
    lif = SimpleNamespace(**dict(zip(("tau_m", "v_th", "v_reset", "t_ref"), parameters, strict=True)))
    return (*moment_activation(mean, std, lif), interval_skewness(mean, std, lif))


def everything():
    return tuple(x.clone().requires_grad_() for x in (*MIXED, *PARAMETERS))


def test_first_derivatives():
    assert torch.autograd.gradcheck(of_everything, everything())


@pytest.mark.slow
def test_second_derivatives():
    assert torch.autograd.gradgradcheck(of_everything, everything())


def test_derivatives_at_zero_noise():
    def of_mean(mean):
        return tuple(moment_activation(mean, torch.zeros_like(mean), LIFParameters()))

    mean = f64(1.4, 3.0, 0.5).requires_grad_()
    assert torch.autograd.gradcheck(of_mean, mean)
    assert torch.autograd.gradgradcheck(of_mean, mean)


def test_gain_is_the_derivative_of_the_rate_wherever_it_is_representable():
    mean = torch.linspace(-10, 20, 61, dtype=torch.float64)[:, None].expand(61, 40).clone().requires_grad_()
    std = torch.cat([f64(0.0), torch.logspace(-6, 2, 39, dtype=torch.float64)])
    std = std.expand(61, 40).clone().requires_grad_()
    found = moment_activation(mean, std, LIFParameters())
    slope, of_std = torch.autograd.grad(found.rate.sum(), (mean, std), create_graph=True)
    off = (mean - 1).abs() > 1e-9
    torch.testing.assert_close(slope[off], found.gain[off], rtol=1e-9, atol=1e-290)
    curvature = torch.autograd.grad(found.gain.sum() + of_std.sum(), (mean, std))
    for value in (*found, slope, of_std, *curvature):
        assert value[off].isfinite().all()


def test_per_neuron_parameters():
    rows = [moment_activation(f64(0.8), f64(3.0), neuron(values)) for values in NEURONS]
    columns = map(list, zip(*NEURONS, strict=True))
    lif = LIFParameters(**dict(zip(("tau_m", "v_th", "v_reset", "t_ref"), columns, strict=True)))
    together = moment_activation(torch.full((2, 6), 0.8, dtype=torch.float64), f64(3.0), lif)
    for i, row in enumerate(rows):
        for a, b in zip(together, row, strict=True):
            torch.testing.assert_close(a[:, i], b.expand(2), rtol=1e-14, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    mean=st.floats(-3, 6), std=st.floats(0.05, 40), volt=st.floats(0.2, 5), time=st.floats(0.2, 5),
    values=st.sampled_from(NEURONS),
)  # fmt: skip
def test_units_do_not_matter(mean, std, volt, time, values):
    """In units of `volt` mV and `time` ms all is the same: the ends differ by the rounding of exponents only."""
    tau, v_th, v_reset, t_ref = values
    found = moment_activation(f64(mean), f64(std), neuron(values))
    scaled = moment_activation(
        f64(mean / volt * time), f64(std / volt * time**0.5),
        neuron((tau / time, v_th / volt, v_reset / volt, t_ref / time)),
    )  # fmt: skip
    for a, b, unit in zip(found, scaled, (1 / time, 1 / time, 1 / volt), strict=True):
        torch.testing.assert_close(a, b * unit, rtol=1e-9, atol=1e-280)


@settings(max_examples=25, deadline=None)
@given(
    mean=st.lists(st.floats(-10, 20), min_size=1, max_size=5), std=st.lists(st.floats(0, 100), min_size=1, max_size=4)
)
def test_batch_equals_loop(mean, std):
    together = moment_activation(f64(*mean)[:, None], f64(*std), LIFParameters())
    for i, m in enumerate(mean):
        for j, s in enumerate(std):
            for a, b in zip(together, moment_activation(f64(m), f64(s), LIFParameters()), strict=True):
                assert a[i, j] == b[0]
    assert all((v >= 0).all() and v.isfinite().all() for v in together)


def test_float32_follows_float64():
    mean = torch.linspace(-10, 20, 50)[:, None]
    std = torch.linspace(0, 100, 40)
    single = moment_activation(mean, std, LIFParameters())
    double = moment_activation(mean.double(), std.double(), LIFParameters())
    for a, b in zip(single, double, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, rtol=2e-5, atol=1e-37)


def test_function_transforms():
    def rate(mean, std):
        return moment_activation(mean, std, LIFParameters()).rate

    mean, std = MIXED
    torch.testing.assert_close(torch.vmap(rate)(mean, std), rate(mean, std))
    torch.testing.assert_close(torch.vmap(rate, in_dims=(0, None))(mean, std), rate(mean[:, None], std))
    jacobian = torch.func.jacrev(rate)(mean, std)
    torch.testing.assert_close(jacobian, torch.diag(moment_activation(mean, std, LIFParameters()).gain))
    second = torch.func.jacrev(torch.func.grad(lambda m: rate(m, std).sum()))(mean)
    leaf = mean.clone().requires_grad_()
    gain = moment_activation(leaf, std, LIFParameters()).gain
    torch.testing.assert_close(second.diagonal(), torch.autograd.grad(gain.sum(), leaf)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # within torch
def test_compiles_without_graph_breaks():
    lif = LIFParameters()  # built outside: its checks look at values

    def rate(mean, std):
        return moment_activation(mean, std, lif).rate

    mean = MIXED[0].clone().requires_grad_()
    found = torch.compile(rate, fullgraph=True, backend="aot_eager")(mean, MIXED[1])
    torch.testing.assert_close(found, rate(*MIXED))
    found.sum().backward()
    torch.testing.assert_close(mean.grad, moment_activation(*MIXED, LIFParameters()).gain)


def test_fano_factor_where_rates_vanish():
    lif = LIFParameters()
    mean, std = f64(0.9, 0.0, 0.5, 2.0), f64(1.0, 0.05, 0.0, 0.0)
    rate, variance, _ = moment_activation(mean, std, lif)
    fano = fano_factor(mean, std, lif)
    assert fano[0].item() == pytest.approx((variance[0] / rate[0]).item(), rel=1e-14)
    assert fano.tolist()[1:] == [1.0, 1.0, 0.0]
    assert interval_skewness(mean, std, lif).tolist()[1:] == [2.0, 2.0, 0.0]


def test_skewness_of_rare_escapes_is_that_of_a_poisson_process():
    assert interval_skewness(f64(0.0), f64(0.3), LIFParameters()).item() == pytest.approx(2, rel=1e-9)


def test_skewness_without_leak_is_inverse_gaussian():
    """As tau_m → ∞ the interval is inverse Gaussian plus t_ref: third cumulant 3 variance² / (mean - t_ref)."""
    mean, std = f64(1.2, 1.2), f64(2.0, 0.1)
    for t_ref in (0.0, 7.0):
        lif = LIFParameters(tau_m=1e6, t_ref=t_ref)
        fano = std**2 * 20 / mean**3 / (20 / mean + t_ref) ** 2
        period = 20 / mean + t_ref
        expected = 3 * fano**2 * period / (period - t_ref)
        torch.testing.assert_close(fano_factor(mean, std, lif), fano, rtol=1e-4, atol=0)
        torch.testing.assert_close(interval_skewness(mean, std, lif), expected, rtol=1e-4, atol=0)


def test_accepts_what_lifparameters_accepts():
    lif = LIFParameters(tau_m=[10.0, 20.0], v_th=18.0)
    assert moment_activation(f64(1.5, 1.5), f64(1.0), lif).rate.shape == (2,)
    assert moment_activation(f64(1.5), f64(1.0), replace(lif, v_reset=-4)).rate.shape == (2,)


@pytest.mark.parametrize(
    ("mean", "std", "error", "message"),
    [
        (f64(1.0), f64(2.0, -1.5), ValueError, r"`std` must be ≥ 0 mV/√ms, got -1.5 at index 1"),
        (f64(1.0), torch.tensor(-1.0), ValueError, r"`std` must be ≥ 0 mV/√ms, got -1.0$"),
        (f64(1.0), -torch.ones(2, 2), ValueError, r"got -1.0 at index \(0, 0\)"),
        (torch.tensor([1]), f64(1.0), TypeError, r"`mean` must be a floating-point tensor, got dtype torch.int64"),
        (f64(1.0), 2.0, TypeError, r"`std` must be a floating-point tensor, got float"),
        (f64(1, 2, 3), f64(1, 2), ValueError, r"shapes must broadcast .* `mean` \(3,\), `std` \(2,\)"),
        (f64(1.0), torch.ones(1, device="meta"), ValueError, r"one device, got cpu and meta"),
    ],
)
def test_bad_input(mean, std, error, message):
    with pytest.raises(error, match=message):
        moment_activation(mean, std, LIFParameters())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tau_m": f64(20.0, 0.0)}, r"`tau_m` must be > 0 ms, got 0.0 at index 1"),
        ({"t_ref": f64(-1.0)}, r"`t_ref` must be ≥ 0 ms, got -1.0 at index 0"),
        ({"v_reset": torch.tensor(21.0)}, r"`v_reset` must be below `v_th`, got 21.0"),
        ({"v_th": f64(20, 20, 20)}, r"shapes must broadcast .* `v_th` \(3,\)"),
        ({"v_th": torch.ones(2, device="meta")}, r"`v_th` must be on the device of `mean`, cpu, got meta"),
    ],
)
def test_bad_parameters(changed, message):
    lif = SimpleNamespace(**{**dict(LIFParameters().items()), **changed})
    with pytest.raises(ValueError, match=message):
        moment_activation(f64(1.0, 1.0), f64(1.0), lif)


def test_nan_stays_nan():
    assert moment_activation(f64(torch.nan), f64(1.0), LIFParameters()).rate.isnan()
    assert moment_activation(f64(1.0), f64(torch.nan), LIFParameters()).rate.isnan()
