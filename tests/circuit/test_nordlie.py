"""The description of a circuit in tables, and as a diagram."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from scipy import sparse

from mnnbio import (
    Circuit,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
)
from mnnbio.circuit.connectivity import AllToAll, Bernoulli, FixedIndegree, FixedOutdegree, FixedTotalNumber, OneToOne
from mnnbio.circuit.spatial import BoxProfile, DistanceDependent, ExponentialProfile, GaussianProfile, Sheet
from mnnbio.values import LogNormal, Normal, Oscillation, Ramp, Samples, Steps, Uniform

LIF = LIFParameters()


def tables(text):
    """Read the Markdown back: rows of cells by title."""
    found = {}
    for part in text.split("## ")[1:]:
        title, *lines = part.strip().splitlines()
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]
        found[title] = rows[1:]
        assert {len(row) for row in rows} == {len(rows[0])}
    return found


def rich():
    return Circuit(
        [
            PoissonSource("input", 5, Steps([0.0, 100.0], [0.1, 0.3])),
            Population("E", 80, LIFParameters(tau_m=np.linspace(10.0, 30.0, 80), t_ref=2.0)),
            Population("I", 20, LIF),
        ],
        [
            Projection("input", "E", weights=np.ones((80, 5))),
            Projection("input", "I", weights=ModeMatrix(np.ones((20, 1)), [0.3], np.ones((5, 1)))),
            Projection("E", "E", weight=LogNormal(0.2, 0.1), connectivity=Bernoulli(0.1), delay=Normal(1.5, 0.7, low=0.1)),
            Projection("E", "I", weight=Uniform(0.1, 0.3), connectivity=FixedIndegree(40), delay=1.5, tau_syn=5.0),
            Projection("I", "E", weight=-1.0, connectivity=FixedOutdegree(4, multapses=True)),
            Projection("I", "I", weight=-1.0, connectivity=FixedTotalNumber(70), autapses=True),
            Projection("I", "I", weights=sparse.csr_array(np.eye(20) * -0.5)),
            Projection("E", "E", weight=0.1, connectivity=OneToOne()),
            Projection("E", "E", weight=0.1, connectivity=AllToAll()),
            Projection("E", "I", weight=0.1, connectivity=DistanceDependent(GaussianProfile(0.2), p=0.3)),
            Projection("I", "E", weight=-0.1, connectivity=DistanceDependent(BoxProfile(0.5), indegree=3, space=Sheet())),
            Projection("I", "I", weight=-0.1, connectivity=DistanceDependent(ExponentialProfile(0.1), p=0.3)),
        ],
        [
            GaussianDrive("E", mean=Ramp(0.0, 50.0, 0.1, 0.4), std=0.3, factor=np.full((80, 2), 0.5)),
            PoissonDrive("I", rate=Oscillation(2.0, 0.5, 0.01), weight=0.1, tau_syn=2.0),
            PoissonDrive("E", rate=Samples([1.0, 3.0], 0.5), weight=0.1),
        ],
        Readout("E", np.ones((3, 80)), np.zeros(3)),
    )  # fmt: skip


def test_the_tables_of_nordlie_are_complete():
    text = rich().describe()
    found = tables(text)
    assert list(found) == [
        "Model summary", "Populations", "Connectivity", "Neuron model", "Neuron parameters", "Synapse model", "Input",
        "Measurements",
    ]  # fmt: skip
    assert [row[0] for row in found["Model summary"]] == [
        "Populations", "Topology", "Connectivity", "Neuron model", "Channel models", "Synapse model", "Plasticity", "Input",
        "Measurements",
    ]  # fmt: skip
    summary = dict(found["Model summary"])
    assert summary["Topology"] == "ring, sheet"
    assert summary["Synapse model"] == "delta currents and exponential currents"
    assert found["Populations"] == [
        ["input", "Poisson spike trains", "5"],
        ["E", "LIF neurons", "80"],
        ["I", "LIF neurons", "20"],
    ]
    assert found["Neuron parameters"][0] == ["E", "10 to 30 (mean 20)", "20", "0", "2"]
    assert found["Measurements"][1] == ["Readout", "3 linear decision variables of the spike counts of E"]


@pytest.mark.parametrize(
    ("number", "pattern", "weight", "delay", "tau_syn"),
    [
        (0, "given weights, 400 synapses", "1", "0", "delta"),
        (1, "given weights, 1 modes", "mode scores 0.3", "0", "delta"),
        (2, "pairwise random with probability 0.1, no multapses, no autapses", "log-normal, mean 0.2, std 0.1",
         "normal, mean 1.5, std 0.7, ≥ 0.1", "delta"),
        (3, "fixed in-degree with 40 sources, no multapses", "uniform, 0.1 to 0.3", "1.5", "5"),
        (4, "fixed out-degree with 4 targets, multapses allowed", "-1", "0", "delta"),
        (5, "fixed total number with 70 synapses, multapses allowed, autapses allowed", "-1", "0", "delta"),
        (6, "given weights, 20 synapses", "-0.5", "0", "delta"),
        (7, "one to one", "0.1", "0", "delta"),
        (8, "all to all, no autapses", "0.1", "0", "delta"),
        (9, "distance-dependent with probability 0.3, Gaussian of distance (sigma 0.2), Ring(length=1.0), no multapses",
         "0.1", "0", "delta"),
        (10, "distance-dependent with in-degree 3, box of distance (radius 0.5), Sheet(width=1.0, height=1.0), no multapses",
         "-0.1", "0", "delta"),
    ],
)  # fmt: skip
def test_every_projection_has_its_row(number, pattern, weight, delay, tau_syn):
    projection = rich().projections[number]
    row = tables(rich().describe())["Connectivity"][number]
    assert row == [projection.source, projection.target, pattern, weight, delay, tau_syn]


def test_inputs_are_told():
    assert tables(rich().describe())["Input"] == [
        ["input", "Poisson spike trains", "rate 0.1 to 0.3 (mean 0.2) in steps at 0, 100 ms spikes/ms"],
        ["E", "Gaussian white noise", "mean 0.1, from 0 to 50 ms linearly to 0.4 mV/ms, standard deviation 0.3 mV/√ms; "
         "2 shared noise sources, loadings 0.5 mV/√ms"],
        ["I", "Poisson spikes of its own", "rate 2 + 0.5 · sin at 10 Hz, phase 0 spikes/ms, weight 0.1 mV, tau_syn 2 ms"],
        ["E", "Poisson spikes of its own", "rate 1 to 3 (mean 2) in 2 samples of 0.5 ms spikes/ms, weight 0.1 mV"],
    ]  # fmt: skip


def test_nothing_is_drawn_to_describe_a_circuit():
    # A hundred thousand neurons, a thousand million synapses: only the rule is told.
    rule = Projection("E", "E", weight=0.1, connectivity=FixedIndegree(10_000))
    text = Circuit([Population("E", 100_000, LIF)], [rule]).describe()
    assert "fixed in-degree with 10000 sources" in text
    assert "Input" not in tables(text)


def patches(figure, kind):
    return [patch for patch in figure.axes[0].patches if isinstance(patch, kind)]


def test_the_diagram_shows_every_part():
    circuit = rich()
    figure = circuit.plot()
    figure.draw_without_rendering()
    assert (len(patches(figure, Circle)), len(patches(figure, Rectangle))) == (2, 1)
    assert len(patches(figure, FancyArrowPatch)) == len(circuit.projections)
    written = "\n".join(text.get_text() for text in figure.axes[0].texts)
    for word in ("input\n5", "E\n80", "I\n20", "p = 0.1", "40 in", "4 out", "70 total", "1:1", "all", "p(distance)",
                 "3 in, by distance", "Poisson", "noise"):  # fmt: skip
        assert word in written
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["excitatory", "inhibitory"]


def test_layers_stand_in_a_row_and_signs_have_colours():
    def layer(name):
        return Population(name, 3, LIF)

    mixed = np.array([[1.0, -1.0, 0.0]] * 3)
    circuit = Circuit(
        [layer("c"), layer("b"), layer("a")],
        [
            Projection("a", "b", weights=mixed),
            Projection("b", "c", weight=LogNormal(-0.1, 0.1), connectivity=AllToAll()),
            Projection("a", "c", weights=ModeMatrix(np.ones((3, 1)), [0.5], np.ones((3, 1)))),
        ],
    )
    figure = circuit.plot()
    place = {text.get_text()[0]: text.get_position() for text in figure.axes[0].texts if "\n3" in text.get_text()}
    x = {name: position[0] for name, position in place.items()}
    assert len({position[1] for position in place.values()}) == 1
    assert x["a"] < x["b"] < x["c"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mixed signs", "inhibitory", "excitatory"]
    bends = [arrow.get_connectionstyle().rad for arrow in patches(figure, FancyArrowPatch)]
    assert bends == [0.0, 0.0, -0.35]  # round the layer in between


def test_many_projections_are_drawn_without_labels():
    names = "abcd"
    rule = {"weight": 0.1, "connectivity": Bernoulli(0.1)}
    circuit = Circuit([Population(n, 5, LIF) for n in names], [Projection(a, b, **rule) for a in names for b in names])
    figure = circuit.plot()
    assert len(patches(figure, FancyArrowPatch)) == 16
    assert len(figure.axes[0].texts) == 4


def test_the_example_of_the_documentation(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "circuits.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(text.split("```python\n")[1].split("```")[0], "docs/circuits.md", "exec"), {})
    assert capsys.readouterr().out.startswith("## Model summary")
    assert (tmp_path / "circuit.svg").stat().st_size > 1000
