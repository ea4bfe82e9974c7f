"""Figures: what is drawn where, and that nothing global changes."""

import matplotlib
import numpy as np
import pytest
import synthetic
import xarray as xr

import mnnbio.analyses as plots
from mnnbio.analyses.alignment import FewSamplesWarning
from mnnbio.analyses.circuit_text import stored_readout
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.decisions import accuracy_against_time
from mnnbio.analyses.figure_style import DOUBLE_COLUMN, PALETTE, colours, render, save_figure
from mnnbio.results import spike_trains


@pytest.fixture(scope="module")
def made():
    return synthetic.make(
        {"hidden": 12, "output": 6}, stimuli=25, trials=20, duration=0.1, outputs=3, shared=4.0, seed=1
    )


@pytest.fixture(scope="module")
def compared(made):
    with pytest.warns(FewSamplesWarning):
        return compare(made.prediction, made.simulation, labels=made.labels, permutations=99)


def offsets(axes) -> np.ndarray:
    """Return the points of all error bars of some axes."""
    return np.concatenate([np.column_stack(c.lines[0].get_data()) for c in axes.containers])


def test_rates_are_drawn_where_they_are(compared):
    left, right = plots.plot_rates(compared)
    truth = np.column_stack([compared["rate_pooled_predicted"], compared["rate_pooled_simulated"]])
    np.testing.assert_allclose(offsets(left), truth)
    np.testing.assert_allclose(offsets(right)[:, 1], truth[:, 1] - truth[:, 0])
    segments = np.concatenate([s for c in right.containers for s in c.lines[2][0].get_segments()])
    np.testing.assert_allclose(np.ptp(segments[:, 1].reshape(-1, 2), axis=1), 2 * compared["rate_pooled_se"])
    assert left.get_xlabel() == "Predicted rate (Hz)"
    assert left.get_xlim() == left.get_ylim()
    assert [text.get_text() for text in left.get_legend().texts] == ["hidden", "output"]


def test_single_stimulus_needs_no_pooling():
    s = synthetic.make({"a": 4}, trials=10, seed=2)
    c = compare(s.prediction, s.simulation, permutations=9)
    left, _ = plots.plot_rates(c)
    np.testing.assert_allclose(offsets(left)[:, 0], s.prediction["rate"])
    assert left.get_legend() is None
    assert len(plots.plot_count_statistics(c)) == 2


def test_enough_samples_show_every_stimulus():
    s = synthetic.make({"a": 4}, stimuli=3, trials=10, seed=2)
    c = compare(s.prediction, s.simulation, permutations=9)
    left, _ = plots.plot_rates(c)
    np.testing.assert_allclose(offsets(left)[:, 1], c["rate_simulated"].to_numpy().ravel())
    _, right = plots.plot_count_statistics(c)
    np.testing.assert_allclose(offsets(right)[:, 1], c["count_fano_simulated"].to_numpy().ravel())


def test_count_statistics_name_the_window(compared):
    left, right = plots.plot_count_statistics(compared)
    assert left.get_ylabel() == "Simulated count variance in 100 ms"
    np.testing.assert_allclose(offsets(right)[:, 1], compared["count_fano_pooled_simulated"])


def test_covariance_matrices_share_their_colours_and_hide_the_diagonal(compared):
    a, b, scatter = plots.plot_covariance(compared)
    first, second = a.images[0], b.images[0]
    assert first.get_clim() == second.get_clim()
    assert first.get_clim()[0] == -first.get_clim()[1]
    assert np.isnan(np.diag(np.ma.filled(second.get_array(), np.nan))).all()
    assert len(scatter.lines[1].get_xdata()) == 18 * 17 / 2


def test_z_histogram_loses_nobody(compared):
    far = compared.copy(deep=True)
    far["rate_pooled_z"][0] = 50.0
    axes = plots.plot_z(far)[0]
    heights = np.array([patch.get_height() * patch.get_width() for patch in axes.patches])
    assert heights.sum() == pytest.approx(1)
    assert any("1 beyond ±4.5" in text.get_text() for text in axes.texts)


