"""Runs that change the numbers of a circuit: as if the changed circuit had been built, and errors where they cannot."""

import dataclasses
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from brian2 import ms, mV, second
from scipy import sparse

from mnnbio import (
    Circuit,
    FixedIndegree,
    GaussianDrive,
    LIFParameters,
    ModeMatrix,
    PoissonDrive,
    PoissonSource,
    Population,
    Projection,
    build,
)
from mnnbio.spikes.processes import Deadline, SimulationTimeout, run_program
from mnnbio.spikes.program_files import Job, SimulationFailed, write_plan_file
from mnnbio.spikes.recording import Channel
from mnnbio.spikes.runs import Run
from mnnbio.spikes.timing import Times

RNG = np.random.default_rng(5)
RATES = RNG.uniform(0, 1, 6)
FORWARD, RECURRENT = RNG.uniform(0, 3, (5, 6)), RNG.normal(0, 0.5, (5, 5))


def circuit(**changes):
    """A circuit of which some parts are replaced."""
    parts = {
        "rates": RATES,
        "lif": LIFParameters(t_ref=2.0),
        "forward": FORWARD,
        "recurrent": RECURRENT,
        "weight": 0.4,
        "drives": [GaussianDrive("n", mean=0.3, std=0.5), PoissonDrive("m", 0.5, 1.0)],
    } | changes
    return Circuit(
        [
            PoissonSource("in", parts["rates"].shape[-1], parts["rates"]),
            Population("n", 5, parts["lif"]),
            Population("m", 4, LIFParameters(v_th=12.0)),
        ],
        [
            Projection("in", "n", weights=parts["forward"]),
            Projection("n", "n", weights=parts["recurrent"], delay=1.0),
            Projection("n", "m", weight=parts["weight"], connectivity=FixedIndegree(3)),
        ],
        parts["drives"],
        seed=3,
    )


def single(n_sources=1):
    """A circuit with one neuron population, and one source and projection unless told otherwise."""
    sources = [PoissonSource(f"in{k}", 2, [0.1, 0.2]) for k in range(n_sources)]
    return Circuit(
        [*sources, Population("n", 3, LIFParameters())],
        [Projection(source.name, "n", weights=np.ones((3, 2))) for source in sources],
    )


# What a run changes, and the circuit that this is to stand for.
OTHER = {
    "rates": ({"stimulus": RATES[::-1] / ms}, {"rates": RATES[::-1]}),
    "stimuli": ({"stimulus": np.stack([RATES, RATES / 2])}, {"rates": np.stack([RATES, RATES / 2])}),
    "weights": ({"weights": {("in", "n"): FORWARD / 2 * mV}}, {"forward": FORWARD / 2}),
    "synapses": (
        {"weights": {("in", "n"): sparse.csr_array(FORWARD * (FORWARD > 1)), ("n", "n"): np.zeros((5, 5))}},
        {"forward": FORWARD * (FORWARD > 1), "recurrent": np.zeros((5, 5))},
    ),
    "modes": (
        {"weights": {("n", "n"): ModeMatrix(np.ones((5, 1)), [0.3], np.ones((5, 1)))}},
        {"recurrent": np.full((5, 5), 0.3)},
    ),
    "weight of a rule": ({"weights": {("n", "m"): 0.8 * mV}}, {"weight": 0.8}),
    "neurons": (
        {"lif": {"n": LIFParameters(tau_m=np.linspace(10, 20, 5) * ms, t_ref=1.0)}},
        {"lif": LIFParameters(tau_m=np.linspace(10, 20, 5), t_ref=1.0)},
    ),
    "drives": (
        {"drives": [PoissonDrive("m", 0.2, 3.0), GaussianDrive("n", std=1.0), GaussianDrive("n", mean=0.7)]},
        {"drives": [PoissonDrive("m", 0.2, 3.0), GaussianDrive("n", mean=0.7, std=1.0)]},
    ),
    "no noise": (
        {"drives": [PoissonDrive("m", 0.5, 1.0), GaussianDrive("n", mean=1.5)]},
        {"drives": [PoissonDrive("m", 0.5, 1.0), GaussianDrive("n", mean=1.5)]},
    ),
    "circuit": (
        {"circuit": circuit(rates=RATES / 2, recurrent=-RECURRENT), "lif": {"n": LIFParameters()}},
        {"rates": RATES / 2, "recurrent": -RECURRENT, "lif": LIFParameters()},
    ),
}


def same(one, other):
    return np.array_equal(one.row_size, other.row_size) and np.array_equal(one.step, other.step)


@pytest.fixture(scope="module")
def in_python():
    with build(circuit(), codegen="runtime") as program:
        yield program


@pytest.fixture(scope="module")
def compiled():
    with build(circuit()) as program:
        yield program


QUICK = ("stimuli", "synapses", "drives")


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in OTHER]
)
def test_a_changed_run_is_that_of_the_changed_circuit(in_python, kind):
    options, changes = OTHER[kind]
    with build(circuit(**changes), codegen="runtime") as program:
        expected = program.run(40.0, seed=2)
    found = in_python.run(40.0, seed=2, **options)
    assert same(found, expected)
    assert found.row_size.shape[0] == (2 if kind == "stimuli" else 1)
    assert len(found.step) > 5


