"""The command `mnnbio circuit`: what it leaves, its options, and everything that can be wrong with them."""

from pathlib import Path
from typing import Literal

import command_line
import numpy as np
import pytest
import yaml
from command_line import Done

import mnnbio.circuits
from mnnbio.circuit import GaussianDrive, Population, Projection
from mnnbio.circuit.circuit import Circuit
from mnnbio.circuit.connectivity import FixedIndegree
from mnnbio.circuits import brunel, microcircuit
from mnnbio.machine import NotEnoughMemory
from mnnbio.moments.fixed_point import NotConverged
from mnnbio.neurons import EIF
from mnnbio.neurons.lif import LIFParameters
from mnnbio.results.files import load
from mnnbio.workflow import circuit_run
from mnnbio.workflow.arguments import Parser, add_builder_options, builder_arguments, builders, description, documented
from mnnbio.workflow.pipeline import n_synapses, require_affordable
from mnnbio.workflow.run_config import CircuitOptions
from mnnbio.workflow.run_folder import RunFolder

SMALL = [
    "--codegen", "runtime", "--dt", "0.5", "--duration", "200", "--warmup", "100", "--window", "50", "--trials", "1",
    "--no-progress",
]  # fmt: skip
TINY = ["inhibition_stabilised", "--scale", "0.02", "--stimulus", "0,1"]


def run(*arguments: object) -> Done:
    return command_line.run("circuit", *arguments)


def fails(message: str, *arguments: object) -> None:
    done = run(*arguments)
    assert (done.code, message in done.err) == (2, True), done
    assert "Traceback" not in done.err


@pytest.fixture(scope="module", autouse=True)
def empty_figures():
    """Leave the drawing of files out: it takes most of the time, and has tests of its own."""
    import mnnbio.analyses.report_page as module

    def write(figure, stem):
        path = Path(f"{stem}.svg")
        path.parent.mkdir(exist_ok=True)
        path.write_text("<svg/>")
        return {"svg": path}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "save_figure", write)
        yield


# What a run leaves.


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Done]:
    folder = tmp_path_factory.mktemp("runs") / "isn"
    done = run(*TINY, "--seed", "3", "--out", folder, *SMALL)
    assert done.code == 0, done
    return folder, done


@pytest.mark.slow
def test_a_run_leaves_result_report_figures_and_log(finished):
    folder, _ = finished
    assert {path.name for path in folder.iterdir()} >= {"config.yaml", "result.nc", "report.html", "figures", "log.txt"}
    assert {"spectra", "circuit", "covariance", "stimuli"} <= {path.stem for path in (folder / "figures").iterdir()}
    log = (folder / "log.txt").read_text()
    assert "mnnbio circuit inhibition_stabilised" in log
    kept = yaml.safe_load((folder / "config.yaml").read_text())
    assert kept["circuit"] == {"name": "inhibition_stabilised", "stimulus": [0.0, 1.0], "scale": 0.02, "seed": 3}
    assert (kept["simulation"]["dt"], kept["simulation"]["seed"]) == (0.5, 3)


@pytest.mark.slow
def test_the_result_holds_both_readings(finished):
    tree = load(finished[0] / "result.nc")
    assert {"prediction", "simulation", "comparison", "spikes", "dynamics"} <= set(tree.children)
    assert tree["simulation/rate"].sizes == {"stimulus": 2, "neuron": 100}
    assert tree["prediction/covariance"].sizes["neuron_j"] == 100
    assert {"rates", "spectra", "currents"} <= set(tree["dynamics"].children)


@pytest.mark.slow
def test_the_summary_is_printed(finished):
    folder, done = finished
    tree = load(folder / "result.nc")
    lines = done.out.splitlines()
    rate = float(tree["simulation/rate"].isel(stimulus=1, neuron=slice(80, 100)).mean())
    (line,) = [line for line in lines if line.startswith("I, stimulus 1")]
    assert f"{rate:.3f}" in line
    first = next(k for k, text in enumerate(lines) if text.startswith(("The prediction", "Whether the prediction")))
    assert " ".join(lines[first:]).startswith(tree["comparison"].attrs["verdict"][:60])
    assert lines[first - 1] == ""
    assert "With stimulus 1 the network is" in lines[-3]
    assert lines[-1] == str(folder / "report.html")


@pytest.mark.slow
def test_without_a_prediction_the_simulation_is_reported(tmp_path, monkeypatch):
    def none(*_, **__):
        raise NotConverged("no state was found")

    monkeypatch.setattr("mnnbio.theory.predict", none)
    done = run("balanced", "--scale", "0.01", "--out", tmp_path / "run", *SMALL)
    assert done.code == 0, done
    assert "There is no prediction: no state was found." in (tmp_path / "run" / "report.html").read_text()
    assert "prediction" not in load(tmp_path / "run" / "result.nc").children


# Options.


def test_all_circuits_are_offered():
    done = run()
    assert done.code == 0
    for name in ("balanced", "brunel", "clustered", "inhibition_stabilised", "microcircuit", "ring"):
        assert name in done.out
    assert "downscaled" not in done.out  # it needs a circuit


def test_help_tells_what_the_docstring_tells():
    done = run("brunel", "--help")
    text = " ".join(done.out.split())
    assert "--nu-ext-ratio X, --nu X External rate over the rate at threshold of E. (default: 2)" in text
    assert "asynchronous irregular" in text


