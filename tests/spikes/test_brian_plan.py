"""Plans of simulations: what is structure and what is a number, synapses, and the key of a program."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from mnnbio import (
    Bernoulli,
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
)
from mnnbio.spikes import plan as plan_module
from mnnbio.spikes import planner
from mnnbio.spikes import program_cache as program_key
from mnnbio.spikes.plan import Plan, differences
from mnnbio.spikes.planner import Planned, plan_circuit
from mnnbio.spikes.program_files import write_inputs


def circuit(seed=0, *, n=6, n_stimuli=None, density=0.5, std=0.3, name="n", scale=1.0):
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0, 1, 4 if n_stimuli is None else (n_stimuli, 4))
    weights = rng.normal(0, scale, (n, 4)) * (rng.uniform(size=(n, 4)) < density)
    return Circuit(
        [PoissonSource("in", 4, rates), Population(name, n, LIFParameters(v_th=rng.uniform(10, 20, n)))],
        [
            Projection("in", name, weights=weights),
            Projection(
                name, name, weight=rng.uniform(), connectivity=Bernoulli(density), delay=rng.integers(1, 9) * 0.1
            ),
        ],
        [GaussianDrive(name, mean=rng.uniform(), std=std), PoissonDrive(name, 0.1 * n, 0.3)],
        seed=seed,
    )


def planned(circuit, *, dt=0.1, replicas=2, like=None):
    return plan_circuit(circuit, dt=dt, replicas=replicas, like=like)


def key(plan, compiler="g++ 99"):
    return program_key.program_key(plan, compiler)


def test_numbers_and_synapses_are_not_structure():
    plans = [
        planned(circuit(0)),
        planned(circuit(1, n_stimuli=3, density=0.1, scale=0.1)),
        planned(circuit(2, density=0.0)),
    ]
    assert [plan.structure() for plan in plans] == [plans[0].structure()] * 3
    assert len({key(plan) for plan in plans}) == 1
    assert json.loads(json.dumps(plans[0].structure())) == plans[0].structure()


def test_everything_else_is_in_the_key(monkeypatch):
    keys = [
        key(plan)
        for plan in (
            planned(circuit()),
            planned(circuit(), dt=0.05),
            planned(circuit(), replicas=3),
            planned(circuit(n=7)),
            planned(circuit(name="m")),
            planned(circuit(std=0.0)),
        )
    ]
    assert len(set(keys)) == len(keys)
    monkeypatch.setenv("CXX", "clang++")
    other_options = key(planned(circuit()))
    other_compiler = key(planned(circuit()), "g++ 100")
    monkeypatch.setattr(program_key, "processor", lambda: "another")
    assert len({*keys, other_options, other_compiler, key(planned(circuit()))}) == len(keys) + 3
    assert all(re.fullmatch("[0-9a-f]{32}-[0-9a-f]{8}", own) for own in keys)
    assert key(planned(circuit()), None).endswith("-*")


def test_synapses_are_the_matrix_sorted_by_source(tmp_path):
    own = circuit(3)
    plan = planned(own)
    for projection, synapses in zip(own.projections, plan.synapses.values(), strict=True):
        weights = synapses.tables["w_syn"] * np.ones(len(synapses.targets))
        rebuilt = sparse.coo_array(
            (1e3 * weights[0], (synapses.targets, synapses.sources())), own.dense(projection).shape
        )
        np.testing.assert_allclose(rebuilt.toarray(), own.dense(projection), rtol=1e-15)
        assert np.all(np.diff(synapses.sources()) >= 0)
        assert synapses.targets.dtype == synapses.outgoing.dtype == np.int32
    one, rule = plan.synapses.values()
    assert "w_syn" not in one.shared
    assert "w_syn" in rule.shared  # one weight for all: not stored for each
    assert rule.tables["w_syn"].shape == (1, 1)
    write_inputs(plan, tmp_path)
    assert np.array_equal(np.fromfile(tmp_path / "in_to_n.targets", np.int32), one.targets)
    assert np.array_equal(np.fromfile(tmp_path / "in_to_n.outgoing", np.int32), one.outgoing)
    assert np.array_equal(np.fromfile(tmp_path / "in_to_n.w_syn"), one.tables["w_syn"][0])
    assert np.array_equal(np.fromfile(tmp_path / "n.hold", np.int32), np.full(6, 50))


def test_large_arrays_are_shared_with_the_circuit_not_copied():
    weights = sparse.csr_array(np.random.default_rng(0).normal(size=(5, 6)))
    own = Circuit(
        [Population("n", 6, LIFParameters()), Population("m", 5, LIFParameters())], [Projection("n", "m", weights)]
    )
    first = planned(own)
    changed = Circuit(own.populations, own.projections, [GaussianDrive("n", mean=1.0)])
    again = planned(changed, like=Planned(own, first))
    assert again.synapses["n_to_m"] is first.synapses["n_to_m"]
    other = planned(Circuit(own.populations, [Projection("n", "m", weights)]), like=Planned(own, first))
    assert other.synapses["n_to_m"] is not first.synapses["n_to_m"]


def test_only_what_has_changed_is_written(tmp_path):
    own = circuit(4)
    first = planned(own)
    changed = Circuit(
        [PoissonSource("in", 4, np.full(4, 0.2)), own.populations[1]], own.projections, own.drives, seed=own.seed
    )
    write_inputs(planned(changed, like=Planned(own, first)), tmp_path / "rates", first)
    assert [path.name for path in (tmp_path / "rates").iterdir()] == ["in.gap_scale"]
    stronger = own.with_parts(
        projections=[replace(own.projections[0], weights=2 * own.projections[0].weights), own.projections[1]]
    )
    write_inputs(planned(stronger, like=Planned(own, first)), tmp_path / "weights", first)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["in_to_n.w_syn"]


def test_parts_that_a_zero_would_leave_out_stay_where_a_plan_has_them():
    own, silent = circuit(std=0.3), circuit(std=0.0)
    assert planned(silent).structure() != planned(own).structure()
    alike = planned(silent, like=Planned(own, planned(own)))
    assert alike.structure() == planned(own).structure()
    assert not alike.groups["n"].tables["kick"].any()
    # A rule in place of a matrix keeps one weight for each synapse.
    rule = Circuit(
        own.populations, [Projection("in", "n", weight=0.5, connectivity=FixedIndegree(2)), own.projections[1]]
    )
    matrix = Circuit(own.populations, own.projections)
    alike = planned(rule, like=Planned(matrix, planned(matrix)))
    assert alike.structure() == planned(matrix).structure()
    assert np.array_equal(alike.synapses["in_to_n"].tables["w_syn"], np.full((1, 12), 0.5e-3))


def test_differences_say_where():
    one = {"dt": 0.1, "groups": {"a": {"size": 1, "equations": "x : 1\n"}, "b": {}}}
    assert list(differences(one, json.loads(json.dumps(one)))) == []
    other = {"dt": 0.2, "groups": {"a": {"size": 2, "equations": "x : 1\ny : 1\n"}, "c": {}}}
    assert list(differences(one, other)) == [
        "dt: 0.1 → 0.2",
        "groups a size: 1 → 2",
        "groups a equations: x : 1 → x : 1 y : 1",
        "groups b: present → none",
        "groups c: none → present",
    ]
    assert list(differences({"x": {"a": 1, "b": 2}}, {"x": {"b": 2, "a": 1}})) == ["order of x: a, b → b, a"]


def test_a_plan_says_when_there_are_too_many_synapses(monkeypatch):
    monkeypatch.setattr(plan_module, "_MOST_INDICES", 10)
    plan = Plan(dt=0.1, replicas=2)
    group = plan.add_group("n", 6, "v : 1")
    with pytest.raises(ValueError, match="n → n must have at most 10 synapses in all replicas, got 6 in each of 2"):
        plan.add_synapses("n_to_n", group, group, np.zeros(6, np.int32), np.ones(6, np.int32), equations="")


def test_names_become_identifiers_and_stay_apart():
    plan = Plan(dt=0.1, replicas=1)
    names = [plan.add_group(wish, 1, "v : 1").name for wish in ("a b", "a_b", "1", "_x", "network", "été")]
    assert names == ["a_b", "a_b_1", "group_1", "group__x", "network_1", "group__t_"]


def test_modes_are_a_group_of_their_own(monkeypatch):
    monkeypatch.setattr(planner, "_MOST_EXPANDED", 10)
    modes = ModeMatrix(np.arange(10.0).reshape(5, 2), [2.0, -1.0], np.ones((4, 2)))
    own = Circuit(
        [PoissonSource("in", 4, np.ones(4)), Population("n", 5, LIFParameters())], [Projection("in", "n", modes)]
    )
    plan = planned(own)
    assert list(plan.groups) == ["in", "n", "in_to_n_modes"]
    drive = plan.synapses["in_to_n_input_modes"]
    rebuilt = np.zeros((5, 2))
    rebuilt[drive.targets, drive.sources()] = 1e3 * drive.tables["w_syn"][0]
    np.testing.assert_allclose(rebuilt, modes.input_modes * modes.scores, rtol=1e-15)
    assert (drive.reads, drive.adds_to) == ("activity", "mode_input0")
    assert plan.synapses["in_to_n_output_modes"].adds_to == "activity"


def test_planning_needs_no_brian2():
    code = (
        "import sys, numpy as np; from mnnbio.circuit import Circuit, Population; from mnnbio.neurons.lif import LIFParameters;"
        "from mnnbio.spikes.planner import plan_circuit;"
        "plan_circuit(Circuit([Population('n', 2, LIFParameters())]), dt=0.1, replicas=1);"
        "print([name for name in ('brian2', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def test_the_key_depends_on_our_headers(monkeypatch, tmp_path):
    before = key(planned(circuit()))
    copied = tmp_path / "spikes"
    shutil.copytree(Path(program_key.__file__).parent, copied)
    monkeypatch.setattr(program_key, "files", lambda package: copied)
    assert key(planned(circuit())) == before
    with (copied / "cpp" / "draws.h").open("a") as header:
        header.write("// changed\n")
    assert key(planned(circuit())) != before
