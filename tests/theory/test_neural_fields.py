"""Neural fields: closed forms of the onset of their waves, and transforms of profiles by quadrature and on lattices."""

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from brian2 import ms
from scipy.optimize import brentq, minimize_scalar

from mnnbio.circuit import BoxProfile, ExponentialProfile, GaussianProfile, Profile, Ring, Sheet, Torus
from mnnbio.theory import neural_field_stability, profile_transform, space_transform

PROFILES = [GaussianProfile(0.3), ExponentialProfile(0.2), BoxProfile(0.4)]
K = np.array([0.0, 0.7, 3.0, 11.0])


def by_quadrature(profile, k, dimension):
    """∫ p cos(kx), in two dimensions with the Bessel function in its place."""
    end = profile.radius if isinstance(profile, BoxProfile) else 8.0
    places = [0, end / 4, end / 2, end]

    def wave(r):
        return mpmath.cos(k * r) if dimension == 1 else r * mpmath.besselj(0, k * r)

    def value(r, factor):
        p = {
            GaussianProfile: lambda: mpmath.exp(-(r**2) / (2 * 0.3**2)),
            ExponentialProfile: lambda: mpmath.exp(-r / 0.2),
            BoxProfile: lambda: 1,
        }[type(profile)]()
        return p * factor

    norm = mpmath.quad(lambda r: value(r, 1 if dimension == 1 else r), places)
    return float(mpmath.quad(lambda r: value(r, wave(r)), places) / norm)


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
def test_transforms_are_those_of_quadrature(profile, dimension):
    expected = [by_quadrature(profile, k, dimension) for k in K]
    np.testing.assert_allclose(profile_transform(profile, K, dimension), expected, atol=1e-9)


@pytest.mark.parametrize("profile", [*PROFILES, BoxProfile(0.7), GaussianProfile(1.0)], ids=repr)
def test_transforms_on_rings_and_tori_are_those_of_lattices(profile):
    """Sums over the distances of many regular places from one; a ring ends them at half its length."""
    ring = Ring(1.3)
    k = 2 * np.pi / 1.3 * np.arange(6)
    places = ring.positions(40_000)
    strength = profile.at(ring.distances(np.zeros((1, 1)), places))[0]
    expected = [(strength * np.cos(n * places[:, 0])).sum() / strength.sum() for n in k]
    np.testing.assert_allclose(space_transform(ring, profile, k), expected, atol=2e-4)
    torus = Torus(1.3, 0.9)
    places = torus.positions(1300 * 900)
    strength = profile.at(torus.distances(np.zeros((1, 2)), places))[0]
    expected = [(strength * np.cos(n * places[:, 0])).sum() / strength.sum() for n in k]
    np.testing.assert_allclose(space_transform(torus, profile, k), expected, atol=2e-3)


def test_without_a_delay_the_root_is_that_of_one_filter():
    k = np.linspace(0, 20, 41)
    found = neural_field_stability([[1.7]], 5.0, 0.0, GaussianProfile(0.2), k)
    expected = (1.7 * np.exp(-((k * 0.2) ** 2) / 2) - 1) / 5e-3
    np.testing.assert_allclose(found["eigenvalue_real"], expected, rtol=1e-12, atol=1e-9)
    assert (found["eigenvalue_imag"] == 0).all()
    assert (found.attrs["pattern"], found.attrs["stability"]) == ("uniform", "unstable")


TAU, D = 2.0, 1.5


def onset_of_oscillations(tau, d):
    """c and ω at which 1 + iωτ = c e^{-iωd}: ωd = π - arctan(ωτ) (Senk et al. 2020, eq. 9)."""
    omega = brentq(lambda w: w * d - np.pi + np.arctan(w * tau), 1e-9, np.pi / d)
    return -np.sqrt(1 + (omega * tau) ** 2), omega


def excitation_and_inhibition(w, eta, wide, narrow):
    """Equal rows: one eigenvalue, c(k) = w (p_E - η p_I); and the wave number of its minimum."""
    c = lambda k: w * (np.sinc(k * wide / np.pi) - eta * np.sinc(k * narrow / np.pi))  # noqa: E731
    grid = np.linspace(0.0, 60.0, 3001)
    place = int(np.argmin(c(grid)))
    best = minimize_scalar(c, bounds=(grid[place - 1], grid[place + 1]), method="bounded", options={"xatol": 1e-12})
    return best.x, best.fun


