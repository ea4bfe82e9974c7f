"""Latent dynamics in mode space against quadrature, brute force, closed forms, and spikes."""

import tracemalloc

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.optimize import brentq
from scipy.special import erfcx

from mnnbio import Circuit, GaussianDrive, LIFParameters, ModeMatrix, Population, Projection, Steps, predict, simulate
from mnnbio.analyses import mode_activity
from mnnbio.theory import mode_basins, mode_dynamics, mode_fixed_points, predict_mode_course, predict_modes

# Of the slow synapses here only the feedback passes, not the noise.
pytestmark = pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.SlowSynapseWarning")

N, MEAN, STD, TAU = 40, 0.9, 1.0, 50.0
LIF = LIFParameters(tau_m=20.0, v_th=20.0, v_reset=0.0, t_ref=5.0)


def siegert(mean, std=STD):
    """Rate of the LIF neuron, 1/ms, by quadrature (Siegert 1951)."""
    low, high = ((v / 20 - mean) / (std / np.sqrt(20)) for v in (0.0, 20.0))
    return 1 / (5 + 20 * np.sqrt(np.pi) * quad(lambda u: erfcx(-u), low, high)[0])


def circuit(scores, tau_syn=TAU, n=N, mean=MEAN):
    """Half of the neurons along the modes, half against: P ≤ 2 groups of signs, with weights ~ 1/n."""
    signs = np.stack([np.where(np.arange(n) % 2, 1.0, -1.0), np.where(np.arange(n) % 4 < 2, 1.0, -1.0)], 1)
    modes = signs[:, : len(scores)]
    return Circuit(
        [Population("E", n, LIF)],
        [Projection("E", "E", weights=ModeMatrix(modes, scores, modes / n), tau_syn=tau_syn)],
        [GaussianDrive("E", mean=mean, std=STD)],
    )


def brute(score, kappa):
    """ξ_outᵀ φ(κ) of one mode by quadrature; the trains' own noise is left out, 1e-4 of all."""
    return 0.5 * (siegert(MEAN + score * kappa) - siegert(MEAN - score * kappa))


LARGE = 4000  # so that the trains' own noise is small in what is compared with quadrature


@pytest.mark.slow
@pytest.mark.parametrize("score", [10.0, 40.0])
def test_fixed_points_are_all_roots_of_a_scan(score):
    found = mode_fixed_points(circuit([score], n=LARGE))
    grid = np.linspace(-0.1, 0.1, 81) + 1e-5
    rest = [brute(score, k) - k for k in grid]
    roots = [
        brentq(lambda k: brute(score, k) - k, a, b)
        for a, b, x, y in zip(grid, grid[1:], rest, rest[1:], strict=False)
        if x * y < 0
    ]
    assert len(roots) == (1 if score == 10 else 3)
    np.testing.assert_allclose(found["kappa"].values[:, 0] * 1e-3, roots, atol=2e-5)
    slopes = [(brute(score, k + 1e-4) - brute(score, k - 1e-4)) / 2e-4 for k in roots]
    np.testing.assert_allclose(found["growth"].values[:, 0] * 1e-3, (np.array(slopes) - 1) / TAU, rtol=1e-2, atol=1e-5)
    assert found["stable"].values.tolist() == [s < 1 for s in slopes]
    assert found.attrs["index_sum"] == 1


@pytest.mark.slow
def test_the_course_is_that_of_the_equation():
    times = np.linspace(0, 200, 5)
    found = predict_mode_course(circuit([40.0], n=LARGE), times, [[0.005], [-0.02]])
    for k, start in enumerate((0.005, -0.02)):
        truth = solve_ivp(
            lambda _, x: [(brute(40.0, x[0]) - x[0]) / TAU], (0, 200), [start], t_eval=times, rtol=1e-5, atol=1e-8
        ).y[0]
        np.testing.assert_allclose(found["mode_activity"][k, :, 0] * 1e-3, truth, rtol=2e-3, atol=2e-6)
    assert found["rate"].dims == ("start", "time", "population")


