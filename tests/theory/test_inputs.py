"""Drives, sources and delays of a user's own and of ours as cumulants of input."""

from dataclasses import dataclass

import mpmath
import numpy as np
import pytest
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    LogNormal,
    ModeMatrix,
    Normal,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Uniform,
    predict,
    predict_spectra,
    predict_time_course,
)
from mnnbio.circuit import Drive, InputCumulants, InputSteps, JumpTrain
from mnnbio.synapses import Delta, Exponential
from mnnbio.theory import trains
from mnnbio.theory.inputs import filter_time, mean_phase, received_sums
from mnnbio.values import Distribution

LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=10.0, t_ref=2.0)


@dataclass(frozen=True, eq=False)
class Background(Drive):
    """A current with noise and two trains of jumps in one drive."""

    rate: float = 1.0

    def cumulants(self, dt):
        jumps = JumpTrain(0.3, np.array(2 * self.rate)), JumpTrain(-0.2, np.array(self.rate))
        return InputCumulants(0.5, 0.04, None, jumps)

    def steps(self, dt):
        return InputSteps(0.5, 0.2, None, self.cumulants(dt).jumps)


def parts():
    return [GaussianDrive("E", mean=0.5, std=0.2), PoissonDrive("E", 2.0, 0.3), PoissonDrive("E", 1.0, -0.2)]


def recurrent(drives):
    return Circuit(
        [Population("E", 60, LIF)],
        [Projection("E", "E", weight=0.2, connectivity=FixedIndegree(6), delay=1.5)],
        drives,
    )


def layer(drives):
    return Circuit([Population("E", 4, LIF)], drives=drives)


@pytest.mark.parametrize("make", [recurrent, layer])
@pytest.mark.parametrize("dt", [None, 0.1])
@pytest.mark.parametrize(
    "options",
    [
        {"closure": "moments"},
        {"closure": "poisson"},
        {"closure": "renewal"},
        {"resolution": "population"},
        {"theory": "first_passage"},
    ],
    ids=lambda o: "-".join(o.values()),
)
def test_a_drive_of_ones_own_is_predicted_like_its_parts(make, dt, options):
    if "theory" in options and (dt is None or make is recurrent):
        return  # refused, see the tests of predict
    own, expected = predict(make([Background("E")]), dt=dt, **options), predict(make(parts()), dt=dt, **options)
    for name in ("rate", "variance", "mean_input", "std_input"):
        np.testing.assert_allclose(own[name], expected[name], rtol=1e-9)


def test_spectra_and_time_courses_take_a_drive_of_ones_own():
    own, expected = recurrent([Background("E")]), recurrent(parts())
    frequencies, times = [0.01, 0.05], [0.0, 2.0, 5.0]
    np.testing.assert_allclose(
        predict_spectra(own, frequencies)["power"], predict_spectra(expected, frequencies)["power"], rtol=1e-9
    )
    np.testing.assert_allclose(
        predict_time_course(own, times, initial="rest")["rate"],
        predict_time_course(expected, times, initial="rest")["rate"],
        rtol=1e-9,
        atol=1e-12,
    )


@dataclass(frozen=True, eq=False)
class Silent(Background):
    def cumulants(self, dt):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Misshapen(Background):
    def cumulants(self, dt):
        return InputCumulants(np.zeros(3))


@dataclass(frozen=True, eq=False)
class Negative(Background):
    def cumulants(self, dt):
        return InputCumulants(0.0, -1.0)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (
            Misshapen,
            ValueError,
            r"cumulants of Misshapen of 'E' must have shape .* n = 4, got the mean of shape \(3,\)",
        ),
        (Negative, ValueError, "the variance in the cumulants of Negative of 'E' must be ≥ 0, got -1"),
    ],
)
def test_drives_that_state_no_cumulants_are_refused(kind, error, message):
    with pytest.raises(error, match=message):
        predict(layer([kind("E")]))


def test_a_drive_without_a_theory_is_refused_by_name():
    from mnnbio.theory.inputs import drive_input

    silent = Silent("E")
    with pytest.raises(TypeError, match="there is no theory for Silent of 'E', a Silent: it states no cumulants"):
        drive_input(layer([Background("E")]), silent, None)


def test_a_source_without_a_theory_is_refused_by_name():
    class Bursts:
        name = "bursts"

    with pytest.raises(TypeError, match="there is no theory for the source 'bursts', a Bursts"):
        trains(Bursts(), None)


def test_synapses_without_a_theory_are_refused_by_name():
    class Alpha:
        pass

    with pytest.raises(TypeError, match="there is no theory for synapses of the type Alpha"):
        filter_time(Alpha())
    assert filter_time(Exponential(3.0)) == 3.0
    assert filter_time(Delta()) == 0.0


def test_trains_give_one_spike_a_step_at_most():
    found = trains(PoissonSource("s", 2, [0.5, 2.0]), 0.1)
    np.testing.assert_allclose(found.variance, [0.5 * 0.95, 2.0 * 0.8])
    np.testing.assert_array_equal(trains(PoissonSource("s", 2, [0.5, 2.0]), None).variance, [0.5, 2.0])


