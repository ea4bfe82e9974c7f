"""Figures draw in axes that are given, choose time, populations and colours, and return the axes."""

import numpy as np
import pytest
import synthetic
import xarray as xr
from brian2 import ms, second
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mnnbio import analyses as a
from mnnbio.analyses.figure_style import PALETTE, Panels, plain_log, save_figure
from mnnbio.results import counts, example_inputs


class Things:
    """Results that are made once."""

    def __init__(self) -> None:
        self.many = synthetic.make({"E": 6, "I": 4}, stimuli=3, trials=10, duration=0.4, outputs=3, shared=3.0, seed=1)
        self.made = synthetic.make({"E": 12, "I": 6}, trials=8, duration=1.0, shared=3.0, seed=2)
        self.comparison = a.compare(self.made.prediction, self.made.simulation, permutations=9)
        self.decided = a.compare(self.many.prediction, self.many.simulation, labels=self.many.labels, permutations=9)
        self.rates = a.population_rates(self.made.simulation, 2)
        self.spectra = a.population_spectra(self.rates)
        self.currents = a.current_balance(self.made.simulation["simulation"].to_dataset(), self.made.circuit)
        self.curve = a.accuracy_against_time(
            self.many.simulation, a.stored_readout(self.many.simulation), self.many.labels, [50, 100, 400]
        )
        self.diagram = xr.Dataset(
            {side: (("nu", "g"), np.arange(6.0).reshape(2, 3) + 1) for side in ("predicted", "simulated")},
            coords={"nu": [1.0, 2.0], "g": [3.0, 4.5, 6.0]},
        )
        self.training = xr.Dataset({"loss": ("epoch", [0.9, 0.6, 0.55])}, coords={"epoch": [1, 2, 3]})


@pytest.fixture(scope="module")
def t() -> Things:
    return Things()


# Each figure of results `t` with options, and its number of panels.
DRAW = {
    "training": (lambda t, **o: a.plot_training(t.training, **o), 1),
    "raster": (lambda t, **o: a.plot_raster(t.made.simulation, **o), 2),
    "raster of stimuli": (lambda t, **o: a.plot_raster(t.many.simulation, **o), 6),
    "psth": (lambda t, **o: a.plot_psth(t.made.simulation, **o), 1),
    "rates": (lambda t, **o: a.plot_rates(t.comparison, **o), 2),
    "count_statistics": (lambda t, **o: a.plot_count_statistics(t.comparison, **o), 2),
    "covariance": (lambda t, **o: a.plot_covariance(t.comparison, **o), 3),
    "z": (lambda t, **o: a.plot_z(t.comparison, **o), 2),
    "z_quantiles": (lambda t, **o: a.plot_z_quantiles(t.comparison, **o), 2),
    "accuracy": (lambda t, **o: a.plot_accuracy(t.curve, **o), 1),
    "confusion": (lambda t, **o: a.plot_confusion(t.decided, **o), 2),
    "population_rates": (lambda t, **o: a.plot_population_rates(t.rates, **o), 2),
    "stimuli": (
        lambda t, **o: a.plot_stimuli(t.many.simulation["simulation"].to_dataset(), t.many.prediction, **o),
        1,
    ),
    "spectra": (lambda t, **o: a.plot_spectra(t.spectra, t.spectra[["power"]], **o), 2),
    "intervals": (lambda t, **o: a.plot_intervals(a.spike_statistics(t.made.simulation), **o), 2),
    "currents": (lambda t, **o: a.plot_currents(t.currents, **o), 2),
    "response": (lambda t, **o: a.plot_response(a.step_response(t.rates, 500), **o), 1),
    "phase_diagram": (lambda t, **o: a.plot_phase_diagram(t.diagram, "g", "nu", **o), 3),
    "inputs": (lambda t, **o: a.plot_inputs(example_inputs(np.ones((3, 4)))["input"], **o), 3),
}
ONE_PANEL = {"psth", "accuracy", "stimuli", "response"}
OF_POPULATIONS = sorted({*DRAW} - {"training", "accuracy", "confusion", "phase_diagram", "inputs"})
COLOURED = sorted({*OF_POPULATIONS} - {"covariance", "z"})


def axes_of(drawn: Axes | Panels) -> list[Axes]:
    return [drawn] if isinstance(drawn, Axes) else list(drawn)


@pytest.mark.parametrize("name", DRAW)
def test_figures_are_drawn_in_the_axes_given(t, name):
    draw, number = DRAW[name]
    own = draw(t)
    assert isinstance(own, Axes if name in ONE_PANEL else Panels)
    assert len(axes_of(own)) == number
    figure = Figure(figsize=(12, 6))
    given = list(np.ravel(figure.subplots(1, number)))
    drawn = axes_of(draw(t, ax=given[0] if number == 1 else given))
    assert drawn == given
    assert all(axes.has_data() for axes in given)
    figure.draw_without_rendering()