@pytest.mark.slow
def test_the_variance_is_that_of_an_ornstein_uhlenbeck_process():
    """Around κ = 0: variance ``v (1 - exp(-2 (1 - g) t/τ))/(2 τ (1 - g))``, g the loop gain, v the noise."""
    given = circuit([10.0], n=400)
    dynamics = mode_dynamics(given)
    g, v = dynamics.loop(np.zeros(1))[0, 0], dynamics.own_noise(np.zeros(1))[0, 0]
    times = np.array([0.0, 20.0, 60.0, 800.0])
    found = predict_mode_course(given, times)["mode_activity_covariance"][:, 0, 0] * 1e-6
    neurons = predict(given, window=2000.0, covariance=False)
    # The constant part of the count variance, by its own window
    constant = (neurons["count_variance"] - neurons["variance"] * 2.0).values.sum() / 400**2
    regular = np.where(times > 0, constant / (2 * TAU**2), 0.0)
    slow = v * -np.expm1(-2 * (1 - g) * times / TAU) / (2 * TAU * (1 - g))
    np.testing.assert_allclose(found, slow + regular, rtol=1e-3)
    np.testing.assert_allclose(v, (neurons["variance"].values * 1e-3).sum() / 400**2, rtol=2e-4)


def test_basins_meet_at_the_unstable_point():
    grid = np.array([-0.05, -0.01, -1e-3, 1e-3, 0.01, 0.05])
    found = mode_basins(circuit([40.0]), [grid])
    assert found["stable"].values.tolist() == [1, 0, 1]
    assert found["basin"].values.tolist() == [0, 0, 0, 2, 2, 2]
    np.testing.assert_allclose(found["kappa_1"], grid * 1e3)


@pytest.mark.slow
def test_two_modes_have_mirrored_fixed_points():
    """Turning all signs turns a state into another; indices add up to 1."""
    found = mode_fixed_points(circuit([60.0, 60.0]))
    stable = found["kappa"].values[found["stable"].values.astype(bool)]
    assert found.attrs["index_sum"] == 1
    assert len(stable) >= 2
    dynamics = mode_dynamics(circuit([60.0, 60.0]))
    kappa = found["kappa"].values * 1e-3
    np.testing.assert_allclose(dynamics.returned(kappa), kappa, atol=1e-9)
    mirrored = {tuple(np.round(-k, 3) + 0.0) for k in found["kappa"].values}
    assert mirrored == {tuple(np.round(k, 3) + 0.0) for k in found["kappa"].values}


@pytest.mark.slow
def test_the_course_ends_in_a_fixed_point_of_predict():
    given = circuit([10.0, -8.0], mean=1.0)
    point = mode_fixed_points(given, dt=0.1)["kappa"].values[0]
    np.testing.assert_allclose(predict(given, dt=0.1)["mode_mean"], point, rtol=1e-6, atol=1e-6)
    course = predict_mode_course(given, [0.0, 2000.0], [0.01, -0.01], dt=0.1, covariance=False)
    np.testing.assert_allclose(course["mode_activity"][-1], point, atol=1e-3)


def test_an_input_that_steps_is_followed():
    signs = np.where(np.arange(N) % 2, 1.0, -1.0)
    given = circuit([10.0])
    drive = GaussianDrive("E", mean=Steps([0.0, 100.0], np.stack([np.full(N, MEAN), MEAN + 0.1 * signs])), std=STD)
    given = Circuit(given.populations, given.projections, [drive])
    found = predict_mode_course(given, [0.0, 100.0, 1000.0], covariance=False)["mode_activity"][:, 0] * 1e-3
    assert abs(found[1]) < 1e-9
    root = brentq(lambda k: 0.5 * (siegert(1.0 + 10 * k) - siegert(0.8 - 10 * k)) - k, 0, 0.05)
    assert found[2] == pytest.approx(root, rel=5e-3)  # the trains' own noise is left out of the root


