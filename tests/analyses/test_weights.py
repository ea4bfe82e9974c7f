"""Figures of weights: what is drawn is what the result holds, and input that is refused."""

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from mnnbio.analyses import plot_weights, report

N = 400


def group(course=True, stimuli=0, source="in", target="E", seed=0):
    """Return a group of weights: half of them grow to 0.2 nS, the others shrink to nothing."""
    rng = np.random.default_rng(seed)
    lead = (stimuli, 2) if stimuli else (2,)
    dims = ["stimulus", "trial"] if stimuli else ["trial"]
    start = rng.uniform(0, 0.2, (*lead, 1, N))
    goal = np.where(np.arange(N) < N // 2, 0.2, 0.0)
    growth = np.linspace(0, 1, 11)[:, None]
    values = start * (1 - growth) + goal * growth
    attrs = {"units": "nS", "long_name": "weight"}
    data = {"weight": ([*dims, "synapse"], values[..., -1, :], attrs)}
    coords = {}
    if course:
        data["weight_course"] = ([*dims, "time", "synapse"], values, attrs)
        coords["time"] = ("time", np.linspace(0, 5, 11))
    return xr.Dataset(data, coords, {"source": source, "target": target, "projection": 0, "shape": [1, N]})


def tree(**groups):
    return xr.DataTree.from_dict({f"weights/{name}": own for name, own in groups.items()})


def test_weights_are_drawn_at_start_and_end_and_in_time():
    own = group()
    first, second = plot_weights(tree(in_to_E=own), bins=20)
    start, end = own["weight_course"].values[:, 0].ravel(), own["weight"].values.ravel()
    drawn = {patch.get_label(): patch.get_data() for patch in first.patches if not patch.get_label().startswith("_")}
    for when, values in (("start", start), ("end", end)):
        counts, edges, _ = drawn[when]
        np.testing.assert_allclose(edges, np.linspace(0.0, 0.2, 21))
        np.testing.assert_allclose(counts, 100 * np.histogram(values, edges)[0] / (2 * N))
        assert counts.sum() == pytest.approx(100)
    assert first.get_xlabel() == "Weight (nS)"
    assert first.get_ylabel() == "Synapses (%)"
    assert second.get_xlabel() == "Time after warm-up (s)"
    assert second.get_ylabel() == "Weight (nS)"
    (line,) = second.lines
    np.testing.assert_allclose(line.get_ydata(), own["weight_course"].mean(["trial", "synapse"]))
    np.testing.assert_allclose(line.get_xdata(), np.linspace(0, 5, 11))
    plt.close("all")


def test_one_stimulus_one_trial_and_weights_at_the_end_alone():
    own = group(stimuli=3)
    first, second = plot_weights(tree(in_to_E=own), ("in", "E"), stimulus=2, trial=1)
    np.testing.assert_allclose(second.lines[0].get_ydata(), own["weight_course"].values[2, 1].mean(axis=-1))
    (only,) = plot_weights(tree(in_to_E=group(course=False)))
    assert only.get_legend() is None
    assert not only.get_title(loc="left")  # a lone panel has no letter
    assert first.get_title(loc="left") == "a"
    plot_weights(tree(in_to_E=group() * 0 + 3.0).assign({}))  # all of one value
    plt.close("all")


def test_bad_input_of_weights_raises():
    both = tree(in_to_E=group(), in_to_E_1=group(), E_to_E=group(source="E"))
    for text, result, options in (
        ("no projection is 'E_to_I': give `projection` as one of 'in_to_E', 'in_to_E_1', 'E_to_E'", both,
         {"projection": "E_to_I"}),
        ("3 projections are there: give `projection` as one of", both, {}),
        (r"2 projections are \('in', 'E'\): give `projection` as one of 'in_to_E', 'in_to_E_1'", both,
         {"projection": ("in", "E")}),
        ("the result has no weights: simulate projections with a `plasticity`", xr.DataTree(), {}),
        ("`trial` must be from 0 to 1, got 2", tree(in_to_E=group()), {"trial": 2}),
        ("`stimulus` must be from 0 to 0, got 1", tree(in_to_E=group()), {"stimulus": 1}),
        ("`bins` must be an integer ≥ 1", tree(in_to_E=group()), {"bins": 0}),
        ("`ax` must be 2 axes", tree(in_to_E=group()), {"ax": plt.figure().subplots()}),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            plot_weights(result, **options)
    with pytest.raises(TypeError, match="must be what `simulate` returns, a DataTree, got Dataset"):
        plot_weights(group())
    plt.close("all")


def test_reports_show_weights_that_change(tmp_path):
    groups = {f"weights/p{k}": group(source=f"s{k}", course=k > 0) for k in range(6)}
    page = report(xr.DataTree.from_dict(groups), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Weights of s0 → E" in page
    assert "Weights at the end of all trials." in page
    assert "a, weights at the start of the recording and at the end of all trials. b, their mean" in page
    assert "One of 6 plastic projections, of which 4 are shown." in page
    assert "s4" not in page
    assert (tmp_path / "figures" / "weights_p1.png").is_file()
    plt.close("all")