@pytest.mark.parametrize("name", DRAW)
def test_given_axes_keep_their_style(t, name):
    draw, number = DRAW[name]
    figure = Figure()
    axes = np.ravel(figure.subplots(1, number))[0]
    size = axes.xaxis.label.get_size()
    draw(t, ax=list(figure.axes[:number]) if number > 1 else axes)
    assert axes.xaxis.label.get_size() == size
    if not name.startswith(("confusion", "inputs", "raster of")):
        assert axes.get_title(loc="left") == ""  # no letter


@pytest.mark.parametrize("name", OF_POPULATIONS)
def test_populations_are_chosen(t, name):
    axes = axes_of(DRAW[name][0](t, populations="I"))
    texts = [text.get_text() for one in axes for text in one.texts]
    legends = [text.get_text() for one in axes if one.get_legend() for text in one.get_legend().texts]
    labels = [one.get_ylabel() for one in axes]
    assert "E" not in {*texts, *legends}
    assert "E (Hz)" not in labels


@pytest.mark.parametrize("name", COLOURED)
def test_colours_are_chosen_and_stay_with_their_population(t, name):
    def used(**options) -> set[str]:
        drawn = axes_of(DRAW[name][0](t, **options))
        artists = [artist for axes in drawn for artist in (*axes.lines, *axes.patches)]
        found = {to_hex(artist.get_color()) for artist in artists if hasattr(artist, "get_color")}
        return (
            found
            | {to_hex(artist.get_edgecolor()) for artist in artists if hasattr(artist, "get_edgecolor")}
            | {to_hex(artist.get_facecolor()) for artist in artists if hasattr(artist, "get_facecolor")}
        )

    only = used(populations=["I"])
    assert to_hex(PALETTE[1]) in only  # as in a figure of all
    assert to_hex(PALETTE[0]) not in only
    own = used(colors={"I": "#123456"})
    assert {"#123456", to_hex(PALETTE[0])} <= own
    assert to_hex(PALETTE[1]) not in own
    assert {"#111111", "#abcdef"} <= used(colors=["#111111", "#abcdef"])


# Time.


def test_a_raster_shows_the_time_asked_for(t):
    spikes, bottom = a.plot_raster(t.made.simulation, start=300, duration=0.2 * second)
    assert spikes.get_xlim() == bottom.get_xlim() == (300, 500)
    drawn = sum(len(line.get_xdata()) for line in spikes.lines)
    expected = counts(t.made.simulation["spikes"].to_dataset(), start=300, stop=500).isel(trial=0).sum()
    assert drawn == int(expected)
    alone = a.plot_raster(t.made.simulation, start=300, duration=200, ax=Figure().subplots())
    assert len(alone) == 1


def test_population_rates_show_the_time_asked_for(t):
    first, _ = a.plot_population_rates(t.rates, start=200 * ms, duration=100)
    assert first.get_xlim() == pytest.approx((200, 300))
    (steps,) = first.patches
    expected = t.rates.isel(trial=0).sel(population="E", time=slice(0.2, 0.3))
    np.testing.assert_allclose(steps.get_data().values, expected)


def test_a_histogram_is_the_mean_over_trials(t):
    axes = a.plot_psth(t.made.simulation, 20 * ms, start=-100, duration=500, populations=["I", "E"])
    rates = a.population_rates(t.made.simulation, 20, start=-100, stop=400)
    for patch, name in zip(axes.patches[:2], ("I", "E"), strict=True):
        data = patch.get_data()
        np.testing.assert_allclose(data.values, rates.sel(population=name).mean("trial"))
        np.testing.assert_allclose(data.edges, np.arange(-100, 401, 20), atol=1e-9)
    (one, _) = axes.collections
    spread = rates.sel(population="I").std("trial", ddof=1) / np.sqrt(8)
    heights = one.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(float((rates.sel(population="I").mean("trial") + spread).max()))
    assert axes.get_xlabel() == "Time after warm-up (ms)"


def test_a_histogram_of_stored_counts(t):
    table = a.binned_counts(t.made.simulation, 5)
    stored = xr.Dataset({"count": table.assign_coords(time=table["time"] - 0.0025)}, attrs={"duration": 1.0})
    ours, theirs = (a.plot_psth(source, 20).patches[0].get_data() for source in (stored, t.made.simulation))
    np.testing.assert_allclose(ours.values, theirs.values)