def test_changes_count_for_one_run(in_python):
    before = in_python.run(40.0, seed=2)
    changed = in_python.run(40.0, seed=2, stimulus=RATES / 2, weights={("in", "n"): FORWARD / 2})
    assert not same(changed, before)
    assert same(in_python.run(40.0, seed=2), before)
    np.testing.assert_array_equal(in_python.circuit.sources[0].rates, RATES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stimulus": np.ones(7)}, r"rates of 'in'.*\(6,\).*got \(7,\)"),
        ({"stimulus": np.ones(6) * mV}, "rates of 'in'` must be in 1/ms, got a quantity of another dimension"),
        ({"stimulus": {"input": RATES}}, r"`stimulus` names no Poisson source: 'input'. The circuit has in$"),
        ({"weights": np.ones((5, 6))}, r"`weights` must say which projection is meant, .* has \('in', 'n'\), "),
        ({"weights": {("m", "n"): np.ones((5, 4))}}, r"`weights` names no projection: \('m', 'n'\). The circuit has"),
        (
            {"weights": {("in", "n"): np.ones((5, 5))}},
            r"projection 'in' → 'n' must have shape .*= \(5, 6\), got \(5, 5\)",
        ),
        ({"weights": {("in", "n"): FORWARD * ms}}, "must be in mV, got a quantity of another dimension"),
        ({"lif": LIFParameters()}, "`lif` must say which population of neurons is meant, .* has n, m"),
        (
            {"lif": {"n": LIFParameters(v_th=[20.0, 21.0])}},
            "the neurons of 'n' are described for 2, the population has 5",
        ),
        ({"lif": {"n": LIFParameters(t_ref=0.25)}}, "`dt` must divide `t_ref of 'n'`"),
        ({"drives": [GaussianDrive("x")]}, "no population 'x'"),
        ({"drives": [GaussianDrive("n", mean=np.ones(4))]}, "mean of Gaussian drive of 'n' must have shape"),
        ({"stimulus": np.full(6, 20.0)}, "at most one spike a step"),
        ({"timeout": 0}, "`timeout` must be a time > 0 s, got 0"),
        ({"timeout": True}, "`timeout` must be a time > 0 s, got True"),
    ],
)
def test_what_does_not_fit_is_an_error(in_python, options, message):
    with pytest.raises(ValueError, match=message):
        in_python.run(10.0, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"circuit": 3}, "`circuit` must be a Circuit, got int"),
        ({"drives": ["noise"]}, "`drives` must hold Drive, got str"),
        ({"drives": GaussianDrive("n")}, "`drives` must be a list of drives, got Gaussian drive of 'n'"),
        ({"lif": {"n": 3}}, "the neurons of 'n' must be a NeuronModel such as LIFParameters"),
    ],
)
def test_what_is_of_another_kind_is_an_error(in_python, options, message):
    with pytest.raises(TypeError, match=message):
        in_python.run(10.0, **options)


def test_several_of_a_kind_must_be_named():
    with build(single(2), codegen="runtime") as program:
        with pytest.raises(ValueError, match=r"`stimulus` must say which Poisson source is meant, .* has in0, in1"):
            program.run(10.0, stimulus=[0.1, 0.2])
        program.run(10.0, stimulus={"in1": [0.0, 0.0]})
    with build(single(0), codegen="runtime") as program, pytest.raises(ValueError, match="the circuit has none"):
        program.run(10.0, stimulus=[0.1, 0.2])
    twice = single()
    twice = dataclasses.replace(
        twice, projections=[*twice.projections, Projection("in0", "n", weights=np.ones((3, 2)))]
    )
    with (
        build(twice, codegen="runtime") as program,
        pytest.raises(ValueError, match=r"more than one projection \('in0', 'n'\). Give `circuit` instead"),
    ):
        program.run(10.0, weights={("in0", "n"): np.ones((3, 2))})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (circuit(rates=np.ones(7), forward=np.ones((5, 7))), "groups in size: 6 → 7"),
        (circuit(drives=[PoissonDrive("m", 0.5, 1.0), PoissonDrive("n", 0.5, 1.0)]), "groups n .*kick.* → "),
        (circuit(drives=[]), "groups m tables jump0: float64 → none"),
        (single(), "groups in: present → none; groups n size: 5 → 3"),
    ],
)
def test_another_structure_is_an_error_that_says_what_differs(in_python, other, message):
    with pytest.raises(ValueError, match=f"differs in structure from the one that was built.*`build` it.*{message}"):
        in_python.run(10.0, circuit=other)


def test_noise_that_was_not_built_is_an_error():
    with (
        build(single(), codegen="runtime") as program,
        pytest.raises(ValueError, match=r"differs in structure .*groups n tables kick: none → float64"),
    ):
        program.run(10.0, drives=[GaussianDrive("n", std=1.0)])


