"""The dynamics of a simulated circuit as one tree, its figures, its report, and phase diagrams of sweeps."""

import numpy as np
import pytest
import synthetic
import xarray as xr

from mnnbio.analyses import current_correlation, dynamics, report
from mnnbio.analyses import dynamics_plots as plots
from mnnbio.analyses.dynamics import state_sentence
from mnnbio.analyses.html_report import circuit_tables, dynamics_illustrations
from mnnbio.analyses.responses import phase_diagram
from mnnbio.circuit import Circuit, FixedIndegree, GaussianDrive, Population, Projection
from mnnbio.neurons import LIFParameters
from mnnbio.spikes import simulate
from mnnbio.values import Steps


def recurrent() -> Circuit:
    return Circuit(
        populations=[Population("E", 12, LIFParameters()), Population("I", 8, LIFParameters())],
        projections=[
            Projection("E", "I", weight=0.1, connectivity=FixedIndegree(5)),
            Projection("I", "E", weight=-0.4, connectivity=FixedIndegree(4)),
        ],
        drives=[GaussianDrive("E", mean=1.1, std=0.5)],
    )


@pytest.fixture(scope="module")
def measured() -> xr.DataTree:
    made = synthetic.make({"E": 12, "I": 8}, trials=4, seed=3)
    tree = made.simulation.assign({"prediction": xr.DataTree(made.prediction)})
    return tree.assign({"dynamics": dynamics(tree, recurrent())})


@pytest.fixture(scope="module")
def several() -> xr.DataTree:
    made = synthetic.make({"E": 12, "I": 8}, stimuli=2, trials=3, duration=1.0, seed=4)
    tree = made.simulation.assign({"prediction": xr.DataTree(made.prediction)})
    return tree.assign({"dynamics": dynamics(tree, recurrent())})


def test_dynamics_measure_everything(measured):
    assert set(measured["dynamics"].children) == {"rates", "spectra", "synchrony", "intervals", "state", "currents"}
    assert str(measured["dynamics/state/state"].item()) == "asynchronous irregular"
    assert "currents" not in dynamics(measured).children


def test_dynamics_of_inputs_that_change_in_time():
    mean = Steps([0.0, 50.0], [1.0, 1.5])
    circuit = Circuit([Population("E", 20, LIFParameters())], drives=[GaussianDrive("E", mean=mean, std=0.5)])
    result = simulate(circuit, 300, trials=2, seed=1, codegen="runtime")
    found = dynamics(result, circuit)
    assert set(found.children) == {*dynamics(result).children, "currents"}
    np.testing.assert_allclose(found["currents/excitation"], 1e3 * (50 * 1.0 + 250 * 1.5) / 300)
    assert current_correlation(result, circuit)["correlation"].isnull().all()  # nothing is recurrent


def test_a_sentence_names_the_state(measured, several):
    text = state_sentence(measured["dynamics"])
    assert text.startswith("The network is asynchronous irregular (")
    assert "CV of intervals 0.9" in text or "CV of intervals 1.0" in text
    assert "oscillates" not in text
    assert state_sentence(several["dynamics"]).count("With stimulus") == 2


