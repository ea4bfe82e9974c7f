"""Error budgets: the arithmetic of Shapley values, and errors of known size that are found again."""

import itertools

import numpy as np
import pytest
import xarray as xr

from mnnbio import (
    Bernoulli,
    Circuit,
    GaussianDrive,
    LIFParameters,
    Oscillation,
    PoissonDrive,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.analyses import plot_error_budget
from mnnbio.validation import error_budget, shapley

# What a budget measures, the theory warns of.
pytestmark = [pytest.mark.filterwarnings(f"ignore::mnnbio.theory.{name}") for name in ("FiniteWeightWarning",)]
# Simulations in Python, many short trials side by side.
PLAIN = {"warmup": 100.0, "window": 100.0, "seed": 1, "codegen": "runtime"}


def game(values):
    return lambda on: np.array(values[frozenset(on)], dtype=float)


def test_shapley_values_of_two_terms_are_the_mean_over_both_orders():
    values = {frozenset(): 1.0, frozenset("a"): 4.0, frozenset("b"): 3.0, frozenset("ab"): 10.0}
    found = shapley(("a", "b"), game(values))
    assert found["a"] == pytest.approx(((4 - 1) + (10 - 3)) / 2)
    assert found["b"] == pytest.approx(((3 - 1) + (10 - 4)) / 2)


def test_shapley_values_add_up_and_leave_out_what_does_nothing():
    """Against the definition, a loop over all orders; of a game in which one term does nothing."""
    rng, terms = np.random.default_rng(0), ("a", "b", "c", "d")
    plain = {frozenset(s): rng.normal(size=3) for k in range(4) for s in itertools.combinations("abc", k)}
    values = plain | {s | {"d"}: v for s, v in plain.items()}
    found = shapley(terms, lambda on: values[on])
    expected = dict.fromkeys(terms, 0.0)
    orders = list(itertools.permutations(terms))
    for order in orders:
        for place, term in enumerate(order):
            before = frozenset(order[:place])
            expected[term] = expected[term] + (values[before | {term}] - values[before]) / len(orders)
    for term in terms:
        np.testing.assert_allclose(found[term], expected[term], atol=1e-12)
    np.testing.assert_allclose(found["d"], 0.0, atol=1e-12)
    np.testing.assert_allclose(sum(found.values()), values[frozenset("abcd")] - values[frozenset()])
    sampled = shapley(terms, lambda on: values[on], orders)
    np.testing.assert_allclose(sampled["a"], found["a"])


def of(budget, term):
    return float(budget["mean"].sel(term=term, population_name="cells"))


def behind_jumps(size):
    """Return neurons that each receive seldom jumps of a fifth of the way to the threshold."""
    return Circuit(
        [Population("cells", size, LIFParameters(v_reset=0.0, t_ref=5.0))],
        drives=[PoissonDrive("cells", rate=0.2, weight=4.0), GaussianDrive("cells", mean=-0.15, std=0.3)],
    )


@pytest.fixture(scope="module")
def strong():
    circuit = behind_jumps(80)
    simulation = simulate(circuit, 400, 300, warmup=100, dt=0.5, seed=1, covariance=False)
    return circuit, simulation


@pytest.mark.slow
@pytest.mark.standalone
def test_finite_weights_are_what_the_exact_theory_makes_of_them(strong):
    """The first passage through jumps is exact: what the diffusion lacks is known, and found within 20 %."""
    circuit, simulation = strong
    found = error_budget(circuit, simulation=simulation)
    one = behind_jumps(1)  # all are alike
    rates = {t: float(predict(one, dt=0.5, theory=t)["rate"][0]) for t in ("diffusion", "first_passage")}
    known = rates["first_passage"] - rates["diffusion"]
    assert abs(known) > 0.5
    assert of(found, "finite weights") == pytest.approx(known, rel=0.2)
    assert abs(found.attrs["unexplained"]) < 0.2
    assert "first_passage" in str(found["advice"].sel(term="finite weights").values)


@pytest.mark.slow
@pytest.mark.standalone
def test_a_prediction_of_continuous_time_lacks_the_step(strong):
    circuit, simulation = strong
    found = error_budget(circuit, simulation=simulation, predicted={"dt": None, "closure": "poisson"})
    known = float(predict(circuit, dt=0.5)["rate"].mean() - predict(circuit, closure="poisson")["rate"].mean())
    assert of(found, "time step") == pytest.approx(known, rel=0.2)
    assert str(found["advice"].sel(term="time step").values) == "predict with dt=0.5 ms"
    assert found.attrs["predicted_dt"] == "continuous"
    parts = found["contribution"].sel(term=["time step", "finite weights", "unexplained"]).sum("term")
    np.testing.assert_allclose(parts, found["simulated"] - found["predicted"], atol=1e-9)


@pytest.mark.slow
@pytest.mark.standalone
def test_a_prediction_of_long_windows_lacks_the_window(strong):
    circuit, simulation = strong
    found = error_budget(circuit, simulation=simulation, quantity="fano", window=40.0, predicted={"window": None})
    right, long = predict(circuit, dt=0.5, window=40.0)["count_fano"], predict(circuit, dt=0.5)["fano"]
    assert of(found, "finite window") == pytest.approx(float((right - long).mean()), rel=0.2)
    variance = error_budget(circuit, simulation=simulation, quantity="count_variance")
    assert "finite window" not in variance["term"].values
    assert variance.attrs["units"] == "1"


@pytest.fixture(scope="module")
def recurrent():
    lif, sizes = LIFParameters(v_reset=0.0, t_ref=5.0), {"cells": 60, "others": 15}
    circuit = Circuit(
        [Population(name, size, lif) for name, size in sizes.items()],
        [
            Projection(a, b, weight=1.0 if a == "cells" else -4.0, connectivity=Bernoulli(0.2), delay=1.5)
            for a in sizes
            for b in sizes
        ],
        [GaussianDrive(name, mean=1.0, std=1.0) for name in sizes],
        seed=1,
    )
    return circuit, simulate(circuit, 500, 24, warmup=100, dt=0.5, seed=1, covariance=False)


@pytest.mark.slow
@pytest.mark.standalone
def test_a_prediction_of_the_rules_lacks_the_synapses_that_were_drawn(recurrent):
    circuit, simulation = recurrent
    found = error_budget(circuit, simulation=simulation, predicted={"resolution": "population"})
    drawn = predict(circuit, dt=0.5, covariance=False)["rate"]
    rules = predict(circuit, dt=0.5, covariance=False, resolution="population")["rate"]
    known = drawn - np.repeat(rules.values, [60, 15])
    own = found["contribution"].sel(term="drawn connectivity")
    assert float((own * known).sum() / (known**2).sum()) == pytest.approx(1.0, abs=0.2)
    assert found.attrs["unexplained"] < 0.2


@pytest.mark.slow
@pytest.mark.standalone
def test_the_closure_of_trained_networks_lacks_what_the_other_has(recurrent):
    """Between two predictions that differ in their closure, the term differs by as much as they do."""
    circuit, simulation = recurrent
    options = {"simulation": simulation}
    one, two = (error_budget(circuit, **options, predicted={"closure": c}) for c in ("moments", "poisson"))
    own = [
        float(predict(circuit, dt=0.5, closure=c, covariance=False)["rate"][:60].mean()) for c in ("moments", "poisson")
    ]
    assert of(one, "closure") - of(two, "closure") == pytest.approx(own[1] - own[0], rel=0.2)
    assert abs(one.attrs["unexplained"]) < 0.2


@pytest.mark.slow
@pytest.mark.standalone
def test_budgets_print_draw_and_are_stored(recurrent, tmp_path):
    from mnnbio import load, save

    circuit, simulation = recurrent
    found = error_budget(circuit, simulation=simulation, predicted={"dt": None})
    lines = repr(found).splitlines()
    assert lines[0].startswith("error budget of the rate: simulated − predicted (continuous time, closure moments")
    assert [line.split("  ")[0] for line in lines[-2:]] == ["finite data", "unexplained"]
    assert "predict with dt=0.5 ms" in repr(found)
    assert isinstance(found.to_dataset(), xr.Dataset)
    assert not repr(found[["gap"]]).startswith("error budget")
    panels = plot_error_budget(found)
    assert len(panels) == 2
    assert {t.get_text() for t in panels[0].get_yticklabels()} == set(map(str, found["term"].values))
    assert len(panels[0].patches) == found.sizes["term"]
    with pytest.raises(ValueError, match="must be an error budget"):
        plot_error_budget(found[["gap"]])
    save(found.to_dataset(), tmp_path / "budget.nc")
    (stored,) = [node for node in load(tmp_path / "budget.nc").subtree if "share" in node.data_vars]
    np.testing.assert_allclose(stored["share"], found["share"])
    total = float(found["share"].sum())
    assert total == pytest.approx(1.0)


def test_bad_input_is_refused():
    circuit = Circuit([Population("cells", 2, LIFParameters())], drives=[GaussianDrive("cells", mean=0.1, std=0.01)])
    with pytest.raises(ValueError, match="give `duration`"):
        error_budget(circuit)
    with pytest.raises(ValueError, match="`trials`"):
        error_budget(circuit, duration=100, trials=1)
    with pytest.raises(ValueError, match="no neuron fired"):
        error_budget(circuit, duration=100, trials=4, **PLAIN)
    with pytest.raises(ValueError, match=r"options of `predict`, .*; got 'weights'"):
        error_budget(circuit, duration=100, trials=4, predicted={"weights": 2}, **PLAIN)
    with pytest.raises(ValueError, match="`quantity`"):
        error_budget(circuit, duration=100, trials=4, quantity="covariances")
    with pytest.raises(TypeError, match="Circuit"):
        error_budget(None, duration=100, trials=4)
    moving = circuit.with_parts(drives=[GaussianDrive("cells", mean=Oscillation(1.0, 0.5, frequency=0.01))])
    with pytest.raises(ValueError, match="stationary"):
        error_budget(moving, duration=100, trials=4)
    few = simulate(circuit, 100, 2, dt=0.5, seed=1, codegen="runtime", covariance=False)
    with pytest.raises(ValueError, match="needs 4 trials or more"):
        error_budget(circuit, simulation=few)
