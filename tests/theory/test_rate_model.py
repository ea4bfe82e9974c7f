"""Rate models fitted to responses, and their roots: exact recovery, residuals of the characteristic equation."""

import itertools

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    Normal,
    Population,
    Projection,
    predict,
)
from mnnbio.moments import transfer_function
from mnnbio.theory import Channels, LowPass, fit_low_pass, fit_transfer_function, lambert_roots, rightmost_root

pytestmark = pytest.mark.filterwarnings(
    "ignore::mnnbio.theory.validity.FiniteWeightWarning", "ignore::mnnbio.theory.validity.LinearResponseWarning"
)

LIF = LIFParameters(tau_m=5.0, v_th=15.0, v_reset=0.0, t_ref=0.5)
F = np.arange(1.0, 201.0) * 1e-3


@given(
    gain=st.sampled_from([-1, 1]).flatmap(lambda sign: st.floats(0.01, 100).map(lambda g: sign * g)),
    time_constant=st.floats(0.3, 50.0),
    delay=st.floats(0.0, 5.0),
)
def test_a_low_pass_filter_is_recovered_exactly(gain, time_constant, delay):
    true = LowPass(gain, time_constant, delay, 0.0)
    found = fit_low_pass(F, true.at(F))
    np.testing.assert_allclose(found[:2], true[:2], rtol=1e-6)
    assert found.delay == pytest.approx(delay, abs=1e-6)
    assert found.error < 1e-7
    kept = fit_low_pass(F, true.at(F), delay=delay)
    np.testing.assert_allclose(kept[:3], true[:3], rtol=1e-6)


def test_the_filter_is_the_formula():
    found = LowPass(3.0, 4.0, 1.5, 0.0).at([0.05])[0]
    expected = 3 * mpmath.exp(-2j * mpmath.pi * 0.05 * 1.5) / (1 + 2j * mpmath.pi * 0.05 * 4)
    assert found == pytest.approx(complex(expected), rel=1e-14)


def coupled(delay=1.5, tau_syn=0.0, rule=FixedIndegree):
    return Circuit(
        [Population("E", 4000, LIF), Population("I", 1000, LIF)],
        [
            Projection(a, b, weight=w, connectivity=rule(n), delay=delay, tau_syn=tau_syn)
            for a, w, n in (("E", 0.2, 400), ("I", -1.0, 100))
            for b in ("EI" if a == "E" else "E")
        ],
        [GaussianDrive(name, mean=2.2, std=4.0) for name in "EI"],
    )


def test_the_rate_model_of_a_circuit_fits_its_responses():
    found = fit_transfer_function(coupled(), response="mean")
    state = predict(coupled(), resolution="population", closure="poisson", covariance=False)
    for k, target in enumerate("EI"):
        mean, std = float(state["mean_input"][k]) * 1e-3, float(state["std_input"][k]) * 1e-3**0.5
        answer = transfer_function(F, mean, std, LIF).mean
        for source, weight in (("E", 400 * 0.2), ("I", -100.0)):
            own = found.sel(population=target, population_j=source)
            if (target, source) == ("I", "I"):
                assert own["gain"] == 0
                assert np.isnan(own["time_constant"])
                continue
            true = answer * weight * np.exp(-2j * np.pi * F * 1.5)
            model = LowPass(own["gain"].item(), own["time_constant"].item() * 1e3, own["delay"].item() * 1e3, 0.0).at(F)
            error = np.sqrt((np.abs(model - true) ** 2).mean() / (np.abs(true) ** 2).mean())
            assert own["fit_error"] == pytest.approx(error, rel=1e-4)
            assert error < 0.05
            # The static gain is that of the neurons, and no filter nearby is closer.
            assert own["gain"].item() == pytest.approx(answer[0].real * weight, rel=0.05)
            for change in np.eye(3) * 0.02:
                g, tau, d = (
                    own[n].item() * (1 + x) for n, x in zip(("gain", "time_constant", "delay"), change, strict=True)
                )
                other = LowPass(g, tau * 1e3, d * 1e3, 0.0).at(F)
                assert (np.abs(other - true) ** 2).sum() > (np.abs(model - true) ** 2).sum()


def test_delays_are_fitted_or_those_of_the_projections():
    kept = fit_transfer_function(coupled(delay=Normal(1.5, 0.3, low=0.1)), delay="projection")
    np.testing.assert_allclose(kept["delay"].sel(population="E"), 1.5e-3, rtol=1e-4)
    fitted = fit_transfer_function(coupled(delay=0.7))
    later = fit_transfer_function(coupled(delay=2.0))
    np.testing.assert_allclose((later["delay"] - fitted["delay"]).sel(population="E"), 1.3e-3, rtol=1e-5)
    assert (fitted["fit_error"].sel(population="E") <= kept["fit_error"].sel(population="E") + 1e-6).all()