def test_options_come_from_the_signature():
    def make(
        g: float = 5.0, kind: Literal["a", "b"] = "a", number: int = 3, sizes: tuple[int, int] = (1, 2)
    ) -> Circuit:
        """Return a test.

        Parameters
        ----------
        g : float
            Strength, 10 % of `number`.
        kind, number
            Two more.
        """
        raise NotImplementedError

    assert documented(make) == {"g": "Strength, 10 % of number.", "kind": "Two more.", "number": "Two more."}
    assert description(make) == "Test."
    parser = Parser(prog="test")
    add_builder_options(parser, make)
    given = parser.parse_args(["--g", "4", "--kind", "b", "--sizes", "3,4"])
    assert builder_arguments(given) == {"g": 4.0, "kind": "b", "sizes": (3, 4)}
    assert "10 % of number" in parser.format_help()


def test_every_circuit_can_be_made_from_its_defaults():
    functions = builders(mnnbio.circuits)
    assert "downscaled" not in functions
    for name, function in functions.items():
        assert isinstance(function(), Circuit), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["brunl"], "invalid choice: 'brunl'"),
        (["brunel"], "the following arguments are required: --out"),
        (["brunel", "--out", "x", "--gg", 3], "unknown argument '--gg'; did you mean '--g'?"),
        (["brunel", "--out", "x", "--g", "five"], "argument --g: must be a number, got 'five'"),
        (["brunel", "--out", "x", "--seed", "1.5"], "argument --seed: must be a whole number, got '1.5'"),
        (["brunel", "--out", "x", "--g", "nan"], "must be finite"),
        (["brunel", "--out", "x", "--model", "C"], "invalid choice: 'C'"),
        (["brunel", "--out", "x", "--scale", "-1"], "`scale` must be a number > 0, got -1.0"),
        (["brunel", "--out", "x", "--scale", "0.1", "--indegree-scale", "1"], "needs 1000 of 999 sources"),
        (["balanced", "--out", "x", "--sizes", "4"], "argument --sizes: must be 2 numbers with commas, got '4'"),
        (["brunel", "--out", "x", "--dt", "0"], "argument --dt: simulation.dt must be a number > 0 (ms), got '0'"),
        (["brunel", "--out", "x", "--warmup", "-1"], "argument --warmup: simulation.warmup must be a number ≥ 0 (ms), got '-1'"),
        (["brunel", "--out", "x", "--trials", "0"], "argument --trials: simulation.trials must be a whole number ≥ 1, got 0"),
        ([*TINY, "--out", "x", "--dt", "0.4"], "`dt` must divide `delay of projection"),
    ],
)  # fmt: skip
def test_wrong_options_are_explained(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fails(message, *arguments)


def test_a_circuit_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("mnnbio.machine.free_memory", lambda: 4.1e9)
    with pytest.raises(
        NotEnoughMemory, match=r"3e\+08 synapses take 19\.1 GB of memory, 4\.1 GB are free\. Choose a smaller --scale"
    ):
        affordable(microcircuit())
    affordable(brunel())
    with pytest.raises(NotEnoughMemory, match=r"counts of 10 neurons in 1e\+08 presentations take 16 GB"):
        require_affordable(neurons=10, synapses=0, presentations=10**8, remedy="")


def affordable(circuit: Circuit) -> None:
    require_affordable(
        neurons=circuit.n_neurons, synapses=n_synapses(circuit), presentations=1, remedy="Choose a smaller --scale."
    )


def test_synapses_are_counted_without_drawing_them():
    assert n_synapses(brunel()) == 12_500 * 1250
    weights = np.ones((3, 3))
    circuit = Circuit(
        [Population("E", 3, LIFParameters()), Population("I", 4, LIFParameters())],
        [Projection("E", "E", weights=weights), Projection("I", "E", weight=-1.0, connectivity=FixedIndegree(2))],
        [GaussianDrive("E", mean=1.0)],
    )
    assert n_synapses(circuit) == 9 + 6


@pytest.mark.slow
def test_many_neurons_without_a_closed_form_are_predicted_by_populations(tmp_path, monkeypatch):
    # Neurons that are alike, so that the mean of a population is each neuron's rate, found neuron by neuron.
    circuit = Circuit(
        [Population("E", 12, EIF()), Population("I", 6, EIF())],
        [Projection("E", "I", weight=0.2, connectivity=FixedIndegree(3)), Projection("I", "E", weight=-0.4, connectivity=FixedIndegree(3))],
        [GaussianDrive(name, mean=0.8, std=1.0) for name in "EI"],
    )  # fmt: skip
    settings = CircuitOptions(duration=50, warmup=0, dt=0.1, window=10, trials=1, codegen="runtime", covariance=False)
    rates = []
    for few in (300, 10):
        monkeypatch.setattr(circuit_run, "FEW_INTEGRATED", few)
        use = circuit_run.CircuitRun(
            "own", circuit, settings, RunFolder(tmp_path / str(few)), {}, lambda text: None, False
        )
        tree = use("mnnbio circuit own")
        rates.append(tree["prediction/rate"].to_numpy())
        assert ("means of populations" in str(tree.attrs.get("remarks"))) == (few == 10)
    assert rates[1].shape == (18,)
    np.testing.assert_allclose(rates[1], rates[0], rtol=1e-6)
