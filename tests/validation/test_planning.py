"""Plans of simulations: against closed forms, and against errors and power found in drawn counts."""

import numpy as np
import pytest
import xarray as xr
from brian2 import ms
from drawn_counts import WINDOW, law
from scipy import stats

from mnnbio.results import array, neuron_coords
from mnnbio.validation import SimulationPlan, runtime_needed, trials_needed

SIZES = {"E": 12, "I": 6}
K = 4  # standard errors


def poisson(rates, sizes, window=0.1):
    """Return the prediction of independent Poisson trains, Hz."""
    rates = np.asarray(rates, dtype=float)
    n = len(rates)
    values = {
        "rate": (("neuron",), rates),
        "variance": (("neuron",), rates),
        "covariance": (("neuron", "neuron_j"), np.diag(rates)),
        "count_variance": (("neuron",), rates * window),
        "count_covariance": (("neuron", "neuron_j"), np.diag(rates) * window),
    }
    coords = neuron_coords(sizes, second=True)
    assert n == sum(sizes.values())
    found = {name: array(name, dims, value) for name, (dims, value) in values.items()}
    return xr.Dataset(found, coords=coords, attrs={"window": window})


def test_the_error_of_a_mean_rate_is_that_of_a_poisson_process():
    prediction = poisson(np.full(10, 20.0), {"E": 10})
    plan = trials_needed(prediction, "rate", 0.01, duration=1000, power=0.9)
    # N r T spikes have a relative error of 1/sqrt(N r T); 1 % is seen with (1.96 + 1.28) standard errors.
    assert plan.standard_error == pytest.approx(1 / np.sqrt(10 * 20 * plan.trials))
    exact = (stats.norm.ppf(0.975) + stats.norm.ppf(0.9)) ** 2 / 0.01**2 / 200
    assert exact <= plan.trials <= exact + 5  # Student's t asks for a few more
    assert plan.power >= 0.9
    assert plan.limited_by == "E"
    assert plan.simulated_time == plan.trials
    alone = trials_needed(prediction, "rate", 0.01, duration=1000, of="neuron")
    assert alone.trials == pytest.approx(10 * plan.trials, rel=0.01)
    assert alone.limited_by == "E 0"
    half = trials_needed(prediction, "rate", 0.01, duration=1000, power=0.5)
    assert half.standard_error * stats.norm.ppf(0.975) == pytest.approx(0.01, rel=0.02)


def test_longer_trials_are_fewer_and_quantities_are_times():
    prediction = poisson(np.full(10, 20.0), {"E": 10})
    one = trials_needed(prediction, duration=1000).trials
    assert trials_needed(prediction, duration=2000 * ms).trials == pytest.approx(one / 2, rel=0.05)
    assert trials_needed(prediction, duration=1000, goal="equivalence", power=0.9).trials > one
    assert trials_needed(prediction, duration=1000, comparisons=20).trials > one
    assert trials_needed(prediction, duration=1000, power=0.99).trials > one


@pytest.mark.parametrize(
    ("quantity", "exact"),
    [
        ("variance", lambda m, mean: np.sqrt(2 / (m - 1) + 1 / (mean * m))),
        ("fano", lambda m, mean: np.sqrt(2 / (m - 1))),
        ("covariance", lambda m, mean: 1 / np.sqrt(m - 1)),
    ],
)
def test_errors_of_poisson_counts_in_windows(quantity, exact):
    rng, windows, repeats, mean = np.random.default_rng(3), 400, 3000, 3.0
    plan = trials_needed(poisson([30.0, 30.0], {"E": 2}), quantity, 0.05, duration=1000, of="neuron")
    m = 10 * plan.trials
    assert plan.standard_error == pytest.approx(exact(m, mean), rel=1e-9)
    counts = rng.poisson(mean, (repeats, windows, 2))
    if quantity == "covariance":
        d = counts - counts.mean(axis=1, keepdims=True)
        found = (d[..., 0] * d[..., 1]).sum(axis=1) / (windows - 1) / mean
    else:
        found = counts[..., 0].var(axis=1, ddof=1)
        found = found / (counts[..., 0].mean(axis=1) if quantity == "fano" else mean)
    spread = found.std()
    assert spread == pytest.approx(exact(windows, mean), rel=K / np.sqrt(2 * repeats))


@pytest.mark.parametrize("memory", [0.0, 0.4, -0.3])
def test_planned_errors_of_populations_are_those_of_drawn_counts(memory):
    own = law(SIZES, correlation=0.1, memory=memory)
    trials, windows, repeats = 5, 40, 400
    rng = np.random.default_rng(4)
    found: dict[str, list[float]] = {}
    mine = slice(0, 12)
    for _ in range(repeats):
        counts = own.counts(rng, trials, windows)[..., mine]
        d = (counts - counts.mean(axis=(0, 1))).reshape(-1, 12)
        found.setdefault("rate", []).append(counts.mean() / own.mean[mine].mean())
        covariance = d.T @ d / (len(d) - 1)
        scale = np.diag(own.covariance)[mine].mean()
        found.setdefault("covariance", []).append((covariance.sum() - np.trace(covariance)) / (12 * 11) / scale)
        found.setdefault("summed_variance", []).append(covariance.sum() / own.covariance[mine, mine].sum())
    for name, values in found.items():
        # The plan with as many trials: the precision that they reach.
        errors = [
            trials_needed(own.prediction(), name, p, duration=1e3 * WINDOW * windows, population="E", power=0.5)
            for p in np.geomspace(0.002, 0.5, 40)
        ]
        nearest = min(errors, key=lambda plan: abs(plan.trials - trials))
        planned = nearest.standard_error * np.sqrt(nearest.trials / trials)
        if memory and name != "rate":
            planned *= np.sqrt((1 + memory**2) / (1 - memory**2))  # squares of an autoregressive process remember
        assert np.std(values) == pytest.approx(planned, rel=K / np.sqrt(2 * repeats) + 0.04), (name, nearest)