def test_rates_below_a_raster_are_of_whole_steps(t):
    _, bottom = a.plot_raster(t.made.simulation)
    width = np.diff(bottom.patches[0].get_data().edges)
    np.testing.assert_allclose(width / 0.1, np.rint(width / 0.1), atol=1e-6)


# Axes.


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.4, 0.97, ["0.6"]), (0.02, 30.0, ["0.1", "1", "10"]), (2.0, 600.0, ["10", "100"]), (0.61, 0.68, [])],
)
def test_logarithmic_axes_have_plain_numbers(low, high, expected):
    axes = Figure().subplots()
    axes.set(yscale="log", ylim=(low, high))
    plain_log(axes.yaxis)
    axes.figure.draw_without_rendering()
    shown = [
        label.get_text()
        for label, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True)
        if low <= at <= high
    ]
    assert set(expected) <= set(shown)
    assert len(shown) >= 1
    assert all(text.replace(".", "").isdigit() for text in shown)
    assert all(label.get_text() == "" for label in axes.get_yticklabels(minor=True))


def test_losses_and_spectra_have_plain_axes(t):
    for axes in (*a.plot_training(t.training), *a.plot_spectra(t.spectra)):
        axes.get_figure().draw_without_rendering()
        for label in (*axes.get_xticklabels(), *axes.get_yticklabels(), *axes.get_yticklabels(minor=True)):
            assert "10^" not in label.get_text()
            assert "times" not in label.get_text()


def test_panels_show_themselves_and_are_saved(t, tmp_path):
    panels = a.plot_rates(t.comparison)
    assert panels._repr_png_().startswith(b"\x89PNG")
    assert panels.figure is panels[0].get_figure()
    for name, drawn in (("several", panels), ("one", a.plot_psth(t.made.simulation)), ("figure", panels.figure)):
        assert save_figure(drawn, tmp_path / name, ("png",))["png"].is_file()


# Decisions and inputs.


def test_a_confusion_matrix_counts_decisions():
    decisions = xr.Dataset(
        {
            "true_class": ("stimulus", [0, 0, 1, 2]),
            "moment_decision": ("stimulus", [0, 1, 1, 2]),
            "spiking_decision": (("stimulus", "trial"), [[0, 0], [0, 2], [1, 1], [0, 1]]),
        }
    )
    moment, spiking = a.plot_confusion(decisions, names=["a", "b", "c"])
    np.testing.assert_allclose(moment.images[0].get_array(), [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(spiking.images[0].get_array(), [[0.75, 0, 0.25], [0, 1, 0], [0.5, 0.5, 0]])
    assert "75.0" in moment.get_title()
    assert "62.5" in spiking.get_title()
    assert [label.get_text() for label in moment.get_yticklabels()] == ["a", "b", "c"]
    with pytest.raises(ValueError, match="`names` must name every output, got 2 names"):
        a.plot_confusion(decisions, names=["a", "b"])


def test_many_classes_are_colours_only():
    n = 40
    decided = {name: ("stimulus", np.arange(n)) for name in ("true_class", "moment_decision")}
    decided["spiking_decision"] = (("stimulus", "trial"), np.arange(n)[:, None])
    moment, _ = a.plot_confusion(xr.Dataset(decided))
    assert not moment.texts
    assert len(moment.get_xticks()) <= 6


def test_inputs_are_images_or_bars():
    pixels = np.arange(48.0).reshape(4, 12)
    images = example_inputs(pixels, targets=["a", "b", "c", "d"], image_shape=(3, 4), number=3)
    assert images["input"].dims == ("example", "row", "column")
    drawn = a.plot_inputs(images["input"], titles=images["target"].to_numpy())
    assert [axes.get_title() for axes in drawn] == ["a", "b", "c"]
    np.testing.assert_array_equal(drawn[1].images[0].get_array(), pixels[1].reshape(3, 4))
    table = example_inputs(pixels[:, :2], feature_names=["width", "height"])
    bars = a.plot_inputs(table["input"], number=2)
    assert len(bars) == 2
    assert [label.get_text() for label in bars[0].get_yticklabels()] == ["width", "height"]
    np.testing.assert_array_equal([patch.get_width() for patch in bars[1].patches], pixels[1, :2])
    assert "feature" not in example_inputs(pixels, feature_names=["too few"]).coords


# A figure or analysis of a user's own is a function of the same results.


def peak_rate(result: xr.DataTree) -> xr.DataArray:
    """Return the highest rate of each population: there is nothing to register."""
    return a.population_rates(result, 20).mean("trial").max("time")


def test_an_analysis_of_a_users_own_is_a_function(t):
    found = peak_rate(t.made.simulation)
    assert found.dims == ("population",)
    assert (found > 0).all()
