"""Scores of models of tables, against scikit-learn, brute force and closed forms."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

from mnnbio.analyses import (
    calibration_curve,
    class_scores,
    confusion_matrix,
    model_table,
    precision_recall_curve,
    regression_scores,
    roc_curve,
    unit_states,
)

RNG = np.random.default_rng(5)
TRUTH = RNG.integers(3, size=200)
LOGITS = RNG.normal(size=(200, 3)) + 1.5 * np.eye(3)[TRUTH]
PROBABILITY = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
# Scores with many ties.
TIED = np.round(PROBABILITY, 1)


def test_confusion_counts_what_scikit_learn_counts():
    decision = PROBABILITY.argmax(axis=1)
    found = confusion_matrix(TRUTH, decision, ["a", "b", "c"])
    np.testing.assert_array_equal(found, metrics.confusion_matrix(TRUTH, decision))
    assert found.sel(true_class="b", decision="c") == np.sum((TRUTH == 1) & (decision == 2))


def test_class_scores_equal_scikit_learns():
    decision = PROBABILITY.argmax(axis=1)
    found = class_scores(confusion_matrix(TRUTH, decision))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(TRUTH, decision)
    for name, expected in (("precision", precision), ("recall", recall), ("f1", f1), ("stimuli", support)):
        np.testing.assert_allclose(found[name], expected, rtol=1e-14)
    accuracy = metrics.accuracy_score(TRUTH, decision)
    assert float(found["accuracy"]) == pytest.approx(accuracy, rel=1e-14)
    assert float(found["balanced_accuracy"]) == pytest.approx(metrics.balanced_accuracy_score(TRUTH, decision))
    assert float(found["accuracy_se"]) == pytest.approx(np.std(decision == TRUTH, ddof=1) / np.sqrt(200))
    assert float(found["chance"]) == np.bincount(TRUTH).max() / 200


def test_scores_of_a_class_that_never_occurs_are_not_defined():
    found = class_scores(confusion_matrix([0, 0, 1], [0, 1, 1], ["a", "b", "c"]))
    assert np.isnan(found["recall"].sel(output="c"))
    assert np.isnan(found["precision"].sel(output="c"))
    assert float(found["balanced_accuracy"]) == 0.75


@pytest.mark.parametrize("scores", [PROBABILITY, TIED], ids=["distinct", "tied"])
def test_roc_equals_scikit_learns(scores):
    curve = roc_curve(TRUTH, scores)
    for k in range(3):
        one = curve.isel(output=k)
        points = set(zip(one["false_positive_rate"].values, one["true_positive_rate"].values, strict=True))
        expected = metrics.roc_curve(k == TRUTH, scores[:, k], drop_intermediate=False)
        assert points == set(zip(*expected[:2], strict=True))
        assert float(one["area"]) == pytest.approx(metrics.roc_auc_score(k == TRUTH, scores[:, k]), abs=1e-12)


def test_area_and_its_error_by_brute_force():
    """DeLong's components: of each sample, the share of the others that it is right about."""
    positive, negative = TIED[TRUTH == 0, 0], TIED[TRUTH != 0, 0]
    psi = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    m, n = psi.shape
    error = np.sqrt(psi.mean(axis=1).var(ddof=1) / m + psi.mean(axis=0).var(ddof=1) / n)
    found = roc_curve(TRUTH, TIED).isel(output=0)
    assert float(found["area"]) == pytest.approx(psi.mean(), rel=1e-12)
    assert float(found["area_se"]) == pytest.approx(error, rel=1e-12)


@pytest.mark.parametrize("scores", [PROBABILITY, TIED], ids=["distinct", "tied"])
def test_precision_and_recall_equal_scikit_learns(scores):
    curve = precision_recall_curve(TRUTH, scores)
    for k in range(3):
        one = curve.isel(output=k)
        expected = metrics.average_precision_score(k == TRUTH, scores[:, k])
        assert float(one["average_precision"]) == pytest.approx(expected, abs=1e-12)
        precision, recall, _ = metrics.precision_recall_curve(k == TRUTH, scores[:, k])
        points = {(round(r, 12), round(p, 12)) for r, p in zip(recall, precision, strict=True)}
        mine = zip(one["recall"].values, one["precision"].values, strict=True)
        assert {(round(r, 12), round(p, 12)) for r, p in mine} == points
    np.testing.assert_allclose(curve["prevalence"], np.bincount(TRUTH) / 200)