@pytest.mark.parametrize("tau_syn", [0.0, 5.0])
def test_stationary_modes_are_those_of_predict(tau_syn):
    rng = np.random.default_rng(3)
    weights = ModeMatrix(rng.normal(size=(30, 2)), [0.05, -0.08], rng.normal(size=(30, 2)))
    given = Circuit(
        [Population("E", 30, LIF)],
        [Projection("E", "E", weights=weights, tau_syn=tau_syn)],
        [GaussianDrive("E", mean=rng.uniform(0.8, 1.1, 30), std=1.5)],
    )
    found, whole = (f(given, dt=0.1) for f in (predict_modes, predict))
    for name in ("mode_mean", "mode_covariance"):
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-7)
    np.testing.assert_allclose(found["loop_gain_real"].max(), whole.attrs["largest_real"], rtol=1e-9)
    read = weights.output_modes
    np.testing.assert_allclose(found["mode_covariance_independent"], (read.T * whole["variance"].values) @ read)


@pytest.mark.slow
def test_no_matrix_of_all_neurons_is_formed():
    """20,000 neurons: a matrix would take 3.2 GB."""
    n, rng = 20_000, np.random.default_rng(0)
    weights = ModeMatrix(rng.normal(size=(n, 2)), [5.0, -5.0], rng.normal(size=(n, 2)) / n)
    given = Circuit([Population("E", n, LIF)], [Projection("E", "E", weights=weights)], [GaussianDrive("E", 0.9, 1.0)])
    tracemalloc.start()
    predict_modes(given, dt=0.1)
    predict(given, dt=0.1)
    assert tracemalloc.get_traced_memory()[1] < 0.3e9
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.standalone
def test_spikes_follow_the_course_and_its_variance():
    """400 neurons with slow synapses from rest; 40 trials. Means within 4 standard errors and 3 %, variances within 30 %."""
    given = circuit([25.0, -15.0], n=400, mean=0.95 + 0.15 * np.where(np.arange(400) % 2, 1.0, -1.0))
    times = np.array([0.0, 100.0, 200.0, 400.0])
    predicted = predict_mode_course(given, times, dt=0.1)
    result = simulate(given, 402, trials=40, warmup=0, dt=0.1, seed=1, record="E", covariance=False)
    activity = mode_activity(result, given.projections[0].weights, bin=1, tau=TAU)
    for k, time in enumerate(times[1:], 1):
        sample = activity.sel(time=1e-3 * time, method="nearest").values[:, 0]
        expected = float(predicted["mode_activity"][k, 0])
        se = sample.std(ddof=1) / np.sqrt(len(sample))
        # Membranes fill from rest in the first 20 ms.
        assert abs(sample.mean() - expected) <= 4 * se + (0.03 if time > 150 else 0.15) * expected
    late = activity.sel(time=slice(0.3, 0.4)).values
    for mode in (0, 1):
        spread = late[..., mode].var(0, ddof=1).mean()
        expected = float(predicted["mode_activity_covariance"][-1, mode, mode])
        assert abs(spread / expected - 1) < 0.3 + 4 * np.sqrt(2 / 39) / np.sqrt(2)


def test_bad_input_is_named():
    given = circuit([10.0])
    delta = circuit([10.0], tau_syn=0)
    full = Circuit(given.populations, [Projection("E", "E", weights=np.full((N, N), 0.01), tau_syn=5)], given.drives)
    delayed = Circuit(
        given.populations,
        [Projection("E", "E", weights=given.projections[0].weights, tau_syn=5, delay=3.0)],
        given.drives,
    )
    cases = [
        (lambda: predict_mode_course(delta, [0, 10]), "give `tau`"),
        (lambda: predict_mode_course(given, [10, 0]), "ascending"),
        (lambda: predict_mode_course(given, [0, 10], [0.1, 0.1]), "of 1 modes"),
        (lambda: predict_mode_course(delayed, [0, 10]), "delay"),
        (lambda: mode_dynamics(full), "ModeMatrix"),
        (lambda: mode_dynamics(Circuit(given.populations, drives=given.drives)), "no recurrent weights"),
        (lambda: mode_dynamics(given, tau=-1), "`tau`"),
        (lambda: mode_dynamics(given, closure="renewal"), "renewal"),
        (lambda: mode_basins(given, [[0.0], [0.0]]), "`axes`"),
    ]
    for call, text in cases:
        with pytest.raises(ValueError, match=text) as error:
            call()
        assert len(str(error.value).splitlines()) <= 4
    assert np.isnan(mode_fixed_points(delta)["growth"]).all()
    assert mode_fixed_points(delta, tau=20)["growth"].max() < 0
