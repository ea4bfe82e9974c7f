"""NIR: circuits come back bit by bit, graphs of others become circuits, snnTorch reads ours, and what is refused."""

from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    GaussianDrive,
    LIFParameters,
    Normal,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    Readout,
    SpikeSource,
    States,
    Uniform,
    export,
    simulate,
)
from mnnbio.formats import LeftOutWarning, from_nir, to_nir
from mnnbio.formats.nir_maps import convolution, pooling
from mnnbio.neurons import AdEx
from mnnbio.nn.mlp import MomentMLP

nir = pytest.importorskip("nir", reason="NIR is not installed: pip install nir")
needs_snntorch = pytest.mark.skipif(
    find_spec("snntorch") is None or find_spec("nirtorch") is None,
    reason="snnTorch is not installed: pip install --no-deps snntorch nirtorch",
)
RNG = np.random.default_rng(0)


def recurrent():
    lif = LIFParameters(
        tau_m=RNG.uniform(10, 20, 5), t_ref=[0.1, 1.0, 2.0, 3.0, 4.0], v_rest=-65.0, v_th=-50.0, v_reset=-60.0
    )
    return Circuit(
        [
            PoissonSource("in", 6, rates=RNG.uniform(0.1, 0.3, 6)),
            SpikeSource("clock", [1.0, 2.0], [0, 1]),
            Population("E", 5, lif),
            Population("I", 3, LIFParameters()),
        ],
        [
            Projection("in", "E", weights=RNG.normal(1, 1, (5, 6))),
            Projection("clock", "E", weights=RNG.normal(size=(5, 2)), delay=0.5),
            Projection("E", "I", weight=Normal(3.0, 0.1), connectivity=Bernoulli(0.5), delay=1.0, tau_syn=5.0),
            Projection("I", "E", weights=sparse.csr_array(-RNG.uniform(size=(5, 3)) * [1, 0, 1]), delay=1.5),
        ],
        [
            GaussianDrive("E", mean=RNG.uniform(size=5), std=0.7),
            GaussianDrive("E", mean=0.1, factor=RNG.normal(size=(5, 2))),
            PoissonDrive("E", rate=1.0, weight=0.1),
        ],
        readout=Readout("I", RNG.normal(size=(2, 3)), RNG.normal(size=2), labels=("left", "right")),
        seed=5,
    )


def trained():
    model = MomentMLP([8, 6, 5, 3], dtype=torch.float64, seed=1).eval()
    return export(model, np.linspace(0.0, 1.0, 8))


def same_circuit(ours, theirs):
    bare = [circuit.with_parts(projections=()).to_json() for circuit in (ours, theirs)]
    assert bare[0] == bare[1]
    for one, other in zip(ours.projections, theirs.projections, strict=True):
        assert (one.source, one.target, one.tau_syn) == (other.source, other.target, other.tau_syn)
        assert ours.delays(one) == theirs.delays(other)
        np.testing.assert_array_equal(ours.dense(one), theirs.dense(other))
        assert sparse.issparse(ours.matrix(one)) == sparse.issparse(theirs.matrix(other))


@pytest.mark.parametrize("make", [recurrent, trained])
def test_a_circuit_comes_back_bit_by_bit(make, tmp_path):
    circuit = make()
    same_circuit(circuit, from_nir(to_nir(circuit)))
    nir.write(tmp_path / "graph.nir", to_nir(circuit, 0.05))
    same_circuit(circuit, from_nir(tmp_path / "graph.nir"))


def test_a_trained_circuit_is_the_same_to_every_digit():
    circuit = trained()
    assert from_nir(to_nir(circuit)).hash() == circuit.hash()


def test_what_comes_back_fires_as_it_did(tmp_path):
    circuit = recurrent()
    nir.write(tmp_path / "graph.nir", to_nir(circuit))
    results = [simulate(c, 100, seed=1, codegen="runtime") for c in (circuit, from_nir(tmp_path / "graph.nir"))]
    times = [result["spikes/spike_time"].values for result in results]
    assert len(times[0]) > 10
    np.testing.assert_array_equal(*times)


