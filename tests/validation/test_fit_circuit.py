"""Fits of circuits: parameters that made the targets are found again, with errors that say how well they are told."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from mnnbio import (
    Circuit,
    Counts,
    FixedIndegree,
    LIFParameters,
    PoissonDrive,
    Population,
    Projection,
    predict,
    simulate,
)
from mnnbio.validation import fit_circuit, spike_targets

LIF = LIFParameters(tau_m=20, v_th=20, v_reset=10, t_ref=2)
TRUTH = {"J": 0.2, "g": 6.0, "rate": 9.0}


def network(J=0.2, g=6.0, rate=9.0):
    excitatory, inhibitory = FixedIndegree(80), FixedIndegree(20)
    return Circuit(
        [Population("E", 800, LIF), Population("I", 200, LIF)],
        [
            *(Projection("E", target, weight=J, connectivity=excitatory, delay=1.5) for target in "EI"),
            *(Projection("I", target, weight=-g * J, connectivity=inhibitory, delay=1.5) for target in "EI"),
        ],
        [PoissonDrive(target, rate=rate, weight=J) for target in "EI"],
    )


@pytest.fixture(scope="module")
def known():
    return predict(network(**TRUTH), resolution="population", dt=0.1, window=100.0)


def test_coupling_balance_and_drive_are_recovered(known):
    targets = {
        "rate": {"E": float(known["rate"][0])},
        "pair_covariance": {
            ("E", "E"): float(known["pair_covariance"][0, 0]),
            ("I", "I"): float(known["pair_covariance"][1, 1]),
        },
        "count_fano": {"E": float(known["count_fano"][0])},
    }
    bounds = {"J": (0.05, 0.5), "g": (4.5, 9.0), "rate": (3.0, 20.0)}
    found = fit_circuit(network, targets, bounds, starts=2, dt=0.1, window=100.0)
    for name, value in TRUTH.items():
        assert found.values[name] == pytest.approx(value, rel=1e-3)
        assert 0 < found.errors[name] < 0.1 * value
    np.testing.assert_allclose(found.predicted, [target.value for target in found.targets], rtol=1e-4)
    assert found.cost < 1e-3
    text = repr(found)
    assert "J = 0.2 ±" in text
    assert "pair_covariance[E, E]" in text


def test_parameters_of_a_circuit_by_name_and_errors_by_the_curvature(known):
    """One parameter and one target: the error is that of the target over the slope, by a difference."""
    rate = float(known["rate"][0])
    found = fit_circuit(
        network(rate=6.0), {"rate": {"E": (rate, 0.3), "I": (rate, 0.3)}}, ["rate E", "rate I"], starts=1, dt=0.1
    )
    assert found.values["rate E"] == pytest.approx(9.0, rel=1e-3)
    up, down = (
        predict(network_with(1 + step), resolution="population", dt=0.1)["rate"].values for step in (1e-3, -1e-3)
    )
    other = [
        predict(network_with(1, 1 + step), resolution="population", dt=0.1)["rate"].values for step in (1e-3, -1e-3)
    ]
    slopes = np.stack([up - down, other[0] - other[1]], axis=1) / (2e-3 * 9.0)
    expected = 0.3 * np.sqrt(np.diag(np.linalg.inv(slopes.T @ slopes)))
    np.testing.assert_allclose([found.errors["rate E"], found.errors["rate I"]], expected, rtol=0.02)


def network_with(excitatory, inhibitory=1.0):
    drives = [
        PoissonDrive("E", rate=9.0 * excitatory, weight=0.2),
        PoissonDrive("I", rate=9.0 * inhibitory, weight=0.2),
    ]
    return network().with_parts(drives=drives)


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")  # of continuous time
def test_datasets_are_targets_and_what_they_do_not_tell_has_no_error(known):
    targets = known[["rate"]].assign(rate_se=("population", [0.2, 0.2]))
    found = fit_circuit(network(rate=8.0), targets, {"rate E": (5.0, 15.0), "delay I->E": (1.0, 3.0)}, starts=1)
    assert np.isnan(found.errors["delay I->E"])  # rates do not depend on delays
    assert np.isfinite(found.errors["rate E"])
    assert [str(target) for target in found.targets] == ["rate[E]", "rate[I]"]


@pytest.mark.slow
def test_spikes_check_the_fit(known):
    rate = float(known["rate"][0])
    found = fit_circuit(network(rate=8.0), {"rate": {"E": rate, "I": rate}}, ["rate E", "rate I"], starts=1, dt=0.1)
    checked = found.check(1000.0, trials=2)
    assert list(checked["target_name"].values) == ["rate[E]", "rate[I]"]
    # The theory is within 5 % of spikes in this circuit (docs/closures.md).
    np.testing.assert_allclose(checked["simulated"], checked["target"], rtol=0.05)
    assert (checked["simulated_se"] > 0).all()


def test_errors_that_targets_share_are_errors_of_parameters(known):
    """Both populations have one rate in theory: the fit is a weighted mean, of whose errors both parts go together."""
    rate, rng = float(known["rate"][0]), np.random.default_rng(0)
    covariance = np.array([[0.04, 0.07], [0.07, 0.25]])
    moved = rng.standard_normal((400, 2)) @ np.linalg.cholesky(covariance).T / 20
    exact = moved.T @ moved
    targets = xr.Dataset(
        {
            "rate": ("population", rate + np.array([0.2, 0.8])),
            "rate_se": ("population", np.sqrt(np.diag(exact))),
            "rate_blocks": (("block", "population"), moved),
        },
        coords={"population": ["E", "I"]},
    )
    bounds = {"rate": (8.0, 10.0)}
    shared, alone = (
        fit_circuit(network, given, bounds, starts=1, dt=0.1, window=100.0)
        for given in (targets, targets.drop_vars("rate_blocks"))
    )
    assert shared.values == alone.values
    weight = 1 / np.diag(exact) / (1 / np.diag(exact)).sum()
    independent = np.sqrt(weight**2 @ np.diag(exact))
    expected = np.sqrt(weight @ exact @ weight) / independent
    assert expected > 1.15
    assert shared.errors["rate"] / alone.errors["rate"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.LinearResponseWarning")  # of the fit by theory
@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")
def test_parameters_of_spikes_are_recovered_by_corrections():
    """J, g and the drive of a circuit of which the theory has Fano factors 60 % too large; other connectivity."""
    truth = {"J": 0.4, "g": 5.0, "rate": 3.0}
    data = simulate(replace(network(**truth), seed=7), 10_000, trials=4, warmup=500, seed=7, record=Counts(bin=100.0))
    measured = spike_targets(data, 100.0).sel(population=["E"], population_j=["E"])
    names = ("rate", "count_fano", "pair_covariance")
    targets = measured[[f"{name}{end}" for name in names for end in ("", "_se", "_blocks")]]
    bounds = {"J": (0.2, 0.7), "g": (4.2, 9.0), "rate": (1.5, 6.0)}
    theory = fit_circuit(network, targets, bounds, starts=1, dt=0.1, window=100.0)
    found = theory.corrected(5_000, seed=1)
    assert abs(theory.values["J"] / truth["J"] - 1) > 0.1
    for name, value in truth.items():
        assert abs(found.values[name] - value) <= 0.05 * value + 3 * found.errors[name]
    assert found.rounds.sizes["round"] >= 2
    np.testing.assert_allclose(found.rounds["value"].values[0], list(theory.values.values()))
    np.testing.assert_allclose(found.predicted, [target.value for target in found.targets], rtol=0.05)


@pytest.fixture(scope="module")
def by_two_drives(known):
    rate = float(known["rate"][0])
    targets = {"rate": {"E": (rate, 0.3), "I": (rate, 0.3)}}
    return fit_circuit(network(rate=6.0), targets, {"rate E": (7.0, 9.2), "rate I": (5.0, 20.0)}, starts=1, dt=0.1)


def test_samples_have_the_errors_of_the_fit_within_bounds(by_two_drives):
    drawn = by_two_drives.samples(4000, seed=1)
    assert set(drawn) == {"rate E", "rate I"}
    assert max(drawn["rate E"]) <= 9.2
    error = by_two_drives.errors["rate I"]
    # The bound of the other drive cuts half of the draws, which are correlated: broader than nothing, within the error.
    assert 0.5 * error < drawn["rate I"].std() < 1.1 * error
    np.testing.assert_array_equal(drawn["rate I"], by_two_drives.samples(4000, seed=1)["rate I"])


@pytest.mark.filterwarnings("ignore::mnnbio.theory.validity.FiniteWeightWarning")  # of continuous time
def test_what_has_no_samples_and_no_corrections(known, by_two_drives):
    rate = float(known["rate"][0])
    targets = {"rate": {"E": (rate, 0.2), "I": (rate, 0.2)}}
    found = fit_circuit(network(rate=8.0), targets, {"rate E": (5.0, 15.0), "delay I->E": (1.0, 3.0)}, starts=1)
    with pytest.raises(ValueError, match="the targets do not tell delay I->E: fix them, or give more targets"):
        found.samples(10)
    mean = float(known["mean_input"][0])
    found = fit_circuit(network(rate=8.0), {"mean_input": {"E": mean}}, {"rate E": (5.0, 15.0)}, starts=1, dt=0.1)
    with pytest.raises(ValueError, match="the target 'mean_input' is not taken from spikes; those are: count_cov"):
        found.corrected(1000)
    with pytest.raises(ValueError, match="`rounds` must be"):
        by_two_drives.corrected(1000, rounds=0)


@pytest.mark.parametrize(
    ("targets", "free", "message"),
    [
        ({"rate": {"E": 5.0}}, ["rate E", "rate I"], "2 parameters cannot be told from 1 targets"),
        ({"rate": {"X": 5.0}}, ["rate E"], r"`targets` has 'rate' of 'X', the populations are \['E', 'I'\]"),
        ({"speed": {"E": 5.0}}, ["rate E"], "`targets` has 'speed', predictions of populations have"),
        ({"rate": {("E", "I"): 5.0}}, ["rate E"], "`targets` has 'rate' of .* it is over"),
        ({"rate": {"E": np.nan}}, ["rate E"], "must be finite with an error > 0, got nan"),
        (
            {"rate": {"E": 5.0}},
            ["weight E->X"],
            r"`free` has 'weight E->X', which names 0 parts. There are, .*'weight E->E'",
        ),
        ({"rate": {"E": 5.0}}, ["colour E"], "`free` has 'colour E', which names 0 parts"),
        ({"rate": {"E": 5.0}}, {"rate E": (9.0, 3.0)}, "the bounds of 'rate E' must be two numbers, the lower first"),
        ({"rate": {"E": 5.0}}, [], "`free` must name a parameter at least"),
        ({}, ["rate E"], "`targets` must have a number at least"),
    ],
)
def test_what_cannot_be_fitted(targets, free, message):
    with pytest.raises(ValueError, match=message):
        fit_circuit(network(), targets, free, starts=1, dt=0.1)


def test_functions_need_bounds():
    with pytest.raises(ValueError, match="`free` needs bounds for the arguments of a function"):
        fit_circuit(network, {"rate": {"E": 5.0}}, ["J"])
    with pytest.raises(ValueError, match="'delay I->E' is a whole number of time steps and cannot be fitted"):
        fit_circuit(network(), {"rate": {"E": 5.0}}, ["delay I->E"], dt=0.1)
    with pytest.raises(ValueError, match="`targets` must have a number at least"):
        fit_circuit(network, xr.Dataset(), {"J": (0.1, 0.3)})
