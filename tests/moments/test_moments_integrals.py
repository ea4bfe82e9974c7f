from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import dawsn, erfcx

from mnnbio.moments import integrals
from mnnbio.moments.integrals import polynomials, scaled_integrals

POINTS = (-3e4, -40.0, -13.1, -5.0, -0.9, -1e-9, 0.4, 1.7, 4.5)


def g_mp(u):
    return mp.sqrt(mp.pi) / 2 * mp.exp(u * u) * mp.erfc(-u) if u > -30 else mp.hyperu(0.5, 0.5, u * u) / 2


def widths(x):
    return [0, 1 / (1 + abs(x)), 4 / (1 + abs(x)), 16 / (1 + abs(x)), max(60 / (1 + abs(x)), x + 9)]


@pytest.mark.parametrize("x", POINTS)
def test_meet_their_definitions(x):
    """h = e^{x²} ∫ e^{-u²} g² du and, exchanging two integrals, H = ∫ g(u)² [e^{x²-u²} F(x) - F(u)] du, F Dawson's."""
    found = integrals(torch.tensor(x, dtype=torch.float64))
    with mp.workdps(20):
        x = mp.mpf(x)

        def dawson(u):
            return u * mp.hyp1f1(1, 1.5, -u * u)

        def outer(u):
            return g_mp(u) ** 2 * (mp.exp(x * x - u * u) * dawson(x) - dawson(u))

        h = mp.quad(lambda v: mp.exp(v * (2 * x - v)) * g_mp(x - v) ** 2, widths(x))
        H = mp.quad(outer, [x - 8, x - 2, x - 0.5, x]) + mp.quad(lambda t: outer(x - 8 / t) * 8 / t**2, [0, 1])
        if x < -100:
            H = mp.quad(lambda t: outer(x / t) * -x / t**2, [0, 0.5, 1 - 1e-3, 1])
            G = -mp.log(-x) / 2 - (mp.euler + 2 * mp.log(2)) / 4 - 1 / (8 * x**2) + 3 / (32 * x**4)
        else:
            G = mp.quad(g_mp, [0, x / 8, x / 2, x])
        for name, value in (("g", g_mp(x)), ("G", G), ("h", h), ("H", H)):
            assert float(abs(getattr(found, name).item() / value - 1)) < 1e-12, name


@pytest.mark.parametrize("x", [-6.0, -0.7, 0.9, 2.5])
def test_third_order_meets_its_definition(x):
    def g(u):
        return np.sqrt(np.pi) / 2 * erfcx(-u)

    def raised(f, x):
        cuts = widths(x)
        return sum(
            quad(lambda v: np.exp(v * (2 * x - v)) * f(x - v), a, b, epsabs=0, epsrel=1e-12)[0]
            for a, b in pairwise(cuts)
        )

    def source(u):
        return 2 * g(u) * raised(lambda y: g(y) ** 2, u)

    def outer(u):
        return source(u) * (np.exp(x * x - u * u) * dawsn(x) - dawsn(u))

    K = sum(quad(outer, a, b, epsrel=1e-11)[0] for a, b in ((x - 6, x - 2), (x - 2, x - 0.5), (x - 0.5, x)))
    K += quad(lambda t: outer(x - 6 / t) * 6 / t**2, 0, 1, epsrel=1e-11)[0]
    found = integrals(torch.tensor(x, dtype=torch.float64))
    assert found.k.item() == pytest.approx(raised(source, x), rel=1e-11)
    assert found.K.item() == pytest.approx(K, rel=1e-10)


def test_scaled_functions_stay_finite_and_meet_their_asymptotes():
    x = torch.tensor([1e4, 1e8], dtype=torch.float64)
    root = torch.pi**0.5
    expected = (root, root / 2 / x, torch.pi / 2 / x, torch.pi / 8 / x**2, root**3 / 4 / x**2, root**3 / 24 / x**3)
    for found, limit in zip(scaled_integrals(x), expected, strict=True):
        torch.testing.assert_close(found, torch.zeros_like(x) + limit, rtol=1e-7, atol=0)


def test_large_values_are_kept_to_the_end_of_the_range():
    """e^{2x²} overflows before H does."""
    x = 6.7
    found = integrals(torch.tensor(x)).H.item()
    assert found == pytest.approx(integrals(torch.tensor(x, dtype=torch.float64)).H.item(), rel=2e-5)
    assert 2 * x * x > np.log(np.finfo(np.float32).max)


def test_order_limits_what_is_computed():
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)
    for order in (1, 2):
        for a, b in zip(scaled_integrals(x, order), scaled_integrals(x)[: 2 * order], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_derivatives(order):
    x = torch.tensor([-8.0, -3.0, -0.6, 0.3, 1.4, 4.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: scaled_integrals(x, order), x)
    assert torch.autograd.gradgradcheck(lambda x: scaled_integrals(x, order), x)


def test_polynomials_differentiate_down_to_zero():
    coefficients = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]], dtype=torch.float64)
    z = torch.tensor([0.5, -2.0], dtype=torch.float64, requires_grad=True)
    first, second = polynomials(z, coefficients)
    torch.testing.assert_close(first, 1 + 2 * z + 3 * z * z)
    torch.testing.assert_close(second, -z + z * z / 2)
    slope = torch.autograd.grad(first.sum(), z, create_graph=True)[0]
    curvature = torch.autograd.grad(slope.sum(), z, create_graph=True)[0]
    torch.testing.assert_close(slope, 2 + 6 * z)
    torch.testing.assert_close(curvature, torch.full_like(z, 6.0))
    torch.testing.assert_close(torch.autograd.grad(curvature.sum(), z)[0], torch.zeros_like(z))


def test_float32_tables():
    x = torch.linspace(-6, 6, 50)
    for low, high in zip(scaled_integrals(x), scaled_integrals(x.double()), strict=True):
        assert low.dtype == torch.float32
        torch.testing.assert_close(low.double(), high, rtol=2e-5, atol=1e-7)