def test_a_readout_of_several_populations_adds_up_at_one_node():
    circuit, weights, bias = recurrent(), RNG.normal(size=(2, 8)), RNG.normal(size=2)
    circuit = replace(circuit, readout=Readout(("I", "E"), weights, bias))
    graph = to_nir(circuit)
    ends = [a for a, b in graph.edges if b == "readout_output"]
    assert ends == ["readout"]
    before = {a: next(c for c, b in graph.edges if b == a) for a, b in graph.edges if b == "readout"}
    counts = {"I": RNG.normal(size=3), "E": RNG.normal(size=5)}
    received = sum(graph.nodes[node].weight @ counts[source] for node, source in before.items())
    read = graph.nodes["readout"].weight @ received + graph.nodes["readout"].bias
    np.testing.assert_allclose(read, weights @ np.concatenate([counts["I"], counts["E"]]) + bias)
    assert not any(node.endswith("_output") for node in graph.nodes if node != "readout_output")
    same_circuit(circuit, from_nir(graph))


def test_a_graph_says_what_a_user_of_nir_looks_for():
    circuit = recurrent()
    graph = to_nir(circuit, 0.1)
    node = graph.nodes["E"]
    assert isinstance(node, nir.LIF)
    assert isinstance(graph.nodes["I"], nir.CubaLIF)
    np.testing.assert_allclose(node.tau, circuit.population("E").neuron.tau_m * 1e-3)
    np.testing.assert_allclose(node.r * 1e-4 / node.tau, 1.0)  # a spike, 1 for a step, moves v by its weight
    np.testing.assert_allclose(node.metadata["t_ref"], [1e-4, 1e-3, 2e-3, 3e-3, 4e-3])
    np.testing.assert_allclose(node.metadata["noise_std"], 0.7)
    np.testing.assert_allclose(graph.nodes["in_to_E"].bias, 0.1 * (circuit.drives[0].mean + 0.1))  # mV a step
    np.testing.assert_allclose(graph.nodes["E_to_I_delay"].delay, 1e-3)
    np.testing.assert_allclose(graph.nodes["in"].metadata["rate"], circuit.population("in").rates * 1e3)


def test_a_graph_that_was_changed_is_read_as_it_is():
    circuit = recurrent()
    graph = to_nir(circuit)
    graph.nodes["in_to_E"].weight = graph.nodes["in_to_E"].weight * 2
    heavier = from_nir(graph)  # weights may change, all else is as it was
    np.testing.assert_array_equal(heavier.dense(heavier.projections[0]), 2 * circuit.dense(circuit.projections[0]))
    assert heavier.with_parts(projections=()).hash() == circuit.with_parts(projections=()).hash()
    graph.nodes["E"].v_threshold = graph.nodes["E"].v_threshold + 1
    with pytest.warns(LeftOutWarning, match="nodes of the graph have changed since `to_nir` made it"):
        changed = from_nir(graph, inputs={"clock": circuit.population("clock")})
    np.testing.assert_allclose(changed.dense(changed.projections[0]), 2 * circuit.dense(circuit.projections[0]))
    np.testing.assert_allclose(changed.drives[0].mean, circuit.drives[0].mean + 0.1)
    assert changed.drives[0].std == pytest.approx(0.7)
    assert changed.population("E").neuron.v_th == -49.0
    for name in ("tau_m", "t_ref"):
        np.testing.assert_allclose(
            getattr(changed.population("E").neuron, name), getattr(circuit.population("E").neuron, name)
        )


def chain(*nodes, size=2, out=2):
    """Nodes one after the other between an input and an output."""
    named = {"input": nir.Input({"input": np.array(size if isinstance(size, tuple) else [size])})}
    named |= {f"n{k}": node for k, node in enumerate(nodes)}
    named["output"] = nir.Output({"output": np.array([out])})
    names = list(named)
    return nir.NIRGraph(named, list(pairwise(names)), type_check=False)