def test_accuracy_has_chance_and_the_moment_network(made):
    curve = accuracy_against_time(made.simulation, stored_readout(made.simulation), made.labels, [20.0, 50.0, 100.0])
    axes = plots.plot_accuracy(curve, moment_accuracy=0.9)
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [20, 50, 100])
    levels = [line.get_ydata()[0] for line in axes.lines[1:]]
    np.testing.assert_allclose(levels, [1 / 3, 0.9])


def test_raster_shows_the_spikes_of_one_trial(made):
    figure = plots.plot_raster(made.simulation, stimuli=2, trial=1).figure
    spikes = made.simulation["spikes"]
    drawn = sum(len(line.get_xdata()) for line in figure.axes[0].lines)
    trains = spike_trains(spikes.to_dataset(), stimulus=0, trial=1)
    assert drawn == sum(int((train >= -0.05).sum()) for train in trains)  # half as much warm-up as recording
    edges_and_rates = [patch.get_data() for patch in figure.axes[2].patches if hasattr(patch, "get_data")]
    rate = np.mean([data.values[data.edges[:-1] >= 0].mean() for data in edges_and_rates])
    mine = spikes["population"].to_numpy() == "hidden"
    both = [made.prediction["rate"].to_numpy()[0][m].mean() for m in (mine, ~mine)]
    assert rate == pytest.approx(np.mean(both), rel=0.15)


def test_a_long_raster_is_in_seconds_and_thinned():
    s = synthetic.make({"a": 30}, trials=2, duration=3.0, seed=3)
    top, bottom = plots.plot_raster(s.simulation, neurons=10, duration=5000.0)
    assert bottom.get_xlabel() == "Time after warm-up (s)"
    assert set(np.unique(np.concatenate([line.get_ydata() for line in top.lines]))) <= set(range(10))
    assert [tick.get_text() for tick in top.get_yticklabels()] == ["1", "30"]
    top, bottom = plots.plot_raster(s.simulation)
    assert bottom.get_xlabel() == "Time after warm-up (ms)"
    assert top.get_xlim() == (-200, 600)


def test_training_curves():
    epoch = {"epoch": np.arange(1, 5)}
    values = {"train_loss": ("epoch", [1.0, 0.5, 0.2, 0.1]), "validation_accuracy": ("epoch", [0.5, 0.8, 0.9, 0.95])}
    loss, accuracy = plots.plot_training(xr.Dataset(values, coords=epoch, attrs={"best_epoch": 3}))
    assert loss.get_ylabel() == "Loss"
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [0.5, 0.8, 0.9, 0.95])
    assert loss.lines[0].get_xdata() == [3, 3]
    assert [text.get_text() for text in loss.get_legend().texts] == ["training"]
    with pytest.raises(ValueError, match="no loss or score among the training variables speed"):
        plots.plot_training(xr.Dataset({"speed": ("epoch", [1.0])}))


def test_drawing_leaves_matplotlib_alone(compared):
    before = dict(matplotlib.rcParams)
    figure = plots.plot_rates(compared).figure
    assert dict(matplotlib.rcParams) == before
    assert figure.get_size_inches()[0] == pytest.approx(0.8 * DOUBLE_COLUMN / 25.4)


def test_files_are_reproducible(compared, tmp_path):
    paths = save_figure(plots.plot_z(compared), tmp_path / "z", ("svg", "png"))
    assert paths["png"].read_bytes()[:4] == b"\x89PNG"
    again = save_figure(plots.plot_z(compared), tmp_path / "again", ("svg",))
    assert paths["svg"].read_bytes() == again["svg"].read_bytes()
    assert render(plots.plot_z(compared).figure, "pdf").startswith(b"%PDF")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.svg", "z.png", "z.svg"]


def test_colours_follow_the_circuit():
    assert colours(["b", "a"]) == {"b": PALETTE[0], "a": PALETTE[1]}
    assert len(colours([str(k) for k in range(9)])) == 9