def test_a_run_in_python_keeps_to_its_time():
    large = Circuit([Population("n", 2000, LIFParameters())], drives=[GaussianDrive("n", mean=1.5, std=0.5)])
    with build(large, codegen="runtime") as program:
        start = time.monotonic()
        with pytest.raises(SimulationTimeout, match=r"longer than `timeout`, 0.3 s, and was stopped: .* of its steps"):
            program.run(20 * second, timeout=0.3)
        assert time.monotonic() - start < 30
        assert program.run(1.0, timeout=np.inf).row_size.shape == (1, 1, 2000)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("echo 'cannot set unknown variable' >&2", "came to its end, but complained: cannot set unknown variable$"),
        ("echo 'steps 3 of 10'; echo 'Error opening file'", "came to its end, but complained: Error opening file$"),
        ("printf 'half a line'", "came to its end, but complained: half a line$"),
        ("echo 'error: no' >&2; exit 4", "ended with status 4: error: no$"),
        ("exit 5", "ended with status 5: it gave no reason$"),
        ("kill -9 $$", "ended with status -9: it gave no reason$"),
    ],
)
def test_what_a_program_complains_of_is_an_error(tmp_path, said, message):
    program = tmp_path / "main"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    job = Job(n_steps=10, warmup_steps=0, channels=[Channel("n", 2)], batches=np.zeros((2, 1, 2), np.int64))
    with pytest.raises(SimulationFailed, match=message):
        list(run_program(program, [tmp_path], job, 2, lambda steps: None, Deadline(None)))
    assert [path.name for path in tmp_path.iterdir()] == ["main"]


def test_a_program_that_may_not_be_started_is_an_error_with_the_way_out(tmp_path):
    program = tmp_path / "main"
    program.write_text("#!/bin/sh\n")
    job = Job(n_steps=10, warmup_steps=0, channels=[Channel("n", 2)], batches=np.zeros((1, 1, 2), np.int64))
    with pytest.raises(SimulationFailed, match=r"main may not be started \(.*denied.*\): set TMPDIR to a folder"):
        list(run_program(program, [tmp_path], job, 1, lambda steps: None, Deadline(None)))


@pytest.mark.slow
@pytest.mark.standalone
def test_a_compiled_program_runs_changed_circuits_too(compiled, in_python):
    before = sorted(compiled.folder.rglob("*"))
    for options, _ in OTHER.values():
        expected = in_python.run(100.0, trials=2, seed=2, **options)
        assert same(compiled.run(100.0, trials=2, seed=2, **options), expected)
    assert same(compiled.run(100.0, seed=2), in_python.run(100.0, seed=2))
    assert sorted(compiled.folder.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.standalone
def test_a_compiled_run_keeps_to_its_time_and_leaves_nothing(compiled):
    before = sorted(compiled.folder.rglob("*"))
    with pytest.raises(SimulationTimeout, match=r"longer than `timeout`, 0.5 s"):
        compiled.run(100_000 * second, timeout=0.5)
    assert children() == []
    assert sorted(compiled.folder.rglob("*")) == before
    with pytest.raises(RuntimeError, match="enough"):
        compiled.run(100_000 * second, report=give_up)
    assert children() == []


def write_job(program, duration, folder):
    """Write what a program is to do: one trial of so many ms."""
    times = Times.of(duration, 0.0, program.dt)
    write_plan_file(
        folder / "plan.bin", Run.of(program.circuit, program.kinds, times, program.dt, 1, 1).job(program.replicas)
    )


def give_up(done, total):
    raise RuntimeError("enough")


def children():
    """Processes that this one has started."""
    return subprocess.run(["pgrep", "-P", str(os.getpid()), "main"], capture_output=True, text=True).stdout.split()


@pytest.mark.slow
@pytest.mark.standalone
def test_a_program_ends_when_its_input_ends(compiled, tmp_path):
    write_job(compiled, 1e8, tmp_path)
    command = [compiled.folder / "main", "--inputs", compiled.folder / "inputs", "--until", "end-of-input"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=-1)
    time.sleep(0.5)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(timeout=20) == 1
    assert b"whoever started this program has ended" in process.stderr.read()
    process.stderr.close()


@pytest.mark.slow
@pytest.mark.standalone
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in_to_n.w_syn", np.zeros(7), "have 7 weights, not a multiple of 30"),
        ("in_to_n.targets", np.full(30, 5, np.int32), "are not between 6 sources and 5 targets"),
        ("in_to_n.outgoing", np.full(6, 4, np.int32), "are not between 6 sources and 5 targets"),
        ("n_to_n.delay", np.zeros(3, np.int32), "have 3 delays, not 1 or 25"),
        ("n.v_th", np.zeros(0), "holds 0 numbers, not 5 for each stimulus"),
    ],
)
def test_a_program_checks_what_it_reads(compiled, tmp_path, name, content, message):
    write_job(compiled, 0.1, tmp_path)
    content.tofile(tmp_path / name)
    command = [compiled.folder / "main", "--inputs", tmp_path, "--inputs", compiled.folder / "inputs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.slow
@pytest.mark.standalone
def test_the_example_in_the_documentation_runs(capsys):
    page = (Path(__file__).parents[2] / "docs" / "programs.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(example, "docs/programs.md", "exec"), {})
    assert capsys.readouterr().out == "True\n"