def lif(n=2, **changes):
    full = {"tau": 0.02, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | changes
    return nir.LIF(**{name: np.full(n, value) for name, value in full.items()})


def test_lif_nodes_are_their_differential_equation():
    """A pulse of height 1 for dt moves v by w r dt/tau; a bias b is r b/tau per time: both by hand."""
    weight, bias = np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([0.2, 0.4])
    circuit = from_nir(chain(nir.Affine(weight, bias), lif(r=4.0, v_leak=-0.1)), 0.5, inputs=0.1, t_ref=2.0)
    neuron = circuit.population("n1").neuron
    assert (neuron.tau_m, neuron.t_ref, neuron.v_rest, neuron.v_th) == (20.0, 2.0, -0.1, 1.0)
    (projection,), (drive,) = circuit.projections, circuit.drives
    np.testing.assert_allclose(circuit.dense(projection), weight * 4.0 * 0.5 / 20)
    np.testing.assert_allclose(drive.mean, 4.0 * bias / 20)


def test_one_number_for_all_neurons_is_enough():
    one = nir.LIF(*(np.array(value) for value in (0.02, 200.0, 0.0, 1.0, 0.0)))
    circuit = from_nir(chain(nir.Linear(np.eye(3)), one, nir.Linear(np.ones((2, 3))), lif(), size=3), 0.1, inputs=0.1)
    assert [population.size for population in circuit.populations] == [3, 3, 2]


def test_cuba_lif_nodes_give_the_charge_of_their_equations():
    node = nir.CubaLIF(
        tau_syn=np.full(2, 0.005),
        tau_mem=np.full(2, 0.02),
        r=np.full(2, 3.0),
        v_leak=np.zeros(2),
        v_threshold=np.full(2, 100.0),
        v_reset=np.zeros(2),
        w_in=np.full(2, 2.0),
    )
    circuit = from_nir(chain(nir.Linear(np.eye(2) * 40), node), 0.1, inputs=SpikeSource("input", [1.0], [0], size=2))
    result = simulate(circuit, 60, codegen="runtime", record={"n1": ["spikes", States("v", every=0.1)]})
    v = result["states/n1/v"].values[0, :, 0]
    # tau_syn dI/dt = -I + w_in S, tau_mem dv/dt = -v + r I with S = 40 for one step: Euler in steps of a hundredth.
    fine, current, own, expected = 1e-3, 0.0, 0.0, []
    for k in range(60_000):
        drive = 40.0 if 1000 <= k < 1100 else 0.0
        if k % 100 == 0:
            expected.append(own)
        current, own = current + fine / 5 * (2.0 * drive - current), own + fine / 20 * (3.0 * current - own)
    assert v.max() == pytest.approx(max(expected), rel=0.02)  # the pulse arrives within a step of 0.1 ms
    assert v.sum() == pytest.approx(np.sum(expected), rel=0.005)
    assert circuit.projections[0].tau_syn == 5.0


def test_if_threshold_delay_and_recurrence():
    weight = np.eye(2)
    integrate = nir.IF(r=np.full(2, 1e4), v_threshold=np.full(2, 3.5))
    circuit = from_nir(
        chain(nir.Linear(weight), integrate), 0.1, inputs=SpikeSource("input", np.arange(1.0, 40), [0] * 39, 2)
    )
    result = simulate(circuit, 40, codegen="runtime")
    # 1e4 for 0.1 ms is 1 a spike: every fourth spike of the input fires.
    np.testing.assert_allclose(result["spikes/spike_time"].values * 1e3, np.arange(4, 40, 4) + 0.05, atol=1e-9)

    gate = nir.Threshold(np.array([1.5]))
    times, which = [1.0, 2.0, 3.0, 3.0, 4.0], [0, 1, 0, 1, 0]
    both = nir.Linear(np.array([[1.0, 1.0]]))
    circuit = from_nir(chain(both, gate), 0.1, inputs=SpikeSource("input", times, which))
    result = simulate(circuit, 10, codegen="runtime")
    np.testing.assert_allclose(result["spikes/spike_time"].values * 1e3, [3.05])  # both at once
    equal = from_nir(chain(both, nir.Threshold(np.array([2.0]))), 0.1, inputs=SpikeSource("input", times, which))
    assert not simulate(equal, 10, codegen="runtime")["spikes"].sizes["spike"]  # not above 2

    late = from_nir(chain(nir.Delay(np.array([0.001, 0.002])), nir.Linear(np.ones((2, 2))), lif()), 0.1, inputs=0.1)
    assert [(p.delay, late.dense(p).tolist()) for p in late.projections] == [
        (1.0, (np.array([[1.0, 0], [1.0, 0]]) * 0.1 / 20).tolist()),
        (2.0, (np.array([[0, 1.0], [0, 1.0]]) * 0.1 / 20).tolist()),
    ]

    inner = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([2])}),
            "lif": lif(),
            "w": nir.Linear(np.array([[0.0, 1.0], [-1.0, 0.0]])),
            "output": nir.Output({"output": np.array([2])}),
        },
        [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")],
    )
    circuit = from_nir(chain(nir.Linear(np.eye(2) * 200.0), inner), 0.1, inputs=0.2)
    assert circuit.is_recurrent
    assert [(p.source, p.target) for p in circuit.projections] == [("n1.lif", "n1.lif"), ("input", "n1.lif")] or [
        (p.source, p.target) for p in circuit.projections
    ] == [("input", "n1.lif"), ("n1.lif", "n1.lif")]


