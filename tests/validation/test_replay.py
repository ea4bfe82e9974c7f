"""Surrogates of spike trains: what each keeps and what it takes, against plain loops."""

import numpy as np
import pytest
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    GaussianDrive,
    LIFParameters,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    simulate,
)
from mnnbio.neurons import EIF
from mnnbio.synapses import STDP, Alpha
from mnnbio.validation import surrogate_ladder
from mnnbio.validation.replay import (
    RecordedTrains,
    Replay,
    noise_input,
    poisson,
    repeated,
    require_plain,
    shifted,
    shuffled,
)

STEPS = 5000


def trains(rng, shape=(3, 7)):
    """Return trains of which some are empty and some have a single spike."""
    number = rng.integers(0, 40, shape)
    number[0, 0], number[1, 2] = 0, 1
    step = [np.sort(rng.choice(STEPS, n, replace=False)) for n in number.ravel()]
    return RecordedTrains(np.concatenate(step), number, STEPS)


def rows(given):
    stop = np.cumsum(given.row_size.ravel())
    return [given.step[b - n : b] for n, b in zip(given.row_size.ravel(), stop, strict=True)]


def circular_intervals(step):
    step = np.sort(step)
    return np.diff(np.append(step, step[:1] + STEPS))


def test_shifted_trains_keep_their_intervals_in_order():
    given = trains(np.random.default_rng(0))
    found = shifted(given, np.random.default_rng(1))
    for old, new in zip(rows(given), rows(found), strict=True):
        assert len(old) == len(new)
        if len(old):
            shift = {int(x) for x in (new - old) % STEPS}
            assert len(shift) == 1
    moved = [int((new[0] - old[0]) % STEPS) for old, new in zip(rows(given), rows(found), strict=True) if len(old)]
    assert len(set(moved)) > len(moved) / 2  # each on its own


def test_shuffled_trains_keep_their_intervals():
    given = trains(np.random.default_rng(2))
    found = shuffled(given, np.random.default_rng(3))
    other = 0
    for old, new in zip(rows(given), rows(found), strict=True):
        assert (new >= 0).all()
        assert (new < STEPS).all()
        one, two = circular_intervals(old), circular_intervals(new)
        assert sorted(one) == sorted(two)
        other += len(one) > 3 and list(one) != list(two)
    assert other > 10


def test_poisson_trains_fire_at_most_once_a_step_with_the_rate_of_their_group():
    rng = np.random.default_rng(4)
    row_size = np.repeat([[400, 100], [50, 1000]], 200, axis=0)  # two stimuli of 200 trials
    given = RecordedTrains(rng.integers(STEPS, size=row_size.sum()), row_size, STEPS)
    found = poisson(given, rng, 2)
    for train in rows(found):
        assert len(np.unique(train)) == len(train)
    for group in range(2):
        own = found.row_size[200 * group : 200 * (group + 1)]
        p = row_size[200 * group] / STEPS
        z = (own.mean(0) - STEPS * p) / np.sqrt(STEPS * p * (1 - p) / 200)
        assert (abs(z) < 4).all()
        ratio = own.var(0, ddof=1) / (STEPS * p * (1 - p))  # of a binomial number
        assert (abs(ratio - 1) < 4 * np.sqrt(2 / 199)).all()


def test_repeated_trains_are_all_neurons_again():
    given = trains(np.random.default_rng(5))
    found = repeated(given, 3)
    assert found.row_size.shape == (3, 21)
    old, new = rows(given), rows(found)
    for presentation in range(3):
        for copy in range(3):
            for neuron in range(7):
                np.testing.assert_array_equal(
                    new[presentation * 21 + copy * 7 + neuron], old[presentation * 7 + neuron]
                )


def test_noise_has_mean_and_variance_of_the_jumps():
    """Against loops over all synapses; jumps count for more than a current, those of filtered synapses do not."""
    rng = np.random.default_rng(6)
    dense, dt = rng.normal(0, 1, (4, 3)), 0.1
    inner = sparse.csr_array(rng.normal(0, 1, (4, 4)))
    circuit = Circuit(
        [PoissonSource("in", 3, rates=[0.1, 0.2, 0.3]), Population("a", 4, LIFParameters(tau_m=[10.0, 20, 30, 40]))],
        [Projection("in", "a", weights=dense), Projection("a", "a", weights=inner, tau_syn=5.0)],
        [GaussianDrive("a", mean=0.3, std=0.7), PoissonDrive("a", rate=1.5, weight=-0.4)],
    )
    rate = np.array([0.01, 0.02, 0.03, 0.04])
    found = noise_input(circuit, rate, dt)
    for i, tau in enumerate([10.0, 20, 30, 40]):
        factor = dt / tau / (1 - np.exp(-dt / tau))
        mean, white, filtered = 0.3, 0.7**2, 0.0
        for w, r in zip(dense[i], [0.1, 0.2, 0.3], strict=True):
            mean, white = mean + factor * w * r, white + (factor * w) ** 2 * r * (1 - r * dt)
        mean, white = mean + factor * -0.4 * 1.5, white + (factor * 0.4) ** 2 * 1.5
        for w, r in zip(inner.toarray()[i], rate, strict=True):
            mean, filtered = mean + w * r, filtered + w**2 * r * (1 - r * dt)
        assert found.mean[i] == pytest.approx(mean)
        assert found.variance[i] == pytest.approx(white)
        assert found.filtered[5.0][i] == pytest.approx(filtered)
    assert not noise_input(circuit, rate, dt, recurrent=False).filtered