def test_scores_of_one_dimension_are_those_of_the_second_class():
    truth = (TRUTH == 1).astype(int)
    curve = roc_curve(truth, LOGITS[:, 1])
    expected = metrics.roc_auc_score(truth, LOGITS[:, 1])
    np.testing.assert_allclose(curve["area"], [expected, expected], rtol=1e-12)


def test_calibration_by_brute_force():
    curve = calibration_curve(TRUTH, PROBABILITY, bins=5)
    for k, b in itertools.product(range(3), range(5)):
        inside = (PROBABILITY[:, k] >= b / 5) & (PROBABILITY[:, k] < (b + 1) / 5)
        one = curve.isel(output=k, bin=b)
        assert int(one["stimuli"]) == inside.sum()
        if not inside.any():
            assert np.isnan(one["observed_low"])
            continue
        assert float(one["predicted"]) == pytest.approx(PROBABILITY[inside, k].mean())
        assert float(one["observed"]) == pytest.approx((TRUTH[inside] == k).mean())
        # The ends of Wilson's interval are the shares from which the observed one lies 1.96 standard errors away.
        for end in (one["observed_low"], one["observed_high"]):
            distance = float((one["observed"] - end) ** 2 * inside.sum())
            assert distance == pytest.approx(1.959963984540054**2 * float(end * (1 - end)), abs=1e-9)
    gaps = np.abs(curve["observed"] - curve["predicted"]) * curve["stimuli"]
    np.testing.assert_allclose(curve["calibration_error"], gaps.sum("bin") / 200)
    assert float(curve["brier"]) == pytest.approx(np.square(PROBABILITY - np.eye(3)[TRUTH]).sum(axis=1).mean())


def test_calibration_of_decisions_enters_every_stimulus_once():
    curve = calibration_curve(TRUTH, PROBABILITY)
    assert int(curve["decision_stimuli"].sum()) == 200
    right = float((curve["decision_observed"] * curve["decision_stimuli"]).sum()) / 200
    assert right == pytest.approx((PROBABILITY.argmax(axis=1) == TRUTH).mean())


def test_probabilities_of_zero_and_one_have_their_bins():
    curve = calibration_curve([0, 1], [0.0, 1.0], bins=4)
    np.testing.assert_array_equal(curve["stimuli"].sel(output=1), [1, 0, 0, 1])
    assert float(curve["calibration_error"].sel(output=1)) == 0


def test_regression_scores_equal_scikit_learns():
    true = RNG.normal(5, 2, size=300)
    guess = true + RNG.normal(size=300)
    found = regression_scores(true, guess)
    assert float(found["r2"]) == pytest.approx(metrics.r2_score(true, guess))
    assert float(found["rmse"]) == pytest.approx(metrics.root_mean_squared_error(true, guess))
    assert float(found["mean_absolute_error"]) == pytest.approx(metrics.mean_absolute_error(true, guess))
    percentage = metrics.mean_absolute_percentage_error(true, guess)
    assert float(found["mean_absolute_percentage_error"]) == pytest.approx(percentage)
    assert float(found["pearson_r"]) == pytest.approx(np.corrcoef(true, guess)[0, 1])
    np.testing.assert_allclose(found["residual"], guess - true)


def test_error_of_r2_is_its_spread_over_samples():
    """Gaussian values of variance 4 and errors of variance 1: R² spreads by √(2/16 + 2/16)/√n."""
    rng = np.random.default_rng(2)
    true = rng.normal(5, 2, size=(500, 400))
    scored = [regression_scores(row, row + rng.normal(size=400)) for row in true]
    found = np.mean([float(one["r2_se"]) for one in scored])
    assert found == pytest.approx(0.5 / np.sqrt(400), rel=0.03)
    assert np.std([float(one["r2"]) for one in scored]) == pytest.approx(found, rel=0.13)  # 4/√(2·500)