def test_li_before_an_output_is_a_readout():
    li = nir.LI(tau=np.full(2, 0.01), r=np.full(2, 3.0), v_leak=np.full(2, 0.5))
    weight, bias = np.array([[1.0, 2.0], [0.0, 4.0]]), np.array([0.1, 0.2])
    circuit = from_nir(chain(nir.Linear(np.eye(2)), lif(), nir.Affine(weight, bias), li), 0.5, inputs=0.1)
    # The mean of LI is r (W rate dt + b) + v_leak, pulses of 1 lasting dt.
    np.testing.assert_allclose(circuit.readout.weights, 3.0 * weight * 0.5)
    np.testing.assert_allclose(circuit.readout.bias, 3.0 * bias + 0.5)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize(
    ("padding", "stride", "dilation", "groups"),
    [(0, 1, 1, 1), ((1, 2), (2, 1), 1, 2), ("same", 1, (2, 1), 1), ("valid", 2, 1, 1)],
)
def test_convolutions_are_those_of_pytorch(padding, stride, dilation, groups):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6 // groups, 3, 2, generator=generator, dtype=torch.float64)
    bias = torch.randn(4, generator=generator, dtype=torch.float64)
    x = torch.randn(1, 6, 7, 8, generator=generator, dtype=torch.float64)
    own = convolution(
        weight.numpy(), bias.numpy(), (6, 7, 8), stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    expected = torch.nn.functional.conv2d(x, weight, bias, stride, padding, dilation, groups)[0].numpy()
    assert own.shape == expected.shape
    np.testing.assert_allclose((own.matrix @ x.numpy().ravel() + own.offset).reshape(own.shape), expected, atol=1e-12)


@pytest.mark.parametrize("mean", [False, True])
def test_pooling_is_that_of_pytorch(mean):
    x = torch.randn(1, 3, 6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own = pooling((3, 6, 8), np.array([2, 3]), np.array([2, 1]), np.array([1, 0]), mean=mean)
    expected = torch.nn.functional.avg_pool2d(x, (2, 3), (2, 1), (1, 0))[0].numpy() * (1 if mean else 6)
    np.testing.assert_allclose((own.matrix @ x.numpy().ravel()).reshape(own.shape), expected, atol=1e-12)


def test_convolutional_graphs_become_sparse_projections(tmp_path):
    weight = RNG.normal(size=(2, 1, 3, 3))
    convolved = nir.Conv2d(
        input_shape=(6, 6), weight=weight, stride=1, padding=0, dilation=1, groups=1, bias=np.array([0.1, -0.1])
    )
    image = {name: np.full((2, 4, 4), value) for name, value in (("tau", 0.02), ("r", 200.0), ("v_leak", 0.0))}
    spiking = nir.LIF(**image, v_threshold=np.ones((2, 4, 4)), v_reset=np.zeros((2, 4, 4)))
    pool = nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0]))
    flatten = nir.Flatten(input_type={"input": np.array([2, 2, 2])}, start_dim=0, end_dim=-1)
    graph = chain(convolved, spiking, pool, flatten, nir.Linear(RNG.normal(size=(3, 8))), lif(3), size=(1, 6, 6), out=3)
    nir.write(tmp_path / "graph.nir", graph)
    circuit = from_nir(nir.read(tmp_path / "graph.nir", type_check=False), 0.1, inputs=0.05)
    assert [population.size for population in circuit.populations] == [36, 32, 3]
    assert sparse.issparse(circuit.projections[0].weights)
    x = RNG.normal(size=(1, 6, 6))
    expected = torch.nn.functional.conv2d(torch.tensor(x)[None], torch.tensor(weight))[0].numpy().ravel()
    np.testing.assert_allclose(circuit.dense(circuit.projections[0]) @ x.ravel(), expected, atol=1e-12)
    np.testing.assert_allclose(circuit.drives[0].mean, np.repeat([0.1, -0.1], 16) / 0.1)