@pytest.mark.parametrize("goal", ["difference", "equivalence"])
def test_power_is_what_was_asked(goal):
    own, precision, repeats = law({"E": 20}, correlation=0.1), 0.04, 600
    plan = trials_needed(own.prediction(), "rate", precision, duration=1000, power=0.9, goal=goal)
    rng, mean, hits = np.random.default_rng(5), own.mean.mean(), []
    true = precision if goal == "difference" else 0.0
    for _ in range(repeats):
        # Blocks as `compare` makes them: whole trials, or parts where they are fewer than 20.
        parts = min(-(-20 // plan.trials), 10)
        drawn = own.counts(rng, plan.trials, 10)[:, : 10 // parts * parts]
        blocks = drawn.reshape(plan.trials * parts, -1, 20).mean(axis=(1, 2)) / mean - 1 + true
        se, dof = stats.sem(blocks), len(blocks) - 1
        if goal == "difference":
            hits.append(abs(blocks.mean()) > stats.t.ppf(0.975, dof) * se)
        else:
            hits.append(abs(blocks.mean()) + stats.t.ppf(0.95, dof) * se < precision)
    error = np.sqrt(0.9 * 0.1 / repeats)
    assert np.mean(hits) > 0.9 - K * error
    assert np.mean(hits) < plan.power + K * error + 0.03  # trials are whole


def test_predictions_of_populations_have_their_sizes_back():
    sizes, own, pair = np.array([40, 20]), np.array([16.0, 20.0]), np.array([[0.4, 0.1], [0.1, -0.3]])
    total = pair * sizes[:, None] * sizes + np.diag(sizes * (own - np.diag(pair)))
    names = ["E", "I"]
    both = ("population", "population_j")
    prediction = xr.Dataset(
        {
            "rate": ("population", [20.0, 30.0]),
            "variance": ("population", own),
            "population_covariance": (both, total),
            "pair_covariance": (both, pair),
        },
        coords={"population": names, "population_j": names},
    )
    for k, name in enumerate(names):
        plan = trials_needed(prediction, "rate", 0.02, duration=1000, population=name)
        exact = np.sqrt(total[k, k] / plan.trials) / sizes[k] / [20, 30][k]
        assert plan.standard_error == pytest.approx(exact)


def test_runtime_is_trials_and_warmup_over_speed():
    plan = SimulationPlan(trials=10, standard_error=0.01, power=0.9, duration=1.0, limited_by="E")
    run = runtime_needed(plan, warmup=200 * ms, stimuli=3, speed=4.0)
    assert run.simulated == pytest.approx(36.0)
    assert run.wall == pytest.approx(9.0)
    assert np.isnan(runtime_needed(plan).wall)


@pytest.mark.slow
@pytest.mark.standalone
def test_a_circuit_is_timed():
    from mnnbio.circuits import brunel

    plan = SimulationPlan(trials=10, standard_error=0.01, power=0.9, duration=1.0, limited_by="E")
    run = runtime_needed(plan, circuit=brunel(g=5, nu_ext_ratio=2, scale=0.008))
    assert run.speed > 0
    assert run.wall == pytest.approx(run.simulated / run.speed)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"quantity": "rates"}, "Invalid value 'rates' for `quantity`"),
        ({"precision": 0.0}, "`precision` must be a number above 0"),
        ({"power": 1.0}, "`power` must be a number above 0 and below 1"),
        ({"confidence": 95}, "`confidence` must be a number above 0.5 and below 1"),
        ({"population": "X"}, r"Invalid value 'X' for `population`. Must be one of \['E'\]"),
        ({"of": "pair"}, "Invalid value 'pair' for `of`"),
        ({"goal": "equal"}, "Invalid value 'equal' for `goal`"),
        ({"duration": 0}, "`duration` must be a time > 0 ms"),
        ({"window": 50}, "the prediction is for windows of 100 ms, `window` is 50 ms"),
        ({"quantity": "variance", "duration": 50}, "`duration` must hold a window of 100 ms"),
        ({"quantity": "summed_variance", "of": "neuron"}, "is of populations"),
        ({"precision": 1e-9}, "no number of trials below"),
        ({"comparisons": 0}, "`comparisons` must be an integer ≥ 1"),
    ],
)
def test_impossible_plans_raise(options, match):
    with pytest.raises(ValueError, match=match):
        trials_needed(poisson([20.0, 30.0], {"E": 2}), **{"duration": 1000, **options})


def test_predictions_that_cannot_be_planned_from():
    prediction = poisson([20.0, 30.0], {"E": 2})
    with pytest.raises(ValueError, match="nothing to plan for: the prediction is silent"):
        trials_needed(poisson([0.0, 0.0], {"E": 2}), duration=1000)
    with pytest.raises(ValueError, match="no neuron is predicted to fire at 1 Hz"):
        trials_needed(poisson([0.5, 0.0], {"E": 2}), duration=1000, of="neuron")
    with pytest.raises(ValueError, match="rates or variances that are NaN"):
        trials_needed(poisson([np.nan, 1.0], {"E": 2}), duration=1000)
    with pytest.raises(ValueError, match="must be what `predict` returns"):
        trials_needed(np.zeros(3), duration=1000)
    with pytest.raises(ValueError, match="predict with `window`"):
        trials_needed(prediction.drop_vars(["count_variance", "count_covariance"]), "variance", duration=1000)
    with pytest.raises(ValueError, match="`speed` must be simulated seconds per second"):
        runtime_needed(trials_needed(prediction, duration=1000), speed=0.0)
