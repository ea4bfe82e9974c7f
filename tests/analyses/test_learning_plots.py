"""Figures of learning: what they draw, read back from their axes."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mnnbio.analyses import (
    avalanches,
    chance_match,
    fit_power_law,
    plot_avalanches,
    plot_learning_history,
    plot_spike_match,
    plot_weight_recovery,
    weight_recovery,
)
from mnnbio.analyses.learning_plots import EXTRA, MATCHED, MISSING
from mnnbio.results import neuron_coords, ragged

OWN, TARGET = [[10.0, 50.0, 90.0], [20.0], []], [[12.0, 91.0], [100.0, 200.0], [5.0]]


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ticks(axes):
    """Return (time, neuron) of the ticks of each colour."""
    found = {}
    for one in axes.collections:
        if isinstance(one, LineCollection) and len(one.get_segments()):
            colour = to_hex(one.get_colors()[0])
            found.setdefault(colour, []).extend((s[0, 0], round(s[:, 1].mean())) for s in one.get_segments())
    return {colour: sorted(places) for colour, places in found.items()}


def test_matched_missing_and_extra_spikes_are_told_apart():
    axes = plot_spike_match(OWN, TARGET, 4.0)
    found = ticks(axes)
    assert found[to_hex(MATCHED)] == [(10.0, 0), (12.0, 0), (90.0, 0), (91.0, 0)]
    assert found[to_hex(MISSING)] == [(5.0, 2), (100.0, 1), (200.0, 1)]
    assert found[to_hex(EXTRA)] == [(20.0, 1), (50.0, 0)]
    assert labels(axes) == ["matched (2)", "missing (3)", "extra (2)"]
    assert "F = 0.44 within ±4 ms" in axes.get_title("left")
    # Place tells them apart where colour does not: targets are above.
    heights = {to_hex(one.get_colors()[0]): one.get_segments()[0][:, 1].mean() % 1 for one in axes.collections}
    assert heights[to_hex(MISSING)] < 0.5 < heights[to_hex(EXTRA)]


def test_a_part_of_neurons_and_time_is_drawn_of_one_trial():
    spikes = ragged(
        [0.01, 0.02, 0.3, 0.04],
        [[1, 1], [1, 1]],
        ("trial", "neuron"),
        {**neuron_coords({"e": 2}), "trial": ("trial", [0, 1])},
        duration=0.5,
    )
    axes = plot_spike_match(spikes, spikes, run=1, neurons=1, duration=400)
    assert ticks(axes) == {to_hex(MATCHED): [(300.0, 0)] * 2}
    assert axes.get_xlim() == (0, 400)
    assert plot_spike_match(spikes, spikes).get_xlim() == (0, 500)
    with pytest.raises(ValueError, match="`run` must be an integer ≥ 0 and ≤ 1"):
        plot_spike_match(spikes, spikes, run=2)
    with pytest.raises(ValueError, match="time drawn must be > 0 ms"):
        plot_spike_match(spikes, spikes, start=600)
    with pytest.raises(ValueError, match="a match needs spikes"):
        plot_spike_match([[], []], [[], []])


def history(passes=200, rise=0.5):
    k = np.arange(passes)
    score = 0.3 + rise * (1 - np.exp(-k / 50))
    score[1::2] = np.nan
    return xr.Dataset({name: ("pass", score) for name in ("F", "precision", "recall")}, coords={"pass": k})


def test_history_has_scores_and_levels():
    chance = chance_match(TARGET, TARGET, n=10, duration=300)
    axes = plot_learning_history(history(), chance=chance, naive=0.3, ceiling=0.95, smooth=1)
    assert labels(axes) == ["F", "precision", "recall", "chance", "naive", "ceiling"]
    lines = {line.get_label(): line for line in axes.get_lines()}
    scored = history()["F"][::2]
    np.testing.assert_allclose(lines["F"].get_xydata(), np.stack([scored["pass"], scored], axis=1))
    assert lines["chance"].get_ydata()[0] == float(chance.f_score)
    assert lines["ceiling"].get_ydata()[0] == 0.95
    smoothed = plot_learning_history(history(), smooth=5).get_lines()[1]
    np.testing.assert_allclose(smoothed.get_ydata()[0], scored[:5].mean())
    assert smoothed.get_xdata()[0] == scored["pass"][2]
    several = plot_learning_history({"plain": history(), "first": history(50)}, chance=0.1)
    assert labels(several) == ["plain", "first", "chance"]


def test_histories_without_scores_are_refused():
    with pytest.raises(ValueError, match="must have `F` over `pass`"):
        plot_learning_history(history()[["precision"]])
    with pytest.raises(ValueError, match="scored at least once"):
        plot_learning_history(history() * np.nan)
    with pytest.raises(ValueError, match="mapping is empty"):
        plot_learning_history({})
    with pytest.raises(TypeError, match="`history` must be a dataset"):
        plot_learning_history([history()])
    with pytest.raises(ValueError, match="`smooth` must be an integer ≥ 1"):
        plot_learning_history(history(), smooth=0)


def test_weights_are_drawn_by_sign_with_their_correlation():
    rng = np.random.default_rng(1)
    true = rng.uniform(0.1, 1, (30, 30)) * np.where(np.arange(30) < 20, 1, -1)
    true[:3] = 0
    learned = true + rng.normal(0, 0.2, true.shape)
    learned[4, 5] = np.nan
    axes = plot_weight_recovery(learned, true, points=10_000)
    r = weight_recovery(learned, true).correlation
    assert labels(axes) == [
        f"excitatory, r = {float(r.sel(sign='excitatory')):.2f}",
        f"inhibitory, r = {float(r.sel(sign='inhibitory')):.2f}",
        "absent",
    ]
    drawn = np.concatenate([line.get_xydata() for line in axes.get_lines()[:3]])
    known = np.isfinite(learned)
    expected = np.stack([true[known], learned[known]], axis=1)
    np.testing.assert_allclose(drawn[np.lexsort(drawn.T)], expected[np.lexsort(expected.T)])
    with pytest.raises(ValueError, match="needs learned weights that are known"):
        plot_weight_recovery(np.full((2, 2), np.nan), np.ones((2, 2)))
    few = plot_weight_recovery(learned, true, points=50, autapses=False)
    assert sum(len(line.get_xdata()) for line in few.get_lines()[:3]) <= 50


def test_avalanches_are_drawn_with_their_exponents():
    rng = np.random.default_rng(4)
    x = np.arange(1, 500)
    p = x**-1.5 / (x**-1.5).sum()
    activity = np.zeros(6001)
    activity[1::2] = rng.choice(x, 3000, p=p)
    found = avalanches(activity, percentile=None)
    panels = plot_avalanches(found)
    law = fit_power_law(found["size"])
    reach = float(law.exponent_high - law.exponent)
    assert labels(panels[0]) == [f"α = {float(law.exponent):.2f} ± {reach:.2f}"]
    assert panels[1].get_legend() is None  # durations are all 1: no law
    points = next(line for line in panels[0].get_lines() if line.get_marker() == "o").get_xydata()
    assert points[0, 0] == 1
    assert points[0, 1] == pytest.approx((found["size"] == 1).mean())
    ordinary = points[points[:, 0] < 50]  # enough counts
    np.testing.assert_allclose(ordinary[:, 1], ordinary[:, 0] ** -1.5 / (x**-1.5).sum(), rtol=0.35)
    both = plot_avalanches({"a": found, "b": found}, fitted=False)
    assert labels(both[0]) == ["a", "b"]


def test_activity_without_avalanches_is_refused():
    with pytest.raises(ValueError, match="the activity of 'a' has no avalanches: no spikes"):
        plot_avalanches({"a": avalanches(np.zeros(9))})
    with pytest.raises(ValueError, match="mapping is empty"):
        plot_avalanches({})
    with pytest.raises(TypeError, match="`found` must be a dataset, or a mapping of names to datasets, got 3"):
        plot_avalanches(3)


def test_figures_draw_in_axes_that_are_given():
    first, second = Figure().subplots(1, 2)
    assert plot_spike_match(OWN, TARGET, ax=first) is first
    assert plot_learning_history(history(), ax=first) is first
    assert plot_weight_recovery(np.eye(3), np.eye(3), ax=second) is second
    activity = avalanches([0, 1, 0, 2, 3, 0, 4, 0], percentile=None)
    assert tuple(plot_avalanches(activity, ax=[first, second])) == (first, second)
