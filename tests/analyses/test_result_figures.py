"""Figures of one side, of stimuli and of sweeps: what is drawn where, by structure; and pages of sweeps."""

import matplotlib
import numpy as np
import pytest
import synthetic
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mnnbio import analyses
from mnnbio.analyses import compare
from mnnbio.analyses.figure_style import SINGLE_COLUMN
from mnnbio.analyses.sweep_page import is_sweep, plot_parameter, sweep_page
from mnnbio.results import label_stimuli

PLACE = np.array([-30.0, -10.0, 10.0, 30.0])


@pytest.fixture(scope="module")
def made():
    preferred = np.linspace(-30, 30, 8)
    rates = 6 + 24 * np.exp(-((PLACE[:, None] - preferred) ** 2) / 800)
    return synthetic.make({"E": 5, "I": 3}, stimuli=4, trials=25, duration=0.5, shared=4.0, rates=rates, seed=1)


@pytest.fixture(scope="module")
def sides(made):
    return made.prediction.assign_coords(stimulus=PLACE), label_stimuli(made.simulation, PLACE)


@pytest.fixture(scope="module")
def compared(sides):
    return compare(*sides, permutations=9)


def test_covariances_are_ordered_by_population(compared, sides):
    # Neurons in another order than that of populations.
    mixed = np.array([5, 0, 6, 1, 2, 7, 3, 4])
    panels = analyses.plot_covariance_matrices(compared.to_dataset().isel(neuron=mixed, neuron_j=mixed))
    matrices = [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in panels]
    owner = compared["population"].to_numpy()[mixed]
    order = mixed[np.concatenate([np.flatnonzero(owner == name) for name in ("I", "E")])]
    for matrix, side in zip(matrices, ("predicted", "simulated"), strict=False):
        expected = compared[f"count_covariance_{side}"].to_numpy()[np.ix_(order, order)]
        off = ~np.eye(8, dtype=bool)
        np.testing.assert_allclose(matrix[off], expected[off])
        assert np.isnan(np.diag(matrix)).all()
    np.testing.assert_allclose(matrices[2], matrices[1] - matrices[0])
    assert [axes.get_title() for axes in panels] == ["Predicted", "Simulated", "Simulated − predicted"]
    assert len({axes.images[0].get_clim() for axes in panels}) == 1
    assert [len(axes.lines) for axes in panels] == [2, 2, 2]  # between the two populations
    assert panels[0].lines[0].get_ydata()[0] == 2.5
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["I", "E"]


def test_covariances_of_one_side_and_correlations(sides):
    prediction, simulation = sides
    (axes,) = analyses.plot_covariance_matrices(simulation, correlation=True)
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    mean = simulation["simulation/count_covariance"].mean("stimulus").to_numpy()
    expected = mean / np.sqrt(np.outer(np.diag(mean), np.diag(mean)))
    np.testing.assert_allclose(shown[0, 1:], expected[0, 1:])
    assert axes.get_title() == "Simulated"
    (axes,) = analyses.plot_covariance_matrices(prediction, populations="I")
    assert axes.images[0].get_array().shape == (3, 3)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3"]
    assert axes.figure.get_size_inches()[0] == pytest.approx(SINGLE_COLUMN / 25.4)


def test_large_matrices_are_averaged_over_neighbours():
    number = 1300
    values = np.add.outer(np.arange(number), np.arange(number)).astype(float)
    data = xr.Dataset(
        {"count_covariance": (("neuron", "neuron_j"), values, {"units": "1"})}, attrs={"window": 0.1, "n_samples": 5}
    )
    (axes,) = analyses.plot_covariance_matrices(data)
    shown = axes.images[0].get_array()
    assert shown.shape == (434, 434)
    assert shown[10, 20] == np.mean(values[30:33, 60:63])
    assert axes.get_xlim() == (-0.5, number - 0.5)


def test_rates_are_distributions(sides):
    prediction, simulation = sides
    tree = simulation.copy()
    tree["prediction"] = prediction
    axes = analyses.plot_rate_distribution(tree)
    solid = [line for line in axes.lines if line.get_linestyle() == "-"]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(solid) == len(dashed) == 2
    rates = np.sort(simulation["simulation/rate"].isel(neuron=slice(0, 5)).to_numpy().ravel())
    np.testing.assert_array_equal(solid[0].get_xdata()[1:], rates)
    np.testing.assert_allclose(solid[0].get_ydata(), np.arange(21) / 20)
    assert [text.get_text() for text in axes.get_legend().texts] == ["E", "I", "predicted"]
    alone = analyses.plot_rate_distribution(prediction, populations=["I"])
    assert [line.get_linestyle() for line in alone.lines] == ["-"]
    with pytest.raises(ValueError, match="no rates of neurons"):
        analyses.plot_rate_distribution(xr.Dataset({"rate": ("population", [1.0])}))


