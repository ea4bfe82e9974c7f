"""SONATA: realised synapses come back bit by bit, networks of others become circuits, and what cannot be is said."""

import json

import numpy as np
import pytest
from brian2 import Hz
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    Normal,
    PoissonSource,
    Population,
    Projection,
    SpikeSource,
    Uniform,
    simulate,
)
from mnnbio.formats import LeftOutWarning, from_sonata, from_sonata_spikes, to_sonata
from mnnbio.neurons import AdEx
from mnnbio.synapses import ShortTermPlasticity

h5py = pytest.importorskip("h5py", reason="h5py is not installed: pip install h5py")


def network(tau_syn=0.0):
    lif = LIFParameters(tau_m=Uniform(10.0, 20.0), v_rest=-65.0, v_th=-50.0, v_reset=-60.0, t_ref=2.0)
    return Circuit(
        [
            PoissonSource("input", 30, rates=np.linspace(0.1, 0.3, 30)),
            SpikeSource("clock", [3.0, 1.0, 2.0], [1, 0, 0]),
            Population("E", 20, lif),
            Population("I", 5, LIFParameters(tau_m=10.0)),
        ],
        [
            Projection("input", "E", weight=0.7, connectivity=FixedIndegree(10), tau_syn=tau_syn),
            Projection("clock", "E", weights=np.full((20, 2), 0.3), tau_syn=tau_syn),
            Projection("E", "I", weight=Normal(1.0, 0.2), connectivity=Bernoulli(0.5), delay=1.5, tau_syn=tau_syn),
            Projection(
                "I", "E", weights=-np.arange(100.0).reshape(20, 5), delay=Uniform(0.5, 3.0), tau_syn=2 * tau_syn
            ),
        ],
        seed=3,
    )


def synapses(circuit, projection):
    matrix, delays = circuit.matrix(projection), circuit.delays(projection)
    dense = circuit.dense(projection)
    if isinstance(delays, float):
        return dense, delays
    late = np.zeros(dense.shape)
    if isinstance(matrix, np.ndarray):
        late[matrix != 0] = delays[matrix != 0]
    else:
        late[matrix.nonzero()] = delays
    return dense, late


@pytest.mark.parametrize("tau_syn", [0.0, 5.0])
def test_realised_weights_and_delays_come_back_bit_by_bit(tau_syn, tmp_path):
    circuit = network(tau_syn)
    back = from_sonata(to_sonata(circuit, tmp_path))
    for ours, theirs in zip(circuit.projections, back.projections, strict=True):
        assert (theirs.source, theirs.target, theirs.tau_syn) == (ours.source, ours.target, ours.tau_syn)
        for one, other in zip(synapses(circuit, ours), synapses(back, theirs), strict=True):
            np.testing.assert_array_equal(one, other)
    for ours, theirs in zip(circuit.populations, back.populations, strict=True):
        assert (theirs.name, theirs.size, type(theirs)) == (ours.name, ours.size, type(ours))
    np.testing.assert_array_equal(back.population("E").neuron.tau_m, circuit.population("E").neuron.tau_m)
    assert back.population("I").neuron == circuit.population("I").neuron
    np.testing.assert_allclose(back.population("input").rates, circuit.population("input").rates, rtol=1e-15)
    np.testing.assert_array_equal(back.population("clock").times, [1.0, 2.0, 3.0])


def test_a_circuit_that_comes_back_fires_as_it_did(tmp_path):
    circuit = network()
    ours = simulate(circuit, 200, seed=1, codegen="runtime", covariance=False)
    theirs = simulate(from_sonata(to_sonata(circuit, tmp_path)), 200, seed=1, codegen="runtime", covariance=False)
    np.testing.assert_array_equal(ours["spikes/spike_time"].values, theirs["spikes/spike_time"].values)
    assert ours["spikes"].sizes["spike"] > 50