def test_other_neurons_and_changing_synapses_are_refused():
    with pytest.raises(TypeError, match="type EIF: surrogates and error budgets are for leaky"):
        require_plain(Circuit([Population("a", 2, EIF())]))
    plain = [PoissonSource("in", 3, rates=0.1), Population("a", 2, LIFParameters())]
    with pytest.raises(TypeError, match="'in' → 'a' has synapses that change"):
        require_plain(Circuit(plain, [Projection("in", "a", weights=np.ones((2, 3)), plasticity=STDP(w_max=1.0))]))
    alpha = Projection("in", "a", weights=np.ones((2, 3)), synapse=Alpha(5.0))
    with pytest.raises(TypeError, match=r"has DoubleExponential synapses: .* delta and exponential"):
        require_plain(Circuit(plain, [alpha]))


@pytest.fixture(scope="module")
def recurrent():
    lif = LIFParameters(v_reset=0.0, t_ref=5.0)
    sizes = {"E": 40, "I": 10}
    circuit = Circuit(
        [Population(name, size, lif) for name, size in sizes.items()],
        [
            Projection(a, b, weight=1.0 if a == "E" else -4.0, connectivity=Bernoulli(0.2), delay=1.5)
            for a in sizes
            for b in sizes
        ],
        [GaussianDrive(name, mean=1.0, std=1.5) for name in sizes],
        seed=1,
    )
    return circuit, simulate(circuit, 500, 12, warmup=200, dt=0.1, seed=1, covariance=False, codegen="runtime")


def test_replayed_trains_are_those_that_were_fired(recurrent):
    circuit, simulation = recurrent
    replay = Replay(circuit, simulation, 100.0, 0)
    found, spikes = replay.trains, simulation["spikes"]
    assert found.steps == 5000
    time = 1e3 * spikes["spike_time"].values
    assert len(found.step) == (time > 0).sum()
    np.testing.assert_allclose((found.step + 0.5) * 0.1, time[time > 0], atol=1e-6)
    counted = replay.simulated()
    assert counted.shape == (1, 12, 5, 50)
    np.testing.assert_allclose(counted.mean((0, 1, 2)) * 10, simulation["simulation/rate"].values)


@pytest.mark.slow
def test_replayed_neurons_fire_alike(recurrent):
    """With the trains that they received, neurons fire as in the circuit, within 4 standard errors of the mean.

    Poisson trains are less regular than those of the circuit, and make counts that vary more.
    """
    circuit, simulation = recurrent
    found = surrogate_ladder(circuit, simulation, seed=3, codegen="runtime")
    assert list(found["rung"].values) == [
        "simulated", "replayed", "independent", "shuffled", "poisson", "noise", "theory",
    ]  # fmt: skip
    mean = found["rate"].mean("neuron")
    error = float(
        np.hypot(*(np.sqrt((found["rate_se"].sel(rung=r) ** 2).mean() / 50) for r in ("simulated", "replayed")))
    )
    assert abs(float(mean.sel(rung="replayed") - mean.sel(rung="simulated"))) < 4 * error
    fano = found["count_fano"].mean("neuron")
    assert float(fano.sel(rung="poisson")) > float(fano.sel(rung="shuffled"))
    assert abs(float(mean.sel(rung="theory") - mean.sel(rung="noise"))) < 4 * error
    text = repr(found).splitlines()
    assert len(text) == 7
    assert text[1].startswith("none, other random numbers")


def test_simulations_of_other_circuits_or_without_spikes_are_refused(recurrent):
    circuit, simulation = recurrent
    other = circuit.with_parts(drives=[GaussianDrive(name, mean=1.1, std=1.5) for name in "EI"])
    with pytest.raises(ValueError, match="of another circuit"):
        surrogate_ladder(other, simulation)
    with pytest.raises(ValueError, match="must hold its spikes"):
        Replay(circuit, simulation.drop_nodes("spikes"), 100.0, 0).trains  # noqa: B018
    with pytest.raises(ValueError, match="`window` must be at most `duration`"):
        Replay(circuit, simulation, 600.0, 0).simulated()
    with pytest.raises(ValueError, match="divide"):
        Replay(circuit, simulation, 100.05, 0)