@pytest.mark.parametrize("different", [False, True])
def test_waves_set_in_where_the_effective_profile_reaches_the_onset(different):
    """With wider excitation c has its minimum at a wave number > 0: it reaches the critical coupling at a wave."""
    critical, omega = onset_of_oscillations(TAU, D)
    eta, wide, narrow = 1.4, 0.2, 0.07
    number, least = excitation_and_inhibition(1.0, eta, wide, narrow)
    profiles = [BoxProfile(wide), BoxProfile(narrow)]
    tau = (
        TAU * (1 + 1e-9 * np.array([[0, 0], [0, 1]])) if different else TAU
    )  # the general solution, or Lambert's function
    for factor, stability in ((0.999, "stable"), (1.001, "unstable")):
        w = critical / least * factor
        found = neural_field_stability(
            w * np.array([[1, -eta], [1, -eta]]), tau * ms, D, profiles, np.linspace(0, 60, 121)
        )
        assert found.attrs["pattern"] == "wave"
        assert found.attrs["stability"] == stability
        assert found.attrs["critical_wave_number"] == pytest.approx(number, rel=1e-4)
        assert found.attrs["critical_frequency"] == pytest.approx(omega / (2 * np.pi) * 1e3, rel=2e-3)


def test_the_roots_solve_the_characteristic_equation():
    gain, tau, d = (
        np.array([[3.0, -4.0], [2.5, -1.0]]),
        np.array([[2.0, 3], [4, 5]]),
        np.array([[1.5, 0.5], [1.0, 2.0]]),
    )
    profiles = [[GaussianProfile(0.1), GaussianProfile(0.3)], [ExponentialProfile(0.2), BoxProfile(0.2)]]
    found = neural_field_stability(gain, tau, d, profiles, np.linspace(0, 30, 31), dimension=2)
    s = (found["eigenvalue_real"].values + 1j * found["eigenvalue_imag"].values)[:, None, None] * 1e-3
    M = gain * found["spatial_transform"].values * np.exp(-s * d) / (1 + s * tau)
    assert np.abs(np.linalg.det(np.eye(2) - M)).max() < 1e-10


@pytest.mark.parametrize(
    ("gain", "profiles", "pattern"),
    [
        (
            [[3.0, -3.5], [3.0, -3.5]],
            [GaussianProfile(0.1), GaussianProfile(0.3)],
            "Turing",
        ),  # inhibition reaches further
        ([[-6.0]], GaussianProfile(0.2), "Hopf"),
        ([[1.5]], BoxProfile(0.2), "uniform"),
        ([[3.0, -4.5], [3.0, -4.5]], [BoxProfile(0.2), BoxProfile(0.07)], "wave"),
    ],
)
def test_patterns_have_their_names(gain, profiles, pattern):
    found = neural_field_stability(gain, TAU, D, profiles)
    assert found.attrs["pattern"] == pattern
    assert found.attrs["stability"] == "unstable"
    assert (found.attrs["critical_wave_number"] > 0) == (pattern in ("Turing", "wave"))
    assert (found.attrs["critical_frequency"] > 0) == (pattern in ("Hopf", "wave"))


@pytest.mark.parametrize("gain", [-8.0, -4.0, 0.9, 1.1, 6.0])
@pytest.mark.parametrize("profile", PROFILES, ids=lambda p: type(p).__name__)
def test_one_population_has_no_waves_that_grow_first(gain, profile):
    """Its effective profile is largest in modulus at wave number 0 (Senk et al. 2020, section II B)."""
    found = neural_field_stability([[gain]], TAU, D, profile)
    assert found.attrs["critical_wave_number"] == 0
    assert found.attrs["pattern"] in ("uniform", "Hopf")


@dataclass(frozen=True)
class Own(Profile):
    def at(self, distance):
        return np.exp(-distance)


def test_what_is_wrong_is_said():
    with pytest.raises(TypeError, match="no Fourier transform of Own: a function registered"):
        profile_transform(Own(), 1.0)
    with pytest.raises(ValueError, match=r"`gain` must have shape \(population, population\), got \(3,\)"):
        neural_field_stability([1.0, 2.0, 3.0], 1.0, 1.0, PROFILES[0])
    with pytest.raises(ValueError, match=r"`profiles` must be a Profile such as GaussianProfile\(0.1\), 2 of them"):
        neural_field_stability(np.ones((2, 2)), 1.0, 1.0, [PROFILES[0]])
    with pytest.raises(ValueError, match="`dimension` must be 1 or 2, got 3"):
        neural_field_stability([[1.0]], 1.0, 1.0, PROFILES[0], dimension=3)
    with pytest.raises(ValueError, match=r"`delay` must be a time or have shape \(1, 1\)"):
        neural_field_stability([[1.0]], 1.0, [1.0, 2.0], PROFILES[0])
    with pytest.raises(ValueError, match="`wave_numbers` must be ascending numbers ≥ 0"):
        neural_field_stability([[1.0]], 1.0, 1.0, PROFILES[0], [1.0, 0.5])
    with pytest.raises(ValueError, match="a Ring or a Torus, got a Sheet"):
        space_transform(Sheet(), PROFILES[0], 1.0)