def foreign(folder, *, template="nest:iaf_psc_exp", model_type="point_process", weight=40.0, synapse="static_synapse"):
    """A network as other programs write it: types in one population, parameters in components, weights of types."""
    (folder / "components").mkdir(exist_ok=True)
    params = {"tau_m": 20.0, "C_m": 200.0, "V_th": -50.0, "V_reset": -60.0, "E_L": -65.0, "t_ref": 2.0}
    (folder / "components" / "exc.json").write_text(json.dumps(params | {"tau_syn_ex": 3.0, "tau_syn_in": 6.0}))
    (folder / "components" / "inh.json").write_text(
        json.dumps(params | {"tau_m": 10.0, "I_e": 100.0, "tau_syn_ex": 3.0, "tau_syn_in": 6.0})
    )
    (folder / "node_types.csv").write_text(
        "node_type_id model_type model_template dynamics_params pop_name\n"
        f"100 {model_type} {template} exc.json exc\n101 {model_type} {template} inh.json inh\n"
    )
    (folder / "lgn_types.csv").write_text("node_type_id model_type\n1 virtual\n")
    weights = f"{weight} 1.5 1\n8 -80 0.5 2\n" if weight is not None else "NULL 1.5 1\n8 NULL 0.5 2\n"
    (folder / "edge_types.csv").write_text(
        "edge_type_id syn_weight delay nsyns model_template\n"
        + f"7 {weights}".replace(" 1\n", f" 1 {synapse}\n").replace(" 2\n", f" 2 {synapse}\n")
    )
    with h5py.File(folder / "nodes.h5", "w") as file:
        for name, types in (("v1", [100, 100, 101]), ("lgn", [1, 1])):
            group = file.create_group(f"nodes/{name}")
            group["node_type_id"] = types
            group["node_id"] = group["node_group_index"] = np.arange(len(types))
            group["node_group_id"] = np.zeros(len(types), int)
            group.create_group("0")
    with h5py.File(folder / "edges.h5", "w") as file:
        for name, source, pairs in (
            ("lgn_v1", "lgn", [(0, 0, 7), (1, 2, 7), (0, 0, 7)]),
            ("v1_v1", "v1", [(2, 0, 8), (2, 1, 8)]),
        ):
            group = file.create_group(f"edges/{name}")
            for k, end in enumerate(("source", "target")):
                group[f"{end}_node_id"] = [pair[k] for pair in pairs]
                group[f"{end}_node_id"].attrs["node_population"] = source if end == "source" else "v1"
            group["edge_type_id"] = [pair[2] for pair in pairs]
            group["edge_group_id"] = np.zeros(len(pairs), int)
            group["edge_group_index"] = np.arange(len(pairs))
            group.create_group("0")
    split = {"nodes_file": "$BASE/nodes.h5", "node_types_file": "$BASE/node_types.csv"}
    with h5py.File(folder / "nodes.h5", "a") as file:
        with h5py.File(folder / "lgn.h5", "w") as other:
            file.copy("nodes/lgn", other.create_group("nodes"))
        del file["nodes/lgn"]
    config = {
        "manifest": {"$BASE": "."},
        "components": {"point_neuron_models_dir": "$BASE/components"},
        "networks": {
            "nodes": [split, {"nodes_file": "$BASE/lgn.h5", "node_types_file": "$BASE/lgn_types.csv"}],
            "edges": [{"edges_file": "$BASE/edges.h5", "edge_types_file": "$BASE/edge_types.csv"}],
        },
    }
    (folder / "circuit_config.json").write_text(json.dumps(config))
    return folder / "circuit_config.json"