@needs_snntorch
@pytest.mark.filterwarnings("ignore")
def test_snntorch_reads_our_graph_and_fires_as_we_do(capsys):
    from snntorch.import_nir import import_from_nir

    rng = np.random.default_rng(1)
    times, which = np.nonzero(rng.random((2000, 6)) < 0.02)
    circuit = Circuit(
        [SpikeSource("in", times * 0.1, which, 6), Population("hidden", 8, LIFParameters(t_ref=0.0, v_th=10.0))],
        [Projection("in", "hidden", weights=rng.uniform(0, 4, (8, 6)))],
        [GaussianDrive("hidden", mean=rng.uniform(0, 0.3, 8))],
    )
    net = import_from_nir(to_nir(circuit, 0.1))
    capsys.readouterr()
    spikes = torch.zeros(2000, 1, 6)
    spikes[times, 0, which] = 1.0
    found, state = [], None
    with torch.no_grad():
        for step in spikes:
            out = net(step, state) if state is not None else net(step)
            out, state = out if isinstance(out, tuple) else (out, None)
            found.append(out[0].numpy() > 0)
    theirs = np.array(found)
    result = simulate(circuit, 200, dt=0.1, codegen="runtime")["spikes"]
    size = result["row_size"].values[0]
    steps = np.rint(result["spike_time"].values * 1e4 - 0.5).astype(int)
    ours = np.zeros((2000, 8), dtype=bool)
    ours[steps, np.repeat(np.arange(8), size)] = True
    assert ours.sum() > 200
    # Its leak is 1 - dt/tau, ours exp(-dt/tau): a spike here and there comes a step earlier or later.
    assert abs(int(theirs.sum()) - int(ours.sum())) <= 0.01 * ours.sum()
    assert (ours & theirs).sum() > 0.97 * ours.sum()


@needs_snntorch
@pytest.mark.filterwarnings("ignore")
def test_we_read_graphs_of_snntorch():
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 5), snn.Leaky(0.95 * torch.ones(5), threshold=torch.ones(5), init_hidden=True),
        torch.nn.Linear(5, 3), snn.Leaky(0.9 * torch.ones(3), threshold=torch.ones(3), init_hidden=True, output=True),
    )  # fmt: skip
    graph = export_to_nir(net, torch.randn(6))
    circuit = from_nir(graph, 0.1, inputs=0.1)
    assert [population.size for population in circuit.populations] == [6, 5, 3]
    assert circuit.neurons[0].neuron.tau_m == pytest.approx(0.1 / 0.05, rel=1e-6)
    np.testing.assert_allclose(circuit.dense(circuit.projections[0]), net[0].weight.detach(), rtol=1e-5)
    np.testing.assert_allclose(circuit.drives[0].mean, net[0].bias.detach() / 0.1, rtol=1e-5)