DISTRIBUTIONS = [
    Normal(1.5, 0.75, low=0.1),
    Normal(1.5, 0.4),
    Normal(1.0, 0.5, low=0.4, high=1.9),
    Normal(0.5, 1.0, high=2.0),
    Uniform(0.5, 2.5),
    LogNormal(1.5, 0.75),
]


def density(distribution):
    """Return the density and the ends of the support."""
    d = distribution
    if isinstance(d, Uniform):
        return lambda x: mpmath.mpf(1) / (d.high - d.low), (d.low, d.high)
    if isinstance(d, LogNormal):
        v = mpmath.log(1 + mpmath.mpf(d.std / d.mean) ** 2)
        m = mpmath.log(d.mean) - v / 2
        return lambda x: mpmath.npdf(mpmath.log(x), m, mpmath.sqrt(v)) / x, (mpmath.mpf("1e-6"), 60)
    low = -mpmath.mpf(10) if d.low is None else d.low
    high = mpmath.mpf(12) if d.high is None else d.high
    mass = mpmath.quad(lambda x: mpmath.npdf(x, d.mean, d.std), mpmath.linspace(low, high, 9))
    return lambda x: mpmath.npdf(x, d.mean, d.std) / mass, (low, high)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=repr)
def test_transforms_of_distributions(distribution):
    f, (low, high) = density(distribution)
    s = np.array([0.0, 0.3j, 2.0j, 0.05 + 1.0j, -0.02 + 3.1j])
    points = mpmath.linspace(low, high, 60)
    expected = [complex(mpmath.quad(lambda x, one=one: f(x) * mpmath.exp(-one * x), points)) for one in s.tolist()]
    np.testing.assert_allclose(distribution.laplace(s), expected, atol=2e-9)
    assert distribution.laplace(s.reshape(5, 1)).shape == (5, 1)


def test_the_transform_of_a_truncated_normal_does_not_overflow_at_high_frequencies():
    far = Normal(1.5, 0.75, low=0.1).laplace(2j * np.pi * np.array([10.0, 1e3]))
    assert np.isfinite(far).all()
    assert (np.abs(far) < 0.05).all()


@pytest.mark.parametrize("distribution", [*DISTRIBUTIONS, Normal(1.2, 0.0), LogNormal(-1.0, 0.3)], ids=repr)
def test_quantiles_have_the_moments(distribution):
    values = distribution.quantiles(20_000)
    assert (np.diff(values) >= 0).all()
    mean, std = distribution.moments()
    assert values.mean() == pytest.approx(mean, rel=2e-4)
    assert values.std() == pytest.approx(std, rel=5e-3)


@dataclass(frozen=True, repr=False)
class Two(Distribution):
    """One of two values."""

    def sample(self, size, rng):
        return rng.choice([1.0, 2.0], size)

    def moments(self):
        return 1.5, 0.5

    @property
    def lowest(self):
        return 1.0

    def __mul__(self, factor):
        return self


def test_a_distribution_of_ones_own_is_transformed_from_its_samples():
    found = Two().laplace(np.array([1.0j]))
    np.testing.assert_allclose(found, (np.exp(-1j) + np.exp(-2j)) / 2, atol=0.01)  # 100,000 samples: 3 in a thousand
    np.testing.assert_array_equal(Two().laplace(np.array([1.0j])), found)


def test_delays_of_single_synapses_are_weighted():
    delays = np.array([[1.0, 2.0], [2.0, 3.0]])
    projection = Projection("E", "E", weights=[[1.0, 0.0], [-3.0, 4.0]], delay=delays)
    omega = np.array([[0.5j], [1.0j]])
    expected = (np.exp(-omega) + 3 * np.exp(-2 * omega) + 4 * np.exp(-3 * omega)) / 8
    np.testing.assert_allclose(mean_phase(projection, omega), expected, rtol=1e-13)


def test_sums_of_cubes_are_those_of_the_drawn_weights():
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(7, 5))
    modes = ModeMatrix(rng.normal(size=(7, 2)), [0.5, -1.0], rng.normal(size=(5, 2)))
    for weights, matrix in ((dense, dense), (sparse.csr_array(dense), dense), (modes, modes.to_dense())):
        circuit = Circuit(
            [PoissonSource("s", 5, 0.1), Population("E", 7, LIF)], [Projection("s", "E", weights=weights)]
        )
        found = received_sums(circuit, circuit.projections[0], None)
        assert found.cubes == pytest.approx((matrix**3).sum() / 7, rel=1e-12)
    weight = LogNormal(0.2, 0.1)
    drawn = Circuit([Population("E", 100, LIF)], [Projection("E", "E", weight=weight, connectivity=Bernoulli(0.1))])
    third = 0.2**3 * (1 + 0.25) ** 3  # exp(3m + 9v/2) with exp(m + v/2) = 0.2 and e^v = 1.25
    assert received_sums(drawn, drawn.projections[0], None).cubes == pytest.approx(9.9 * third, rel=0.02)