def test_a_network_of_others_becomes_a_circuit(tmp_path):
    circuit = from_sonata(foreign(tmp_path), rates={"lgn": 50 * Hz})
    v1 = circuit.population("v1").neuron
    np.testing.assert_array_equal(v1.tau_m, [20.0, 20.0, 10.0])
    assert (v1.v_th, v1.v_reset, v1.v_rest, v1.t_ref) == (-50.0, -60.0, -65.0, 2.0)
    assert circuit.population("lgn").rates[0] == pytest.approx(0.05)
    (drive,) = circuit.drives
    np.testing.assert_allclose(drive.mean, [0.0, 0.0, 0.5])  # 100 pA / 200 pF
    ends = [(p.source, p.tau_syn, p.delay) for p in circuit.projections]
    assert ends == [("lgn", 3.0, 1.5), ("lgn", 3.0, 1.5), ("v1", 6.0, 0.5)]
    first, second, inner = (circuit.dense(p) for p in circuit.projections)
    # 40 pA for 3 ms into 200 pF: 0.6 mV; the pair (0, 0) has two synapses.
    np.testing.assert_allclose(first, [[0.6, 0], [0, 0], [0, 0.6]])
    np.testing.assert_allclose(second, [[0.6, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(inner[:2, 2], -80 * 2 * 6.0 / 200)


def test_what_has_no_counterpart_is_said(tmp_path):
    config = foreign(tmp_path)
    with pytest.raises(ValueError, match=r"nothing says when the virtual nodes 'lgn' fire: give `rates=\{'lgn'"):
        from_sonata(config)
    with pytest.raises(ValueError, match="`rates` name 'lgm'; the network has the populations lgn, v1"):
        from_sonata(config, rates={"lgn": 0.1, "lgm": 0.1})
    with pytest.raises(ValueError, match="'v1' are of model_template nest:glif_psc"):
        from_sonata(foreign(tmp_path, template="nest:glif_psc"), rates={"lgn": 0.1})
    with pytest.raises(ValueError, match="'v1' are of model_type biophysical"):
        from_sonata(foreign(tmp_path, model_type="biophysical"), rates={"lgn": 0.1})
    with pytest.raises(ValueError, match="'lgn_v1' are stdp_synapse: static_synapse alone"):
        from_sonata(foreign(tmp_path, synapse="stdp_synapse"), rates={"lgn": 0.1})
    with pytest.raises(ValueError, match="'lgn_v1' have no `syn_weight`, first at edge 0"):
        from_sonata(foreign(tmp_path, weight=None), rates={"lgn": 0.1})
    with pytest.raises(FileNotFoundError, match="no circuit configuration"):
        from_sonata(tmp_path / "none.json")
    (tmp_path / "simulation.json").write_text('{"run": {}, "network": "circuit_config.json"}')
    with pytest.raises(ValueError, match="no entry `networks`, only run, network"):
        from_sonata(tmp_path / "simulation.json")


def test_what_a_network_does_not_hold_is_said(tmp_path):
    lif = LIFParameters()
    with pytest.warns(LeftOutWarning, match="Gaussian drive of 'E' left out"):
        to_sonata(Circuit([Population("E", 2, lif)], drives=[GaussianDrive("E", 1.0)]), tmp_path)
    with pytest.raises(TypeError, match="'E' are AdEx: `to_sonata` writes leaky"):
        to_sonata(Circuit([Population("E", 2, AdEx())]), tmp_path)
    two = [Projection("E", "E", weights=np.eye(2), tau_syn=tau) for tau in (2.0, 5.0)]
    with pytest.raises(ValueError, match="'E' has synapses of time constants 2, 5 ms"):
        to_sonata(Circuit([Population("E", 2, lif)], two), tmp_path)
    plastic = Projection(
        "E", "E", weights=sparse.csr_array(np.eye(2)), plasticity=ShortTermPlasticity(U=0.5, tau_rec=100.0)
    )
    with pytest.raises(TypeError, match="has ShortTermPlasticity synapses"):
        to_sonata(Circuit([Population("E", 2, lif)], [plastic]), tmp_path)


def test_spikes_are_read(tmp_path):
    path = tmp_path / "spikes.h5"
    with h5py.File(path, "w") as file:
        for name, unit in (("v1", "milliseconds"), ("lgn", None)):
            group = file.create_group(f"spikes/{name}")
            group["timestamps"], group["node_ids"] = [150.0, 50.0, 120.0], [1, 0, 1]
            if unit:
                group["timestamps"].attrs["units"] = unit
    recorded = from_sonata_spikes(path, sizes={"v1": 3}, duration=100, warmup=100)
    np.testing.assert_allclose(recorded["spikes/spike_time"].values, [-0.05, 0.02, 0.05])
    np.testing.assert_allclose(recorded["simulation/rate"].values, [0.0, 20.0, 0.0])
    with pytest.raises(ValueError, match=r"`unit` of the spikes of 'lgn' in .* must be given"):
        from_sonata_spikes(path, duration=200)
    with pytest.raises(ValueError, match="below its size, 1, got 1"):
        from_sonata_spikes(path, sizes={"v1": 1}, duration=200)
    with pytest.raises(ValueError, match="`sizes` name 'v2'"):
        from_sonata_spikes(path, sizes={"v2": 1}, duration=200)
    with pytest.raises(FileNotFoundError, match="no SONATA file"):
        from_sonata_spikes(tmp_path / "none.h5", duration=200)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("nodes")
    with pytest.raises(ValueError, match="holds no spikes, only nodes"):
        from_sonata_spikes(tmp_path / "x.h5", duration=200)
