"""Figures of networks trained on a task: they draw in axes that are given, as all others do."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from mnnbio.analyses import task_plots

TIME = np.linspace(0, 0.5, 6)


@pytest.fixture
def conditions():
    values = np.random.default_rng(0).normal(size=(2, 2, 6))
    dims = ("condition", "mode", "time")
    data = {"mode_activity": (dims, values), "mode_activity_std": (dims, np.abs(values))}
    return xr.Dataset(data, coords={"condition": ["left", "right"], "time": TIME})


def axes_of(number):
    return list(np.ravel(Figure().subplots(1, number, squeeze=False)))


def test_fitting_draws_losses_and_measures():
    data = {"loss": ("step", np.linspace(2, 1, 20)), "mse": ("evaluated", [2.0, 1.0])}
    training = xr.Dataset(data, coords={"step": np.arange(20), "evaluated": [10, 20]})
    given = axes_of(2)
    assert list(task_plots.plot_fitting(training, ax=given)) == given
    np.testing.assert_allclose(given[1].lines[0].get_ydata(), [2, 1])
    assert given[0].get_yscale() == "log"
    with pytest.raises(ValueError, match="`ax` must be 2 axes"):
        task_plots.plot_fitting(training, ax=axes_of(1))


def test_scores_in_time_have_bands():
    score = xr.Dataset(
        {"score": ("time", TIME), "score_se": ("time", TIME / 10)}, coords={"time": TIME}, attrs={"measure": "accuracy"}
    )
    (given,) = axes_of(1)
    assert task_plots.plot_score_in_time(score, score, ax=given) is given
    assert len(given.lines) == len(given.collections) == 2
    assert given.get_ylim() == (0, 1)


def test_conditions_and_trajectories_have_a_line_for_each(conditions):
    given = axes_of(2)
    assert list(task_plots.plot_conditions(conditions, "mode_activity", ax=given)) == given
    assert [len(axes.lines) for axes in given] == [2, 2]
    (one,) = axes_of(1)
    assert list(task_plots.plot_trajectories(conditions, ax=one)) == [one]
    np.testing.assert_allclose(one.lines[0].get_xdata(), conditions["mode_activity"][0, 0])


def test_confusions_are_percent_of_a_row():
    test = xr.Dataset({"target": ("trial", [0, 0, 1, 1]), "decision": ("trial", [0, 1, 1, 1])})
    (given,) = axes_of(1)
    assert task_plots.plot_class_confusion(test, ax=given) is given
    np.testing.assert_allclose(given.images[0].get_array(), [[50, 50], [0, 100]])
