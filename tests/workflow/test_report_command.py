"""`mnnbio report` on results of every kind, alone and side by side, and on what is none."""

import re
import shutil

import numpy as np
import pytest
import synthetic
import xarray as xr
from headless import rendered, require_chromium

from mnnbio.analyses import compare
from mnnbio.results import label_stimuli, save
from mnnbio.workflow.cli import main


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Write result files of several kinds, and return their folder."""
    folder = tmp_path_factory.mktemp("results")
    made = synthetic.make({"E": 5, "I": 3}, trials=20, duration=1.0, shared=3.0, seed=1)
    save(made.simulation, folder / "simulation.nc")
    save(made.prediction, folder / "prediction.nc")
    compared = compare(made.prediction, made.simulation, permutations=9)
    save(compared.assign_attrs(verdict=["The rates hold.", "So do <variances>."]), folder / "comparison.nc")
    both = made.simulation.copy()
    both["prediction"] = made.prediction
    save(both, folder / "both.nc")
    place = np.array([-10.0, 0.0, 10.0])
    rates = np.array([[8, 20, 30, 12, 9], [14, 14, 20, 20, 9], [20, 8, 12, 30, 9.0]]) + 4
    tuned = synthetic.make({"a": 5}, stimuli=3, trials=20, duration=0.5, shared=4.0, rates=rates, seed=2)
    tree = label_stimuli(tuned.simulation, place)
    tree["prediction"] = tuned.prediction.assign_coords(stimulus=place)
    save(tree, folder / "tuned.nc")
    return folder


def page_of(folder, *arguments, name="page.html"):
    assert main(["report", *map(str, arguments), "--out", str(folder / name)]) == 0
    return (folder / name).read_text()


def sections(page):
    return re.findall(r'<section id="(\w+)">', page)


def fails(capsys, *arguments):
    assert main(["report", *map(str, arguments)]) in (1, 2)
    text = capsys.readouterr().err
    assert text.startswith("mnnbio: error: ")
    assert len(text.splitlines()) <= 4
    return text


@pytest.mark.parametrize(
    ("name", "shown", "said"),
    [
        ("simulation", ["rates", "covariance", "raster", "intervals"], "this is a simulation without a prediction"),
        ("prediction", ["rates", "covariance"], "this is a prediction without a simulation"),
        ("comparison", ["rates", "count_statistics", "covariance", "z"], "The rates hold."),
    ],
)
def test_every_kind_of_file_has_a_page(results, tmp_path, capsys, name, shown, said):
    page = page_of(tmp_path, results / f"{name}.nc")
    assert sections(page) == shown
    assert said in page
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    # The verdict stands before everything else.
    assert page.index('<div id="verdict">') < page.index(said) < page.index("<h2>")
    assert {path.name for path in (tmp_path / "page_figures").iterdir()} == {
        f"{key}.{form}" for key in shown for form in ("svg", "png", "pdf")
    }


@pytest.mark.slow
def test_stimuli_of_their_own_have_tuning_curves_and_decoders(results, tmp_path):
    page = page_of(tmp_path, results / "tuned.nc", "--title", "Three angles")
    assert {"tuning", "decoding", "discriminability"} <= set(sections(page))
    assert "Points: simulated, corrected for finite data, with 95 % intervals." in page
    assert "<h1>Three angles</h1>" in page
    assert "standard errors apart" in page


@pytest.mark.slow
def test_several_results_stand_side_by_side(results, tmp_path):
    page = page_of(
        tmp_path, f"theory={results / 'prediction.nc'}", results / "simulation.nc", results / "comparison.nc"
    )
    assert sections(page)[0] == "key_figures"
    heads = re.search(r"<thead><tr><th></th>(.*?)</tr>", page).group(1)
    assert re.findall("<th>(.*?)</th>", heads) == ["theory", "simulation", "comparison"]
    row = re.search(r"<td>Rate of E, simulated</td>(.*?)</tr>", page).group(1)
    cells = re.findall("<td>(.*?)</td>", row)
    assert cells[0] == cells[2] == "–"
    assert cells[1].endswith(" Hz")
    assert page.count("<h3>simulation</h3>") == 4
    assert "So do &lt;variances&gt;." in page[: page.index("<h2>")]
    again = page_of(tmp_path, results / "prediction.nc", results / "prediction.nc", name="twice.html")
    assert "prediction (" in again  # files of one name are told apart by their paths


@pytest.mark.slow
@pytest.mark.parametrize("names", [["both"], ["tuned", "simulation"]])
def test_a_browser_shows_the_page_and_loads_nothing(results, tmp_path, names):
    require_chromium()
    page_of(tmp_path, *(results / f"{name}.nc" for name in names))
    dom = rendered(tmp_path / "page.html", tmp_path)
    assert dom.first == "verdict"
    assert dom.images > 4
    assert dom.broken == 0
    assert dom.requested == []


def test_a_later_schema_and_other_files_are_refused(results, tmp_path, capsys):
    import netCDF4

    later = tmp_path / "later.nc"
    shutil.copy(results / "prediction.nc", later)
    with netCDF4.Dataset(later, "a") as file:
        file.Conventions = "CF-1.11 mnnbio-2"
    text = fails(capsys, later)
    assert "later.nc is of a later version: its schema is mnnbio-2, this version reads up to mnnbio-1" in text
    other = tmp_path / "other.nc"
    xr.Dataset({"a": 1.0}).to_netcdf(other)
    assert "is a netCDF file of something else" in fails(capsys, other)
    (tmp_path / "empty.nc").touch()
    assert "empty.nc is empty" in fails(capsys, tmp_path / "empty.nc")
    (tmp_path / "text.nc").write_text("no")
    assert "not a complete netCDF-4 file" in fails(capsys, tmp_path / "text.nc")
    cut = tmp_path / "cut.nc"
    cut.write_bytes((results / "prediction.nc").read_bytes()[:5000])
    assert "It may be truncated" in fails(capsys, cut)
    assert "nothing.nc holds no run and is no result file" in fails(capsys, tmp_path / "nothing.nc")
    assert "holds no run: neither result.nc nor manifest.json" in fails(capsys, tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_pages_need_a_place(results, tmp_path, capsys):
    two = (results / "prediction.nc", results / "comparison.nc")
    assert "2 results need a page of their own: give --out PAGE.html" in fails(capsys, *two)
    assert "--out must be a file" in fails(capsys, two[0], "--out", tmp_path)
    save(xr.DataTree.from_dict({"/prediction": xr.Dataset()}), tmp_path / "bare.nc")
    assert "nothing to report on" in fails(capsys, tmp_path / "bare.nc")
    text = fails(capsys, two[0], tmp_path / "bare.nc", "--out", tmp_path / "page.html")
    assert "bare: nothing to report on" in text
    copied = shutil.copy(two[0], tmp_path / "mine.nc")
    assert main(["report", str(copied)]) == 0
    assert (tmp_path / "mine_report.html").is_file()


def test_results_that_no_figure_is_known_for_are_listed(tmp_path):
    odd = xr.Dataset({"gain": ((), 0.25, {"units": "Hz", "long_name": "loop <gain>"}), "text": ((), "a")})
    save(odd, tmp_path / "odd.nc")
    page = page_of(tmp_path, tmp_path / "odd.nc")
    assert "What the result holds" in page
    assert "<td>/prediction/gain</td><td>–</td><td>loop &lt;gain&gt;</td><td>0.250</td><td>Hz</td>" in page


def test_sides_that_do_not_suit_each_other_are_shown_apart(tmp_path):
    one = synthetic.make({"a": 4}, trials=6, seed=1)
    tree = one.simulation.copy()
    tree["prediction"] = synthetic.make({"a": 5}, trials=1, seed=1).prediction
    save(tree, tmp_path / "apart.nc")
    page = page_of(tmp_path, tmp_path / "apart.nc")
    assert "There is no comparison: neuron has 5 labels in the prediction and 4 in the simulation" in page
    assert "Nothing is compared: prediction and simulation do not suit each other." in page
