"""The description of a circuit in tables, and as a diagram."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from scipy import sparse

from mnnbio import (
    Circuit,
    CurrentDrive,
    EquationNeuron,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
    SpikeSource,
)
from mnnbio.circuit.connectivity import AllToAll, Bernoulli, FixedIndegree, FixedOutdegree, FixedTotalNumber, OneToOne
from mnnbio.circuit.spatial import BoxProfile, DistanceDependent, ExponentialProfile, GaussianProfile, Sheet
from mnnbio.neurons import EIF, QIF, AdEx, ConductanceLIF, DiscreteLIF, HodgkinHuxley, Izhikevich
from mnnbio.synapses import (
    NMDA,
    STDP,
    Alpha,
    Conductance,
    DoubleExponential,
    EquationPlasticity,
    EquationSynapse,
    Exponential,
    GapJunction,
    Into,
    RewardSTDP,
    ShortTermPlasticity,
    SynapticScaling,
    TripletSTDP,
    inhibitory_plasticity,
)
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


def biophysical():
    ampa, gaba = Conductance(5.0, 0.0, name="ampa"), Conductance(10.0, -80.0, name="gaba")
    own = EquationNeuron(
        equations="dv/dt = (E_L - v + R*I + R*I_syn)/tau : volt (unless refractory)\nI : amp (constant)",
        threshold="v > -50*mV",
        reset="v = E_L",
        refractory=2.0,
        parameters={"E_L": -0.07, "R": 1e8, "I": Steps([0.0, 50.0], [1e-10, 2e-10]), "tau": 0.02, "C": 2e-10},
        units={"E_L": "volt", "R": "ohm", "I": "amp", "tau": "second", "C": "farad"},
        initial={"v": np.full(3, -65.0)},
        current="I_syn",
        capacitance="C",
    )
    rule = {"weight": 1.0, "connectivity": Bernoulli(0.5), "delay": 1.0}
    return Circuit(
        [
            SpikeSource("given", [1.0, 2.0, 5.0], [0, 1, 0]),
            Population("E", 8, AdEx(b=Normal(80.0, 5.0), initial={"v": Uniform(-70.0, -60.0)})),
            Population("S", 4, AdEx(a=0.0)),
            Population("C", 3, ConductanceLIF(theta_plus=1.0)),
            Population("own", 3, own),
            Population("H", 2, HodgkinHuxley()),
            Population("Z", 2, Izhikevich()),
            Population("D", 2, DiscreteLIF(t_ref=0.25)),
            Population("L", 2, LIFParameters(initial={"v": 3.0})),
            Population("X", 2, EIF()),
            Population("Q", 2, QIF()),
        ],
        [
            Projection("given", "E", **rule, synapse=ampa),
            Projection("E", "S", **rule, synapse=ampa, plasticity=[STDP(w_max=2.0), SynapticScaling(w_max=2.0, rate=0.01)]),
            Projection("S", "E", **rule, synapse=gaba, plasticity=inhibitory_plasticity(w_max=10.0)),
            Projection("E", "C", **rule, synapse=NMDA(), plasticity=ShortTermPlasticity(U=0.5, tau_rec=100.0)),
            Projection("C", "C", **rule, synapse=GapJunction()),
            Projection("E", "own", **rule, synapse=Alpha(2.0, "pA"), plasticity=TripletSTDP(w_max=5.0)),
            Projection("E", "H", **rule, synapse=DoubleExponential(1.0, 5.0), plasticity=EquationPlasticity(on_pre="w *= 0.9")),
            Projection("E", "Z", **rule, synapse=Exponential(5.0), plasticity=RewardSTDP(w_max=1.0, reward=Steps([0.0], [0.1]))),
            Projection("E", "D", **rule, synapse=Into("I", "mV")),
            Projection("E", "L", **rule, synapse=EquationSynapse(on_pre="v_post += w*p", parameters={"p": 0.5})),
        ],
        [
            CurrentDrive("E", 500.0),
            CurrentDrive("C", Steps([0.0, 10.0], [100.0, 200.0])),
            PoissonDrive("C", rate=2.0, weight=0.5, synapse=ampa),
            GaussianDrive("L", mean=1.0),
        ],
    )  # fmt: skip


def test_biophysical_parts_are_told():
    found = tables(biophysical().describe())
    summary = dict(found["Model summary"])
    assert summary["Plasticity"] == (
        "STDP, SynapticScaling, SymmetricSTDP, ShortTermPlasticity, TripletSTDP, EquationPlasticity, RewardSTDP"
    )
    assert summary["Channel models"] == "sodium and potassium of Traub and Miles"
    assert "spikes at given times" in summary["Input"]
    assert found["Input"] == [
        ["given", "Given spike trains", "3 spikes, at 1 to 5 (mean 2.667) ms"],
        ["E", "Current", "500 pA"],
        ["C", "Current", "100 to 200 (mean 150) in steps at 0, 10 ms pA"],
        ["C", "Poisson spikes of its own", "rate 2 spikes/ms, weight 0.5 nS, "
         "Conductance (tau_syn 5, reversal 0, tau_rise 0, name ampa)"],
        ["L", "Gaussian white noise", "mean 1 mV/ms, standard deviation 0 mV/√ms"],
    ]  # fmt: skip
    assert found["Populations"][0] == ["given", "given spike trains", "2"]
    assert [row[3] for row in found["Connectivity"][:6]] == ["1 nS"] * 5 + ["1 pA"]
    plastic = [row[:3] for row in found["Plasticity"]]
    assert plastic[:3] == [["E", "S", "STDP"], ["E", "S", "SynapticScaling"], ["S", "E", "SymmetricSTDP"]]
    assert "w_max 2" in found["Plasticity"][0][3]
    conductances = [row for row in found["Synapse model"] if row[0] == "Conductance"]
    assert len(conductances) == 2
    assert "reversal -80" in conductances[1][1]


def test_neurons_with_equations_have_these_and_their_parameters_in_tables():
    found = tables(biophysical().describe())
    types = [row[1] for row in found["Neuron model"] if row[0] == "Type"]
    assert types == [
        "AdEx", "ConductanceLIF", "EquationNeuron", "HodgkinHuxley", "Izhikevich", "DiscreteLIF", "EIF", "QIF",
        "leaky integrate-and-fire",
    ]  # fmt: skip
    rows = found["Neuron model"]
    assert rows[1][0] == "Dynamics"
    assert "dw/dt = (a*(v - E_L) - w)/tau_w : amp" in rows[1][1]
    assert rows[2] == ["Spiking", "if v > v_th: a spike, then v = v_reset; w += b"]
    assert rows[3] == ["Integration", "euler; order in a step: state, threshold, synapses, reset"]
    adex = found["Neuron parameters: AdEx"]
    assert [row[0] for row in adex] == ["E", "S"]
    assert adex[0][-1].startswith("-6")
    assert adex[1][-1] == "–"
    assert adex[0][1:5] == ["281", "30", "-70.6", "-50.4"]
    text = biophysical().describe()
    assert "Initial v" in text
    own = found["Neuron parameters: EquationNeuron"][0]
    assert own == ["own", "-70", "1e+08", "1e-10 to 2e-10 (mean 1.5e-10) in steps at 0, 50 ms", "20", "200", "-65"]
    for head in ("E_L (mV)", "R (ohm)", "I (amp)", "tau (ms)", "C (pF)"):
        assert head in text
    assert found["Neuron parameters: LIF"] == [["L", "20", "20", "0", "5", "3"]]


def test_conductances_have_the_colour_of_where_they_pull():
    figure = biophysical().plot()
    figure.draw_without_rendering()
    colours = [patch.get_edgecolor() for patch in patches(figure, FancyArrowPatch)[:5]]
    assert colours[0] == colours[1] == colours[3]
    assert len({colours[0], colours[2], colours[4]}) == 3
    assert "current" in [text.get_text() for text in figure.axes[0].texts]


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