def test_silence_has_no_numbers():
    made = synthetic.make({"E": 4}, trials=2, rates=np.zeros(4), seed=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        assert state_sentence(dynamics(made.simulation)) == "The network is silent."


def test_every_figure_is_drawn_with_a_caption(measured, several):
    keys = [item.key for item in dynamics_illustrations(measured)]
    assert keys == ["population_rates", "spectra", "intervals", "currents"]
    items = list(dynamics_illustrations(several))
    assert [item.key for item in items] == ["stimuli", *keys]
    for item in items:
        assert item.caption.endswith(".")
        assert len(item.figure.axes) >= 1


def test_spectra_are_drawn_beside_their_prediction(measured):
    spectra = measured["dynamics/spectra"].to_dataset()
    figure = plots.plot_spectra(spectra, spectra[["power"]]).figure
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == 2
    np.testing.assert_allclose(dashed[0].get_ydata(), spectra["power"].sel(population="E"))


def test_a_response_is_drawn():
    time = np.linspace(-0.1, 0.2, 31)
    values = (("time", "population"), np.ones((31, 1)))
    response = xr.Dataset({"response": values, "response_se": values}, coords={"time": time, "population": ["E"]})
    axes = plots.plot_response(response)
    assert axes.get_xlim() == pytest.approx((-100, 200))


@pytest.mark.slow
def test_a_report_shows_the_circuit(measured, tmp_path):
    circuit = recurrent()
    page = report(measured, tmp_path / "report.html", circuit=circuit, remarks=["A remark."]).read_text()
    for text in ("The network is asynchronous irregular", "The circuit in tables", "Neuron parameters", "A remark."):
        assert text in page
    for key in ("circuit", "spectra", "intervals", "currents", "population_rates", "raster", "rates"):
        assert (tmp_path / "figures" / f"{key}.png").is_file()


def test_tables_are_read_from_markdown():
    first, second = circuit_tables(
        "## One\n\n| a | b |\n|---|---|\n| 1 | x \\| y |\n| 2 |  |\n\n## Two\n\n| c |\n|--|\n| 3 |\n"
    )
    assert (first.title, first.head, first.rows) == ("One", ["a", "b"], [["1", "x | y"], ["2", ""]])
    assert (second.title, second.head, second.rows) == ("Two", ["c"], [["3"]])


def sweep(**changes) -> xr.DataTree:
    g, nu, population = [4.0, 5.0, 6.0], [1.0, 2.0], ["E", "I"]
    values = np.arange(12.0).reshape(3, 2, 2)
    dims = ("g", "nu", "population")
    coords = {"g": g, "nu": nu, "population": population}
    predicted = xr.Dataset({"rate": (dims, values, {"units": "Hz"})}, coords)
    simulated = xr.Dataset({"rate": (dims, values + 1), "rate_se": (dims, np.full((3, 2, 2), 0.3))}, coords)
    return xr.DataTree.from_dict({"/prediction": predicted, "/simulation": simulated} | changes)


def test_a_phase_diagram_arranges_a_sweep():
    diagram = phase_diagram(sweep(), "g", "nu", population="I")
    assert diagram["predicted"].dims == ("nu", "g")
    np.testing.assert_array_equal(diagram["predicted"], [[1, 5, 9], [3, 7, 11]])
    np.testing.assert_array_equal(diagram["simulated"], diagram["predicted"] + 1)
    np.testing.assert_allclose(diagram["simulated_se"], 0.3)
    both = phase_diagram(sweep(), "nu", "g")
    np.testing.assert_allclose(both["predicted"].sel(g=4.0), [0.5, 2.5])
    np.testing.assert_allclose(both["simulated_se"], 0.3 / np.sqrt(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "h", "y": "nu"}, "the sweep varies g, nu, population, not 'h'"),
        ({"x": "g", "y": "nu", "quantity": "fano"}, "the sweep has no `fano` in /prediction or /simulation"),
        ({"x": "g", "y": "nu", "population": "P"}, "no population 'P' in the sweep; it has E, I"),
    ],
)
def test_what_a_sweep_lacks_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        phase_diagram(sweep(), **options)


def test_further_parameters_must_be_selected():
    more = sweep()["prediction"].to_dataset().expand_dims(scale=[0.1, 0.2])
    with pytest.raises(ValueError, match="the sweep varies scale as well: select one value of each"):
        phase_diagram(xr.DataTree.from_dict({"/prediction": more}), "g", "nu")


def test_phase_diagrams_are_drawn_with_states():
    diagram = phase_diagram(sweep(), "g", "nu")
    diagram["state"] = (("nu", "g"), [["asynchronous irregular"] * 3, ["synchronous regular", "silent", "silent"]])
    figure = plots.plot_phase_diagram(diagram, "g", "nu", labels={"g": "inhibition g"}).figure
    assert [axes.get_title() for axes in figure.axes[:3]] == ["Predicted", "Simulated", "Simulated − predicted"]
    assert figure.axes[0].get_xlabel() == "inhibition g"
    assert [text.get_text() for text in figure.axes[1].texts] == ["AI", "AI", "AI", "SR", "–", "–"]
    with pytest.raises(ValueError, match="needs `predicted` or `simulated`, got rate"):
        plots.plot_phase_diagram(xr.Dataset({"rate": 1.0}), "g", "nu")
