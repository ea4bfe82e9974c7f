"""Figures of models of tables: what they draw, read back from their axes."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn import metrics

from mnnbio.analyses import (
    model_table,
    plot_calibration,
    plot_confusions,
    plot_precision_recall,
    plot_residuals,
    plot_roc,
    plot_scores,
    plot_unit_states,
    unit_states,
)


def classes(n_classes, n=240, models=("spiking network", "twin", "gradient boosting"), seed=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(n_classes, size=n)
    answers = {}
    for k, name in enumerate(models):
        logits = rng.normal(size=(n, n_classes)) + (0.8 + 0.5 * k) * np.eye(n_classes)[truth]
        answers[name] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = ["setosa", "versicolor", "virginica", "other"][:n_classes] if n_classes <= 4 else None
    return model_table(truth, answers, labels)


def values(n=150, seed=4):
    rng = np.random.default_rng(seed)
    true = rng.normal(150, 70, size=n)
    answers = {"spiking network": true + rng.normal(0, 40, n), "twin": true + rng.normal(0, 50, n)}
    return model_table(true, answers, kind="regression")


def states(n=12, steps=40):
    rng = np.random.default_rng(1)
    v = np.cumsum(rng.normal(0.05, 0.2, size=(steps, 3, n)), axis=0)
    spikes = (v > 1).astype(float)
    owner = ["hidden_1"] * 8 + ["hidden_2"] * (n - 8)
    return unit_states(np.where(v > 1, 0.0, v), spikes, 2.0, owner, ["a", "b", "a"])


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


@pytest.mark.parametrize("n_classes", [2, 3, 6])
def test_roc_has_a_panel_for_each_class_or_one(n_classes):
    table = classes(n_classes)
    panels = plot_roc(table)
    assert len(panels) == {2: 1, 3: 3, 6: 1}[n_classes]
    drawn = [points for name, points in lines(panels[0]).items() if name.startswith("twin")]
    truth, score = table["true_class"].values, table["probability"].sel(model="twin").values
    if n_classes == 6:
        positive, score = np.eye(6)[truth].ravel(), score.ravel()
    else:
        k = 1 if n_classes == 2 else 0
        positive, score = truth == k, score[:, k]
    x, y, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(drawn[0], np.stack([x, y], axis=1))
    assert f"{metrics.roc_auc_score(positive, score):.3f}" in next(n for n in lines(panels[0]) if n.startswith("twin"))


def test_precision_and_recall_are_drawn_with_prevalence():
    table = classes(2)
    (axes,) = plot_precision_recall(table)
    level = next(y for points in lines(axes).values() for y in points[:1, 1] if len(points) == 2)
    assert level == pytest.approx((table["true_class"] == 1).mean().item())
    assert len(axes.get_legend().get_texts()) == 3


@pytest.mark.parametrize("n_classes", [2, 3])
def test_calibration_counts_every_stimulus(n_classes):
    left, right = plot_calibration(classes(n_classes), bins=5)
    for steps in right.patches:
        assert steps.get_data().values.sum() == 240
    assert ("versicolor" in left.get_xlabel()) == (n_classes == 2)


def test_confusions_write_numbers_and_shares():
    table = classes(3)
    panels = plot_confusions(table)
    assert len(panels) == 3
    counts = metrics.confusion_matrix(table["true_class"], table["decision"].sel(model="twin"))
    written = {text.get_position(): text.get_text() for text in panels[1].texts}
    assert written[(0, 0)] == f"{100 * counts[0, 0] / counts[0].sum():.0f}%\n{counts[0, 0]}"
    assert "right" in panels[1].get_title()


def test_residuals_are_predicted_less_true():
    table = values()
    panels = plot_residuals(table)
    points = panels[2].get_lines()[1].get_xydata()
    np.testing.assert_allclose(points[:, 1], table["predicted"][0] - table["true_value"])


def test_scores_have_their_intervals():
    table = classes(3)
    axes = plot_scores(table)
    bars = [bar.get_segments()[0][:, 0] for bar in axes.collections]
    np.testing.assert_allclose([np.ptp(bar) for bar in bars], 2 * 1.96 * table["accuracy_se"], rtol=1e-6)


def test_states_have_a_column_for_each_stimulus():
    panels = plot_unit_states(states())
    assert len(panels) == 6
    shown = states()
    np.testing.assert_allclose(panels[1].get_images()[0].get_array(), shown["v"][1].T)
    np.testing.assert_allclose(panels[4].get_images()[0].get_array(), shown["output"][1].T)
    assert panels[0].get_title(loc="center") == "stimulus 1: a"


def test_figures_can_be_drawn_in_axes_that_are_given():
    axes = Figure().subplots(1, 3).tolist()
    assert plot_roc(classes(3), ax=axes)[0] is axes[0]
    assert plot_confusions(classes(3), ax=axes)[2] is axes[2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot_roc(values()), "of models that predict classes"),
        (lambda: plot_residuals(classes(2)), "of models that predict values"),
        (lambda: plot_roc(values().drop_dims("model")), "expected models side by side"),
        (lambda: plot_unit_states(values()), "there is no `v`"),
        (lambda: plot_unit_states(states(), stimuli=0), "`stimuli` must be ≥ 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
