"""The report is complete, self-contained, and says whether differences are real."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import synthetic
import xarray as xr

import mnnbio.analyses
from mnnbio.analyses import report
from mnnbio.analyses.captions import accuracy_verdict, correlation, number, percent, probability, verdict
from mnnbio.analyses.comparison import compare
from mnnbio.analyses.decisions import classification
from mnnbio.machine import FileError
from mnnbio.results import example_inputs, load, save

FIGURES = ("training", "inputs", "confusion", "rates", "count_statistics", "covariance", "z", "accuracy", "raster")


@pytest.fixture(scope="module")
def made():
    return synthetic.make({"hidden": 8, "output": 4}, stimuli=20, trials=8, duration=0.1, outputs=3, shared=3.0, seed=1)


@pytest.fixture(scope="module")
def full(made, tmp_path_factory):
    """Write the report of a result with everything, read from a file, and return its folder."""
    folder = tmp_path_factory.mktemp("run")
    tree = made.simulation.copy()
    tree["prediction"] = made.prediction
    with pytest.warns(match="8 samples"):
        tree["comparison"] = compare(tree, tree, labels=made.labels, permutations=9)
    training = {"loss": ("epoch", [1.0, 0.5]), "accuracy": ("epoch", [0.5, 0.9])}
    tree["training"] = xr.Dataset(training, coords={"epoch": [1, 2]})
    pixels = np.random.default_rng(0).random((20, 12))
    tree["inputs"] = xr.DataTree(example_inputs(pixels, targets=made.labels, image_shape=(3, 4)))
    save(tree, folder / "result.nc")
    report(load(folder / "result.nc"), folder / "report.html", title="A <title>")
    return folder


@pytest.mark.slow
def test_report_has_every_figure_and_needs_nothing_else(full):
    page = (full / "report.html").read_text()
    for key in FIGURES:
        assert f'<section id="{key}">' in page
        assert {(full / "figures" / f"{key}.{form}").exists() for form in ("png", "svg", "pdf")} == {True}
    assert page.count("data:image/svg+xml;base64,") == len(FIGURES)
    assert re.findall(r"""(?:src|href)=["'](?!data:)[^"']*""", page) == []
    assert "http" not in re.sub(r"data:image[^\"]*", "", page)
    assert "A &lt;title&gt;" in page
    assert not list(full.glob(".*part*"))


@pytest.mark.slow
def test_report_says_how_the_numbers_were_made(full, made):
    page = (full / "report.html").read_text()
    for text in (
        "hidden (8), output (4)",
        made.circuit.hash(),
        "200 ms",
        "0.1 ms",
        "brian2",
        "cpp_standalone",
        "8 samples",
    ):
        assert text in page, text


@pytest.mark.slow
def test_sections_appear_only_for_what_there_is(tmp_path):
    s = synthetic.make({"a": 4}, trials=5, seed=2)
    tree = s.simulation.copy()
    tree["prediction"] = s.prediction
    page = report(tree, tmp_path / "report.html").read_text()  # the comparison is made on the way
    assert re.findall(r'<section id="(\w+)">', page) == ["rates", "count_statistics", "covariance", "z", "raster"]
    assert "What limits" not in page
    assert "<td>a</td><td>4</td>" in page  # the only population, by its name
    assert "<td>all neurons</td>" not in page
    spikes = xr.DataTree.from_dict({"/spikes": s.simulation["spikes"].to_dataset()})
    page = report(spikes, tmp_path / "spikes.html").read_text()
    assert re.findall(r'<section id="(\w+)">', page) == ["raster", "intervals"]
    with pytest.raises(ValueError, match="nothing to report on: the result has the groups /"):
        report(xr.DataTree.from_dict({"/prediction": xr.Dataset()}), tmp_path / "none.html")


@pytest.mark.slow
def test_decisions_of_their_own_simulation(made, tmp_path):
    s = synthetic.make({"hidden": 5}, stimuli=3, trials=40, seed=2)
    tree = s.simulation.copy()
    tree["prediction"] = s.prediction
    decisions = made.simulation.copy()
    decisions["prediction"] = made.prediction
    decisions["comparison"] = classification(made.prediction, made.simulation, made.labels)
    tree["decisions"] = decisions
    save(tree, tmp_path / "result.nc")
    page = report(load(tmp_path / "result.nc"), tmp_path / "report.html").read_text()
    assert "of 20 stimuli" in page
    assert "20 stimuli × 8 trials × 100 ms after 200 ms, seed 1" in page
    assert '<section id="accuracy">' in page
    assert "One point a neuron and stimulus" in page  # 800 windows of each: no need to pool
    decisions["comparison"] = xr.Dataset({"moment_r2": 0.9, "spiking_r2": 0.8})
    tree["decisions"] = decisions
    page = report(tree, tmp_path / "values.html").read_text()
    assert "R² of the moment network is 0.900, of the spiking network 0.800." in page
    assert '<section id="accuracy">' not in page


@pytest.mark.slow
def test_long_window_predictions_are_reported_too(tmp_path):
    s = synthetic.make({"a": 4}, trials=5, seed=2)
    tree = s.simulation.copy()
    short = s.prediction.drop_vars(["count_variance", "count_fano", "count_covariance"])
    short.attrs = {key: value for key, value in s.prediction.attrs.items() if key != "window"}
    tree["prediction"] = short
    page = report(tree, tmp_path / "report.html").read_text()
    assert "has no window" in page
    assert '<section id="count_statistics">' not in page
    assert '<section id="covariance">' in page


def test_a_failed_report_leaves_the_old_one(tmp_path):
    s = synthetic.make({"a": 3}, trials=5, seed=3)
    path = tmp_path / "report.html"
    path.write_text("old")
    (tmp_path / "figures").write_text("a file where the folder should be")
    with pytest.raises(FileError, match="cannot write"):
        report(s.simulation, path)
    assert path.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["figures", "report.html"]


def test_verdicts_follow_the_truth():
    s = synthetic.make({"a": 40}, trials=20, seed=4)
    assert "no larger than chance allows" in verdict(compare(s.prediction, s.simulation, permutations=9), "rate")
    wrong = s.prediction.copy()
    wrong["rate"] = wrong["rate"] * 1.2
    text = verdict(compare(wrong, s.simulation, permutations=9), "rate")
    assert text.startswith("The differences are real (p < 0.0001), on average")
    assert "standard errors below the prediction; the median relative error is 1" in text
    two = synthetic.make({"a": 20, "b": 20}, trials=20, seed=4)
    wrong = two.prediction.copy()
    wrong["rate"] = wrong["rate"] * np.where(wrong["population"] == "b", 1.2, 1.0)
    assert "for their sampling error, in b (1" in verdict(compare(wrong, two.simulation, permutations=9), "rate")
    few = synthetic.make({"a": 3}, trials=2, rates=np.full(3, 0.01), seed=4)
    assert "cannot be said from these data" in verdict(compare(few.prediction, few.simulation, permutations=9), "rate")


def test_accuracy_verdict_is_paired(made):
    with pytest.warns(match="8 samples"):
        c = compare(made.prediction, made.simulation, labels=made.labels, permutations=9)
    text = accuracy_verdict(c)
    assert "right on 100" in text
    assert "of 20 stimuli" in text
    real = abs(float(c["accuracy_difference"])) > 2.58 * float(c["accuracy_difference_se"])
    assert ("is real" in text) == real


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.012345, "0.0123"),
        (12.345, "12.3"),
        (1234.5, "1234"),
        (-0.5, "−0.500"),
        (0, "0"),
        (np.nan, "–"),
        (2e-9, "2.00·10^−9"),
    ],
)
def test_numbers_for_readers(value, text):
    assert number(value) == text


def test_other_texts_for_readers():
    assert percent(0.9667, 3) == "96.7\N{NO-BREAK SPACE}%"
    assert percent(np.nan) == "–"
    assert probability(0.034) == "p = 0.034"
    assert probability(1e-9) == "p < 0.0001"
    assert correlation(0.99987) == "0.99987"
    assert correlation(0.5) == "0.500"


@pytest.mark.slow
def test_analyses_load_neither_figures_nor_theory_nor_simulator():
    heavy = "{'matplotlib', 'torch', 'brian2', 'jinja2'}"
    code = f"import sys, mnnbio.analyses; print(sorted({heavy} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mnnbio.analyses.nothing