def test_what_has_no_counterpart_is_named():
    good = chain(nir.Linear(np.eye(2)), lif())
    with pytest.raises(ValueError, match="`dt` must be given, ms: the graph does not say"):
        from_nir(good, inputs=0.1)
    with pytest.raises(ValueError, match="nothing says how the Input 'input' fires: give `inputs`"):
        from_nir(good, 0.1)
    with pytest.raises(ValueError, match="`inputs` name 'inptu'; the graph has the Input nodes input"):
        from_nir(good, 0.1, inputs={"inptu": 0.1})
    with pytest.raises(ValueError, match="must have its name and 2 elements, got 'in', 3"):
        from_nir(good, 0.1, inputs=SpikeSource("in", [1.0], [2]))
    with pytest.raises(TypeError, match=r"must be a nir\.NIRGraph or the path of one, got int"):
        from_nir(3, 0.1)
    with pytest.raises(FileNotFoundError, match="no NIR file"):
        from_nir("none.nir", 0.1)
    with pytest.raises(ValueError, match="the node 'n0' is of type I, which has no counterpart here: LIF, CubaLIF"):
        from_nir(chain(nir.I(np.ones(2)), lif()), 0.1, inputs=0.1)
    with pytest.raises(ValueError, match="the node 'n0' is of type LI, which has no counterpart"):
        from_nir(chain(nir.LI(np.ones(2), np.ones(2), np.zeros(2)), lif()), 0.1, inputs=0.1)
    with pytest.raises(ValueError, match="the node 'n1' takes 3 signals, 2 arrive"):
        from_nir(chain(nir.Linear(np.eye(2)), nir.Linear(np.eye(3)), lif(3)), 0.1, inputs=0.1)
    pool = nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0]))
    with pytest.raises(ValueError, match="the node 'n0' takes images of shape"):
        from_nir(chain(pool, lif()), 0.1, inputs=0.1)
    circle = nir.NIRGraph(
        {
            "input": nir.Input({"input": np.array([2])}),
            "a": nir.Linear(np.eye(2)),
            "b": nir.Linear(np.eye(2)),
            "lif": lif(),
            "output": nir.Output({"output": np.array([2])}),
        },
        [("input", "a"), ("a", "b"), ("b", "a"), ("b", "lif"), ("lif", "output")],
    )
    with pytest.raises(ValueError, match="form a circle without neurons"):
        from_nir(circle, 0.1, inputs=0.1)
    two = nir.CubaLIF(
        tau_syn=np.array([0.005, 0.01]),
        tau_mem=np.full(2, 0.02),
        r=np.ones(2),
        v_leak=np.zeros(2),
        v_threshold=np.ones(2),
    )
    with pytest.raises(ValueError, match="time constants 5 ms to 10 ms: those of a population have one"):
        from_nir(chain(nir.Linear(np.eye(2)), two), 0.1, inputs=0.1)


def test_what_nir_has_no_node_for_is_named():
    one = LIFParameters()

    def circuit(neuron, **more):
        return Circuit([Population("E", 2, neuron)], [Projection("E", "E", weights=np.ones((2, 2)), **more)])

    with pytest.raises(TypeError, match="'E' are AdEx: NIR has leaky integrate-and-fire neurons"):
        to_nir(circuit(AdEx()))
    with pytest.raises(ValueError, match="the delays of projection 'E' → 'E' differ among its synapses"):
        to_nir(circuit(one, delay=Uniform(0.5, 3.0)))
    both = [Projection("E", "E", weights=np.ones((2, 2)), tau_syn=tau) for tau in (2.0, 5.0)]
    with pytest.raises(ValueError, match=r"'E' has the synapses .*one time constant"):
        to_nir(Circuit([Population("E", 2, one)], both))
    with pytest.raises(TypeError, match="`circuit` must be a Circuit"):
        to_nir(3)