@given(st.floats(-20, 20).filter(lambda c: abs(c) > 1e-3), st.floats(0.5, 20.0), st.floats(0.01, 10.0))
def test_lamberts_function_solves_the_characteristic_equation(c, tau, d):
    for s in lambert_roots(c, tau, d, [-2, -1, 0, 1, 2]):
        residual = (1 + s * tau) * np.exp(s * d) - c
        assert abs(residual) < 1e-10 * max(1.0, abs(c), abs(s * tau))
    roots = lambert_roots(c, tau, d, np.arange(-8, 9))
    assert roots.real.max() <= lambert_roots(c, tau, d).real + 1e-12


def test_the_onset_of_oscillations_is_where_the_closed_form_has_it():
    """1 + iωτ = c e^{-iωd}: ωd = π - arctan(ωτ) and c = -√(1 + ω²τ²) (Senk et al. 2020, eq. 9)."""
    tau, d = 2.0, 1.5
    omega = float(mpmath.findroot(lambda w: w * d - mpmath.pi + mpmath.atan(w * tau), 1.0))
    critical = -np.sqrt(1 + (omega * tau) ** 2)
    s = complex(lambert_roots(critical, tau, d))
    assert s.real == pytest.approx(0, abs=1e-12)
    assert abs(s.imag) == pytest.approx(omega, rel=1e-12)
    assert lambert_roots(critical * 1.01, tau, d).real > 0 > lambert_roots(critical * 0.99, tau, d).real


def residual(channels, s):
    matrix = np.eye(channels.size, dtype=complex)
    for row, column, g, tau, d in zip(*channels[1:], strict=True):
        matrix[row, column] -= g * np.exp(-s * d) / (1 + s * tau)
    return abs(np.linalg.det(matrix))


def pair(gains, tau, delay):
    row, column = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return Channels(2, row, column, *(np.broadcast_to(np.asarray(v, float), (4,)) for v in (gains, tau, delay)))


def test_the_rightmost_root_of_different_filters():
    """No root lies to the right of the one that is found: the argument principle counts those that do."""
    for gains, tau, delay in (
        ([1.5, -2.0, 2.5, -1.0], [5, 3, 4, 2], [1.5, 0.8, 1.0, 2.0]),
        ([0.5, -6.0, 3.0, -4.0], [10, 1, 5, 2], [0.0, 3.0, 1.0, 0.5]),
        ([2.0, -1.0, 2.0, -3.0], [1, 2, 3, 4], [0.0, 0.0, 0.0, 0.0]),
    ):
        channels = pair(gains, tau, delay)
        s = rightmost_root(channels)
        assert residual(channels, s) < 1e-10
        right, top = s.real + 1e-3, 40.0
        far = right + 40.0
        corners = [right - 1j * top, far - 1j * top, far + 1j * top, right + 1j * top, right - 1j * top]
        path = np.concatenate([np.linspace(a, b, 40_000) for a, b in itertools.pairwise(corners)])
        g, tau_, d = (np.reshape(v, (2, 2)) for v in channels[3:])
        M = g * np.exp(-path[:, None, None] * d) / (1 + path[:, None, None] * tau_)
        values = (1 - M[:, 0, 0]) * (1 - M[:, 1, 1]) - M[:, 0, 1] * M[:, 1, 0]
        turns = np.unwrap(np.angle(values))
        poles = 0  # at -1/τ, left of the path
        assert round((turns[-1] - turns[0]) / (2 * np.pi)) - poles == 0


def test_filters_that_are_alike_agree_with_the_general_solution():
    alike, nearly = (
        pair([1.5, -3.0, 2.0, -4.0], 3.0, 1.5),
        pair([1.5, -3.0, 2.0, -4.0], [3.0, 3.0, 3.0, 3.0 + 1e-7], 1.5),
    )
    assert rightmost_root(alike) == pytest.approx(rightmost_root(nearly), rel=1e-6)
    assert residual(alike, rightmost_root(alike)) < 1e-10


def test_what_is_wrong_is_said():
    with pytest.raises(ValueError, match=r"of one length ≥ 3, got the shapes \(2,\) and \(2,\)"):
        fit_low_pass([0.1, 0.2], [1.0, 1.0])
    with pytest.raises(ValueError, match="`response` must be finite and not zero everywhere"):
        fit_low_pass(F, 0 * F)
    with pytest.raises(ValueError, match="Invalid value 'none' for `delay`"):
        fit_transfer_function(coupled(), delay="none")
    with pytest.raises(ValueError, match="`frequencies` must be three or more frequencies"):
        fit_transfer_function(coupled(), [0.1])
    with pytest.raises(ValueError, match="a rate model needs time constants > 0 ms and delays ≥ 0 ms, got 0 and 1"):
        rightmost_root(pair(1.0, 0.0, 1.0))