def test_scores_of_constant_values_are_not_defined():
    found = regression_scores([2.0, 2.0, 2.0], [1.0, 2.0, 3.0])
    assert np.isnan(found["r2"])
    assert np.isnan(found["r2_se"])
    assert np.isnan(found["pearson_r"])


def test_models_side_by_side_are_paired_by_stimulus():
    other = PROBABILITY[:, [1, 0, 2]]
    table = model_table(TRUTH, {"mine": PROBABILITY, "swapped": other}, ["a", "b", "c"])
    right = [(p.argmax(axis=1) == TRUTH).astype(float) for p in (PROBABILITY, other)]
    np.testing.assert_allclose(table["accuracy"], [r.mean() for r in right])
    assert float(table["difference"].sel(model="swapped")) == pytest.approx((right[1] - right[0]).mean())
    se = np.std(right[1] - right[0], ddof=1) / np.sqrt(200)
    assert float(table["difference_se"].sel(model="swapped")) == pytest.approx(se)
    assert float(table["log_loss"].sel(model="mine")) == pytest.approx(metrics.log_loss(TRUTH, PROBABILITY))
    area = metrics.roc_auc_score(TRUTH, PROBABILITY, multi_class="ovr")
    assert float(table["area"].sel(model="mine")) == pytest.approx(area)
    assert table["output"].values.tolist() == ["a", "b", "c"]


def test_regressions_side_by_side():
    true = RNG.normal(size=50)
    answers = {"exact": true, "none": np.zeros(50)}
    table = model_table(true, answers, kind="regression")
    np.testing.assert_allclose(table["r2"], [metrics.r2_score(true, answer) for answer in answers.values()])
    assert float(table["difference"].sel(model="none")) == pytest.approx(metrics.r2_score(true, np.zeros(50)) - 1)


def test_states_of_units_are_labelled():
    states = unit_states(np.zeros((4, 2, 3)), np.ones((4, 2, 3)), 2.0, targets=["a", "b"])
    np.testing.assert_allclose(states["time"], [0.002, 0.004, 0.006, 0.008])
    assert states["v"].dims == ("stimulus", "time", "neuron")
    assert states["population"].values.tolist() == ["hidden"] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_matrix([0, 1], [0]), "`decision` must be as many as `truth`, 2, got 1"),
        (lambda: confusion_matrix([0.5, 1], [0, 1]), "`truth` must be positions of classes"),
        (lambda: confusion_matrix([0, 2], [0, 1], ["a", "b"]), "`labels` must name all 3 classes, got 2"),
        (lambda: roc_curve([0, 1], np.ones((2, 1))), "`scores` must have shape"),
        (lambda: roc_curve([0, 3], np.ones((2, 2))), "`truth` has the class 3, `scores` have 2 outputs only"),
        (lambda: roc_curve([0, 1], [0.1, np.nan]), "`scores` must be finite"),
        (lambda: calibration_curve([0, 1], [0.1, 1.2]), r"`probabilities` must be in \[0, 1\]"),
        (lambda: calibration_curve([0, 1], np.full((2, 2), 0.4)), "must add up to 1, got 0.8"),
        (lambda: calibration_curve([0, 1], [0.1, 0.2], bins=0), "`bins`"),
        (lambda: regression_scores([1.0, np.inf], [1.0, 1.0]), "`truth` must be finite"),
        (lambda: regression_scores([1.0, 2.0], [1.0]), "`predicted` must be as many"),
        (lambda: model_table([0, 1], {}), "at least one model"),
        (lambda: model_table([0, 1], {"a": [0.1, 0.2], "b": np.full((2, 4), 0.25)}), "one number of outputs"),
        (lambda: model_table([0, 1], {"a": [0, 1]}, kind="ranking"), "`kind` must be"),
        (lambda: unit_states(np.zeros((2, 3)), np.zeros((2, 3)), 1.0), "must have one shape"),
        (lambda: unit_states(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), 1.0, ["a"]), "`populations` must name"),
    ],
)  # fmt: skip
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