def test_tuning_curves_stand_beside_each_other(sides):
    prediction, simulation = sides
    axes = analyses.plot_tuning_curves(prediction, simulation, neurons=[0, 6])
    lines = [line for line in axes.lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(lines[0].get_ydata(), prediction["rate"].isel(neuron=0))
    np.testing.assert_allclose(lines[0].get_xdata(), PLACE)
    points = axes.containers[1].lines[0]
    np.testing.assert_allclose(points.get_ydata(), simulation["simulation/rate"].isel(neuron=6))
    assert points.get_color() == lines[1].get_color()
    assert [text.get_text() for text in axes.get_legend().texts] == ["E 0", "I 1"]
    most = analyses.plot_tuning_curves(prediction, neurons=4)
    preferred = [PLACE[np.argmax(line.get_ydata())] for line in most.lines]
    assert sorted(preferred) == PLACE.tolist()  # one of each before two of one
    named = analyses.plot_tuning_curves(simulation=label_stimuli(simulation, list("abcd")))
    assert [text.get_text() for text in named.get_xticklabels()] == list("abcd")


def test_discriminability_has_intervals(sides):
    predicted, simulated = (analyses.discriminability(side) for side in sides)
    axes = analyses.plot_discriminability(predicted, simulated)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), predicted["d_prime"])
    (bars,) = axes.containers
    segments = np.array(bars.lines[2][0].get_segments())
    np.testing.assert_allclose(segments[:, 0, 1], simulated["d_prime_low"])
    np.testing.assert_allclose(segments[:, 1, 1], simulated["d_prime_high"])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["−30|−10", "−10|10", "10|30"]
    assert len(analyses.plot_discriminability(predicted).containers) == 0
    with pytest.raises(ValueError, match="3 pairs are predicted, 6 simulated"):
        analyses.plot_discriminability(predicted, analyses.discriminability(sides[1], pairs="all"))
    with pytest.raises(ValueError, match="must be what `discriminability` returns"):
        analyses.plot_discriminability(sides[0])


def test_decoders_are_bars_with_errors(sides):
    decoding = analyses.compare_decoding(*sides)
    left, right = analyses.plot_decoding(decoding)
    points = left.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xdata(), decoding["accuracy_predicted"])
    np.testing.assert_allclose(points.get_ydata(), decoding["accuracy_spikes"])
    heights = [patch.get_height() for patch in right.patches]
    np.testing.assert_allclose(heights, [decoding[f"mean_accuracy_{k}"] for k in ("predicted", "spikes", "fitted")])
    chance = next(line for line in right.lines if line.get_linestyle() == ":")
    assert chance.get_ydata()[0] == 0.25
    with pytest.raises(ValueError, match="expected what `compare_decoding` returns"):
        analyses.plot_decoding(sides[0])


def test_courses_have_a_line_for_each_label():
    time = np.linspace(0, 1, 5)
    data = xr.Dataset(
        {
            "rate": (("population", "time"), np.arange(10.0).reshape(2, 5), {"units": "Hz", "long_name": "rate, mean"}),
            "rate_se": (("population", "time"), np.ones((2, 5))),
            "total": ("time", time),
            "pairs": (("time", "population", "population_j"), np.ones((5, 2, 2))),
        },
        coords={"time": time, "population": ["E", "I"]},
    )
    panels = analyses.plot_courses(data)
    assert [axes.get_ylabel() for axes in panels] == ["Rate (Hz)", "Total"]
    np.testing.assert_array_equal(panels[0].lines[1].get_ydata(), np.arange(5.0, 10))
    assert panels[0].get_xlabel() == "Time (s)"
    with pytest.raises(ValueError, match="no quantity over time or frequency"):
        analyses.plot_courses(data[["pairs"]])


@pytest.mark.parametrize("name", ["tuning_curves", "discriminability", "decoding", "covariance_matrices"])
def test_axes_that_are_given_are_drawn_in(sides, compared, name):
    predicted = analyses.discriminability(sides[0])
    data = {
        "tuning_curves": lambda: sides[0],
        "discriminability": lambda: predicted,
        "decoding": lambda: analyses.compare_decoding(*sides),
        "covariance_matrices": lambda: compared,
    }[name]()
    number = {"decoding": 2, "covariance_matrices": 3}.get(name, 1)
    given = list(Figure().subplots(1, 3, squeeze=False).ravel())[:number]
    before = dict(matplotlib.rcParams)
    drawn = getattr(analyses, f"plot_{name}")(data, ax=given if number > 1 else given[0])
    assert (list(drawn) if number > 1 else [drawn]) == given
    assert dict(matplotlib.rcParams) == before


def test_bad_input_says_what_to_do(sides):
    with pytest.raises(ValueError, match="give a `prediction` or a `simulation`"):
        analyses.plot_tuning_curves()
    with pytest.raises(ValueError, match="`neurons` names 11, there are 0 to 7"):
        analyses.plot_tuning_curves(sides[0], neurons=[11])
    with pytest.raises(ValueError, match="`neurons` must be ≥ 1"):
        analyses.plot_tuning_curves(sides[0], neurons=0)
    with pytest.raises(ValueError, match=r"there are no covariances to draw .*prediction: rate"):
        analyses.plot_covariance_matrices(sides[0][["rate"]])
    with pytest.raises(ValueError, match="needs two neurons or more, got 1"):
        analyses.plot_covariance_matrices(sides[0].isel(neuron=[0], neuron_j=[0]))
    with pytest.raises(ValueError, match="names 'X', there are E, I"):
        analyses.plot_covariance_matrices(sides[0], populations="X")
    with pytest.raises(TypeError, match="expected a result"):
        analyses.plot_covariance_matrices(3)


def swept(shape, dims, *, compared=True):
    """Return a tree as `open_sweep` returns it, of two populations."""
    rng = np.random.default_rng(0)
    coords = {dim: np.linspace(1, 2, n) for dim, n in zip(dims, shape, strict=True)}
    rate = rng.uniform(5, 20, (*shape, 2))
    status = np.full(shape, "done", dtype=object)
    status[(-1,) * len(shape)] = "failed"
    groups = {
        "/": xr.Dataset({"status": (dims, status)}, coords=coords, attrs={"sweep": "token"}),
        "/simulation": xr.Dataset({"rate": ((*dims, "population"), rate)}, coords={**coords, "population": ["E", "I"]}),
        "/prediction": xr.Dataset(
            {"rate": ((*dims, "population"), rate * 1.1)}, coords={**coords, "population": ["E", "I"]}
        ),
    }
    if compared:
        p = np.full(shape, 0.5)
        p[(0,) * len(shape)] = 1e-5
        groups["/comparison"] = xr.Dataset(
            {"rate_p": (dims, p), "rate_median_relative_error": (dims, p / 10)}, coords=coords
        )
    return xr.DataTree.from_dict(groups)


def test_a_sweep_is_a_table_and_a_curve():
    tree = swept((3,), ("g",))
    assert is_sweep(tree)
    page = sweep_page(tree, title="Mine")
    assert page.verdict == [
        "At 2 of 3 points the differences of rates are no larger than chance allows; median relative errors are "
        "0.00010\N{NO-BREAK SPACE}% to 5.0\N{NO-BREAK SPACE}%."
    ]
    assert page.findings[0][1] == "2 of 3 are done; 1 failed."
    (table,) = page.lists
    assert table.head[:3] == ["g", "status", "E, simulated (Hz)"]
    assert [row[0] for row in table.rows] == ["1", "1.5", "2"]
    assert [item.key for item in page.illustrations] == ["sweep"]
    axes = plot_parameter(tree["simulation/rate"], tree["prediction/rate"], "g")
    assert isinstance(axes, Axes)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), tree["prediction/rate"].sel(population="E"))
    with pytest.raises(ValueError, match="give `simulated` or `predicted`"):
        plot_parameter(None, None, "g")


def test_a_sweep_of_two_parameters_is_a_diagram_for_each_population():
    page = sweep_page(swept((2, 3), ("g", "nu"), compared=False))
    assert [item.key for item in page.illustrations] == ["sweep_E", "sweep_I"]
    assert "Nothing is compared" in page.verdict[0]
    assert len(page.lists[0].rows) == 6


def test_a_sweep_of_words_is_a_table_alone():
    tree = swept((2,), ("kind",)).map_over_datasets(lambda data: data.assign_coords(kind=["a", "b"]))
    page = sweep_page(tree)
    assert page.illustrations == []
    assert [row[0] for row in page.lists[0].rows] == ["a", "b"]
